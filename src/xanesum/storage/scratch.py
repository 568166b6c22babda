"""A folder for stacks that do not fit in memory."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

import numpy as np
import psutil
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import ReadError, WriteError
from xanesum.storage.lazy import (
    chunks_of,
    enclosing_slice,
    index_ranges,
    index_within,
    is_lazy,
    lazy_array,
    whole_chunks,
    with_values,
)
from xanesum.storage.memory import BLOCK_BYTES, BLOCK_SHARE, COPIES, MOST_OF_CHUNKS, available_memory

__all__ = ["IN_MEMORY", "Frames", "Workspace", "leave_folder", "take_folder"]
FRAMES, LOCK = "xanesum-frames-*.raw", "xanesum-lock.json"


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
        energies, rows, columns = ranges = index_ranges(key, self.shape)
        from_row, from_x = enclosing_slice(rows), enclosing_slice(columns)
        values = np.empty((len(energies), from_row.stop - from_row.start, n_x), np.float32)
        with self.path.open("rb") as file:
            if values.shape[1] == n_y and energies.step == 1:
                _read_into(values, file, 4 * energies.start * n_y * n_x)
            else:
                for e, frame in zip(energies, values, strict=True):
                    _read_into(frame, file, 4 * (e * n_y + from_row.start) * n_x)
        ranges[0] = range(len(energies))  # these are in order already
        return values[:, :, from_x][index_within(key, ranges)]


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
