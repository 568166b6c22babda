"""A denoiser without a network: undecimated Haar wavelets find structure, and a Wiener filter uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import uniform_filter

from xanesum.denoisers._haar import Details, join_image, split_average, split_image
from xanesum.denoisers._patches import bin_image, interpolate_bins, wiener_patches
from xanesum.denoisers.base import Image, ImageDenoiser
from xanesum.errors import DenoiserError

__all__ = ["WaveletDenoiser"]

_TINY = np.float32(1e-12)  # local power is never below this part of its limit
_BIN_SIZES = (16, 8, 4, 2)  # pixels along the side of the squares that are filtered, from coarse to fine
# The best values in six scenes (particles, pores, cracks, regions, two photographs) at contrasts 0.05 to 100.
# A fine band shows edges of one direction, so its own power decides.  Coarse bands are judged together.
_N_FINE = 2  # levels that count as fine
_FINE_LIMIT, _COARSE_LIMIT = 3.0, 1.1  # power below this, in units of the variance of the noise, is noise


@dataclass(frozen=True, kw_only=True)
class WaveletDenoiser(ImageDenoiser):
    """Two-stage wavelet and Wiener denoiser, made for contrasts from 0.05 to 100 in units of the noise.

    First, each coefficient of an undecimated Haar transform is multiplied by
    ``max(0, 1 - limit * variance / P)``, where P is the mean square of its neighbourhood.  The estimate is
    then sharpened from coarse to fine by empirical Wiener filters on patches, as in [1]_ and [2]_.  Every
    step is continuous and has a derivative almost everywhere, so Monte-Carlo SURE holds.

    Parameters
    ----------
    levels : int
        Levels of the Haar transform; structures up to ``2**levels`` pixels wide are separated from noise.
    strength : float
        Factor of the power that counts as noise; a larger one smooths more.

    Raises
    ------
    DenoiserError
        If `levels` or `strength` is not positive.

    References
    ----------
    .. [1] S. P. Ghael, A. M. Sayeed, R. G. Baraniuk, "Improved wavelet denoising via empirical Wiener
       filtering", Proc. SPIE 3169 (1997) 389-399.
    .. [2] N. Pierazzo, G. Facciolo, "Multi-scale DCT denoising", Image Processing On Line 7 (2017) 288-308.
    """

    name: ClassVar[str] = "wavelet"
    takes_sigma_map: ClassVar[bool] = True

    levels: int = 7
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.levels < 1 or not self.strength > 0:
            raise DenoiserError(f"wavelet needs options above 0, got {self}")

    def _denoise_image(self, image: Image, sigma: float | Image) -> Image:
        scale = np.float32(np.sqrt(np.mean(np.square(sigma, dtype=np.float64))))
        noisy = image / scale
        variance = np.square(np.asarray(sigma, dtype=np.float32) / scale)
        estimate = _shrink_haar(noisy, variance, self.levels, self.strength)
        for size in _BIN_SIZES:
            estimate = estimate + _coarse_correction(noisy, estimate, variance, size)
        return wiener_patches(noisy, estimate, variance) * scale


def _coarse_correction(noisy: Image, estimate: Image, variance: Image, size: int) -> Image:
    """Return the change of `estimate` by a Wiener filter on squares of `size` pixels."""
    gain = np.float32(size)  # averaging size * size pixels divides the noise by size
    first = bin_image(estimate, size) * gain
    coarse_variance = bin_image(variance, size) if variance.ndim else variance
    correction: Image = wiener_patches(bin_image(noisy, size) * gain, first, coarse_variance) - first
    return interpolate_bins(correction / gain, size, noisy.shape)


def _shrink_haar(image: Image, variance: Image, levels: int, strength: float) -> Image:
    """Shrink the undecimated Haar coefficients of `image`, whose noise has `variance`, () or (Y, X)."""
    kept: list[Details] = []
    low, low_variance = image, variance
    for level in range(levels):
        low, details = split_image(low, level)
        if variance.ndim:
            low_variance = split_average(low_variance, level)
        limit = strength * (_FINE_LIMIT if level < _N_FINE else _COARSE_LIMIT) / 4 ** (level + 1)
        kept.append(_shrink(details, low_variance * np.float32(limit), level))
    for level in reversed(range(levels)):
        low = join_image(low, kept[level], level)
    return low


def _shrink(details: Details, limit: Image, level: int) -> Details:
    """Shrink each coefficient; the less, the more the power around it exceeds `limit`."""
    width = 2 ** (level + 1) + 1  # twice the spacing of independent coefficients
    if level < _N_FINE:
        gains = [_gain(band * band, limit, width) for band in details]
    else:
        shared = sum((band * band for band in details[1:]), start=details[0] ** 2) / np.float32(3)
        gains = [_gain(shared, limit, width)] * 3
    return Details(*(band * gain for band, gain in zip(details, gains, strict=True)))


def _gain(power: Image, limit: Image, width: int) -> Image:
    """Return ``max(0, 1 - limit / local power)``, where local means over a square of `width` samples."""
    gain: Image = uniform_filter(power, width, mode="mirror")
    np.maximum(gain, limit * _TINY, out=gain)  # by rounding, running sums may end below 0
    np.divide(limit, gain, out=gain)
    np.subtract(np.float32(1), gain, out=gain)
    return np.maximum(gain, np.float32(0), out=gain)
