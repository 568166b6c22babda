"""The energy at which a spectrum rises most: between two energies, or found as Larch finds e0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from xanesum.errors import EdgeError

__all__ = ["steepest_e0_ev", "steepest_ev"]

MIN_ENERGIES = 10  # fewer show no steepest rise with neighbours
AROUND = 75  # energies to each side of the first finding, among which the second is made
EARLY = (
    0.05,
    20,
)  # an edge in this first share of the energies is doubted, and looked for from this many before
HIGH = 0.6  # slopes above this share of the range of slopes may be the steepest; both neighbours must be, too
MANY = 20  # with so few energies, half of that share
END_SHARE, END_LEAST = 0.02, 3  # energies at either end that are left out
EV_PER_STEP = 25_000.0  # a natural step is the energy of the edge divided by this
LEAST_STEP_EV, MOST_STEP_EV = 0.01, 1.0
SMALLEST_STEPS, IGNORED_STEPS = 10, 0.01  # the measured step is the mean of so many, beyond the ignored share
PADDING = 5  # steps
MOST_POINTS = 50  # of the fine grid, times the number of energies


def steepest_e0_ev(energy_ev: NDArray[np.float64], mu: NDArray[np.floating]) -> float:
    """Return the energy of a scan at which a spectrum (E,) rises most steeply.

    The slope is looked at twice: as it is, and then, around the first finding, smoothed by a Lorentzian as
    wide as the steps of the scan.  A slope counts only if its neighbours are steep, too, so that a glitch is
    not taken for the edge.  This is `find_e0` of Larch 2026.3.

    Raises
    ------
    EdgeError
        If there are fewer than ten energies, or no such rise.
    """
    mu = np.asarray(mu, np.float64)
    n_energies = len(energy_ev)
    if n_energies < MIN_ENERGIES:
        raise EdgeError(
            f"{n_energies} energies are too few to find the steepest rise; give its energy", parameter="e0_ev"
        )
    ordered, values = energy_ev[:-1], mu[:-1]  # Larch leaves the last one out
    first = _steepest(np.gradient(values) / np.gradient(ordered))
    middle = ordered[first]
    start, stop = max(3, first - AROUND), min(first + AROUND, n_energies - 3)
    early, before = EARLY
    if first < early * n_energies:
        middle, start, stop = energy_ev.mean(), max(3, first - before), n_energies - 3
    steps = [min(MOST_STEP_EV, _smallest_step(ordered)), min(MOST_STEP_EV, middle / EV_PER_STEP)]
    width = float(np.mean(np.maximum(steps, LEAST_STEP_EV)))
    near, values = energy_ev[start : stop - 1], mu[start : stop - 1]
    if len(near) < MIN_ENERGIES:
        return float(middle)
    found = _steepest(_smoothed(near, np.gradient(values) / np.gradient(near), width))
    if not found:
        raise EdgeError(
            "the spectrum has no steep rise away from its ends, so no edge is found; give its energy",
            parameter="e0_ev",
        )
    return float(near[found])


def steepest_ev(energy_ev: NDArray[np.float64], spectrum: NDArray[np.floating]) -> float:
    """Return the middle of the two neighbouring energies between which a spectrum (E,) rises most."""
    most = int(np.argmax(np.diff(spectrum)))
    return float(energy_ev[most] + energy_ev[most + 1]) / 2


def _steepest(slope: NDArray[np.float64]) -> int:
    """Return the index of the highest slope whose neighbours are high as well; 0 where there is none."""
    n = len(slope)
    end = max(END_LEAST, int(n * END_SHARE))
    inner = slope[end:-end]
    if not inner.size:
        return 0
    share = (slope - inner.min()) / max(float(np.ptp(inner)), 1e-10)
    level = HIGH if n > MANY else HIGH / 2
    for _ in range(2):
        if np.count_nonzero(share > level) >= 3:
            break
        level /= 2
    high = share > level
    if np.count_nonzero(high) < 3:
        high = np.ones(n, bool)
    good = np.zeros(n, bool)
    good[1:-1] = high[1:-1] & high[:-2] & high[2:] & (share[1:-1] > 0)
    good[:end] = False
    good[n - end + 1 :] = False
    return int(np.argmax(np.where(good, share, -np.inf))) if good.any() else 0


def _smallest_step(energy_ev: NDArray[np.float64]) -> float:
    """Return the mean of the smallest distances of neighbouring energies; infinite for fewer than 100."""
    n_ignored = int(IGNORED_STEPS * len(energy_ev))
    if not n_ignored:
        return float("inf")
    steps = np.sort(np.diff(energy_ev[:-1][n_ignored:-n_ignored]))
    return float(steps[n_ignored : n_ignored + SMALLEST_STEPS].mean())


def _smoothed(at: NDArray[np.float64], values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return values (n,) smoothed by a Lorentzian of half width `width`, on a grid of steps as wide."""
    first, last = (
        width * int((end + pad * width) / width) for end, pad in ((at[0], -PADDING), (at[-1], PADDING))
    )
    n_points = min(1 + int((last - first + 0.1 * width) / width), MOST_POINTS * len(at))
    grid = np.linspace(first, last, n_points)
    on_grid = np.interp(grid, at, values)
    window = 1 / (1 + (np.arange(2 * n_points) - n_points) ** 2.0)  # in units of the width
    mirrored = np.concatenate((on_grid[:0:-1], on_grid, on_grid[::-1]))
    smooth = fftconvolve(mirrored, window / window.sum(), mode="valid")[:n_points]
    return np.asarray(np.interp(at, grid, smooth))
