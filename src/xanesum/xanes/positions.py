"""Maps of energies: half step, half of the white line, largest derivative, position of the white line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.crossings import HalfSteps, HalfWhiteLines
from xanesum.xanes.labelling import Step, labelled_map, mean_difference, rivals_text, step_in_place, step_of
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.local_fit import SPACINGS, local_fits
from xanesum.xanes.map_edge import MapEdge, error_by_e0, map_edge
from xanesum.xanes.measuring import Measured, Search, measure
from xanesum.xanes.normalization import EdgeRanges, Range, flattened
from xanesum.xanes.peaks import PeakHeights, PeakPositions, Peaks, limits_near, places_of
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = ["half_step_energy", "half_white_line", "largest_derivative", "shifted", "white_line"]

STEEPEST_EV = (-20.0, 15.0)  # range, relative to e0, in which the largest derivative is looked for
RISE_SHARE = 0.25  # half width of its window, as a share of the width of the rise of the mean spectrum ...
RISE_EV = (0.5, 3.0)  # ... but at least and at most this many eV
FINE_EV = 0.05  # distance of the energies at which two forms of the slope are compared ...
COMPARED_EV = 4.0  # ... this near to the largest one
SMOOTHED_PIXELS, SMOOTHED_GROUPS = 2048, 8  # pixels, and groups of them, whose maxima are looked at again
NO_SHIFT = (0.0, 0.0)

# --- A map that jumps
JUMP_SHARE = 0.01  # this share of the energies at each end is left out in a search for a gap ...
JUMP_EV, JUMP_SIGMAS = 0.5, 6.0  # ... of at least this many eV, and this many median standard errors
LEAST_PIXELS = 10  # of a map in which a gap is looked for
MIXTURES = 21  # mixtures of both sides of the gap that are looked at
INSTEAD = "the map two_peaks has the heights at both, and their ratio"


def half_step_energy(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
    shift_ev: tuple[float, float] = NO_SHIFT,
) -> xr.Dataset:
    """Map the energy at half of the edge step.

    Each spectrum is flattened: the pre-edge line becomes 0, the post-edge line 1.  The last upward crossing
    of 0.5 before the maximum (the white line) is interpolated linearly.

    The standard error: at the half-step energy, the flattened spectrum less half its step is zero.  The error
    of this difference, divided by its slope, is that of the energy.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        A result, which is fast because it has few components, or any stack.
    e0_ev : float, optional
        Edge energy; the half-step energy of the mean spectrum by default, see `find_edge`.
    pre_ev, post_ev : (float, float), optional
        Ranges in eV of the pre- and post-edge lines; see `edge_ranges` for the defaults.
    normalization : Normalization, optional
        Lines as in Larch and Athena instead, with ranges relative to e0.
    shift_ev : (float, float)
        Shift that is added to all energies, and its standard error, as from `foil_shift`.  The edge and the
        ranges are meant without it.

    Returns
    -------
    Dataset
        ``half_step_energy_ev``; ``half_step_sigma_ev`` (standard error, from the errors of the data; NaN
        where unknown); ``exposure_gain`` (variance without denoising over variance with it: without
        denoising, an exposure longer by this factor would have been needed); ``edge_step`` (unit of the
        stack); ``mask`` (pixels in which the map means something).
        Attributes: ``kind``; ``definition`` (what was computed, in one sentence); ``e0_ev``, ``pre_ev``,
        ``post_ev``; ``e0_sigma_ev`` (standard error of e0; 0 if it was given, NaN where unknown) and
        ``sigma_by_e0_ev`` (the part of it in the errors of the map, the same in all pixels);
        ``intervals_hold`` and ``reasons`` (whether the errors hold, and why not).

    Raises
    ------
    EdgeError
        If there is no edge, or no usable pre- or post-edge range.
    StackError
        If a stack breaks the rules.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    search = HalfSteps.of(spectra, edge.ranges)
    definition = (
        "energy of the last upward crossing of half of the edge step before the maximum, interpolated "
        f"linearly; {edge.ranges.definition(spectra.energy_ev)}"
    )
    maps = _energies(
        spectra, edge, "half_step", search, lambda moved: HalfSteps.of(spectra, moved), definition
    )
    return shifted(maps, shift_ev)


