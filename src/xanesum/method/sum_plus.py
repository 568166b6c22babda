"""The methods: from a finite stack to spectra, denoised images, and what is known of every component."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import fit_basis, project
from xanesum.method.fit import MAX_RANK, Fit, _shares, _squares
from xanesum.method.problem import Setting, View
from xanesum.method.spectra import Smoothed, orthonormal_rows, refit_spectra, shrink_spectra, smooth_spectra
from xanesum.method.split_half import (
    COMMON_SCALE,
    SCALES,
    choose_scale,
    component_p_values,
    split_axis,
    split_pixels,
)
from xanesum.method.sure import (
    Blend,
    Response,
    blend_by_risk,
    image_response,
    local_risk,
    rank_risk,
)
from xanesum.noise.level import count_above_noise, noise_reach

__all__ = ["FALSE_ALARMS", "STAGES", "fit_pilot", "fit_sum_plus", "refine"]
FIRST_RANK = 6  # components that `sum+` looks for at first; more as long as all are real
FALSE_ALARMS = 0.01  # chance that `sum+` takes any component of pure noise for real
N_REFITS = 2
PROBED = 600_000  # pixels of an image, all probes together, that suffice to know its risk
FEW_VIEWS = 400_000  # pixels of an image from which on two views do, and the denoiser's time is saved ...
ONE_VIEW = 1_000_000  # ... and from which on one does, for 1 % of the error
EARLY_PROBES = 1  # of the weights before the last refit, which the spectra hardly notice
STAGES = ("averaging", "evidence", "weights", "refit", "smoothing", "shrinkage", "mirrors")
MIRRORS: tuple[View, ...] = ((), (0,), (1,), (0, 1))
FEW_MIRRORS: tuple[View, ...] = ((), (0, 1))


def fit_sum_plus(setting: Setting, rank: int | None, *, without: Collection[str] = ()) -> Fit:
    """Go beyond the paper: spectra from averaged pixels, evidence, weights, and spectra fitted again.

    Parameters
    ----------
    setting : Setting
    rank : int, optional
        Components, taken without asking for evidence; by default those that both halves confirm.
    without : collection of str
        Names of `STAGES` that are left out.
    """
    setting.progress("subspace", 0.0)
    spectra, p_values, scale = _find_spectra(setting, rank, without)
    n_real = len(p_values) if rank is not None else _last_below(p_values, FALSE_ALARMS)
    return refine(setting, spectra[:n_real], p_values=p_values, scale=scale, without=without)


def fit_pilot(setting: Setting) -> Fit:
    """Fit the components above the noise, a few at most, without asking for evidence.

    What is below it would change nothing for what the noise is measured against.
    """
    setting = replace(setting, whole=None)
    averaged = average_pixels(setting.values, COMMON_SCALE, mask=setting.mask)
    limit = min(FIRST_RANK, len(averaged), averaged[0].size)
    basis = fit_basis(averaged, limit, rng=setting.rng)
    n_pixels = int(np.count_nonzero(averaged.any(axis=0)))
    n_seen = count_above_noise(basis.singular_values, (len(averaged), n_pixels), setting.sigma)
    setting = replace(setting, n_probes=EARLY_PROBES)
    return refine(setting, basis.spectra[: max(n_seen, 1)], without=("refit", "mirrors"))


def refine(
    setting: Setting,
    spectra: NDArray[np.float64],
    *,
    p_values: NDArray[np.float64] | None = None,
    scale: int = 1,
    without: Collection[str] = (),
) -> Fit:
    """Denoise and weigh the images of given spectra, fit, smooth and shrink these; twice; then images only.

    Images whose noise is not even are divided by it, denoised and multiplied again, so that the risk is that
    of errors in units of the noise.

    Parameters
    ----------
    setting : Setting
    spectra : ndarray, shape (K, E)
        Orthonormal.
    p_values : ndarray, shape (T,), optional
        Evidence for the first T >= K components, for the table.
    scale : int
        Where the spectra come from, for the record.
    without : collection of str
        Names of `STAGES` that are left out; without "refit" the spectra stay as they are.
    """
    n_refits = 0 if "refit" in without else N_REFITS
    candidates = spectra
    freedom = np.full(len(spectra), float(len(setting.values)))
    for turn in range(n_refits):
        setting.progress("components", turn / (n_refits + 1))
        noise = setting.noise_of(spectra)
        noisy = project(spectra, setting.values) * setting.mask / noise
        blend, images, _ = _weighed(setting, noisy, EARLY_PROBES, MIRRORS[:1], "weights" not in without)
        alive = blend.noisy + blend.denoised > 0
        if not alive.any():
            break
        found = refit_spectra(
            setting.values,
            images[alive] * noise[alive],
            spectra[alive],
            blend.divergence.mean(axis=0)[alive],
            setting.sigma,
            mask=setting.mask,
        )
        smoothed = Smoothed(found, np.ones_like(found))
        if "smoothing" not in without:
            smoothed = smooth_spectra(found, setting.sigma, setting.energy_ev)
        if "shrinkage" not in without:
            smoothed = shrink_spectra(smoothed, setting.sigma)
        spectra = orthonormal_rows(smoothed.spectra)
        freedom = smoothed.freedom[: len(spectra)]
    setting.progress("components", n_refits / (n_refits + 1))
    full = setting.full
    noise = full.noise_of(spectra)
    noisy = project(spectra, full.stack) * full.mask / noise
    n_probes = min(full.n_probes, max(1, -(-PROBED // full.mask.size)))
    views = MIRRORS[:1] if "mirrors" in without else _views(full.mask.size)
    blend, images, response = _weighed(full, noisy, n_probes, views, "weights" not in without)
    setting.progress("components", 1.0)
    evidence = _matched(p_values, candidates, spectra)
    errors = np.sqrt(local_risk(blend, response, full.sigma, mask=full.mask))
    # what the risk is compared with: the stack, with these images in units of their noise
    energy = full.energy + float(np.sum(_squares(noisy) - _squares(noisy * noise)))
    fit = _summed_up(full, energy, spectra, freedom, noisy, images, errors, blend, evidence, scale)
    return fit.times(full.noise_of(fit.spectra))


def _views(n_pixels: int) -> tuple[View, ...]:
    """Return the mirror images whose mean a denoised image of so many pixels is."""
    return MIRRORS if n_pixels < FEW_VIEWS else FEW_MIRRORS if n_pixels < ONE_VIEW else MIRRORS[:1]


def _find_spectra(
    setting: Setting, rank: int | None, without: Collection[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return candidate spectra (K, E), p-values (K,), NaN where not asked for, and the scale."""
    limit = min(len(setting.values), int(setting.mask.sum()))
    axis = split_axis(setting.values.shape)
    reach = noise_reach(setting.values, axis, rank=min(FIRST_RANK, limit), mask=setting.mask, rng=setting.rng)
    halves = split_pixels(setting.values, mask=setting.mask, gap=reach)
    n_wanted = min(FIRST_RANK if rank is None else rank, limit)
    while True:
        scale, p_values = 1, np.full(n_wanted, np.nan)
        comparable = halves.mask.any() and halves.mask.size >= n_wanted
        if comparable and not {"averaging", "evidence"} <= set(without):
            scales = (1,) if "averaging" in without else SCALES
            found = choose_scale(halves, n_wanted, scales=scales, rng=setting.rng)
            scale = found.scale
            if rank is None and "evidence" not in without:
                p_values = component_p_values(halves, found, setting.denoise, setting.sigma)
        if rank is not None or not p_values[-1] < FALSE_ALARMS or n_wanted >= min(MAX_RANK, limit):
            break
        n_wanted = min(2 * n_wanted, MAX_RANK, limit)
    averaged = average_pixels(setting.values, scale, mask=setting.mask)
    return fit_basis(averaged, n_wanted, rng=setting.rng).spectra, p_values, scale


