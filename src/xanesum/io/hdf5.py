"""Datasets of HDF5 files as scans: any that the user names, and the default plot of a NeXus file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.axes import Order, order_of
from xanesum.io.hdf5_file import (
    children,
    find,
    following_links,
    is_hdf5,
    is_result,
    links_are_followed,
    open_h5,
    quoted,
    scalar_text,
    target_of,
    texts,
    walk,
)
from xanesum.io.hdf5_labels import Labels, groups_above, labels_of, nx_class, signal_of
from xanesum.io.hdf5_storage import RawValues, require_readable
from xanesum.io.hdf5_text import stored_text
from xanesum.io.interrupted import count_measured
from xanesum.io.scan import NO_CHOICE, Choice, Format, Key, Scan
from xanesum.storage.memory import LAZY_BYTES

__all__ = [
    "FORMAT",
    "Source",
    "chosen",
    "is_stack",
    "only_measured",
    "open_dataset",
    "open_source",
    "reader",
    "stack_dataset",
]

NAMED = 8  # datasets that a message names, at most
# words in the names of datasets, and what their values are then
QUANTITIES_OF_NAMES = (
    ("optical_density", ("absorb", "absorption", "optical_density", "opticaldensity", "xanes2d", "xanes3d")),
    ("transmission", ("transmission", "transmittance", "spectroscopy_normalized", "img_xanes")),
    ("counts", ("counts", "counter", "raw")),
)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A dataset that is to be read as a scan, and what a layout knows of it.

    Attributes
    ----------
    name : str
        Name in the file.
    quantity : str, optional
        What its values are; None to guess it from the name.
    is_declared : bool
        Whether the file says so.
    is_complete : bool
        Whether frames without values at the end are values; otherwise the scan was interrupted there.
    labels : Labels, optional
        None to take what the file says.
    length_unit : str
        Unit of positions without one; empty if it is not known.
    attrs : mapping
        As in `Scan`.
    others : mapping
        As in `Scan`.
    """

    name: str
    quantity: str | None = None
    is_declared: bool = False
    is_complete: bool = False
    labels: Labels | None = None
    length_unit: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def stack_dataset(path: Path, file: h5py.File, name: str, *, n_axes: int = 3) -> h5py.Dataset:
    """Return the dataset of a stack after checking that the file contains what the dataset declares.

    Raises
    ------
    ReadError
        If it is missing, is not an array of numbers with `n_axes` axes or more, refers to files that are
        missing or outside the folder, or declares more data than the file can contain.
    MissingExtraError
        If it is compressed by a filter that is not installed.
    """
    item = find(file, name)
    if not isinstance(item, h5py.Dataset):
        if item is None and (target := target_of(file, name)):
            raise ReadError(f"{path}: {quoted(name)} is a link to {quoted(target)}, which leads nowhere")
        raise _no_stack(f"{path}: has no dataset {quoted(name)}", file)
    if item.ndim < n_axes or min(item.shape) < 1:
        raise ReadError(
            f"{path}: {quoted(name)} has shape {item.shape}; expected three axes, one image per energy"
        )
    if item.dtype.kind not in "iufb":
        raise ReadError(f"{path}: {quoted(name)} holds {item.dtype}, expected numbers")
    require_readable(path, item)
    return item


def reader(
    path: Path, name: str, order: Order | None = None, *, n_axes: int = 3
) -> Callable[[Key], NDArray[Any]]:
    """Return a `Scan.read` for a dataset; it opens the file anew at each call.

    Parameters
    ----------
    path : Path
    name : str
        Of the dataset.
    order : Order, optional
        Which of its axes are energy, y and x; by default they are in this order.
    n_axes : int
        Axes that it must have, at least.
    """
    return _Reader(path, name, order, links_are_followed(), n_axes)


@dataclass(frozen=True, slots=True)
class _Reader:
    """A `Scan.read` that can be sent to other processes."""

    path: Path
    name: str
    order: Order | None
    follow_links: bool
    n_axes: int

    def __call__(self, key: Key) -> NDArray[Any]:
        with following_links(self.follow_links), open_h5(self.path) as file:
            dataset = stack_dataset(self.path, file, self.name, n_axes=self.n_axes)
            values = RawValues(dataset) if dataset.external else dataset
            return np.asarray(values[key]) if self.order is None else self.order.read(values.__getitem__, key)


