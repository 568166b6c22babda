"""Method `sum+`: spectra from averaged pixels, evidence, weights, and spectra fitted again to the images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import fit_basis, project
from xanesum.method.fit import MAX_RANK, Fit, image_squares, shares_of_signal
from xanesum.method.problem import AnyLevel, Level, Problem, View
from xanesum.method.spectra import Smoothed, orthonormal_rows, refit_spectra, shrink_spectra, smooth_spectra
from xanesum.method.split_half import (
    COMMON_SCALE,
    SCALES,
    choose_scale,
    component_p_values,
    split_axis,
    split_pixels,
)
from xanesum.method.sure import Blend, Response, blend_by_risk, image_response, local_risk, rank_risk
from xanesum.noise.level import count_above_noise, noise_reach

__all__ = ["FALSE_ALARMS", "fit_pilot", "fit_sum_plus", "probes_for", "refine", "views_for"]

FIRST_RANK = 6  # components that are sought at first; more as long as all of them are real
FALSE_ALARMS = 0.01  # probability of taking any component of pure noise for real
N_REFITS = 2  # rounds in which the spectra are fitted again
PROBED_PIXELS = 600_000  # probed pixels (probes x image size) enough to estimate an image's risk
FEW_VIEWS_PIXELS = 400_000  # image size from which two mirror images are enough, to save time
ONE_VIEW_PIXELS = 1_000_000  # image size from which no mirror image is used; the error grows by 1 %
EARLY_PROBES = 1  # probes for the weights before the last refit; the spectra hardly depend on them
MIRRORS: tuple[View, ...] = ((), (0,), (1,), (0, 1))
FEW_MIRRORS: tuple[View, ...] = ((), (0, 1))
AS_IT_IS: tuple[View, ...] = ((),)


def fit_sum_plus(problem: Problem, rank: int | None, *, without: Collection[str] = ()) -> Fit:
    """Go beyond the paper: find components below the noise of the SVD, and weigh each by its risk.

    Parameters
    ----------
    problem : Problem
    rank : int, optional
        Number of components, taken without evidence.  By default those that both halves confirm.
    without : collection of str
        Names of `xanesum.method.options.STAGES` that are left out.
    """
    problem.progress("subspace", 0.0)
    spectra, p_values, scale = _find_spectra(problem, rank, without)
    n_real = len(p_values) if rank is not None else _last_below(p_values, FALSE_ALARMS)
    return refine(problem, spectra[:n_real], p_values=p_values, scale=scale, without=without)


def fit_pilot(problem: Problem) -> Fit:
    """Fit the few components above the noise, without evidence, in the averages only.

    Components below the noise would not change the residual from which noise is measured.
    """
    level = problem.coarse
    averaged = average_pixels(level.stack, COMMON_SCALE, mask=level.mask)
    limit = min(FIRST_RANK, len(averaged), averaged[0].size)
    basis = fit_basis(averaged, limit, rng=problem.rng)
    n_pixels = int(np.count_nonzero(averaged.any(axis=0)))
    n_seen = count_above_noise(basis.singular_values, (len(averaged), n_pixels), level.sigma)
    pilot = replace(problem.on_the_coarse_level(), n_probes=EARLY_PROBES)
    return refine(pilot, basis.spectra[: max(n_seen, 1)], without=("refit", "mirrors"))


def views_for(n_pixels: int) -> tuple[View, ...]:
    """Return the mirror images over which a denoised image of so many pixels is averaged."""
    if n_pixels < FEW_VIEWS_PIXELS:
        return MIRRORS
    return FEW_MIRRORS if n_pixels < ONE_VIEW_PIXELS else AS_IT_IS


def probes_for(n_pixels: int, most: int) -> int:
    """Return how many probes, at most `most`, the risk of an image of so many pixels needs."""
    return min(most, max(1, -(-PROBED_PIXELS // n_pixels)))


def refine(
    problem: Problem,
    spectra: NDArray[np.float64],
    *,
    p_values: NDArray[np.float64] | None = None,
    scale: int = 1,
    without: Collection[str] = (),
) -> Fit:
    """Denoise and weigh the images of given spectra; refit, smooth and shrink the spectra; repeat.

    Images with uneven noise are divided by it, denoised and multiplied again, so that the risk counts errors
    in units of the noise.

    Parameters
    ----------
    problem : Problem
    spectra : ndarray, shape (K, E)
        Orthonormal.
    p_values : ndarray, shape (T,), optional
        Evidence for the first T >= K components, for the table.
    scale : int
        Scale of averaging at which the spectra were found, for the record.
    without : collection of str
        Names of stages that are left out.  Without "refit" the spectra stay as they are.
    """
    n_refits = 0 if "refit" in without else N_REFITS
    weigh, candidates = "weights" not in without, spectra
    degrees_of_freedom = np.full(len(spectra), float(problem.coarse.n_energies))
    for turn in range(n_refits):
        problem.progress("components", turn / (n_refits + 1))
        smoothed = _refit(problem, spectra, without)
        if smoothed is None:
            break
        spectra = orthonormal_rows(smoothed.spectra)
        degrees_of_freedom = smoothed.degrees_of_freedom[: len(spectra)]
    problem.progress("components", n_refits / (n_refits + 1))
    level = problem.full
    noise = level.noise_of(spectra)
    noisy = project(spectra, level.stack) * level.mask / noise
    views = AS_IT_IS if "mirrors" in without else views_for(level.mask.size)
    n_probes = probes_for(level.mask.size, problem.n_probes)
    blend, images, response = _blended(problem, level, noisy, n_probes=n_probes, views=views, weigh=weigh)
    problem.progress("components", 1.0)
    errors = np.sqrt(local_risk(blend, response, level.sigma, mask=level.mask))
    # the risk compares with the stack, in which these images count in units of their noise
    sum_of_squares = level.sum_of_squares + float(np.sum(image_squares(noisy) - image_squares(noisy * noise)))
    evidence = _matched(p_values, candidates, spectra)
    found = _Refined(spectra, degrees_of_freedom, noisy, images, errors, blend, evidence)
    fit = found.summary(level, sum_of_squares, scale)
    return fit.times(level.noise_of(fit.spectra))


def _refit(problem: Problem, spectra: NDArray[np.float64], without: Collection[str]) -> Smoothed | None:
    """Return spectra fitted to the denoised images of `spectra` (K, E); None where no image has a weight."""
    level = problem.coarse
    noise = level.noise_of(spectra)
    noisy = project(spectra, level.stack) * level.mask / noise
    blend, images, _ = _blended(
        problem, level, noisy, n_probes=EARLY_PROBES, views=AS_IT_IS, weigh="weights" not in without
    )
    alive = blend.noisy + blend.denoised > 0
    if not alive.any():
        return None
    found = refit_spectra(
        level.stack,
        images[alive] * noise[alive],
        spectra[alive],
        blend.divergence.mean(axis=0)[alive],
        level.sigma,
        mask=level.mask,
    )
    smoothed = Smoothed(found, np.ones_like(found))
    if "smoothing" not in without:
        smoothed = smooth_spectra(found, level.sigma, problem.energy_ev)
    if "shrinkage" not in without:
        smoothed = shrink_spectra(smoothed, level.sigma)
    return smoothed


def _find_spectra(
    problem: Problem, rank: int | None, without: Collection[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return candidate spectra (K, E), their p-values (K,), NaN where unknown, and the scale of averaging."""
    level = problem.coarse
    limit = min(level.n_energies, int(level.mask.sum()))
    axis = split_axis(level.stack.shape)
    reach = noise_reach(level.stack, axis, rank=min(FIRST_RANK, limit), mask=level.mask, rng=problem.rng)
    halves = split_pixels(level.stack, mask=level.mask, gap=reach)
    n_wanted = min(FIRST_RANK if rank is None else rank, limit)
    while True:
        scale, p_values = 1, np.full(n_wanted, np.nan)
        comparable = halves.mask.any() and halves.mask.size >= n_wanted
        if comparable and not {"averaging", "evidence"} <= set(without):
            scales = (1,) if "averaging" in without else SCALES
            found = choose_scale(halves, n_wanted, scales=scales, rng=problem.rng)
            scale = found.scale
            if rank is None and "evidence" not in without:
                denoise = partial(_denoise_half, problem, level)
                p_values = component_p_values(halves, found, denoise, level.sigma)
        if rank is not None or not p_values[-1] < FALSE_ALARMS or n_wanted >= min(MAX_RANK, limit):
            break
        n_wanted = min(2 * n_wanted, MAX_RANK, limit)
    averaged = average_pixels(level.stack, scale, mask=level.mask)
    return fit_basis(averaged, n_wanted, rng=problem.rng).spectra, p_values, scale


