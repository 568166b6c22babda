"""The work on one block of a stack, by NumPy."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.binning import block_sums

__all__ = ["Part", "Sums", "_pixels_within", "_project_block", "_sum_block"]

TILE_BYTES = 2**20  # of a few frames' rows that are worked on at once, while they are in the cache
N_THREADS = os.cpu_count()


class Part(NamedTuple):
    """A part of a stack: some of its frames, some of their rows."""

    energies: slice
    rows: slice


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What is summed up of a block of rows."""

    sums: NDArray[np.float32]  # (E, rows', X'), over blocks of pixels that count
    squares: NDArray[np.float64]  # (E,), of values where pixels count
    along_x: NDArray[np.uint32]  # (E, rows), of the values' bits
    along_y: NDArray[np.uint32]  # (E, X)
    sample: NDArray[np.float32]  # (E, n), the pixels asked for
    n_missing: int
    n_bad: int


def _sum_block(
    weights: NDArray[np.float32] | None,
    mask: NDArray[np.bool_],
    pixels: NDArray[np.intp] | None,
    scale: int,
    block: NDArray[np.float32],
    part: Part,
) -> Sums:
    """Sum up a part (E', rows, X), a few frames at a time; blocks of pixels only where `scale` is not 0.

    What is asked for in a first look (bits, sample, missing values) is found where `pixels` are given.
    """
    n_energies, n_rows, n_x = block.shape
    within = None if weights is None else weights[part.rows]
    n_averages = (-(-n_rows // scale), -(-n_x // scale)) if scale else (0, 0)
    sums, squares = np.empty((n_energies, *n_averages), np.float32), np.zeros(n_energies)
    along_x, along_y = (np.zeros((n_energies, n), np.uint32) for n in (n_rows, n_x))

    def sum_up(energies: slice) -> None:
        values = block[energies]
        if pixels is not None:
            bits = values.view(np.uint32)
            np.add.reduce(bits, axis=2, dtype=np.uint32, out=along_x[energies])
            np.add.reduce(bits, axis=1, dtype=np.uint32, out=along_y[energies])
        rescaled = values if within is None else values * within
        squares[energies] = _squares(rescaled)
        if scale:
            sums[energies] = block_sums(rescaled, scale)

    n = max(1, TILE_BYTES // block[0].nbytes)
    with ThreadPoolExecutor(N_THREADS) as threads, np.errstate(invalid="ignore", over="ignore"):
        list(threads.map(sum_up, (slice(e, e + n) for e in range(0, n_energies, n))))
    n_missing = n_bad = 0
    if pixels is None:
        return Sums(sums, squares, along_x, along_y, np.empty((n_energies, 0), np.float32), 0, 0)
    if not np.isfinite(squares).all():
        missing = ~np.isfinite(block)
        n_missing, n_bad = (int(np.count_nonzero(which)) for which in (missing, missing & mask[part.rows]))
    wanted = pixels[_pixels_within(pixels, part.rows, n_x)] - part.rows.start * n_x
    return Sums(sums, squares, along_x, along_y, block.reshape(n_energies, -1)[:, wanted], n_missing, n_bad)


def _squares(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums of squares (E,) of values (E, rows, X), in float32 along a row, then in float64."""
    rows = np.matmul(values[:, :, None, :], values[:, :, :, None])
    return np.asarray(rows.sum(axis=(1, 2, 3), dtype=np.float64))


def _pixels_within(pixels: NDArray[np.intp], part: slice, n_x: int) -> slice:
    """Return which of the sorted flat indices (n,) lie in some rows of X values."""
    return slice(*(int(n) for n in np.searchsorted(pixels, [part.start * n_x, part.stop * n_x])))


def _project_block(
    spectra: NDArray[np.float32], block: NDArray[np.float32], part: Part
) -> NDArray[np.float32]:
    product = spectra[:, part.energies] @ block.reshape(len(block), -1)
    return product.reshape(len(spectra), *block.shape[1:])
