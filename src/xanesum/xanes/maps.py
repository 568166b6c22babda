"""Maps of the edge: half-step energy and white-line position of every pixel, of a result or of a stack.

Their standard errors are computed in `half_step_errors` and `white_line_errors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.normalization import (
    EdgeRanges,
    Range,
    edge_ranges,
    find_e0_ev,
    flattening_operator,
    step_operator,
)
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = [
    "MAP_KINDS",
    "MAP_NAMES",
    "chemical_map",
    "half_step_energy",
    "half_step_errors",
    "white_line",
    "white_line_errors",
]

MAP_KINDS = ("auto", "half_step", "white_line")
MAP_NAMES = {"half_step": "half_step_energy_ev", "white_line": "white_line_ev"}
ERROR_NAMES = {"half_step": "half_step_sigma_ev", "white_line": "white_line_sigma_ev"}
WHITE_LINE_EV = (-5.0, 15.0)  # range, relative to e0, in which the white line is looked for
MIN_STEP = 0.1  # least edge step of a pixel with a map value, as a share of the stack's 95th percentile ...
MIN_STEP_SIGMAS = 3.0  # ... and in units of its own standard error
BLOCK_PIXELS = 16_384  # pixels that are mapped together


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """The last upward crossing of half a step in the spectra of p pixels."""

    energy_ev: NDArray[np.float64]  # (p,), NaN where there is none
    slope: NDArray[np.float64]  # (p,), of the flattened spectrum, per eV
    index: NDArray[np.int64]  # (p,), of the energy below it
    share: NDArray[np.float64]  # (p,), part of the way to the next energy, 0 to 1


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The maximum of the spectra of p pixels."""

    energy_ev: NDArray[np.float64]  # (p,), NaN where the maximum is at an end
    curvature: NDArray[np.float64]  # (p,), second derivative, unit of the stack per eV squared
    height: NDArray[np.float32]  # (p,), unit of the stack
    index: NDArray[np.int64]  # (p,), of the middle one of three energies


