"""Data Exchange, HDF5: the form of MANTiS, axes (x, y, energy), and of APS 32-ID, axes (energy, y, x)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EnergyError, ReadError
from xanesum.io.axes import Order, axis_kind
from xanesum.io.hdf5 import only_measured, reader, stack_dataset
from xanesum.io.hdf5_file import has_keys, numbers, open_h5, scalar_text
from xanesum.io.hdf5_labels import names_of_axes
from xanesum.io.scan import Format, Scan
from xanesum.io.text import interpolate_i0
from xanesum.noise.detector import LAW_EXPOSURES, Coords, law_coords
from xanesum.stack import DIMS

__all__ = ["FORMAT"]

ENERGY_FIRST, ENERGY_LAST = (0, 1, 2), (2, 1, 0)  # axes for energy, y and x
# names of datasets
DATA = "exchange/data"
PIXEL_SIZE = "information/detector/pixel_size/horizontal"
NM_PER = {"nm": 1.0, "mm": 1e6, "m": 1e9}  # nm per unit; any other unit is taken as micrometres
WHITE_IMAGES, DARK_IMAGES = "exchange/data_white", "exchange/data_dark"
WHITE = "spectromicroscopy/normalization/white_spectrum"
WHITE_ENERGY = "spectromicroscopy/normalization/white_spectrum_energy"


def _open(path: Path) -> Scan:
    with open_h5(path) as file:
        dataset = stack_dataset(path, file, DATA)
        energy = numbers(file, "exchange/energy")
        energy = None if energy is None else energy.ravel()
        if dataset.ndim != 3:
            raise ReadError(
                f"{path}: {DATA} has shape {dataset.shape}; expected three axes, one image per energy"
            )
        axes, order_note = _axis_order(path, file, dataset, energy)
        energy, unit_note = _in_ev(file, energy)
        i0, i0_note = _i0(path, file, energy)
        order = Order(dataset.shape, axes)
        shape = order.stack_shape
        scan = Scan(
            shape=shape,
            dtype=dataset.dtype,
            chunks=order.chunks(dataset.chunks),
            read=reader(path, DATA, order),
            energy=energy,
            quantity="counts",
            is_declared=_holds_counts(file, dataset),
            pixel_size_nm=_pixel_size_nm(file),
            coords={**i0, **_references(file, shape)},
            history=(f"read {DATA} of {path.name} as counts",),
            notes=tuple(f"{path.name}: {note}" for note in (order_note, unit_note, i0_note) if note),
            dataset=DATA,
            axes=order.in_words(),
            axes_assumed=bool(order_note),
        )
        return only_measured(path, scan)


def _holds_counts(file: h5py.File, dataset: h5py.Dataset) -> bool:
    """Return whether the file itself says that its values are counts of transmitted light."""
    unit = scalar_text(dataset.attrs.get("units", "")).strip().lower()
    return unit in ("count", "counts") and dataset.dtype.kind in "iu" and WHITE_IMAGES in file


def _axis_order(
    path: Path, file: h5py.File, dataset: h5py.Dataset, energy: NDArray[np.float64] | None
) -> tuple[tuple[int, int, int], str]:
    """Return the axes for energy, y and x, and a sentence that tells how this was decided, if it was."""
    shape = dataset.shape
    named = _named_axes(dataset)
    if named is not None and (energy is None or shape[named[0]] == energy.size):
        return named, ""
    if energy is None:
        return ENERGY_FIRST, "no exchange/energy: the axes of exchange/data were taken as (energy, y, x)"
    first, last = shape[0] == energy.size, shape[2] == energy.size
    if not last and dataset.maxshape[0] is None and shape[0] < energy.size:
        return ENERGY_FIRST, ""  # it grows, and not all of its images are there
    if not (first or last):
        raise EnergyError(
            f"{path}: {energy.size} energies match neither the first nor the last axis of {DATA} {shape}; "
            "correct exchange/energy, or name the dataset and give its energies",
            parameter="data",
        )
    if first and last:
        energy_last = WHITE_IMAGES not in file and "exchange/x" in file
        reason = (
            "both ends have that length; " + ("exchange/x" if energy_last else "no exchange/x") + " decided"
        )
    else:
        energy_last, reason = last, f"the length of exchange/energy ({energy.size}) decided"
    order = "(x, y, energy)" if energy_last else "(energy, y, x)"
    axes = ENERGY_LAST if energy_last else ENERGY_FIRST
    return axes, f"axes of {DATA} {shape} were taken as {order}: {reason}"


def _named_axes(dataset: h5py.Dataset) -> tuple[int, int, int] | None:
    """Return the axes for energy, y and x if the file names all of them, as ``energy:y:x``."""
    kinds = [axis_kind(name) for name in names_of_axes(dataset)]
    if sorted(kinds) != sorted(DIMS):
        return None
    energy, y, x = (kinds.index(name) for name in DIMS)
    return energy, y, x


def _in_ev(file: h5py.File, energy: NDArray[np.float64] | None) -> tuple[NDArray[np.float64] | None, str]:
    """Return the energies in eV, and a note if their unit was assumed."""
    if energy is None or not energy.size:
        return energy, ""
    unit = scalar_text(file["exchange/energy"].attrs.get("units", "")).strip().lower()
    if unit == "kev" or (unit != "ev" and np.nanmax(energy) < 100):
        return energy * 1e3, "" if unit else "energies without a unit, below 100, were taken as keV"
    return energy, "" if unit else "energies without a unit were taken as eV"


def _i0(
    path: Path, file: h5py.File, energy: NDArray[np.float64] | None
) -> tuple[dict[str, tuple[tuple[str, ...], Any]], str]:
    """Return the I0 spectrum at the energies of the images, and a note if it cannot be used."""
    white, at = numbers(file, WHITE), numbers(file, WHITE_ENERGY)
    if white is None or energy is None:
        return {}, ""
    if at is None or at.size != white.size:
        if white.size == energy.size:
            return {"i0": (("energy",), white.ravel())}, ""
        return {}, (
            f"the I0 spectrum was not used: it has {white.size} values, and neither they nor "
            f"white_spectrum_energy fit the {energy.size} energies"
        )
    try:
        return {"i0": (("energy",), interpolate_i0(path, at.ravel(), white.ravel(), energy))}, ""
    except ReadError as error:
        return {}, f"the I0 spectrum was not used: {error.message.removeprefix(f'{path}: ')}"


def _references(file: h5py.File, shape: tuple[int, ...]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return as coordinates what the file has: flat and dark images, and the noise law."""
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name, key in (("flat", WHITE_IMAGES), ("dark", DARK_IMAGES)):
        image = _reference_images(Path(file.filename), file, key, shape)
        if image is not None:
            found[name] = (("energy", "y", "x")[-image.ndim :], image)
    return found | _noise_law(Path(file.filename), file, shape)


