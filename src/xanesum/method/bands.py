"""Weak spectra from all of the data: images along likely spectra, compared with noise scale by scale.

Averages over blocks of pixels, over blocks twice as large, and so on, hold the images in bands of detail.  A
weak component adds its own variance to each band, along one spectrum that all bands share.  The likelihood of
this finds it with all pixels at once (factor analysis with common loadings; spectral matching in [1]_).

References
----------
.. [1] J. Delabrouille, J.-F. Cardoso, G. Patanchon, "Multidetector multicomponent spectral matching and
   applications for cosmic microwave background data analysis", Mon. Not. R. Astron. Soc. 346 (2003) 1089.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from xanesum.linalg.binning import block_sums

__all__ = ["BANDS_PX", "Bands", "apart", "chance_of_gain", "most_likely", "possible_power", "pyramid"]

BANDS_PX = (1, 2, 4, 8, 16, 32)  # sides of the blocks, each twice that before
CORRELATED = 0.7  # a band has fewer numbers if the noise says less than this share of them; more is chance
MIN_PAIRS = 30  # ordered pairs of images of noise from which that is told
N_STARTS = 3  # sets of bands from which the search begins
MOST_TURNS = 40  # of the search, at most
SETTLED = 1e-8  # change of the spectrum at which it stops
N_DRAWS = 24  # of noise, to see which gains it gives
FEW_DRAWS = 6  # enough where noise often gives as much, ...
OFTEN = 0.2  # which is this probability at least
HIDDEN = 0.5  # share of the power that noise could hide in a band which is taken to be there ...
SEEN = 1.0, 3.0  # ... if less than the first number of standard deviations is seen; all from the second on
LEAST_WIDTH = 1.0  # of the law of these gains: a likelihood ratio of noise falls no faster
EULER = 0.5772156649  # the Euler-Mascheroni constant: mean of a Gumbel law of width 1


def pyramid(
    images: NDArray[np.float32], weights: NDArray[np.float32], scales: Sequence[int] = BANDS_PX
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yield weighted averages (M, Y', X') over blocks of pixels, and the number of blocks that count."""
    sums, squares, before = images * weights, np.square(weights), 1
    for scale in scales:
        if scale > 1 and 2 * scale > min(weights.shape):
            break
        sums, squares = (block_sums(each, scale // before) for each in (sums, squares))
        before = scale
        size = np.sqrt(np.where(squares > 0, squares, 1))
        yield np.asarray(sums / size, np.float32), int(np.count_nonzero(squares))


def apart(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each band adds to the next coarser one, from sums (B, ...) over all that is as coarse."""
    return np.concatenate([sums[:-1] - sums[1:], sums[-1:]])


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Inner products of some images, apart for each band of detail, from fine to coarse."""

    grams: NDArray[np.float64]  # (B, M, M)
    counts: NDArray[np.float64]  # (B,), how many numbers each image has in each band

    @classmethod
    def of(
        cls, images: NDArray[np.float32], weights: NDArray[np.float32], scales: Sequence[int] = BANDS_PX
    ) -> Bands:
        """Take the bands of images (M, Y, X); pixels count by `weights` (Y, X), 0 where they do not.

        An average over a block is the inner product with the weights there, of length 1: white noise stays
        white, and nothing is counted in two bands.
        """
        grams, counts = [], []
        for averages, count in pyramid(images, weights, scales):
            flat = averages.reshape(len(images), -1).astype(np.float64)
            grams.append(flat @ flat.T)
            counts.append(float(count))
        within, n_within = apart(np.array(grams)), apart(np.array(counts))
        known = n_within > 0
        return cls(within[known], n_within[known])

    def compared_with(self, noise: Bands) -> Bands:
        """Return the same in units of the variance of some images of noise, band by band.

        Where their products scatter more than those of independent pixels, a band counts as fewer numbers.
        """
        n_images = noise.grams.shape[1]
        variance = np.einsum("bii->b", noise.grams) / (noise.counts * n_images)
        products = noise.grams / np.maximum(variance * noise.counts, np.finfo(float).tiny)[:, None, None]
        n_pairs = n_images * (n_images - 1)
        scatter = (np.sum(products**2, axis=(1, 2)) - np.einsum("bii->b", products**2)) / max(n_pairs, 1)
        share = 1 / np.maximum(scatter * noise.counts, np.finfo(float).tiny)
        kept = np.where((share < CORRELATED) & (n_pairs >= MIN_PAIRS), share, 1.0)
        unit = np.maximum(variance, np.finfo(float).tiny) / kept
        return Bands(self.grams / unit[:, None, None], self.counts * kept)


def most_likely(
    bands: Bands, root: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the gain in log likelihood by one component, its spectrum (M,) and its powers (B,).

    Parameters
    ----------
    bands : Bands
        Of images along M orthonormal spectra, in units of the noise.
    root : ndarray, shape (M, R)
        Root of the prior covariance of the component's spectrum, in the same M coordinates.
    """
    best = (0.0, root[:, 0] / np.linalg.norm(root[:, 0]), np.zeros(len(bands.counts)))
    for start in range(1, N_STARTS + 1):
        n_first = max(2, -(-start * len(bands.counts) // N_STARTS))
        found = _climb(bands, root, n_first)
        if found[0] > best[0]:
            best = found
    return best


def _climb(
    bands: Bands, root: NDArray[np.float64], n_first: int
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Find spectrum and powers in turns, from the coarsest `n_first` bands on."""
    counts, spectrum = bands.counts, np.zeros(len(root))
    weight = np.zeros(len(counts))
    weight[-n_first:] = 1
    power, seen = np.zeros(len(counts)), np.zeros(len(counts))
    for _ in range(MOST_TURNS):
        excess = np.tensordot(weight, bands.grams, axes=1)
        excess[np.diag_indices_from(excess)] -= weight @ counts
        new = root @ np.linalg.eigh(root.T @ excess @ root)[1][:, -1]
        new /= max(float(np.linalg.norm(new)), np.finfo(float).tiny)
        seen = np.einsum("i,bij,j->b", new, bands.grams, new)
        power = np.maximum(0, seen / counts - 1)
        weight = power / (1 + power)
        same = abs(new @ spectrum) > 1 - SETTLED
        spectrum = new
        if same or not weight.any():
            break
    gain = 0.5 * float(np.sum(seen * weight - counts * np.log1p(power)))
    return gain, spectrum, power


def possible_power(bands: Bands, along: NDArray[np.float64]) -> float:
    """Return the expected sum of squares of a component along one spectrum (M,) that noise may hide.

    Each band has a measured power, uncertain by the scatter of noise, and a true one that is not negative:
    the mean of a normal law cut off at 0.  Powers that noise would not hide are found as components.
    """
    measured = np.einsum("i,bij,j->b", along, bands.grams, along) - bands.counts
    scatter = np.sqrt(2 * bands.counts)
    ratio = measured / scatter
    expected = scatter * (ratio + np.exp(norm.logpdf(ratio) - norm.logcdf(ratio)))
    return float(np.sum(np.interp(ratio, SEEN, (HIDDEN, 1.0)) * expected))


def chance_of_gain(
    gain: float, counts: NDArray[np.float64], root: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Return the probability that `most_likely` finds as large a gain in noise (Gumbel law, fitted to draws).

    Parameters
    ----------
    gain : float
    counts : ndarray, shape (B,)
        Numbers in each band.
    root : ndarray, shape (M, R)
        As in `most_likely`.
    rng : numpy.random.Generator
        Draws the noise.
    """
    drawn: list[float] = []
    p_value = 1.0
    while len(drawn) < FEW_DRAWS or (len(drawn) < N_DRAWS and p_value < OFTEN):
        grams = np.array([_wishart(max(1, round(count)), len(root), rng) for count in counts])
        drawn.append(most_likely(Bands(grams, counts), root)[0])
        if len(drawn) >= FEW_DRAWS:
            width = max(float(np.std(drawn, ddof=1)) * np.sqrt(6) / np.pi, LEAST_WIDTH)
            p_value = float(-np.expm1(-np.exp(-(gain - np.mean(drawn)) / width - EULER)))
    return p_value


def _wishart(n_samples: int, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the inner products (size, size) of images of noise with so many pixels (Bartlett's form)."""
    if n_samples <= size:
        noise = rng.standard_normal((size, n_samples))
    else:
        noise = np.tril(rng.standard_normal((size, size)), -1)
        noise[np.diag_indices(size)] = np.sqrt(rng.chisquare(n_samples - np.arange(size)))
    return np.asarray(noise @ noise.T)
