"""The largest eigenvalue that noise alone gives a matrix of inner products (Tracy-Widom law)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse.linalg import eigsh
from scipy.stats import gamma

__all__ = ["TW_MEAN", "TW_STD", "EigenvalueTest", "largest_eigenvalue", "tracy_widom_tail"]

# shape, scale and shift of a gamma law that is close to the Tracy-Widom law of order 1
TW_GAMMA = (46.446, 0.186054, 9.84801)
TW_MEAN, TW_STD = -1.2065336, 1.2680340  # mean and standard deviation of that Tracy-Widom law
FEW = 64  # up to this size all eigenvalues are computed, beyond it only the two largest
TOLERANCE = 1e-5  # relative error of an eigenvalue that is found by iteration
MEDIAN_OF_NORMAL = 0.6744897501960817  # median of |z| for standard normal z
SPREAD = 6.0  # energies over which signal is spread; an eigenvector over fewer may be noise that is uneven
MOST_LEFT = 0.5  # of its noise must be left at an energy by the known spectra, for its correlations to count
SOME = 200  # energies whose correlations are looked at, at most


class EigenvalueTest:
    """A test of the largest eigenvalue of a matrix of inner products of frames.

    Parameters
    ----------
    gram : ndarray, shape (E, E)
        Inner products of frames over `n_samples` pixels, or blocks of pixels.
    n_samples : int
        Number of pixels.
    known : ndarray, shape (K, E)
        Orthonormal spectra that are left out.
    most_noise : float
        Variance that the noise has at most, on average over the energies.  Where there are few pixels, signal
        at many energies would pass for noise otherwise.

    Attributes
    ----------
    p_value : float
        Probability that noise has an eigenvalue as large.  The noise is independent between energies, and its
        variance may differ between them.  Pixels that are correlated count for fewer.
    spectrum : ndarray, shape (E,)
        The eigenvector.
    noise : float
        Variance of the noise, on average over the energies.

    References
    ----------
    .. [1] N. El Karoui, "Tracy-Widom limit for the largest eigenvalue of a large class of complex sample
       covariance matrices", Ann. Probab. 35 (2007) 663-714.
    """

    def __init__(
        self,
        gram: NDArray[np.float64],
        n_samples: int,
        known: NDArray[np.float64],
        most_noise: float = np.inf,
    ) -> None:
        within = gram @ known.T
        rest = gram - within @ known - known.T @ within.T + known.T @ (known @ within) @ known
        value, second, self.spectrum = largest_eigenvalue(rest)
        share = np.clip(1 - np.sum(known**2, axis=0), 0.05, 1)  # of each energy's noise that is left
        alone = np.diag(rest)
        if 1 / np.sum(self.spectrum**4) > SPREAD:  # signal would raise the noise that it is compared with
            alone = alone - max(value - second, 0.0) * self.spectrum**2
        variance = np.sort(np.maximum(alone, 0) / share)[len(known) :] / n_samples
        self.noise = float(variance.mean()) if variance.size else 0.0
        if self.noise > most_noise:
            variance = variance * (most_noise / self.noise)
        n_free = _independent(rest, known, n_samples)
        self.p_value = _tail(value / n_samples, variance, n_free) if variance.any() else 1.0


def largest_eigenvalue(matrix: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    """Return the two largest eigenvalues of a symmetric matrix (E, E), and the first eigenvector (E,)."""
    if len(matrix) <= FEW:
        values, vectors = np.linalg.eigh(matrix)
        return float(values[-1]), float(values[-2]) if len(values) > 1 else 0.0, vectors[:, -1]
    start = np.ones(len(matrix)) + 0.1 * np.cos(np.arange(len(matrix)))
    values, vectors = eigsh(matrix, k=2, which="LA", v0=start, tol=TOLERANCE)
    return float(values[-1]), float(values[-2]), np.asarray(vectors[:, -1])


def tracy_widom_tail(scaled: float) -> float:
    """Return the probability that the Tracy-Widom law of order 1 exceeds a value.

    References
    ----------
    M. Chiani, "Distribution of the largest eigenvalue for real Wishart and Gaussian random matrices and a
    simple approximation for the Tracy-Widom distribution", J. Multivariate Anal. 129 (2014) 69-81.
    """
    shape, scale, shift = TW_GAMMA
    return float(gamma.sf(scaled + shift, shape, scale=scale))


def _tail(value: float, variance: NDArray[np.float64], n_free: float) -> float:
    """Return the probability that the sample covariance of noise has an eigenvalue as large as `value`.

    Parameters
    ----------
    value : float
    variance : ndarray, shape (D,)
        Of the noise at each energy.
    n_free : float
        Number of independent samples.
    """
    n_energies, relative = len(variance), variance / variance.max()

    def excess(c: float) -> float:
        return float(np.mean((relative * c / (1 - relative * c)) ** 2)) - n_free / n_energies

    most = 1 - 1e-9
    c = brentq(excess, 0.0, most) if excess(most) > 0 else most
    ratio = relative * c / (1 - relative * c)
    share = n_energies / n_free
    centre = (1 + share * ratio.mean()) / c
    width = ((1 + share * np.mean(ratio**3)) / c**3) ** (1 / 3) * n_free ** (-2 / 3)
    return tracy_widom_tail((value / variance.max() - centre) / width)


def _independent(rest: NDArray[np.float64], known: NDArray[np.float64], n_samples: int) -> float:
    """Return how many independent samples the correlations between energies correspond to.

    They are at most `n_samples`.  Correlations that come from leaving out the known spectra do not count.
    """
    some = np.unique(np.linspace(0, len(rest) - 1, min(SOME, len(rest))).astype(int))
    spectra = known[:, some]
    left = np.eye(len(some)) - spectra.T @ spectra  # covariance of noise of variance 1
    kept = np.diag(left) > MOST_LEFT
    part, left = rest[np.ix_(some[kept], some[kept])], left[np.ix_(kept, kept)]
    root = np.sqrt(np.diag(left))
    size = np.sqrt(np.maximum(np.diag(part), np.finfo(float).tiny)) / root
    by_chance = (part / size[:, None] / size - left) / root[:, None] / root
    apart = np.abs(by_chance)[np.tril_indices(len(part), -1)]
    if apart.size < 3:
        return float(n_samples)
    found = (MEDIAN_OF_NORMAL / max(float(np.median(apart)), 1e-9)) ** 2
    return min(float(found), float(n_samples))
