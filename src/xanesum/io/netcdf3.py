"""Classic netCDF, as xarray writes it with SciPy; netCDF 4 is HDF5 and read as such."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.axes import EV_PER, Order, axis_kind, order_of
from xanesum.io.hdf5_file import quoted
from xanesum.io.scan import NO_CHOICE, Choice, Format, Key, Scan, reading
from xanesum.stack import QUANTITIES

__all__ = ["FORMAT"]

MAGIC = (b"CDF\x01", b"CDF\x02")


def _open(path: Path, choice: Choice = NO_CHOICE) -> Scan:
    with reading(path), scipy.io.netcdf_file(str(path), "r", mmap=False) as file:
        stacks = [
            name for name, item in file.variables.items() if len(item.shape) > 2 and min(item.shape) > 0
        ]
        name = choice.data or (stacks[0] if len(stacks) == 1 else "")
        if name not in stacks:
            names = ", ".join(quoted(each) for each in stacks)
            if not stacks:
                raise ReadError(f"{path}: netCDF without a variable that has three axes")
            raise ReadError(f"{path}: name one of its variables with three axes: {names}", parameter="data")
        item = file.variables[name]
        units = [_text(file.variables.get(dim), "units") for dim in item.dimensions]
        kinds = [axis_kind(dim, unit) for dim, unit in zip(item.dimensions, units, strict=True)]
        energy = _energies(file, item, kinds, units)
        order = order_of(
            tuple(map(int, item.shape)),
            kinds,
            n_energies=None if energy is None else energy.size,
            index=choice.index,
        )
        said = _text(item, "quantity")
        quantity = said if said in QUANTITIES else "intensity"
        others = tuple(quoted(each) for each in stacks if each != name)
        return Scan(
            shape=order.stack_shape,
            dtype=np.dtype(item.typecode()),
            read=_Reader(path, name, order),
            energy=energy,
            quantity=quantity,
            is_declared=said == quantity,
            history=(f"read {quoted(name)} of {path.name} as {quantity}",),
            notes=(f"{path.name}: {order.note}",) if order.note else (),
            others={"data": others} if others else {},
            dataset=name,
            axes=order.in_words([quoted(dim) for dim in item.dimensions]),
            axes_assumed=bool(order.note),
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """A `Scan.read` that can be sent to other processes."""

    path: Path
    name: str
    order: Order

    def __call__(self, key: Key) -> NDArray[Any]:
        with reading(self.path), scipy.io.netcdf_file(str(self.path), "r", mmap=False) as file:
            return np.array(self.order.read(file.variables[self.name].__getitem__, key))


def _energies(file: Any, item: Any, kinds: list[str], units: list[str]) -> NDArray[np.float64] | None:
    """Return the coordinate of the energy axis in eV, or as stored where it has no unit."""
    for dim, kind, unit in zip(item.dimensions, kinds, units, strict=True):
        if kind == "energy" and dim in file.variables:
            values = np.array(file.variables[dim][:], np.float64).ravel()
            return values * EV_PER.get(unit.strip().lower(), 1.0)
    return None


def _text(item: Any, name: str) -> str:
    value = getattr(item, name, b"")
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


FORMAT = Format(
    name="netcdf",
    description="classic netCDF",
    suffixes=(".nc", ".cdf"),
    matches=lambda path, head: head.startswith(MAGIC),
    open=_open,
    choose=_open,
)
