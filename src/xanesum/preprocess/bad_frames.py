"""Frames that were illuminated differently from their neighbours."""

from __future__ import annotations

from dataclasses import dataclass

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
    n_parts = -(-(len(frames) - 2 * MARGIN) // (MOST_FRAMES - 2 * MARGIN))
    starts = np.linspace(0, len(frames) - MOST_FRAMES, n_parts).astype(int)
    found: set[int] = set()
    for start in starts.tolist():
        last = start + MOST_FRAMES
        inner = range(start + MARGIN * (start > 0), last - MARGIN * (last < len(frames)))
        found |= {start + e for e in _bad_among(frames[start:last])} & set(inner)
    return sorted(found)


def _bad_among(frames: NDArray[np.float64]) -> list[int]:
    """Return the indices of bad frames among the frames (E, P)."""
    every = np.arange(len(frames))
    size = np.full(frames.shape[1], np.sqrt(np.mean(frames**2)))
    with_level = np.vstack([frames, size])  # an image of the level, after all frames
    products = with_level @ with_level.T / frames.shape[1]
    groups = _neighbours(every, every)
    fits = [
        (_Fits.of(products, e, others), _Fits.of(products, e, _with(others, len(frames))))
        for e, others in groups
    ]
    misfit = np.concatenate([alone.misfit for alone, _ in fits])
    ordinary = float(np.median(np.concatenate([fit.misfit for _, fit in fits])))
    usual = float(np.median(np.abs(np.concatenate([fit.amount for _, fit in fits]))))
    limit = np.maximum(OUTSTANDING * np.median(misfit), OF_SIGNAL * np.sqrt(np.diag(products)[:-1]))

    def stand_out(alone: _Fits, fit: _Fits) -> NDArray[np.bool_]:
        explained = (alone.misfit > EXPLAINED * fit.misfit) & (fit.misfit < ORDINARY * ordinary)
        bad = explained & (np.abs(fit.amount) > LONE * usual)
        for i in np.flatnonzero(~bad & (alone.misfit > limit[alone.e])):
            bad[i] = _outside(frames[alone.e[i]], frames[alone.others[i]]) > OUTSIDE
        return bad

    suspects = np.zeros(len(frames), bool)
    for alone, fit in fits:  # each neighbour is left out once, as a bad one could explain this frame
        for i in range(alone.others.shape[1]):
            suspects[alone.e] |= stand_out(alone.without(products, i), fit.without(products, i))
    good = np.flatnonzero(~suspects)
    found: list[int] = []
    for e, others in _neighbours(np.flatnonzero(suspects), good):
        alone, fit = _Fits.of(products, e, others), _Fits.of(products, e, _with(others, len(frames)))
        found += e[stand_out(alone, fit)].tolist()
    return sorted(found)


def _neighbours(
    e: NDArray[np.intp], frames: NDArray[np.intp]
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return frames `e` in groups, (M,), and the nearest of the sorted `frames` on each side, (M, n).

    Those near an end have fewer, so they are groups of their own.  Frames without any are left out.
    """
    first, last = np.searchsorted(frames, e, "left"), np.searchsorted(frames, e, "right")
    before, after = np.minimum(first, TO_EACH_SIDE), np.minimum(len(frames) - last, TO_EACH_SIDE)
    groups = []
    for n_before, n_after in np.unique(np.column_stack([before, after]), axis=0):
        rows = np.flatnonzero((before == n_before) & (after == n_after))
        at = np.hstack([first[rows, None] + np.arange(-n_before, 0), last[rows, None] + np.arange(n_after)])
        if at.size:
            groups.append((e[rows], frames[at]))
    return groups


def _with(others: NDArray[np.intp], level: int) -> NDArray[np.intp]:
    """Return lists of frames (M, n) with the image of the level at the end of each."""
    return np.column_stack([others, np.full(len(others), level)])


@dataclass(frozen=True, slots=True, eq=False)
class _Fits:
    """Fits of M frames by mixtures of n others each.  All follows from the mean products of frames (E, E)."""

    e: NDArray[np.intp]  # (M,), the frames
    others: NDArray[np.intp]  # (M, n)
    inverse: NDArray[np.float64]  # (M, n, n), of the products of the others
    mixture: NDArray[np.float64]  # (M, n), amounts of the others
    square: NDArray[np.float64]  # (M,), mean square of the residual
    regular: NDArray[np.bool_]  # (M,), whether no other is a mixture of the rest

    @classmethod
    def of(cls, products: NDArray[np.float64], e: NDArray[np.intp], others: NDArray[np.intp]) -> _Fits:
        """Fit frames `e` by their others."""
        among, with_own = products[others[:, :, None], others[:, None]], products[others, e[:, None]]
        values, vectors = np.linalg.eigh(among)
        large = values > DEPENDENT * values[:, -1:]
        scaled = vectors * np.where(large, 1 / np.where(large, values, 1), 0)[:, None]
        inverse = scaled @ np.swapaxes(vectors, 1, 2)
        mixture = np.einsum("mij,mj->mi", inverse, with_own)
        square = products[e, e] - 2 * np.sum(mixture * with_own, axis=1)
        square += np.einsum("mi,mij,mj->m", mixture, among, mixture)
        return cls(e, others, inverse, mixture, square, np.all(large, axis=1))

    @property
    def misfit(self) -> NDArray[np.float64]:
        """Rms residual of each frame, (M,)."""
        return np.asarray(np.sqrt(np.maximum(self.square, 0.0)))

    @property
    def amount(self) -> NDArray[np.float64]:
        """Amount of the last of the others, (M,)."""
        return np.asarray(self.mixture[:, -1])

    def without(self, products: NDArray[np.float64], left_out: int) -> _Fits:
        """Return the same fits where one of the others is left out; its inverse follows by elimination."""
        others = np.delete(self.others, left_out, axis=1)
        if not self.regular.all():
            return _Fits.of(products, self.e, others)
        column, pivot = self.inverse[:, :, left_out], self.inverse[:, left_out, left_out]
        own = self.mixture[:, left_out]
        inverse = self.inverse - column[:, :, None] * column[:, None] / pivot[:, None, None]
        mixture = self.mixture - column * (own / pivot)[:, None]
        inverse = np.delete(np.delete(inverse, left_out, axis=1), left_out, axis=2)
        square = self.square + own**2 / pivot
        return _Fits(self.e, others, inverse, np.delete(mixture, left_out, axis=1), square, self.regular)


def _outside(frame: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the share of a frame's pixels (P,) that lie beyond all their values in others (n, P)."""
    return float(np.mean((frame < others.min(axis=0)) | (frame > others.max(axis=0))))
