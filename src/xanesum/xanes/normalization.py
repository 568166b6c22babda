"""Pre- and post-edge lines: their ranges, and the matrices that turn a spectrum into step and shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EdgeError, EnergyError
from xanesum.xanes.local_fit import local_fits

__all__ = [
    "MIN_ENERGIES",
    "Edge",
    "EdgeRanges",
    "check_ranges",
    "edge_ranges",
    "find_e0_ev",
    "find_edge",
    "flattened",
    "flattening_operator",
    "judged_ranges",
    "steepest_ev",
    "step_operator",
]

Range = tuple[float, float]  # first and last energy, eV
PRE_GAP_EV = 30.0  # largest distance in eV from e0 to the end of the pre-edge range
POST_GAP_EV = 25.0  # distance in eV from e0 to the start of the post-edge range: beyond the white line
MIN_POINTS = 3  # energies that a default range must hold

# --- A scan that begins shortly below its edge: slope of the default pre-edge range over the steepest slope
SHORT_EV = 30.0  # distance from the first energy to e0
RISING = 0.05  # from here on the edge rises there already, so there is no pre-edge line
HARDLY_RISING = 0.01  # from here on the slope may be that of the edge, and counts as an error
SLOPE_ERRORS = 2.0  # standard errors by which the slope must exceed 0

# --- Search for the edge
MOST_LOOKED_AT = 1000  # energies at which the slope is looked at; of more, every second, third ...
MIN_ENERGIES = 5  # fewer show no edge
SMOOTH_EV = 3.0  # half width of the window in which the spectrum is smoothed
NEAR_EV = 30.0  # the half of the step is looked for within this distance of the steepest rise ...
FINE_EV = 0.25  # ... at energies this far apart
RISE_EV = 15.0  # without lines: the rise ends at the highest value within this distance of its steepest part
FARTHEST_EV = 20.0  # a half step farther from the steepest rise belongs to something else
N_ROUNDS = 30  # rounds of the search, at most; three or four are enough
SETTLED_EV = 1e-5  # the search ends when the energy changes by less


@dataclass(frozen=True, slots=True)
class EdgeRanges:
    """Energy of the edge and ranges of its lines, all in eV."""

    e0_ev: float
    pre_ev: Range | None  # None if the scan has too few energies below the edge
    post_ev: Range | None  # None if it has too few beyond the white line
    pre_is_default: bool = False  # a default range ends softly at the edge; a given one ends where it ends
    post_is_default: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """Energy of the edge of a spectrum, and how it follows from the spectrum."""

    e0_ev: float
    influence: NDArray[np.float64]  # (E,), change of e0 in eV by a change of the spectrum; 0 if not known


def find_e0_ev(energy_ev: NDArray[np.float64], spectrum: NDArray[np.floating]) -> float:
    """Return the energy at which `spectrum` (E,) has risen by half of its edge step; see `find_edge`."""
    return find_edge(energy_ev, spectrum).e0_ev


def find_edge(energy_ev: NDArray[np.float64], spectrum: NDArray[np.floating]) -> Edge:
    """Find the energy at which a spectrum (E,) has risen by half of its edge step.

    The search begins at the steepest rise of the smoothed spectrum.  The default ranges of that energy give
    pre- and post-edge lines, and these the half of the step.  Where the smoothed spectrum crosses it last
    before its maximum, the search goes on, until the energy no longer changes.  If there are too few energies
    for a line, the rise from the lowest value below the edge to the highest one near it is halved instead.

    A half-step energy changes little with noise, because the spectrum is steep there.  The energy of the
    steepest rise would jump between two rises that are nearly as steep.

    Raises
    ------
    EdgeError
        If the spectrum nowhere rises, or there are fewer than five energies.
    """
    if len(energy_ev) < MIN_ENERGIES:
        raise EdgeError(
            f"{len(energy_ev)} energies are too few to find an edge; give its energy", parameter="e0_ev"
        )
    looked_at = energy_ev[:: -(-len(energy_ev) // MOST_LOOKED_AT)]
    rise = (local_fits(energy_ev, looked_at, SMOOTH_EV, 1)[1] @ spectrum)[1:-1]
    if not rise.max() > 0:
        raise EdgeError(
            "the mean spectrum nowhere rises, so it has no edge; give its energy", parameter="e0_ev"
        )
    start = float(looked_at[1 + int(np.argmax(rise))])
    first, last = max(energy_ev[0], start - NEAR_EV), min(energy_ev[-1], start + NEAR_EV)
    at = np.linspace(first, last, int((last - first) / FINE_EV) + 2)
    smooth = local_fits(energy_ev, at, SMOOTH_EV, 1)[0]
    edge = Edge(start, np.zeros(len(energy_ev)))
    for _ in range(N_ROUNDS):
        found = _half_rise(energy_ev, spectrum, at, smooth, edge.e0_ev)
        if found is None or abs(found.e0_ev - start) > FARTHEST_EV:
            return edge
        moved, edge = abs(found.e0_ev - edge.e0_ev), found
        if moved < SETTLED_EV:
            break
    return edge


def _half_rise(
    energy_ev: NDArray[np.float64],
    spectrum: NDArray[np.floating],
    at: NDArray[np.float64],
    smooth: NDArray[np.float64],
    e0_ev: float,
) -> Edge | None:
    """Return where the smoothed spectrum crosses half of its step, for an edge near `e0_ev`.

    The matrix `smooth` (J, E) takes a spectrum to its smooth values at the J energies `at`.  None if there is
    no crossing.
    """
    ranges = edge_ranges(energy_ev, e0_ev)
    if ranges.pre_ev is not None and ranges.post_ev is not None:
        window = at <= ranges.post_ev[0]
        flattened = smooth[window] - _baseline(energy_ev, ranges, at[window])
        half = 0.5 * step_operator(energy_ev, ranges)
    else:
        values = smooth @ spectrum
        near = np.flatnonzero(np.abs(at - e0_ev) <= RISE_EV)
        top = near[int(np.argmax(values[near]))]
        bottom = int(np.argmin(values[: top + 1]))
        window = np.zeros(len(at), bool)
        window[bottom : top + 1] = True
        flattened, half = smooth[window], 0.5 * (smooth[bottom] + smooth[top])
    rows = flattened - half
    excess = rows @ spectrum
    rises = np.flatnonzero(
        (excess[:-1] < 0) & (excess[1:] >= 0) & (np.arange(1, len(excess)) <= excess.argmax())
    )
    if not rises.size:
        return None
    i, ends = rises[-1], at[window]
    share = -excess[i] / (excess[i + 1] - excess[i])
    slope = (excess[i + 1] - excess[i]) / (ends[i + 1] - ends[i])
    found = float(ends[i] + share * (ends[i + 1] - ends[i]))
    if not energy_ev[0] < found < energy_ev[-1]:
        return None
    return Edge(found, -((1 - share) * rows[i] + share * rows[i + 1]) / slope)


def edge_ranges(
    energy_ev: NDArray[np.float64], e0_ev: float, *, pre_ev: Range | None = None, post_ev: Range | None = None
) -> EdgeRanges:
    """Choose, or check, the ranges of the pre- and post-edge lines.

    The default pre-edge range ends below e0 by a quarter of the distance to the first energy, but by 30 eV at
    most.  The default post-edge range begins 25 eV above e0.  A default range with fewer than three energies
    is None.  The end of a default range at the edge is soft: an energy counts by the part of its
    surroundings, half way to its neighbours, that lies in the range.  So a small change of e0 changes the
    lines little.  A range that is given has hard ends, unless it is the default one, as in the attributes of
    a map.

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
        raise EdgeError(
            f"e0 = {e0_ev:g} eV lies outside the scan ({first:g} ... {last:g} eV)", parameter="e0_ev"
        )
    if (pre_ev is not None and pre_ev[1] > e0_ev) or (post_ev is not None and post_ev[0] < e0_ev):
        raise EdgeError(
            f"the pre-edge range must end below e0 = {e0_ev:g} eV and the post-edge range begin above it"
        )
    default_pre = (first, e0_ev - min(PRE_GAP_EV, (e0_ev - first) / 4))
    default_post = (e0_ev + POST_GAP_EV, last)
    return EdgeRanges(
        e0_ev,
        _given(energy_ev, pre_ev, "pre") or _enough(energy_ev, default_pre),
        _given(energy_ev, post_ev, "post") or _enough(energy_ev, default_post),
        pre_ev in (None, default_pre),
        post_ev in (None, default_post),
    )


