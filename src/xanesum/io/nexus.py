"""The native file of xanesum: HDF5 with NeXus groups, read lazily, written frame by frame."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from xanesum.errors import ReadError
from xanesum.io.hdf5 import reader, stack_dataset
from xanesum.io.hdf5_coords import read_coords, write_coords, write_values
from xanesum.io.hdf5_file import has_keys, numbers, open_h5, scalar_text
from xanesum.io.hdf5_text import stored_text
from xanesum.io.scan import Format, Scan, reading
from xanesum.io.writing import ATTRS, COORDS, DOUBLE, Writer, plain_attrs
from xanesum.stack import DIMS, QUANTITIES, check_stack
from xanesum.storage.atomic import atomic_path

__all__ = ["FORMAT", "SUFFIXES", "write"]

SUFFIXES = (".h5", ".hdf5", ".nxs")
DEFINITION = "xanesum_stack"  # content of entry/definition, by which the file is recognized
DATA = "entry/data/data"
IN_PROCESS = ("history", "options")  # attributes that are kept in NXprocess; the others are with the data


def write(stack: xr.DataArray, path: Path) -> Path:
    """Write a stack to a NeXus file, some frames in memory at a time; the file is complete or does not exist.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    check_stack(stack)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "xanesum"})
        entry = _group(file, "entry", "NXentry", default="data")
        entry["definition"] = DEFINITION
        data = _group(entry, "data", "NXdata", signal="data", axes=list(DIMS))
        _write_frames(data, stack)
        _write_axes(data, stack)
        write_coords(data, stack)
        _write_process(entry, stack)
    return path


def _open(path: Path) -> Scan:
    with open_h5(path) as file:
        dataset = stack_dataset(path, file, DATA)
        attrs = _attrs(file, dataset)
        quantity = attrs.pop("quantity", "intensity")
        if quantity not in QUANTITIES:
            raise ReadError(f"{path}: unknown quantity {quantity!r}; expected one of {', '.join(QUANTITIES)}")
        return Scan(
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunks=dataset.chunks,
            read=reader(path, DATA),
            energy=numbers(file, "entry/data/energy"),
            quantity=quantity,
            is_declared=not attrs.pop("quantity_assumed", False),
            pixel_size_nm=attrs.pop("pixel_size_nm", None),
            coords=_coords(file["entry/data"], dataset.shape),
            history=tuple(attrs.pop("history", ())),
            attrs=attrs,
            dataset=DATA,
        )


def _matches(path: Path, head: bytes) -> bool:
    if not has_keys(path, head, "entry/definition", DATA, "entry/data/energy"):
        return False
    with open_h5(path) as file:
        return scalar_text(stored_text(file["entry/definition"])) == DEFINITION


def _group(parent: h5py.Group, name: str, nx_class: str, **attrs: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs.update({"NX_class": nx_class, **attrs})
    return group


def _write_frames(data: h5py.Group, stack: xr.DataArray) -> None:
    dataset = write_values(data, "data", stack)
    dataset.attrs["quantity"] = stack.attrs["quantity"]
    dataset.attrs["xanesum_attrs"] = json.dumps(plain_attrs(stack, without=IN_PROCESS))


def _write_axes(data: h5py.Group, stack: xr.DataArray) -> None:
    energy = data.create_dataset("energy", data=stack.energy.values)
    energy.attrs["units"] = "eV"
    step = stack.attrs.get("pixel_size_nm")
    for name, size in zip(DIMS[1:], stack.shape[1:], strict=True):
        known = name in stack.coords
        values = stack[name].values if known else np.arange(size) * (1.0 if step is None else step)
        axis = data.create_dataset(name, data=values)
        axis.attrs["units"] = stack[name].attrs.get("units", "") if known else "px" if step is None else "nm"
        axis.attrs["from_stack"] = known


def _write_process(entry: h5py.Group, stack: xr.DataArray) -> None:
    process = _group(entry, "process", "NXprocess")
    process["program"] = "xanesum"
    process["version"] = _version()
    process["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    process["history"] = json.dumps([str(note) for note in stack.attrs.get("history", ())])
    process["options"] = json.dumps(stack.attrs.get("options", {}), default=str)


def _attrs(file: h5py.File, dataset: h5py.Dataset) -> dict[str, Any]:
    with reading(Path(file.filename)):
        attrs = dict(json.loads(scalar_text(dataset.attrs.get("xanesum_attrs", "{}"))))
        attrs["history"] = json.loads(_text(file, "entry/process/history", "[]"))
        if options := json.loads(_text(file, "entry/process/options", "{}")):
            attrs["options"] = options
    return attrs


def _coords(data: h5py.Group, shape: tuple[int, ...]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return the coordinates; `y` and `x` only if the stack that was written had them."""
    found, doubts = read_coords(data, shape)
    if doubts:
        raise ReadError(f"{data.file.filename}: {doubts[0]}")
    for name in _own_axes(data, DIMS[1:]):
        found[name] = ((name,), data[name][()])
    return found


def _own_axes(data: h5py.Group, names: Iterable[str]) -> list[str]:
    return [name for name in names if name in data and bool(data[name].attrs.get("from_stack", False))]


def _text(file: h5py.File, name: str, default: str) -> str:
    return scalar_text(stored_text(file[name])) if name in file else default


def _version() -> str:
    try:
        return version("xanesum")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


FORMAT = Format(
    name="xanesum",
    description="native NeXus file of xanesum",
    suffixes=SUFFIXES,
    matches=_matches,
    open=_open,
    writer=Writer(
        name="native",
        description="the native form",
        suffixes=SUFFIXES,
        write=write,
        keeps=(*COORDS, "y", "x", ATTRS, DOUBLE),
    ),
)
