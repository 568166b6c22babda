"""NXstxm, HDF5: scanning transmission X-ray microscopes that write NeXus (PolLux, Pixelator, ...)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xanesum.errors import ReadError
from xanesum.io.hdf5 import is_hdf5, numbers, open_h5, reader, scalar_text, stack_dataset
from xanesum.io.hdf5_text import stored_text
from xanesum.io.scan import Format, Scan

__all__ = ["FORMAT"]

NM_PER = {"nm": 1.0, "mm": 1e6, "m": 1e9}  # nm per unit; any other unit is taken as micrometres


def _open(path: Path) -> Scan:
    with open_h5(path) as file:
        entry = _entry(file)
        group = _signal_group(path, file[entry])
        name = f"{group}/{scalar_text(file[group].attrs.get('signal', 'data'))}"
        dataset = stack_dataset(path, file, name)
        energy = numbers(file, f"{group}/energy")
        return Scan(
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunks=dataset.chunks,
            read=reader(path, name),
            energy=None if energy is None else energy.ravel(),
            quantity="counts",
            pixel_size_nm=_pixel_size_nm(file[group]),
            coords=_monitor(file, entry, dataset.shape),
            history=(f"read {name} of {path.name} as counts",),
        )


def _matches(path: Path, head: bytes) -> bool:
    if not is_hdf5(path, head):
        return False
    with open_h5(path) as file:
        return bool(_entry(file))


def _entry(file: h5py.File) -> str:
    """Return the name of the first entry whose definition is NXstxm, or an empty string."""
    for name, group in file.items():
        definition = group.get("definition") if isinstance(group, h5py.Group) else None
        if isinstance(definition, h5py.Dataset) and scalar_text(stored_text(definition)).strip() == "NXstxm":
            return str(name)
    return ""


def _signal_group(path: Path, entry: h5py.Group) -> str:
    """Return the name of the NXdata group whose signal is a stack of images."""
    for group in entry.values():
        if isinstance(group, h5py.Group) and scalar_text(group.attrs.get("NX_class", "")) == "NXdata":
            signal = group.get(scalar_text(group.attrs.get("signal", "data")))
            if getattr(signal, "ndim", 0) == 3:
                return str(group.name).lstrip("/")
    raise ReadError(
        f"{path}: no NXdata group of this NXstxm file holds a stack with three axes (energy, y, x)"
    )


def _monitor(file: h5py.File, entry: str, shape: tuple[int, ...]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return the mean of the I0 monitor over each image as coordinate `monitor (energy)`.

    It is usually the ring current.  It follows the flux but does not have the unit of the counts, so it is
    not an `i0`.
    """
    item = file.get(f"{entry}/control/data")
    if not isinstance(item, h5py.Dataset) or item.shape != shape:
        return {}
    return {"monitor": (("energy",), np.array([float(np.mean(frame)) for frame in item]))}


def _pixel_size_nm(group: h5py.Group) -> float | None:
    item = group.get("sample_x")
    if not isinstance(item, h5py.Dataset) or item.ndim != 1 or item.size < 2:
        return None
    step = float(np.median(np.abs(np.diff(item[()]))))
    return step * NM_PER.get(scalar_text(item.attrs.get("units", "um")).strip().lower(), 1e3) or None


FORMAT = Format(
    name="nxstxm",
    description="NeXus NXstxm",
    suffixes=(".hdf5", ".h5", ".nxs"),
    matches=_matches,
    open=_open,
)
