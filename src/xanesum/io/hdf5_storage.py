"""What an HDF5 dataset declares, against what the file holds: size, compression, files that it refers to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xanesum.errors import MissingExtraError, ReadError
from xanesum.io.hdf5_file import may_be_read, opened, quoted

__all__ = ["RawValues", "require_readable"]

MAX_RATIO = 2000  # deflate compresses 1032 times at most; a dataset that declares more is damaged
FILTERS = {  # registered numbers of filters that HDF5 does not bring -> names
    305: "LZO",
    307: "bzip2",
    4: "SZIP",
    32000: "LZF",
    32001: "Blosc",
    32002: "MAFISC",
    32003: "Snappy",
    32004: "LZ4",
    32008: "bitshuffle",
    32012: "LPC-Rice",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32019: "JPEG",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
OF_HDF5PLUGIN = {307, 32001, 32004, 32008, 32013, 32015, 32017, 32018, 32024, 32026, 32028}


def require_readable(path: Path, dataset: h5py.Dataset) -> None:
    """Raise if the values of a dataset cannot be read as it declares them.

    Raises
    ------
    ReadError
        If it declares more data than the file can contain, or refers to files that are missing, too short or
        outside the folder.
    MissingExtraError
        If it is compressed by a filter that is not installed.
    """
    if dataset.is_virtual:
        _require_sources(path, dataset)
    elif dataset.external:
        _require_raw_files(path, dataset)
    else:
        _require_filters(path, dataset)
        _require_stored(path, dataset)


@dataclass(frozen=True, slots=True)
class RawValues:
    """Values of a dataset in files of their own, read from beside its file.

    HDF5 itself would look for them in the working folder.
    """

    dataset: h5py.Dataset

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return the values at a key of slices and integers, one for each axis."""
        first = key[0] if isinstance(key[0], slice) else slice(key[0], key[0] + 1)
        wanted = range(self.dataset.shape[0])[first]
        low, high = (min(wanted), max(wanted) + 1) if wanted else (0, 0)
        n_bytes = math.prod(self.dataset.shape[1:]) * self.dataset.dtype.itemsize
        values = np.frombuffer(self._bytes(low * n_bytes, high * n_bytes), self.dataset.dtype)
        part = values.reshape(high - low, *self.dataset.shape[1:])
        within = slice(None, None, wanted.step) if isinstance(key[0], slice) else 0
        return np.asarray(part[(within, *key[1:])])

    def _bytes(self, low: int, high: int) -> bytes:
        """Return the bytes from `low` to `high` of all files, one after the other."""
        parts, begin = [], 0
        for name, offset, size in self.dataset.external or ():
            start, stop = max(low, begin), high if size == h5py.h5f.UNLIMITED else min(high, begin + size)
            if start < stop:
                with may_be_read(self.dataset, name).open("rb") as file:
                    file.seek(offset + start - begin)
                    parts.append(file.read(stop - start))
            begin += size
        return b"".join(parts)


def _require_sources(path: Path, dataset: h5py.Dataset) -> None:
    """Raise if a file, or a dataset in it, of which a virtual dataset consists is missing or unreadable."""
    by_file: dict[str, set[str]] = {}
    for source in dataset.virtual_sources():
        if source.file_name != "." and "%b" not in source.file_name:
            by_file.setdefault(source.file_name, set()).add(source.dset_name)
    for name, parts in by_file.items():
        file = may_be_read(dataset, name)
        with opened(file) as other:
            for part in sorted(parts):
                item = other.get(part)
                if not isinstance(item, h5py.Dataset):
                    raise ReadError(
                        f"{path}: {quoted(dataset.name)} takes values from {quoted(part)} in {quoted(name)}, "
                        "and that file has no such dataset"
                    )
                if not item.is_virtual and not item.external:
                    _require_filters(file, item)
                    _require_stored(file, item)


def _require_raw_files(path: Path, dataset: h5py.Dataset) -> None:
    """Raise if a file of raw values is missing or shorter than the dataset says."""
    for name, offset, size in dataset.external:
        file = may_be_read(dataset, name)
        if size != h5py.h5f.UNLIMITED and file.stat().st_size < offset + size:
            raise ReadError(
                f"{path}: {quoted(dataset.name)} takes {size} bytes from {quoted(name)} at {offset}, "
                f"which has {file.stat().st_size} bytes; it was cut short or never filled"
            )


def _require_filters(path: Path, dataset: h5py.Dataset) -> None:
    pipeline = dataset.id.get_create_plist()
    for i in range(pipeline.get_nfilters()):
        number, _, _, label = pipeline.get_filter(i)
        if h5py.h5z.filter_avail(number) or _found_by_plugin(number):
            continue
        name = FILTERS.get(number) or quoted(label.decode("utf-8", errors="replace")) or "an unknown filter"
        what = f"{path}: {quoted(dataset.name)} is compressed with {name} (HDF5 filter {number})"
        if number in OF_HDF5PLUGIN:
            raise MissingExtraError(f'{what}; to read it: pip install "xanesum[hdf5plugin]"')
        raise ReadError(f"{what}, which is not installed; set HDF5_PLUGIN_PATH to the folder of its plugin")


def _found_by_plugin(number: int) -> bool:
    """Return whether hdf5plugin, if it is installed, brings the filter; its import registers the filters."""
    try:
        import_module("hdf5plugin")
    except ImportError:
        return False
    return bool(h5py.h5z.filter_avail(number))


def _require_stored(path: Path, dataset: h5py.Dataset) -> None:
    """Raise if a dataset declares more data than its file can contain."""
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), Path(dataset.file.filename).stat().st_size)
    if declared > stored * (1 if dataset.chunks is None else MAX_RATIO):
        raise ReadError(
            f"{path}: {quoted(dataset.name)} declares {declared} bytes of shape {dataset.shape}, "
            f"the file holds {stored}; it was cut short or never filled"
        )
