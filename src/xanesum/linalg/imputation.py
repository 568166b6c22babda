"""Missing values, replaced by a low-rank fit to the known values, and what they cost in precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from xanesum.linalg.subspace import gram_basis, gram_matrix

__all__ = ["MissingValues", "fill_known", "fill_missing", "filling_spectra"]

COMPLETE_PIXELS = 50  # pixels without missing values, for each component; fewer do not give the spectra alone
PATTERNS = 16_384  # sets of known energies that are looked at together
ABOVE_NOISE = 1.05  # a component counts if its mean square exceeds the largest one of noise by this factor
# Coefficients are expected to be this many times as large as they are on average.  A narrow expectation would
# draw all pixels that miss the same values to one side, and no mean over such pixels would show it.
PRIOR_WIDTH = 3.0
# A spectrum of length 1 stands for coefficients of up to this many times the noise, and hardly bounds a fit.
FREE = 1000.0
MOST_STRENGTH = 1e6  # of a spectrum over the noise; stacks without noise are fitted as if they had this much


def fill_missing(
    stack: NDArray[np.float32], *, rank: int, mask: NDArray[np.bool_] | None = None, n_rounds: int = 3
) -> NDArray[np.float32]:
    """Return `stack` with every NaN replaced by a low-rank fit to the known values.

    Missing values have weight 0; see `filling_spectra` and `fill_known`.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Never written to; returned itself where nothing is missing.
    rank : int
        Number of components of the fit, at most; fewer where the stack is smaller.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; the others become 0.
    n_rounds : int
        How often fit and replacement are repeated.
    """
    if np.isfinite(stack).all():
        return stack
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    spectra = filling_spectra(stack, rank=rank, mask=mask, n_rounds=n_rounds)
    return fill_known(stack, spectra, keep)


def filling_spectra(
    stack: NDArray[np.float32], *, rank: int, mask: NDArray[np.bool_] | None = None, n_rounds: int = 3
) -> NDArray[np.float64]:
    """Return orthogonal spectra (K, E) for `fill_known`, each with its strength as its length.

    The strength is the size of a coefficient that is to be expected, in units of 1000 times the noise: 3
    times the rms coefficient.  Spectra that are no stronger than noise are left out.

    The first spectra come from the pixels that miss nothing.  Where these are too few, they come from inner
    products of pairs of energies, over the pixels that have both.  Two steps then alternate (alternating
    least squares, see [1]_): each incomplete pixel is fitted on the energies it has, and the spectra are
    fitted again.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        NaN where a value is missing.
    rank : int
        Number of spectra K, at most; fewer where the stack is smaller.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    n_rounds : int
        How often the incomplete pixels are fitted, this last fit by the caller included.

    References
    ----------
    .. [1] T. Hastie, R. Mazumder, J. Lee, R. Zadeh, "Matrix completion and low-rank SVD via fast alternating
       least squares", J. Mach. Learn. Res. 16 (2015) 3367-3402.
    """
    present = np.isfinite(stack)
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    rank = min(rank, len(stack), int(keep.sum()))
    whole = present.all(axis=0) & keep
    if np.count_nonzero(whole) >= COMPLETE_PIXELS * rank:
        spectra = _strong_spectra(stack, whole, rank)
    else:
        seen = present & keep
        spectra = _spectra_of_pairs(np.where(seen, stack, 0), seen.astype(np.float32), rank)
    for _ in range(n_rounds - 1):
        spectra = _strong_spectra(fill_known(stack, spectra, keep), keep, rank)
    return spectra


def fill_known(
    block: NDArray[np.float32], spectra: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return values (E, Y, X) with NaN replaced by a fit of spectra (K, E), and 0 where `mask` is false.

    A spectrum's coefficients are expected to be as large as its length tells, in units of 1000 times the
    noise.  So a spectrum that the known values of a pixel do not determine gets little weight there (ridge
    regression).  Orthonormal spectra are fitted almost without such a bound.
    """
    present = np.isfinite(block)
    if present.all():
        return block
    filled = np.where(present & mask, block, np.float32(0))
    at_y, at_x = np.nonzero(~present.all(axis=0) & mask)
    seen, pixels = present[:, at_y, at_x], filled[:, at_y, at_x]
    filled[:, at_y, at_x] = np.where(seen, pixels, spectra.T @ _fit_seen(spectra, pixels, seen))
    return filled


