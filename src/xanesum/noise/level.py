"""Noise level from the data alone, for the whole stack and for every energy."""

from __future__ import annotations

import numpy as np
import pywt
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.linalg import solve
from scipy.optimize import brentq

from xanesum.errors import SigmaError
from xanesum.linalg.subspace import fit_basis, project

__all__ = [
    "count_above_noise",
    "estimate_sigma",
    "finest_diagonal",
    "marchenko_pastur_median",
    "median_sigma",
    "noise_reach",
    "sigma_of_pixels",
    "sigma_per_energy",
    "sigma_sample",
    "wavelet_sigma",
]

MIN_ENERGIES = 12  # below this the median singular value is a signal's
MAD_TO_SIGMA = 0.6744897501960817  # median of |z| for standard normal z
MOST_ENERGIES = 256  # that are looked at of a sample; the others' noise is as that of those between them
PIXELS_PER_ENERGY = 20  # sample size of the Marchenko-Pastur estimate: error about 1 / sqrt(40 E^2)
MIN_PIXELS = 4000
REACH_PIXELS = 50_000  # of the strip in which the noise's correlation is measured
REACH_ENERGIES = 100  # ... at so many energies or up to twice as many
CORRELATED = 0.05  # correlation between pixels from which on it counts
MOST_REACH = 8
LEAST_SHARE = 0.03  # of an energy's sigma that a fit must leave, to know it from the rest
LEAST_EIGENVALUE = 0.1  # of the largest, up to which what a fit spreads cannot be put back
LEFT_VALUES = 10_000_000  # of a sample of pixels, from which sigma at each energy is told ...
LEFT_PIXELS = 10_000, 20_000  # ... at least and at most
FEW_FRAMES = 32  # worked on at once, so that they stay in the cache


def estimate_sigma(
    stack: NDArray[np.floating], *, mask: NDArray[np.bool_] | None = None, rng: np.random.Generator
) -> float:
    """Estimate the standard deviation of white noise in `stack`.

    The median singular value of a random sample of pixels is compared with that of a noise matrix
    (Marchenko-Pastur law, as in [1]_), after removing the singular values that stand above the noise.
    Pixels drawn at random are far apart, so that noise correlated between neighbours is taken right too.
    With fewer than 12 energies, or few pixels, the finest wavelet coefficients (`wavelet_sigma`) of what the
    stronger half of the components leaves over are used.

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
    """Draw the pixels, flat indices (n,), from which `estimate_sigma` tells sigma; none where it needs all.

    Raises
    ------
    SigmaError
        If fewer than two pixels of `mask` (Y, X) are usable.
    """
    usable = np.flatnonzero(mask)
    if usable.size < 2:
        raise SigmaError(
            f"sigma cannot be estimated from {usable.size} usable pixels; give it (sigma=, --sigma)"
        )
    if n_energies < MIN_ENERGIES or usable.size < 2 * min(n_energies, MOST_ENERGIES):
        return usable[:0]
    n_sample = min(usable.size, max(PIXELS_PER_ENERGY * min(n_energies, MOST_ENERGIES), MIN_PIXELS))
    return np.sort(rng.choice(usable, n_sample, replace=False))


def sigma_of_pixels(pixels: NDArray[np.floating]) -> float:
    """Return sigma of the noise in pixels (E, n) from `sigma_sample`."""
    unused = np.random.default_rng(0)  # the Gram route draws nothing
    pixels = pixels[:: -(-len(pixels) // MOST_ENERGIES)]
    values = fit_basis(pixels[:, None, :], rng=unused, route="gram").singular_values ** 2
    return _sigma_from_spectrum(values, pixels.shape[1])


def marchenko_pastur_median(beta: float) -> float:
    """Median of the Marchenko-Pastur law for aspect ratio ``0 < beta <= 1`` and unit variance."""
    low, high = (1 - np.sqrt(beta)) ** 2, (1 + np.sqrt(beta)) ** 2

    def share_below(angle: float) -> float:
        # x = mid - half cos(t) takes the square-root ends of the density away
        mid, half = (low + high) / 2, (high - low) / 2
        density = lambda t: (half * np.sin(t)) ** 2 / (2 * np.pi * beta * (mid - half * np.cos(t)))  # noqa: E731
        return float(quad(density, 0.0, angle)[0])

    angle = brentq(lambda t: share_below(t) - 0.5 * share_below(np.pi), 0.0, np.pi, xtol=1e-12)
    return float((low + high) / 2 - (high - low) / 2 * np.cos(angle))


def count_above_noise(singular_values: NDArray[np.floating], shape: tuple[int, int], sigma: float) -> int:
    """Count singular values of a matrix of `shape` (E, n) above the largest that noise alone reaches."""
    n_energies, n_pixels = shape
    return int(np.count_nonzero(singular_values > 1.02 * sigma * (np.sqrt(n_pixels) + np.sqrt(n_energies))))


def wavelet_sigma(
    stack: NDArray[np.floating], *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Estimate sigma of each frame, shape (E,), from the median of its finest diagonal wavelet coefficients.

    Robust against edges, which are few; too large where a frame has structure in every pixel.  Coefficients
    that touch a pixel outside `mask` are left out.

    References
    ----------
    D. L. Donoho, I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage",
    Biometrika 81 (1994) 425-455.
    """
    return np.array([median_sigma(frame) for frame in finest_diagonal(stack, mask=mask)])


