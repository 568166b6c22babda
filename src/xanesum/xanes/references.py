"""Spectra of references: read, normalized, brought to the energies of a scan, and checked.

`reference_spectra` gives them as a fit needs them.  What a fit cannot use (another edge, the same spectrum
twice, spectra all alike) is refused there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from xanesum.errors import EdgeError
from xanesum.io.spectra import read_spectra
from xanesum.io.spectrum import ABSORPTION, Reference
from xanesum.result import Denoised, holds_result, load_result
from xanesum.xanes.edge_energies import edge_name, nominal_ev
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.normalization import (
    EdgeRanges,
    edge_ranges,
    find_e0_ev,
    flattening_operator,
    step_operator,
)
from xanesum.xanes.pixel_spectra import pixel_spectra_of
from xanesum.xanes.steepest import steepest_e0_ev

__all__ = [
    "ALIKE",
    "Reference",
    "ReferenceEdge",
    "at_energies",
    "check_references",
    "edge_of",
    "read_references",
    "reference_spectra",
    "region_references",
    "require_overlap",
]

OTHER_EDGE_EV = 50.0  # edges farther apart belong to different elements; shifts of calibration are smaller
SAME = 1e-6  # spectra that differ by less, relative to their range, are one
ALIKE = (
    1e4  # condition number from which spectra are all alike: repeated scans of one sample have 100 to 3000
)
LOW, HIGH, TOLERANCE = (
    0.0,
    1.0,
    0.05,
)  # levels of a spectrum that is normalized already, and how far from them
LEVEL_EV = 25.0  # distance from the edge beyond which these levels are taken


@dataclass(frozen=True, slots=True)
class ReferenceEdge:
    """The edge of a reference.

    Attributes
    ----------
    e0_ev : float
        Energy of half of its step, see `xanesum.xanes.normalization.find_edge`.
    edge_step : float
        In the unit of its `mu`; 1 for a spectrum that is normalized already.
    element, edge : str or None
        As the file says, or by the nearest edge in a table.
    is_stated : bool
        Whether the file says it.
    nominal_ev : float or None
        Energy of this edge in tables.
    definition : str
        How it is normalized by itself, in one sentence.
    """

    e0_ev: float
    edge_step: float
    element: str | None
    edge: str | None
    is_stated: bool
    nominal_ev: float | None
    definition: str


def read_references(*paths: str | Path, channel: str | None = None) -> list[Reference]:
    """Read the spectra of references from files; a file may hold several.

    A saved result of xanesum gives the mean spectrum of its usable pixels.  Spectra of the same name get
    numbers.

    Parameters
    ----------
    *paths : str or Path
        XDI, projects of Athena (.prj), text in columns, or saved results.
    channel : str, optional
        Which spectrum to read of files that hold several; see `xanesum.io.spectra.read_spectra`.

    Raises
    ------
    ReadError
        If a file cannot be read as spectra.
    """
    found: list[Reference] = []
    for path in map(Path, paths):
        if path.is_file() and holds_result(path):
            found += region_references(load_result(path), {path.name.partition(".")[0]: None})
        else:
            found += map(_judged, read_spectra(path, channel))
    return _with_own_names(found)


def region_references(
    data: Denoised | xr.DataArray, regions: Mapping[str, NDArray[np.bool_] | None]
) -> list[Reference]:
    """Return the mean spectra of regions of a scan or a result as references.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
    regions : mapping
        By name, which pixels belong to it, an image of bool (Y, X); None for all that are usable.

    Raises
    ------
    EdgeError
        If a region has no usable pixel, or another size than the images.
    """
    spectra = pixel_spectra_of(data)
    found = []
    for name, region in regions.items():
        if region is not None and region.shape != spectra.mask.shape:
            raise EdgeError(f"region {name!r} has shape {region.shape}, the images have {spectra.mask.shape}")
        mask = spectra.mask if region is None else spectra.mask & region
        if not mask.any():
            raise EdgeError(f"region {name!r} has no usable pixel")
        part = replace(spectra, mask=mask)
        covariance = part.covariance_of_mean()
        sigma = None if covariance is None else np.sqrt(np.diag(covariance))
        found.append(
            Reference(
                name,
                spectra.energy_ev,
                part.mean_spectrum,
                f"mean of {int(mask.sum())} pixels",
                notes=("a mean of pixels of the scan: it may be a mixture itself",),
                sigma=sigma,
            )
        )
    return found


def edge_of(reference: Reference) -> ReferenceEdge:
    """Return the edge of a reference, from its own energies.

    Raises
    ------
    EdgeError
        If it has no edge that rises.
    """
    energy_ev, mu = reference.energy_ev, reference.mu
    try:
        e0_ev = find_e0_ev(energy_ev, mu)
        ranges = edge_ranges(energy_ev, e0_ev)
        step = _step(energy_ev, mu, ranges)
    except EdgeError as error:
        raise EdgeError(f"reference {reference.name!r}: {error.message}") from error
    if not step > 0:
        raise EdgeError(
            f"reference {reference.name!r}: its values do not rise at {e0_ev:.1f} eV; is it transmission? "
            "Give ln(I0/I)"
        )
    is_stated = reference.element is not None
    nearest = edge_name(e0_ev)
    element, edge = (reference.element, reference.edge) if is_stated else nearest or (None, None)
    return ReferenceEdge(
        e0_ev,
        1.0 if reference.normalized else step,
        element,
        edge,
        is_stated,
        nominal_ev(element, edge),
        "as in the file" if reference.normalized else ranges.definition(energy_ev),
    )


def reference_spectra(
    references: Sequence[Reference],
    energy_ev: NDArray[np.float64],
    normalization: Normalization | None = None,
    *,
    ranges: EdgeRanges | None = None,
    shift_ev: float = 0.0,
    overlap: bool = False,
) -> xr.DataArray:
    """Return the normalized spectra of references at the energies of a scan.

    With the `ranges` of the scan, references are brought to its energies first, and then normalized by the
    same lines as its pixels.  A mixture of them is then normalized like a pixel, exactly.  Without `ranges`,
    each is normalized by itself, over all of its energies.

    Parameters
    ----------
    references : sequence of Reference
    energy_ev : ndarray, shape (E,)
        Of the scan, increasing.
    normalization : Normalization, optional
        Lines as in Larch; automatic lines by default.  Not together with `ranges`, which have their own.
    ranges : EdgeRanges, optional
        Lines of the scan, see `xanesum.xanes.map_edge.map_edge`.
    shift_ev : float
        Is added to the energies of all references, see `xanesum.xanes.energy_shift.fit_energy_shift`.
    overlap : bool
        Return only the energies that all references cover.  By default they must cover all.

    Returns
    -------
    DataArray, dims (reference, energy), float64
        0 below the edge, 1 beyond it.  Coordinates ``reference`` (names) and ``energy``.  Attributes:
        ``definition`` (a sentence), ``condition_number`` (of the spectra as columns), ``shift_ev``, and
        ``edge_steps`` (of each, in the unit of its `mu`).

    Raises
    ------
    EdgeError
        If there is no reference, or one has no edge or another edge than the others; if they do not cover
        the energies, or are more than these; if one is there twice; or if they are all alike.
    """
    if not references:
        raise EdgeError("no references were given")
    references = [replace(each, energy_ev=each.energy_ev + shift_ev) for each in references]
    check_references(references)
    used = require_overlap(references, energy_ev, partly=overlap)
    at = np.asarray(energy_ev, np.float64)[used]
    if len(at) < len(references):
        raise EdgeError(
            f"{len(references)} references cannot be told apart by {len(at)} energies; use fewer of them"
        )
    rows, steps = [], []
    for reference in references:
        if ranges is not None:
            row, step = _by_lines_of_scan(reference, at, ranges)
        else:
            values, step = _by_itself(reference, normalization)
            row = at_energies(reference.energy_ev, values, at)
        rows.append(row)
        steps.append(step)
    table = np.array(rows)
    condition = float(np.linalg.cond(table.T))
    if len(references) > 1 and not condition < ALIKE:
        raise EdgeError(
            f"the spectra of {_names(references)} are so much alike that their fractions cannot be told apart "
            f"(condition number {condition:.2g}); leave out one of them"
        )
    coords = {"reference": [reference.name for reference in references], "energy": at}
    attrs = {
        "definition": _definition(normalization, ranges, at),
        "condition_number": condition,
        "shift_ev": shift_ev,
        "edge_steps": steps,
    }
    return xr.DataArray(table, dims=("reference", "energy"), coords=coords, attrs=attrs)


def at_energies(
    energy_ev: NDArray[np.float64], values: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a spectrum (n,) at other energies (E,), by Akima's interpolation as modified in MATLAB.

    Of the usual ways it had the smallest errors on every second energy of measured references.  NaN outside.
    """
    return np.asarray(Akima1DInterpolator(energy_ev, values, method="makima")(at), np.float64)


