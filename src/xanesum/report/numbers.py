"""Numbers as people write them: no exponents, no false digits."""

from __future__ import annotations

import numpy as np

__all__ = ["chance_text", "error_text", "plain", "times"]

SMALLEST, LARGEST = 1e-6, 1e7  # sizes that are written without an exponent
SMALLEST_CHANCE = 0.001  # smaller chances are not told apart
TOO_SMALL = "too small to be measured"


def plain(value: float, digits: int = 3) -> str:
    """Return a number rounded to significant digits, as 450, 0.0312 or -1.5; empty where it is not finite.

    Zeros at the end are left out after the decimal point.  Only very small and very large numbers have an
    exponent.
    """
    if not np.isfinite(value):
        return ""
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    if not SMALLEST <= abs(rounded) < LARGEST:
        return f"{rounded:.{digits}g}"
    return np.format_float_positional(rounded, trim="-")


def times(value: float) -> str:
    """Return a factor with two digits, as ``450 times`` or ``1.3 times``."""
    return f"{plain(value, 2)} times"


def chance_text(value: float) -> str:
    """Return a probability, as ``0.42``, ``0.003`` or ``< 0.001``; empty where there is none."""
    if not np.isfinite(value):
        return ""
    return f"< {SMALLEST_CHANCE:g}" if value < SMALLEST_CHANCE else plain(value, 2 if value >= 0.1 else 1)


def error_text(value: float, digits: int = 5) -> str:
    """Return an estimated squared error; an estimate that is not above 0 is called too small."""
    return TOO_SMALL if value <= 0 else plain(value, digits)
