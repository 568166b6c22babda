"""A map with its errors as labelled images: the step of every pixel, the mask, and the reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.xanes.kinds import KINDS
from xanesum.xanes.map_edge import MapEdge
from xanesum.xanes.measuring import Linear, Measured, Search, measure
from xanesum.xanes.normalization import EdgeRanges, Range, step_operator
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = [
    "Step",
    "labelled_map",
    "mean_difference",
    "range_text",
    "rivals_text",
    "step_in_place",
    "step_of",
]

MIN_STEP = 0.1  # least edge step of a pixel with a map value, as a share of the stack's 95th percentile ...
MIN_STEP_SIGMAS = 3.0  # ... and in units of its own standard error
RIVALS = 0.05  # from this share of pixels in which two places compete, a map says so


class Step(NamedTuple):
    """The edge step of every pixel, or what stands in its place."""

    height: NDArray[np.floating]  # (P,), unit of the stack
    error: NDArray[np.float64]  # (P,), standard error; NaN where unknown


def step_of(spectra: PixelSpectra, ranges: EdgeRanges) -> Step:
    """Return the edge step of every pixel and its standard error."""
    operator = step_operator(spectra.energy_ev, ranges)
    return Step(spectra.apply(operator) @ spectra.images, spectra.error(operator))


def step_in_place(spectra: PixelSpectra, search: Search) -> Step:
    """Return what a search measures in every pixel, in place of a step."""
    found = measure(spectra, search)
    return Step(found.value, found.error)


def mean_difference(spectra: PixelSpectra, edge: MapEdge) -> Linear:
    """Return the search for the mean of the frames beyond the edge, less the mean of those below it."""
    energy_ev, ranges = spectra.energy_ev, edge.ranges
    below, beyond = energy_ev < ranges.e0_ev, energy_ev > ranges.e0_ev
    if ranges.pre_ev is not None:
        below = (energy_ev >= ranges.pre_ev[0]) & (energy_ev <= ranges.pre_ev[1])
    if ranges.post_ev is not None:
        beyond = (energy_ev >= ranges.post_ev[0]) & (energy_ev <= ranges.post_ev[1])
    return Linear.of(spectra, beyond / np.count_nonzero(beyond) - below / np.count_nonzero(below))


def _step_is_real(step: Step, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the step is large, compared with the stack's largest and with its own error, (P,)."""
    used = np.asarray(mask.ravel() & np.isfinite(step.height))
    if not used.any():
        return used
    largest = float(np.percentile(step.height[used], 95))
    # fmax ignores an unknown error
    least = np.fmax(max(MIN_STEP * largest, 0.0), MIN_STEP_SIGMAS * step.error)
    with np.errstate(invalid="ignore"):
        return np.asarray(used & (step.height > least))


def rivals_text(found: Measured, good: NDArray[np.bool_], what: str, instead: str) -> tuple[str, ...]:
    """Return a reason against errors where other places compete in many pixels, or nothing."""
    away = found.away[good]
    competing = away[away > 0]
    if competing.size <= RIVALS * away.size:
        return ()
    return (
        f"in {100 * competing.size / away.size:.0f} % of the pixels other {what} are as high within errors, "
        f"about {np.median(competing):.2g} eV away, so the map may jump between them; {instead}",
    )


def labelled_map(
    spectra: PixelSpectra,
    edge: MapEdge,
    kind: str,
    found: Measured,
    step: Step,
    *,
    definition: str,
    needs_step: bool = True,
    common: float | NDArray[np.float64] = 0.0,
    more: dict[str, NDArray[Any]] | None = None,
    mask: NDArray[np.bool_] | None = None,
    facts: dict[str, Any] | None = None,
    reasons: Callable[[NDArray[np.bool_]], Sequence[str]] = lambda mask: (),
) -> xr.Dataset:
    """Return a map and its errors as images (Y, X), and the mask of the pixels in which it means something.

    Parameters
    ----------
    spectra : PixelSpectra
    edge : MapEdge
    kind : str
        Of the map, a key of `KINDS`.
    found : Measured
        The map.
    step : Step
        Pixels whose step is small, or within its error, are left out, if the map `needs_step`.
    definition : str
        What was computed, in one sentence.
    common : float or ndarray (P,)
        Error that comes on top, in quadrature.
    more : dict
        Other images (P,) by their names.
    mask : ndarray (P,), optional
        Pixels that may have a value besides.
    facts : dict, optional
        More attributes.
    reasons : callable
        From the mask (Y, X) to sentences why the errors may not hold.
    """
    shape, told = spectra.mask.shape, KINDS[kind]
    good = spectra.mask.ravel() & np.isfinite(found.value)
    if needs_step:
        good = good & _step_is_real(step, spectra.mask)
    good = (good if mask is None else good & mask).reshape(shape)
    value = found.value if told.unit == "eV" else found.value.astype(np.float32)
    maps: dict[str, NDArray[Any]] = {  # energies in float64: an edge at 8 keV moves by parts of an eV
        told.variable: value,
        told.error: np.hypot(found.error, common).astype(np.float32),
        "exposure_gain": found.exposure_gain.astype(np.float32),
        **(more or {}),
    }
    maps.setdefault("edge_step", step.height.astype(np.float32))
    maps["mask"] = good
    images = xr.Dataset(
        {name: (("y", "x"), image.reshape(shape)) for name, image in maps.items()},
        coords={name: spectra.source[name] for name in ("y", "x") if name in spectra.source.coords},
    )
    images[told.variable].attrs = {"units": told.unit, "long_name": told.label, "error": told.error}
    ranges, said = edge.ranges, (*spectra.reasons, *edge.reasons, *reasons(good))
    images.attrs = {
        "kind": kind,
        "definition": definition,
        "e0_ev": ranges.e0_ev,
        "pre_ev": ranges.pre_ev,
        "post_ev": ranges.post_ev,
        "e0_sigma_ev": edge.sigma_ev,
        "sigma_by_e0_ev": 0.0,
        **(facts or {}),
        "intervals_hold": not said,
        "reasons": list(said),
    }
    return images


def range_text(limits: Range) -> str:
    """Return a range in words."""
    return f"{limits[0]:.2f} to {limits[1]:.2f} eV"
