"""Figures of particles and regions: for the report, and as PNG and SVG for a paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from xanesum.report.colours import INK, LINES, MAPS, MISSING
from xanesum.report.drawing import (
    Draw,
    Picture,
    axes_of_image,
    limits_of,
    make_picture,
    mark_scale,
    save_figure,
    size_of_pixel,
)
from xanesum.report.texts import MAP_LABELS, UNITS
from xanesum.storage.atomic import atomic_paths

__all__ = ["particle_pictures", "region_pictures", "write_particle_figures", "write_region_figures"]

COLORS = (*LINES, "#56B4E9", INK)
SIZE_IN, RATIO = 4.2, 0.75  # width, a little more than a column of a journal, and height over width
DPI = 300
SUFFIXES = (".png", ".svg")
MOST_NUMBERS = 60  # particles that get a number in the image


def particle_pictures(particles: xr.Dataset) -> list[Picture]:
    """Return the figures of particles for a report."""
    return [make_picture(draw, caption, ratio=ratio) for _, draw, caption, ratio in _figures(particles)]


def region_pictures(regions: xr.Dataset) -> list[Picture]:
    """Return the figures of regions for a report: where they are, and their spectra."""
    return [make_picture(draw, caption) for _, draw, caption in _region_figures(regions)]


def write_particle_figures(folder: Path, particles: xr.Dataset) -> tuple[Path, ...]:
    """Write the figures as PNG (300 dpi) and SVG.

    Raises
    ------
    WriteError
        If a file cannot be written.
    """
    return tuple(
        path
        for name, draw, _, ratio in _figures(particles)
        for path in _save(folder, f"particles_{name}", draw, ratio)
    )


def write_region_figures(folder: Path, regions: xr.Dataset) -> tuple[Path, ...]:
    """Write the figure of the spectra of regions, in the same way."""
    _, draw, _ = next(iter(_region_figures(regions)))
    return tuple(_save(folder, "regions", draw, RATIO))


def _save(folder: Path, name: str, draw: Draw, ratio: float) -> tuple[Path, ...]:
    paths = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    with atomic_paths(*paths) as temporaries:
        targets = dict(zip(("png", "svg"), temporaries, strict=True))
        save_figure(draw, targets, width_in=SIZE_IN, ratio=ratio, dpi=DPI)
    return tuple(paths)


def _figures(particles: xr.Dataset) -> Iterator[tuple[str, Draw, str, float]]:
    """Yield name, function, caption and ratio of each figure."""
    height, width = particles["map"].shape
    n = particles.sizes["particle"]
    ratio = float(np.clip(0.74 * height / width + 0.12, 0.48, 1.2))
    label = _label(particles)
    yield "map", _map(particles, label), f"Map of the {label} with the outlines of {n} particles", ratio
    yield "states", _states(particles, label), "Mean state of each particle, with its standard error", RATIO
    if (particles["depth_pixels"].values > 0).any():
        caption = (
            "State against distance from the surface, all whole particles; bands: one and two standard errors"
        )
        yield "depth", _depth(particles, label), caption, RATIO
    caption = "State against edge step (thickness): pixels in grey, particles with standard errors"
    yield "thickness", _thickness(particles, label), caption, RATIO


def _label(particles: xr.Dataset) -> str:
    kind, name = str(particles.attrs["map_kind"]), str(particles.attrs["map"])
    return MAP_LABELS[kind][2] if kind in MAP_LABELS else name.replace("_", " ")


def _map(particles: xr.Dataset, label: str) -> Draw:
    values, labels = particles["map"].values, particles["labels"].values
    height, width = values.shape
    extent, _ = axes_of_image(height, width, 1, None)
    dense = np.searchsorted(np.unique(labels[labels > 0]), labels) + 1
    dense = np.where(labels > 0, dense, 0)
    low, high = limits_of(values[labels > 0] if (labels > 0).any() else values, 1, 99)

    def draw(figure: Figure, axes: Axes) -> None:
        shown = axes.imshow(values, cmap=MAPS, vmin=low, vmax=high, extent=extent)
        shown.set_cmap(shown.get_cmap().with_extremes(bad=MISSING))
        for number, box in enumerate(ndimage.find_objects(dense), start=1):
            if box is not None:
                rows, columns = (np.arange(side.start - 1, side.stop + 1) for side in box)
                own = np.pad(dense[box] == number, 1).astype(float)
                axes.contour(columns, rows, own, [0.5], colors="white", linewidths=0.7)
        if particles.sizes["particle"] <= MOST_NUMBERS:
            for number, y, x in zip(
                *(particles[k].values for k in ("particle", "y_px", "x_px")), strict=True
            ):
                axes.annotate(str(number), (x, y), color="white", fontsize=5, ha="center", va="center")
        mark_scale(axes, width, size_of_pixel(particles))
        bar = figure.colorbar(shown, ax=axes, label=label, extend="both")
        bar.formatter.set_useOffset(False)  # type: ignore[attr-defined]

    return draw


def _states(particles: xr.Dataset, label: str) -> Draw:
    state, error = particles["state"].values, particles["state_sigma_relative"].values
    error = np.where(np.isfinite(error), error, particles["state_sigma"].values)
    pixel_nm = size_of_pixel(particles)
    diameter = (
        2 * np.sqrt(particles["n_pixels"].values / np.pi) * (1.0 if pixel_nm is None else pixel_nm / 1000)
    )
    cut = particles["is_cut"].values.astype(bool)

    def draw(figure: Figure, axes: Axes) -> None:
        for which, fill, name in ((~cut, COLORS[0], "whole"), (cut, "none", "cut by the border")):
            if which.any():
                axes.errorbar(
                    diameter[which], state[which], _bar(error[which]), fmt="o", ms=3, lw=0.8, color=COLORS[0],
                    mfc=fill, label=name,
                )  # fmt: skip
        axes.set(xlabel=f"diameter ({'px' if pixel_nm is None else 'µm'})", ylabel=label)
        _plain_numbers(axes)
        if cut.any():
            axes.legend(loc="best", frameon=False, fontsize=7)

    return draw


def _depth(particles: xr.Dataset, label: str) -> Draw:
    kept = particles["depth_pixels"].values > 0
    pixel_nm = size_of_pixel(particles)
    depth = particles["depth"].values[kept] * (1.0 if pixel_nm is None else pixel_nm / 1000)
    mean, error = (particles[f"depth_difference{end}"].values[kept] for end in ("", "_sigma"))

    def draw(figure: Figure, axes: Axes) -> None:
        for n, alpha in ((2, 0.18), (1, 0.3)):
            axes.fill_between(depth, mean - n * error, mean + n * error, color=COLORS[0], alpha=alpha, lw=0)
        axes.plot(depth, mean, ".-", color=COLORS[0], ms=4, lw=1)
        axes.axhline(0, color="0.6", lw=0.6)
        axes.set(
            xlabel=f"distance from the surface ({'px' if pixel_nm is None else 'µm'})",
            ylabel=f"{label},\nless the mean of the particle",
        )

    return draw


def _thickness(particles: xr.Dataset, label: str) -> Draw:
    inside = (particles["labels"].values > 0) & np.isfinite(particles["map"].values)
    step, values = particles["edge_step"].values[inside], particles["map"].values[inside]

    def draw(figure: Figure, axes: Axes) -> None:
        if step.size:
            low, high = limits_of(values, 1, 99)
            reach = 0.25 * (high - low)
            shown = (values > low - reach) & (values < high + reach)
            axes.hexbin(step[shown], values[shown], gridsize=45, bins="log", cmap="Greys", mincnt=1, lw=0)
        axes.errorbar(
            particles["thickness"].values, particles["state"].values, _bar(particles["state_sigma"].values),
            _bar(particles["thickness_sigma"].values), fmt="o", ms=3, lw=0.8, color=COLORS[1],
        )  # fmt: skip
        axes.set(xlabel="edge step (thickness)", ylabel=label)
        _plain_numbers(axes)

    return draw


def _bar(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return errors as bars, none where an error is not known."""
    return np.nan_to_num(error)


