"""Simulated scans that move, with what is known of them; shared by the tests of alignment."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import fft

from xanesum.phantom import Motion, draw_motion, energy_grid_ev, moving

N_ENERGIES = 40
SHAPE = (80, 96)
MIRROR = 16


@dataclass(frozen=True)
class Scan:
    stack: xr.DataArray
    clean: np.ndarray
    motion: Motion
    sigma: float
    slopes: np.ndarray  # (E, 2), sum of the squared slopes of each clean frame

    @property
    def strong(self):
        """Frames whose squared slopes are above 4 % of the strongest frame's."""
        total = self.slopes.sum(axis=1)
        return total > 0.04 * total.max()


def scan_of(kind, *, sigma, seed=1, shape=SHAPE, **motion):
    rng = np.random.default_rng(seed)
    drawn = draw_motion(energy_grid_ev(N_ENERGIES), rng=rng, **motion)
    phantom = moving(kind, drawn, shape=shape, rng=rng)
    clean = phantom.clean().values
    return Scan(
        phantom.noisy(sigma, rng=rng), clean, drawn, sigma, np.array([squared_slopes(f) for f in clean])
    )


def squared_slopes(frame):
    """Sums of the squared derivatives along y and x, by Fourier coefficients of the mirrored frame."""
    big = np.pad(frame.astype(float), MIRROR, mode="symmetric")
    coefficients = fft.rfft2(big)
    waves = fft.fftfreq(big.shape[0])[:, None], fft.rfftfreq(big.shape[1])
    inside = np.s_[MIRROR:-MIRROR, MIRROR:-MIRROR]
    return [np.sum(fft.irfft2(2j * np.pi * f * coefficients, big.shape)[inside] ** 2) for f in waves]


def cramer_rao(scan):
    """Least standard error (E, 2) of a shift in white noise, if the scene were known."""
    return scan.sigma / np.sqrt(scan.slopes)


def errors_of(shifts, scan):
    """Errors (E, 2) of the shifts; a common shift of all frames is none."""
    error = shifts.shifts_px - scan.motion.shifts_px
    weight = scan.slopes.sum(axis=1)
    return error - weight @ error / weight.sum()


GOOD = scan_of("brine", sigma=10.0, jitter_px=2.0, shape=(40, 48))