class _Step(NamedTuple):
    """The edge step of every pixel, or the height of the white line in its place."""

    height: NDArray[np.float32]  # (P,), unit of the stack
    error: NDArray[np.float64]  # (P,), standard error; NaN where unknown


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
        Edge energy; the steepest rise of the mean spectrum by default.
    pre_ev, post_ev : (float, float), optional
        Ranges in eV of the pre- and post-edge lines; see `edge_ranges` for the defaults.

    Returns
    -------
    Dataset
        ``half_step_energy_ev``; ``half_step_sigma_ev`` (standard error, from the errors of the data; NaN
        where unknown, see `half_step_errors`); ``exposure_gain`` (variance without denoising over variance
        with it: without denoising, an exposure longer by this factor would have been needed); ``edge_step``
        (unit of the stack); ``mask`` (pixels in which the map means something).
        Attributes: ``kind``, ``e0_ev``, ``pre_ev``, ``post_ev``.

    Raises
    ------
    EdgeError
        If there is no edge, or no usable pre- or post-edge range.
    StackError
        If a stack breaks the rules.
    """
    spectra = pixel_spectra_of(data)
    ranges = _ranges(spectra, e0_ev, pre_ev, post_ev)
    window = _half_step_window(spectra.energy_ev, ranges)
    step = _step(spectra, ranges)
    values = _MapValues.unknown(spectra.mask.size)
    operator = flattening_operator(spectra.energy_ev, ranges, window)
    above_half = operator - 0.5 * step_operator(spectra.energy_ev, ranges)  # zero at the crossing
    flattening = spectra.apply(operator)
    for pixels in _pixel_blocks(spectra.mask.size):
        with np.errstate(divide="ignore", invalid="ignore"):
            flattened = (flattening @ spectra.images[:, pixels]) / step.height[pixels]
        crossing = _last_crossing(spectra.energy_ev[window], flattened)
        values.energy_ev[pixels] = crossing.energy_ev
        values.error_ev[pixels], values.exposure_gain[pixels] = half_step_errors(
            spectra, above_half, crossing, step.height[pixels], pixels
        )
    return _dataset(spectra, ranges, "half_step", values, step)


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
    """Map the position of the white line: the maximum from 5 eV below e0 to 15 eV above, by a parabola.

    Takes and returns the same as `half_step_energy`, with ``white_line_ev`` and ``white_line_sigma_ev``.  If
    the scan has no pre-edge or no post-edge range, ``edge_step`` is the height of the white line.
    """
    spectra = pixel_spectra_of(data)
    ranges = _ranges(spectra, e0_ev, pre_ev, post_ev)
    window = _window(spectra.energy_ev, ranges.e0_ev + WHITE_LINE_EV[0], ranges.e0_ev + WHITE_LINE_EV[1])
    if np.count_nonzero(window) < 3:
        raise EdgeError(
            f"fewer than three energies near the edge at {ranges.e0_ev:.1f} eV; no white line to map"
        )
    operator = flattening_operator(spectra.energy_ev, ranges, window)
    energies = spectra.energy_ev[window]
    flattening = spectra.apply(operator)
    n_pixels = spectra.mask.size
    values = _MapValues.unknown(n_pixels)
    height, height_error = np.zeros(n_pixels, np.float32), np.zeros(n_pixels)
    for pixels in _pixel_blocks(n_pixels):
        peak = _peak(energies, flattening @ spectra.images[:, pixels])
        values.energy_ev[pixels], height[pixels] = peak.energy_ev, peak.height
        ones = np.ones(len(peak.index))
        at_peak = ((peak.index, ones), (peak.index, 0 * ones))
        height_error[pixels] = spectra.error_of_pairs(operator, at_peak, pixels)
        values.error_ev[pixels], values.exposure_gain[pixels] = white_line_errors(
            spectra, operator, energies, peak, pixels
        )
    if ranges.pre_ev is not None and ranges.post_ev is not None:
        step = _step(spectra, ranges)
    else:
        step = _Step(height, height_error)
    return _dataset(spectra, ranges, "white_line", values, step)


def white_line_errors(
    spectra: PixelSpectra,
    operator: NDArray[np.float64],
    energies: NDArray[np.float64],
    peak: Peak,
    pixels: slice,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the standard error of the white line's position in eV, and the exposure gain, of some pixels.

    At the maximum the slope is zero.  The error of the slope, from the energies below and above it,
    divided by the curvature, is the error of the position.

    Parameters
    ----------
    spectra : PixelSpectra
    operator : ndarray, shape (W, E)
        Matrix from a spectrum to its flattened form at the energies of the window.
    energies : ndarray, shape (W,)
        These energies, eV.
    peak : Peak
        Of these pixels.
    pixels : slice
        The p pixels that are meant.

    Returns
    -------
    error_ev, exposure_gain : ndarray, shape (p,)
        Both NaN for a stack, whose errors are not known.
    """
    ones = np.ones(len(peak.index))
    pairs = ((peak.index + 1, ones), (peak.index - 1, -ones))
    error = spectra.error_of_pairs(operator, pairs, pixels)
    gain = spectra.gain_of_pairs(error, operator, pairs, pixels)
    width = energies[peak.index + 1] - energies[peak.index - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return error / (width * np.abs(peak.curvature)), gain


def chemical_map(data: Denoised | xr.DataArray, *, kind: str = "auto", **options: Any) -> xr.Dataset:
    """Return the map of `kind`: the half-step energy, or the white line.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        As in `half_step_energy`, which also has the `options`.
    kind : {"auto", "half_step", "white_line"}
        "auto" means the half-step energy where the scan has a pre-edge and a post-edge range.  The
        ``attrs["kind"]`` of the map tells which one it is.

    Raises
    ------
    EdgeError
        If `kind` is unknown, or as in `half_step_energy`.
    """
    if kind not in MAP_KINDS:
        raise EdgeError(f"map kind must be one of {', '.join(MAP_KINDS)}, got {kind!r}")
    if kind == "auto":
        ranges = _ranges(
            pixel_spectra_of(data), **{"e0_ev": None, "pre_ev": None, "post_ev": None, **options}
        )
        kind = "white_line" if ranges.pre_ev is None or ranges.post_ev is None else "half_step"
    return half_step_energy(data, **options) if kind == "half_step" else white_line(data, **options)


def _ranges(
    spectra: PixelSpectra, e0_ev: float | None, pre_ev: Range | None, post_ev: Range | None
) -> EdgeRanges:
    """Return the ranges of the lines; the edge is found in the mean spectrum unless it is given."""
    if not spectra.mask.any():
        raise EdgeError("no usable pixel is left, so there is no edge to map")
    e0 = find_e0_ev(spectra.energy_ev, spectra.mean_spectrum) if e0_ev is None else float(e0_ev)
    return edge_ranges(spectra.energy_ev, e0, pre_ev=pre_ev, post_ev=post_ev)


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


def _peak(energies: NDArray[np.float64], shape: NDArray[np.float32]) -> Peak:
    """Return the maximum of each column of `shape` (W, p), from a parabola through three points."""
    index = np.argmax(shape, axis=0)
    column = np.arange(shape.shape[1])
    middle = np.clip(index, 1, len(energies) - 2)
    at, below, above = energies[middle], energies[middle - 1], energies[middle + 1]
    f0, f1, f2 = (shape[middle + i, column].astype(np.float64) for i in (-1, 0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (f1 - f0) / (at - below), (f2 - f1) / (above - at)
        curvature = (right - left) / ((above - below) / 2)
        position = (at + below) / 2 - left / curvature
    position = np.where((index == middle) & (curvature < 0), np.clip(position, below, above), np.nan)
    return Peak(position, curvature, shape[index, column], middle)


def _dataset(
    spectra: PixelSpectra,
    ranges: EdgeRanges,
    kind: str,
    values: _MapValues,
    step: _Step,
) -> xr.Dataset:
    """Return the maps as images (Y, X), and the mask of the pixels in which they mean something."""
    shape, source = spectra.mask.shape, spectra.source
    mask = spectra.mask & _step_is_real(step, spectra.mask)
    mask &= np.isfinite(values.energy_ev).reshape(shape)
    maps: dict[str, NDArray[Any]] = {
        MAP_NAMES[kind]: values.energy_ev,  # in float64: an edge at 8 keV moves by parts of an eV
        ERROR_NAMES[kind]: values.error_ev.astype(np.float32),
        "exposure_gain": values.exposure_gain.astype(np.float32),
        "edge_step": step.height.astype(np.float32),
        "mask": mask,
    }
    dataset = xr.Dataset(
        {name: (("y", "x"), image.reshape(shape)) for name, image in maps.items()},
        coords={name: source[name] for name in ("y", "x") if name in source.coords},
    )
    dataset.attrs = {"kind": kind, "e0_ev": ranges.e0_ev, "pre_ev": ranges.pre_ev, "post_ev": ranges.post_ev}
    return dataset
