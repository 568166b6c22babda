"""Pixels without sample: where they are, whether they are empty, and the drift that they show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.stats import chi2, f

__all__ = [
    "COARSE",
    "FALSE_EDGES",
    "LEAST_EDGE",
    "STRONG",
    "DriftInEmpty",
    "drift_in_empty",
    "edge_in_empty",
    "find_empty",
    "steps_at_edge",
]

CONTRAST = 0.1  # an empty pixel is below this share of the sample's strongest pixels at first ...
STRONG = 98.0  # ... which are the percentile that these are
SEARCHES = (2.0, 3), (2.0, 2), (1.2, 1)  # pixels: images are blurred, empty pixels are so far from others ...
WIDEST = 0.05  # share of the image that this distance may be: blocks of pixels are large
ENOUGH = 0.1  # ... and a finer search is made if fewer than this share of the pixels are found
NOISES, LEAST_CONTRAST = 3.5, 0.03  # then it is within so many standard deviations, or this share
N_TURNS = 5  # of fitting smooth fields to the empty pixels, and finding them again
FIT_ORDER = 2  # highest order of these fields ...
RIDGE = 30.0  # ... which are damped by so many pixels
MIN_EMPTY_PX = 60  # pixels
LEAST_EDGE = 0.01  # an edge of less than this share of the sample's does not matter
OF_FIT = 2.0  # a fit lowers the correlation of what is left by so much for each column, over n
MOST_MEMORY = 0.99  # correlation of successive frames, at most
FALSE_EDGES = 1e-3  # probability that drift makes larger steps at the edge by chance
COARSE = 3  # coarsest fields in which an edge is looked for
N_EM = 60  # iterations of the likelihood of the variances
PARTS = (1, 3, 6, 10)  # numbers of the coarsest fields in which drift is looked for


@dataclass(frozen=True, slots=True, eq=False)
class DriftInEmpty:
    """The drift of every frame as the empty pixels show it."""

    amounts: NDArray[np.float64]  # (E, M), expected, of each field
    covariance: NDArray[np.float64]  # (M, M), of their errors, mean over the frames
    variance: NDArray[np.float64]  # (M,), of the drift
    p_value: float  # probability that noise alone changes so much
    seen: NDArray[np.float64]  # (E, n), mean and slopes over the empty pixels, rms per pixel
    sums: NDArray[np.float64]  # (E, M), of the frames times the fields
    normal: NDArray[np.float64]  # (M, M), of the fields times each other
    noise: NDArray[np.float64]  # (E,), variance of a pixel

    def with_prior(self, variance: NDArray[np.float64]) -> DriftInEmpty:
        """Return the same for drift with this covariance (M, M)."""
        amounts, covariance = _posterior(
            self.sums, self.normal, self.noise, np.asarray(np.linalg.inv(variance), np.float64)
        )
        return replace(self, amounts=amounts, covariance=covariance.mean(axis=0))


def find_empty(
    images: NDArray[np.float32],
    fields: NDArray[np.float32],
    orders: NDArray[np.intp],
    mask: NDArray[np.bool_],
    sigma: float,
) -> NDArray[np.bool_]:
    """Return the pixels (Y, X) where all images (R, Y, X) are smooth and as low as anywhere; none if few.

    The drift is in the images too.  It is smooth, so a smooth image is fitted to the empty pixels and
    subtracted, and they are found again.
    """
    best = np.zeros_like(mask)
    largest = max(1.0, WIDEST * min(mask.shape))
    for blur, margin in ((b, m) for b, m in SEARCHES if len(images) and m <= largest):
        empty = _low_pixels(images, fields[orders <= FIT_ORDER], mask, sigma, blur, margin)
        if empty.sum() >= ENOUGH * mask.sum():
            return empty
        if empty.sum() > best.sum():
            best = empty
    return best if best.sum() >= MIN_EMPTY_PX else np.zeros_like(mask)


def _low_pixels(
    images: NDArray[np.float32],
    coarse: NDArray[np.float32],
    mask: NDArray[np.bool_],
    sigma: float,
    blur: float,
    margin: int,
) -> NDArray[np.bool_]:
    """Return the pixels (Y, X) where images blurred by `blur` pixels are low, `margin` pixels from others."""
    share = np.maximum(gaussian_filter(mask.astype(np.float32), blur), 1e-3)
    blurred = np.stack([gaussian_filter(np.where(mask, image, 0), blur) / share for image in images])
    noise = sigma * np.sqrt(len(images)) * 0.5 / np.sqrt(np.pi) / blur
    size = np.sqrt(np.sum(blurred**2, axis=0))
    empty = _eroded((size < CONTRAST * np.percentile(size[mask], STRONG)) | ~mask, margin) & mask
    if empty.sum() < MIN_EMPTY_PX:
        first = blurred[0] * np.sign(np.sum(blurred[0][mask]))
        empty = _eroded((first < np.percentile(first[mask], 15)) | ~mask, margin) & mask
    for _ in range(N_TURNS):
        if empty.sum() < MIN_EMPTY_PX:
            return empty
        inside = coarse[:, empty].astype(np.float64)
        normal = inside @ inside.T + RIDGE / mask.sum() * np.eye(len(coarse))
        fitted = np.linalg.solve(normal, inside @ blurred[:, empty].T.astype(np.float64)).T
        rest = blurred - np.tensordot(fitted.astype(np.float32), coarse, axes=1)
        size = np.sqrt(np.sum(rest**2, axis=0))
        limit = max(NOISES * noise, LEAST_CONTRAST * np.percentile(size[mask], STRONG))
        empty = _eroded((size < limit) | ~mask, margin) & mask
    return empty


def _eroded(low: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    return np.asarray(binary_erosion(low, iterations=margin, border_value=1))


def drift_in_empty(
    stack: NDArray[np.float32],
    empty: NDArray[np.bool_],
    fields: NDArray[np.float32],
    orders: NDArray[np.intp],
    inflation: float,
) -> DriftInEmpty:
    """Fit the fields to the empty pixels of every frame; each order has a variance, the likeliest one."""
    values = stack[:, empty].astype(np.float64)
    values -= values.mean(axis=0)  # the noise of the flat is the same in all frames
    inside = fields[:, empty].astype(np.float64)
    sums, normal = values @ inside.T, inside @ inside.T
    own = np.linalg.qr(inside.T).Q
    along = values @ own
    n_free = max(values.shape[1] - own.shape[1], 1)
    noise = inflation * np.maximum(np.sum(values**2, axis=1) - np.sum(along**2, axis=1), 1e-30) / n_free
    p_value = 1.0
    for n in PARTS:
        seen = along[:, :n] ** 2 / noise[:, None]
        p_value = min(p_value, len(PARTS) * float(chi2.sf(seen.sum() / 1.04, seen.size)))
    variance = np.full(len(fields), np.mean(along**2) + 1e-30) * empty.size / empty.sum()
    groups = [orders == order for order in np.unique(orders)]
    for _ in range(N_EM):
        amounts, covariance = _posterior(sums, normal, noise, np.diag(1 / variance))
        square = np.mean(amounts**2 + np.einsum("emm->em", covariance), axis=0)
        for group in groups:
            variance[group] = max(float(square[group].mean()), 1e-30)
    seen = along[:, :COARSE] / np.sqrt(empty.sum())
    return DriftInEmpty(amounts, covariance.mean(axis=0), variance, p_value, seen, sums, normal, noise)


def _posterior(
    sums: NDArray[np.float64],
    normal: NDArray[np.float64],
    noise: NDArray[np.float64],
    inverse: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the expected amounts (E, M), and their covariance (E, M, M)."""
    covariance = np.asarray(np.linalg.inv(normal / noise[:, None, None] + inverse), np.float64)
    return np.einsum("emn,en->em", covariance, sums / noise[:, None]), covariance


