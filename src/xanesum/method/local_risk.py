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
THICKNESSES = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99)  # shares of the pixels, by thickness, that are compared
SURELY = 2.5  # standard errors from which on they differ
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
    for out, image, risk, bands in zip(expected, gain, stein, excess.T, strict=True):
        variance = sigma**2 * np.maximum(gaussian_filter(image, region), 0) / share
        fine, coarse = bands[:FINE_BANDS].sum(), bands[FINE_BANDS:].sum()
        mean = float(variance[keep].mean())
        borders = variance / np.float32(mean) if mean > 0 else np.ones_like(variance)
        seen, where, thick = (each[keep].astype(np.float64) for each in (risk - variance, borders, thickness))
        at_borders = fine * _share_at_borders(seen, fine, where, thick, sigma) if fine > 0 else 0.0
        along = _along_thickness(seen - at_borders * where, thick, sigma)
        lost = at_borders * where + max(fine - at_borders + coarse, along) * thick
        out[keep] = variance[keep] + np.maximum(lost + _beside(seen - lost, thick, sigma), 0)
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
    seen: NDArray[np.float64],
    lost: float,
    borders: NDArray[np.float64],
    thickness: NDArray[np.float64],
    sigma: float,
) -> float:
    """Return which share of the lost detail is at borders, the rest being where the sample is thick.

    Parameters
    ----------
    seen : ndarray, shape (P,)
        Stein's estimate for each pixel without its variance: the lost detail, and noise.
    lost : float
        Its mean.
    borders, thickness : ndarray, shape (P,)
        Where it may be, both with a mean of 1.
    sigma : float
        Noise level of the image.
    """
    between = borders - thickness
    scatter = 2 * sigma**4 / lost**2  # of the square of noise
    share = np.sum(between * (seen / lost - thickness)) / scatter + 1 / AT_BORDERS**2
    return float(np.clip(share / (np.sum(between**2) / scatter + 1 / AT_BORDERS**2), 0, 1))


def _along_thickness(seen: NDArray[np.float64], thickness: NDArray[np.float64], sigma: float) -> float:
    """Return how much detail is lost in proportion to the thickness, beyond chance; thick pixels tell it."""
    size = float(np.sqrt(np.sum(thickness**2)))
    return float(thickness @ seen / size**2 - BY_CHANCE * np.sqrt(2) * sigma**2 / size)


def _beside(seen: NDArray[np.float64], thickness: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return how much more or less detail is lost (P,) than was expected, in pixels of like thickness.

    Where little of an image is sample, the mean over all pixels hides what is lost there.
    """
    part = np.searchsorted(np.quantile(thickness, THICKNESSES), thickness, side="right")
    counts = np.maximum(np.bincount(part), 1)
    mean = np.bincount(part, seen) / counts
    chance = np.sqrt(2 / counts) * sigma**2
    by_more = np.sign(mean) * (np.abs(mean) - BY_CHANCE * chance)
    return np.asarray(np.where(np.abs(mean) > SURELY * chance, by_more, 0)[part])


def _thickness(images: NDArray[np.float32], keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the square of the strongest of some images (K, Y, X), over its mean; (Y, X)."""
    squares = np.square(images).sum(axis=(1, 2))
    if not squares.size or not squares.max() > 0:
        return np.ones(keep.shape, np.float32)
    square = np.square(images[int(np.argmax(squares))])
    return np.asarray(square / square[keep].mean(), np.float32)
