"""The memory, folders, workers and device that a computation may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xanesum.storage.memory import available_memory
from xanesum.storage.scratch import IN_MEMORY, Workspace
from xanesum.streaming.dask_client import cluster_of
from xanesum.streaming.executors import Executor, executor_for

__all__ = ["DEFAULT_DEVICE", "DEFAULT_RESOURCES", "Resources"]

DEFAULT_DEVICE = "auto"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a computation may use.

    None of it changes a result beyond rounding, except that with little memory the spectra are sought in
    coarser averages.  A memory without limit (infinity) means most of the free memory.
    """

    workspace: Workspace = IN_MEMORY  # limit of the memory, and a folder for stacks that do not fit
    checkpoint: Path | None = None  # folder that keeps the results of passes for a run that was killed
    scheduler: Any = None  # Dask scheduler: its address, or a client
    device: str = DEFAULT_DEVICE  # "auto", "cpu" or "cuda", for passes over the stack

    @classmethod
    def given(
        cls, memory: float | None, checkpoint: str | Path | None, scheduler: Any, device: str
    ) -> Resources:
        """Return resources from the options of a user; `memory` is in bytes, or None for automatic."""
        workspace = IN_MEMORY if memory is None else Workspace(memory)
        return cls(workspace, None if checkpoint is None else Path(checkpoint), scheduler, device)

    @property
    def memory(self) -> float | None:
        """Limit of the memory in bytes; None for most of what is free."""
        return None if np.isinf(self.workspace.memory) else self.workspace.memory

    @property
    def memory_bytes(self) -> float:
        """Memory in bytes that may be used now."""
        return available_memory() if self.memory is None else self.memory

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """Yield the executor of passes over one stack: workers of Dask, a GPU, or this process."""
        with cluster_of(self.scheduler) as client:
            yield executor_for(self.device, client)

    def for_step(self, step: str) -> Resources:
        """Return the same resources; results of passes are kept in a folder of their own for this step."""
        return self if self.checkpoint is None else replace(self, checkpoint=self.checkpoint / step)

    def for_small_work(self) -> Resources:
        """Return the memory limit only: for a small stack in memory no folder, worker or GPU is of use."""
        return Resources(self.workspace, device="cpu")


DEFAULT_RESOURCES = Resources()
