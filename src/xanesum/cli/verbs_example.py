"""The verb that writes the scan which comes with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from shutil import copyfile

from xanesum.cli.answers import answer
from xanesum.phantom.example import example_scan
from xanesum.storage.atomic import atomic_path
from xanesum.workflow.outputs import check_output

__all__ = ["example"]

SUFFIXES = (".h5", ".hdf5")


def example(arguments: argparse.Namespace) -> None:
    """Write a copy of the example scan."""
    check_output(arguments.output, suffixes=SUFFIXES)
    with atomic_path(Path(arguments.output)) as temporary:
        copyfile(example_scan(), temporary)
    answer(arguments, {"files": [str(arguments.output)]}, [f"scan: {arguments.output}"])
