"""Scenes made of one body or a whole field of matter: catalyst, wedge, brine."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xanesum.phantom._drawing import Sketch, random_field, scatter_spots, soft_step, tile, wobbly_grid

__all__ = ["brine", "catalyst", "inclusions", "wedge"]

MATTER_SHARE: Final = 0.48  # largest thickness of the wedge over that of its inclusions; see `inclusions`

Image = NDArray[np.float32]


def catalyst(shape: tuple[int, int], rng: np.random.Generator) -> Sketch:
    """Draw an irregular cracking-catalyst body in projection: rough, porous, with dense metal spots."""
    unit = min(shape)
    inside = _lump(shape, rng)
    depth = ndimage.distance_transform_edt(inside).astype(np.float32) / unit
    cells, border_px = tile(
        wobbly_grid(shape, wobble_px=0.008 * unit, rng=rng), pitch_px=max(3, 0.055 * unit), rng=rng
    )
    density = rng.standard_normal(cells.max() + 1, dtype=np.float32)[cells]
    rough = random_field(shape, coarse_px=0.3 * unit, fine_px=1.5, slope=1.5, rng=rng)
    bulge = np.sqrt(1 - (1 - np.minimum(depth / 0.3, 1)) ** 2)
    solid = (1 + 0.05 * density) * (1 + 0.14 * rough) * (1 - 0.12 * np.exp(-((border_px / 1.2) ** 2)))
    body = bulge * solid * _macropores(shape, rng)
    rim = inside * (0.15 + np.exp(-depth / 0.03)) * np.exp(rough)
    radii_px = (1.0, max(1.2, 0.008 * unit), max(1.4, 0.015 * unit))
    metal = scatter_spots(rim, n_spots=int(rng.integers(120, 200)), radii_px=radii_px, rng=rng)
    score = _chemistry(shape, rng) + np.exp(-depth / 0.12) * rng.choice([-1.2, 1.2]) + 0.4 * density
    return Sketch(np.where(inside, np.maximum(body, 0) + 0.4 * metal, 0).astype(np.float32), score, cells)


def wedge(shape: tuple[int, int], rng: np.random.Generator) -> Sketch:
    """Draw a slice through a wedge-shaped piece: layers within layers, porous at many scales."""
    unit = min(shape)
    along, across = _wedge_axes(shape, rng)
    bend = random_field(shape, coarse_px=0.5 * unit, fine_px=2, slope=1.9, rng=rng)
    level = across + 0.03 * bend
    layer = np.searchsorted(_limits(0.012, 0.09, rng), level)
    lamina = np.searchsorted(_limits(0.004, 0.02, rng), level + 0.01 * bend)
    grey = rng.uniform(0.45, 1, layer.max() + 1)[layer] * rng.uniform(0.86, 1, lamina.max() + 1)[lamina]
    fine = random_field(shape, coarse_px=8, fine_px=1.5, rng=rng)
    grid = np.stack([level, 0.6 * along]).astype(np.float32) * unit
    blocks, seam_px = tile(grid, pitch_px=max(3, 0.05 * unit), rng=rng)
    grey = grey * rng.uniform(0.9, 1, blocks.max() + 1)[blocks] * (1 - 0.3 * np.exp(-(seam_px**2)))
    matter = grey * (1 + 0.03 * fine) * _layer_pores(layer, rng)
    outside_px = unit * np.maximum(np.abs(across) - (0.06 + 0.40 * along), np.abs(along - 0.5) - 0.46)
    shaped = matter * soft_step(-outside_px - 0.004 * unit * (1 + bend), 1.5)
    score = _chemistry(shape, rng) + 0.8 * rng.standard_normal(layer.max() + 1)[layer]
    cells = blocks + (blocks.max() + 1) * layer
    return Sketch(np.maximum(shaped, 0).astype(np.float32), score.astype(np.float32), cells)


def inclusions(shape: tuple[int, int], rng: np.random.Generator) -> Sketch:
    """Draw the slice of `wedge` with dense inclusions in it, which are nearly twice as bright as the rest.

    They set the scale of the values, so noise hides more of the chemistry of the rest.  Their brightness was
    chosen so that maps of the noisy scan are as bad as those that Li et al. (CVPR 2022, Table 1) report of
    their wedge: correlations of 0.64, 0.10 and 0.03 at noise of 10, 60 and 150.
    """
    sketch, unit = wedge(shape, rng), min(shape)
    matter = sketch.thickness / sketch.thickness.max()
    radii_px = (1.2, max(1.5, 0.004 * unit), max(2.0, 0.008 * unit))
    spots = scatter_spots(matter, n_spots=int(rng.integers(60, 120)), radii_px=radii_px, rng=rng)
    bright = np.minimum(1.5 * spots, 1) * (matter > 0.2)
    thickness = np.maximum(np.float32(MATTER_SHARE) * matter, bright)
    return Sketch(thickness.astype(np.float32), sketch.score, sketch.cells)


def brine(shape: tuple[int, int], rng: np.random.Generator) -> Sketch:
    """Draw a slice through porous rock: grains, brine between them, gas bubbles in the brine."""
    unit = min(shape)
    rock_field = random_field(shape, coarse_px=0.15 * unit, fine_px=max(3, 0.035 * unit), slope=0.7, rng=rng)
    gas_field = random_field(shape, coarse_px=0.3 * unit, fine_px=max(3, 0.06 * unit), rng=rng)
    micro = random_field(shape, coarse_px=0.03 * unit, fine_px=3, rng=rng)
    fine = random_field(shape, coarse_px=6, fine_px=1.5, rng=rng)
    rock = soft_step(rock_field + 0.35, 0.15)
    gas = soft_step(np.minimum(-rock_field - 0.65, 2.5 * gas_field - 0.25), 0.15)
    clay = soft_step(micro - 0.9, 0.5) * soft_step(gas_field - 0.5, 0.4) * soft_step(rock_field - 0.1, 0.2)
    grid = wobbly_grid(shape, wobble_px=0.01 * unit, rng=rng)
    cells, border_px = tile(grid, pitch_px=max(3, 0.08 * unit), rng=rng)
    mineral = rng.choice([0.42, 0.46, 0.5, 0.68], cells.max() + 1, p=[0.4, 0.3, 0.2, 0.1])[cells]
    mineral = mineral * (1 - 0.12 * np.exp(-((border_px / 1.0) ** 2))) * (1 - 0.5 * clay)
    grey = rock * mineral + (1 - rock) * (1 - gas) * 0.95 + gas * 0.03
    cells = cells + (cells.max() + 1) * ((rock > 0.5) + 2 * (gas > 0.5))
    return Sketch(np.maximum(grey * (1 + 0.025 * fine), 0).astype(np.float32), _chemistry(shape, rng), cells)


def _chemistry(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return a smooth score of variance 1 with structure from a third to a fifteenth of the field."""
    unit = min(shape)
    return random_field(shape, coarse_px=0.35 * unit, fine_px=0.07 * unit, slope=1.0, rng=rng)


