"""Zarr stores, folders and zip files: plain arrays, groups as xarray writes them, OME-Zarr."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import MissingExtraError, ReadError
from xanesum.io.axes import EV_PER, Order, axis_kind, nm_per, order_of
from xanesum.io.hdf5_file import quoted
from xanesum.io.scan import NO_CHOICE, Choice, Format, Key, Scan, reading
from xanesum.io.writing import COORDS, OWN_ATTRS, attrs_from_json, dims_of
from xanesum.io.zarr_writer import WRITER
from xanesum.stack import DIMS, QUANTITIES

__all__ = ["FORMAT"]

MARKS = ("zarr.json", ".zarray", ".zgroup")  # a folder with one of these files is a Zarr store
DATA, ENERGY = ("data", "stack", "__xarray_dataarray_variable__"), "energy"  # arrays of a group
# arrays of a group that become coordinates, with the axes that they may have
REFERENCES = {"flat": (DIMS, DIMS[1:]), "dark": (DIMS[1:],), "i0": (DIMS[:1],)}
MOST_BYTES = 2**32  # largest chunk in bytes; it must fit in memory
ENERGY_IN_OME = ("c", "t", "z")  # axes of OME-Zarr that may be the energy where none has this name


def _matches(path: Path, head: bytes) -> bool:
    if path.is_dir():
        return any((path / name).is_file() for name in MARKS)
    return head.startswith(b"PK\x03\x04") and _top_of_zip(path) is not None


def _open(path: Path, choice: Choice = NO_CHOICE) -> Scan:
    _zarr()
    with reading(path):
        root = _root(path)
        is_group = isinstance(root, _zarr().Group)
        name = _name_of_stack(path, root, choice.data) if is_group else None
        array = root if name is None else root[name]
        _require_stack(path, array)
        attrs = {**root.attrs, **array.attrs}
        axes = _axes(root, name, array, attrs)
        energy = _energies(root, axes, array, attrs)
        order = order_of(
            tuple(array.shape),
            [axis.kind for axis in axes],
            n_energies=None if energy is None else energy.size,
            index=choice.index,
        )
        has_reference = is_group and any(_has_array(root, each) for each in ("flat", "i0"))
        quantity = str(attrs.get("quantity", "counts" if has_reference else "intensity"))
        if quantity not in QUANTITIES:
            raise ReadError(f"{path}: unknown quantity {quantity!r}; expected one of {', '.join(QUANTITIES)}")
        size_nm = attrs.get("pixel_size_nm", axes[order.axes[2]].step_nm)
        stacks = [each for each in _stacks(root) if each != name] if is_group else []
        longer = [
            f"0 to {order.shape[axis] - 1} along {axes[axis].name or f'axis {axis + 1}'}"
            for axis, _ in order.fixed
            if order.shape[axis] > 1
        ]
        own_attrs, history = attrs_from_json(attrs.get(OWN_ATTRS))
        return Scan(
            shape=order.stack_shape,
            dtype=array.dtype,
            chunks=order.chunks(tuple(array.chunks)),  # chunks within a shard can be read one by one
            read=_Reader(path.resolve(), name, order),
            energy=energy,
            quantity=quantity,
            is_declared="quantity" in attrs and not attrs.get("quantity_assumed", False),
            pixel_size_nm=None if size_nm is None else float(size_nm),
            coords=_references(path, root, order.stack_shape) if is_group else {},
            attrs=own_attrs,
            dataset=name or "",
            axes=order.in_words([quoted(axis.name) for axis in axes]),
            axes_assumed=bool(order.note),
            history=(*history, f"read {path.name} as {quantity.replace('_', ' ')}"),
            notes=(f"{path.name}: {order.note}",)
            if order.note and any(array.shape[0] == n for n in array.shape[1:])
            else (),
            others={
                key: tuple(quoted(each) for each in names)
                for key, names in (("data", stacks), ("index", longer))
                if names
            },
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """A `Scan.read` that can be sent to other processes."""

    path: Path
    name: str | None
    order: Order

    def __call__(self, key: Key) -> NDArray[Any]:
        with reading(self.path):
            root = _root(self.path)
            array = root if self.name is None else root[self.name]
            return self.order.read(array.__getitem__, key)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of an array; its step in nm is that of OME-Zarr."""

    name: str = ""
    unit: str = ""
    step: float | None = None
    start: float = 0.0

    @property
    def kind(self) -> str:
        return axis_kind(self.name, self.unit)

    @property
    def step_nm(self) -> float | None:
        per = nm_per(LONG_UNITS.get(self.unit, self.unit))
        return None if self.step is None or per is None else self.step * per


