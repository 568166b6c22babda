"""Spectra of references: read, normalized, brought to the energies of a scan, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.io.spectra import read_spectra
from xanesum.io.spectrum import Reference
from xanesum.xanes.normalization import edge_ranges, find_edge, flattening_operator, step_operator

__all__ = ["Reference", "read_references", "reference_spectra"]


def read_references(*paths: str | Path) -> list[Reference]:
    """Read the spectra of references from files; a file may hold several.

    Raises
    ------
    ReadError
        If a file cannot be read as spectra.
    """
    return [spectrum for path in paths for spectrum in read_spectra(path)]


def reference_spectra(
    references: Sequence[Reference], energy_ev: NDArray[np.float64], normalization: None = None
) -> xr.DataArray:
    """Return the normalized spectra of references at the energies of a scan.

    Parameters
    ----------
    references : sequence of Reference
    energy_ev : ndarray, shape (E,)
        Of the scan, increasing.
    normalization : Normalization, optional
        How each spectrum is normalized; by the automatic lines of the maps by default.

    Returns
    -------
    DataArray, dims (reference, energy), float64
        0 below the edge, 1 beyond it.  Coordinate ``reference`` has the names.

    Raises
    ------
    EdgeError
        If a reference does not cover the energies, or has no edge.
    """
    rows = []
    for reference in references:
        at, values = reference.energy_ev, reference.mu
        if at[0] > energy_ev[0] or at[-1] < energy_ev[-1]:
            raise EdgeError(f"reference {reference.name}: does not cover the energies of the scan")
        if not reference.normalized:
            ranges = edge_ranges(at, find_edge(at, values).e0_ev)
            step = step_operator(at, ranges) @ values
            values = flattening_operator(at, ranges, np.ones(len(at), bool)) @ values / step
        rows.append(np.interp(energy_ev, at, values))
    names = [reference.name for reference in references]
    return xr.DataArray(
        np.array(rows), dims=("reference", "energy"), coords={"reference": names, "energy": energy_ev}
    )