def check_references(references: Sequence[Reference], e0_ev: float | None = None) -> None:
    """Refuse references of another edge than the scan, or than the first one, and spectra that are there twice.

    Parameters
    ----------
    references : sequence of Reference
    e0_ev : float, optional
        Energy of the edge of the scan.

    Raises
    ------
    EdgeError
        As above, or if one has no edge.
    """
    found = [_steepest(reference) for reference in references]
    expected, whose = (found[0], f"of {references[0].name!r}") if e0_ev is None else (e0_ev, "of the scan")
    for reference, steepest in zip(references, found, strict=True):
        if abs(steepest - expected) > OTHER_EDGE_EV:
            named = edge_name(steepest)
            words = f" ({named[0]} {named[1]})" if named else ""
            raise EdgeError(
                f"reference {reference.name!r} has its edge at {steepest:.1f} eV{words}, that {whose} is at "
                f"{expected:.1f} eV; leave it out"
            )
    for i, one in enumerate(references):
        for other in references[:i]:
            if _are_same(one, other):
                raise EdgeError(
                    f"references {other.name!r} and {one.name!r} are the same spectrum; leave out one of them"
                )


def require_overlap(
    references: Sequence[Reference], energy_ev: NDArray[np.float64], *, partly: bool = False
) -> NDArray[np.bool_]:
    """Return which energies (E,) of a scan all references cover.

    Raises
    ------
    EdgeError
        If these are not all, or fewer than two if they may be a part.
    """
    low = max(reference.energy_ev[0] for reference in references)
    high = min(reference.energy_ev[-1] for reference in references)
    covered = (energy_ev >= low) & (energy_ev <= high)
    if np.count_nonzero(covered) >= (2 if partly else len(energy_ev)):
        return np.asarray(covered)
    first, last = float(energy_ev[0]), float(energy_ev[-1])
    outside = [each for each in references if each.energy_ev[0] > first or each.energy_ev[-1] < last]
    worst = outside[0]
    raise EdgeError(
        f"reference {worst.name!r} covers {worst.energy_ev[0]:.1f} to {worst.energy_ev[-1]:.1f} eV, but the scan "
        f"goes from {first:.1f} to {last:.1f} eV; "
        + ("they do not overlap" if partly else "leave out energies of the scan, or the reference"),
        parameter=None if partly else "overlap",
    )


