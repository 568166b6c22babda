"""From plain arrays back to a labelled result."""

from __future__ import annotations

import platform
from importlib.metadata import version

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.linalg.subspace import mean_signs
from xanesum.method.fit import Fit
from xanesum.result import Denoised
from xanesum.stack import usable_weight

__all__ = ["_versions", "assemble"]


def assemble(
    stack: xr.DataArray,
    fit: Fit,
    sigma: float,
    per_energy: NDArray[np.float64],
    provenance: dict[str, object],
    *,
    pixel: NDArray[np.float64] | None = None,
    common: NDArray[np.float64] | None = None,
) -> Denoised:
    """Return the first components of a fit to the usable frames of `stack`, labelled; unused frames get 0.

    Parameters
    ----------
    stack : DataArray (energy, y, x)
        Gives the labels.
    fit : Fit
        From `xanesum.method.sum_plus`.
    sigma : float
        Noise level.
    per_energy : ndarray, shape (E',)
        Noise level at each usable energy.
    provenance : dict
        What the result should say of its origin.
    pixel : ndarray, shape (Y, X), optional
        Noise level of each pixel, relative; 1 by default.
    common : ndarray, shape (E',), optional
        Standard deviation of noise that all usable energies share; 0 by default.
    """
    weight, rank = usable_weight(stack), fit.rank
    sign = mean_signs(fit.images[:rank])
    mixing = np.eye(rank) if fit.mixing is None else fit.mixing
    spectra = np.zeros((rank, len(weight)))
    spectra[:, weight] = fit.spectra[:rank] * sign[:, None]
    sigma_energy = np.full(len(weight), np.nan)
    sigma_energy[weight] = per_energy
    sigma_common = np.zeros(len(weight))
    sigma_common[weight] = 0.0 if common is None else common
    energy = {"energy": stack.energy, **({"weight": stack["weight"]} if "weight" in stack.coords else {})}
    pixels = {name: stack[name] for name in ("y", "x", "mask") if name in stack.coords}
    risk = fit.risk
    n_tried = len(fit.components["risk"])
    return Denoised(
        spectra=xr.DataArray(spectra, dims=("component", "energy"), coords=energy),
        coefficients=xr.DataArray(
            fit.images[:rank] * sign[:, None, None].astype(np.float32),
            dims=("component", "y", "x"),
            coords=pixels,
        ),
        components=xr.Dataset(
            {name: ("tried", values) for name, values in fit.components.items()},
            coords={"tried": np.arange(1, n_tried + 1)},
        ),
        sigma=sigma,
        sigma_pixel=xr.DataArray(
            np.ones(stack.shape[1:]) if pixel is None else pixel, dims=("y", "x"), coords=pixels
        ),
        error_images=xr.DataArray(fit.errors[:rank], dims=("source", "y", "x"), coords=pixels),
        error_mixing=xr.DataArray(mixing * sign[:, None], dims=("component", "source")),
        sigma_energy=xr.DataArray(sigma_energy, dims="energy", coords={"energy": stack.energy}),
        sigma_common=xr.DataArray(sigma_common, dims="energy", coords={"energy": stack.energy}),
        risk=xr.Dataset(
            {
                "risk": ("rank", risk.risk),
                "standard_error": ("rank", risk.standard_error),
                "difference_error": ("rank", risk.difference_error),
                "divergence": ("rank", risk.divergence),
                "chosen": ("rank", risk.ranks == rank),
            },
            coords={"rank": risk.ranks},
        ),
        attrs=dict(stack.attrs),
        provenance=provenance,
    )


def _versions() -> dict[str, object]:
    return {
        "xanesum": version("xanesum"),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "xarray", "torch")},
    }
