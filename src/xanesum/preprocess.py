"""From counts to optical density, and bad values to weight 0: every step says how much it changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import TypedDict, Unpack

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import StackError
from xanesum.stack import DIMS, QUANTITIES, add_history, check_stack, load_stack, usable_mask, usable_weight

__all__ = [
    "Corrections",
    "PreprocessReport",
    "find_bad_pixels",
    "mark_bad_values",
    "prepare",
    "to_optical_density",
]

BAD_SHARE = 0.5  # a pixel or frame with more bad values than this is left out as a whole
REFERENCES = ("flat", "dark", "i0", "exposure_s", "flat_exposure_s")  # used up by to_optical_density
TIMES = ("exposure_s", "flat_exposure_s")
NEIGHBOURS = tuple((dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1))  # in a padded image
MIN_NEIGHBOURS = 6  # with fewer, their range says little
ROUNDING = 1e-6  # a difference smaller than this part of the largest value is float32 rounding
MIN_ENERGIES_FOR_ACTIVITY = 8  # fewer differences than 7 say too little about a pixel's noise


class Corrections(TypedDict, total=False):
    """Options of `to_optical_density` that `prepare` passes on."""

    flat: ArrayLike | None
    dark: ArrayLike | None
    offset: float
    exposure_s: ArrayLike | None
    flat_exposure_s: ArrayLike | None
    saturation: float | None


@dataclass(frozen=True, slots=True)
class PreprocessReport:
    """What was changed, by cause; reports of consecutive steps add up."""

    n_values: int = 0  # voxels looked at
    n_not_finite: int = 0  # voxels that were NaN or infinite
    n_saturated: int = 0  # voxels where the camera was full
    n_not_positive: int = 0  # voxels at or below 0 after dark and offset, so without a logarithm
    n_bad_reference: int = 0  # voxels without a usable flat or I0
    n_spikes: int = 0  # single voxels far from all their neighbours
    n_blank_frames: int = 0  # frames that were 0 everywhere
    n_outlying_pixels: int = 0  # pixels far from all their neighbours over the whole scan: hot or dead
    n_stuck_pixels: int = 0  # pixels that change far less than their neighbours
    n_noisy_pixels: int = 0  # pixels that change far more than their neighbours
    n_masked_pixels: int = 0  # pixels newly left out (mask False), for whatever cause
    n_dropped_frames: int = 0  # frames newly given weight 0
    n_missing: int = 0  # voxels without a value at the pixels and frames that remain
    notes: tuple[str, ...] = ()  # other things done, in words

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
        return lines or ["nothing was changed"]


LINES = {
    "n_not_finite": "values were not finite",
    "n_saturated": "values were saturated",
    "n_not_positive": "values were not positive",
    "n_bad_reference": "values had no usable flat or I0",
    "n_spikes": "values stood out from all their neighbours (spikes)",
    "n_blank_frames": "frames were zero everywhere",
    "n_outlying_pixels": "pixels stood out from all their neighbours (hot or dead)",
    "n_stuck_pixels": "pixels hardly changed (stuck)",
    "n_noisy_pixels": "pixels changed far more than their neighbours (noisy)",
    "n_masked_pixels": "pixels were left out (mask)",
    "n_dropped_frames": "frames were left out (weight 0)",
    "n_missing": "single values were given weight 0",
}


def prepare(
    stack: xr.DataArray,
    *,
    quantity: str | None = None,
    allow_missing: bool = False,
    bad_pixels: bool = True,
    **corrections: Unpack[Corrections],
) -> tuple[xr.DataArray, PreprocessReport]:
    """Do the standard chain: optical density, bad values, bad pixels.

    Counts without any flat or I0 stay counts, which the report says.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        As read.
    quantity : {"counts", "transmission", "optical_density", "intensity"}, optional
        What the values are, where the file does not say it or says it wrongly.
    allow_missing : bool
        Whether NaN and all-zero frames in a stack that is not counts or transmission get weight 0 (otherwise
        they stay, and the next step refuses them).
    bad_pixels : bool
        Whether to look for dead, hot, stuck and noisy pixels.
    **corrections
        Options of `to_optical_density`.

    Returns
    -------
    stack : DataArray
        A new stack, float32.
    report : PreprocessReport
        Of all steps together.

    Raises
    ------
    StackError
        As the single steps.
    """
    if quantity is not None:
        stack = _with_quantity(stack, quantity)
    if _has_reference(stack, corrections):
        stack, report = to_optical_density(stack, **corrections)
    else:
        report = PreprocessReport(notes=("no flat and no I0: the counts were left as they are",))
    if allow_missing:
        stack, step = mark_bad_values(stack)
        report += step
    if bad_pixels:
        stack, step = find_bad_pixels(stack)
        report += step
    return stack, report


def to_optical_density(
    stack: xr.DataArray,
    *,
    flat: ArrayLike | None = None,
    dark: ArrayLike | None = None,
    offset: float = 0.0,
    exposure_s: ArrayLike | None = None,
    flat_exposure_s: ArrayLike | None = None,
    saturation: float | None = None,
) -> tuple[xr.DataArray, PreprocessReport]:
    """Convert counts or transmission to optical density, ``ln(flat / t_flat) - ln(sample / t_sample)``.

    Optical density and intensity are returned as they are.  What was not given is taken from the stack:
    coordinates `flat`, `i0`, `dark` and exposure times, and ``attrs["saturation_counts"]``.  Values that have
    no logarithm, or were saturated, become NaN and are counted in ``attrs["missing_values"]``; a frame or
    pixel with more than half of them is left out (coordinates `weight` and `mask`).

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Counts, counts per second (``attrs["unit"] == "counts/s"``) or transmission.
    flat : array_like, shape (Y, X), (E, Y, X) or (E,), optional
        Image without the sample, or I0 spectrum, in the unit of the stack.
    dark : array_like, shape (Y, X), optional
        Counts that the camera adds to each exposure, of sample and flat.
    offset : float
        The same, one number for all pixels.
    exposure_s, flat_exposure_s : float or array_like of shape (E,), optional
        Exposure times; without them sample and flat are taken to be exposed equally long.
    saturation : float, optional
        Counts from which on a value is saturated.

    Returns
    -------
    stack : DataArray
        A new stack, float32.
    report : PreprocessReport
        How many values were lost, by cause.

    Raises
    ------
    StackError
        If counts come without flat and I0, shapes do not fit, times are not positive or already
        accounted for, or nothing usable remains.
    """
    check_stack(stack)
    quantity = stack.attrs["quantity"]
    if quantity in ("optical_density", "intensity"):
        return stack.copy(), PreprocessReport(n_values=stack.size, notes=(f"{quantity}: taken as it is",))
    given = Corrections(
        flat=flat, dark=dark, offset=offset, exposure_s=exposure_s, flat_exposure_s=flat_exposure_s
    )
    references = _references(stack, given)
    values = np.empty(stack.shape, dtype=np.float32)
    report = PreprocessReport(n_values=stack.size)
    limit = np.inf if quantity == "transmission" else _saturation(stack, saturation)
    for e, frame in enumerate(_frames(stack)):
        values[e], counted = _frame_density(frame, references, e, limit)
        report += counted
    report = _saturated_by_reader(stack, report)
    result = stack.drop_vars(REFERENCES, errors="ignore").copy(data=values)
    for name in ("unit", "saturation_counts", "saturated_values", "missing_values"):
        result.attrs.pop(name, None)
    result.attrs["quantity"] = "optical_density"
    result, marked = _mark(result)
    return _noted(result, report + marked, f"{quantity} to optical density ({references.said})")


def mark_bad_values(stack: xr.DataArray) -> tuple[xr.DataArray, PreprocessReport]:
    """Give weight 0 to NaN, infinite values and frames that are zero everywhere.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Of any quantity.

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
    values = np.array(stack.values, dtype=np.float32)
    report = PreprocessReport(n_values=stack.size)
    known = int(stack.attrs.get("missing_values", 0))  # marked, and reported, by an earlier step
    usable, mask = usable_weight(stack), usable_mask(stack)
    for e, frame in enumerate(values):
        bad = ~np.isfinite(frame)
        blank = not frame.any()
        frame[bad | blank] = np.nan
        n_bad = int(np.count_nonzero(bad & mask)) if usable[e] else 0
        report += PreprocessReport(n_not_finite=n_bad, n_blank_frames=int(blank and usable[e]))
    report = replace(report, n_not_finite=max(0, report.n_not_finite - known))
    result, marked = _mark(stack.copy(data=values))
    return _noted(result, report + marked, "bad values given weight 0")


