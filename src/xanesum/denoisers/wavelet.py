"""The default denoiser: undecimated Haar wavelets find the structure, a patch-wise Wiener filter uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import uniform_filter

from xanesum.denoisers.base import Image, ImageDenoiser
from xanesum.denoisers._haar import Details, join_image, split_average, split_image
from xanesum.denoisers._patches import bin_image, interpolate_bins, wiener_patches
from xanesum.errors import DenoiserError

__all__ = ["WaveletDenoiser"]

_OWN = np.float32(0.7)  # how much a band's own energy counts against the mean of the level's three bands
_TINY = np.float32(1e-12)
_BIN_SIZES = (8, 4, 2)  # pixels


@dataclass(frozen=True, kw_only=True)
class WaveletDenoiser(ImageDenoiser):
    """Two-stage wavelet and Wiener denoiser, made for contrasts from 0.05 to 100 in units of the noise.

    First, each coefficient of an undecimated Haar transform is shrunk by the energy E of its neighbourhood,
    ``max(0, 1 - threshold * variance / E)``.  The estimate is then sharpened from coarse to fine by empirical
    Wiener filters on patches, as in [1]_ and [2]_.  Every step has a derivative almost everywhere and no
    jumps, so Monte-Carlo SURE holds.

    Parameters
    ----------
    levels : int
        Levels of the Haar transform; structures up to ``2**levels`` pixels wide are separated from noise.
    threshold : float
        Energy below which a neighbourhood is taken for noise, in units of its noise variance.

    Raises
    ------
    DenoiserError
        If `levels` is not positive or `threshold` is below 1.

    References
    ----------
    .. [1] S. P. Ghael, A. M. Sayeed, R. G. Baraniuk, "Improved wavelet denoising via empirical Wiener
       filtering", Proc. SPIE 3169 (1997) 389-399.
    .. [2] N. Pierazzo, G. Facciolo, "Multi-scale DCT denoising", Image Processing On Line 7 (2017) 288-308.
    """

    name: ClassVar[str] = "wavelet"
    takes_sigma_map: ClassVar[bool] = True

    levels: int = 7
    threshold: float = 2.5

    def __post_init__(self) -> None:
        if self.levels < 1 or not self.threshold >= 1:
            raise DenoiserError(
                f"wavelet needs levels >= 1 and threshold >= 1, got {self.levels} and {self.threshold}"
            )

    def _denoise_image(self, image: Image, sigma: float | Image) -> Image:
        scale = np.float32(np.sqrt(np.mean(np.square(sigma, dtype=np.float64))))
        noisy = image / scale
        variance = np.square(np.asarray(sigma, dtype=np.float32) / scale)
        estimate = _shrink_haar(noisy, variance, self.levels, np.float32(self.threshold))
        for size in _BIN_SIZES:
            estimate = estimate + _coarse_correction(noisy, estimate, variance, size)
        return wiener_patches(noisy, estimate, variance) * scale


def _coarse_correction(noisy: Image, estimate: Image, variance: Image, size: int) -> Image:
    """Return what a Wiener filter on squares of `size` pixels would add to `estimate`."""
    gain = np.float32(size)  # averaging size * size pixels divides the noise by size
    first = bin_image(estimate, size) * gain
    coarse_variance = bin_image(variance, size) if variance.ndim else variance
    correction: Image = wiener_patches(bin_image(noisy, size) * gain, first, coarse_variance) - first
    return interpolate_bins(correction / gain, size, noisy.shape)


def _shrink_haar(image: Image, variance: Image, levels: int, threshold: np.float32) -> Image:
    """Denoise `image` whose noise has `variance`, () or (Y, X), by shrinking undecimated Haar coefficients."""
    kept: list[Details] = []
    low, low_variance = image, variance
    for level in range(levels):
        low, details = split_image(low, level)
        if variance.ndim:
            low_variance = split_average(low_variance, level)
        kept.append(_shrink(details, low_variance * (threshold / np.float32(4 ** (level + 1))), level))
    for level in reversed(range(levels)):
        low = join_image(low, kept[level], level)
    return low


def _shrink(details: Details, limit: Image, level: int) -> Details:
    """Shrink each coefficient by how much the energy around it exceeds `limit`."""
    width = 2 ** (level + 1) + 1  # twice the spacing of independent coefficients
    energies = [uniform_filter(band * band, width, mode="mirror") for band in details]
    shared = (energies[0] + energies[1] + energies[2]) * ((1 - _OWN) / np.float32(3)) + limit * _TINY
    return Details(*(_shrink_band(*pair, shared, limit) for pair in zip(details, energies, strict=True)))


def _shrink_band(band: Image, energy: Image, shared: Image, limit: Image) -> Image:
    """Shrink one band, in the memory of its `energy`: the arithmetic is bound by memory."""
    energy *= _OWN
    energy += shared
    gain = np.divide(limit, energy, out=energy)
    np.subtract(np.float32(1), gain, out=gain)
    np.maximum(gain, np.float32(0), out=gain)
    gain *= band
    return gain
