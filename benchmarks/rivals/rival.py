"""What every rival is: a function, where it was published, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Budget", "Denoise", "Rival", "Stack", "UnavailableError"]

Stack = NDArray[np.float32]  # (E, Y, X), on a scale of 0 to 255 without noise
Denoise = Callable[[Stack, float, np.random.Generator], Stack]


class UnavailableError(Exception):
    """A rival that cannot be run here.  The text says why, and what to install."""


@dataclass(frozen=True)
class Budget:
    """What a network may be trained with.  Results repeat as long as the time does not run out."""

    iterations: int
    seconds: float  # after which training stops, whatever the iterations
    patch_px: int = 64
    batch: int = 4
    rate: float = 1e-3

    def __str__(self) -> str:
        patches = f"{self.batch} patches of {self.patch_px} px"
        return f"{self.iterations} steps of {patches}, {self.seconds:g} s at most"


@dataclass(frozen=True)
class Rival:
    """A method that results are compared with.

    `denoise` takes a noisy stack (E, Y, X), float32, on a scale on which 255 is full signal; the standard
    deviation of its noise in the same unit; and a generator.  It returns a stack of the same shape and unit.
    It raises `UnavailableError` where it cannot be run.
    """

    name: str
    denoise: Denoise
    source: str  # publication
    licence: str  # of the code that runs
    way: Literal["in process", "own environment"]
    paper: str = ""  # name of the column in Table 1 of the paper, where it is one
    note: str = ""  # budget, rank, or what differs from the publication
    cost: Literal["small", "large"] = "small"  # large: minutes for a stack of a million values
