"""One colour image of several fractions."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import RecipeError

__all__ = ["COLOURS", "cluster_image", "colour_composite"]

COLOURS = (  # of the references, in their order
    (0.90, 0.10, 0.10),
    (0.10, 0.75, 0.15),
    (0.15, 0.30, 1.00),
    (0.95, 0.80, 0.10),
    (0.85, 0.15, 0.85),
    (0.10, 0.80, 0.85),
)
BRIGHTEST = 99.0  # percentile of the total that has full brightness


def colour_composite(maps: xr.Dataset, *, by_total: bool = True) -> NDArray[np.uint8]:
    """Return an image (Y, X, 3) of `fit_fractions`: each reference has a colour, mixed by the fractions.

    Parameters
    ----------
    maps : Dataset
        From `fit_fractions` or `unmix`.
    by_total : bool
        Let the brightness be the sum of the amounts; else all pixels of the mask are equally bright.

    Raises
    ------
    RecipeError
        If there are more references than colours.
    """
    names = [str(name) for name in maps.data_vars if str(name).startswith("fraction_")]
    names = [name for name in names if f"{name}_sigma" in maps]
    if not 1 <= len(names) <= len(COLOURS):
        raise RecipeError(f"a colour image shows 1 to {len(COLOURS)} references, and there are {len(names)}")
    mask = maps["mask"].values
    fractions = np.stack([np.where(mask, np.clip(maps[name].values, 0, 1), 0) for name in names])
    fractions = np.nan_to_num(fractions)
    total = np.where(mask, np.nan_to_num(maps["total"].values), 0)
    bright = mask.astype(float)
    if by_total and mask.any():
        bright = np.clip(total / max(float(np.percentile(total[mask], BRIGHTEST)), 1e-30), 0, 1)
    image = np.tensordot(fractions, np.array(COLOURS[: len(names)]), axes=(0, 0))
    return np.asarray(np.round(255 * np.clip(image * bright[..., None], 0, 1)), np.uint8)


def cluster_image(maps: xr.Dataset) -> NDArray[np.uint8]:
    """Return an image (Y, X, 3) of `find_clusters`: a colour for each cluster, black where there is none."""
    palette = np.vstack([np.zeros(3), *[np.array(COLOURS) * dim for dim in (1.0, 0.55, 0.3)]])
    cluster = maps["cluster"].values
    if cluster.max() >= len(palette):
        raise RecipeError(f"an image shows up to {len(palette) - 1} clusters, and there are {cluster.max()}")
    return np.asarray(np.round(255 * palette[cluster]), np.uint8)
