"""Texts in HDF5 files: HDF5 takes as much memory as a text declares, so that is checked first."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py

from xanesum.errors import ReadError

__all__ = ["stored_text"]

LENGTH = struct.Struct("<I")  # at the beginning of a text of variable length in the file


def stored_text(dataset: h5py.Dataset) -> Any:
    """Return the value of a dataset that holds one text, of any length.

    Raises
    ------
    ReadError
        If it declares more bytes than its file has.
    """
    kind = h5py.check_string_dtype(dataset.dtype)
    start = dataset.id.get_offset()
    if kind is not None and kind.length is None and start is not None:
        path = Path(dataset.file.filename)
        with path.open("rb") as file:
            file.seek(start)
            declared = LENGTH.unpack(file.read(LENGTH.size).ljust(LENGTH.size, b"\0"))[0]
        if declared > path.stat().st_size:
            raise ReadError(
                f"{path}: a text in it declares {declared} bytes that the file does not hold; damaged"
            )
    return dataset[()]
