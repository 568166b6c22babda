"""Particles and regions of a result, as the recipe names them; their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, StackError
from xanesum.io.labels import read_labels
from xanesum.io.map_files import maps_stem, notes_of, write_columns, write_maps, write_table
from xanesum.report.particle_figures import write_particle_figures, write_region_figures
from xanesum.result import Denoised
from xanesum.result.spectrum_errors import region_mask
from xanesum.stack import usable_mask
from xanesum.workflow.recipe import AUTO, NONE, Recipe
from xanesum.xanes import chemical_map
from xanesum.xanes.particles.labels import Particles, check_labels, find_particles
from xanesum.xanes.particles.regions import region_spectra
from xanesum.xanes.particles.states import measure_particles

__all__ = [
    "Measured",
    "Named",
    "measure",
    "measured_files",
    "read_named",
    "wanted_labels",
    "write_measured",
]

FIGURES = (".png", ".svg")
IMAGES = ("map", "map_sigma", "edge_step", "labels")
PARTICLE_COLUMNS = {  # of the table of particles -> name of the variable
    "particle": "particle",
    "pixels": "n_pixels",
    "pixels_with_state": "n_mapped",
    "y_px": "y_px",
    "x_px": "x_px",
    "cut_by_border": "is_cut",
    "state": "state",
    "state_error": "state_sigma",
    "state_error_relative": "state_sigma_relative",
    "spread": "spread",
    "spread_error": "spread_sigma",
    "spread_upper": "spread_upper",
    "spread_is_real": "spread_is_real",
    "edge_step": "thickness",
    "edge_step_error": "thickness_sigma",
}
DEPTH_COLUMNS = {
    "depth_px": "depth",
    "pixels": "depth_pixels",
    "particles": "depth_particles",
    "state": "depth_state",
    "state_error": "depth_state_sigma",
    "difference_from_particle": "depth_difference",
    "difference_error": "depth_difference_sigma",
}
ORIGIN = ("xanesum", "numpy", "scipy", "method", "denoiser", "input_digest")  # of the provenance of a result
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """What the recipe names: labels and regions, read and checked."""

    particles: Particles | None = None  # None: they are found, or not wanted
    regions: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was measured."""

    particles: xr.Dataset | None = None  # None: not wanted, or there are none
    regions: xr.Dataset | None = None
    particle_problem: str = ""  # why there are no particles; empty if there are, or they are not wanted


def read_named(recipe: Recipe, shape: tuple[int, int]) -> Named:
    """Read labels and regions of images of some size (Y, X), before any long work.

    Raises
    ------
    ReadError, StackError
        If a file cannot be read, or has another size than the images.
    """
    particles = None
    if recipe.particles.file is not None:
        source = recipe.particles.file
        particles = check_labels(read_labels(source), shape, source=f"the label image {Path(source).name}")
    regions = {}
    for name, value in recipe.regions.named:
        given = read_labels(value) if isinstance(value, str) else np.array(value)
        if isinstance(value, str) and given.shape != shape:
            raise StackError(
                f"region {name}: {Path(value).name} has shape {given.shape}, the images have {shape} (y, x)",
                parameter="regions",
            )
        regions[name] = region_mask(given, shape, name=f"region {name}")
    return Named(particles, regions)


def measure(
    result: Denoised,
    stack: xr.DataArray | None,
    recipe: Recipe,
    named: Named,
    *,
    progress: Progress = lambda step, share: None,
) -> Measured:
    """Measure particles and regions as the recipe says.

    Parameters
    ----------
    result : Denoised
    stack : DataArray (energy, y, x) or None
        The scan that was denoised; without it, means are those of the denoised images.
    recipe : Recipe
    named : Named
        From `read_named`.
    progress : callable

    Raises
    ------
    StackError
        If a region holds no usable pixel.
    """
    particles, problem = None, ""
    if recipe.particles.labels != NONE:
        try:
            particles = _particles(result, stack, recipe, named, progress)
        except (EdgeError, StackError) as error:
            problem = error.message
    regions = region_spectra(result, named.regions, stack=stack) if named.regions else None
    return Measured(particles, regions, problem)


def _particles(
    result: Denoised, stack: xr.DataArray | None, recipe: Recipe, named: Named, progress: Progress
) -> xr.Dataset:
    options, chosen = recipe.particles, recipe.map
    ranges: dict[str, Any] = {"e0_ev": chosen.e0_ev, "pre_ev": chosen.pre_ev, "post_ev": chosen.post_ev}
    maps = chemical_map(result, kind=chosen.kind, **ranges)
    particles = named.particles
    if particles is None:
        particles = find_particles(
            maps["edge_step"].values,
            usable_mask(result.coefficients),
            has_edge=maps["mask"].values,
            threshold=options.threshold,
            split_px=options.split_px,
            min_pixels=options.min_pixels,
        )
    found = measure_particles(
        result,
        particles,
        stack=stack,
        mapped=partial(chemical_map, kind=maps.attrs["kind"], **ranges),
        weights=options.weights,
        shell_px=options.shell_px,
        n_draws=options.draws,
        rng=np.random.default_rng(recipe.denoise.seed),
        progress=progress,
    )
    return found.assign_attrs(pixel_size_nm=float(result.attrs.get("pixel_size_nm") or np.nan))


