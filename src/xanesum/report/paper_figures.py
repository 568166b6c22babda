"""Figures ready for a paper: map, error, histogram and spectra, at the widths of one and of two columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xanesum.errors import StackError
from xanesum.report.colours import ERRORS, IMAGES, LINES, MAPS
from xanesum.report.drawing import (
    MM,
    ON_WHITE,
    Draw,
    image_drawing,
    limits_of,
    save_figure,
    size_of_pixel,
)
from xanesum.report.figures import choose_pixels, histogram_drawing, places_drawing
from xanesum.report.texts import MAP_LABELS, UNITS
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.storage.atomic import atomic_paths
from xanesum.xanes import KINDS

__all__ = ["FIGURE_FILES", "write_figures"]

WIDTHS_MM = {85: 7.0, 170: 8.0}  # width -> size of the text in points, as it is printed
FORMS = ("svg", "png")
DPI = 600
NAMES = ("map", "map_error", "histogram", "spectra")
FIGURE_FILES = tuple(
    f"figure_{name}_{width}mm.{form}" for name in NAMES for width in WIDTHS_MM for form in FORMS
)


def write_figures(
    folder: str | Path,
    result: Denoised,
    maps: xr.Dataset | None,
    *,
    stack: xr.DataArray | None = None,
    pixels: Sequence[tuple[int, int]] = (),
) -> tuple[Path, ...]:
    """Write the figures into a folder that exists: each 85 and 170 mm wide, as SVG and as PNG of 600 dpi.

    Their text is 7 and 8 points high at these widths.

    Parameters
    ----------
    folder : str or Path
    result : Denoised
    maps : Dataset or None
        From `xanesum.chemical_map`; without it there are spectra only.
    stack : DataArray (energy, y, x), optional
        The stack that was denoised, for measured values beside the denoised ones.
    pixels : sequence of (y, x), optional
        Pixels whose spectra are shown; by default some that differ in the map.

    Returns
    -------
    tuple of Path
        The files ``figure_NAME_WIDTHmm.svg`` and ``.png``.

    Raises
    ------
    StackError
        If a pixel lies outside the images, or is masked.
    WriteError
        If a file cannot be written.
    """
    folder = Path(folder)
    written: list[Path] = []
    for name, draw, shapes in _drawings(result, maps, stack, pixels):
        for width_mm, points in WIDTHS_MM.items():
            style = {**ON_WHITE, "font.size": points, "axes.titlesize": points, "legend.fontsize": points}
            paths = [folder / f"figure_{name}_{width_mm}mm.{form}" for form in FORMS]
            size: dict[str, Any] = {"width_in": width_mm * MM, "ratio": shapes[width_mm]}
            with atomic_paths(*paths) as temporaries:
                targets = dict(zip(FORMS, temporaries, strict=True))
                save_figure(draw, targets, dpi=DPI, style=style, **size)
            written += paths
    return tuple(written)


def _drawings(
    result: Denoised, maps: xr.Dataset | None, stack: xr.DataArray | None, pixels: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, Draw, dict[int, float]]]:
    """Yield name, function, and height over width for each width in mm."""
    height, width = result.shape[1:]
    image_ratio = float(np.clip(0.8 * height / width + 0.02, 0.4, 1.25))
    shown, cmap = _brightness(result), IMAGES
    if maps is not None and maps["mask"].values.any():
        kind, mask = maps.attrs["kind"], maps["mask"].values
        name, error, label = MAP_LABELS[kind]
        shown, cmap = np.where(mask, maps[name].values, np.nan), MAPS
        limits, pixel_nm = limits_of(shown, 2, 98), size_of_pixel(result)
        kept: dict[str, Any] = {"limits": limits, "extend": "both", "pixel_nm": pixel_nm}
        yield "map", image_drawing(shown, label, cmap=MAPS, **kept), dict.fromkeys(WIDTHS_MM, image_ratio)
        sigma = np.where(mask, maps[error].values, np.nan)
        if np.isfinite(sigma).any():
            unit = KINDS[kind].unit
            text = f"standard error ({unit})" if unit else "standard error"
            kept |= {"limits": (0.0, limits_of(sigma, 0, 95)[1]), "extend": "max"}
            drawing = image_drawing(sigma, text, cmap=ERRORS, **kept)
            yield "map_error", drawing, dict.fromkeys(WIDTHS_MM, image_ratio)
        yield "histogram", histogram_drawing(shown[mask], label, limits), {85: 0.7, 170: 0.45}
    used = usable_mask(result.coefficients)
    chosen = [(int(y), int(x)) for y, x in pixels] or choose_pixels(result, maps, used)
    if chosen:
        drawing = _spectra(result, stack, chosen, np.where(used, shown, np.nan), cmap)
        yield "spectra", drawing, {85: 0.75 + image_ratio * 0.7, 170: 0.42}


def _spectra(
    result: Denoised,
    stack: xr.DataArray | None,
    pixels: Sequence[tuple[int, int]],
    image: NDArray[Any],
    cmap: str,
) -> Draw:
    """Return what draws spectra of pixels with two standard errors, and where the pixels are."""
    used = usable_weight(result.spectra.T)
    energy = result.spectra["energy"].values[used]
    unit = UNITS.get(str(result.attrs.get("quantity")), "(unit of the scan)")
    if len(pixels) > len(LINES):
        raise StackError(f"a figure shows the spectra of {len(LINES)} pixels at most, got {len(pixels)}")
    found = [result.spectrum(y, x) for y, x in pixels]

    def draw(figure: Figure, axes: Axes) -> None:
        axes.remove()
        is_wide = figure.get_figwidth() > figure.get_figheight()
        grid = {"width_ratios": [1, 1.25]} if is_wide else {"height_ratios": [0.9, 1]}
        rows, columns = (1, 2) if is_wide else (2, 1)
        places, spectra = figure.subplots(rows, columns, gridspec_kw=grid)
        places_drawing(image, list(pixels), cmap, size_of_pixel(result), size=5.0)(figure, places)
        for number, ((y, x), each) in enumerate(zip(pixels, found, strict=True), start=1):
            color = LINES[number - 1]
            mean, sigma = (each[name].values[used] for name in ("spectrum", "sigma"))
            if stack is not None:
                spectra.plot(energy, stack[:, y, x].values[used], ".", color=color, ms=2.2, alpha=0.6, mew=0)
            spectra.plot(energy, mean, color=color, lw=0.9, label=f"{number}: y = {y}, x = {x}")
            spectra.fill_between(energy, mean - 2 * sigma, mean + 2 * sigma, color=color, alpha=0.3, lw=0)
        spectra.set(xlabel="photon energy (eV)", ylabel=unit)
        # above the spectra, which may leave no room
        spectra.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1.4)

    return draw


def _brightness(result: Denoised) -> NDArray[Any]:
    """Return the last frame of the clean stack, where there is no map."""
    return np.asarray(result.reconstruct()[-1].values)
