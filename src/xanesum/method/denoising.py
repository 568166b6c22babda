"""A stack in, a clean one as factors out: checks, noise level, the method, labels and provenance."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, exact_form, get_denoiser
from xanesum.errors import RecipeError, SigmaError, XanesumWarning
from xanesum.method.fit import MAX_RANK, Fit
from xanesum.method.intake import DEFAULT_DEVICE, _check_rank, prepare_stack
from xanesum.method.labelling import _versions, assemble
from xanesum.method.noise_model import NoiseModel, measure_noise
from xanesum.method.sum import fit_sum
from xanesum.method.sum_plus import FALSE_ALARMS, STAGES, fit_sum_plus
from xanesum.noise.level import sigma_per_energy
from xanesum.noise.variance import CountVariance
from xanesum.result import Denoised
from xanesum.stack import usable_weight
from xanesum.streaming.dask_client import cluster_of

__all__ = ["DEFAULT_METHOD", "DEFAULT_NOISE", "METHODS", "NOISES", "denoise"]

METHODS = ("sum+", "sum")
DEFAULT_METHOD = "sum+"
NOISES = ("auto", "white")
DEFAULT_NOISE = "auto"
NEAR_LIMIT = 5.0  # a p-value within this factor of the level that decides is worth a warning


def denoise(
    stack: xr.DataArray,
    *,
    method: str = DEFAULT_METHOD,
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    rank: int | None = None,
    sigma: float | None = None,
    noise: str = DEFAULT_NOISE,
    n_probes: int = 4,
    without: Collection[str] = (),
    memory: float | None = None,
    checkpoint: str | Path | None = None,
    scheduler: Any = None,
    device: str = DEFAULT_DEVICE,
    rng: np.random.Generator | None = None,
    progress: Callable[[str, float], None] = lambda step, share: None,
) -> Denoised:
    """Denoise a stack in its spectral subspace.

    A scan holds few chemical species, so that its frames are mixtures of few images.  Those are found,
    denoised by an image denoiser, and put together again.  Pixels outside coordinate `mask`, frames of
    `weight` 0 and values that preprocessing marked as missing have no say in the fit.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        At least two energies.
    method : {"sum+", "sum"}
        "sum" is the method of the paper [1]_, Fig. 2: spectra by SVD of the stack, each coefficient image
        denoised, as many of them as the estimated risk of the whole stack is least for.

        "sum+" finds components that lie below the noise of the SVD: spectra from averaged pixels, at the
        scale where those of one half of the pixels find most in the other; as many as have structure in the
        image of one half that the other half confirms; each image a mixture of nothing, noisy and denoised
        with the least estimated risk; spectra fitted again to these images, without the share that their
        common noise has in the fit, smoothed along energy, and made 0 where only noise is left of them; all
        of this twice; at last, images that are means over the denoised image and its denoised mirror images.
    denoiser : str or Denoiser
        A name from `xanesum.denoisers.available_denoisers`, or an object that keeps the protocol.  Of one
        that rounds coarsely, as a network in bfloat16 does, "sum" takes the exact form, and "sum+" allows
        for it where it is known.
    rank : int, optional
        Number of components; with "sum+" the largest, since those without weight fall away.  Chosen as
        the method says by default.
    sigma : float, optional
        Noise level in the unit of the stack, the same everywhere; estimated by default.
    noise : {"auto", "white"}
        "auto" measures, with "sum+" and where `sigma` is not given, how the noise changes from pixel to pixel
        and from energy to energy, as it does where light is absorbed.  Where it changes, the stack is divided
        by the nearest product of one factor each, denoised, and multiplied again.  "white" takes it as even.
    n_probes : int
        Calls of the denoiser, for each component, that the risk estimate takes; fewer for a slow denoiser.
    without : collection of str
        Stages of "sum+" to leave out: "averaging", "evidence", "weights", "refit", "smoothing",
        "shrinkage", "mirrors".
    memory : float, optional
        Bytes that may be used; by default most of what is free.  A stack that is not in memory, and would
        take more than that, is read in blocks, a few times over.
    checkpoint : str or Path, optional
        Folder in which the result of each pass over a stack that is read in blocks is kept until all is done:
        the same call goes on from there after it was killed.
    scheduler : str or dask.distributed.Client, optional
        A Dask scheduler (``tcp://host:8786``) whose workers read the blocks of a stack that is not in memory
        and work on them; they have to see its file under the same path.
    device : {"auto", "cpu", "cuda"}
        What passes over the stack: "auto" takes a GPU where there is one, which holds the stack if it fits.
        A denoiser has a device of its own.
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
    _check_options(method, n_probes, without, noise)
    rng = np.random.default_rng(0) if rng is None else rng
    seed_state = _digest(repr(rng.bit_generator.state).encode())
    images = get_denoiser(denoiser)
    rounds_by = getattr(images, "rounding", None)
    if method == "sum" or rounds_by is None:
        images = exact_form(images)  # every call below serves the risk estimate too
    with cluster_of(scheduler) as cluster:
        prepared = prepare_stack(
            stack, memory, rng, progress, checkpoint=checkpoint, cluster=cluster, device=device
        )
        _check_rank(rank, prepared.passes)
        progress("noise", 0.0)
        level, rounding = prepared.sigma, prepared.rounding
        if sigma is not None:
            level = _checked(sigma)
        setting = prepared.setting(
            level,
            stack.energy.values[usable_weight(stack)].astype(float),
            lambda k_images, level, pixels: images.denoise(k_images, level, mask=pixels),
            rng,
            n_probes,
            progress,
            estimated=sigma is None,
        )
        setting = replace(setting, rounding=rounds_by)
        shape = NoiseModel()
        if method == "sum+" and noise == "auto" and sigma is None and level > rounding:
            divided = bool(stack.attrs.get("flat_field", False))
            shape = measure_noise(setting, divided_by_flat=divided, law=_noise_law(stack))
            setting = shape.whiten(setting)
        fit = fit_sum(setting, rank) if method == "sum" else fit_sum_plus(setting, rank, without=without)
        for note in _notes(fit, rank):
            warnings.warn(note, XanesumWarning, stacklevel=2)
        full = setting.full
        if shape.factors is None:
            spectra = fit.spectra[: max(fit.rank, 1)]
            per_energy = sigma_per_energy(setting.values, spectra, mask=setting.mask, rng=rng)
            per_energy *= full.sigma / setting.sigma
        else:
            per_energy = shape.factors.energy
        fit = shape.unwhiten(fit, full.sigma)
        if prepared.passes.checkpoint is not None:
            prepared.passes.checkpoint.clear()
    provenance = {
        "method": method,
        "without": " ".join(sorted(without)),
        "denoiser": images.name,
        "denoiser_fingerprint": getattr(images, "fingerprint", ""),
        "noise": shape.said,
        "rank_given": "automatic" if rank is None else str(rank),
        **fit.facts,
        "input_digest": prepared.digest,
        "rng_sha256": seed_state,
        "seconds": round(time.perf_counter() - started, 3),
        **_versions(),
    }
    return assemble(
        stack,
        fit,
        full.sigma,
        per_energy,
        provenance,
        pixel=shape.pixel,
        common=shape.common_sigma(full.sigma),
    )


def _check_options(method: str, n_probes: int, without: Collection[str], noise: str) -> None:
    if noise not in NOISES:
        raise RecipeError(f"noise must be one of {', '.join(NOISES)}, got {noise!r}")
    if method not in METHODS:
        raise RecipeError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if n_probes < 1:
        raise RecipeError(f"n_probes must be at least 1, got {n_probes}")
    if isinstance(without, str) or not set(without) <= set(STAGES):
        raise RecipeError(f"without must be a list of stages, of {', '.join(STAGES)}; got {without!r}")
    if without and method == "sum":
        raise RecipeError("method 'sum' has no stage to leave out; without belongs to 'sum+'")


def _notes(fit: Fit, rank: int | None) -> Iterator[str]:
    """Yield what the user should know about the choice of components."""
    if rank is None and fit.rank == MAX_RANK:
        yield (
            f"{MAX_RANK} components, the most that are tried, do not suffice: the noise is not white or the "
            "sample moved; compare with fewer (rank=, --rank)"
        )
    for k, p_value in enumerate(fit.components["p_value"]):
        if FALSE_ALARMS / NEAR_LIMIT < p_value < FALSE_ALARMS * NEAR_LIMIT:
            fate = "kept" if k < fit.rank else "left out"
            ranks = f"{k} and {k + 1}" if k else "1"
            yield (
                f"component {k + 1} lies at the limit of what can be told from noise (p = {p_value:.2g}) and "
                f"was {fate}; trust what only it shows with caution, or compare with rank={ranks}"
            )


def _checked(sigma: float) -> float:
    if not (np.isfinite(sigma) and sigma > 0):
        raise SigmaError(f"sigma must be a positive number, got {sigma}")
    return float(sigma)


def _noise_law(stack: xr.DataArray) -> CountVariance | None:
    """Return the law of the counts of which a stack of optical density was made, if it came with one."""
    names = ("noise_gain", "noise_read_variance", "light", "light_energy")
    if stack.attrs["quantity"] != "optical_density" or not set(names) <= set(stack.coords):
        return None
    gain, read, light, of_energy = (stack[name].values.astype(float) for name in names)
    usable = usable_weight(stack)
    below = float(stack.attrs.get("linear_below", 0.0))
    return CountVariance(gain[usable], read[usable], light, of_energy[usable], below)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
