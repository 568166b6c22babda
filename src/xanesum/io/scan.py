"""What a reader finds in a file before it touches a pixel, and the errors it may raise."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import ReadError, XanesumError
from xanesum.storage.lazy import lazy_array

__all__ = ["Format", "Key", "Scan", "float_dtype", "frame_reader", "read_bytes", "reading"]

Key = tuple[Any, ...]  # three slices or integers: energy, y, x


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan on disk: its sizes and labels, and a function that fetches pixels."""

    shape: tuple[int, int, int]  # (E, Y, X)
    dtype: np.dtype[Any]  # as stored
    read: Callable[[Key], NDArray[Any]]  # values at an index (energy, y, x)
    energy: NDArray[np.float64] | None = None  # (E,), eV or keV as stored; None where the file has none
    quantity: str = "counts"
    pixel_size_nm: float | None = None
    coords: Mapping[str, tuple[tuple[str, ...], Any]] = field(default_factory=dict)  # name: (dims, values)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was assumed or left out; each becomes a XanesumWarning
    chunks: tuple[int, ...] | None = None  # (energies, rows, columns) that are stored, and read, as one
    computed: bool = False  # pixels are averages of several files: read once, NaN marks the bad ones

    @property
    def nbytes(self) -> int:
        """Size in memory once read."""
        return int(np.prod(self.shape, dtype=object)) * float_dtype(self.dtype).itemsize

    def variable(self) -> xr.Variable:
        """Return the pixels as a lazy variable (energy, y, x)."""
        return lazy_array(self.shape, self.read, dtype=float_dtype(self.dtype), chunks=self.chunks)


@dataclass(frozen=True, slots=True)
class Format:
    """One file format: how to know it, and how to open it."""

    name: str
    description: str
    suffixes: tuple[str, ...]
    matches: Callable[[Path, bytes], bool]  # (path, first bytes of the file) -> is it this one?
    open: Callable[[Path], Scan]


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a stack read from `dtype`: float64 stays, all else becomes float32."""
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize == 8 else np.float32)


def frame_reader(n_energies: int, frame: Callable[[int], NDArray[Any]]) -> Callable[[Key], NDArray[Any]]:
    """Return a `Scan.read` for a format that stores whole images, from a function energy index -> image."""

    def read(key: Key) -> NDArray[Any]:
        if not isinstance(key[0], slice):
            return frame(int(key[0]))[key[1:]]
        frames = [frame(e)[key[1:]] for e in range(n_energies)[key[0]]]
        return np.stack(frames) if frames else frame(0)[key[1:]][None][:0]

    return read


# What readers raise on bytes that are not what they should be.
DAMAGE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while `path` is read into a one-line ReadError."""
    try:
        yield
    except XanesumError:
        raise
    except MemoryError as error:
        raise ReadError(
            f"{path}: does not fit in memory; read a part of it, or use a larger machine"
        ) from error
    except DAMAGE as error:
        raise ReadError(
            f"{path}: cannot be read ({_one_line(error)}); is the file damaged or cut short?"
        ) from error


def read_bytes(path: Path, count: int = -1) -> bytes:
    """Return the first `count` bytes of a file (all of them by default).

    Raises
    ------
    ReadError
        If there is no such file, or it may not be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError as error:
        raise ReadError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened ({error.strerror})") from error


def _one_line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    return re.sub(r"\s+", " ", str(text)).strip()[:200] or type(error).__name__
