"""Mean spectra of named regions, before and after denoising, with standard errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import StackError
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.storage.lazy import each_frame

__all__ = ["region_spectra"]


def region_spectra(
    result: Denoised, regions: Mapping[str, NDArray[np.bool_]], *, stack: xr.DataArray | None = None
) -> xr.Dataset:
    """Return the mean spectra of regions.

    Parameters
    ----------
    result : Denoised
    regions : mapping
        Name to pixels (Y, X); see `xanesum.result.spectrum_errors.region_mask`.  Regions may overlap.
    stack : DataArray (energy, y, x), optional
        The scan that was denoised, for the spectra before denoising.

    Returns
    -------
    Dataset
        Along ``region`` and ``energy``, in the unit of the stack: ``denoised`` and ``denoised_sigma`` (as
        `Denoised.mean_spectrum`); ``measured`` and ``measured_sigma`` (mean of the scan, and the error of
        that mean by its noise), NaN where there is no scan or the weight is 0. Along ``region``:
        ``n_pixels``. ``masks`` (region, y, x).

    Raises
    ------
    StackError
        If there is no region, or one holds no usable pixel, or the scan has another size.
    """
    if not regions:
        raise StackError(
            "no region is named; name one in the section [regions] of the recipe", parameter="regions"
        )
    if stack is not None and stack.shape != result.shape:
        raise StackError(
            f"the scan has shape {stack.shape}, but its result has {result.shape} (energy, y, x)"
        )
    found = []
    for name, mask in regions.items():
        try:
            found.append(result.mean_spectrum(mask))
        except StackError as error:
            raise StackError(f"region {name}: {error.message}") from error
    masks = np.stack([mask & usable_mask(result.coefficients) for mask in regions.values()])
    measured = (
        np.full((2, len(found), result.shape[0]), np.nan)
        if stack is None
        else _measured(result, stack, masks)
    )
    both = ("region", "energy")
    return xr.Dataset(
        {
            "denoised": (both, np.stack([each["spectrum"].values for each in found])),
            "denoised_sigma": (both, np.stack([each["sigma"].values for each in found])),
            "measured": (both, measured[0]),
            "measured_sigma": (both, measured[1]),
            "n_pixels": (("region",), np.array([each.attrs["n_pixels"] for each in found])),
            "masks": (("region", "y", "x"), masks),
        },
        coords={
            "region": list(regions),
            "energy": ("energy", result.spectra["energy"].values, {"units": "eV"}),
        },
        attrs={
            "kind": "regions",
            "quantity": result.attrs.get("quantity", ""),
            "definition": (
                "mean spectrum of the usable pixels of each region: measured (before denoising, with the "
                "error by the noise of the scan) and denoised (with the error that neighbours and all pixels "
                "share)"
            ),
            "intervals_hold": result.intervals_hold,
            "reasons": list(result.reasons),
        },
    )


def _measured(
    result: Denoised, stack: xr.DataArray, masks: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means (R, E) of a scan over regions, and their errors; NaN at energies of weight 0."""
    pixel = np.nan_to_num(result.sigma_pixel.values, nan=1.0)
    noise = np.hypot(result.sigma_used, result.sigma_common.values)
    noise = np.where(usable_weight(stack) & usable_weight(result.spectra.T), noise, np.nan)

    def of_frame(e: int, frame: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.full((2, len(masks)), np.nan)
        for r, mask in enumerate(masks):
            known = mask & np.isfinite(frame)
            count = np.count_nonzero(known)
            if count and np.isfinite(noise[e]):
                found[:, r] = frame[known].mean(), noise[e] * np.sqrt(np.sum(pixel[known] ** 2)) / count
        return found

    means, errors = np.array(list(each_frame(stack, of_frame))).transpose(1, 2, 0)
    return means, errors
