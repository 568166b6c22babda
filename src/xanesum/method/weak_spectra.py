"""What the spectrum of a weak component can look like, as the strong spectrum teaches it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LikelySpectra", "shift_beside"]

NEAR, FAR = 0.7, 5.0  # lengths over which a weak spectrum changes, in widths of the edge
WIDTH_EV = 1.0, 8.0  # limits of that width; the lifetime of a core hole alone gives about 1 eV
FLAT = 0.05  # of the largest slope; weak spectra may have as much where the strong one is flat
LEVEL = 0.15  # a weak spectrum changes by this part of the strong one too, as white lines do, ...
SLOW = 0.3  # ... and slowly with this part of its variance, as backgrounds do
KEPT = 0.999  # share of the prior variance that is kept
REST = 0.3  # part of the spectrum of a shift beside the known ones that is not theirs
MOST_ENERGIES = 1000  # energies whose covariance is computed; it is smooth along energy
DEPENDENT = 1e-3  # directions smaller than this part of the largest lie within the known spectra


@dataclass(frozen=True, slots=True, eq=False)
class LikelySpectra:
    """Directions in which weak spectra are looked for.

    A shift of the edge looks like the derivative of the strong spectrum.  So weak spectra are large where the
    strong one is steep, less so where it is only high, and as smooth along energy as the edge is wide.
    """

    rows: NDArray[np.float64]  # (M, E), orthonormal, orthogonal to all known spectra
    root: NDArray[np.float64]  # (M, R), root of the prior covariance along these rows

    @classmethod
    def beside(
        cls, known: NDArray[np.float64], strong: NDArray[np.float64], energy_ev: NDArray[np.float64]
    ) -> LikelySpectra:
        """Return the directions beside `known` (K, E), orthonormal; `strong` (E,) is free of noise."""
        root = _prior_root(strong, energy_ev)
        root = root - known.T @ (known @ root)
        columns, size, _ = np.linalg.svd(root, full_matrices=False)
        rows = columns[:, size > DEPENDENT * max(float(size[0]), np.finfo(float).tiny)].T
        return cls(rows, rows @ root)

    @property
    def by_weight(self) -> NDArray[np.float64]:
        """The same directions (M, E), turned so that the likeliest is first."""
        return np.asarray(np.linalg.svd(self.root)[0].T @ self.rows)


def shift_beside(
    known: NDArray[np.float64], strong: NDArray[np.float64], energy_ev: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the spectrum (1, E) of a shift of `strong` (E,) beside `known` (K, E), orthonormal.

    None where the known spectra hold most of it.
    """
    shift = np.gradient(strong, energy_ev)
    rest = shift - (shift @ known.T) @ known
    size = float(np.linalg.norm(rest))
    return rest[None] / size if size > REST * float(np.linalg.norm(shift)) else None


def _prior_root(strong: NDArray[np.float64], energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a root (E, R) of the prior covariance of weak spectra; some of very many energies give it."""
    if len(energy_ev) > MOST_ENERGIES:
        some = np.linspace(0, len(energy_ev) - 1, MOST_ENERGIES).astype(int)
        coarse = _prior_root(strong[some], energy_ev[some])
        fine = np.array([np.interp(energy_ev, energy_ev[some], column) for column in coarse.T]).T
        return np.asarray(fine * np.sqrt(len(some) / len(energy_ev)))
    slope = np.gradient(strong, energy_ev)
    width = np.clip(np.ptp(strong) / max(float(np.abs(slope).max()), np.finfo(float).tiny), *WIDTH_EV)
    distance = energy_ev[:, None] - energy_ev
    near, far = (np.exp(-0.5 * (distance / (part * width)) ** 2) for part in (NEAR, FAR))
    mean = near / near.sum(axis=1, keepdims=True)
    steep, level = np.sqrt(mean @ slope**2), mean @ np.abs(strong)
    steep, level = (
        steep / max(steep.max(), np.finfo(float).tiny),
        level / max(level.max(), np.finfo(float).tiny),
    )
    size = np.sqrt(steep**2 + FLAT**2 + (LEVEL * level) ** 2)
    covariance = np.outer(size, size) * near + SLOW * np.outer(level, level) * far
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    n_kept = int(np.searchsorted(np.cumsum(values) / values.sum(), KEPT)) + 1
    return np.asarray(vectors[:, :n_kept] * np.sqrt(values[:n_kept] / values[0]))
