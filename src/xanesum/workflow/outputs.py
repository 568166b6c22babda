"""The files that a job writes: their names, their content, and a check before the work."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import xarray as xr

from xanesum.diagnostics.residual import ResidualReport
from xanesum.errors import WriteError
from xanesum.io import write_map_tiff, write_stack
from xanesum.io.hdf5_file import definition_of
from xanesum.io.maps import step_path, write_map
from xanesum.io.tiff import SUFFIXES as TIFF_SUFFIXES
from xanesum.io.tiff import energies_path
from xanesum.report.paper_figures import FIGURE_FILES
from xanesum.result import Denoised
from xanesum.storage.atomic import new_folder
from xanesum.xanes import MAP_NAMES

__all__ = [
    "EXPLORER_FILE",
    "OWN_FILES",
    "RECIPE_FILE",
    "RESULT_FILE",
    "SHIFTS_FILE",
    "beside_of",
    "check_output",
    "is_own_folder",
    "write_results",
]

RESULT_FILE, RECIPE_FILE = "result.sum.h5", "recipe.toml"
EXPLORER_FILE = "explore.html"  # written where its toolkit is installed

MARKS = (RESULT_FILE, "fractions.h5", "clusters.h5", "particles.h5", "regions.h5")  # one is in each folder

OWN_FILES = (  # files of a run; they are replaced if they exist, all others are left alone
    "clean.h5",
    RESULT_FILE,
    "map.h5",
    "map.tif",
    "edge_step.tif",
    RECIPE_FILE,
    "trust.json",
    "report.html",
    EXPLORER_FILE,
)

SHIFTS_FILE = "shifts.csv"  # written if frames were moved; one of an earlier run is removed


def check_output(
    path: str | Path,
    *,
    inputs: Iterable[str | Path | None] = (),
    is_folder: bool = False,
    suffixes: Sequence[str] = (),
) -> None:
    """Check before any long work that `path` can be written and does not replace an input.

    Parameters
    ----------
    path : str or Path
        File, or folder of a run.
    inputs : iterable of str or Path
        Files that are read; None is ignored.
    is_folder : bool
        Whether `path` is a folder.
    suffixes : sequence of str
        Suffixes that the file may have; any by default.

    Raises
    ------
    WriteError
        If `path` cannot be written, has another suffix, or is one of the `inputs`.
    """
    if not str(path):
        raise WriteError(
            "the name of the output is empty; give a file or a folder to write", parameter="output"
        )
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise WriteError(
            f"{path}: cannot tell the file format from {path.suffix!r}; use one of {', '.join(suffixes)}"
        )
    if path.exists() and path.is_dir() != is_folder:
        is_a, give = ("file", "folder") if is_folder else ("folder", "file")
        raise WriteError(f"{path}: is a {is_a}; give the name of a {give}")
    place = path if is_folder and path.is_dir() else path.parent
    for replaced in (Path(read) for read in inputs if read is not None):
        if is_folder and replaced.is_dir() and path.is_dir() and path.samefile(replaced):
            raise WriteError(
                f"{path}: the images of the scan are there; choose another folder for the results"
            )
        if _would_replace(path, replaced, is_folder):
            raise WriteError(f"{path}: the results would replace {replaced}; choose another output path")
    new_folder(place, path.name).rmdir()


def write_results(
    folder: Path, result: Denoised, maps: xr.Dataset | None, trust: ResidualReport, recipe: str
) -> None:
    """Write all files of a run into a folder, except the report."""
    write_stack(result.reconstruct(), folder / "clean.h5")
    result.save(folder / RESULT_FILE)
    (folder / RECIPE_FILE).write_text(recipe, "utf-8")
    (folder / "trust.json").write_text(json.dumps(trust.figures, indent=1) + "\n", "utf-8")
    if maps is not None:
        name = MAP_NAMES[maps.attrs["kind"]]
        write_map(maps, name, folder / "map.h5")
        if name != "edge_step":
            definition = str(maps.attrs.get("definition", ""))
            write_map_tiff(maps[name].where(maps["mask"]), folder / "map.tif", definition=definition)
        write_map_tiff(maps["edge_step"], folder / "edge_step.tif")


def is_own_folder(folder: Path) -> bool:
    """Return whether a folder is empty, holds results of xanesum, or nothing but its figures.

    Hidden files do not count.
    """
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return names <= set(FIGURE_FILES) or any(definition_of(folder / name) for name in MARKS)


def beside_of(path: Path) -> tuple[Path, ...]:
    """Return the files that are written with a stack of that name: the energies of a TIFF."""
    return (energies_path(path),) if path.suffix.lower() in TIFF_SUFFIXES else ()


def _would_replace(path: Path, source: Path, is_folder: bool) -> bool:
    beside = (*beside_of(path), step_path(path)) if path.suffix.lower() in TIFF_SUFFIXES else ()
    targets = [path / name for name in (*OWN_FILES, SHIFTS_FILE)] if is_folder else [path, *beside]
    return any(target.exists() and source.exists() and target.samefile(source) for target in targets)
