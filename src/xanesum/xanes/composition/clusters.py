"""Regions of one chemical state: clusters of pixels, with their number, mean spectra and errors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from xanesum.errors import MissingExtraError, RecipeError, StackError
from xanesum.result import Denoised
from xanesum.xanes.composition.fractions import spectra_with_noise
from xanesum.xanes.composition.reference_fit import BACKGROUNDS, FitOptions
from xanesum.xanes.composition.states import States, states_of
from xanesum.xanes.normalization import Range
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["METHODS", "find_clusters"]

Array = NDArray[np.float64]

METHODS = ("kmeans", "gaussian_mixture")
AT_MOST = 8
SAMPLE_PIXELS = 10_000  # pixels in which the clusters are found; all are assigned to them
GOOD_SHARE = 0.7  # share of the pixels, those of the smallest errors, that the sample is taken from
STARTS = 6  # of each number of clusters
ROUNDS = 30  # of assignment and means, at most
BLOCK_PIXELS = 65_536
APART = 3.0  # distance in errors of a pixel below which states of two clusters are hardly different
FEWEST = 3  # pixels of a cluster


@dataclass(frozen=True, slots=True, eq=False)
class _Clustering:
    """Clusters of the pixels that have a state."""

    centres: Array  # (k, D)
    label: NDArray[np.int64]  # (n,)
    spread: float  # variance about the centres, in units of the errors; 1 if errors are all there is
    criterion: float


def find_clusters(
    data: Denoised | xr.DataArray,
    *,
    n_clusters: int | None = None,
    at_most: int = AT_MOST,
    method: str = "kmeans",
    background: str = "auto",
    range_ev: Range | None = None,
    e0_ev: float | None = None,
    sigma: float | None = None,
    rng: np.random.Generator | None = None,
) -> xr.Dataset:
    """Find regions of one chemical state, whatever their thickness.

    The spectrum of a pixel without its background, over its amount, is a point; a distance of 1 is a
    standard error (`states_of`).  Points are clustered, each with the weight of its error.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
    n_clusters : int, optional
        By default found by the Bayesian information criterion, up to `at_most`.
    at_most : int
    method : {"kmeans", "gaussian_mixture"}
        The latter lets each cluster have its own spread; it needs scikit-learn (extra `chemistry`).
    background, range_ev, e0_ev, sigma :
        As in `fit_fractions`.
    rng : numpy.random.Generator, optional
        Draws the sample and the starts; ``default_rng(0)`` by default.

    Returns
    -------
    Dataset
        ``cluster`` (1 ... k, in the order of their size; 0 where there is no sample); ``probability`` (that
        the pixel is of this cluster and no other one, from its distances to all; NaN where errors are not
        known); ``distance`` (to the centre of its cluster, in its own errors); ``mask``.
        Along ``cluster_number``: ``mean_spectrum`` (unit of the stack, for the amount of 1 of the mean),
        ``mean_spectrum_sigma``, ``n_pixels``.
        Attributes: ``kind``, ``definition``, ``criterion`` (of each number that was tried), ``separation``
        (least distance of two centres, in errors of a pixel of these clusters), ``spread``,
        ``intervals_hold``, ``reasons``.

    Raises
    ------
    RecipeError
        If the method is unknown, or a number of clusters is impossible.
    MissingExtraError
        If scikit-learn is needed and not installed.
    RankError
        If all pixels have the same spectrum.
    StackError, EnergyError, EdgeError, SigmaError
        As in `fit_fractions`.

    Notes
    -----
    The spread about the centres counts as at least that of the errors.  So a cluster is not divided if its
    pixels differ by their errors alone; nor is it divided into clusters that differ by fewer than three
    errors of their pixels.
    """
    _check(n_clusters, at_most, method)
    rng = np.random.default_rng(0) if rng is None else rng
    spectra = spectra_with_noise(data, sigma)
    options = FitOptions(background=background, range_ev=range_ev, e0_ev=e0_ev)
    states = states_of(spectra, options)
    n_pixels = int(states.mask.sum())
    if n_pixels < FEWEST * (n_clusters or 1):
        raise StackError(f"{n_pixels} pixels hold enough sample to have a state; too few for clusters")
    if n_clusters is None and not states.is_known:
        raise RecipeError(
            "the number of clusters cannot be found where the errors are not known; give it",
            parameter="n_clusters",
        )
    fewer = n_clusters - 1 if n_clusters and n_clusters > 1 and states.is_known else n_clusters
    numbers = range(fewer or 1, (n_clusters or min(at_most, n_pixels // FEWEST)) + 1)
    points = states.points[:, states.mask].T.astype(np.float64)
    error = states.error[states.mask].astype(np.float64)
    find = _by_kmeans if method == "kmeans" else _by_mixture
    tried = {k: find(points, error, k, rng) for k in numbers}
    apart = (
        [n_clusters] if n_clusters else [k for k in tried if k == 1 or _separation(tried[k], error) >= APART]
    )
    best = min(apart, key=lambda k: tried[k].criterion)
    found = _in_order(tried[best])
    too_many = n_clusters is not None and tried[numbers[0]].criterion < tried[best].criterion
    reasons = spectra.reasons + _doubts(found, states, best == at_most and n_clusters is None, too_many)
    return _dataset(spectra, states, found, options, reasons, {k: c.criterion for k, c in tried.items()})


def _check(n_clusters: int | None, at_most: int, method: str) -> None:
    if method not in METHODS:
        raise RecipeError(f"method must be one of {', '.join(METHODS)}, got {method!r}", parameter="method")
    for number, name in ((n_clusters, "n_clusters"), (at_most, "at_most")):
        if number is not None and number < 1:
            raise RecipeError(f"the number of clusters must be 1 or more, got {number}", parameter=name)


def _by_kmeans(points: Array, error: Array, k: int, rng: np.random.Generator) -> _Clustering:
    """Cluster points (n, D) by k-means; the best of several starts."""
    sample = _sample(error, rng)
    best: _Clustering | None = None
    for _ in range(STARTS if k > 1 else 1):
        centres = points[sample].mean(axis=0, keepdims=True)
        if k > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an empty cluster keeps its centre
                centres = kmeans2(points[sample], k, iter=1, minit="++", rng=rng)[0]
        centres, label = _refined(points[sample], error[sample], centres)
        found = _judged(points[sample], error[sample], centres, label)
        if best is None or found.criterion < best.criterion:
            best = found
    assert best is not None
    centres, label = _refined(points, error, best.centres)
    return _judged(points, error, centres, label)


def _by_mixture(points: Array, error: Array, k: int, rng: np.random.Generator) -> _Clustering:
    """Cluster points (n, D) by a mixture of Gaussians, of which each has its own covariance."""
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as missing:
        raise MissingExtraError(
            "a Gaussian mixture needs scikit-learn: pip install 'xanesum[chemistry]'"
        ) from missing
    start, sample = _by_kmeans(points, error, k, rng), _sample(error, rng)
    model = GaussianMixture(
        k, means_init=start.centres, reg_covar=1e-3, random_state=int(rng.integers(2**31)), max_iter=200
    ).fit(points[sample])
    label = np.concatenate([model.predict(points[part]) for part in _blocks(len(points))])
    judged = _judged(points, error, np.asarray(model.means_), label.astype(np.int64))
    return _Clustering(judged.centres, judged.label, judged.spread, float(model.bic(points[sample])))


def _sample(error: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return some of the pixels with the smallest errors."""
    good = np.argsort(error, kind="stable")[: max(int(GOOD_SHARE * len(error)), min(len(error), 50))]
    return np.sort(rng.permutation(good)[:SAMPLE_PIXELS])


