"""The edge of a reference, its normalized spectrum, and what references cannot be used together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from xanesum.errors import EdgeError
from xanesum.io.spectrum import Reference
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.normalization import (
    EdgeRanges,
    edge_ranges,
    find_e0_ev,
    flattening_operator,
    step_operator,
)
from xanesum.xanes.references.edge_energies import edge_name, nominal_ev
from xanesum.xanes.steepest import steepest_e0_ev

__all__ = [
    "NEAR_EDGE_EV",
    "OTHER_EDGE_EV",
    "ReferenceEdge",
    "are_same",
    "at_energies",
    "check_references",
    "curve_through",
    "edge_of",
    "flattened",
    "normalized_by",
    "require_overlap",
    "steepest_of",
]

OTHER_EDGE_EV = 50.0  # edges farther apart belong to different elements; shifts of calibration are smaller
SAME = 1e-6  # spectra that differ by less, relative to their range, are one
HALF = 0.5
NEAR_EDGE_EV = 25.0  # the white line lies within this distance of the edge, and beyond it the levels are flat


@dataclass(frozen=True, slots=True)
class ReferenceEdge:
    """The edge of a reference.

    Attributes
    ----------
    e0_ev : float
        Energy of its edge, see `xanesum.xanes.normalization.find_edge`.
    half_step_ev : float or None
        Where the normalized spectrum last crosses 0.5 before its maximum, as in a map; None without lines.
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
    half_step_ev: float | None
    edge_step: float
    element: str | None
    edge: str | None
    is_stated: bool
    nominal_ev: float | None
    definition: str


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
        _half_step_ev(reference, ranges),
        1.0 if reference.normalized else step,
        element,
        edge,
        is_stated,
        nominal_ev(element, edge),
        "as in the file" if reference.normalized else ranges.definition(energy_ev),
    )


def normalized_by(
    reference: Reference, normalization: Normalization | None
) -> tuple[NDArray[np.float64], float]:
    """Return the normalized spectrum at the energies of the reference, and its step."""
    energy_ev, mu = reference.energy_ev, reference.mu
    if reference.normalized:
        return mu, 1.0
    if normalization is not None:
        found = normalization.normalize(energy_ev, mu)
        return found.flat, found.edge_step
    return flattened(reference, energy_ev, mu, edge_ranges(energy_ev, find_e0_ev(energy_ev, mu)))


def flattened(
    reference: Reference, energy_ev: NDArray[np.float64], mu: NDArray[np.float64], ranges: EdgeRanges
) -> tuple[NDArray[np.float64], float]:
    """Return a reference at n energies, flattened and divided by its step, and the step; `mu` is (n,).

    Raises
    ------
    EdgeError
        If there are no lines, or the step is not above 0.
    """
    if ranges.pre_ev is None or ranges.post_ev is None:
        raise EdgeError(
            f"reference {reference.name!r} cannot be normalized: it has too few energies "
            f"{'below the edge' if ranges.pre_ev is None else 'beyond the white line'}"
        )
    step = float(step_operator(energy_ev, ranges) @ mu)
    if not step > 0:
        raise EdgeError(f"reference {reference.name!r} has an edge step of {step:.3g}, not above 0")
    return flattening_operator(energy_ev, ranges, np.ones(len(energy_ev), bool)) @ mu / step, step


def at_energies(
    energy_ev: NDArray[np.float64], values: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a spectrum (n,) at other energies (E,), by Akima's interpolation as modified in MATLAB.

    Of the usual ways it had the smallest errors on every second energy of measured references.  NaN outside.
    """
    return np.asarray(curve_through(energy_ev, values)(at), np.float64)


def curve_through(
    energy_ev: NDArray[np.float64], values: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the curve of `at_energies` through a spectrum (n,), for several sets of energies."""
    curve: Callable[[NDArray[np.float64]], NDArray[np.float64]] = Akima1DInterpolator(
        energy_ev, values, method="makima"
    )
    return curve


def check_references(references: Sequence[Reference], e0_ev: float | None = None) -> None:
    """Refuse references of another edge than the scan, or than the first one; and the same spectrum twice.

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
    found = [steepest_of(reference) for reference in references]
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
            if are_same(one, other):
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
        f"reference {worst.name!r} covers {worst.energy_ev[0]:.1f} to {worst.energy_ev[-1]:.1f} eV, but the "
        f"scan goes from {first:.1f} to {last:.1f} eV; "
        + ("they do not overlap" if partly else "leave out energies of the scan, or the reference"),
        parameter=None if partly else "overlap",
    )


def are_same(one: Reference, other: Reference) -> bool:
    """Return whether two references have the same values where both have some, but for scale and level."""
    low, high = (max(one.energy_ev[0], other.energy_ev[0]), min(one.energy_ev[-1], other.energy_ev[-1]))
    at = one.energy_ev[(one.energy_ev >= low) & (one.energy_ev <= high)]
    if len(at) < 3:
        return False
    values = [np.interp(at, each.energy_ev, each.mu) for each in (one, other)]
    first, second = ((each - each.mean()) / max(np.ptp(each), 1e-300) for each in values)
    return bool(np.max(np.abs(first - second)) < SAME)


def steepest_of(reference: Reference) -> float:
    """Return where a reference is steepest; where it has too few energies for that, where its edge is."""
    try:
        return steepest_e0_ev(reference.energy_ev, reference.mu)
    except EdgeError:
        return edge_of(reference).e0_ev


def _step(energy_ev: NDArray[np.float64], mu: NDArray[np.float64], ranges: EdgeRanges) -> float:
    """Return the edge step; without lines, the highest value less the lowest one below the edge."""
    if ranges.pre_ev is None or ranges.post_ev is None:
        return float(mu.max() - mu[energy_ev <= ranges.e0_ev].min())
    return float(step_operator(energy_ev, ranges) @ mu)


def _half_step_ev(reference: Reference, ranges: EdgeRanges) -> float | None:
    """Return where a reference, normalized by itself, last crosses 0.5 before its white line."""
    try:
        values = normalized_by(reference, None)[0]
    except EdgeError:
        return None
    energy_ev = reference.energy_ev
    near = np.flatnonzero(np.abs(energy_ev - ranges.e0_ev) <= NEAR_EDGE_EV)
    top = near[int(np.argmax(values[near]))]
    rises = np.flatnonzero((values[:top] < HALF) & (values[1 : top + 1] >= HALF))
    if not rises.size:
        return None
    i = int(rises[-1])
    return float(np.interp(HALF, values[i : i + 2], energy_ev[i : i + 2]))
