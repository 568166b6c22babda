"""Non-negative least squares for many right-hand sides at once, with few unknowns each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["groups_of", "nonnegative_solutions", "solution_operator"]

FULL_EXCHANGES = 3  # rounds without progress in which all wrong unknowns change sides, before only one does
TOLERANCE = 1e-12  # of a sign, relative to the right-hand side ...
FEW = 16  # unknowns, of which all sets are counted
FEWER, N_SETS = 8, 256  # unknowns, of which a set is the bits of one byte, and the number of these ...
QUICK_ROUNDS = 3  # ... and rounds in which all wrong unknowns change sides at once, in columns sorted by set
ROUNDS_OF_TOLERANCE = (
    40  # ... and ten times as much after each of these, so that rounding cannot make a circle
)

Bits = NDArray[np.bool_]


def nonnegative_solutions(
    gram: NDArray[np.float64], rhs: NDArray[np.float64], *, total: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], Bits]:
    """Minimize ``x.T @ gram @ x / 2 - rhs.T @ x`` over x >= 0 for each column of `rhs`.

    Block principal pivoting: unknowns are free or 0.  Those with a wrong sign, of themselves or of their
    gradient, change sides, until there are none.  All columns with the same free unknowns are solved by one
    matrix.

    Parameters
    ----------
    gram : ndarray, shape (M, M)
        Symmetric and positive definite; ``a.T @ a`` for the least squares of ``a @ x - b``.
    rhs : ndarray, shape (M, P)
        ``a.T @ b``.
    total : ndarray, shape (P,), optional
        What the unknowns of each column must add up to; where it is not above 0, all are 0.

    Returns
    -------
    solution : ndarray, shape (M, P)
    is_free : ndarray of bool, shape (M, P)
        Which unknowns are free; the others are 0.

    Notes
    -----
    J. Kim and H. Park, SIAM J. Sci. Comput. 33, 3261 (2011), doi:10.1137/110821172; columns are grouped as in
    M. H. Van Benthem and M. R. Keenan, J. Chemometrics 18, 441 (2004), doi:10.1002/cem.889.
    """
    scale = np.sqrt(np.diag(gram))
    gram, rhs, summing = gram / np.outer(scale, scale), rhs / scale[:, None], None
    is_free = np.ones(rhs.shape, bool)
    if total is not None:
        summing, rhs = 1 / scale, np.vstack([rhs, total])
        is_free[:, total <= 0] = False
    if total is None and len(gram) <= FEWER:
        solution, is_free, columns = _of_few(gram, rhs)
    else:
        solution = solution_operator(gram, np.ones(len(gram), bool), summing) @ rhs
        is_left = (solution < -TOLERANCE * np.abs(rhs).max(axis=0)).any(axis=0)
        if total is not None:
            is_left &= total > 0
            solution[:, total <= 0] = 0
        np.maximum(solution, 0, out=solution)
        columns = np.flatnonzero(is_left)
    state = _State(rhs[:, columns], is_free[:, columns])
    tolerance = TOLERANCE
    for count in range(1, 1 + ROUNDS_OF_TOLERANCE * 12):
        if not columns.size:
            break
        values, wrong = _step(gram, state, summing, tolerance)
        bad = np.asarray(wrong.any(axis=0))
        if not bad.all():
            done = columns[~bad]
            is_free[:, done] = state.free[:, ~bad]
            solution[:, done] = np.maximum(values[:, ~bad], 0)
            columns, wrong = columns[bad], wrong[:, bad]
            state.keep(bad)
        state.exchange(wrong)
        tolerance *= 10 if count % ROUNDS_OF_TOLERANCE == 0 else 1
    return solution / scale[:, None], is_free


def _of_few(
    gram: NDArray[np.float64], rhs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Bits, NDArray[np.intp]]:
    """Return solutions (M, P) and free unknowns (M, P) of few unknowns, and the columns that are not solved.

    A set of free unknowns is a byte.  Columns are sorted by it, so that those of one set lie together.
    """
    n, everything = len(gram), np.uint8(2 ** len(gram) - 1)
    bound = TOLERANCE * float(np.abs(rhs).max(initial=0, where=np.isfinite(rhs)))
    solution = np.linalg.inv(gram) @ rhs
    wrong = _negative(solution, bound)
    np.maximum(solution, 0, out=solution)
    columns, sets = np.flatnonzero(wrong), np.full(rhs.shape[1], everything)
    given, free = rhs[:, columns], everything ^ wrong[columns]
    for _ in range(QUICK_ROUNDS):
        if not columns.size:
            break
        order = np.argsort(free, kind="stable")
        columns, given, free = columns[order], given[:, order], free[order]
        starts = np.flatnonzero(np.diff(free, prepend=free[:1] ^ 1))
        found = np.empty_like(given)
        parts = [slice(*ends) for ends in zip(starts, [*starts[1:], len(free)], strict=True)]
        bits = [(free[part.start] >> np.arange(n)) & 1 > 0 for part in parts]
        for chosen, part in zip(bits, parts, strict=True):
            operator = _signs_operator(gram.tobytes(), chosen.tobytes())
            np.matmul(operator, given[:, part], out=found[:, part])
        wrong = _negative(found, bound)
        for chosen, part in zip(bits, parts, strict=True):
            found[~chosen, part] = 0
        done = wrong == 0
        solved = columns[done]
        solution[:, solved] = np.maximum(found[:, done], 0)
        sets[solved] = free[done]
        columns, given, free = columns[~done], given[:, ~done], (free ^ wrong)[~done]
    sets[columns] = free
    return solution, np.array([(sets & (1 << bit)) > 0 for bit in range(n)]), columns


def _negative(values: NDArray[np.float64], bound: float) -> NDArray[np.uint8]:
    """Return which of a few rows are below ``-bound``, as the bits of a byte for each column."""
    code = np.zeros(values.shape[1], np.uint8)
    for bit, row in enumerate(values):
        code |= (row < -bound).view(np.uint8) << np.uint8(bit)
    return code


@lru_cache(maxsize=N_SETS)  # all blocks of pixels have the same
def _signs_operator(gram: bytes, free: bytes) -> NDArray[np.float64]:
    """Return the matrix (M, M) from right-hand side to the free unknowns, and to the slopes of the others."""
    chosen = np.frombuffer(free, bool)
    square = np.frombuffer(gram).reshape(len(chosen), len(chosen))
    operator = solution_operator(square, chosen)
    operator[~chosen] = (square @ operator - np.eye(len(chosen)))[~chosen]
    return operator


class _State:
    """Columns that are not solved yet."""

    def __init__(self, rhs: NDArray[np.float64], free: Bits) -> None:
        self.rhs = rhs
        self.free = free  # (M, p)
        self.least = np.full(rhs.shape[1], len(free) + 1)  # of wrong unknowns, so far
        self.chances = np.full(rhs.shape[1], FULL_EXCHANGES)

    def keep(self, chosen: Bits) -> None:
        """Forget all columns but those that are chosen (p,)."""
        self.rhs, self.free = self.rhs[:, chosen], self.free[:, chosen]
        self.least, self.chances = self.least[chosen], self.chances[chosen]

    def exchange(self, wrong: Bits) -> None:
        """Let wrong unknowns (M, p) change sides: all, or the last one where that brings no progress."""
        number = wrong.sum(axis=0)
        better = number < self.least
        self.least = np.minimum(number, self.least)
        self.chances = np.where(better, FULL_EXCHANGES, self.chances - 1)
        stuck = self.chances < 0
        if stuck.any():
            last = len(wrong) - 1 - np.argmax(wrong[::-1], axis=0)
            wrong = wrong & (~stuck | (np.arange(len(wrong))[:, None] == last))
        self.free = self.free ^ wrong


def solution_operator(
    gram: NDArray[np.float64], free: Bits, summing: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the matrix (M, M) from right-hand side to solution, if only some unknowns are `free` (M,).

    With `summing` (M,), the weighted sum of the unknowns is given as one more right-hand side; the matrix
    is (M, M + 1).
    """
    n, chosen = len(gram), np.flatnonzero(free)
    operator = np.zeros((n, n + (summing is not None)))
    if not chosen.size:
        return operator
    inverse = np.linalg.inv(gram[np.ix_(chosen, chosen)])
    if summing is None:
        operator[np.ix_(chosen, chosen)] = inverse
        return operator
    along = inverse @ summing[chosen]
    share = along / (summing[chosen] @ along)
    operator[np.ix_(chosen, chosen)] = inverse - np.outer(share, along)
    operator[chosen, n] = share
    return operator


