"""Scans of any format written in another one, as they were read: the work of `xanesum convert`."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from xanesum.errors import WriteError
from xanesum.io import write_stack
from xanesum.io.writers import FORMAT_NAMES, STACK_SUFFIXES, writer_for
from xanesum.io.writing import Writer, require_new_folder
from xanesum.preprocess import find_unmeasured, settle_quantity, to_optical_density
from xanesum.storage.scratch import Workspace
from xanesum.workflow.loading import input_files, read_scan
from xanesum.workflow.outputs import beside_of, check_output
from xanesum.workflow.recipe import Recipe
from xanesum.workflow.resources import allocate

__all__ = ["check_stack_output", "convert_scan"]

TRANSMISSION_ONLY = ("pyxas",)  # formats that hold nothing but transmission


def convert_scan(
    source: str | Path,
    output: str | Path,
    *,
    recipe: Recipe,
    format: str | None = None,
    overwrite: bool = False,
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Read a scan with the options of a recipe, and write it in another format, in blocks.

    The values stay as they are.  Only a format that holds nothing but transmission gets counts as optical
    density first.

    Parameters
    ----------
    source : str or Path
        Scan of any known format.
    output : str or Path
        File or folder to write.
    recipe : Recipe
        Its input options are used, and where temporary files go.
    format : str, optional
        See `xanesum.write_stack`; by default that of the suffix.
    overwrite : bool
        Whether an existing file is replaced.  A folder that is not empty never is.

    Returns
    -------
    stack : DataArray, dims (energy, y, x)
        What was written.
    changes : tuple of str
        What was changed, in words.

    Raises
    ------
    WriteError
        If the output cannot be written, is there already, or would replace a file that is read.
    ReadError, StackError, EnergyError, RecipeError
        As `xanesum.read_stack`.
    """
    if format is None and not Path(output).suffix and str(output):
        raise WriteError(
            f"{output}: has no suffix that tells the format; name one of {', '.join(FORMAT_NAMES)}",
            parameter="format",
        )
    writer = check_stack_output(output, inputs=input_files(source, recipe), format=format)
    if not (overwrite or writer.is_folder):
        _require_absent(Path(output))
    stack = read_scan(source, recipe.input)
    changes: list[str] = []
    with allocate(recipe.compute, beside=Path(output)) as resources:
        if writer.name in TRANSMISSION_ONLY:
            stack, changes = _as_density(stack, resources.workspace)
        write_stack(stack, output, writer.name)
    return stack, tuple(changes)


def check_stack_output(
    path: str | Path, *, inputs: list[Path] | None = None, format: str | None = None
) -> Writer:
    """Check before any long work that a stack can be written to `path`; return how.

    Raises
    ------
    WriteError
        As `check_output`; also if the format is unknown, or a folder is there that is not empty.
    MissingExtraError
        If the format takes a package that is not installed.
    """
    if not str(path):
        check_output(path)  # says that the name is empty
    if format is None and Path(path).suffix.lower() not in STACK_SUFFIXES:
        check_output(path, suffixes=STACK_SUFFIXES)
    writer = writer_for(path, format)
    check_output(path, inputs=inputs or (), is_folder=writer.is_folder)
    if writer.is_folder:
        require_new_folder(Path(path))
    return writer


def _require_absent(path: Path) -> None:
    """Raise WriteError if the file, or one that is written with it, is there already."""
    for target in (path, *beside_of(path)):
        if target.exists():
            raise WriteError(
                f"{target}: is there already; choose another name, or have it replaced", parameter="overwrite"
            )


def _as_density(stack: xr.DataArray, workspace: Workspace) -> tuple[xr.DataArray, list[str]]:
    """Return counts as optical density, and what was changed; any other quantity as it is."""
    n_known = len(stack.attrs.get("history", ()))
    stack, _ = find_unmeasured(workspace.by_frames(stack))
    stack, _ = settle_quantity(stack)
    if stack.attrs["quantity"] == "counts":
        stack, _ = to_optical_density(stack, workspace=workspace)
    return stack, [str(line) for line in stack.attrs.get("history", ())[n_known:]]
