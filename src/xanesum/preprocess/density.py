"""From counts or transmission to optical density."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import rank_filter

from xanesum.errors import StackError
from xanesum.noise.detector import log_of_counts
from xanesum.noise.level import median_sigma
from xanesum.preprocess.marks import BAD_SHARE, PreprocessReport, mark, noted
from xanesum.stack import DIMS, check_stack
from xanesum.storage.lazy import each_frame, with_frames, with_values
from xanesum.storage.scratch import IN_MEMORY, Frames, Workspace

__all__ = ["Corrections", "has_reference", "to_optical_density"]

REFERENCES = ("flat", "dark", "i0", "exposure_s", "flat_exposure_s")  # coordinates that optical density drops
TIMES = ("exposure_s", "flat_exposure_s")
# in standard deviations of the noise in the dark:
FLOOR = 2.0  # counts below this have no useful logarithm
DARK = 5.0  # surroundings below this are dark
DIM = 20.0  # in surroundings below this, noise alone can make a value low
FLOOR_FRAMES = 24  # frames in which this noise is measured, or up to twice as many
_Density = tuple[NDArray[np.float64], NDArray[np.bool_] | np.bool_, PreprocessReport]


class Corrections(TypedDict, total=False):
    """Options of `to_optical_density` that `prepare` passes on."""

    flat: ArrayLike | None
    dark: ArrayLike | None
    offset: float
    exposure_s: ArrayLike | None
    flat_exposure_s: ArrayLike | None
    saturation: float | None


def to_optical_density(
    stack: xr.DataArray,
    *,
    flat: ArrayLike | None = None,
    dark: ArrayLike | None = None,
    offset: float = 0.0,
    exposure_s: ArrayLike | None = None,
    flat_exposure_s: ArrayLike | None = None,
    saturation: float | None = None,
    workspace: Workspace = IN_MEMORY,
) -> tuple[xr.DataArray, PreprocessReport]:
    """Convert counts or transmission to optical density, ``ln(flat / t_flat) - ln(sample / t_sample)``.

    Optical density and intensity are returned as they are.  Options that are not given are taken from the
    stack: coordinates `flat`, `i0`, `dark` and exposure times, and ``attrs["saturation_counts"]``.

    Where the sample transmits so little light that noise brings counts down to 0, a logarithm would lose the
    lowest values and exaggerate low ones.  Below twice this noise it is replaced by its tangent, which is
    linear in the counts.  Other values without a logarithm, such as those of a defective pixel, and saturated
    values become NaN and are counted in ``attrs["missing_values"]``.  A frame or pixel with more than half of
    such values, or a pixel without light in more than half of the frames, is left out (coordinates `weight`
    and `mask`).  ``attrs["dark_share"]`` is the share of the values that are too dark for a logarithm.

    Where the noise law of the counts is known (coordinates `noise_gain` and `noise_read_variance`, see
    `xanesum.noise.detector.law_coords`), it is passed on with the optical density.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Counts, counts per second (``attrs["unit"] == "counts/s"``) or transmission.
    flat : array_like, shape (Y, X), (E, Y, X) or (E,), optional
        Image without the sample, or spectrum of the incident intensity I0, in the unit of the stack.
    dark : array_like, shape (Y, X), optional
        Counts that the camera adds to each exposure, of sample and flat.
    offset : float
        The same as one number for all pixels, added to `dark`.
    exposure_s, flat_exposure_s : float or array_like of shape (E,), optional
        Exposure times in seconds; without them, those of sample and flat are taken as equal.
    saturation : float, optional
        Counts; a value of so many, or more, is saturated.
    workspace : Workspace
        Where the result is kept; in memory by default.

    Returns
    -------
    stack : DataArray
        A new stack, float32.
    report : PreprocessReport
        Number of values that were lost, by cause.

    Raises
    ------
    StackError
        If counts come without flat and I0, if shapes do not fit, if times are not positive or were already
        divided by, or if nothing usable remains.
    """
    check_stack(stack)
    quantity = stack.attrs["quantity"]
    if quantity in ("optical_density", "intensity"):
        return stack.copy(), PreprocessReport(n_values=stack.size, notes=(f"{quantity}: taken as it is",))
    given = Corrections(
        flat=flat, dark=dark, offset=offset, exposure_s=exposure_s, flat_exposure_s=flat_exposure_s
    )
    references = _references(stack, given)
    limit = np.inf if quantity == "transmission" else _saturation(stack, saturation)
    floor = _noise_floor(stack, references, limit)
    frames = workspace.frames(stack.shape)
    n_without_light, report = _fill_density(frames, stack, references, limit, floor)
    result = with_values(stack.drop_vars(REFERENCES, errors="ignore"), frames.variable())
    lightless = n_without_light > BAD_SHARE * len(stack)
    if lightless.any():
        result = with_frames(
            result, lambda values, _, y, x: np.where(lightless[y, x], np.float32(np.nan), values)
        )
    too_dark = report.n_linear + report.n_not_positive - int(n_without_light[lightless].sum())
    report = _saturated_by_reader(stack, report)
    for name in ("unit", "saturation_counts", "saturated_values", "missing_values"):
        result.attrs.pop(name, None)
    result.attrs["quantity"] = "optical_density"
    result.attrs["flat_field"] = references.is_image
    result.attrs["dark_share"] = max(0, too_dark) / stack.size
    result = _with_light(result, references, floor)
    result, marked = mark(result)
    return noted(result, report + marked, f"{quantity} to optical density ({references.description})")


def _fill_density(
    frames: Frames, stack: xr.DataArray, references: _References, limit: float, floor: float
) -> tuple[NDArray[np.int64], PreprocessReport]:
    """Set `frames` to optical density; return how often each pixel (Y, X) has no light, and the losses."""
    n_without_light = np.zeros(stack.shape[1:], np.int64)
    report = PreprocessReport(n_values=stack.size)
    same = references.log_flat(0, limit) if references.is_one else None
    half_photon = _half_photon(stack)

    def density_of(e: int, frame: NDArray[np.float64]) -> _Density:
        log_flat = references.log_flat(e, limit) if same is None else same
        counts, log_times = frame - _at(references.pedestal, e), float(_at(references.log_times, e))
        return _frame_density(frame, counts, log_flat + log_times, limit, floor, half_photon[e])

    for e, (density, without_light, counted) in enumerate(each_frame(stack, density_of)):
        frames[e] = density
        n_without_light += without_light
        report += counted
    return n_without_light, report


def _half_photon(stack: xr.DataArray) -> NDArray[np.float64]:
    """Return the counts (E,) of half a photon, 0 where the noise law is not known."""
    if "noise_gain" not in stack.coords:
        return np.zeros(len(stack))
    return np.maximum(np.asarray(stack["noise_gain"].values, np.float64), 0.0) / 2


def _with_light(stack: xr.DataArray, references: _References, floor: float) -> xr.DataArray:
    """Return optical density with the noise law, if it is known, for counts after subtraction of the dark.

    It comes with the counts without the sample, as a product (coordinates `light` and `light_energy`).  Below
    ``attrs["linear_below"]`` counts, the optical density is linear in the counts.
    """
    if not {"noise_gain", "noise_read_variance"} <= set(stack.coords) or references.flat is None:
        return stack.drop_vars(("noise_gain", "noise_read_variance"), errors="ignore")
    n_energies = len(stack)
    light, medians = np.zeros(stack.shape[1:]), []
    for e in range(len(references.flat)):
        flat = np.exp(references.log_flat(e, np.inf))
        light += flat / len(references.flat)
        medians.append(np.nanmedian(flat))
    typical = float(np.nanmedian(light))
    of_energy = np.array(medians) * np.exp(references.log_times) / typical
    stack = stack.assign_coords(
        noise_read_variance=("energy", _dark_variance(stack, references)),
        light=(DIMS[1:], np.where(np.isfinite(light), light, typical)),
        light_energy=("energy", np.broadcast_to(of_energy, n_energies)),
    )
    stack.attrs["linear_below"] = floor
    return stack


def has_reference(stack: xr.DataArray, given: Corrections) -> bool:
    """Whether a stack can become optical density: counts need a flat or I0, other quantities nothing."""
    known = any(name in stack.coords for name in ("flat", "i0")) or given.get("flat") is not None
    return known or stack.attrs.get("quantity") != "counts"


@dataclass(frozen=True, slots=True, eq=False)
class _References:
    """Reference values for the frames of the sample, in counts of one exposure or in counts per second."""

    # (E or 1, Y or 1, X or 1); None where the frames are transmission
    flat: NDArray[np.floating] | xr.DataArray | None
    flat_pedestal: NDArray[np.float64]  # (E or 1, Y or 1, X or 1), subtracted from the flat
    pedestal: NDArray[np.float64]  # (E or 1, Y or 1, X or 1), subtracted from the frames
    log_times: NDArray[np.float64]  # (E or 1,), ln(t_sample / t_flat)
    description: str  # which references these are, for the history of the stack

    @property
    def is_one(self) -> bool:
        """Whether all frames have the same reference."""
        return self.flat is None or len(self.flat) == len(self.flat_pedestal) == 1

    @property
    def is_image(self) -> bool:
        """Whether the reference is an image, and not one number for each energy."""
        return self.flat is not None and self.flat.shape[1] * self.flat.shape[2] > 1

    def log_flat(self, e: int, limit: float) -> NDArray[np.float64]:
        """Return the logarithm of the flat at energy index `e`, NaN where it cannot be used."""
        if self.flat is None:
            return np.zeros((1, 1))
        raw = np.asarray(_at(self.flat, e), dtype=np.float64)
        counts = raw - _at(self.flat_pedestal, e)
        good = (counts > 0) & (raw < limit)
        return np.log(counts, out=np.full(counts.shape, np.nan), where=good)


def _frame_density(
    frame: NDArray[np.float64],
    counts: NDArray[np.float64],
    log_reference: NDArray[np.float64],
    limit: float,
    floor: float,
    half_photon: float,
) -> _Density:
    """Return the optical density of one frame (NaN where lost), pixels without light, and the losses."""
    least = max(floor, np.nextafter(0.0, 1.0))
    # false where a value is NaN
    if counts.min() >= least and frame.max() < limit and np.isfinite(log_reference).all():
        return log_reference - np.log(counts + half_photon), np.False_, PreprocessReport()
    log_reference = np.broadcast_to(log_reference, frame.shape)
    finite = np.isfinite(frame)
    saturated = finite & (frame >= limit)
    is_exposed = (counts > 0).any()
    low = finite & ~saturated & (counts < least)
    around = np.full(frame.shape, np.inf)  # surroundings, in standard deviations of the noise in the dark
    if floor > 0 and low.any():
        around = _surroundings(counts) / (floor / FLOOR)
    linear = low & (around < DIM) & is_exposed  # low values in brighter surroundings are defects
    not_positive = low & ~linear
    without_light = ((counts <= 0) | (low & ~(around < DARK))) & is_exposed
    measured = finite & ~saturated & ~not_positive
    log_counts = np.full(frame.shape, np.nan)
    log_counts[measured] = log_of_counts(counts[measured], half_photon, floor, linear[measured])
    counted = PreprocessReport(
        n_not_finite=int(np.count_nonzero(~finite)),
        n_saturated=int(np.count_nonzero(saturated)),
        n_not_positive=int(np.count_nonzero(not_positive)),
        n_linear=int(np.count_nonzero(linear)),
        n_bad_reference=int(np.count_nonzero(measured & ~np.isfinite(log_reference))),
    )
    return log_reference - log_counts, without_light, counted


def _noise_floor(stack: xr.DataArray, references: _References, limit: float) -> float:
    """Return the counts below which a logarithm is of no use; 0 where no noise reaches below 0.

    The noise in the dark comes from the noise law where this is known, and else from the negative counts.
    These give too small a value where they are only the tail of a dim scan.
    """
    below, about = [np.zeros(0)], [np.zeros(0)]
    for e in range(0, len(stack), max(1, len(stack) // FLOOR_FRAMES)):
        frame = np.asarray(stack[e].values, np.float64)
        counts = frame - _at(references.pedestal, e)
        negative = (counts < 0) & (frame < limit)
        if negative.any() and (counts > 0).any():
            below.append(-counts[negative])
            about.append(_surroundings(counts)[negative])
    depth, light = np.concatenate(below), np.concatenate(about)
    noise = 0.0
    for _ in range(2):  # the second time without negative values in bright surroundings
        noise = median_sigma(depth) if depth.size else 0.0
        dark = light < DARK * noise
        depth, light = depth[dark], light[dark]
    if depth.size and "noise_read_variance" in stack.coords:
        noise = float(np.median(np.sqrt(_dark_variance(stack, references))))
    return FLOOR * noise


def _dark_variance(stack: xr.DataArray, references: _References) -> NDArray[np.float64]:
    """Return the variance (E,) of counts without light, after subtraction of the dark, by the noise law."""
    pedestal = np.array([np.median(_at(references.pedestal, e)) for e in range(len(stack))])
    variance = stack["noise_read_variance"].values + stack["noise_gain"].values * pedestal
    return np.maximum(np.asarray(variance, np.float64), 0.0)


def _surroundings(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fourth lowest of the 3 x 3 values around each pixel, which is also low in a dark corner.

    Values that are not finite count as bright.
    """
    return np.asarray(rank_filter(np.where(np.isfinite(counts), counts, np.inf), 3, 3))


