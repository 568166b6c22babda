"""Drift of the light that is still in a stack whose spectra are known."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.flat_field.correct import DEFAULT_DRIFT, MIN_ENERGIES, NEGLIGIBLE, order_of_drift
from xanesum.flat_field.estimate import estimate_drift
from xanesum.flat_field.fields import remove_smooth, smooth_fields
from xanesum.linalg.subspace import inner_products
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.storage.lazy import is_lazy

__all__ = ["remaining_drift"]

SIDE_PX = 128  # rows and columns that are looked at, about
BEYOND = 3.0  # a rough image has so many times the expected squared error of the images


def remaining_drift(stack: xr.DataArray, result: Denoised) -> float:
    """Return the rms of the drift that `correct_flat_drift` would find; 0 if it is negligible.

    It is quick, as it looks at some pixels only, and needs no denoiser.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Optical density; 0 is returned for other stacks, for those on disk, for few energies, and where drift
        was removed or is in doubt already.
    result : Denoised
        From this stack.
    """
    used, order = usable_weight(stack), order_of_drift(stack, DEFAULT_DRIFT)
    is_done = {"drift_removed", "drift_doubt"} & set(stack.attrs)
    is_open = not is_lazy(stack) and np.count_nonzero(used) >= MIN_ENERGIES
    if order is None or is_done or not is_open or not result.rank:
        return 0.0
    rows, columns = (slice(None, None, max(1, size // SIDE_PX)) for size in stack.shape[1:])
    part = stack[used, rows, columns]
    values = np.asarray(part.values, np.float32)
    mask = usable_mask(part) & np.isfinite(values).all(axis=0)
    if not mask.any():
        return 0.0
    fields = smooth_fields(mask.shape, mask=mask, order=order)
    images = result.coefficients.values[: result.rank, rows, columns] * mask
    risk = float(result.components["risk"].values[: result.rank].mean())
    known = _rough_spectra(
        result.spectra.values[: result.rank, used], remove_smooth(images, fields), mask, risk
    )
    if not len(known):
        return 0.0
    values, energy_ev = np.where(mask, values, np.float32(0)), part.energy.values.astype(float)
    found = estimate_drift(values, known, fields, float(result.sigma), energy_ev, mask=mask)
    return found.rms if found.rms > NEGLIGIBLE * float(result.sigma) else 0.0


def _rough_spectra(
    spectra: NDArray[np.float64], images: NDArray[np.float32], mask: NDArray[np.bool_], risk: float
) -> NDArray[np.float64]:
    """Return orthonormal spectra (R, E) of images (K, Y, X) without anything smooth, beyond their risk.

    A component that holds drift has nothing else.
    """
    left, size, _ = np.linalg.svd(spectra.T @ _root(images), full_matrices=False)
    return left[:, size**2 > BEYOND * risk * np.count_nonzero(mask)].T


def _root(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a matrix (K, K) whose product with its transpose is that of images (K, Y, X)."""
    size, turn = np.linalg.eigh(inner_products(images, images))
    return np.asarray(turn * np.sqrt(np.maximum(size, 0)))
