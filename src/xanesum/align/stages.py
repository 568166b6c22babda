"""From nothing known to shifts of a fraction of a pixel: coarse search, then regression at finer levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xanesum.align.drift import drift_prior
from xanesum.align.frames import Canvas, Level
from xanesum.align.joint import Joint, joint_step
from xanesum.align.light import LEAST_SIGMA, in_sample, without_sample
from xanesum.align.refine import Refined, Whitening, left_over, refine
from xanesum.align.search import search
from xanesum.align.spectra import explained_by_others, fit_spectra
from xanesum.align.state import State
from xanesum.align.template import Template, add_up

__all__ = [
    "canvas_for",
    "coarse",
    "find_foreign",
    "improve",
    "misfit_of",
    "n_telling",
    "powers",
    "search_all",
    "seek_again",
    "seek_vague",
    "settle",
    "share_light",
    "shows_sample",
]

Array = NDArray[np.float64]

N_CANDIDATES = 4  # frames that are tried as the first template
COARSE_ROUNDS = 4  # of the coarsest search, at most
SETTLED = 0.25  # pixels of the level by which shifts still move (root mean square) when a search ends
WEAK_PX = 0.6  # standard error from which a frame is searched over the whole range
LESS_COLOUR = 0.5  # times the largest power of what was left, relative to white noise
WORSE = 1.2  # times the variance of a shift before, in the mean
JOINT_ROUNDS = 16  # of all frames together, at most
JOINT_SETTLED = 0.1  # of their errors by which shifts still move when they are done
SURE = 5.0  # standard errors by which the power of all frames must exceed that of noise
CLEAR = 8.0  # standard errors of its contrast from which a frame cannot be matched by its noise alone
JUMP = 2.0  # pixels of the level from which a frame has found another place
LEAST_CLEAR = 6  # frames of clear contrast; with fewer, the others tell of drift too
KNOWN_PX = 1.0  # standard error up to which a frame says something about drift
LEAST_EXCESS = 1e-3
JUDGED = 64  # frames, about, by which the number of spectra is judged
TELLING = 5.0  # standard errors by which one more spectrum must leave less of them ...
MOST_FRAMES = 0.75  # ... and share of them of which it leaves less
NEIGHBOURS = 15  # frames over which the misfit is taken together
OUTLYING = 4.5  # standard errors between image and drift from which drift is ignored
FOREIGN_SPECTRA = 4  # images of the others that may explain a frame
FOREIGN = 8.0  # spreads by which what is left must exceed that of other frames ...
FOREIGN_LEFT, FOREIGN_EXPLAINED = (
    0.5,
    0.5,
)  # ... and the noise; and the share explained that speaks against it


def powers(level: Level, offset: Array) -> Array:
    """Return the mean square (E,) of each frame over that of its noise, less 1."""
    found = np.empty(len(level))
    for e in range(len(level)):
        frame, there = level.frame(e, offset[e])
        found[e] = np.sum(frame**2, dtype=np.float64) / max(there.sum(), 1) - 1
    return found


def shows_sample(levels: dict[int, Level], state: State) -> bool:
    """Whether the used frames together have more power than their noise, at any binning."""
    for level in levels.values():
        n_values = max(float(level.seen.sum()) * state.used.sum(), 1.0)
        if powers(level, state.offset)[state.used].mean() > SURE * np.sqrt(2 / n_values):
            return True
    return False


def canvas_for(level: Level, state: State, extra_px: float = 1.0) -> Canvas:
    """Return a canvas that holds the frames at their shifts, and `extra_px` more."""
    return Canvas(level, np.abs(state.shifts).max(axis=0) + extra_px)


def coarse(level: Level, state: State, limit_px: Array) -> None:
    """Find shifts to about a pixel of the level, without knowing anything; changes `state`."""
    canvas = Canvas(level, limit_px)
    _first(level, canvas, state, limit_px)
    for _ in range(COARSE_ROUNDS):
        if search_all(level, canvas, state, limit_px) < SETTLED * level.binning:
            break


def _first(level: Level, canvas: Canvas, state: State, limit_px: Array) -> None:
    """Match all frames with single strong frames, and keep the one that explains most."""
    power = np.where(state.used, np.maximum(powers(level, state.offset), 0), 0)
    frames = np.flatnonzero(state.used)
    order = np.argsort(-power)
    strong = order[: max(1, int(np.sum(power > 0.5 * power.max())))]
    tried = {int(order[0]), *np.linspace(0, len(level) - 1, N_CANDIDATES).round().astype(int).tolist()}
    nearest = {int(strong[np.argmin(np.abs(strong - each))]) for each in tried}
    best = None
    for e in sorted({int(order[0]), *nearest}):
        alone = state.with_spectra(np.eye(len(level))[e : e + 1])
        template = add_up(level, canvas, alone)
        expected = np.sqrt(np.maximum(power, 1e-3 * power.max() + 1e-12))
        row = (expected / expected[e]).astype(np.float32)[None]
        template = replace(template, spectra=row, filters=np.zeros_like(template.filters))
        found = search(level, template, state, frames, limit_px=limit_px, free=True)
        # the root, and not the frame itself: neither may a frame unlike the others win
        score = float(np.sqrt(np.maximum(found.gain, 0))[frames != e].sum())
        if best is None or score > best[0]:
            best = score, found, row[0]
    assert best is not None
    _, found, row = best
    spectra = np.zeros((1, len(level)))
    spectra[0, frames] = found.amplitude * row[frames]
    if not spectra.any():  # no frame is like any other
        spectra[0] = expected * state.used
    state.spectra = spectra / np.linalg.norm(spectra)
    state.shifts[frames] = found.best
    state.vague[frames] = found.vague
    strongest = spectra[0] ** 2
    state.shifts = state.shifts - strongest @ state.shifts / strongest.sum()


def search_all(level: Level, canvas: Canvas, state: State, limit_px: Array) -> float:
    """Search all frames, of any contrast; return by how many pixels they moved (root mean square)."""
    frames = np.flatnonzero(state.used)
    template = add_up(level, canvas, state)
    found = search(level, template, state, frames, limit_px=limit_px, free=True)
    before = state.shifts.copy()
    share = 1 - np.minimum(state.leverage[frames], 0.5)[:, None]
    state.shifts[frames] += share * (found.best - state.shifts[frames])
    state.vague[frames] = found.vague
    spectrum = state.spectra[0].copy()
    spectrum[frames] *= np.clip(found.amplitude, -3, 3) * np.where(found.vague, 0.5, 1)
    if spectrum.any():  # some frame is like the model
        state.spectra = spectrum[None] / np.linalg.norm(spectrum)
    weight = state.spectra[0] ** 2
    state.shifts -= weight @ state.shifts
    return float(np.sqrt(weight @ np.sum((state.shifts - before) ** 2, axis=1)))


def improve(
    level: Level, spectral: Level, state: State, *, most: int, whiten: Whitening | None = None
) -> tuple[Refined, Template, float]:
    """Fit spectra, add up the model, and move every frame by one step; changes `state`.

    Parameters
    ----------
    level, spectral : Level
        Where shifts are refined, and where spectra are fitted.
    state : State
    most : int
        Largest number of spectra.
    whiten : Whitening, optional
        See `refine`.

    Returns
    -------
    refined : Refined
    template : Template
        From the shifts before the step.
    moved : float
        Root mean square of the steps in pixels, weighted by information.
    """
    small = canvas_for(spectral, state)
    model = add_up(spectral, small, state.with_spectra(state.spectra[:1]))
    state.spectra = fit_spectra(spectral, model, state, most=most)
    template = add_up(level, canvas_for(level, state), state)
    refined = refine(level, template, state, whiten=whiten)
    moved = take_step(state, refined, template.confusion)
    share_light(level, state)
    return refined, template, moved


def n_telling(level: Level, spectral: Level, state: State, most: int) -> tuple[int, float]:
    """Return how many spectra, 1 to `most`, tell most of each frame from all others, and what is left then.

    A spectrum of what other frames do not show (light that no field describes, a frame that lies wrong) adds
    to its own frames and takes from the others.  Then fewer spectra leave less, in the mean over the frames
    that the spectrum is not made of, or of most of them.  The state stays as it is.

    Returns
    -------
    n : int
    left : float
        Mean square of what is left of a frame, over its noise.
    """
    model = add_up(spectral, canvas_for(spectral, state), state.with_spectra(state.spectra[:1]))
    trial = state.with_spectra(fit_spectra(spectral, model, state, most=most))
    template = add_up(level, canvas_for(level, trial), trial)
    frames = np.flatnonzero(state.used)
    frames = frames[:: -(-len(frames) // JUDGED)]
    surely = TELLING * np.sqrt(2 / float(level.seen.sum() * len(frames)))
    before = left_over(level, template.first(1), trial, frames)
    for n in range(2, len(trial.spectra) + 1):
        left = left_over(level, template.first(n), trial, frames)
        own = template.spectra[n - 1, frames] ** 2
        others = 1 - own / own.max()
        better = others @ left < others @ before * (1 - surely)
        if not better or np.mean(left < before) < MOST_FRAMES:
            return n - 1, float(before.mean())
        before = left
    return len(trial.spectra), float(before.mean())


def share_light(level: Level, state: State) -> None:
    """Give to the sample what it may be of the light, and measure how strong the rest is; changes `state`."""
    n_fields = state.offset.shape[1]
    if n_fields == 1:
        return
    turns, back = (in_sample(way * state.shifts, level.full, n_fields) for way in (1, -1))
    over_noise = state.offset / level.noise[:, None]
    state.offset = without_sample(over_noise, state.spectra, turns, back) * level.noise[:, None]
    spread = float(np.sqrt(np.mean(state.offset[state.used, 1:] ** 2)))
    state.light_sigma = max(spread, LEAST_SIGMA)


def settle(level: Level, spectral: Level, state: State, *, most: int, whiten: Whitening | None) -> bool:
    """Move all frames together with images and spectra; changes `state`, and returns whether it does.

    It does not where residuals are not white, nor far less coloured than before, under `whiten`: then the
    model is wrong, and least squares follow its errors.  Nor where too little tells motion from chemistry, so
    that errors would be larger than those of shifts that leave no slope of the first image in the others.
    """
    trial = state.duplicate()
    model = add_up(spectral, canvas_for(spectral, trial), trial.with_spectra(trial.spectra[:1]))
    trial.spectra = fit_spectra(spectral, model, trial, most=most)
    known = trial.used & ~trial.vague & (trial.own_sigma.max(axis=1) < KNOWN_PX)
    if known.sum() < 2 + len(trial.spectra):
        return False
    joint, canvas = _together(level, trial, known)
    left = Whitening.of(canvas, joint.power)
    if left is not None and (whiten is None or left.colour > LESS_COLOUR * whiten.colour):
        return False
    template = add_up(level, canvas_for(level, trial), trial, apart=False)
    refined = refine(level, template, trial)
    own, misfit = trial.shifts[known].copy(), misfit_of(refined, trial.used)
    covariance = joint.covariance[known] * misfit[known, None, None]
    covariance += joint.steps[known, :, None] ** 2 * np.eye(2)  # what has not settled
    before, after = (np.trace(each, axis1=1, axis2=2) for each in (state.own_covariance[known], covariance))
    if np.mean(after / before) > WORSE:
        return False
    take_step(trial, refined, template.confusion)
    trial.own_shifts[known], trial.own_covariance[known] = own, covariance
    combine(trial)
    trial.centre()
    vars(state).update(vars(trial))
    return True


def _together(level: Level, state: State, known: NDArray[np.bool_]) -> tuple[Joint, Canvas]:
    """Repeat steps of the known frames until small; changes `state`; return the last, and its canvas."""
    last = np.inf
    for _ in range(JOINT_ROUNDS):
        canvas = canvas_for(level, state)
        joint = joint_step(level, add_up(level, canvas, state, apart=False), state, known)
        size = rms_over(joint.steps, joint.covariance, known)
        if last < 1 and size > last:  # more would follow what the model does not hold
            break
        last = size
        largest = max(1.0, float(np.abs(joint.steps[known]).max()))
        state.shifts[known] += joint.steps[known] / largest
        state.offset[known] += joint.offset[known]
        state.spectra = joint.spectra
        if size < JOINT_SETTLED:
            break
    return joint, canvas


def rms_over(steps: Array, covariance: Array, frames: NDArray[np.bool_]) -> float:
    """Return the root mean square of the steps of some frames over their errors."""
    variance = np.maximum(np.diagonal(covariance[frames], axis1=1, axis2=2), np.finfo(float).tiny)
    return float(np.sqrt(np.mean(steps[frames] ** 2 / variance)))


def take_step(state: State, refined: Refined, confusion: Array) -> float:
    """Take the steps of a regression, with the prior of drift; changes `state`; return how far frames moved.

    What chemistry looks like as a shift, `confusion` (E, 2) in pixels, may be either.  It adds to the error.
    """
    before = state.shifts.copy()
    n_y_share = 1 - np.minimum(state.leverage, 0.5)[:, None]
    sharp = ~state.vague
    state.misfit = misfit_of(refined, state.used)
    own = state.shifts + n_y_share * refined.steps
    state.own_shifts = np.where(sharp[:, None], own, state.own_shifts)
    state.own_covariance = refined.covariance * state.misfit[:, None, None]
    state.own_covariance += confusion[:, :, None] ** 2 * np.eye(2)
    spread = np.trace(state.searched, axis1=1, axis2=2) > np.trace(state.own_covariance, axis1=1, axis2=2)
    faint = (refined.clarity < CLEAR) & spread  # a place nearby is nearly as likely
    state.own_covariance[faint] = state.searched[faint]
    state.excess = np.maximum(refined.excess, 1.0)
    state.explained = refined.explained
    state.clarity = refined.clarity
    state.offset = state.offset + refined.offset
    combine(state)
    state.centre()
    known = state.used & sharp & (state.own_sigma.max(axis=1) < KNOWN_PX) & (state.clarity > CLEAR)
    if known.sum() < LEAST_CLEAR:
        known = state.used & sharp & (state.own_sigma.max(axis=1) < KNOWN_PX)
    state.prior = drift_prior(state.own_shifts, state.own_sigma, known)
    weight = state.information * sharp
    moved = np.sum((state.shifts - before) ** 2, axis=1)
    return float(np.sqrt(weight @ moved / max(weight.sum(), 1e-30)))


def misfit_of(refined: Refined, used: NDArray[np.bool_]) -> Array:
    """Return the variance of a shift over that by white noise (E,), the median of neighbours.

    It is at least 1, or what is left of the frame where that is less than its noise was taken for.
    """
    scatter = np.where(used, refined.scatter, np.nan)
    half = NEIGHBOURS // 2
    padded = np.pad(scatter, half, constant_values=np.nan)
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    filled = np.where(np.isnan(near).all(axis=1)[:, None], 1.0, near)
    floor = np.clip(refined.excess, LEAST_EXCESS, 1.0)
    return np.asarray(np.maximum(np.nanmedian(filled, axis=1), floor), np.float64)


def combine(state: State) -> None:
    """Set the shifts of sharp frames from image and drift together; changes `state`."""
    precision = np.linalg.inv(state.own_covariance + 1e-12 * np.eye(2))
    apart = state.own_shifts - state.prior.mean_px
    allowed = OUTLYING * np.sqrt(state.prior.sigma_px**2 + state.own_sigma**2)
    follows = np.all((np.abs(apart) <= allowed) & np.isfinite(state.prior.sigma_px), axis=1)
    by_drift = np.where(np.reshape(follows, (-1, 1)), state.prior.precision, 0)
    total = precision + by_drift[:, :, None] * np.eye(2)
    pull = np.einsum("eij,ej->ei", precision, state.own_shifts) + by_drift * state.prior.mean_px
    covariance = np.linalg.inv(total)
    sharp = ~state.vague
    state.covariance[sharp] = covariance[sharp]
    state.shifts[sharp] = np.einsum("eij,ej->ei", covariance, pull)[sharp]
    outside = ~state.used & np.isfinite(state.prior.sigma_px).all(axis=1)
    state.shifts[outside] = state.prior.mean_px[outside]
    state.covariance[outside] = state.prior.sigma_px[outside, :, None] ** 2 * np.eye(2)


def seek_vague(level: Level, state: State, limit_px: Array) -> None:
    """Search frames whose image says little over the whole range, with the prior; changes `state`."""
    weak = (state.own_sigma.max(axis=1) > WEAK_PX) | state.vague | (state.clarity < CLEAR)
    frames = np.flatnonzero(state.used & weak)
    if len(frames):
        _replace_shifts(level, state, frames, limit_px)


def seek_again(level: Level, state: State, limit_px: Array) -> int:
    """Search the frames with a clear shift again, with the model that all make together; changes `state`.

    A periodic sample matches at several places, and the first model may hold them all.  Return how many
    frames found a better place.
    """
    frames = np.flatnonzero(state.used & ~state.vague)
    if not len(frames):
        return 0
    template = add_up(level, Canvas(level, limit_px), state)
    found = search(level, template, state, frames, limit_px=limit_px)
    jumps = (np.abs(found.best - state.shifts[frames]) > JUMP * level.binning).any(axis=1) & ~found.vague
    state.shifts[frames[jumps]] = found.best[jumps]
    state.own_shifts[frames[jumps]] = found.best[jumps]
    state.centre()
    return int(jumps.sum())


def _replace_shifts(level: Level, state: State, frames: NDArray[np.intp], limit_px: Array) -> None:
    """Search some frames over the whole range, and place them where they are found; changes `state`."""
    template = add_up(level, Canvas(level, limit_px), state)
    found = search(level, template, state, frames, limit_px=limit_px)
    state.vague[frames] = found.vague
    where = np.where(found.vague[:, None], found.mean, found.best)
    state.shifts[frames] = where
    state.own_shifts[frames] = where
    state.covariance[frames] = found.covariance
    state.searched[frames] = found.covariance - np.eye(2) * level.binning**2 / 12
    state.centre()


def find_foreign(level: Level, state: State) -> NDArray[np.bool_]:
    """Return the used frames (E,) that hold something else.

    Far more is left of them than of the others, and a few images of all others do not explain them.
    """
    left = state.excess - 1
    middle = np.median(left[state.used])
    spread = 1.4826 * np.median(np.abs(left[state.used] - middle)) + 0.02
    odd = state.used & (left > middle + FOREIGN * spread) & (left > FOREIGN_LEFT)
    odd &= state.explained < FOREIGN_EXPLAINED
    frames = np.flatnonzero(odd)
    if len(frames):
        template = add_up(level, canvas_for(level, state), state.with_spectra(state.spectra[:1]))
        shares = explained_by_others(level, template, state, frames, most=FOREIGN_SPECTRA)
        odd[frames] = shares < FOREIGN_EXPLAINED
    return np.asarray(odd, bool)