def _references(stack: xr.DataArray, given: Corrections) -> _References:
    """Return the references: those that were given, and else those of the stack."""
    if stack.attrs["quantity"] == "transmission":
        _refuse(given, given, "the stack is transmission: flat, dark and exposure were corrected already")
        nothing = np.zeros((1, 1, 1))
        return _References(None, nothing, nothing, np.zeros(1), "-ln(transmission)")
    flat, description = _flat(stack, given.get("flat"))
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
        return _References(flat, flat_pedestal, pedestal, np.zeros(1), f"{description}, counts per second")
    return _References(flat, flat_pedestal, pedestal, _log_times(times, given), description)


def _flat(stack: xr.DataArray, given: ArrayLike | None) -> tuple[NDArray[np.floating] | xr.DataArray, str]:
    """Return the flat with three axes, and a description of it."""
    for name, flat in (("flat given", given), *((n, stack.coords.get(n)) for n in ("flat", "i0"))):
        if flat is not None:
            return _three_axes(stack, flat, name), f"by {name}"
    raise StackError(
        "counts need a flat image or an I0 spectrum to become optical density; "
        "if they are something else, give their quantity; otherwise give a flat, "
        "or I0 as a table of energies and counts",
        parameter="i0",
    )


def _three_axes(stack: xr.DataArray, values: ArrayLike, name: str) -> NDArray[np.floating] | xr.DataArray:
    """Return an image, a spectrum or a stack of images as (E or 1, Y or 1, X or 1); lazy ones stay lazy."""
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
    """Return the dark image as (1, Y, X); zero, as (1, 1, 1), where there is none."""
    dark = stack.coords.get("dark") if given is None else given
    if dark is None:
        return np.zeros((1, 1, 1))
    array = np.asarray(dark, dtype=np.float64)
    if array.shape != stack.shape[1:]:
        raise StackError(f"dark has shape {array.shape}; images of the stack are {stack.shape[1:]}")
    return array[None]


