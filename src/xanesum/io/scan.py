"""Protocol of the readers: `Format` recognizes and opens a file, `Scan` describes it; shared helpers."""

from __future__ import annotations

import re
import stat
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
from xanesum.io.writing import Writer
from xanesum.stack import DIMS
from xanesum.storage.lazy import lazy_array

__all__ = [
    "NO_CHOICE",
    "Choice",
    "Format",
    "Key",
    "Scan",
    "float_dtype",
    "frame_reader",
    "is_address",
    "local_path",
    "read_bytes",
    "reading",
]

Key = tuple[Any, ...]  # index of pixels: three slices or integers, for energy, y and x


@dataclass(frozen=True, slots=True)
class Choice:
    """What to read of a file that holds several scans; None is the one that the format says comes first.

    Attributes
    ----------
    data : str, optional
        Name of a dataset.
    entry, detector, region : str, optional
        Name of an entry, of a detector (or channel), and name or number, from 1 on, of a region of the scan.
    index : str, optional
        Index, from 0 on, along an axis that is none of energy, y and x (time, angle); more with commas.
    follow_links : bool
        Whether links may lead to files outside the folder of the scan.
    """

    data: str | None = None
    entry: str | None = None
    detector: str | None = None
    region: str | None = None
    index: str | None = None
    follow_links: bool = False


NO_CHOICE = Choice()


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan on disk, as its reader describes it before any pixel is read.

    Attributes
    ----------
    shape : (int, int, int)
        Number of energies, rows and columns (E, Y, X).
    dtype : dtype
        Type of the pixels as stored.  The stack has float64 if this is float64, otherwise float32.
    read : callable
        Takes a `Key` and returns the pixels there, as ``array[key]`` does with an array (E, Y, X).  It may be
        called at any time, by several threads; it opens the file anew each time.  See `frame_reader`.
    energy : ndarray, shape (E,), optional
        Photon energies in the order of the images, in eV or in keV (all below 100).  None if the file has
        none; the user then has to give them.
    quantity : str
        What the pixels are, one of `xanesum.stack.QUANTITIES`.
    is_declared : bool
        Whether the file itself says so.  Otherwise `quantity` is the likely one, and
        `xanesum.preprocess.prepare` judges it by the values.
    pixel_size_nm : float, optional
        Side of a pixel of the sample.
    coords : mapping
        Coordinates, ``{name: (dims, values)}``: ``flat`` and ``dark`` (y, x) or (energy, y, x), ``i0``
        (energy) and others that `read_stack` names.
    attrs : mapping
        More attributes of the stack, as ``{"saturation_counts": 65535}``.
    history : tuple of str
        What was read, and as which quantity, for the record.
    notes : tuple of str
        What was assumed or left out; each becomes a `XanesumWarning`.
    chunks : (int, int, int), optional
        Energies, rows and columns that are stored, and read, together.  None: each row by itself.
    computed : bool
        The pixels are computed from several files.  They are then read once, and NaN marks saturated ones.
    beside : tuple of Path
        Files in which the energies are looked for, in this order, if the scan has none.  Only the reader of
        a format whose users keep such lists names any.
    others : mapping
        What else the file holds and can be chosen, ``{parameter of read_stack: names}``.  Each becomes a
        `XanesumWarning`.
    dataset : str
        Name of the array in the file; empty where a file is one array.
    axes : tuple of str
        What each axis of that array was taken for: energy, y, x, or the name of another one and the index
        along it, as ``time: 0``.
    axes_assumed : bool
        Whether that was assumed, as nothing in the file says it; then a note tells how it was decided.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[Key], NDArray[Any]]
    energy: NDArray[np.float64] | None = None
    quantity: str = "counts"
    is_declared: bool = False
    pixel_size_nm: float | None = None
    coords: Mapping[str, tuple[tuple[str, ...], Any]] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    chunks: tuple[int, ...] | None = None
    computed: bool = False
    beside: tuple[Path, ...] = ()
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dataset: str = ""
    axes: tuple[str, ...] = DIMS
    axes_assumed: bool = False

    @property
    def nbytes(self) -> int:
        """Size in memory in bytes, once it is read."""
        return int(np.prod(self.shape, dtype=object)) * float_dtype(self.dtype).itemsize

    def variable(self) -> xr.Variable:
        """Return the pixels as a lazy variable (energy, y, x)."""
        return lazy_array(self.shape, self.read, dtype=float_dtype(self.dtype), chunks=self.chunks)