def groups_of(is_free: Bits) -> Iterator[tuple[Bits, NDArray[np.intp]]]:
    """Yield each set of free unknowns (M,) that occurs in (M, P), and the columns that have it."""
    n = len(is_free)
    code = np.zeros(is_free.shape[1], np.int64)
    for bit, row in enumerate(is_free):
        code += row * (1 << bit)
    codes = np.flatnonzero(np.bincount(code)) if n <= FEW else np.unique(code)
    for one in codes:
        yield (one >> np.arange(n)) & 1 > 0, np.flatnonzero(code == one)


def _step(
    gram: NDArray[np.float64], state: _State, summing: NDArray[np.float64] | None, tolerance: float
) -> tuple[NDArray[np.float64], Bits]:
    """Return the solutions (M, p) of columns, and which unknowns are on the wrong side."""
    n, shape = len(gram), state.free.shape
    values, wrong = np.zeros(shape), np.zeros(shape, bool)
    for free, columns in groups_of(state.free):
        given = state.rhs[:, columns]
        bound = -tolerance * np.abs(given).max(axis=0)
        found = solution_operator(gram, free, summing) @ given
        slope = gram @ found - given[:n]  # of the sum of squares, by an unknown that is 0
        if summing is not None and free.any():
            first = np.flatnonzero(free)[0]
            slope -= slope[first] / summing[first] * summing[:, None]
        elif summing is not None:
            slope[:] = -np.inf  # nothing adds up to the total yet
        values[:, columns] = found
        wrong[:, columns] = np.where(free[:, None], found, slope) < bound
    return values, wrong
