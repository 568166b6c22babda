"""Sums and means over blocks of pixels, and the way back to an image."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xanesum.storage.memory import BLOCK_BYTES

Float = TypeVar("Float", bound=np.floating[Any])

__all__ = [
    "average_pixels",
    "block_means",
    "block_sums",
    "coarse_scale",
    "interpolate_blocks",
    "mean_over_blocks",
]

COARSE_PIXELS = 45_000  # blocks of pixels, about, that are enough to find the spectra
COARSEST = 6  # pixels along the side of these blocks, at most, where the memory allows it


def average_pixels(
    stack: NDArray[np.float32], scale: int, *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return sums over blocks of `scale` x `scale` pixels, each divided by the root of how many count.

    White noise keeps its standard deviation, and an image of constant value v becomes ``scale * v``.  A
    block at the far edges has only the pixels that exist.  A block without pixels that count is 0.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Finite wherever `mask` holds.
    scale : int
        Pixels along the side of a block; 1 leaves the images as they are.
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
    """Return the sums over blocks of `scale` x `scale` pixels of the last two axes.

    A block at the far edges has only the pixels that exist.
    """
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


def block_means(images: NDArray[np.floating], scale: int, *, dtype: type[Float]) -> NDArray[Float]:
    """Return the means over blocks of `scale` x `scale` pixels of the last two axes, summed in `dtype`.

    Rows and columns beyond the last whole block are left out.
    """
    *others, n_y, n_x = (*images.shape[:-2], *(size // scale for size in images.shape[-2:]))
    whole = images[..., : n_y * scale, : n_x * scale]
    blocks = whole.reshape(*others, n_y, scale, n_x, scale)
    return np.asarray(blocks.mean(axis=(-3, -1), dtype=dtype))


def interpolate_blocks(means: NDArray[Float], shape: tuple[int, ...]) -> NDArray[Float]:
    """Return an image of `shape` (Y, X) that is linear between the centres of blocks (Y', X').

    Beyond the centres of the outermost blocks it is constant.  The dtype is that of `means`.
    `skimage.transform.resize` does the same, but a float32 result differs from this one by its rounding, and
    denoising makes more of that.
    """
    image = means
    for axis, size in enumerate(shape):
        n_blocks = image.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * n_blocks / size - 0.5, 0, n_blocks - 1)
        below = position.astype(np.intp)
        above = np.minimum(below + 1, n_blocks - 1)
        share = (position - below).astype(means.dtype)
        low, high = np.take(image, below, axis=axis), np.take(image, above, axis=axis)
        image = low + (share[:, None] if axis == 0 else share) * (high - low)
    return image


def coarse_scale(shape: tuple[int, ...], most_bytes: float = np.inf) -> int:
    """Return the side of the blocks of pixels in which the spectra of a stack (E, Y, X) are sought.

    Averages over blocks (`average_pixels`) have the same spectra, with the same relations between them, and
    the same noise as the stack.  Only structures finer than a block count for less.

    Parameters
    ----------
    shape : tuple of int
        (E, Y, X).
    most_bytes : float
        Bytes that the averages may take, in float32.
    """
    n_energies, n_y, n_x = shape
    scale = int(np.clip(round(np.sqrt(n_y * n_x / COARSE_PIXELS)), 1, COARSEST))
    while 4 * n_energies * -(-n_y // scale) * -(-n_x // scale) > most_bytes and scale < min(n_y, n_x):
        scale += 1
    return scale


def mean_over_blocks(images: NDArray[np.float32], mask: NDArray[np.bool_], scale: int) -> NDArray[np.float32]:
    """Return the means (K, Y', X') of images (K, Y, X) over the pixels of each block where `mask` holds.

    A block without such a pixel is 1.
    """
    counts = block_sums(mask.astype(np.float32), scale)
    sums = block_sums(images * mask, scale)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), 1), np.float32)
