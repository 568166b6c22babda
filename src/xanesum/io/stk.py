"""Stacks ``.stk`` of the X1A microscope: big-endian sizes, positions, energies, dwell times and images."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from xanesum.errors import ReadError
from xanesum.io.flat_array import FlatArray, open_flat
from xanesum.io.scan import Format, Scan, read_bytes

__all__ = ["FORMAT"]

SIZES = struct.Struct(">3i")  # columns, rows, energies
MOST = 100_000  # columns, rows or energies


def _sizes(head: bytes) -> tuple[int, int, int] | None:
    """Return (energies, rows, columns), or None if these bytes are not the beginning of such a file."""
    if len(head) < SIZES.size:
        return None
    n_x, n_y, n_energies = SIZES.unpack(head[: SIZES.size])
    return (n_energies, n_y, n_x) if all(0 < n <= MOST for n in (n_energies, n_y, n_x)) else None


def _lists(sizes: tuple[int, int, int]) -> int:
    """Return the number of values before the images: x, y, energies and dwell times."""
    n_energies, n_y, n_x = sizes
    return n_x + n_y + 2 * n_energies


def _matches(path: Path, head: bytes) -> bool:
    sizes = _sizes(head)
    if sizes is None or path.suffix.lower() != ".stk":
        return False
    return path.stat().st_size > SIZES.size + 4 * _lists(sizes)


def _open(path: Path) -> Scan:
    sizes = _sizes(read_bytes(path, SIZES.size))
    if sizes is None:
        raise ReadError(f"{path}: is no X1A stack")
    offset = SIZES.size + 4 * _lists(sizes)
    lists = np.frombuffer(read_bytes(path, offset), ">f4", offset=SIZES.size).astype(np.float64)
    n_energies, n_y, n_x = sizes
    energy = lists[n_x + n_y : n_x + n_y + n_energies]
    return open_flat(FlatArray(path, ">f4", offset, sizes), energy, lists[:n_x], "counts")


FORMAT = Format(
    name="stk",
    description="X1A stack (.stk)",
    suffixes=(".stk",),
    matches=_matches,
    open=_open,
)
