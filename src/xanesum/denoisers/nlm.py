"""Non-local means of scikit-image: an average over pixels with similar surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from skimage.restoration import denoise_nl_means

from xanesum.denoisers.base import Image, ImageDenoiser, grow_to
from xanesum.errors import DenoiserError

__all__ = ["NonLocalMeansDenoiser"]


@dataclass(frozen=True, kw_only=True)
class NonLocalMeansDenoiser(ImageDenoiser):
    """Non-local means in the fast mode of `skimage.restoration.denoise_nl_means` [1]_.

    Parameters
    ----------
    strength : float
        Filter width h in units of sigma; more smooths more.
    patch_px : int
        Width of the patches that are compared.
    reach_px : int
        Greatest distance between two compared pixels along an axis.

    Raises
    ------
    DenoiserError
        If an option is not positive.

    References
    ----------
    .. [1] J. Froment, "Parameter-free fast pixelwise non-local means denoising", Image Processing On Line 4
       (2014) 300-326.
    """

    name: ClassVar[str] = "nlm"

    strength: float = 0.8
    patch_px: int = 5
    reach_px: int = 6

    def __post_init__(self) -> None:
        if not min(self.strength, self.patch_px, self.reach_px) > 0:
            raise DenoiserError(f"nlm needs options above 0, got {self}")

    def _denoise_image(self, image: Image, sigma: float | Image) -> Image:
        # float64, as the fast mode subtracts running sums of squares: float32 fails at contrast 100
        denoised = denoise_nl_means(
            grow_to(image, 2 * self.patch_px) / np.float64(sigma),
            patch_size=self.patch_px,
            patch_distance=self.reach_px,
            h=self.strength,
            sigma=1.0,
            fast_mode=True,
        )
        inside: Image = (denoised[: image.shape[0], : image.shape[1]] * sigma).astype(np.float32)
        return inside