def find_bad_pixels(
    stack: xr.DataArray, *, n_sigma: float = 12.0, spread_factor: float = 6.0
) -> tuple[xr.DataArray, PreprocessReport]:
    """Leave out dead, hot, stuck and noisy pixels, and single voxels that stand out (spikes).

    A value is bad where it lies outside the range of its eight neighbours (from the second smallest to the
    second largest, so that two bad pixels side by side do not hide each other) by more than `spread_factor`
    times that range plus `n_sigma` times the noise.  The lens blurs a real feature into its neighbours, which
    widens their range; on the border of a particle the range is the height of the step.  The test is made on
    every frame (spikes), on the mean of the frames (hot and dead pixels), and on the logarithm of the mean
    change from frame to frame (stuck and noisy pixels).

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Best as optical density; NaN that an earlier step has marked is left alone.
    n_sigma : float
        Distance in units of the frame's noise, a robust standard deviation.
    spread_factor : float
        Distance in units of the range of the neighbours.

    Returns
    -------
    stack : DataArray
        A new stack: bad pixels `mask` False, spikes NaN and counted in ``attrs["missing_values"]``.
    report : PreprocessReport
        How many of each.

    Raises
    ------
    StackError
        If values are not finite or frames blank without being marked so, or nothing usable remains.
    """
    values = np.array(load_stack(stack))  # refuses NaN that no step has marked
    values[np.isinf(values)] = np.nan
    mask = usable_mask(stack)
    if min(stack.shape[1:]) < 3:
        return stack.copy(), PreprocessReport(
            n_values=stack.size,
            n_missing=int(stack.attrs.get("missing_values", 0)),
            notes=("too small for a bad pixel search",),
        )
    frames = np.flatnonzero(usable_weight(stack))
    found = _Findings.empty(stack.shape[1:])
    for e in frames:
        frame = np.where(mask, values[e], np.nan)
        spikes = _outside(frame, n_sigma * _noise(frame), spread_factor) != 0
        values[e][spikes] = np.nan
        frame[spikes] = np.nan
        found.add(frame, spikes)
    often = found.n_spikes > BAD_SHARE * len(frames)
    stuck, noisy = _odd_activity(np.where(often, np.nan, found.activity()), len(frames))
    mean = np.where(stuck | noisy, np.nan, found.mean())
    outlying = often | (_outside(mean, n_sigma * _noise(mean), spread_factor) != 0)
    bad = outlying | stuck | noisy
    report = PreprocessReport(
        n_values=stack.size,
        n_spikes=int(found.n_spikes[~bad].sum()),
        n_outlying_pixels=int(np.count_nonzero(outlying)),
        n_stuck_pixels=int(np.count_nonzero(stuck)),
        n_noisy_pixels=int(np.count_nonzero(noisy)),
        n_masked_pixels=int(np.count_nonzero(bad)),
    )
    result, marked = _mark(stack.copy(data=values).assign_coords(mask=(DIMS[1:], mask & ~bad)))
    return _noted(result, report + marked, "bad pixels left out")


