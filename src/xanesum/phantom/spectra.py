"""Analytic Ni K-edge spectra of a cathode at five states of charge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import erf

from xanesum.phantom import parameters as p

__all__ = ["energy_grid_ev", "state_spectra"]


def energy_grid_ev(n_energies: int = p.N_ENERGIES) -> NDArray[np.float64]:
    """Return `n_energies` energies in eV over the paper's Ni K range, closer together across the edge.

    As at a beamline, the points within the edge region are `EDGE_DENSITY` times as dense as elsewhere.
    """
    fine = np.linspace(p.FIRST_EV, p.LAST_EV, 20_001)
    inside = (fine >= p.EDGE_REGION_EV[0]) & (fine <= p.EDGE_REGION_EV[1])
    share = np.cumsum(np.where(inside, p.EDGE_DENSITY, 1.0))
    share = (share - share[0]) / (share[-1] - share[0])
    return np.interp(np.linspace(0, 1, n_energies), share, fine)


def state_spectra(energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spectra (R, E): a step of 1, whose half is exactly at `HALF_STEP_EV`, on a weak line.

    Each is the sum of a rounded step, a white line whose height falls with the state, a weak pre-edge peak
    and a damped oscillation.  The sum is shifted in energy until its half-step energy is right.  The line
    is the absorption of the rest of the sample, which the subtraction of the pre-edge line removes.
    """
    matrix = p.MATRIX_LEVEL + p.MATRIX_SLOPE_PER_EV * (energy_ev - p.FIRST_EV)
    return (
        np.array([_spectrum(energy_ev, state, _shift(state)) for state in range(len(p.HALF_STEP_EV))])
        + matrix
    )


def _shift(state: int) -> float:
    """Return the edge parameter in eV that gives the half-step energy of `state`."""
    target = p.HALF_STEP_EV[state]
    return float(brentq(lambda e: _spectrum(np.array([target]), state, e)[0] - 0.5, target - 15, target + 15))


def _spectrum(energy_ev: NDArray[np.float64], state: int, edge_ev: float) -> NDArray[np.float64]:
    x = energy_ev - edge_ev
    step = 0.5 * (1 + erf(x / p.STEP_WIDTH_EV))
    line = p.WHITE_LINE_HEIGHT[state] * np.exp(
        -0.5 * ((x - p.WHITE_LINE_OFFSET_EV) / p.WHITE_LINE_WIDTH_EV) ** 2
    )
    pre = p.PRE_PEAK_HEIGHT * np.exp(-0.5 * ((x + p.PRE_PEAK_OFFSET_EV) / p.PRE_PEAK_WIDTH_EV) ** 2)
    above = np.maximum(x, 0)
    wave = (
        p.EXAFS_HEIGHT
        * np.sin(2 * p.EXAFS_RADIUS[state] * np.sqrt(above))
        * np.exp(-above / p.EXAFS_DECAY_EV)
    )
    return np.asarray(step + line + pre + wave * (1 - np.exp(-above / 10)))
