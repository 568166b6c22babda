"""Read, describe and write scans: the content of a file decides how it is read, see `xanesum.io.formats`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import EnergyError, ReadError, StackError, WriteError, XanesumWarning
from xanesum.io import hdf5, ssrl
from xanesum.io.energies import energies_from, known_energies, require_one_scan
from xanesum.io.foreign import foreign_name
from xanesum.io.formats import FORMATS, WRITERS
from xanesum.io.scan import Format, Scan, float_dtype, read_bytes
from xanesum.io.text import i0_at
from xanesum.stack import make_stack
from xanesum.storage.memory import LAZY_BYTES

__all__ = [
    "FORMATS",
    "LAZY_BYTES",
    "STACK_SUFFIXES",
    "describe",
    "read_exposures",
    "read_stack",
    "write_stack",
]

STACK_SUFFIXES = tuple(WRITERS)  # suffixes of files that `write_stack` writes
HEAD_BYTES = 4096  # bytes at the start of a file from which its format is recognized


def read_stack(
    path: str | Path,
    *,
    energies: str | Path | ArrayLike | None = None,
    i0: str | Path | None = None,
    data: str | None = None,
) -> xr.DataArray:
    """Read a scan of any known format.

    The pixels of a stack larger than 256 MiB are read only when they are used.  A `XanesumWarning` tells what
    was assumed or left out.

    Parameters
    ----------
    path : str or Path
        A file, a Zarr store, or a folder of SSRL 6-2c images.
    energies : str, Path or array_like of shape (E,), optional
        Photon energies in eV or keV in the order of the images, or a text file with them in its first column.
        Used instead of those in the file.
    i0 : str or Path, optional
        Text file with two columns, energy and incident counts; becomes coordinate ``i0 (energy)``.
    data : str, optional
        Name of the dataset to read in an HDF5 file, with axes (energy, y, x).

    Returns
    -------
    DataArray, dims (energy, y, x)
        With the coordinates that the file has: `mask`, `weight`, `flat`, `dark`, `i0`, `exposure_s`.

    Raises
    ------
    ReadError
        If a file is missing, of an unknown format, damaged or cut short.
    EnergyError
        If energies are missing, of the wrong length or not finite.
    StackError
        If `i0` is given for a scan that is not counts.
    """
    path = Path(path)
    return _stack_of(path, _open(path, data)[1], energies, i0)


def read_exposures(folder: str | Path, files: Iterable[Path]) -> xr.DataArray:
    """Read some of the SSRL exposures of a folder as a stack; `read_stack` reads all of them.

    Raises
    ------
    ReadError
        If no energy among them has both a sample exposure and a flat, or one of them cannot be read.
    """
    folder = Path(folder)
    return _stack_of(folder, ssrl.open_files(folder, files), None, None)


def _stack_of(
    path: Path, scan: Scan, energies: str | Path | ArrayLike | None, i0: str | Path | None
) -> xr.DataArray:
    energy = _energies(path, scan, energies)
    for note in scan.notes:
        warnings.warn(note, XanesumWarning, stacklevel=3)
    try:
        stack = make_stack(
            _values(scan),
            energy,
            quantity=scan.quantity,
            pixel_size_nm=scan.pixel_size_nm,
            history=(*scan.history, *scan.notes),
        )
    except StackError as error:
        raise type(error)(f"{path}: {error.message}", parameter=error.parameter) from error
    stack = stack.assign_coords(_coords(scan, energy, _extra_i0(path, scan, energy, i0)))
    stack.attrs.update(scan.attrs)
    return _with_missing(stack) if scan.computed else stack


def write_stack(stack: xr.DataArray, path: str | Path) -> Path:
    """Write a stack in the format of the suffix.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        A lazy stack is written frame by frame.
    path : str or Path
        ``.h5``, ``.hdf5`` or ``.nxs``: the native NeXus file, which keeps mask, weights, flats and history.
        ``.tif`` or ``.tiff``: float32 pages, with the energies in ``<stem>_energies.txt`` in the same folder.

    Raises
    ------
    WriteError
        If the suffix is unknown or the file cannot be written; then nothing is left behind.
    StackError
        If `stack` breaks the rules of `xanesum.stack.check_stack`.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise WriteError(
            f"{path}: no format is known for the suffix {path.suffix!r}; use one of {', '.join(WRITERS)}"
        )
    return writer(stack, path)


def describe(path: str | Path, *, data: str | None = None) -> dict[str, Any]:
    """Return the facts of a scan without reading its pixels.

    Returns
    -------
    dict
        path, format, description, shape (E, Y, X), dtype, nbytes (in memory), n_energies, energy_min_ev and
        energy_max_ev (None if the file has no energies), quantity, pixel_size_nm, coordinates, history,
        notes, attrs, and chunks: the (energies, rows, columns) that are read together.

    Raises
    ------
    ReadError, EnergyError
        As `read_stack`.
    """
    path = Path(path)
    found, scan = _open(path, data)
    low, high = _energy_range(path, known_energies(scan))
    return {
        "path": str(path),
        "format": found.name,
        "description": found.description,
        "shape": tuple(int(size) for size in scan.shape),
        "dtype": str(scan.dtype),
        "nbytes": scan.nbytes,
        "n_energies": int(scan.shape[0]),
        "energy_min_ev": low,
        "energy_max_ev": high,
        "quantity": scan.quantity,
        "pixel_size_nm": scan.pixel_size_nm,
        "coordinates": sorted(scan.coords),
        "history": list(scan.history),
        "notes": list(scan.notes),
        "attrs": dict(scan.attrs),
        "chunks": (1, 1, int(scan.shape[2])) if scan.chunks is None else tuple(map(int, scan.chunks)),
    }


