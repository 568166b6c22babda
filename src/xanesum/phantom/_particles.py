"""Scenes made of round particles of primary grains: particle, round, electrode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from xanesum.phantom._drawing import Sketch, nearest_two, random_field, soft_step, wobbly_grid

__all__ = ["electrode", "particle", "round_"]

REACH: Final = 1.08  # farthest distance of a grain from the centre, in units of the nominal radius
BEND: Final = 0.004  # rms bend of outlines and seams, in units of the shorter side of the field
MOST_GRAINS: Final = 1_000_000  # more than one particle has; keeps numbers of grains unique in a scene

Image = NDArray[np.float32]
Circle = tuple[float, float, float]  # y, x, radius in px


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """The images that the particles of a scene are drawn on, and fields that they share."""

    grid: Image  # (2, Y, X), bent pixel coordinates
    opening: Image  # (Y, X), 0 ... 1: width of cracks
    smooth: Image  # (Y, X), chemical score that does not depend on particles
    numbers: Iterator[int]  # numbers of the particles, from 1
    thickness: Image  # (Y, X), sum over all particles
    thickest: Image  # (Y, X), that of the thickest particle, which sets the chemistry of the pixel
    score: Image  # (Y, X), chemical score
    cells: NDArray[np.int64]  # (Y, X), number of the grain; 0 outside all particles


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """The pixels within reach of one particle's centre, as N-vectors."""

    at: tuple[NDArray[np.int64], NDArray[np.int64]]  # y and x of the pixels
    rho: Image  # (N,), distance to the centre, in units of the radius in that direction
    direction: Image  # (N, 2), unit vectors from the centre
    radius_px: float


def particle(shape: tuple[int, int], rng: np.random.Generator) -> Sketch:
    """Draw secondary cathode particles in projection: spheres of grains, overlapping, cracked, porous."""
    canvas = _canvas(shape, rng)
    texture = 1 + 0.03 * random_field(shape, coarse_px=8, fine_px=1.5, rng=rng)
    for circle in _agglomerate(shape, coverage=rng.uniform(0.44, 0.56), rng=rng):
        patch = _patch(canvas, circle, lumps=0.05, rng=rng)
        stretch = rng.choice([1.0, 1.8])
        pitch_px = max(2.5, 0.03 * min(shape))
        cells, seam, density = _grains(patch, pitch_px=pitch_px, stretch=stretch, rng=rng)
        for _ in range(2):  # a projection shows several layers of grains at once
            _, more_seam, more_density = _grains(patch, pitch_px=1.2 * pitch_px, stretch=stretch, rng=rng)
            seam, density = seam + 0.6 * more_seam, density + 0.6 * more_density
        rho = patch.rho * (1 + 0.022 * density)
        chord = _chord(rho, 1.0) - rng.uniform(0, 0.8) * _chord(rho, rng.uniform(0.1, 0.4))
        cracks = rng.uniform(0.3, 0.7) * _cracks(canvas, patch, rng=rng)
        solid = (1 + 0.07 * density) * (1 - 0.10 * seam) * (1 - cracks)
        thickness = patch.radius_px * chord * solid * texture[patch.at]
        _stamp(canvas, patch, thickness, cells=cells, score=_score(canvas, patch, rng))
    return Sketch(canvas.thickness, canvas.score, canvas.cells)


def round_(shape: tuple[int, int], rng: np.random.Generator) -> Sketch:
    """Draw one to three spheres in projection, with concentric shells of different density, and cracks."""
    canvas = _canvas(shape, rng)
    texture = 1 + 0.04 * random_field(shape, coarse_px=12, fine_px=1.5, rng=rng)
    for circle in _few(shape, rng):
        patch = _patch(canvas, circle, lumps=0.02, rng=rng)
        cells, seam, density = _grains(patch, pitch_px=max(2.5, 0.05 * min(shape)), stretch=2.0, rng=rng)
        n_limits = rng.integers(3, 6)
        limits = (np.arange(1, n_limits + 1) + rng.uniform(-0.35, 0.35, n_limits)) / (n_limits + 1)
        shelled, split, shell = _shells(canvas, patch, limits, rng=rng)
        cracks = np.maximum(_cracks(canvas, patch, rng=rng), 0.8 * split)
        solid = (1 + 0.04 * density) * (1 - 0.08 * seam) * (1 - 0.45 * cracks)
        thickness = patch.radius_px * shelled * solid * texture[patch.at]
        score = _score(canvas, patch, rng) + 1.5 * rng.permutation(np.linspace(0, 1, n_limits + 1))[shell]
        _stamp(canvas, patch, thickness, cells=cells * (n_limits + 1) + shell, score=score)
    return Sketch(canvas.thickness, canvas.score, canvas.cells)


