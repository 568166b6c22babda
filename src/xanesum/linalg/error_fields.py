"""Errors of images that are alike in neighbouring pixels: errors of means, and draws.

A denoiser keeps means and removes detail. So the noise of a mean over many pixels is the same before and
after denoising, while the noise of a pixel is smaller. Both together tell how far the error of a denoised
image is alike: if its variance is n times smaller than that of the noise, about n pixels share one error.

A denoiser also loses detail of the sample.  At each scale it loses about as much as the noise hides there, or
more would have been seen.  So where most of the noise was removed, the error of a mean has this part besides;
its size, `LOST`, was measured on simulated particles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["ErrorField"]

Image = NDArray[np.floating]

# Widths in px (standard deviation) of the Gaussian kernels that make errors alike; those between are mixed.
WIDTHS_PX = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.3, 16.0, 22.6, 32.0)
LOST = 2.0  # variance of lost detail in a mean over that of the noise, where nearly all noise was removed
REACH = 4.0  # a kernel ends at this many widths


@dataclass(frozen=True, slots=True, eq=False)
class ErrorField:
    """The error of one image: its size in every pixel, and how far it is alike.

    The error is ``size * sum(shares * kernels of white noise)``.  Every kernel gives unit variance, and the
    shares are such that their sum has it, too.  White noise of one image makes all terms of the sum.
    """

    size: NDArray[np.float32]  # (Y, X), standard error of a pixel
    shares: dict[int, NDArray[np.float32]]  # index of a width -> (Y, X)

    @classmethod
    def of(cls, size: Image, noise: Image) -> ErrorField:
        """Return the error field of an image.

        Parameters
        ----------
        size : ndarray, shape (Y, X)
            Standard error of every pixel.
        noise : ndarray, shape (Y, X)
            Standard deviation of its noise before denoising, independent in every pixel.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(size > 0, noise / size, 1.0)
            lost = 1 - np.minimum(ratio**-2.0, 1)  # share of the variance of the noise that was removed
            ratio = ratio * np.sqrt(1 + LOST * lost**2)
        sums = np.array([_sum_of_kernel(width) for width in WIDTHS_PX])
        alike = np.clip(np.nan_to_num(ratio, nan=1.0, posinf=sums[-1]), sums[0], sums[-1])
        lower = np.clip(np.searchsorted(sums, alike, side="right") - 1, 0, len(sums) - 2)
        upper_share = (alike - sums[lower]) / (sums[lower + 1] - sums[lower])
        products = np.array([_product(*pair) for pair in pairwise(WIDTHS_PX)])
        length = np.sqrt(
            (1 - upper_share) ** 2 + upper_share**2 + 2 * upper_share * (1 - upper_share) * products[lower]
        )
        shares: dict[int, NDArray[np.float32]] = {}
        for index in range(len(sums)):
            share = np.where(lower == index, 1 - upper_share, 0) + np.where(
                lower == index - 1, upper_share, 0
            )
            if share.any():
                shares[index] = (share / length).astype(np.float32)
        return cls(np.asarray(size, np.float32), shares)

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return one error of the image, and the white noise of variance 1 that made it, both (Y, X)."""
        white = rng.standard_normal(self.size.shape, dtype=np.float32)
        unit = np.zeros_like(white)
        for index, share in self.shares.items():
            unit += share * _smooth(white, WIDTHS_PX[index])
        return self.size * unit, white

    def variance_of_sum(self, weights: Image) -> float:
        """Return the variance of a weighted sum over pixels; weights (Y, X), most of them 0."""
        (rows, columns), inside = _box(weights), {}
        wide = 0
        for index, share in self.shares.items():
            part = (weights * share * self.size)[rows, columns]
            if part.any():
                inside[index] = part
                wide = max(wide, int(np.ceil(REACH * WIDTHS_PX[index])))
        total = 0.0
        padded = None
        for index, part in inside.items():
            spread = _smooth(np.pad(part, wide), WIDTHS_PX[index])
            padded = spread if padded is None else padded + spread
        if padded is not None:
            total = float(np.sum(padded.astype(np.float64) ** 2))
        return total


def _box(weights: Image) -> tuple[slice, slice]:
    """Return rows and columns outside of which all weights are 0."""
    return tuple(  # type: ignore[return-value]
        slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 1)
        for found in _occupied(weights)
    )


def _occupied(weights: Image) -> Iterator[NDArray[np.intp]]:
    for axis in (1, 0):
        yield np.flatnonzero(weights.any(axis=axis))


def _smooth(image: Image, width_px: float) -> NDArray[np.float32]:
    """Return the image with a kernel of unit square sum; images are continued periodically."""
    if width_px == 0:
        return np.asarray(image, np.float32)
    smooth = gaussian_filter(image, width_px, mode="wrap", truncate=REACH, output=np.float32)
    return np.asarray(smooth * np.float32(_sum_of_kernel(width_px)))


def _kernel(width_px: float) -> NDArray[np.float64]:
    """Return the kernel along one axis that `gaussian_filter` uses; its sum is 1."""
    n = int(REACH * width_px + 0.5)
    if not n:
        return np.ones(1)
    kernel = np.exp(-0.5 * (np.arange(-n, n + 1) / width_px) ** 2)
    return np.asarray(kernel / kernel.sum())


def _sum_of_kernel(width_px: float) -> float:
    """Return the sum over both axes of the kernel whose squares sum to 1."""
    return 1.0 / float(np.sum(_kernel(width_px) ** 2))


def _product(narrow_px: float, wide_px: float) -> float:
    """Return the covariance of two unit fields from the same white noise."""
    narrow, wide = _kernel(narrow_px), _kernel(wide_px)
    narrow = np.pad(narrow, (len(wide) - len(narrow)) // 2)
    return float((narrow @ wide) ** 2 / (np.sum(narrow**2) * np.sum(wide**2)))