def _refined(points: Array, error: Array, centres: Array) -> tuple[Array, NDArray[np.int64]]:
    """Move centres (k, D) to the weighted means of their points, until no point changes sides."""
    weight, label = 1 / error**2, np.full(len(points), -1)
    for _ in range(ROUNDS):
        new = _nearest(points, centres)
        if (new == label).all():
            break
        label = new
        total = np.bincount(label, weight, minlength=len(centres))
        sums = np.stack(
            [np.bincount(label, weight * column, minlength=len(centres)) for column in points.T], axis=1
        )
        centres = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-300)[:, None], centres)
    return centres, label


def _nearest(points: Array, centres: Array) -> NDArray[np.int64]:
    """Return the nearest centre of every point."""
    return np.concatenate(
        [np.argmin(_squares(points[part], centres), axis=1) for part in _blocks(len(points))]
    )


def _squares(points: Array, centres: Array) -> Array:
    """Return the squares (n, k) of the distances of points to centres."""
    return np.asarray(
        np.sum(points**2, axis=1)[:, None] - 2 * points @ centres.T + np.sum(centres**2, axis=1)
    )


def _blocks(n_pixels: int) -> Iterator[slice]:
    for start in range(0, n_pixels, BLOCK_PIXELS):
        yield slice(start, start + BLOCK_PIXELS)


def _judged(points: Array, error: Array, centres: Array, label: NDArray[np.int64]) -> _Clustering:
    """Return a clustering with its criterion: that of Bayes, for one spread, which is 1 or more."""
    (n, d), k = points.shape, len(centres)
    square = float(np.sum(np.sum((points - centres[label]) ** 2, axis=1) / error**2))
    spread = max(square / (n * d), 1.0)
    number = np.maximum(np.bincount(label, minlength=k), 1)
    unlikely = n * d * np.log(spread) + square / spread - 2 * float(number @ np.log(number / n))
    return _Clustering(centres, label, square / (n * d), unlikely + (k * d + k) * np.log(n))


def _in_order(found: _Clustering) -> _Clustering:
    """Return a clustering whose largest cluster comes first, without empty ones."""
    number = np.bincount(found.label, minlength=len(found.centres))
    order = np.argsort(-number, kind="stable")
    order = order[number[order] > 0]
    place = np.zeros(len(number), np.int64)
    place[order] = np.arange(len(order))
    return _Clustering(found.centres[order], place[found.label], found.spread, found.criterion)


