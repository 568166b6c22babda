"""Errors of a map by parametric bootstrap: scans are drawn from the result, denoised and mapped."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser
from xanesum.errors import EdgeError, RecipeError, XanesumWarning
from xanesum.method.denoising import denoise
from xanesum.result import Denoised
from xanesum.xanes import KINDS, MAP_NAMES, Normalization, chemical_map

__all__ = ["MIN_DRAWS", "bootstrap_map", "draw_again"]

MIN_DRAWS = 2  # fewer draws have no standard deviation


def draw_again(result: Denoised, *, rng: np.random.Generator) -> xr.DataArray:
    """Return a stack (energy, y, x) as it would be measured if `result` were the truth.

    The clean stack gets noise as the result states it: for each pixel and energy, and common to all energies.
    Frames of weight 0 and masked pixels keep their marks.
    """
    clean = result.reconstruct()
    used, energies = result.sigma_used, result.sigma_energy.values
    sigma = np.where(np.isfinite(energies), used, 0.0)
    pixel = result.sigma_pixel.values
    shared = pixel * rng.standard_normal(pixel.shape)
    values = np.empty(clean.shape, np.float32)
    for e, level in enumerate(sigma):
        noise = pixel * rng.standard_normal(pixel.shape)
        values[e] = clean[e].values + level * noise + result.sigma_common.values[e] * shared
    return clean.copy(data=values)


def bootstrap_map(
    result: Denoised,
    maps: xr.Dataset,
    *,
    n_draws: int = 20,
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    normalization: Normalization | None = None,
    rng: np.random.Generator | None = None,
    progress: Callable[[str, float], None] = lambda step, share: None,
) -> xr.Dataset:
    """Return a map with errors from a parametric bootstrap [1]_, added to those that follow from the risk.

    The bootstrap sees what a formula cannot: another choice of components, spectra that are fitted again, a
    crossing that jumps.  It does not see detail that the result has lost, because it takes the result as the
    truth.

    Parameters
    ----------
    result : Denoised
    maps : Dataset
        The map of this result, from `chemical_map`.
    n_draws : int
        Number of drawn scans; a standard deviation from 20 draws has an error of one part in six.
    denoiser : str or Denoiser
        The denoiser of the result.
    normalization : Normalization, optional
        That of the map, if it was normalized as in Larch.
    rng : numpy.random.Generator, optional
        ``default_rng(0)`` by default.
    progress : callable
        Called with the name of the step and the share of it that is done.

    Returns
    -------
    Dataset
        `maps` and, for a half-step energy, ``half_step_bootstrap_sigma_ev`` (standard deviation of the draws)
        and ``half_step_bootstrap_bias_ev`` (mean of the draws less the map); NaN where fewer than two draws
        have a value.  For other kinds of maps the names begin with the kind, and end without ``_ev`` if the
        unit is not eV.

    Raises
    ------
    RecipeError
        If there are fewer than two draws.

    References
    ----------
    .. [1] B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall (1993), section 6.5.
    """
    if n_draws < MIN_DRAWS:
        raise RecipeError(f"a bootstrap needs at least {MIN_DRAWS} draws, got {n_draws}")
    rng = np.random.default_rng(0) if rng is None else rng
    name = MAP_NAMES[maps.attrs["kind"]]
    values = np.full((n_draws, *maps[name].shape), np.nan)
    for n in range(n_draws):
        progress("bootstrap", n / n_draws)
        values[n] = _drawn_map(result, maps, denoiser, normalization, rng)
    return maps.assign(_summary(values, maps, name)).assign_attrs(bootstrap_draws=n_draws)


def _drawn_map(
    result: Denoised,
    maps: xr.Dataset,
    denoiser: str | Denoiser,
    normalization: Normalization | None,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw a scan, denoise it like the result, and return its map (Y, X); NaN where it has no value."""
    given = result.provenance["rank_given"]
    kind = maps.attrs["kind"]
    ranges = ("pre_ev", "post_ev") if normalization is None else ()
    names = ("e0_ev", *ranges, *KINDS[kind].options)
    options: dict[str, Any] = {name: maps.attrs[name] for name in names if name in maps.attrs}
    options["normalization"] = normalization
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)  # they concern the drawn scan, not the result
        drawn = denoise(
            draw_again(result, rng=rng),
            method=result.provenance["method"],
            denoiser=denoiser,
            rank=None if given == "automatic" else int(given),
            noise="white" if result.noise_is_even else "auto",
            rng=rng,
        )
    try:
        found = chemical_map(drawn, kind=kind, **options)
    except EdgeError:  # no component is left, so this draw has no value anywhere
        return np.full(maps["mask"].shape, np.nan)
    return np.asarray(found[MAP_NAMES[kind]].where(found["mask"]).values, np.float64)


def _summary(values: NDArray[np.float64], maps: xr.Dataset, name: str) -> dict[str, xr.DataArray]:
    """Return the standard deviation and the bias of the draws (N, Y, X), by the name of the variable."""
    n_known = np.count_nonzero(np.isfinite(values), axis=0)
    known = n_known >= MIN_DRAWS
    mean = np.nansum(values, axis=0) / np.maximum(n_known, 1)
    squares = np.nansum((values - mean) ** 2, axis=0) / np.maximum(n_known - 1, 1)
    spread = np.where(known, np.sqrt(squares), np.nan)
    bias = np.where(known, mean - maps[name].values, np.nan)
    kind = maps.attrs["kind"]
    ending = "_ev" if KINDS[kind].unit == "eV" else ""
    return {
        f"{kind}_bootstrap_sigma{ending}": maps[name].copy(data=spread),
        f"{kind}_bootstrap_bias{ending}": maps[name].copy(data=bias),
    }
