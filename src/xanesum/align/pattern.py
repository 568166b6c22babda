"""The pattern that a flat image leaves in all frames: it stands still, whatever the sample does.

Frames that were divided by one flat share its noise, and match best where nothing moves.  So a weak sample is
held at rest by this noise, with errors far too small, unless the noise is known and taken away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter1d

from xanesum.align.frames import Canvas, Complex, Image, Level, noise_of_frames
from xanesum.align.state import State
from xanesum.align.template import RING, by_radius, parts_of
from xanesum.storage.memory import N_THREADS
from xanesum.storage.prefetch import in_threads

__all__ = ["Pattern", "at_rest", "beside_motion"]

Array = NDArray[np.float64]

LEAST_REST = 1e-3  # of a spectrum that others do not hold
LARGEST = 0.5  # of a frame's variance, that of a single flat; what stands still beyond is sample


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """White noise that stands still on the detector."""

    values: Image  # (Y, X) in units of the stack, the best estimate; 0 where nothing is seen
    sigma: float  # its standard deviation
    weight: float  # its power in the sum of all frames over that of their noise


def at_rest(level: Level, state: State) -> Pattern:
    """Return the noise that all frames share, as far as it can be known before anything moves.

    At each spatial frequency the mean frame is divided between sample and pattern as their powers are.  The
    pattern is white.  It is taken for all there is at the finest scale, where it is measured by the median,
    so that a few sharp edges of the sample do not count.

    Parameters
    ----------
    level : Level
        At full resolution, of frames that are not moved.
    state : State
        Constants of the frames.
    """
    n_frames = float(np.sum(state.used / level.noise**2))
    total, seen = np.zeros(level.shape), np.zeros(level.shape)
    for e in np.flatnonzero(state.used).tolist():
        frame, there = level.frame(e, state.offset[e])
        total += frame / level.noise[e]
        seen += there / level.noise[e] ** 2
    mean = np.where(seen > 0, total / np.maximum(seen, 1e-30), 0)
    variance = _fine_variance(mean, level.seen) - 1 / n_frames
    if not 0 < variance < LARGEST * float(np.median(level.noise[state.used])) ** 2:
        return Pattern(np.zeros(level.shape, np.float32), 0.0, 0.0)
    inside = fft.dctn(mean * level.window, norm="ortho")
    y, x = (np.arange(n) / n for n in level.shape)
    rings = (np.hypot(y[:, None], x) * max(level.shape) / RING).astype(int)
    power = np.bincount(rings.ravel(), inside.ravel() ** 2) / np.bincount(rings.ravel())
    power /= np.mean(level.window.astype(np.float64) ** 2)
    share = np.clip(variance / np.maximum(uniform_filter1d(power, 5), 1e-30), 0, 1)[rings]
    values = fft.idctn(fft.dctn(mean, norm="ortho") * share, norm="ortho") * level.seen
    return Pattern(values.astype(np.float32), float(np.sqrt(variance)), variance * n_frames)


def beside_motion(pattern: Pattern, level: Level, state: State) -> Pattern:
    """Return the pattern again, told from a sample at the shifts of `state`.

    Images of the sample and the pattern are solved for together, at each spatial frequency.  Images have the
    power that is found around that frequency.  All frames are taken to show the same part of the sample, so
    shifts must be small against the field.

    Parameters
    ----------
    pattern : Pattern
        As it was known before; its standard deviation stays.
    level : Level
        At full resolution, of frames that still hold the pattern.
    state : State
        Shifts, spectra and constants of the frames.
    """
    canvas = Canvas(level, np.abs(state.shifts).max(axis=0) + 1.0)
    sums, detector, shares = _sums(level, canvas, state)
    n_pixels = float(np.sum(level.window.astype(np.float64) ** 2))
    n_frames = float(np.sum(state.used / level.noise**2))
    variance = pattern.sigma**2
    normal, right = np.full(canvas.radius.shape, n_frames + 1 / variance), detector
    for image, share in zip(sums, shares, strict=True):
        power = _ring_mean(canvas, np.abs(image) ** 2) / n_pixels - 1
        power = np.maximum(power - _ring_mean(canvas, np.abs(share) ** 2) * variance, 0)
        gain = power / (power + 1)
        normal -= gain * np.abs(share) ** 2
        right = right - gain * share.conj() * image
    values = canvas.frames(np.asarray(right / normal, np.complex64)) * level.seen
    return replace(pattern, values=values)


def _sums(level: Level, canvas: Canvas, state: State) -> tuple[Complex, Complex, Complex]:
    """Return sums over frames, for each spectrum and on the detector, and the share of a pattern of 1.

    The first are moved back, (K, Py, Pxh); the second are not, (Py, Pxh); the third (K, Py, Pxh) are what a
    pattern of 1 adds to the first.
    """
    spectra = _with_constant(np.where(state.used, state.spectra, 0), state.used / level.noise)
    one_over = (1 / level.noise).astype(np.float32)

    def of(part: list[int]) -> tuple[Complex, Complex, Complex]:
        frames = np.stack([level.frame(e, state.offset[e])[0] for e in part]) * level.window
        moved = canvas.coefficients(frames)
        total = np.tensordot(one_over[part], moved, axes=1)
        along_y, along_x = canvas.phases(-state.shifts[part])
        moved *= along_y
        moved *= along_x
        both = (along_y * along_x).reshape(len(part), -1)
        sums = (spectra[:, part] @ moved.reshape(len(part), -1)).reshape(-1, *total.shape)
        shares = ((spectra[:, part] * one_over[part]) @ both).reshape(-1, *total.shape)
        return sums, np.asarray(total, np.complex64), shares.astype(np.complex64)

    used = np.flatnonzero(state.used)
    parts = [used[list(part)].tolist() for part in parts_of(len(used))]
    found = in_threads(of, parts, n_threads=N_THREADS, n_ahead=N_THREADS)
    sums, detector, shares = next(found)
    for each in found:
        sums, detector, shares = sums + each[0], detector + each[1], shares + each[2]
    return sums, detector, shares


def _with_constant(spectra: Array, constant: Array) -> Image:
    """Return orthonormal spectra, and one more that makes the same image in all frames possible.

    Without it, what the spectra are wrong by in proportion to `constant` (E,) would all be pattern.
    """
    rest = constant - spectra.T @ (spectra @ constant)
    size = np.linalg.norm(rest)
    if size < LEAST_REST * np.linalg.norm(constant):
        return spectra.astype(np.float32)
    return np.vstack([spectra, rest / size]).astype(np.float32)


def _fine_variance(image: Array, seen: NDArray[np.bool_]) -> float:
    """Return the variance (of white noise) that the finest detail of an image has."""
    return float(noise_of_frames(image[None].astype(np.float32), seen)[0]) ** 2


def _ring_mean(canvas: Canvas, power: NDArray[np.floating]) -> Array:
    """Return the mean over rings of one radius, at each coefficient."""
    rings, mean, _ = by_radius(canvas, power)
    return mean[rings]
