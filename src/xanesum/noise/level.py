"""Noise level from the data alone, for the whole stack and for every energy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.linalg import solve
from scipy.optimize import brentq

from xanesum.errors import SigmaError
from xanesum.linalg.subspace import GRAM_LIMIT, fit_basis, project

__all__ = [
    "count_above_noise",
    "estimate_sigma",
    "finest_diagonal",
    "marchenko_pastur_median",
    "median_sigma",
    "noise_rank",
    "noise_reach",
    "sigma_of_pixels",
    "sigma_per_energy",
    "sigma_sample",
    "wavelet_sigma",
]

MEDIAN_OF_NORMAL = 0.6744897501960817  # median of |z| for standard normal z

# --- One sigma for the stack (Marchenko-Pastur law)
MIN_ENERGIES = 12  # with fewer energies, or pixels, the median singular value belongs to the signal
MOST_ENERGIES = 256  # energies of the sample that are used; with more, only every second, third ... one
PIXELS_PER_ENERGY = 20  # pixels of the sample for each of E energies: relative error about 1 / sqrt(40 E^2)
MIN_PIXELS = 4000  # pixels of the sample, at least
N_TURNS = 20  # of counting the signal's singular values and measuring the noise; two or three are enough
ABOVE_NOISE = 1.02  # a signal's singular value exceeds the largest one of noise by this factor

# --- Noise of less than full rank, as of stacks that were interpolated along energy
GAP = 1e-4  # an eigenvalue this many times smaller than the one before it ends the noise
UNEVEN = 3.0  # a signal's eigenvalue exceeds the mean one of such noise by this factor
ROUNDING = 1e-12  # eigenvalues below this part of the largest are rounding of float32
FLAT = 1e3  # eigenvalues of noise differ by less than this factor, from the middle one to the last

# --- Reach of the noise
REACH_PIXELS = 50_000  # pixels of the strip in which the correlation of the noise is measured
REACH_ENERGIES = 100  # energies at which it is measured, or up to twice as many
CORRELATED = 0.05  # a correlation between pixels below this counts as none
MOST_REACH = 8  # pixels; correlation over larger distances is not looked for

# --- Sigma at each energy
LEAST_SHARE = 0.03  # part of an energy's sigma that must be left by a fit, for sigma to be known from it
LEAST_EIGENVALUE = 0.1  # singular values of the equations below this part of the largest are left out
LEFT_VALUES = 10_000_000  # values of the sample, about: pixels times energies ...
LEFT_PIXELS = 10_000, 20_000  # ... and its pixels, at least and at most
FEW_FRAMES = 32  # frames of the sample at once, so that they stay in the processor's cache


def estimate_sigma(
    stack: NDArray[np.floating], *, mask: NDArray[np.bool_] | None = None, rng: np.random.Generator
) -> float:
    """Estimate the standard deviation of white noise in `stack`.

    The singular values above the noise are left out.  The median of the others is compared with that of a
    matrix of noise (Marchenko-Pastur law, as in [1]_), in a random sample of pixels.  Such pixels are far
    apart, so the estimate is also right for noise that is correlated between neighbours.
    Pixels may be fewer than energies, as in a line scan; the law then counts the noise of n pixels.
    With fewer than 12 energies, or 12 pixels, the stronger half of the components is subtracted, and the
    finest wavelet coefficients of the residual are used (`wavelet_sigma`).

    Parameters
    ----------
    stack : ndarray, shape (E, Y, X)
        Finite wherever `mask` holds.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    rng : numpy.random.Generator
        Draws the sample of pixels.

    Returns
    -------
    float
        Sigma in the unit of the stack; 0 for a stack without noise.

    Raises
    ------
    SigmaError
        If fewer than two pixels are usable.

    References
    ----------
    .. [1] M. Gavish, D. L. Donoho, "The optimal hard threshold for singular values is 4/sqrt(3)",
       IEEE Trans. Inf. Theory 60 (2014) 5040-5053.
    """
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    sample = sigma_sample(len(stack), keep, rng)
    if sample.size:
        return sigma_of_pixels(stack.reshape(len(stack), -1)[:, sample])
    return _sigma_of_few_energies(stack, mask, rng)


def sigma_sample(n_energies: int, mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw the pixels, flat indices (n,), in which `estimate_sigma` measures sigma; none where it needs all.

    Raises
    ------
    SigmaError
        If fewer than two pixels of `mask` (Y, X) are usable.
    """
    usable = np.flatnonzero(mask)
    if usable.size < 2:
        raise SigmaError(
            f"sigma cannot be estimated from {usable.size} usable pixels; give it", parameter="sigma"
        )
    if min(n_energies, usable.size) < MIN_ENERGIES:
        return usable[:0]
    n_sample = min(usable.size, max(PIXELS_PER_ENERGY * min(n_energies, MOST_ENERGIES), MIN_PIXELS))
    return np.sort(rng.choice(usable, n_sample, replace=False))


