"""Zarr stores that xarray, Dask and readers of OME-Zarr open: written only; `xanesum.io.zarr_store` reads."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xanesum.errors import MissingExtraError
from xanesum.io.writing import (
    ATTRS,
    COORDS,
    DOUBLE,
    OWN_ATTRS,
    Writer,
    attrs_to_json,
    blocks,
    require_new_folder,
)
from xanesum.stack import DIMS, check_stack
from xanesum.storage.atomic import staged_folder
from xanesum.storage.lazy import chunks_of

__all__ = ["WRITER", "write"]

DATA = "data"
CHUNK_BYTES, MOST_CHUNK_BYTES = 2**22, 2**26  # of a chunk: about, where frames can be grouped; and at most
OME_VERSION = "0.5"


def write(stack: xr.DataArray, path: Path) -> Path:
    """Write a Zarr 3 group with the array `data` and one array for each coordinate, in blocks.

    The names of the axes are where xarray looks for them, and those of OME-Zarr 0.5 in the attributes of the
    group: energy, y and x, the last two in nm where the pixel size is known.

    Raises
    ------
    MissingExtraError
        If Zarr is not installed.
    WriteError
        If the folder is not empty or cannot be written.
    """
    check_stack(stack)
    require_new_folder(path)
    try:
        zarr = import_module("zarr")
    except ImportError as error:
        raise MissingExtraError('writing Zarr needs: pip install "xanesum[zarr]"') from error
    with staged_folder(path) as folder:
        group = zarr.open_group(str(folder), mode="w", zarr_format=3)
        _write_values(group, DATA, stack)
        _write_axes(group, stack)
        names = [name for name in COORDS if name in stack.coords]
        for name in names:
            _write_coord(group, name, stack)
        group[DATA].attrs.update({"coordinates": " ".join(names)} if names else {})
        group.attrs.update(_labels(stack))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Zarr 3 does not define it, but xarray asks for it
            zarr.consolidate_metadata(str(folder))
    return path


def _write_values(group: Any, name: str, values: xr.DataArray) -> None:
    """Write an array (E, Y, X), in blocks of whole chunks."""
    stored, (n_energies, n_y, n_x) = chunks_of(values), values.shape
    frame_bytes = values.dtype.itemsize * n_y * n_x
    frames, rows = stored[0], n_y
    if frames == 1:
        frames = int(np.clip(CHUNK_BYTES // frame_bytes, 1, n_energies))
    else:
        most = MOST_CHUNK_BYTES // (frames * n_x * values.dtype.itemsize)
        rows = int(np.clip(most // stored[1] * stored[1] or most, 1, n_y))
    array = group.create_array(
        name, shape=values.shape, chunks=(frames, rows, n_x), dtype=values.dtype, dimension_names=DIMS
    )
    for energies, part, block in blocks(values, frames=frames):
        array[energies, part] = block


def _write_axes(group: Any, stack: xr.DataArray) -> None:
    """Write the energies in eV, and the positions along y and x where they or the pixel size are known."""
    energy = group.create_array("energy", data=stack.energy.values, dimension_names=DIMS[:1])
    energy.attrs["units"] = "eV"
    step = stack.attrs.get("pixel_size_nm")
    for name in DIMS[1:]:
        known = name in stack.coords
        if not known and step is None:
            continue
        values = stack[name].values if known else np.arange(stack.sizes[name]) * float(step or 1.0)
        axis = group.create_array(name, data=values, dimension_names=(name,))
        axis.attrs.update(
            {"units": str(stack[name].attrs.get("units", "")) if known else "nm", "from_stack": known}
        )


def _write_coord(group: Any, name: str, stack: xr.DataArray) -> None:
    values = stack[name].drop_vars([each for each in stack[name].coords if each != "energy"])
    if values.dims == DIMS:
        _write_values(group, name, values)
    else:
        group.create_array(name, data=values.values, dimension_names=values.dims)


def _labels(stack: xr.DataArray) -> dict[str, Any]:
    """Return the attributes of the group."""
    labels: dict[str, Any] = {
        key: stack.attrs[key]
        for key in ("quantity", "pixel_size_nm", "quantity_assumed")
        if key in stack.attrs
    }
    size_nm = stack.attrs.get("pixel_size_nm")
    space = {"type": "space"} if size_nm is None else {"type": "space", "unit": "nanometer"}
    axes = [{"name": "energy", "type": "energy"}, *({"name": name, **space} for name in DIMS[1:])]
    step = 1.0 if size_nm is None else float(size_nm)
    scale = {"type": "scale", "scale": [1.0, step, step]}
    image = {"name": DATA, "axes": axes, "datasets": [{"path": DATA, "coordinateTransformations": [scale]}]}
    return {
        **labels,
        OWN_ATTRS: attrs_to_json(stack),
        "ome": {"version": OME_VERSION, "multiscales": [image]},
    }


WRITER = Writer(
    name="zarr",
    description="a Zarr store",
    suffixes=(".zarr",),
    write=write,
    keeps=(*COORDS, "y", "x", ATTRS, DOUBLE),
    is_folder=True,
    needs="zarr",
)
