"""NXstxm, HDF5: scanning transmission X-ray microscopes that write NeXus (PolLux, Pixelator, ALS, ...)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xanesum.errors import ReadError
from xanesum.io.axes import Order
from xanesum.io.hdf5 import Source, chosen, is_stack, open_source
from xanesum.io.hdf5_file import children, find, is_hdf5, open_h5, quoted, scalar_text, texts
from xanesum.io.hdf5_labels import nx_class, signal_of
from xanesum.io.hdf5_text import stored_text
from xanesum.io.scan import NO_CHOICE, Choice, Format, Scan

__all__ = ["FORMAT"]

FIRST_DETECTOR = "counter0"  # of the definition


def _open(path: Path, choice: Choice = NO_CHOICE) -> Scan:
    with open_h5(path) as file:
        entries = _entries(file)
        first = scalar_text(file.attrs.get("default", "")).strip("/").split("/")[0]
        entries.sort(key=lambda name: name != first)
        wanted, what = (choice.region, "region") if choice.region else (choice.entry, "entry")
        entry = chosen(path, wanted, entries, what)
        top = file[entry]
        detectors = _detectors(path, top)
        detector = chosen(path, choice.detector, list(detectors), "detector")
        source = Source(
            f"{entry}/{detector}/{detectors[detector]}",
            quantity="counts",
            length_unit="um",
            attrs=_monitor_unit(top),
            others={
                "entry": tuple(quoted(name) for name in entries if name != entry),
                "detector": tuple(quoted(name) for name in detectors if name != detector),
            },
        )
        return open_source(path, file, source, choice, coords=lambda order: _monitor(top, order))


def _matches(path: Path, head: bytes) -> bool:
    if not is_hdf5(path, head):
        return False
    with open_h5(path) as file:
        return bool(_entries(file))


def _entries(file: h5py.File) -> list[str]:
    """Return the names of the entries whose definition is NXstxm, in natural order."""
    return [name for name, group in children(file) if _is_stxm(group)]


def _is_stxm(group: Any) -> bool:
    definition = find(group, "definition") if isinstance(group, h5py.Group) else None
    return isinstance(definition, h5py.Dataset) and scalar_text(stored_text(definition)).strip() == "NXstxm"


def _detectors(path: Path, entry: h5py.Group) -> dict[str, str]:
    """Return each NXdata group with a stack of images, and its signal; the one to read comes first."""
    groups = {name: item for name, item in children(entry) if nx_class(item) == "NXdata"}
    found = {name: _name_of_signal(item) for name, item in groups.items() if is_stack(signal_of(item))}
    if not found:
        raise ReadError(f"{path}: {_what_it_is(groups)}")
    default = scalar_text(entry.attrs.get("default", "")).strip("/").split("/")[-1]
    first = default if default in found else FIRST_DETECTOR
    return dict(sorted(found.items(), key=lambda item: item[0] != first))


def _name_of_signal(group: h5py.Group) -> str:
    if "signal" in group.attrs:
        return scalar_text(group.attrs["signal"])
    signal = signal_of(group)
    return next((name for name, item in children(group) if item == signal), "data")


def _what_it_is(groups: dict[str, h5py.Group]) -> str:
    """Return what an NXstxm file without images holds."""
    for name, group in groups.items():
        signal = signal_of(group)
        if signal is None or signal.size is None or signal.size < 2:
            continue
        axes = ", ".join(quoted(axis) for axis in texts(group.attrs.get("axes", [])))
        kind = {1: "a point spectrum", 2: "a line spectrum"}.get(signal.ndim, "no image stack")
        if signal.ndim == 2 and "energy" not in axes:
            kind = "a single image"
        return (
            f"{quoted(name)} holds {kind}: shape {signal.shape}{f' ({axes})' if axes else ''}; "
            "a stack of images has three axes (energy, y, x)"
        )
    return "no NXdata group of this NXstxm file holds a stack with three axes (energy, y, x)"


def _monitor(entry: h5py.Group, order: Order) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return the mean of the I0 monitor over each image as coordinate `monitor (energy)`.

    It is usually the ring current.  It follows the flux but does not have the unit of the counts, so it is
    not an `i0`.
    """
    item = find(entry, "control/data")
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iuf" or item.size is None:
        return {}
    if item.shape == (order.stack_shape[0],):
        return {"monitor": (("energy",), np.asarray(item[()], np.float64))}
    if item.shape != order.shape:
        return {}
    sums, n_energies = np.zeros(order.stack_shape[0]), order.stack_shape[0]
    step = item.chunks[order.axes[0]] if item.chunks else n_energies if order.axes[0] else 1
    for e in range(0, n_energies, step):
        part = order.read(item.__getitem__, (slice(e, min(e + step, n_energies)), slice(None), slice(None)))
        sums[e : e + step] = np.mean(part, axis=(1, 2), dtype=np.float64)
    return {"monitor": (("energy",), sums)}


def _monitor_unit(entry: h5py.Group) -> dict[str, str]:
    """Return the unit of the monitor, as an attribute of the stack; mA tells that it is the ring current."""
    item = find(entry, "control/data")
    unit = scalar_text(item.attrs.get("units", "")).strip() if isinstance(item, h5py.Dataset) else ""
    return {"monitor_unit": unit} if unit else {}


FORMAT = Format(
    name="nxstxm",
    description="NeXus NXstxm",
    suffixes=(".hdf5", ".h5", ".nxs", ".stxm"),
    matches=_matches,
    open=_open,
    choose=_open,
)
