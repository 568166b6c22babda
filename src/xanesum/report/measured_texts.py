"""The sentences and tables of a report about particles and regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xanesum.report.numbers import plain

__all__ = ["particle_rows", "particle_text", "particle_titles", "region_text"]

MOST_ROWS = 100  # particles in the table; the CSV has all
LARGE = 50.0  # a state above this is an energy in eV


def particle_text(particles: xr.Dataset) -> str:
    """Return what the particles are, and how their errors are meant."""
    n, cut = particles.sizes["particle"], int(particles["is_cut"].values.sum())
    n_real = int(particles["spread_is_real"].values.sum())
    shown = f" The table shows the first {MOST_ROWS} of them." if n > MOST_ROWS else ""
    text = (
        f"There are {n} particles, {cut} of them cut by the border of the image; {n_real} have a spread "
        f"within that errors do not explain. Definition: {particles.attrs['definition']}. The error of a "
        "state holds what all particles share, such as the error of the edge energy; the error among each "
        "other leaves this out. The spread is what is left of the scatter within a particle without what "
        "errors explain; detail that the denoiser removed is not in it. With all of that detail it would be "
        f"the second number.{shown}"
    )
    if not particles.attrs["intervals_hold"]:
        text += " The stated errors may not hold: " + "; ".join(particles.attrs["reasons"]) + "."
    return text


def _spread(value: dict[str, Any]) -> str:
    """Return the limits of the spread within a particle."""
    text = f"{_known(value['spread'])} to {_known(value['spread_upper'])}"
    return text if value["spread_is_real"] else f"{text} (not sure)"


def particle_titles(particles: xr.Dataset) -> list[str]:
    """Return the titles of the table of particles."""
    unit = " (eV)" if str(particles.attrs["map"]).endswith("_ev") else ""
    length = "nm" if np.isfinite(particles.attrs["pixel_size_nm"]) else "px"
    return [
        "particle",
        f"diameter ({length})",
        "pixels with a state",
        f"state{unit}",
        "error",
        "error among each other",
        "spread",
        "edge step",
    ]


def particle_rows(particles: xr.Dataset) -> list[list[str]]:
    """Return the cells of the table of particles, as many as are shown."""
    pixel_nm = float(particles.attrs["pixel_size_nm"])
    unit = pixel_nm if np.isfinite(pixel_nm) else 1.0
    rows = []
    for n, number in enumerate(particles["particle"].values[:MOST_ROWS]):
        value = {
            str(name): each.values[n]
            for name, each in particles.data_vars.items()
            if each.dims == ("particle",)
        }
        cut = " (cut)" if value["is_cut"] else ""
        rows.append(
            [
                f"{number}{cut}",
                plain(2 * np.sqrt(value["n_pixels"] / np.pi) * unit, 3),
                str(int(value["n_mapped"])),
                _state(value["state"]),
                _known(value["state_sigma"]),
                _known(value["state_sigma_relative"]),
                _spread(value),
                f"{_known(value['thickness'], 3)} \u00b1 {_known(value['thickness_sigma'])}",
            ]
        )
    return rows


def region_text(regions: xr.Dataset) -> str:
    """Return which regions there are."""
    sizes = zip(regions["region"].values, regions["n_pixels"].values, strict=True)
    named = ", ".join(f"{name} ({int(count)} px)" for name, count in sizes)
    text = f"Regions: {named}. Each spectrum is the {regions.attrs['definition']}."
    if not regions.attrs["intervals_hold"]:
        text += " The stated errors may not hold: " + "; ".join(regions.attrs["reasons"]) + "."
    return text


def _state(value: float) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:.3f}" if abs(value) > LARGE else plain(float(value), 4)


def _known(value: float, digits: int = 2) -> str:
    return plain(float(value), digits) if np.isfinite(value) else ""