def measured_files(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of all files that `write_measured` may write for a recipe."""
    names = ["particles.h5", "particles.csv", "particles_depth.csv", "particles_profiles.csv"]
    names += ["particles_summary.csv", *(f"particles_{image}.tif" for image in IMAGES)]
    names += [
        f"particles_{what}{suffix}" for what in ("map", "states", "depth", "thickness") for suffix in FIGURES
    ]
    names += ["regions.h5", "regions.csv", *(f"regions{suffix}" for suffix in FIGURES)]
    return (*names, *(f"region_{name}.dat" for name, _ in recipe.regions.named))


def write_measured(folder: Path, measured: Measured, result: Denoised, recipe: Recipe) -> None:
    """Write files and figures of particles and regions into a folder.

    Raises
    ------
    WriteError
        If a file cannot be written.
    """
    origin = {key: result.provenance[key] for key in ORIGIN if key in result.provenance}
    if measured.particles is not None:
        options = {**asdict(recipe.particles), "map": recipe.map.kind}
        _write_particles(folder, measured.particles, {**origin, "options": options})
    if measured.regions is not None:
        _write_regions(folder, measured.regions, {**origin, "options": dict(recipe.regions.named)})


def _write_particles(folder: Path, particles: xr.Dataset, origin: Mapping[str, Any]) -> None:
    write_maps(particles, folder, "particles", provenance=origin)
    notes = notes_of(particles, origin)
    columns = {title: particles[name].values for title, name in PARTICLE_COLUMNS.items()}
    columns = _with_lengths(columns, float(particles.attrs["pixel_size_nm"]))
    write_table(
        folder / "particles.csv", list(columns), list(zip(*columns.values(), strict=True)), notes=notes
    )
    of_depth = {title: particles[name].values for title, name in DEPTH_COLUMNS.items()}
    write_table(
        folder / "particles_depth.csv",
        list(of_depth),
        list(zip(*of_depth.values(), strict=True)),
        notes=notes,
    )
    cells = [
        (
            number,
            depth,
            *(particles[name].values[n, d] for name in ("profile_pixels", "profile", "profile_sigma")),
        )
        for n, number in enumerate(particles["particle"].values)
        for d, depth in enumerate(particles["depth"].values)
        if particles["profile_pixels"].values[n, d]
    ]
    titles = ("particle", "depth_px", "pixels", "state", "state_error")
    write_table(folder / "particles_profiles.csv", titles, cells, notes=notes)
    write_particle_figures(folder, particles)


def _with_lengths(columns: dict[str, NDArray[Any]], pixel_nm: float) -> dict[str, NDArray[Any]]:
    """Return the columns with diameters, and with lengths in nm where the size of a pixel is known."""
    diameter = 2 * np.sqrt(columns["pixels"] / np.pi)
    more = {"diameter_px": diameter}
    if np.isfinite(pixel_nm):
        more |= {"diameter_nm": diameter * pixel_nm, "area_um2": columns["pixels"] * (pixel_nm / 1000) ** 2}
    return {"particle": columns["particle"], "pixels": columns["pixels"], **more, **columns}


def _write_regions(folder: Path, regions: xr.Dataset, origin: Mapping[str, Any]) -> None:
    write_maps(regions, folder, "regions", provenance=origin)
    notes, energy = notes_of(regions, origin), regions["energy"].values
    names = ("measured", "measured_sigma", "denoised", "denoised_sigma")
    columns, values = ["energy_ev"], [energy]
    for r, region in enumerate(map(str, regions["region"].values)):
        spectra = {name: regions[name].values[r] for name in names}
        columns += [f"{region}_{name}" for name in names]
        values += list(spectra.values())
        known = {name: each for name, each in spectra.items() if np.isfinite(each).any()}
        count = int(regions["n_pixels"].values[r])
        write_columns(
            folder / f"region_{maps_stem(region)}.dat",
            {"energy": energy, **known},
            notes=[
                *notes,
                f"region {region}: {count} pixels; unit of the values: {regions.attrs['quantity']}",
            ],
        )
    write_table(folder / "regions.csv", columns, list(zip(*values, strict=True)), notes=notes)
    write_region_figures(folder, regions)


def wanted_labels(recipe: Recipe) -> Recipe:
    """Return a recipe that measures particles: found ones, if it names no labels."""
    return recipe.updated({"particles": {"labels": AUTO}}) if recipe.particles.labels == NONE else recipe
