"""The files that a job leaves: whether they can be written, which they are, and what each holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import xarray as xr

from xanesum.diagnostics.residual import Trust
from xanesum.errors import WriteError
from xanesum.io import write_map_tiff, write_stack
from xanesum.io.nexus import SUFFIXES as HDF5_SUFFIXES
from xanesum.io.tiff import SUFFIXES as TIFF_SUFFIXES
from xanesum.io.tiff import energies_path
from xanesum.result import Denoised
from xanesum.storage.atomic import atomic_path, new_folder
from xanesum.xanes import MAP_NAMES

__all__ = ["OWN_FILES", "check_output", "write_map", "write_results"]

OWN_FILES = (
    "clean.h5",
    "result.sum.h5",
    "map.h5",
    "map.tif",
    "edge_step.tif",
    "recipe.toml",
    "trust.json",
    "report.html",
)


def check_output(
    path: str | Path,
    *,
    inputs: Iterable[str | Path | None] = (),
    is_folder: bool = False,
    suffixes: Sequence[str] = (),
) -> None:
    """Raise WriteError, before any long work, where `path` cannot be written or would replace an input.

    Parameters
    ----------
    path : str or Path
        File, or folder of a run.
    inputs : iterable of str or Path
        Files that are read; None is skipped.
    is_folder : bool
        Whether `path` is a folder.
    suffixes : sequence of str
        Those that the file may have; any by default.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise WriteError(
            f"{path}: cannot tell the form from {path.suffix!r}; use one of {', '.join(suffixes)}"
        )
    if path.exists() and path.is_dir() != is_folder:
        is_a, give = ("file", "folder") if is_folder else ("folder", "file")
        raise WriteError(f"{path}: is a {is_a}; give the name of a {give}")
    place = path if is_folder and path.is_dir() else path.parent
    for replaced in (Path(read) for read in inputs if read is not None):
        if _would_replace(path, replaced, is_folder):
            raise WriteError(f"{path}: the results would replace {replaced}; choose another output path")
    new_folder(place, path.name).rmdir()


def write_results(folder: Path, result: Denoised, maps: xr.Dataset | None, trust: Trust, recipe: str) -> None:
    """Write into a folder everything that a run leaves but for its report."""
    write_stack(result.reconstruct(), folder / "clean.h5")
    result.save(folder / "result.sum.h5")
    (folder / "recipe.toml").write_text(recipe, "utf-8")
    (folder / "trust.json").write_text(json.dumps(trust.figures, indent=1) + "\n", "utf-8")
    if maps is not None:
        write_map(maps, folder / "map.h5")
        write_map_tiff(maps[MAP_NAMES[maps.attrs["kind"]]].where(maps["mask"]), folder / "map.tif")
        write_map_tiff(maps["edge_step"], folder / "edge_step.tif")


def write_map(maps: xr.Dataset, path: str | Path) -> tuple[Path, ...]:
    """Write a map: ``.h5`` with all that belongs to it, or ``.tif`` of eV with the edge step beside it.

    Raises
    ------
    WriteError
        If the suffix is unknown or a file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() in HDF5_SUFFIXES:
        return (_write_map_h5(maps, path),)
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise WriteError(f"{path}: a map is written as .h5 or .tif, not {path.suffix!r}")
    values = maps[MAP_NAMES[maps.attrs["kind"]]].where(maps["mask"])
    return write_map_tiff(values, path), write_map_tiff(maps["edge_step"], _step_path(path))


def _write_map_h5(maps: xr.Dataset, path: Path) -> Path:
    """Write the maps as NXdata of one NeXus entry."""
    name = MAP_NAMES[maps.attrs["kind"]]
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


def _step_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}_edge_step{path.suffix}")


def _would_replace(path: Path, source: Path, is_folder: bool) -> bool:
    beside = (energies_path(path), _step_path(path)) if path.suffix.lower() in TIFF_SUFFIXES else ()
    targets = [path / name for name in OWN_FILES] if is_folder else [path, *beside]
    return any(target.exists() and source.exists() and target.samefile(source) for target in targets)
