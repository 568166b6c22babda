"""What a job may use: memory, workers, a device, and a folder, which is empty again at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np

from xanesum.errors import WriteError
from xanesum.method.intake import DEFAULT_DEVICE
from xanesum.storage.atomic import new_folder
from xanesum.storage.checkpoint import clear_folder
from xanesum.storage.memory import available_memory
from xanesum.storage.scratch import IN_MEMORY, Workspace, leave_folder, take_folder
from xanesum.workflow.recipe import ComputeOptions

__all__ = ["ALL_IN_MEMORY", "DENOISE_STEP", "DRIFT_STEP", "Resources", "allocate"]

DRIFT_STEP, DENOISE_STEP = STEPS_KEPT = ("drift", "denoise")  # that leave something to go on from


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run may use."""

    workspace: Workspace = IN_MEMORY
    kept: Path | None = None  # folder in which a killed run leaves what the next one goes on from
    scheduler: str | None = None
    device: str = DEFAULT_DEVICE

    @property
    def memory(self) -> float | None:
        """Bytes that may be used; None for most of what is free."""
        return None if np.isinf(self.workspace.memory) else self.workspace.memory

    def checkpoint(self, step: str) -> Path | None:
        """Return the folder for what a step keeps, if anything is kept."""
        return None if self.kept is None else self.kept / step


ALL_IN_MEMORY = Resources()


@contextmanager
def allocate(options: ComputeOptions, *, beside: Path) -> Iterator[Resources]:
    """Give what the options allow; a stack that does not fit goes to their folder, or to one `beside`.

    At the end nothing is left of it, but for what a run that failed keeps in the folder of the options.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    """
    memory = available_memory() if options.memory_bytes is None else options.memory_bytes
    kept = None if options.work is None else Path(options.work)
    if kept is None:
        folder = new_folder(beside if beside.is_dir() else beside.parent, beside.name)
    else:
        folder = kept
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise WriteError(f"{folder}: cannot work there ({reason}); choose another --work") from error
        take_folder(folder)
    workspace = Workspace(memory, folder.resolve())
    workspace.clear()  # of what a killed run left
    try:
        yield Resources(workspace, kept, options.scheduler, options.device)
        for step in () if kept is None else STEPS_KEPT:
            clear_folder(folder / step)
    finally:
        workspace.clear()
        if kept is None:
            rmtree(folder, ignore_errors=True)
        else:
            leave_folder(folder)
