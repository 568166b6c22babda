"""Write maps as HDF5 or TIFF."""

from __future__ import annotations

from pathlib import Path

import h5py
import xarray as xr

from xanesum.errors import WriteError
from xanesum.io.nexus import SUFFIXES as HDF5_SUFFIXES
from xanesum.io.tiff import SUFFIXES as TIFF_SUFFIXES
from xanesum.io.tiff import write_map_tiff
from xanesum.storage.atomic import atomic_path

__all__ = ["MAP_SUFFIXES", "step_path", "write_map"]

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
    if name == "edge_step":
        return (write_map_tiff(values, path),)
    return write_map_tiff(values, path), write_map_tiff(maps["edge_step"], step_path(path))


def _write_map_h5(maps: xr.Dataset, name: str, path: Path) -> Path:
    """Write the maps as NXdata of one NeXus entry."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        entry["definition"] = "xanesum_map"
        group = entry.create_group("data")
        group.attrs.update({"NX_class": "NXdata", "signal": name, "axes": ["y", "x"]})
        group.attrs.update({key: value for key, value in maps.attrs.items() if value is not None})
        for key, values in maps.data_vars.items():
            group[str(key)] = values.values
            group[str(key)].attrs["units"] = "eV" if str(key).endswith("_ev") else ""
    return path


def step_path(path: Path) -> Path:
    """Return the file of the edge step that goes with a map written as TIFF."""
    return path.with_name(f"{path.stem}_edge_step{path.suffix}")
