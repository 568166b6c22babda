"""The parts into which a stack is split for a pass."""

from __future__ import annotations

from typing import NamedTuple

from xanesum.storage.lazy import whole_chunks

__all__ = ["Part", "parts_in_chunks", "parts_in_rows"]


class Part(NamedTuple):
    """A part of a stack: some of its frames, and some rows of these."""

    energies: slice
    rows: slice


def parts_in_rows(
    shape: tuple[int, int, int], chunk_rows: int, block_bytes: float, *, multiple: int = 1
) -> list[Part]:
    """Return parts of all energies and some rows, see `parts_in_chunks`."""
    return parts_in_chunks(shape, (shape[0], chunk_rows), block_bytes, multiple=multiple)


def parts_in_chunks(
    shape: tuple[int, int, int], chunks: tuple[int, int], block_bytes: float, *, multiple: int = 1
) -> list[Part]:
    """Return parts that hold whole chunks: some frames and all rows where they fit, else fewer of both.

    Parameters
    ----------
    shape : tuple of int
        (E, Y, X) of the stack.
    chunks : tuple of int
        Energies and rows that are read together.
    block_bytes : float
        Approximate size of the float32 values of a part.
    multiple : int
        The number of rows of every part but the last is a multiple of this.
    """
    return [Part(*part) for part in whole_chunks(shape, chunks, block_bytes, multiple=multiple)]
