"""How the sample moved from frame to frame in a noisy scan, with errors; one resampling of the raw stack."""

from xanesum.align.estimate import estimate_shifts
from xanesum.align.resample import align
from xanesum.align.shifts import Shifts, read_shifts

__all__ = ["Shifts", "align", "estimate_shifts", "read_shifts"]
