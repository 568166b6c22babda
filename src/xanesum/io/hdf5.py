"""Common functions of the HDF5 formats, and the reader for any dataset that the user names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import Format, Key, Scan, reading

__all__ = [
    "FORMAT",
    "has_keys",
    "images_of_size",
    "is_hdf5",
    "numbers",
    "open_dataset",
    "open_h5",
    "reader",
    "scalar_text",
    "stack_dataset",
]

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_RATIO = 2000  # deflate compresses 1032 times at most; a dataset that declares more is damaged
# datasets in which the energies of a dataset that the user names are looked for
ENERGY_NAMES = ("energy", "X_eng", "XEng", "energies", "eng_list", "eng")


def is_hdf5(path: Path, head: bytes) -> bool:
    """Return whether a file is HDF5; its signature is at the start, or after a user block."""
    return head.startswith(MAGIC) or (bool(head) and bool(h5py.is_hdf5(path)))


@contextmanager
def open_h5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; every error inside becomes a ReadError."""
    with reading(path), h5py.File(path, "r") as file:
        yield file


def has_keys(path: Path, head: bytes, *keys: str) -> bool:
    """Return whether `path` is an HDF5 file that has all of `keys`."""
    if not is_hdf5(path, head):
        return False
    with open_h5(path) as file:
        return all(key in file for key in keys)


def stack_dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset of a stack after checking that the file contains what the dataset declares.

    Raises
    ------
    ReadError
        If it is missing, is not an array of numbers with three axes, refers to files outside the folder, or
        declares more data than the file can contain.
    """
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        raise _no_stack(f"{path}: has no dataset {name}", file)
    if item.ndim != 3 or min(item.shape) < 1:
        raise ReadError(f"{path}: {name} has shape {item.shape}; expected three axes, one image per energy")
    if item.dtype.kind not in "iufb":
        raise ReadError(f"{path}: {name} holds {item.dtype}, expected numbers")
    _require_same_folder(path, item)
    _require_stored(path, item)
    return item


def reader(path: Path, name: str, *, reverse_axes: bool = False) -> Callable[[Key], NDArray[Any]]:
    """Return a `Scan.read` for a dataset; it opens the file anew at each call.

    Parameters
    ----------
    path : Path
    name : str
        Of the dataset.
    reverse_axes : bool
        Whether the file has the axes (x, y, energy).
    """

    def read(key: Key) -> NDArray[Any]:
        with open_h5(path) as file:
            dataset = stack_dataset(path, file, name)
            values = dataset[key[::-1]].T if reverse_axes else dataset[key]
            return np.asarray(values)

    return read


def numbers(file: h5py.File, name: str) -> NDArray[np.float64] | None:
    """Return a small dataset as float64, or None if there is none."""
    item = file.get(name)
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iuf" or item.size > 2**20:
        return None
    return np.asarray(item[()], dtype=np.float64)


def scalar_text(value: Any) -> str:
    """Return a string that HDF5 stores in any of the usual ways as str."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def open_dataset(path: Path, name: str) -> Scan:
    """Open the dataset that the user named; energies are looked for in its group and at the root."""
    with open_h5(path) as file:
        dataset = stack_dataset(path, file, name)
        quantity = "counts" if dataset.dtype.kind in "iu" else "intensity"
        return Scan(
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunks=dataset.chunks,
            read=reader(path, name),
            energy=_energies_near(file, dataset),
            quantity=quantity,
            history=(f"read {name} of {path.name}, taken as (energy, y, x) and as {quantity}",),
        )


def images_of_size(path: Path, size: tuple[int, ...], words: Sequence[str]) -> Scan | None:
    """Return images (Y, X) or (N, Y, X) of a size in a file of any layout, or None.

    That is the dataset whose name has one of the `words`, or the only one of that size.
    """
    with open_h5(path) as file:
        found: list[str] = []

        def look(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.shape[-2:] == size and item.dtype.kind in "iuf":
                found.extend([name] if item.ndim in (2, 3) else [])

        file.visititems(look)
        named = [name for name in found if any(word in name.rpartition("/")[2].lower() for word in words)]
        chosen = named or found
        if len(chosen) != 1:
            return None
        dataset = file[chosen[0]]
        _require_same_folder(path, dataset)
        _require_stored(path, dataset)
        shape = dataset.shape if dataset.ndim == 3 else (1, *dataset.shape)
        dtype = dataset.dtype

    def read(key: Key) -> NDArray[Any]:
        with open_h5(path) as opened:
            values = opened[chosen[0]]
            return np.asarray(values[key] if values.ndim == 3 else values[()][None][key])

    return Scan(shape=shape, dtype=dtype, read=read)


def _open_unknown(path: Path) -> Scan:
    with open_h5(path) as file:
        raise _no_stack(f"{path}: HDF5 of an unknown layout", file)


def _energies_near(file: h5py.File, dataset: h5py.Dataset) -> NDArray[np.float64] | None:
    for group in (dataset.parent, file):
        for name in ENERGY_NAMES:
            found = numbers(group, name)
            if found is not None and found.size == dataset.shape[0]:
                return found.ravel()
    return None


def _no_stack(message: str, file: h5py.File) -> ReadError:
    """Return the error for a file without the expected dataset; it names those with three axes."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if getattr(item, "ndim", 0) == 3 else None)
    if not found:
        return ReadError(f"{message}; it holds no dataset with three axes")
    names = ", ".join(found[:8])
    return ReadError(f"{message}; name a dataset with three axes: {names}", parameter="data")


def _require_same_folder(path: Path, dataset: h5py.Dataset) -> None:
    """Raise if a link, a virtual dataset or external storage takes pixels from outside the folder."""
    folder = path.resolve().parent
    names = [Path(dataset.file.filename).resolve(), *(name for name, _, _ in dataset.external or ())]
    if dataset.is_virtual:
        names += [source.file_name for source in dataset.virtual_sources() if source.file_name != "."]
    for name in names:
        if not (folder / name).resolve().is_relative_to(folder):
            raise ReadError(
                f"{path}: {dataset.name} refers to {name} outside its folder; copy that file into the folder"
            )


def _require_stored(path: Path, dataset: h5py.Dataset) -> None:
    """Raise if a dataset declares more data than the file can contain."""
    if dataset.is_virtual or dataset.external:
        return
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), path.stat().st_size)
    if declared > stored * (1 if dataset.chunks is None else MAX_RATIO):
        raise ReadError(
            f"{path}: {dataset.name} declares {declared} bytes of shape {dataset.shape}, "
            f"the file holds {stored}; it was cut short or never filled"
        )


FORMAT = Format(
    name="hdf5",
    description="any HDF5 dataset with three axes, named by data=",
    suffixes=(".h5", ".hdf5", ".hdf", ".nxs"),
    matches=is_hdf5,
    open=_open_unknown,
)
