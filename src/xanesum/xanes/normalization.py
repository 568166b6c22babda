"""Pre- and post-edge lines: their ranges, and the matrices that turn a spectrum into step and shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EdgeError, EnergyError

__all__ = ["EdgeRanges", "edge_ranges", "find_e0_ev", "flattening_operator", "step_operator"]

Range = tuple[float, float]  # first and last energy, eV
PRE_GAP_EV = 30.0  # largest distance in eV from e0 to the end of the pre-edge range
POST_GAP_EV = 25.0  # distance in eV from e0 to the start of the post-edge range: beyond the white line
MIN_POINTS = 3  # energies that a default range must hold


@dataclass(frozen=True, slots=True)
class EdgeRanges:
    """Energy of the edge and ranges of its lines, all in eV."""

    e0_ev: float
    pre_ev: Range | None  # None if the scan has too few energies below the edge
    post_ev: Range | None  # None if it has too few beyond the white line


def find_e0_ev(energy_ev: NDArray[np.float64], spectrum: NDArray[np.floating]) -> float:
    """Return the energy of the steepest rise of `spectrum` (E,), smoothed over three points.

    Raises
    ------
    EdgeError
        If the spectrum nowhere rises, or there are fewer than five energies.
    """
    if len(energy_ev) < 5:
        raise EdgeError(
            f"{len(energy_ev)} energies are too few to find an edge; give its energy", parameter="e0_ev"
        )
    smooth = np.convolve(np.pad(spectrum, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    slope = np.gradient(smooth, energy_ev)[1:-1]
    if not slope.max() > 0:
        raise EdgeError(
            "the mean spectrum nowhere rises, so it has no edge; give its energy", parameter="e0_ev"
        )
    return float(energy_ev[1 + int(np.argmax(slope))])


def edge_ranges(
    energy_ev: NDArray[np.float64], e0_ev: float, *, pre_ev: Range | None = None, post_ev: Range | None = None
) -> EdgeRanges:
    """Choose, or check, the ranges of the pre- and post-edge lines.

    The default pre-edge range ends below e0 by a quarter of the distance to the first energy, but by 30 eV at
    most.  The default post-edge range begins 25 eV above e0.  A default range with fewer than three energies
    is None.

    Parameters
    ----------
    energy_ev : ndarray, shape (E,)
        Increasing.
    e0_ev : float
        Energy of the edge.
    pre_ev, post_ev : (float, float), optional
        Ranges to use instead of the defaults.

    Raises
    ------
    EdgeError
        If `e0_ev` lies outside the scan; or if a given range is reversed, on the wrong side of the edge, or
        holds fewer than two energies.
    """
    first, last = float(energy_ev[0]), float(energy_ev[-1])
    if not first < e0_ev < last:
        raise EdgeError(f"e0 = {e0_ev:g} eV lies outside the scan ({first:g} ... {last:g} eV)")
    if (pre_ev is not None and pre_ev[1] > e0_ev) or (post_ev is not None and post_ev[0] < e0_ev):
        raise EdgeError(
            f"the pre-edge range must end below e0 = {e0_ev:g} eV and the post-edge range begin above it"
        )
    gap = min(PRE_GAP_EV, (e0_ev - first) / 4)
    return EdgeRanges(
        e0_ev,
        _given(energy_ev, pre_ev, "pre-edge") or _enough(energy_ev, (first, e0_ev - gap)),
        _given(energy_ev, post_ev, "post-edge") or _enough(energy_ev, (e0_ev + POST_GAP_EV, last)),
    )


def step_operator(energy_ev: NDArray[np.float64], ranges: EdgeRanges) -> NDArray[np.float64]:
    """Return the vector (E,) whose product with a spectrum is its edge step at e0."""
    at_e0 = np.array([ranges.e0_ev])
    return np.asarray((_line(energy_ev, ranges.post_ev, at_e0) - _line(energy_ev, ranges.pre_ev, at_e0))[0])


def flattening_operator(
    energy_ev: NDArray[np.float64], ranges: EdgeRanges, window: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the matrix (W, E) that flattens a spectrum in the window; its result is in units of the stack.

    Below e0 the pre-edge line is subtracted.  Above e0 the post-edge line is subtracted and the step added,
    so that the result rises from 0 to the step.  Without a post-edge range the pre-edge line is subtracted
    everywhere; without a pre-edge range nothing is.

    Parameters
    ----------
    energy_ev : ndarray, shape (E,)
    ranges : EdgeRanges
    window : ndarray of bool, shape (E,)
        The W energies that are wanted.
    """
    at = energy_ev[window]
    operator = np.eye(len(energy_ev))[window]
    if ranges.pre_ev is None:
        return operator
    below = operator - _line(energy_ev, ranges.pre_ev, at)
    if ranges.post_ev is None:
        return below
    above = operator - _line(energy_ev, ranges.post_ev, at) + step_operator(energy_ev, ranges)
    return np.where((at < ranges.e0_ev)[:, None], below, above)


def _line(
    energy_ev: NDArray[np.float64], limits: Range | None, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix (n, E) from a spectrum to its least-squares line over `limits`, evaluated at `at`."""
    if limits is None:
        raise EnergyError("the scan has no usable pre- or post-edge range, so its edge step is unknown")
    inside = (energy_ev >= limits[0]) & (energy_ev <= limits[1])
    centre, scale = np.mean(limits), max(limits[1] - limits[0], 1e-9)
    design = np.vander((energy_ev[inside] - centre) / scale, 2)
    operator = np.zeros((len(at), len(energy_ev)))
    operator[:, inside] = np.vander((at - centre) / scale, 2) @ np.linalg.pinv(design)
    return operator


def _given(energy_ev: NDArray[np.float64], limits: Range | None, name: str) -> Range | None:
    """Return a range that the user gave, after checking it."""
    if limits is None:
        return None
    n_inside = np.count_nonzero((energy_ev >= limits[0]) & (energy_ev <= limits[1]))
    if limits[0] >= limits[1] or n_inside < 2:
        raise EdgeError(
            f"the {name} range {limits[0]:g}:{limits[1]:g} eV holds {n_inside} energies of the scan "
            f"({energy_ev[0]:g} ... {energy_ev[-1]:g} eV); a line needs two, lower end first"
        )
    return limits


def _enough(energy_ev: NDArray[np.float64], limits: Range) -> Range | None:
    """Return a default range, or None if it holds too few energies."""
    inside = np.count_nonzero((energy_ev >= limits[0]) & (energy_ev <= limits[1]))
    return limits if inside >= MIN_POINTS else None
