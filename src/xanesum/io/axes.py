"""Which axes of an array are energy, y and x: by their names, their units, and the number of energies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import Key

__all__ = ["EV_PER", "Order", "axis_kind", "nm_per", "order_of"]

EV_PER = {"ev": 1.0, "kev": 1e3, "electronvolt": 1.0, "electron_volt": 1.0}  # eV per unit of an energy
NM_PER = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3, "mm": 1e6, "m": 1e9}
ENERGY_WORDS = {
    "e",
    "ev",
    "kev",
    "en",
    "eng",
    "xeng",
    "energies",
    "hv",
    "mono",
    "monochromator",
    "dcm",
    "pgm",
}
Y_WORDS = {"row", "rows", "height", "vertical", "yaxis", "ydim"}
X_WORDS = {"col", "cols", "column", "columns", "width", "horizontal", "xaxis", "xdim"}
# a position as one word, such as posx and stagey
POSITION = re.compile(
    r"(?:pos|stage|sample|piezo|fine|coarse|motor|mot|scan|image|img|im|pixel|px|dim|sm|st|s|p|n|r)?([xy])"
    r"(?:pos|position|stage|sample|piezo|motor|axis|dim|pixel)?"
)


@dataclass(frozen=True, slots=True)
class Order:
    """The order of the axes of an array of three or more.

    Attributes
    ----------
    shape : tuple of int
        Of the array.
    axes : (int, int, int)
        Its axes for energy, y and x.
    fixed : tuple of (int, int)
        Each other axis and the index along it.
    note : str
        What was assumed; empty if the file says it.
    """

    shape: tuple[int, ...]
    axes: tuple[int, int, int]
    fixed: tuple[tuple[int, int], ...] = ()
    note: str = ""

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """(E, Y, X)."""
        energies, rows, columns = (self.shape[axis] for axis in self.axes)
        return energies, rows, columns

    def in_words(self, names: Sequence[str] = ()) -> tuple[str, ...]:
        """Return what each axis is: energy, y, x, or its name and the index along it."""
        words = dict(zip(self.axes, ("energy", "y", "x"), strict=True))
        for axis, index in self.fixed:
            name = names[axis] if axis < len(names) else ""
            words[axis] = f"{name or f'axis {axis + 1}'}: {index}"
        return tuple(words[axis] for axis in range(len(self.shape)))

    def read(self, get: Callable[[tuple[Any, ...]], NDArray[Any]], key: Key) -> NDArray[Any]:
        """Return the values at a key of the stack; `get` takes a key of the array."""
        in_file: list[Any] = [0] * len(self.shape)
        for axis, index in self.fixed:
            in_file[axis] = index
        for axis, part in zip(self.axes, key, strict=True):
            in_file[axis] = part if isinstance(part, slice) else slice(int(part), int(part) + 1)
        values = np.asarray(get(tuple(in_file)))
        left = sorted(self.axes)
        turned = values.transpose([left.index(axis) for axis in self.axes])
        return turned[tuple(slice(None) if isinstance(part, slice) else 0 for part in key)]

    def chunks(self, stored: tuple[int, ...] | None) -> tuple[int, int, int] | None:
        """Return (energies, rows, columns) that are read together, from the chunks of the array, if any."""
        n_energies, n_y, n_x = self.stack_shape
        if stored is not None:
            energies, rows, columns = (int(stored[axis]) for axis in self.axes)
            return energies, rows, columns
        last = max(self.axes)
        if last == self.axes[0]:
            return n_energies, 1, n_x
        return None if last == self.axes[2] else (1, n_y, n_x)


def axis_kind(name: str, unit: str = "") -> str:
    """Return "energy", "y" or "x" for an axis of that name and unit; the name itself for any other."""
    if unit.strip().lower() in EV_PER:
        return "energy"
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    if "energ" in name.lower() or ENERGY_WORDS & set(words):
        return "energy"
    found = [match[1] for word in words if (match := POSITION.fullmatch(word))]
    if len(set(found)) == 1:
        return found[0]
    if Y_WORDS & set(words):
        return "y"
    return "x" if X_WORDS & set(words) else name


def nm_per(unit: str) -> float | None:
    """Return the number of nm of a unit of length, or None if it is no unit of length."""
    return NM_PER.get(unit.strip().lower())


def order_of(
    shape: tuple[int, ...],
    kinds: Sequence[str] = (),
    *,
    n_energies: int | None = None,
    images_last: bool | None = None,
    index: str | None = None,
) -> Order:
    """Find which axes are energy, y and x.

    Parameters
    ----------
    shape : tuple of int
        Of the array, three axes or more.
    kinds : sequence of str
        What each axis is, see `axis_kind`; empty where it is not known.
    n_energies : int, optional
        Number of energies in the file.
    images_last : bool, optional
        Whether the last two axes are said to be an image; False if the last one is said to be a spectrum.
    index : str, optional
        Indices along the other axes, separated by commas.

    Raises
    ------
    ReadError
        If there are too few axes, or `index` does not fit.
    """
    kinds = [*kinds, *[""] * len(shape)][: len(shape)]
    energy, note = _energy_axis(shape, kinds, n_energies, images_last)
    others = [axis for axis in range(len(shape)) if axis != energy]
    y, x = _image_axes(shape, kinds, others)
    left = [axis for axis in others if axis not in (y, x)]
    return Order(shape, (energy, y, x), _fixed(shape, kinds, left, index), note)


def _energy_axis(
    shape: tuple[int, ...], kinds: Sequence[str], n_energies: int | None, images_last: bool | None
) -> tuple[int, str]:
    """Return the axis of energy, and a sentence if it was assumed."""
    said = [axis for axis, kind in enumerate(kinds) if kind == "energy"]
    if said:
        fitting = [axis for axis in said if shape[axis] == n_energies]
        return (fitting or said)[0], ""
    free = [axis for axis, kind in enumerate(kinds) if kind not in ("y", "x")]
    if images_last is not None:
        free = (free[:-2] if images_last else free[-1:]) or free
    fitting = [axis for axis in free if shape[axis] == n_energies]
    if len(fitting) == 1 and (images_last is not None or sum(n == n_energies for n in shape) == 1):
        return fitting[0], ""
    long = [axis for axis in free if shape[axis] > 1]
    guess = fitting[0] if fitting else long[-3] if len(long) > 2 else free[0]
    if images_last is not None or (fitting and any(kinds)):
        return guess, ""
    name = f"axis {guess + 1}" + (f" ({kinds[guess]})" if kinds[guess] else "")
    return guess, f"axes {shape}: {name} was taken as the energy, as nothing in the file tells it"


def _image_axes(shape: tuple[int, ...], kinds: Sequence[str], others: list[int]) -> tuple[int, int]:
    """Return the axes of y and x among those that are not the energy."""
    y = next((axis for axis in others if kinds[axis] == "y"), None)
    x = next((axis for axis in others if kinds[axis] == "x"), None)
    left = [axis for axis in others if axis not in (y, x)]
    # axes of length 1, and those with a name of their own (time, angle), are an image's only in need
    left.sort(key=lambda axis: (shape[axis] > 1, not kinds[axis], axis))
    if x is None:
        x = left.pop()
    if y is None:
        y = left.pop()
        if kinds[x] != "x" and y > x:  # neither has a name: the order of the file
            y, x = x, y
    return y, x


def _fixed(
    shape: tuple[int, ...], kinds: Sequence[str], left: list[int], index: str | None
) -> tuple[tuple[int, int], ...]:
    """Return each axis that is left and the index along it: that of `index`, otherwise the first."""
    long = [axis for axis in left if shape[axis] > 1]
    wanted = [0] * len(long) if index is None else _whole_numbers(index)
    sizes = ", ".join(f"0 to {shape[axis] - 1} along {kinds[axis] or f'axis {axis + 1}'}" for axis in long)
    if len(wanted) != len(long) or any(not 0 <= i < shape[a] for i, a in zip(wanted, long, strict=True)):
        there = f"it can be {sizes}" if long else "there is no axis besides energy, y and x"
        raise ReadError(f"index {index!r} does not fit shape {shape}: {there}", parameter="index")
    chosen = dict(zip(long, wanted, strict=True))
    return tuple((axis, chosen.get(axis, 0)) for axis in left)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in str(text).strip("()[] ").split(",")]
    except ValueError:
        raise ReadError(
            f"index must be whole numbers separated by commas, got {text!r}", parameter="index"
        ) from None
