"""What the explorer holds of a result and its map: a header of numbers and a few packed images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, StackError
from xanesum.linalg.covariance import Covariance
from xanesum.linalg.error_fields import LOST, WIDTHS_PX
from xanesum.report.drawing import limits_of, size_of_pixel
from xanesum.result import Denoised
from xanesum.result.spectrum_errors import (
    LEAST_KEPT,
    MOST_LOST,
    filled_spectra,
    hidden_noise,
    noise_of_sources,
    spectrum_errors,
)
from xanesum.stack import SHIFT_ERRORS, usable_mask, usable_weight
from xanesum.viewer.packing import STEPS_IN_NOISE, PackedImage, pack, pack_sizes
from xanesum.xanes.particles.states import error_name, map_name

__all__ = ["Content", "Curve", "content_of", "map_of"]

SMALL_ERROR = 5  # percentile of the stated errors of an image that its rounding is compared with
STEP_ROUNDING = 2e-3  # of the edge step, for the mask, as a share of the largest
SOME_PIXELS = 2000  # that limits of colours are taken from
DIGITS = 7  # of numbers in the header


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A spectrum that is drawn beside those of the result."""

    energy_ev: NDArray[np.floating]  # (N,)
    values: NDArray[np.floating]  # (N,), normalized: 0 before the edge and 1 beyond it


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What the explorer holds."""

    header: dict[str, Any]
    images: dict[str, PackedImage] = field(default_factory=dict)


def map_of(result: Denoised, mapped: Callable[[Any], xr.Dataset]) -> tuple[xr.Dataset | None, str]:
    """Return the map of a result, or None and the reason why there is none."""
    try:
        return mapped(result), ""
    except EdgeError as error:
        return None, error.message


def content_of(
    result: Denoised,
    maps: xr.Dataset | None,
    *,
    title: str,
    map_problem: str = "",
    references: Mapping[str, Curve] | None = None,
) -> Content:
    """Return what the explorer holds.

    Raises
    ------
    StackError
        If the map has another size than the result.
    """
    if maps is not None and maps["mask"].shape != result.shape[1:]:
        raise StackError(f"the map has {maps['mask'].shape} pixels (y, x), the result has {result.shape[1:]}")
    used = usable_weight(result.spectra.T)
    errors = _stated_errors(result)
    images = {"mask": pack(usable_mask(result.coefficients).astype(np.float64), 0.0)}
    rounding = []
    for k, image in enumerate(result.coefficients.values):
        typical = float(np.percentile(errors[k], SMALL_ERROR)) if len(errors) else 0.0
        images[f"image{k}"] = packed = pack(image, typical)
        rounding.append(packed.rounding / typical if typical else 0.0)
    for s, sizes in enumerate(result.error_images.values):
        images[f"error{s}"] = pack_sizes(sizes)
    if not result.noise_is_even:
        images["pixel"] = pack_sizes(np.nan_to_num(result.sigma_pixel.values, nan=1.0))
    common = _common_errors(result, used, images)
    energy = result.spectra["energy"].values
    header = {
        "title": title,
        "shape": list(result.shape),
        "quantity": str(result.attrs.get("quantity", "")).replace("_", " "),
        "pixel_nm": size_of_pixel(result),
        "energy": energy.tolist(),
        "used": used.astype(int).tolist(),
        "spectra": _rounded(filled_spectra(result.spectra)),
        "sources": _sources(result, used),
        "common": common,
        "alike": {"lost_detail": LOST, "most_alike": 2 * np.sqrt(np.pi) * WIDTHS_PX[-1]},
        "rank": result.rank,
        "sigma": _rounded(np.hypot(result.sigma_used, result.sigma_common.values)),
        "rounding": max(rounding, default=0.0),
        "limits": _limits_of_frames(result),
        "reasons": list(result.reasons),
        "map": None if maps is None else _map(maps, images),
        "map_problem": map_problem,
        "references": {
            name: {"energy": _rounded(curve.energy_ev, 9), "values": _rounded(curve.values)}
            for name, curve in (references or {}).items()
        },
    }
    return Content(header | {"images": {name: image.header for name, image in images.items()}}, images)


def _stated_errors(result: Denoised) -> NDArray[np.float32]:
    """Return the standard error of every image in the usable pixels, (K, P)."""
    mask = usable_mask(result.coefficients)
    squares = np.square(result.error_images.values[:, mask])
    return np.asarray(np.sqrt(np.square(result.error_mixing.values).astype(np.float32) @ squares))


def _limits_of_frames(result: Denoised) -> tuple[float, float]:
    """Return limits of grey that fit some pixels at all energies."""
    images = result.coefficients.values.reshape(result.rank, result.shape[1] * result.shape[2])
    some = images[:, :: max(1, images.shape[1] // SOME_PIXELS)]
    return limits_of(filled_spectra(result.spectra).T @ some, 0.3, 99.9)


def _sources(result: Denoised, used: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what the errors of the images need besides their sizes; see `mean_spectrum`."""
    n = len(result.error_images)
    kept = result.components["weight_noisy"].values[:n] + result.components["weight_denoised"].values[:n]
    kept = np.clip(np.nan_to_num(kept, nan=1.0), LEAST_KEPT, 1.0)
    level = noise_of_sources(result, used).max(axis=(1, 2), initial=0.0)
    pixel = np.nan_to_num(result.sigma_pixel.values, nan=1.0)
    basis = np.full((n, len(used)), np.nan)
    basis[:, used] = result.error_mixing.values.T @ result.spectra.values[:, used]
    return {
        "n": n,
        "basis": _rounded(basis),
        "unmixing": _rounded(np.linalg.pinv(result.error_mixing.values)),  # from images to sources
        "lost": _rounded((1 - kept) / kept),
        "most_lost": MOST_LOST,
        "noise": _rounded(level / pixel.max(initial=1.0)),
    }


