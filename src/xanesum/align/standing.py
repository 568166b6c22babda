"""Structure that stands still on the detector: dust, a beam stop, what a flat left over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xanesum.align import stages
from xanesum.align.frames import Level
from xanesum.align.refine import Refined, refine
from xanesum.align.spectra import fit_spectra
from xanesum.align.state import State
from xanesum.align.template import BORDER, add_up
from xanesum.linalg.binning import block_sums

__all__ = ["begin", "with_mask"]

Array = NDArray[np.float64]
Levels = dict[int, Level]

ROUNDS = 3  # of regression at the level of the spectra
SEARCH_ROUNDS = 4  # of a search of all frames with the model that they make together, at most
SPECTRA = 3  # with which shifts are compared, at most
MOVES_PX = 1.0  # root mean square of the shifts from which the sample surely moves
STANDING = 6.0  # standard errors of what stands still on the detector
STRONGEST = 0.15  # of the strongest: weaker is perhaps what the strongest left in the model
MASK_ROUNDS = 3  # of search for what stands still; the strongest hides the rest
MOST_STANDING = 0.2  # of the pixels
MOST_LEFT = 0.5  # of the pixels that frames are compared at
BETTER = 5.0  # standard errors by which less must be left than by the shifts that are found first


def begin(levels: Levels, spectral: int, state: State, limit_px: Array) -> tuple[Levels, State]:
    """Find shifts to a part of a pixel of the level of the spectra, and mask what stands still.

    The search is made twice where it may matter: with the frames as they are, and less their mean on the
    detector, in which structure that stands still is gone.  Each time, what is left at fixed pixels of the
    detector is masked.  The shifts count that leave least, or rest, if it leaves less than they do.

    Parameters
    ----------
    levels : dict of int to Level
        By binning.
    spectral : int
        Binning at which spectra are fitted.
    state : State
        At rest; it is not changed.
    limit_px : ndarray, shape (2,)
        Largest shift.

    Returns
    -------
    levels : dict of int to Level
        With pixels masked.
    state : State
    """
    rest = state.duplicate()
    rest.vague[:] = False
    first = _searched(levels, spectral, state, limit_px, levels)
    shifts = first[1].shifts[first[1].used & ~first[1].vague]
    tried = [(first[0], first[1])]
    if not len(shifts) or np.sqrt(np.mean(shifts**2)) < MOVES_PX or first[2] is not None:
        second = _searched(levels, spectral, state, limit_px, _without_mean(levels, spectral, state))
        if second[2] is not None:
            tried.append((second[0], second[1]))
    tried.append((levels, rest))
    common = np.logical_and.reduce([each[spectral].seen for each, _ in tried])
    judged = replace(levels[spectral], seen=common)
    surely = BETTER * np.sqrt(2 / float(common.sum() * state.used.sum()))
    chosen, least = tried[0], _excess(judged, tried[0][1])
    for each in tried[1:]:
        excess = _excess(judged, each[1])
        if least - excess > surely * excess:
            chosen, least = each, excess
    return chosen


def _searched(
    levels: Levels, spectral: int, state: State, limit_px: Array, for_search: Levels
) -> tuple[Levels, State, NDArray[np.bool_] | None]:
    """Return levels with their mask, the state after search and regression, and the mask or None."""
    state = state.duplicate()
    coarsest, level = max(levels), levels[spectral]
    stages.coarse(for_search[coarsest], state, limit_px)
    if coarsest > spectral:
        canvas = stages.canvas_for(for_search[spectral], state, float(limit_px.max()))
        stages.search_all(for_search[spectral], canvas, state, limit_px)
    state.vague[:] = False
    if for_search is levels:
        stages.improve(level, level, state, most=1)
        stages.seek_vague(level, state, limit_px)
        standing = _regressed(level, state)
        for _ in range(SEARCH_ROUNDS):
            if not stages.seek_again(level, state, limit_px):
                break
            standing = _regressed(level, state, rounds=1)
    else:
        _regressed(for_search[spectral], state)
        standing = _compared(level, state)
    mask: NDArray[np.bool_] | None = None
    for _ in range(MASK_ROUNDS):
        if (more := standing_mask(levels[spectral], standing)) is None:
            break
        together = more if mask is None else mask | more
        if not _leaves_enough(levels[spectral].seen, together):
            break
        mask = together
        levels = with_mask(levels, mask, spectral)
        standing = _regressed(levels[spectral], state)
    return levels, state, mask


def _compared(level: Level, state: State) -> Refined:
    """Return what is left of the frames at shifts that stay as they are, with a spectrum that fits them."""
    for _ in range(ROUNDS):
        template = add_up(level, stages.canvas_for(level, state), state.with_spectra(state.spectra[:1]))
        state.spectra = fit_spectra(level, template, state, most=1)
    template = add_up(level, stages.canvas_for(level, state), state)
    return refine(level, template, state)


def _regressed(level: Level, state: State, rounds: int = ROUNDS) -> Refined:
    """Refine the shifts at one level with one spectrum; changes `state`; return the last step."""
    for _ in range(rounds):
        refined = stages.improve(level, level, state, most=1)[0]
    return refined


def _excess(level: Level, state: State) -> float:
    """Return the mean square of what is left over, in units of the noise, with as many spectra as tell most.

    With one spectrum, chemistry may look like motion.  The state stays as it is.
    """
    trial = state.with_spectra(state.spectra)
    _compared(level, trial)
    return stages.n_telling(level, level, trial, SPECTRA)[1]


def _without_mean(levels: Levels, spectral: int, state: State) -> Levels:
    """Return the levels less the mean of the used frames at each pixel of the detector."""
    out = {}
    for binning, level in levels.items():
        if binning < spectral:
            continue  # a search never needs it
        centred = np.stack(
            [
                frame - level.light(each) - level.pattern
                for frame, each in zip(level.values, state.offset, strict=True)
            ]
        )
        n = np.sum(np.isfinite(centred[state.used]), axis=0)
        mean = np.nansum(centred[state.used], axis=0) / np.maximum(n, 1)
        out[binning] = replace(level, values=level.values - mean.astype(np.float32))
    return out


def standing_mask(level: Level, refined: Refined) -> NDArray[np.bool_] | None:
    """Return the pixels (Y, X) where something stands still while the sample moves, or None."""
    spread = max(1.0, 1.4826 * float(np.median(np.abs(refined.standing[level.seen]))))
    size = np.where(level.seen, np.abs(refined.standing), 0)
    found = size > max(STANDING * spread, STRONGEST * float(size.max()))
    found = ndimage.binary_dilation(found) & level.seen
    if not found.any() or found.sum() > MOST_STANDING * level.seen.sum():
        return None
    return np.asarray(found)


def _leaves_enough(seen: NDArray[np.bool_], mask: NDArray[np.bool_]) -> bool:
    """Whether most pixels (Y, X) away from borders and holes are still away from them beside a mask."""
    before, after = (
        int(ndimage.binary_erosion(each, iterations=BORDER).sum()) for each in (seen, seen & ~mask)
    )
    return after >= MOST_LEFT * before


def with_mask(levels: Levels, mask: NDArray[np.bool_], binning: int) -> Levels:
    """Return the levels without the pixels of a mask (Y, X), given at one binning."""
    out = {}
    for b, level in levels.items():
        if b >= binning:
            coarse = block_sums(mask.astype(np.float32), b // binning) > 0
            hidden = coarse[: level.shape[0], : level.shape[1]]
        else:
            fine = np.repeat(np.repeat(mask, binning // b, 0), binning // b, 1)
            hidden = np.zeros(level.shape, bool)
            hidden[: fine.shape[0], : fine.shape[1]] = fine[: level.shape[0], : level.shape[1]]
        out[b] = replace(level, seen=level.seen & ~hidden)
    return out
