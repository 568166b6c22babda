"""The edge of a map: its energy and ranges with their errors, the step of every pixel, and the Dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.xanes.kinds import KINDS
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.measuring import COMPETE_SIGMAS, Linear, Measured, Search, measure
from xanesum.xanes.normalization import (
    FARTHEST_EV,
    SMOOTH_EV,
    EdgeRanges,
    Range,
    check_ranges,
    edge_ranges,
    find_edge,
    judged_ranges,
    steepest_ev,
    step_operator,
)
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = [
    "MapEdge",
    "Step",
    "dataset",
    "edge_of",
    "error_by_e0",
    "lines_text",
    "mean_difference",
    "range_text",
    "rivals_text",
    "rough_edge_of",
    "step_in_place",
    "step_of",
]

MIN_STEP = 0.1  # least edge step of a pixel with a map value, as a share of the stack's 95th percentile ...
MIN_STEP_SIGMAS = 3.0  # ... and in units of its own standard error
E0_MOVE_EV = 0.25  # e0 is moved by this much each way, to see how the map follows ...
E0_PIXELS = 256  # ... in about this many pixels
DOUBTFUL_EV = 2.0  # an edge that is known no better is doubtful
OTHER_PLACES = 200  # energies at which the slope of the mean spectrum is compared with that at the edge
RIVALS = 0.05  # from this share of pixels in which two places compete, a map says so


class Step(NamedTuple):
    """The edge step of every pixel, or what stands in its place."""

    height: NDArray[np.floating]  # (P,), unit of the stack
    error: NDArray[np.float64]  # (P,), standard error; NaN where unknown


@dataclass(frozen=True, slots=True)
class MapEdge:
    """The edge of a map, and how well it is known."""

    ranges: EdgeRanges
    sigma_ev: float = np.nan  # standard error of e0; 0 if it was given, NaN if unknown
    given: tuple[Range | None, Range | None] = (None, None)  # ranges that the user gave
    pre_doubt_ev: float = 0.0  # error of a half-step energy by a pre-edge range in which the edge may rise
    steepness: float = 0.0  # slope of the mean spectrum at its steepest, in edge steps per eV
    reasons: tuple[str, ...] = ()  # why it may be another edge

    @property
    def has_lines(self) -> bool:
        """Whether there are both a pre-edge and a post-edge range."""
        return self.ranges.pre_ev is not None and self.ranges.post_ev is not None

    @property
    def step_doubt(self) -> float:
        """The same doubt about the pre-edge, as a share of the edge step."""
        return self.pre_doubt_ev * self.steepness


def edge_of(
    spectra: PixelSpectra, e0_ev: float | None, pre_ev: Range | None, post_ev: Range | None
) -> MapEdge:
    """Return the edge with the ranges of its lines; it is found in the mean spectrum unless it is given.

    Raises
    ------
    EdgeError
        If there is no edge, or a range that is given is impossible.
    """
    _require_pixels(spectra)
    energy_ev, mean, sigma = spectra.energy_ev, spectra.mean_spectrum, 0.0
    reasons: tuple[str, ...] = ()
    if e0_ev is None:
        found = find_edge(energy_ev, mean)
        e0_ev, sigma = found.e0_ev, spectra.error_of_mean(found.influence)
        reasons = _other_edges(spectra, mean, e0_ev, sigma)
    ranges = edge_ranges(energy_ev, float(e0_ev), pre_ev=pre_ev, post_ev=post_ev)
    ranges, doubt = judged_ranges(energy_ev, mean, ranges)
    steepness = 0.0
    if doubt and ranges.post_ev is not None:
        slope = (local_fits(energy_ev, np.array([ranges.e0_ev]), SMOOTH_EV, 1)[1] @ mean)[0]
        steepness = float(slope / (step_operator(energy_ev, ranges) @ mean))
    return MapEdge(ranges, sigma, (pre_ev, post_ev), doubt, steepness, reasons)


def _other_edges(
    spectra: PixelSpectra, mean: NDArray[np.float64], e0_ev: float, sigma_ev: float
) -> tuple[str, ...]:
    """Return a reason where the mean spectrum rises elsewhere as much as at e0, within errors, or nothing."""
    if sigma_ev > DOUBTFUL_EV:
        return (f"the energy of the edge is {e0_ev:.1f} eV with an error of {sigma_ev:.1f} eV; give it (e0)",)
    at = np.linspace(spectra.energy_ev[0], spectra.energy_ev[-1], OTHER_PLACES + 2)[1:-1]
    rows = local_fits(spectra.energy_ev, np.append(at, e0_ev), SMOOTH_EV, 1)[1]
    rise = rows @ mean
    near = np.append(np.abs(at - e0_ev) <= FARTHEST_EV, True)
    best = np.flatnonzero(near)[int(np.argmax(rise[near]))]
    others = np.flatnonzero(~near)
    lower_by = rise[best] - rise[others]
    competes = lower_by < COMPETE_SIGMAS * spectra.errors_of_mean(rows[best] - rows[others])
    if not competes.any():
        return ()
    other = float(at[others[competes]][int(np.argmin(lower_by[competes]))])
    return (
        f"the mean spectrum rises near {other:.1f} eV as steeply as at the edge at {e0_ev:.1f} eV, within "
        "errors; give the energy of the edge (e0)",
    )


def rough_edge_of(
    spectra: PixelSpectra, e0_ev: float | None, pre_ev: Range | None, post_ev: Range | None
) -> MapEdge:
    """Return an edge without lines: it is where the mean spectrum rises most, unless it is given.

    Two energies are enough.  The ranges are those that were given.
    """
    _require_pixels(spectra)
    check_ranges(spectra.energy_ev, e0_ev=e0_ev, pre_ev=pre_ev, post_ev=post_ev)
    at = steepest_ev(spectra.energy_ev, spectra.mean_spectrum) if e0_ev is None else float(e0_ev)
    return MapEdge(EdgeRanges(at, pre_ev, post_ev), 0.0 if e0_ev is not None else np.nan)


def _require_pixels(spectra: PixelSpectra) -> None:
    if not spectra.mask.any():
        raise EdgeError("no usable pixel is left, so there is no edge to map")


def step_of(spectra: PixelSpectra, ranges: EdgeRanges) -> Step:
    """Return the edge step of every pixel and its standard error."""
    operator = step_operator(spectra.energy_ev, ranges)
    return Step(spectra.apply(operator) @ spectra.images, spectra.error(operator))


def step_in_place(spectra: PixelSpectra, search: Search) -> Step:
    """Return what a search measures in every pixel, in place of a step."""
    found = measure(spectra, search)
    return Step(found.value, found.error)


def mean_difference(spectra: PixelSpectra, edge: MapEdge) -> Linear:
    """Return the search for the mean of the frames beyond the edge, less the mean of those below it."""
    energy_ev, ranges = spectra.energy_ev, edge.ranges
    below, beyond = energy_ev < ranges.e0_ev, energy_ev > ranges.e0_ev
    if ranges.pre_ev is not None:
        below = (energy_ev >= ranges.pre_ev[0]) & (energy_ev <= ranges.pre_ev[1])
    if ranges.post_ev is not None:
        beyond = (energy_ev >= ranges.post_ev[0]) & (energy_ev <= ranges.post_ev[1])
    return Linear.of(spectra, beyond / np.count_nonzero(beyond) - below / np.count_nonzero(below))


def _step_is_real(step: Step, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the step is large, compared with the stack's largest and with its own error, (P,)."""
    used = np.asarray(mask.ravel() & np.isfinite(step.height))
    if not used.any():
        return used
    largest = float(np.percentile(step.height[used], 95))
    # fmax ignores an unknown error
    least = np.fmax(max(MIN_STEP * largest, 0.0), MIN_STEP_SIGMAS * step.error)
    with np.errstate(invalid="ignore"):
        return np.asarray(used & (step.height > least))


