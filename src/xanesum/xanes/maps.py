"""Maps of the edge: half-step energy and white-line position of every pixel, of a result or of a stack.

Their standard errors are computed in `half_step_errors`, and in `white_line_errors` of `peaks`.  The error of
the edge energy e0, which moves the pre- and post-edge lines of all pixels, is added in `_dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.normalization import (
    MIN_ENERGIES,
    EdgeRanges,
    Range,
    check_ranges,
    edge_ranges,
    find_edge,
    flattening_operator,
    judged_ranges,
    steepest_ev,
    step_operator,
)
from xanesum.xanes.peaks import Peaks, white_line_errors
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = [
    "ERROR_NAMES",
    "MAP_KINDS",
    "MAP_NAMES",
    "chemical_map",
    "edge_step",
    "half_step_energy",
    "half_step_errors",
    "white_line",
]

MAP_KINDS = ("auto", "half_step", "white_line", "edge_step")
MAP_NAMES = {"half_step": "half_step_energy_ev", "white_line": "white_line_ev", "edge_step": "edge_step"}
ERROR_NAMES = {"half_step": "half_step_sigma_ev", "white_line": "white_line_sigma_ev"}
ERROR_NAMES |= {"edge_step": "edge_step_sigma"}
MIN_STEP = 0.1  # least edge step of a pixel with a map value, as a share of the stack's 95th percentile ...
MIN_STEP_SIGMAS = 3.0  # ... and in units of its own standard error
BLOCK_PIXELS = 16_384  # pixels that are mapped together
E0_MOVE_EV = 0.25  # e0 is moved by this much each way, to see how the map follows ...
E0_PIXELS = 256  # ... in about this many pixels


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """The last upward crossing of half a step in the spectra of p pixels."""

    energy_ev: NDArray[np.float64]  # (p,), NaN where there is none
    slope: NDArray[np.float64]  # (p,), of the flattened spectrum, per eV
    index: NDArray[np.int64]  # (p,), of the energy below it
    share: NDArray[np.float64]  # (p,), part of the way to the next energy, 0 to 1


class _Step(NamedTuple):
    """The edge step of every pixel, or the height of the white line in its place."""

    height: NDArray[np.float32]  # (P,), unit of the stack
    error: NDArray[np.float64]  # (P,), standard error; NaN where unknown


class _Edge(NamedTuple):
    """The edge of a map, and how well its energy is known."""

    ranges: EdgeRanges
    sigma_ev: float  # standard error of e0; 0 if it was given, NaN if unknown
    given: tuple[Range | None, Range | None]  # ranges that the user gave
    pre_doubt_ev: float  # error of a half-step energy by a pre-edge range in which the edge may rise already


# from ranges and the images of p pixels to the map's values (p,)
Positions = Callable[[EdgeRanges, NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class _HalfSteps:
    """The search for half-step energies with given ranges."""

    energies: NDArray[np.float64]  # (W,), of the window between the lines, eV
    operator: NDArray[np.float64]  # (W, E), from a spectrum to its flattened form
    flattening: NDArray[np.float32]  # (W, K), the same from the images

    @classmethod
    def of(cls, spectra: PixelSpectra, ranges: EdgeRanges) -> _HalfSteps:
        window = _half_step_window(spectra.energy_ev, ranges)
        operator = flattening_operator(spectra.energy_ev, ranges, window)
        return cls(spectra.energy_ev[window], operator, spectra.apply(operator))

    def find(self, images: NDArray[np.float32], step: NDArray[np.float32]) -> Crossing:
        """Return the crossings in the pixels of `images` (K, p), whose edge step is `step` (p,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            flattened = (self.flattening @ images) / step
        return _last_crossing(self.energies, flattened)


@dataclass(frozen=True, slots=True, eq=False)
class _MapValues:
    """A map and its errors, for every pixel."""

    energy_ev: NDArray[np.float64]  # (P,), NaN where there is no value
    error_ev: NDArray[np.float64]  # (P,), standard error; NaN where unknown
    exposure_gain: NDArray[np.float64]  # (P,)

    @classmethod
    def unknown(cls, n_pixels: int) -> _MapValues:
        """Return values that are to be filled in."""
        return cls(*np.full((3, n_pixels), np.nan))


def half_step_energy(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
) -> xr.Dataset:
    """Map the energy at half of the edge step.

    Each spectrum is flattened: the pre-edge line becomes 0, the post-edge line 1.  The last upward crossing
    of 0.5 before the maximum (the white line) is interpolated linearly.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        A result, which is fast because it has few components, or any stack.
    e0_ev : float, optional
        Edge energy; the half-step energy of the mean spectrum by default, see `find_edge`.
    pre_ev, post_ev : (float, float), optional
        Ranges in eV of the pre- and post-edge lines; see `edge_ranges` for the defaults.

    Returns
    -------
    Dataset
        ``half_step_energy_ev``; ``half_step_sigma_ev`` (standard error, from the errors of the data; NaN
        where unknown, see `half_step_errors`); ``exposure_gain`` (variance without denoising over variance
        with it: without denoising, an exposure longer by this factor would have been needed); ``edge_step``
        (unit of the stack); ``mask`` (pixels in which the map means something).
        Attributes: ``kind``, ``e0_ev``, ``pre_ev``, ``post_ev``; ``e0_sigma_ev`` (standard error of e0; 0 if
        it was given, NaN where unknown) and ``sigma_by_e0_ev`` (the part of it in the errors of the map, the
        same in all pixels).

    Raises
    ------
    EdgeError
        If there is no edge, or no usable pre- or post-edge range.
    StackError
        If a stack breaks the rules.
    """
    spectra = pixel_spectra_of(data)
    edge = _edge(spectra, e0_ev, pre_ev, post_ev)
    ranges = edge.ranges
    crossings = _HalfSteps.of(spectra, ranges)
    step = _step(spectra, ranges)
    values = _MapValues.unknown(spectra.mask.size)
    above_half = crossings.operator - 0.5 * step_operator(spectra.energy_ev, ranges)  # zero at the crossing
    for pixels in _pixel_blocks(spectra.mask.size):
        crossing = crossings.find(spectra.images[:, pixels], step.height[pixels])
        values.energy_ev[pixels] = crossing.energy_ev
        values.error_ev[pixels], values.exposure_gain[pixels] = half_step_errors(
            spectra, above_half, crossing, step.height[pixels], pixels
        )

    def positions(moved: EdgeRanges, images: NDArray[np.float32]) -> NDArray[np.float64]:
        height = spectra.apply(step_operator(spectra.energy_ev, moved)) @ images
        return _HalfSteps.of(spectra, moved).find(images, height).energy_ev

    return _dataset(spectra, edge, "half_step", values, step, positions)


def half_step_errors(
    spectra: PixelSpectra,
    above_half: NDArray[np.float64],
    crossing: Crossing,
    step: NDArray[np.float32],
    pixels: slice,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the standard error of the half-step energy in eV, and the exposure gain, of some pixels.

    At the half-step energy, the flattened spectrum less half its step is zero.  This difference is
    interpolated between the energies below and above the crossing.  Its standard error follows from the
    errors of the data (`PixelSpectra.error_of_pairs`).  Divided by the slope there, in units of the stack per
    eV, it is the standard error of the energy.

    Parameters
    ----------
    spectra : PixelSpectra
    above_half : ndarray, shape (W, E)
        Matrix from a spectrum to its flattened form less half its step, at the energies of the window.
    crossing : Crossing
        Of these pixels.
    step : ndarray, shape (p,)
        Edge step of these pixels.
    pixels : slice
        The p pixels that are meant.

    Returns
    -------
    error_ev, exposure_gain : ndarray, shape (p,)
        Both NaN for a stack, whose errors are not known.
    """
    pairs = ((crossing.index, 1 - crossing.share), (crossing.index + 1, crossing.share))
    error = spectra.error_of_pairs(above_half, pairs, pixels)
    gain = spectra.gain_of_pairs(error, above_half, pairs, pixels)
    with np.errstate(divide="ignore", invalid="ignore"):
        return error / np.abs(crossing.slope * step), gain


def white_line(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
) -> xr.Dataset:
    """Map the position of the white line: the maximum from 5 eV below e0 to 15 eV above; see `Peaks`.

    Takes and returns the same as `half_step_energy`, with ``white_line_ev`` and ``white_line_sigma_ev``.  If
    the scan has no pre-edge or no post-edge range, ``edge_step`` is the height of the white line.
    """
    spectra = pixel_spectra_of(data)
    edge = _edge(spectra, e0_ev, pre_ev, post_ev)
    ranges = edge.ranges
    peaks = Peaks.of(spectra, ranges)
    n_pixels = spectra.mask.size
    values = _MapValues.unknown(n_pixels)
    with_lines = ranges.pre_ev is not None and ranges.post_ev is not None
    step = _step(spectra, ranges) if with_lines else _Step(np.zeros(n_pixels, np.float32), np.zeros(n_pixels))
    for pixels in _pixel_blocks(n_pixels):
        peak = peaks.find(spectra.images[:, pixels])
        values.energy_ev[pixels] = peak.energy_ev
        values.error_ev[pixels], values.exposure_gain[pixels] = white_line_errors(
            spectra, peaks, peak, pixels
        )
        if not with_lines:
            step.height[pixels], step.error[pixels] = peak.height, peaks.height_errors(spectra, peak, pixels)

    def positions(moved: EdgeRanges, images: NDArray[np.float32]) -> NDArray[np.float64]:
        return Peaks.of(spectra, moved).find(images).energy_ev

    return _dataset(spectra, edge, "white_line", values, step, positions)


def edge_step(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
) -> xr.Dataset:
    """Map the mean of the frames beyond the edge less the mean of those below it.

    This is the one map of a scan of two to four energies.  Takes and returns the same as `half_step_energy`,
    with ``edge_step`` and ``edge_step_sigma``.  The default edge is where the mean spectrum rises most.
    """
    spectra = pixel_spectra_of(data)
    if not spectra.mask.any():
        raise EdgeError("no usable pixel is left, so there is no edge to map")
    energy_ev = spectra.energy_ev
    check_ranges(energy_ev, e0_ev=e0_ev, pre_ev=pre_ev, post_ev=post_ev)
    at = steepest_ev(energy_ev, spectra.mean_spectrum) if e0_ev is None else float(e0_ev)
    below = energy_ev < at if pre_ev is None else _window(energy_ev, *pre_ev)
    beyond = energy_ev > at if post_ev is None else _window(energy_ev, *post_ev)
    operator = beyond / np.count_nonzero(beyond) - below / np.count_nonzero(below)
    step = _Step(spectra.apply(operator) @ spectra.images, spectra.error(operator))
    before = np.sqrt(spectra.noise.of(operator[None])[0, 0]) * spectra.noise_pixel
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = (before / step.error) ** 2
    maps = {
        "edge_step": step.height,
        "edge_step_sigma": step.error.astype(np.float32),
        "exposure_gain": gain.astype(np.float32),
        "mask": (spectra.mask & _step_is_real(step, spectra.mask)).ravel(),
    }
    facts = {"kind": "edge_step", "e0_ev": at, "pre_ev": pre_ev, "post_ev": post_ev}
    return _labelled(spectra, maps, facts | {"e0_sigma_ev": np.nan, "sigma_by_e0_ev": 0.0})


def chemical_map(data: Denoised | xr.DataArray, *, kind: str = "auto", **options: Any) -> xr.Dataset:
    """Return the map of `kind`: the half-step energy, the white line, or the edge step.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        As in `half_step_energy`, which also has the `options`.
    kind : {"auto", "half_step", "white_line", "edge_step"}
        "auto" means the half-step energy where the scan has a pre-edge and a post-edge range, else the white
        line, and the edge step where there are fewer than five energies.  The ``attrs["kind"]`` of the map
        tells which one it is.

    Raises
    ------
    EdgeError
        If `kind` is unknown, or as in `half_step_energy`.
    """
    if kind not in MAP_KINDS:
        raise EdgeError(f"map kind must be one of {', '.join(MAP_KINDS)}, got {kind!r}")
    spectra = pixel_spectra_of(data) if kind == "auto" else None
    if spectra is not None and len(spectra.energy_ev) < MIN_ENERGIES:
        kind = "edge_step"
    elif spectra is not None:
        edge = _edge(spectra, **{"e0_ev": None, "pre_ev": None, "post_ev": None, **options})
        ranges = edge.ranges
        kind = "white_line" if ranges.pre_ev is None or ranges.post_ev is None else "half_step"
    mapped = {"half_step": half_step_energy, "white_line": white_line, "edge_step": edge_step}[kind]
    return mapped(data, **options)


def _edge(spectra: PixelSpectra, e0_ev: float | None, pre_ev: Range | None, post_ev: Range | None) -> _Edge:
    """Return the ranges of the lines; the edge is found in the mean spectrum unless it is given."""
    if not spectra.mask.any():
        raise EdgeError("no usable pixel is left, so there is no edge to map")
    sigma = 0.0
    if e0_ev is None:
        found = find_edge(spectra.energy_ev, spectra.mean_spectrum)
        e0_ev, sigma = found.e0_ev, spectra.error_of_mean(found.influence)
    ranges = edge_ranges(spectra.energy_ev, float(e0_ev), pre_ev=pre_ev, post_ev=post_ev)
    ranges, doubt = judged_ranges(spectra.energy_ev, spectra.mean_spectrum, ranges)
    return _Edge(ranges, sigma, (pre_ev, post_ev), doubt)


def _influence_of_e0(spectra: PixelSpectra, edge: _Edge, positions: Positions) -> float:
    """Return by how much the map moves with e0, eV per eV: root mean square over a sample of pixels.

    All pixels move alike, for the pre- and post-edge lines of all begin and end at the same energies.
    """
    used = np.flatnonzero(spectra.mask)
    images = spectra.images[:, used[:: -(-len(used) // E0_PIXELS)]]
    found = []
    for move in (-E0_MOVE_EV, E0_MOVE_EV):
        try:
            pre_ev, post_ev = edge.given
            e0_ev = edge.ranges.e0_ev + move
            moved = edge_ranges(spectra.energy_ev, e0_ev, pre_ev=pre_ev, post_ev=post_ev)
            found.append(positions(moved, images))
        except EdgeError:  # no such edge in the scan
            return float("nan")
    change = (found[1] - found[0]) / (2 * E0_MOVE_EV)
    change = np.sort(np.abs(change[np.isfinite(change)]))
    middle = change[: -(-len(change) * 9 // 10)]  # without pixels that jump to another crossing
    return float(np.sqrt(np.mean(middle**2))) if middle.size else float("nan")


def _half_step_window(energy_ev: NDArray[np.float64], ranges: EdgeRanges) -> NDArray[np.bool_]:
    """Return which energies (E,) lie between the pre-edge and post-edge lines; raise if they are too few."""
    if ranges.pre_ev is None or ranges.post_ev is None:
        side = "below the edge" if ranges.pre_ev is None else "beyond the white line"
        raise EdgeError(
            f"too few energies {side} (edge at {ranges.e0_ev:.1f} eV, scan {energy_ev[0]:.1f} ... "
            f"{energy_ev[-1]:.1f} eV) for a half-step energy; map the white line instead",
            parameter="kind",
        )
    window = _window(energy_ev, ranges.pre_ev[1], ranges.post_ev[0])
    if np.count_nonzero(window) < 2:
        raise EdgeError(
            f"fewer than two energies between the pre-edge range, up to {ranges.pre_ev[1]:.1f} eV, and "
            f"the post-edge range, from {ranges.post_ev[0]:.1f} eV; no edge to map"
        )
    return window


def _step(spectra: PixelSpectra, ranges: EdgeRanges) -> _Step:
    """Return the edge step of every pixel and its standard error."""
    operator = step_operator(spectra.energy_ev, ranges)
    return _Step(spectra.apply(operator) @ spectra.images, spectra.error(operator))


def _step_is_real(step: _Step, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the step is large, compared with the stack's largest and with its own error, (Y, X)."""
    largest = float(np.percentile(step.height.reshape(mask.shape)[mask], 95))
    least = np.fmax(
        max(MIN_STEP * largest, 0.0), MIN_STEP_SIGMAS * step.error
    )  # fmax ignores an unknown error
    return np.asarray((step.height > least).reshape(mask.shape))


def _window(energy_ev: NDArray[np.float64], low_ev: float, high_ev: float) -> NDArray[np.bool_]:
    """Return which energies (E,) lie from `low_ev` to `high_ev`."""
    return (energy_ev >= low_ev) & (energy_ev <= high_ev)


def _pixel_blocks(n_pixels: int) -> Iterator[slice]:
    for start in range(0, n_pixels, BLOCK_PIXELS):
        yield slice(start, start + BLOCK_PIXELS)


def _last_crossing(energies: NDArray[np.float64], flattened: NDArray[np.floating]) -> Crossing:
    """Return the last upward crossing of 0.5 before the maximum of each column of `flattened` (W, p)."""
    rises = (flattened[:-1] < 0.5) & (flattened[1:] >= 0.5)
    rises &= np.arange(len(rises))[:, None] < np.argmax(flattened, axis=0)
    index = len(rises) - 1 - np.argmax(rises[::-1], axis=0)
    column = np.arange(flattened.shape[1])
    low, high = flattened[index, column].astype(np.float64), flattened[index + 1, column]
    width = energies[index + 1] - energies[index]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (0.5 - low) / (high - low)
        slope = (high - low) / width
    energy_ev = np.where(rises.any(axis=0), energies[index] + width * share, np.nan)
    return Crossing(energy_ev, slope, index, share)


def _dataset(
    spectra: PixelSpectra,
    edge: _Edge,
    kind: str,
    values: _MapValues,
    step: _Step,
    positions: Positions,
) -> xr.Dataset:
    """Return the maps as images (Y, X), and the mask of the pixels in which they mean something."""
    shape, ranges = spectra.mask.shape, edge.ranges
    mask = spectra.mask & _step_is_real(step, spectra.mask)
    mask &= np.isfinite(values.energy_ev).reshape(shape)
    common, doubt = 0.0, edge.pre_doubt_ev if kind == "half_step" else 0.0
    if edge.sigma_ev > 0:
        common = float(np.nan_to_num(_influence_of_e0(spectra, edge, positions))) * edge.sigma_ev
    maps: dict[str, NDArray[Any]] = {
        MAP_NAMES[kind]: values.energy_ev,  # in float64: an edge at 8 keV moves by parts of an eV
        ERROR_NAMES[kind]: np.hypot(values.error_ev, np.hypot(common, doubt)).astype(np.float32),
        "exposure_gain": values.exposure_gain.astype(np.float32),
        "edge_step": step.height.astype(np.float32),
        "mask": mask,
    }
    facts = {"kind": kind, "e0_ev": ranges.e0_ev, "pre_ev": ranges.pre_ev, "post_ev": ranges.post_ev}
    return _labelled(spectra, maps, facts | {"e0_sigma_ev": edge.sigma_ev, "sigma_by_e0_ev": common})


def _labelled(spectra: PixelSpectra, maps: dict[str, NDArray[Any]], facts: dict[str, Any]) -> xr.Dataset:
    """Return maps (P,) or (Y, X) by their names as images (Y, X), with facts as attributes."""
    dataset = xr.Dataset(
        {name: (("y", "x"), image.reshape(spectra.mask.shape)) for name, image in maps.items()},
        coords={name: spectra.source[name] for name in ("y", "x") if name in spectra.source.coords},
    )
    dataset.attrs = {**facts, "intervals_hold": not spectra.reasons, "reasons": list(spectra.reasons)}
    return dataset
