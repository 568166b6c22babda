"""What references are: kind, edge, quality, and which of them cannot be used together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.io.spectrum import Reference
from xanesum.result import Denoised
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.map_edge import map_edge
from xanesum.xanes.pixel_spectra import pixel_spectra_of
from xanesum.xanes.references.edges import OTHER_EDGE_EV, ReferenceEdge, are_same, at_energies, edge_of
from xanesum.xanes.references.energy_shift import EnergyShift, fit_energy_shift
from xanesum.xanes.references.spectra import reference_spectra
from xanesum.xanes.steepest import steepest_e0_ev

__all__ = ["ScanCheck", "SurveyedReference", "against_scan", "pairs_alike", "survey"]

LONG_EV = 300.0  # a scan that goes on farther beyond the edge is one of EXAFS
NEAR_EV = (-30.0, 70.0)  # part of the spectra that is compared, relative to e0
NOTABLE = 100.0  # condition number of two spectra from which they are hard to tell apart
STEP_EV = 0.5  # of the energies at which they are compared
FAR_FROM_NOMINAL_EV = 25.0  # an edge farther from its element's is doubtful


@dataclass(frozen=True, slots=True)
class SurveyedReference:
    """One reference, and what it is."""

    reference: Reference
    edge: ReferenceEdge | None  # None if it has none
    problem: str  # why it has none; else empty
    steepest_ev: float | None  # energy of its steepest rise
    noise: float | None  # of one value below the edge, over the edge step

    @property
    def what(self) -> str:
        """What it is, in a few words: edge, kind, length."""
        reference, edge = self.reference, self.edge
        if edge is None:
            return f"{reference.kind}, no edge"
        name = f"{edge.element} {edge.edge}" if edge.element else "edge of no known element"
        guessed = "" if edge.is_stated or not edge.element else " (by its energy)"
        beyond = reference.energy_ev[-1] - edge.e0_ev
        length = "EXAFS" if beyond > LONG_EV else "XANES"
        return f"{name}{guessed}, {reference.kind}, {length} to {beyond:+.0f} eV"

    @property
    def doubts(self) -> tuple[str, ...]:
        """What may be wrong with it, a sentence each."""
        found = [self.problem] if self.problem else []
        edge = self.edge
        if edge is not None and edge.nominal_ev is not None:
            away = edge.e0_ev - edge.nominal_ev
            if abs(away) > FAR_FROM_NOMINAL_EV:
                found.append(
                    f"its edge is {away:+.0f} eV from that of {edge.element} {edge.edge}, "
                    f"{edge.nominal_ev:.0f} eV"
                )
        return tuple(found)


@dataclass(frozen=True, slots=True)
class ScanCheck:
    """References together with a scan."""

    e0_ev: float  # of the scan
    n_energies: int
    n_covered: int  # energies of the scan that all references cover
    condition_number: float  # of the references at these energies
    shift: EnergyShift | None
    shift_problem: str  # why there is no shift; else empty
    definition: str


def survey(references: Sequence[Reference]) -> list[SurveyedReference]:
    """Return what each reference is."""
    return [_surveyed(reference) for reference in references]


def pairs_alike(surveyed: Sequence[SurveyedReference]) -> list[tuple[str, str, float]]:
    """Return pairs of references that are hard to tell apart, and the condition number of both together.

    It is infinite for the same spectrum.  Repeated scans of one sample have 100 to 3000, NiO and LiNiO2 13.
    """
    with_edge = [each for each in surveyed if each.edge is not None]
    shapes = [_shape(each) for each in with_edge]
    found = []
    for i, one in enumerate(with_edge):
        for j in range(i):
            other = with_edge[j]
            if abs(_e0_of(one) - _e0_of(other)) > OTHER_EDGE_EV:
                continue
            condition = _condition(shapes[i], shapes[j])
            if are_same(one.reference, other.reference):
                condition = float("inf")
            if condition > NOTABLE:
                found.append((other.reference.name, one.reference.name, condition))
    return found


def against_scan(
    references: Sequence[Reference],
    data: Denoised | xr.DataArray,
    *,
    normalization: Normalization | None = None,
    e0_ev: float | None = None,
) -> ScanCheck:
    """Check that references fit a scan, and fit the shift of energy between both.

    Raises
    ------
    EdgeError
        If a reference has another edge, if they do not overlap with the scan, or as `reference_spectra` says.
    """
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, None, None, normalization)
    e0 = edge.ranges.e0_ev
    table = reference_spectra(references, spectra.energy_ev, overlap=True, e0_ev=e0)
    n_energies, n_covered = len(spectra.energy_ev), table.sizes["energy"]
    shift, problem = None, ""
    try:
        shift = fit_energy_shift(data, references, normalization=normalization, e0_ev=e0_ev)
    except EdgeError as error:
        problem = error.message
    condition = float(table.attrs["condition_number"])
    definition = edge.ranges.definition(spectra.energy_ev)
    return ScanCheck(e0, n_energies, n_covered, condition, shift, problem, definition)


def _surveyed(reference: Reference) -> SurveyedReference:
    try:
        edge = edge_of(reference)
    except EdgeError as error:
        return SurveyedReference(reference, None, error.message, None, None)
    try:
        steepest = steepest_e0_ev(reference.energy_ev, reference.mu)
    except EdgeError:
        steepest = None
    below = reference.mu[reference.energy_ev < edge.e0_ev + NEAR_EV[0]]
    second = np.diff(below, 2)
    noise = float(np.sqrt(np.mean(second**2) / 6)) / edge.edge_step if len(second) > 3 else None
    return SurveyedReference(reference, edge, "", steepest, noise)


def _e0_of(each: SurveyedReference) -> float:
    return float("nan") if each.edge is None else each.edge.e0_ev


def _shape(each: SurveyedReference) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energies near the edge, at whole steps, and the spectrum there less its lowest value."""
    energy_ev = each.reference.energy_ev
    low, high = (_e0_of(each) + end for end in NEAR_EV)
    first, last = np.ceil(max(low, energy_ev[0]) / STEP_EV), np.floor(min(high, energy_ev[-1]) / STEP_EV)
    at = np.arange(first, last + 1) * STEP_EV
    return at, at_energies(energy_ev, each.reference.mu, at)


def _condition(
    one: tuple[NDArray[np.float64], NDArray[np.float64]],
    other: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> float:
    """Return the condition number of two spectra where both are known, without a line over that part."""
    at = np.intersect1d(one[0], other[0])
    if len(at) < 5:
        return 0.0
    powers = np.linspace(-1, 1, len(at))[:, None] ** np.arange(2)
    columns = []
    for energies, values in (one, other):
        part = values[np.isin(energies, at)]
        part = part - powers @ (np.linalg.pinv(powers) @ part)
        columns.append(part / np.linalg.norm(part))
    return float(np.linalg.cond(np.array(columns).T))