def open_source(
    path: Path,
    file: h5py.File,
    source: Source,
    choice: Choice,
    *,
    coords: Callable[[Order], Mapping[str, tuple[tuple[str, ...], Any]]] | None = None,
) -> Scan:
    """Open a dataset as a scan: axes as the file names them, energies, only the frames that were measured.

    Parameters
    ----------
    path, file : Path, h5py.File
        The file, and its name.
    source : Source
        The dataset.
    choice : Choice
        What the user asked for.
    coords : callable, optional
        Takes the order of the axes and returns the coordinates, see `Scan`.
    """
    dataset = stack_dataset(path, file, source.name)
    labels = labels_of(dataset, groups_above(file, source.name)) if source.labels is None else source.labels
    n_energies = None if labels.energy is None else labels.energy.shape[-1]
    order = order_of(
        dataset.shape,
        [axis.kind for axis in labels.axes],
        n_energies=n_energies,
        images_last=labels.images_last,
        index=choice.index,
    )
    axes = order.in_words([quoted(axis.name) for axis in labels.axes])
    quantity, doubt = _quantity(source, dataset)
    is_declared = source.is_declared or scalar_text(dataset.attrs.get("quantity", "")) == quantity
    notes = [f"{path.name}: {note}" for note in (order.note, labels.doubt, doubt) if note]
    scan = Scan(
        shape=order.stack_shape,
        dtype=dataset.dtype,
        chunks=order.chunks(dataset.chunks),
        read=reader(path, source.name, order),
        energy=_row_of(labels.energy, order),
        quantity=quantity,
        is_declared=is_declared,
        pixel_size_nm=labels.pixel_size_nm(order.axes[2], source.length_unit),
        history=(
            f"read {quoted(source.name)} of {path.name}, taken as ({', '.join(axes)}) "
            f"and as {quantity.replace('_', ' ')}",
        ),
        coords={} if coords is None else coords(order),
        attrs=source.attrs,
        notes=tuple(notes),
        others={
            name: there for name, there in {**source.others, **_along_others(order, labels)}.items() if there
        },
        dataset=source.name,
        axes=axes,
        axes_assumed=bool(order.note),
    )
    return scan if source.is_complete else only_measured(path, scan)


def only_measured(path: Path, scan: Scan) -> Scan:
    """Return the scan without the frames at its end that were never measured, and say so."""
    n = scan.shape[0]
    if scan.nbytes <= LAZY_BYTES or scan.chunks is None or scan.chunks[0] == 1:
        n = count_measured(scan.read, scan.shape)
    energy, planned = scan.energy, scan.shape[0]
    if energy is not None and energy.size > planned:
        planned = energy.size
    elif energy is not None and energy.size < planned:
        return scan
    if n == planned:
        return scan
    note = (
        f"{path.name}: the scan is not complete (interrupted, or still being written): "
        f"the first {n} of {planned} energies are there and used"
    )
    coords = {
        name: (dims, values[:n] if "energy" in dims[:1] and len(values) == planned else values)
        for name, (dims, values) in scan.coords.items()
    }
    return replace(
        scan,
        shape=(n, *scan.shape[1:]),
        read=_First(scan.read, n),
        energy=None if energy is None else energy[:n],
        coords=coords,
        notes=(*scan.notes, note),
    )


@dataclass(frozen=True, slots=True)
class _First:
    """A `Scan.read` of the first `n` frames of another one."""

    read: Callable[[Key], NDArray[Any]]
    n: int

    def __call__(self, key: Key) -> NDArray[Any]:
        first = slice(*key[0].indices(self.n)) if isinstance(key[0], slice) else range(self.n)[key[0]]
        return self.read((first, *key[1:]))


