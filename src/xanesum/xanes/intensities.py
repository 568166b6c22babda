"""Maps of intensities: edge step, height and area of the white line, two peaks, bands, two energies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.labelling import Step, labelled_map, mean_difference, step_of
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.map_edge import MapEdge, error_by_e0, map_edge, rough_map_edge
from xanesum.xanes.measuring import Linear, Measured, Ratio, Search, measure
from xanesum.xanes.normalization import (
    MIN_ENERGIES,
    EdgeRanges,
    Range,
    flattened,
    step_operator,
)
from xanesum.xanes.peaks import PLACES, PeakAreas, PeakHeights, Peaks
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = [
    "edge_step",
    "is_sure",
    "two_in_scan",
    "two_peaks",
    "white_line_area",
    "white_line_height",
    "without_pre_edge",
]

PEAK_SHARE = 0.5  # a maximum counts that is this high, as a share of the highest one of its pixel
LEAST_PEAK = 0.02  # share of the maxima that a second peak must have to be found
PEAK_PIXELS = 4096  # pixels in which maxima are counted, about
SURE = 3.0  # a denominator counts if it is above 0 by this many standard errors


def white_line_height(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
) -> xr.Dataset:
    """Map the height of the white line over the edge step.

    The height is that of the highest maximum from 5 eV below e0 to 15 eV above, of the flattened and smoothed
    spectrum, see `Peaks`.  Takes and returns the same as `half_step_energy`, with ``white_line_height`` and
    ``white_line_height_sigma``.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    _require_lines(edge, spectra, "the height of a white line over the edge step")

    def search_of(ranges: EdgeRanges) -> Search:
        step = step_operator(spectra.energy_ev, ranges)
        return PeakHeights.of(spectra, Peaks.of(spectra, ranges), step)

    definition = f"{_maximum_text(spectra, edge)}, over the edge step at e0"
    return _over_step(spectra, edge, "white_line_height", search_of, definition)


