"""HDF5 files that are known by the names of their datasets: ALBA MISTRAL, TXM-Sandbox, HyperSpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from xanesum.errors import ReadError
from xanesum.io.hdf5 import Source, chosen, is_stack, open_source
from xanesum.io.hdf5_file import children, find, is_hdf5, numbers, open_h5, quoted, scalar_text
from xanesum.io.hdf5_labels import Axis, Labels
from xanesum.io.scan import NO_CHOICE, Choice, Format, Scan

__all__ = ["HYPERSPY", "MISTRAL", "SANDBOX"]


@dataclass(frozen=True, slots=True)
class _Layout:
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


def _is_hyperspy(path: Path, head: bytes) -> bool:
    if not is_hdf5(path, head):
        return False
    with open_h5(path) as file:
        return bool(_experiments(file))


def _experiments(file: h5py.File) -> list[str]:
    top = find(file, "Experiments")
    if not isinstance(top, h5py.Group):
        return []
    return [
        name
        for name, item in children(top)
        if isinstance(item, h5py.Group) and is_stack(find(item, "data")) and find(item, "axis-0") is not None
    ]


def _open_hyperspy(path: Path, choice: Choice = NO_CHOICE) -> Scan:
    with open_h5(path) as file:
        there = _experiments(file)
        name = chosen(path, choice.entry, there, "entry")
        others = {"entry": tuple(quoted(each) for each in there if each != name)}
        said = find(file, f"Experiments/{name}/metadata/Signal")
        word = scalar_text(said.attrs.get("quantity", "")).lower() if isinstance(said, h5py.Group) else ""
        quantity = "optical_density" if "absorb" in word or "optical density" in word else None
        quantity = "counts" if word.startswith(("count", "intensity (count")) else quantity
        source = Source(f"Experiments/{name}/data", quantity, quantity is not None, others=others)
        return open_source(path, file, source, choice)


_MISTRAL = _Layout(
    data=("SpecNormalized/spectroscopy_normalized_aligned", "SpecNormalized/spectroscopy_normalized"),
    energy="SpecNormalized/energy",
    quantity="transmission",
    pixel_size_um="SpecNormalized/x_pixel_size",
)
_RESULTS = "registration_results/reg_results"
_SANDBOX = _Layout(
    data=(f"{_RESULTS}/registered_xanes2D",),
    energy=f"{_RESULTS}/eng_list",
    quantity="optical_density",
)
MISTRAL = Format(
    name="mistral",
    description="ALBA MISTRAL (SpecNormalized)",
    suffixes=(".hdf5", ".h5"),
    matches=_MISTRAL.matches,
    open=_MISTRAL.open,
    choose=_MISTRAL.open,
)
SANDBOX = Format(
    name="txm-sandbox",
    description="TXM-Sandbox (registered_xanes2D)",
    suffixes=(".h5",),
    matches=_SANDBOX.matches,
    open=_SANDBOX.open,
    choose=_SANDBOX.open,
)
HYPERSPY = Format(
    name="hyperspy",
    description="HyperSpy",
    suffixes=(".hspy", ".hdf5"),
    matches=_is_hyperspy,
    open=_open_hyperspy,
    choose=_open_hyperspy,
)
