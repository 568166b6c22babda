"""A stack in blocks that keeps the results of its passes on disk, so that a killed run can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xanesum.storage.checkpoint import Checkpoint
from xanesum.streaming.blocked_stack import BlockedStack
from xanesum.streaming.interface import Averages, Progress, Rescaling, Survey, no_progress

__all__ = ["CheckpointedStack"]

Arrays = dict[str, NDArray[Any]]
FORM = "form 2"  # of the arrays that are kept; those of another form are not taken for them


@dataclass(frozen=True, slots=True, eq=False)
class CheckpointedStack:
    """A stack in blocks, and a folder with the results of its passes; see `StackInBlocks`.

    A pass that an earlier run has finished is not made again.  `clear` removes the results.
    """

    stack: BlockedStack
    checkpoint: Checkpoint

    @property
    def shape(self) -> tuple[int, int, int]:
        """Energies, rows and columns."""
        return self.stack.shape

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that count, shape (Y, X)."""
        return self.stack.mask

    @property
    def in_memory(self) -> bool:
        """Whether blocks need not be read from a file."""
        return self.stack.in_memory

    def __len__(self) -> int:
        return len(self.stack)

    def rescaled(self, rescaling: Rescaling) -> CheckpointedStack:
        """Return the same stack with another rescaling."""
        return replace(self, stack=self.stack.rescaled(rescaling))

    def filled(self, spectra: NDArray[np.float64]) -> CheckpointedStack:
        """Return the same stack with a fit of `spectra` (K, E) in place of missing values."""
        return replace(self, stack=self.stack.filled(spectra))

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield rows and their values at all energies; these are not kept."""
        return self.stack.blocks()

    def survey(
        self, pixels: NDArray[np.intp], scale: int, progress: Progress = no_progress
    ) -> tuple[Survey, Averages]:
        """Return a survey and averages in one pass, see `StackInBlocks.survey`."""

        def compute() -> Arrays:
            survey, averages = self.stack.survey(pixels, scale, progress)
            counts = {name: np.array(getattr(survey, name)) for name in ("digest", "n_missing", "n_bad")}
            return {**counts, "blank": survey.blank, "sample": survey.sample, **_arrays_of(averages)}

        found = self._remember(compute, "survey", pixels, scale)
        counts = str(found["digest"]), int(found["n_missing"]), int(found["n_bad"])
        return Survey(*counts, found["blank"], found["sample"]), _averages_of(found)

    def project(self, spectra: NDArray[np.float64], progress: Progress = no_progress) -> NDArray[np.float32]:
        """Return the images (K, Y, X) that weight `spectra` (K, E), in one pass."""

        def compute() -> Arrays:
            return {"images": self.stack.project(spectra, progress)}

        return self._remember(compute, "project", spectra)["images"]

    def average(self, scale: int, progress: Progress = no_progress) -> Averages:
        """Return averages over `scale` x `scale` pixels in one pass, see `StackInBlocks.average`."""

        def compute() -> Arrays:
            return _arrays_of(self.stack.average(scale, progress))

        return _averages_of(self._remember(compute, "average", scale))

    def clear(self) -> None:
        """Remove the results of all passes."""
        self.checkpoint.clear()

    def _remember(self, compute: Callable[[], Arrays], name: str, *arguments: ArrayLike) -> Arrays:
        return self.checkpoint.remember(self.stack.request_digest(f"{name}, {FORM}", *arguments), compute)


def _arrays_of(averages: Averages) -> Arrays:
    sum_of_squares = np.array(averages.sum_of_squares)
    return {"values": averages.values, "mask": averages.mask, "sum_of_squares": sum_of_squares}


def _averages_of(arrays: Mapping[str, NDArray[Any]]) -> Averages:
    return Averages(arrays["values"], arrays["mask"], float(arrays["sum_of_squares"]))
