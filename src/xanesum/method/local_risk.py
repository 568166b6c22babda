"""The expected squared error of every pixel of denoised images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xanesum.method.sure import Blend, Response, band_products

__all__ = ["band_excess", "image_risk", "local_risk"]

REGION_PX = 1.5  # width (standard deviation) of the average of a pixel's risk over its neighbours ...
REGION_PROBES = 4  # ... with this many probes; with fewer probes the region is larger
FINE_BANDS = 2  # bands whose detail may be lost at borders, where the denoiser keeps noise
AT_BORDERS = 0.3  # uncertainty of the share that is lost there, before looking; the expected share is 1
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
    Detail is lost in proportion to the thickness of the sample, which is the strongest image.  Fine detail is
    also lost where the denoiser keeps noise, at borders; the image itself shows how much of it.

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
    stein = np.where(keep, np.square(images - noisy) + sigma**2 * (2 * (a + b * response.own) - 1), 0)
    excess = band_excess(blend, response, noisy, images, sigma, mask=keep)
    excess /= max(int(np.count_nonzero(keep)), 1)
    thickness = _thickness(images, keep)
    expected = np.zeros_like(noisy)
    for out, image, risk, lost in zip(expected, gain, stein, excess.T, strict=True):
        variance = sigma**2 * np.maximum(gaussian_filter(image, region), 0) / share
        fine, coarse = lost[:FINE_BANDS].sum(), lost[FINE_BANDS:].sum()
        mean = float(variance[keep].mean())
        borders = variance / np.float32(mean) if mean > 0 else np.ones_like(variance)
        if fine > 0:
            at_borders = _share_at_borders(
                (risk - variance)[keep], fine, borders[keep], thickness[keep], sigma
            )
            borders = at_borders * borders + (1 - at_borders) * thickness
        out[keep] = (variance + np.float32(fine) * borders + np.float32(coarse) * thickness)[keep]
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


def _share_at_borders(
    risk: NDArray[np.float32],
    lost: float,
    borders: NDArray[np.float32],
    thickness: NDArray[np.float32],
    sigma: float,
) -> np.float32:
    """Return which share of the lost detail is at borders, the rest being where the sample is thick.

    Parameters
    ----------
    risk : ndarray, shape (P,)
        Stein's estimate for each pixel without its variance: the lost detail, and noise.
    lost : float
        Its mean.
    borders, thickness : ndarray, shape (P,)
        Where it may be, both with a mean of 1.
    sigma : float
        Noise level of the image.
    """
    between = (borders - thickness).astype(np.float64)
    scatter = 2 * sigma**4 / lost**2  # of the square of noise
    seen = np.sum(between * (risk / lost - thickness)) / scatter + 1 / AT_BORDERS**2
    return np.float32(np.clip(seen / (np.sum(between**2) / scatter + 1 / AT_BORDERS**2), 0, 1))


def _thickness(images: NDArray[np.float32], keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the square of the strongest of some images (K, Y, X), over its mean; (Y, X)."""
    squares = np.square(images).sum(axis=(1, 2))
    if not squares.size or not squares.max() > 0:
        return np.ones(keep.shape, np.float32)
    square = np.square(images[int(np.argmax(squares))])
    return np.asarray(square / square[keep].mean(), np.float32)
