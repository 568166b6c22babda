"""Where the values of a stack are kept while it is worked on: in memory, or in a file if they do not fit."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, TypeVar

import numpy as np
import psutil
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import ReadError, WriteError
from xanesum.stack import chunks_of, lazy_array, whole_chunks

__all__ = [
    "IN_MEMORY",
    "Frames",
    "Workspace",
    "available_memory",
    "each_frame",
    "is_lazy",
    "leave_folder",
    "take_folder",
    "with_frames",
    "with_missing",
    "with_values",
]

BLOCK_SHARE, BLOCK_BYTES = 0.05, (2.0**20, 2.0**28)  # of the memory, for chunks that are read; limits of it
MOST_OF_CHUNKS = 0.2  # of the memory, that one row of chunks may take
FREE_SHARE = 0.8  # of the free memory, that may be used
COPIES = 4.0  # of a stack that a run holds beside the one read, if it holds any
FRAMES, LOCK = "xanesum-frames-*.raw", "xanesum-lock.json"
N_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BYTES_A_VALUE = 64.0  # of a frame that a thread works on
Result = TypeVar("Result")
Change = Callable[[NDArray[np.float32], slice, slice, slice], NDArray[np.float32]]


def available_memory() -> float:
    """Return how many bytes may be used where nobody says: most of what is free."""
    return FREE_SHARE * float(psutil.virtual_memory().available)


@dataclass(frozen=True, slots=True)
class Workspace:
    """How much memory there is, and a folder for what does not fit; without one all is kept in memory."""

    memory: float = np.inf  # bytes
    folder: Path | None = None

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether stacks of this shape are kept in memory."""
        return self.folder is None or 4.0 * COPIES * float(np.prod(shape, dtype=float)) < self.memory

    def frames(self, shape: tuple[int, ...]) -> Frames:
        """Return room for the frames of a stack (E, Y, X).

        Raises
        ------
        WriteError
            If the folder cannot be written.
        """
        if self.folder is None or self.holds(shape):
            return Frames(shape)
        return Frames(shape, self.folder / FRAMES.replace("*", token_hex(4)))

    def by_frames(self, stack: xr.DataArray) -> xr.DataArray:
        """Return a stack whose frames can be read one by one at no more cost than all of them.

        A lazy one that is stored in chunks of several energies is read once, chunk by chunk, into memory or
        into the folder, as float32; any other is returned as it is, and so is one for which there is no room.

        Raises
        ------
        WriteError
            If the folder cannot be written.
        """
        n_energies, n_rows, _ = chunks_of(stack)
        if not is_lazy(stack) or n_energies == 1:
            return stack
        memory = min(self.memory, available_memory())
        if self.folder is None and 4.0 * COPIES * stack.size > memory:
            return stack
        row_bytes = 4.0 * n_energies * n_rows * stack.shape[2]  # of chunks
        if row_bytes > MOST_OF_CHUNKS * memory:
            return stack
        frames = self.frames(stack.shape)
        block_bytes = max(row_bytes, float(np.clip(BLOCK_SHARE * memory, *BLOCK_BYTES)))
        for energies, rows in whole_chunks(stack.shape, chunks_of(stack), block_bytes):
            frames.set_rows(energies.start, rows.start, stack[energies, rows].values)
        return with_values(stack, frames.variable())

    def clear(self) -> None:
        """Remove the frames that are kept in the folder."""
        for path in () if self.folder is None else self.folder.glob(FRAMES):
            path.unlink(missing_ok=True)


IN_MEMORY = Workspace()


def take_folder(folder: Path) -> None:
    """Mark a folder as that of this process.

    Raises
    ------
    WriteError
        If another one that still runs on this computer has marked it.
    """
    mark = folder / LOCK
    alive, owner = False, {}
    with suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
        owner = json.loads(mark.read_text("utf-8"))
        alive = psutil.Process(int(owner["process"])).create_time() == owner["since"]
    if alive and owner["computer"] == platform.node() and owner["process"] != os.getpid():
        raise WriteError(f"{folder}: another run works there; choose another folder (--work)")
    own = {"process": os.getpid(), "since": psutil.Process().create_time(), "computer": platform.node()}
    with _writing(mark):
        mark.write_text(json.dumps(own), "utf-8")


def leave_folder(folder: Path) -> None:
    """Take the mark off."""
    with suppress(OSError):
        (folder / LOCK).unlink()


