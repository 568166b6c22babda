"""Scans that were stopped: frames at the end that were laid out but never measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.io.scan import Key

__all__ = ["count_measured"]

CHANCE = 1e-9  # that measured zeros look like values that were never written


def count_measured(read: Callable[[Key], NDArray[Any]], shape: tuple[int, int, int]) -> int:
    """Return how many frames, from the first on, were measured completely.

    Frames that were never written hold one value only, NaN or 0.  The frame before them counts only if its
    last rows were measured, too.  A scan of which nothing was measured counts in full: it is not this that is
    wrong with it.

    Parameters
    ----------
    read : callable
        As `Scan.read`; a few frames are read.
    shape : (int, int, int)
        (E, Y, X).
    """

    def frame(e: int) -> NDArray[Any]:
        return np.asarray(read((e, slice(None), slice(None))))

    n_energies = shape[0]
    if n_energies < 2 or not _is_blank(frame(n_energies - 1)) or _is_blank(frame(0)):
        return n_energies
    measured, blank = 0, n_energies - 1  # indices of a frame that was measured, and of one that was not
    while blank - measured > 1:
        middle = (measured + blank) // 2
        measured, blank = (measured, middle) if _is_blank(frame(middle)) else (middle, blank)
    if measured and _is_partial(frame(measured), frame(measured - 1)):
        blank = measured
    first = frame(0)
    by_chance = float(np.mean(first == 0)) ** first.size  # zeros of a detector that counts few photons
    return n_energies if by_chance > CHANCE else blank


def _is_blank(frame: NDArray[Any]) -> bool:
    return bool(_unwritten(frame).all())


def _is_partial(frame: NDArray[Any], before: NDArray[Any]) -> bool:
    """Return whether the end of a frame was not written, where the frame before has values."""
    missing, usual = _unwritten(frame).ravel(), _unwritten(before).ravel()
    last = np.flatnonzero(~missing)
    end = 0 if not last.size else int(last[-1]) + 1
    n_new = int(np.count_nonzero(~usual[end:]))  # values at the end that the frame before has
    share = float(np.mean(usual))
    return n_new > 0 and share**n_new < CHANCE


def _unwritten(frame: NDArray[Any]) -> NDArray[np.bool_]:
    unwritten: NDArray[np.bool_] = np.asarray(frame == 0)
    if frame.dtype.kind == "f":
        unwritten |= np.isnan(frame)
    return unwritten
