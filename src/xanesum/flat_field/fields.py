"""Smooth fields over an image, the drift as a sum of them, and stacks without anything smooth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.subspace import inner_products

__all__ = [
    "ORDER",
    "DriftOfPixels",
    "FlatDrift",
    "control_fields",
    "orders_of",
    "remove_smooth",
    "smooth_fields",
]

ORDER = 7  # highest order of the cosines in the smooth fields, both axes added
POLYNOMIALS = 2  # highest degree of the polynomials; cosines alone describe a ramp badly at its ends
CONTROL = (9, 12)  # orders of cosines that are too fine for drift; they show the noise of a smooth field
LEAST_MODE = 1e-4  # modes of the error with less than this share of the largest variance do not count
INDEPENDENT = 1e-6  # least part of a field that must not be a mixture of the fields before it


@dataclass(frozen=True, slots=True, eq=False)
class FlatDrift:
    """Smooth fields, and their amounts in each frame, in optical density."""

    fields: NDArray[np.float32]  # (M, Y, X), orthonormal over the pixels that count, 0 elsewhere
    amounts: NDArray[np.float64]  # (E, M)
    empty: NDArray[np.bool_]  # (Y, X), pixels without sample that were used; none if they are too few
    kind: str = "independent"  # "level" (one number in each frame), "independent", "slow"; "" without drift
    covariance: NDArray[np.float64] | None = None  # (M, M), of the error of the amounts along the spectra
    doubt: str = ""  # what cannot be told apart, in words; empty where nothing is in doubt

    @property
    def rms(self) -> float:
        """Root mean square over the pixels that count and all energies."""
        n_pixels = int(np.count_nonzero(self.fields.any(axis=0)))
        return float(np.sqrt(np.sum(self.amounts**2) / max(n_pixels * len(self.amounts), 1)))

    def in_pixels(self, scale: int, used: NDArray[np.bool_]) -> DriftOfPixels:
        """Return the drift in single pixels, where it was found in means over `scale` x `scale` pixels.

        The result has all energies; its amounts are 0 at those that were not `used`.
        """
        shares = self._shares()
        amounts = np.zeros((len(used), shares.shape[1]), np.float32)
        amounts[used] = self.amounts @ shares
        return DriftOfPixels(amounts, self._whole(scale))

    def error_in_pixels(self, scale: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the standard error (Y, X) of the drift along a spectrum of norm 1, in single pixels."""
        error = np.zeros(shape)
        if self.covariance is None:
            return error.astype(np.float32)
        size, rows = np.linalg.eigh(self.covariance)
        size, rows = size[size > LEAST_MODE * size[-1]], rows[:, size > LEAST_MODE * size[-1]]
        modes = (np.sqrt(np.maximum(size, 0))[:, None] * rows.T @ self._shares()).astype(np.float32)
        of_modes = DriftOfPixels(modes, self._whole(scale))
        everything = slice(0, shape[0]), slice(0, shape[1])
        for k in range(len(modes)):
            error += of_modes.of(slice(k, k + 1), *everything)[0] ** 2
        return np.asarray(np.sqrt(error), np.float32)

    def _shares(self) -> NDArray[np.float64]:
        """Return each field (M, C) as a mixture of the products."""
        products, keep = _products(self.fields.shape[1:]), self.fields.any(axis=0)
        shares = np.linalg.lstsq(products[:, keep].T, self.fields[:, keep].T.astype(np.float64), rcond=None)[
            0
        ]
        return np.asarray(shares.T)

    def _whole(self, scale: int) -> tuple[int, ...]:
        return tuple(n * scale for n in self.fields.shape[1:])