def _separation(found: _Clustering, error: Array) -> float:
    """Return the least distance of two centres in errors of a pixel of these clusters; NaN if there is one.

    What the errors of the centres themselves make of the distance, on average, is taken away.
    """
    number = np.bincount(found.label, minlength=len(found.centres))
    kept = np.flatnonzero(number)
    if len(kept) < 2:
        return float("nan")
    of_pixel = np.array([np.median(error[found.label == i]) for i in kept])
    of_centre = 1 / np.bincount(found.label, 1 / error**2)[kept]
    square = _squares(found.centres[kept], found.centres[kept])
    square = square - found.centres.shape[1] * np.add.outer(of_centre, of_centre)
    square /= np.maximum.outer(of_pixel, of_pixel) ** 2
    return float(np.sqrt(max(square[~np.eye(len(kept), dtype=bool)].min(), 0.0)))


def _doubts(found: _Clustering, states: States, is_limited: bool, too_many: bool) -> tuple[str, ...]:
    """Return why the clusters may not be states of their own."""
    reasons = []
    if not states.is_known:
        return ()
    separation = _separation(found, states.error[states.mask].astype(np.float64))
    if separation < APART:
        reasons.append(
            f"two clusters differ by {separation:.1f} errors of a pixel, so that a pixel may be of either"
        )
    elif too_many:
        reasons.append(
            f"two clusters differ by {separation:.1f} errors of a pixel, but one cluster fewer explains the "
            "pixels as well"
        )
    if is_limited:
        reasons.append(
            "as many clusters as were allowed were found: states may change gradually, so that their borders "
            "mean little"
        )
    return tuple(reasons)


def _dataset(
    spectra: PixelSpectra,
    states: States,
    found: _Clustering,
    options: FitOptions,
    reasons: tuple[str, ...],
    criteria: dict[int, float],
) -> xr.Dataset:
    """Return labels as an image (Y, X), and the mean spectra."""
    shape, n = spectra.mask.shape, len(found.centres)
    cluster = np.zeros(states.mask.size, np.int16)
    cluster[states.mask] = found.label + 1
    distance, probability = np.full((2, states.mask.size), np.nan, np.float32)
    points = states.points[:, states.mask].T.astype(np.float64)
    error = states.error[states.mask].astype(np.float64)
    square = np.maximum(_squares(points, found.centres), 0) / error[:, None] ** 2
    own = np.take_along_axis(square, found.label[:, None], axis=1)
    prior = np.bincount(found.label, minlength=n) / len(found.label)
    likely = prior * np.exp(-0.5 * (square - own) / max(found.spread, 1.0))
    distance[states.mask] = np.sqrt(own[:, 0])
    if states.is_known:
        probability[states.mask] = prior[found.label] / likely.sum(axis=1)
    means = [_mean_spectrum(spectra, states, cluster == 1 + i) for i in range(n)]
    scan = states.scan
    images: dict[str, NDArray[Any]] = {
        "cluster": cluster,
        "probability": probability,
        "distance": distance,
        "mask": states.mask,
    }
    dataset = xr.Dataset(
        {
            **{name: (("y", "x"), image.reshape(shape)) for name, image in images.items()},
            "mean_spectrum": (("cluster_number", "energy"), np.stack([mean for mean, _ in means])),
            "mean_spectrum_sigma": (("cluster_number", "energy"), np.stack([each for _, each in means])),
            "n_pixels": ("cluster_number", np.bincount(found.label, minlength=n)),
        },
        coords={
            "energy": spectra.energy_ev,
            "cluster_number": np.arange(1, n + 1),
            **{name: spectra.source[name] for name in ("y", "x") if name in spectra.source.coords},
        },
    )
    energy_ev = spectra.energy_ev[scan.window]
    dataset.attrs = {
        "kind": "clusters",
        "definition": (
            f"{n} clusters of the spectra of {len(found.label)} pixels, without "
            f"{BACKGROUNDS[scan.background]} and thickness, from {energy_ev[0]:.2f} to "
            f"{energy_ev[-1]:.2f} eV, in units of their errors"
        ),
        "background": scan.background,
        "criterion_of": list(criteria),
        "criterion": list(criteria.values()),
        "separation": _separation(found, error),
        "spread": found.spread,
        "intervals_hold": not reasons,
        "reasons": list(reasons),
    }
    return dataset


def _mean_spectrum(spectra: PixelSpectra, states: States, inside: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the mean spectrum (E,) of some pixels for an amount of 1, and its standard error.

    The noise averages out over the pixels; errors of the spectra, which all pixels have in common, do not.
    """
    amount = float(states.amount[inside].mean(dtype=np.float64))
    part = replace(spectra, mask=inside.reshape(spectra.mask.shape))
    mean, covariance = part.mean_spectrum, part.covariance_of_mean()
    if covariance is None or not spectra.noise_is_known:
        return mean / amount, np.full(len(mean), np.nan)
    sigma = np.sqrt(covariance.diagonal)
    return mean / amount, sigma / abs(amount)