# --- optical density


@dataclass(frozen=True, slots=True, eq=False)
class _References:
    """What the frames of the sample are compared with; counts are those of one exposure, or per second."""

    flat: (
        NDArray[np.floating] | xr.DataArray | None
    )  # (E or 1, Y or 1, X or 1); None: the frames are transmission
    flat_pedestal: NDArray[np.float64]  # (E or 1, Y or 1, X or 1), to be taken off the flat
    pedestal: NDArray[np.float64]  # (E or 1, Y or 1, X or 1), to be taken off the frames
    log_times: NDArray[np.float64]  # (E or 1,), ln(t_sample / t_flat)
    said: str  # what was used, in words

    def log_flat(self, e: int, limit: float) -> NDArray[np.float64]:
        """Return the logarithm of the flat at energy index `e`, NaN where it cannot be used."""
        if self.flat is None:
            return np.zeros((1, 1))
        raw = np.asarray(_at(self.flat, e), dtype=np.float64)
        counts = raw - _at(self.flat_pedestal, e)
        good = (counts > 0) & (raw < limit)
        return np.log(counts, out=np.full(counts.shape, np.nan), where=good)


def _frame_density(
    frame: NDArray[np.float64], references: _References, e: int, limit: float
) -> tuple[NDArray[np.float64], PreprocessReport]:
    """Return the optical density of one frame, NaN where there is none, and the count of causes."""
    counts = frame - _at(references.pedestal, e)
    log_flat = np.broadcast_to(references.log_flat(e, limit), frame.shape)
    finite = np.isfinite(frame)
    saturated = finite & (frame >= limit)
    not_positive = finite & ~saturated & (counts <= 0)
    measured = finite & ~saturated & ~not_positive
    log_counts = np.log(counts, out=np.full(frame.shape, np.nan), where=measured)
    density = log_flat - log_counts + float(_at(references.log_times, e))
    return density, PreprocessReport(
        n_not_finite=int(np.count_nonzero(~finite)),
        n_saturated=int(np.count_nonzero(saturated)),
        n_not_positive=int(np.count_nonzero(not_positive)),
        n_bad_reference=int(np.count_nonzero(measured & ~np.isfinite(log_flat))),
    )