def electrode(shape: tuple[int, int], rng: np.random.Generator) -> Sketch:
    """Draw a slice through a composite electrode: packed particles with sharp borders, in porous binder."""
    canvas = _canvas(shape, rng)
    texture = 1 + 0.025 * random_field(shape, coarse_px=8, fine_px=1.5, rng=rng)
    for circle in _pack(shape, rng):
        patch = _patch(canvas, circle, lumps=0.08, rng=rng)
        pitch_px = max(2.5, min(min(shape) * rng.uniform(0.018, 0.035), 0.6 * patch.radius_px))
        cells, seam, density = _grains(patch, pitch_px=pitch_px, stretch=rng.choice([1.0, 1.6]), rng=rng)
        inside = soft_step((1 - patch.rho * (1 + 0.015 * density)) * patch.radius_px, 1.5)
        core = soft_step((patch.rho * (1 + 0.1 * density) - _hollow(patch, rng)) * patch.radius_px, 1.5)
        cracks = soft_step(_cracks(canvas, patch, rng=rng) - 0.5, 0.5)
        solid = (1 + 0.05 * density) * (1 - 0.18 * seam) * (1 - 0.92 * cracks) * texture[patch.at]
        grey = rng.uniform(0.6, 0.95) * inside * core * solid
        _stamp(canvas, patch, grey, cells=cells, score=_score(canvas, patch, rng))
    thickness = np.maximum(canvas.thickest, _binder(shape, rng))
    return Sketch(thickness, canvas.score, canvas.cells)


def _canvas(shape: tuple[int, int], rng: np.random.Generator) -> _Canvas:
    unit = min(shape)
    opening = random_field(shape, coarse_px=0.3 * unit, fine_px=0.05 * unit, rng=rng)
    smooth = random_field(shape, coarse_px=0.3 * unit, fine_px=0.06 * unit, slope=1.0, rng=rng)
    return _Canvas(
        grid=wobbly_grid(shape, wobble_px=BEND * unit, rng=rng),
        opening=soft_step(opening, 2.0),
        smooth=smooth,
        numbers=count(1),
        thickness=np.zeros(shape, np.float32),
        thickest=np.zeros(shape, np.float32),
        score=smooth.copy(),
        cells=np.zeros(shape, np.int64),
    )


def _patch(canvas: _Canvas, circle: Circle, *, lumps: float, rng: np.random.Generator) -> _Patch:
    """Cut out the pixels around `circle`, whose outline is wavy by about `lumps` of the radius."""
    y, x, radius_px = circle
    orders = np.arange(2, 9)
    heights = 1.5 * lumps * rng.standard_normal(len(orders)) / orders
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    reach = radius_px * REACH * (1 + np.abs(heights).sum()) + 5 * BEND * min(canvas.smooth.shape) + 2
    window = tuple(
        slice(max(0, int(c - reach)), max(0, min(n, int(c + reach) + 2)))
        for c, n in zip((y, x), canvas.thickness.shape, strict=True)
    )
    dy, dx = canvas.grid[0][window] - np.float32(y), canvas.grid[1][window] - np.float32(x)
    distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    outline = np.ones_like(distance)
    for order, height, phase in zip(orders, heights, phases, strict=True):
        outline += np.float32(height) * np.cos(order * angle + np.float32(phase))
    rho = distance / np.float32(radius_px) / np.maximum(outline, 0.5)
    near = np.nonzero(rho < REACH)
    direction = np.stack([dy, dx], axis=-1)[near] / np.maximum(distance[near], 1e-3)[:, None]
    at = (near[0] + window[0].start, near[1] + window[1].start)
    return _Patch(at, rho[near], direction, radius_px)


