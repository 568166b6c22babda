"""The public function: a stack in, its clean factors out, in six steps.

The steps are: look at the stack, pose the problem, measure the noise, whiten, fit, unwhiten and label.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, exact_form, get_denoiser
from xanesum.denoisers.protocol import Fingerprinted, KnownRounding
from xanesum.errors import RecipeError, XanesumWarning
from xanesum.method.fit import MAX_RANK, Fit
from xanesum.method.intake import PreparedStack, pose_problem, prepare_stack
from xanesum.method.labelling import label, package_versions
from xanesum.method.noise_model import NoiseModel, measure_noise
from xanesum.method.options import DEFAULT_METHOD, DEFAULT_NOISE, DEFAULT_PROBES, Options
from xanesum.method.problem import Problem, Progress
from xanesum.method.sum import fit_sum
from xanesum.method.sum_plus import FALSE_ALARMS, fit_sum_plus
from xanesum.noise.variance import CountVariance
from xanesum.result import Denoised
from xanesum.stack import usable_weight
from xanesum.streaming.resources import DEFAULT_DEVICE, Resources

__all__ = ["denoise", "denoise_with"]

OWN_COMPONENT = 0.95  # a frame is unlike all others if components hold this part of its energy alone ...
MIN_ENERGIES = 12  # ... where there are so many energies that this is not expected ...
SHARED = 0.7  # ... and not of its neighbours too, as chemistry does ...
STANDS_OUT = 2.5  # ... their image is so many times its error ...
DENSE = 0.4  # ... and they are closer than this part of the width of the edge
STEEP = 0.15  # part of the edge between two energies; a frame left out between them is missed
MOST_DARK = 0.015  # share of values without a logarithm that is accepted
NEAR_LIMIT = 5.0  # a p-value within this factor of the limit is worth a warning


def denoise(
    stack: xr.DataArray,
    *,
    method: str = DEFAULT_METHOD,
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    rank: int | None = None,
    sigma: float | None = None,
    noise: str = DEFAULT_NOISE,
    n_probes: int = DEFAULT_PROBES,
    without: Collection[str] = (),
    memory: float | None = None,
    checkpoint: str | Path | None = None,
    scheduler: Any = None,
    device: str = DEFAULT_DEVICE,
    rng: np.random.Generator | int | None = None,
    progress: Progress = lambda step, share: None,
) -> Denoised:
    """Denoise a stack in its spectral subspace.

    A scan holds few chemical species, so its frames are mixtures of few images.  These images are found,
    denoised by an image denoiser, and put together again.  Pixels outside coordinate `mask`, frames of
    `weight` 0 and missing values have no influence on the fit.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        At least two energies.  Its values should be optical density, as `xanesum.preprocess.prepare` makes
        it, or fluorescence; a `XanesumWarning` says so if ``attrs["quantity"]`` is counts or transmission.
    method : {"sum+", "sum"}
        "sum" is the method of the paper [1]_, Fig. 2: spectra by SVD, each coefficient image denoised, the
        number of components of least estimated risk.

        "sum+" also finds components below the noise of the SVD.  Spectra come from averaged pixels, at the
        scale where the spectra of one half of the pixels find most in the other half.  A component counts if
        the other half confirms the structure of its image.  Each image is a mixture of nothing, the noisy and
        the denoised image with the least estimated risk.  Spectra are fitted again to these images, corrected
        for the noise that both share, smoothed along energy, and set to 0 where only noise is left.  All this
        is done twice.  The last images are means over the mirror images too.
    denoiser : str or Denoiser
        A name from `xanesum.denoisers.available_denoisers`, or an object that follows the protocol.  "sum"
        takes the exact form of a denoiser that rounds coarsely, such as a network in bfloat16.  "sum+" allows
        for the rounding where it is known.
    rank : int, optional
        Number of components.  With "sum+" the largest number, since components without weight fall away.
        Chosen by the method by default.
    sigma : float, optional
        Noise level in the unit of the stack, the same everywhere.  Estimated by default.
    noise : {"auto", "white"}
        "auto" measures how the noise changes over pixels and energies, as it does where light is absorbed.
        This needs "sum+" and no given `sigma`.  Uneven noise is divided by the nearest product of a factor
        for each pixel and one for each energy before denoising, and multiplied again after.  "white" takes
        the noise as even.
    n_probes : int
        Calls of the denoiser (probes of its response to noise) per component for the estimate of risk, at
        most.  "sum+" makes the same number for each mirror image, so multiples of 4 are of use, and fewer for
        large images.
    without : collection of str
        Stages of "sum+" to leave out: "averaging", "evidence", "weights", "refit", "smoothing", "shrinkage",
        "mirrors".
    memory : float, optional
        Bytes that may be used; most of the free memory by default.  A lazy stack that would need more is read
        in blocks, a few times over.
    checkpoint : str or Path, optional
        Folder for the results of each pass over a stack that is read in blocks.  The same call continues from
        there after it was killed.
    scheduler : str or dask.distributed.Client, optional
        A Dask scheduler (``tcp://host:8786``).  Its workers read and process the blocks of a stack that is
        not in memory; they must see its file under the same path.
    device : {"auto", "cpu", "cuda"}
        Device for the passes over the stack.  "auto" takes a GPU where there is one; it holds the stack if it
        fits.  A denoiser has a device of its own.
    rng : numpy.random.Generator or int, optional
        Draws pixel samples and probes, or its seed; ``default_rng(0)`` by default.
    progress : callable
        Called with the name of a step and the share of it that is done.

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
    _warn_of_transmitted_light(stack)
    options = Options(method, rank, sigma, noise, n_probes, without)
    rng = _generator(rng)
    resources = Resources.given(memory, checkpoint, scheduler, device)
    return denoise_with(stack, options, get_denoiser(denoiser), resources, rng=rng, progress=progress)


def _warn_of_transmitted_light(stack: xr.DataArray) -> None:
    """Warn if a stack says of itself that it holds transmitted light, which is no sum of spectra."""
    quantity = stack.attrs.get("quantity") if isinstance(stack, xr.DataArray) else None
    if quantity in ("counts", "transmission"):
        warnings.warn(
            f"the stack holds {quantity}, which no sum of a few spectra describes; denoise optical density: "
            "stack, changes = xanesum.preprocess.prepare(stack)",
            XanesumWarning,
            stacklevel=3,
        )


def _generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """Return the generator of random numbers, or that of a seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    seed = 0 if rng is None else rng
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise RecipeError(f"rng must be a numpy.random.Generator, or a whole number as its seed, got {rng!r}")
    return np.random.default_rng(int(seed))


def denoise_with(
    stack: xr.DataArray,
    options: Options,
    denoiser: Denoiser,
    resources: Resources,
    *,
    rng: np.random.Generator | None = None,
    progress: Progress = lambda step, share: None,
) -> Denoised:
    """Denoise a stack; see `denoise`, which collects its options into these objects."""
    started = time.perf_counter()
    rng = np.random.default_rng(0) if rng is None else rng
    rng_digest = hashlib.sha256(repr(rng.bit_generator.state).encode()).hexdigest()
    if options.method == "sum" or not isinstance(denoiser, KnownRounding):
        denoiser = exact_form(denoiser)  # every call below serves the estimate of risk too
    with resources.executor() as executor:
        prepared = prepare_stack(stack, resources, executor, rng=rng, progress=progress)
        energy_ev = stack.energy.values[usable_weight(stack)].astype(float)
        problem = pose_problem(prepared, energy_ev, denoiser, options, rng=rng, progress=progress)
        model = _measured_noise(stack, prepared, problem, options)
        whitened = model.whiten(problem)
        fit = _fitted(whitened, options)
        growth = prepared.noise_growth(fit.spectra)
        if growth is not None:  # pixels that lack values have larger errors
            fit = replace(fit, errors=fit.errors * growth)
        levels = model.levels(whitened, fit)
        fit = model.unwhiten(fit, whitened.full)
        prepared.blocks.clear()
    provenance = {
        "method": options.method,
        "without": " ".join(sorted(options.without)),
        "denoiser": denoiser.name,
        "denoiser_fingerprint": denoiser.fingerprint if isinstance(denoiser, Fingerprinted) else "",
        "noise": model.description,
        "rank_given": "automatic" if options.rank is None else str(options.rank),
        **fit.facts,
        "input_digest": prepared.digest,
        "rng_sha256": rng_digest,
        "seconds": round(time.perf_counter() - started, 3),
        **package_versions(),
    }
    return label(stack, fit, levels, provenance, reasons=tuple(_reasons(stack, prepared, fit, options)))


def _measured_noise(
    stack: xr.DataArray, prepared: PreparedStack, problem: Problem, options: Options
) -> NoiseModel:
    """Return how the noise departs from white; white where that is not asked for or not measurable."""
    if not options.noise_is_measured or not prepared.sigma > prepared.sigma_floor:
        return NoiseModel()
    if prepared.noise_rank < len(prepared.blocks):  # interpolated noise cannot be told apart by energies
        return NoiseModel()
    divided = bool(stack.attrs.get("flat_field", False))
    return measure_noise(problem, divided_by_flat=divided, law=_noise_law(stack))


def _fitted(problem: Problem, options: Options) -> Fit:
    """Return the fit by the chosen method, with warnings about the choice of components."""
    if options.method == "sum":
        fit = fit_sum(problem, options.rank)
    else:
        fit = fit_sum_plus(problem, options.rank, without=options.without)
    for warning in _warnings(fit, options.rank):
        warnings.warn(warning, stacklevel=4)
    return fit


def _reasons(stack: xr.DataArray, prepared: PreparedStack, fit: Fit, options: Options) -> Iterator[str]:
    """Yield why the errors of the result may not hold, as far as the residual is not needed to tell."""
    for name in ("drift_doubt", "motion_doubt"):
        if doubt := stack.attrs.get(name):
            yield str(doubt)
    n_energies = len(prepared.blocks)
    if prepared.noise_rank < n_energies:
        yield (
            f"the noise of {n_energies} energies is that of {prepared.noise_rank} frames: the stack was "
            "interpolated along energy; denoise the frames as they were measured"
        )
    if options.rank is None and fit.rank >= MAX_RANK:
        yield f"{MAX_RANK} components, the most that are tried, are not enough"
    energy_ev = stack.energy.values[usable_weight(stack)].astype(float)
    dark_share = float(stack.attrs.get("dark_share", 0.0))
    if dark_share > MOST_DARK:
        yield (
            f"{100 * dark_share:.2g} % of the values are too dark for a logarithm, so the map may be wrong "
            "where the sample is thick; expose longer, or take a thinner sample"
        )
    missed = _frame_missed(stack, fit.spectra)
    if missed is not None:
        yield (
            f"the frame at {missed:.1f} eV, within the edge, was left out, so the course of the edge is not "
            "known there; take this energy again"
        )
    alone = _frame_alone(fit.spectra[: fit.rank], fit.images[: fit.rank], fit.errors[: fit.rank], energy_ev)
    if alone is not None:
        yield (
            f"the frame at {energy_ev[alone]:.1f} eV is unlike all others, it needs a component of its own; "
            "leave it out"
        )


def _frame_missed(stack: xr.DataArray, spectra: NDArray[np.float64]) -> float | None:
    """Return the energy of a frame of weight 0 between energies that hold much of the edge; None without."""
    used, energy_ev = usable_weight(stack), stack.energy.values.astype(float)
    if used.all() or not len(spectra):
        return None
    strong = np.interp(energy_ev, energy_ev[used], spectra[0])
    below = np.maximum.accumulate(np.where(used, np.arange(len(used)), 0))
    above = np.minimum.accumulate(np.where(used, np.arange(len(used)), len(used) - 1)[::-1])[::-1]
    rise = np.where(used, 0, np.abs(strong[above] - strong[below]))
    most = int(np.argmax(rise))
    return float(energy_ev[most]) if rise[most] > STEEP * np.ptp(strong) else None


def _frame_alone(
    spectra: NDArray[np.float64],
    images: NDArray[np.float32],
    errors: NDArray[np.float32],
    energy_ev: NDArray[np.float64],
) -> int | None:
    """Return the index of a frame that components hold alone, beyond their errors; None where there is none.

    Where an edge lies between two energies, chemistry may change one frame only.
    """
    if not len(spectra) or len(energy_ev) < MIN_ENERGIES:
        return None
    share = np.sum(spectra**2, axis=0)
    most = int(np.argmax(share))
    width_ev = np.ptp(spectra[0]) / max(float(np.abs(np.gradient(spectra[0], energy_ev)).max()), 1e-30)
    spacing_ev = np.gradient(energy_ev)[most]
    own = int(np.argmax(spectra[:, most] ** 2))
    size, error = (
        float(np.sqrt(np.mean(np.square(each[own], dtype=np.float64)))) for each in (images, errors)
    )
    stands_out = size > STANDS_OUT * error
    beside = np.delete(share[max(most - 1, 0) : most + 2], min(most, 1)).max()
    is_alone = share[most] > OWN_COMPONENT and beside < SHARED
    return most if is_alone and spacing_ev < DENSE * width_ev and stands_out else None


def _warnings(fit: Fit, rank: int | None) -> Iterator[XanesumWarning]:
    """Yield what the user should know about the choice of components."""
    if rank is None and fit.rank == MAX_RANK:
        yield XanesumWarning(
            f"{MAX_RANK} components, the most that are tried, are not enough: the noise is not white or the "
            "sample moved; compare with fewer components",
            parameter="rank",
        )
    for k, p_value in enumerate(fit.components["p_value"]):
        if FALSE_ALARMS / NEAR_LIMIT < p_value < FALSE_ALARMS * NEAR_LIMIT:
            fate = "kept" if k < fit.rank else "left out"
            compare = f"compare ranks {k} and {k + 1}" if k else "compare with rank 1"
            yield XanesumWarning(
                f"component {k + 1} is close to the limit of detection (p = {p_value:.2g}) and was {fate}; "
                f"do not rely on features that only it shows, or {compare}",
                parameter="rank",
            )


def _noise_law(stack: xr.DataArray) -> CountVariance | None:
    """Return the law of the counts from which a stack of optical density was made, if it is known."""
    names = ("noise_gain", "noise_read_variance", "light", "light_energy")
    if stack.attrs["quantity"] != "optical_density" or not set(names) <= set(stack.coords):
        return None
    gain, read, light, of_energy = (stack[name].values.astype(float) for name in names)
    usable = usable_weight(stack)
    below = float(stack.attrs.get("linear_below", 0.0))
    return CountVariance(gain[usable], read[usable], light, of_energy[usable], below)
