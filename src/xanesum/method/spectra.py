"""Spectra fitted again to denoised images, smoothed along energy, and set to 0 where only noise is left."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.ndimage import uniform_filter1d

from xanesum.linalg.subspace import inner_products

__all__ = ["Smoothed", "orthonormal_rows", "refit_spectra", "shrink_spectra", "smooth_spectra"]

DEPENDENT = 1e-10  # an image depends on the others if its own squared size is below this share of the largest
MOST_DENSE = 1000  # energies; the matrix of differences of more is sparse
ORDER = 2  # order of the differences that are small in a smooth spectrum: pieces of straight lines
WINDOW = 7  # neighbouring differences that share a variance
MOST_TURNS = 30  # iterations at most
SETTLED = 1e-3  # change of the spectra in one iteration, in units of sigma, at which it stops
SMALLEST, LARGEST = 1e-10, 1e12  # limits for the variance of a difference, in units of the noise's
NEARBY = 1 / 15  # share of the energies, to each side, over which a spectrum is compared with its noise
NOTHING = 2.0  # a spectrum is 0 where its mean square is below this many times that of its noise


class Smoothed(NamedTuple):
    """Spectra after smoothing, and the noise that is left in them."""

    spectra: NDArray[np.float64]  # (K, E)
    noise: NDArray[np.float64]  # (K, E), remaining share of the noise variance at each energy; 1 at first

    @property
    def degrees_of_freedom(self) -> NDArray[np.float64]:
        """Degrees of freedom of each spectrum, shape (K,), at most E."""
        return np.asarray(self.noise.sum(axis=1))


def refit_spectra(
    stack: NDArray[np.float32],
    images: NDArray[np.float32],
    spectra: NDArray[np.float64],
    divergence: NDArray[np.float64],
    sigma: float,
    *,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    r"""Fit spectra to a stack, given denoised images of it, by least squares.

    Images and stack contain the same noise.  It moves the images along their own spectra, by the denoiser's
    derivative.  So the products of the stack and image k are too large by
    ``sigma**2 * divergence[k] * spectra[k]`` in expectation (Stein's lemma, [1]_), which is subtracted first.
    Otherwise spectra would confirm themselves.  The images are made orthonormal before the fit.  The returned
    spectra then have white noise of standard deviation `sigma`, whatever the images are.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Finite.
    images : ndarray of float32, shape (K, Y, X)
        Denoised coefficient images.
    spectra : ndarray, shape (K, E)
        Orthonormal spectra of these images.
    divergence : ndarray, shape (K,)
        Trace of each image's Jacobian: the number of pixels of noise left in it.
    sigma : float
        Noise level of the stack.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.

    Returns
    -------
    ndarray, shape (R, E)
        Spectra, strongest first, orthogonal but not normalized, in the unit of the stack times the root of
        the number of pixels.  There are fewer than K if images depend on each other.

    References
    ----------
    .. [1] C. M. Stein, "Estimation of the mean of a multivariate normal distribution", Ann. Statist. 9 (1981)
       1135-1151.
    """
    kept = images if mask is None else np.where(mask, images, np.float32(0))
    products = inner_products(kept, stack) - sigma**2 * divergence[:, None] * spectra
    flat = kept.reshape(len(kept), -1).astype(np.float64)
    squares = flat @ flat.T
    values, vectors = np.linalg.eigh(squares)
    known = values > DEPENDENT * max(values[-1], np.finfo(float).tiny)
    whitened = (vectors[:, known] / np.sqrt(values[known])).T @ products
    _, size, rows = np.linalg.svd(whitened, full_matrices=False)
    return np.asarray(size[:, None] * rows)


def orthonormal_rows(spectra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal spectra (R, E) of the span of `spectra` (K, E), strongest first; R <= K."""
    _, size, rows = np.linalg.svd(spectra, full_matrices=False)
    return np.asarray(rows[size > DEPENDENT * size.max(initial=np.finfo(float).tiny)])


def smooth_spectra(spectra: NDArray[np.float64], sigma: float, energy_ev: NDArray[np.float64]) -> Smoothed:
    """Smooth spectra along energy where they are smooth, and not where they bend.

    Each spectrum is a posterior mean.  The prior takes its second divided differences as normal, with a
    variance that changes along energy.  All spectra bend at the same energies, so they share the variances,
    up to one factor each.  The variances, pooled over neighbours, maximize the evidence under a scale-free
    prior (fixed-point updates of [1]_).  Where nothing bends, as below an edge, straight pieces remain.  At
    an edge or a narrow line the noise stays.  The banded algebra is our own: SciPy has no banded inverse.

    Parameters
    ----------
    spectra : ndarray, shape (K, E)
        With independent white noise.
    sigma : float
        Noise level of `spectra`.
    energy_ev : ndarray, shape (E,)
        Increasing.

    References
    ----------
    .. [1] D. J. C. MacKay, "Bayesian interpolation", Neural Comput. 4 (1992) 415-447.
    """
    n_spectra, n_energies = spectra.shape
    if not n_spectra or n_energies < ORDER + 2 or sigma <= 0:
        return Smoothed(spectra.copy(), np.ones_like(spectra))
    noisy = spectra / sigma
    differences = _divided_differences(energy_ev)
    band = _band(differences @ differences.T)  # sparse where energies are very many
    products = _neighbours_products(differences)
    bends = noisy @ differences.T
    variance = np.maximum((bends**2).mean(axis=1, keepdims=True) - 1, 0.1) * np.ones_like(bends)
    smooth = noisy
    for _ in range(MOST_TURNS):
        before, known, power = smooth, np.zeros_like(variance), np.zeros_like(variance)
        smooth, noise = np.empty_like(noisy), np.empty_like(noisy)
        for k, bend in enumerate(bends):
            factor = cholesky_banded(_plus_diagonal(band, variance[k]), lower=True, check_finite=False)
            weighted = cho_solve_banded((factor, True), bend, check_finite=False)
            smooth[k] = noisy[k] - weighted @ differences
            inverse = _band_of_inverse(factor)
            noise[k] = 1 - _diagonal_of_product(products, inverse)
            # share of each difference that is signal; the rest is noise
            known[k] = np.clip(variance[k] * inverse[0], 1e-6, 1)
            power[k] = (variance[k] * weighted) ** 2
        if np.abs(smooth - before).max() < SETTLED:
            break
        variance = _shared_variance(power, known, variance)
    return Smoothed(smooth * sigma, noise)


def shrink_spectra(smoothed: Smoothed, sigma: float) -> Smoothed:
    """Set spectra to 0 where they do not exceed their remaining noise.

    A straight piece still has two degrees of freedom, even where the spectrum is 0, as most are below the
    edge.  Each value is multiplied by ``1 - 2 * noise / square``, or by 0 where that is negative.  `square`
    and `noise` are means over nearby energies (block James-Stein rule, [1]_).

    Parameters
    ----------
    smoothed : Smoothed
        From `smooth_spectra`.
    sigma : float
        Noise level before smoothing.

    References
    ----------
    .. [1] T. T. Cai, "Adaptive wavelet estimation: a block thresholding and oracle inequality approach",
       Ann. Statist. 27 (1999) 898-924.
    """
    spectra, noise = smoothed
    if not spectra.size:
        return smoothed
    size = 2 * max(1, round(NEARBY * spectra.shape[1])) + 1
    squares, expected = (
        uniform_filter1d(values, size, mode="nearest") for values in (spectra**2, sigma**2 * noise)
    )
    kept = np.maximum(0, 1 - NOTHING * expected / np.maximum(squares, np.finfo(float).tiny))
    return Smoothed(kept * spectra, kept * noise)


def _shared_variance(
    power: NDArray[np.float64], known: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return variances (K, m): a common profile along energy times a factor for each spectrum."""
    # the scale-free prior counts like one more difference that is 0
    counted = (
        _pooled(known.sum(axis=0)) + _pooled(np.ones(known.shape[1])) / _pooled(np.ones(2 * WINDOW)).max()
    )
    factor = variance.mean(axis=1) / variance.mean()
    for _ in range(10):
        profile = _pooled((power / factor[:, None]).sum(axis=0)) / counted
        factor = (power / np.maximum(profile, SMALLEST)).sum(axis=1) / known.sum(axis=1)
        factor = np.maximum(factor, SMALLEST)
    return np.asarray(np.clip(factor[:, None] * profile, SMALLEST, LARGEST))


def _pooled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums over `WINDOW` neighbours, with larger weights for nearer ones."""
    weights = np.hanning(WINDOW + 2)[1:-1]
    return np.convolve(values, weights)[WINDOW // 2 :][: values.size]


def _divided_differences(energy_ev: NDArray[np.float64]) -> Any:
    """Return the matrix (E - 2, E) of second divided differences, each row of length 1; sparse if large."""
    if len(energy_ev) > MOST_DENSE:
        steps = np.diff(energy_ev)
        ends = [1 / steps[:-1], -1 / steps[:-1] - 1 / steps[1:], 1 / steps[1:]]  # over half of their distance
        length = np.sqrt(sum(each**2 for each in ends))
        shape = (len(energy_ev) - ORDER, len(energy_ev))
        return sparse.diags([each / length for each in ends], [0, 1, 2], shape=shape, format="csr")
    rows = np.eye(len(energy_ev))
    for order in range(1, ORDER + 1):
        rows = np.diff(rows, axis=0) / (energy_ev[order:] - energy_ev[:-order])[:, None]
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _band(matrix: Any) -> NDArray[np.float64]:
    """Return the diagonal of `matrix` and ORDER diagonals below it, in LAPACK's lower form."""
    band = np.zeros((ORDER + 1, matrix.shape[0]))
    for offset in range(min(band.shape)):
        band[offset, : matrix.shape[0] - offset] = matrix.diagonal(-offset)
    return band


def _band_of_inverse(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the band (3, m), as `_band` does, of ``inv(L @ L.T)`` for a banded Cholesky factor (3, m)."""
    near, next_to, after = 0.0, 0.0, 0.0  # the inverse at (i, i), (i, i + 1), (i + 1, i + 1) of the last i
    found = []
    rows = factor[:, ::-1].tolist()  # Python floats are five times as fast as NumPy scalars here
    for own, one, two in zip(*rows, strict=True):
        to_one = -(near * one + next_to * two) / own
        to_two = -(next_to * one + after * two) / own
        near, next_to, after = (1 / own - to_one * one - to_two * two) / own, to_one, near
        found.append((near, to_one, to_two))
    return np.array(found[::-1]).T


def _neighbours_products(differences: Any) -> list[Any]:
    """Return the elementwise products (m - i, E) of each difference with the one i rows below."""
    n_rows = differences.shape[0]
    pairs = [(differences[: n_rows - i], differences[i:]) for i in range(min(ORDER + 1, n_rows))]
    return [one.multiply(other) if sparse.issparse(one) else one * other for one, other in pairs]


def _diagonal_of_product(products: list[Any], band: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonal (E,) of ``D.T @ M @ D`` for `products` of D and the band of M, symmetric."""
    first, *others = (row[: each.shape[0]] @ each for row, each in zip(band, products, strict=False))
    return np.asarray(first + 2 * sum(others))


def _plus_diagonal(band: NDArray[np.float64], diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
    filled = band.copy()
    filled[0] += diagonal
    return filled