def _grains(
    patch: _Patch, *, pitch_px: float, stretch: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Image, Image]:
    """Fill a particle with grains, elongated along the radius by `stretch`.

    The power ``rho ** (1 / stretch)`` deforms the plane: cells that are round in it are elongated along the
    radius in the image.  Returns vectors (N,): the number of the grain; the seam, 1 on a border and 0 away
    from it; and a density of mean 0 and variance 1 that is the same within a grain.
    """
    n_seeds = max(3, int(np.pi * (patch.radius_px / pitch_px) ** 2))
    angle = rng.uniform(0, 2 * np.pi, n_seeds)
    seeds = rng.random(n_seeds) ** (0.5 / stretch) * np.array([np.sin(angle), np.cos(angle)])
    bent = patch.rho ** np.float32(1 / stretch)
    cells, border = nearest_two(bent[:, None] * patch.direction, seeds.T)
    border_px = border * patch.radius_px * np.maximum(patch.rho, 0.05) ** (1 - 1 / stretch)
    seam = np.exp(-((border_px / max(0.8, 0.06 * pitch_px)) ** 2))
    return cells, seam, rng.standard_normal(n_seeds, dtype=np.float32)[cells]


def _cracks(canvas: _Canvas, patch: _Patch, *, rng: np.random.Generator) -> Image:
    """Return 1 in a crack and 0 outside, (N,): borders of a few fragments, wide where `opening` is large."""
    n_seeds = rng.integers(4, 14)
    angle = rng.uniform(0, 2 * np.pi, n_seeds)
    seeds = rng.random(n_seeds) ** 0.3 * np.array([np.sin(angle), np.cos(angle)])
    bent = np.sqrt(patch.rho)
    border_px = nearest_two(bent[:, None] * patch.direction, seeds.T)[1] * patch.radius_px * (0.2 + bent)
    widest_px = (0.8 + 0.05 * patch.radius_px * rng.random()) * min(1, (patch.radius_px / 18) ** 2)
    width_px = widest_px * canvas.opening[patch.at] + 1e-3
    return np.asarray(np.exp(-((border_px / width_px) ** 2)) * np.minimum(1, width_px), np.float32)


def _shells(
    canvas: _Canvas, patch: _Patch, limits: NDArray[np.float64], *, rng: np.random.Generator
) -> tuple[Image, Image, NDArray[np.int64]]:
    """Return projected thickness over radius, gaps between shells, and the shell's number, each (N,)."""
    density = rng.uniform(0.35, 1, len(limits) + 1)
    edges = np.append(limits, 1.0)
    chords = [_chord(patch.rho, edge) for edge in edges]
    steps = density - np.append(density[1:], 0)
    shelled = sum(step * chord for step, chord in zip(steps, chords, strict=True))
    gap_px = np.abs(patch.rho[:, None] - limits[1:]) * patch.radius_px
    split = np.exp(-((gap_px.min(axis=1) / 1.2) ** 2)) * canvas.opening[patch.at]
    return np.asarray(shelled, np.float32), split, np.searchsorted(limits, patch.rho)


def _hollow(patch: _Patch, rng: np.random.Generator) -> float:
    """Return the radius of the void in the middle, in units of the particle's; negative for no void."""
    share = rng.uniform(0.1, 0.3) if rng.random() < 0.25 else -1.0
    return share if patch.radius_px > 12 else -1.0


def _chord(rho: Image, limit: float) -> Image:
    """Return half the chord of a sphere of radius `limit` at distance `rho`, 0 outside."""
    return np.asarray(np.sqrt(np.maximum(np.float32(limit) ** 2 - rho**2, 0)), np.float32)


def _score(canvas: _Canvas, patch: _Patch, rng: np.random.Generator) -> Image:
    """Return a particle's chemical score, (N,): its own level, a gradient core to shell, a smooth field."""
    level, gradient = rng.normal(0, 0.4), rng.choice([1.5, 1.5, -1.0])
    return np.asarray(level + gradient * patch.rho**2 + canvas.smooth[patch.at], np.float32)