def _judged(reference: Reference) -> Reference:
    """Return a reference with the note that it seems to be normalized already, where it does."""
    if reference.normalized or reference.kind != ABSORPTION:
        return reference
    try:
        e0_ev = _steepest(reference)
    except EdgeError:
        return reference
    below = reference.mu[reference.energy_ev < e0_ev - LEVEL_EV]
    beyond = reference.mu[reference.energy_ev > e0_ev + LEVEL_EV]
    if min(len(below), len(beyond)) < 3:
        return reference
    levels = float(np.mean(below)), float(np.mean(beyond))
    if abs(levels[0] - LOW) > TOLERANCE or abs(levels[1] - HIGH) > TOLERANCE:
        return reference
    note = (
        f"taken as normalized already, because its level is {levels[0]:.3f} below the edge and {levels[1]:.3f} "
        "beyond it"
    )
    return replace(reference, normalized=True, notes=(*reference.notes, note))


def _steepest(reference: Reference) -> float:
    """Return where a reference is steepest; where it has too few energies for that, where its edge is."""
    try:
        return steepest_e0_ev(reference.energy_ev, reference.mu)
    except EdgeError:
        return edge_of(reference).e0_ev


def _with_own_names(references: list[Reference]) -> list[Reference]:
    """Return references in which a name that is there already has a number behind it."""
    seen: set[str] = set()
    found = []
    for reference in references:
        name, number = reference.name, 2
        while name in seen:
            name, number = f"{reference.name} ({number})", number + 1
        seen.add(name)
        found.append(replace(reference, name=name))
    return found


