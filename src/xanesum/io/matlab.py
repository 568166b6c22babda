"""MATLAB files: version 7.3, which is HDF5 with its axes reversed, and earlier ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.axes import Order, axis_kind, order_of
from xanesum.io.hdf5 import is_stack, reader, stack_dataset
from xanesum.io.hdf5_file import numbers, open_h5, quoted, walk
from xanesum.io.scan import NO_CHOICE, Choice, Format, Scan, reading
from xanesum.storage.memory import available_memory

__all__ = ["FORMAT"]

HDF5_HEAD, OLD_HEAD = b"MATLAB 7.3 MAT-file", b"MATLAB 5.0 MAT-file"
MAX_RATIO = 1100  # no array of an earlier version is compressed more than this
ITEM_BYTES = 8  # of a value, at most
SIDES = (("lines", "cols"), ("nRow", "nCol"))  # names of the sides of an image whose pixels are listed
NUMBERS = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@dataclass(frozen=True, slots=True, eq=False)
class _Contents:
    """What a file holds, with the axes as MATLAB shows them."""

    stacks: dict[str, tuple[int, ...]]  # arrays with three axes or more, and their shapes
    vectors: dict[str, NDArray[np.float64]]
    listed: frozenset[str] = frozenset()  # stacks (energy, y, x) whose pixels are listed column by column


def _open(path: Path, choice: Choice = NO_CHOICE) -> Scan:
    with reading(path):
        is_hdf5 = h5py.is_hdf5(path)
        contents = _contents_of_hdf5(path) if is_hdf5 else _contents_of_old(path)
        name = _chosen(path, contents, choice.data)
        shape = contents.stacks[name]
        energy = _energies(contents, shape)
        guessed = energy is None and len(shape) == 3 and name not in contents.listed
        kinds = ("y", "x", "energy") if guessed else ()  # as MATLAB users have it
        if name in contents.listed:
            kinds = ("energy", "y", "x")
        n_energies = None if energy is None else energy.size
        order = order_of(shape, kinds, n_energies=n_energies, index=choice.index)
        others = tuple(quoted(each) for each in contents.stacks if each != name)
        longer = tuple(f"0 to {shape[a] - 1} along axis {a + 1}" for a, _ in order.fixed if shape[a] > 1)
        assumed = f"axes {shape} of {quoted(name)} were taken as (y, x, energy)" if guessed else ""
        notes = [note for note in (order.note, assumed) if note]
        axes = order.in_words()
        is_listed = name in contents.listed
        found = _hdf5_array(path, name, order) if is_hdf5 else _old_array(path, name, order, is_listed)
        return Scan(
            shape=order.stack_shape,
            dtype=found[0],
            read=found[1],
            chunks=found[2],
            energy=energy,
            quantity="counts" if found[0].kind in "iu" else "intensity",
            history=(f"read {quoted(name)} of {path.name}, taken as ({', '.join(axes)})",),
            notes=tuple(f"{path.name}: {note}" for note in notes),
            others={key: names for key, names in (("data", others), ("index", longer)) if names},
            dataset=name,
            axes=axes,
            axes_assumed=bool(notes),
        )


def _contents_of_hdf5(path: Path) -> _Contents:
    with open_h5(path) as file:
        items = [(name, item) for name, item in walk(file) if not name.startswith("#")]
        arrays = [(name, item) for name, item in items if isinstance(item, h5py.Dataset)]
        vectors = {
            name: values.ravel()
            for name, item in arrays
            if not is_stack(item) and (values := numbers(file, name)) is not None and values.size > 1
        }
        return _Contents({name: item.shape[::-1] for name, item in arrays if is_stack(item)}, vectors)


def _contents_of_old(path: Path) -> _Contents:
    listed = [(name, shape) for name, shape, kind in scipy.io.whosmat(path) if kind in NUMBERS]
    stacks = {name: tuple(map(int, shape)) for name, shape in listed if len(shape) > 2 and min(shape) > 0}
    flat = [name for name, shape in listed if len(shape) == 2 and min(shape) == 1 and max(shape) < 2**20]
    values = scipy.io.loadmat(path, variable_names=flat) if flat else {}
    vectors = {name: np.asarray(values[name], np.float64).ravel() for name in flat}
    of_pixels = _lists_of_pixels([(name, shape) for name, shape in listed if len(shape) == 2], vectors)
    stacks |= of_pixels
    for name, shape in stacks.items():
        n_bytes = math.prod(shape)  # at least one byte for a value
        if n_bytes > MAX_RATIO * path.stat().st_size:
            raise ReadError(f"{path}: {quoted(name)} declares {n_bytes} values, more than the file can hold")
    return _Contents(stacks, vectors, frozenset(of_pixels))


def _lists_of_pixels(
    matrices: list[tuple[str, tuple[int, ...]]], vectors: dict[str, NDArray[np.float64]]
) -> dict[str, tuple[int, ...]]:
    """Return the shape (energy, y, x) of each matrix (E, P) whose P pixels fill an image of known sides."""
    for names in SIDES:
        sides = [vectors[name] for name in names if name in vectors and vectors[name].size == 1]
        if len(sides) == 2 and all(1 <= side[0] < 2**31 and side[0] == int(side[0]) for side in sides):
            n_y, n_x = (int(side[0]) for side in sides)
            return {name: (int(n), n_y, n_x) for name, (n, p) in matrices if n > 1 and p == n_y * n_x}
    return {}


def _chosen(path: Path, contents: _Contents, wanted: str | None) -> str:
    stacks = contents.stacks
    if wanted is not None and wanted in stacks:
        return wanted
    named = ", ".join(quoted(name) for name in stacks)
    if not stacks:
        raise ReadError(f"{path}: MATLAB file without an array of numbers that has three axes")
    if wanted is not None:
        raise ReadError(
            f"{path}: has no array {wanted!r} with three axes; there are: {named}", parameter="data"
        )
    fitting = [name for name, shape in stacks.items() if _energies(contents, shape) is not None]
    if len(stacks) == 1 or len(fitting) == 1:
        return (fitting or list(stacks))[0]
    raise ReadError(f"{path}: name one of its arrays with three axes: {named}", parameter="data")


def _energies(contents: _Contents, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Return the vector whose name is that of an energy and which is as long as an axis."""
    for name, values in contents.vectors.items():
        last = name.rpartition("/")[2]
        if values.size in shape and axis_kind(last) == "energy":
            return values
    return None


