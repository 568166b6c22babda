"""The resources of a job, and folders that are empty again at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from xanesum.errors import WriteError
from xanesum.storage.atomic import new_folder
from xanesum.storage.checkpoint import clear_folder
from xanesum.storage.memory import available_memory
from xanesum.storage.scratch import Workspace, leave_folder, take_folder
from xanesum.streaming.resources import Resources
from xanesum.workflow.recipe import ComputeOptions

__all__ = ["DENOISE_STEP", "DRIFT_STEP", "allocate"]

DRIFT_STEP, DENOISE_STEP = RESUMED_STEPS = ("drift", "denoise")  # steps that a killed run can resume


@contextmanager
def allocate(options: ComputeOptions, *, beside: Path) -> Iterator[Resources]:
    """Yield the resources that the options allow; stacks that do not fit in memory go to a folder.

    The folder is that of the options, or a new one `beside` the results.  At the end nothing is left in it,
    except what a failed run keeps in the folder of the options to be resumed.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    """
    memory = available_memory() if options.memory_bytes is None else options.memory_bytes
    own = None if options.work is None else Path(options.work)
    if own is None:
        folder = new_folder(beside if beside.is_dir() else beside.parent, beside.name)
    else:
        folder = _taken(own)
    workspace = Workspace(memory, folder.resolve())
    workspace.clear()  # a killed run may have left frames
    try:
        yield Resources(workspace, own, options.scheduler, options.device)
        for step in () if own is None else RESUMED_STEPS:
            clear_folder(folder / step)
    finally:
        workspace.clear()
        if own is None:
            rmtree(folder, ignore_errors=True)
        else:
            leave_folder(folder)


def _taken(folder: Path) -> Path:
    """Make a folder if needed, and mark it as that of this run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise WriteError(
            f"{folder}: cannot work there ({reason}); choose another folder", parameter="work"
        ) from error
    take_folder(folder)
    return folder