def sigma_of_pixels(pixels: NDArray[np.floating]) -> float:
    """Return sigma of the noise in pixels (E, n) from `sigma_sample`.

    It is the root mean square of the noise of a value, also if the noise has less than full rank, see
    `noise_rank`.
    """
    pixels = pixels[:: -(-len(pixels) // MOST_ENERGIES)]
    if pixels.shape[1] < 2 * len(pixels):  # few pixels: their noise fills no more dimensions than these
        return _sigma_from_spectrum(_few_eigenvalues(pixels), max(pixels.shape))
    return _sigma_from_spectrum(_eigenvalues(pixels), pixels.shape[1])


def noise_rank(pixels: NDArray[np.floating]) -> int:
    """Return how many of the E energies of pixels (E, n) have noise of their own; E for white noise.

    Where frames were interpolated along energy, their noise is a mixture of that of fewer frames.  It is then
    correlated along energy.  The images of smooth spectra have more noise than sigma of a value tells: about
    the root of ``E / noise_rank`` times as much.

    Parameters
    ----------
    pixels : ndarray, shape (E, n)
        Some thousands of pixels, from `sigma_sample`.
    """
    if pixels.shape[1] >= len(pixels):
        return _rank_of_noise(_eigenvalues(pixels))
    found = _rank_of_noise(_few_eigenvalues(pixels))
    return found if found < pixels.shape[1] else len(pixels)  # no more can be told from so few pixels


def _eigenvalues(pixels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the squared singular values of pixels (E, n), descending."""
    unused = np.random.default_rng(0)  # the Gram route draws nothing
    return fit_basis(pixels[:, None, :], rng=unused, route="gram").singular_values ** 2


def _few_eigenvalues(pixels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the same of few pixels (E, n): min(E, n) values."""
    return np.asarray(np.linalg.svd(pixels.astype(np.float64), compute_uv=False) ** 2)


def _rank_of_noise(values: NDArray[np.float64]) -> int:
    """Return the number of eigenvalues (E,), descending, of signal and noise; the others are rounding.

    Noise ends where the eigenvalues fall to next to nothing at once.  So few values that only signal can be
    meant, or values that fall over many decades as those of signals do, do not count as noise.
    """
    end = MIN_ENERGIES + np.flatnonzero(values[MIN_ENERGIES:] <= GAP * values[MIN_ENERGIES - 1 : -1])
    if not end.size:
        return len(values)
    last = values[end[0] - 1]
    is_noise = ROUNDING * values[0] < last and values[end[0] // 2] < FLAT * last
    return int(end[0]) if is_noise else len(values)


def marchenko_pastur_median(beta: float) -> float:
    """Return the median of the Marchenko-Pastur law for aspect ratio ``0 < beta <= 1`` and unit variance.

    No library that the package needs has this law.
    """
    low, high = (1 - np.sqrt(beta)) ** 2, (1 + np.sqrt(beta)) ** 2

    def share_below(angle: float) -> float:
        # x = mid - half cos(t) removes the square roots at both ends of the density
        mid, half = (low + high) / 2, (high - low) / 2
        density = lambda t: (half * np.sin(t)) ** 2 / (2 * np.pi * beta * (mid - half * np.cos(t)))  # noqa: E731
        return float(quad(density, 0.0, angle)[0]) if angle > 0 else 0.0  # at 0 and beta 1 it is 0 / 0

    angle = brentq(lambda t: share_below(t) - 0.5 * share_below(np.pi), 0.0, np.pi, xtol=1e-12)
    return float((low + high) / 2 - (high - low) / 2 * np.cos(angle))


def count_above_noise(singular_values: NDArray[np.floating], shape: tuple[int, int], sigma: float) -> int:
    """Count the singular values of a matrix of `shape` (E, n) above the largest one of noise alone."""
    n_energies, n_pixels = shape
    largest = ABOVE_NOISE * sigma * (np.sqrt(n_pixels) + np.sqrt(n_energies))
    return int(np.count_nonzero(singular_values > largest))


def wavelet_sigma(
    stack: NDArray[np.floating], *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Estimate sigma of each frame, shape (E,), from the median of its finest diagonal wavelet coefficients.

    Edges are few and change it little.  It is too large where a frame has structure in every pixel.
    Coefficients that touch a pixel outside `mask` are left out.

    References
    ----------
    D. L. Donoho, I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage",
    Biometrika 81 (1994) 425-455.
    """
    return np.array([median_sigma(frame) for frame in finest_diagonal(stack, mask=mask)])


def median_sigma(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of normal values of mean 0, from the median of their absolute values.

    `scipy.stats.median_abs_deviation` is not used, as it measures from the median of the values.
    """
    return float(np.median(np.abs(values))) / MEDIAN_OF_NORMAL


def finest_diagonal(
    stack: NDArray[np.floating], *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.floating]:
    """Return the finest diagonal wavelet coefficients (E, n) of frames (E, Y, X).

    For frames of one row or one column, they are the differences of neighbours over the root of 2.
    Coefficients that touch a pixel outside `mask` are left out, unless all do.
    """
    bad = np.zeros(stack.shape[1:], bool) if mask is None else ~mask
    if min(stack.shape[1:]) < 2:
        line = bad.ravel()
        keep = ~(line[1:] | line[:-1]) if not (line[1:] | line[:-1]).all() else ~line[1:]
        return np.asarray(np.diff(stack.reshape(len(stack), -1), axis=1)[:, keep] / np.sqrt(2))
    touched = bad[:-1:2, :-1:2] | bad[1::2, :-1:2] | bad[:-1:2, 1::2] | bad[1::2, 1::2]
    ny, nx = 2 * touched.shape[0], 2 * touched.shape[1]
    keep = ~touched if not touched.all() else np.ones_like(touched)
    return np.array([_diagonal_of(frame[:ny, :nx])[keep] for frame in stack])


def _diagonal_of(frame: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the finest diagonal Haar coefficients of a frame with even sides.

    `pywt.dwt2` computes those of all directions, in ten times the time.
    """
    upper, lower = frame[::2], frame[1::2]
    return np.asarray((upper[:, ::2] - upper[:, 1::2] - lower[:, ::2] + lower[:, 1::2]) / 2)


def sigma_per_energy(
    stack: NDArray[np.floating],
    spectra: NDArray[np.floating],
    *,
    mask: NDArray[np.bool_] | None = None,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Estimate sigma at each energy, shape (E,), from the residual of a fit in a sample of pixels.

    The fit of `spectra` (K, E) removes a part of each energy's noise, and spreads a part over the other
    energies.  With ``Q = 1 - U U'``, the variance of the residual is ``(Q * Q) @ sigma**2``, where ``Q * Q``
    is the product element by element.  This is solved for sigma.  Energies at which next to nothing is left
    become NaN.

    Parameters
    ----------
    stack : ndarray, shape (E, Y, X)
        Finite wherever `mask` holds.
    spectra : ndarray, shape (K, E)
        Orthonormal.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    rng : numpy.random.Generator
        Draws the sample: 20000 pixels, which give sigma to 0.6 %, or half as many where energies are many.
    """
    known = _noise_share(spectra) > LEAST_SHARE
    if len(spectra) >= len(stack) or not known.any():
        return np.full(len(stack), np.nan)
    usable = np.flatnonzero(np.ones(stack[0].size, bool) if mask is None else mask.ravel())
    n_pixels = int(np.clip(LEFT_VALUES / len(stack), *LEFT_PIXELS))
    sample = np.sort(rng.choice(usable, min(n_pixels, usable.size), replace=False))
    left_over = _residual_sigma(stack.reshape(len(stack), -1)[:, sample], spectra) ** 2
    alone = left_over / np.maximum(_noise_share(spectra), LEAST_SHARE) ** 2  # for equal noise at all energies
    if len(stack) > GRAM_LIMIT:
        correction = _solved_by_parts(np.asarray(spectra, np.float64), left_over, alone)
    else:
        spread = (np.eye(len(stack)) - spectra.T @ spectra) ** 2
        correction = _solved(spread, left_over - spread @ alone)
    return np.where(known, np.sqrt(np.maximum(alone + correction, 0)), np.nan)


def _residual_sigma(pixels: NDArray[np.floating], spectra: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the standard deviation (E,) of the residual of pixels (E, n), as `median_sigma`.

    The pixels are overwritten: a copy of them, and a sorted one, would take twice the time.
    """
    images = project(spectra, pixels[:, None, :])[:, 0]
    middle, found = pixels.shape[1] // 2, np.zeros(len(pixels))
    for start in range(0, len(pixels), FEW_FRAMES):
        some = slice(start, start + FEW_FRAMES)
        left = pixels[some]
        left -= spectra[:, some].T.astype(pixels.dtype) @ images
        np.abs(left, out=left)
        left.partition(middle, axis=1)
        found[some] = left[:, middle]
    return found / MEDIAN_OF_NORMAL


def _solved(spread: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x of ``spread @ x = values``, without directions of singular values below 0.1 of the largest."""
    diagonal = np.diag(spread)
    if (2 * diagonal - spread.sum(axis=1)).min() > LEAST_EIGENVALUE * spread.sum(axis=1).max():
        # by Gershgorin's theorem no eigenvalue is small
        return np.asarray(solve(spread, values, assume_a="pos", check_finite=False))
    return np.asarray(np.linalg.lstsq(spread, values, rcond=LEAST_EIGENVALUE)[0])


def _solved_by_parts(
    spectra: NDArray[np.float64], values: NDArray[np.float64], alone: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return x (E,) of ``spread @ (alone + x) = values``, without the matrix ``spread = (1 - U' U)**2``.

    With the shares ``p = diag(U' U)``, it is ``1 - 2 p`` on the diagonal plus ``W' W``, where the rows of W
    are the products of two spectra each, so that the Woodbury identity solves it.  Rows sum up to ``1 - p``.
    By Gershgorin's theorem no eigenvalue is small if energies of large p are left out; their x is 0.
    """
    first, second = np.triu_indices(len(spectra))
    weight = np.where(first == second, 1.0, np.sqrt(2.0))[:, None]
    products = weight * spectra[first] * spectra[second]  # W
    share = np.sum(spectra**2, axis=0)
    rest = values - (1 - 2 * share) * alone - products.T @ (products @ alone)
    kept = (1 - share) * (1 - 2 * share) > LEAST_EIGENVALUE
    inverse = np.where(kept, 1 / np.where(kept, 1 - 2 * share, 1), 0)
    scaled = products * inverse
    inner = solve(np.eye(len(products)) + scaled @ products.T, scaled @ rest, assume_a="pos")
    return np.asarray(inverse * rest - scaled.T @ inner)


def noise_reach(
    stack: NDArray[np.floating],
    axis: int,
    *,
    rank: int,
    mask: NDArray[np.bool_] | None = None,
    rng: np.random.Generator,
) -> int:
    """Return how far, in pixels along `axis`, the noise of a stack (E, Y, X) is correlated; 0 if white.

    `rank` components are subtracted from a strip through the middle of the images, at one or two hundred of
    the energies, and the autocorrelation of the residual is taken.  Noise reaches one or two pixels where the
    camera spreads light, or where images were resampled.

    Parameters
    ----------
    stack : ndarray, shape (E, Y, X)
        Finite wherever `mask` holds.
    axis : {1, 2}
        Along y or x.
    rank : int
        Number of components that are subtracted first.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    rng : numpy.random.Generator
        For `xanesum.linalg.subspace.fit_basis`.

    Returns
    -------
    int
        At most 8, and at most an eighth of the image.
    """
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    length, across = stack.shape[axis], 3 - axis
    n_lines = min(stack.shape[across], max(1, REACH_PIXELS // length))
    start = (stack.shape[across] - n_lines) // 2
    every = max(1, len(stack) // REACH_ENERGIES)
    strip = np.moveaxis(stack[::every], across, 1)[:, start : start + n_lines]
    counts = np.moveaxis(keep, across - 1, 0)[start : start + n_lines]
    n_used = int(np.count_nonzero(counts))
    if n_used <= rank or rank >= len(strip):
        return 0
    spectra = fit_basis(strip, rank, mask=counts, rng=rng).spectra
    residual = np.where(counts, _residual(strip, spectra), 0)
    power = np.sum(np.square(residual, dtype=np.float64)) / n_used
    reach = 0
    for lag in range(1, min(MOST_REACH, length // 8) + 1):
        pairs = int(np.count_nonzero(counts[:, lag:] & counts[:, :-lag]))
        product = np.sum(residual[:, :, lag:] * residual[:, :, :-lag], dtype=np.float64)
        if not pairs or not abs(product / pairs) > CORRELATED * power:
            break
        reach = lag
    return reach


def _residual(stack: NDArray[np.floating], spectra: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the residual of a fit of `spectra` (K, E) to a stack (E, Y, X)."""
    return stack - np.tensordot(spectra.T.astype(stack.dtype), project(spectra, stack), axes=1)


def _noise_share(spectra: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the part of sigma, shape (E,), that is left at each energy after a fit of `spectra`."""
    return np.asarray(np.sqrt(np.clip(1 - np.sum(np.asarray(spectra, np.float64) ** 2, axis=0), 1e-6, 1)))


def _sigma_of_few_energies(
    stack: NDArray[np.floating], mask: NDArray[np.bool_] | None, rng: np.random.Generator
) -> float:
    """Return sigma from the finest wavelet coefficients, after subtracting half of the components."""
    n_removed = min(len(stack), stack[0].size if mask is None else int(np.count_nonzero(mask))) // 2
    if not n_removed:
        return float(np.median(wavelet_sigma(stack, mask=mask)))
    spectra = fit_basis(stack, n_removed, mask=mask, route="gram", rng=rng).spectra
    left_over = wavelet_sigma(_residual(stack, spectra), mask=mask)
    return float(np.sqrt(np.sum(left_over**2) / np.sum(_noise_share(spectra) ** 2)))


def _sigma_from_spectrum(values: NDArray[np.float64], n_pixels: int) -> float:
    """Return sigma from the squared singular values (E,), descending, of a matrix (E, n_pixels)."""
    rank = _rank_of_noise(values)
    if rank < len(values):
        return _sigma_of_low_rank(values, rank, n_pixels)
    n_signal = 0
    sigma = 0.0
    for _ in range(N_TURNS):
        noise_values = values[n_signal:]
        median = marchenko_pastur_median(len(noise_values) / n_pixels)
        sigma = float(np.sqrt(max(np.median(noise_values), 0.0) / (n_pixels * median)))
        found = min(count_above_noise(np.sqrt(values), (len(values), n_pixels), sigma), len(values) // 2)
        if found == n_signal:
            break
        n_signal = found
    return sigma


def _sigma_of_low_rank(values: NDArray[np.float64], rank: int, n_pixels: int) -> float:
    """Return the rms noise of a value from squared singular values (E,), of which `rank` are not rounding.

    The values of the noise differ, as interpolation damps some more than others.  So their mean is taken, and
    only values far above it count as signal.  The noise in the signal's dimensions is taken as this mean.
    """
    n_signal, mean = 0, float(np.median(values[:rank]))
    for _ in range(N_TURNS):
        largest = UNEVEN * mean * (1 + np.sqrt(rank / n_pixels)) ** 2
        found = min(int(np.count_nonzero(values > largest)), rank // 2)
        mean = float(np.mean(values[found:rank]))
        if found == n_signal:
            break
        n_signal = found
    return float(np.sqrt(mean / n_pixels * rank / len(values)))