def chosen(path: Path, wanted: str | None, there: list[str], what: str) -> str:
    """Return the name that the user asked for, or the first; a number from 1 on also names a region.

    Raises
    ------
    ReadError
        If there is none of that name.
    """
    if wanted is None:
        return there[0]
    named = [name for name in there if wanted in (name, name.rpartition("/")[2])]
    if wanted in there or len(named) == 1:
        return wanted if wanted in there else named[0]
    if what == "region" and wanted.isdigit() and 1 <= int(wanted) <= len(there):
        return there[int(wanted) - 1]
    names = ", ".join(quoted(name) for name in there)
    raise ReadError(f"{path}: has no {what} {wanted!r}; there are: {names}", parameter=what)


def is_stack(item: Any) -> bool:
    """Return whether an object of a file is an array of numbers that may be a stack."""
    return isinstance(item, h5py.Dataset) and item.ndim >= 3 and item.dtype.kind in "iufb" and item.size > 0


def open_dataset(path: Path, choice: Choice) -> Scan:
    """Open the dataset that the user named, with the axes and energies that the file gives it."""
    name = str(choice.data)
    with open_h5(path) as file:
        if _is_counter(find(file, name)):
            return open_source(path, file, Source(name, "counts", length_unit="um"), choice)
        return open_source(path, file, Source(name), choice)


def _is_counter(dataset: Any) -> bool:
    """Return whether a dataset lies in an entry of NXstxm: its detectors count."""
    if not isinstance(dataset, h5py.Dataset):
        return False
    parts = str(dataset.name).strip("/").split("/")
    definition = find(dataset.file, f"{parts[0]}/definition")
    is_stxm = (
        isinstance(definition, h5py.Dataset) and scalar_text(stored_text(definition)).strip() == "NXstxm"
    )
    return is_stxm and len(parts) > 2


def _quantity(source: Source, dataset: h5py.Dataset) -> tuple[str, str]:
    """Return what the values of a dataset are, and a sentence if that was assumed."""
    if source.quantity is not None:
        return source.quantity, ""
    said = [scalar_text(dataset.attrs.get(key, "")).lower() for key in ("quantity", "long_name")]
    for text in (*said, *reversed(source.name.lower().split("/"))):
        for quantity, words in QUANTITIES_OF_NAMES:
            if text.strip() == quantity or any(word in text for word in words):
                words_of = quantity.replace("_", " ")
                return quantity, f"values of {quoted(source.name)} were taken as {words_of}, by its name"
    if dataset.dtype.kind in "iu":
        return "counts", ""
    return "intensity", (
        f"nothing tells what the values of {quoted(source.name)} are; they were taken as they are (intensity)"
    )


def _row_of(energy: NDArray[np.float64] | None, order: Order) -> NDArray[np.float64] | None:
    """Return the energies of the scan that was chosen among several."""
    if energy is None or energy.ndim == 1:
        return energy
    row = next((index for axis, index in order.fixed if order.shape[axis] == len(energy)), 0)
    return np.asarray(energy[row], np.float64)


def _along_others(order: Order, labels: Labels) -> dict[str, tuple[str, ...]]:
    """Return what the user can choose along other axes."""
    names = tuple(
        f"0 to {order.shape[axis] - 1} along {quoted(labels.axes[axis].name) or f'axis {axis + 1}'}"
        for axis, _ in order.fixed
        if order.shape[axis] > 1
    )
    return {"index": names} if names else {}


# --- the default plot of a NeXus file


def _open_nexus(path: Path, choice: Choice = NO_CHOICE) -> Scan:
    with open_h5(path) as file:
        if is_result(file):
            raise ReadError(f"{path}: is a saved result of xanesum, not a scan; xanesum map reads it")
        found = list(_plots(file))
        if not found:
            return open_source(path, file, Source(_only_labelled(path, file)), choice)
        entries = list(dict.fromkeys(entry for entry, _, _ in found))
        entry = chosen(path, choice.entry or choice.region, entries, "region" if choice.region else "entry")
        here = {group: name for e, group, name in found if e == entry}
        group = chosen(path, choice.detector, list(here), "detector")
        name = here[group]
        others = {
            "entry": tuple(quoted(each) for each in entries if each != entry),
            "detector": tuple(quoted(each) for each in here if each != group),
        }
        return open_source(path, file, Source(name, others=others), choice)