def edge_in_empty(
    amounts: NDArray[np.float64], directions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much of the sample's `directions` (R, E) is in series of amounts (E, n).

    A constant and a line are fitted too.  What is left is noise whose successive values are alike, so that
    slow drift does not count as an edge.

    Returns
    -------
    size : ndarray, shape (n,)
        Norm of the sample's part.
    p_value : ndarray, shape (n,)
        Probability that drift alone has such a part.
    """
    n, n_directions = len(amounts), len(directions)
    design = np.column_stack([*directions, np.ones(n), np.linspace(-1, 1, n)])
    n_free = n - design.shape[1]
    sizes, p_values = np.zeros(amounts.shape[1]), np.ones(amounts.shape[1])
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    for k, series in enumerate(amounts.T):
        left = series - design @ np.linalg.lstsq(design, series, rcond=None)[0]
        alike = np.mean(left[1:] * left[:-1]) / max(float(np.mean(left**2)), 1e-30)
        memory = np.clip(alike + OF_FIT * design.shape[1] / n, 0, MOST_MEMORY)
        inverse = np.linalg.inv(memory**distance + 1e-9 * np.eye(n))
        covariance = np.linalg.inv(design.T @ inverse @ design)
        fitted = covariance @ (design.T @ inverse @ series)
        left = series - design @ fitted
        part, of_part = fitted[:n_directions], covariance[:n_directions, :n_directions]
        ratio = part @ np.linalg.solve(of_part, part) / n_directions * n_free / (left @ inverse @ left)
        sizes[k], p_values[k] = np.linalg.norm(part), f.sf(ratio, n_directions, n_free)
    return sizes, p_values


def steps_at_edge(amounts: NDArray[np.float64], edge: NDArray[np.bool_]) -> float:
    """Return the probability that amounts (E, n) make as large steps at the edge as they do, by chance."""
    steps = np.diff(amounts, axis=0)
    near = edge[1:] | edge[:-1]
    if near.sum() < 2 or (~near).sum() < 4:
        return 1.0
    ratio = np.mean(steps[near] ** 2, axis=0) / np.maximum(np.mean(steps[~near] ** 2, axis=0), 1e-30)
    share = f.sf(ratio, near.sum() * 2 / 3, (~near).sum() * 2 / 3)  # steps that share a frame are dependent
    return float(min(1.0, amounts.shape[1] * share.min()))
