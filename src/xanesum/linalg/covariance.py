"""Covariances of spectra by their parts: at thousands of energies, matrices (E, E) would be too large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Covariance",
    "NoiseCovariance",
    "SmoothedCovariance",
    "SummedCovariance",
    "low_rank",
    "of_mixture",
    "white",
]

ROWS = 64  # rows that are summed up together: they stay in the processor's cache


class Covariance(Protocol):
    """Covariance (E, E) of a random spectrum."""

    def of(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance (W, W) of ``operator @ spectrum``; operator (W, E)."""
        ...

    def drawn(self, n_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return normal spectra (n_draws, E) of mean 0 and this covariance."""
        ...

    @property
    def diagonal(self) -> NDArray[np.float64]:
        """The variance at each energy, (E,)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class NoiseCovariance:
    """Noise that is independent at each energy, and a few random factors times known spectra."""

    variance: NDArray[np.float64]  # (E,)
    factors: NDArray[np.float64]  # (R, E), each a spectrum times the standard deviation of its factor

    def of(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance (W, W) of ``operator @ spectrum``; operator (W, E)."""
        along = operator @ self.factors.T
        return np.asarray((operator * self.variance) @ operator.T + along @ along.T)

    def drawn(self, n_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return normal spectra (n_draws, E) of mean 0 and this covariance."""
        own = rng.standard_normal((n_draws, len(self.variance))) * np.sqrt(self.variance)
        return np.asarray(own + rng.standard_normal((n_draws, len(self.factors))) @ self.factors)

    @property
    def diagonal(self) -> NDArray[np.float64]:
        """The variance at each energy, (E,)."""
        return np.asarray(self.variance + np.sum(self.factors**2, axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class SmoothedCovariance:
    """Error of a spectrum that was smoothed along energy.

    Where the share of the variance that is left (`freedom`) is small, as many neighbouring energies have the
    same error as make up one degree of freedom.  So smoothing does not change the error of a mean over many
    energies.
    """

    error: NDArray[np.float64]  # (E,), standard error before smoothing, independent at each energy
    freedom: NDArray[np.float64]  # (E,), share of its square that is left, 0 to 1

    def of(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance (W, W) of ``operator @ spectrum``; operator (W, E)."""
        scaled = operator * (self.error * np.sqrt(self.freedom))
        found = np.empty((len(scaled), len(scaled)))
        for start in range(0, len(scaled), ROWS):
            some = slice(start, start + ROWS)
            found[some] = self._with_alike(scaled[some]) @ scaled.T
        return found

    def drawn(self, n_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return normal spectra (n_draws, E) of mean 0 and this covariance.

        White noise, summed up over a window of length 1 around each place, is alike in this way.
        """
        place = np.cumsum(self.freedom) - self.freedom / 2
        ends = np.concatenate([place - 0.5, place + 0.5])
        order = np.argsort(ends)
        steps = np.sqrt(np.diff(ends[order], prepend=ends[order[0]]))
        summed = np.empty((n_draws, len(ends)))
        summed[:, order] = np.cumsum(rng.standard_normal((n_draws, len(ends))) * steps, axis=1)
        window = summed[:, len(place) :] - summed[:, : len(place)]
        return np.asarray(window * (self.error * np.sqrt(self.freedom)))

    @property
    def diagonal(self) -> NDArray[np.float64]:
        """The variance at each energy, (E,)."""
        return np.asarray(self.error**2 * self.freedom)

    def _with_alike(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sums (W, E) of values (W, E) over all energies, weighted by how alike their errors are.

        Errors of energies whose `place` differs by d are alike by ``1 - d``, and independent from 1 on.  So
        each sum needs the values, and their products with the place, both summed up to each energy.
        """
        place = np.cumsum(self.freedom) - self.freedom / 2
        total, moment = (
            np.concatenate([np.zeros((len(values), 1)), np.cumsum(each, axis=1)], axis=1)
            for each in (values, values * place)
        )
        first, last = np.searchsorted(place, place - 1, "right"), np.searchsorted(place, place + 1, "left")
        here = np.arange(1, len(place) + 1)
        below = (1 - place) * (total[:, here] - total[:, first]) + moment[:, here] - moment[:, first]
        beyond = (1 + place) * (total[:, last] - total[:, here]) - moment[:, last] + moment[:, here]
        return np.asarray(below + beyond)


@dataclass(frozen=True, slots=True, eq=False)
class SummedCovariance:
    """Covariance of a sum of independent random spectra, each times a number."""

    parts: tuple[tuple[float, Covariance], ...]  # the number, and the covariance of the spectrum

    def of(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance (W, W) of ``operator @ spectrum``; operator (W, E)."""
        return np.asarray(sum(scale**2 * part.of(operator) for scale, part in self.parts))

    def drawn(self, n_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return normal spectra (n_draws, E) of mean 0 and this covariance."""
        return np.asarray(sum(scale * part.drawn(n_draws, rng) for scale, part in self.parts))

    @property
    def diagonal(self) -> NDArray[np.float64]:
        """The variance at each energy, (E,)."""
        return np.asarray(sum(scale**2 * part.diagonal for scale, part in self.parts))


def white(variance: NDArray[np.float64]) -> NoiseCovariance:
    """Return the covariance of noise that is independent at each energy; variance (E,)."""
    return NoiseCovariance(variance, np.zeros((0, len(variance))))


def low_rank(factors: NDArray[np.float64]) -> NoiseCovariance:
    """Return the covariance of independent random factors of variance 1 times `factors` (R, E)."""
    return NoiseCovariance(np.zeros(factors.shape[1]), factors)


def of_mixture(covariance: NDArray[np.float64], spectra: NDArray[np.float64]) -> NoiseCovariance:
    """Return the covariance of a mixture of `spectra` (K, E) whose amounts have a covariance (K, K)."""
    size, vectors = np.linalg.eigh(covariance)
    return low_rank((vectors * np.sqrt(np.maximum(size, 0))).T @ spectra)