def check_ranges(
    energy_ev: NDArray[np.float64], *, e0_ev: float | None, pre_ev: Range | None, post_ev: Range | None
) -> None:
    """Raise EdgeError for an edge or ranges that no scan of these energies (E,) can have; None: not given."""
    if e0_ev is not None:
        edge_ranges(energy_ev, e0_ev, pre_ev=pre_ev, post_ev=post_ev)
        return
    for side, limits in (("pre", pre_ev), ("post", post_ev)):
        _given(energy_ev, limits, side)
    if pre_ev is not None and post_ev is not None and pre_ev[1] > post_ev[0]:
        raise EdgeError(
            f"the pre-edge range ends at {pre_ev[1]:g} eV, beyond the beginning of the post-edge range at "
            f"{post_ev[0]:g} eV",
            parameter="pre_ev",
        )
    if pre_ev is not None and pre_ev[1] >= energy_ev[-1]:
        raise EdgeError(
            f"the pre-edge range ends at {pre_ev[1]:g} eV, and no energy lies beyond it", parameter="pre_ev"
        )
    if post_ev is not None and post_ev[0] <= energy_ev[0]:
        raise EdgeError(
            f"the post-edge range begins at {post_ev[0]:g} eV, and no energy lies below it",
            parameter="post_ev",
        )