def error_by_e0(
    spectra: PixelSpectra, edge: MapEdge, search_of: Callable[[EdgeRanges], Search] | None
) -> float:
    """Return the standard error that the error of e0 brings into a map, the same in all pixels.

    All pixels move alike, for the pre- and post-edge lines of all begin and end at the same energies.  How
    much they move is the root mean square over a sample of pixels.
    """
    if search_of is None or not edge.sigma_ev > 0:
        return 0.0
    used = np.flatnonzero(spectra.mask)
    images = spectra.images[:, used[:: -(-len(used) // E0_PIXELS)]]
    found = []
    for move in (-E0_MOVE_EV, E0_MOVE_EV):
        try:
            pre_ev, post_ev = edge.given
            e0_ev = edge.ranges.e0_ev + move
            moved = edge_ranges(spectra.energy_ev, e0_ev, pre_ev=pre_ev, post_ev=post_ev)
            if edge.ranges.pre_ev is None:
                moved = EdgeRanges(e0_ev, None, moved.post_ev, False, moved.post_is_default)
            found.append(search_of(moved).find(images).value)
        except EdgeError:  # no such edge in the scan
            return 0.0
    change = (found[1] - found[0]) / (2 * E0_MOVE_EV)
    change = np.sort(np.abs(change[np.isfinite(change)]))
    middle = change[: -(-len(change) * 9 // 10)]  # without pixels that jump to another crossing
    return float(np.sqrt(np.mean(middle**2))) * edge.sigma_ev if middle.size else 0.0


def rivals_text(found: Measured, good: NDArray[np.bool_], what: str, instead: str) -> tuple[str, ...]:
    """Return a reason against errors where other places compete in many pixels, or nothing."""
    away = found.away[good]
    competing = away[away > 0]
    if competing.size <= RIVALS * away.size:
        return ()
    return (
        f"in {100 * competing.size / away.size:.0f} % of the pixels other {what} are as high within errors, "
        f"about {np.median(competing):.2g} eV away, so the map may jump between them; {instead}",
    )


def dataset(
    spectra: PixelSpectra,
    edge: MapEdge,
    kind: str,
    found: Measured,
    step: Step,
    *,
    definition: str,
    needs_step: bool = True,
    common: float | NDArray[np.float64] = 0.0,
    more: dict[str, NDArray[Any]] | None = None,
    mask: NDArray[np.bool_] | None = None,
    facts: dict[str, Any] | None = None,
    reasons: Callable[[NDArray[np.bool_]], Sequence[str]] = lambda mask: (),
) -> xr.Dataset:
    """Return a map and its errors as images (Y, X), and the mask of the pixels in which it means something.

    Parameters
    ----------
    spectra : PixelSpectra
    edge : MapEdge
    kind : str
        Of the map, a key of `KINDS`.
    found : Measured
        The map.
    step : Step
        Pixels whose step is small, or within its error, are left out, if the map `needs_step`.
    definition : str
        What was computed, in one sentence.
    common : float or ndarray (P,)
        Error that comes on top, in quadrature.
    more : dict
        Other images (P,) by their names.
    mask : ndarray (P,), optional
        Pixels that may have a value besides.
    facts : dict, optional
        More attributes.
    reasons : callable
        From the mask (Y, X) to sentences why the errors may not hold.
    """
    shape, told = spectra.mask.shape, KINDS[kind]
    good = spectra.mask.ravel() & np.isfinite(found.value)
    if needs_step:
        good = good & _step_is_real(step, spectra.mask)
    good = (good if mask is None else good & mask).reshape(shape)
    value = found.value if told.unit == "eV" else found.value.astype(np.float32)
    maps: dict[str, NDArray[Any]] = {  # energies in float64: an edge at 8 keV moves by parts of an eV
        told.variable: value,
        told.error: np.hypot(found.error, common).astype(np.float32),
        "exposure_gain": found.exposure_gain.astype(np.float32),
        **(more or {}),
    }
    maps.setdefault("edge_step", step.height.astype(np.float32))
    maps["mask"] = good
    images = xr.Dataset(
        {name: (("y", "x"), image.reshape(shape)) for name, image in maps.items()},
        coords={name: spectra.source[name] for name in ("y", "x") if name in spectra.source.coords},
    )
    images[told.variable].attrs = {"units": told.unit, "long_name": told.label, "error": told.error}
    ranges, said = edge.ranges, (*spectra.reasons, *edge.reasons, *reasons(good))
    images.attrs = {
        "kind": kind,
        "definition": definition,
        "e0_ev": ranges.e0_ev,
        "pre_ev": ranges.pre_ev,
        "post_ev": ranges.post_ev,
        "e0_sigma_ev": edge.sigma_ev,
        "sigma_by_e0_ev": 0.0,
        **(facts or {}),
        "intervals_hold": not said,
        "reasons": list(said),
    }
    return images


def lines_text(ranges: EdgeRanges) -> str:
    """Return which lines flatten a spectrum, in words."""
    if ranges.pre_ev is None:
        return "nothing is subtracted, as there are too few energies below the edge"
    pre = f"the line through {range_text(ranges.pre_ev)} is subtracted"
    if ranges.post_ev is None:
        return pre
    slope = f"the slope of that through {range_text(ranges.post_ev)}"
    return f"{pre}; beyond e0 = {ranges.e0_ev:.2f} eV, also {slope}"


def range_text(limits: Range) -> str:
    """Return a range in words."""
    return f"{limits[0]:.2f} to {limits[1]:.2f} eV"
