"""Frames at one binning, in units of their noise, and the canvas on which they are added up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from xanesum.align.light import polynomials
from xanesum.linalg.binning import block_means, block_sums

__all__ = ["Canvas", "Level", "binned", "noise_of_frames", "tukey"]

Complex = NDArray[np.complex64]
Image = NDArray[np.float32]

TAPER_PX = 12  # full-resolution pixels over which a frame fades out before it is moved
LEAST_SHARE = 0.5  # of the pixels of a block that must be there
MAD_TO_SIGMA = 1.4826  # for a normal distribution
# standard deviation of white noise after second differences along y and along x (Immerkaer, CVIU 64, 1996)
SECOND_DIFFERENCES = 6.0
NOISE_ROWS = 100  # of a frame, about, in which its noise is measured
NOISE_SPAN = 4.0  # times the median noise, up or down, that the noise of a frame may be
LEAST_NOISE = 1e-3  # of the strongest frame's spread: what counts as noise where there is none
NOTHING = np.float32(0)


@dataclass(frozen=True, eq=False)
class Level:
    """Frames averaged over blocks of `binning` x `binning` pixels."""

    values: Image  # (E, Y, X); NaN where missing
    seen: NDArray[np.bool_]  # (Y, X) pixels that count at all
    noise: NDArray[np.float64]  # (E,) standard deviation of a value
    binning: int
    complete: bool  # whether no value of a pixel that counts is missing
    full: tuple[int, int]  # size (Y, X) of a frame at full resolution
    pattern: Image | np.float32 = NOTHING  # (Y, X) what stands still on the detector

    @property
    def shape(self) -> tuple[int, int]:
        """Size (Y, X) of a frame."""
        return (self.values.shape[1], self.values.shape[2])

    def __len__(self) -> int:
        return len(self.values)

    def frame(self, e: int, offset: NDArray[np.float64]) -> tuple[Image, NDArray[np.bool_]]:
        """Return frame `e` less its light and the pattern, over its noise, and what is there of it.

        It is 0 where it is missing.
        """
        there = self.seen if self.complete else self.seen & np.isfinite(self.values[e])
        scale = np.float32(1 / self.noise[e])
        frame = (self.values[e] - self.pattern - self.light(offset)) * scale
        if self.complete and self.all_seen:
            return frame, there
        return np.where(there, frame, np.float32(0)), there

    def light(self, offset: NDArray[np.float64]) -> Image | np.float32:
        """Return the light of a frame: a constant, or the fields times the factors `offset`."""
        if len(offset) == 1:
            return np.float32(offset[0])
        return np.tensordot(offset.astype(np.float32), self.fields[: len(offset)], axes=1)

    @cached_property
    def fields(self) -> Image:
        """Fields (6, Y, X) that light changes by: 1, and all products of y and x up to the second degree."""
        y, x = (
            (self.binning * (np.arange(n) + 0.5) * 2 / size - 1)
            for n, size in zip(self.shape, self.full, strict=True)
        )
        return polynomials(y[:, None], x)

    def less(self, pattern: Image) -> Level:
        """Return the same frames less a pattern (Y, X), given at full resolution; 0 where it is not known."""
        n_y, n_x = (size * self.binning for size in self.shape)
        return replace(self, pattern=block_means(pattern[:n_y, :n_x], self.binning, dtype=np.float32))

    @cached_property
    def all_seen(self) -> bool:
        """Whether every pixel counts."""
        return bool(self.seen.all())

    @cached_property
    def window(self) -> Image:
        """Weights (Y, X) under which frames are added up: 0 at the border and where nothing is seen."""
        width = max(2, min(TAPER_PX, *(size * self.binning // 6 for size in self.shape)) // self.binning)
        fade = np.outer(*(tukey(size, width) for size in self.shape))
        return np.asarray(fade * self.seen, np.float32)


class Canvas:
    """A plane larger than the frames, periodic, on which frames are moved by Fourier phases.

    Parameters
    ----------
    level : Level
    reach_px : ndarray (2,)
        Largest shift along y and x, in pixels of the full resolution, that has to fit.
    """

    def __init__(self, level: Level, reach_px: NDArray[np.float64]) -> None:
        self.binning = level.binning
        self.shape = level.shape
        margin = np.ceil(reach_px / level.binning).astype(int) + 2
        self.origin = (int(margin[0]), int(margin[1]))
        rows, columns = (int(n + 2 * m) for n, m in zip(level.shape, margin, strict=True))
        self.size = (fft.next_fast_len(rows, real=True), fft.next_fast_len(columns, real=True))
        self.f_y = fft.fftfreq(self.size[0]).astype(np.float32)
        self.f_x = fft.rfftfreq(self.size[1]).astype(np.float32)
        self.radius = np.hypot(self.f_y[:, None], self.f_x)  # cycles per pixel of this level
        pairs = np.full(len(self.f_x), 2, np.float32)  # a real image has each coefficient twice
        pairs[0] = 1
        if self.size[1] % 2 == 0:
            pairs[-1] = 1
        self.pairs = pairs
        # a derivative has no coefficient at the highest frequency
        self.d_y = (2j * np.pi * np.where(self.f_y == -0.5, 0, self.f_y)).astype(np.complex64)[:, None]
        self.d_x = (2j * np.pi * np.where(self.f_x == 0.5, 0, self.f_x)).astype(np.complex64)
        self.field = np.s_[
            self.origin[0] : self.origin[0] + self.shape[0], self.origin[1] : self.origin[1] + self.shape[1]
        ]

    def coefficients(self, frames: Image) -> Complex:
        """Return the Fourier coefficients of frames (..., Y, X) placed on the canvas."""
        plane = np.zeros((*frames.shape[:-2], *self.size), np.float32)
        plane[(..., *self.field)] = frames
        return np.asarray(fft.rfft2(plane, overwrite_x=True), np.complex64)

    def of_plane(self, plane: Image) -> Complex:
        """Return the Fourier coefficients of a whole canvas, (..., Py, Px)."""
        return np.asarray(fft.rfft2(plane), np.complex64)

    def plane(self, coefficients: Complex) -> Image:
        """Return the whole canvas of these coefficients, (..., Py, Px)."""
        return np.asarray(fft.irfft2(coefficients, self.size), np.float32)

    def frames(self, coefficients: Complex) -> Image:
        """Return the part of the canvas that a frame covers, (..., Y, X)."""
        return self.plane(coefficients)[(..., *self.field)]

    def phases(self, shifts_px: NDArray[np.float64]) -> tuple[Complex, Complex]:
        """Return factors (n, Py, 1) and (n, 1, Pxh) that move content by shifts (n, 2) in pixels."""
        steps = np.asarray(shifts_px, np.float64) / self.binning
        along_y = np.exp(-2j * np.pi * steps[:, :1] * self.f_y).astype(np.complex64)
        along_x = np.exp(-2j * np.pi * steps[:, 1:] * self.f_x).astype(np.complex64)
        return along_y[:, :, None], along_x[:, None, :]


def tukey(n: int, width: int) -> NDArray[np.float64]:
    """Return weights (n,) that rise from 0 to 1 over `width` pixels at both ends."""
    depth = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / width
    return np.where(depth < 1, 0.5 - 0.5 * np.cos(np.pi * np.minimum(depth, 1)), 1.0)


def binned(level: Level, scale: int) -> Level:
    """Return the level averaged over blocks of `scale` x `scale` pixels; missing values do not count."""
    n_y, n_x = (size // scale for size in level.shape)
    cut = np.s_[: n_y * scale, : n_x * scale]
    values = np.empty((len(level), n_y, n_x), np.float32)
    complete = True
    counts = block_sums(level.seen[cut].astype(np.float32), scale)
    seen = counts >= LEAST_SHARE * scale**2
    for e, out in enumerate(values):
        frame = level.values[e][cut]
        if level.complete and level.all_seen:
            out[...] = block_means(frame, scale, dtype=np.float32)
            continue
        there = level.seen[cut] & np.isfinite(frame)
        n_there = block_sums(there.astype(np.float32), scale)
        sums = block_sums(np.where(there, frame, np.float32(0)), scale)
        enough = n_there >= LEAST_SHARE * np.maximum(counts, 1)
        out[...] = np.where(enough, sums / np.maximum(n_there, 1), np.nan)
        complete &= bool(enough[seen].all())
    return Level(values, seen, level.noise / scale, level.binning * scale, complete, level.full)


def noise_of_frames(values: Image, seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the standard deviation (E,) of each frame's noise, from its second differences.

    It is kept within a factor of 4 of the median, and above a thousandth of the strongest frame's spread, so
    that frames without noise have sensible weights.  A frame without two usable values gets the median.
    """
    found, spread = np.full(len(values), np.nan), np.zeros(len(values))
    n_y = values.shape[1]
    rows = np.arange(0, n_y - 2, max(1, n_y // NOISE_ROWS))
    counts = seen[rows + 1, 1:-1]
    for e, frame in enumerate(values):
        along_y = frame[rows] - 2 * frame[rows + 1] + frame[rows + 2]
        both = along_y[:, :-2] - 2 * along_y[:, 1:-1] + along_y[:, 2:]
        usable = both[np.isfinite(both) & counts]
        if usable.size > 1:
            found[e] = MAD_TO_SIGMA * float(np.median(np.abs(usable))) / SECOND_DIFFERENCES
        sample = frame[::3, ::3][seen[::3, ::3]]
        sample = sample[np.isfinite(sample)]
        spread[e] = float(sample.std()) if sample.size else 0.0
    typical = float(np.nanmedian(found)) if np.isfinite(found).any() else 0.0
    floor = max(LEAST_NOISE * spread.max(), np.finfo(np.float32).tiny)
    kept = np.clip(np.nan_to_num(found, nan=typical), typical / NOISE_SPAN, typical * NOISE_SPAN)
    return np.asarray(np.maximum(kept, floor), np.float64)
