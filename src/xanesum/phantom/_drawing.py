"""Tools to draw scenes: random fields, grains, spots, and chemistry by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

__all__ = [
    "Sketch",
    "assign_states",
    "nearest_two",
    "random_field",
    "scatter_spots",
    "soft_step",
    "tile",
    "wobbly_grid",
]

CROSSED_SHARE: Final = 0.25  # share of the grains with several states; each of the others has one
LEAK: Final = (
    0.02  # share of a grain's own gradient that is kept; a grain that must be split is split along it
)
SHARE_SPREAD: Final = 0.35  # relative spread of the shares of the states about equal ones

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """A scene before its thickness is scaled and its states are chosen."""

    thickness: NDArray[np.float32]  # (Y, X), >= 0, any scale
    score: NDArray[np.float32]  # (Y, X), smooth; the states are its quantiles
    cells: NDArray[np.int64]  # (Y, X), the grain each pixel belongs to, any numbers


def random_field(
    shape: Shape, *, coarse_px: float, fine_px: float, slope: float = 1.0, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a Gaussian random field of mean 0 and variance 1, float32, shape (Y, X).

    Parameters
    ----------
    shape : (int, int)
        Y and X in pixels.
    coarse_px, fine_px : float
        Longest and shortest wavelength; the field is not periodic.
    slope : float
        The amplitude falls as frequency to the power of ``-slope``; at 1 every octave has the same variance.
    rng : numpy.random.Generator
        Draws the phases and amplitudes.
    """
    padded = [fft.next_fast_len(int(n + coarse_px), real=True) for n in shape]
    frequency = np.hypot(fft.fftfreq(padded[0])[:, None], fft.rfftfreq(padded[1])).astype(np.float32)
    amplitude = (frequency**2 + coarse_px**-2) ** (-slope / 2) * np.exp(-2 * (fine_px * frequency) ** 2)
    noise = rng.standard_normal(padded, dtype=np.float32)
    field = fft.irfft2(fft.rfft2(noise) * amplitude.astype(np.float32), padded)[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def soft_step(x: NDArray[Any], width: float) -> NDArray[np.float32]:
    """Return a ramp from 0 to 1 centred on ``x = 0`` and `width` wide: a border drawn without jaggies."""
    ramp = np.asarray(x, np.float32) / np.float32(width) + np.float32(0.5)
    return np.asarray(np.clip(ramp, 0, 1), np.float32)


def wobbly_grid(shape: Shape, *, wobble_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return pixel coordinates (2, Y, X), order (y, x), bent by `wobble_px` rms: no straight borders."""
    coarse_px, fine_px = max(0.06 * min(shape), 3.0), max(0.012 * min(shape), 2.0)
    bend = [random_field(shape, coarse_px=coarse_px, fine_px=fine_px, slope=1.5, rng=rng) for _ in shape]
    return np.indices(shape, dtype=np.float32) + np.float32(wobble_px) * np.stack(bend)


def nearest_two(
    points: NDArray[np.floating], seeds: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest of the `seeds` (S, 2) to each of the `points` (N, 2), and how far its border is.

    The border is the Voronoi one, between the nearest seed and the next; both results have shape (N,).
    At least two seeds, none twice.
    """
    workers = -1 if len(points) > 50_000 else 1  # starting threads costs more than a small search
    distance, index = cKDTree(seeds).query(points, k=2, workers=workers)
    apart = np.linalg.norm(seeds[index[:, 0]] - seeds[index[:, 1]], axis=1)
    border = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * apart)
    return np.asarray(index[:, 0], np.int64), border.astype(np.float32)


def tile(
    grid: NDArray[np.float32], *, pitch_px: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Tile the whole field with grains about `pitch_px` wide.

    Parameters
    ----------
    grid : ndarray, shape (2, Y, X)
        Pixel coordinates, as from `wobbly_grid`; stretch them for elongated grains.
    pitch_px : float
        Square root of the mean area of a grain, in the unit of `grid`.
    rng : numpy.random.Generator
        Draws the seeds.

    Returns
    -------
    cells, border_px : ndarray, shape (Y, X)
        Number of the grain, and distance to its border.
    """
    low, high = grid.min(axis=(1, 2)), grid.max(axis=(1, 2))
    n_seeds = max(4, int(np.prod(high - low) / pitch_px**2))
    cells, border_px = nearest_two(grid.reshape(2, -1).T, rng.uniform(low, high, (n_seeds, 2)))
    return cells.reshape(grid.shape[1:]), border_px.reshape(grid.shape[1:])


def scatter_spots(
    weight: NDArray[np.floating], *, n_spots: int, radii_px: tuple[float, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw round blurred spots with heights 0.3 to 1, more of the small than of the large, shape (Y, X).

    Parameters
    ----------
    weight : ndarray, shape (Y, X)
        How likely a spot's centre falls on each pixel, >= 0, not all 0.
    n_spots : int
        Number of spots.
    radii_px : tuple of float
        Sizes, small to large; each is half as frequent as the one before.
    rng : numpy.random.Generator
        Draws places, sizes and heights.
    """
    cumulative = np.cumsum(weight.ravel(), dtype=np.float64)
    places = np.searchsorted(cumulative, rng.random(n_spots) * cumulative[-1])
    shares = 0.5 ** np.arange(len(radii_px))
    sizes = rng.choice(len(radii_px), n_spots, p=shares / shares.sum())
    heights = rng.uniform(0.3, 1, n_spots).astype(np.float32)
    spots = np.zeros(weight.shape, np.float32)
    for size, radius_px in enumerate(radii_px):
        layer = np.zeros(weight.size, np.float32)
        layer[places[sizes == size]] = heights[sizes == size]
        blurred = gaussian_filter(layer.reshape(weight.shape), radius_px / 1.5)
        spots = np.maximum(spots, np.float32(2 * np.pi * (radius_px / 1.5) ** 2) * blurred)
    return np.minimum(spots, 1)


def assign_states(
    sketch: Sketch, sample: NDArray[np.bool_], *, n_states: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Choose the chemical state of every pixel, uint8, shape (Y, X).

    Most grains have one state, the quantile of their mean score; in the others the states follow the score
    itself, so that some borders cross the structure.  The quantiles are taken over the pixels of the
    `sample` (Y, X), so every state holds at least ``(1 - s) / (1 + s) / n_states`` of them, with s the
    `SHARE_SPREAD`.
    """
    _, cells = np.unique(sketch.cells, return_inverse=True)
    cells = cells.ravel()
    score = sketch.score.ravel().astype(np.float64)
    mean = np.bincount(cells, score) / np.bincount(cells)
    leak = np.where(rng.random(len(mean)) < CROSSED_SHARE, 1.0, LEAK)
    score = mean[cells] + leak[cells] * (score - mean[cells])
    shares = rng.uniform(1 - SHARE_SPREAD, 1 + SHARE_SPREAD, n_states)
    limits = np.quantile(score[sample.ravel()], np.cumsum(shares / shares.sum())[:-1])
    return np.searchsorted(limits, score).astype(np.uint8).reshape(sample.shape)
