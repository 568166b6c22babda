"""SUM: subspace, denoised coefficient images and a rank of least risk, joined in one function."""

from __future__ import annotations

import hashlib
import platform
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoised import Denoised
from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, exact_form, get_denoiser
from xanesum.errors import RankError, RecipeError, SigmaError, XanesumWarning
from xanesum.noise import estimate_sigma, sigma_per_energy
from xanesum.stack import load_stack, usable_mask, usable_weight
from xanesum.subspace import Basis, fill_missing, fit_basis, mean_signs
from xanesum.sure import RankTrial, try_ranks

__all__ = ["METHODS", "denoise"]

METHODS = ("sum",)
MAX_RANK = 20
PATIENCE = 4  # components in a row that make the risk worse before the search stops
MISSING_RANK = 5  # components that stand in for missing values while the spectra are fitted
NOISE_FLOOR = 1e-6  # least sigma, as a share of the root mean square: below it float32 is the noise


def denoise(
    stack: xr.DataArray,
    *,
    method: str = "sum",
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    rank: int | None = None,
    sigma: float | None = None,
    n_probes: int = 4,
    rng: np.random.Generator | None = None,
    progress: Callable[[str, float], None] = lambda step, share: None,
) -> Denoised:
    """Denoise a stack in its spectral subspace (SUM, Fig. 2 of [1]_).

    Spectra by SVD of the stack; each coefficient image through an image denoiser; the number of components
    with the least estimated risk.  Pixels outside coordinate `mask`, frames of `weight` 0 and values that
    preprocessing marked as missing have no say in the fit.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        At least two energies.
    method : {"sum"}
        The paper's method.
    denoiser : str or Denoiser
        A name from `xanesum.denoisers.available_denoisers`, or an object that keeps the protocol.  Of one
        that rounds coarsely, as a network in bfloat16 does, the exact form is taken.
    rank : int, optional
        Number of components; the one of least risk by default.
    sigma : float, optional
        Noise level in the unit of the stack; estimated by default.
    n_probes : int
        Calls of the denoiser, for each component, that the risk estimate takes; fewer for a slow denoiser.
    rng : numpy.random.Generator, optional
        Draws pixel samples and probes; ``default_rng(0)`` by default.
    progress : callable
        Called with a step's name and the share of it that is done.

    Raises
    ------
    StackError, EnergyError
        If the stack breaks the rules of `check_stack`, holds values that are not finite, or has one energy.
    RankError, SigmaError, DenoiserError, RecipeError
        If an option is impossible.

    References
    ----------
    .. [1] J. Li, B. Chen, G. Zan, G. Qian, P. Pianetta, Y. Liu, "Subspace modeling for fast and
       high-sensitivity X-ray chemical imaging", CVPR Workshops (2022).
    """
    started = time.perf_counter()
    if method not in METHODS:
        raise RecipeError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    rng = np.random.default_rng(0) if rng is None else rng
    seed_state = _digest(repr(rng.bit_generator.state).encode())
    if n_probes < 1:
        raise RecipeError(f"n_probes must be at least 1, got {n_probes}")
    images = exact_form(get_denoiser(denoiser))  # every call below serves the risk estimate too
    progress("read", 0.0)
    values = load_stack(stack, min_energies=2)
    input_hash = _hash_values(values)
    mask, weight = usable_mask(stack), usable_weight(stack)
    values = _fit_values(values, mask, weight)
    _check_rank(rank, values.shape[0], int(mask.sum()))
    progress("noise", 0.0)
    sigma = _noise_level(values, mask, sigma, rng)
    progress("subspace", 0.0)
    basis = fit_basis(values, mask=mask, rng=rng)
    trial = try_ranks(
        values,
        basis,
        lambda k_images: images.denoise(k_images, sigma, mask=mask),
        sigma,
        max_rank=MAX_RANK if rank is None else rank,
        rng=rng,
        mask=mask,
        n_probes=n_probes,
        patience=PATIENCE if rank is None else None,
        progress=lambda share: progress("components", share),
    )
    chosen = trial.risk.chosen if rank is None else rank
    if rank is None and chosen == MAX_RANK:
        warnings.warn(
            f"the estimated risk still falls at {MAX_RANK} components, the most that are tried: the noise is "
            "not white or the sample moved; compare with fewer (rank=, --rank)",
            XanesumWarning,
            stacklevel=2,
        )
    per_energy = sigma_per_energy(values, basis.spectra[: max(chosen, 1)], mask=mask, rng=rng)
    provenance = {
        "method": method,
        "denoiser": images.name,
        "denoiser_fingerprint": getattr(images, "fingerprint", ""),
        "rank_given": "automatic" if rank is None else str(rank),
        "input_sha256": input_hash,
        "rng_sha256": seed_state,
        "seconds": round(time.perf_counter() - started, 3),
        **_versions(),
    }
    return _assemble(stack, trial, basis, chosen, sigma, per_energy, provenance)


