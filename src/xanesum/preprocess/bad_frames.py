"""Frames that were illuminated differently from their neighbours."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.preprocess.marks import PreprocessReport, mark, noted
from xanesum.stack import check_stack, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame

__all__ = ["find_bad_frames"]

N_PIXELS = 10_000  # pixels that are examined
TO_EACH_SIDE = 3  # neighbours on each side; a good frame is a mixture of these
OUTSTANDING = 6.0  # a bad frame's misfit exceeds the median misfit by this factor, ...
OF_SIGNAL = 0.15  # ... and exceeds this part of the frame's own root mean square
OUTSIDE = 0.8  # part of its pixels beyond all values in the neighbours; changes by chemistry lie between them
EXPLAINED = 1.2  # one number for all pixels makes the misfit of a bad frame so many times smaller, ...
ORDINARY = 1.5  # ... to at most so many times the median misfit, ...
LONE = 8.0  # ... and this number is so many times larger than is usual
MOST_FRAMES, MARGIN = 1000, 6  # more are looked at in parts that overlap, whose ends do not count
MIN_FRAMES = 12  # with fewer frames, nothing is judged
DEPENDENT = 1e-10  # eigenvalues below this part of the largest belong to frames that are mixtures of others


def find_bad_frames(stack: xr.DataArray) -> tuple[xr.DataArray, PreprocessReport]:
    """Give weight 0 to whole frames that stand out from their neighbours in energy.

    A frame holds the same few species as its neighbours, so it is fitted by a mixture of three good frames on
    each side.  It is bad where two conditions hold.  First, the misfit is six times the median misfit and a
    good part of the frame's own signal.  Second, nearly all pixels lie beyond their values in these
    neighbours, as different light changes all pixels in one direction.  With coarse energy steps, chemistry
    can also appear in one frame only: an edge at a different energy in every pixel, or a line of one
    species.  That does not change all pixels in one direction.

    A frame is bad too if one number, added to all its pixels, makes it an ordinary mixture of its neighbours,
    and the number is much larger than in other frames.  So a bad frame is found within the edge, where its
    values lie between those below and above.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Preferably optical density.

    Returns
    -------
    stack : DataArray
        A new stack; bad frames have `weight` 0.
    report : PreprocessReport
        The number of bad frames.
    """
    check_stack(stack)
    usable = np.flatnonzero(usable_weight(stack))
    kept = np.flatnonzero(usable_mask(stack))
    chosen = kept[:: max(1, len(kept) // N_PIXELS)]
    sample = np.array(list(each_frame(stack, lambda _, frame: frame.ravel()[chosen])))
    sample = sample[:, np.isfinite(sample[usable]).all(axis=0)]
    bad = np.zeros(0, np.intp)
    if len(usable) >= MIN_FRAMES and sample.shape[1] > 2 * TO_EACH_SIDE:
        bad = usable[_bad_in_parts(sample[usable])]
    if not len(bad):
        return stack.copy(), PreprocessReport(n_values=stack.size)
    weight = stack["weight"].values.astype(float) if "weight" in stack.coords else np.ones(len(stack))
    weight[bad] = 0
    result, marked = mark(stack.assign_coords(weight=("energy", weight)))
    report = PreprocessReport(n_bad_frames=len(bad), n_dropped_frames=len(bad))
    return noted(result, report + marked, "bad frames left out")


def _bad_in_parts(frames: NDArray[np.float64]) -> list[int]:
    """Return the indices of bad frames among the frames (E, P); very many are looked at in parts."""
    if len(frames) <= MOST_FRAMES:
        return _bad_among(frames)
    starts = np.linspace(0, len(frames) - MOST_FRAMES, -(-2 * len(frames) // MOST_FRAMES)).astype(int)
    found: set[int] = set()
    for start in starts.tolist():
        last = start + MOST_FRAMES
        inner = range(start + MARGIN * (start > 0), last - MARGIN * (last < len(frames)))
        found |= {start + e for e in _bad_among(frames[start:last])} & set(inner)
    return sorted(found)


def _bad_among(frames: NDArray[np.float64]) -> list[int]:
    """Return the indices of bad frames among the frames (E, P)."""
    every = np.arange(len(frames))
    about = [_others(e, every) for e in range(len(frames))]
    size = np.full(frames.shape[1], np.sqrt(np.mean(frames**2)))
    with_level = np.vstack([frames, size])  # an image of the level, after all frames
    products = with_level @ with_level.T / frames.shape[1]
    misfit = np.array([_misfit(products, e, others)[0] for e, others in enumerate(about)])
    limit = np.maximum(OUTSTANDING * np.median(misfit), OF_SIGNAL * np.sqrt(np.diag(products)[:-1]))
    levels = np.array(
        [_misfit(products, e, np.append(others, len(frames))) for e, others in enumerate(about)]
    )
    ordinary, usual = np.median(levels[:, 0]), np.median(np.abs(levels[:, 1]))

    def stands_out(e: int, others: NDArray[np.intp]) -> bool:
        alone = _misfit(products, e, others)[0]
        left, level = _misfit(products, e, np.append(others, len(frames)))
        explained = alone > EXPLAINED * left and left < ORDINARY * ordinary and abs(level) > LONE * usual
        return bool(explained or (alone > limit[e] and _outside(frames[e], frames[others]) > OUTSIDE))

    suspects = [  # each neighbour is left out once, as a bad one could explain this frame
        e
        for e in range(len(frames))
        if any(stands_out(e, np.delete(about[e], left_out)) for left_out in range(len(about[e])))
    ]
    good = np.setdiff1d(every, suspects)
    return [e for e in suspects if stands_out(e, _others(e, good))]


def _others(e: int, frames: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the nearest of the sorted `frames` on each side of frame `e`."""
    before, after = frames[frames < e], frames[frames > e]
    return np.concatenate([before[-TO_EACH_SIDE:], after[:TO_EACH_SIDE]])


def _misfit(products: NDArray[np.float64], e: int, others: NDArray[np.intp]) -> tuple[float, float]:
    """Return the rms residual of frame `e` from a mixture of others, and the amount of the last of them.

    All follows from the mean products of frames (E, E).
    """
    among, with_own = products[np.ix_(others, others)], products[others, e]
    mixture = np.linalg.pinv(among, rcond=DEPENDENT, hermitian=True) @ with_own
    square = products[e, e] - 2 * mixture @ with_own + mixture @ among @ mixture
    return float(np.sqrt(max(square, 0.0))), float(mixture[-1])


def _outside(frame: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the share of a frame's pixels (P,) that lie beyond all their values in others (n, P)."""
    return float(np.mean((frame < others.min(axis=0)) | (frame > others.max(axis=0))))
