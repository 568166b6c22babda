"""Estimate how the sample moved from frame to frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.align import stages
from xanesum.align.evidence import p_value_of_rest
from xanesum.align.frames import NOTHING, Image, Level, binned, noise_of_frames
from xanesum.align.growth import MAGNIFICATIONS, fitted_growth, undo_magnification, zone_plate_law
from xanesum.align.light import N_FIELDS
from xanesum.align.pattern import Pattern, at_rest, beside_motion
from xanesum.align.refine import FINE, Whitening, refine
from xanesum.align.shifts import ALIGNED, BY_CHANCE, BY_DRIFT, LEFT_OUT, Shifts
from xanesum.align.standing import begin
from xanesum.align.state import State
from xanesum.align.template import Template, add_up
from xanesum.errors import RecipeError, StackError
from xanesum.stack import check_stack, usable_mask, usable_weight

__all__ = ["estimate_shifts"]

Array = NDArray[np.float64]
Progress = Callable[[str, float], None]

LARGEST_SHARE = 0.25  # of the field that shifts are sought over, either way
COARSEST, LEAST_PIXELS = 8, 24  # binning of the first search, and pixels of a frame that it must leave
SMALLEST_PX = 16  # of a frame
SPECTRAL, SPECTRAL_PIXELS = 4, 4000  # largest binning at which spectra are fitted, and pixels it must leave
SPECTRA, MOST_SPECTRA = 3, 5  # of the model, at most; and at the end, when shifts are known
ROUNDS = {4: 3, 2: 3, 1: 1}  # of regression at each binning, if shifts settle
MOST_ROUNDS = 6  # if they do not, beside light that drifts
NOTHING_LEFT = 1.05  # mean square over the noise up to which only noise is left
LAST_MOVE = 0.2  # of the error of the best frames by which shifts still move when a level is done
FINE_SHARE = 0.01  # of the information near the highest frequencies of a level, from which a finer one counts
NEAR_HIGHEST = 0.35  # cycles per pixel of a level
AFRESH = 3  # rounds of search and regression after frames were left out
GROWTH_ROUNDS = 2
QUIETEST = 0.1  # share of the frames that are the quietest
NOISIER = 1.1  # times their noise, from which other frames may hold texture
LEAST_THERE = 0.5  # of the values of a frame
FEW_FRAMES = 8  # for which halves of the field are compared
MANY_FRAMES = 10  # from which the mean frame hardly shows what a single frame does
MOVES_PX = 0.5  # of the sample, from which the noise of a flat shows beside it
SMALL_SHARE = 0.05  # of the field
HEAVY = 1.0  # power of a flat's noise in the sum of all frames, over that of theirs, from which it matters
PATTERN_ROUNDS, PATTERN_SETTLED = 4, 0.3  # at most; and errors by which shifts still move when they are done
WEAK_PX = 1.0  # standard error from which a frame counts as placed by drift


def estimate_shifts(
    stack: xr.DataArray,
    *,
    max_shift: float | None = None,
    magnification: str = "none",
    progress: Progress | None = None,
) -> Shifts:
    """Estimate the shift of every frame against what all other frames expect of it.

    The scan is its own template.  A model of a few spectra and images is added up from all frames,
    filtered against noise, and for each frame its own share is taken out (leave-one-out).  It has as many
    spectra as tell most of a frame from the others, three at most.  Shifts are sought
    over the whole range at a coarse binning, then refined by regression at finer ones.  At the end, shifts
    and at most five spectra are fitted together.  Frames that show too little are placed by the drift of the
    others, with an error that says so.  Structure that stands still on the detector is left out, and so are
    frames that hold something else.  Where frames were divided by a flat, its noise and light that drifts are
    told from the sample.  Of up to eight frames, errors are as large as the spread between halves of the
    field.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Optical density; NaN, and pixels and frames without weight, do not count.
    max_shift : float, optional
        Largest shift in pixels along y and x, from the mean; a quarter of the field by default.
    magnification : {"none", "fit", "energy"}
        Whether the image also grows: not; linear in energy, with one number that is fitted; or by the law of
        a zone plate, in proportion to one over the energy.
    progress : callable, optional
        Called with the name of the step and the share that is done.

    Returns
    -------
    Shifts

    Raises
    ------
    StackError
        If the stack has fewer than two usable frames, is too small, or holds counts.
    RecipeError
        If `max_shift` or `magnification` is impossible.
    """
    say = progress or _quiet
    scan = _Scan.of(stack, max_shift, magnification)
    shifts = _estimated(scan, say)
    if len(stack) <= FEW_FRAMES:
        return _with_spread(shifts, stack, max_shift, magnification)
    return shifts


def _with_spread(shifts: Shifts, stack: xr.DataArray, max_shift: float | None, magnification: str) -> Shifts:
    """Return the shifts of few frames with errors as large as the spread of those of halves of the field.

    Few frames make no model of the chemistry.  What changes between them then counts as motion, over regions
    that are larger than any in which the rest of the fit could show it.
    """
    middle = [size // 2 for size in stack.shape[1:]]
    if min(middle) < SMALLEST_PX:
        return shifts
    halves = [
        stack[:, : middle[0]],
        stack[:, middle[0] :],
        stack[:, :, : middle[1]],
        stack[:, :, middle[1] :],
    ]
    apart = []
    for half in halves:
        try:
            found = _estimated(_Scan.of(half, max_shift, magnification), _quiet)
        except StackError:  # nothing usable there
            continue
        apart.append(found.shifts_px - shifts.shifts_px)
    if not apart:
        return shifts
    difference = np.array(apart)
    difference -= difference.mean(axis=1, keepdims=True)  # a common shift of all frames is none
    spread = np.einsum("hei,hej->eij", difference, difference) / 2  # of the mean of two halves, both ways
    return replace(shifts, covariance_px2=shifts.covariance_px2 + spread)


def _estimated(scan: _Scan, say: Progress) -> Shifts:
    """Return the shifts of a scan."""
    if not stages.shows_sample(scan.levels, scan.state):
        scan.take_texture_for_sample()
    if not stages.shows_sample(scan.levels, scan.state):
        scan.reasons = [reason or "no frame shows a sample" for reason in scan.reasons]
        return _shifts(scan, 1.0)
    say("coarse search", 0.0)
    pattern = at_rest(scan.levels[1], scan.state) if scan.one_flat else None
    if pattern is not None and pattern.weight > HEAVY:
        scan.take_away(pattern)
    scan.levels, scan.state = begin(scan.levels, scan.spectral, scan.state, scan.limit_px)
    _leave_out_foreign(scan)
    say("refinement", 0.2)
    if scan.magnification == "fit" and len(scan.levels) > 1:
        _refine(scan, [b for b in scan.levels if 1 < b <= scan.spectral], together=False)
        _fit_growth(scan)
    finer = [b for b in scan.levels if b <= scan.spectral]
    _refine(scan, finer)
    say("evidence of motion", 0.7)
    p_still = _p_still(scan)
    if pattern is not None and pattern.weight > HEAVY and _moves_little(scan, p_still):
        _tell_pattern(scan, pattern, finer, say)
        p_still = _p_still(scan)
    say("done", 1.0)
    return _shifts(scan, p_still)


def _p_still(scan: _Scan) -> float:
    """Return the probability of as much motion as seen, if the sample stands still."""
    return p_value_of_rest(scan.levels[min(FINE, scan.spectral)], scan.levels[scan.spectral], scan.state)


def _tell_pattern(scan: _Scan, pattern: Pattern, binnings: list[int], say: Progress) -> None:
    """Tell the noise of the flat from a sample that moves, and refine the shifts, until they settle."""
    state = scan.state
    for turn in range(PATTERN_ROUNDS):
        say("noise of the flat", 0.75 + 0.05 * turn)
        before = state.shifts.copy()
        pattern = beside_motion(pattern, replace(scan.levels[1], pattern=NOTHING), state)
        scan.take_away(pattern)
        _refine(scan, binnings)
        moved = np.abs(state.shifts - before) / state.own_sigma
        if np.quantile(moved[state.used], 0.9) < PATTERN_SETTLED:
            return


def _moves_little(scan: _Scan, p_still: float) -> bool:
    """Whether the sample moves, but by little of the field.

    Beside one that stands still, nothing tells a pattern from a sample that is the same in all frames.
    """
    sharp = scan.state.shifts[scan.state.used & ~scan.state.vague]
    if not len(sharp):
        return False
    small = np.abs(sharp).max(axis=0) < SMALL_SHARE * np.array(scan.levels[1].shape)
    return bool(small.all()) and (p_still < BY_CHANCE or float(np.sqrt(np.mean(sharp**2))) > MOVES_PX)


def _quiet(step: str, share: float) -> None:
    """Report nothing."""


def _leave_out_foreign(scan: _Scan) -> None:
    """Leave out frames that hold something else, and name them."""
    foreign = stages.find_foreign(scan.levels[scan.spectral], scan.state)
    if not foreign.any() or (scan.state.used & ~foreign).sum() < 2:
        return
    scan.state.used = scan.state.used & ~foreign
    for e in np.flatnonzero(foreign):
        scan.reasons[e] = "it holds something else than the other frames"
    scan.state.spectra = np.where(scan.state.used, scan.state.spectra, 0)
    level = scan.levels[scan.spectral]
    for _ in range(AFRESH):  # what they did to the others' shifts must not become a spectrum
        stages.improve(level, level, scan.state, most=1)
        stages.seek_again(level, scan.state, scan.limit_px)


def _refine(scan: _Scan, binnings: list[int], *, together: bool = True) -> None:
    """Refine shifts from coarse to fine, as long as a finer level knows more."""
    state, spectral = scan.state, scan.levels[scan.spectral]
    whiten: Whitening | None = None
    template: Template | None = None
    binnings = [b for b in binnings if b < scan.spectral or b == min(binnings)]  # the coarser ones are done
    for b in sorted(binnings, reverse=True):
        if b == 1 and template is not None and not _needs_finer(template, whiten):
            break
        level = scan.levels[b]
        if b == max(binnings):
            whiten, template = _first_rounds(scan, level)
            continue
        most = stages.n_telling(level, spectral, state, SPECTRA)[0] if b <= FINE else 1
        whiten, template = _rounds(scan, level, most, whiten)
    if together and template is not None:
        level = scan.levels[template.canvas.binning]
        chemistry = stages.n_telling(level, spectral, state, SPECTRA)[0] > 1
        stages.settle(level, spectral, state, most=MOST_SPECTRA if chemistry else 1, whiten=whiten)


def _first_rounds(scan: _Scan, level: Level) -> tuple[Whitening | None, Template]:
    """Repeat regressions at the first level, with one spectrum and, if more tell more, with these.

    With one, frames of another chemistry may be lost.  With more, what lies wrong may pass for chemistry.
    The shifts count that leave least.  Where more leave nothing but noise, nothing lies wrong.
    """
    spectral, most = scan.levels[scan.spectral], SPECTRA if level.binning <= FINE else 1
    begun, found = scan.state, []
    n, left = stages.n_telling(level, spectral, begun, most)
    for n_first in sorted({1, n} if left > NOTHING_LEFT else {n}):
        scan.state = begun.duplicate()
        whiten, template = _rounds(scan, level, n_first, None, seeks=True)
        n, left = stages.n_telling(level, spectral, scan.state, most)
        if n > n_first:
            whiten, template = _rounds(scan, level, n, whiten)
            n, left = stages.n_telling(level, spectral, scan.state, most)
        found.append((left, scan.state, whiten, template))
    _, best, whiten, template = min(found, key=lambda each: each[0])
    vars(begun).update(vars(best))
    scan.state = begun
    return whiten, template


def _rounds(
    scan: _Scan, level: Level, most: int, whiten: Whitening | None, *, seeks: bool = False
) -> tuple[Whitening | None, Template]:
    """Repeat regressions at one level until shifts settle; return the filter of what is left, and the model.

    Frames whose image says little are searched again in the first two rounds if it `seeks`.
    """
    state, spectral, b = scan.state, scan.levels[scan.spectral], level.binning
    turn, settles = -1, state.offset.shape[1] == 1
    while (turn := turn + 1) < (ROUNDS[b] + (whiten is not None) if settles else MOST_ROUNDS):
        refined, template, moved = stages.improve(level, spectral, state, most=most, whiten=whiten)
        if seeks and turn < 2:
            stages.seek_vague(level, state, scan.limit_px)
        before = whiten
        if b <= FINE and turn > 0:
            whiten = Whitening.of(template.canvas, refined.power)
        best = float(np.quantile(state.own_sigma[state.used], 0.1))
        settles = settles or moved < best
        if turn > 0 and moved < LAST_MOVE * best and (before is None) == (whiten is None):
            break
        if b > 1 and turn > 0 and moved < best:
            break
    return whiten, template


def _needs_finer(template: Template, whiten: Whitening | None) -> bool:
    """Whether frequencies near the highest of a level tell of the shift: then still higher ones do too."""
    canvas = template.canvas
    told = canvas.radius**2 * np.sum(np.abs(template.coefficients) ** 2, axis=0) * canvas.pairs
    if whiten is not None:
        told = told * whiten.on(canvas) ** 2
    return bool(told[canvas.radius > NEAR_HIGHEST].sum() > FINE_SHARE * told.sum())


def _fit_growth(scan: _Scan) -> None:
    """Fit a growth that is linear in energy, and take it out of the frames."""
    for _ in range(GROWTH_ROUNDS):
        level = scan.levels[2]
        template = add_up(level, stages.canvas_for(level, scan.state), scan.state)
        refined = refine(level, template, scan.state, magnified=True)
        growth, _ = fitted_growth(scan.energy_ev, refined, scan.state.used)
        x = (scan.energy_ev - scan.energy_ev[0]) / np.ptp(scan.energy_ev) - 0.5
        law = scan.growth * (1 + growth * x)
        scan.growth = law
        values = undo_magnification(scan.raw, law)
        scan.levels = _levels(values, scan.levels[1].seen, scan.levels[1].noise)
        _refine(scan, [2], together=False)


def _shifts(scan: _Scan, p_still: float) -> Shifts:
    """Return the result, in the coordinates of the frames as they were measured."""
    state = scan.state
    own = state.own_sigma.max(axis=1)
    weak = state.vague | (own > WEAK_PX)
    flag = np.where(state.used, np.where(weak, BY_DRIFT, ALIGNED), LEFT_OUT)
    reasons = tuple(
        reason or (f"its image alone gives the shift to {error:.1f} px" if low else "")
        for reason, low, error in zip(scan.reasons, weak, np.minimum(own, scan.limit_px.max()), strict=True)
    )
    covariance = state.covariance.copy()
    unknown = ~np.isfinite(covariance).all(axis=(1, 2)) | (np.trace(covariance, axis1=1, axis2=2) > 1e3)
    covariance[unknown] = np.diag(scan.limit_px**2 / 3)
    precision = np.where(state.used, 1 / np.trace(covariance, axis1=1, axis2=2), 0)
    shifts = state.shifts * scan.growth[:, None]
    shifts = shifts - precision @ shifts / precision.sum()
    return Shifts(scan.energy_ev, shifts, covariance, flag, reasons, len(state.spectra), scan.growth, p_still)


@dataclass(eq=False)
class _Scan:
    """The input, checked."""

    energy_ev: Array
    limit_px: Array  # (2,)
    levels: dict[int, Level]
    state: State
    reasons: list[str]  # (E,) why a frame is left out
    raw: Image  # (E, Y, X) as measured
    growth: Array  # (E,) magnification that the levels no longer have
    magnification: str = "none"
    one_flat: bool = False  # whether all frames were divided by one flat, and are many

    @property
    def spectral(self) -> int:
        """Binning at which spectra are fitted."""
        enough = [b for b, level in self.levels.items() if np.prod(level.shape) >= SPECTRAL_PIXELS]
        return min(SPECTRAL, max(enough, default=1))

    def take_texture_for_sample(self) -> None:
        """Take the noise of all frames for that of the quietest ones, and what others have beyond for sample.

        Texture of single pixels is like noise within a frame, so that a frame with more of it seems noisier.
        """
        noise = self.levels[1].noise
        least, most = np.quantile(noise[self.state.used], [QUIETEST, 1 - QUIETEST])
        if most < NOISIER * least:
            return
        ratio = np.minimum(least / noise, 1)
        self.levels = {b: replace(level, noise=level.noise * ratio) for b, level in self.levels.items()}
        self.state.spectra = _contrast(self.levels[max(self.levels)], self.state.offset, self.state.used)

    def take_away(self, pattern: Pattern) -> None:
        """Take a pattern away that stands still on the detector, in place of the one before."""
        self.levels = {b: level.less(pattern.values) for b, level in self.levels.items()}

    @classmethod
    def of(cls, stack: xr.DataArray, max_shift: float | None, magnification: str) -> _Scan:
        check_stack(stack, min_energies=2)
        quantity = stack.attrs["quantity"]
        if quantity in ("counts", "transmission"):
            raise StackError(
                f"expected optical density, got {quantity}; convert it first, in xanesum.preprocess.prepare, "
                "since flats belong to the detector and not to the sample"
            )
        if magnification not in MAGNIFICATIONS:
            raise RecipeError(
                f"magnification must be one of {', '.join(MAGNIFICATIONS)}, got {magnification!r}",
                parameter="magnification",
            )
        shape = np.array(stack.shape[1:])
        if shape.min() < SMALLEST_PX:
            raise StackError(
                f"frames must have at least {SMALLEST_PX} pixels each way, got {stack.shape[1:]}"
            )
        limit = np.minimum(shape * LARGEST_SHARE if max_shift is None else max_shift, 0.45 * shape)
        if not (np.isfinite(limit).all() and limit.min() >= 1):
            raise RecipeError(f"max_shift must be at least 1 pixel, got {max_shift}", parameter="max_shift")
        raw = np.asarray(stack.values, np.float32)
        energy_ev = np.asarray(stack.energy.values, np.float64)
        growth = zone_plate_law(energy_ev) if magnification == "energy" else np.ones(len(energy_ev))
        values = undo_magnification(raw, growth) if magnification == "energy" else raw
        by_flat = bool(stack.attrs.get("flat_field", False))
        n_fields = N_FIELDS if by_flat else 1
        levels, state, reasons = _prepared(values, usable_mask(stack), usable_weight(stack), n_fields)
        one_flat = by_flat and len(raw) >= MANY_FRAMES and magnification == "none"
        return cls(energy_ev, limit, levels, state, reasons, raw, growth, magnification, one_flat)


def _prepared(
    values: Image, mask: NDArray[np.bool_], weight: NDArray[np.bool_], n_fields: int
) -> tuple[dict[int, Level], State, list[str]]:
    """Return the levels, the state at rest, and why frames are left out."""
    n_mask = max(int(mask.sum()), 1)
    there = np.array([np.count_nonzero(np.isfinite(frame) & mask) / n_mask for frame in values])
    used = weight & (there >= LEAST_THERE)
    if used.sum() < 2:
        raise StackError(f"alignment needs at least 2 frames with values, the stack has {int(used.sum())}")
    reasons = [
        "" if ok else "its weight is 0" if not w else "more than half of its values are missing"
        for ok, w in zip(used, weight, strict=True)
    ]
    levels = _levels(values, mask, noise_of_frames(values, mask))
    small = levels[max(levels)]
    offset = np.zeros((len(values), n_fields))
    for e in np.flatnonzero(used):
        there = small.seen & np.isfinite(small.values[e])
        offset[e, 0] = small.values[e][there].mean()
    return levels, State.at_rest(offset, used, _contrast(small, offset, used)), reasons


def _contrast(level: Level, offset: Array, used: NDArray[np.bool_]) -> Array:
    """Return a first spectrum (1, E), of norm 1: how far each frame's power exceeds that of its noise."""
    spectrum = np.sqrt(np.maximum(stages.powers(level, offset), 0) + 1e-6) * used
    return np.asarray(spectrum[None] / np.linalg.norm(spectrum))


def _levels(values: Image, seen: NDArray[np.bool_], noise: Array) -> dict[int, Level]:
    """Return the frames at all binnings, finest first."""
    complete = bool(all((np.isfinite(frame) | ~seen).all() for frame in values))
    levels = {1: Level(values, seen, noise, 1, complete, (values.shape[1], values.shape[2]))}
    while 2 * max(levels) <= COARSEST and min(values.shape[1:]) // (2 * max(levels)) >= LEAST_PIXELS:
        levels[2 * max(levels)] = binned(levels[max(levels)], 2)
    return levels