def _common_errors(
    result: Denoised, used: NDArray[np.bool_], images: dict[str, PackedImage]
) -> list[dict[str, Any]]:
    """Return the errors of spectra as variances (E,), and where their sizes come from.

    Images of sizes that do not follow from those of the components are added to `images`.
    """
    parts = list(spectrum_errors(result, used))
    n, found = len(result.error_spectra), list[dict[str, Any]]()
    shifts = ("slope_y", "slope_x") if set(SHIFT_ERRORS) <= set(result.spectra.coords) else ()
    kinds = [*(f"source{s}" for s in range(n)), *shifts]
    for part, kind in zip(parts, [*kinds, *("size" for _ in parts[len(kinds) :])], strict=True):
        size = kind
        if kind == "size":
            size = f"size{len(found)}"
            images[size] = pack_sizes(part.size.reshape(result.shape[1:]))
        entry: dict[str, Any] = {"size": size, "variance": _spread(part.covariance, used)}
        if not part.is_common:
            pixel = np.nan_to_num(result.sigma_pixel.values, nan=1.0)
            entry["noise"] = float(hidden_noise(result, part.covariance, used).max() / pixel.max())
        found.append(entry)
    return found


def _spread(covariance: Covariance, used: NDArray[np.bool_]) -> list[Any]:
    variance = np.full(len(used), np.nan)
    variance[used] = covariance.diagonal
    return _rounded(variance)


def _map(maps: xr.Dataset, images: dict[str, PackedImage]) -> dict[str, Any]:
    """Return what the page says of the map; its images are added to `images`."""
    name = map_name(maps)
    error = error_name(maps, name)
    mask = maps["mask"].values
    values = np.where(np.isfinite(maps[name].values), maps[name].values, np.nan)
    sigma = np.full(values.shape, np.nan) if error is None else maps[error].values
    known = sigma[mask & np.isfinite(sigma)]
    noise = float(np.percentile(known, SMALL_ERROR)) if known.size else 0.0
    images["map"] = packed = pack(np.where(mask, values, np.nan), noise)
    images["map_sigma"] = pack_sizes(np.where(mask, sigma, 0))
    step = maps["edge_step"].values if "edge_step" in maps else np.ones(values.shape)
    largest = float(np.nanmax(np.abs(step[mask]), initial=0.0))
    images["step"] = pack(np.where(mask, step, np.nan), STEP_ROUNDING * STEPS_IN_NOISE * largest)
    attrs = maps[name].attrs
    edge = maps.attrs.get("e0_ev")
    return {
        "name": name,
        "label": str(attrs.get("long_name", name.replace("_", " "))),
        "unit": str(attrs.get("units", "")),
        "has_error": bool(known.size),
        "definition": str(maps.attrs.get("definition", "")),
        "e0_ev": None if edge is None or not np.isfinite(edge) else float(edge),
        "limits": limits_of(values[mask], 1, 99),
        "is_energy": attrs.get("units") == "eV" and name not in ("white_line_area_ev",),
        "reasons": list(maps.attrs.get("reasons", [])),
        "rounding": packed.rounding / noise if noise else 0.0,
    }


def _rounded(values: NDArray[Any], digits: int = DIGITS) -> list[Any]:
    """Return nested lists of numbers with a few digits; None where a number is not finite."""
    if np.ndim(values) > 1:
        return [_rounded(row, digits) for row in values]
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in np.asarray(values)]