def _only_labelled(path: Path, file: h5py.File) -> str:
    """Return the name of the only stack whose axes have names, one of them the energy, as in netCDF."""
    stacks = [(name, item) for name, item in walk(file) if is_stack(item)]
    named = [
        name
        for name, item in stacks
        if any(axis.kind == "energy" for axis in labels_of(item, groups_above(file, name)).axes)
    ]
    if len(named) != 1:
        raise _no_stack(f"{path}: HDF5 of an unknown layout", file)
    return named[0]


def _plots(file: h5py.File) -> Iterator[tuple[str, str, str]]:
    """Yield entry, NXdata group and name of the signal of every stack there is to plot, the default first."""
    entries = [name for name, item in children(file) if nx_class(item) in ("NXentry", "NXsubentry")]
    if any(nx_class(item) == "NXdata" for _, item in children(file)):
        entries.append("")
    first = scalar_text(file.attrs.get("default", "")).strip("/").split("/")[0]
    for entry in sorted(entries, key=lambda name: name != first):
        top = find(file, entry) if entry else file
        if not isinstance(top, h5py.Group):
            continue
        groups = (
            {name: item for name, item in walk(top) if nx_class(item) == "NXdata"}
            if entry
            else {name: item for name, item in children(file) if nx_class(item) == "NXdata"}
        )
        default = _default_of(file, top)
        for name in sorted(groups, key=lambda name: name != default):
            signal = signal_of(groups[name])
            if is_stack(signal):
                yield entry, name, _path_of(entry, name, groups[name], signal)
            for other in texts(groups[name].attrs.get("auxiliary_signals", [])):
                if is_stack(find(groups[name], other)):
                    yield entry, f"{name}/{other}", "/".join(filter(None, (entry, name, other)))


def _default_of(file: h5py.File, entry: h5py.Group) -> str:
    """Return the name, within an entry, of the group that ``@default`` leads to."""
    below = scalar_text(file.attrs.get("default", "")).strip("/").split("/")[1:]
    names, here = [*below], find(entry, "/".join(below)) if below else entry
    while (
        isinstance(here, h5py.Group)
        and nx_class(here) != "NXdata"
        and "default" in here.attrs
        and len(names) < 9
    ):
        step = scalar_text(here.attrs["default"])
        names = step.strip("/").split("/") if step.startswith("/") else [*names, *step.split("/")]
        here = find(here, step)
    return "/".join(names)


def _path_of(entry: str, group: str, parent: h5py.Group, signal: h5py.Dataset) -> str:
    """Return the path by which a signal is reached from the root, links included."""
    name = scalar_text(parent.attrs["signal"]) if "signal" in parent.attrs else None
    if name is None:
        name = next((each for each, item in children(parent) if item == signal), "data")
    return "/".join(part for part in (entry, group, name) if part)


def _no_stack(message: str, file: h5py.File) -> ReadError:
    """Return the error for a file without the expected dataset; it names those with three axes."""
    found = [name for name, item in walk(file) if is_stack(item)]
    if found:
        names = ", ".join(quoted(name) for name in found[:NAMED])
        return ReadError(f"{message}; name a dataset with three axes: {names}", parameter="data")
    lost = next(_lost_links(file), None)
    return ReadError(f"{message}; it holds no dataset with three axes") if lost is None else lost


def _lost_links(file: h5py.File) -> Iterator[ReadError]:
    """Yield the error of each link that leads nowhere, or outside the folder."""
    groups = [file, *(item for _, item in walk(file) if isinstance(item, h5py.Group))]
    for group in groups:
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                try:
                    find(group, name)
                except ReadError as error:
                    yield error


FORMAT = Format(
    name="hdf5",
    description="HDF5 (the default plot of NeXus, or any dataset with three axes that is named)",
    suffixes=(".h5", ".hdf5", ".hdf", ".nxs", ".cxi", ".nx5", ".stxm"),
    matches=is_hdf5,
    open=_open_nexus,
    choose=_open_nexus,
)