LONG_UNITS = {"nanometer": "nm", "micrometer": "um", "millimeter": "mm", "meter": "m"}  # names in OME-Zarr


def _zarr() -> Any:
    try:
        return import_module("zarr")
    except ImportError as error:
        raise MissingExtraError('reading Zarr needs: pip install "xanesum[zarr]"') from error


def _root(path: Path) -> Any:
    """Open the array or group at the top of a store, or of the one folder in a zip file."""
    if path.is_dir():
        return _zarr().open(str(path), mode="r")
    store = import_module("zarr.storage").ZipStore(str(path), mode="r")
    top = _top_of_zip(path) or ""
    return _zarr().open(store, mode="r", path=top.strip("/"))


def _top_of_zip(path: Path) -> str | None:
    """Return the folder in a zip file that is a Zarr store, as "" or "name/"; None if there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return None
    tops = {
        name[: -len(mark)] for name in names for mark in MARKS if name == mark or name.endswith(f"/{mark}")
    }
    return min(tops, key=lambda top: top.count("/"), default=None)


def _stacks(group: Any) -> list[str]:
    """Return the names of the arrays of a group that may be stacks; in OME-Zarr the full resolution."""
    levels = _multiscales(dict(group.attrs))
    if levels is not None:
        return [str(levels["datasets"][0]["path"])]
    members = sorted(group.members(), key=lambda member: member[0])
    return [name for name, item in members if len(getattr(item, "shape", ())) >= 3 and name not in REFERENCES]


def _name_of_stack(path: Path, group: Any, wanted: str | None) -> str:
    if wanted is not None:
        if not _has_array(group, wanted):
            raise ReadError(
                f"{path}: has no array {wanted!r}; it holds {', '.join(map(quoted, sorted(group)))}",
                parameter="data",
            )
        return wanted
    found = _stacks(group)
    named = [name for name in DATA if name in found]
    if named or len(found) == 1:
        return (named or found)[0]
    if found:
        raise ReadError(f"{path}: name one of its arrays: {', '.join(map(quoted, found))}", parameter="data")
    if _has_array(group, DATA[0]):
        return DATA[0]
    raise ReadError(
        f"{path}: a group without an array {DATA[0]!r}; it holds {', '.join(map(quoted, sorted(group)))}"
    )


def _multiscales(attrs: Mapping[str, Any]) -> Any:
    """Return the first image of OME-Zarr 0.4 or 0.5, or None if a group is none."""
    inner = attrs.get("ome")
    found = attrs.get("multiscales") or (inner.get("multiscales") if isinstance(inner, Mapping) else None)
    return found[0] if isinstance(found, list) and found and found[0].get("datasets") else None


def _axes(root: Any, name: str | None, array: Any, attrs: Mapping[str, Any]) -> list[_Axis]:
    """Return the axes of an array as OME-Zarr or xarray name them."""
    image = _multiscales(attrs) if name is not None else None
    if image is not None and image.get("axes"):
        return _ome_axes(image, len(array.shape))
    names = getattr(array.metadata, "dimension_names", None) or attrs.get("_ARRAY_DIMENSIONS") or ()
    axes = []
    for dim in [*(str(each or "") for each in names), *[""] * len(array.shape)][: len(array.shape)]:
        item = root[dim] if name is not None and dim and _has_array(root, dim) else None
        unit = "" if item is None else str(item.attrs.get("units", ""))
        axes.append(_Axis(dim, unit))
    return axes


def _ome_axes(image: Mapping[str, Any], ndim: int) -> list[_Axis]:
    parts = [part if isinstance(part, Mapping) else {"name": part} for part in image["axes"]][:ndim]
    steps: dict[str, list[float]] = {}
    for each in image["datasets"][0].get("coordinateTransformations", ()):
        steps[str(each.get("type"))] = list(each.get(str(each.get("type")), ()))
    scale, start = steps.get("scale", []), steps.get("translation", [])
    axes = [
        _Axis(
            str(part.get("name", "")),
            str(part.get("unit", "")),
            float(scale[i]) if len(scale) == len(parts) else None,
            float(start[i]) if len(start) == len(parts) else 0.0,
        )
        for i, part in enumerate(parts)
    ]
    if not any(axis.kind == "energy" for axis in axes):
        names = [axis.name for axis in axes]
        for name in ENERGY_IN_OME:
            if name in names:
                at = names.index(name)
                axes[at] = _Axis("energy", axes[at].unit if axes[at].unit.lower() in EV_PER else "")
                break
    return axes


def _energies(
    root: Any, axes: list[_Axis], array: Any, attrs: Mapping[str, Any]
) -> NDArray[np.float64] | None:
    """Return the energies: an array, the attribute `energy_ev`, or labels or scale of OME-Zarr."""
    at = next((i for i, axis in enumerate(axes) if axis.kind == "energy"), None)
    is_group = hasattr(root, "members")
    for name in (axes[at].name if at is not None else ENERGY, ENERGY):
        if is_group and _has_array(root, name) and root[name].dtype.kind in "iuf":
            per = EV_PER.get(str(root[name].attrs.get("units", "")).lower(), 1.0)
            return np.asarray(root[name][...], np.float64).ravel() * per
    for name in ("energy_ev", "energies_ev", "energy", "energies"):
        if isinstance(attrs.get(name), list):
            return np.asarray(attrs[name], np.float64).ravel()
    if at is None:
        return None
    labels = list(_channel_labels(attrs))
    if len(labels) == array.shape[at]:
        return np.array(labels)
    axis = axes[at]
    if axis.step and axis.unit.lower() in EV_PER:
        return (axis.start + axis.step * np.arange(array.shape[at])) * EV_PER[axis.unit.lower()]
    return None


def _channel_labels(attrs: Mapping[str, Any]) -> Iterator[float]:
    """Yield the energies that the channels of OME-Zarr have as labels, as in "8330.5 eV"."""
    inner = attrs.get("ome")
    omero = attrs.get("omero") or (inner.get("omero") if isinstance(inner, Mapping) else None) or {}
    for channel in omero.get("channels", ()):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(k?eV)?\s*", str(channel.get("label", "")), re.IGNORECASE)
        if found:
            yield float(found[1]) * EV_PER.get((found[2] or "ev").lower(), 1.0)


def _has_array(group: Any, name: str) -> bool:
    return name in group and isinstance(group[name], _zarr().Array)


def _require_stack(path: Path, array: Any) -> None:
    if len(array.shape) < 3 or min(array.shape) < 1:
        raise ReadError(f"{path}: has shape {array.shape}; expected three axes, one image per energy")
    if array.dtype.kind not in "iufb":
        raise ReadError(f"{path}: holds {array.dtype}, expected numbers")
    if math.prod(array.chunks) * array.dtype.itemsize > MOST_BYTES:
        raise ReadError(f"{path}: its chunks of {array.chunks} values are larger than 4 GB; rechunk it")


def _references(path: Path, root: Any, shape: tuple[int, ...]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return flat, dark and I0, those that the group has; in a store of xanesum all coordinates."""
    sizes = dict(zip(DIMS, shape, strict=True))
    is_own = OWN_ATTRS in root.attrs
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name in COORDS if is_own else REFERENCES:
        if not _has_array(root, name):
            continue
        dims = dims_of(root[name].shape, shape)
        if dims is None or (name in REFERENCES and dims not in REFERENCES[name]):
            raise ReadError(f"{path}: {name} has shape {root[name].shape}; the scan is {shape}")
        if math.prod(root[name].chunks) * root[name].dtype.itemsize > MOST_BYTES:
            raise ReadError(f"{path}: the chunks of {name} are larger than 4 GB; rechunk it")
        values = np.asarray(root[name][...])
        found[name] = (dims, values if is_own else values.astype(np.float32))
    for name in DIMS[1:] if is_own else ():
        if (
            _has_array(root, name)
            and root[name].attrs.get("from_stack")
            and root[name].shape == (sizes[name],)
        ):
            found[name] = ((name,), np.asarray(root[name][...], np.float64))
    return found


FORMAT = Format(
    name="zarr",
    description="Zarr store (also OME-Zarr, xarray, zipped)",
    suffixes=(".zarr", ".zip"),
    matches=_matches,
    open=_open,
    choose=_open,
    writer=WRITER,
)