def _stamp(
    canvas: _Canvas, patch: _Patch, thickness: Image, *, cells: NDArray[np.int64], score: NDArray[np.floating]
) -> None:
    """Add a particle to the canvas; where particles overlap, the thickest one sets the chemistry."""
    thickness = np.maximum(thickness, 0)
    canvas.thickness[patch.at] += thickness
    wins = thickness > canvas.thickest[patch.at]
    at = (patch.at[0][wins], patch.at[1][wins])
    canvas.thickest[at], canvas.score[at] = thickness[wins], score[wins]
    canvas.cells[at] = next(canvas.numbers) * MOST_GRAINS + cells[wins]


def _agglomerate(shape: tuple[int, int], *, coverage: float, rng: np.random.Generator) -> list[Circle]:
    """Place particles that touch and overlap until they cover that share of the field."""
    unit, (yy, xx) = min(shape), np.ogrid[: shape[0], : shape[1]]
    covered = np.zeros(shape, bool)
    circles: list[Circle] = []
    for _ in range(400):
        radius_px = unit * rng.choice([rng.uniform(0.13, 0.23), rng.uniform(0.03, 0.08)], p=[0.75, 0.25])
        y, x = rng.uniform(0.1, 0.9, 2) * shape
        if circles and rng.random() < 0.7:
            near_y, near_x, near_px = circles[rng.integers(len(circles))]
            angle, apart = rng.uniform(0, 2 * np.pi), (radius_px + near_px) * rng.uniform(0.65, 0.95)
            y, x = near_y + apart * np.sin(angle), near_x + apart * np.cos(angle)
        disc = (yy - y) ** 2 + (xx - x) ** 2 < radius_px**2
        if 0 < y < shape[0] and 0 < x < shape[1] and disc.any() and covered[disc].mean() < 0.25:
            circles.append((y, x, radius_px))
            covered |= disc
        if covered.mean() > coverage:
            break
    return circles


def _few(shape: tuple[int, int], rng: np.random.Generator) -> list[Circle]:
    """Place one large sphere near the middle and up to two smaller ones beside it."""
    unit = min(shape)
    radius_px = unit * rng.uniform(0.30, 0.38)
    y, x = np.array(shape) / 2 + unit * rng.uniform(-0.08, 0.08, 2)
    circles = [(y, x, radius_px)]
    start = rng.uniform(0, 2 * np.pi)
    for i in range(rng.integers(0, 3)):
        small_px, angle = unit * rng.uniform(0.08, 0.18), start + i * rng.uniform(1.5, 3)
        apart = radius_px + small_px * rng.uniform(0.5, 1)
        circles.append((y + apart * np.sin(angle), x + apart * np.cos(angle), small_px))
    return circles


def _pack(shape: tuple[int, int], rng: np.random.Generator) -> list[Circle]:
    """Place discs without overlap, large ones first, as many of each size as fit; none below 2 px."""
    unit = min(shape)
    placed = np.empty((0, 3))
    for radius_px in np.geomspace(0.17, 0.012, 12) * unit:
        if radius_px >= 2:
            n_tries = int(min(4000, 12 * np.prod(shape) / (np.pi * radius_px**2)))
            places = rng.uniform(-0.03 * unit, np.array(shape) + 0.03 * unit, (n_tries, 2))
            tries = np.column_stack([places, radius_px * rng.uniform(0.85, 1.15, n_tries)])
            placed = np.vstack([placed, *_fitting(tries, placed)])
    return [(y, x, radius_px) for y, x, radius_px in placed]


def _fitting(tries: NDArray[np.float64], placed: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return those of the discs `tries` (N, 3), first come first served, that touch none `placed` (M, 3)."""
    clear = np.all(cdist(tries[:, :2], placed[:, :2]) > tries[:, 2:] + placed[:, 2], axis=1)
    fitting: list[NDArray[np.float64]] = []
    for disc in tries[clear]:
        y, x, radius_px = np.array(fitting).reshape(-1, 3).T
        if np.all(np.hypot(y - disc[0], x - disc[1]) > radius_px + disc[2]):
            fitting.append(disc)
    return fitting


def _binder(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return carbon and binder, weakly absorbing, with pores of nothing, shape (Y, X)."""
    field = random_field(shape, coarse_px=0.08 * min(shape), fine_px=2, slope=1.2, rng=rng)
    return np.asarray(soft_step(field + 0.6, 0.3) * np.clip(0.06 + 0.012 * field, 0, 0.09), np.float32)
