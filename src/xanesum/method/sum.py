"""Method `sum`, the one of the paper: spectra by SVD, the rank of least estimated risk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.subspace import Basis, StackSource, fit_basis, project
from xanesum.method.fit import MAX_RANK, Fit, _shares
from xanesum.method.problem import Setting
from xanesum.method.sure import (
    PROBE_STEP,
    ImageMap,
    RankRisk,
    _signs,
    _step_length,
    rank_risk,
    stack_energy,
)

__all__ = ["RankTrial", "fit_sum", "try_ranks"]
PATIENCE = 4  # components in a row that make the risk worse before the search of `sum` stops


def fit_sum(setting: Setting, rank: int | None) -> Fit:
    """Fit as the paper does: spectra by SVD, each image denoised, the rank of least risk."""
    setting.progress("subspace", 0.0)
    setting = setting.full
    basis = fit_basis(setting.stack, mask=setting.mask, rng=setting.rng)
    trial = try_ranks(
        setting.stack,
        basis,
        lambda images: setting.denoise(images, setting.mask),
        setting.sigma,
        max_rank=MAX_RANK if rank is None else rank,
        rng=setting.rng,
        mask=setting.mask,
        energy=setting.energy,
        n_probes=setting.n_probes,
        patience=PATIENCE if rank is None else None,
        progress=lambda share: setting.progress("components", share),
    )
    n_tried = len(trial.denoised)
    chosen = trial.risk.chosen if rank is None else rank
    size = basis.singular_values[:n_tried]
    kept = (np.arange(n_tried) < chosen).astype(float)
    components = {
        "singular_value": size,
        "share": _shares(setting, trial.denoised, trial.risk),
        "spectrum_error": setting.sigma / np.maximum(size, np.finfo(float).tiny),
        "noisy_risk": np.full(n_tried, setting.sigma**2),
        "risk": trial.component_risk,
        "weight_noisy": np.zeros(n_tried),
        "weight_denoised": kept,
        "p_value": np.full(n_tried, np.nan),
    }
    errors = np.ones_like(trial.denoised) * np.sqrt(np.maximum(trial.component_risk, 0))[:, None, None]
    return Fit(
        basis.spectra[:n_tried], trial.denoised, trial.risk, components, chosen, {}, errors.astype(np.float32)
    )


@dataclass(frozen=True, slots=True, eq=False)
class RankTrial:
    """Risk table, with the images that were denoised on the way."""

    risk: RankRisk
    noisy: NDArray[np.float32]  # (K, Y, X), coefficient images of every component tried
    denoised: NDArray[np.float32]  # (K, Y, X)
    component_divergence: NDArray[np.float64]  # (n_probes, K), what each component adds to the divergence
    component_risk: NDArray[np.float64]  # (K,), estimated mean squared error of each denoised image


def try_ranks(
    stack: NDArray[np.float32] | StackSource,
    basis: Basis,
    denoise: ImageMap,
    sigma: float,
    *,
    max_rank: int,
    rng: np.random.Generator,
    mask: NDArray[np.bool_] | None = None,
    energy: float | None = None,
    n_probes: int = 4,
    patience: int | None = None,
    step: float = PROBE_STEP,
    progress: Callable[[float], None] = lambda share: None,
) -> RankTrial:
    r"""Estimate the risk of ``F_K(y) = sum_k u_k D(u_k' y)`` for K = 0 ... `max_rank` by Stein's formula.

    The singular vectors ``u_k`` depend on the noise as well, so the divergence is that of the whole map.
    With ``c_k = u_k' y`` and squared singular values ``l_k`` it is

    .. math:: \sum_k \Big[ c_k \cdot D(c_k) \sum_{j \ne k} \frac{1}{l_k - l_j} + \operatorname{tr} J_k
              + \sum_{j \ne k} \frac{c_j \cdot J_k c_j}{l_k - l_j} \Big]

    from the first-order change of singular vectors.  ``J_k``, the Jacobian of the denoiser at ``c_k``, acts
    through one more call of the denoiser per probe, in a random direction that holds white noise for the
    trace and every ``c_j`` with a random sign for the sum.  For a denoiser that does nothing it becomes the
    closed form of [1]_.  Each component adds a term of its own, so that one set of calls serves every K.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Noisy values, finite everywhere (those outside `mask` do not count).
    basis : Basis
        From the same stack and mask.  If it is not complete, the singular values that are not known are
        taken to be equal, their squares summing to what is left of the stack's energy.
    denoise : callable
        Takes and returns images (K, Y, X), each treated on its own.
    sigma : float
        Noise level of the stack.
    max_rank : int
        Largest K tried.
    rng : numpy.random.Generator
        Draws the probes.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    energy : float, optional
        Sum of squares of the stack where pixels count; needed where it is not an array.
    n_probes : int
        Probes per component.
    patience : int, optional
        Stop once the risk has grown for this many components in a row; never by default.
    step : float
        Length of a probe in units of sigma.
    progress : callable
        Called with the share of components done.

    Raises
    ------
    SigmaError
        If `sigma` is not positive.

    References
    ----------
    .. [1] E. J. Candes, C. A. Sing-Long, J. D. Trzasko, "Unbiased risk estimates for singular value
       thresholding and spectral estimators", IEEE Trans. Signal Process. 61 (2013) 4643-4657.
    """
    length = _step_length(sigma, step)
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    n_energies = stack.shape[0]
    if isinstance(stack, np.ndarray):
        energy = stack_energy(stack, keep)
    elif energy is None:
        raise ValueError("the sum of squares of a stack that is no array has to be given")
    max_rank = min(max_rank, len(basis.spectra))
    noisy = project(basis.spectra[:max_rank], stack)
    gaps = _inverse_gaps(basis, max_rank, energy, n_energies)
    lever = gaps.sum(axis=0)
    probes = [_probe_pair(stack, basis, gaps, keep, rng) for _ in range(n_probes)]
    denoised = np.zeros_like(noisy)
    divergence = np.zeros((n_probes, max_rank))
    misfit = np.zeros(max_rank)
    n_tried = 0
    for k in range(max_rank):
        images = noisy[k : k + 1]
        denoised[k] = np.where(keep, denoise(images)[0], 0)
        misfit[k] = np.sum((denoised[k] - images[0])[keep].astype(np.float64) ** 2)
        turned = lever[k] * np.vdot(images[0] * keep, denoised[k].astype(np.float64))
        for p in range(n_probes):
            along, against = probes[p]
            shifted = denoise(images + np.float32(length) * (along[k] - against[k]))[0]
            moved = np.where(keep, shifted - denoised[k], 0)
            divergence[p, k] = turned + np.vdot(along[k] + against[k], moved.astype(np.float64)) / length
        n_tried = k + 1
        progress(n_tried / max_rank)
        if patience and _has_grown(_risk_steps(noisy, misfit, divergence, sigma, keep)[:n_tried], patience):
            break
    risk = rank_risk(
        energy, noisy[:n_tried], misfit[:n_tried], divergence[:, :n_tried], sigma, keep, n_energies
    )
    own_risk = (misfit + 2 * sigma**2 * divergence.mean(axis=0)) / np.count_nonzero(keep) - sigma**2
    return RankTrial(
        risk, noisy[:n_tried], denoised[:n_tried], divergence[:, :n_tried], np.maximum(own_risk[:n_tried], 0)
    )


def _probe_pair(
    stack: NDArray[np.float32] | StackSource,
    basis: Basis,
    gaps: NDArray[np.float64],
    keep: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return images (K, Y, X) v and w such that ``(v + w) . J (v - w)`` has the wanted expectation.

    v holds white noise and the components weaker than k, w the stronger ones, each with a random sign and
    the root of its weight ``1 / |l_k - l_j|``.
    """
    n_known, n_columns = len(basis.spectra), gaps.shape[1]
    signed = np.sqrt(np.abs(gaps)) * _signs(gaps.shape, rng)
    along = basis.spectra.T @ np.where(gaps > 0, signed, 0)[:n_known]
    against = basis.spectra.T @ np.where(gaps < 0, signed, 0)[:n_known]
    if not basis.complete:
        probe = _signs((stack.shape[0], n_columns), rng)
        outside = probe - basis.spectra.T @ (basis.spectra @ probe)
        along += outside * np.sqrt(gaps[-1] / max(stack.shape[0] - n_known, 1))
    both = project(np.hstack([along, against]).T, stack) * keep
    return both[:n_columns] + _signs(both[:n_columns].shape, rng) * keep, both[n_columns:]


def _inverse_gaps(basis: Basis, n_columns: int, energy: float, n_energies: int) -> NDArray[np.float64]:
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
    rest = max(energy - values.sum(), 0) / max(n_rest, 1)
    return np.asarray(np.vstack([inverse, n_rest / np.maximum(values[:n_columns] - rest, floor)]))


def _risk_steps(
    noisy: NDArray[np.float32],
    misfit: NDArray[np.float64],
    divergence: NDArray[np.float64],
    sigma: float,
    keep: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return what each component adds to the summed squared error, shape (K,)."""
    captured = np.array([np.sum(image[keep].astype(np.float64) ** 2) for image in noisy])
    return np.asarray(misfit - captured + 2 * sigma**2 * divergence.mean(axis=0))


def _has_grown(steps: NDArray[np.float64], patience: int) -> bool:
    return len(steps) >= patience and bool(np.all(steps[-patience:] > 0))
