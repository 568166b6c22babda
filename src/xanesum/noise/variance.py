"""Variance of noise that differs between pixels and between energies, and factors that make it even."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import EllipsisType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.binning import interpolate_blocks
from xanesum.noise.detector import LEAST_PHOTONS, log_of_counts

__all__ = [
    "CountVariance",
    "FittedVariance",
    "NoiseFactors",
    "Variance",
    "fit_variance",
    "left_uneven",
    "separate",
]

# --- Noise of the logarithm of counts
PHOTONS = 0.01, 1e9  # photons; range of the table of the logarithm's variance
DARKEST = 4.0  # the table begins this many standard deviations of read noise below the linear range
N_NODES = 15  # of the quadrature over the noise
LOWEST = 0.05  # counts that have a logarithm are not taken below this part of their mean

# --- Variance fitted to a stack
N_VALUES = 5_000_000  # values of the sample, about: pixels times energies
N_SAMPLE = 5_000, 40_000  # pixels of the sample, at least and at most
N_LEVELS = 24  # intervals of optical density; the variance is interpolated between them
N_BLOCKS = 6  # blocks along the shorter side of the image; illumination is interpolated between them
BLOCK_PX = 8.0  # pixels along the side of such a block, at least
N_ROUNDS = 6  # times that each factor is fitted
LEAST_SHARE = 0.25  # part of an energy's variance that spectra must leave; otherwise it is interpolated
OUTLYING = 5.0  # standard deviations; larger residuals are cut to this

# --- Factors of pixels and energies
N_ENERGIES = 100  # energies from which the factors of pixels are taken, or up to twice as many
N_UNEVEN = 50_000  # pixels in which the rest is computed; it is interpolated between them


Pixels = tuple[NDArray[np.intp], ...] | EllipsisType  # an index of an image (Y, X)


class Variance(Protocol):
    """Variance of the noise as a function of energy, pixel and optical density."""

    @property
    def error(self) -> float:
        """Rms error of the logarithm of sigma, as far as it comes from the size of the sample."""
        ...

    def at(self, e: int, density: NDArray[np.floating], pixels: Pixels = ...) -> NDArray[np.float64]:
        """Return the variance at energy index `e` of `pixels`, where the clean stack is `density`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CountVariance:
    """Variance of an optical density from the law of the camera's noise.

    The clean stack means the mean of noisy ones here.  In the dark, this is not the optical density of the
    mean counts.
    """

    gain: NDArray[np.float64]  # (E,), unit of the counts
    read_variance: NDArray[np.float64]  # (E,), squared unit of the counts
    light: NDArray[np.float64]  # (Y, X), counts without the sample, at the mean energy
    light_energy: NDArray[np.float64]  # (E,), the same at each energy, relative to the mean
    linear_below: float = 0.0  # counts; below this the optical density is linear in the counts
    error: float = 0.0  # rms error of the logarithm of sigma from the size of the sample

    def at(self, e: int, density: NDArray[np.floating], pixels: Pixels = ...) -> NDArray[np.float64]:
        """Return the variance at energy index `e` of `pixels`, where the clean stack is `density`."""
        log_counts = np.log(self.light[pixels] * self.light_energy[e]) - np.asarray(density, np.float64)
        table = _scatter_of_logarithm(self.gain[e], self.read_variance[e], self.linear_below)
        return np.asarray(np.interp(log_counts, *table))


