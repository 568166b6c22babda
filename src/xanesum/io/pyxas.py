"""Files of PyXAS and NSLS-II FXI, HDF5: ``img_xanes`` (transmission) and ``X_eng`` (keV)."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import ReadError, StackError, XanesumWarning
from xanesum.io.hdf5 import only_measured, reader, stack_dataset
from xanesum.io.hdf5_coords import write_values
from xanesum.io.hdf5_file import has_keys, numbers, open_h5, scalar_text
from xanesum.io.hdf5_text import stored_text
from xanesum.io.scan import Format, Scan
from xanesum.io.writing import Writer
from xanesum.stack import check_stack
from xanesum.storage.atomic import atomic_path
from xanesum.storage.lazy import with_frames

__all__ = ["FORMAT", "write"]

DATA = "img_xanes"
ENERGIES = ("X_eng", "XEng")  # the second is the older name
NM_PER = {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3}  # nm per unit of length


def write(stack: xr.DataArray, path: Path) -> Path:
    """Write the keys that PyXAS reads: `img_xanes` as transmission, `X_eng` in keV, and the pixel size.

    Optical density becomes transmission, exp(-optical density), from which PyXAS computes it again ("-log").

    Raises
    ------
    StackError
        If the stack is neither transmission nor optical density.
    WriteError
        If the file cannot be written.
    """
    check_stack(stack)
    quantity = stack.attrs["quantity"]
    if quantity not in ("transmission", "optical_density"):
        raise StackError(
            f"PyXAS takes {DATA} for transmission, and this stack holds {quantity.replace('_', ' ')}; "
            + (
                "convert the counts to optical density first (xanesum.preprocess.to_optical_density)"
                if quantity == "counts"
                else "write a TIFF stack, which PyXAS opens as it is"
            )
        )
    values = stack
    if quantity == "optical_density":
        note = f"optical density was written as transmission, exp(-optical density), as PyXAS takes {DATA}"
        warnings.warn(note, XanesumWarning, stacklevel=3)
        values = with_frames(stack, _transmission)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        write_values(file, DATA, values, dtype=np.float32)
        file[ENERGIES[0]] = stack.energy.values / 1e3
        if (size_nm := stack.attrs.get("pixel_size_nm")) is not None:
            file["Pixel Size"] = f"{float(size_nm)!r}nm"
        file["note"] = "transmission, written by xanesum"
    return path


def _transmission(
    values: NDArray[np.float32], _energies: slice, _rows: slice, _columns: slice
) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a value that is far below 0 is infinite, and stays visible as such
        return np.exp(-values)


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
            dataset=DATA,
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
    writer=Writer(
        name="pyxas",
        description="a PyXAS file",
        suffixes=(".h5", ".hdf5"),
        write=write,
        keeps=("pixel_size_nm",),
        named_only=True,
    ),
)