def half_white_line(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
    shift_ev: tuple[float, float] = NO_SHIFT,
) -> xr.Dataset:
    """Map the energy at which the spectrum rises through half of the height of its white line.

    The height is measured from the pre-edge line, and no post-edge line is needed.  Takes and returns the
    same as `half_step_energy`, with ``half_white_line_ev`` and ``half_white_line_ev_sigma``.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    search = HalfWhiteLines.of(spectra, edge.ranges)
    definition = (
        "energy of the last upward crossing of half of the height of the white line before its maximum, "
        "interpolated linearly; the height is that of a parabola fitted to the spectrum near the maximum; "
        f"{replace(edge.ranges, post_ev=None).definition(spectra.energy_ev)}"
    )
    maps = _energies(
        spectra, edge, "half_white_line", search, lambda moved: HalfWhiteLines.of(spectra, moved), definition
    )
    return shifted(maps, shift_ev)


def white_line(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
    shift_ev: tuple[float, float] = NO_SHIFT,
) -> xr.Dataset:
    """Map the position of the white line: the maximum from 5 eV below e0 to 15 eV above; see `Peaks`.

    The maximum is where the slope of a parabola, fitted near it, is zero.  A spectrum that is steeper on one
    side than on the other has it elsewhere.  By how much is added to the standard errors
    (``sigma_by_smoothing_ev``).

    Where two maxima compete, as in L3 edges of mixed iron, the map jumps from one to the other.  Then
    ``reasons`` says so, and `two_peaks` is the map to make.

    Takes and returns the same as `half_step_energy`, with ``white_line_ev`` and ``white_line_sigma_ev``.  If
    the scan has no pre-edge or no post-edge range, ``edge_step`` is the height of the white line.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    peaks = Peaks.of(spectra, edge.ranges)
    step = None if edge.has_lines else step_in_place(spectra, PeakHeights.of(spectra, peaks, None))
    definition = (
        f"energy of the highest maximum from {peaks.places_ev[0]:.2f} to {peaks.places_ev[-1]:.2f} eV of the "
        f"spectrum smoothed by parabolas; {edge.ranges.definition(spectra.energy_ev)}"
    )
    maps = _energies(
        spectra,
        edge,
        "white_line",
        PeakPositions.of(peaks),
        lambda moved: PeakPositions.of(Peaks.of(spectra, moved)),
        definition,
        step=step,
        more=("sigma_by_smoothing_ev", _top_by_smoothing(spectra, edge.ranges, peaks)),
    )
    return shifted(maps, shift_ev)


