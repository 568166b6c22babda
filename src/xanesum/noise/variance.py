"""Noise that differs from pixel to pixel and from energy to energy: its variance, and how to make it even."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import EllipsisType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xanesum.noise.detector import log_of_counts

__all__ = [
    "CountVariance",
    "FittedVariance",
    "NoiseFactors",
    "Variance",
    "fit_variance",
    "left_uneven",
    "separate",
]

LEAST_PHOTONS = 0.1  # of which a count has the variance at least
PHOTONS = 0.01, 1e9  # between which the scatter of their logarithm is tabulated
DARKEST = 4.0  # standard deviations of read noise below the linear counts, from which on it is
N_NODES = 15
LOWEST = 0.05  # of the mean, which counts that have a logarithm are not taken to fall below
N_VALUES = 5_000_000  # of a sample of pixels, from which a variance is fitted
N_SAMPLE = 5_000, 40_000  # pixels, at least and at most, that have so many
N_ENERGIES = 100  # from so many, or up to twice as many, the factors of pixels are taken
N_UNEVEN = 50_000  # pixels, between which what factors leave is interpolated
N_LEVELS = 24  # of optical density, between which its influence is interpolated
N_BLOCKS = 6  # along the shorter side of the image, between which the illumination is interpolated
N_ROUNDS = 6
LEAST_SHARE = 0.25  # of an energy's variance that the spectra must leave, for it to be known from the rest
OUTLYING = 5.0  # standard deviations from which on a residual has no say


Pixels = tuple[NDArray[np.intp], ...] | EllipsisType  # an index of an image (Y, X)


class Variance(Protocol):
    """Variance of the noise as a function of energy, pixel and what the sample absorbs."""

    @property
    def error(self) -> float:
        """Rms of the logarithm of sigma that comes from the sample's size alone."""
        ...

    def at(self, e: int, density: NDArray[np.floating], pixels: Pixels = ...) -> NDArray[np.float64]:
        """Return the variance at energy index `e` of `pixels`, where the clean stack is `density`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CountVariance:
    """Variance of an optical density from the law of the camera's noise.

    Where the clean stack is asked for, the mean of noisy ones is meant, which in the dark is not the density
    of the mean counts.
    """

    gain: NDArray[np.float64]  # (E,), unit of the counts
    read_variance: NDArray[np.float64]  # (E,), squared unit of the counts
    light: NDArray[np.float64]  # (Y, X), counts without the sample, for the mean energy
    light_energy: NDArray[np.float64]  # (E,), relative
    linear_below: float = 0.0  # counts, up to which the optical density is linear in them
    error: float = 0.0  # rms of the logarithm of sigma that comes from the sample's size alone

    def at(self, e: int, density: NDArray[np.floating], pixels: Pixels = ...) -> NDArray[np.float64]:
        """Return the variance at energy index `e` of `pixels`, where the clean stack is `density`."""
        log_counts = np.log(self.light[pixels] * self.light_energy[e]) - np.asarray(density, np.float64)
        table = _scatter_of_logarithm(self.gain[e], self.read_variance[e], self.linear_below)
        return np.asarray(np.interp(log_counts, *table))


@lru_cache(maxsize=4096)
def _scatter_of_logarithm(
    gain: float, read_variance: float, linear_below: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of the counts' logarithms, increasing, and their variances.

    Where noise is a good part of the counts, that is more than the variance over the square of the mean, and
    the mean of the logarithm, which is what denoising finds, is not the logarithm of the mean.
    """
    is_linear = linear_below > 0
    low = linear_below - DARKEST * np.sqrt(max(read_variance, 0.0)) if is_linear else PHOTONS[0] * gain
    mean = np.concatenate(
        [np.linspace(low, linear_below, 60), gain * np.geomspace(PHOTONS[0], PHOTONS[1], 400)]
    )
    mean = np.unique(mean[mean >= low])
    noise = np.sqrt(np.maximum(gain * np.maximum(mean, 0) + read_variance, LEAST_PHOTONS * gain**2))
    nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
    counts = mean[:, None] + noise[:, None] * nodes
    if not is_linear:
        counts = np.maximum(counts, LOWEST * mean[:, None])
    logarithms = log_of_counts(counts, linear_below, counts < linear_below)
    first, second = (logarithms**power @ weights / weights.sum() for power in (1, 2))
    return first, second - first**2


@dataclass(frozen=True, slots=True, eq=False)
class FittedVariance:
    """Variance as a product: of the energy, of a smooth illumination, and of what the sample absorbs."""

    energy: NDArray[np.float64]  # (E,), squared unit of the stack
    pixel: NDArray[np.float64]  # (Y, X), mean 1
    levels: NDArray[np.float64]  # (L,), increasing, unit of the stack
    log_growth: NDArray[np.float64]  # (L,), logarithm of the factor at these levels
    error: float = 0.0  # rms of the logarithm of sigma that comes from the sample's size alone

    def at(self, e: int, density: NDArray[np.floating], pixels: Pixels = ...) -> NDArray[np.float64]:
        """Return the variance at energy index `e` of `pixels`, where the clean stack is `density`."""
        return np.asarray(
            self.energy[e] * self.pixel[pixels] * np.exp(np.interp(density, self.levels, self.log_growth))
        )