def _hdf5_array(path: Path, name: str, order: Order) -> tuple[np.dtype[Any], Any, tuple[int, ...] | None]:
    """Return dtype, reader and chunks; the file has the axes in reverse order."""
    n_axes = len(order.shape)
    energy, y, x = (n_axes - 1 - axis for axis in order.axes)
    fixed = tuple((n_axes - 1 - axis, index) for axis, index in order.fixed)
    stored = Order(order.shape[::-1], (energy, y, x), fixed)
    with open_h5(path) as file:
        dataset = stack_dataset(path, file, name)
        return dataset.dtype, reader(path, name, stored), stored.chunks(dataset.chunks)


def _old_array(path: Path, name: str, order: Order, is_listed: bool) -> tuple[np.dtype[Any], Any, None]:
    """Return dtype and reader of an array that is read as a whole; `is_listed`: a matrix (E, pixels)."""
    n_bytes = math.prod(order.shape) * ITEM_BYTES
    if n_bytes > available_memory():
        raise ReadError(
            f"{path}: {quoted(name)} needs {n_bytes / 1e9:.1f} GB of memory, as this version of MATLAB files "
            "is read as a whole; save it with -v7.3"
        )
    values = np.asarray(scipy.io.loadmat(path, variable_names=[name])[name])
    if is_listed and values.shape == (order.shape[0], math.prod(order.shape[1:])):
        values = values.reshape(order.shape, order="F")
    if values.shape != order.shape or values.dtype.kind not in "iufb":
        raise ReadError(
            f"{path}: {quoted(name)} holds {values.dtype} of shape {values.shape}, expected numbers"
        )
    return values.dtype, lambda key: order.read(values.__getitem__, key), None


FORMAT = Format(
    name="matlab",
    description="MATLAB (.mat)",
    suffixes=(".mat",),
    matches=lambda path, head: head.startswith((HDF5_HEAD, OLD_HEAD)),
    open=_open,
    choose=_open,
)
