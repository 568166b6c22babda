"""Images as small integers, compressed as text: what the explorer holds, and how far it is rounded.

An image becomes whole multiples of a step that is small compared with its noise.  Each multiple is stored as
its difference from the mean of the pixels to the left and above, as PNG does, in two planes of bytes, and
compressed.  Every browser can undo this without a library.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PackedImage", "pack", "pack_sizes", "unpack"]

STEPS_IN_NOISE = 4.0  # steps in one standard error: the rounding is then 0.07 of it (rms)
LARGEST_CODE = 65535  # of 16 bits; 0 stands for a value that is not known
LOG_STEP = 0.02  # relative step of standard errors: they are wrong by 1 % at most
LEAST_SIZE = 1e-6  # standard errors below this share of the largest count as this small
LARGE = 500_000  # pixels, from which on standard errors are stored for blocks of pixels ...
BLOCK = 2  # ... of this side
LEVEL = 6  # of the compression; 9 takes four times as long and saves a hundredth


@dataclass(frozen=True, slots=True, eq=False)
class PackedImage:
    """An image (Y, X) as text, and how to read it."""

    text: str  # base64 of zlib's format
    first: float  # value of code 1, or its logarithm
    step: float  # between two codes
    is_log: bool = False
    block: int = 1  # side in px of the blocks whose root mean squares the image holds

    @property
    def rounding(self) -> float:
        """Standard deviation of the rounding, in the unit of the image or of its logarithm."""
        return float(self.step / np.sqrt(12))

    @property
    def header(self) -> dict[str, Any]:
        """What the page needs to read the text."""
        return {"first": self.first, "step": self.step, "log": self.is_log, "block": self.block}


def pack(image: NDArray[np.floating], noise: float, *, level: int = LEVEL) -> PackedImage:
    """Return an image (Y, X) in steps of a quarter of its noise, in 16 bits.

    Values that are not finite stay unknown.  Where 16 bits do not hold all values in such steps, or the noise
    is 0, the steps are as small as 16 bits allow.
    """
    known = np.isfinite(image)
    values = np.where(known, image, 0).astype(np.float64)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    least = (high - low) / (LARGEST_CODE - 1) or 1.0
    step = max(noise / STEPS_IN_NOISE, least) if np.isfinite(noise) else least
    codes = np.where(known, np.rint((values - low) / step) + 1, 0).astype(np.uint16)
    return PackedImage(_text(codes, level), low, step)


def pack_sizes(image: NDArray[np.floating]) -> PackedImage:
    """Return an image (Y, X) of standard errors, in steps of 2 %.

    Of large images it holds root mean squares over blocks of pixels.  Values that are 0 or not known do not
    count in them.
    """
    values = np.abs(np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0))
    block = BLOCK if values.size > LARGE else 1
    if block > 1:
        values = _over_blocks(values, block)
    largest = float(values.max(initial=0.0)) or 1.0
    logs = np.log(np.maximum(values, LEAST_SIZE * largest))
    first, step = float(logs.min()), np.log1p(LOG_STEP)
    codes = np.where(values > 0, np.rint((logs - first) / step) + 1, 0).astype(np.uint16)
    return PackedImage(_text(codes), first, float(step), is_log=True, block=block)


def _over_blocks(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return root mean squares over blocks; those at the last rows and columns may be smaller."""
    grown = np.pad(values, [(0, -size % side) for size in values.shape])
    rows, columns = (size // side for size in grown.shape)
    blocks = grown.reshape(rows, side, columns, side)
    counts = np.count_nonzero(blocks, axis=(1, 3))
    return np.asarray(np.sqrt(np.sum(blocks**2, axis=(1, 3)) / np.maximum(counts, 1)))


def unpack(packed: PackedImage, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the image (Y, X) as the page reads it; unknown values are NaN, or 0 for standard errors."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed.text)), np.uint8).reshape(2, *shape)
    folded = planes[0].astype(np.int64) | planes[1].astype(np.int64) << 8
    change = (folded >> 1) ^ -(folded & 1)
    codes = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)
    for y in range(1, shape[0] + 1):
        for x in range(1, shape[1] + 1):
            codes[y, x] = (change[y - 1, x - 1] + (codes[y, x - 1] + codes[y - 1, x] >> 1)) & LARGEST_CODE
    codes = codes[1:, 1:]
    values = packed.first + packed.step * (codes - 1)
    return np.where(codes > 0, np.exp(values), 0.0) if packed.is_log else np.where(codes > 0, values, np.nan)


def _text(codes: NDArray[np.uint16], level: int = LEVEL) -> str:
    """Return codes (Y, X) as compressed text."""
    wide = codes.astype(np.int32)
    left, above = np.zeros_like(wide), np.zeros_like(wide)
    left[:, 1:], above[1:] = wide[:, :-1], wide[:-1]
    change = (wide - ((left + above) >> 1)).astype(np.int16).astype(np.int32)
    folded = (change << 1) ^ (change >> 15)  # small changes of either sign become small numbers
    planes = np.stack([folded & 255, (folded >> 8) & 255]).astype(np.uint8)
    return base64.b64encode(zlib.compress(planes.tobytes(), level)).decode("ascii")
