"""What an HDF5 file says of the axes of a dataset: NeXus, dimension scales, HyperSpy; and its energies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xanesum.io.axes import EV_PER, axis_kind, nm_per
from xanesum.io.hdf5_file import children, find, numbers, quoted, scalar_text, texts

__all__ = ["Axis", "Labels", "groups_above", "labels_of", "names_of_axes", "nx_class", "signal_of"]

# datasets in which the energies are looked for, and groups in which a monochromator is
ENERGY_NAMES = (
    *("energy", "X_eng", "XEng", "energies", "eng_list", "eng", "photon_energy", "Energy", "ev", "eV"),
    *("energy_ev", "energy_keV", "energy_kev", "incident_energy", "mono_energy", "energies_ev"),
)
USUAL_ORDERS = (("energy", "y", "x"), ("y", "x", "energy"), ("energy", "x", "y"), ("x", "y", "energy"))
MONOCHROMATORS = ("monochromator", "instrument/monochromator", "beam", "instrument/beam", "sample/beam")


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis of a dataset: its name and unit, and the positions along it, shape (n,), if known."""

    name: str = ""
    unit: str = ""
    values: NDArray[np.float64] | None = None

    @property
    def kind(self) -> str:
        """What the axis is, see `axis_kind`."""
        return axis_kind(self.name, self.unit)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What a file says of a dataset.

    Attributes
    ----------
    axes : tuple of Axis
        One for each axis of the dataset.
    energy : ndarray, optional
        Photon energies in eV, or as stored where the file gives no unit, shape (E,); or (n, E), a row for
        each of several scans.
    images_last : bool, optional
        Whether the last two axes are said to be an image; False if the last is said to be a spectrum.
    doubt : str
        Why energies that are in the file were not taken; empty if there are none.
    """

    axes: tuple[Axis, ...]
    energy: NDArray[np.float64] | None = None
    images_last: bool | None = None
    doubt: str = ""

    def pixel_size_nm(self, axis: int, default: str = "") -> float | None:
        """Return the step along an axis in nm, or None if it is not known; `default` is a missing unit."""
        values, unit = self.axes[axis].values, self.axes[axis].unit.strip() or default
        if values is None or values.ndim != 1 or values.size < 2:
            return None
        step, per = float(np.median(np.abs(np.diff(values)))), nm_per(unit)
        return step * per if per is not None and np.isfinite(step) and step > 0 else None


def groups_above(file: h5py.File, name: str) -> list[h5py.Group]:
    """Return the groups through which a name leads to a dataset, the nearest first, the root last."""
    parts = [part for part in name.split("/") if part]
    found = [find(file, "/".join(parts[:n])) for n in range(len(parts) - 1, 0, -1)]
    return [*(group for group in found if isinstance(group, h5py.Group)), file]


def labels_of(dataset: h5py.Dataset, groups: Sequence[h5py.Group]) -> Labels:
    """Find the names of a dataset's axes and the photon energies.

    Parameters
    ----------
    dataset : h5py.Dataset
        Three axes or more.
    groups : sequence of h5py.Group
        See `groups_above`; the first is the NXdata group of which it is the signal, if it is one.
    """
    parent = groups[0]
    axes = tuple(_axes(dataset, parent))
    at = next((axis for axis in axes if axis.kind == "energy" and axis.values is not None), None)
    energy = None if at is None or at.values is None else at.values * EV_PER.get(at.unit.strip().lower(), 1.0)
    doubt = ""
    if energy is None:
        energy, doubt = _energies_near(dataset, groups, axes)
    return Labels(axes, energy, _images_last(dataset, parent), doubt)


def nx_class(item: Any) -> str:
    """Return the NeXus class of a group, or an empty string."""
    return scalar_text(item.attrs.get("NX_class", "")) if isinstance(item, h5py.Group) else ""


def signal_of(group: h5py.Group) -> h5py.Dataset | None:
    """Return the signal of an NXdata group: that of ``@signal``, the one marked ``signal=1``, or `data`."""
    name = scalar_text(group.attrs["signal"]) if "signal" in group.attrs else None
    if name is None:
        marked = [n for n, item in children(group) if scalar_text(item.attrs.get("signal", "")) == "1"]
        name = marked[0] if marked else "data"
    item = find(group, name)
    return item if isinstance(item, h5py.Dataset) else None


def names_of_axes(item: h5py.Dataset | h5py.Group) -> list[str]:
    """Return the names in the attribute `axes`, a list or one text as ``energy:y:x``; empty without it."""
    said = texts(item.attrs["axes"]) if "axes" in item.attrs else []
    if len(said) == 1:
        said = [part.strip() for part in re.split(r"[:,\s]+", said[0].strip("[]() "))]
    return said


def _images_last(dataset: h5py.Dataset, group: h5py.Group) -> bool | None:
    """Return whether images are said to be along the last two axes; False if spectra along the last one."""
    said = scalar_text(dataset.attrs.get("interpretation", group.attrs.get("interpretation", ""))).lower()
    if said in ("image", "spectrum", "spectra"):
        return said == "image"
    axes = [find(group, f"axis-{i}") for i in range(dataset.ndim)]  # HyperSpy: axes of the signal come last
    signal = [isinstance(axis, h5py.Group) and not axis.attrs.get("navigate", True) for axis in axes]
    return {1: False, 2: True}.get(sum(signal)) if any(signal) else None


def _axes(dataset: h5py.Dataset, group: h5py.Group) -> Iterator[Axis]:
    hyperspy = [find(group, f"axis-{i}") for i in range(dataset.ndim)]
    if all(isinstance(axis, h5py.Group) for axis in hyperspy):
        yield from (_hyperspy_axis(axis, dataset.shape[i]) for i, axis in enumerate(hyperspy))
        return
    names = _names(dataset, group)
    for i, dimension in enumerate(dataset.dims):
        item = find(group, names[i]) if names[i] else None
        if not isinstance(item, h5py.Dataset) and len(dimension):
            item = dimension[0]
        name = names[i] or dimension.label
        if isinstance(item, h5py.Dataset):
            name = name or str(item.name).rpartition("/")[2]
            values = numbers(item.parent, str(item.name).rpartition("/")[2])
            fits = values is not None and values.size == dataset.shape[i]
            yield Axis(name, _unit(item), values.ravel() if values is not None and fits else None)
        else:
            yield Axis(name)


def _names(dataset: h5py.Dataset, group: h5py.Group) -> list[str]:
    """Return the name of each axis, empty where there is none."""
    said = names_of_axes(dataset) or names_of_axes(group)
    names = ["" if name == "." else name for name in said]
    names = [*names, *[""] * dataset.ndim][: dataset.ndim]
    for name, item in children(group):
        indices = group.attrs.get(f"{name}_indices")
        if indices is not None and np.size(indices) == 1 and isinstance(item, h5py.Dataset):
            at = int(np.ravel(indices)[0])
            if item.ndim == 1 and 0 <= at < len(names) and item.size == dataset.shape[at] and not names[at]:
                names[at] = name
        elif item.attrs.get("axis") is not None and isinstance(item, h5py.Dataset):  # NeXus before 2014
            number = scalar_text(item.attrs["axis"])
            if number.isdigit() and 1 <= int(number) <= len(names) and not names[int(number) - 1]:
                names[int(number) - 1] = name
    return names if any(names) else _names_by_length(dataset.shape, group)


def _names_by_length(shape: tuple[int, ...], group: h5py.Group) -> list[str]:
    """Return names of axes from the lengths of the usual datasets beside a stack, the usual order first."""
    known: dict[str, tuple[str, int]] = {}
    for kind, usual in (("energy", ("energy",)), ("y", ("sample_y", "y")), ("x", ("sample_x", "x"))):
        for name in usual:
            item = find(group, name)
            if isinstance(item, h5py.Dataset) and item.ndim == 1 and kind not in known:
                known[kind] = (name, int(item.size))
    for kinds in USUAL_ORDERS if len(shape) == 3 else ():
        if all(known[kind][1] == n for kind, n in zip(kinds, shape, strict=True) if kind in known):
            return [known[kind][0] if kind in known else "" for kind in kinds]
    return [""] * len(shape)


def _hyperspy_axis(axis: h5py.Group, size: int) -> Axis:
    """Return an axis of HyperSpy: scale and offset, or all positions."""
    attrs, name = axis.attrs, scalar_text(axis.attrs.get("name", ""))
    values = numbers(axis, "axis")
    if values is None and "axis" in attrs:
        values = np.asarray(attrs["axis"], np.float64)
    if values is None and "scale" in attrs:
        values = float(attrs.get("offset", 0.0)) + float(attrs["scale"]) * np.arange(size, dtype=np.float64)
    unit = scalar_text(attrs.get("units", ""))
    fits = values is not None and values.size == size
    return Axis(
        "" if name.startswith("<") else name, "" if unit.startswith("<") else unit, values if fits else None
    )


def _energies_near(
    dataset: h5py.Dataset, groups: Sequence[h5py.Group], axes: tuple[Axis, ...]
) -> tuple[NDArray[np.float64] | None, str]:
    """Return the photon energies beside a dataset, or in the groups above it; or why there are none."""
    doubt = ""
    sizes = {n for n, axis in zip(dataset.shape, axes, strict=True) if axis.kind not in ("y", "x")}
    for place in _places(dataset, groups):
        for name, item in _candidates(place):
            if item.size is None or item.size > max(dataset.shape) * dataset.shape[0]:
                continue
            values = numbers(item.parent, str(item.name).rpartition("/")[2])
            if values is None or not values.size:
                continue
            per = EV_PER.get(_unit(item).strip().lower(), _per_of_name(name))
            if values.ndim == 2 and 1 < values.shape[-1] in sizes and values.shape[0] in dataset.shape:
                return values * per, ""  # a row for each scan
            if values.size in sizes or _is_cut(dataset, values.size):
                return values.ravel() * per, ""
            if values.size > 1:
                doubt = doubt or (
                    f"{quoted(item.name)} has {values.size} values, which fit no axis of "
                    f"{quoted(dataset.name)} {dataset.shape}, and was not used"
                )
    return None, doubt


def _is_cut(dataset: h5py.Dataset, n_energies: int) -> bool:
    """Return whether a dataset that grows along its first axis has not got all its energies yet."""
    grows = dataset.maxshape[0] is None or dataset.maxshape[0] > dataset.shape[0]
    return bool(grows and 1 < dataset.shape[0] < n_energies)


def _per_of_name(name: str) -> float:
    return 1e3 if re.search("kev", name, re.IGNORECASE) else 1.0


def _places(dataset: h5py.Dataset, groups: Sequence[h5py.Group]) -> Iterator[h5py.Group]:
    """Yield the groups in which energies may be, the nearest first; also those of a file behind a link."""
    yield from groups
    here, seen = dataset.parent, {group.id for group in groups}
    while here.id not in seen:
        seen.add(here.id)
        yield here
        here = here.parent


def _candidates(place: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets of a group that may hold energies: by name, by unit, of a monochromator."""
    for name in ENERGY_NAMES:
        item = find(place, name)
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group):
            yield from (
                (name, found)
                for key in ("data", "value")
                if isinstance(found := find(item, key), h5py.Dataset)
            )
    for name, item in children(place):
        if isinstance(item, h5py.Dataset) and item.ndim == 1 and axis_kind(name, _unit(item)) == "energy":
            yield name, item
    for monochromator in MONOCHROMATORS:
        for name in ("energy", "incident_energy"):
            item = find(place, f"{monochromator}/{name}")
            item = find(item, "data") or find(item, "value") if isinstance(item, h5py.Group) else item
            if isinstance(item, h5py.Dataset):
                yield name, item


def _unit(item: h5py.Dataset) -> str:
    return scalar_text(item.attrs.get("units", item.attrs.get("unit", "")))