def median_sigma(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of normal values about 0 from the median of their sizes."""
    return float(np.median(np.abs(values))) / MAD_TO_SIGMA


def finest_diagonal(
    stack: NDArray[np.floating], *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.floating]:
    """Return the finest diagonal wavelet coefficients (E, n) of frames (E, Y, X); differences of a line's.

    Those that touch a pixel outside `mask` are left out, unless all do.
    """
    bad = np.zeros(stack.shape[1:], bool) if mask is None else ~mask
    if min(stack.shape[1:]) < 2:
        line = bad.ravel()
        keep = ~(line[1:] | line[:-1]) if not (line[1:] | line[:-1]).all() else ~line[1:]
        return np.asarray(np.diff(stack.reshape(len(stack), -1), axis=1)[:, keep] / np.sqrt(2))
    touched = bad[:-1:2, :-1:2] | bad[1::2, :-1:2] | bad[:-1:2, 1::2] | bad[1::2, 1::2]
    ny, nx = 2 * touched.shape[0], 2 * touched.shape[1]
    keep = ~touched if not touched.all() else np.ones_like(touched)
    return np.array([pywt.dwt2(frame[:ny, :nx], "haar")[1][2][keep] for frame in stack])


def sigma_per_energy(
    stack: NDArray[np.floating],
    spectra: NDArray[np.floating],
    *,
    mask: NDArray[np.bool_] | None = None,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Estimate sigma at each energy, shape (E,), from what `spectra` (K, E) leave over in a sample of pixels.

    The fit takes a share of each energy's noise and spreads some of it over the others: with ``Q = 1 - U U'``
    the residual's variance is ``(Q * Q) @ sigma**2``, element by element, which is solved for sigma.  NaN
    where the fit leaves next to nothing.

    Parameters
    ----------
    stack : ndarray, shape (E, Y, X)
        Finite wherever `mask` holds.
    spectra : ndarray, shape (K, E)
        Orthonormal.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    rng : numpy.random.Generator
        Draws the sample: 20000 pixels, which know sigma to 0.6 %, or half as many of many energies.
    """
    known = _noise_share(spectra) > LEAST_SHARE
    if len(spectra) >= len(stack) or not known.any():
        return np.full(len(stack), np.nan)
    usable = np.flatnonzero(np.ones(stack[0].size, bool) if mask is None else mask.ravel())
    n_pixels = int(np.clip(LEFT_VALUES / len(stack), *LEFT_PIXELS))
    sample = np.sort(rng.choice(usable, min(n_pixels, usable.size), replace=False))
    left_over = _sizes_left_over(stack.reshape(len(stack), -1)[:, sample], spectra) ** 2
    alone = left_over / np.maximum(_noise_share(spectra), LEAST_SHARE) ** 2  # as if all had the same noise
    spread = (np.eye(len(stack)) - spectra.T @ spectra) ** 2
    correction = _solved(spread, left_over - spread @ alone)
    return np.where(known, np.sqrt(np.maximum(alone + correction, 0)), np.nan)


def _sizes_left_over(pixels: NDArray[np.floating], spectra: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the standard deviation (E,) of what `spectra` (K, E) leave of pixels (E, n), which are spent."""
    images = project(spectra, pixels[:, None, :])[:, 0]
    middle, found = pixels.shape[1] // 2, np.zeros(len(pixels))
    for start in range(0, len(pixels), FEW_FRAMES):
        some = slice(start, start + FEW_FRAMES)
        left = pixels[some]
        left -= spectra[:, some].T.astype(pixels.dtype) @ images
        np.abs(left, out=left)
        left.partition(middle, axis=1)
        found[some] = left[:, middle]
    return found / MAD_TO_SIGMA


def _solved(spread: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x of ``spread @ x = values``, without what `spread` has singular values below a tenth for."""
    diagonal = np.diag(spread)
    if (2 * diagonal - spread.sum(axis=1)).min() > LEAST_EIGENVALUE * spread.sum(axis=1).max():  # Gershgorin
        return np.asarray(solve(spread, values, assume_a="pos", check_finite=False))
    return np.asarray(np.linalg.lstsq(spread, values, rcond=LEAST_EIGENVALUE)[0])


def noise_reach(
    stack: NDArray[np.floating],
    axis: int,
    *,
    rank: int,
    mask: NDArray[np.bool_] | None = None,
    rng: np.random.Generator,
) -> int:
    """Return over how many pixels along `axis` the noise of a stack (E, Y, X) is correlated; 0 if white.

    The autocorrelation of what `rank` components leave over of a strip through the middle of the images, at a
    hundred or two of the energies.  A camera that spreads light, and images that were resampled, have noise
    that reaches one or two pixels.

    Parameters
    ----------
    stack : ndarray, shape (E, Y, X)
        Finite wherever `mask` holds.
    axis : {1, 2}
        Along y or x.
    rank : int
        Components that are taken away first.
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
    """Return what a fit of `spectra` (K, E) leaves of a stack (E, Y, X)."""
    return stack - np.tensordot(spectra.T.astype(stack.dtype), project(spectra, stack), axes=1)


def _noise_share(spectra: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how much of sigma is left at each energy, shape (E,), after a fit of `spectra`."""
    return np.asarray(np.sqrt(np.clip(1 - np.sum(np.asarray(spectra, np.float64) ** 2, axis=0), 1e-6, 1)))


def _sigma_of_few_energies(
    stack: NDArray[np.floating], mask: NDArray[np.bool_] | None, rng: np.random.Generator
) -> float:
    n_removed = min(len(stack), stack[0].size if mask is None else int(np.count_nonzero(mask))) // 2
    if not n_removed:
        return float(np.median(wavelet_sigma(stack, mask=mask)))
    spectra = fit_basis(stack, n_removed, mask=mask, route="gram", rng=rng).spectra
    left_over = wavelet_sigma(_residual(stack, spectra), mask=mask)
    return float(np.sqrt(np.sum(left_over**2) / np.sum(_noise_share(spectra) ** 2)))


def _sigma_from_spectrum(values: NDArray[np.float64], n_pixels: int) -> float:
    """Sigma from the squared singular values (E,), descending, of an (E, n_pixels) matrix."""
    n_signal = 0
    sigma = 0.0
    for _ in range(20):
        noise_values = values[n_signal:]
        median = marchenko_pastur_median(len(noise_values) / n_pixels)
        sigma = float(np.sqrt(max(np.median(noise_values), 0.0) / (n_pixels * median)))
        found = min(count_above_noise(np.sqrt(values), (len(values), n_pixels), sigma), len(values) // 2)
        if found == n_signal:
            break
        n_signal = found
    return sigma
