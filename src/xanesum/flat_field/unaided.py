"""Drift where no pixel is empty: what changes at random along energy, beside the spectra of the sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from xanesum.flat_field.alike import drift_along_spectra
from xanesum.flat_field.fields import FlatDrift
from xanesum.flat_field.frames import (
    MOST_BEYOND,
    ScanView,
    SmoothPart,
    beside,
    expected_amounts,
    with_beyond,
)
from xanesum.flat_field.prior import (
    MIN_FREE,
    DriftPrior,
    below_edge,
    covariance_of_drift,
    fit_prior,
    free_of_sample,
    is_restless_above,
)

__all__ = ["FALSE_ALARMS", "SLOW", "drift_by_spectra", "kind_of"]

FALSE_ALARMS = 1e-4  # probability of finding drift where there is none
HINT = 0.01  # the same below the edge, where drift must be seen too
AT_EDGE = (
    1.6  # an image belongs to the sample if its steps at the edge are so many times the largest of drift
)
PREDICTABLE = 3.5  # standard deviations of von Neumann's ratio beyond which a change is not random
ABOVE_NOISE = 2.0  # such a change has at least this many times the variance of noise
NEARBY = 7  # energies over which the spectrum of a species changes little
SLOW = 0.3  # correlation of successive frames from which on drift looks like a species ...
SURELY_SLOW = 6.0  # ... if twice the logarithm of the likelihood says so
LEVEL_ONLY = 0.98  # share of the variance of drift that is the level's if only the level drifts
DOUBTFUL = 0.3  # drift of more than this share of the noise, along the spectra, is worth a word
ADVICE = "include empty pixels in the scan, or take flats more often"
DOUBTS = {
    "hidden": "the light drifts and no pixel is empty, so drift and sample cannot be told apart; nothing was "
    f"removed, and errors of the map may be too small; {ADVICE}",
    "slow": "the light drifts slowly and no pixel is empty, so drift and sample cannot be told apart; errors "
    f"of the map may be too small; {ADVICE}",
    "at edge": "something smooth changes that may be sample or drift of the light, and no pixel is empty; "
    f"errors of the map may be too small; {ADVICE}",
    "along spectra": "the light drifts and no pixel is empty, so drift that looks like the spectra of the "
    f"sample stays, and makes the errors of the map larger; {ADVICE}",
}


def drift_by_spectra(view: ScanView) -> FlatDrift:
    """Find the drift beside the sample's spectra, from all pixels.

    The variance of the drift is found at energies away from the edge, and it must be seen below the edge.
    Smooth images that change at the edge more than drift does belong to the sample, and stay.  So does what
    is predictable along energy, where the drift is random.  Along the spectra, neighbours of one chemical
    state show the drift.  Where drift may be sample, the result says so in `doubt`.
    """
    part, orders, fields = view.part, view.orders, view.fields
    none = FlatDrift(fields, np.zeros_like(part.amounts), np.zeros_like(view.mask), "")
    below = below_edge(view.edge)
    restless = is_restless_above(beside(view.known, part.amounts), view.edge)
    free, free_below = (
        free_of_sample(each, view.edge, view.spectra) for each in (below if restless else ~view.edge, below)
    )
    if not free.shape[1]:  # no frame away from the edge
        return none
    whole = fit_prior(part, orders, free)
    at_edge = _at_edge(view, whole)
    part = _without(part, at_edge)
    prior = fit_prior(part, orders, free) if at_edge.shape[1] else whole
    apart = fit_prior(_apart_from_sample(view, part), orders, free).p_value
    if free_below.shape[1] < MIN_FREE:
        seen = fit_prior(part, orders, free).p_value
        return replace(none, doubt=DOUBTS["hidden"]) if min(apart, seen) < FALSE_ALARMS else none
    p_below, p_hidden = (fit_prior(each, orders, free_below).p_value for each in (part, view.part))
    slow = prior.memory > SLOW and prior.evidence_of_memory > SURELY_SLOW
    is_found = p_below < FALSE_ALARMS or (apart < FALSE_ALARMS and p_below < HINT)
    if not is_found or (slow and _is_one_image(view, part, free)):
        return replace(none, doubt=DOUBTS["hidden"]) if min(p_below, p_hidden) < FALSE_ALARMS else none
    covariance = _covariance(view, prior, slow)
    amounts, certain = _beside_spectra(view, at_edge, covariance, slow)
    if certain and len(view.directions):
        along = drift_along_spectra(view.images, fields, covariance, view.sigma, view.mask)
        amounts = amounts + view.directions.T @ along
    else:
        covariance = np.diag(whole.variance)
    left = float(np.sqrt(np.trace(covariance) / view.mask.sum()))
    doubt = "along spectra" if left > DOUBTFUL * view.sigma else ""
    doubt = "slow" if slow else doubt if certain else "at edge"
    kind = kind_of(prior.variance, slow)
    return FlatDrift(fields, amounts, none.empty, kind, covariance, DOUBTS.get(doubt, ""))


def _covariance(view: ScanView, prior: DriftPrior, slow: bool) -> NDArray[np.float64]:
    """Return the covariance (M, M) of the drift; of slow drift too little is seen beside the spectra."""
    if slow:
        return np.diag(prior.variance)
    n_free = len(view.smooth) - view.known.shape[1]
    return covariance_of_drift(beside(view.known, view.smooth), n_free, view.part, prior.variance)


def kind_of(variance: NDArray[np.float64], slow: bool) -> str:
    """Return the kind of drift in a word; its variance (M,) begins with that of the level."""
    if variance[0] > LEVEL_ONLY * variance.sum():
        return "level"
    return "slow" if slow else "independent"


def _beside_spectra(
    view: ScanView, at_edge: NDArray[np.float64], covariance: NDArray[np.float64], slow: bool
) -> tuple[NDArray[np.float64], bool]:
    """Return the drift (E, M) beside what may be sample, and whether that is the spectra only."""
    part, known = _without(view.part, at_edge), view.known
    smooth = part.amounts - part.amounts.mean(axis=0)
    outside = np.eye(smooth.shape[1]) - at_edge @ at_edge.T
    variance, noise = outside @ covariance @ outside, float(part.noise.mean())
    left_alone = with_beyond(known, smooth, noise * (np.eye(len(variance)) + part.spread) + variance)
    if not slow:
        left_alone = _with_predictable(left_alone, smooth, noise)
    certain = not at_edge.shape[1] and left_alone.shape[1] == known.shape[1]
    return expected_amounts(left_alone, smooth, variance, part), certain


def _without(part: SmoothPart, images: NDArray[np.float64]) -> SmoothPart:
    """Return the smooth part without images, which are orthonormal columns (M, n)."""
    return replace(part, amounts=beside(images, part.amounts.T).T)


def _apart_from_sample(view: ScanView, part: SmoothPart) -> SmoothPart:
    """Return the smooth part without the sample's own smooth images, which errors of the spectra show too."""
    of_sample = part.amounts.T @ view.spectra.T
    if of_sample.shape[1] >= of_sample.shape[0]:
        return part
    return replace(_without(part, np.linalg.qr(of_sample).Q), spread=np.zeros_like(part.spread))