def _references(stack: xr.DataArray, given: Corrections) -> _References:
    """Return the references to use: those given first, else those the stack carries."""
    if stack.attrs["quantity"] == "transmission":
        _refuse(given, given, "the stack is transmission: flat, dark and exposure were corrected already")
        nothing = np.zeros((1, 1, 1))
        return _References(None, nothing, nothing, np.zeros(1), "-ln(transmission)")
    flat, said = _flat(stack, given.get("flat"))
    pedestal = _dark(stack, given.get("dark")) + given.get("offset", 0.0)
    flat_pedestal = (
        pedestal if flat.shape[1:] == stack.shape[1:] else np.full((1, 1, 1), given.get("offset", 0.0))
    )
    times = [_times(stack, name, given) for name in ("exposure_s", "flat_exposure_s")]
    if stack.attrs.get("unit") == "counts/s":
        _refuse(given, TIMES, "the stack is in counts/s already")
        per_exposure = [np.ones(1) if t is None else t for t in times]
        pedestal, flat_pedestal = (
            p / t[:, None, None] for p, t in zip((pedestal, flat_pedestal), per_exposure, strict=True)
        )
        return _References(flat, flat_pedestal, pedestal, np.zeros(1), f"{said}, counts per second")
    return _References(flat, flat_pedestal, pedestal, _log_times(times, given), said)


def _flat(stack: xr.DataArray, given: ArrayLike | None) -> tuple[NDArray[np.floating] | xr.DataArray, str]:
    """Return the flat with three axes, and its name."""
    for name, flat in (("flat given", given), *((n, stack.coords.get(n)) for n in ("flat", "i0"))):
        if flat is not None:
            return _three_axes(stack, flat, name), f"by {name}"
    raise StackError(
        "counts need a flat image or an I0 spectrum to become optical density; "
        "give one (flat=, --flat, --i0), or say what the values are (quantity=)"
    )


def _three_axes(stack: xr.DataArray, values: ArrayLike, name: str) -> NDArray[np.floating] | xr.DataArray:
    """Return an image, a spectrum or a stack of images as (E or 1, Y or 1, X or 1); lazy ones stay so."""
    array = values if isinstance(values, xr.DataArray) else np.asarray(values, dtype=np.float64)
    n_energies, *image = stack.shape
    if array.shape in (stack.shape, (1, *image)):
        return array
    if array.shape == tuple(image):
        return np.asarray(array, dtype=np.float64)[None]
    if array.shape == (n_energies,):
        return np.asarray(array, dtype=np.float64)[:, None, None]
    raise StackError(
        f"{name} has shape {array.shape}; a stack of {stack.shape} needs (y, x), (energy, y, x) or (energy)"
    )


def _dark(stack: xr.DataArray, given: ArrayLike | None) -> NDArray[np.float64]:
    dark = stack.coords.get("dark") if given is None else given
    if dark is None:
        return np.zeros((1, 1, 1))
    array = np.asarray(dark, dtype=np.float64)
    if array.shape != stack.shape[1:]:
        raise StackError(f"dark has shape {array.shape}; images of the stack are {stack.shape[1:]}")
    return array[None]


