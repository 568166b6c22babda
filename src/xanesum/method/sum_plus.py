"""Method `sum+`: spectra from averaged pixels, evidence, weights, and spectra fitted again to the images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import fit_basis, project
from xanesum.method.blending import blended_images, with_broad_noise
from xanesum.method.evidence import Search
from xanesum.method.fit import MAX_RANK, Fit, image_squares, shares_of_signal
from xanesum.method.local_risk import image_risk, local_risk
from xanesum.method.problem import AnyLevel, Level, Problem, View
from xanesum.method.spectra import Smoothed, orthonormal_rows, refit_spectra, shrink_spectra, smooth_spectra
from xanesum.method.split_half import (
    COMMON_SCALE,
    SCALES,
    GramsByScale,
    choose_scale,
    component_p_values,
    split_axis,
    split_pixels,
)
from xanesum.method.sure import Blend, rank_risk
from xanesum.noise.level import count_above_noise, noise_reach

__all__ = ["FALSE_ALARMS", "N_WAYS", "fit_pilot", "fit_sum_plus", "probes_for", "refine", "views_for"]

FIRST_RANK = 6  # components that are sought at first; more as long as all of them are real
FALSE_ALARMS = 0.01  # probability of taking any component of pure noise for real
N_WAYS = 4  # ways to find a component; each may be wrong in this part of the cases
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
    found = _find_spectra(problem, rank, without)
    n_real = len(found.p_values) if rank is not None else _last_below(found.p_values, FALSE_ALARMS)
    spectra, p_values = found.spectra[:n_real], found.p_values
    if found.reach or problem.coarse.sigma > problem.full.sigma:
        problem = with_broad_noise(problem, found.spectra)
    fitted = _fit_spectra(problem, spectra, p_values, without)
    search = Search.of(problem, found.grams, fitted.spectra)
    if rank is None and "evidence" not in without and not problem.coarse.is_rounding:
        fitted = _with_more(problem, fitted, search, without)
    fit = _with_images(problem, fitted, found.scale, without)
    hidden = search.hidden(fit.spectra[: fit.rank], fit.images[: fit.rank])
    facts = {**fit.facts, "noise_reach_px": found.reach}
    return replace(fit, hidden_spectrum=hidden.spectrum, hidden_size=hidden.size, facts=facts)


def _with_more(problem: Problem, fitted: _Spectra, search: Search, without: Collection[str]) -> _Spectra:
    """Return spectra with the components that all of the data show beside them.

    After each of them all spectra are fitted again, so that none is sought in what an imprecise one leaves.
    """
    while len(fitted.spectra) < MAX_RANK:
        n_before = len(fitted.spectra)
        best = search.best(fitted.spectra, FALSE_ALARMS / N_WAYS)
        if best is None or best.p_value >= FALSE_ALARMS / N_WAYS:
            break
        spectra = np.vstack([fitted.spectra, best.spectrum])
        p_values = np.insert(fitted.p_values, n_before, N_WAYS * best.p_value)
        fitted = _fit_spectra(problem, spectra, p_values, without)
        if len(fitted.spectra) <= n_before:  # one of them has no weight beside the others
            return _Spectra.as_found(spectra, p_values)
    return fitted


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
    evidence = np.full(len(spectra), np.nan) if p_values is None else p_values
    return _with_images(problem, _fit_spectra(problem, spectra, evidence, without), scale, without)


def _with_images(problem: Problem, fitted: _Spectra, scale: int, without: Collection[str]) -> Fit:
    """Return a fit with the denoised and weighed images of fitted spectra."""
    problem.progress("components", N_REFITS / (N_REFITS + 1))
    spectra, level = fitted.spectra, problem.full
    noise = level.noise_of(spectra)
    noisy = project(spectra, level.stack) * level.mask / noise
    views = AS_IT_IS if "mirrors" in without else views_for(level.mask.size)
    n_probes = probes_for(level.mask.size, problem.n_probes)
    blend, images, response = blended_images(
        problem, level, spectra, noisy, n_probes=n_probes, views=views, weigh="weights" not in without
    )
    problem.progress("components", 1.0)
    errors = np.sqrt(local_risk(blend, response, noisy, images, level.sigma, mask=level.mask))
    # the risk compares with the stack, in which these images count in units of their noise
    sum_of_squares = level.sum_of_squares + float(np.sum(image_squares(noisy) - image_squares(noisy * noise)))
    fit = _Refined(fitted, noisy, images, errors, blend).summary(level, sum_of_squares, scale)
    return fit.times(level.noise_of(fit.spectra))


class _Spectra(NamedTuple):
    """Spectra fitted to images."""

    spectra: NDArray[np.float64]  # (K, E), orthonormal
    freedom: NDArray[np.float64]  # (K, E), share of the noise that smoothing left at each energy
    degrees_of_freedom: NDArray[np.float64]  # (K,), free numbers of each spectrum
    p_values: NDArray[np.float64]  # (T,), evidence for these spectra, then for those that were left out

    @classmethod
    def as_found(cls, spectra: NDArray[np.float64], p_values: NDArray[np.float64]) -> _Spectra:
        """Return spectra (K, E) that are not fitted, and so not smoothed."""
        n_spectra, n_energies = spectra.shape
        return cls(spectra, np.ones_like(spectra), np.full(n_spectra, float(n_energies)), p_values)

    def ordered(self, order: NDArray[np.intp]) -> _Spectra:
        """Return the spectra in another order."""
        p_values = np.concatenate([self.p_values[: len(order)][order], self.p_values[len(order) :]])
        return _Spectra(self.spectra[order], self.freedom[order], self.degrees_of_freedom[order], p_values)


def _fit_spectra(
    problem: Problem, spectra: NDArray[np.float64], p_values: NDArray[np.float64], without: Collection[str]
) -> _Spectra:
    """Fit spectra (K, E) to the images that they give, in turns; those without a weight fall away."""
    fitted = _Spectra.as_found(spectra, p_values)
    for turn in range(0 if "refit" in without else N_REFITS):
        problem.progress("components", turn / (N_REFITS + 1))
        found = _refit(problem, fitted, without)
        if found is None:
            break
        fitted = found
    return fitted


def _refit(problem: Problem, before: _Spectra, without: Collection[str]) -> _Spectra | None:
    """Return spectra fitted to the denoised images of those before; None where no image has a weight."""
    spectra = before.spectra
    level = problem.coarse
    noise = level.noise_of(spectra)
    noisy = project(spectra, level.stack) * level.mask / noise
    blend, images, _ = blended_images(
        problem, level, spectra, noisy, n_probes=EARLY_PROBES, views=AS_IT_IS, weigh="weights" not in without
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
    freedom = smoothed.noise  # a spectrum that is set to 0 may still be wrong by its noise
    if "shrinkage" not in without:
        smoothed = shrink_spectra(smoothed, level.sigma)
    rows = orthonormal_rows(smoothed.spectra)
    p_values = _matched(before.p_values, spectra, rows)
    return _Spectra(rows, freedom[: len(rows)], smoothed.degrees_of_freedom[: len(rows)], p_values)


class _Found(NamedTuple):
    """Spectra that halves of the pixels show."""

    spectra: NDArray[np.float64]  # (K, E), strongest first
    p_values: NDArray[np.float64]  # (K,), NaN where unknown
    scale: int  # of averaging
    grams: GramsByScale
    reach: int  # pixels over which the noise is correlated; 0 if it is white


def _find_spectra(problem: Problem, rank: int | None, without: Collection[str]) -> _Found:
    """Return candidate spectra from averages at the scale on which two halves of the pixels agree best."""
    level = problem.coarse
    limit = min(level.n_energies, int(level.mask.sum()))
    axis = split_axis(level.stack.shape)
    reaches = {
        each: noise_reach(level.stack, each, rank=min(FIRST_RANK, limit), mask=level.mask, rng=problem.rng)
        for each in (axis, 3 - axis)
    }
    halves = split_pixels(level.stack, mask=level.mask, gap=reaches[axis])
    n_wanted = min(FIRST_RANK if rank is None else rank, limit)
    while True:
        scale, p_values, grams = 1, np.full(n_wanted, np.nan), {}
        comparable = halves.mask.any() and halves.mask.size >= n_wanted
        if comparable and not {"averaging", "evidence"} <= set(without):
            scales = (1,) if "averaging" in without else SCALES
            found = choose_scale(halves, n_wanted, scales=scales, rng=problem.rng)
            scale, grams = found.scale, found.grams
            if rank is None and "evidence" not in without:
                denoise = partial(_denoise_half, problem, level)
                p_values = np.minimum(1, N_WAYS * component_p_values(halves, found, denoise, level.sigma))
        if rank is not None or not p_values[-1] < FALSE_ALARMS or n_wanted >= min(MAX_RANK, limit):
            break
        n_wanted = min(2 * n_wanted, MAX_RANK, limit)
    averaged = average_pixels(level.stack, scale, mask=level.mask)
    spectra = fit_basis(averaged, n_wanted, rng=problem.rng).spectra
    return _Found(spectra, p_values, scale, grams, max(reaches.values()))


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


def _matched(
    p_values: NDArray[np.float64], candidates: NDArray[np.float64], spectra: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return p-values for `spectra` (K, E), each of the candidate (C, E) most like it, then all others."""
    own, of = linear_sum_assignment(-np.square(spectra @ candidates.T))
    matched = np.full(len(spectra), np.nan)
    matched[own] = p_values[of]
    return np.concatenate([matched, np.delete(p_values, of)])


