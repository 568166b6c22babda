"""All methods by name: nothing, those of others, and ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr
from rivals import RIVALS, Rival
from rivals.blind_spot import UDVD_BUDGET, udvd
from rivals.fine_tuning import FINE_TUNING, frame_to_frame, restore_from_restored

from paper.scans import Case, Found, Size
from xanesum import denoise
from xanesum.errors import XanesumWarning
from xanesum.stack import make_stack

__all__ = ["FAST", "OURS", "SLOW_CELLS", "Method", "methods"]

OURS = ("sum+", "sum")
FAST = ("3-D median", "SVD, SURE, hard", "SVD, SURE, soft", "SVD, optimal shrinkage")
SUBSPACE = ("HyperSpy PCA, Poisson weights", "FastHyDe", "NGMeet", "non-negative factors")
MOST_VALUES = 5e8  # that their programs, which copy a stack as float64 several times, are given
SLOW_CELLS = {("particle", 10.0), ("particle", 60.0), ("particle", 150.0), ("inclusions", 60.0)}  # if few
LEARNED = {  # they learn from the scan, for a time that may be set
    "UDVD": (udvd, UDVD_BUDGET),
    "RFR": (restore_from_restored, FINE_TUNING),
    "Frame2Frame": (frame_to_frame, FINE_TUNING),
}


@dataclass(frozen=True)
class Method:
    """A method that takes a noisy stack, the standard deviation of its noise and a generator."""

    name: str
    run: Callable[[xr.DataArray, float, np.random.Generator], Found]
    paper: str = ""  # name of the column in Table 1 of the paper
    most_values: float = np.inf  # of a scan that is larger, the method gets the middle
    note: str = ""

    @property
    def slow(self) -> bool:
        """Whether the method cannot take every scan as a whole."""
        return self.most_values < np.inf

    def gets_middle(self, case: Case) -> bool:
        """Whether the whole scan is too much for the method."""
        return case.phantom.mask.size * len(case.phantom.energy_ev) > self.most_values


def methods(size: Size, *, slow: bool = True) -> dict[str, Method]:
    """Return all methods, from the noisy stack to ours; without `slow`, those that take whole scans only."""
    listed = [Method("noisy", lambda stack, sigma, rng: stack, "Noisy")]
    for rival in RIVALS.values():
        if slow or rival.name in FAST:
            listed.append(_of_rival(rival, size))
    listed += [Method(name, partial(_ours, name), "SUM") for name in reversed(OURS)]
    return {method.name: method for method in listed}


def _of_rival(rival: Rival, size: Size) -> Method:
    run, note = rival.denoise, rival.note
    if rival.name in LEARNED:
        function, budget = LEARNED[rival.name]
        budget = replace(budget, iterations=round(size.training * budget.iterations))
        run, note = partial(function, budget=budget), f"{rival.note}; here {budget.iterations} steps"

    def denoised(stack: xr.DataArray, sigma: float, rng: np.random.Generator) -> xr.DataArray:
        return make_stack(run(stack.values, sigma, rng), stack.energy.values)

    most = np.inf if rival.name in FAST else MOST_VALUES if rival.name in SUBSPACE else 0
    return Method(rival.name, denoised, rival.paper, most, note)


def _ours(name: str, stack: xr.DataArray, sigma: float, rng: np.random.Generator) -> Found:
    """Denoise as by default: the noise level is estimated, not given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        return denoise(stack, method=name)
