"""The centroid of the pre-edge peak, above a baseline through the energies on both sides of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.labelling import Step, labelled_map, range_text, step_of
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.map_edge import MapEdge, error_by_e0, map_edge
from xanesum.xanes.measuring import Linear, Ratio, Search, measure
from xanesum.xanes.normalization import EdgeRanges, Range
from xanesum.xanes.peaks import window_of
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of
from xanesum.xanes.positions import NO_SHIFT, shifted

__all__ = ["pre_edge_centroid"]

FLANK_EV = 4.0  # width of the ranges on both sides of the peak to which the baseline is fitted
HALF_WIDTH_EV = 2.5  # half width of the range of the peak, where it is looked for
SOUGHT_EV = (-19.0, -6.0)  # where its middle is looked for, relative to e0 ...
SOUGHT_STEP_EV = 0.25  # ... at energies this far apart
FOOT_EV = 2.0  # the range beyond the peak ends at least this far below e0
LEAST_INSIDE, LEAST_FLANK = 3, 2  # energies in the range of the peak, and on each side of it
PEAK_SIGMAS = 5.0  # a peak counts whose area is this many standard errors above 0
PEAK_DOUBTS = 3.0  # ... and in the mean spectrum, this many times what forms of the baseline differ by
BEND_EV, BEND_PLACES = 1.0, 21  # half width of the window in which slopes are fitted, and their number
BEND_SIGMAS = 2.0  # the spectrum bends down by more than this many standard errors
LEAST_AREA = 0.005  # in eV, over the height of the mean spectrum: rounding looks like smaller ones
FORMS = ("pole", "parabola", "exponential")  # of the foot of the edge; the others tell the doubt of the first
N_COMPARED = 4096  # pixels in which the forms are compared, about


class _Rows(NamedTuple):
    """Vectors (E,) whose product with a spectrum is the first moment and the area of the peak."""

    moment: NDArray[np.float64]  # about the middle of the range, in eV times that of the area
    area: NDArray[np.float64]  # unit of the stack times eV


def pre_edge_centroid(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
    peak_ev: Range | None = None,
    shift_ev: tuple[float, float] = NO_SHIFT,
) -> xr.Dataset:
    """Map the centroid of the pre-edge peak, as the oxidation state of iron is read from it [1]_.

    A baseline is fitted to the energies within 4 eV on both sides of the peak: a line, and the foot of the
    edge, which falls as 1 / (e0 - E).  The centroid is that of what lies above it.  A parabola or an
    exponential in its place gives another centroid; half of the larger difference, rms over the pixels, is
    added to the standard errors.

    Takes and returns the same as `half_step_energy`, with ``pre_edge_centroid_ev`` and
    ``pre_edge_centroid_ev_sigma``, and with ``pre_edge_area`` (unit of the stack times eV) and its error.
    Pixels whose area is not above 0 by five standard errors are left out.

    Parameters
    ----------
    data, e0_ev, pre_ev, post_ev, normalization, shift_ev
        As there.
    peak_ev : (float, float), optional
        Range of the peak in eV; by default 6 eV around it, found in the mean spectrum.

    Raises
    ------
    EdgeError
        As there; or if the mean spectrum has no such peak, or too few energies around it.

    References
    ----------
    .. [1] M. Wilke, F. Farges, P.-E. Petit, G. E. Brown, F. Martin, American Mineralogist 86, 714 (2001).
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    e0, given = edge.ranges.e0_ev, peak_ev
    peak_ev = _sought(spectra, edge) if given is None else (float(given[0]), float(given[1]))
    _require_energies(spectra.energy_ev, e0, peak_ev)
    middle = (peak_ev[0] + peak_ev[1]) / 2

    def search_of(ranges: EdgeRanges) -> Search:
        return Ratio.of(spectra, *_rows(spectra.energy_ev, ranges.e0_ev, peak_ev), middle)

    rows = _rows(spectra.energy_ev, e0, peak_ev)
    area = measure(spectra, Linear.of(spectra, rows.area))
    found = measure(spectra, search_of(edge.ranges))
    sure = area.value > np.fmax(PEAK_SIGMAS * area.error, 0.0)
    sure &= (found.value >= peak_ev[0]) & (found.value <= peak_ev[1])
    by_baseline = _by_baseline(spectra, e0, peak_ev, sure)
    by_e0 = error_by_e0(spectra, edge, search_of)
    definition = (
        f"centroid from {range_text(peak_ev)} of the spectrum above a baseline, which is a line and the foot "
        f"of the edge, 1 / (e0 - E) with e0 = {e0:.2f} eV, fitted to the energies within {FLANK_EV:g} eV on "
        f"both sides, up to {FOOT_EV:g} eV below e0"
    )
    maps = labelled_map(
        spectra,
        edge,
        "pre_edge_centroid",
        found,
        step_of(spectra, edge.ranges) if edge.has_lines else Step(area.value, area.error),
        definition=definition,
        common=float(np.hypot(by_e0, by_baseline)),
        more={
            "pre_edge_area": area.value.astype(np.float32),
            "pre_edge_area_sigma": area.error.astype(np.float32),
        },
        mask=sure,
        facts={"peak_ev": peak_ev, "sigma_by_e0_ev": by_e0, "sigma_by_baseline_ev": by_baseline},
    )
    if not maps["mask"].values.any():
        raise EdgeError(
            f"no pixel has a peak in {range_text(peak_ev)} that stands above its error", parameter="peak_ev"
        )
    return shifted(maps, shift_ev)


