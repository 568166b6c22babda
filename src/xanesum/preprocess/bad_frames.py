"""Frames that were taken in another light than those about them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.preprocess.marks import PreprocessReport, mark, noted
from xanesum.stack import check_stack, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame

__all__ = ["find_bad_frames"]

N_PIXELS = 10_000  # that are looked at
TO_EACH_SIDE = 3  # frames of which one should be a mixture
OUTSTANDING = 6.0  # times the median misfit of all frames
OF_SIGNAL = 0.15  # ... and of the frame's root mean square, which the misfit must reach too
OUTSIDE = 0.8  # of the pixels, that must lie beyond all values of the other frames: chemistry is between them
MIN_FRAMES = 12
DEPENDENT = 1e-10  # eigenvalue over the largest, of frames that are mixtures of each other


def find_bad_frames(stack: xr.DataArray) -> tuple[xr.DataArray, PreprocessReport]:
    """Give weight 0 to whole frames that stand out from those about them.

    A frame holds few species, as its neighbours in energy do: it is fitted by a mixture of three frames to
    each side, none of which may be bad itself.  It is bad where the misfit is six times the median of all
    frames' and a good part of its own signal, and nearly all of its pixels lie beyond the values that they
    have in those frames: light that was another moves all pixels to one side.  What coarse steps of energy
    show in one frame only, as an edge that lies elsewhere in every pixel or a line of one species, does not.
    A bad frame within the edge itself, whose values are between those below and above, is not found.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Best as optical density.

    Returns
    -------
    stack : DataArray
        A new stack; bad frames have `weight` 0.
    report : PreprocessReport
        How many.
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
    """Return which of the frames (E, P) are bad."""
    every = np.arange(len(frames))
    about = [_others(e, every) for e in range(len(frames))]
    products = frames @ frames.T / frames.shape[1]
    misfit = np.array([_misfit(products, e, others) for e, others in enumerate(about)])
    limit = np.maximum(OUTSTANDING * np.median(misfit), OF_SIGNAL * np.sqrt(np.diag(products)))

    def stands_out(e: int, others: NDArray[np.intp]) -> bool:
        stands = _misfit(products, e, others) > limit[e]
        return bool(stands and _outside(frames[e], frames[others]) > OUTSIDE)

    suspects = [  # one that is bad too must not excuse this one
        e
        for e in range(len(frames))
        if any(stands_out(e, np.delete(about[e], left_out)) for left_out in range(len(about[e])))
    ]
    good = np.setdiff1d(every, suspects)
    return [e for e in suspects if stands_out(e, _others(e, good))]


def _others(e: int, frames: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the nearest of `frames`, in order, to each side of frame `e`."""
    before, after = frames[frames < e], frames[frames > e]
    return np.concatenate([before[-TO_EACH_SIDE:], after[:TO_EACH_SIDE]])


def _misfit(products: NDArray[np.float64], e: int, others: NDArray[np.intp]) -> float:
    """Return the rms of what a mixture of others leaves of frame `e`, from mean products of frames (E, E)."""
    among, with_own = products[np.ix_(others, others)], products[others, e]
    mixture = np.linalg.pinv(among, rcond=DEPENDENT, hermitian=True) @ with_own
    return float(np.sqrt(max(products[e, e] - 2 * mixture @ with_own + mixture @ among @ mixture, 0.0)))


def _outside(frame: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the share of a frame's pixels (P,) beyond all values that they have in others (n, P)."""
    return float(np.mean((frame < others.min(axis=0)) | (frame > others.max(axis=0))))
