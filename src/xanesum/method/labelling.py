"""From plain arrays back to a labelled result, with its origin."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.linalg.subspace import mean_signs
from xanesum.method.fit import Fit
from xanesum.method.noise_model import NoiseLevels
from xanesum.method.sure import RankRisk
from xanesum.result import Denoised
from xanesum.stack import SHIFT_COORDS, usable_weight

__all__ = ["label", "package_versions"]


def label(
    stack: xr.DataArray,
    fit: Fit,
    noise: NoiseLevels,
    provenance: Mapping[str, object],
    *,
    reasons: tuple[str, ...] = (),
) -> Denoised:
    """Return the kept components of a fit to the usable frames of `stack`, labelled; other frames get 0.

    Parameters
    ----------
    stack : DataArray (energy, y, x)
        Gives the labels.
    fit : Fit
        From a method, for the E' usable frames.
    noise : NoiseLevels
        At the E' usable energies.
    provenance : mapping
        The origin of the result, for the record.
    reasons : tuple of str
        Why the stated errors may not hold, a sentence each.
    """
    rank, sign = fit.rank, mean_signs(fit.images[: fit.rank])
    mixing = np.eye(rank) if fit.mixing is None else fit.mixing
    freedom = np.ones_like(fit.spectra) if fit.freedom is None else fit.freedom
    drift = stack["drift_sigma"].values if "drift_sigma" in stack.coords else np.zeros(stack.shape[1:])
    hidden = np.zeros(len(noise.energy)) if fit.hidden_spectrum is None else fit.hidden_spectrum
    hidden_size = np.zeros(stack.shape[1:], np.float32) if fit.hidden_size is None else fit.hidden_size
    common = np.zeros(len(noise.energy)) if noise.common is None else noise.common
    pixel = np.ones(stack.shape[1:]) if noise.pixel is None else noise.pixel
    energy = {name: stack[name] for name in ("energy", "weight", *SHIFT_COORDS) if name in stack.coords}
    pixels = {name: stack[name] for name in ("y", "x", "mask") if name in stack.coords}
    return Denoised(
        spectra=xr.DataArray(
            _at_used(stack, fit.spectra[:rank] * sign[:, None], 0.0),
            dims=("component", "energy"),
            coords=energy,
        ),
        coefficients=xr.DataArray(
            fit.images[:rank] * sign[:, None, None].astype(np.float32),
            dims=("component", "y", "x"),
            coords=pixels,
        ),
        components=_components_table(fit),
        sigma=noise.sigma,
        sigma_energy=xr.DataArray(
            _at_used(stack, noise.energy, np.nan), dims="energy", coords={"energy": stack.energy}
        ),
        sigma_common=xr.DataArray(
            _at_used(stack, common, 0.0), dims="energy", coords={"energy": stack.energy}
        ),
        sigma_pixel=xr.DataArray(pixel, dims=("y", "x"), coords=pixels),
        sigma_drift=xr.DataArray(drift.astype(np.float32), dims=("y", "x"), coords=pixels),
        error_images=xr.DataArray(fit.errors[:rank], dims=("source", "y", "x"), coords=pixels),
        error_mixing=xr.DataArray(mixing * sign[:, None], dims=("component", "source")),
        error_spectra=_of_sources(stack, fit.errors_of_spectra[:rank]),
        error_freedom=_of_sources(stack, freedom[:rank]),
        hidden_spectrum=xr.DataArray(
            _at_used(stack, hidden, 0.0), dims="energy", coords={"energy": stack.energy}
        ),
        hidden_size=xr.DataArray(hidden_size, dims=("y", "x"), coords=pixels),
        risk=_risk_table(fit.risk, rank),
        attrs=dict(stack.attrs),
        provenance=dict(provenance),
        reasons=reasons,
    )


def package_versions() -> dict[str, object]:
    """Return the versions of Python and of the packages that a result depends on."""
    names = ("xanesum", "numpy", "scipy", "xarray", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _at_used(stack: xr.DataArray, values: NDArray[np.float64], fill: float) -> NDArray[np.float64]:
    """Return values (..., E') of the usable frames at all energies (..., E), with `fill` elsewhere."""
    used = usable_weight(stack)
    at_all = np.full((*values.shape[:-1], len(used)), fill)
    at_all[..., used] = values
    return at_all


def _of_sources(stack: xr.DataArray, values: NDArray[np.float64]) -> xr.DataArray:
    return xr.DataArray(
        _at_used(stack, values, 0.0), dims=("source", "energy"), coords={"energy": stack.energy}
    )


def _components_table(fit: Fit) -> xr.Dataset:
    n_tried = len(fit.components["risk"])
    columns = {name: ("tried", values) for name, values in fit.components.items()}
    return xr.Dataset(columns, coords={"tried": np.arange(1, n_tried + 1)})


def _risk_table(risk: RankRisk, chosen: int) -> xr.Dataset:
    columns = {
        "risk": ("rank", risk.risk),
        "standard_error": ("rank", risk.standard_error),
        "difference_error": ("rank", risk.difference_error),
        "divergence": ("rank", risk.divergence),
        "chosen": ("rank", risk.ranks == chosen),
    }
    return xr.Dataset(columns, coords={"rank": risk.ranks})
