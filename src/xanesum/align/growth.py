"""Magnification that changes with energy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xanesum.align.frames import Image
from xanesum.align.moving import FrameMover, filled
from xanesum.align.refine import Refined
from xanesum.storage.memory import N_THREADS
from xanesum.storage.prefetch import in_threads

__all__ = ["MAGNIFICATIONS", "fitted_growth", "undo_magnification", "zone_plate_law"]

Array = NDArray[np.float64]

MAGNIFICATIONS = ("none", "fit", "energy")


def zone_plate_law(energy_ev: Array) -> Array:
    """Return the magnification (E,) by a zone plate: in proportion to one over the energy, 1 in the middle.

    The focal length of a zone plate is proportional to the photon energy; with the sample kept in focus and
    the detector where it is, a pixel covers a part of the sample in proportion to the energy.
    """
    return np.asarray((energy_ev[0] + energy_ev[-1]) / 2 / energy_ev)


def fitted_growth(energy_ev: Array, refined: Refined, used: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the relative growth from the first energy to the last, linear in energy, and its error.

    Each frame's growth counts by its error.  A common magnification is no growth.
    """
    weight = np.where(used & np.isfinite(refined.deformation_sigma), 1 / refined.deformation_sigma**2, 0)
    span = energy_ev[-1] - energy_ev[0]
    x = (energy_ev - energy_ev[0]) / span
    x = x - weight @ x / max(weight.sum(), 1e-300)
    power = float(weight @ x**2)
    if power <= 0:
        return 0.0, np.inf
    return float(weight @ (x * refined.deformation)) / power, power**-0.5


def undo_magnification(values: Image, magnification: Array) -> Image:
    """Return frames (E, Y, X) without their magnification about the centre; NaN stay where they are seen."""
    mover = FrameMover((values.shape[1], values.shape[2]))
    zero = np.zeros(2)

    def of(e: int) -> Image:
        there = np.isfinite(values[e])
        moved = mover.moved_back(filled(values[e], there), zero, float(magnification[e]))
        return np.where(mover.seen(there, zero, float(magnification[e])), moved, np.float32(np.nan))

    out = np.empty_like(values)
    frames = in_threads(of, range(len(values)), n_threads=N_THREADS, n_ahead=2 * N_THREADS)
    for each, frame in zip(out, frames, strict=True):
        each[...] = frame
    return out
