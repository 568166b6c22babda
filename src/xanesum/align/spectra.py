"""Spectra of the model: leading eigenvectors of the aligned frames' products, less the noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xanesum.align.frames import Canvas, Image, Level, tukey
from xanesum.align.state import State
from xanesum.align.template import Template, parts_of
from xanesum.storage.memory import N_THREADS
from xanesum.storage.prefetch import in_threads

__all__ = ["explained_by_others", "fit_spectra"]

Array = NDArray[np.float64]

LEAST_COMMON = 0.15  # of the field that all frames must see, so that spectra can be sought there
KNOWN_PX = 1.5  # standard error of a shift up to which a frame limits the common region
FADE_PX = 12  # pixels over which the common region fades out
REACH_OF_NOISE = 1.5  # noise reaches as far up as down; an eigenvalue must exceed it by this factor


def fit_spectra(level: Level, template: Template, state: State, *, most: int) -> Array:
    """Return orthonormal spectra (K, E), 1 <= K <= `most`, of the frames over their noise.

    Only the region counts that all well-placed frames see: what enters and leaves the field with the motion
    would be a spectrum of its own.  A constant is taken out, and what a shift of the first image looks like
    if more than one spectrum is sought.  Where the common region is small, the spectra stay as they are.
    """
    used = np.flatnonzero(state.used)
    gram = _products(level, template, state, used, slopes=most > 1)
    if gram is None:
        return state.spectra[:1]
    values, vectors = np.linalg.eigh(gram)
    n_above = int(np.sum(values[::-1][:most] > REACH_OF_NOISE * abs(values[0])))
    spectra = np.zeros((max(1, n_above), len(level)))
    spectra[:, used] = vectors[:, ::-1].T[: len(spectra)]
    return spectra * np.where(spectra.sum(axis=1) < 0, -1, 1)[:, None]


def explained_by_others(
    level: Level, template: Template, state: State, frames: NDArray[np.intp], *, most: int
) -> Array:
    """Return the share of the power of some frames that up to `most` images of all others explain, (n,).

    The images are those of the other frames alone, so that a frame cannot explain itself.  Where the common
    region is small, the share is that which the model explains.
    """
    used = np.flatnonzero(state.used)
    gram = _products(level, template, state, used, slopes=False)
    if gram is None:
        return state.explained[frames]
    shares = []
    for e in np.searchsorted(used, frames):
        others = np.delete(np.arange(len(used)), e)
        values, vectors = np.linalg.eigh(gram[np.ix_(others, others)])
        floor = REACH_OF_NOISE * abs(values[0])
        values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
        along = (vectors.T @ gram[others, e])[values > floor]
        shares.append(np.sum(along**2 / values[values > floor]) / max(gram[e, e], 1e-12))
    return np.array(shares)


def _products(
    level: Level, template: Template, state: State, used: NDArray[np.intp], *, slopes: bool
) -> Array | None:
    """Return the products of the used frames over the common region, less the noise; None if it is small."""
    region = common_region(level, template.canvas, state)
    if region is None:
        return None
    fade = max(2, FADE_PX // level.binning)
    window = np.outer(*(tukey(each.stop - each.start, fade) for each in region)).astype(np.float32)
    rows = _aligned(level, template, state, used, region) * window.ravel()
    rows -= (rows @ (basis := _nuisances(template, region, window, slopes=slopes))) @ basis.T
    gram = (rows @ rows.T).astype(np.float64)
    passed = float(np.sum(template.filters[0] ** 2 * template.canvas.pairs)) / np.prod(template.canvas.size)
    gram[np.diag_indices(len(gram))] -= passed * float(np.sum(window**2))
    return gram


def common_region(level: Level, canvas: Canvas, state: State) -> tuple[slice, slice] | None:
    """Return the part of the canvas that all well-placed frames see, or None if it is small."""
    placed = state.used & (state.own_sigma.max(axis=1) < KNOWN_PX) & ~state.vague
    shifts = state.shifts[placed if placed.sum() > 1 else state.used] / canvas.binning
    low, high = np.ceil(-shifts.min(axis=0)).astype(int), np.floor(-shifts.max(axis=0)).astype(int)
    starts = np.maximum(low, 0) + canvas.origin
    stops = np.minimum(high, 0) + canvas.origin + canvas.shape
    sides = stops - starts
    if sides.min() < 4 or np.prod(sides / canvas.shape) < LEAST_COMMON:
        return None
    return slice(int(starts[0]), int(stops[0])), slice(int(starts[1]), int(stops[1]))


def _aligned(
    level: Level, template: Template, state: State, used: NDArray[np.intp], region: tuple[slice, slice]
) -> Image:
    """Return the used frames, moved back and filtered, as rows over the pixels of the region.

    What is missing is filled by the model: only the difference from it is moved.
    """
    canvas = template.canvas
    planes = canvas.plane(template.coefficients)[(slice(None), *region)]
    planes = planes.reshape(len(planes), -1)

    def of(part: range) -> Image:
        rows = np.empty((len(part), planes.shape[1]), np.float32)
        for row, e in zip(rows, used[part], strict=True):
            along_y, along_x = canvas.phases(state.shifts[e : e + 1])
            model = np.tensordot(template.spectra[:, e], template.coefficients, axes=1)
            frame, there = level.frame(e, state.offset[e])
            rest = (frame - canvas.frames(model * along_y[0] * along_x[0])) * (level.window * there)
            back = canvas.coefficients(rest) * (along_y[0].conj() * along_x[0].conj() * template.filters[0])
            row[...] = canvas.plane(np.asarray(back, np.complex64))[region].ravel()
            row += template.spectra[:, e] @ planes
        return rows

    parts = parts_of(len(used))
    return np.concatenate(list(in_threads(of, parts, n_threads=N_THREADS, n_ahead=N_THREADS)))


def _nuisances(template: Template, region: tuple[slice, slice], window: Image, *, slopes: bool) -> Image:
    """Return orthonormal columns: a constant and the derivatives of the first image, under the window."""
    canvas = template.canvas
    columns = [np.ones_like(window)]
    if slopes:
        for derivative in (canvas.d_y, canvas.d_x):
            slope = np.asarray(derivative * template.coefficients[0], np.complex64)
            columns.append(canvas.plane(slope)[region])
    under = np.stack([(column * window).ravel() for column in columns], axis=1)
    return np.asarray(np.linalg.qr(under)[0], np.float32)
