"""Alignment as a step of a run: which shifts are used, and what they did."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft

from xanesum.align import Shifts, align, estimate_shifts, read_shifts
from xanesum.align.estimate import SMALLEST_PX
from xanesum.align.frames import LEAST_SHARE
from xanesum.align.moving import filled
from xanesum.align.shifts import ALIGNED, LEFT_OUT
from xanesum.linalg.binning import block_sums
from xanesum.method.problem import Progress
from xanesum.report.texts import Motion
from xanesum.stack import DIMS, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame, is_lazy
from xanesum.storage.scratch import Workspace
from xanesum.streaming.resources import DEFAULT_RESOURCES, Resources
from xanesum.workflow.recipe import AUTO, NONE, AlignOptions

__all__ = ["MOTION_LINE", "align_scan", "moved_text"]

MOTION_LINE = "motion of the sample:"  # beginning of the line that says what was found and done
UNCERTAIN_PX = 1.0  # median error of the shifts from which a map is said to be blurred
LEAST_AVERAGES = 32  # along each side: fewer blur the shapes by which motion is told from chemistry
SCALES = (2, 4, 8)  # sides of blocks of pixels, in whose averages shifts are sought where memory is little
IN_PX = re.compile(r"(\d+\.?\d*) px")  # a length in a reason


def align_scan(
    stack: xr.DataArray,
    options: AlignOptions,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress = lambda step, share: None,
) -> tuple[xr.DataArray, Motion | None]:
    """Move the frames of a stack back to where the sample was, as the options say.

    Small images and line scans stay as they are, unless shifts are given.

    Returns
    -------
    stack : DataArray, dims (energy, y, x)
        The same stack where nothing moved.
    motion : Motion or None
        What was found and done; None where nobody looked.

    Raises
    ------
    ReadError, StackError, RecipeError
        If a file of shifts cannot be read or is of another scan, or an option is impossible.
    """
    if options.shifts == NONE:
        return stack, None
    if options.shifts == AUTO and min(stack.shape[1:]) < SMALLEST_PX:
        text = f"not looked for: images of less than {SMALLEST_PX} x {SMALLEST_PX} px show too little of it"
        return stack, Motion(None, None, False, text)
    progress("align", 0.0)
    if options.file is not None:
        shifts = read_shifts(Path(options.file), stack.energy.values)
        shifts.check_for(stack.energy.values, (stack.shape[1], stack.shape[2]), source=options.file)
        return _moved(stack, shifts, f"shifts of {Path(options.file).name}", resources)
    framed = resources.workspace.by_frames(stack)  # so that no part of a file is read twice
    scale = _scale(framed, resources.workspace)
    if scale is None:
        text = (
            "not looked for: the scan does not fit in memory, and averages over pixels do not either, "
            "or are too small; allow more memory, or give shifts in a file"
        )
        return stack, Motion(None, None, False, text)
    shifts = _estimated(framed, scale, options, lambda step, share: progress("align", share))
    source = "estimated" if scale == 1 else f"estimated on averages of {scale} x {scale} pixels"
    if shifts.moves:
        return _moved(framed, shifts, source, resources)
    text = (
        f"none: a sample at rest would seem to move as much with a chance of {shifts.p_still:.2g} ({source})"
    )
    return stack, Motion(shifts, None, False, text)


def _scale(stack: xr.DataArray, workspace: Workspace) -> int | None:
    """Return the side of the least blocks of pixels whose averages fit in memory; None if none do."""
    if not is_lazy(stack) or workspace.holds(stack.shape):
        return 1
    for scale in SCALES:
        size = (stack.shape[1] // scale, stack.shape[2] // scale)
        if min(size) >= LEAST_AVERAGES and workspace.holds((len(stack), *size)):
            return scale
    return None


def _estimated(stack: xr.DataArray, scale: int, options: AlignOptions, progress: Progress) -> Shifts:
    """Return the shifts in pixels, estimated on averages over blocks of `scale` x `scale` pixels."""
    most = options.max_shift_px
    if most is not None and most >= 1:
        most = max(most / scale, 1.0)
    found = estimate_shifts(
        _averaged(stack, scale),
        max_shift=most,
        magnification=options.magnification,
        progress=progress,
    )
    if scale == 1:
        return found
    # rows and columns beyond the last whole block are gone, so the averages have another centre
    centre = -0.5 * (np.array(stack.shape[1:]) % scale)
    return replace(
        found,
        shifts_px=found.shifts_px * scale + (1 - found.magnification)[:, None] * centre,
        covariance_px2=found.covariance_px2 * scale**2,
        reasons=tuple(IN_PX.sub(lambda px: f"{scale * float(px[1]):.1f} px", each) for each in found.reasons),
    )


def _averaged(stack: xr.DataArray, scale: int) -> xr.DataArray:
    """Return frames averaged to pixels of `scale` x `scale`, in memory; they are read one by one.

    The averages are weighted: low frequencies are kept, and high ones cut off.  Plain averages would fold
    high frequencies down to low ones, which do not move as the sample does.  White noise stays white.
    Missing values are filled from their neighbours.  A pixel of which less than half is there is missing, or
    left out if the mask leaves less than half.  Rows and columns beyond the last whole pixel are left out.
    """
    if scale == 1:
        return stack
    n_y, n_x = (size // scale for size in stack.shape[1:])
    cut = np.s_[: n_y * scale, : n_x * scale]
    mask = usable_mask(stack)[cut]
    counts = block_sums(mask.astype(np.float32), scale)

    def average(_: int, values: NDArray[np.float64]) -> NDArray[np.float32]:
        frame = values[cut].astype(np.float32)
        there = mask & np.isfinite(frame)
        waves = fft.dctn(filled(frame, there), norm="ortho")[:n_y, :n_x]
        means = fft.idctn(waves, norm="ortho") / scale
        n_there = block_sums(there.astype(np.float32), scale)
        return np.asarray(np.where(n_there >= LEAST_SHARE * np.maximum(counts, 1), means, np.nan), np.float32)

    averages = np.empty((len(stack), n_y, n_x), np.float32)
    for e, frame in enumerate(each_frame(stack, average)):
        averages[e] = frame
    coords = {
        "energy": stack.energy.values,
        "weight": ("energy", usable_weight(stack).astype(np.float64)),
        "mask": (("y", "x"), counts >= LEAST_SHARE * scale**2),
    }
    return xr.DataArray(averages, coords, DIMS, attrs={"quantity": stack.attrs["quantity"]})


def moved_text(shifts: Shifts) -> str:
    """Return how far the sample moved, and how well that is known."""
    used = shifts.flag != LEFT_OUT
    own = shifts.flag == ALIGNED
    span_y, span_x = np.ptp(shifts.shifts_px[used], axis=0)
    error = float(np.median(shifts.sigma_px[own if own.any() else used]))
    known = f"known to {error:.2g} px (median)" if shifts.sigma_px.any() else "with errors that are not known"
    text = f"over {span_y:.3g} px along y and {span_x:.3g} px along x, {known}"
    by_drift = int(np.count_nonzero(used & ~own))
    if by_drift:
        text += f"; {by_drift} frames show too little and were placed between their neighbours"
    out = int(np.count_nonzero(~used))
    if out:
        text += f"; {out} frames are left out"
    growth = float(np.ptp(shifts.magnification))
    return text + (f"; magnification changes by {100 * growth:.2g} %" if growth else "")


def _moved(
    stack: xr.DataArray, shifts: Shifts, source: str, resources: Resources
) -> tuple[xr.DataArray, Motion]:
    """Return the aligned stack, and what was done."""
    before = _mean_image(stack)
    aligned = align(stack, shifts, workspace=resources.workspace)
    left, all_of_them = (int(np.count_nonzero(usable_mask(each))) for each in (aligned, stack))
    text = (
        f"{moved_text(shifts)} ({source}); frames were moved back, "
        f"{all_of_them - left} of {all_of_them} pixels were not seen in all of them"
    )
    known_px = float(np.median(np.sqrt(np.trace(shifts.covariance_px2, axis1=1, axis2=2) / 2)))
    if known_px > UNCERTAIN_PX:
        aligned.attrs["motion_doubt"] = (
            f"the sample moves, and most frames show little of it: shifts known to {known_px:.1f} px, "
            "so the map is blurred; expose longer, or give the shifts in a file"
        )
    return aligned, Motion(shifts, before, True, text)


def _mean_image(stack: xr.DataArray) -> NDArray[np.float32]:
    """Return the mean frame (Y, X), NaN where no value is known."""
    total, count = np.zeros(stack.shape[1:]), np.zeros(stack.shape[1:])
    for e in np.flatnonzero(usable_weight(stack)):
        frame = np.asarray(stack[e].values, np.float64)
        known = np.isfinite(frame)
        total += np.where(known, frame, 0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
