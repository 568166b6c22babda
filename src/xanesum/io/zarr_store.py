"""Zarr stores: a folder with the stack in chunks, for scans that are too large for one file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import MissingExtraError, ReadError
from xanesum.io.scan import Format, Key, Scan, reading
from xanesum.stack import DIMS, QUANTITIES

__all__ = ["FORMAT"]

MARKS = ("zarr.json", ".zarray", ".zgroup")  # a folder with one of these files is a Zarr store
DATA, ENERGY = "data", "energy"  # arrays of a group
# arrays of a group that become coordinates, with the axes that they may have
REFERENCES = {"flat": (DIMS, DIMS[1:]), "dark": (DIMS[1:],), "i0": (DIMS[:1],)}
MOST_BYTES = 2**32  # largest chunk in bytes; it must fit in memory


def _matches(path: Path, head: bytes) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in MARKS)


def _open(path: Path) -> Scan:
    try:
        zarr = import_module("zarr")
    except ImportError as error:
        raise MissingExtraError('reading Zarr needs: pip install "xanesum[zarr]"') from error
    with reading(path):
        root = zarr.open(str(path), mode="r")
        is_group = isinstance(root, zarr.Group)
        if is_group and not _has_array(root, DATA):
            raise ReadError(f"{path}: a group without an array {DATA!r}; it holds {', '.join(sorted(root))}")
        array = root[DATA] if is_group else root
        _require_stack(path, array)
        attrs = {**root.attrs, **array.attrs}
        energy = root[ENERGY][...] if is_group and _has_array(root, ENERGY) else attrs.get("energy_ev")
        has_reference = is_group and any(_has_array(root, name) for name in ("flat", "i0"))
        quantity = str(attrs.get("quantity", "counts" if has_reference else "intensity"))
        if quantity not in QUANTITIES:
            raise ReadError(f"{path}: unknown quantity {quantity!r}; expected one of {', '.join(QUANTITIES)}")
        size_nm = attrs.get("pixel_size_nm")
        return Scan(
            shape=tuple(array.shape),
            dtype=array.dtype,
            chunks=tuple(array.chunks),  # chunks within a shard can be read one by one
            read=_Reader(path.resolve(), DATA if is_group else None),
            energy=None if energy is None else np.asarray(energy, np.float64).ravel(),
            quantity=quantity,
            is_declared="quantity" in attrs,
            pixel_size_nm=None if size_nm is None else float(size_nm),
            coords=_references(path, root, array.shape) if is_group else {},
            history=(f"read {path.name} as {quantity.replace('_', ' ')}",),
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """A `Scan.read` that can be sent to other processes."""

    path: Path
    name: str | None

    def __call__(self, key: Key) -> NDArray[Any]:
        with reading(self.path):
            root = import_module("zarr").open(str(self.path), mode="r")
            return np.asarray((root if self.name is None else root[self.name])[key])


def _has_array(group: Any, name: str) -> bool:
    return name in group and isinstance(group[name], import_module("zarr").Array)


def _require_stack(path: Path, array: Any) -> None:
    if len(array.shape) != 3 or min(array.shape) < 1:
        raise ReadError(f"{path}: has shape {array.shape}; expected three axes, one image per energy")
    if array.dtype.kind not in "iufb":
        raise ReadError(f"{path}: holds {array.dtype}, expected numbers")
    if math.prod(array.chunks) * array.dtype.itemsize > MOST_BYTES:
        raise ReadError(f"{path}: its chunks of {array.chunks} values are larger than 4 GB; rechunk it")


def _references(path: Path, root: Any, shape: tuple[int, ...]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return flat, dark and I0, those that the group has."""
    sizes = dict(zip(DIMS, shape, strict=True))
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name, forms in REFERENCES.items():
        if not _has_array(root, name):
            continue
        fitting = [dims for dims in forms if root[name].shape == tuple(sizes[dim] for dim in dims)]
        if not fitting:
            raise ReadError(f"{path}: {name} has shape {root[name].shape}; the scan is {shape}")
        found[name] = (fitting[0], np.asarray(root[name][...], np.float32))
    return found


FORMAT = Format(
    name="zarr",
    description="Zarr store",
    suffixes=(".zarr",),
    matches=_matches,
    open=_open,
)