def white_line_area(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
) -> xr.Dataset:
    """Map the area of the white line above the edge step, over the edge step, in eV.

    It is the area around the highest maximum, up to where the flattened and smoothed spectrum falls to the
    step on both sides, or to the end of the range of `white_line`.  Pixels whose maximum is not above the
    step have no value.  Takes and returns the same as `half_step_energy`, with ``white_line_area_ev`` and
    ``white_line_area_ev_sigma``.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    _require_lines(edge, spectra, "the area of a white line above the edge step")

    def search_of(ranges: EdgeRanges) -> Search:
        step = step_operator(spectra.energy_ev, ranges)
        return PeakAreas.of(spectra, Peaks.of(spectra, ranges), step)

    definition = (
        f"area between the spectrum and the edge step, around the maximum, over the edge step; "
        f"{_maximum_text(spectra, edge)}"
    )
    maps = _over_step(spectra, edge, "white_line_area", search_of, definition)
    if not maps["mask"].values.any():
        raise EdgeError("no pixel has a white line above its edge step, so there is no area to map")
    return maps


def _maximum_text(spectra: PixelSpectra, edge: MapEdge) -> str:
    lines = edge.ranges.definition(spectra.energy_ev)
    return f"the maximum is that of the spectrum smoothed by parabolas near e0; {lines}"


def _require_lines(edge: MapEdge, spectra: PixelSpectra, what: str) -> None:
    """Raise EdgeError if the edge lacks a line."""
    if not edge.has_lines:
        side = "below the edge" if edge.ranges.pre_ev is None else "beyond the white line"
        raise EdgeError(
            f"too few energies {side} (edge at {edge.ranges.e0_ev:.1f} eV, scan {spectra.energy_ev[0]:.1f} "
            f"... {spectra.energy_ev[-1]:.1f} eV) for {what}",
            parameter="kind",
        )


def _over_step(
    spectra: PixelSpectra,
    edge: MapEdge,
    kind: str,
    search_of: Callable[[EdgeRanges], Search],
    definition: str,
) -> xr.Dataset:
    """Return a map of something over the edge step."""
    found = measure(spectra, search_of(edge.ranges))
    by_e0 = error_by_e0(spectra, edge, search_of)
    doubt = edge.step_doubt * np.abs(np.nan_to_num(found.value))
    return labelled_map(
        spectra,
        edge,
        kind,
        found,
        step_of(spectra, edge.ranges),
        definition=definition,
        common=np.hypot(by_e0, doubt),
        facts={"sigma_by_e0": by_e0},
    )


def edge_step(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
) -> xr.Dataset:
    """Map the edge step, which is proportional to the thickness of the element.

    It is the post-edge line less the pre-edge line at e0.  A scan that has no pre- or no post-edge range, or
    fewer than five energies, gets the mean of the frames beyond the edge less the mean of those below it;
    its edge is where the mean spectrum rises most.  Takes and returns the same as `half_step_energy`, with
    ``edge_step`` and ``edge_step_sigma``.
    """
    spectra = pixel_spectra_of(data)
    edge = None
    if len(spectra.energy_ev) >= MIN_ENERGIES:
        edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    by_e0: float | NDArray[np.float64] = 0.0
    if edge is not None and edge.has_lines:
        search, by_e0 = _step_of_lines(spectra, edge)
        definition = (
            f"post-edge line less pre-edge line at e0 = {edge.ranges.e0_ev:.2f} eV; "
            f"{edge.ranges.definition(spectra.energy_ev)}"
        )
    else:
        if normalization is not None:
            raise EdgeError(
                "a map of the edge step without lines is a difference of means of frames; leave out the "
                "normalization",
                parameter="lines",
            )
        edge = rough_map_edge(spectra, e0_ev, pre_ev, post_ev)
        search = mean_difference(spectra, edge)
        definition = f"mean of the frames beyond {edge.ranges.e0_ev:.2f} eV less the mean of those below it"
        if pre_ev or post_ev:
            definition += ", or of those in the ranges that were given"
    found = measure(spectra, search)
    step = Step(found.value, found.error)
    said: tuple[str, ...] = ()
    if not edge.has_lines and len(spectra.energy_ev) >= MIN_ENERGIES:
        said = (
            "too few energies below the edge or beyond the white line for lines, so the step holds the shape "
            "of the edge; it can be compared within this scan only",
        )
    return labelled_map(
        spectra,
        edge,
        "edge_step",
        found,
        step,
        definition=definition,
        common=by_e0,
        reasons=lambda mask: said,
    )


def _step_of_lines(spectra: PixelSpectra, edge: MapEdge) -> tuple[Linear, NDArray[np.float64]]:
    """Return the search for the step of the lines, and the error (P,) by e0 and by a doubtful pre-edge."""
    energy_ev, ranges = spectra.energy_ev, edge.ranges
    row = step_operator(energy_ev, ranges)
    higher = step_operator(energy_ev, replace(ranges, e0_ev=ranges.e0_ev + 1.0)) - row  # the lines stay
    by_e0 = np.nan_to_num(edge.sigma_ev) * (spectra.apply(higher) @ spectra.images)
    doubt = edge.step_doubt * (spectra.apply(row) @ spectra.images)
    return Linear.of(spectra, row), np.hypot(by_e0, doubt)


def two_peaks(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
    at_ev: Range | None = None,
) -> xr.Dataset:
    """Map the ratio of the heights of two peaks of the white line, and both heights.

    Where two maxima compete, as in L3 edges of mixed iron, the heights at both energies say more than the
    position of the higher one.  Heights are those of parabolas fitted near each energy, above the pre-edge
    line if there is one.

    Takes and returns the same as `half_step_energy`, with ``peak_ratio`` and ``peak_ratio_sigma``, and with
    ``first_height`` and ``second_height`` and their errors, in the unit of the stack.

    Parameters
    ----------
    data, e0_ev, pre_ev, post_ev, normalization
        As there.
    at_ev : (float, float), optional
        Energies of the peaks; by default those near which most pixels have a maximum.

    Raises
    ------
    EdgeError
        As there, or if all pixels have their maximum near the same energy.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    ranges = replace(edge.ranges, post_ev=None)
    peaks = Peaks.of(spectra, ranges)
    first, second = _peak_energies(spectra, peaks) if at_ev is None else two_in_scan(spectra, at_ev)
    spacing = float(peaks.places_ev[1] - peaks.places_ev[0])
    half_width = min(PLACES * spacing, (second - first) / 2)
    fits = local_fits(spectra.energy_ev, np.array([first, second]), half_width, 2)[0]
    rows = flattened(fits, spectra.energy_ev, ranges)
    heights = [measure(spectra, Linear.of(spectra, row)) for row in rows]
    definition = (
        f"height at {first:.2f} eV over that at {second:.2f} eV, both of parabolas fitted within "
        f"{half_width:.2f} eV; {ranges.definition(spectra.energy_ev)}"
    )
    more: dict[str, NDArray[np.floating]] = {}
    for name, height in zip(("first_height", "second_height"), heights, strict=True):
        more |= {name: height.value.astype(np.float32), f"{name}_sigma": height.error.astype(np.float32)}
    return labelled_map(
        spectra,
        edge,
        "two_peaks",
        measure(spectra, Ratio.of(spectra, *rows)),
        Step(heights[0].value + heights[1].value, np.hypot(heights[0].error, heights[1].error)),
        definition=definition,
        more=more,
        mask=is_sure(heights[1]),
        facts={"at_ev": (first, second)},
        reasons=lambda mask: without_pre_edge(ranges),
    )


