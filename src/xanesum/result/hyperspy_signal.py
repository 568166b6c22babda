"""A stack as a signal of HyperSpy, without a file."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr

from xanesum.errors import MissingExtraError

__all__ = ["signal_of"]


def signal_of(stack: xr.DataArray, facts: dict[str, Any]) -> Any:
    """Return a stack (energy, y, x) as a `hyperspy.signals.Signal1D` with spectra at positions (y, x).

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        All values are read.
    facts : dict
        Put into ``metadata.xanesum``.

    Raises
    ------
    MissingExtraError
        If HyperSpy is not installed.
    """
    if find_spec("hyperspy") is None:
        raise MissingExtraError('to_hyperspy needs: pip install "xanesum[hyperspy]"')
    signals = import_module("hyperspy.api").signals
    quantity = str(stack.attrs.get("quantity", "")).replace("_", " ").capitalize()
    metadata = {
        "General": {"title": "clean stack"},
        "Signal": {"quantity": quantity},
        "xanesum": facts,
    }
    spectra = np.ascontiguousarray(np.moveaxis(stack.values, 0, -1))
    return signals.Signal1D(spectra, axes=_axes(stack), metadata=metadata)


def _axes(stack: xr.DataArray) -> list[dict[str, Any]]:
    """Return y, x and energy as HyperSpy takes them; uneven energies keep their values."""
    size_nm = stack.attrs.get("pixel_size_nm")
    place = {"navigate": True, "offset": 0.0, "units": "px" if size_nm is None else "nm"}
    scale = 1.0 if size_nm is None else float(size_nm)
    axes = [{**place, "name": name, "size": stack.sizes[name], "scale": scale} for name in ("y", "x")]
    energy = stack.energy.values.astype(np.float64)
    spectral: dict[str, Any] = {"name": "Energy", "units": "eV", "navigate": False}
    step = float(energy[1] - energy[0]) if len(energy) > 1 else 1.0
    if np.array_equal(energy[0] + step * np.arange(len(energy)), energy):
        spectral |= {"size": len(energy), "scale": step, "offset": float(energy[0])}
    else:
        spectral["axis"] = energy
    return [*axes, spectral]
