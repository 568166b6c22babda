"""The edge of a map: its energy, the lines of all pixels, and the errors that both bring into the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.normalization import (
    EdgeRanges,
    Range,
    edge_ranges,
    find_edge,
    judged_ranges,
    normalized_ranges,
)
from xanesum.xanes.pixel_spectra import PixelSpectra
from xanesum.xanes.steepest import steepest_e0_ev

__all__ = ["MapEdge", "Positions", "influence_of_e0", "map_edge"]

E0_MOVE_EV = 0.25  # e0 is moved by this much each way, to see how the map follows ...
E0_PIXELS = 256  # ... in about this many pixels
E0_DRAWS = 64  # mean spectra that are drawn for the error of the steepest rise

# from ranges and the images of p pixels to the map's values (p,)
Positions = Callable[[EdgeRanges, NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class MapEdge:
    """The edge of a map, and how well its energy is known."""

    ranges: EdgeRanges
    sigma_ev: float  # standard error of e0; 0 if it was given, NaN if unknown
    given: tuple[Range | None, Range | None]  # ranges that the user gave
    # error of a half-step energy, as the edge may rise in the pre-edge range already, or slopes differ
    pre_doubt_ev: float = 0.0

    def moved(self, energy_ev: NDArray[np.float64], by_ev: float) -> EdgeRanges:
        """Return the ranges for an edge that lies elsewhere."""
        e0_ev = self.ranges.e0_ev + by_ev
        if self.ranges.normalization is not None:
            return normalized_ranges(energy_ev, e0_ev, self.ranges.normalization)
        return edge_ranges(energy_ev, e0_ev, pre_ev=self.given[0], post_ev=self.given[1])


def map_edge(
    spectra: PixelSpectra,
    e0_ev: float | None,
    pre_ev: Range | None,
    post_ev: Range | None,
    normalization: Normalization | None = None,
) -> MapEdge:
    """Return the edge of a map; its energy is found in the mean spectrum unless it is given.

    With a normalization as in Larch, it is where the mean spectrum is steepest, else where it has risen by
    half of its step.

    Raises
    ------
    EdgeError
        If there is no usable pixel or no edge; or if ranges are given twice.
    """
    if not spectra.mask.any():
        raise EdgeError("no usable pixel is left, so there is no edge to map")
    if normalization is not None:
        if pre_ev is not None or post_ev is not None:
            raise EdgeError(
                "a normalization as in Larch has ranges relative to e0 of its own; leave out pre and post",
                parameter="pre_ev" if pre_ev is not None else "post_ev",
            )
        return _with_normalization(spectra, e0_ev, normalization)
    sigma = 0.0
    if e0_ev is None:
        found = find_edge(spectra.energy_ev, spectra.mean_spectrum)
        e0_ev, sigma = found.e0_ev, spectra.error_of_mean(found.influence)
    ranges = edge_ranges(spectra.energy_ev, float(e0_ev), pre_ev=pre_ev, post_ev=post_ev)
    ranges, doubt = judged_ranges(spectra.energy_ev, spectra.mean_spectrum, ranges)
    return MapEdge(ranges, sigma, (pre_ev, post_ev), doubt)


def influence_of_e0(spectra: PixelSpectra, edge: MapEdge, positions: Positions) -> float:
    """Return by how much the map moves with e0, eV per eV: root mean square over a sample of pixels.

    All pixels move alike, for the pre- and post-edge lines of all begin and end at the same energies.
    """
    used = np.flatnonzero(spectra.mask)
    images = spectra.images[:, used[:: -(-len(used) // E0_PIXELS)]]
    found = []
    for move in (-E0_MOVE_EV, E0_MOVE_EV):
        try:
            found.append(positions(edge.moved(spectra.energy_ev, move), images))
        except EdgeError:  # no such edge in the scan
            return float("nan")
    change = (found[1] - found[0]) / (2 * E0_MOVE_EV)
    change = np.sort(np.abs(change[np.isfinite(change)]))
    middle = change[: -(-len(change) * 9 // 10)]  # without pixels that jump to another crossing
    return float(np.sqrt(np.mean(middle**2))) if middle.size else float("nan")


def _with_normalization(spectra: PixelSpectra, e0_ev: float | None, normalization: Normalization) -> MapEdge:
    energy_ev, mean, sigma = spectra.energy_ev, spectra.mean_spectrum, 0.0
    if e0_ev is None:
        e0_ev = steepest_e0_ev(energy_ev, mean)
        sigma = _error_of_steepest(spectra, e0_ev)
    settings = normalization.with_shared_slope(energy_ev, mean, float(e0_ev))
    ranges = normalized_ranges(energy_ev, float(e0_ev), settings)
    ranges, doubt = judged_ranges(energy_ev, mean, ranges)
    if settings.shared_slope and ranges.pre_ev is not None:
        doubt = float(np.hypot(doubt, _doubt_of_shared_slope(spectra, ranges)))
    return MapEdge(ranges, sigma, (None, None), doubt)


def _error_of_steepest(spectra: PixelSpectra, e0_ev: float) -> float:
    """Return the standard error of the energy at which the mean spectrum is steepest; NaN where unknown.

    Mean spectra are drawn with the error of the mean.  To their spread comes that of an energy which can only
    be one of the scan's.
    """
    covariance = spectra.covariance_of_mean()
    if covariance is None:
        return float("nan")
    mean, energy_ev = spectra.mean_spectrum, spectra.energy_ev
    drawn = np.random.default_rng(0).multivariate_normal(mean, covariance, E0_DRAWS, method="eigh")
    found = np.array([steepest_e0_ev(energy_ev, each) for each in drawn])
    spacing = float(np.interp(e0_ev, energy_ev, np.gradient(energy_ev)))
    return float(np.sqrt(np.mean((found - e0_ev) ** 2) + spacing**2 / 12))


def _doubt_of_shared_slope(spectra: PixelSpectra, ranges: EdgeRanges) -> float:
    """Return the error of a half-step energy in eV because slopes differ more than their errors say.

    A slope per step that is wrong by d moves the pre-edge line at e0 by d times the distance from the middle
    of its range, and half of that remains after the division by the step.
    """
    settings = ranges.normalization
    if settings is None or settings.slope is None:
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
