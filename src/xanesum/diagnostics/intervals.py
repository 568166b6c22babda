"""Reasons for which the stated errors of a map may not hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from xanesum.diagnostics.lost_signal import PLACES, LostSignal
from xanesum.diagnostics.whiteness import Whiteness
from xanesum.flat_field.remaining import remaining_drift
from xanesum.method.fit import MAX_RANK
from xanesum.result import Denoised
from xanesum.stack import usable_weight

__all__ = ["CORRELATED_WORDS", "UNTESTED_WORDS", "reasons_against"]

LEAST_SIZE, MOST_SIZE = 0.9, 1.05  # of the residual over the noise level: too large errors harm less
LEAST_FREE = 2  # energies beyond the components that a test of the residual needs
UNTESTED_WORDS = "cannot be tested"
CORRELATED_WORDS = "the residual is correlated from neighbour to neighbour"


def reasons_against(
    stack: xr.DataArray, result: Denoised, whiteness: Whiteness, lost: LostSignal, size: float
) -> Iterator[str]:
    """Yield what speaks against the stated errors, a sentence each.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        The stack that was denoised.
    result : Denoised
    whiteness : Whiteness
        Of the residual.
    lost : LostSignal
        Of the residual.
    size : float
        Rms of the residual over the noise level.
    """
    yield from result.reasons
    n_energies = int(np.count_nonzero(usable_weight(stack)))
    if n_energies - result.rank < LEAST_FREE:
        text = (
            f"{result.rank} components of {n_energies} energies leave too little to test, so errors and lost "
            f"signal {UNTESTED_WORDS}"
        )
        yield text if result.rank < 2 else f"{text}; use fewer components"
        return
    drift = remaining_drift(stack, result)
    if drift:
        yield (
            f"the light of the frames changes by {drift:.2g} (rms, optical density), which was not removed; "
            "remove it before denoising, as correct_flat_drift does"
        )
    if not lost.scale_px:
        yield "the images are too small for a test of the residual, so lost signal cannot be told from noise"
    if lost.found:
        slowly = lost.place == "component" and lost.is_smooth
        source = "the sample, or of illumination that changed" if slowly else "the sample"
        more = ", and compare with more components" if result.rank < MAX_RANK else ""
        yield (
            f"the residual holds something of {source}: {PLACES[lost.place]} (chance that it is "
            f"noise {lost.p_value:.1g}, over {lost.scale_px} x {lost.scale_px} px); see "
            f"the residual in the report{more}"
        )
    allowed_for = ("x", "y") if result.provenance.get("noise_reach_px") else ()
    if set(whiteness.correlated_along) - set(allowed_for):
        yield (
            f"{CORRELATED_WORDS}: {whiteness.in_words}; noise is not independent, as after resampling, or "
            "the sample or the illumination moved; errors of the map are too small"
        )
    if not LEAST_SIZE <= size <= MOST_SIZE:
        yield (
            f"the residual is {size:.2f} times the stated noise level; "
            "errors of the map are wrong by the same factor"
        )
