"""Averages of images over regions, and the probability that noise alone makes one stand out as much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from xanesum.linalg.binning import block_sums
from xanesum.linalg.largest_eigenvalue import TW_MEAN, TW_STD, tracy_widom_tail

__all__ = [
    "FALSE_ALARM",
    "average_tail",
    "largest_average",
    "largest_singular",
    "leading",
    "region_averages",
    "singular_tail",
]

FALSE_ALARM = 0.01  # accepted probability of an alarm where there is only noise
EULER = 0.5772156649  # the Euler-Mascheroni constant: mean of a Gumbel law of width 1


def region_averages(
    images: NDArray[np.float32],
    mask: NDArray[np.bool_],
    scales: Sequence[int],
    *,
    signs: NDArray[np.float32] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Yield, for each scale, sums (n, Y', X') over squares of pixels, divided by the root of the pixel count.

    Only pixels that count are summed.  White noise keeps its standard deviation.

    Parameters
    ----------
    images : ndarray, shape (n, Y, X)
    mask : ndarray of bool, shape (Y, X)
    scales : sequence of int
        Sides of the squares, each a multiple of the one before.
    signs : ndarray, shape (Y, X), optional
        Factors by which the images are multiplied first.
    """
    weights = mask.astype(np.float32) if signs is None else signs * mask
    count, before = block_sums(mask.astype(np.float32), scales[0]), scales[0]
    sums = np.empty((len(images), *count.shape), np.float32)
    for out, image in zip(sums, images, strict=True):  # one by one, to avoid a copy of all images
        out[:] = block_sums(image * weights, before)
    for scale in scales:
        sums, count = (block_sums(values, scale // before) for values in (sums, count))
        before = scale
        yield np.asarray(sums / np.sqrt(np.maximum(count, 1)), np.float32)


def largest_singular(regions: NDArray[np.float32]) -> float:
    """Return the square of the largest singular value of regions (n, Y', X') as a matrix."""
    flat = regions.reshape(len(regions), -1).astype(np.float64)
    return float(np.linalg.eigvalsh(flat @ flat.T)[-1])


def largest_average(regions: NDArray[np.float32]) -> float:
    """Return the largest absolute value among regions (n, Y', X'), and among groups of 2 x 2 of them."""
    return max(float(np.abs(regions).max()), float(np.abs(_four(regions)).max(initial=0)))


def leading(regions: NDArray[np.float32], *, alone: bool) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the image (Y', X') that stands out most, and its weights (n,) in `regions`.

    The value of largest size is made positive.

    Parameters
    ----------
    regions : ndarray, shape (n, Y', X')
    alone : bool
        Return the one image with the largest value, instead of the mixture with the largest sum of squares.
    """
    flat = regions.reshape(len(regions), -1).astype(np.float64)
    if alone:
        weights = np.zeros(len(regions))
        weights[np.argmax(np.abs(flat).max(axis=1))] = 1
    else:
        weights = np.linalg.eigh(flat @ flat.T)[1][:, -1]
    image = weights @ flat
    sign = np.sign(image[np.argmax(np.abs(image))])
    return (sign * image).reshape(regions.shape[1:]).astype(np.float32), sign * weights


def singular_tail(value: float, null_samples: NDArray[np.float64]) -> float:
    """Return the probability that noise has a singular value as large; all values are squared.

    Draws give the mean and the spread for noise, theory the shape of the law.

    Parameters
    ----------
    value : float
        From `largest_singular`.
    null_samples : ndarray, shape (N,)
        The same of noise alone.

    References
    ----------
    I. M. Johnstone, "On the distribution of the largest eigenvalue in principal components analysis",
    Ann. Statist. 29 (2001) 295-327; its law as a shifted gamma law by M. Chiani, "Distribution of the largest
    eigenvalue for real Wishart and Gaussian random matrices and a simple approximation for the Tracy-Widom
    distribution", J. Multivariate Anal. 129 (2014) 69-81.
    """
    scaled = TW_MEAN + TW_STD * (value - null_samples.mean()) / max(float(null_samples.std(ddof=1)), 1e-30)
    return tracy_widom_tail(scaled)


def average_tail(value: float, null_samples: NDArray[np.float64]) -> float:
    """Return the probability that noise has an average as large: a Gumbel law, fitted to draws.

    It is never less than that of a single normal value of variance 1: where less is left than noise leaves,
    nothing was lost.

    Parameters
    ----------
    value : float
        From `largest_average`.
    null_samples : ndarray, shape (N,)
        The same of noise alone.
    """
    width = max(float(null_samples.std(ddof=1)), 1e-30) * np.sqrt(6) / np.pi
    largest = float(-np.expm1(-np.exp(-(value - null_samples.mean()) / width - EULER)))
    return max(largest, 2 * float(norm.sf(value)))


def _four(regions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums over 2 x 2 neighbours, divided by 2; the groups overlap."""
    rows = regions[:, 1:] + regions[:, :-1]
    return np.asarray((rows[:, :, 1:] + rows[:, :, :-1]) / 2)
