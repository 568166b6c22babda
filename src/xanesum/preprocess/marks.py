"""Marks for bad values, pixels and frames, and the report that counts them by cause."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import StackError
from xanesum.stack import DIMS, add_history, check_stack, frames_may_be_zero, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame, with_frames

__all__ = ["BAD_SHARE", "PreprocessReport", "mark", "mark_bad_values", "noted"]

BAD_SHARE = 0.5  # a pixel or frame with more bad values than this is left out as a whole


@dataclass(frozen=True, slots=True)
class PreprocessReport:
    """Number of changes, by cause; reports of consecutive steps add up."""

    n_values: int = 0  # voxels that were examined
    n_not_finite: int = 0  # voxels that were NaN or infinite
    n_saturated: int = 0  # voxels where the camera was saturated
    n_not_positive: int = (
        0  # voxels at or below 0 after subtraction of dark and offset: they have no logarithm
    )
    n_linear: int = 0  # voxels too dark for a logarithm, taken as linear in the counts
    n_bad_reference: int = 0  # voxels without a usable flat or I0
    n_unmeasured_pixels: int = 0  # pixels that were 0, or NaN, at all energies
    n_unmeasured_values: int = 0  # voxels in regions of zeros, in some of the frames
    n_spikes: int = 0  # single voxels far from all their neighbours
    n_blank_frames: int = 0  # frames that were 0 everywhere
    n_bad_frames: int = 0  # frames that were illuminated differently from their neighbours
    n_outlying_pixels: int = 0  # pixels far from all their neighbours over the whole scan: hot or dead
    n_stuck_pixels: int = 0  # pixels that change far less than their neighbours
    n_noisy_pixels: int = 0  # pixels that change far more than their neighbours
    n_masked_pixels: int = 0  # pixels newly left out (mask False), for any cause
    n_dropped_frames: int = 0  # frames newly given weight 0
    n_missing: int = 0  # voxels without a value at the pixels and frames that remain
    notes: tuple[str, ...] = ()  # other changes, as text

    def __add__(self, other: PreprocessReport) -> PreprocessReport:
        """Return the report of both steps, `other` being the later one."""
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        last = {"n_values": max(self.n_values, other.n_values), "n_missing": other.n_missing}
        return PreprocessReport(**{**counts, **last})

    def lines(self) -> list[str]:
        """Return one line of text for every note and every cause that occurred."""
        lines = list(self.notes)
        for name, text in LINES.items():
            count = getattr(self, name)
            if count:
                share = f" ({100 * count / self.n_values:.2g} %)" if "values" in text else ""
                lines.append(f"{count} {text}{share}")
        return lines or ["no value, pixel or frame was left out"]


LINES = {
    "n_not_finite": "values were not finite",
    "n_saturated": "values were saturated",
    "n_not_positive": "values were not positive",
    "n_linear": "values were too dark for a logarithm (linear in the counts)",
    "n_bad_reference": "values had no usable flat or I0",
    "n_unmeasured_pixels": "pixels were 0 or NaN at all energies (not measured)",
    "n_unmeasured_values": "values lay in regions of zeros (not measured)",
    "n_spikes": "values stood out from all their neighbours (spikes)",
    "n_blank_frames": "frames were zero everywhere",
    "n_bad_frames": "frames were illuminated differently from their neighbours",
    "n_outlying_pixels": "pixels stood out from all their neighbours (hot or dead)",
    "n_stuck_pixels": "pixels hardly changed (stuck)",
    "n_noisy_pixels": "pixels changed far more than their neighbours (noisy)",
    "n_masked_pixels": "pixels were left out (mask)",
    "n_dropped_frames": "frames were left out (weight 0)",
    "n_missing": "single values were given weight 0",
}


def mark_bad_values(stack: xr.DataArray) -> tuple[xr.DataArray, PreprocessReport]:
    """Give weight 0 to NaN, infinite values and frames that are zero everywhere.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        A stack of any quantity.

    Returns
    -------
    stack : DataArray
        A new stack, float32: bad values NaN and counted in ``attrs["missing_values"]``, bad frames of
        `weight` 0, pixels with more than half of their values bad `mask` False.
    report : PreprocessReport
        How many of each.

    Raises
    ------
    StackError
        If nothing usable remains.
    """
    check_stack(stack)
    report = PreprocessReport(n_values=stack.size)
    known = int(stack.attrs.get("missing_values", 0))  # marked, and reported, by an earlier step
    usable, mask = usable_weight(stack), usable_mask(stack)

    def look(e: int, frame: NDArray[np.float64]) -> tuple[int, bool]:
        n_bad = int(np.count_nonzero(~np.isfinite(frame) & mask)) if usable[e] else 0
        return n_bad, not frame.any()

    n_bad, blank = (np.array(each) for each in zip(*each_frame(stack, look), strict=True))
    if (blank & usable).any() and frames_may_be_zero(stack, blank[usable]):
        blank[:] = False
    report = replace(
        report,
        n_not_finite=max(0, int(n_bad.sum()) - known),
        n_blank_frames=int(np.count_nonzero(blank & usable)),
    )

    def without(values: NDArray[np.float32], energies: slice, *_: slice) -> NDArray[np.float32]:
        values[~np.isfinite(values)] = np.nan
        values[blank[energies]] = np.nan
        return values

    result, marked = mark(with_frames(stack, without))
    return noted(result, report + marked, "bad values given weight 0")


def mark(stack: xr.DataArray) -> tuple[xr.DataArray, PreprocessReport]:
    """Leave out frames and pixels that are mostly NaN, and count the NaN that remain."""
    mask, usable = usable_mask(stack), usable_weight(stack)
    limit = BAD_SHARE * np.count_nonzero(mask)
    dropped = np.zeros_like(usable)
    bad_per_pixel = np.zeros(mask.shape, dtype=np.int64)
    for e, bad in enumerate(each_frame(stack, lambda _, frame: np.isnan(frame))):
        dropped[e] = usable[e] and np.count_nonzero(bad & mask) > limit
        if usable[e] and not dropped[e]:
            bad_per_pixel += bad
    usable &= ~dropped
    masked = mask & (bad_per_pixel > BAD_SHARE * np.count_nonzero(usable))
    mask = mask & ~masked
    if not (usable.any() and mask.any()):
        raise StackError(
            "nothing usable remains: more than half of the values of every frame or pixel are bad"
        )
    n_missing = int(bad_per_pixel[mask].sum())
    stack = _with_marks(stack, masked, dropped, n_missing)
    return stack, PreprocessReport(
        n_values=stack.size,
        n_masked_pixels=int(np.count_nonzero(masked)),
        n_dropped_frames=int(np.count_nonzero(dropped)),
        n_missing=n_missing,
    )


def _with_marks(
    stack: xr.DataArray, masked: NDArray[np.bool_], dropped: NDArray[np.bool_], n_missing: int
) -> xr.DataArray:
    """Return `stack` with these marks added to its own; without any mark it gets no coordinates."""
    stack = stack.copy(deep=False)
    if masked.any():
        stack = stack.assign_coords(mask=(DIMS[1:], usable_mask(stack) & ~masked))
    if dropped.any():
        weight = stack["weight"].values if "weight" in stack.coords else np.ones(len(stack))
        stack = stack.assign_coords(weight=("energy", np.where(dropped, 0.0, weight)))
    stack.attrs.pop("missing_values", None)
    if n_missing:
        stack.attrs["missing_values"] = n_missing
    return stack


def noted(stack: xr.DataArray, report: PreprocessReport, step: str) -> tuple[xr.DataArray, PreprocessReport]:
    """Add the step and its changes to the history of the stack."""
    return add_history(stack, f"{step}: {'; '.join(report.lines())}"), report