@dataclass(frozen=True, slots=True)
class Format:
    """One file format: how to recognize it, how to open it, and how to write it.

    Attributes
    ----------
    name : str
        Short name, as `describe` reports it.
    description : str
        Name for users, in error messages.
    suffixes : tuple of str
        Usual suffixes in lower case, with the dot.  They are not used to recognize a file, only for advice.
    matches : callable
        ``matches(path, head)``: whether the path is of this format.  `head` is the start of the file (4096
        bytes), or empty for a folder.  It must not raise for files of other formats.
    open : callable
        ``open(path)`` returns the `Scan`, without reading pixels.  It raises `ReadError` for a file that is
        damaged or cut short; the context manager `reading` turns the errors of libraries into one.
    writer : Writer, optional
        How it is written.  None if the format is only read.
    choose : callable, optional
        ``choose(path, choice)`` opens the part of the file that a `Choice` names.  None if a file of the
        format holds one scan only.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    matches: Callable[[Path, bytes], bool]
    open: Callable[[Path], Scan]
    writer: Writer | None = None
    choose: Callable[[Path, Choice], Scan] | None = None


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the stack for pixels of `dtype`: float64 stays, all others become float32."""
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize == 8 else np.float32)


def frame_reader(n_energies: int, frame: Callable[[int], NDArray[Any]]) -> Callable[[Key], NDArray[Any]]:
    """Return a `Scan.read` for a format that stores whole images.

    Parameters
    ----------
    n_energies : int
    frame : callable
        Takes the index of an energy and returns the image (Y, X) there.
    """

    def read(key: Key) -> NDArray[Any]:
        if not isinstance(key[0], slice):
            return frame(int(key[0]))[key[1:]]
        frames = [frame(e)[key[1:]] for e in range(n_energies)[key[0]]]
        return np.stack(frames) if frames else frame(0)[key[1:]][None][:0]

    return read


# errors that libraries raise for damaged files
DAMAGE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    AssertionError,  # of tifffile
    ImportError,  # of a decoder that tifffile looks for
    RuntimeError,
    struct.error,
    zlib.error,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error that a damaged file causes into a ReadError of one line, with the path."""
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
            f"{path}: cannot be read ({_one_line(error)}); try another copy of the file"
        ) from error


def is_address(text: object) -> bool:
    """Return whether a text is an address in a network, as of a web page, in place of a path."""
    return isinstance(text, str) and ADDRESS.match(text) is not None


def local_path(path: str | Path) -> Path:
    """Return a path.

    Raises
    ------
    ReadError
        If it is an address.
    """
    if is_address(path):
        raise ReadError(f"{path}: is an address, not a file; download the file, and give its path")
    return Path(path)


def read_bytes(path: Path, count: int = -1) -> bytes:
    """Return the first `count` bytes of a file (all of them by default).

    Raises
    ------
    ReadError
        If there is no such file, or it may not be read.
    """
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode):
            raise ReadError(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file of data")
        with path.open("rb") as file:
            return file.read(count)
    except XanesumError:
        raise
    except FileNotFoundError as error:
        raise ReadError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened ({error.strerror})") from error


ADDRESS = re.compile(r"(https?|ftp|sftp|s3|gs|ssh|file)://", re.IGNORECASE)
_KINDS = {  # what waits for ever when it is read, or has no end
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def _one_line(error: Exception) -> str:
    """Return the message of an error, 200 characters at most."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    return re.sub(r"\s+", " ", str(text)).strip()[:200] or type(error).__name__
