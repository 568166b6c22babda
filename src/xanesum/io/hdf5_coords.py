"""Values and coordinates of a stack as datasets of an HDF5 file, written in blocks and checked when read."""

from __future__ import annotations

from typing import Any

import h5py
import xarray as xr

from xanesum.io.hdf5_file import quoted, scalar_text
from xanesum.io.writing import COORDS, blocks, dims_of
from xanesum.stack import DIMS

__all__ = ["read_coords", "write_coords", "write_values"]

Coords = dict[str, tuple[tuple[str, ...], Any]]


def write_values(
    group: h5py.Group,
    name: str,
    values: xr.DataArray,
    *,
    dtype: Any = None,
    chunks: tuple[int, ...] | None = None,
) -> h5py.Dataset:
    """Write an array (E, Y, X), which may be lazy, in blocks.

    Without `chunks` it is contiguous, so that a frame is one read.
    """
    dtype = values.dtype if dtype is None else dtype
    dataset = group.create_dataset(name, shape=values.shape, dtype=dtype, chunks=chunks)
    for energies, rows, block in blocks(values):
        dataset[energies, rows] = block
    return dataset


def write_coords(group: h5py.Group, stack: xr.DataArray, *, chunked: bool = False) -> None:
    """Write the coordinates of `COORDS` that the stack has, with their dimensions as attribute `dims`.

    With `chunked` they are stored in chunks, an image in each, as Dask expects.
    """
    for name in COORDS:
        if name not in stack.coords:
            continue
        values = stack[name].drop_vars([each for each in stack[name].coords if each != "energy"])
        if values.dims == DIMS:
            dataset = write_values(group, name, values, chunks=(1, *values.shape[1:]) if chunked else None)
        else:
            array = values.values
            dataset = group.create_dataset(name, data=array, chunks=array.shape or None if chunked else None)
        dataset.attrs["dims"] = list(values.dims)


def read_coords(group: h5py.Group, shape: tuple[int, ...]) -> tuple[Coords, tuple[str, ...]]:
    """Return the coordinates in a group that fit a stack (E, Y, X), and a sentence for each that does not.

    The dimensions are those of attribute `dims`, or else follow from the shape.
    """
    sizes = dict(zip(DIMS, shape, strict=True))
    found: Coords = {}
    doubts = []
    for name in COORDS:
        item = group.get(name) if name in group else None
        if not isinstance(item, h5py.Dataset):
            continue
        said = tuple(scalar_text(dim) for dim in item.attrs["dims"]) if "dims" in item.attrs else None
        dims = dims_of(item.shape, shape) if said is None else said
        if dims is None or item.shape != tuple(sizes.get(dim, -1) for dim in dims):
            doubts.append(f"{quoted(name)} has shape {item.shape}, not that of {dims or 'the scan'}")
        elif item.dtype.kind not in "iufb":
            doubts.append(f"{quoted(name)} holds {item.dtype}, expected numbers")
        else:
            found[name] = (dims, item[()])
    return found, tuple(doubts)