def judged_ranges(
    energy_ev: NDArray[np.float64], spectrum: NDArray[np.floating], ranges: EdgeRanges
) -> tuple[EdgeRanges, float]:
    """Return the ranges, without a default pre-edge range in which the edge of a spectrum (E,) rises already.

    Where a scan begins shortly below its edge, the pre-edge line follows the foot of the edge, and the
    half-step energy is too high.  Where it rises only a little there, the second value is the error in eV
    that this may bring into a half-step energy, else 0.
    """
    short = ranges.e0_ev - float(energy_ev[0]) < SHORT_EV
    if ranges.pre_ev is None or not ranges.pre_is_default or not short:
        return ranges, 0.0
    inside = (energy_ev >= ranges.pre_ev[0]) & (energy_ev <= ranges.pre_ev[1])
    at, values = energy_ev[inside], np.asarray(spectrum, np.float64)[inside]
    centred = at - at.mean()
    slope = float(centred @ values / (centred @ centred))
    left = values - values.mean() - slope * centred
    error = float(np.sqrt(left @ left / max(len(at) - 2, 1) / (centred @ centred)))
    looked_at = energy_ev[:: -(-len(energy_ev) // MOST_LOOKED_AT)]
    steepest = float((local_fits(energy_ev, looked_at, SMOOTH_EV, 1)[1] @ spectrum)[1:-1].max())
    if not (slope > SLOPE_ERRORS * error and slope > HARDLY_RISING * steepest > 0):
        return ranges, 0.0
    if slope > RISING * steepest:
        return replace(ranges, pre_ev=None, pre_is_default=False), 0.0
    return ranges, 0.5 * slope / steepest * (ranges.e0_ev - float(at.mean()))


def steepest_ev(energy_ev: NDArray[np.float64], spectrum: NDArray[np.floating]) -> float:
    """Return the middle of the two neighbouring energies between which a spectrum (E,) rises most."""
    most = int(np.argmax(np.diff(spectrum)))
    return float(energy_ev[most] + energy_ev[most + 1]) / 2


def step_operator(energy_ev: NDArray[np.float64], ranges: EdgeRanges) -> NDArray[np.float64]:
    """Return the vector (E,) whose product with a spectrum is its edge step at e0."""
    at_e0 = np.array([ranges.e0_ev])
    return np.asarray((_post_line(energy_ev, ranges, at_e0) - _pre_line(energy_ev, ranges, at_e0))[0])


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
    at = np.flatnonzero(window)
    operator = np.zeros((len(at), len(energy_ev)))
    if ranges.pre_ev is not None:
        operator -= _baseline(energy_ev, ranges, energy_ev[window])
    operator[np.arange(len(at)), at] += 1
    return operator


def flattened(
    operator: NDArray[np.float64], energy_ev: NDArray[np.float64], ranges: EdgeRanges
) -> NDArray[np.float64]:
    """Return an operator (..., E) on flattened spectra as an operator on the spectra before, (..., E).

    It is the product with `flattening_operator` at all energies, which would be a large matrix.
    """
    if ranges.pre_ev is None:
        return operator
    below = energy_ev < ranges.e0_ev if ranges.post_ev is not None else np.ones(len(energy_ev), bool)
    ends = energy_ev[[0, -1]]  # two energies are enough for lines
    taken = _share_of_ends(operator * below, energy_ev) @ _pre_line(energy_ev, ranges, ends)
    if ranges.post_ev is not None:
        beyond = operator * ~below
        taken += _share_of_ends(beyond, energy_ev) @ _post_line(energy_ev, ranges, ends)
        taken -= beyond.sum(axis=-1)[..., None] * step_operator(energy_ev, ranges)
    return np.asarray(operator - taken)


def _share_of_ends(operator: NDArray[np.float64], energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same operator (..., E) for lines, which are known by their two ends, (..., 2)."""
    share = (energy_ev - energy_ev[0]) / (energy_ev[-1] - energy_ev[0])
    return np.asarray(operator @ np.column_stack([1 - share, share]))


def _baseline(
    energy_ev: NDArray[np.float64], ranges: EdgeRanges, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix (n, E) from a spectrum to what flattening subtracts from it, at n energies `at`."""
    if ranges.post_ev is None:
        return _pre_line(energy_ev, ranges, at)
    below, found = at < ranges.e0_ev, np.empty((len(at), len(energy_ev)))
    found[below] = _pre_line(energy_ev, ranges, at[below])
    found[~below] = _post_line(energy_ev, ranges, at[~below]) - step_operator(energy_ev, ranges)
    return found


def _pre_line(
    energy_ev: NDArray[np.float64], ranges: EdgeRanges, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix (n, E) from a spectrum to its pre-edge line, evaluated at `at`."""
    limits = _known(ranges.pre_ev)
    beyond = (energy_ev - limits[1]) / np.gradient(energy_ev)
    return _line(energy_ev, _weights(energy_ev, limits, beyond, soft=ranges.pre_is_default), limits, at)


def _post_line(
    energy_ev: NDArray[np.float64], ranges: EdgeRanges, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix (n, E) from a spectrum to its post-edge line, evaluated at `at`."""
    limits = _known(ranges.post_ev)
    beyond = (limits[0] - energy_ev) / np.gradient(energy_ev)
    return _line(energy_ev, _weights(energy_ev, limits, beyond, soft=ranges.post_is_default), limits, at)


def _known(limits: Range | None) -> Range:
    if limits is None:
        raise EnergyError("the scan has no usable pre- or post-edge range, so its edge step is unknown")
    return limits


def _weights(
    energy_ev: NDArray[np.float64], limits: Range, beyond: NDArray[np.float64], *, soft: bool
) -> NDArray[np.float64]:
    """Return the weight (E,) of each energy in a range; `beyond` the end at the edge it is soft or hard.

    Parameters
    ----------
    energy_ev : ndarray, shape (E,)
    limits : (float, float)
    beyond : ndarray, shape (E,)
        Distance from that end, in units of the distance of energies there; negative inside.
    soft : bool
    """
    if not soft:
        return ((energy_ev >= limits[0]) & (energy_ev <= limits[1])).astype(float)
    return np.clip(0.5 - beyond, 0, 1)


def _line(
    energy_ev: NDArray[np.float64], weights: NDArray[np.float64], limits: Range, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix (n, E) from a spectrum to its weighted least-squares line, evaluated at `at`."""
    inside, root = weights > 0, np.sqrt(weights[weights > 0])
    centre, scale = np.mean(limits), max(limits[1] - limits[0], 1e-9)
    design = np.vander((energy_ev[inside] - centre) / scale, 2)
    operator = np.zeros((len(at), len(energy_ev)))
    operator[:, inside] = np.vander((at - centre) / scale, 2) @ np.linalg.pinv(design * root[:, None]) * root
    return operator


def _given(energy_ev: NDArray[np.float64], limits: Range | None, side: str) -> Range | None:
    """Return a range that the user gave, after checking it; the side is "pre" or "post"."""
    if limits is None:
        return None
    n_inside = np.count_nonzero((energy_ev >= limits[0]) & (energy_ev <= limits[1]))
    if limits[0] >= limits[1] or n_inside < 2:
        raise EdgeError(
            f"the {side}-edge range {limits[0]:g}:{limits[1]:g} eV holds {n_inside} energies of the scan "
            f"({energy_ev[0]:g} ... {energy_ev[-1]:g} eV); a line needs two, lower end first",
            parameter=f"{side}_ev",
        )
    return limits


def _enough(energy_ev: NDArray[np.float64], limits: Range) -> Range | None:
    """Return a default range, or None if it holds too few energies."""
    inside = np.count_nonzero((energy_ev >= limits[0]) & (energy_ev <= limits[1]))
    return limits if inside >= MIN_POINTS else None
