"""Smooth values and slopes of spectra: a polynomial fitted near each of many energies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPACINGS", "local_fits"]

# The weights vanish at the nearest energy but this many (plus the degree), or farther away.  So at least as
# many energies count as the polynomial has coefficients, and the weights change smoothly with `at_ev`.
MORE_ENERGIES = 3
TOGETHER = 64  # energies for which those nearby are looked at together
SPACINGS = 2.0  # the half width is at least this many local distances of energies, so both sides count


def local_fits(
    energy_ev: NDArray[np.float64], at_ev: NDArray[np.float64], half_width_ev: float, degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two matrices (J, E): they take a spectrum to its smooth values and slopes at J energies.

    A polynomial is fitted near each of these energies.  The weight of a point falls with its distance, as
    ``1 - (distance / half width)**2``.  Where energies are sparse, the half width grows.

    Parameters
    ----------
    energy_ev : ndarray, shape (E,)
        Increasing; at least ``degree + 1`` of them.
    at_ev : ndarray, shape (J,)
    half_width_ev : float
    degree : int
        Of the polynomial: 1, 2 or 3.
    """
    n_near = min(degree + MORE_ENERGIES, len(energy_ev))
    gaps = np.diff(energy_ev)
    spacing = np.interp(at_ev, energy_ev, np.maximum(np.r_[gaps, gaps[-1]], np.r_[gaps[0], gaps]))
    least_ev = np.maximum(SPACINGS * spacing, half_width_ev)
    values, slopes = np.zeros((2, len(at_ev), len(energy_ev)))
    for start in range(0, len(at_ev), TOGETHER):  # of many energies, only those nearby are looked at
        some = slice(start, start + TOGETHER)
        at, reach = at_ev[some], least_ev[some].max()
        first = np.searchsorted(energy_ev, at.min() - reach) - n_near
        last = np.searchsorted(energy_ev, at.max() + reach) + n_near
        near = slice(max(0, int(first)), int(last))
        values[some, near], slopes[some, near] = _fits_nearby(energy_ev[near], at, least_ev[some], degree)
    return values, slopes


def _fits_nearby(
    energy_ev: NDArray[np.float64], at_ev: NDArray[np.float64], least_ev: NDArray[np.float64], degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the same matrices (J, E) where the least half width is given for each of the J energies."""
    offset = energy_ev - at_ev[:, None]
    n_near = min(degree + MORE_ENERGIES, len(energy_ev))
    farthest = np.partition(np.abs(offset), n_near - 1, axis=1)[:, n_near - 1]
    if n_near < degree + MORE_ENERGIES:
        farthest *= 2  # all of the few energies count
    width = np.maximum(farthest, least_ev)[:, None]
    scaled = offset / width
    weight = np.maximum(1 - scaled**2, 0)
    powers = scaled[:, None] ** np.arange(degree + 1)[:, None]  # (J, degree + 1, E)
    weighted = powers * weight[:, None]
    fits = np.linalg.solve(weighted @ np.swapaxes(powers, 1, 2), weighted)
    return fits[:, 0], fits[:, 1] / width
