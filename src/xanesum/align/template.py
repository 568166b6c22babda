"""The model of the sample: a few images on a canvas, added up from all frames and filtered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xanesum.align.frames import Canvas, Complex, Image, Level
from xanesum.align.state import State
from xanesum.storage.memory import N_THREADS
from xanesum.storage.prefetch import in_threads

__all__ = ["BORDER", "RING", "Template", "add_up", "by_radius", "parts_of"]

Array = NDArray[np.float64]

FRAMES_AT_ONCE = 8
TINY = 1e-30
LEAST_COVERAGE, FULL_COVERAGE = (
    0.05,
    0.3,
)  # of the frames' weight: where an image counts for nothing, and fully
INNER_COVERAGE = (0.6, 0.9)  # where the power of an image is measured, away from its border
COMPLETE = 0.999  # of the frames' weight, from which spectra are orthogonal
STEADY = 0.02  # of the weight, added where images are separated
BORDER = 3  # pixels of the level, at the border of what is known, that no frame is compared with
RING = 1.5  # coefficients across a ring of one radius
CONFUSED = 0.6  # of the shift that chemistry looks like, as a standard error of the shift
CAUTION = 2.0  # standard errors by which the power of an image must exceed that of noise


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Images of the model as Fourier coefficients on the canvas, after their filters."""

    canvas: Canvas
    spectra: NDArray[np.float32]  # (K, E)
    coefficients: Complex  # (K, Py, Pxh)
    filters: Image  # (K, Py, Pxh) radial Wiener filters
    known: NDArray[np.bool_]  # (Py, Px) where the images are known
    confusion: Array  # (E, 2) px, shift that a frame's chemistry looks like, as far as it was taken out

    def expected(self, e: int, shift_px: Array, own: Complex) -> Complex:
        """Return the coefficients of what all other frames expect frame `e` to show at `shift_px`.

        `own` are the frame's own coefficients (Py, Pxh), whose share in the images is taken out.  It was
        added at the same shift, so it is taken out where the frame is.
        """
        along_y, along_x = self.canvas.phases(shift_px[None])
        total = np.tensordot(self.spectra[:, e], self.coefficients, axes=1) * along_y[0] * along_x[0]
        share = np.tensordot(self.spectra[:, e] ** 2, self.filters, axes=1)
        leverage = min(float(np.sum(self.spectra[:, e] ** 2)), 0.9)
        return np.asarray((total - share * own) / np.float32(1 - leverage), np.complex64)

    def first(self, n: int) -> Template:
        """Return the model of the first `n` spectra."""
        return replace(
            self,
            spectra=self.spectra[:n],
            coefficients=self.coefficients[:n],
            filters=self.filters[:n],
        )

    def known_in_frame(self, shift_px: Array) -> NDArray[np.bool_]:
        """Return where in a frame (Y, X) at `shift_px` the images are known."""
        n_y, n_x = self.canvas.shape
        steps = np.round(shift_px / self.canvas.binning).astype(int)
        top = np.clip(self.canvas.origin - steps, 0, np.array(self.canvas.size) - self.canvas.shape)
        return self.known[top[0] : top[0] + n_y, top[1] : top[1] + n_x]


def parts_of(n_frames: int) -> list[range]:
    """Return the numbers of the frames, a few at a time."""
    return [range(a, min(a + FRAMES_AT_ONCE, n_frames)) for a in range(0, n_frames, FRAMES_AT_ONCE)]


def add_up(level: Level, canvas: Canvas, state: State, *, apart: bool = True) -> Template:
    """Return the model's images: frames moved back, weighted by the spectra, over how many saw each pixel.

    Parameters
    ----------
    level : Level
    canvas : Canvas
        Large enough for all shifts of `state`.
    state : State
    apart : bool
        Whether what a shift of the first image looks like is taken out of the others: it may be motion or
        chemistry.
    """
    spectra = np.where(state.used, state.spectra, 0).astype(np.float32)
    sums = _moved_sums(level, canvas, state, spectra)
    coverage = _coverage(level, canvas, state, spectra[0] ** 2 / max(float(np.sum(spectra[0] ** 2)), TINY))
    inside = np.clip((coverage - LEAST_COVERAGE) / (FULL_COVERAGE - LEAST_COVERAGE), 0, 1)
    gain = (inside / np.maximum(coverage, LEAST_COVERAGE)).astype(np.float32)
    low, high = INNER_COVERAGE
    inner = (np.clip((coverage - low) / (high - low), 0, 1)).astype(np.float32)
    noise = float(np.sum(inner**2 * gain))
    planes = [canvas.plane(each) * gain for each in sums]
    if len(planes) > 1:
        _separate(level, canvas, state, spectra, planes, coverage)
    images = np.stack([canvas.of_plane(plane) for plane in planes])
    confusion = np.zeros((len(level), 2))
    if len(images) > 1 and apart:
        images[1:], amounts = _without_shift(canvas, images)
        planes = [canvas.plane(each) for each in images]
        confusion = CONFUSED * _as_shift(spectra, amounts) * level.binning
    powers = [np.abs(canvas.of_plane(plane * inner)) ** 2 for plane in planes]
    filters = np.stack([_wiener(canvas, power, noise) for power in powers])
    known = ndimage.binary_erosion(coverage > FULL_COVERAGE, iterations=BORDER)
    return Template(canvas, spectra, images * filters, filters, known, confusion)


