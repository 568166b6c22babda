"""Scores that need no truth: correlation of a residual, and prediction of what a method did not see."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Correlation", "between", "block_scores", "lag_one", "mean_difference"]

Values = NDArray[np.floating]
BLOCKS = 12  # parts of the held-out rows, from which the error of a difference follows


class Correlation(NamedTuple):
    """Correlation of neighbours, and the standard error that it has for white noise."""

    value: float
    error: float


def lag_one(residual: Values, axis: int) -> Correlation:
    """Return the correlation of values that are neighbours along an axis; the mean of the residual is 0.

    The standard error is ``1 / sqrt(n)`` for n pairs.  A residual of zeros has correlation 0.

    Parameters
    ----------
    residual : (E, Y, X) array
        With equal noise at all energies.
    axis : int
        0: energy, 1: y, 2: x.
    """
    values = np.moveaxis(np.asarray(residual, np.float64), axis, 0)
    one, other = values[1:], values[:-1]
    power = (np.sum(one**2) + np.sum(other**2)) / 2
    error = float(one.size) ** -0.5 if one.size else float("nan")
    return Correlation(float(np.sum(one * other) / power) if power > 0 else 0.0, error)


def between(values: Values, at: Values, wanted: Values, axis: int) -> NDArray[np.float64]:
    """Interpolate along an axis by the cubic through the four nearest positions, two on each side.

    Parameters
    ----------
    values : (E, Y, X) array
    at : (n,) array
        Positions along the axis, increasing.
    wanted : (m,) array
        Positions with at least two of `at` on each side.
    axis : int
    """
    moved = np.moveaxis(np.asarray(values, np.float64), axis, 0)
    found = np.empty((len(wanted), *moved.shape[1:]))
    for row, position in zip(found, wanted, strict=True):
        first = int(np.searchsorted(at, position)) - 2
        if first < 0 or first + 4 > len(at):
            raise ValueError(f"{position} has fewer than two positions on one side")
        near = np.asarray(at[first : first + 4], float)
        apart = near[:, None] - near + np.eye(4)
        weights = np.prod(np.where(np.eye(4, dtype=bool), 1, (position - near) / apart), axis=1)
        row[...] = np.tensordot(weights, moved[first : first + 4], axes=1)
    return np.moveaxis(found, 0, axis)


def block_scores(predicted: Values, measured: Values, sigma: Values) -> list[float]:
    """Return the mean square of prediction minus measurement in units of the noise, for blocks of rows.

    A perfect prediction has 1, if the noise of the measurement is independent of what was fitted.

    Parameters
    ----------
    predicted, measured : (E, Y, X) arrays
    sigma : (E,) array
        Noise of the measurement at each energy.
    """
    squares = ((np.asarray(predicted, np.float64) - measured) / np.asarray(sigma)[:, None, None]) ** 2
    return [float(block.mean()) for block in np.array_split(squares, BLOCKS, axis=1) if block.size]


def mean_difference(scores: list[float], others: list[float]) -> tuple[float, float]:
    """Return the mean of the differences of paired scores, and its standard error."""
    differences = np.subtract(scores, others)
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(differences.size))
