"""The edge of a map: its energy, the lines of all pixels, and the errors that both bring into the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.measuring import COMPETE_SIGMAS, Search
from xanesum.xanes.normalization import (
    FARTHEST_EV,
    SMOOTH_EV,
    EdgeRanges,
    Range,
    check_ranges,
    edge_ranges,
    find_edge,
    judged_ranges,
    normalized_ranges,
    step_operator,
)
from xanesum.xanes.pixel_spectra import PixelSpectra
from xanesum.xanes.steepest import steepest_e0_ev, steepest_ev

__all__ = ["MapEdge", "error_by_e0", "map_edge", "rough_map_edge"]

E0_MOVE_EV = 0.25  # e0 is moved by this much each way, to see how the map follows ...
E0_PIXELS = 256  # ... in about this many pixels
E0_DRAWS = 64  # mean spectra that are drawn for the error of the steepest rise
DOUBTFUL_EV = 2.0  # an edge that is known no better is doubtful
OTHER_PLACES = 200  # energies at which the slope of the mean spectrum is compared with that at the edge


@dataclass(frozen=True, slots=True)
class MapEdge:
    """The edge of a map, and how well it is known."""

    ranges: EdgeRanges
    sigma_ev: float = np.nan  # standard error of e0; 0 if it was given, NaN if unknown
    given: tuple[Range | None, Range | None] = (None, None)  # ranges that the user gave
    # error of a half-step energy, as the edge may rise in the pre-edge range already, or slopes differ
    pre_doubt_ev: float = 0.0
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

    def moved(self, energy_ev: NDArray[np.float64], by_ev: float) -> EdgeRanges:
        """Return the ranges for an edge that lies elsewhere."""
        e0_ev = self.ranges.e0_ev + by_ev
        if self.ranges.normalization is not None:
            found = normalized_ranges(energy_ev, e0_ev, self.ranges.normalization)
        else:
            found = edge_ranges(energy_ev, e0_ev, pre_ev=self.given[0], post_ev=self.given[1])
        return found if self.ranges.pre_ev is not None else replace(found, pre_ev=None, pre_is_default=False)


def map_edge(
    spectra: PixelSpectra,
    e0_ev: float | None,
    pre_ev: Range | None,
    post_ev: Range | None,
    normalization: Normalization | None = None,
) -> MapEdge:
    """Return the edge of a map with the ranges of its lines; it is found in the mean spectrum unless given.

    With a normalization as in Larch, it is where the mean spectrum is steepest, else where it has risen by
    half of its step.

    Raises
    ------
    EdgeError
        If there is no usable pixel or no edge, if a range that is given is impossible, or ranges are given
        twice.
    """
    _require_pixels(spectra)
    if normalization is not None and (pre_ev is not None or post_ev is not None):
        raise EdgeError(
            "a normalization as in Larch has ranges relative to e0 of its own; leave out pre and post",
            parameter="pre_ev" if pre_ev is not None else "post_ev",
        )
    energy_ev, mean, sigma = spectra.energy_ev, spectra.mean_spectrum, 0.0
    reasons: tuple[str, ...] = ()
    if e0_ev is None:
        e0_ev, sigma = _found(spectra, steepest=normalization is not None)
        reasons = _other_edges(spectra, mean, e0_ev, sigma)
    if normalization is None:
        ranges = edge_ranges(energy_ev, float(e0_ev), pre_ev=pre_ev, post_ev=post_ev)
    else:
        settings = normalization.with_shared_slope(energy_ev, mean, float(e0_ev))
        ranges = normalized_ranges(energy_ev, float(e0_ev), settings)
    ranges, doubt = judged_ranges(energy_ev, mean, ranges)
    doubt = float(np.hypot(doubt, _doubt_of_shared_slope(spectra, ranges)))
    steepness = 0.0
    if doubt and ranges.post_ev is not None:
        slope = (local_fits(energy_ev, np.array([ranges.e0_ev]), SMOOTH_EV, 1)[1] @ mean)[0]
        steepness = float(slope / (step_operator(energy_ev, ranges) @ mean))
    return MapEdge(ranges, sigma, (pre_ev, post_ev), doubt, steepness, reasons)


def _found(spectra: PixelSpectra, *, steepest: bool) -> tuple[float, float]:
    """Return the energy of the edge of the mean spectrum, half of its step or steepest, and its error."""
    if steepest:
        e0_ev = steepest_e0_ev(spectra.energy_ev, spectra.mean_spectrum)
        return e0_ev, _error_of_steepest(spectra, e0_ev)
    found = find_edge(spectra.energy_ev, spectra.mean_spectrum)
    return found.e0_ev, spectra.error_of_mean(found.influence)


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


def rough_map_edge(
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


def error_by_e0(spectra: PixelSpectra, edge: MapEdge, search_of: Callable[[EdgeRanges], Search]) -> float:
    """Return the standard error that the error of e0 brings into a map, the same in all pixels.

    All pixels move alike, for the pre- and post-edge lines of all begin and end at the same energies.  How
    much they move is the root mean square over a sample of pixels.
    """
    if not edge.sigma_ev > 0:
        return 0.0
    used = np.flatnonzero(spectra.mask)
    images = spectra.images[:, used[:: -(-len(used) // E0_PIXELS)]]
    found = []
    for move in (-E0_MOVE_EV, E0_MOVE_EV):
        try:
            found.append(search_of(edge.moved(spectra.energy_ev, move)).find(images).value)
        except EdgeError:  # no such edge in the scan
            return 0.0
    change = (found[1] - found[0]) / (2 * E0_MOVE_EV)
    change = np.sort(np.abs(change[np.isfinite(change)]))
    middle = change[: -(-len(change) * 9 // 10)]  # without pixels that jump to another crossing
    return float(np.sqrt(np.mean(middle**2))) * edge.sigma_ev if middle.size else 0.0


def _error_of_steepest(spectra: PixelSpectra, e0_ev: float) -> float:
    """Return the standard error of the energy at which the mean spectrum is steepest; NaN where unknown.

    Mean spectra are drawn with the error of the mean.  To their spread comes that of an energy which can only
    be one of the scan's.
    """
    covariance = spectra.covariance_of_mean()
    if covariance is None:
        return float("nan")
    mean, energy_ev = spectra.mean_spectrum, spectra.energy_ev
    drawn = mean + covariance.drawn(E0_DRAWS, np.random.default_rng(0))
    found = np.array([steepest_e0_ev(energy_ev, each) for each in drawn])
    spacing = float(np.interp(e0_ev, energy_ev, np.gradient(energy_ev)))
    return float(np.sqrt(np.mean((found - e0_ev) ** 2) + spacing**2 / 12))


def _doubt_of_shared_slope(spectra: PixelSpectra, ranges: EdgeRanges) -> float:
    """Return the error of a half-step energy in eV because slopes differ more than their errors say, or 0.

    A slope per step that is wrong by d moves the pre-edge line at e0 by d times the distance from the middle
    of its range, and half of that remains after the division by the step.
    """
    settings = ranges.normalization
    if settings is None or settings.slope is None or ranges.pre_ev is None:
        return 0.0
    own = replace(settings, shared_slope=False, slope=None).lines(spectra.energy_ev, ranges.e0_ev)
    excess = own.pre[1] - settings.slope * own.step
    used = spectra.mask.ravel()
    images = spectra.images[:, used]
    values, steps = spectra.apply(excess) @ images, spectra.apply(own.step) @ images
    errors = np.nan_to_num(spectra.error(excess)[used])
    spread = np.sqrt(max(float(np.mean(values**2 - errors**2)), 0.0) / float(np.mean(steps**2)))
    at = own.energy_ev[own.pre_range]
    distance = (ranges.e0_ev - float(at.mean())) / float(own.energy_ev[-1] - own.energy_ev[0])
    mean = own.applied(np.asarray(spectra.mean_spectrum, np.float64)).norm
    return float(0.5 * spread * distance / np.max(np.gradient(mean) / np.gradient(own.energy_ev)))