def _denoise_half(
    problem: Problem,
    level: Level[NDArray[np.float32]],
    images: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return images (K, Y', X') of one half of the pixels denoised."""
    return problem.denoise(images, level, mask=mask)


def _last_below(p_values: NDArray[np.float64], level: float) -> int:
    """Return the number of components up to the last with evidence; unknown evidence counts as evidence."""
    real = np.flatnonzero(~(p_values >= level))
    return int(real[-1]) + 1 if real.size else 0


def _blended(
    problem: Problem,
    level: AnyLevel,
    noisy: NDArray[np.float32],
    *,
    n_probes: int,
    views: Sequence[View],
    weigh: bool,
) -> tuple[Blend, NDArray[np.float32], Response]:
    """Return weights of least risk for images (K, Y, X), the images mixed by them, and the response.

    The denoised image is the mean over `views`.  The probes are shared out among the views.
    """
    if not len(noisy):
        none, no_probe = np.zeros(0), np.zeros((n_probes, 0))
        return Blend(none, none, none, no_probe), noisy, Response(no_probe, noisy, noisy)
    rounding = 0.0 if problem.rounding is None else problem.rounding(noisy, level.sigma)
    denoised, responses = np.zeros_like(noisy), []
    for n, view in enumerate(views):
        seen = problem.denoise_mirrored(noisy, level, view)
        denoised += seen / np.float32(len(views))
        if n >= n_probes:
            continue
        found = image_response(
            noisy,
            seen,
            partial(problem.denoise_mirrored, level=level, view=view),
            level.sigma,
            rng=problem.rng,
            mask=level.mask,
            n_probes=max(1, n_probes // len(views)),
            rounding=rounding,
        )
        responses.append(found)
    response = Response.mean(responses)
    blend = blend_by_risk(noisy, denoised, response.divergence, level.sigma, mask=level.mask, weigh=weigh)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Refined:
    """Spectra and images after the last round, in any order."""

    spectra: NDArray[np.float64]  # (K, E), orthonormal
    degrees_of_freedom: NDArray[np.float64]  # (K,), free numbers of each spectrum
    noisy: NDArray[np.float32]  # (K, Y, X), in units of their noise
    images: NDArray[np.float32]  # (K, Y, X), blended
    errors: NDArray[np.float32]  # (K, Y, X), standard errors
    blend: Blend
    p_values: NDArray[np.float64]  # (T,), T >= K

    def summary(self, level: AnyLevel, sum_of_squares: float, scale: int) -> Fit:
        """Order the components by the squares of their images, and tabulate them.

        Parameters
        ----------
        level : Level
            Of the images.
        sum_of_squares : float
            Of the level's stack, with these images in units of their noise.
        scale : int
            For the record.
        """
        order = np.argsort(-image_squares(self.images), kind="stable")
        n_kept, blend = len(order), self.blend
        spectra, degrees_of_freedom = self.spectra[order], self.degrees_of_freedom[order]
        noisy, images = self.noisy[order], self.images[order]
        own, tiny = image_squares(images), np.finfo(float).tiny
        # spectra fitted to the stack are part of the map: each free number of theirs counts like a pixel
        fitted = np.maximum(degrees_of_freedom - 2 * np.arange(n_kept) - 1, 0)
        risk = rank_risk(
            sum_of_squares,
            noisy,
            image_squares(images - noisy),
            blend.divergence[:, order] + fitted,
            sigma=level.sigma,
            keep=level.mask,
            n_energies=level.n_energies,
        )
        columns = {
            "singular_value": np.sqrt(image_squares(noisy)),
            "share": shares_of_signal(level, images, risk),
            "spectrum_error": level.sigma
            * np.sqrt(degrees_of_freedom / level.n_energies / np.maximum(own, tiny)),
            "noisy_risk": np.full(n_kept, level.sigma**2),
            "risk": np.maximum(blend.risk[order], 0),
            "weight_noisy": blend.noisy[order],
            "weight_denoised": blend.denoised[order],
        }
        n_left_out = len(self.p_values) - n_kept
        components = {
            name: np.pad(values, (0, n_left_out), constant_values=np.nan) for name, values in columns.items()
        }
        components["p_value"] = np.concatenate([self.p_values[:n_kept][order], self.p_values[n_kept:]])
        rank = int(np.count_nonzero(blend.noisy + blend.denoised > 0))
        return Fit(spectra, images, self.errors[order], risk, components, rank, {"scale": scale})