@dataclass(frozen=True, slots=True, eq=False)
class _Refined:
    """Spectra and images after the last round, in any order."""

    fitted: _Spectra
    noisy: NDArray[np.float32]  # (K, Y, X), in units of their noise
    images: NDArray[np.float32]  # (K, Y, X), blended
    errors: NDArray[np.float32]  # (K, Y, X), standard errors
    blend: Blend

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
        fitted = self.fitted.ordered(order)
        noisy, images = self.noisy[order], self.images[order]
        own, tiny = image_squares(images), np.finfo(float).tiny
        # spectra fitted to the stack are part of the map: each free number of theirs counts like a pixel
        free = np.maximum(fitted.degrees_of_freedom - 2 * np.arange(n_kept) - 1, 0)
        risk = rank_risk(
            sum_of_squares,
            noisy,
            image_squares(images - noisy),
            blend.divergence[:, order] + free,
            sigma=level.sigma,
            keep=level.mask,
            n_energies=level.n_energies,
        )
        rank = int(np.count_nonzero(blend.noisy + blend.denoised > 0))
        of_images = image_risk(np.square(self.errors[order]), level.mask)
        of_spectra = level.sigma**2 * fitted.degrees_of_freedom / np.count_nonzero(level.mask)
        risk = risk.anchored(rank, float(np.sum((blend.risk[order] + of_spectra)[:rank])) / level.n_energies)
        columns = {
            "singular_value": np.sqrt(image_squares(noisy)),
            "share": shares_of_signal(level, images, risk),
            "spectrum_error": level.sigma
            * np.sqrt(fitted.degrees_of_freedom / level.n_energies / np.maximum(own, tiny)),
            "noisy_risk": np.full(n_kept, level.sigma**2),
            "risk": of_images,
            "weight_noisy": blend.noisy[order],
            "weight_denoised": blend.denoised[order],
        }
        n_left_out = len(fitted.p_values) - n_kept
        components = {
            name: np.pad(values, (0, n_left_out), constant_values=np.nan) for name, values in columns.items()
        }
        components["p_value"] = fitted.p_values
        errors = np.outer(level.sigma / np.sqrt(np.maximum(own, tiny)), np.ones(level.n_energies))
        return Fit(
            fitted.spectra,
            images,
            self.errors[order],
            risk,
            components,
            rank,
            {"scale": scale},
            spectrum_errors=errors,
            freedom=fitted.freedom,
        )