def _times(stack: xr.DataArray, name: str, given: Corrections) -> NDArray[np.float64] | None:
    """Return exposure times as an array (E or 1,), or None where nobody says."""
    value = given.get(name)
    value = stack.coords.get(name) if value is None else value
    if value is None:
        return None
    times = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if times.shape not in ((1,), (stack.shape[0],)) or not np.all((times > 0) & np.isfinite(times)):
        raise StackError(
            f"{name} must be a positive number of seconds, or one for each of {stack.shape[0]} energies"
        )
    return times


def _log_times(times: list[NDArray[np.float64] | None], given: Corrections) -> NDArray[np.float64]:
    """Return ln(t_sample / t_flat); 0 where not both are known and none was given."""
    sample, flat = times
    if sample is not None and flat is not None:
        return np.atleast_1d(np.log(sample) - np.log(flat))
    if any(given.get(name) is not None for name in TIMES):
        raise StackError("exposure_s and flat_exposure_s must both be known; give the other one too")
    return np.zeros(1)


def _refuse(given: Corrections, names: Iterable[str], reason: str) -> None:
    """Raise if one of the options `names` was given (an offset of 0 is none)."""
    values = dict(given)
    names = [name for name in names if values.get(name) is not None and not np.all(values[name] == 0.0)]
    if names:
        raise StackError(f"{reason}; leave out {', '.join(names)}")


def _saturation(stack: xr.DataArray, given: float | None) -> float:
    """Return the count from which on a value is saturated; what transmission or a rate holds never is."""
    if given is not None and stack.attrs.get("unit") == "counts/s":
        raise StackError("the stack is in counts/s, in which saturation cannot be seen; leave it out")
    if given is not None:
        return float(given)
    return float(stack.attrs.get("saturation_counts", np.inf))


def _saturated_by_reader(stack: xr.DataArray, report: PreprocessReport) -> PreprocessReport:
    """Count the NaN of a reader that averages exposures as what they were: saturated."""
    n = min(int(stack.attrs.get("saturated_values", 0)), report.n_not_finite)
    return replace(report, n_not_finite=report.n_not_finite - n, n_saturated=report.n_saturated + n)


def _at(array: NDArray[np.floating] | xr.DataArray, e: int) -> NDArray[np.float64]:
    """Return the entry of energy index `e` of an array whose first axis may have length 1."""
    item = array[e if len(array) > 1 else 0]
    return np.asarray(item.values if isinstance(item, xr.DataArray) else item, dtype=np.float64)


def _frames(stack: xr.DataArray) -> Iterator[NDArray[np.float64]]:
    for e in range(len(stack)):
        yield np.asarray(stack[e].values, dtype=np.float64)


# --- marking


def _mark(stack: xr.DataArray) -> tuple[xr.DataArray, PreprocessReport]:
    """Leave out frames and pixels that are mostly NaN, and count the NaN that remain."""
    values, mask, usable = stack.values, usable_mask(stack), usable_weight(stack)
    n_bad = np.array([np.count_nonzero(np.isnan(frame) & mask) for frame in values])
    dropped = usable & (n_bad > BAD_SHARE * np.count_nonzero(mask))
    usable &= ~dropped
    bad_per_pixel = np.zeros(mask.shape, dtype=np.int64)
    for e in np.flatnonzero(usable):
        bad_per_pixel += np.isnan(values[e])
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
    """Return `stack` with these marks added to those it has; a stack without any gets no coordinates."""
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


def _noted(stack: xr.DataArray, report: PreprocessReport, step: str) -> tuple[xr.DataArray, PreprocessReport]:
    """Add the step and what it changed to the stack's history."""
    return add_history(stack, f"{step}: {'; '.join(report.lines())}"), report