def by_radius(canvas: Canvas, power: NDArray[np.floating]) -> tuple[NDArray[np.intp], Array, Array]:
    """Return the ring of each coefficient, and the mean power and number of coefficients of each ring.

    Means are taken over five rings, so that they are smooth.
    """
    rings = (canvas.radius * max(canvas.size) / RING).astype(np.intp)
    pairs = np.broadcast_to(canvas.pairs, rings.shape)
    counts = np.bincount(rings.ravel(), pairs.ravel())
    sums = np.bincount(rings.ravel(), (power * pairs).ravel())
    five = np.ones(5)
    n_near = np.convolve(counts, five, "same")
    return rings, np.convolve(sums, five, "same") / np.maximum(n_near, 1), np.maximum(n_near, 1)


def _moved_sums(level: Level, canvas: Canvas, state: State, spectra: NDArray[np.float32]) -> Complex:
    """Return for each spectrum the sum of all frames moved back, (K, Py, Pxh)."""
    total = np.zeros((len(spectra), canvas.size[0], len(canvas.f_x)), np.complex64)
    for part in _partial_sums(level, canvas, state, spectra):
        total += part
    return total


def _partial_sums(
    level: Level, canvas: Canvas, state: State, spectra: NDArray[np.float32]
) -> Iterator[Complex]:
    def of(part: list[int]) -> Complex:
        frames = np.stack([level.frame(e, state.offset[e])[0] for e in part]) * level.window
        moved = canvas.coefficients(frames)
        along_y, along_x = canvas.phases(-state.shifts[part])
        moved *= along_y
        moved *= along_x
        sums = spectra[:, part] @ moved.reshape(len(part), -1)
        return np.asarray(sums.reshape(len(spectra), *moved.shape[1:]), np.complex64)

    used = np.flatnonzero(spectra.any(axis=0))
    parts = [used[list(part)].tolist() for part in parts_of(len(used))]
    yield from in_threads(of, parts, n_threads=N_THREADS, n_ahead=N_THREADS)


def _coverage(level: Level, canvas: Canvas, state: State, weight: NDArray[np.float32]) -> Image:
    """Return the sum of the weights (E,) of the frames that saw each pixel of the canvas.

    It is 1 where all of them did, if the weights are squares of a spectrum.
    """
    along_y, along_x = canvas.phases(-state.shifts)
    mixed = np.tensordot(along_y[:, :, 0] * weight[:, None], along_x[:, 0], axes=(0, 0))
    window = canvas.coefficients(level.window)
    return canvas.plane(np.asarray(mixed * window, np.complex64))


def _separate(
    level: Level,
    canvas: Canvas,
    state: State,
    spectra: NDArray[np.float32],
    planes: list[Image],
    coverage: Image,
) -> None:
    """Separate the images near the border; changes `planes`.

    Over all frames the spectra are orthogonal; over those that saw a pixel near the border they are not.
    """
    ring = (coverage > FULL_COVERAGE) & (coverage < COMPLETE)
    k = len(spectra)
    normal = np.empty((int(ring.sum()), k, k), np.float32)
    for i in range(k):
        for j in range(i, k):
            seen = _coverage(level, canvas, state, spectra[i] * spectra[j])[ring]
            normal[:, i, j] = normal[:, j, i] = seen / coverage[ring]
    steady = np.float32(STEADY) * np.eye(k, dtype=np.float32)
    right = np.stack([plane[ring] for plane in planes], axis=-1) * np.float32(1 + STEADY)
    solved = np.linalg.solve(normal + steady, right[..., None])[..., 0]
    for plane, values in zip(planes, solved.T, strict=True):
        plane[ring] = values


def _without_shift(canvas: Canvas, images: Complex) -> tuple[Complex, Array]:
    """Return the second and further images without their part along the derivatives of the first, and it."""
    slopes = np.stack([canvas.d_y * images[0], canvas.d_x * images[0]])
    flat = slopes.reshape(2, -1)
    weights = np.broadcast_to(canvas.pairs, images.shape[1:]).ravel()
    normal = (flat.conj() * weights) @ flat.T
    rest = images[1:].reshape(len(images) - 1, -1)
    amounts = np.linalg.lstsq(normal.real, ((flat.conj() * weights) @ rest.T).real, rcond=None)[0]
    left = (rest - amounts.T.astype(np.float32) @ flat).reshape(images[1:].shape)
    return np.asarray(left, np.complex64), np.asarray(amounts.T, np.float64)


def _as_shift(spectra: NDArray[np.float32], amounts: Array) -> Array:
    """Return the shift (E, 2), in pixels of the level, that the parts `amounts` (K - 1, 2) look like.

    An image that is the slope of the first moves a frame by the ratio of their spectra.  Frames with little
    of the first are moved by no more than those with a tenth of its greatest amount.
    """
    first = spectra[0].astype(np.float64)
    floor = 0.1 * np.abs(first).max()
    ratio = spectra[1:] / np.where(np.abs(first) > floor, first, np.where(first < 0, -floor, floor))
    shift = -ratio.T @ amounts
    return np.asarray(shift - first**2 @ shift / np.sum(first**2))


def _wiener(canvas: Canvas, power: NDArray[np.floating], noise: float) -> Image:
    """Return the radial Wiener filter of an image with that power and white noise of power `noise`."""
    rings, mean, counts = by_radius(canvas, power)
    signal = np.maximum(mean - noise * (1 + CAUTION / np.sqrt(counts / 2)), 0)
    return np.asarray((signal / (signal + noise))[rings], np.float32)
