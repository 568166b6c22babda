"""Texts in HDF5 files: their places are checked first, as HDF5 takes the memory or the time they declare."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from xanesum.errors import ReadError

__all__ = ["stored_text"]

TEXT = struct.Struct("<IQ")  # a text of variable length in the file: its length, and the address of its heap
HEAP = struct.Struct("<4s4xQ")  # beginning of a heap: its mark, and its size
OBJECT = struct.Struct("<H6xQ")  # beginning of an object in a heap: its number, and its size
MARK = b"GCOL"


def stored_text(dataset: h5py.Dataset) -> Any:
    """Return the value of a dataset that holds one text, of any length.

    Raises
    ------
    ReadError
        If it declares more bytes than its file has, or its place is damaged.
    """
    kind = h5py.check_string_dtype(dataset.dtype)
    start = dataset.id.get_offset()
    if kind is not None and kind.length is None and start is not None:
        path = Path(dataset.file.filename)
        size = path.stat().st_size
        with path.open("rb") as file:
            declared, heap = TEXT.unpack(_bytes_at(file, start, TEXT.size))
            if not _is_whole(file, heap, size):
                raise ReadError(f"{path}: the place of a text in it is damaged; copy the file again")
        if declared > size:
            raise ReadError(
                f"{path}: a text in it declares {declared} bytes that the file does not hold; damaged"
            )
    return dataset[()]


def _is_whole(file: BinaryIO, address: int, size: int) -> bool:
    """Return whether the objects of a heap fill it; HDF5 would search one that they do not for ever.

    What is no heap at all is left to HDF5, which says so.
    """
    if address + HEAP.size > size:
        return True
    mark, length = HEAP.unpack(_bytes_at(file, address, HEAP.size))
    if mark != MARK:
        return True
    if length > size:
        return False
    content = _bytes_at(file, address, length)
    at = HEAP.size
    while at + OBJECT.size <= length:
        number, held = OBJECT.unpack_from(content, at)
        step = held if number == 0 else OBJECT.size + -(-held // 8) * 8  # 0: what is free, with its beginning
        if not 0 < step <= length - at:
            return False
        at += step
    return True


def _bytes_at(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count).ljust(count, b"\0")
