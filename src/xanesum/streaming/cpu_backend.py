"""The work on one block of a stack, by NumPy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.binning import block_sums
from xanesum.storage.memory import N_THREADS, TILE_BYTES
from xanesum.streaming.parts import Part

__all__ = ["SumRequest", "Sums", "pixels_within", "project_block", "sum_block"]


@dataclass(frozen=True, slots=True, eq=False)
class SumRequest:
    """The sums that are wanted of every block of a stack, see `Sums`."""

    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    weights: (
        NDArray[np.float32] | None
    )  # (Y, X), factor of each pixel, 0 where it does not count; None: all 1
    scale: int  # sums over scale x scale pixels; 0: no such sums
    pixels: NDArray[np.intp] | None = (
        None  # sorted flat indices of a sample (n,); None: no survey of the block
    )


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over a block of E frames and some rows of X pixels; the last five are found in a survey only."""

    sums: NDArray[np.float32]  # (E, rows', X'), weighted, over scale x scale pixels
    squares: NDArray[np.float64]  # (E,), of the weighted values
    along_x: NDArray[np.uint32]  # (E, rows), of the values' bits, modulo 2**32
    along_y: NDArray[np.uint32]  # (E, X), of the values' bits, modulo 2**32
    sample: NDArray[np.float32]  # (E, n), values of the pixels asked for that lie in the block
    n_missing: int  # values that are not finite, in all pixels ...
    n_bad: int  # ... and in pixels that count


def sum_block(request: SumRequest, block: NDArray[np.float32], part: Part) -> Sums:
    """Return the sums over the values (E', rows, X) of a part, found a few frames at a time by all cores."""
    weights, scale, pixels = request.weights, request.scale, request.pixels
    n_energies, n_rows, n_x = block.shape
    within = None if weights is None else weights[part.rows]
    n_averages = (-(-n_rows // scale), -(-n_x // scale)) if scale else (0, 0)
    sums, squares = np.empty((n_energies, *n_averages), np.float32), np.zeros(n_energies)
    along_x, along_y = (np.zeros((n_energies, n), np.uint32) for n in (n_rows, n_x))

    def sum_frames(energies: slice) -> None:
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
        list(threads.map(sum_frames, (slice(e, e + n) for e in range(0, n_energies, n))))
    if pixels is None:
        return Sums(sums, squares, along_x, along_y, np.empty((n_energies, 0), np.float32), 0, 0)
    n_missing = n_bad = 0
    if not np.isfinite(squares).all():
        missing = ~np.isfinite(block)
        n_missing = int(np.count_nonzero(missing))
        n_bad = int(np.count_nonzero(missing & request.mask[part.rows]))
    wanted = pixels[pixels_within(pixels, part.rows, n_x)] - part.rows.start * n_x
    return Sums(sums, squares, along_x, along_y, block.reshape(n_energies, -1)[:, wanted], n_missing, n_bad)


def _squares(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums of squares (E,) of values (E, rows, X): float32 along a row, float64 over rows."""
    rows = np.matmul(values[:, :, None, :], values[:, :, :, None])
    return np.asarray(rows.sum(axis=(1, 2, 3), dtype=np.float64))


def pixels_within(pixels: NDArray[np.intp], rows: slice, n_x: int) -> slice:
    """Return the range of the sorted flat indices (n,) that lie in some rows of `n_x` pixels."""
    return slice(*(int(n) for n in np.searchsorted(pixels, [rows.start * n_x, rows.stop * n_x])))


def project_block(
    spectra: NDArray[np.float32], block: NDArray[np.float32], part: Part
) -> NDArray[np.float32]:
    """Return the contribution (K, rows, X) of a part (E', rows, X) to the images of `spectra` (K, E)."""
    product = spectra[:, part.energies] @ block.reshape(len(block), -1)
    return product.reshape(len(spectra), *block.shape[1:])
