"""From counts or transmission to optical density; from fluorescence to fluorescence per incident photon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import rank_filter

from xanesum.errors import StackError
from xanesum.noise.detector import log_of_counts
from xanesum.noise.level import median_sigma
from xanesum.preprocess.marks import BAD_SHARE, PreprocessReport, mark, noted
from xanesum.preprocess.quantity import ASSUMED
from xanesum.preprocess.references import Corrections, References, at_energy, find_references, has_reference
from xanesum.stack import DIMS, check_stack, usable_mask
from xanesum.storage.lazy import each_frame, with_frames, with_values
from xanesum.storage.scratch import IN_MEMORY, Frames, Workspace

__all__ = ["to_optical_density"]

# coordinates that optical density drops
REFERENCES = ("flat", "dark", "i0", "monitor", "exposure_s", "flat_exposure_s")
# in standard deviations of the noise in the dark:
FLOOR = 2.0  # counts below this have no useful logarithm
DARK = 5.0  # surroundings below this are dark
DIM = 20.0  # in surroundings below this, noise alone can make a value low
FLOOR_FRAMES = 24  # frames in which this noise is measured, or up to twice as many
_Density = tuple[NDArray[np.float64], NDArray[np.bool_] | np.bool_, PreprocessReport]


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

    Optical density and intensity are returned as they are.  Fluorescence is divided by the flat or I0,
    without a logarithm, or by the `monitor`; without all of these it is returned as it is.  Options that are
    not given are taken from the stack: coordinates `flat`, `i0`, `dark` and exposure times, and
    ``attrs["saturation_counts"]``.

    An I0 spectrum beside one flat image says how the light changes with energy.  So does the ring current
    (coordinate `monitor`, with ``attrs["monitor_unit"]`` of mA or A) beside one flat image or an I0 spectrum.

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
        Counts, counts per second (``attrs["unit"] == "counts/s"``), transmission or fluorescence.
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
    is_fluorescence = quantity == "fluorescence"
    if is_fluorescence and not has_reference(stack, Corrections(flat=flat)) and "monitor" in stack.coords:
        stack = stack.assign_coords(i0=stack["monitor"]).drop_vars("monitor")
    without_i0 = is_fluorescence and not has_reference(stack, Corrections(flat=flat))
    as_it_is = without_i0 and dark is None and "dark" not in stack.coords and not offset
    if as_it_is or quantity in ("optical_density", "intensity"):
        why = " (no I0)" if as_it_is else ""
        note = f"{quantity.replace('_', ' ')}: taken as it is{why}"
        return stack.copy(), PreprocessReport(n_values=stack.size, notes=(note,))
    if without_i0:  # it has a dark to be subtracted
        flat = np.full(len(stack), 1.0 + offset)
    given = Corrections(
        flat=flat, dark=dark, offset=offset, exposure_s=exposure_s, flat_exposure_s=flat_exposure_s
    )
    references = find_references(stack, given)
    limit = np.inf if quantity == "transmission" else _saturation(stack, saturation)
    if is_fluorescence:
        return _per_incident_photon(stack, references, limit, workspace)
    floor = _noise_floor(stack, references, limit)
    frames = workspace.frames(stack.shape)
    n_without_light, report = _fill_density(frames, stack, references, limit, floor)
    result = with_values(stack.drop_vars(REFERENCES, errors="ignore"), frames.variable())
    lightless = (n_without_light > BAD_SHARE * len(stack)) & usable_mask(stack)
    if lightless.any():
        result = with_frames(
            result, lambda values, _, y, x: np.where(lightless[y, x], np.float32(np.nan), values)
        )
    too_dark = report.n_linear + report.n_not_positive - int(n_without_light[lightless].sum())
    report = _without_known(stack, report)
    _drop_attrs_of_counts(result)
    result.attrs["quantity"] = "optical_density"
    result.attrs["flat_field"] = references.is_image
    result.attrs["dark_share"] = max(0, too_dark) / stack.size
    result = _with_light(result, references, floor)
    result, marked = mark(result)
    return noted(result, report + marked, f"{quantity} to optical density ({references.description})")


def _per_incident_photon(
    stack: xr.DataArray, references: References, limit: float, workspace: Workspace
) -> tuple[xr.DataArray, PreprocessReport]:
    """Return fluorescence divided by its references, NaN where it is saturated or they cannot be used."""
    frames = workspace.frames(stack.shape)
    report, mask = PreprocessReport(n_values=stack.size), usable_mask(stack)

    def ratio_of(e: int, frame: NDArray[np.float64]) -> tuple[NDArray[np.float64], PreprocessReport]:
        finite, saturated = np.isfinite(frame), frame >= limit
        log_reference = references.log_flat(e, np.inf) + float(at_energy(references.log_times, e))
        known = np.broadcast_to(np.isfinite(log_reference), frame.shape)
        counts = np.where(finite & ~saturated, frame - at_energy(references.pedestal, e), np.nan)
        counted = PreprocessReport(
            n_not_finite=int(np.count_nonzero(~finite & mask)),
            n_saturated=int(np.count_nonzero(finite & saturated & mask)),
            n_bad_reference=int(np.count_nonzero(finite & ~saturated & ~known & mask)),
        )
        return counts * np.exp(-log_reference), counted

    for e, (ratio, counted) in enumerate(each_frame(stack, ratio_of)):
        frames[e] = ratio
        report += counted
    dropped = (*REFERENCES, "noise_gain", "noise_read_variance")
    result = with_values(stack.drop_vars(dropped, errors="ignore"), frames.variable())
    report = _without_known(stack, report)
    _drop_attrs_of_counts(result)
    result.attrs["flat_field"] = references.is_image
    result, marked = mark(result)
    return noted(result, report + marked, f"fluorescence divided {references.description}")


def _drop_attrs_of_counts(stack: xr.DataArray) -> None:
    """Remove the attributes that only raw values have."""
    names = ("unit", "saturation_counts", "saturated_values", "missing_values", "monitor_unit")
    for name in (*names, ASSUMED):
        stack.attrs.pop(name, None)


def _fill_density(
    frames: Frames, stack: xr.DataArray, references: References, limit: float, floor: float
) -> tuple[NDArray[np.int64], PreprocessReport]:
    """Set `frames` to optical density; return how often each pixel (Y, X) has no light, and the losses."""
    n_without_light = np.zeros(stack.shape[1:], np.int64)
    report, mask = PreprocessReport(n_values=stack.size), usable_mask(stack)
    same = references.log_flat(0, limit) if references.is_one else None
    half_photon = _half_photon(stack)

    def density_of(e: int, frame: NDArray[np.float64]) -> _Density:
        log_flat = references.log_flat(e, limit) if same is None else same
        counts, log_times = (
            frame - at_energy(references.pedestal, e),
            float(at_energy(references.log_times, e)),
        )
        return _frame_density(
            frame, counts, log_flat + log_times, limit, floor, half_photon=half_photon[e], mask=mask
        )

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


def _with_light(stack: xr.DataArray, references: References, floor: float) -> xr.DataArray:
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


def _frame_density(
    frame: NDArray[np.float64],
    counts: NDArray[np.float64],
    log_reference: NDArray[np.float64],
    limit: float,
    floor: float,
    *,
    half_photon: float,
    mask: NDArray[np.bool_],
) -> _Density:
    """Return the optical density of one frame (NaN where lost), pixels without light, and the losses.

    Losses are counted at the pixels of `mask` (Y, X).
    """
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
        n_not_finite=int(np.count_nonzero(~finite & mask)),
        n_saturated=int(np.count_nonzero(saturated & mask)),
        n_not_positive=int(np.count_nonzero(not_positive & mask)),
        n_linear=int(np.count_nonzero(linear & mask)),
        n_bad_reference=int(np.count_nonzero(measured & mask & ~np.isfinite(log_reference))),
    )
    return log_reference - log_counts, without_light, counted


def _noise_floor(stack: xr.DataArray, references: References, limit: float) -> float:
    """Return the counts below which a logarithm is of no use; 0 where no noise reaches below 0.

    The noise in the dark comes from the noise law where this is known, and else from the negative counts.
    These give too small a value where they are only the tail of a dim scan.
    """
    below, about = [np.zeros(0)], [np.zeros(0)]
    for e in range(0, len(stack), max(1, len(stack) // FLOOR_FRAMES)):
        frame = np.asarray(stack[e].values, np.float64)
        counts = frame - at_energy(references.pedestal, e)
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


def _dark_variance(stack: xr.DataArray, references: References) -> NDArray[np.float64]:
    """Return the variance (E,) of counts without light, after subtraction of the dark, by the noise law."""
    pedestal = np.array([np.median(at_energy(references.pedestal, e)) for e in range(len(stack))])
    variance = stack["noise_read_variance"].values + stack["noise_gain"].values * pedestal
    return np.maximum(np.asarray(variance, np.float64), 0.0)


def _surroundings(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fourth lowest of the 3 x 3 values around each pixel, which is also low in a dark corner.

    Values that are not finite count as bright.
    """
    return np.asarray(rank_filter(np.where(np.isfinite(counts), counts, np.inf), 3, 3))


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


def _without_known(stack: xr.DataArray, report: PreprocessReport) -> PreprocessReport:
    """Return the report without NaN that an earlier step has reported; those of the reader are saturated.

    Where a reader averaged saturated exposures, it left NaN.
    """
    saturated = int(stack.attrs.get("saturated_values", 0))
    reported = int(stack.attrs.get("missing_values", 0)) - saturated
    n_not_finite = max(0, report.n_not_finite - reported)
    n = min(saturated, n_not_finite)
    return replace(report, n_not_finite=n_not_finite - n, n_saturated=report.n_saturated + n)
