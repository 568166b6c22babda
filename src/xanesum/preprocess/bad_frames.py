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
    A bad frame within the edge is not found, as its values lie between those below and above.

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
        bad = usable[_bad_among(sample[usable])]
    if not len(bad):
        return stack.copy(), PreprocessReport(n_values=stack.size)
    weight = stack["weight"].values.astype(float) if "weight" in stack.coords else np.ones(len(stack))
    weight[bad] = 0
    result, marked = mark(stack.assign_coords(weight=("energy", weight)))
    report = PreprocessReport(n_bad_frames=len(bad), n_dropped_frames=len(bad))
    return noted(result, report + marked, "bad frames left out")


def _bad_among(frames: NDArray[np.float64]) -> list[int]:
    """Return the indices of bad frames among the frames (E, P)."""
    every = np.arange(len(frames))
    about = [_others(e, every) for e in range(len(frames))]
    products = frames @ frames.T / frames.shape[1]
    misfit = np.array([_misfit(products, e, others) for e, others in enumerate(about)])
    limit = np.maximum(OUTSTANDING * np.median(misfit), OF_SIGNAL * np.sqrt(np.diag(products)))

    def stands_out(e: int, others: NDArray[np.intp]) -> bool:
        stands = _misfit(products, e, others) > limit[e]
        return bool(stands and _outside(frames[e], frames[others]) > OUTSIDE)

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


def _misfit(products: NDArray[np.float64], e: int, others: NDArray[np.intp]) -> float:
    """Return the rms residual of frame `e` from a mixture of others, by mean products of frames (E, E)."""
    among, with_own = products[np.ix_(others, others)], products[others, e]
    mixture = np.linalg.pinv(among, rcond=DEPENDENT, hermitian=True) @ with_own
    return float(np.sqrt(max(products[e, e] - 2 * mixture @ with_own + mixture @ among @ mixture, 0.0)))


def _outside(frame: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the share of a frame's pixels (P,) that lie beyond all their values in others (n, P)."""
    return float(np.mean((frame < others.min(axis=0)) | (frame > others.max(axis=0))))
