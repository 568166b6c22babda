"""Fractions of PyXAS, by another Python that has it: XANESUM_PYXAS names it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["PYXAS_PYTHON", "pyxas_fractions"]

PYXAS_PYTHON = os.environ.get("XANESUM_PYXAS", "")
PYXAS = """
import sys, numpy as np
from pyxas.xanes_util import fit_2D_xanes_iter2
data = np.load(sys.argv[1])
spectra = {f"ref{i}": np.stack([data["energy"], row], axis=1) for i, row in enumerate(data["references"])}
found = fit_2D_xanes_iter2(data["stack"], data["energy"], spectra, coef0=None, offset=None, lamda=0.0,
                           rho=0.01, n_iter=int(sys.argv[3]), bounds=[0, 1], method=2)
np.save(sys.argv[2], found[0])
"""


def pyxas_fractions(stack: xr.DataArray, spectra: xr.DataArray) -> NDArray[np.float64]:
    """Return the fractions (M, Y, X) of PyXAS' bounded fit by ADMM, run to convergence."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.npz"), Path(folder, "found.npy")
        np.savez(given, stack=stack.values, energy=stack.energy.values, references=spectra.values)
        command = [PYXAS_PYTHON, "-c", PYXAS, str(given), str(found), "300"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        amounts = np.load(found)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(amounts / amounts.sum(axis=0))
