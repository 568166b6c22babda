"""Averages of images over regions, and how often noise alone makes one of them stand out as far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma, norm

from xanesum.linalg.binning import block_sums

__all__ = [
    "average_tail",
    "largest_average",
    "largest_singular",
    "leading",
    "region_averages",
    "singular_tail",
]

TW_GAMMA = (
    46.446,
    0.186054,
    9.84801,
)  # shape, scale and shift of a gamma law near Tracy and Widom's, order 1
TW_MEAN, TW_STD = -1.2065336, 1.2680340
EULER = 0.5772156649


def region_averages(
    images: NDArray[np.float32],
    mask: NDArray[np.bool_],
    scales: Sequence[int],
    *,
    signs: NDArray[np.float32] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Yield sums (n, Y', X') over squares of pixels that count, over the root of how many there are.

    White noise keeps its standard deviation.

    Parameters
    ----------
    images : ndarray, shape (n, Y, X)
    mask : ndarray of bool, shape (Y, X)
    scales : sequence of int
        Sides of the squares, each a multiple of the one before.
    signs : ndarray, shape (Y, X), optional
        What the images are multiplied by first.
    """
    weights = mask.astype(np.float32) if signs is None else signs * mask
    count, before = block_sums(mask.astype(np.float32), scales[0]), scales[0]
    sums = np.empty((len(images), *count.shape), np.float32)
    for out, image in zip(sums, images, strict=True):  # one by one, so that no copy of all is made
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
    """Return the largest size of all regions (n, Y', X'), where 2 x 2 are taken together too."""
    return max(float(np.abs(regions).max()), float(np.abs(_four(regions)).max(initial=0)))


def leading(regions: NDArray[np.float32], *, alone: bool) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return an image (Y', X') of regions (n, Y', X'), its largest value positive, and the weights it has.

    Parameters
    ----------
    alone : bool
        The one with the largest value, instead of the mixture of most energy.
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


def singular_tail(value: float, chance: NDArray[np.float64]) -> float:
    """Return how often noise has so large a singular value, squared: mean and spread by draws, then theory.

    References
    ----------
    I. M. Johnstone, "On the distribution of the largest eigenvalue in principal components analysis",
    Ann. Statist. 29 (2001) 295-327; its law as a shifted gamma law by M. Chiani, "Distribution of the largest
    eigenvalue for real Wishart and Gaussian random matrices and a simple approximation for the Tracy-Widom
    distribution", J. Multivariate Anal. 129 (2014) 69-81.
    """
    scaled = TW_MEAN + TW_STD * (value - chance.mean()) / max(float(chance.std(ddof=1)), 1e-30)
    shape, scale, shift = TW_GAMMA
    return float(gamma.sf(scaled + shift, shape, scale=scale))


def average_tail(value: float, chance: NDArray[np.float64]) -> float:
    """Return how often the largest of many averages is so large, from draws: Gumbel's law.

    Never less than that of a single normal value of variance 1: nothing was lost where less is left than
    noise leaves.
    """
    width = max(float(chance.std(ddof=1)), 1e-30) * np.sqrt(6) / np.pi
    largest = float(-np.expm1(-np.exp(-(value - chance.mean()) / width - EULER)))
    return max(largest, 2 * float(norm.sf(value)))


def _four(regions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return sums over 2 x 2 neighbours, which overlap, over 2."""
    rows = regions[:, 1:] + regions[:, :-1]
    return np.asarray((rows[:, :, 1:] + rows[:, :, :-1]) / 2)
