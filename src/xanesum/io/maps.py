"""Write maps as HDF5 or TIFF."""

from __future__ import annotations

from pathlib import Path

import h5py
import xarray as xr

from xanesum.errors import ReadError, WriteError
from xanesum.io.hdf5_file import definition_of, opened, quoted, scalar_text
from xanesum.io.nexus import SUFFIXES as HDF5_SUFFIXES
from xanesum.io.scan import reading
from xanesum.io.tiff import SUFFIXES as TIFF_SUFFIXES
from xanesum.io.tiff import write_map_tiff
from xanesum.storage.atomic import atomic_path

__all__ = ["MAP_SUFFIXES", "read_map", "step_path", "write_map"]

DEFINITION = "xanesum_map"  # of the entry of a file
OF_NEXUS = ("NX_class", "signal", "axes")  # attributes that are none of the maps
LARGEST = 2**31  # pixels of an image that is read

MAP_SUFFIXES = (*HDF5_SUFFIXES, *TIFF_SUFFIXES)  # of the files that `write_map` writes


def write_map(maps: xr.Dataset, name: str, path: str | Path) -> tuple[Path, ...]:
    """Write a map: ``.h5`` with all its variables, or ``.tif`` in eV and a second one of the edge step.

    A map that is the edge step has one file.

    Parameters
    ----------
    maps : Dataset
        From `xanesum.chemical_map`.
    name : str
        Name of the variable that is the map.
    path : str or Path
        File to write.

    Returns
    -------
    tuple of Path
        The files that were written.

    Raises
    ------
    WriteError
        If the suffix is unknown or a file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() in HDF5_SUFFIXES:
        return (_write_map_h5(maps, name, path),)
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise WriteError(f"{path}: a map is written as .h5 or .tif, not {path.suffix!r}")
    values = maps[name].where(maps["mask"])
    definition = str(maps.attrs.get("definition", ""))
    if name == "edge_step":
        return (write_map_tiff(values, path, definition=definition),)
    return write_map_tiff(values, path, definition=definition), write_map_tiff(
        maps["edge_step"], step_path(path)
    )


def _write_map_h5(maps: xr.Dataset, name: str, path: Path) -> Path:
    """Write the maps as NXdata of one NeXus entry."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        entry["definition"] = DEFINITION
        group = entry.create_group("data")
        group.attrs.update({"NX_class": "NXdata", "signal": name, "axes": ["y", "x"]})
        group.attrs.update({key: value for key, value in maps.attrs.items() if value is not None})
        for key, values in maps.data_vars.items():
            group[str(key)] = values.values
            is_energy = str(key).removesuffix("_sigma").endswith("_ev")
            group[str(key)].attrs["units"] = values.attrs.get("units", "eV" if is_energy else "")
    return path


def read_map(path: str | Path) -> xr.Dataset:
    """Read the maps that `write_map` wrote as HDF5.

    Returns
    -------
    Dataset
        The images (y, x), with the attributes of `xanesum.chemical_map`.

    Raises
    ------
    ReadError
        If the file is missing, damaged, or not of this form.
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(f"{path}: no such file")
    images: dict[str, xr.Variable] = {}
    try:
        if definition_of(path) != DEFINITION:
            raise ReadError(f"{path}: not a map by xanesum")
        with reading(path), opened(path) as file:
            group = file["entry/data"]
            for name, image in group.items():
                if image.ndim != 2 or image.size > LARGEST:
                    raise ReadError(f"{path}: {quoted(name)} is no image")
                unit = scalar_text(image.attrs.get("units", ""))
                images[str(name)] = xr.Variable(("y", "x"), image[()], {"units": unit})
            attrs = {str(name): value for name, value in group.attrs.items() if name not in OF_NEXUS}
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ReadError(f"{path}: not a map by xanesum ({error})") from error
    return xr.Dataset(images, attrs=attrs)


def step_path(path: Path) -> Path:
    """Return the file of the edge step that goes with a map written as TIFF."""
    return path.with_name(f"{path.stem}_edge_step{path.suffix}")