def _open(path: Path, data: str | None) -> tuple[Format, Scan]:
    found = _find_format(path)
    if data is None:
        scan = found.open(path)
        if min(scan.shape) < 1:
            raise ReadError(f"{path}: its images have no pixels: {scan.shape} (energy, y, x)")
        return found, scan
    if not set(found.suffixes) & set(hdf5.FORMAT.suffixes):
        raise ReadError(
            f"{path}: only an HDF5 file has a dataset {data!r}, this is {found.description}", parameter="data"
        )
    return hdf5.FORMAT, hdf5.open_dataset(path, data)


def _find_format(path: Path) -> Format:
    """Return the first format that recognizes the content of a file or folder."""
    head = b"" if path.is_dir() else read_bytes(path, HEAD_BYTES)
    for candidate in FORMATS:
        if candidate.matches(path, head):
            return candidate
    if path.is_dir():
        raise ReadError(
            f"{path}: neither a Zarr store nor a folder of images (.tif, .xrm) with their energies in their "
            "names, as scan_8340.5eV.tif"
        )
    if not head and not path.is_dir():
        raise ReadError(f"{path}: is empty: it has no bytes")
    if foreign := foreign_name(path, head):
        raise ReadError(f"{path}: {foreign}")
    claimed = [f.description for f in FORMATS if path.suffix.lower() in f.suffixes]
    if claimed:
        raise ReadError(
            f"{path}: is named {path.suffix} but its content is not that of {claimed[-1]}; is it damaged?"
        )
    known = ", ".join(sorted({suffix for f in FORMATS for suffix in f.suffixes}))
    raise ReadError(f"{path}: unknown format; known are {known} and a folder of images")


def _energies(path: Path, scan: Scan, energies: str | Path | ArrayLike | None) -> NDArray[np.float64]:
    if energies is not None:
        return energies_from(energies, scan.shape[0])
    known = known_energies(scan)
    if known is None:
        place = f"put them in {scan.beside[0]}, one per line, or " if scan.beside else ""
        raise EnergyError(
            f"{path}: no photon energies for its {scan.shape[0]} images; {place}give them",
            parameter="energies",
        )
    require_one_scan(known, str(path))
    return known


def _values(scan: Scan) -> Any:
    """Return the pixels: in memory if they are few or must be computed, otherwise lazy."""
    if not scan.computed and scan.nbytes > LAZY_BYTES:
        return scan.variable()
    everything = (slice(None),) * 3
    return np.asarray(scan.read(everything), dtype=float_dtype(scan.dtype))


def _extra_i0(path: Path, scan: Scan, energy: NDArray[np.float64], i0: str | Path | None) -> dict[str, Any]:
    if i0 is None:
        return {}
    if scan.quantity != "counts":
        raise StackError(
            f"{path}: holds {scan.quantity}, but an I0 spectrum is for counts; leave it out", parameter="i0"
        )
    return {"i0": (("energy",), i0_at(Path(i0), energy))}


def _coords(scan: Scan, energy: NDArray[np.float64], extra: dict[str, Any]) -> dict[str, Any]:
    """Return the coordinates; those along energy are sorted and merged like the images in `make_stack`."""
    mended = bool(np.any(np.diff(energy) <= 0))
    coords = {**scan.coords, **extra}
    if not mended:
        return {name: (dims, _in_memory(values, scan)) for name, (dims, values) in coords.items()}
    return {name: (dims, _follow(dims, values, energy)) for name, (dims, values) in coords.items()}


def _in_memory(values: Any, scan: Scan) -> Any:
    lazy = isinstance(values, xr.Variable)
    return values.values if lazy and (scan.computed or scan.nbytes <= LAZY_BYTES) else values


def _follow(dims: tuple[str, ...], values: Any, energy: NDArray[np.float64]) -> Any:
    """Sort and merge the values of a coordinate along energy."""
    if "energy" not in dims:
        return values
    array = np.asarray(getattr(values, "values", values))
    with warnings.catch_warnings():  # the images gave the same warning already
        warnings.simplefilter("ignore", XanesumWarning)
        mended = make_stack(array.reshape(len(array), -1, 1), energy).values
    return mended.reshape(len(mended), *array.shape[1:])


def _with_missing(stack: xr.DataArray) -> xr.DataArray:
    """Record the number of values that a reader marked as saturated (NaN)."""
    saturated = sum(int(np.count_nonzero(np.isnan(frame))) for frame in stack.values)
    if saturated:
        stack.attrs.update({"saturated_values": saturated, "missing_values": saturated})
    return stack


def _energy_range(path: Path, energy: NDArray[np.float64] | None) -> tuple[float | None, float | None]:
    if energy is None or not energy.size:
        return None, None
    require_one_scan(energy, str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        known = make_stack(np.zeros((energy.size, 1, 1)), energy).energy.values
    return float(known[0]), float(known[-1])
