"""Intervals of shares that cannot be below 0 or above 1."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, skewnorm

__all__ = ["share_limits"]

Array = NDArray[np.float64]

LEVEL = float(norm.cdf(1) - norm.cdf(-1))  # of the interval: that of one standard error
N_TRUE = 101  # tabulated true values from 0 to 1 standard error; from there on the bound does not matter
N_LOST = 41  # tabulated parts of the variance that are lost detail


def share_limits(free: Array, sigma: Array, lost: Array | None = None) -> tuple[Array, Array]:
    """Return the ends of the 68 % intervals of shares between 0 and 1.

    An interval is the share plus or minus its standard error, but its end at the bound is another one where
    the bound is near: there, values are taken into the interval by the ratio of likelihoods.  So 68 % of the
    intervals cover a true share of exactly 0 or 1, and those of shares at a distance of up to one standard
    error are covered by up to 84 %.  The interval of a share that would be below 0 without the bound is that
    of 0: it is not made shorter.

    Noise moves a share of exactly 0 up or down.  Detail that denoising loses only moves it up, as its
    neighbours can have no less.  With such errors alone, 68 % of the intervals cover 0 if they are the share
    plus or minus its standard error.  Between both, the interval begins at the bound up to a distance that
    covers 68 % of the errors of a share at the bound, and its end moves from there in proportion.

    Parameters
    ----------
    free : ndarray
        Shares from a fit without bounds; may be below 0 or above 1.
    sigma : ndarray, same shape
        Their standard errors.
    lost : ndarray, same shape, optional
        Part of the variance, 0 to 1, that is lost detail; by default 0.

    Notes
    -----
    G. J. Feldman and R. D. Cousins, Phys. Rev. D 57, 3873 (1998), doi:10.1103/PhysRevD.57.3873, with one
    bound at a time: the nearer one.  Noise and the size of lost detail, both normal, are together distributed
    as in A. Azzalini, Scand. J. Stat. 12, 171 (1985).
    """
    at_top = free > 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.maximum(np.where(at_top, 1 - free, free) / sigma, 0)
        inner, outer = (distance - 1) * sigma, (distance + 1) * sigma
    measured, true = _lower_ends()
    near = np.nonzero(distance < measured[-1])
    as_noise = distance[near]
    if lost is not None:
        first = np.interp(lost[near], *_first_distances())
        shorter = (measured[-1] - measured[0]) / (measured[-1] - first)
        as_noise = measured[-1] - (measured[-1] - as_noise) * shorter
    inner[near] = np.interp(as_noise, measured, true) * sigma[near]
    low, high = np.where(at_top, 1 - outer, inner), np.where(at_top, 1 - inner, outer)
    return np.clip(low, 0, 1, out=low), np.clip(high, 0, 1, out=high)


@lru_cache(maxsize=1)
def _lower_ends() -> tuple[Array, Array]:
    """Return measured values, and the lower ends of their intervals, both in standard errors.

    A true value t accepts measured values up to x, and down to where they are as likely, compared with the
    best value that is allowed.  Below 0, this is ``(t**2 - (x - t)**2) / (2 * t)``.
    """

    def missing(x: float, t: float) -> float:
        other = (t**2 - (x - t) ** 2) / (2 * t)
        return float(norm.cdf(x - t) - norm.cdf(other - t)) - LEVEL

    true = np.linspace(0, 1, N_TRUE)
    first = float(norm.ppf(LEVEL))
    measured = [first, *(brentq(missing, t, t + 1 + 1e-9, args=(t,)) for t in true[1:])]
    return np.array(measured), true


@lru_cache(maxsize=1)
def _first_distances() -> tuple[Array, Array]:
    """Return parts of the variance that are lost detail, and the distance from the bound, in standard errors.

    The errors of a share at the bound are smaller than this distance in 68 % of the cases.
    """
    lost = np.linspace(0, 1, N_LOST)
    skewed = [float(skewnorm.ppf(LEVEL, np.sqrt(part / (1 - part)))) for part in lost[:-1]]
    return lost, np.array([*skewed, 1.0])
