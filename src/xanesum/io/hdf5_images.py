"""Images of a given size in HDF5 files of any layout: flats and darks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from xanesum.io.hdf5 import is_stack, reader, stack_dataset
from xanesum.io.hdf5_file import find, open_h5, quoted, walk
from xanesum.io.scan import Scan

__all__ = ["images_of_size", "names_of_stacks"]


def names_of_stacks(path: Path, *, but: str = "") -> tuple[str, ...]:
    """Return the names of the arrays of a file that may be stacks, but one of them."""
    with open_h5(path) as file:
        own = find(file, but) if but else None
        return tuple(quoted(name) for name, item in walk(file) if is_stack(item) and item != own)


def images_of_size(path: Path, size: tuple[int, ...], words: Sequence[str]) -> Scan | None:
    """Return images (Y, X) or (N, Y, X) of a size in a file of any layout, or None.

    That is the dataset whose name has one of the `words`, or the only one of that size.
    """
    with open_h5(path) as file:
        found = [
            name
            for name, item in walk(file)
            if isinstance(item, h5py.Dataset)
            and item.ndim in (2, 3)
            and item.shape[-2:] == size
            and item.dtype.kind in "iuf"
        ]
        named = [name for name in found if any(word in name.rpartition("/")[2].lower() for word in words)]
        names = named or found
        if len(names) != 1:
            return None
        dataset = stack_dataset(path, file, names[0], n_axes=2)
        dtype, shape = dataset.dtype, dataset.shape
    if len(shape) == 3:
        return Scan(shape=shape, dtype=dtype, read=reader(path, names[0]))
    read = reader(path, names[0], n_axes=2)
    return Scan(shape=(1, *shape), dtype=dtype, read=lambda key: np.asarray(read(key[1:]))[None][key[0]])
