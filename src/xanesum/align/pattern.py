"""The pattern that a flat image leaves in all frames: it stands still, whatever the sample does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["standing_pattern"]

FINE_PX = 2.0  # standard deviation of the blur beyond which detail of the mean frame is fine


def standing_pattern(
    values: NDArray[np.float32], seen: NDArray[np.bool_], used: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the fine detail (Y, X) of the mean frame, 0 where nothing is known.

    Frames that were divided by one flat share its noise, and match best where nothing moves.  In the mean
    frame this noise is all that is fine, if the sample moves by more than a few pixels.  If it moves less,
    its own fine detail is lost too, and shifts become less certain, but not wrong.

    Parameters
    ----------
    values : ndarray of float32, shape (E, Y, X)
        NaN where missing.
    seen : ndarray of bool, shape (Y, X)
        Pixels that count.
    used : ndarray of bool, shape (E,)
        Frames that count.
    """
    total, count = np.zeros(seen.shape), np.zeros(seen.shape)
    for frame in values[used]:
        known = np.isfinite(frame) & seen
        total += np.where(known, frame, 0)
        count += known
    known = count > 0
    mean = np.where(known, total / np.maximum(count, 1), 0)
    share = np.maximum(gaussian_filter(known.astype(float), FINE_PX), 1e-6)
    return np.where(known, mean - gaussian_filter(mean, FINE_PX) / share, 0).astype(np.float32)
