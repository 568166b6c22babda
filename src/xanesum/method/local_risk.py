"""The expected squared error of every pixel of denoised images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xanesum.method.sure import Blend, Response, band_products

__all__ = ["band_excess", "image_risk", "local_risk"]

REGION_PX = 1.5  # width (standard deviation) of the average of a pixel's risk over its neighbours ...
REGION_PROBES = 4  # ... with this many probes; with fewer probes the region is larger
FINE_BANDS = (
    2  # bands whose lost detail is where the denoiser keeps noise, at borders; the others are broader
)
BY_CHANCE = 0.5  # standard errors by which the estimated risk of a band must exceed its variance


def local_risk(
    blend: Blend,
    response: Response,
    noisy: NDArray[np.float32],
    images: NDArray[np.float32],
    sigma: float,
    *,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return the expected squared error of each pixel of blended images, shape (K, Y, X).

    The variance of a pixel follows from the denoiser's response to the probes, averaged over neighbours.
    Detail that the denoiser removes is added, band by band, as far as a band's risk exceeds its variance.
    Fine detail is lost where the denoiser keeps noise, at borders.  Coarse detail is lost in proportion to
    the thickness of the sample, which is the strongest image.

    Parameters
    ----------
    blend : Blend
    response : Response
        Of the denoiser of this blend.
    noisy, images : ndarray of float32, shape (K, Y, X)
        Before denoising, and blended.
    sigma : float
        Noise level of the images.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; 0 elsewhere.
    """
    keep = np.ones(noisy.shape[1:], bool) if mask is None else mask
    region = REGION_PX * np.sqrt(max(1.0, REGION_PROBES / len(response.divergence)))
    share = np.maximum(gaussian_filter(keep.astype(np.float32), region), np.float32(1e-6))
    a, b = (w[:, None, None].astype(np.float32) for w in (blend.noisy, blend.denoised))
    gain = np.where(keep, a**2 + 2 * a * b * response.own + b**2 * response.square, np.float32(0))
    excess = band_excess(blend, response, noisy, images, sigma, mask=keep)
    excess /= max(int(np.count_nonzero(keep)), 1)
    thickness = _thickness(images, keep)
    expected = np.zeros_like(noisy)
    for out, image, lost in zip(expected, gain, excess.T, strict=True):
        variance = sigma**2 * np.maximum(gaussian_filter(image, region), 0) / share
        fine, coarse = lost[:FINE_BANDS].sum(), lost[FINE_BANDS:].sum()
        mean = float(variance[keep].mean())
        where = variance / np.float32(mean) if mean > 0 else np.ones_like(variance)
        out[keep] = (variance + np.float32(fine) * where + np.float32(coarse) * thickness)[keep]
    return expected


def band_excess(
    blend: Blend,
    response: Response,
    noisy: NDArray[np.float32],
    images: NDArray[np.float32],
    sigma: float,
    *,
    mask: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return by how much the risk of each band of detail exceeds its variance, (B, K), summed over pixels.

    Stein's estimate of the risk of an image is uncertain by the noise of all its pixels.  That of a band of
    coarse detail is not, as it has few numbers.
    """
    if not len(noisy):
        return np.zeros((len(response.counts), 0))
    change = (images - noisy) * mask
    misfit, counts = band_products(change, change, mask)[0], response.counts
    a, b = blend.noisy, blend.denoised
    kept = a * counts[:, None] + b * response.band_divergence
    variance = sigma**2 * (
        a**2 * counts[:, None] + 2 * a * b * response.band_divergence + b**2 * response.band_square
    )
    risk = misfit - sigma**2 * counts[:, None] + 2 * sigma**2 * kept
    by_chance = BY_CHANCE * sigma**2 * np.sqrt(2 * counts)[:, None]
    return np.asarray(np.maximum(0, risk - by_chance - np.maximum(variance, 0)))


def image_risk(expected: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean squared error of each image, shape (K,), from that of its pixels (K, Y, X)."""
    return np.asarray(expected[:, mask].mean(axis=1, dtype=np.float64))


def _thickness(images: NDArray[np.float32], keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the square of the strongest of some images (K, Y, X), over its mean; (Y, X)."""
    squares = np.square(images).sum(axis=(1, 2))
    if not squares.size or not squares.max() > 0:
        return np.ones(keep.shape, np.float32)
    square = np.square(images[int(np.argmax(squares))])
    return np.asarray(square / square[keep].mean(), np.float32)
