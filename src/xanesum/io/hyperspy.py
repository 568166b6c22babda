"""HyperSpy, HDF5: signals with axes of scale and offset, in any order."""

from __future__ import annotations

from pathlib import Path

import h5py

from xanesum.io.hdf5 import Source, chosen, is_stack, open_source
from xanesum.io.hdf5_file import children, find, is_hdf5, open_h5, quoted, scalar_text
from xanesum.io.scan import NO_CHOICE, Choice, Format, Scan

__all__ = ["FORMAT"]


def _matches(path: Path, head: bytes) -> bool:
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


def _open(path: Path, choice: Choice = NO_CHOICE) -> Scan:
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


FORMAT = Format(
    name="hyperspy",
    description="HyperSpy",
    suffixes=(".hspy", ".hdf5"),
    matches=_matches,
    open=_open,
    choose=_open,
)
