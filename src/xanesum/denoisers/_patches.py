"""Wiener filter on overlapping patches in the cosine basis; a pilot image gives the power of the signal."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import dct

from xanesum.linalg.binning import block_means, interpolate_blocks

__all__ = ["bin_image", "interpolate_bins", "wiener_patches"]

Image = NDArray[np.float32]
_PATCH, _STEP = 8, 2  # pixels
_SHIFTS = _PATCH // _STEP
_SURENESS = np.float32(0.1)  # variance of a patch's mean, in units of the noise's; it bounds the weights
# 1 MB of coefficients stays in the cache, and OpenBLAS works on such small products in one thread.  More of
# its threads would cost more than they save here, and ten times as much where the cores are busy.
_PATCHES_AT_ONCE = 4096


def wiener_patches(image: Image, pilot: Image, variance: Image) -> Image:
    """Shrink each patch's cosine coefficients by pilot^2 / (pilot^2 + variance) and average the patches.

    The mean of a patch is taken from the pilot, as structures wider than a patch cannot be judged here.
    Patches with few coefficients have smaller errors, and get larger weights [1]_.

    Parameters
    ----------
    image, pilot : ndarray of float32, shape (Y, X)
        The noisy image and a first estimate of it.
    variance : ndarray of float32, shape () or (Y, X)
        Variance of the noise.

    References
    ----------
    .. [1] K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, "Image denoising by sparse 3-D transform-domain
       collaborative filtering", IEEE Trans. Image Process. 16 (2007) 2080-2095, Eqs. 10 and 11.
    """
    shape = image.shape
    noisy, first = _to_phases(image), _to_phases(pilot)
    noise = _to_phases(np.broadcast_to(variance, image.shape))[:1, :1]  # one of four pixels is enough
    total = np.zeros_like(noisy)
    n_rows, n_columns = (size - _SHIFTS + 1 for size in noisy.shape[2:])
    weights = np.empty((n_rows, n_columns), dtype=np.float32)
    rows_at_once = max(1, _PATCHES_AT_ONCE // n_columns)
    for start in range(0, n_rows, rows_at_once):
        patches = slice(start, min(start + rows_at_once, n_rows))
        rows = slice(patches.start, patches.stop + _SHIFTS - 1)
        _add_filtered(
            total[:, :, rows], weights[patches], noisy[:, :, rows], first[:, :, rows], noise[:, :, rows]
        )
    return _from_phases(total / _spread_weights(weights), shape)


def _add_filtered(total: Image, weights: Image, noisy: Image, pilot: Image, variance: Image) -> None:
    """Add the filtered patches of a band of rows to `total`, and put their weights into `weights`."""
    coefficients = _transform(_gather(noisy), _cosines())
    expected = _transform(_gather(pilot), _cosines())
    local = _gather(variance).mean(axis=(0, 1))
    gain = expected * expected
    gain /= gain + local
    coefficients *= gain
    coefficients[0, 0] = expected[0, 0]
    gain[0, 0] = 0
    np.power(local * (np.einsum("ij...,ij...->...", gain, gain) + _SURENESS), np.float32(-1.5), out=weights)
    coefficients *= weights
    _scatter(total, _transform(coefficients, _cosines().T))


@cache
def _cosines() -> Image:
    """Return the orthonormal cosine basis of a line of pixels, (8, 8): one row per frequency."""
    line: Image = dct(np.eye(_PATCH), axis=0, norm="ortho").astype(np.float32)
    return line


def _transform(patches: Image, basis: Image) -> Image:
    """Multiply both axes of `patches` (8, 8, rows, columns) by `basis`."""
    lines: Image = np.matmul(basis, patches.reshape(_PATCH, _PATCH, -1))
    lines = np.matmul(basis, lines.swapaxes(0, 1)).swapaxes(0, 1)
    return lines.reshape(patches.shape)


def _gather(phases: Image) -> Image:
    """Return the pixels of each patch, (8, 8, rows, columns); fewer where `phases` are fewer than 2 x 2."""
    rows, columns = (size - _SHIFTS + 1 for size in phases.shape[2:])
    patches = np.empty((_SHIFTS, phases.shape[0], _SHIFTS, phases.shape[1], rows, columns), dtype=np.float32)
    for i in range(_SHIFTS):
        for j in range(_SHIFTS):
            patches[i, :, j] = phases[:, :, i : i + rows, j : j + columns]
    return patches.reshape(_SHIFTS * phases.shape[0], _SHIFTS * phases.shape[1], rows, columns)


def _scatter(phases: Image, patches: Image) -> None:
    """Add the pixels of `patches` to `phases` at their original places: the adjoint of `_gather`."""
    rows, columns = patches.shape[2:]
    parts = patches.reshape(_SHIFTS, _STEP, _SHIFTS, _STEP, rows, columns)
    for i in range(_SHIFTS):
        for j in range(_SHIFTS):
            phases[:, :, i : i + rows, j : j + columns] += parts[i, :, j]


def _spread_weights(weights: Image) -> Image:
    """Return the sum of the weights of all patches that hold a pixel; it is the same for all phases."""
    for axis in (0, 1):
        padding = [(_SHIFTS - 1, _SHIFTS - 1) if axis == each else (0, 0) for each in (0, 1)]
        weights = sliding_window_view(np.pad(weights, padding), _SHIFTS, axis=axis).sum(axis=-1)
    return weights


def _to_phases(image: Image) -> Image:
    """Mirror `image` at its borders, and sort its pixels by position modulo 2: (2, 2, rows, columns)."""
    border = _PATCH - _STEP  # each pixel lies in equally many patches
    padded = np.pad(image, [(border, border + size % _STEP) for size in image.shape], mode="symmetric")
    rows, columns = (size // _STEP for size in padded.shape)
    return np.ascontiguousarray(padded.reshape(rows, _STEP, columns, _STEP).transpose(1, 3, 0, 2))


def _from_phases(phases: Image, shape: tuple[int, ...]) -> Image:
    """Invert `_to_phases`."""
    rows, columns = (size * _STEP for size in phases.shape[2:])
    border = _PATCH - _STEP
    padded = phases.transpose(2, 0, 3, 1).reshape(rows, columns)
    return padded[border : border + shape[0], border : border + shape[1]]


def bin_image(image: Image, size: int) -> Image:
    """Average squares of `size` pixels; an incomplete square is completed by mirroring."""
    padded = np.pad(image, [(0, -length % size) for length in image.shape], mode="symmetric")
    return block_means(padded, size, dtype=np.float32)


def interpolate_bins(binned: Image, size: int, shape: tuple[int, ...]) -> Image:
    """Interpolate squares of `size` pixels linearly between their centres, to an image of `shape`."""
    whole = interpolate_blocks(binned, tuple(size * n for n in binned.shape))
    return whole[: shape[0], : shape[1]]
