"""Missing values, replaced by a low-rank fit to the known values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from xanesum.linalg.subspace import gram_basis, gram_matrix

__all__ = ["fill_known", "fill_missing"]

DAMPING = 1e-6  # added to normal equations of orthonormal spectra, so that few known values can be solved


def fill_missing(
    stack: NDArray[np.float32], *, rank: int, mask: NDArray[np.bool_] | None = None, n_rounds: int = 3
) -> NDArray[np.float32]:
    """Return `stack` with every NaN replaced by a low-rank fit to the known values.

    Missing values have weight 0.  The first spectra come from inner products of pairs of energies, over the
    pixels that have both.  Two steps then alternate (alternating least squares, see [1]_): each incomplete
    pixel is fitted by least squares on the energies it has, and the spectra are fitted again.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Never written to; returned itself where nothing is missing.
    rank : int
        Number of components of the fit; fewer where the stack is smaller.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; the others become 0.
    n_rounds : int
        How often fit and replacement are repeated.

    References
    ----------
    .. [1] T. Hastie, R. Mazumder, J. Lee, R. Zadeh, "Matrix completion and low-rank SVD via fast alternating
       least squares", J. Mach. Learn. Res. 16 (2015) 3367-3402.
    """
    present = np.isfinite(stack)
    if present.all():
        return stack
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    filled = np.where(present & keep, stack, 0)
    rank = min(rank, len(stack), int(keep.sum()))
    spectra = _spectra_of_pairs(filled, (present & keep).astype(np.float32), rank)
    for turn in range(n_rounds):
        if turn:
            spectra = gram_basis(filled, rank, mask).spectra
        filled = fill_known(stack, spectra, keep)
    return filled


def fill_known(
    block: NDArray[np.float32], spectra: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return values (E, Y, X) with NaN replaced by a fit of spectra (K, E), and 0 where `mask` is false."""
    present = np.isfinite(block)
    if present.all():
        return block
    filled = np.where(present & mask, block, np.float32(0))
    at_y, at_x = np.nonzero(~present.all(axis=0) & mask)
    seen, pixels = present[:, at_y, at_x], filled[:, at_y, at_x]
    filled[:, at_y, at_x] = np.where(seen, pixels, spectra.T @ _fit_seen(spectra, pixels, seen))
    return filled


def _spectra_of_pairs(
    filled: NDArray[np.float32], seen: NDArray[np.float32], rank: int
) -> NDArray[np.float64]:
    """Return the leading eigenvectors (K, E) of mean products of two energies, over pixels that have both."""
    products, pairs = gram_matrix(filled, None), gram_matrix(seen, None)
    return np.asarray(eigh(products / np.maximum(pairs, 1))[1][:, ::-1].T[:rank])


def _fit_seen(
    spectra: NDArray[np.float64], pixels: NDArray[np.float32], seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return least-squares coefficients (K, n) of pixels (E, n), from the values where `seen` holds."""
    normal = np.einsum("ke,en,le->nkl", spectra, seen.astype(np.float64), spectra, optimize=True)
    right = (spectra @ np.where(seen, pixels, 0)).T[..., None]
    return np.linalg.solve(normal + DAMPING * np.eye(len(spectra)), right)[..., 0].T
