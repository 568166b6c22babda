"""Pictures of fractions and clusters."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xanesum.report.drawing import Picture, axes_of_image, draw_image, make_picture, mark_scale
from xanesum.xanes.composition.composite import COLOURS, cluster_image, colour_composite
from xanesum.xanes.composition.fractions import map_names

__all__ = ["cluster_pictures", "fraction_pictures"]

MOST = 6  # references of which each has a picture of its own
LOWEST = 0.48  # height of a picture over its width


def fraction_pictures(maps: xr.Dataset, *, pixel_nm: float | None = None) -> list[Picture]:
    """Show all fractions in one colour image, and the fraction of each reference with its error."""
    titles, mask = tuple(maps.attrs["references"]), maps["mask"].values
    pictures = []
    if len(titles) <= len(COLOURS):
        pictures.append(_coloured(colour_composite(maps), "Fractions: " + ", ".join(titles), pixel_nm))
    for name, title in list(zip(map_names(titles), titles, strict=True))[:MOST]:
        fraction = np.where(mask, maps[f"fraction_{name}"].values, np.nan)
        error = np.median(maps[f"fraction_{name}_sigma"].values[mask]) if mask.any() else np.nan
        caption = f"Fraction of {title}"
        if np.isfinite(error):
            caption += f"; standard error {error:.2g} (median)"
        pictures.append(
            draw_image(fraction, caption, "fraction", limits=(0, 1), cmap="viridis", pixel_nm=pixel_nm)
        )
    return pictures


def cluster_pictures(maps: xr.Dataset, *, pixel_nm: float | None = None) -> list[Picture]:
    """Show which cluster each pixel belongs to, and the mean spectra of the clusters with their errors."""
    image = _coloured(cluster_image(maps), "Clusters: pixels of one chemical state", pixel_nm)
    means, sigmas = maps["mean_spectrum"].values, maps["mean_spectrum_sigma"].values
    colours = [cluster_image(xr.Dataset({"cluster": ((), k + 1)})) / 255 for k in range(len(means))]

    def draw(_: Figure, axes: Axes) -> None:
        energy_ev = maps["energy"].values
        for k, (mean, sigma) in enumerate(zip(means, sigmas, strict=True)):
            axes.plot(energy_ev, mean, color=colours[k], lw=1.2, label=str(k + 1))
            axes.fill_between(energy_ev, mean - sigma, mean + sigma, color=colours[k], alpha=0.3, lw=0)
        axes.set(xlabel="photon energy (eV)", ylabel="mean spectrum")
        axes.legend(loc="best", title="cluster")

    return [image, make_picture(draw, "Mean spectra of the clusters; bands are standard errors")]


def _coloured(image: NDArray[np.uint8], caption: str, pixel_nm: float | None) -> Picture:
    height, width = image.shape[:2]
    extent, _ = axes_of_image(height, width, 1, None)

    def draw(_: Figure, axes: Axes) -> None:
        axes.imshow(image, extent=extent)
        mark_scale(axes, width, pixel_nm)

    return make_picture(draw, caption, ratio=float(np.clip(0.85 * height / width, LOWEST, 1.2)))
