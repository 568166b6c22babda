"""HDF5 files with a stack (energy, y, x) that are known by the names of their datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from xanesum.errors import ReadError
from xanesum.io.hdf5 import Source, chosen, open_source
from xanesum.io.hdf5_file import find, is_hdf5, numbers, open_h5, quoted
from xanesum.io.hdf5_labels import Axis, Labels
from xanesum.io.scan import NO_CHOICE, Choice, Scan

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a program puts its stack (energy, y, x).

    Attributes
    ----------
    data : tuple of str
        Names of the dataset; the first that is there is read, the others are named.
    energy : str
        Name of the energies in eV.
    quantity : str
        What the values are.
    pixel_size_um : str
        Name of the pixel size, or empty.
    """

    data: tuple[str, ...]
    energy: str
    quantity: str
    pixel_size_um: str = ""

    def matches(self, path: Path, head: bytes) -> bool:
        """Whether a file is of this layout."""
        if not is_hdf5(path, head):
            return False
        with open_h5(path) as file:
            return bool(self._there(file)) and _exists(file, self.energy)

    def open(self, path: Path, choice: Choice = NO_CHOICE) -> Scan:
        """Open the first of the datasets, or the one that is chosen as detector."""
        with open_h5(path) as file:
            there = {name.rpartition("/")[2]: name for name in self._there(file)}
            if not there:
                raise ReadError(f"{path}: has none of {', '.join(self.data)}")
            name = chosen(path, choice.detector, list(there), "detector")
            others = tuple(quoted(each) for each in there if each != name)
            size_um = numbers(file, self.pixel_size_um) if self.pixel_size_um else None
            step = None if size_um is None or not size_um.size else float(size_um.ravel()[0])
            known = step is not None and np.isfinite(step) and step > 0
            x = Axis("x", "um", np.arange(2, dtype=np.float64) * step if known and step is not None else None)
            axes = (Axis("energy", "eV"), Axis("y"), x)
            energy = numbers(file, self.energy)
            labels = Labels(axes, None if energy is None else energy.ravel())
            source = Source(
                there[name], self.quantity, is_declared=True, labels=labels, others={"detector": others}
            )
            return open_source(path, file, source, choice)

    def _there(self, file: h5py.File) -> list[str]:
        return [name for name in self.data if _exists(file, name)]


def _exists(file: h5py.File, name: str) -> bool:
    return isinstance(find(file, name), h5py.Dataset)
