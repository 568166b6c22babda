"""Write any Dataset of maps: an HDF5 file with everything, a TIFF for each map, and tables as CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import xarray as xr

from xanesum.errors import ReadError, WriteError
from xanesum.io.hdf5_file import opened, scalar_text
from xanesum.io.hdf5_text import stored_text
from xanesum.io.scan import reading
from xanesum.storage.atomic import atomic_path

__all__ = ["maps_stem", "notes_of", "read_maps", "write_columns", "write_maps", "write_table"]

DEFINITION = "xanesum_maps"  # of the entry
IMAGE = ("y", "x")
STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
UNITS = {"ev": "eV", "px": "px", "um2": "um2", "nm": "nm"}  # last part of a name -> its unit
PERCENTILES = (5, 50, 95)
SUMMARY = ("map", "unit", "pixels", "mean", "p5", "median", "p95", "standard error, median")


def write_maps(
    maps: xr.Dataset, folder: str | Path, stem: str, *, provenance: Mapping[str, Any] | None = None
) -> tuple[Path, ...]:
    """Write a Dataset of maps into a folder that exists.

    ``STEM.h5`` holds all variables of any axes, with attributes and provenance; `read_maps` reads it.
    ``STEM_NAME.tif`` is the image NAME in float32, NaN outside the `mask`; its description is the definition
    and the provenance as JSON.  ``STEM_summary.csv`` has one line for each map.

    Parameters
    ----------
    maps : Dataset
        Images (y, x) and tables along other axes. The image ``NAME_sigma`` is the standard error of ``NAME``.
    folder : str or Path
    stem : str
        First part of the names of the files: letters, digits, ``-`` and ``_``.
    provenance : mapping, optional
        Versions, options and the digest of the input.

    Returns
    -------
    tuple of Path

    Raises
    ------
    WriteError
        If a file cannot be written, or a name is none for a file.
    """
    folder, origin = Path(folder), dict(provenance or {})
    stem = maps_stem(stem)
    files = [_write_h5(maps, folder / f"{stem}.h5", origin)]
    images = [str(name) for name, values in maps.data_vars.items() if values.dims == IMAGE]
    text = json.dumps({**_facts(maps), **origin}, default=_plain)
    for name in (each for each in images if each != "mask"):
        values = maps[name].where(maps["mask"]) if _is_masked(maps, name) else maps[name]
        path = folder / f"{stem}_{maps_stem(name)}.tif"
        with atomic_path(path) as temporary:
            tifffile.imwrite(
                temporary, _for_tiff(values.values), photometric="minisblack", description=text, metadata=None
            )
        files.append(path)
    rows = [_summary(maps, name) for name in images if _is_float(maps, name) and "_sigma" not in name]
    if rows:
        files.append(write_table(folder / f"{stem}_summary.csv", SUMMARY, rows, notes=notes_of(maps, origin)))
    return tuple(files)


def write_table(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, notes: Sequence[str] = ()
) -> Path:
    """Write a table as CSV.  Notes come first, one a line after ``#``; unknown numbers are empty."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for note in notes:
            file.write(f"# {' '.join(str(note).split())}\n")
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)
    return path


def write_columns(path: Path, columns: Mapping[str, np.ndarray], *, notes: Sequence[str] = ()) -> Path:
    """Write columns of numbers as text that Athena, Larch and NumPy read; rows with a NaN are left out.

    Lines of the head begin with ``#``; the last of them names the columns.
    """
    values = np.stack([np.asarray(each, np.float64) for each in columns.values()], axis=1)
    values = values[np.isfinite(values).all(axis=1)]
    head = [" ".join(str(note).split()) for note in notes]
    head += ["-" * 30, "  ".join(columns)]
    with atomic_path(path) as temporary:
        np.savetxt(temporary, values, fmt="%.9g", header="\n".join(head), comments="# ", encoding="utf-8")
    return path


def notes_of(maps: xr.Dataset, provenance: Mapping[str, Any]) -> list[str]:
    """Return what a table says about itself: definition, doubts, versions, options, digest."""
    facts = _facts(maps)
    notes = [str(facts["definition"])] if facts.get("definition") else []
    notes += [f"the stated errors may not hold: {reason}" for reason in facts.get("reasons", [])]
    return notes + [f"{key}: {_cell(value)}" for key, value in provenance.items()]


