"""One spectrum of a reference: what its file says, and what was guessed or mended."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.energies import require_one_scan
from xanesum.stack import KEV_LIMIT

__all__ = ["ABSORPTION", "FLUORESCENCE", "KINDS", "REFERENCE", "TRANSMISSION", "Reference", "mended"]

TRANSMISSION, FLUORESCENCE, REFERENCE = "transmission", "fluorescence", "reference"
ABSORPTION = "absorption"  # mu is given, and nothing says how it was measured
KINDS = (TRANSMISSION, FLUORESCENCE, REFERENCE, ABSORPTION)
MIN_ENERGIES = 5  # fewer are no spectrum
MAX_NAME = 80  # letters of a name


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
        Absorbing element and edge (``"Fe"``, ``"K"``), where the file says it.
    e0_ev : float or None
        Energy of the edge that the file states.
    normalized : bool
        Whether it runs from 0 below the edge to 1 beyond it already.
    notes : tuple of str
        What was guessed, mended or left out, a sentence each.
    kind : str
        How it was measured, one of `KINDS`.
    sample : str
        The file's words for the sample.
    sigma : ndarray, shape (n,), or None
        Standard error of `mu`, where known.
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
    kind: str = ABSORPTION
    sample: str = ""
    sigma: NDArray[np.float64] | None = None


def mended(raw: Reference) -> Reference:
    """Return a spectrum with finite values at increasing energies in eV; its notes say what was changed.

    Energies below 100 are keV.  Values that are not finite are left out.  Values at the same energy are
    averaged.

    Raises
    ------
    ReadError
        If fewer than five energies with a value are left.
    EnergyError
        If the numbers cannot be photon energies.
    """
    energy, mu, notes = raw.energy_ev, raw.mu, list(raw.notes)
    where = f"{raw.source}: {raw.name}"
    usable = np.isfinite(energy) & np.isfinite(mu)
    if lost := int(np.count_nonzero(~usable)):
        notes.append(f"{lost} of {len(mu)} values are not finite and were left out")
    energy, mu = energy[usable], mu[usable]
    require_one_scan(energy, where)
    e0_ev = raw.e0_ev
    if energy.size and energy.max() < KEV_LIMIT:
        energy = energy * 1e3
        e0_ev = e0_ev * 1e3 if e0_ev is not None and e0_ev < KEV_LIMIT else e0_ev
        notes.append(f"energies up to {energy.max() / 1e3:.4g} were taken as keV")
    if np.any(np.diff(energy) < 0):
        notes.append("energies were not in increasing order, and were sorted")
    increasing, place, counts = np.unique(energy, return_inverse=True, return_counts=True)
    if len(increasing) < len(energy):
        notes.append(f"{len(energy) - len(increasing)} values at an energy that is there twice were averaged")
    if len(increasing) < MIN_ENERGIES:
        raise ReadError(
            f"{where}: {len(increasing)} energies with a value are no spectrum; it takes {MIN_ENERGIES}"
        )
    name = " ".join(raw.name.split())[:MAX_NAME] or "unnamed"
    return replace(
        raw,
        name=name,
        energy_ev=increasing,
        mu=np.bincount(place, weights=mu) / counts,
        e0_ev=e0_ev if e0_ev is not None and increasing[0] < e0_ev < increasing[-1] else None,
        notes=tuple(notes),
    )
