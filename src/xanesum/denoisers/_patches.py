"""Wiener filter on overlapping patches in the cosine basis, with signal energies read off a pilot estimate."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

__all__ = ["bin_image", "interpolate_bins", "wiener_patches"]

Image = NDArray[np.float32]
_PATCH, _STEP = 8, 2  # pixels
_ROWS = 16  # rows of patches at a time: about 2 MB, so that the work stays in the processor's cache


def wiener_patches(image: Image, pilot: Image, variance: Image) -> Image:
    """Shrink each patch's cosine coefficients by pilot^2 / (pilot^2 + variance) and average the patches.

    A patch's mean is the pilot's, because what is wider than a patch is not seen here.  Patches that need few
    coefficients know more, and weigh more [1]_.

    Parameters
    ----------
    image, pilot : ndarray of float32, shape (Y, X)
        The noisy image and a first estimate of it.
    variance : ndarray of float32, shape (Y, X)
        Variance of the noise.

    References
    ----------
    .. [1] K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, "Image denoising by sparse 3-D transform-domain
       collaborative filtering", IEEE Trans. Image Process. 16 (2007) 2080-2095, Eqs. 10 and 11.
    """
    noisy, first, noise = _pad(image), _pad(pilot), _pad(variance)
    total, weights = np.zeros_like(noisy), np.zeros_like(noisy)
    n_rows = (noisy.shape[0] - _PATCH) // _STEP + 1
    for start in range(0, n_rows, _ROWS):
        rows = slice(start * _STEP, (min(start + _ROWS, n_rows) - 1) * _STEP + _PATCH)
        _add_filtered(total[rows], weights[rows], noisy[rows], first[rows], noise[rows])
    border = _PATCH - _STEP
    inside = (slice(border, border + image.shape[0]), slice(border, border + image.shape[1]))
    return total[inside] / weights[inside]


def _add_filtered(total: Image, weights: Image, noisy: Image, pilot: Image, variance: Image) -> None:
    """Add the filtered patches of a band of rows to `total`, and their weights to `weights`."""
    basis = _cosine_basis()
    columns = _gather(noisy)
    shape = columns.shape[1:]
    coefficients = basis @ columns.reshape(len(basis), -1)
    expected = basis @ _gather(pilot).reshape(len(basis), -1)
    local = _gather(variance, every=_STEP).mean(axis=0).reshape(-1)
    gain = expected * expected
    gain /= gain + local
    coefficients *= gain
    coefficients[0] = expected[0]
    spread = np.einsum("ij,ij->j", gain[1:], gain[1:]) + np.float32(0.1)  # 0.1: a flat patch is not infinitely sure
    weight = (local * spread) ** np.float32(-1.5)
    coefficients *= weight
    _scatter(total, (basis.T @ coefficients).reshape(-1, *shape))
    _scatter(weights, np.broadcast_to(weight.reshape(shape), (len(basis), *shape)))


@cache
def _cosine_basis() -> Image:
    """Return the orthonormal two-dimensional cosine basis, (64, 64): one row per frequency, the mean first."""
    line = dct(np.eye(_PATCH), axis=0, norm="ortho")
    return np.kron(line, line).astype(np.float32)


def _gather(image: Image, every: int = 1) -> Image:
    """Return pixel (i, j) of every patch: shape (number of pixels, rows of patches, patches in a row)."""
    return np.stack([_pixel(image, i, j) for i in range(0, _PATCH, every) for j in range(0, _PATCH, every)])


def _scatter(image: Image, pixels: Image) -> None:
    """Add `pixels` as `_gather` gives them to `image`, where patches overlap."""
    for index in range(_PATCH * _PATCH):
        view = _pixel(image, *divmod(index, _PATCH))
        view += pixels[index]


def _pixel(image: Image, i: int, j: int) -> Image:
    """Return a view of pixel (i, j) of every patch of `image`."""
    rows, columns = (size - _PATCH + 1 for size in image.shape)
    return image[i : i + rows : _STEP, j : j + columns : _STEP]


def _pad(image: Image) -> Image:
    """Mirror `image` at its borders so that each pixel lies in equally many patches."""
    border = _PATCH - _STEP
    return np.pad(image, [(border, border + size % _STEP) for size in image.shape], mode="symmetric")


def bin_image(image: Image, size: int) -> Image:
    """Average squares of `size` pixels; an incomplete square is completed by mirroring."""
    padded = np.pad(image, [(0, -length % size) for length in image.shape], mode="symmetric")
    rows, columns = (length // size for length in padded.shape)
    return padded.reshape(rows, size, columns, size).mean(axis=(1, 3))


def interpolate_bins(binned: Image, size: int, shape: tuple[int, ...]) -> Image:
    """Interpolate squares of `size` pixels linearly between their centres, to an image of `shape`."""
    for axis in (0, 1):
        position = np.clip((np.arange(shape[axis]) + 0.5) / size - 0.5, 0, binned.shape[axis] - 1)
        below = position.astype(np.intp)
        above = np.minimum(below + 1, binned.shape[axis] - 1)
        fraction = (position - below).astype(np.float32)[(slice(None), None) if axis == 0 else slice(None)]
        low, high = np.take(binned, below, axis=axis), np.take(binned, above, axis=axis)
        binned = low + fraction * (high - low)
    return binned
