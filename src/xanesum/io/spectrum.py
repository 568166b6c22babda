"""One spectrum of a reference: what its file says, what was guessed, and what it cannot be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reference"]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The absorption spectrum of a reference.

    Attributes
    ----------
    name : str
        For users, as ``"Fe2O3"``.
    energy_ev : ndarray, shape (n,)
        Photon energies in eV, strictly increasing.
    mu : ndarray, shape (n,)
        Absorption, in any unit.
    source : str
        Name of the file, and what was taken of it.
    element, edge : str or None
        Absorbing element and edge (``"Fe"``, ``"K"``), where known.
    e0_ev : float or None
        Energy of the edge that the file states.
    normalized : bool
        Whether it runs from 0 below the edge to 1 beyond it already.
    notes : tuple of str
        What was guessed, mended or left out, a sentence each.
    """

    name: str
    energy_ev: NDArray[np.float64]
    mu: NDArray[np.float64]
    source: str
    element: str | None = None
    edge: str | None = None
    e0_ev: float | None = None
    normalized: bool = False
    notes: tuple[str, ...] = ()