def _last_below(p_values: NDArray[np.float64], level: float) -> int:
    """Return how many components there are up to the last whose evidence holds; unknown evidence holds."""
    real = np.flatnonzero(~(p_values >= level))
    return int(real[-1]) + 1 if real.size else 0


def _weighed(
    setting: Setting, noisy: NDArray[np.float32], n_probes: int, views: Sequence[View], weigh: bool
) -> tuple[Blend, NDArray[np.float32], Response]:
    """Return weights of least risk for coefficient images (K, Y, X), the images so mixed, and the response.

    The denoised image is the mean over `views`; each takes its share of the probes, as far as they go round.
    """
    if not len(noisy):
        none, no_probe = np.zeros(0), np.zeros((n_probes, 0))
        return Blend(none, none, none, none, none, no_probe), noisy, Response(no_probe, noisy, noisy)
    denoised, responses = np.zeros_like(noisy), []
    for n, view in enumerate(views):
        seen = setting.denoised(noisy, view)
        denoised += seen / np.float32(len(views))
        if n >= n_probes:
            continue
        found = image_response(
            noisy,
            seen,
            partial(setting.denoised, view=view),
            setting.sigma,
            rng=setting.rng,
            mask=setting.mask,
            n_probes=max(1, n_probes // len(views)),
            rounding=0.0 if setting.rounding is None else setting.rounding(noisy, setting.sigma),
        )
        responses.append(found)
    response = Response.mean(responses)
    blend = blend_by_risk(noisy, denoised, response.divergence, setting.sigma, mask=setting.mask, weigh=weigh)
    return blend, blend.apply(noisy, denoised), response


def _matched(
    p_values: NDArray[np.float64] | None, candidates: NDArray[np.float64], spectra: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return p-values for `spectra` (K, E), each of the candidate (C, E) most like it, then all others."""
    if p_values is None:
        return np.full(len(spectra), np.nan)
    own, of = linear_sum_assignment(-np.square(spectra @ candidates.T))
    matched = np.full(len(spectra), np.nan)
    matched[own] = p_values[of]
    return np.concatenate([matched, np.delete(p_values, of)])


def _summed_up(
    setting: Setting,
    energy: float,
    spectra: NDArray[np.float64],
    freedom: NDArray[np.float64],
    noisy: NDArray[np.float32],
    images: NDArray[np.float32],
    errors: NDArray[np.float32],
    blend: Blend,
    evidence: NDArray[np.float64],
    scale: int,
) -> Fit:
    """Order the components by the energy of their images, and tell what is known of each."""
    order = np.argsort(-_squares(images), kind="stable")
    spectra, freedom = spectra[order], freedom[order]
    noisy, images, errors = noisy[order], images[order], errors[order]
    own, n_energies, tiny = _squares(images), len(setting.values), np.finfo(float).tiny
    # spectra fitted to the stack are part of the map: each free number of theirs counts like a pixel
    fitted = np.maximum(freedom - 2 * np.arange(len(order)) - 1, 0)
    risk = rank_risk(
        energy,
        noisy,
        _squares(images - noisy),
        blend.divergence[:, order] + fitted,
        setting.sigma,
        setting.mask,
        n_energies,
    )
    columns = {
        "singular_value": np.sqrt(_squares(noisy)),
        "share": _shares(setting, images, risk),
        "spectrum_error": setting.sigma * np.sqrt(freedom / n_energies / np.maximum(own, tiny)),
        "noisy_risk": np.full(len(order), setting.sigma**2),
        "risk": np.maximum(blend.risk[order], 0),
        "weight_noisy": blend.noisy[order],
        "weight_denoised": blend.denoised[order],
    }
    n_left_out = len(evidence) - len(order)
    components = {
        name: np.pad(values, (0, n_left_out), constant_values=np.nan) for name, values in columns.items()
    }
    components["p_value"] = np.concatenate([evidence[: len(order)][order], evidence[len(order) :]])
    rank = int(np.count_nonzero(blend.noisy + blend.denoised > 0))
    return Fit(spectra, images, risk, components, rank, {"scale": scale}, errors)