def _flanks(
    energy_ev: NDArray[np.float64], e0_ev: float, peak_ev: Range
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which energies (E,) lie on both sides of a peak, and not on the edge."""
    low, high = peak_ev
    below = (energy_ev < low) & (energy_ev >= low - FLANK_EV)
    return below, (energy_ev > high) & (energy_ev <= min(high + FLANK_EV, e0_ev - FOOT_EV))


def _require_energies(energy_ev: NDArray[np.float64], e0_ev: float, peak_ev: Range) -> None:
    """Raise EdgeError for a range that is too near to the edge, or has too few energies in or around it."""
    if not peak_ev[0] < peak_ev[1] < e0_ev - FOOT_EV:
        raise EdgeError(
            f"the range of the pre-edge peak {peak_ev[0]:g}:{peak_ev[1]:g} eV must end more than "
            f"{FOOT_EV:g} eV below the edge at {e0_ev:.1f} eV, lower end first",
            parameter="peak_ev",
        )
    inside = np.count_nonzero(window_of(energy_ev, *peak_ev))
    below, beyond = (np.count_nonzero(flank) for flank in _flanks(energy_ev, e0_ev, peak_ev))
    if inside < LEAST_INSIDE or min(below, beyond) < LEAST_FLANK:
        raise EdgeError(
            f"too few energies for a pre-edge peak: {inside} in {range_text(peak_ev)} ({LEAST_INSIDE} are "
            f"needed), {below} and {beyond} within {FLANK_EV:g} eV below and beyond it ({LEAST_FLANK} each)",
            parameter="peak_ev",
        )


def _rows(energy_ev: NDArray[np.float64], e0_ev: float, peak_ev: Range, form: str = "pole") -> _Rows:
    """Return the vectors of moment and area, above a line and one of `FORMS` of the foot of the edge."""
    inside, (below, beyond) = window_of(energy_ev, *peak_ev), _flanks(energy_ev, e0_ev, peak_ev)
    fitted, from_middle = below | beyond, energy_ev - np.mean(peak_ev)
    near = inside | fitted
    third = np.zeros(len(energy_ev))
    below_edge = e0_ev - energy_ev[near]
    third[near] = {
        "pole": FLANK_EV / below_edge,
        "parabola": (from_middle[near] / FLANK_EV) ** 2,
        "exponential": np.exp(-below_edge / FOOT_EV),
    }[form]
    design = np.stack([np.ones(len(energy_ev)), from_middle / FLANK_EV, third], axis=1)
    above = np.eye(len(energy_ev))[inside]
    above[:, fitted] -= design[inside] @ np.linalg.pinv(design[fitted])
    weights = np.gradient(energy_ev)[inside]
    return _Rows((weights * from_middle[inside]) @ above, weights @ above)


def _sought(spectra: PixelSpectra, edge: MapEdge) -> Range:
    """Return the range of the pre-edge peak of the mean spectrum.

    It is the one with the largest area for which the area stands above its standard error, and above the
    difference that another form of the baseline makes.
    """
    energy_ev, mean, e0 = spectra.energy_ev, spectra.mean_spectrum, edge.ranges.e0_ev
    best, found = 0.0, None
    for middle in np.arange(e0 + SOUGHT_EV[0], e0 + SOUGHT_EV[1] + 1e-9, SOUGHT_STEP_EV):
        peak_ev = (float(middle - HALF_WIDTH_EV), float(middle + HALF_WIDTH_EV))
        try:
            _require_energies(energy_ev, e0, peak_ev)
        except EdgeError:
            continue
        row = _rows(energy_ev, e0, peak_ev)
        area, moment = float(row.area @ mean), float(row.moment @ mean)
        others = [float(_rows(energy_ev, e0, peak_ev, form).area @ mean) for form in FORMS[1:]]
        doubt = PEAK_DOUBTS * max(abs(area - other) for other in others)
        least = max(
            doubt,
            LEAST_AREA * float(np.ptp(mean)),
            PEAK_SIGMAS * float(np.nan_to_num(spectra.error_of_mean(row.area))),
        )
        if (
            area > max(best, least)
            and abs(moment) < area * HALF_WIDTH_EV / 2
            and _bends_down(spectra, peak_ev)
        ):
            best, found = area, peak_ev
    if found is None:
        raise EdgeError(
            f"the mean spectrum has no pre-edge peak from {e0 + SOUGHT_EV[0]:.1f} to "
            f"{e0 + SOUGHT_EV[1]:.1f} eV that stands above its error and above the doubt about the baseline; "
            "give its range",
            parameter="peak_ev",
        )
    return found


def _bends_down(spectra: PixelSpectra, peak_ev: Range) -> bool:
    """Whether the mean spectrum bends down somewhere in a range, as a peak does and a foot does not."""
    at = np.linspace(*peak_ev, BEND_PLACES)
    rows = np.gradient(local_fits(spectra.energy_ev, at, BEND_EV, 2)[1], at, axis=0)
    bends, errors = rows @ spectra.mean_spectrum, np.nan_to_num(spectra.errors_of_mean(rows))
    return bool((bends < -BEND_SIGMAS * errors).any())


def _by_baseline(spectra: PixelSpectra, e0_ev: float, peak_ev: Range, sure: NDArray[np.bool_]) -> float:
    """Return half of the difference in eV that another baseline makes, rms over some of the sure pixels."""
    used = np.flatnonzero(sure & spectra.mask.ravel())
    if not used.size:
        return 0.0
    images = spectra.images[:, used[:: -(-len(used) // N_COMPARED)]]
    one, *others = (
        Ratio.of(spectra, *_rows(spectra.energy_ev, e0_ev, peak_ev, form)).find(images).value
        for form in FORMS
    )
    change = np.max([np.abs(one - other) for other in others], axis=0)
    return float(np.sqrt(np.mean(np.sort(change)[: -(-len(change) * 9 // 10)] ** 2))) / 2
