"""Rotation of the sample about the axis of the beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xanesum.align.frames import Level
from xanesum.align.refine import GROWS, TURNS, Refined, refine
from xanesum.align.shifts import Rotation
from xanesum.align.state import State
from xanesum.align.template import Template

__all__ = ["fitted_rotation"]

Array = NDArray[np.float64]

SCALE_ERROR = 0.05  # of an angle: frames that are turned blur the model, and one step of regression is linear
LARGEST_SIGMA = 0.5  # radians: from such an error on, nothing is known of an angle


def fitted_rotation(level: Level, template: Template, state: State, energy_ev: Array) -> Rotation:
    """Return the angle of every frame against what the others expect of it.

    What the model does not know of the chemistry looks like a small deformation of the frames.  It looks like
    growth as much as like rotation.  A sample does not grow, but for the law of the zone plate, which is
    linear.  So errors of angles are made as large as those of growth turn out to be, beside a line.

    Parameters
    ----------
    level, template, state
        At the shifts that were found.
    energy_ev : ndarray, shape (E,)
    """
    grown, turned = (refine(level, template, state, deformed=kind) for kind in (GROWS, TURNS))
    known = state.used & np.isfinite(grown.deformation_sigma) & (turned.deformation_sigma < LARGEST_SIGMA)
    if known.sum() < 2:
        n = len(energy_ev)
        return Rotation(np.zeros(n), np.full(n, np.inf), 1.0)
    spread, n_free = _beside_line(grown, known, energy_ev)
    sigma = turned.deformation_sigma * np.sqrt(max(spread / max(n_free, 1), 1.0))
    weight = np.where(known, 1 / sigma**2, 0)
    angle = turned.deformation - weight @ turned.deformation / max(weight.sum(), 1e-300)
    angle[~known], sigma[~known] = 0, np.inf
    p_none = _p_value_of_none(angle, sigma, known, energy_ev)
    return Rotation(np.degrees(angle), np.degrees(np.hypot(sigma, SCALE_ERROR * angle)), p_none)


def _beside_line(grown: Refined, known: NDArray[np.bool_], energy_ev: Array) -> tuple[float, int]:
    """Return the sum of squares of growth over its errors beside a line in energy, and its freedom."""
    sigma = grown.deformation_sigma[known]
    design = _line(energy_ev[known]) / sigma[:, None]
    target = grown.deformation[known] / sigma
    solution, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    return float(np.sum((target - design @ solution) ** 2)), int(known.sum()) - int(rank)


def _p_value_of_none(angle: Array, sigma: Array, known: NDArray[np.bool_], energy_ev: Array) -> float:
    """Return the probability of angles as large as these, or of as much trend, where nothing turns."""
    target = angle[known] / sigma[known]
    design = _line(energy_ev[known]) / sigma[known][:, None]
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    all_of_it, beside = float(np.sum(target**2)), float(np.sum((target - design @ solution) ** 2))
    by_chance = stats.chi2.sf(all_of_it, known.sum() - 1), stats.chi2.sf(max(all_of_it - beside, 0), 1)
    return float(min(1.0, 2 * min(by_chance)))  # of two tests


def _line(energy_ev: Array) -> Array:
    """Return the columns (E, 2) of a line in energy."""
    middle = energy_ev - energy_ev.mean()
    return np.column_stack([np.ones(len(middle)), middle / max(np.ptp(middle), 1e-300)])
