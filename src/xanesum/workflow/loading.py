"""Scans as the recipe asks for them: read, cut to a region, preprocessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, RecipeError, StackError
from xanesum.io import read_stack
from xanesum.io.npy import read_npy
from xanesum.io.registry import MONITOR
from xanesum.io.scan import read_bytes, reading
from xanesum.io.tiff import energies_candidates
from xanesum.io.tiff_pages import require_codec
from xanesum.preprocess import i0_from_region, prepare
from xanesum.stack import add_history, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame
from xanesum.storage.scratch import Workspace
from xanesum.streaming.resources import DEFAULT_RESOURCES, Resources
from xanesum.workflow.recipe import InputOptions, MapOptions, Recipe
from xanesum.xanes import MIN_ENERGIES, check_kind, check_ranges, find_e0_ev

__all__ = [
    "check_map_options",
    "cut_scan",
    "fitting_part",
    "input_files",
    "load_scan",
    "read_scan",
    "reading_options",
    "with_i0_region",
]

QUICK_PX = 512  # longest side of the part of the images by which a scan is judged


def load_scan(
    source: str | Path,
    options: InputOptions,
    *,
    to_map: MapOptions | None = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Read a scan, cut out what the options name, and preprocess it.

    Options of a map that these energies cannot have, if given, are refused before the work.

    Returns
    -------
    stack : DataArray, dims (energy, y, x)
        Ready to be denoised.
    changes : tuple of str
        The changes by preprocessing, and the values it left out, in words.
    """
    stack = read_scan(source, options)
    if to_map is not None:
        check_map_options(stack.energy.values, to_map)
    stack, report = prepare(stack, allow_missing=options.allow_missing, workspace=resources.workspace)
    if to_map is not None and to_map.e0_ev is None and (to_map.pre_ev or to_map.post_ev):
        _check_ranges_at_edge(stack, to_map)
    return stack, tuple(report.lines())


def check_map_options(energy_ev: NDArray[np.float64], options: MapOptions) -> None:
    """Raise EdgeError or RecipeError for options of a map that a scan of these energies (E,) cannot have."""
    check_kind(options.kind, options.of_kind)
    check_ranges(energy_ev, e0_ev=options.e0_ev, pre_ev=options.pre_ev, post_ev=options.post_ev)
    is_step = options.kind == "edge_step" or (options.kind == "auto" and len(energy_ev) < MIN_ENERGIES)
    if options.bootstrap and is_step:
        raise RecipeError(
            f"repetitions give errors of a map of energies, and {len(energy_ev)} energies give a map of the "
            "edge step; leave them out",
            parameter="bootstrap",
        )


def _check_ranges_at_edge(stack: xr.DataArray, options: MapOptions) -> None:
    """Raise EdgeError for ranges that do not fit the edge of the mean spectrum, which is looked for."""
    used, mask = np.flatnonzero(usable_weight(stack)), usable_mask(stack)
    means = np.array(list(each_frame(stack, lambda _, frame: np.nanmean(frame[mask]))))[used]
    energy_ev = stack.energy.values[used]
    try:
        e0_ev = find_e0_ev(energy_ev, means)
    except EdgeError:  # no edge can be seen yet
        return
    check_ranges(energy_ev, e0_ev=e0_ev, pre_ev=options.pre_ev, post_ev=options.post_ev)


def input_files(source: str | Path, recipe: Recipe) -> list[Path]:
    """Return the files that a run reads: the scan, energies beside it, and those that the recipe names."""
    source = Path(source)
    options = recipe.input
    i0 = None if options.i0 == MONITOR else options.i0
    named = (options.energies, i0, options.mask, recipe.align.file, *options.flat, *options.dark)
    named += (recipe.particles.file, *recipe.regions.files, *recipe.fractions.references)
    return [source, *energies_candidates(source), *(Path(name) for name in named if name is not None)]


def read_scan(source: str | Path, options: InputOptions) -> xr.DataArray:
    """Read a scan, take I0 from a region of it, and cut out what the options name."""
    return cut_scan(with_i0_region(read_stack(source, **reading_options(options)), options), options)


def reading_options(options: InputOptions) -> dict[str, Any]:
    """Return the options of `xanesum.io.read_stack`."""
    return {
        "energies": options.energies,
        "i0": options.i0,
        **options.source,
        "quantity": options.quantity,
        "flat": options.flat,
        "dark": options.dark,
    }


def with_i0_region(stack: xr.DataArray, options: InputOptions) -> xr.DataArray:
    """Return the stack with the I0 of the region that the options name, if they do."""
    return stack if options.i0_region is None else i0_from_region(stack, options.i0_region)


def cut_scan(stack: xr.DataArray, options: InputOptions) -> xr.DataArray:
    """Return the region of interest that the options name, with their mask in addition to its own."""
    if options.mask is not None:
        mask = _read_mask(Path(options.mask), stack.shape[1:])
        stack = stack.assign_coords(mask=(("y", "x"), usable_mask(stack) & mask))
        stack = add_history(stack, f"mask {Path(options.mask).name}: {int(mask.sum())} of {mask.size} pixels")
    if options.roi is not None:
        y0, y1, x0, x1 = options.roi
        ny, nx = stack.shape[1:]
        if not (0 <= y0 < y1 <= ny and 0 <= x0 < x1 <= nx):
            raise RecipeError(
                f"roi {y0}:{y1},{x0}:{x1} does not lie within the image of {ny} x {nx} pixels (y, x)"
            )
        stack = add_history(
            stack.isel(y=slice(y0, y1), x=slice(x0, x1)), f"region {y0}:{y1},{x0}:{x1} of {ny} x {nx} (y, x)"
        )
    if not usable_mask(stack).any():
        raise StackError(
            "the mask leaves no pixel of the region to work on; change one of them", parameter="mask"
        )
    return stack


def fitting_part(shape: tuple[int, ...], memory: float) -> dict[str, slice]:
    """Return the largest middle part of the images (E, Y, X) that fits in memory and is looked at quickly."""
    wanted = Workspace(memory, Path())
    n_y, n_x = (min(n, QUICK_PX) for n in shape[1:])
    while not wanted.holds((shape[0], n_y, n_x)) and max(n_y, n_x) > 1:
        n_y, n_x = (n_y, -(-n_x // 2)) if n_x >= n_y else (-(-n_y // 2), n_x)
    starts = [(whole - part) // 2 for whole, part in zip(shape[1:], (n_y, n_x), strict=True)]
    return {"y": slice(starts[0], starts[0] + n_y), "x": slice(starts[1], starts[1] + n_x)}


def _read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask (Y, X) in an image file: pixels that are not 0."""
    read_bytes(path, 1)  # raises if it is missing, or no file
    with reading(path):
        values = read_npy(path) if path.suffix.lower() == ".npy" else _image_of_tiff(path)
        mask: NDArray[np.bool_] = np.asarray(values) != 0
    if mask.shape != shape:
        raise StackError(f"{path}: the mask has shape {mask.shape}, the images have {shape} (y, x)")
    if not mask.any():
        raise StackError(f"{path}: the mask is 0 everywhere, so no pixel is left to work on")
    return mask


def _image_of_tiff(path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        require_codec(path, file.pages.first)
        image: NDArray[Any] = file.asarray()
        return image
