"""Test whether a residual is white: correlations of neighbours along x, y and energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from xanesum.diagnostics.extreme_values import FALSE_ALARM
from xanesum.noise.level import CORRELATED, MOST_REACH

__all__ = [
    "Whiteness",
    "measure_whiteness",
    "neighbour_correlations",
    "variance_inflation",
]

WHITE_CORRELATION = 0.02  # a smaller correlation of the residual does no harm, however certain it is


@dataclass(frozen=True, slots=True)
class Whiteness:
    """Correlations of neighbours in the residual, corrected for what fitted spectra do to white noise."""

    x: float
    y: float
    energy: float
    standard_error: tuple[float, float, float]  # of x, y and energy, for white noise
    p_value: float  # probability that white noise has one of the three as large

    @property
    def along(self) -> dict[str, float]:
        """The three correlations by the name of their axis."""
        return {"x": self.x, "y": self.y, "energy": self.energy}

    @property
    def correlated_along(self) -> tuple[str, ...]:
        """The axes along which a correlation is both significant and large enough to matter."""
        parts = zip(self.along.items(), self.standard_error, strict=True)
        return tuple(
            axis
            for (axis, value), error in parts
            if abs(value) > max(WHITE_CORRELATION, norm.isf(FALSE_ALARM / 6) * error)
        )

    @property
    def is_white(self) -> bool:
        """Whether there is no such axis."""
        return not self.correlated_along

    @property
    def in_words(self) -> str:
        """The three correlations, in words."""
        return ", ".join(f"{value:+.3f} along {name}" for name, value in self.along.items())


def measure_whiteness(
    images: NDArray[np.float32],
    mask: NDArray[np.bool_],
    pixels: NDArray[np.float64],
    fitted: NDArray[np.float64],
) -> Whiteness:
    """Measure the correlations of neighbours in a residual.

    Parameters
    ----------
    images : ndarray, shape (n, Y, X)
        The residual along spectra orthogonal to those of the result; gives the correlations in space.
    mask : ndarray of bool, shape (Y, X)
        Pixels that count.
    pixels : ndarray, shape (E, P)
        The residual of some pixels at all energies; gives the correlation along energy.
    fitted : ndarray, shape (K, E)
        Orthonormal spectra of the result.  Their part of `pixels` is not noise and is removed; the
        correlation which that brings into white noise is subtracted.
    """
    x, y = (_correlation(images, mask, axis, 1) for axis in (2, 1))
    values = pixels - fitted.T @ (fitted @ pixels)
    # covariance of white noise after the same removal: of each energy, and of neighbours
    noise, pairs_of_noise = 1 - np.sum(fitted**2, axis=0), -np.sum(fitted[:, 1:] * fitted[:, :-1])
    power = np.mean(values**2, axis=1)
    seen = float(np.mean(values[1:] * values[:-1], axis=1).sum()) / max(_pair_power(power), 1e-30)
    energy = seen - pairs_of_noise / max(_pair_power(noise), 1e-30)
    n_images = max(images.size // max(mask.size, 1), 1)
    pairs = [np.count_nonzero(both) for both in (mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1])]
    errors = [float(max(n, 1)) ** -0.5 for n in (n_images * pairs[0], n_images * pairs[1], values.size)]
    found = (x, y, float(energy))
    worst = float(np.max(np.abs(found) / np.array(errors)))
    p_value = min(1.0, 3 * 2 * float(norm.sf(worst)))
    return Whiteness(*found, (errors[0], errors[1], errors[2]), p_value)


def neighbour_correlations(
    images: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[list[float], list[float]]:
    """Return the correlations of images (n, Y, X) at lags 1, 2, ... along y, and along x.

    Each list ends before the first correlation that is negligible.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for axis, values in enumerate(found, start=1):
        for lag in range(1, min(MOST_REACH, mask.shape[axis - 1] - 1) + 1):
            value = _correlation(images, mask, axis, lag)
            if value < CORRELATED:
                break
            values.append(value)
    return found


def variance_inflation(correlations: tuple[list[float], list[float]], scale: int) -> float:
    """Return the factor by which correlations of pixels raise the variance of averages over squares.

    Parameters
    ----------
    correlations : (list of float, list of float)
        From `neighbour_correlations`.
    scale : int
        Side of the squares in pixels.
    """
    along = [
        1 + 2 * sum(c * max(1 - (lag + 1) / scale, 0) for lag, c in enumerate(cs)) for cs in correlations
    ]
    return along[0] * along[1]


def _pair_power(power: NDArray[np.float64]) -> float:
    """Return the sum over pairs of neighbours of their mean power."""
    return float((power[1:] + power[:-1]).sum() / 2)


def _correlation(images: NDArray[np.float32], mask: NDArray[np.bool_], axis: int, lag: int) -> float:
    """Return the correlation of images (n, Y, X) at a lag along an axis, within the mask; 0 without pairs."""
    length = mask.shape[axis - 1]
    ends = (range(lag, length), range(length - lag))
    both = np.logical_and(*(np.take(mask, end, axis - 1) for end in ends)).astype(np.float32)
    power = product = 0.0
    for image in images:
        far, near = ((np.take(image, end, axis - 1) * both).ravel() for end in ends)
        power += float(far @ far + near @ near) / 2
        product += float(far @ near)
    return product / power if power > 0 else 0.0
