"""What the other frames say of a frame's shift: slow drift along the scan, and jitter."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["DriftPrior", "drift_prior", "flat_prior"]

Array = NDArray[np.float64]

LEAST_KNOWN = 6  # well-known shifts, without which nothing is said of drift
UNKNOWN_LEVEL = 1e4  # variance in px^2 before anything is known
JITTERS = np.geomspace(0.003, 30, 13)  # px
WALKS = np.array([1e-4, 0.01, 0.03, 0.1, 0.3, 1.0])  # px, standard deviation of the level's step per frame
# standard deviations of the slope, in px per scan, and of its step per frame, in px per frame
SLOPES = ((1e-3, 1e-7), (10.0, 1e-6), (100.0, 1e-5), (100.0, 1e-3), (100.0, 1e-2))
OUTLYING = 4.5  # standard deviations beyond which a shift says nothing about drift


@dataclass(frozen=True, slots=True, eq=False)
class DriftPrior:
    """Mean and standard deviation of each frame's shift as far as the other frames tell."""

    mean_px: Array  # (E, 2)
    sigma_px: Array  # (E, 2); infinite where nothing is known

    @property
    def precision(self) -> Array:
        """One over the variance, (E, 2)."""
        return np.asarray(1 / self.sigma_px**2)


def flat_prior(n_frames: int) -> DriftPrior:
    """Return the prior that says nothing."""
    return DriftPrior(np.zeros((n_frames, 2)), np.full((n_frames, 2), np.inf))


def drift_prior(shifts_px: Array, sigma_px: Array, known: NDArray[np.bool_]) -> DriftPrior:
    """Return what the known shifts of all other frames say about each frame.

    The drift is a random walk whose slope also walks; jitter is white.  The sizes of walk, slope and jitter
    are not chosen but averaged over, with their likelihood as weight.  So errors grow with the distance from
    known frames, as fast as the known frames leave it open.

    Parameters
    ----------
    shifts_px, sigma_px : ndarray, shape (E, 2)
        Shifts by each frame's own image alone, and their standard errors.
    known : ndarray of bool, shape (E,)
        Frames whose shift counts.
    """
    if known.sum() < LEAST_KNOWN:
        return flat_prior(len(shifts_px))
    axes = [_along_axis(shifts_px[:, a], sigma_px[:, a], known) for a in (0, 1)]
    return DriftPrior(np.stack([mean for mean, _ in axes], 1), np.stack([sigma for _, sigma in axes], 1))


def _along_axis(shifts: Array, sigma: Array, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return mean and standard deviation (E,) of the shifts along one axis; outliers are left out."""
    variance = np.where(known, sigma**2, np.inf)
    mean, spread = _averaged(shifts, variance)
    out = np.abs(shifts - mean) > OUTLYING * np.sqrt(spread**2 + np.where(known, sigma, 0) ** 2)
    if (out & known).any() and (known & ~out).sum() >= LEAST_KNOWN:
        mean, spread = _averaged(shifts, np.where(out, np.inf, variance))
    return mean, spread


def _averaged(shifts: Array, variance: Array) -> tuple[Array, Array]:
    """Return the mean and spread (E,) of the predictions under all sizes of walk, bend and jitter."""
    sizes = np.array([(j, w, slope / len(shifts), b) for j, w, (slope, b) in product(JITTERS, WALKS, SLOPES)])
    sizes = sizes.T**2
    ahead_level, ahead_cov, log_likelihood = _filter(shifts, variance, sizes)
    back_level, back_cov, _ = _filter(shifts[::-1], variance[::-1], sizes)
    mean, spread = _combined(ahead_level, ahead_cov, back_level[::-1], back_cov[::-1], sizes[2])
    weight = np.exp(log_likelihood - log_likelihood.max())
    weight /= weight.sum()
    average = mean @ weight
    total = (spread + sizes[0] + (mean - average[:, None]) ** 2) @ weight
    return average, np.sqrt(total)


def _filter(shifts: Array, variance: Array, sizes: Array) -> tuple[Array, Array, Array]:
    """Return level and slope (E, 2, S) before each frame, their covariance (E, 3, S), log-likelihood (S,).

    A Kalman filter (J. Basic Eng. 82, 1960) under S sizes at once; the covariance holds level, cross, slope.
    """
    jitter, walk, steepness, bend = sizes
    level, slope = np.zeros(len(jitter)), np.zeros(len(jitter))
    p, c, q = np.full_like(level, UNKNOWN_LEVEL), np.zeros_like(level), steepness.copy()
    states, covariances = np.empty((len(shifts), 2, len(level))), np.empty((len(shifts), 3, len(level)))
    log_likelihood = np.zeros_like(level)
    for e, (shift, noise) in enumerate(zip(shifts, variance, strict=True)):
        states[e], covariances[e] = (level, slope), (p, c, q)
        if np.isfinite(noise):
            total = p + jitter + noise
            surprise = shift - level
            log_likelihood -= 0.5 * (np.log(total) + surprise**2 / total)
            gain, turn = p / total, c / total
            level, slope = level + gain * surprise, slope + turn * surprise
            p, c, q = p - gain * p, c - gain * c, q - turn * c
        level = level + slope
        p, c, q = p + 2 * c + q + walk, c + q, q + bend
    return states, covariances, log_likelihood


def _combined(
    ahead: Array, ahead_cov: Array, back: Array, back_cov: Array, steepness: Array
) -> tuple[Array, Array]:
    """Return mean and variance (E, S) of the level by what came before and what comes after a frame.

    `back` runs the other way, so that its slope has the other sign.
    """
    information = np.zeros((3, *ahead.shape[::2]))
    information[2] = -1 / steepness  # what is known of the slope beforehand counts once
    pull = np.zeros((2, *ahead.shape[::2]))
    for state, covariance, sign in ((ahead, ahead_cov, 1), (back, back_cov, -1)):
        p, c, q = covariance[:, 0], sign * covariance[:, 1], covariance[:, 2]
        determinant = np.maximum(p * q - c**2, 1e-12 * p * q)
        i_p, i_c, i_q = q / determinant, -c / determinant, p / determinant
        level, slope = state[:, 0], sign * state[:, 1]
        information += np.stack([i_p, i_c, i_q])
        pull += np.stack([i_p * level + i_c * slope, i_c * level + i_q * slope])
    i_p, i_c, i_q = information
    determinant = i_p * i_q - i_c**2
    return (i_q * pull[0] - i_c * pull[1]) / determinant, i_q / determinant