@dataclass(frozen=True, slots=True, eq=False)
class MissingValues:
    """The pixels of a stack that miss values, and which ones."""

    shape: tuple[int, int, int]  # (E, Y, X)
    pixels: NDArray[np.intp]  # (n,), flat indices
    patterns: NDArray[np.uint8]  # (T, E / 8), the different sets of energies that are known, as bits
    of_pixel: NDArray[np.intp]  # (n,), pattern of each pixel

    @classmethod
    def of_blocks(
        cls,
        shape: tuple[int, int, int],
        mask: NDArray[np.bool_],
        blocks: Iterable[tuple[slice, NDArray[np.float32]]],
    ) -> MissingValues:
        """Return those of a stack (E, Y, X) in blocks of rows; only pixels of `mask` (Y, X) count."""
        pixels, bits = [np.zeros(0, np.intp)], [np.zeros((0, -(-shape[0] // 8)), np.uint8)]
        for rows, block in blocks:
            present = np.isfinite(block)
            at = np.flatnonzero(~present.all(axis=0) & mask[rows])
            pixels.append(at + rows.start * shape[2])
            bits.append(np.packbits(present.reshape(shape[0], -1)[:, at], axis=0).T)
        found, of_pixel = np.unique(np.concatenate(bits), axis=0, return_inverse=True)
        return cls(shape, np.concatenate(pixels), found, of_pixel.reshape(-1))

    def noise_growth(self, spectra: NDArray[np.float64], filling: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the factor (K, Y, X) by which the error of each pixel's coefficients grows.

        It is 1 in pixels that miss nothing.  The error of filled values follows from the noise of the known
        ones, and from what they do not determine.  Errors of two coefficients of such a pixel are correlated.
        The factors are so large that independent errors with them are at least as large in any mixture of the
        coefficients.

        Parameters
        ----------
        spectra : ndarray, shape (K, E)
            Orthonormal, of the images whose errors are wanted.
        filling : ndarray, shape (F, E)
            The spectra from which the missing values were filled, see `filling_spectra`.
        """
        growth = np.ones((len(spectra), self.shape[1] * self.shape[2]), np.float32)
        parts = []
        for start in range(0, len(self.patterns), PATTERNS):
            bits = self.patterns[start : start + PATTERNS]
            seen = np.unpackbits(bits, axis=1, count=self.shape[0]).astype(bool)
            parts.append(_growth(spectra, FREE * filling, seen))
        if parts:
            growth[:, self.pixels] = np.concatenate(parts)[self.of_pixel].T
        return growth.reshape(len(spectra), *self.shape[1:])


def _growth(
    spectra: NDArray[np.float64], filling: NDArray[np.float64], seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the factors (T, K) of pixels of which the energies `seen` (T, E) are known.

    F are the filling spectra, as long as their strength over the noise; F_s and F_m are their parts at known
    and at missing energies.  The covariance of their coefficients is A = (1 + F_s F_s')^-1 in units of the
    noise.  Coefficients of the spectra U are sums of known values, with U_s, and filled ones, with U_m.
    """
    known = _products(spectra, filling, seen)  # U_s F_s'
    missing = spectra @ filling.T - known  # U_m F_m'
    covariance = np.linalg.inv(np.eye(len(filling)) + _products(filling, filling, seen))
    filled = np.swapaxes(missing, 1, 2)
    cross = known @ covariance @ filled
    total = _products(spectra, spectra, seen) + cross + np.swapaxes(cross, 1, 2)
    total += missing @ covariance @ filled
    return np.asarray(np.sqrt(np.maximum(np.abs(total).sum(axis=2), 1)))


def _products(a: NDArray[np.float64], b: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the inner products (T, K, L) of spectra (K, E) and (L, E) over the energies `seen` (T, E)."""
    pairs = (a[:, None] * b).reshape(-1, a.shape[1])
    return np.asarray((seen.astype(np.float64) @ pairs.T).reshape(len(seen), len(a), len(b)))


def _strong_spectra(stack: NDArray[np.float32], mask: NDArray[np.bool_], rank: int) -> NDArray[np.float64]:
    """Return the leading spectra (K, E) of a stack over a mask, as `filling_spectra`."""
    basis, n_pixels = gram_basis(stack, rank, mask), int(np.count_nonzero(mask))
    total = float(np.sum(np.square(stack[:, mask], dtype=np.float64)))
    return _above_noise(basis.spectra, basis.singular_values**2 / n_pixels, total / n_pixels, n_pixels)


def _spectra_of_pairs(
    filled: NDArray[np.float32], seen: NDArray[np.float32], rank: int
) -> NDArray[np.float64]:
    """Return the same from mean products of two energies, over pixels that have both."""
    products, pairs = gram_matrix(filled, None), gram_matrix(seen, None)
    mean = products / np.maximum(pairs, 1)
    values, vectors = eigh(mean)
    spectra = np.ascontiguousarray(vectors[:, ::-1].T[:rank])
    return _above_noise(spectra, values[::-1][:rank], float(np.trace(mean)), max(int(pairs.mean()), 1))


def _above_noise(
    spectra: NDArray[np.float64], squares: NDArray[np.float64], total: float, n_pixels: int
) -> NDArray[np.float64]:
    """Return the spectra that are stronger than noise, each as long as its strength; the first in any case.

    Parameters
    ----------
    spectra : ndarray, shape (K, E)
        Orthonormal.
    squares : ndarray, shape (K,)
        Mean squares of their coefficients, over the pixels; descending.
    total : float
        Mean square of a pixel's values, summed over the energies.
    n_pixels : int
        In these means.
    """
    rank, n_energies = spectra.shape
    noise = max(total - float(squares.sum()), 0.0) / max(n_energies - rank, 1)
    noise = max(noise, float(squares[0]) / MOST_STRENGTH**2, float(np.finfo(np.float32).tiny))
    strength = squares / noise
    real = strength > ABOVE_NOISE * (1 + np.sqrt(n_energies / n_pixels)) ** 2
    real[0] = True
    return np.asarray(
        spectra[real] * (PRIOR_WIDTH / FREE * np.sqrt(np.maximum(strength[real] - 1, 0)))[:, None]
    )


def _fit_seen(
    spectra: NDArray[np.float64], pixels: NDArray[np.float32], seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return ridge-regression coefficients (K, n) of pixels (E, n), from the values where `seen` holds."""
    normal = np.einsum("ke,en,le->nkl", spectra, seen.astype(np.float64), spectra, optimize=True)
    right = (spectra @ np.where(seen, pixels, 0)).T[..., None]
    return np.linalg.solve(normal + np.eye(len(spectra)) / FREE**2, right)[..., 0].T
