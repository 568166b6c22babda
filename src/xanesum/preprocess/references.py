"""References of intensity: flats, darks, I0 and exposure times, from the stack or as options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import StackError

__all__ = ["Corrections", "References", "at_energy", "find_references", "has_reference"]

TIMES = ("exposure_s", "flat_exposure_s")
UNITS_OF_CURRENT = ("ma", "a")  # a monitor in one of these is the current of the ring


class Corrections(TypedDict, total=False):
    """Options of `to_optical_density` that `prepare` passes on."""

    flat: ArrayLike | None
    dark: ArrayLike | None
    offset: float
    exposure_s: ArrayLike | None
    flat_exposure_s: ArrayLike | None
    saturation: float | None


def has_reference(stack: xr.DataArray, given: Corrections) -> bool:
    """Whether a flat or an I0 is known, from the stack or as an option."""
    return any(name in stack.coords for name in ("flat", "i0")) or given.get("flat") is not None


@dataclass(frozen=True, slots=True, eq=False)
class References:
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
        raw = np.asarray(at_energy(self.flat, e), dtype=np.float64)
        counts = raw - at_energy(self.flat_pedestal, e)
        is_of_camera = np.fmax.reduce(raw, axis=None) <= limit  # a mean, or a sum, may lie above
        good = (counts > 0) & ((raw < limit) | (not is_of_camera))
        return np.log(counts, out=np.full(counts.shape, np.nan), where=good)


def find_references(stack: xr.DataArray, given: Corrections) -> References:
    """Return the references: those that were given, and else those of the stack."""
    if stack.attrs["quantity"] == "transmission":
        _refuse(given, given, "the stack is transmission: flat, dark and exposure were corrected already")
        nothing = np.zeros((1, 1, 1))
        return References(None, nothing, nothing, np.zeros(1), "-ln(transmission)")
    flat, description = _flat(stack, given.get("flat"))
    level, of_level = _log_level(stack, flat)
    description += of_level
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
        return References(flat, flat_pedestal, pedestal, level, f"{description}, counts per second")
    return References(flat, flat_pedestal, pedestal, _log_times(times, given) + level, description)


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


def _log_level(
    stack: xr.DataArray, flat: NDArray[np.floating] | xr.DataArray
) -> tuple[NDArray[np.float64], str]:
    """Return by how much more light each frame had than the flat, ln (E or 1,), and a description of it.

    One image without the sample does not tell how the light changes with energy, but an I0 spectrum does.
    The current of the ring is not for flats of every energy, as they were taken at currents of their own.
    """
    level, said = np.zeros(1), ""
    if len(flat) == 1 and "i0" in stack.coords:
        level, said = level + _log_change(stack, "i0"), " and i0"
    unit = str(stack.attrs.get("monitor_unit", "")).strip().lower()
    has_flats_of_all = len(flat) > 1 and flat.shape[1] * flat.shape[2] > 1
    if "monitor" in stack.coords and unit in UNITS_OF_CURRENT and not has_flats_of_all:
        level, said = level + _log_change(stack, "monitor"), f"{said} and the ring current"
    return level, said


def _log_change(stack: xr.DataArray, name: str) -> NDArray[np.float64]:
    """Return ln (E,) of a positive series, less its mean; NaN where it is not positive."""
    values = np.asarray(stack[name].values, np.float64)
    logs = np.log(values, out=np.full(values.shape, np.nan), where=values > 0)
    return np.asarray(logs - np.nanmean(logs)) if np.isfinite(logs).any() else logs


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


def at_energy(array: NDArray[np.floating] | xr.DataArray, e: int) -> NDArray[np.float64]:
    """Return the entry of energy index `e` of an array whose first axis may have length 1."""
    item = array[e if len(array) > 1 else 0]
    return np.asarray(item.values if isinstance(item, xr.DataArray) else item, dtype=np.float64)