def _times(stack: xr.DataArray, name: str, given: Corrections) -> NDArray[np.float64] | None:
    """Return exposure times as an array (E or 1,), or None where they are not known."""
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
    """Return ln(t_sample / t_flat); 0 where one of them is not known, unless the other was given."""
    sample, flat = times
    if sample is not None and flat is not None:
        return np.atleast_1d(np.log(sample) - np.log(flat))
    if any(given.get(name) is not None for name in TIMES):
        raise StackError("exposure_s and flat_exposure_s must both be known; give the other one too")
    return np.zeros(1)


def _refuse(given: Corrections, names: Iterable[str], reason: str) -> None:
    """Raise if one of the options `names` was given; an offset of 0 counts as not given."""
    values = dict(given)
    names = [name for name in names if values.get(name) is not None and not np.all(values[name] == 0.0)]
    if names:
        raise StackError(f"{reason}; leave out {', '.join(names)}")


def _saturation(stack: xr.DataArray, given: float | None) -> float:
    """Return the least saturated count; infinity where it is not known."""
    if given is not None and stack.attrs.get("unit") == "counts/s":
        raise StackError(
            "the stack is in counts/s, in which saturation cannot be seen; leave it out",
            parameter="saturation",
        )
    if given is not None:
        return float(given)
    return float(stack.attrs.get("saturation_counts", np.inf))


def _saturated_by_reader(stack: xr.DataArray, report: PreprocessReport) -> PreprocessReport:
    """Return the report with a reader's NaN counted as saturated, where it averaged saturated exposures."""
    n = min(int(stack.attrs.get("saturated_values", 0)), report.n_not_finite)
    return replace(report, n_not_finite=report.n_not_finite - n, n_saturated=report.n_saturated + n)


def _at(array: NDArray[np.floating] | xr.DataArray, e: int) -> NDArray[np.float64]:
    """Return the entry of energy index `e` of an array whose first axis may have length 1."""
    item = array[e if len(array) > 1 else 0]
    return np.asarray(item.values if isinstance(item, xr.DataArray) else item, dtype=np.float64)