def read_maps(path: str | Path) -> xr.Dataset:
    """Read a Dataset of maps that `write_maps` wrote as HDF5.

    Raises
    ------
    ReadError
        If the file is missing, damaged, or not of this form.
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(f"{path}: no such file")
    try:
        with reading(path), opened(path) as file:
            entry = file["entry"]
            if scalar_text(entry["definition"][()]) != DEFINITION:
                raise ReadError(f"{path}: not a file of maps by xanesum")
            group = entry["data"]
            variables = {
                name: ([str(dim) for dim in group[name].attrs["dims"]], group[name][()]) for name in group
            }
            facts = json.loads(scalar_text(stored_text(entry["process/facts"])))
            coords = json.loads(scalar_text(stored_text(entry["process/coordinates"])))
            facts["provenance"] = json.loads(scalar_text(stored_text(entry["process/provenance"])))
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ReadError(f"{path}: not a file of maps by xanesum ({error})") from error
    for name, (dims, values) in variables.items():
        if values.dtype.kind in "OS":
            variables[name] = (
                dims,
                np.array([scalar_text(each) for each in values.ravel()]).reshape(values.shape),
            )
    return xr.Dataset(variables, attrs=facts).set_coords(coords)


def maps_stem(name: str) -> str:
    """Return a name that may be a part of a file's name.

    Raises
    ------
    WriteError
        If it holds anything but letters, digits, ``-`` and ``_``, or is too long.
    """
    if STEM.fullmatch(name) is None:
        raise WriteError(
            f"{name!r} cannot be part of a file's name; use up to 60 letters, digits, '-' and '_', a letter "
            "or a digit first"
        )
    return name


def _write_h5(maps: xr.Dataset, path: Path, provenance: Mapping[str, Any]) -> Path:
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        entry["definition"] = DEFINITION
        group = entry.create_group("data")
        images = [name for name, values in maps.data_vars.items() if values.dims == IMAGE]
        group.attrs["NX_class"] = "NXdata"
        if images:
            group.attrs.update({"signal": str(images[0]), "axes": list(IMAGE)})
        for name, values in maps.variables.items():
            data = values.values.astype(h5py.string_dtype()) if values.dtype.kind == "U" else values.values
            dataset = group.create_dataset(str(name), data=data)
            dataset.attrs.update({"dims": [str(dim) for dim in values.dims], "units": _unit(maps, str(name))})
        process = entry.create_group("process")
        process.attrs["NX_class"] = "NXprocess"
        process["program"] = "xanesum"
        process["facts"] = json.dumps(_facts(maps), default=_plain)
        process["coordinates"] = json.dumps([str(name) for name in maps.coords])
        process["provenance"] = json.dumps(dict(provenance), default=_plain)
    return path


def _for_tiff(values: np.ndarray) -> np.ndarray:
    """Return an image in float32, or labels in int32."""
    return values.astype(np.float32 if np.issubdtype(values.dtype, np.floating) else np.int32)


def _facts(maps: xr.Dataset) -> dict[str, Any]:
    return {str(key): value for key, value in maps.attrs.items() if value is not None and key != "provenance"}


def _is_float(maps: xr.Dataset, name: str) -> bool:
    return bool(np.issubdtype(maps[name].dtype, np.floating))


def _is_masked(maps: xr.Dataset, name: str) -> bool:
    """Return whether the mask tells where a map means something; an edge step means something everywhere."""
    return "mask" in maps and _is_float(maps, name) and not name.startswith("edge_step")


def _summary(maps: xr.Dataset, name: str) -> list[Any]:
    values = maps[name].where(maps["mask"]).values if "mask" in maps else maps[name].values
    known = values[np.isfinite(values)].astype(np.float64)
    low, middle, high = np.percentile(known, PERCENTILES) if known.size else (np.nan,) * 3
    error = next(
        (e for e in (f"{name}_sigma", f"{name.removesuffix('_energy_ev')}_sigma_ev") if e in maps), None
    )
    sigma = np.nan
    if error is not None:
        errors = maps[error].values[np.isfinite(values)]
        errors = errors[np.isfinite(errors)]
        sigma = float(np.median(errors)) if errors.size else np.nan
    mean = float(known.mean()) if known.size else np.nan
    return [name, _unit(maps, name), known.size, mean, low, middle, high, sigma]


def _unit(maps: xr.Dataset, name: str) -> str:
    """Return the unit of a variable: what it says itself, or the last part of its name."""
    said = maps[name].attrs.get("units")
    return str(said) if said is not None else UNITS.get(name.rpartition("_")[2], "")


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.9g}" if np.isfinite(value) else ""
    return str(value) if isinstance(value, bool | str | int) else json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)
