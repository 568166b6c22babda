"""Names of outputs that the user did not give, and what is never replaced without being asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from xanesum.errors import RecipeError, WriteError
from xanesum.io.formats import WRITERS
from xanesum.workflow.outputs import RESULT_FILE, is_own_folder

__all__ = ["ENDINGS", "settle_output"]

ENDINGS = {  # verb -> what a default name ends with; a folder has no suffix
    "run": "_results",
    "denoise": "_clean.h5",
    "align": "_aligned.h5",
    "map": "_map.tif",
    "fit": "_fractions",
    "cluster": "_clusters",
    "particles": "_particles",
    "regions": "_regions",
    "watch": "_live",
    "figures": "_figures",
    "simulate": ".h5",
    "example": ".h5",
}
DEMO = "demo"
FOLDERS = (*(verb for verb, ending in ENDINGS.items() if "." not in ending), DEMO)


def settle_output(arguments: argparse.Namespace) -> None:
    """Give the output a name, where it has none, and see that nothing of others is replaced.

    Raises
    ------
    WriteError
        If a file of a default name is there already, or a folder holds files that xanesum did not write.
    RecipeError
        If neither an output nor a format is named for `convert`.
    """
    verb = arguments.command
    is_default = "output" in arguments and arguments.output is None
    if verb == "convert" and is_default:
        arguments.output = _converted(arguments.scan, arguments.format)
    elif verb in (*ENDINGS, DEMO) and is_default:
        arguments.output = _default(verb, arguments)
        path = Path(arguments.output)
        if verb not in FOLDERS and path.exists() and not arguments.force:
            raise WriteError(f"{path}: is there already; name another output (-o), or replace it (--force)")
    if verb in FOLDERS and arguments.output and not arguments.force:  # an empty name is refused elsewhere
        _require_own(Path(arguments.output), getattr(arguments, "scan", None))


def _default(verb: str, arguments: argparse.Namespace) -> str:
    """Return the name of an output in the working folder."""
    if verb == DEMO:
        return DEMO
    if verb in ("simulate", "example"):
        return f"{getattr(arguments, 'kind', verb)}{ENDINGS[verb]}"
    scan = arguments.result if verb == "figures" else arguments.scan
    return f"{_stem(scan)}{ENDINGS[verb]}"


def _stem(scan: str) -> str:
    """Return the name of a scan without its suffix; that of the folder for a saved result."""
    path = Path(scan)
    if path.is_dir() and (path / RESULT_FILE).is_file():
        return path.absolute().name
    if path.name == RESULT_FILE:
        return path.absolute().parent.name or "result"
    return (path.absolute().name if path.name in ("", "..") else path.stem) or "scan"


def _converted(scan: str, format: str | None) -> str:
    if format is None:
        raise RecipeError("name the output, or its format", parameter="format")
    writer = next(each for each in WRITERS if each.name == format)
    return f"{_stem(scan)}{writer.suffixes[0] if writer.suffixes else f'_{format}'}"


def _require_own(folder: Path, scan: str | None) -> None:
    """Raise WriteError if a folder holds files of others; that of the scan is refused elsewhere."""
    is_of_scan = scan is not None and Path(scan).exists() and folder.exists() and folder.samefile(scan)
    if folder.is_dir() and not is_of_scan and not is_own_folder(folder):
        raise WriteError(
            f"{folder}: is a folder with files that are no results of xanesum; name another one, or write "
            "into it (--force)"
        )
