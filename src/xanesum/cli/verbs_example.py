"""The verb that writes the scan which comes with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from shutil import copyfile

from xanesum.cli.output import printable
from xanesum.errors import WriteError
from xanesum.phantom.example import example_scan
from xanesum.storage.atomic import atomic_path
from xanesum.workflow.outputs import check_output

__all__ = ["example"]

SUFFIXES = (".h5", ".hdf5")


def example(arguments: argparse.Namespace) -> None:
    """Write a copy of the example scan; a file that is there already is not replaced."""
    path = Path(arguments.output)
    check_output(arguments.output, suffixes=SUFFIXES)
    if path.exists():
        raise WriteError(f"{path}: is there already, and is not replaced; remove it, or give another name")
    with atomic_path(path) as temporary:
        copyfile(example_scan(), temporary)
    print(f"scan: {printable(str(path))}")
