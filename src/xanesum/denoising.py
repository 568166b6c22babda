"""A stack in, a clean one as factors out: checks, noise level, the method, labels and provenance."""

from __future__ import annotations

import hashlib
import platform
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoised import Denoised
from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, exact_form, get_denoiser
from xanesum.errors import RankError, RecipeError, SigmaError, StackError, XanesumWarning
from xanesum.linalg.binning import block_sums, coarse_scale
from xanesum.linalg.imputation import fill_missing
from xanesum.linalg.subspace import BLOCK_BYTES, fit_basis, mean_signs
from xanesum.methods import (
    FALSE_ALARMS,
    MAX_RANK,
    STAGES,
    DenoiserAt,
    Fit,
    Setting,
    Whole,
    fit_sum,
    fit_sum_plus,
)
from xanesum.noise.level import estimate_sigma, sigma_of_pixels, sigma_per_energy, sigma_sample
from xanesum.noise.variance import CountVariance
from xanesum.noise_shape import NoiseShape, measure_shape
from xanesum.stack import check_stack, refuse_values, usable_mask, usable_weight
from xanesum.storage.checkpoint import Checkpoint, digest_of
from xanesum.storage.lazy import chunks_of, is_lazy, whole_chunks
from xanesum.storage.memory import available_memory
from xanesum.streaming.blocked_stack import Averages, Passes
from xanesum.streaming.dask_client import cluster_of
from xanesum.streaming.torch_backend import accelerator_for

__all__ = [
    "DEFAULT_DEVICE",
    "DEFAULT_METHOD",
    "DEFAULT_NOISE",
    "METHODS",
    "NOISES",
    "Opened",
    "assemble",
    "denoise",
    "open_stack",
]

