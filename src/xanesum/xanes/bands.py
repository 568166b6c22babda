"""Maps of bands and of single energies: ratio of two bands, difference of two energies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.intensities import is_sure, two_in_scan, without_pre_edge
from xanesum.xanes.labelling import Step, labelled_map, mean_difference, range_text, step_in_place, step_of
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.map_edge import MapEdge, error_by_e0, map_edge, rough_map_edge
from xanesum.xanes.measuring import Linear, Ratio, Search, measure
from xanesum.xanes.normalization import (
    MIN_ENERGIES,
    EdgeRanges,
    Range,
    flattened,
)
from xanesum.xanes.peaks import window_of
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = ["band_ratio", "energy_difference"]


def band_ratio(
    data: Denoised | xr.DataArray,
    *,
    band_ev: Range,
    over_ev: Range,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
) -> xr.Dataset:
    """Map the mean of the frames in one band of energies over the mean of those in another.

    If the scan has a pre-edge range, the pre-edge line is subtracted first; the ``definition`` says so.
    Takes and returns the same as `half_step_energy`, with ``band_ratio`` and ``band_ratio_sigma``.

    Parameters
    ----------
    data, e0_ev, pre_ev, post_ev, normalization
        As there.
    band_ev, over_ev : (float, float)
        Ends of both bands in eV; each holds at least one energy of the scan.

    Raises
    ------
    EdgeError
        If a band holds no energy of the scan, or the bands are the same.
    """
    spectra = pixel_spectra_of(data)
    energy_ev = spectra.energy_ev
    bands = [_mean_in(energy_ev, *each) for each in ((band_ev, "band_ev"), (over_ev, "over_ev"))]
    if np.array_equal(bands[0], bands[1]):
        raise EdgeError("both bands hold the same energies, so their ratio is 1", parameter="over_ev")
    few = len(energy_ev) < MIN_ENERGIES
    if few:
        edge = rough_map_edge(spectra, e0_ev, pre_ev, post_ev)
    else:
        edge = map_edge(spectra, e0_ev, pre_ev, post_ev, normalization)
    ranges = replace(edge.ranges, pre_ev=None if few else edge.ranges.pre_ev, post_ev=None)

    def search_of(moved: EdgeRanges) -> Search:
        above_pre = replace(moved, pre_ev=moved.pre_ev if ranges.pre_ev else None, post_ev=None)
        return Ratio.of(spectra, *flattened(np.stack(bands), energy_ev, above_pre))

    search = search_of(ranges)
    below = measure(spectra, Linear.of(spectra, search.operator[np.array([1])][0]))
    by_e0 = error_by_e0(spectra, edge, search_of)
    definition = (
        f"mean of the frames from {range_text(band_ev)}, over the mean of those from {range_text(over_ev)}; "
        f"{ranges.definition(spectra.energy_ev)}"
    )
    return labelled_map(
        spectra,
        edge,
        "band_ratio",
        measure(spectra, search),
        _any_step(spectra, edge),
        definition=definition,
        common=by_e0,
        needs_step=False,
        mask=is_sure(below),
        facts={"band_ev": band_ev, "over_ev": over_ev, "sigma_by_e0": by_e0},
        reasons=lambda mask: without_pre_edge(ranges),
    )


def _mean_in(energy_ev: NDArray[np.float64], limits: Range, parameter: str) -> NDArray[np.float64]:
    """Return the vector (E,) whose product with a spectrum is its mean in a band."""
    inside = window_of(energy_ev, *limits)
    if not inside.any():
        raise EdgeError(
            f"the band {limits[0]:g}:{limits[1]:g} eV holds no energy of the scan ({energy_ev[0]:g} ... "
            f"{energy_ev[-1]:g} eV)",
            parameter=parameter,
        )
    return np.asarray(inside / np.count_nonzero(inside))


def _any_step(spectra: PixelSpectra, edge: MapEdge) -> Step:
    """Return the edge step, or the mean beyond the edge less that below it."""
    if edge.has_lines and len(spectra.energy_ev) >= MIN_ENERGIES:
        return step_of(spectra, edge.ranges)
    return step_in_place(spectra, mean_difference(spectra, edge))


def energy_difference(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    at_ev: Range | None = None,
) -> xr.Dataset:
    """Map the frame at one energy less that at another, as scans of two energies are used.

    Takes and returns the same as `half_step_energy`, with ``energy_difference`` and
    ``energy_difference_sigma`` in the unit of the stack.  Nothing is subtracted, and every usable pixel has a
    value.

    Parameters
    ----------
    data, e0_ev, pre_ev, post_ev
        As there.
    at_ev : (float, float), optional
        The energies; the nearest frames are meant.  A scan of two energies needs none.  The frame at the
        lower energy is subtracted from that at the higher one.

    Raises
    ------
    EdgeError
        If no energies are given for a scan of more than two, or the scan has no frame near one of them.
    """
    spectra = pixel_spectra_of(data)
    energy_ev = spectra.energy_ev
    if at_ev is None:
        if len(energy_ev) != 2:
            raise EdgeError(
                f"the scan has {len(energy_ev)} energies; give the two whose difference is meant",
                parameter="at_ev",
            )
        at_ev = (float(energy_ev[0]), float(energy_ev[1]))
    low, high = (_nearest(energy_ev, each) for each in two_in_scan(spectra, at_ev))
    if low == high:
        raise EdgeError(
            f"{at_ev[0]:g} and {at_ev[1]:g} eV are nearest to the same frame, at {energy_ev[low]:g} eV",
            parameter="at_ev",
        )
    row = np.zeros(len(energy_ev))
    row[[low, high]] = -1.0, 1.0
    edge = rough_map_edge(spectra, e0_ev, pre_ev, post_ev)
    return labelled_map(
        spectra,
        edge,
        "energy_difference",
        measure(spectra, Linear.of(spectra, row)),
        step_in_place(spectra, mean_difference(spectra, edge)),
        definition=f"frame at {energy_ev[high]:.2f} eV less that at {energy_ev[low]:.2f} eV",
        needs_step=False,
        facts={"at_ev": (float(energy_ev[low]), float(energy_ev[high]))},
    )


def _nearest(energy_ev: NDArray[np.float64], at_ev: float) -> int:
    return int(np.argmin(np.abs(energy_ev - at_ev)))
