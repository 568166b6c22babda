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
from xanesum.storage.memory import BLOCK_SHARE, CHUNK_ROW_SHARE, READ_BYTES, STACK_COPIES, available_memory

__all__ = ["IN_MEMORY", "Frames", "Workspace", "leave_folder", "take_folder"]

FRAMES = "xanesum-frames-*.raw"  # name of a file of frames
LOCK = "xanesum-lock.json"  # name of the file that marks a folder as that of a running process
FLOAT_BYTES = 4.0  # of a float32


@dataclass(frozen=True, slots=True)
class Workspace:
    """Memory, and a folder for stacks that do not fit in it.  Without a folder all are kept in memory."""

    memory: float = np.inf  # bytes that may be used
    folder: Path | None = None

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether stacks of this shape are kept in memory."""
        if self.folder is None:
            return True
        return FLOAT_BYTES * STACK_COPIES * float(np.prod(shape, dtype=float)) < self.memory

    def frames(self, shape: tuple[int, ...]) -> Frames:
        """Return a place for the frames of a stack (E, Y, X), in memory or in the folder.

        Raises
        ------
        WriteError
            If the folder cannot be written.
        """
        if self.folder is None or self.holds(shape):
            return Frames(shape)
        return Frames(shape, self.folder / FRAMES.replace("*", token_hex(4)))

    def by_frames(self, stack: xr.DataArray) -> xr.DataArray:
        """Return a stack whose frames can be read one by one, without reading any of its file twice.

        A lazy stack that is stored in chunks of several energies is read once, chunk by chunk, into memory or
        into the folder, as float32.  Any other stack is returned as it is, and so is one for which there is
        no room.

        Raises
        ------
        WriteError
            If the folder cannot be written.
        """
        n_energies, n_rows, _ = chunks_of(stack)
        if not is_lazy(stack) or n_energies == 1:
            return stack
        memory = min(self.memory, available_memory())
        if self.folder is None and FLOAT_BYTES * STACK_COPIES * stack.size > memory:
            return stack
        row_bytes = FLOAT_BYTES * n_energies * n_rows * stack.shape[2]  # of one row of chunks
        if row_bytes > CHUNK_ROW_SHARE * memory:
            return stack
        frames = self.frames(stack.shape)
        block_bytes = max(row_bytes, float(np.clip(BLOCK_SHARE * memory, *READ_BYTES)))
        for energies, rows in whole_chunks(stack.shape, chunks_of(stack), block_bytes):
            frames.set_rows(energies.start, rows.start, stack[energies, rows].values)
        return with_values(stack, frames.variable())

    def clear(self) -> None:
        """Remove all files of frames from the folder."""
        for path in () if self.folder is None else self.folder.glob(FRAMES):
            path.unlink(missing_ok=True)


IN_MEMORY = Workspace()  # the default: no folder, and no limit of memory


def take_folder(folder: Path) -> None:
    """Mark a folder as that of this process.

    The mark of a process that has ended, or that ran on another computer, is replaced.  The package
    `filelock` is not used: some network disks do not know its locks, and on others it leaves a file behind.

    Raises
    ------
    WriteError
        If the folder is marked by another process that still runs on this computer, or cannot be written.
    """
    mark = folder / LOCK
    alive, owner = False, {}
    with suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
        owner = json.loads(mark.read_text("utf-8"))
        alive = psutil.Process(int(owner["process"])).create_time() == owner["since"]
    if alive and owner["computer"] == platform.node() and owner["process"] != os.getpid():
        raise WriteError(f"{folder}: another run works there; choose another folder", parameter="work")
    own = {"process": os.getpid(), "since": psutil.Process().create_time(), "computer": platform.node()}
    with _writing(mark):
        mark.write_text(json.dumps(own), "utf-8")


def leave_folder(folder: Path) -> None:
    """Remove the mark of `take_folder`."""
    with suppress(OSError):
        (folder / LOCK).unlink()


class Frames:
    """Frames of float32.  They are set one by one, or in blocks of rows, and then read as a stack.

    Parameters
    ----------
    shape : tuple of int
        (E, Y, X).
    path : Path, optional
        File that holds them; in memory by default.
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
        """Set some rows of some frames to `values` (E', rows, X); the first are frame `e` and `row`."""
        if self._path is None:
            self._values[e : e + len(values), row : row + values.shape[1]] = values
            return
        data, (_, n_y, n_x) = np.ascontiguousarray(values, np.float32), self._shape
        with _writing(self._path), self._path.open("r+b") as file:
            for frame, rows in enumerate(data, start=e):
                file.seek((frame * n_y + row) * n_x * data.itemsize)
                file.write(rows.data)

    def variable(self) -> xr.Variable | NDArray[np.float32]:
        """Return all frames as the values of a stack; those in a file are read when they are used."""
        if self._path is None:
            return self._values
        return lazy_array(self._shape, _FramesOfFile(self._path, self._shape))


@dataclass(frozen=True, slots=True)
class _FramesOfFile:
    """Reader of parts of frames in a file; it can be sent to other processes."""

    path: Path
    shape: tuple[int, ...]

    def __call__(self, key: tuple[Any, ...]) -> NDArray[np.float32]:
        # the file is read and not mapped: the system may count its mapped pages as memory in use
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
        ranges[0] = range(len(energies))  # the frames that were read are in order already
        return values[:, :, from_x][index_within(key, ranges)]


def _read_into(values: NDArray[np.float32], file: BinaryIO, offset: int) -> None:
    """Fill a contiguous array from a file, from `offset` bytes on."""
    file.seek(offset)
    n_read = file.readinto(values.reshape(-1).view(np.uint8)) if values.size else 0  # type: ignore[attr-defined]
    if n_read < values.nbytes:
        raise ReadError(f"{file.name}: ends early, as another program wrote there; start the run again")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn errors of the disk into a WriteError."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "no space left on the device" if full else str(error.strerror or error)
        raise WriteError(
            f"{path.parent}: cannot keep a stack there that does not fit in memory ({reason}); "
            "choose a folder on another disk",
            parameter="work",
        ) from error