def _is_one_image(view: ScanView, part: SmoothPart, free: NDArray[np.float64]) -> bool:
    """Whether the changes are those of one image only, as those of a species are."""
    apart = _apart_from_sample(view, part)
    image = np.linalg.svd(free.T @ apart.amounts, full_matrices=False)[2][:1].T
    return fit_prior(_without(apart, image), view.orders, free).p_value > FALSE_ALARMS


def _with_predictable(
    known: NDArray[np.float64], smooth: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """Return the columns of `known` (E, n), and the smooth changes (E, M) that are predictable along energy.

    The mean square difference of successive random values is twice their variance (von Neumann's ratio).
    """
    n_energies = len(smooth)
    least = 2 - PREDICTABLE * 2 / np.sqrt(n_energies)
    for _ in range(min(MOST_BEYOND, smooth.shape[1], n_energies - 2 - known.shape[1])):
        rest = beside(known, smooth)
        slow = beside(known, uniform_filter1d(rest, min(NEARBY, n_energies), axis=0, mode="nearest"))
        change = rest @ np.linalg.svd(slow, full_matrices=False)[2][0]
        power = float(change @ change)
        if power < ABOVE_NOISE * n_energies * noise or np.sum(np.diff(change) ** 2) > least * power:
            break
        known = np.column_stack([known, change / np.sqrt(power)])  # not the blurred one: the edge is sharp
    return known


def _at_edge(view: ScanView, prior: DriftPrior) -> NDArray[np.float64]:
    """Return orthonormal columns (M, n): smooth images that change at the edge more than drift does."""
    part = view.part
    near = view.edge[1:] | view.edge[:-1]
    steps = np.diff(beside(view.known, part.amounts), axis=0)[near]
    if not len(steps):
        return np.zeros((steps.shape[1], 0))
    noise = float(part.noise.mean())
    n_free = len(view.smooth) - view.known.shape[1]
    seen = covariance_of_drift(beside(view.known, view.smooth)[~view.edge], n_free, part, prior.variance)
    grown = noise * (np.eye(len(seen)) + part.spread)
    expected = 2 * ((1 - prior.memory) * (np.diag(prior.variance) + seen) + grown)
    lower = np.linalg.cholesky(expected)
    _, size, rows = np.linalg.svd(np.linalg.solve(lower, steps.T).T, full_matrices=False)
    limit = AT_EDGE * (np.sqrt(len(steps)) + np.sqrt(steps.shape[1])) ** 2
    return np.linalg.qr(lower @ rows[size**2 > limit].T).Q