def _fit_values(
    values: NDArray[np.float32], mask: NDArray[np.bool_], weight: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the usable frames (E', Y, X), finite everywhere."""
    if not weight.all():
        values = values[weight]
    return fill_missing(values, rank=MISSING_RANK, mask=mask)


def _noise_level(
    values: NDArray[np.float32], mask: NDArray[np.bool_], sigma: float | None, rng: np.random.Generator
) -> float:
    """Return the given sigma, or the estimated one, never below the rounding noise of float32."""
    if sigma is not None:
        if not (np.isfinite(sigma) and sigma > 0):
            raise SigmaError(f"sigma must be a positive number, got {sigma}")
        return float(sigma)
    size = float(np.sqrt(np.mean(np.square(values[:, mask], dtype=np.float64))))
    return max(estimate_sigma(values, mask=mask, rng=rng), NOISE_FLOOR * size)


def _check_rank(rank: int | None, n_energies: int, n_pixels: int) -> None:
    limit = min(n_energies, n_pixels)
    if rank is not None and not 1 <= rank <= limit:
        raise RankError(
            f"rank must lie in 1..{limit} for {n_energies} energies and {n_pixels} pixels, got {rank}"
        )


def _assemble(
    stack: xr.DataArray,
    trial: RankTrial,
    basis: Basis,
    rank: int,
    sigma: float,
    per_energy: NDArray[np.float64],
    provenance: dict[str, object],
) -> Denoised:
    """Label the factors; frames of weight 0 get spectra of 0."""
    weight = usable_weight(stack)
    sign = mean_signs(trial.denoised[:rank])
    spectra = np.zeros((rank, len(weight)))
    spectra[:, weight] = basis.spectra[:rank] * sign[:, None]
    sigma_energy = np.full(len(weight), np.nan)
    sigma_energy[weight] = per_energy
    energy = {"energy": stack.energy, **({"weight": stack["weight"]} if "weight" in stack.coords else {})}
    pixels = {name: stack[name] for name in ("y", "x", "mask") if name in stack.coords}
    risk = trial.risk
    return Denoised(
        spectra=xr.DataArray(spectra, dims=("component", "energy"), coords=energy),
        coefficients=xr.DataArray(
            trial.denoised[:rank] * sign[:, None, None].astype(np.float32),
            dims=("component", "y", "x"),
            coords=pixels,
        ),
        components=xr.Dataset(
            {
                "singular_value": ("tried", basis.singular_values[: len(trial.component_risk)]),
                "risk": ("tried", trial.component_risk),
            },
            coords={"tried": risk.ranks[1:]},
        ),
        sigma=sigma,
        sigma_energy=xr.DataArray(sigma_energy, dims="energy", coords={"energy": stack.energy}),
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


def _hash_values(values: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(repr(values.shape).encode())
    for frame in values:
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _versions() -> dict[str, object]:
    return {
        "xanesum": version("xanesum"),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "xarray", "torch")},
    }
