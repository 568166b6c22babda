"""Sentences about fractions and clusters, for the report and the command line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.xanes.composition.fractions import map_names

__all__ = ["cluster_lines", "fraction_lines"]


def fraction_lines(maps: xr.Dataset) -> Iterator[str]:
    """Yield what was fitted, the share of each reference, and the doubts."""
    mask = maps["mask"].values
    yield maps.attrs["definition"]
    means = zip(maps.attrs["mean_fractions"], maps.attrs["mean_fraction_sigmas"], strict=True)
    names = map_names(tuple(maps.attrs["references"]))
    for name, title, (mean, sigma) in zip(names, maps.attrs["references"], means, strict=True):
        text = f"{title}: {mean:.3f}{_with_error(sigma)} in the mean spectrum"
        if mask.any():
            low, high = np.percentile(maps[f"fraction_{name}"].values[mask], (5, 95))
            error = float(np.median(maps[f"fraction_{name}_sigma"].values[mask]))
            text += f", {low:.3f} to {high:.3f} in 90 % of the pixels{_with_error(error, ' each ')}"
        yield text
    r_factor, chi = (_median(maps[name].values[mask]) for name in ("r_factor", "reduced_chi_square"))
    condition = maps.attrs["condition_number"]
    known = f", reduced chi-square {chi:.3g}" if np.isfinite(chi) else ""
    yield f"R factor {r_factor:.2g}{known} (medians); condition number of the references {condition:.3g}"
    yield from (f"note: {reason}" for reason in maps.attrs["reasons"])


def cluster_lines(maps: xr.Dataset) -> Iterator[str]:
    """Yield what was clustered, the size of each cluster, and the doubts."""
    yield maps.attrs["definition"]
    number = maps["n_pixels"].values
    for i, pixels in enumerate(number):
        yield f"cluster {i + 1}: {pixels} pixels ({pixels / number.sum():.1%})"
    if np.isfinite(maps.attrs["separation"]):
        yield f"the two most alike clusters are {maps.attrs['separation']:.1f} errors of a pixel apart"
    yield from (f"note: {reason}" for reason in maps.attrs["reasons"])


def _median(values: NDArray[np.floating]) -> float:
    """Return the median of the values that are known; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _with_error(sigma: float, between: str = " ") -> str:
    return f"{between}+- {sigma:.3f}" if np.isfinite(sigma) else ""
