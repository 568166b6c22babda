"""How strongly each field drifts, and how alike successive frames are: restricted maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, f

from xanesum.flat_field.frames import SmoothPart

__all__ = [
    "MIN_FREE",
    "DriftPrior",
    "below_edge",
    "fit_prior",
    "free_of_sample",
    "is_restless_above",
]

MEMORIES = (0.0, 0.3, 0.6, 0.8, 0.9, 0.96, 0.99)  # correlations of successive frames that are tried
STRENGTHS = np.r_[0.0, np.geomspace(1e-3, 1e5, 97)]  # variances of drift that are tried, in those of noise
SHARED = 4.0  # energies for which the variance that fields of one order share counts
RESTLESS = 1e-3  # probability of so much more change above the edge by chance
LEAST_VARIANCE = 1e-4  # of a field, as a share of that of all
ALLOWED = 1.1  # evidence is divided by this, as the noise level is not exactly known
MIN_FREE = 4  # energies that must be left beside sample and background


@dataclass(frozen=True, slots=True, eq=False)
class DriftPrior:
    """Variance of the amounts of each field, and the correlation of successive frames."""

    variance: NDArray[np.float64]  # (M,)
    memory: float  # correlation of successive frames, 0 to 1
    evidence: float  # twice the logarithm of the likelihood over that without drift
    evidence_of_memory: float  # the same, over that of independent frames
    n_groups: int  # variances that were fitted

    @property
    def p_value(self) -> float:
        """Probability that noise alone gives such evidence, about."""
        return float(chi2.sf(self.evidence / ALLOWED, self.n_groups))


def free_of_sample(
    chosen: NDArray[np.bool_], edge: NDArray[np.bool_], spectra: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return orthonormal columns (E, q), 0 at energies that are not `chosen`, without sample.

    The sample is the `spectra` (K, E), and a background that is a parabola below the edge, and one above.
    """
    n = len(edge)
    place, middle = np.linspace(-1, 1, n), float(np.median(np.flatnonzero(edge))) if edge.any() else n
    below = np.arange(n) < middle
    columns = [side * place**power for side in (below, ~below) for power in range(3)]
    columns += list(spectra)
    background = np.column_stack(columns)[chosen].astype(np.float64)
    background = background[:, np.linalg.norm(background, axis=0) > 1e-6]
    left, size, _ = np.linalg.svd(background, full_matrices=True)
    rank = int(np.count_nonzero(size > 1e-4 * size.max(initial=0.0)))  # 0 where no energy is chosen
    free = np.zeros((n, left.shape[1] - rank))
    free[chosen] = left[:, rank:]
    return free


def below_edge(edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the energies (E,) below those of the edge."""
    return np.asarray(np.cumsum(edge) == 0) if edge.any() else np.zeros_like(edge)


def is_restless_above(amounts: NDArray[np.float64], edge: NDArray[np.bool_]) -> bool:
    """Whether amounts (E, M) change more from frame to frame above the edge than below it.

    Drift does not know the edge, but the sample's spectra have structure above it.
    """
    square = np.diff(amounts, axis=0) ** 2
    low, beyond = below_edge(edge), ~edge & ~below_edge(edge)
    below, above = square[low[1:] & low[:-1]], square[beyond[1:] & beyond[:-1]]
    if min(len(below), len(above)) < 2:
        return False
    of_field = square.mean(axis=0)
    n_fields = float(of_field.sum() ** 2 / np.sum(of_field**2))  # that change, effectively
    ratio = above.sum(axis=1).mean() / below.sum(axis=1).mean()
    return bool(f.sf(ratio, len(above) * n_fields * 2 / 3, len(below) * n_fields * 2 / 3) < RESTLESS)


def fit_prior(
    part: SmoothPart,
    orders: NDArray[np.intp],
    free: NDArray[np.float64],
) -> DriftPrior:
    """Fit the variance of the drift for each order of the fields, and the memory of all.

    Parameters
    ----------
    part : SmoothPart
    orders : ndarray, shape (M,)
        Of the fields; those of one order have one variance.
    free : ndarray, shape (E, q)
        Orthonormal columns free of sample, see `free_of_sample`.
    """
    if free.shape[1] < MIN_FREE:
        return DriftPrior(np.zeros(len(orders)), 0.0, 0.0, 0.0, 1)
    noise = free.T @ (part.noise[:, None] * free)
    size, turn = np.linalg.eigh(noise)
    whiten = (turn / np.sqrt(size)).T @ free.T
    values = whiten @ part.amounts
    grown = 1 + np.diag(part.spread)
    typical, n_free = float(np.mean(part.noise)), free.shape[1]
    distance = np.abs(np.subtract.outer(np.arange(len(free)), np.arange(len(free))))
    found = []
    for memory in MEMORIES:
        share, modes = np.linalg.eigh(whiten @ memory**distance @ whiten.T * typical)
        squares, share = (modes.T @ values) ** 2, np.maximum(share, 0)
        found.append((*_strengths(squares, share, grown, orders), squares, share))
    totals = [evidence for _, evidence, _, _ in found]
    best = int(np.argmax(totals))
    of_order, evidence, squares, share = found[best]
    of_field = _strengths(squares, share, grown, np.arange(len(orders)))[0]
    variance = typical * (SHARED * of_order + n_free * of_field) / (SHARED + n_free)
    return DriftPrior(variance, MEMORIES[best], evidence, evidence - totals[0], len(np.unique(orders)))


def _strengths(
    squares: NDArray[np.float64],
    share: NDArray[np.float64],
    grown: NDArray[np.float64],
    orders: NDArray[np.intp],
) -> tuple[NDArray[np.float64], float]:
    """Return the likeliest variances (M,), the same for fields of one order, in that of the noise.

    The second value is twice the logarithm of their likelihood over that without drift.

    Parameters
    ----------
    squares : ndarray, shape (q, M)
        Of the amounts, divided by their noise.
    share : ndarray, shape (q,)
        Of the drift's variance that each of them has.
    grown : ndarray, shape (M,)
        Noise of the fields.
    orders : ndarray, shape (M,)
    """
    variance, evidence = np.zeros(len(orders)), 0.0
    for order in np.unique(orders):
        of_order = orders == order
        expected = STRENGTHS[:, None, None] * share[None, :, None] + grown[of_order]
        fit = -np.sum(np.log(expected) + squares[:, of_order] / expected, axis=(1, 2))
        best = int(np.argmax(fit))
        variance[of_order] = STRENGTHS[best]
        evidence += float(fit[best] - fit[0])
    return variance, evidence


def covariance_of_drift(
    rest: NDArray[np.float64], n_free: int, part: SmoothPart, variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the covariance (M, M) of drift in a frame.

    Parameters
    ----------
    rest : ndarray, shape (E, M)
        Smooth part beside what is known.
    n_free : int
        Number of energies that are independent in it.
    part : SmoothPart
        Has the noise of `rest`, and the error of the spectra, which are subtracted.
    variance : ndarray, shape (M,)
        Of each field, which counts as much as `SHARED` energies.
    """
    noise = float(part.noise.mean()) * (np.eye(len(variance)) + part.spread)
    size, turn = np.linalg.eigh(rest.T @ rest / max(n_free, 1) - noise)
    seen = (turn * np.maximum(size, 0)) @ turn.T
    least = np.minimum(variance, np.diag(seen) + LEAST_VARIANCE * np.trace(seen) + np.finfo(float).tiny)
    return np.asarray((n_free * seen + SHARED * np.diag(least)) / (n_free + SHARED))