class Frames:
    """Frames of float32 that are set one by one, or by blocks of rows, and then read as a stack.

    Parameters
    ----------
    shape : tuple of int
        (E, Y, X).
    path : Path, optional
        File for them; in memory by default.
    """

    def __init__(self, shape: tuple[int, ...], path: Path | None = None) -> None:
        self._shape = shape
        self._path = path
        self._values = np.empty(shape if path is None else (0, *shape[1:]), np.float32)
        if path is not None:
            with _writing(path):
                path.touch()

    def __setitem__(self, e: int, frame: NDArray[np.floating]) -> None:
        """Set the frame at index `e`."""
        self.set_rows(e, 0, frame[None])

    def set_rows(self, e: int, row: int, values: NDArray[np.floating]) -> None:
        """Set rows of some frames to `values` (E', rows, X), from frame `e` and from `row` on."""
        if self._path is None:
            self._values[e : e + len(values), row : row + values.shape[1]] = values
            return
        data, (_, n_y, n_x) = np.ascontiguousarray(values, np.float32), self._shape
        with _writing(self._path), self._path.open("r+b") as file:
            for frame, rows in enumerate(data, start=e):
                file.seek((frame * n_y + row) * n_x * data.itemsize)
                file.write(rows.data)

    def variable(self) -> xr.Variable | NDArray[np.float32]:
        """Return all frames as values of a stack; those in a file are read when they are looked at."""
        if self._path is None:
            return self._values
        return lazy_array(self._shape, _FramesOfFile(self._path, self._shape))


@dataclass(frozen=True, slots=True)
class _FramesOfFile:
    """Reads parts of frames in a file; it can be sent to other processes."""

    path: Path
    shape: tuple[int, ...]

    def __call__(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        # read, not mapped: the system may count pages about those that are looked at as memory in use
        n_y, n_x = self.shape[1:]
        energies, rows, columns = ranges = _ranges(key, self.shape)
        from_row, from_x = _about(rows), _about(columns)
        values = np.empty((len(energies), from_row.stop - from_row.start, n_x), np.float32)
        with self.path.open("rb") as file:
            if values.shape[1] == n_y and energies.step == 1:
                _read_into(values, file, 4 * energies.start * n_y * n_x)
            else:
                for e, frame in zip(energies, values, strict=True):
                    _read_into(frame, file, 4 * (e * n_y + from_row.start) * n_x)
        ranges[0] = range(len(energies))  # these are in order already
        return values[:, :, from_x][_within(key, ranges)]


def _ranges(key: tuple[Any, ...], shape: tuple[int, ...]) -> list[range]:
    """Return the indices that slices and integers name."""
    return [range(n)[k] if isinstance(k, slice) else range(k, k + 1) for n, k in zip(shape, key, strict=True)]


def _about(indices: range) -> slice:
    """Return the slice from the least to the largest."""
    return slice(min(indices), max(indices) + 1) if indices else slice(0, 0)


def _within(key: tuple[Any, ...], ranges: list[range]) -> tuple[slice | int, ...]:
    """Return what `key` means in values that reach from the least to the largest of its indices."""
    steps = [slice(None, None, indices.step) for indices in ranges]
    return tuple(step if isinstance(k, slice) else 0 for k, step in zip(key, steps, strict=True))


def _read_into(values: NDArray[np.float32], file: BinaryIO, offset: int) -> None:
    """Fill an array that is contiguous from a place in a file."""
    file.seek(offset)
    n_read = file.readinto(values.reshape(-1).view(np.uint8)) if values.size else 0  # type: ignore[attr-defined]
    if n_read < values.nbytes:
        raise ReadError(f"{file.name}: ends early, something else wrote there; start the run again")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a WriteError."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "no space left on the device" if full else str(error.strerror or error)
        raise WriteError(
            f"{path.parent}: cannot keep a stack there that does not fit in memory ({reason}); "
            "choose a folder on another disk (--work)"
        ) from error


def is_lazy(stack: xr.DataArray) -> bool:
    """Whether the values of a stack are read, or computed, where they are looked at."""
    return not stack.variable._in_memory


def with_values(stack: xr.DataArray, values: xr.Variable | NDArray[np.floating]) -> xr.DataArray:
    """Return a stack of the same labels with other values, lazy or not."""
    variable = values if isinstance(values, xr.Variable) else xr.Variable(stack.dims, values)
    return xr.DataArray(variable, coords=stack.coords, name=stack.name, attrs=dict(stack.attrs))


def with_frames(stack: xr.DataArray, change: Change) -> xr.DataArray:
    """Return the stack with its values changed; where it is lazy, when they are looked at.

    `change` gets values (E', Y', X'), which it may write to, and the slices of energies, y and x they are.
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
    """Reads parts of a stack and changes them."""

    stack: xr.DataArray
    change: Change

    def __call__(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        ranges = _ranges(key, self.stack.shape)
        energies, rows, columns = (_about(indices) for indices in ranges)
        block = np.array(self.stack[energies, rows, columns].values, np.float32)
        return np.asarray(self.change(block, energies, rows, columns)[_within(key, ranges)])


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
    """Yield what `function` makes of each index and frame, as float64, in order; all cores work on them."""

    def apply(e: int) -> Result:
        return function(e, np.asarray(stack[e].values, np.float64))

    room = available_memory() / (4 * BYTES_A_VALUE * stack.shape[1] * stack.shape[2])
    n_threads = int(np.clip(room, 1, N_THREADS))
    with ThreadPoolExecutor(n_threads) as threads:
        coming = deque(threads.submit(apply, e) for e in range(min(2 * n_threads, len(stack))))
        for e in range(len(coming), len(stack) + len(coming)):
            found = coming.popleft().result()
            if e < len(stack):
                coming.append(threads.submit(apply, e))
            yield found