def largest_derivative(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
    shift_ev: tuple[float, float] = NO_SHIFT,
) -> xr.Dataset:
    """Map the energy at which the spectrum rises most, from 20 eV below e0 to 15 eV above.

    Neither a pre-edge nor a post-edge line is needed.  The slope is that of a parabola fitted near each
    energy, within about a quarter of the width of the rise.  Where energies are sparse it is smoothed more,
    which moves its maximum.  A cubic in place of the parabola tells by how much: half of the difference, in
    the mean spectrum, is added to the standard errors (``sigma_by_smoothing_ev``).

    Takes and returns the same as `half_step_energy`, with ``largest_derivative_ev`` and
    ``largest_derivative_ev_sigma``.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    half_width = _rise_half_width(spectra, edge)
    peaks = _slopes(spectra, edge.ranges, half_width)
    step = None if edge.has_lines else step_in_place(spectra, mean_difference(spectra, edge))
    definition = (
        f"energy of the largest slope from {peaks.places_ev[0]:.2f} to {peaks.places_ev[-1]:.2f} eV; the "
        f"slope is that of a parabola fitted to the spectrum within {half_width:.2f} eV, or more where "
        "energies are sparse"
    )
    maps = _energies(
        spectra,
        edge,
        "largest_derivative",
        PeakPositions.of(peaks),
        lambda moved: PeakPositions.of(_slopes(spectra, moved, half_width)),
        definition,
        step=step,
        more=("sigma_by_smoothing_ev", _by_smoothing(spectra, peaks, half_width)),
    )
    return shifted(maps, shift_ev)


def _top_by_smoothing(spectra: PixelSpectra, ranges: EdgeRanges, peaks: Peaks) -> float:
    """Return by how much in eV smoothing moves the maxima, rms over groups of pixels of similar maxima.

    A maximum moves by the square of the width of the window.  So half of the window makes three quarters of
    it.  Where energies are too sparse for half of the window, a cubic takes the place of the parabola.
    Spectra are means over the pixels of a group, in which noise is small.
    """
    used = np.flatnonzero(spectra.mask)
    images = spectra.images[:, used[:: -(-len(used) // SMOOTHED_PIXELS)]]
    found = peaks.find(images).energy_ev
    order = np.argsort(found)[: np.count_nonzero(np.isfinite(found))]
    moved = []
    for group in np.array_split(order, min(SMOOTHED_GROUPS, max(len(order), 1))):
        if group.size:
            near = float(np.median(found[group]))
            mean = images[:, group].mean(axis=1, dtype=np.float64)
            spectrum = mean if spectra.basis is None else mean @ spectra.basis
            moved.append(_moved_by_smoothing(spectra.energy_ev, spectrum, ranges, near, peaks.half_width_ev))
    return float(np.sqrt(np.mean(np.square(moved)))) if moved else 0.0


def _moved_by_smoothing(
    energy_ev: NDArray[np.float64],
    spectrum: NDArray[np.float64],
    ranges: EdgeRanges,
    near_ev: float,
    half_width_ev: float,
) -> float:
    """Return by how much in eV smoothing moves the maximum of a spectrum (E,) near an energy."""
    fine = np.linspace(near_ev - COMPARED_EV, near_ev + COMPARED_EV, int(2 * COMPARED_EV / FINE_EV) + 2)
    fine = fine[(fine >= energy_ev[0]) & (fine <= energy_ev[-1])]

    def top(half_width_ev: float, degree: int) -> float:
        fits = local_fits(energy_ev, fine, half_width_ev, degree)[1]
        slopes = flattened(fits, energy_ev, ranges) @ spectrum
        falls = np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0))
        if not falls.size:  # the maximum may be anywhere in the window
            return near_ev + half_width_ev
        i = falls[int(np.argmin(np.abs(fine[falls] - near_ev)))]
        return float(np.interp(0, -slopes[i : i + 2], fine[i : i + 2]))

    spacing = float(np.interp(near_ev, energy_ev, np.gradient(energy_ev)))
    if SPACINGS * spacing <= half_width_ev / 2:
        return (top(half_width_ev, 2) - top(half_width_ev / 2, 2)) * 4 / 3
    moved = top(half_width_ev, 2) - top(half_width_ev, 3)
    return moved * max(1.0, SPACINGS * spacing / half_width_ev)  # the window has grown by this


def _by_smoothing(spectra: PixelSpectra, peaks: Peaks, half_width_ev: float) -> float:
    """Return half of the difference in eV that a cubic makes for the largest slope of the mean spectrum."""
    mean = spectra.mean_spectrum
    near = float(peaks.places_ev[int(np.argmax(peaks.values @ mean))])
    low, high = max(near - COMPARED_EV, peaks.places_ev[0]), min(near + COMPARED_EV, peaks.places_ev[-1])
    fine = np.linspace(low, high, int((high - low) / FINE_EV) + 2)
    one, other = (
        fine[int(np.argmax(local_fits(spectra.energy_ev, fine, half_width_ev, degree)[1] @ mean))]
        for degree in (2, 3)
    )
    return float(abs(one - other)) / 2


def _energies(
    spectra: PixelSpectra,
    edge: MapEdge,
    kind: str,
    search: Search,
    search_of: Callable[[EdgeRanges], Search],
    definition: str,
    *,
    step: Step | None = None,
    more: tuple[str, float] | None = None,
) -> xr.Dataset:
    """Return a map of energies; `search_of` makes the search for other ranges, `more` is another error."""
    found = measure(spectra, search)
    by_e0 = error_by_e0(spectra, edge, search_of)
    doubt = edge.pre_doubt_ev if kind in ("half_step", "half_white_line") else 0.0
    return labelled_map(
        spectra,
        edge,
        kind,
        found,
        _step_or_peak(spectra, edge) if step is None else step,
        definition=definition,
        common=float(np.linalg.norm([by_e0, doubt, 0.0 if more is None else more[1]])),
        facts={"sigma_by_e0_ev": by_e0} | ({} if more is None else dict([more])),
        reasons=lambda mask: _jumps(spectra, search, found, mask.ravel()),
    )


def _jumps(
    spectra: PixelSpectra, search: Search, found: Measured, good: NDArray[np.bool_]
) -> tuple[str, ...]:
    """Return a reason against errors where the map jumps between two places, or nothing.

    Either other places compete, within errors, in many pixels; or the energies leave a gap, and a mixture of
    the mean spectra on both sides of it has its energy on one side, not between.
    """
    said = rivals_text(found, good, "places", INSTEAD)
    if said:
        return said
    used = np.flatnonzero(good)
    places = np.sort(found.value[used])
    n_left = int(JUMP_SHARE * len(places))
    inner = places[n_left : len(places) - n_left]
    if len(inner) < LEAST_PIXELS:
        return ()
    gap = int(np.argmax(np.diff(inner)))
    width = float(inner[gap + 1] - inner[gap])
    if width < max(JUMP_EV, JUMP_SIGMAS * float(np.nan_to_num(np.median(found.error[used])))):
        return ()
    is_low = found.value[used] <= inner[gap]
    low, high = (spectra.images[:, used[side]].mean(axis=1, dtype=np.float64) for side in (is_low, ~is_low))
    mixed = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, MIXTURES)
    steps = np.abs(np.diff(search.find(mixed.astype(np.float32)).value))
    if not np.nanmax(steps, initial=0.0) > width / 2:
        return ()
    ends = np.median(places[places <= inner[gap]]), np.median(places[places > inner[gap]])
    return (
        f"the map has energies near {ends[0]:.2f} and {ends[1]:.2f} eV, and a mixture of both has that of "
        f"one of them, none between, so the map jumps by {ends[1] - ends[0]:.2g} eV; {INSTEAD}",
    )


def _step_or_peak(spectra: PixelSpectra, edge: MapEdge) -> Step:
    """Return the edge step, or the height of the white line where there are no two lines."""
    if edge.has_lines:
        return step_of(spectra, edge.ranges)
    return step_in_place(spectra, PeakHeights.of(spectra, Peaks.of(spectra, edge.ranges), None))


def _rise_half_width(spectra: PixelSpectra, edge: MapEdge) -> float:
    """Return the half width in eV of the window in which slopes are fitted.

    It is that of the mean spectrum above its pre-edge line, so that no line beneath the edge changes it.
    """
    low, high = limits_near(spectra.energy_ev, edge.ranges.e0_ev, STEEPEST_EV, "rise")
    places = places_of(low, high, RISE_EV[0])
    above_pre = replace(edge.ranges, post_ev=None)
    values, slopes = (
        flattened(fit, spectra.energy_ev, above_pre) @ spectra.mean_spectrum
        for fit in local_fits(spectra.energy_ev, places, 1.0, 2)
    )
    if not slopes.max() > 0:
        raise EdgeError("the mean spectrum nowhere rises, so it has no edge to map")
    return float(np.clip(RISE_SHARE * np.ptp(values) / slopes.max(), *RISE_EV))


def _slopes(spectra: PixelSpectra, ranges: EdgeRanges, half_width_ev: float) -> Peaks:
    """Return the search for the maximum of the slope."""
    low, high = limits_near(spectra.energy_ev, ranges.e0_ev, STEEPEST_EV, "rise")
    low = max(low, float(spectra.energy_ev[0]) + half_width_ev)  # a window at the end is not symmetric
    high = min(high, float(spectra.energy_ev[-1]) - half_width_ev)
    if low >= high:
        raise EdgeError(
            f"too few energies around the edge at {ranges.e0_ev:.1f} eV; no largest derivative to map"
        )
    places = places_of(low, high, half_width_ev / 2)
    slopes: NDArray[np.float64] = local_fits(spectra.energy_ev, places, half_width_ev, 2)[1]
    return Peaks.with_rows(spectra, places, slopes, np.gradient(slopes, places, axis=0))


def shifted(maps: xr.Dataset, shift_ev: tuple[float, float]) -> xr.Dataset:
    """Return a map of energies, moved by a shift (eV) whose standard error is added to those of the map.

    Raises
    ------
    EdgeError
        If the shift or its error is not finite, or the error is negative.
    """
    shift, sigma = (float(each) for each in shift_ev)
    if not (np.isfinite([shift, sigma]).all() and sigma >= 0):
        raise EdgeError(
            f"a shift of the energies is a number and its standard error in eV, got {shift:g} and {sigma:g}",
            parameter="shift_ev",
        )
    if (shift, sigma) == NO_SHIFT:
        return maps
    name = str(next(iter(maps.data_vars)))
    error = maps[name].attrs["error"]
    moved = maps.assign(
        {
            name: (maps[name] + shift).assign_attrs(maps[name].attrs),
            error: np.hypot(maps[error], np.float32(sigma)),
        }
    )
    text = f"{maps.attrs['definition']}; {shift:+g} eV is added to all energies (standard error {sigma:g} eV)"
    return moved.assign_attrs(maps.attrs | {"definition": text, "shift_ev": (shift, sigma)})
