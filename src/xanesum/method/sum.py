"""Method `sum`, the one of the paper: spectra by SVD, the rank of least estimated risk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.subspace import Basis, StackSource, fit_basis, project
from xanesum.method.fit import MAX_RANK, Fit, shares_of_signal
from xanesum.method.options import DEFAULT_PROBES
from xanesum.method.problem import Problem
from xanesum.method.sure import (
    PROBE_STEP,
    ImageMap,
    RankRisk,
    random_signs,
    rank_risk,
    stack_sum_of_squares,
    step_length,
)

__all__ = ["RankTrial", "fit_sum", "try_ranks"]

PATIENCE = 4  # components in a row that increase the risk before the search for the rank stops


@dataclass(frozen=True, slots=True, eq=False)
class RankTrial:
    """The risk of each rank, and the images that were denoised on the way."""

    risk: RankRisk
    denoised: NDArray[np.float32]  # (K, Y, X), images of every component tried
    component_risk: NDArray[np.float64]  # (K,), estimated mean squared error of each denoised image


def fit_sum(problem: Problem, rank: int | None) -> Fit:
    """Fit as the paper does: spectra by SVD, each image denoised, the rank of least risk."""
    problem.progress("subspace", 0.0)
    level = problem.full
    basis = fit_basis(level.stack, mask=level.mask, rng=problem.rng)
    trial = try_ranks(
        level.stack,
        basis,
        lambda images: problem.denoise(images, level),
        level.sigma,
        max_rank=MAX_RANK if rank is None else rank,
        rng=problem.rng,
        mask=level.mask,
        sum_of_squares=level.sum_of_squares,
        n_probes=problem.n_probes,
        patience=PATIENCE if rank is None else None,
        progress=lambda share: problem.progress("components", share),
    )
    n_tried = len(trial.denoised)
    chosen = trial.risk.chosen if rank is None else rank
    size = basis.singular_values[:n_tried]
    components = {
        "singular_value": size,
        "share": shares_of_signal(level, trial.denoised, trial.risk),
        "spectrum_error": level.sigma / np.maximum(size, np.finfo(float).tiny),
        "noisy_risk": np.full(n_tried, level.sigma**2),
        "risk": trial.component_risk,
        "weight_noisy": np.zeros(n_tried),
        "weight_denoised": (np.arange(n_tried) < chosen).astype(float),
        "p_value": np.full(n_tried, np.nan),
    }
    errors = np.ones_like(trial.denoised) * np.sqrt(np.maximum(trial.component_risk, 0))[:, None, None]
    return Fit(
        basis.spectra[:n_tried],
        trial.denoised,
        errors.astype(np.float32),
        trial.risk,
        components,
        chosen,
    )


def try_ranks(
    stack: NDArray[np.float32] | StackSource,
    basis: Basis,
    denoise: ImageMap,
    sigma: float,
    *,
    max_rank: int,
    rng: np.random.Generator,
    mask: NDArray[np.bool_] | None = None,
    sum_of_squares: float | None = None,
    n_probes: int = DEFAULT_PROBES,
    patience: int | None = None,
    step: float = PROBE_STEP,
    progress: Callable[[float], None] = lambda share: None,
) -> RankTrial:
    """Estimate the risk of ``F_K(y) = sum_k u_k D(u_k' y)`` for K = 0 ... `max_rank` by Stein's formula.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Noisy values, finite everywhere.
    basis : Basis
        From the same stack and mask.
    denoise : callable
        Takes and returns images (K, Y, X), each on its own.
    sigma : float
        Noise level of the stack; SigmaError unless it is positive.
    max_rank, n_probes : int
        Largest K tried, and probes per component.
    rng : numpy.random.Generator
        Draws the probes.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    sum_of_squares : float, optional
        Of the stack where pixels count.  Needed where the stack is not an array.
    patience : int, optional
        Stop once the risk has grown for this many components in a row; never by default.
    step : float
        Length of a probe in units of sigma.
    progress : callable
        Called with the share of components done.
    """
    step_length(sigma, step)  # refuses an impossible sigma before any work
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    if isinstance(stack, np.ndarray):
        sum_of_squares = stack_sum_of_squares(stack, keep)
    elif sum_of_squares is None:
        raise ValueError("the sum of squares must be given for a stack that is not an array")
    trial = _Trial(
        stack,
        basis,
        denoise,
        sigma=sigma,
        keep=keep,
        sum_of_squares=sum_of_squares,
        max_rank=min(max_rank, len(basis.spectra)),
        step=step,
    )
    return trial.over_ranks(n_probes, patience, rng, progress)


@dataclass(slots=True, eq=False)
class _Trial:
    r"""Stein's formula for the whole map, component by component.

    The singular vectors ``u_k`` depend on the noise as well, so the divergence is that of the whole map.
    With ``c_k = u_k' y`` and squared singular values ``l_k`` it is

    .. math:: \sum_k \Big[ c_k \cdot D(c_k) \sum_{j \ne k} \frac{1}{l_k - l_j} + \operatorname{tr} J_k
              + \sum_{j \ne k} \frac{c_j \cdot J_k c_j}{l_k - l_j} \Big]

    by the first-order change of singular vectors.  ``J_k`` is the Jacobian of the denoiser at ``c_k``.  One
    more call of the denoiser per probe applies it to a random direction.  That direction holds white noise
    for the trace, and every ``c_j`` with a random sign for the sum.  For a denoiser that does nothing the
    formula becomes the closed form of [1]_.  Each component adds a term of its own, so that one set of calls
    serves every K.

    If the basis is not complete, the unknown singular values are taken to be equal.  Their squares sum to the
    rest of the stack's sum of squares.

    References
    ----------
    .. [1] E. J. Candes, C. A. Sing-Long, J. D. Trzasko, "Unbiased risk estimates for singular value
       thresholding and spectral estimators", IEEE Trans. Signal Process. 61 (2013) 4643-4657.
    """

    stack: NDArray[np.float32] | StackSource  # (E, Y, X)
    basis: Basis
    denoise: ImageMap
    sigma: float
    keep: NDArray[np.bool_]  # (Y, X), pixels that count
    sum_of_squares: float  # of the stack where pixels count
    max_rank: int
    step: float  # length of a probe in units of sigma

    def over_ranks(
        self,
        n_probes: int,
        patience: int | None,
        rng: np.random.Generator,
        progress: Callable[[float], None],
    ) -> RankTrial:
        """Denoise the images one by one, and return the risk of every rank tried."""
        noisy = project(self.basis.spectra[: self.max_rank], self.stack)
        gaps = _inverse_gaps(self.basis, self.max_rank, self.sum_of_squares, self.stack.shape[0])
        lever = gaps.sum(axis=0)
        probes = [_probe_pair(self.stack, self.basis, gaps, self.keep, rng) for _ in range(n_probes)]
        denoised, divergence = np.zeros_like(noisy), np.zeros((n_probes, self.max_rank))
        misfit, n_tried = np.zeros(self.max_rank), 0
        for k in range(self.max_rank):
            denoised[k], divergence[:, k] = self._component(noisy[k : k + 1], lever[k], k, probes)
            misfit[k] = np.sum((denoised[k] - noisy[k])[self.keep].astype(np.float64) ** 2)
            n_tried = k + 1
            progress(n_tried / self.max_rank)
            if patience and _has_grown(self._steps(noisy, misfit, divergence)[:n_tried], patience):
                break
        tried = slice(n_tried)
        risk = rank_risk(
            self.sum_of_squares,
            noisy[tried],
            misfit[tried],
            divergence[:, tried],
            sigma=self.sigma,
            keep=self.keep,
            n_energies=self.stack.shape[0],
        )
        n_pixels = np.count_nonzero(self.keep)
        own_risk = (misfit + 2 * self.sigma**2 * divergence.mean(axis=0)) / n_pixels - self.sigma**2
        return RankTrial(risk, denoised[tried], np.maximum(own_risk[tried], 0))

    def _component(
        self,
        images: NDArray[np.float32],
        lever: float,
        k: int,
        probes: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return component `k` (1, Y, X) denoised, and its part of the divergence by each probe."""
        length = step_length(self.sigma, self.step)
        denoised = np.where(self.keep, self.denoise(images)[0], 0)
        turned = lever * np.vdot(images[0] * self.keep, denoised.astype(np.float64))
        divergence = np.zeros(len(probes))
        for p, (along, against) in enumerate(probes):
            shifted = self.denoise(images + np.float32(length) * (along[k] - against[k]))[0]
            moved = np.where(self.keep, shifted - denoised, 0)
            divergence[p] = turned + np.vdot(along[k] + against[k], moved.astype(np.float64)) / length
        return denoised, divergence

    def _steps(
        self, noisy: NDArray[np.float32], misfit: NDArray[np.float64], divergence: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the change of the summed squared error by each component, shape (K,)."""
        captured = np.array([np.sum(image[self.keep].astype(np.float64) ** 2) for image in noisy])
        return np.asarray(misfit - captured + 2 * self.sigma**2 * divergence.mean(axis=0))


def _has_grown(steps: NDArray[np.float64], patience: int) -> bool:
    """Whether the last `patience` components all increased the risk."""
    return len(steps) >= patience and bool(np.all(steps[-patience:] > 0))


def _probe_pair(
    stack: NDArray[np.float32] | StackSource,
    basis: Basis,
    gaps: NDArray[np.float64],
    keep: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return images (K, Y, X) v and w such that ``(v + w) . J (v - w)`` has the wanted expectation.

    v holds white noise and the components weaker than k, w the stronger ones.  Each component has a random
    sign and the root of its weight ``1 / |l_k - l_j|``.
    """
    n_known, n_columns = len(basis.spectra), gaps.shape[1]
    signed = np.sqrt(np.abs(gaps)) * random_signs(gaps.shape, rng)
    along = basis.spectra.T @ np.where(gaps > 0, signed, 0)[:n_known]
    against = basis.spectra.T @ np.where(gaps < 0, signed, 0)[:n_known]
    if not basis.complete:
        probe = random_signs((stack.shape[0], n_columns), rng)
        outside = probe - basis.spectra.T @ (basis.spectra @ probe)
        along += outside * np.sqrt(gaps[-1] / max(stack.shape[0] - n_known, 1))
    both = project(np.hstack([along, against]).T, stack) * keep
    return both[:n_columns] + random_signs(both[:n_columns].shape, rng) * keep, both[n_columns:]


def _inverse_gaps(
    basis: Basis, n_columns: int, sum_of_squares: float, n_energies: int
) -> NDArray[np.float64]:
    """Return ``1 / (l_k - l_j)``, shape (M, K), zero for j = k.

    An incomplete basis has one more row: the sum over the unknown values, all taken equal.
    """
    values = basis.singular_values**2
    floor = 1e-12 * max(values[0], np.finfo(float).tiny)
    gaps = values[None, :n_columns] - values[:, None]
    inverse = np.where(np.abs(gaps) > floor, 1 / np.where(np.abs(gaps) > floor, gaps, 1), 0.0)
    if basis.complete:
        return inverse
    n_rest = n_energies - len(values)
    rest = max(sum_of_squares - values.sum(), 0) / max(n_rest, 1)
    return np.asarray(np.vstack([inverse, n_rest / np.maximum(values[:n_columns] - rest, floor)]))
