"""What the writers share: what a `Writer` is, blocks of a stack, attributes as JSON, and what gets lost."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import WriteError, XanesumWarning
from xanesum.stack import DIMS, SHIFT_COORDS
from xanesum.storage.lazy import chunks_of, whole_chunks
from xanesum.storage.memory import CHUNK_ROW_SHARE, available_memory

__all__ = [
    "ATTRS",
    "COORDS",
    "DOUBLE",
    "OWN_ATTRS",
    "Writer",
    "attrs_from_json",
    "attrs_to_json",
    "blocks",
    "describe_losses",
    "dims_of",
    "plain_attrs",
    "require_new_folder",
    "write_frames",
]

# coordinates of a stack that have a meaning in the package
COORDS = (
    *("mask", "weight", "i0", "monitor", "flat", "dark", "exposure_s", "flat_exposure_s"),
    *("noise_gain", "noise_read_variance", "light", "light_energy"),
    *SHIFT_COORDS,
)
ATTRS, DOUBLE = "attributes", "double precision"  # what a writer may keep besides coordinates
OWN_ATTRS = "xanesum_attrs"  # attribute of a file that holds those of the stack as JSON
BLOCK_BYTES = 2**24  # of the frames that are in memory at once, about, where each can be read by itself
MOST_JSON = 2**22  # characters of attributes in a file
LABELS = (
    "quantity",
    "pixel_size_nm",
    "quantity_assumed",
)  # attributes that files have in places of their own
WORDS = {  # what users call it
    "mask": "the mask",
    "weight": "weights of the frames",
    "i0": "I0",
    "monitor": "the monitor",
    "flat": "flats",
    "dark": "darks",
    "exposure_s": "exposure times",
    "flat_exposure_s": "exposure times",
    "noise_gain": "the noise law of the counts",
    "noise_read_variance": "the noise law of the counts",
    "light": "the light of the flats",
    "light_energy": "the light of the flats",
    **dict.fromkeys(SHIFT_COORDS, "shifts of the frames"),
    "y": "positions along y and x",
    "x": "positions along y and x",
    "history": "the history",
    "pixel_size_nm": "the pixel size",
    "unit": "the unit of the values",
    "saturation_counts": "the saturated count",
    "quantity_assumed": "that the quantity was assumed",
}


@dataclass(frozen=True, slots=True)
class Writer:
    """How a format is written.

    Attributes
    ----------
    name : str
        Short name, by which a user chooses it.
    description : str
        Name for users, in messages.
    suffixes : tuple of str
        Suffixes that choose it, in lower case, with the dot.
    write : callable
        ``write(stack, path)`` writes a stack, in blocks, and returns the path.  What it writes is complete,
        or does not exist.
    keeps : tuple of str
        Coordinates and attributes that the format holds, `ATTRS` for all attributes, and `DOUBLE` if it keeps
        float64.  What else a stack has is lost, and said.
    is_folder : bool
        Whether it is a folder of files.
    named_only : bool
        Whether only its name chooses it, as its suffixes are those of another format.
    needs : str
        Optional package that it needs, which is also the name of the extra; empty if it needs none.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    write: Callable[[xr.DataArray, Path], Path]
    keeps: tuple[str, ...]
    is_folder: bool = False
    named_only: bool = False
    needs: str = ""


def blocks(stack: xr.DataArray, *, frames: int = 1) -> Iterator[tuple[slice, slice, NDArray[np.floating]]]:
    """Yield all values of a stack in blocks: energies, rows, and the values (E', Y', X) there.

    The blocks of a lazy stack are made of whole chunks of its file, so that no chunk is read twice, unless
    one row of chunks is larger than a share of the memory.  Where frames can be read one by one, a block has
    a multiple of `frames`.
    """
    stored = chunks_of(stack)
    if stored[0] == 1:
        stored = (min(frames, len(stack)), *stored[1:])
    row_bytes = float(stack.dtype.itemsize) * stored[0] * stored[1] * stack.shape[2]
    n_bytes = max(BLOCK_BYTES, min(row_bytes, CHUNK_ROW_SHARE * available_memory()))
    for energies, rows in whole_chunks(stack.shape, stored, n_bytes):
        yield energies, rows, stack[energies, rows].values


