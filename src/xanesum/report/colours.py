"""Colour maps in which equal steps of a value look equally large, and colours of lines."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import ListedColormap
from skimage.color import lab2rgb

__all__ = ["ERRORS", "IMAGES", "INK", "LINES", "MAPS", "MISSING", "SIGNED"]

INK = "#1b1f24"  # text and axes; the dark theme of a page replaces it
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito, for colour-blind readers too
MISSING = "#9c9c9c"  # pixels without a value
IMAGES, MAPS, ERRORS = "gray", "viridis", "cividis"  # all three are perceptually uniform
LIGHTEST, DARKEST = 96.0, 34.0  # L* at 0, and at both ends, of the map of signed values
LOW_END, HIGH_END = (8.0, -44.0), (50.0, 44.0)  # a* and b* at the ends: blue and red


def _signed(n: int = 257) -> ListedColormap:
    """Return a map from blue through white to red whose lightness L* falls linearly to both sides.

    The colours are straight lines in CIELAB (CIE 15:2004), so that equal steps look equally large.
    """
    at = np.linspace(-1.0, 1.0, n)
    share = np.abs(at)[:, None]
    ends = np.where(at[:, None] < 0, [LOW_END], [HIGH_END])
    lab = np.concatenate([LIGHTEST + (DARKEST - LIGHTEST) * share, ends * share], axis=1)
    return ListedColormap(np.clip(lab2rgb(lab[None])[0], 0, 1), name="xanesum_signed")


SIGNED = _signed()