def _with_quantity(stack: xr.DataArray, quantity: str) -> xr.DataArray:
    if quantity not in QUANTITIES:
        raise StackError(f"quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    stack = stack.copy(deep=False)
    stack.attrs["quantity"] = quantity
    return stack


def _has_reference(stack: xr.DataArray, given: Corrections) -> bool:
    """Whether counts can become optical density; other quantities need nothing for it."""
    known = any(name in stack.coords for name in ("flat", "i0")) or given.get("flat") is not None
    return known or stack.attrs.get("quantity") != "counts"


# --- bad pixels


@dataclass(slots=True, eq=False)
class _Findings:
    """Sums over the frames seen so far, each of shape (Y, X)."""

    n_spikes: NDArray[np.int64]
    n_values: NDArray[np.int64]
    total: NDArray[np.float64]
    n_changes: NDArray[np.int64]
    change: NDArray[np.float64]  # of absolute differences from frame to frame
    previous: NDArray[np.floating]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> _Findings:
        """Return sums over no frames."""
        counts = (np.zeros(shape, dtype=np.int64) for _ in range(3))
        sums = (np.zeros(shape) for _ in range(2))
        n_spikes, n_values, n_changes = counts
        total, change = sums
        return cls(n_spikes, n_values, total, n_changes, change, np.full(shape, np.nan))

    def add(self, frame: NDArray[np.floating], spikes: NDArray[np.bool_]) -> None:
        """Add one frame whose spikes and masked pixels are NaN."""
        self.n_spikes += spikes
        for value, total, count in (
            (frame, self.total, self.n_values),
            (np.abs(frame - self.previous), self.change, self.n_changes),
        ):
            good = np.isfinite(value)
            np.add(total, value, out=total, where=good)
            count += good
        self.previous = frame

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of the finite values, NaN where there is none."""
        return _ratio(self.total, self.n_values)

    def activity(self) -> NDArray[np.float64]:
        """Return the mean absolute change from frame to frame, NaN where there is none."""
        return _ratio(self.change, self.n_changes)


def _ratio(total: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    ratio = np.full(total.shape, np.nan)
    return np.divide(total, count, out=ratio, where=count > 0)  # type: ignore[no-any-return]


def _odd_activity(
    activity: NDArray[np.float64], n_energies: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels that change far less, and far more, than their neighbours.

    The mean absolute difference of `n_energies` normal values has a relative standard deviation of about
    ``0.9 / sqrt(n_energies - 1)`` (neighbouring differences share a value); the margin is eight of these, and
    a factor of four at least, for a feature narrower than the lens resolves can change 2.8 times more than
    its neighbours.
    """
    level = float(np.nanmedian(activity)) if np.isfinite(activity).any() else 0.0
    if n_energies < MIN_ENERGIES_FOR_ACTIVITY or level <= 0:
        nothing = np.zeros(activity.shape, dtype=bool)
        return nothing, nothing.copy()
    log_activity = np.log(np.maximum(activity, 0.05 * level))
    margin = max(np.log(4.0), 8 * 0.9 / np.sqrt(n_energies - 1))
    odd = _outside(log_activity, margin, 1.0)
    return odd < 0, odd > 0


def _outside(image: NDArray[np.floating], margin: float, factor: float) -> NDArray[np.int8]:
    """Return 1 where a pixel is farther above the range of its neighbours than allowed, -1 below, else 0.

    Allowed is `margin` plus `factor` times the range, which goes from the second smallest to the second
    largest of the finite ones among the eight neighbours; 0 where fewer than six are finite.
    """
    padded = np.pad(image, 1, mode="reflect")  # on the border of the image, the other side again
    rows, columns = np.nonzero(_differs(image, margin))  # few, so that the sorting below costs little
    around = np.sort([padded[rows + dy, columns + dx] for dy, dx in NEIGHBOURS], axis=0)  # NaN come last
    last = np.count_nonzero(np.isfinite(around), axis=0) - 1
    low, high = around[1], around[np.maximum(last - 1, 0), np.arange(len(rows))]
    values = image[rows, columns]
    allowed = margin + factor * (high - low)
    side = (values - high > allowed).astype(np.int8) - (low - values > allowed)
    result = np.zeros(image.shape, dtype=np.int8)
    result[rows, columns] = side * (last + 1 >= MIN_NEIGHBOURS)
    return result


def _differs(image: NDArray[np.floating], margin: float) -> NDArray[np.bool_]:
    """Whether a pixel differs by more than `margin` from one of the four beside it (never with NaN)."""
    result = np.zeros(image.shape, dtype=bool)
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis)) > margin
        view, step = (result, steps) if axis == 0 else (result.T, steps.T)
        view[1:] |= step
        view[:-1] |= step
    return result


def _noise(image: NDArray[np.floating]) -> float:
    """Return a robust standard deviation of the noise, from differences of neighbours along x."""
    steps = np.abs(np.diff(image, axis=1))
    steps = steps[np.isfinite(steps)]
    if not steps.size:
        return 0.0
    scale = float(np.abs(image[np.isfinite(image)]).max())
    return float(max(1.4826 / np.sqrt(2) * np.median(steps), ROUNDING * scale))