def without_pre_edge(ranges: EdgeRanges) -> tuple[str, ...]:
    """Return a reason why a ratio may be wrong as one of the element alone, or nothing."""
    if ranges.pre_ev is not None:
        return ()
    return ("the scan has no pre-edge range, so the ratio holds what absorbs besides the edge",)


def _peak_energies(spectra: PixelSpectra, peaks: Peaks) -> tuple[float, float]:
    """Return the two energies near which most pixels have a high maximum."""
    used = np.flatnonzero(spectra.mask)
    found = peaks.find(spectra.images[:, used[:: -(-len(used) // PEAK_PIXELS)]])
    high = found.tops & (found.values[:, :-1] > PEAK_SHARE * found.height[:, None])
    places = np.nonzero(high[np.isfinite(found.energy_ev)])[1]
    if not places.size:
        raise EdgeError("no pixel has a maximum near the edge; give two energies", parameter="at_ev")
    counts = np.bincount(places, minlength=len(peaks.places_ev)).astype(float)
    counts = np.convolve(counts, np.ones(PLACES + 1), "same")  # within half a window
    best = int(np.argmax(counts))
    others = counts * (np.abs(np.arange(len(counts)) - best) > PLACES)
    other = int(np.argmax(others))
    if others[other] < LEAST_PEAK * places.size:
        raise EdgeError(
            f"nearly all pixels have their maximum near {peaks.places_ev[best]:.2f} eV, so there is no "
            "second peak to compare with; give two energies",
            parameter="at_ev",
        )
    energies = []
    for near in sorted((best, other)):
        own = places[np.abs(places - near) <= PLACES // 2]
        energies.append(float(np.interp(own.mean() + 0.5, np.arange(len(counts)), peaks.places_ev)))
    return energies[0], energies[1]


def two_in_scan(spectra: PixelSpectra, at_ev: Range) -> tuple[float, float]:
    """Return two energies that the scan holds, in ascending order, or raise EdgeError."""
    first, second = sorted(float(each) for each in at_ev)
    low, high = spectra.energy_ev[0], spectra.energy_ev[-1]
    if not low <= first < second <= high:
        raise EdgeError(
            f"two different energies of the scan ({low:g} ... {high:g} eV) are needed, got {at_ev[0]:g} and "
            f"{at_ev[1]:g} eV",
            parameter="at_ev",
        )
    return first, second


def is_sure(below: Measured) -> NDArray[np.bool_]:
    """Return where a denominator (P,) is surely above 0; where its error is unknown, where it is above 0."""
    return np.asarray(below.value > np.fmax(SURE * below.error, 0.0))
