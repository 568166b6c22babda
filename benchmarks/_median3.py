"""The field's standard filter: median over 3 x 3 x 3 neighbours in energy, y and x."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

__all__ = ["median3"]

FRAMES_PER_TASK = 16


def median3(stack: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the 3-D median of `stack` (E, Y, X), mirrored at the borders, on all cores.

    References
    ----------
    F. Meirer et al., "Three-dimensional imaging of chemical phase transformations at the nanoscale with
    full-field transmission X-ray microscopy", J. Synchrotron Rad. 18 (2011) 773-781.
    """
    result = np.empty_like(stack)

    def filter_frames(start: int) -> None:
        stop = min(start + FRAMES_PER_TASK, len(stack))
        low, high = max(start - 1, 0), min(stop + 1, len(stack))
        filtered = median_filter(stack[low:high], size=3, mode="mirror" if high - low > 1 else "nearest")
        result[start:stop] = filtered[start - low : stop - low]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(filter_frames, range(0, len(stack), FRAMES_PER_TASK)))
    return result