def _lump(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the inside of a rough, irregular outline in the middle of the field."""
    unit = min(shape)
    turn = rng.uniform(0, np.pi)
    y, x = (np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2) / unit
    axes = np.hypot(
        (y * np.cos(turn) + x * np.sin(turn)) / 0.38, (x * np.cos(turn) - y * np.sin(turn)) / 0.47
    )
    coarse = random_field(shape, coarse_px=0.5 * unit, fine_px=0.1 * unit, slope=1.5, rng=rng)
    rough = random_field(shape, coarse_px=0.1 * unit, fine_px=1.5, slope=1.2, rng=rng)
    parts, _ = ndimage.label(1 - axes + 0.09 * coarse + 0.025 * rough > 0)
    return np.asarray(parts == np.bincount(parts[parts > 0]).argmax())


def _macropores(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return what pores of three sizes leave of a body in projection, 0 ... 1, shape (Y, X)."""
    left = np.ones(shape, np.float32)
    for wavelength, loss in ((0.12, 0.4), (0.05, 0.3), (0.02, 0.2)):
        fine_px = max(2.0, 0.7 * wavelength * min(shape))
        field = random_field(shape, coarse_px=1.4 * fine_px, fine_px=fine_px, rng=rng)
        left *= 1 - np.float32(loss) * soft_step(field - 1.1, 0.6)
    return left


def _wedge_axes(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image, Image]:
    """Return coordinates along (0 at the tip, 1 at the base) and across the wedge, over the shorter side."""
    unit = min(shape)
    turn = rng.uniform(-0.25, 0.25) + rng.choice([0, np.pi])
    y, x = (np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2) / unit
    along = x * np.cos(turn) + y * np.sin(turn) + 0.5
    return along.astype(np.float32), (y * np.cos(turn) - x * np.sin(turn)).astype(np.float32)


def _limits(thinnest: float, thickest: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the places of layer borders from -1 to 1, with thicknesses log-uniform between the two."""
    n_layers = int(2 / thinnest)
    limits = np.cumsum(np.exp(rng.uniform(np.log(thinnest), np.log(thickest), n_layers))) - 1
    return limits[limits < 1]


def _layer_pores(layer: NDArray[np.int64], rng: np.random.Generator) -> Image:
    """Return what pores leave of each layer, 0 ... 1: fractal ones, more in some layers, and voids."""
    shape, unit = layer.shape, min(layer.shape)
    fractal = random_field(shape, coarse_px=0.06 * unit, fine_px=2, slope=1.4, rng=rng)
    voids = random_field(shape, coarse_px=0.12 * unit, fine_px=0.03 * unit, rng=rng)
    threshold = rng.choice([0.7, 1.2, 1.8, 4.0], layer.max() + 1)[layer]
    left = (1 - soft_step(fractal - threshold, 0.3)) * (1 - 0.97 * soft_step(voids - 1.7, 0.15))
    return np.asarray(left, np.float32)