@dataclass(frozen=True, slots=True, eq=False)
class DriftOfPixels:
    """The drift as a sum of products of functions of y and x, which gives it for any part of the frames."""

    amounts: NDArray[np.float32]  # (E, C), amplitudes of the products
    shape: tuple[int, ...]  # (Y, X), over which half a period of the lowest order extends

    def of(self, energies: slice, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a part (E', Y', X')."""
        y, x = (_along(n)[:, part] for n, part in zip(self.shape, (rows, columns), strict=True))
        low = _low()
        parts = np.zeros((len(self.amounts[energies]), *low.shape), np.float32)
        parts[:, low] = self.amounts[energies]
        return np.asarray(np.matmul(y.T.astype(np.float32), parts @ x.astype(np.float32)))


def smooth_fields(
    shape: tuple[int, ...], *, mask: NDArray[np.bool_] | None = None, order: int = ORDER
) -> NDArray[np.float32]:
    """Return smooth fields (M, Y, X), orthonormal within `mask` and 0 outside.

    They are polynomials up to degree 2 and cosines up to `order`.  The first is constant.
    """
    products = _products(shape, order)[np.argsort(_rank_of_products(order), kind="stable")]
    return _orthonormal(products, mask)


def control_fields(
    fields: NDArray[np.float32], *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return fields (N, Y, X) somewhat finer than `fields` (M, Y, X), orthonormal and orthogonal to them."""
    first, last = CONTROL
    along = [
        np.cos(np.pi * np.outer(np.arange(last + 1), (np.arange(n) + 0.5) / n)) for n in fields.shape[1:]
    ]
    order = np.add.outer(np.arange(last + 1), np.arange(last + 1))
    fine = np.einsum("iy,jx->ijyx", *along)[(order >= first) & (order <= last)]
    both = _orthonormal(np.concatenate([fields.astype(np.float64), fine]), mask)
    return both[len(fields) :]


def orders_of(fields: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the order (M,) of each field: half periods over the image, from its mean square gradient."""
    square = np.zeros(len(fields))
    keep = fields.any(axis=0)
    for axis in (0, 1):
        both = np.take(keep, range(1, keep.shape[axis]), axis) & np.take(
            keep, range(keep.shape[axis] - 1), axis
        )
        slope = np.diff(fields, axis=1 + axis) * both * (keep.shape[axis] / np.pi)
        share = max(int(both.sum()), 1) / max(int(keep.sum()), 1)
        square += np.sum(slope.astype(np.float64) ** 2, axis=(1, 2)) / share
    return np.clip(np.rint(np.sqrt(square)), 0, ORDER).astype(np.intp)


def remove_smooth(stack: NDArray[np.float32], fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the stack (E, Y, X) minus its projection on `fields` (M, Y, X), sample or not."""
    amounts = inner_products(fields, stack).T
    cleaned = np.empty_like(stack)
    for frame, out, amount in zip(stack, cleaned, amounts.astype(np.float32), strict=True):
        np.subtract(frame, np.tensordot(amount, fields, axes=1), out=out)
    return cleaned


def _along(n: int) -> NDArray[np.float64]:
    """Return functions of one axis: cosines with 0, 1, 2 ... half periods over `n` pixels; polynomials."""
    place = (np.arange(n) + 0.5) / n
    cosines = np.cos(np.pi * np.outer(np.arange(ORDER + 1), place))
    return np.vstack([cosines, np.polynomial.legendre.legvander(2 * place - 1, POLYNOMIALS).T[1:]])


def _low(order: int = ORDER) -> NDArray[np.bool_]:
    """Return a mask of the products of two functions that are used."""
    cosine = np.arange(ORDER + 1)
    n = ORDER + 1 + POLYNOMIALS
    low = np.zeros((n, n), bool)
    low[: ORDER + 1, : ORDER + 1] = np.add.outer(cosine, cosine) <= order
    places, degree = np.r_[0, ORDER + 1 : n], np.arange(POLYNOMIALS + 1)
    low[np.ix_(places, places)] |= np.add.outer(degree, degree) <= min(POLYNOMIALS, order)
    return low


def _rank_of_products(order: int = ORDER) -> NDArray[np.float64]:
    """Return numbers (C,) that sort the products: coarse before fine, polynomials before cosines."""
    rank = np.r_[np.arange(ORDER + 1), np.arange(1, POLYNOMIALS + 1) - 0.5 / POLYNOMIALS]
    return np.asarray(np.add.outer(rank, rank)[_low(order)])


def _products(shape: tuple[int, ...], order: int = ORDER) -> NDArray[np.float64]:
    """Return the products (C, Y, X) of functions along both axes."""
    return np.asarray(np.einsum("iy,jx->ijyx", *(_along(n) for n in shape))[_low(order)])


def _orthonormal(products: NDArray[np.float64], mask: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Return fields (M, Y, X), orthonormal within `mask` and 0 outside, without dependent ones."""
    keep = np.ones(products.shape[1:], bool) if mask is None else mask
    q, r = np.linalg.qr(products[:, keep].T)
    fields = np.zeros((q.shape[1], *keep.shape), np.float32)
    fields[:, keep] = q.T
    known = np.abs(np.diag(r)) > INDEPENDENT * np.abs(r[0, 0])
    return np.asarray(fields[known])
