"""Base class for denoisers, also of plug-ins: checked arguments, filled masks, one image at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from xanesum.denoisers.protocol import Sigma
from xanesum.errors import DenoiserError, SigmaError, StackError

__all__ = [
    "Image",
    "ImageDenoiser",
    "checked_images",
    "checked_mask",
    "checked_sigma",
    "fill_from_nearest",
    "grow_to",
]

Image = NDArray[np.float32]


class ImageDenoiser(ABC):
    """A denoiser that works on one image at a time, by the method `_denoise_image` of a subclass.

    The mean of an image is subtracted before `_denoise_image` and added again after it, in float64.  So the
    digits of float32 are left for the signal, and an offset of the input only shifts the output.
    """

    name: ClassVar[str]
    uses_sigma: ClassVar[bool] = True
    takes_sigma_map: ClassVar[bool] = False
    device: ClassVar[str] = "cpu"
    extra: ClassVar[str | None] = None

    @property
    def exact(self) -> Self:
        """The same denoiser with the rounding of float32; see `RoundingDenoiser`."""
        return self

    def rounding(self, images: NDArray[np.float32], sigma: float) -> NDArray[np.float64]:
        """Return the rms rounding error in units of sigma, shape (K,), of images (K, Y, X).

        It is 0 for float32; see `KnownRounding`.
        """
        return np.zeros(len(images))

    def denoise(
        self, images: NDArray[np.float32], sigma: Sigma, *, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Denoise K images independently of each other.

        Parameters
        ----------
        images : ndarray of float, shape (K, Y, X)
            Images with white Gaussian noise, finite where `mask` is true.  They are not changed.
        sigma : float or ndarray of float, shape (Y, X)
            Standard deviation of the noise, in the unit of the images.  A scalar 0 returns the images
            unchanged; a map must be positive where `mask` is true.
        mask : ndarray of bool, shape (Y, X), optional
            False where input values are ignored and output values mean nothing.

        Returns
        -------
        ndarray of float32, shape (K, Y, X)
            A new array, in the unit of the images.

        Raises
        ------
        StackError
            If the images or the mask have the wrong shape, or a pixel where `mask` is true is not finite.
        SigmaError
            If sigma is negative, not finite, or has the wrong shape.
        DenoiserError
            If sigma is an array and `takes_sigma_map` is false.
        """
        mask = checked_mask(mask, np.shape(images))
        images = checked_images(images, mask)
        sigma = self._checked_sigma(sigma, images.shape[1:], mask)
        if not np.any(sigma) or not images.size or not mask.any():
            return np.where(mask, images, np.float32(0)).astype(np.float32)
        filled = (fill_from_nearest(image, mask) for image in images)
        return np.stack([self._denoise_around_mean(image, sigma) for image in filled])

    def _checked_sigma(self, sigma: Sigma, shape: tuple[int, ...], mask: NDArray[np.bool_]) -> float | Image:
        """Return `sigma` as a float or as a float32 map that is positive everywhere."""
        if np.ndim(sigma) and not self.takes_sigma_map:
            raise DenoiserError(
                f"denoiser {self.name!r} takes one sigma for the whole image, got an array of shape "
                f"{np.shape(sigma)}; divide the images by it first, or use one that takes_sigma_map"
            )
        return checked_sigma(sigma, shape, mask)

    def _denoise_around_mean(self, image: Image, sigma: float | Image) -> Image:
        """Denoise one finite image (Y, X), after subtraction of its mean, which is then added again."""
        mean = image.mean(dtype=np.float64)
        centred = (image - mean).astype(np.float32)
        denoised: Image = (self._denoise_image(centred, sigma) + mean).astype(np.float32)
        return denoised

    @abstractmethod
    def _denoise_image(self, image: Image, sigma: float | Image) -> Image:
        """Denoise one finite image (Y, X) of mean zero whose noise is `sigma` > 0."""


def checked_images(images: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return `images` (K, Y, X) as float32, or raise StackError if they are not finite inside `mask`."""
    images = np.asarray(images)
    if not np.issubdtype(images.dtype, np.floating):
        raise StackError(f"images must be float32, got {images.dtype}")
    images = images.astype(np.float32, copy=False)
    if n_bad := np.count_nonzero(~np.isfinite(images[:, mask])):
        raise StackError(f"{n_bad} values where mask is true are not finite; mask or replace them")
    return images


def checked_mask(mask: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a boolean mask (Y, X) for images of `shape` (K, Y, X), all true for None."""
    if len(shape) != 3:
        raise StackError(f"images must have shape (K, Y, X), got {shape}")
    if mask is None:
        return np.ones(shape[1:], dtype=bool)
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != shape[1:]:
        raise StackError(f"mask must be bool of shape {shape[1:]}, got {mask.dtype} of shape {mask.shape}")
    return mask


def checked_sigma(sigma: Sigma, shape: tuple[int, ...], mask: NDArray[np.bool_]) -> float | Image:
    """Return `sigma` as a float >= 0, or as a float32 map (Y, X) that is positive everywhere."""
    if np.ndim(sigma) == 0:
        if not (np.isfinite(sigma) and sigma >= 0):
            raise SigmaError(f"sigma must be finite and not negative, got {sigma}")
        return float(sigma)
    values = np.asarray(sigma, dtype=np.float32)
    if values.shape != shape:
        raise SigmaError(f"a sigma map must have the shape of one image, {shape}, got {values.shape}")
    if n_bad := np.count_nonzero(~(np.isfinite(values[mask]) & (values[mask] > 0))):
        raise SigmaError(f"{n_bad} values of the sigma map are not finite and positive; mask those pixels")
    return fill_from_nearest(values, mask)


def fill_from_nearest(image: Image, mask: NDArray[np.bool_]) -> Image:
    """Return `image` (Y, X), where pixels of false `mask` are replaced by the nearest pixel of true `mask`.

    If the mask is false everywhere, the image is returned as it is.
    """
    if mask.all() or not mask.any():
        return image
    nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    filled: Image = image[tuple(nearest)]
    return filled


def grow_to(image: Image, smallest_px: int) -> Image:
    """Return `image` (Y, X), extended by its mirror image where an axis is shorter than `smallest_px`."""
    return np.pad(image, [(0, max(0, smallest_px - size)) for size in image.shape], mode="symmetric")