METHODS = ("sum+", "sum")
DEFAULT_METHOD = "sum+"
NOISES = ("auto", "white")
DEFAULT_NOISE = "auto"
DEFAULT_DEVICE = "auto"
NEAR_LIMIT = 5.0  # a p-value within this factor of the level that decides is worth a warning
MISSING_RANK = 5  # components that stand in for missing values while the spectra are fitted
FILLED_FROM = 20_000  # pixels, from which these are found
SPREADS = 1.05  # times the noise level that averages may have by chance, if noise is white
IN_MEMORY = 1.3  # times the stack's size, which is needed to hold it and work on it
COARSE_SHARE, BLOCK_SHARE = 0.16, 0.05  # of the memory, for averages of a stack and for a block of it
NOISE_FLOOR = 1e-6  # least sigma, as a share of the root mean square: below it float32 is the noise


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
        opened = open_stack(
            stack, memory, rng, progress, checkpoint=checkpoint, cluster=cluster, device=device
        )
        _check_rank(rank, opened.passes)
        progress("noise", 0.0)
        level, rounding = opened.sigma, opened.rounding
        if sigma is not None:
            level = _checked(sigma)
        setting = opened.setting(
            level,
            stack.energy.values[usable_weight(stack)].astype(float),
            lambda k_images, level, pixels: images.denoise(k_images, level, mask=pixels),
            rng,
            n_probes,
            progress,
            estimated=sigma is None,
        )
        setting = replace(setting, rounding=rounds_by)
        shape = NoiseShape()
        if method == "sum+" and noise == "auto" and sigma is None and level > rounding:
            divided = bool(stack.attrs.get("flat_field", False))
            shape = measure_shape(setting, divided_by_flat=divided, law=_noise_law(stack))
            setting = shape.evened(setting)
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
        fit = shape.multiplied_back(fit, full.sigma)
        if opened.passes.checkpoint is not None:
            opened.passes.checkpoint.clear()
    provenance = {
        "method": method,
        "without": " ".join(sorted(without)),
        "denoiser": images.name,
        "denoiser_fingerprint": getattr(images, "fingerprint", ""),
        "noise": shape.said,
        "rank_given": "automatic" if rank is None else str(rank),
        **fit.facts,
        "input_digest": opened.digest,
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


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A stack that was looked at once, its noise level, and the averages that spectra are sought in."""

    passes: Passes  # of the usable frames
    averages: Averages
    scale: int
    digest: str
    sigma: float
    rounding: float  # noise level that float32 has by itself, below which none is looked for

    def means(self) -> NDArray[np.float32]:
        """Return the means (E, Y', X') over the pixels that count in each block; 0 where none does."""
        if self.scale == 1:
            return self.averages.values
        counts = block_sums(self.passes.mask.astype(np.float32), self.scale)
        return np.asarray(self.averages.values / np.sqrt(np.maximum(counts, 1)))

    def setting(
        self,
        sigma: float,
        energy_ev: NDArray[np.float64],
        denoise_at: DenoiserAt,
        rng: np.random.Generator,
        n_probes: int,
        progress: Callable[[str, float], None],
        *,
        estimated: bool,
    ) -> Setting:
        """Return what a method works on; the noise of averages is measured anew, where it is not given."""
        values, mask = self.averages.values, self.averages.mask
        whole, own = None, sigma
        if self.scale > 1:
            whole = Whole(self.passes, self.scale, self.passes.mask, sigma, self.averages.energy)
            if estimated and sigma_sample(len(values), mask, rng).size:
                found = estimate_sigma(values, mask=mask, rng=rng)
                own = found if found > SPREADS * sigma else sigma  # noise of neighbours may be alike
        return Setting(values, energy_ev, mask, own, denoise_at, rng, n_probes, progress, whole=whole)


def open_stack(
    stack: xr.DataArray,
    memory: float | None,
    rng: np.random.Generator,
    progress: Callable[[str, float], None],
    *,
    checkpoint: str | Path | None = None,
    cluster: Any = None,
    device: str = DEFAULT_DEVICE,
) -> Opened:
    """Look at all values once, and once more where some are missing; refuse what cannot be used.

    See `denoise` for the parameters and errors; `cluster` is a Dask client or None, which the work is done
    by instead of a `device`.
    """
    progress("read", 0.0)
    check_stack(stack, min_energies=2)
    mask, used = usable_mask(stack), np.flatnonzero(usable_weight(stack))
    if not mask.any():
        raise StackError("no usable pixel is left: the mask excludes all of them")
    most = available_memory() if memory is None else memory
    passes = _passes(stack, mask, used, most)
    accelerator = accelerator_for(device) if cluster is None else None
    passes = replace(passes, cluster=cluster, device=accelerator)
    if checkpoint is not None and not passes.in_memory:
        n_energies, n_y, _ = passes.shape
        middle = slice(n_y // 2, n_y // 2 + 1)
        ends = [passes.read(slice(e, e + 1), middle) for e in (0, n_energies // 2, n_energies - 1)]
        known = digest_of(stack.energy.values, str(stack.shape), used, mask, *ends)
        passes = replace(passes, checkpoint=Checkpoint(Path(checkpoint), known))
    for_sigma = sigma_sample(len(used), mask, rng)
    for_missing = for_sigma[:0]
    if stack.attrs.get("missing_values", 0) or not mask.all():
        usable = np.flatnonzero(mask)
        for_missing = np.random.default_rng(0).choice(usable, min(FILLED_FROM, usable.size), replace=False)
    pixels = np.union1d(for_sigma, for_missing)
    scale = coarse_scale(passes.shape, COARSE_SHARE * most)
    survey, averages = passes.survey(pixels, scale, partial(progress, "read"))
    refuse_values(stack, survey.n_bad, survey.blank)
    sample = survey.sample
    if survey.n_missing:
        found = fill_missing(sample[:, None], rank=MISSING_RANK)
        basis = fit_basis(found, min(MISSING_RANK, len(used), len(pixels)), rng=rng)
        passes = passes.filled(basis.spectra)
        sample = found[:, 0]
        averages = passes.average(scale, partial(progress, "average"))
    values = averages.values
    level = NOISE_FLOOR * float(np.sqrt(averages.energy / (len(used) * np.count_nonzero(mask))))
    if for_sigma.size:
        sigma = sigma_of_pixels(sample[:, np.isin(pixels, for_sigma)])
    else:
        sigma = estimate_sigma(values, mask=averages.mask, rng=rng)
    return Opened(passes, averages, scale, survey.digest, max(sigma, level), level)


def _passes(stack: xr.DataArray, mask: NDArray[np.bool_], used: NDArray[np.intp], most: float) -> Passes:
    """Return passes over the usable frames, in memory where they are, or fit there."""
    size, shape = 4 * stack.size, (len(used), stack.shape[1], stack.shape[2])
    if not is_lazy(stack) or size * IN_MEMORY < most:
        values = _all_values(stack)
        if len(used) == len(values):
            return Passes.over(values, mask)
        return Passes(lambda energies, rows: values[used[energies], rows], shape, mask, True)

    def read(energies: slice, rows: slice) -> NDArray[np.float32]:
        chosen = used[energies]
        first, last = int(chosen[0]), int(chosen[-1])  # a slice is read at once, a list piece by piece
        block = np.asarray(stack[first : last + 1, rows].values, np.float32)
        return block if len(block) == len(chosen) else block[chosen - first]

    return Passes(read, shape, mask, False, most * BLOCK_SHARE, chunks_of(stack)[:2])


def _all_values(stack: xr.DataArray) -> NDArray[np.float32]:
    """Return the values; those of a lazy stack are fetched a few at a time, and held once."""
    if not is_lazy(stack):
        return np.asarray(stack.values, np.float32)
    values = np.empty(stack.shape, np.float32)
    for part in whole_chunks(stack.shape, chunks_of(stack), BLOCK_BYTES):
        values[part] = stack[part].values
    return values


def _check_rank(rank: int | None, passes: Passes) -> None:
    n_energies, n_pixels = len(passes), int(passes.mask.sum())
    limit = min(n_energies, n_pixels)
    if rank is not None and not 1 <= rank <= limit:
        raise RankError(
            f"rank must lie in 1..{limit} for {n_energies} energies and {n_pixels} pixels, got {rank}"
        )


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
        From `xanesum.methods`.
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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _versions() -> dict[str, object]:
    return {
        "xanesum": version("xanesum"),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "xarray", "torch")},
    }
