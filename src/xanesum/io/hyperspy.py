"""HyperSpy, HDF5: signals with axes of scale and offset, in any order; read and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from xanesum.io.hdf5 import Source, chosen, is_stack, open_source
from xanesum.io.hdf5_coords import read_coords, write_coords, write_values
from xanesum.io.hdf5_file import children, find, is_hdf5, open_h5, quoted, scalar_text
from xanesum.io.scan import NO_CHOICE, Choice, Format, Scan
from xanesum.io.writing import ATTRS, COORDS, DOUBLE, Writer, attrs_from_json, attrs_to_json
from xanesum.stack import QUANTITIES, check_stack
from xanesum.storage.atomic import atomic_path

__all__ = ["FORMAT", "write"]

VERSION = "3.3"  # of the form of the file; HyperSpy reads it from version 1.7 on, RosettaSciIO from 0.2 on
OWN = "xanesum"  # group of the metadata with what HyperSpy has no place for
TITLE = "stack"


def write(stack: xr.DataArray, path: Path) -> Path:
    """Write a signal of images: energy is the axis of navigation, y and x are those of the signal.

    ``signal.T`` has spectra instead.  Mask, weights, flats and the other coordinates and attributes are in
    its metadata, under `xanesum`.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    check_stack(stack)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": VERSION})
        group = file.create_group(f"Experiments/{TITLE}")
        write_values(group, "data", stack, chunks=(1, *stack.shape[1:]))
        _write_energy_axis(group.create_group("axis-0"), stack)
        for i, name in enumerate(("y", "x"), start=1):
            _write_image_axis(group.create_group(f"axis-{i}"), name, stack)
        group.create_group("original_metadata")
        group.create_group("learning_results")
        _write_metadata(group.create_group("metadata"), stack)
    return path


def _write_energy_axis(axis: h5py.Group, stack: xr.DataArray) -> None:
    """Write the energies: as scale and offset where they are exactly so, otherwise every position."""
    energy = stack.energy.values.astype(np.float64)
    axis.attrs.update({"name": "Energy", "units": "eV", "navigate": True, "is_binned": False})
    scale = float(energy[1] - energy[0]) if len(energy) > 1 else 1.0
    if np.array_equal(energy[0] + scale * np.arange(len(energy)), energy):
        axis.attrs.update(
            {"_type": "UniformDataAxis", "scale": scale, "offset": float(energy[0]), "size": len(energy)}
        )
    else:
        axis.attrs["_type"] = "DataAxis"
        axis["axis"] = energy


def _write_image_axis(axis: h5py.Group, name: str, stack: xr.DataArray) -> None:
    size_nm = stack.attrs.get("pixel_size_nm")
    axis.attrs.update({"_type": "UniformDataAxis", "name": name, "navigate": False, "is_binned": False})
    axis.attrs.update({"units": "px" if size_nm is None else "nm", "size": stack.sizes[name]})
    axis.attrs.update({"scale": 1.0 if size_nm is None else float(size_nm), "offset": 0.0})


def _write_metadata(metadata: h5py.Group, stack: xr.DataArray) -> None:
    metadata.create_group("General").attrs["title"] = TITLE
    quantity = stack.attrs["quantity"]
    metadata.create_group("Signal").attrs.update(
        {"signal_type": "", "quantity": quantity.replace("_", " ").capitalize()}
    )
    own = metadata.create_group(OWN)
    own.attrs.update({"quantity": quantity, "attributes": attrs_to_json(stack)})
    own.attrs["quantity_assumed"] = bool(stack.attrs.get("quantity_assumed", False))
    write_coords(own, stack, chunked=True)  # HyperSpy reads its metadata with Dask


def _matches(path: Path, head: bytes) -> bool:
    if not is_hdf5(path, head):
        return False
    with open_h5(path) as file:
        return bool(_experiments(file))


def _experiments(file: h5py.File) -> list[str]:
    top = find(file, "Experiments")
    if not isinstance(top, h5py.Group):
        return []
    return [
        name
        for name, item in children(top)
        if isinstance(item, h5py.Group) and is_stack(find(item, "data")) and find(item, "axis-0") is not None
    ]


def _open(path: Path, choice: Choice = NO_CHOICE) -> Scan:
    with open_h5(path) as file:
        there = _experiments(file)
        name = chosen(path, choice.entry, there, "entry")
        others = {"entry": tuple(quoted(each) for each in there if each != name)}
        quantity, is_declared = _quantity(file, f"Experiments/{name}/metadata")
        own = find(file, f"Experiments/{name}/metadata/{OWN}")
        is_own = isinstance(own, h5py.Group)
        source = Source(f"Experiments/{name}/data", quantity, is_declared, is_complete=is_own, others=others)
        scan = open_source(path, file, source, choice)
        return _with_own(path, scan, own) if is_own else scan


def _quantity(file: h5py.File, metadata: str) -> tuple[str | None, bool]:
    """Return what the values are, None if the file does not say it, and whether it is sure of it."""
    own = find(file, f"{metadata}/{OWN}")
    if isinstance(own, h5py.Group) and scalar_text(own.attrs.get("quantity", "")) in QUANTITIES:
        return scalar_text(own.attrs["quantity"]), not bool(own.attrs.get("quantity_assumed", False))
    said = find(file, f"{metadata}/Signal")
    word = scalar_text(said.attrs.get("quantity", "")).lower() if isinstance(said, h5py.Group) else ""
    quantity = "optical_density" if "absorb" in word or "optical density" in word else None
    quantity = "counts" if word.startswith(("count", "intensity (count")) else quantity
    return quantity, quantity is not None


def _with_own(path: Path, scan: Scan, own: h5py.Group) -> Scan:
    """Return the scan with coordinates and attributes that `write` put into the metadata."""
    coords, doubts = read_coords(own, scan.shape)
    attrs, history = attrs_from_json(scalar_text(own.attrs.get("attributes", "")))
    notes = tuple(f"{path.name}: {doubt}; it was left out" for doubt in doubts)
    return replace(
        scan,
        coords={**scan.coords, **coords},
        attrs={**scan.attrs, **attrs},
        history=(*history, *scan.history),
        notes=(*scan.notes, *notes),
    )


FORMAT = Format(
    name="hyperspy",
    description="HyperSpy",
    suffixes=(".hspy", ".hdf5"),
    matches=_matches,
    open=_open,
    choose=_open,
    writer=Writer(
        name="hyperspy",
        description="a HyperSpy file",
        suffixes=(".hspy",),
        write=write,
        keeps=(*COORDS, ATTRS, DOUBLE, "pixel_size_nm"),
    ),
)
