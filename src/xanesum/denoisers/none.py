"""No denoising: a reference for others, and the plain SVD projection when used in `denoise`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xanesum.denoisers.base import Image, ImageDenoiser

__all__ = ["NoDenoiser"]


@dataclass(frozen=True)
class NoDenoiser(ImageDenoiser):
    """Return the images, bit for bit where the mask is true; sigma is checked and then ignored."""

    name: ClassVar[str] = "none"
    uses_sigma: ClassVar[bool] = False
    takes_sigma_map: ClassVar[bool] = True

    def _denoise_around_mean(self, image: Image, sigma: float | Image) -> Image:
        return image  # to subtract the mean and add it again would round

    def _denoise_image(self, image: Image, sigma: float | Image) -> Image:
        return image
