"""Parts of the images that were never measured: exact zeros and NaN beside or around the field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_propagation, uniform_filter

from xanesum.preprocess.marks import PreprocessReport, noted
from xanesum.stack import DIMS, check_stack, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame, with_frames

__all__ = ["find_unmeasured"]

LOOKED_AT = 12  # frames that are looked at first; where none has such a part, the others are not read
SQUARE = np.ones((3, 3), bool)
BORDER_PX = 9  # zeros side by side along a border that make a region, however narrow
LONE = 7  # zeros among the eight neighbours of a value that is not zero, from which it stands alone
LONE_SHARE = 1e-4  # values that stand alone, over zeros in solid regions: from this on zeros are measurements
LONE_LEAST = 3  # so few of them prove nothing
ALWAYS = 0.5  # a pixel that stands alone in more than this share of the frames is no photon
UNLIKELY = 1e-4  # chance that a measured pixel is zero at all energies, from which it is believed to be so
TYPICAL = 99  # percentile of the shares of zeros in pixels, from which this chance follows


def find_unmeasured(stack: xr.DataArray) -> tuple[xr.DataArray, PreprocessReport]:
    """Leave out what was never measured: exact zeros and NaN in a part of the images.

    Programs fill with zeros, or with NaN, what lies outside a round field of view, what another program has
    masked, and what no frame shows after alignment.  Pixels that are zero, or NaN, at all energies are
    masked.  Solid regions of zeros in some of the frames, at least 3 pixels wide or along a border, become
    NaN.  Zeros are measurements, and stay, where single photons are counted: values that are not zero then
    stand alone among zeros, in other pixels at other energies.  Frames of zeros are left as they are.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        A stack of any quantity, as read.

    Returns
    -------
    stack : DataArray
        A new stack; the same values where nothing was found.
    report : PreprocessReport
        Number of pixels and of values.
    """
    check_stack(stack)
    usable = np.flatnonzero(usable_weight(stack))
    first = usable[np.unique(np.linspace(0, len(usable) - 1, LOOKED_AT).astype(int))]
    if not len(first) or not _shows_any(stack.isel(energy=first)):
        return stack, PreprocessReport(n_values=stack.size)
    seen = _Seen.empty(stack.shape)
    mask = usable_mask(stack)
    chosen = stack.isel(energy=usable)
    for e, frame in zip(usable, each_frame(chosen, lambda _, frame: _look(frame, mask)), strict=True):
        seen.add(int(e), frame)
    never = seen.never_measured() & mask
    some = seen.sometimes() & ~never
    if not never.any() and not some.any():
        return stack, PreprocessReport(n_values=stack.size)
    return _left_out(stack, never, some, seen)


def _left_out(
    stack: xr.DataArray, never: NDArray[np.bool_], some: NDArray[np.bool_], seen: _Seen
) -> tuple[xr.DataArray, PreprocessReport]:
    """Return the stack without the pixels `never` (Y, X) measured, and without regions of some frames."""
    mask = usable_mask(stack) & ~never
    report = PreprocessReport(
        n_values=stack.size,
        n_unmeasured_pixels=int(np.count_nonzero(never)),
        n_unmeasured_values=sum(int(np.count_nonzero(seen.solid(e) & some & mask)) for e in range(len(stack)))
        if some.any()
        else 0,
        n_masked_pixels=int(np.count_nonzero(never)),
    )
    result = stack.assign_coords(mask=(DIMS[1:], mask)) if never.any() else stack.copy(deep=False)
    if report.n_unmeasured_values:

        def without(
            values: NDArray[np.float32], energies: slice, rows: slice, columns: slice
        ) -> NDArray[np.float32]:
            for e, frame in zip(range(energies.start, energies.stop), values, strict=True):
                frame[seen.solid(e)[rows, columns]] = np.nan
            return values

        known = int(stack.attrs.get("missing_values", 0))
        result = with_frames(result, without)
        result.attrs["missing_values"] = known + report.n_unmeasured_values
    return noted(result, report, "parts that were not measured left out")


@dataclass(frozen=True, slots=True)
class _Frame:
    """What one frame shows."""

    zero: NDArray[np.bool_]  # (Y, X)
    nan: NDArray[np.bool_]  # (Y, X)
    solid: NDArray[np.bool_]  # (Y, X), regions of zeros, at least 3 pixels wide or at a border
    lone: NDArray[np.bool_]  # (Y, X), values that are not zero, among zeros
    is_blank: bool


def _look(frame: NDArray[np.float64], mask: NDArray[np.bool_]) -> _Frame:
    zero, nan = frame == 0, np.isnan(frame)
    nothing = np.zeros_like(zero)
    if not (zero & mask).any():
        return _Frame(zero, nan, nothing, nothing, False)
    if (zero | nan | ~mask).all():
        return _Frame(zero, nan, nothing, nothing, True)
    kernel = binary_erosion(zero, SQUARE)
    for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        length = min(BORDER_PX, zero[edge].size)
        line = np.ones((1, length) if zero[edge].shape[0] == 1 else (length, 1), bool)
        kernel[edge] |= binary_erosion(zero[edge], line)
    solid = binary_propagation(kernel, SQUARE, mask=zero) if kernel.any() else nothing
    around = np.rint(9 * uniform_filter(zero.astype(np.float32), 3, mode="nearest"))
    return _Frame(zero, nan, solid, ~zero & ~nan & (around >= LONE), False)


def _shows_any(some: xr.DataArray) -> bool:
    """Return whether a few frames show a region of zeros, or a pixel that is NaN in all of them."""
    mask = usable_mask(some)
    looks = list(each_frame(some, lambda _, frame: _look(frame, mask)))
    always_zero = np.logical_and.reduce([look.zero for look in looks if not look.is_blank] or [~mask])
    always_nan = np.logical_and.reduce([look.nan for look in looks])
    return any(look.solid.any() for look in looks) or bool(((always_zero | always_nan) & mask).any())


@dataclass(slots=True, eq=False)
class _Seen:
    """Sums over the frames so far."""

    regions: dict[int, NDArray[np.uint8]]  # index of a frame -> its solid regions (Y, X) as bits, if any
    in_solid: NDArray[np.bool_]  # (Y, X), pixels that lie in one in any frame
    n_zero: NDArray[np.int64]  # (Y, X), frames in which a pixel is zero
    n_nan: NDArray[np.int64]  # (Y, X), frames in which a pixel is NaN
    n_lone: NDArray[np.int64]  # (Y, X), frames in which a value stands alone among zeros
    n_solid: int = 0  # values in solid regions
    n_frames: int = 0
    n_blank: int = 0

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> _Seen:
        """Return sums over no frames."""
        n_zero, n_nan, n_lone = (np.zeros(shape[1:], np.int64) for _ in range(3))
        return cls({}, np.zeros(shape[1:], bool), n_zero, n_nan, n_lone)

    def solid(self, e: int) -> NDArray[np.bool_]:
        """Return the solid regions (Y, X) of the frame of index `e`."""
        bits, shape = self.regions.get(e), self.in_solid.shape
        if bits is None:
            return np.zeros(shape, bool)
        return np.unpackbits(bits, count=self.in_solid.size).astype(bool).reshape(shape)

    def add(self, e: int, frame: _Frame) -> None:
        """Add what the frame of index `e` shows."""
        self.n_frames += 1
        self.n_nan += frame.nan
        self.n_blank += frame.is_blank
        if frame.is_blank:
            return
        if frame.solid.any():
            bits, before = np.packbits(frame.solid), self.regions.get(e - 1)
            is_same = before is not None and np.array_equal(bits, before)
            self.regions[e] = before if is_same and before is not None else bits
            self.in_solid |= frame.solid
        self.n_zero += frame.zero
        self.n_lone += frame.lone
        self.n_solid += int(np.count_nonzero(frame.solid))

    @property
    def zeros_are_measured(self) -> bool:
        """Whether values stand alone among zeros, here at one energy and there at another."""
        photons = self.n_lone[self.n_lone <= ALWAYS * self.n_frames]
        return int(photons.sum()) > max(LONE_LEAST, LONE_SHARE * self.n_solid)

    def sometimes(self) -> NDArray[np.bool_]:
        """Return the pixels (Y, X) that lie in a solid region of some frames."""
        if self.zeros_are_measured:
            return np.zeros(self.n_zero.shape, bool)
        return self.in_solid

    def never_measured(self) -> NDArray[np.bool_]:
        """Return the pixels (Y, X) that hold zero, or NaN, at all energies."""
        n_shown = self.n_frames - self.n_blank
        nan = self.n_nan == self.n_frames
        zero = (self.n_zero + self.n_nan >= n_shown) & (self.n_zero > 0) & ~nan
        if n_shown and zero.any() and self.zeros_are_measured:
            others = (self.n_zero / n_shown)[~zero & ~nan]
            share = float(np.percentile(others, TYPICAL)) if others.size else 1.0
            zero &= share**n_shown < UNLIKELY
        whole = zero | nan
        return np.zeros_like(whole) if whole.all() else whole
