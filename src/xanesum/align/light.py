"""Light that drifts: fields of low order in every frame, which stand still on the detector.

A field that changes from frame to frame looks like motion of a sample with large structures.  So frames
that were divided by a flat have factors of six fields besides the shift.  A field of the second degree is one
in the coordinates of the sample too, wherever it has moved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_SIGMA", "N_FIELDS", "SIGMA", "in_sample", "polynomials", "without_sample"]

Array = NDArray[np.float64]

N_FIELDS = 6
SIGMA, LEAST_SIGMA = 0.02, 1e-3  # of the factors but the first, in optical density: until known, and at least


def polynomials(y: Array, x: Array) -> NDArray[np.float32]:
    """Return 1, y, x, y x, y^2 - 1/3, x^2 - 1/3 at coordinates from -1 to 1, as (6, Y, X)."""
    rows = np.broadcast_arrays(np.ones_like(y + x), y, x, y * x, y**2 - 1 / 3, x**2 - 1 / 3)
    return np.stack(rows).astype(np.float32)


def in_sample(shifts_px: Array, full: tuple[int, int], n_fields: int) -> Array:
    """Return the fields in the coordinates of the sample, as sums of those of the detector, (E, n, n).

    Parameters
    ----------
    shifts_px : ndarray, shape (E, 2)
    full : (int, int)
        Size of a frame at full resolution.
    n_fields : int
        1 or 6.
    """
    turns = np.broadcast_to(np.eye(n_fields), (len(shifts_px), n_fields, n_fields)).copy()
    if n_fields > 1:
        a, b = (2 * shifts_px / np.array(full)).T
        turns[:, 1, 0], turns[:, 2, 0] = -a, -b
        turns[:, 3, 0], turns[:, 3, 1], turns[:, 3, 2] = a * b, -b, -a
        turns[:, 4, 0], turns[:, 4, 1] = a**2, -2 * a
        turns[:, 5, 0], turns[:, 5, 2] = b**2, -2 * b
    return turns


def without_sample(factors: Array, spectra: Array, turns: Array, back: Array) -> Array:
    """Return the factors (E, n) of the fields without what the sample may be.

    A field in the coordinates of the sample, in proportion to one of its spectra, is sample or light: nothing
    tells.  It counts as sample, so that light is as little as it can be.

    Parameters
    ----------
    factors : ndarray, shape (E, n)
        In units of each frame's noise.
    spectra : ndarray, shape (K, E)
        Orthonormal.
    turns, back : ndarray, shape (E, n, n)
        `in_sample` of the shifts, and of the shifts the other way.
    """
    on_sample = np.einsum("eij,ei->ej", back, factors)
    of_sample = spectra.T @ (spectra @ on_sample)
    of_sample[:, 0] = 0  # constants are no part of the sample
    return np.asarray(factors - np.einsum("eij,ei->ej", turns, of_sample))