@lru_cache(maxsize=4096)
def _scatter_of_logarithm(
    gain: float, read_variance: float, linear_below: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means of the logarithm of counts, increasing, and its variances.

    Where noise is a good part of the counts, the variance is larger than that of the counts over the square
    of their mean.  The mean of the logarithm, to which a denoised stack tends, is then not the logarithm of
    the mean.
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
    logarithms = log_of_counts(counts, gain / 2, linear_below, counts < linear_below)
    first, second = (logarithms**power @ weights / weights.sum() for power in (1, 2))
    return first, second - first**2


@dataclass(frozen=True, slots=True, eq=False)
class FittedVariance:
    """Variance as a product of three factors: of energy, smooth illumination, and optical density."""

    variance_energy: NDArray[np.float64]  # (E,), squared unit of the stack
    relative_pixel: NDArray[np.float64]  # (Y, X), mean 1
    levels: NDArray[np.float64]  # (L,), increasing, unit of the stack
    log_growth: NDArray[np.float64]  # (L,), logarithm of the factor of optical density at these levels
    error: float = 0.0  # rms error of the logarithm of sigma from the size of the sample

    def at(self, e: int, density: NDArray[np.floating], pixels: Pixels = ...) -> NDArray[np.float64]:
        """Return the variance at energy index `e` of `pixels`, where the clean stack is `density`."""
        return np.asarray(
            self.variance_energy[e]
            * self.relative_pixel[pixels]
            * np.exp(np.interp(density, self.levels, self.log_growth))
        )


@dataclass(frozen=True, slots=True, eq=False)
class NoiseFactors:
    """Standard deviation of the noise as ``sigma_pixel * sigma_energy``, and the error of this product."""

    sigma_pixel: NDArray[np.float64]  # (Y, X), geometric mean 1 within the mask
    sigma_energy: NDArray[np.float64]  # (E,), unit of the stack
    misfit: float  # rms difference between the logarithms of sigma and of the product

    @property
    def level(self) -> float:
        """Mean level of the noise, unit of the stack; geometric, over pixels and energies."""
        return float(np.exp(np.mean(np.log(self.sigma_energy))))

    @property
    def unevenness(self) -> float:
        """Rms deviation of the logarithm of the product from its mean; 0 for even noise."""
        pixel, energy = (np.log(sigma[sigma > 0]) for sigma in (self.sigma_pixel, self.sigma_energy))
        return float(np.hypot(pixel.std(), energy.std()))


def separate(
    variance: Variance,
    spectra: NDArray[np.float64],
    images: NDArray[np.float32],
    *,
    mask: NDArray[np.bool_] | None = None,
    scale: int = 1,
) -> NoiseFactors:
    """Return the product of a factor of the pixel and one of the energy that is nearest to sigma.

    Nearest is meant in logarithms.  The factor of an energy is the mean over a sample of the pixels, that of
    a pixel the mean over a sample of the energies.

    Parameters
    ----------
    variance : Variance
    spectra : ndarray, shape (K, E)
    images : ndarray of float32, shape (K, Y, X)
        With the spectra, the best estimate of the clean stack.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; the others get 1.
    scale : int
        Distance, in pixels of the stack, between neighbouring pixels of the images.  Factors are returned
        for the pixels of the images.
    """
    keep = np.ones(images.shape[1:], bool) if mask is None else mask
    n_energies = spectra.shape[1]
    chosen = np.flatnonzero(keep)[:: max(1, np.count_nonzero(keep) // N_SAMPLE[0])]
    sample = tuple(scale * along for along in np.unravel_index(chosen, keep.shape))
    every = np.ix_(*(np.arange(0, scale * size, scale) for size in keep.shape))
    density = spectra.T @ images.reshape(len(images), keep.size)[:, chosen]
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
    """Return the noise of the images of some spectra, in a stack that was divided by `factors`.

    It would be 1 everywhere if the noise were exactly the product of `factors`.  It is as smooth as the
    sample's thickness, so it is computed in some pixels and interpolated between them.

    Parameters
    ----------
    variance : Variance
    factors : NoiseFactors
        Of the same variance, from `separate`.
    spectra : ndarray, shape (K, E)
    images : ndarray of float32, shape (K, Y, X)
        With the spectra, the best estimate of the clean stack, not divided.
    along : ndarray, shape (R, E)
        Spectra of the divided stack, of length 1; the images are its inner products with them.

    Returns
    -------
    ndarray of float32, shape (R, Y, X)
        Standard deviation, in units of the mean noise.
    """
    shape = images.shape[1:]
    share = min(1.0, np.sqrt(N_UNEVEN / (shape[0] * shape[1])))
    rows, columns = ((np.arange(n) + 0.5) * size / n for size in shape if (n := max(1, round(share * size))))
    sample = np.ix_(rows.astype(np.intp), columns.astype(np.intp))
    seen, pixel = images[:, *sample], factors.sigma_pixel[sample]
    energies = _some_energies(spectra.shape[1])
    weights = along[:, energies] ** 2
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    found = np.zeros((len(along), *pixel.shape))
    for e, weight in zip(energies, weights.T, strict=True):
        frame = np.tensordot(spectra[:, e].astype(np.float32), seen, axes=1)
        relative = variance.at(e, frame, sample) / (factors.sigma_energy[e] * pixel) ** 2
        found += weight[:, None, None] * relative
    return np.array([_interpolated(np.sqrt(image), shape) for image in found], np.float32).reshape(-1, *shape)


def _some_energies(n_energies: int) -> range:
    """Return equally spaced energy indices: all, or `N_ENERGIES` to twice as many."""
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
    """Fit the variance of the noise to the residual of a fit of spectra.

    The residual holds no clean signal, whatever the images are.  Its squares are compared with the clean
    frames.  The noisy frames would bias the fit: where they are low, the noise itself was low.  The factors
    of energy, illumination and optical density are fitted in turns.

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
        Side of the blocks of pixels over which the stack was averaged, see `average_pixels`.  The variance
        is that of single pixels.
    whole_shape : tuple of int, optional
        (Y, X) before averaging; that of `stack` by default.
    rng : numpy.random.Generator
        Draws the sample of pixels.
    """
    shape = stack.shape[1:]
    usable = np.flatnonzero(np.ones(shape, bool) if mask is None else mask)
    n_sample = min(int(np.clip(N_VALUES / len(stack), *N_SAMPLE)), usable.size)
    sample = np.sort(rng.choice(usable, n_sample, replace=False))
    squares, clean, known = _residual_squares(stack, spectra, images, sample, scale)
    edges = np.unique(np.quantile(clean[_some_energies(len(clean))], np.linspace(0, 1, N_LEVELS + 1)))
    level = np.clip(np.searchsorted(edges, clean, side="right") - 1, 0, max(len(edges) - 2, 0))
    centres = _mean_by(level, clean, max(len(edges) - 1, 1))
    block, grid = _blocks(sample, shape)
    energy, growth, pixel = _fit_factors(squares, level, len(centres), block, grid[0] * grid[1])
    error = np.sqrt((len(energy) + len(growth) + len(pixel)) / (2 * squares.size))
    illumination = _interpolated(pixel.reshape(grid), shape if whole_shape is None else whole_shape)
    energy = np.interp(np.arange(len(stack)), np.flatnonzero(known), energy)
    return FittedVariance(energy, illumination, centres, np.log(growth), float(error))


def _residual_squares(
    stack: NDArray[np.float32],
    spectra: NDArray[np.float64],
    images: NDArray[np.float32],
    sample: NDArray[np.intp],
    scale: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return squares of the residual (E', n), clean values (E', n), and which energies (E,) are among E'.

    Energies at which the fit leaves too little of the noise are left out.
    """
    noisy = stack.reshape(len(stack), -1)[:, sample]
    along = spectra.astype(np.float32)
    clean = along.T @ (images.reshape(len(images), stack[0].size)[:, sample] / np.float32(scale))
    share = 1 - np.sum(spectra**2, axis=0)  # part of each energy's variance that the fit leaves
    known = share > min(LEAST_SHARE, float(np.median(share)) / 2)
    squares = (noisy - along.T @ (along @ noisy))[known]
    squares *= squares
    squares /= share[known, None].astype(np.float32)
    return squares, clean[known], known


def _fit_factors(
    squares: NDArray[np.float32],
    level: NDArray[np.intp],
    n_levels: int,
    block: NDArray[np.intp],
    n_blocks: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return factors of energy (E',), optical density (n_levels,) and illumination (n_blocks,).

    `level` (E', n) and `block` (n,) say to which interval and to which block each of `squares` (E', n)
    belongs.
    """
    energy, growth, pixel = np.ones(len(squares)), np.ones(n_levels), np.ones(n_blocks)
    ratio = squares  # squares over their expected value

    def cut() -> NDArray[np.float32]:
        """Return the ratio, with outliers cut."""
        return np.asarray(np.minimum(ratio, np.float32(OUTLYING**2)))

    for turn in range(N_ROUNDS):  # each factor is fitted with the others as they are: they can look alike
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
    return energy, growth, pixel


def _mean_by(index: NDArray[np.intp], values: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Return the mean of the `values` of each `index` from 0 to n - 1, shape (n,); 1 where it has none."""
    count = np.bincount(index.ravel(), minlength=n)
    total = np.bincount(index.ravel(), values.ravel(), minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)


def _interpolated(means: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an image of `shape` from means over blocks, along x first, as earlier versions did."""
    return np.ascontiguousarray(interpolate_blocks(means.T, shape[::-1]).T)


def _blocks(sample: NDArray[np.intp], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], tuple[int, int]]:
    """Return the block number (n,) of each pixel of a sample, and the number of blocks along y and x."""
    side = max(min(shape) / N_BLOCKS, BLOCK_PX)
    ny, nx = (max(1, round(size / side)) for size in shape)
    y, x = np.unravel_index(sample, shape)
    return (y * ny // shape[0]) * nx + x * nx // shape[1], (ny, nx)
