"""Kinds of scene: a thickness image, and the chemical state of each region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import RecipeError
from xanesum.phantom import parameters as p
from xanesum.phantom._bodies import brine, catalyst, inclusions, wedge
from xanesum.phantom._drawing import assign_states
from xanesum.phantom._particles import electrode, particle, round_

__all__ = ["ALL_KINDS", "DEFAULT_SHAPES", "KINDS", "Scene", "draw_scene"]

KINDS: Final = ("particle", "catalyst", "round", "electrode", "wedge", "brine")
ALL_KINDS: Final = (*KINDS, "inclusions")  # the last is *wedge* with bright spots
DEFAULT_SHAPES: Final = {  # pixels (y, x)
    "particle": (379, 520),
    "catalyst": (420, 560),
    "round": (400, 400),
    "electrode": (640, 640),
    "wedge": (1193, 1193),
    "brine": (800, 800),
    "inclusions": (1193, 1193),
}
_DRAWERS: Final = {
    "particle": particle,
    "catalyst": catalyst,
    "round": round_,
    "electrode": electrode,
    "wedge": wedge,
    "brine": brine,
    "inclusions": inclusions,
}
_SMALLEST_PX: Final = 16  # least size of an image in each direction
_MOST_STATES: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Thickness of the sample, and the chemical state of its regions."""

    # (Y, X), 0 ... 1, the largest is exactly 1: projected thickness, or absorption of a slice
    thickness: NDArray[np.float32]
    # (Y, X), number of the state, 0 ... n_states - 1; without meaning where the thickness is 0
    regions: NDArray[np.uint8]


def draw_scene(
    kind: str, shape: tuple[int, int] | None = None, *, n_states: int = 5, rng: np.random.Generator
) -> Scene:
    """Draw a scene whose features scale with its size; the finest details are 1 to 3 px wide.

    Parameters
    ----------
    kind : {"particle", "catalyst", "round", "electrode", "wedge", "brine", "inclusions"}
        The first three look like projections, with nothing around the sample.  The others look like
        reconstructed slices.
    shape : (int, int), optional
        Y and X in pixels, each at least 16; by default that of the kind in `DEFAULT_SHAPES`.
    n_states : int
        Number of chemical states, 1 to 16.  All have about the same share of the sample.
    rng : numpy.random.Generator
        Draws everything; the same state gives the same scene.

    Raises
    ------
    RecipeError
        If `kind` is unknown, `shape` too small, or `n_states` out of range.
    """
    if kind not in ALL_KINDS:
        raise RecipeError(f"unknown kind of phantom {kind!r}; choose one of {', '.join(ALL_KINDS)}")
    shape = DEFAULT_SHAPES[kind] if shape is None else shape
    if len(shape) != 2 or min(shape) < _SMALLEST_PX:
        raise RecipeError(
            f"a phantom needs a shape (Y, X) of at least {_SMALLEST_PX} pixels each way, got {shape}"
        )
    if not 1 <= n_states <= _MOST_STATES:
        raise RecipeError(f"n_states must lie in 1..{_MOST_STATES}, got {n_states}")
    sketch = _DRAWERS[kind](shape, rng)
    thickness = sketch.thickness / sketch.thickness.max()
    return Scene(thickness, assign_states(sketch, thickness >= p.MASK_THICKNESS, n_states=n_states, rng=rng))
