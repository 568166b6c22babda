"""Singular values of the stack as a matrix of energies and pixels, thresholded or shrunk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rival import Stack

__all__ = [
    "frobenius_shrinkage",
    "hard_rank",
    "n_above_noise",
    "optimal_shrinkage",
    "risks",
    "soft_threshold",
    "svd_hard",
    "svd_soft",
]

Values = NDArray[np.float64]
PIXELS_AT_A_TIME = 2**16  # of the sums in float64


def svd_soft(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Subtract a threshold from the singular values.  The threshold has the least estimated risk.

    The estimate is unbiased for white noise, and its minimum is exact: see `soft_threshold`.

    References
    ----------
    E. J. Candes, C. A. Sing-Long, J. D. Trzasko, "Unbiased risk estimates for singular value thresholding and
    spectral estimators", IEEE Trans. Signal Process. 61 (2013) 4643-4657.
    """
    spectra, values, longer = _decomposed(stack)
    return _with(stack, spectra, values, np.maximum(values - soft_threshold(values, longer, sigma), 0))


def svd_hard(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Keep the largest singular values as they are.  Their number has the least estimated risk.

    The paper chooses the threshold of its SVD in this way (its Fig. 3).  A hard threshold has jumps, so that
    the estimate is not exactly unbiased.

    References
    ----------
    J. Li, B. Chen, G. Zan, G. Qian, P. Pianetta, Y. Liu, "Subspace modeling for fast and high-sensitivity
    X-ray chemical imaging", CVPR 2022; formula of the risk as for `svd_soft`.
    """
    spectra, values, longer = _decomposed(stack)
    kept = np.arange(len(values)) < hard_rank(values, longer, sigma)
    return _with(stack, spectra, values, np.where(kept, values, 0))


def optimal_shrinkage(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Shrink each singular value by what is best for the squared error of a large matrix of low rank.

    References
    ----------
    M. Gavish, D. L. Donoho, "Optimal shrinkage of singular values", IEEE Trans. Inf. Theory 63 (2017)
    2137-2152.
    """
    spectra, values, longer = _decomposed(stack)
    return _with(stack, spectra, values, frobenius_shrinkage(values, longer, sigma))


def risks(values: Values, longer: int, sigma: float, thresholds: Values) -> Values:
    """Return Stein's unbiased estimate of the squared error, summed over the matrix, shape (N + 1,).

    Entry k is for the matrix that keeps k singular values and subtracts ``thresholds[k]`` from them.

    Parameters
    ----------
    values : (N,) array
        Singular values of the noisy matrix, descending.
    longer : int
        The longer side of the matrix; the other side is N.
    thresholds : (N + 1,) array
        For a soft threshold, entry k lies between value k + 1 and value k.
    """
    squares = values**2
    removed = np.append(np.cumsum(squares[::-1])[::-1], 0)
    k = np.arange(len(values) + 1)
    divergence = k + _summed(_slopes(values, longer) * values) - thresholds * _summed(_slopes(values, longer))
    noise = sigma**2 * longer * len(values)
    return removed + k * thresholds**2 - noise + 2 * sigma**2 * divergence


def soft_threshold(values: Values, longer: int, sigma: float) -> float:
    """Return the threshold of least estimated risk; see `risks` for the parameters.

    Between two singular values the risk is a parabola of the threshold, so its lowest point is known.
    """
    k = np.arange(1, len(values) + 1)
    lowest = sigma**2 * np.cumsum(_slopes(values, longer)) / k
    inside = np.clip(lowest, np.append(values[1:], 0), values)
    thresholds = np.append(values[0], inside)  # the first removes all
    return float(thresholds[np.argmin(risks(values, longer, sigma, thresholds))])


def hard_rank(values: Values, longer: int, sigma: float) -> int:
    """Return the number of singular values to keep; see `risks` for the parameters."""
    return int(np.argmin(risks(values, longer, sigma, np.zeros(len(values) + 1))))


def frobenius_shrinkage(values: Values, longer: int, sigma: float) -> Values:
    """Return the shrunk singular values; those that noise alone explains become 0; see `risks`."""
    ratio = len(values) / longer
    y = values / (sigma * np.sqrt(longer))
    inside = (y**2 - ratio - 1) ** 2 - 4 * ratio
    kept = np.sqrt(np.maximum(inside, 0)) / np.maximum(y, 1e-300)
    return np.where(y > 1 + np.sqrt(ratio), kept * sigma * np.sqrt(longer), 0)


def n_above_noise(stack: Stack, sigma: float) -> int:
    """Return how many singular values are larger than those that white noise alone has in large matrices."""
    _, values, longer = _decomposed(stack)
    return int(np.sum(frobenius_shrinkage(values, longer, sigma) > 0))


def _slopes(values: Values, longer: int) -> Values:
    """Return by how much the divergence falls with the threshold, for each value above it."""
    differences = values[:, None] ** 2 - values[None] ** 2
    inverse = np.divide(1, differences, out=np.zeros_like(differences), where=differences != 0)
    return (longer - len(values)) / values + 2 * values * inverse.sum(axis=1)


def _summed(terms: Values) -> Values:
    """Return the sums of the first 0, 1, 2 ... terms."""
    return np.append(0, np.cumsum(terms))


def _decomposed(stack: Stack) -> tuple[Values, Values, int]:
    """Return the left singular vectors (E, N), the singular values (N,), and the longer side."""
    pixels = stack.reshape(len(stack), -1)
    gram = np.zeros((len(stack), len(stack)))
    for start in range(0, pixels.shape[1], PIXELS_AT_A_TIME):
        part = pixels[:, start : start + PIXELS_AT_A_TIME].astype(np.float64)
        gram += part @ part.T
    squares, vectors = np.linalg.eigh(gram)
    order = np.argsort(squares)[::-1][: min(pixels.shape)]
    values = np.sqrt(np.maximum(squares[order], np.finfo(np.float64).tiny))
    return vectors[:, order], values, max(pixels.shape)


def _with(stack: Stack, spectra: Values, values: Values, new: Values) -> Stack:
    """Return the stack with other singular values."""
    kept = new > 0
    pixels = stack.reshape(len(stack), -1)
    basis = spectra[:, kept].astype(np.float32)
    images = (basis * (new / values)[kept].astype(np.float32)).T @ pixels
    return np.asarray(basis @ images, np.float32).reshape(stack.shape)
