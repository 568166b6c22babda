"""The stack: an ``xarray.DataArray`` (energy, y, x), and its rules."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import EnergyError, StackError, XanesumWarning

__all__ = [
    "DIMS",
    "QUANTITIES",
    "SHIFT_COORDS",
    "SHIFT_ERRORS",
    "add_history",
    "check_stack",
    "frames_may_be_zero",
    "load_stack",
    "make_stack",
    "refuse_values",
    "usable_mask",
    "usable_weight",
]

DIMS = ("energy", "y", "x")
SHIFT_ERRORS = ("shift_sigma_y_px", "shift_sigma_x_px")  # standard errors of the shifts of an aligned stack
SHIFT_COORDS = ("shift_y_px", "shift_x_px", *SHIFT_ERRORS)  # by which its frames were moved back
QUANTITIES = ("counts", "transmission", "optical_density", "fluorescence", "intensity")
KEV_LIMIT = 100.0  # smaller energies are keV: no microscope works below 100 eV, and none above 100 keV
# frames and pixels, at most, that prove a stack to be without noise; least singular value over the largest
PROVING_FRAMES, PROVING_PIXELS, NOISELESS = 64, 4096, 1e-5
WEAK_BESIDE = 0.5  # mean value of a frame beside one that may be zero, as a share of the largest
NAMED = 5  # energies that a message names, at most


def make_stack(
    values: ArrayLike | xr.Variable,
    energy: ArrayLike,
    *,
    quantity: str = "optical_density",
    pixel_size_nm: float | None = None,
    history: Iterable[str] = (),
) -> xr.DataArray:
    """Build a stack, and correct its energies where that is safe.

    Energies below 100 are taken as keV and converted.  Unsorted energies are sorted, with their images.
    Images at the same energy are averaged.  A `XanesumWarning` and ``attrs["history"]`` say what was done.

    Parameters
    ----------
    values : array_like, shape (E, Y, X)
        One image per energy; integers become float32.  A lazy `xarray.Variable` stays lazy where its
        energies need no correction.
    energy : array_like, shape (E,)
        Photon energies in eV (or keV).
    quantity : {"optical_density", "counts", "transmission", "fluorescence", "intensity"}
        What the values are.  Intensity is anything that is mapped as it is.
    pixel_size_nm : float, optional
        Size of a pixel in the plane of the sample.
    history : iterable of str
        Earlier processing steps, oldest first.

    Raises
    ------
    StackError
        If `values` does not have three axes, or `quantity` is unknown.
    EnergyError
        If `energy` has the wrong length, or a value that is not positive and finite.
    """
    variable = values if isinstance(values, xr.Variable) else xr.Variable(DIMS, _as_float(values))
    if variable.ndim != 3:
        raise StackError(
            f"expected three axes (energy, y, x), got {variable.ndim} with shape {variable.shape}"
        )
    if quantity not in QUANTITIES:
        raise StackError(f"quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}")
    energy_ev, notes = _energies_in_ev(energy, variable.shape[0])
    stack = xr.DataArray(variable, dims=DIMS, coords={"energy": energy_ev}, name="stack")
    stack.attrs["quantity"] = quantity
    if pixel_size_nm is not None:
        stack.attrs["pixel_size_nm"] = float(pixel_size_nm)
    stack, sorting_notes = _sort_and_merge(stack)
    for note in (*notes, *sorting_notes):
        warnings.warn(note, XanesumWarning, stacklevel=2)
    stack.energy.attrs["units"] = "eV"
    return add_history(stack, *history, *notes, *sorting_notes)


def add_history(stack: xr.DataArray, *notes: str) -> xr.DataArray:
    """Return `stack` with `notes` appended to ``attrs["history"]`` (a list of str); data are not copied."""
    stack = stack.copy(deep=False)
    stack.attrs["history"] = [*stack.attrs.get("history", ()), *notes]
    return stack


def check_stack(stack: xr.DataArray, *, min_energies: int = 1) -> None:
    """Raise if `stack` breaks a rule; no pixel value is read.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Energies in eV, finite and strictly increasing.
    min_energies : int
        Smallest number of energies that the caller can work with.

    Raises
    ------
    StackError
        If dimensions, dtype, quantity or the shapes of `mask` and `weight` are wrong.
    EnergyError
        If energies are missing, not finite, not increasing or too few.
    """
    if not isinstance(stack, xr.DataArray):
        raise StackError(f"expected an xarray.DataArray (see xanesum.make_stack), got {type(stack).__name__}")
    if stack.dims != DIMS:
        raise StackError(f"expected dimensions (energy, y, x), got {stack.dims}")
    if min(stack.shape) < 1:
        raise StackError(f"the stack is empty: its shape is {stack.shape}")
    if stack.dtype not in (np.float32, np.float64):
        raise StackError(f"expected float32 or float64 values, got {stack.dtype}")
    if stack.attrs.get("quantity") not in QUANTITIES:
        got = stack.attrs.get("quantity")
        raise StackError(f'attrs["quantity"] must be one of {", ".join(QUANTITIES)}, got {got!r}')
    for name, dims in (("mask", ("y", "x")), ("weight", ("energy",))):
        if name in stack.coords and stack[name].dims != dims:
            raise StackError(f"coordinate {name} must have dimensions {dims}, got {stack[name].dims}")
    _check_energies(stack, min_energies)


def load_stack(
    stack: xr.DataArray, *, allow_missing: bool = False, min_energies: int = 1
) -> NDArray[np.float32]:
    """Check `stack` and return its values as float32, shape (E, Y, X), in memory.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        See `check_stack` for its rules.
    allow_missing : bool
        Whether usable pixels and energies may hold NaN, which means not measured.  It is always allowed where
        a preprocessing step has counted them in ``attrs["missing_values"]``.
    min_energies : int
        Smallest number of energies that the caller can work with.

    Raises
    ------
    StackError
        As `check_stack`; also for values that are not finite, and frames that are zero everywhere.
    """
    check_stack(stack, min_energies=min_energies)
    values = np.asarray(stack.values, dtype=np.float32)
    weight, mask = usable_weight(stack), usable_mask(stack)
    used = np.flatnonzero(weight)
    n_bad = sum(int(np.count_nonzero(~np.isfinite(values[e]) & mask)) for e in used)
    blank = np.array([not np.any(values[e]) for e in used])
    refuse_values(stack, n_bad, blank, allow_missing=allow_missing)
    return values


def refuse_values(
    stack: xr.DataArray, n_bad: int, blank: NDArray[np.bool_], *, allow_missing: bool = False
) -> None:
    """Raise StackError if there are values that cannot be used.

    Parameters
    ----------
    stack : DataArray
        The stack that holds them.
    n_bad : int
        Number of values that are not finite, at usable pixels and energies.
    blank : ndarray of bool
        Whether each of the usable frames is zero everywhere.
    allow_missing : bool
        Whether values may be missing; see `load_stack`.
    """
    if n_bad and not (allow_missing or stack.attrs.get("missing_values", 0)):
        n_values = len(blank) * stack.shape[1] * stack.shape[2]
        raise StackError(
            f"{n_bad} of {n_values} values are not finite; give them weight 0 first, "
            "in xanesum.preprocess.prepare",
            parameter="allow_missing",
        )
    if blank.any() and not frames_may_be_zero(stack, blank):
        at = stack.energy.values[usable_weight(stack)][blank]
        named = ", ".join(f"{energy:.1f}" for energy in at[:NAMED])
        more = " ..." if len(at) > NAMED else ""
        raise StackError(
            f"{len(at)} of {len(stack)} frames are zero everywhere (at {named}{more} eV); "
            "leave them out, or give them weight 0 in xanesum.preprocess.prepare",
            parameter="allow_missing",
        )


def frames_may_be_zero(stack: xr.DataArray, blank: NDArray[np.bool_]) -> bool:
    """Return whether frames that are zero everywhere can be results, as in a stack that was denoised.

    So they can where the stack is without noise, so that its frames are mixtures of a few images, and where
    the frames beside them are weak: a sample may absorb nothing below its edge.

    Parameters
    ----------
    stack : DataArray
    blank : ndarray of bool
        Whether each of the usable frames is zero everywhere.
    """
    if stack.attrs["quantity"] in ("counts", "transmission") or blank.all():
        return False
    used, shown = np.flatnonzero(usable_weight(stack)), np.flatnonzero(~blank)
    pixels = np.flatnonzero(usable_mask(stack))
    if not pixels.size:
        return True  # nothing is known of frames of which no pixel is used
    pixels = pixels[:: -(-len(pixels) // PROVING_PIXELS)]

    def sample(frames: NDArray[np.intp]) -> NDArray[np.float64]:
        values = [np.asarray(stack[e].values, np.float64).ravel()[pixels] for e in used[frames]]
        return np.nan_to_num(np.array(values), nan=0.0, posinf=0.0, neginf=0.0)

    some = sample(shown[:: -(-len(shown) // PROVING_FRAMES)])
    sizes = np.linalg.svd(some, compute_uv=False)
    weak = WEAK_BESIDE * float(np.abs(some).mean(axis=1).max())
    at = np.unique(np.searchsorted(shown, np.flatnonzero(blank)))  # runs of blank frames, before these
    beside = [shown[max(i - 1, 0) : i + 1] for i in at]
    is_weak = [float(np.abs(sample(frames)).mean(axis=1).min()) < weak for frames in beside]
    return bool(sizes[-1] < NOISELESS * sizes[0]) and all(is_weak)


def usable_mask(stack: xr.DataArray) -> NDArray[np.bool_]:
    """Return which pixels are used, shape (Y, X): coordinate `mask`, or all."""
    if "mask" in stack.coords:
        return np.asarray(stack["mask"].values, dtype=bool)
    return np.ones(stack.shape[1:], dtype=bool)


def usable_weight(stack: xr.DataArray) -> NDArray[np.bool_]:
    """Return which frames are used, shape (E,): coordinate `weight` above zero, or all."""
    if "weight" in stack.coords:
        return np.asarray(stack["weight"].values) > 0
    return np.ones(stack.shape[0], dtype=bool)


def _as_float(values: ArrayLike) -> NDArray[np.floating]:
    """Return numbers as float32 or float64; raise StackError for anything else."""
    array = np.asarray(values)
    if array.dtype in (np.float32, np.float64):
        return array
    if array.dtype.kind not in "iufb":
        raise StackError(f"expected numbers, got values of type {array.dtype}")
    return array.astype(np.float32)


def _energies_in_ev(energy: ArrayLike, n_images: int) -> tuple[NDArray[np.float64], list[str]]:
    """Return the energies in eV, float64, and a note for every assumption."""
    try:
        energy_ev = np.array(energy, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise EnergyError(f"energies must be numbers: {error}") from error
    if energy_ev.size != n_images:
        raise EnergyError(
            f"{energy_ev.size} energies for {n_images} images; "
            "give one energy per image, in the order of the images"
        )
    if n_bad := int(np.count_nonzero(~np.isfinite(energy_ev) | (energy_ev <= 0))):
        raise EnergyError(
            f"{n_bad} of {energy_ev.size} energies are not finite positive numbers; correct the list"
        )
    if energy_ev.max() < KEV_LIMIT:
        return energy_ev * 1e3, [f"energies below {KEV_LIMIT:g} were taken for keV and converted to eV"]
    return energy_ev, []


def _sort_and_merge(stack: xr.DataArray) -> tuple[xr.DataArray, list[str]]:
    """Return the stack with energies in order, each of them once, and a note for every change."""
    notes = []
    energy = stack.energy.values
    if np.any(np.diff(energy) < 0):
        stack = stack.isel(energy=np.argsort(energy, kind="stable"))
        notes.append("energies were not in increasing order; images were sorted by energy")
    unique, counts = np.unique(stack.energy.values, return_counts=True)
    if len(unique) < len(energy):
        notes.append(
            f"{len(energy) - len(unique)} images repeat an energy; images at the same energy were averaged"
        )
        attrs = stack.attrs
        starts = np.r_[0, np.cumsum(counts)[:-1]]
        values = np.add.reduceat(stack.values, starts, axis=0) / counts[:, None, None]
        stack = xr.DataArray(
            values.astype(stack.dtype), dims=DIMS, coords={"energy": unique}, name="stack", attrs=attrs
        )
    return stack, notes


def _check_energies(stack: xr.DataArray, min_energies: int) -> None:
    """Raise EnergyError unless the energies are finite, strictly increasing and enough."""
    if "energy" not in stack.coords:
        raise EnergyError("the stack has no energies; add them as coordinate 'energy' in eV")
    energy = stack.energy.values
    if not np.all(np.isfinite(energy)) or np.any(np.diff(energy) <= 0):
        raise EnergyError("energies must be finite and strictly increasing; xanesum.make_stack sorts them")
    n_usable = int(usable_weight(stack).sum())
    if n_usable < min_energies:
        raise EnergyError(f"this step needs at least {min_energies} energies, the stack has {n_usable}")