def write_frames(stack: xr.DataArray, place: Callable[[int], tuple[Path, int]]) -> None:
    """Write all frames as float32, lowest byte first, into files that have room for them.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
    place : callable
        Takes the index of an energy and returns the file of its image, and the byte at which it begins.
    """
    row_bytes = 4 * stack.shape[2]
    for energies, rows, block in blocks(stack):
        for e, image in enumerate(block.astype("<f4", copy=False), start=energies.start):
            path, offset = place(e)
            with path.open("r+b") as file:
                file.seek(offset + rows.start * row_bytes)
                file.write(np.ascontiguousarray(image).data)


def describe_losses(stack: xr.DataArray, writer: Writer) -> str:
    """Return what a format cannot hold of this stack, as a sentence; empty if it holds everything."""
    coords = [str(name) for name in stack.coords if name != "energy"]
    unknown = [name for name in coords if name not in (*COORDS, *DIMS)]  # no format has a place for them
    names = [name for name in coords if name not in (*writer.keeps, *unknown)]
    if ATTRS not in writer.keeps:
        said = [str(name) for name, value in stack.attrs.items() if name != "quantity" and _is_said(value)]
        names += [name for name in said if name not in writer.keeps]
    lost = [WORDS.get(name, name) for name in names]
    if stack.dtype == np.float64 and DOUBLE not in writer.keeps:
        lost.append("values beyond the precision of float32")
    rest = f"all but {', '.join(unknown)}" if unknown else "all of it"
    remedy = f"; the native form (.h5) can hold {rest}" if lost else ""
    listed = ", ".join(dict.fromkeys([*lost, *unknown]))
    return f"{writer.description} cannot hold {listed}{remedy}" if listed else ""


def require_new_folder(path: Path) -> None:
    """Raise WriteError if `path` is a file, or a folder that holds something."""
    if path.exists() and not path.is_dir():
        raise WriteError(f"{path}: is a file; give the name of a folder")
    if path.is_dir() and any(path.iterdir()):
        raise WriteError(f"{path}: is a folder that is not empty; remove it, or choose another name")


def plain_attrs(stack: xr.DataArray, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the attributes that JSON can hold, and warn about the others."""
    attrs = {str(name): _plain(value) for name, value in stack.attrs.items() if name not in without}
    left = [name for name, value in attrs.items() if not _is_json(value)]
    if left:
        message = f"attributes that JSON cannot hold were not written: {', '.join(left)}"
        warnings.warn(message, XanesumWarning, stacklevel=5)
    return {name: value for name, value in attrs.items() if name not in left}


def attrs_to_json(stack: xr.DataArray) -> str:
    """Return the attributes without those of `LABELS` as JSON, for a format that keeps them as text."""
    return json.dumps(plain_attrs(stack, without=LABELS))


def attrs_from_json(text: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return attributes and history that `attrs_to_json` wrote; nothing where the text has another form."""
    if not isinstance(text, str) or len(text) > MOST_JSON:
        return {}, ()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # lists within lists, thousands deep
        return {}, ()
    if not isinstance(found, Mapping):
        return {}, ()
    attrs = {str(name): value for name, value in found.items() if name not in LABELS}
    history = attrs.pop("history", [])
    return attrs, tuple(map(str, history)) if isinstance(history, list) else ()


def dims_of(shape: tuple[int, ...], stack_shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """Return the dimensions of a coordinate from its shape: (E,), (Y, X) or (E, Y, X); None for others."""
    forms = (DIMS[:1], DIMS[1:], DIMS, ())
    sizes = dict(zip(DIMS, stack_shape, strict=True))
    return next((dims for dims in forms if shape == tuple(sizes[dim] for dim in dims)), None)


def _is_said(value: Any) -> bool:
    """Return whether an attribute says something: an empty list or false does not."""
    return not (value is None or value is False or (isinstance(value, list | tuple | dict) and not value))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
