"""Folders for TXM-Wizard: one TIFF per energy, named as in ``cell_08340.50_eV.tif``; written only.

`xanesum.io.image_folder` reads them, as it reads any folder of images with energies in their names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import WriteError
from xanesum.io.names import SAMPLE, energy_in_name, kind_of
from xanesum.io.tiff import make_room
from xanesum.io.writing import Writer, require_new_folder, write_frames
from xanesum.stack import check_stack
from xanesum.storage.atomic import staged_folder

__all__ = ["WRITER", "write"]

PLAIN_NAME = "scan"  # of images in a folder whose own name holds an energy, or the word for a flat
STEP_EV = 0.01  # names have two decimals


def write(stack: xr.DataArray, path: Path) -> Path:
    """Write a folder of one float32 TIFF per energy, with the energy in eV in the name.

    The names are those that TXM-Wizard and PF_ImagingXAFS use, with two decimals.  The description of each
    image, as JSON, has the exact energy, the quantity and the pixel size.

    Raises
    ------
    WriteError
        If the folder is not empty or cannot be written, or energies differ by less than 0.01 eV.
    """
    check_stack(stack)
    require_new_folder(path)
    names = names_of(path.name, stack.energy.values)
    with staged_folder(path) as folder:
        places = []
        for name, energy in zip(names, stack.energy.values, strict=True):
            labels = {"axes": "YX", "energy_ev": float(energy), **_labels(stack)}
            places.append((folder / name, make_room(folder / name, stack.shape[1:], labels=labels)))
        write_frames(stack, places.__getitem__)
    return path


def names_of(folder: str, energy_ev: NDArray[np.float64]) -> list[str]:
    """Return the names of the images at energies (E,).

    Raises
    ------
    WriteError
        If two of them would have one name.
    """
    prefix = folder if _is_plain(folder, energy_ev) else PLAIN_NAME
    names = [f"{prefix}_{energy:08.2f}_eV.tif" for energy in energy_ev]
    if len(set(names)) < len(names):
        raise WriteError(
            f"{folder}: energies that differ by less than {STEP_EV} eV would have one name in a folder of "
            "TXM-Wizard; write another format"
        )
    return names


def _is_plain(prefix: str, energy_ev: NDArray[np.float64]) -> bool:
    """Return whether names that begin so are read as images of the sample at the right energy."""
    stem = f"{prefix}_{energy_ev[0]:08.2f}_eV"
    return (
        bool(prefix)
        and prefix.isprintable()
        and not prefix.startswith(".")
        and kind_of(stem) == SAMPLE
        and energy_in_name(stem) == float(f"{energy_ev[0]:.2f}")
    )


def _labels(stack: xr.DataArray) -> dict[str, Any]:
    return {
        key: stack.attrs[key]
        for key in ("quantity", "pixel_size_nm", "quantity_assumed")
        if key in stack.attrs
    }


WRITER = Writer(
    name="txm-wizard",
    description="a folder for TXM-Wizard",
    suffixes=(),
    write=write,
    keeps=("pixel_size_nm", "quantity_assumed"),
    is_folder=True,
)
