"""Lazy stacks: values that are read, or computed, when they are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from xanesum.stack import DIMS
from xanesum.storage.memory import (
    CHUNK_ROW_SHARE,
    FRAME_BYTES_PER_VALUE,
    FRAMES_TOGETHER_PIXELS,
    N_THREADS,
    READ_BYTES,
    available_memory,
)
from xanesum.storage.prefetch import in_threads

__all__ = [
    "chunks_of",
    "each_frame",
    "enclosing_slice",
    "index_ranges",
    "index_within",
    "is_lazy",
    "lazy_array",
    "whole_chunks",
    "with_frames",
    "with_missing",
    "with_values",
]

FLOAT_BYTES = 4.0  # of a float32


def lazy_array(
    shape: tuple[int, ...],
    read: Callable[[tuple[Any, ...]], NDArray[Any]],
    *,
    dtype: Any = np.float32,
    chunks: tuple[int, ...] | None = None,
) -> xr.Variable:
    """Return a (energy, y, x) variable that calls `read` with a tuple of slices and integers when indexed.

    `chunks` are the energies, rows and columns that are always read together, see `chunks_of`.
    """
    return xr.Variable(DIMS, indexing.LazilyIndexedArray(_OnDemand(shape, np.dtype(dtype), read, chunks)))


def chunks_of(stack: xr.DataArray) -> tuple[int, int, int]:
    """Return how many energies, rows and columns of a lazy stack are read together; at least a whole row."""
    array: Any = stack.variable._data  # private in xarray: the public `data` would read all values
    while not isinstance(array, _OnDemand) and hasattr(array, "array"):  # a part of a part
        array = array.array
    of_dask = getattr(array, "chunksize", None)
    found = (array.chunks if isinstance(array, _OnDemand) else of_dask) or (1, 1, stack.shape[2])
    energies, rows, columns = (int(min(n, size)) for n, size in zip(found, stack.shape, strict=True))
    return energies, rows, columns


def whole_chunks(
    shape: tuple[int, ...], chunks: Sequence[int], n_bytes: float, *, multiple: int = 1
) -> Iterator[tuple[slice, slice]]:
    """Yield slices of energies and of rows: blocks of float32 values that hold whole chunks.

    A block has some energies and all rows where they fit.  Otherwise it has the energies of one chunk and
    some rows.

    Parameters
    ----------
    shape : tuple of int
        (E, Y, X).
    chunks : sequence of int
        Energies and rows (and more, which is ignored) that are read together.
    n_bytes : float
        Approximate size of a block.  A block is larger where a single row of chunks is.
    multiple : int
        The number of rows in a block is a multiple of this, except in the last.
    """
    n_energies, n_y, n_x = shape
    n_stored = min(chunks[0], n_energies)
    n_frames = max(1, int(n_bytes / (4.0 * n_y * n_x * n_stored))) * n_stored
    n_rows, n_fit = n_y, n_bytes / (4.0 * n_frames * n_x)
    if n_fit < n_y:
        step = math.lcm(multiple, chunks[1])
        step = step if step <= n_fit else multiple
        n_rows = max(1, int(n_fit) // step) * step
    for e in range(0, n_energies, n_frames):
        for row in range(0, n_y, n_rows):
            yield slice(e, min(e + n_frames, n_energies)), slice(row, min(row + n_rows, n_y))


class _OnDemand(BackendArray):
    """An array whose values a function of the index reads or computes."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: Callable[[tuple[Any, ...]], NDArray[Any]],
        chunks: tuple[int, ...] | None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.chunks = chunks
        self._read = read

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._get)

    def _get(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return np.asarray(self._read(key), dtype=self.dtype)


Result = TypeVar("Result")
# values (E', Y', X'), and their slices of energies, y and x -> values (E', Y', X')
Change = Callable[[NDArray[np.float32], slice, slice, slice], NDArray[np.float32]]


def index_ranges(key: tuple[Any, ...], shape: tuple[int, ...]) -> list[range]:
    """Return the indices along each axis that slices and integers select."""
    return [range(n)[k] if isinstance(k, slice) else range(k, k + 1) for n, k in zip(shape, key, strict=True)]


def enclosing_slice(indices: range) -> slice:
    """Return the slice from the least index to the largest."""
    return slice(min(indices), max(indices) + 1) if indices else slice(0, 0)


def index_within(key: tuple[Any, ...], ranges: list[range]) -> tuple[slice | int, ...]:
    """Return the index that selects `key` in the values of its enclosing slices."""
    steps = [slice(None, None, indices.step) for indices in ranges]
    return tuple(step if isinstance(k, slice) else 0 for k, step in zip(key, steps, strict=True))


def is_lazy(stack: xr.DataArray) -> bool:
    """Whether the values of a stack are read, or computed, when they are used."""
    return not stack.variable._in_memory  # private in xarray, which has no public form of the question


def with_values(stack: xr.DataArray, values: xr.Variable | NDArray[np.floating]) -> xr.DataArray:
    """Return a stack of the same labels with other values, lazy or not."""
    variable = values if isinstance(values, xr.Variable) else xr.Variable(stack.dims, values)
    return xr.DataArray(variable, coords=stack.coords, name=stack.name, attrs=dict(stack.attrs))


def with_frames(stack: xr.DataArray, change: Change) -> xr.DataArray:
    """Return the stack with its values changed; if it is lazy, they are changed when they are used.

    `change` gets values (E', Y', X'), which it may overwrite, and their slices of energies, y and x.
    """
    if not is_lazy(stack):
        values = np.empty(stack.shape, np.float32)
        for e in range(len(stack)):
            block = np.array(stack.values[e : e + 1], np.float32)
            values[e] = change(block, slice(e, e + 1), slice(0, stack.shape[1]), slice(0, stack.shape[2]))[0]
        return with_values(stack, values)
    return with_values(stack, lazy_array(stack.shape, _Changed(stack, change), chunks=chunks_of(stack)))


@dataclass(frozen=True, slots=True, eq=False)
class _Changed:
    """Reader of a changed stack."""

    stack: xr.DataArray  # (E, Y, X), as it is before
    change: Change

    def __call__(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        ranges = index_ranges(key, self.stack.shape)
        energies, rows, columns = (enclosing_slice(indices) for indices in ranges)
        block = np.array(self.stack[energies, rows, columns].values, np.float32)
        return np.asarray(self.change(block, energies, rows, columns)[index_within(key, ranges)])


def with_missing(stack: xr.DataArray, missing: NDArray[np.int64]) -> xr.DataArray:
    """Return the stack with NaN at sorted flat indices (n,) of its values."""
    if not len(missing):
        return stack.copy(deep=not is_lazy(stack))
    n_pixels = stack.shape[1] * stack.shape[2]

    def blank(
        values: NDArray[np.float32], energies: slice, rows: slice, columns: slice
    ) -> NDArray[np.float32]:
        within = slice(*np.searchsorted(missing, [energies.start * n_pixels, energies.stop * n_pixels]))
        e, y, x = np.unravel_index(missing[within], stack.shape)
        inside = (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)
        values[(e - energies.start)[inside], (y - rows.start)[inside], (x - columns.start)[inside]] = np.nan
        return values

    return with_frames(stack, blank)


def each_frame(
    stack: xr.DataArray, function: Callable[[int, NDArray[np.float64]], Result]
) -> Iterator[Result]:
    """Yield `function` of each index and frame (Y, X), as float64, in order; all cores work on them.

    A thread takes one frame at a time, or a few where they are small, or stored in chunks with others.
    """
    n_pixels = stack.shape[1] * stack.shape[2]
    n_together = max(1, FRAMES_TOGETHER_PIXELS // max(n_pixels, 1))
    values: Any = stack if is_lazy(stack) else stack.values
    memory = available_memory()
    n_stored = chunks_of(stack)[0] if is_lazy(stack) else 1
    n_whole = -(-n_together // n_stored) * n_stored  # so that no chunk is read twice
    if FLOAT_BYTES * n_whole * n_pixels < min(READ_BYTES[1], CHUNK_ROW_SHARE / N_THREADS * memory):
        n_together = n_whole

    def apply(start: int) -> list[Result]:
        block = np.asarray(values[start : start + n_together])
        return [function(start + e, np.asarray(frame, np.float64)) for e, frame in enumerate(block)]

    room = memory / (4 * FRAME_BYTES_PER_VALUE * n_pixels)
    n_threads = int(np.clip(room, 1, N_THREADS))
    for results in in_threads(
        apply, range(0, len(stack), n_together), n_threads=n_threads, n_ahead=2 * n_threads
    ):
        yield from results
