"""Move every frame of the raw stack once: white noise stays white, and nothing comes round the other side."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.align.estimate import estimate_shifts
from xanesum.align.moving import FrameMover, filled, magnified_matrix
from xanesum.align.shifts import LEFT_OUT, Shifts
from xanesum.errors import StackError
from xanesum.stack import add_history, check_stack, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame, with_values
from xanesum.storage.scratch import IN_MEMORY, Workspace

__all__ = ["align"]

Image = NDArray[np.float32]

LEAST_KNOWN = 0.5  # of the frames with weight, in which a pixel must have a value


def align(
    stack: xr.DataArray, shifts: Shifts | None = None, *, workspace: Workspace = IN_MEMORY
) -> xr.DataArray:
    """Return the stack with the sample at rest, each frame resampled once from its raw values.

    Frames are moved by the phase of their Fourier coefficients, mirrored at the borders.  Noise that is white
    stays white.  With a magnification, the same is done by two matrices a frame.  Values that are missing, or
    of pixels that the mask leaves out, are filled from their neighbours first, so that they are not smeared;
    pixels next to them are missing in the result.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Optical density.  Counts must be divided by their flats first, since flats belong to the detector.
    shifts : Shifts, optional
        By default those of `estimate_shifts`.
    workspace : Workspace
        Where the result is kept; in memory by default.

    Returns
    -------
    DataArray
        float32, of the same dimensions and size.  Coordinate `mask` holds the pixels that were inside the
        field in every frame with weight, and of which at least half of the values are known; values outside
        the field are NaN.  Frames that were left out have
        `weight` 0.  Other coordinates over pixels are gone, since they belong to the detector.  Coordinates
        `shift_y_px` and `shift_x_px` hold the shifts, `shift_sigma_y_px` and `shift_sigma_x_px` the errors.
        `resampling`, `resampled_noise` (least and greatest factor of the noise's standard deviation)
        and `missing_values` of `attrs` say what was done.

    Raises
    ------
    StackError
        If the stack holds counts, the shifts belong to another stack, or no pixel was seen in all frames.
    """
    check_stack(stack)
    quantity = stack.attrs["quantity"]
    if quantity in ("counts", "transmission"):
        raise StackError(
            f"expected optical density, got {quantity}; convert it first, in xanesum.preprocess.prepare, "
            "since flats belong to the detector and not to the sample"
        )
    shifts = estimate_shifts(stack) if shifts is None else shifts
    shape = (stack.shape[1], stack.shape[2])
    shifts.check_for(stack.energy.values, shape)
    weight = usable_weight(stack) & (shifts.flag != LEFT_OUT)
    moved, common = _resampled(stack, shifts, weight, workspace)
    if not common.any():
        raise StackError(
            f"no pixel was seen in all {int(weight.sum())} frames; leave out those that are farthest away"
        )
    return _labelled(moved, shifts, common, weight)


def _resampled(
    stack: xr.DataArray, shifts: Shifts, weight: NDArray[np.bool_], workspace: Workspace
) -> tuple[xr.DataArray, NDArray[np.bool_]]:
    """Return the stack with moved frames, and the pixels (Y, X) that all frames of weight saw."""
    shape = (stack.shape[1], stack.shape[2])
    mask, everywhere = usable_mask(stack), np.ones(shape, bool)
    mover = FrameMover(shape)

    def of(e: int, values: NDArray[np.float64]) -> tuple[Image, NDArray[np.bool_]]:
        frame = values.astype(np.float32)
        there = mask & np.isfinite(frame)
        where = shifts.shifts_px[e], float(shifts.magnification[e])
        moved = mover.moved_back(filled(frame, there), *where)
        inside = mover.seen(everywhere, *where)
        seen = inside if there.all() else inside & mover.seen(there, *where)
        return np.where(seen, moved, np.float32(np.nan)), inside

    frames = workspace.frames(stack.shape)
    common, n_known = everywhere.copy(), np.zeros(shape, np.int64)
    for e, (frame, inside) in enumerate(each_frame(workspace.by_frames(stack), of)):
        frames[e] = frame
        if weight[e]:
            common &= inside
            n_known += np.isfinite(frame)
    common &= n_known >= LEAST_KNOWN * max(int(weight.sum()), 1)
    return with_values(stack, frames.variable()), common


def _count_missing(stack: xr.DataArray, common: NDArray[np.bool_], weight: NDArray[np.bool_]) -> int:
    """Return how many values are missing in the pixels that all frames saw."""
    counts = each_frame(stack, lambda e, frame: int(np.count_nonzero(np.isnan(frame[common]))) * weight[e])
    return int(sum(counts))


def _labelled(
    stack: xr.DataArray, shifts: Shifts, common: NDArray[np.bool_], weight: NDArray[np.bool_]
) -> xr.DataArray:
    """Return moved frames with new labels; `common` are the pixels that all frames of `weight` saw."""
    of_detector = [name for name, each in stack.coords.items() if {"y", "x"} & set(each.dims)]
    of_detector = [name for name in of_detector if name not in ("y", "x")]
    out = stack.drop_vars(of_detector)
    old = stack["weight"].values if "weight" in stack.coords else np.ones(len(stack))
    out = out.assign_coords(
        mask=(("y", "x"), common),
        weight=("energy", np.where(weight, old, 0).astype(np.float64)),
        shift_y_px=("energy", shifts.shifts_px[:, 0]),
        shift_x_px=("energy", shifts.shifts_px[:, 1]),
        shift_sigma_y_px=("energy", shifts.sigma_px[:, 0]),
        shift_sigma_x_px=("energy", shifts.sigma_px[:, 1]),
    )
    magnified = bool(np.any(shifts.magnification != 1))
    out.attrs["resampling"] = "Fourier shift" + (" and magnification" if magnified else "")
    out.attrs["resampled_noise"] = _noise_factors(shifts, (stack.shape[1], stack.shape[2]))
    out.attrs["missing_values"] = _count_missing(stack, common, weight)
    span = np.ptp(shifts.shifts_px[weight], axis=0)
    lost = 1 - common.mean()
    note = (
        f"aligned: frames moved over {span[0]:.2f} px along y and {span[1]:.2f} px along x, "
        f"resampled once by {out.attrs['resampling']}; "
        f"{100 * lost:.1f} % of the field was not seen in all frames"
    )
    if n_out := int(np.sum(shifts.flag == LEFT_OUT)):
        note += f"; {n_out} frames left out"
    return add_history(out, note)


def _noise_factors(shifts: Shifts, shape: tuple[int, int]) -> tuple[float, float]:
    """Return the least and greatest factor of the standard deviation of white noise by resampling."""
    extremes = {float(shifts.magnification.min()), float(shifts.magnification.max())}
    factors = [1.0]
    for growth in extremes - {1.0}:
        squares = [np.sum(magnified_matrix(n, 0.37, growth) ** 2, axis=1)[n // 8 : -n // 8] for n in shape]
        factors.append(float(np.sqrt(squares[0].mean() * squares[1].mean())))
    return min(factors), max(factors)
