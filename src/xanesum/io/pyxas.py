"""Files of PyXAS and NSLS-II FXI, HDF5: ``img_xanes`` (transmission) and ``X_eng`` (keV)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xanesum.errors import ReadError
from xanesum.io.hdf5 import only_measured, reader, stack_dataset
from xanesum.io.hdf5_file import has_keys, numbers, open_h5, scalar_text
from xanesum.io.hdf5_text import stored_text
from xanesum.io.scan import Format, Scan

__all__ = ["FORMAT"]

DATA = "img_xanes"
ENERGIES = ("X_eng", "XEng")  # the second is the older name
NM_PER = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3}  # nm per unit of length


def _open(path: Path) -> Scan:
    with open_h5(path) as file:
        dataset = stack_dataset(path, file, DATA)
        if dataset.ndim != 3:
            raise ReadError(
                f"{path}: {DATA} has shape {dataset.shape}; expected three axes, one image per energy"
            )
        energy = next((found for name in ENERGIES if (found := numbers(file, name)) is not None), None)
        scan = Scan(
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunks=dataset.chunks,
            read=reader(path, DATA),
            energy=None if energy is None else _kev_to_ev(energy.ravel()),
            quantity="transmission",
            pixel_size_nm=_pixel_size_nm(file),
            history=(f"read {DATA} of {path.name} as transmission",),
        )
        return only_measured(path, scan)


def _matches(path: Path, head: bytes) -> bool:
    return any(has_keys(path, head, DATA, name) for name in ENERGIES)


def _kev_to_ev(energy: Any) -> Any:
    """Convert keV to eV without the warning of `make_stack`: in this format the unit is certain."""
    return energy * 1e3 if energy.size and np.all(energy < 100) else energy


def _pixel_size_nm(file: h5py.File) -> float | None:
    """Return the pixel size, stored as a number of nm or as text such as "38.5nm"."""
    if "Pixel Size" not in file:
        return None
    text = scalar_text(stored_text(file["Pixel Size"]))
    found = re.match(r"\s*([\d.]+(?:e[-+]?\d+)?)\s*(\S*)", text, re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        return None
    return float(found[1]) * NM_PER.get(found[2].lower(), 1.0)


FORMAT = Format(
    name="pyxas",
    description="PyXAS / NSLS-II FXI (img_xanes, X_eng)",
    suffixes=(".h5", ".hdf5"),
    matches=_matches,
    open=_open,
)