def _plain_numbers(axes: Axes) -> None:
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")


def _region_figures(regions: xr.Dataset) -> Iterator[tuple[str, Draw, str]]:
    energy = regions["energy"].values
    names = [str(name) for name in regions["region"].values]
    unit = UNITS.get(str(regions.attrs.get("quantity")), "(unit of the scan)")

    def spectra(figure: Figure, axes: Axes) -> None:
        for r, name in enumerate(names):
            color = COLORS[r % len(COLORS)]
            mean, error = regions["denoised"].values[r], regions["denoised_sigma"].values[r]
            axes.plot(energy, regions["measured"].values[r], ".", color=color, ms=2.5, alpha=0.6)
            axes.plot(
                energy, mean, color=color, lw=1, label=f"{name} ({int(regions['n_pixels'].values[r])} px)"
            )
            axes.fill_between(energy, mean - 2 * error, mean + 2 * error, color=color, alpha=0.25, lw=0)
        axes.set(xlabel="photon energy (eV)", ylabel=unit)
        axes.legend(loc="best", frameon=False, fontsize=7)

    def places(figure: Figure, axes: Axes) -> None:
        masks = regions["masks"].values
        extent, _ = axes_of_image(masks.shape[1], masks.shape[2], 1, None)
        image = np.ones((*masks.shape[1:], 3))
        for r, mask in enumerate(masks):
            image[mask] *= np.array(to_rgb(COLORS[r % len(COLORS)])) * 0.8 + 0.2
        axes.imshow(image, extent=extent, interpolation="none")
        mark_scale(axes, masks.shape[2], size_of_pixel(regions))

    yield "spectra", spectra, "Mean spectra: measured (dots), denoised (line) with two standard errors (band)"
    yield "places", places, "Where the regions are"