def _noise_law(path: Path, file: h5py.File, shape: tuple[int, ...]) -> Coords:
    """Return the noise law of the counts if several flats were taken at one energy."""
    images = {
        key: stack_dataset(path, file, key)[:LAW_EXPOSURES]
        for key in (WHITE_IMAGES, DARK_IMAGES)
        if key in file
    }
    flats = images.get(WHITE_IMAGES)
    if flats is None or len(flats) < 2 or len(file[WHITE_IMAGES]) == shape[0]:
        return {}
    return law_coords(flats, images.get(DARK_IMAGES), n_energies=shape[0])


def _reference_images(
    path: Path, file: h5py.File, key: str, shape: tuple[int, ...]
) -> NDArray[np.float32] | None:
    """Return the mean of the reference images, or all flats if there is one for each energy."""
    if key not in file:
        return None
    dataset = stack_dataset(path, file, key)
    if dataset.shape[1:] != shape[1:]:
        raise ReadError(f"{path}: {key} has shape {dataset.shape}, images of the scan are {shape[1:]}")
    if dataset.shape[0] == shape[0] and key == WHITE_IMAGES:
        return np.asarray(dataset[()], dtype=np.float32)
    return np.asarray(sum(frame.astype(np.float64) for frame in dataset) / len(dataset), dtype=np.float32)


def _pixel_size_nm(file: h5py.File) -> float | None:
    """Return the pixel size from the description of the detector, or from the positions along x."""
    for name, is_list in ((PIXEL_SIZE, False), ("exchange/x", True)):
        values = numbers(file, name)
        if values is None or values.ndim != is_list or (is_list and values.size < 2):
            continue
        step = float(np.median(np.abs(np.diff(values)))) if is_list else float(values)
        unit = scalar_text(file[name].attrs.get("units", "um")).strip().lower()
        if np.isfinite(step) and step > 0:
            return step * NM_PER.get(unit, 1e3)
    return None


FORMAT = Format(
    name="dataexchange",
    description="Data Exchange (MANTiS, APS)",
    suffixes=(".hdf5", ".h5", ".hdf"),
    matches=lambda path, head: has_keys(path, head, DATA),
    open=_open,
)
