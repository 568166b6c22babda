"""Spectral subspace of a stack: exact, by the Gram matrix, or randomized.  The rest is small matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, eigh

from xanesum.errors import RankError, StackError
from xanesum.storage.memory import BLOCK_BYTES

__all__ = [
    "FEW_PIXELS",
    "GRAM_LIMIT",
    "ROUTES",
    "Basis",
    "StackSource",
    "fit_basis",
    "gram_basis",
    "gram_matrix",
    "inner_products",
    "leading_of_gram",
    "mean_signs",
    "project",
    "reconstruct",
]

ROUTES = ("auto", "gram", "randomized")
GRAM_LIMIT = 2048  # energies; up to these, E x E matrices cost little compared with one pass over the stack
FEW_PIXELS = 0.25  # pixels for each energy; below this, an SVD of the pixels is cheaper than a Gram matrix


class StackSource(Protocol):
    """A stack (E, Y, X) that is no array but can be read in blocks, see `xanesum.streaming`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Energies, rows and columns."""
        ...

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield slices of rows and their values (E, rows, X)."""
        ...

    def project(self, spectra: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the inner products of `spectra` (K, E) with each pixel, as images (K, Y, X)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Orthonormal spectra, strongest first."""

    spectra: NDArray[np.float64]  # (K, E), orthonormal rows, dimensionless
    singular_values: NDArray[np.float64]  # (K,), descending, unit of the stack
    complete: bool  # whether all E of them are there, so that no singular value is unknown


def fit_basis(
    stack: NDArray[np.floating] | StackSource,
    rank: int | None = None,
    *,
    mask: NDArray[np.bool_] | None = None,
    route: str = "auto",
    rng: np.random.Generator,
    n_oversample: int = 10,
    n_power: int = 2,
) -> Basis:
    """Return the leading left singular vectors of `stack` as a matrix (E, Y * X), without centring.

    Parameters
    ----------
    stack : ndarray of float32 or float64, shape (E, Y, X)
        Finite wherever `mask` holds.  Read only.
    rank : int, optional
        Number of components K; all E by default (the Gram route gives them at no extra cost).
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; all by default.
    route : {"auto", "gram", "randomized"}
        "gram" diagonalizes the E x E matrix of inner products, summed in float64.  It is exact to about
        1e-8 of the largest singular value.  "randomized" [1]_ needs ``n_power + 2`` passes over the stack
        with ``rank + n_oversample`` columns, and is cheaper where E is large.  "auto" takes "gram" up to
        2048 energies.
    rng : numpy.random.Generator
        Draws the probes of the randomized route.
    n_oversample, n_power : int
        Columns beyond K, and power iterations, of the randomized route.

    Raises
    ------
    StackError
        If `stack` has other than three axes, or `mask` leaves no pixel.
    RankError
        If `rank` lies outside ``1 .. min(E, number of pixels)``.

    References
    ----------
    .. [1] P.-G. Martinsson, V. Rokhlin, M. Tygert, "A randomized algorithm for the decomposition of
       matrices", Appl. Comput. Harmon. Anal. 30 (2011) 47-68.
    """
    if len(stack.shape) != 3:
        raise StackError(f"expected axes (energy, y, x), got shape {stack.shape}")
    n_energies, n_pixels = stack.shape[0], stack.shape[1] * stack.shape[2]
    if mask is not None:
        n_pixels = int(np.count_nonzero(mask))
    limit = min(n_energies, n_pixels)
    if limit == 0:
        raise StackError("no usable pixel is left: the mask excludes all of them")
    if rank is not None and not 1 <= rank <= limit:
        raise RankError(
            f"rank must lie in 1..{limit} for {n_energies} energies and {n_pixels} pixels, got {rank}"
        )
    if route not in ROUTES:
        raise RankError(f"route must be one of {', '.join(ROUTES)}, got {route!r}")
    if route == "gram" or (route == "auto" and n_energies <= GRAM_LIMIT):
        return gram_basis(stack, rank, mask)
    n_probes = min((rank or limit) + n_oversample, limit)
    return _randomized_basis(stack, rank or limit, mask, rng.standard_normal((n_energies, n_probes)), n_power)


def project(spectra: NDArray[np.floating], stack: NDArray[np.floating] | StackSource) -> NDArray[np.float32]:
    """Return the inner products of `spectra` (K, E) with each pixel of a stack (E, Y, X), as (K, Y, X)."""
    if not isinstance(stack, np.ndarray):
        return stack.project(np.asarray(spectra, np.float64))
    flat = np.asarray(spectra, dtype=stack.dtype) @ stack.reshape(len(stack), -1)
    return np.asarray(flat.reshape(len(spectra), *stack.shape[1:]), dtype=np.float32)


def inner_products(images: NDArray[np.float32], stack: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums over all pixels of images (K, Y, X) times frames (E, Y, X), shape (K, E).

    Products within a block of pixels are in float32, and blocks are summed in float64.  The error is a few
    1e-7 of the largest sum.
    """
    products = np.zeros((len(images), len(stack)))
    if not products.size:
        return products
    rows = max(1, BLOCK_BYTES // (4 * len(stack) * stack.shape[2]))
    for start in range(0, stack.shape[1], rows):
        ours, theirs = (values[:, start : start + rows] for values in (images, stack))
        products += ours.reshape(len(images), -1) @ theirs.reshape(len(stack), -1).T
    return products


def reconstruct(spectra: NDArray[np.floating], coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``sum_k spectra[k, e] * coefficients[k]`` as float32, shape (E, Y, X)."""
    return np.asarray(np.tensordot(np.asarray(spectra, np.float32), coefficients, axes=(0, 0)))


def mean_signs(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return +1 or -1 for each of `images` (K, Y, X), shape (K,), so that its mean becomes positive."""
    return np.where(images.mean(axis=(1, 2), dtype=np.float64) < 0, -1.0, 1.0)


def _pixel_blocks(
    stack: NDArray[np.floating] | StackSource, mask: NDArray[np.bool_] | None
) -> Iterator[NDArray[np.floating]]:
    """Yield the usable pixels in blocks (E, n), each of about BLOCK_BYTES in float64."""
    if mask is not None and mask.all():
        mask = None  # indexing by a mask would copy the block
    if not isinstance(stack, np.ndarray):
        for part, block in stack.blocks():
            flat = block.reshape(len(block), -1)
            yield flat if mask is None else flat[:, mask[part].ravel()]
        return
    rows = max(1, BLOCK_BYTES // (8 * len(stack) * stack.shape[2]))
    for start in range(0, stack.shape[1], rows):
        block = stack[:, start : start + rows]
        flat = block.reshape(len(stack), -1)
        yield flat if mask is None else flat[:, mask[start : start + rows].ravel()]


def gram_matrix(
    stack: NDArray[np.floating] | StackSource, mask: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Return the inner products of all pairs of frames over the usable pixels, symmetric (E, E)."""
    gram = np.zeros((stack.shape[0],) * 2, order="F")
    for block in _pixel_blocks(stack, mask):
        columns = np.asarray(block, dtype=np.float64).T  # (n, E), in Fortran order, which BLAS needs
        gram = blas.dsyrk(1.0, columns, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)
    return np.tril(gram) + np.tril(gram, -1).T


def gram_basis(
    stack: NDArray[np.floating] | StackSource, rank: int | None, mask: NDArray[np.bool_] | None
) -> Basis:
    """Return the `rank` leading spectra, or all E, by the Gram matrix over the pixels where `mask` holds."""
    n_energies = stack.shape[0]
    if isinstance(stack, np.ndarray) and rank is not None and stack[0].size < FEW_PIXELS * n_energies:
        return _basis_of_few_pixels(stack, rank, mask)
    return leading_of_gram(gram_matrix(stack, mask), rank)


def leading_of_gram(gram: NDArray[np.float64], rank: int | None) -> Basis:
    """Return the `rank` leading spectra, or all E, of a Gram matrix (E, E)."""
    n_energies = len(gram)
    wanted = None if rank is None else (n_energies - rank, n_energies - 1)
    values, vectors = eigh(gram, subset_by_index=wanted, check_finite=False)
    spectra = np.ascontiguousarray(vectors[:, ::-1].T)
    return Basis(spectra, np.sqrt(np.maximum(values[::-1], 0)), len(spectra) == n_energies)


def _basis_of_few_pixels(stack: NDArray[np.floating], rank: int, mask: NDArray[np.bool_] | None) -> Basis:
    """Return the basis of a stack with few pixels, by singular value decomposition."""
    pixels = np.concatenate(list(_pixel_blocks(stack, mask)), axis=1)
    columns, sizes, _ = np.linalg.svd(np.asarray(pixels, np.float64), full_matrices=False)
    spectra = np.ascontiguousarray(columns[:, :rank].T)
    return Basis(spectra, sizes[:rank], len(spectra) == len(stack))


def _randomized_basis(
    stack: NDArray[np.floating] | StackSource,
    rank: int,
    mask: NDArray[np.bool_] | None,
    span: NDArray[np.float64],
    n_power: int,
) -> Basis:
    """Return the basis by subspace iteration, which begins with random columns (E, n).

    They are made orthonormal after every pass: otherwise weak components would be lost in float32.
    """
    for _ in range(n_power + 1):
        columns = np.linalg.qr(span).Q
        span = np.zeros_like(columns)
        for block in _pixel_blocks(stack, mask):
            span += block @ (block.T @ columns.astype(block.dtype))
    columns = np.linalg.qr(span).Q
    small = np.zeros((columns.shape[1],) * 2)
    for block in _pixel_blocks(stack, mask):
        images = (columns.T.astype(block.dtype) @ block).astype(np.float64)
        small += images @ images.T
    values, vectors = np.linalg.eigh(small)
    order = np.argsort(values)[::-1][:rank]
    spectra = (columns @ vectors[:, order]).T
    return Basis(spectra, np.sqrt(np.maximum(values[order], 0)), len(spectra) == stack.shape[0])
