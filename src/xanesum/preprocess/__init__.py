"""From counts to optical density, and weight 0 for bad values; every step reports how much it changed."""

from __future__ import annotations

import warnings
from typing import Unpack

import xarray as xr

from xanesum.errors import StackError, XanesumWarning
from xanesum.preprocess.bad_frames import find_bad_frames
from xanesum.preprocess.bad_pixels import find_bad_pixels
from xanesum.preprocess.bad_regions import find_unmeasured
from xanesum.preprocess.density import to_optical_density
from xanesum.preprocess.i0 import find_empty, i0_from_region, with_i0_of
from xanesum.preprocess.marks import PreprocessReport, mark_bad_values
from xanesum.preprocess.quantity import ASSUMED, Look, judge_quantity
from xanesum.preprocess.references import Corrections, has_reference
from xanesum.stack import QUANTITIES
from xanesum.storage.scratch import IN_MEMORY, Workspace

__all__ = [
    "Corrections",
    "PreprocessReport",
    "find_bad_frames",
    "find_bad_pixels",
    "find_unmeasured",
    "i0_from_region",
    "mark_bad_values",
    "prepare",
    "settle_quantity",
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

    Where a reader guessed what the values are (``attrs["quantity_assumed"]``), the direction of the edge
    decides: optical density and fluorescence rise there, transmission falls.  A `XanesumWarning` tells what
    was changed.

    Transmitted counts without any flat or I0 get the I0 of pixels that show no edge, where there are any.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        As read.
    quantity : {"counts", "transmission", "optical_density", "fluorescence", "intensity"}, optional
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
        As the single steps; also for counts without flat, I0 and empty pixels.
    """
    if quantity is not None:
        stack = _with_quantity(stack, quantity)
    stack, report = find_unmeasured(workspace.by_frames(stack))
    stack, note = settle_quantity(stack, corrections)
    stack, step = to_optical_density(stack, workspace=workspace, **corrections)
    report += step + PreprocessReport(notes=(note,) if note else ())
    if allow_missing:
        stack, step = mark_bad_values(stack)
        report += step
    if bad_pixels:
        for find in (find_bad_frames, find_bad_pixels):
            stack, step = find(stack)
            report += step
    return stack, report


def settle_quantity(stack: xr.DataArray, given: Corrections | None = None) -> tuple[xr.DataArray, str]:
    """Judge a quantity that was assumed; give transmitted counts without flat and I0 that of empty pixels.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        As read.
    given : Corrections, optional
        References that the caller has besides those of the stack.

    Returns
    -------
    stack : DataArray
        Without the mark of an assumed quantity.
    note : str
        What was found; empty if there is nothing to say.

    Raises
    ------
    StackError
        If transmitted counts have no flat, no I0 and no empty pixels.
    """
    given = Corrections() if given is None else given
    is_assumed, note = bool(stack.attrs.get(ASSUMED, False)), ""
    stack, look = judge_quantity(stack, given)
    if is_assumed and stack.attrs["quantity"] == "intensity":
        note = "nothing says what the values are: they were taken as intensity (their quantity can be given)"
    if stack.attrs["quantity"] == "counts" and look is not None and not has_reference(stack, given):
        stack = _with_found_i0(stack, look)
        note = stack.attrs["history"][-1]
    return stack, note


def _with_found_i0(stack: xr.DataArray, look: Look) -> xr.DataArray:
    """Return counts with the I0 of their empty pixels, and warn of it; raise StackError if there are few."""
    empty = find_empty(stack, look)
    if empty is None:
        risen = look.edge()[0] > 0
        remedy = (
            "they rise at the edge, as fluorescence does: if it is fluorescence, say so; otherwise give I0"
            if risen
            else "give I0, or a region of the images without sample"
            + ', or take the "monitor" of the file as I0' * ("monitor" in stack.coords)
        )
        raise StackError(
            "transmitted counts need I0: there is no flat and no I0, and no pixels without sample were "
            f"found; {remedy}",
            parameter="quantity" if risen else "i0",
        )
    stack = with_i0_of(stack, empty)
    note = f"{stack.attrs['history'][-1]}; if there is sample, give I0"
    warnings.warn(XanesumWarning(note, parameter="i0"), stacklevel=3)
    return stack


def _with_quantity(stack: xr.DataArray, quantity: str) -> xr.DataArray:
    if quantity not in QUANTITIES:
        raise StackError(f"quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    stack = stack.copy(deep=False)
    stack.attrs["quantity"] = quantity
    stack.attrs.pop(ASSUMED, None)
    return stack
