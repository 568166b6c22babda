"""Sums and averages over blocks of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.subspace import BLOCK_BYTES

__all__ = ["average_pixels", "block_sums", "coarse_scale", "mean_over_blocks"]


def average_pixels(
    stack: NDArray[np.float32], scale: int, *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return sums over blocks of `scale` x `scale` pixels, each divided by the root of how many count.

    White noise keeps its standard deviation, and an image of constant value v becomes ``scale * v``.  Blocks
    at the far edges are cut off where the images end; a block without pixels that count is 0.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Finite wherever `mask` holds.
    scale : int
        From 1, which takes nothing together.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.

    Returns
    -------
    ndarray of float32, shape (E, ceil(Y / scale), ceil(X / scale))
    """
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    if scale == 1:
        return stack if keep.all() else np.where(keep, stack, np.float32(0))
    root = np.sqrt(np.maximum(block_sums(keep.astype(np.float32), scale), 1))
    whole = keep.all()
    averaged = np.empty((len(stack), *root.shape), np.float32)
    n_frames = max(1, BLOCK_BYTES // (4 * keep.size))
    for start in range(0, len(stack), n_frames):
        frames = stack[start : start + n_frames]
        sums = block_sums(frames if whole else np.where(keep, frames, np.float32(0)), scale)
        np.divide(sums, root, out=averaged[start : start + n_frames])
    return averaged


def block_sums(images: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """Return the sums over blocks of the last two axes, which are cut off where the images end."""
    if scale == 1:
        return images
    *others, n_y, n_x = images.shape
    n_whole = n_y // scale
    sums = np.zeros((*others, -(-n_y // scale), -(-n_x // scale) * scale), images.dtype)
    bands = images[..., : n_whole * scale, :].reshape(*others, n_whole, scale, n_x)
    np.add.reduce(bands, axis=-2, out=sums[..., :n_whole, :n_x])
    if n_y % scale:
        np.add.reduce(images[..., n_whole * scale :, :], axis=-2, out=sums[..., -1, :n_x])
    blocks = sums.reshape(-1, scale) @ np.ones(scale, images.dtype)
    return blocks.reshape(*sums.shape[:-1], -1)


COARSE_PIXELS = 45_000  # averages, about, that spectra are sought in ...
COARSEST = 6  # ... of at most so many pixels each way, where memory allows it


def coarse_scale(shape: tuple[int, ...], most_bytes: float = np.inf) -> int:
    """Return how many pixels each way are taken together while the spectra of a stack (E, Y, X) are sought.

    Spectra are the same in averages, as is what they tell of each other, and their noise; only what is finer
    than the averages counts for less.
    """
    n_energies, n_y, n_x = shape
    scale = int(np.clip(round(np.sqrt(n_y * n_x / COARSE_PIXELS)), 1, COARSEST))
    while 4 * n_energies * -(-n_y // scale) * -(-n_x // scale) > most_bytes and scale < min(n_y, n_x):
        scale += 1
    return scale


def mean_over_blocks(images: NDArray[np.float32], mask: NDArray[np.bool_], scale: int) -> NDArray[np.float32]:
    """Return the means (K, Y', X') of images (K, Y, X) over the pixels that count in each average; else 1."""
    counts = block_sums(mask.astype(np.float32), scale)
    sums = block_sums(images * mask, scale)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), 1), np.float32)