def _are_same(one: Reference, other: Reference) -> bool:
    """Return whether two references have the same values where both are known, but for a factor and a level."""
    low, high = (max(one.energy_ev[0], other.energy_ev[0]), min(one.energy_ev[-1], other.energy_ev[-1]))
    at = one.energy_ev[(one.energy_ev >= low) & (one.energy_ev <= high)]
    if len(at) < 3:
        return False
    values = [np.interp(at, each.energy_ev, each.mu) for each in (one, other)]
    first, second = ((each - each.mean()) / max(np.ptp(each), 1e-300) for each in values)
    return bool(np.max(np.abs(first - second)) < SAME)


def _step(energy_ev: NDArray[np.float64], mu: NDArray[np.float64], ranges: EdgeRanges) -> float:
    """Return the edge step; without lines, the highest value less the lowest one below the edge."""
    if ranges.pre_ev is None or ranges.post_ev is None:
        return float(mu.max() - mu[energy_ev <= ranges.e0_ev].min())
    return float(step_operator(energy_ev, ranges) @ mu)


def _by_itself(
    reference: Reference, normalization: Normalization | None
) -> tuple[NDArray[np.float64], float]:
    """Return the normalized spectrum at the energies of the reference, and its step."""
    energy_ev, mu = reference.energy_ev, reference.mu
    if reference.normalized:
        return mu, 1.0
    if normalization is not None:
        found = normalization.normalize(energy_ev, mu)
        return found.flat, found.edge_step
    return _flattened(reference, energy_ev, mu, edge_ranges(energy_ev, find_e0_ev(energy_ev, mu)))


def _by_lines_of_scan(
    reference: Reference, at: NDArray[np.float64], ranges: EdgeRanges
) -> tuple[NDArray[np.float64], float]:
    return _flattened(reference, at, at_energies(reference.energy_ev, reference.mu, at), ranges)


def _flattened(
    reference: Reference, energy_ev: NDArray[np.float64], mu: NDArray[np.float64], ranges: EdgeRanges
) -> tuple[NDArray[np.float64], float]:
    if ranges.pre_ev is None or ranges.post_ev is None:
        raise EdgeError(
            f"reference {reference.name!r} cannot be normalized: it has too few energies "
            f"{'below the edge' if ranges.pre_ev is None else 'beyond the white line'}"
        )
    step = float(step_operator(energy_ev, ranges) @ mu)
    if not step > 0:
        raise EdgeError(f"reference {reference.name!r} has an edge step of {step:.3g}, not above 0")
    return flattening_operator(energy_ev, ranges, np.ones(len(energy_ev), bool)) @ mu / step, step


def _definition(
    normalization: Normalization | None, ranges: EdgeRanges | None, at: NDArray[np.float64]
) -> str:
    if ranges is not None:
        return f"references at the energies of the scan, {ranges.definition(at)}"
    if normalization is not None:
        return "each reference by itself, normalized as in Larch"
    return "each reference by itself, normalized by automatic pre-edge and post-edge lines, flattened"


def _names(references: Sequence[Reference]) -> str:
    return ", ".join(repr(reference.name) for reference in references)
