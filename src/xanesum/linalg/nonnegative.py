"""Non-negative least squares for many right-hand sides at once, with few unknowns each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["groups_of", "nonnegative_solutions", "solution_operator"]

FULL_EXCHANGES = 3  # rounds without progress in which all wrong unknowns change sides, before only one does
TOLERANCE = 1e-12  # of a sign, relative to the right-hand side ...
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
    solution, is_free = np.zeros_like(rhs), np.ones(rhs.shape, bool)
    if total is not None:
        summing, rhs = 1 / scale, np.vstack([rhs, total])
        is_free[:, total <= 0] = False
    left = np.arange(rhs.shape[1]) if total is None else np.flatnonzero(total > 0)
    least = np.full(rhs.shape[1], len(gram) + 1)
    chances = np.full(rhs.shape[1], FULL_EXCHANGES)
    tolerance = TOLERANCE
    for count in range(1, 1 + ROUNDS_OF_TOLERANCE * 12):
        values, wrong = _step(gram, rhs, is_free, summing, left, tolerance)
        solution[:, left] = np.where(is_free[:, left], np.maximum(values, 0), 0)
        bad = wrong.any(axis=0)
        if not bad.any():
            break
        left, wrong = left[bad], wrong[:, bad]
        is_free[:, left] ^= _exchanged(wrong, left, least, chances)
        tolerance *= 10 if count % ROUNDS_OF_TOLERANCE == 0 else 1
    return solution / scale[:, None], is_free


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
    if is_free.all():
        yield np.ones(len(is_free), bool), np.arange(is_free.shape[1])
        return
    code = np.zeros(is_free.shape[1], np.int64)
    for bit, row in enumerate(is_free):
        code |= row.astype(np.int64) << bit
    for one in np.unique(code):
        free = (one >> np.arange(len(is_free))) & 1 > 0
        yield free, np.flatnonzero(code == one)


def _step(
    gram: NDArray[np.float64],
    rhs: NDArray[np.float64],
    is_free: Bits,
    summing: NDArray[np.float64] | None,
    left: NDArray[np.intp],
    tolerance: float,
) -> tuple[NDArray[np.float64], Bits]:
    """Return the solutions (M, p) of the columns `left`, and which unknowns are on the wrong side."""
    n = len(gram)
    values, wrong = np.zeros((n, len(left))), np.zeros((n, len(left)), bool)
    for free, columns in groups_of(is_free[:, left]):
        given = rhs[:, left[columns]]
        bound = -tolerance * np.abs(given).max(axis=0)
        found = solution_operator(gram, free, summing) @ given
        if free.all():
            values[:, columns], wrong[:, columns] = found, found < bound
            continue
        slope = gram @ found - given[:n]  # of the sum of squares, by an unknown that is 0
        if summing is not None and free.any():
            first = np.flatnonzero(free)[0]
            slope -= slope[first] / summing[first] * summing[:, None]
        elif summing is not None:
            slope[:] = -np.inf  # nothing adds up to the total yet
        values[:, columns] = found
        wrong[:, columns] = np.where(free[:, None], found, slope) < bound
    return values, wrong


def _exchanged(
    wrong: Bits, left: NDArray[np.intp], least: NDArray[np.intp], chances: NDArray[np.intp]
) -> Bits:
    """Return which unknowns change sides: all wrong ones, or the last one where that brings no progress."""
    number = wrong.sum(axis=0)
    better = number < least[left]
    least[left] = np.minimum(number, least[left])
    chances[left] = np.where(better, FULL_EXCHANGES, chances[left] - 1)
    single = chances[left] < 0
    last = len(wrong) - 1 - np.argmax(wrong[::-1], axis=0)
    only = np.arange(len(wrong))[:, None] == last
    return np.where(single, wrong & only, wrong)
