"""From counts to optical density, and weight 0 for bad values; every step reports how much it changed."""

from __future__ import annotations

from typing import Unpack

import xarray as xr

from xanesum.errors import StackError
from xanesum.preprocess.bad_frames import find_bad_frames
from xanesum.preprocess.bad_pixels import find_bad_pixels
from xanesum.preprocess.bad_regions import find_unmeasured
from xanesum.preprocess.density import Corrections, has_reference, to_optical_density
from xanesum.preprocess.marks import PreprocessReport, mark_bad_values
from xanesum.stack import QUANTITIES
from xanesum.storage.scratch import IN_MEMORY, Workspace

__all__ = [
    "Corrections",
    "PreprocessReport",
    "find_bad_frames",
    "find_bad_pixels",
    "find_unmeasured",
    "mark_bad_values",
    "prepare",
    "to_optical_density",
]


def prepare(
    stack: xr.DataArray,
    *,
    quantity: str | None = None,
    allow_missing: bool = False,
    bad_pixels: bool = True,
    workspace: Workspace = IN_MEMORY,
    **corrections: Unpack[Corrections],
) -> tuple[xr.DataArray, PreprocessReport]:
    """Run the standard steps: parts not measured, optical density, bad values, bad frames, bad pixels.

    Counts without any flat or I0 stay counts, and the report says so.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        As read.
    quantity : {"counts", "transmission", "optical_density", "intensity"}, optional
        What the values are, where the file does not say so or is wrong.
    allow_missing : bool
        Whether NaN and frames of zeros get weight 0.  Otherwise they stay, and the next step refuses them.
        (What becomes NaN in the conversion to optical density always gets weight 0.)
    bad_pixels : bool
        Whether to look for dead, hot, stuck and noisy pixels, and for bad frames.
    workspace : Workspace
        Where converted values are kept, and stacks that are stored in chunks of several energies; in memory
        by default.
    **corrections
        Options of `to_optical_density`.

    Returns
    -------
    stack : DataArray
        A new stack, float32.
    report : PreprocessReport
        Changes of all steps together.

    Raises
    ------
    StackError
        As the single steps.
    """
    if quantity is not None:
        stack = _with_quantity(stack, quantity)
    stack = workspace.by_frames(stack)
    stack, report = find_unmeasured(stack)
    if has_reference(stack, corrections):
        stack, step = to_optical_density(stack, workspace=workspace, **corrections)
        report += step
    else:
        report += PreprocessReport(notes=("no flat and no I0: the counts were left as they are",))
    if allow_missing:
        stack, step = mark_bad_values(stack)
        report += step
    if bad_pixels:
        for find in (find_bad_frames, find_bad_pixels):
            stack, step = find(stack)
            report += step
    return stack, report


def _with_quantity(stack: xr.DataArray, quantity: str) -> xr.DataArray:
    if quantity not in QUANTITIES:
        raise StackError(f"quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    stack = stack.copy(deep=False)
    stack.attrs["quantity"] = quantity
    return stack