@dataclass(frozen=True, slots=True, eq=False)
class NoiseFactors:
    """Standard deviation of the noise as ``pixel * energy``, and how far that is from the truth."""

    pixel: NDArray[np.float64]  # (Y, X), geometric mean 1 within the mask
    energy: NDArray[np.float64]  # (E,), unit of the stack
    misfit: float  # rms of the logarithm of sigma less that of the product

    @property
    def level(self) -> float:
        """Mean level of the noise, unit of the stack; geometric, over pixels and energies."""
        return float(np.exp(np.mean(np.log(self.energy))))

    @property
    def unevenness(self) -> float:
        """Rms of the logarithm of the product about its mean: how far the noise is from even."""
        pixel, energy = (np.log(values[values > 0]) for values in (self.pixel, self.energy))
        return float(np.hypot(pixel.std(), energy.std()))


def separate(
    variance: Variance,
    spectra: NDArray[np.float64],
    images: NDArray[np.float32],
    *,
    mask: NDArray[np.bool_] | None = None,
    scale: int = 1,
) -> NoiseFactors:
    """Return the product of a pixel's and an energy's factor that is nearest to sigma, in logarithms.

    An energy's factor is the mean over a sample of the pixels, a pixel's that over a sample of the energies.

    Parameters
    ----------
    variance : Variance
    spectra : ndarray, shape (K, E)
    images : ndarray of float32, shape (K, Y, X)
        With the spectra, the clean stack as far as it is known.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; the others get 1.
    scale : int
        Pixels each way from one of the images' to the next; the factors are of these only.
    """
    keep = np.ones(images.shape[1:], bool) if mask is None else mask
    n_energies = spectra.shape[1]
    looked_at = np.flatnonzero(keep)[:: max(1, np.count_nonzero(keep) // N_SAMPLE[0])]
    sample = tuple(scale * along for along in np.unravel_index(looked_at, keep.shape))
    every = np.ix_(*(np.arange(0, scale * size, scale) for size in keep.shape))
    density = spectra.T @ images.reshape(len(images), keep.size)[:, looked_at]
    of_energy = np.array([0.5 * np.log(variance.at(e, density[e], sample)).mean() for e in range(n_energies)])
    of_pixel, squares = np.zeros(keep.shape), 0.0
    energies = _some_energies(n_energies)
    for e in energies:
        frame = np.tensordot(spectra[:, e].astype(np.float32), images, axes=1)
        rest = 0.5 * np.log(variance.at(e, frame, every)) - of_energy[e]
        of_pixel += rest / len(energies)
        squares += float(np.mean(rest[keep] ** 2)) / len(energies)
    misfit = np.sqrt(max(squares - float(np.mean(of_pixel[keep] ** 2)), 0.0))
    mean = of_pixel[keep].mean()
    return NoiseFactors(np.where(keep, np.exp(of_pixel - mean), 1.0), np.exp(of_energy + mean), float(misfit))


def left_uneven(
    variance: Variance,
    factors: NoiseFactors,
    spectra: NDArray[np.float64],
    images: NDArray[np.float32],
    along: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the noise of images that `along` weights in a stack that was divided by `factors`.

    It would be 1 everywhere if `factors` were all of the noise.  It changes as smoothly as the sample's
    thickness, and is interpolated between a sample of the pixels.

    Parameters
    ----------
    variance : Variance
    factors : NoiseFactors
        Of the same variance, from `separate`.
    spectra : ndarray, shape (K, E)
    images : ndarray of float32, shape (K, Y, X)
        With the spectra, the clean stack as far as it is known, not divided.
    along : ndarray, shape (R, E)
        Spectra of the divided stack, of length 1.

    Returns
    -------
    ndarray of float32, shape (R, Y, X)
        Standard deviation, in units of the mean noise.
    """
    shape = images.shape[1:]
    share = min(1.0, np.sqrt(N_UNEVEN / (shape[0] * shape[1])))
    rows, columns = ((np.arange(n) + 0.5) * size / n for size in shape if (n := max(1, round(share * size))))
    sample = np.ix_(rows.astype(np.intp), columns.astype(np.intp))
    seen, pixel = images[:, *sample], factors.pixel[sample]
    energies = _some_energies(spectra.shape[1])
    weights = along[:, energies] ** 2
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    found = np.zeros((len(along), *pixel.shape))
    for e, weight in zip(energies, weights.T, strict=True):
        frame = np.tensordot(spectra[:, e].astype(np.float32), seen, axes=1)
        relative = variance.at(e, frame, sample) / (factors.energy[e] * pixel) ** 2
        found += weight[:, None, None] * relative
    return np.array([_interpolated(np.sqrt(image), shape) for image in found], np.float32).reshape(-1, *shape)


def _some_energies(n_energies: int) -> range:
    return range(0, n_energies, max(1, n_energies // N_ENERGIES))


def fit_variance(
    stack: NDArray[np.float32],
    spectra: NDArray[np.float64],
    images: NDArray[np.float32],
    *,
    mask: NDArray[np.bool_] | None = None,
    scale: int = 1,
    whole_shape: tuple[int, ...] | None = None,
    rng: np.random.Generator,
) -> FittedVariance:
    """Fit the variance of the noise to what spectra leave over of a stack.

    What the spectra leave over holds no clean signal, whatever the images are; its squares are compared with
    the clean frames, never with the noisy ones, in whose low values the noise itself was low.  Energy,
    illumination and absorption each get a factor, fitted in turns.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Finite wherever `mask` holds.
    spectra : ndarray, shape (K, E)
        Orthonormal.
    images : ndarray of float32, shape (K, Y, X)
        Denoised.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    scale : int
        Pixels each way that were averaged, see `average_pixels`; the variance is that of
        single ones.
    whole_shape : tuple of int, optional
        (Y, X) of the stack that was averaged; that of `stack` by default.
    rng : numpy.random.Generator
        Draws the pixels that are looked at.
    """
    shape = stack.shape[1:]
    usable = np.flatnonzero(np.ones(shape, bool) if mask is None else mask)
    n_sample = min(int(np.clip(N_VALUES / len(stack), *N_SAMPLE)), usable.size)
    sample = np.sort(rng.choice(usable, n_sample, replace=False))
    noisy = stack.reshape(len(stack), -1)[:, sample]
    along = spectra.astype(np.float32)
    clean = along.T @ (images.reshape(len(images), stack[0].size)[:, sample] / np.float32(scale))
    share = 1 - np.sum(spectra**2, axis=0)  # of each energy's variance that is left over
    known = share > min(LEAST_SHARE, float(np.median(share)) / 2)
    squares = (noisy - along.T @ (along @ noisy))[known]
    squares *= squares
    squares /= share[known, None].astype(np.float32)
    clean = clean[known]
    edges = np.unique(np.quantile(clean[_some_energies(len(clean))], np.linspace(0, 1, N_LEVELS + 1)))
    level = np.clip(np.searchsorted(edges, clean, side="right") - 1, 0, max(len(edges) - 2, 0))
    centres = _mean_by(level, clean, max(len(edges) - 1, 1))
    block, grid = _blocks(sample, shape)
    energy, pixel, growth = np.ones(len(squares)), np.ones(grid[0] * grid[1]), np.ones(len(centres))
    ratio = squares  # over what is expected of them

    def cut() -> NDArray[np.float32]:
        """Return the ratio, where it is far off cut."""
        return np.asarray(np.minimum(ratio, np.float32(OUTLYING**2)))

    for turn in range(N_ROUNDS):  # each factor beside the others as they are now: they can look alike
        change = (ratio if turn == 0 else cut()).mean(axis=1, dtype=np.float64)
        energy = energy * change
        ratio = ratio / change.astype(np.float32)[:, None]
        change = _mean_by(level, cut(), len(growth))
        growth = growth * change
        ratio /= change.astype(np.float32)[level]
        change = _mean_by(block, cut().mean(axis=0, dtype=np.float64), len(pixel))
        change /= (pixel * change).mean()
        pixel = pixel * change
        ratio /= change.astype(np.float32)[block]
    error = np.sqrt((len(energy) + len(growth) + len(pixel)) / (2 * squares.size))
    illumination = _interpolated(pixel.reshape(grid), shape if whole_shape is None else whole_shape)
    energy = np.interp(np.arange(len(stack)), np.flatnonzero(known), energy)
    return FittedVariance(energy, illumination, centres, np.log(growth), float(error))


def _mean_by(index: NDArray[np.intp], values: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Return the means of `values` over equal `index`, shape (n,); 1 where there is none."""
    count = np.bincount(index.ravel(), minlength=n)
    total = np.bincount(index.ravel(), values.ravel(), minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)


def _blocks(sample: NDArray[np.intp], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], tuple[int, int]]:
    """Return the number of the block that each pixel of a sample lies in, and how many there are each way."""
    side = max(min(shape) / N_BLOCKS, 8.0)
    ny, nx = (max(1, round(size / side)) for size in shape)
    y, x = np.unravel_index(sample, shape)
    return (y * ny // shape[0]) * nx + x * nx // shape[1], (ny, nx)


def _interpolated(grid: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an image (Y, X) that is linear between the centres of blocks."""
    rows, columns = (
        np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        for size, n in zip(shape, grid.shape, strict=True)
    )
    along_x = np.stack([np.interp(columns, np.arange(grid.shape[1]), row) for row in grid])
    return np.stack([np.interp(rows, np.arange(grid.shape[0]), column) for column in along_x.T], axis=1)
