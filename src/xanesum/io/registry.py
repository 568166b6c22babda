"""Read and describe scans: the content of a file decides how it is read, see `xanesum.io.formats`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import EnergyError, ReadError, StackError, XanesumWarning
from xanesum.io import hdf5, hdf5_file, ssrl
from xanesum.io.energies import energies_from, file_beside, known_energies, require_one_scan
from xanesum.io.foreign import foreign_name
from xanesum.io.formats import FORMATS
from xanesum.io.hdf5_file import following_links
from xanesum.io.hdf5_images import names_of_stacks
from xanesum.io.references import Files, with_references
from xanesum.io.scan import NO_CHOICE, Choice, Format, Scan, float_dtype, local_path, read_bytes
from xanesum.io.text import i0_at, interpolate_i0
from xanesum.stack import KEV_LIMIT, QUANTITIES, make_stack
from xanesum.storage.memory import LAZY_BYTES

__all__ = [
    "FORMATS",
    "LAZY_BYTES",
    "describe",
    "read_exposures",
    "read_stack",
]

MONITOR = "monitor"  # instead of a file of I0: the monitor that came with the scan
WORD_BYTES = 4  # of the largest integers of a detector; larger ones are sums, which nothing saturates
HEAD_BYTES = 4096  # bytes at the start of a file from which its format is recognized


def read_stack(
    path: str | Path,
    *,
    energies: str | Path | ArrayLike | None = None,
    i0: str | Path | None = None,
    data: str | None = None,
    entry: str | None = None,
    detector: str | None = None,
    region: str | None = None,
    index: str | int | None = None,
    follow_links: bool = False,
    quantity: str | None = None,
    flat: Files | None = None,
    dark: Files | None = None,
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
        Text file with two columns, energy and incident counts; or another scan, whose I0 is taken, or the
        means of its images if it has none; or "monitor", for the monitor in the file of the scan.  It is
        interpolated at the energies of the scan, and becomes coordinate ``i0 (energy)``.
    data : str, optional
        Name of the dataset to read in an HDF5 file or a Zarr store.  Its axes are those that the file names,
        otherwise (energy, y, x).
    entry, detector, region : str, optional
        Which of several scans in the file to read: name of an entry, of a detector or channel, name or
        number (from 1 on) of a region.  By default the one that the format says comes first.
    index : str or int, optional
        Index, from 0 on, along an axis that is none of energy, y and x, such as time or angle; "2,0" for two.
    follow_links : bool
        Whether links of an HDF5 file may lead to files outside its folder.
    quantity : {"counts", "transmission", "optical_density", "fluorescence", "intensity"}, optional
        What the values are, where the file does not say so or is wrong.  Where nobody says it, the likely
        quantity is assumed (``attrs["quantity_assumed"]``), and `xanesum.preprocess.prepare` judges it by
        the values.
    flat, dark : path or sequence of paths, optional
        Files of images without the sample, and without light: one image or several.  They become coordinates
        `flat` and `dark`, and the law of their noise comes with them; see `xanesum.io.references`.

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
        If `i0`, `flat` or `dark` are given for a scan that is neither counts nor fluorescence, or their size
        does not fit.
    """
    path = local_path(path)
    choice = _choice(data, entry, detector, region, index, follow_links=follow_links)
    scan = _with_quantity(_open(path, choice)[1], quantity)
    return _stack_of(path, scan, energies, i0, flat=flat, dark=dark)


def read_exposures(folder: str | Path, files: Iterable[Path]) -> xr.DataArray:
    """Read some of the SSRL exposures of a folder as a stack; `read_stack` reads all of them.

    Raises
    ------
    ReadError
        If no energy among them has both a sample exposure and a flat, or one of them cannot be read.
    """
    folder = Path(folder)
    return _stack_of(folder, ssrl.open_files(folder, files), None, None)


def _with_quantity(scan: Scan, quantity: str | None) -> Scan:
    """Return the scan as this quantity, if one is given."""
    if quantity is None:
        return scan
    if quantity not in QUANTITIES:
        raise StackError(
            f"quantity must be one of {', '.join(QUANTITIES)}, got {quantity!r}", parameter="quantity"
        )
    history = scan.history
    raw = quantity in ("counts", "fluorescence")
    attrs = {name: value for name, value in scan.attrs.items() if raw or name != "saturation_counts"}
    if quantity != scan.quantity:
        history = (*history, f"taken as {quantity.replace('_', ' ')}, as asked")
    return replace(scan, quantity=quantity, is_declared=True, history=history, attrs=attrs)


def _stack_of(
    path: Path,
    scan: Scan,
    energies: str | Path | ArrayLike | None,
    i0: str | Path | None,
    *,
    flat: Files | None = None,
    dark: Files | None = None,
) -> xr.DataArray:
    energy = _energies(path, scan, energies)
    scan = with_references(
        path, scan, lambda file: _open(file, NO_CHOICE)[1], energy=energy, flat=flat, dark=dark
    )
    scan = _with_i0(path, scan, energy, i0)
    for note in scan.notes:
        warnings.warn(note, XanesumWarning, stacklevel=3)
    for parameter, names in scan.others.items():
        warnings.warn(XanesumWarning(_also_there(path, names), parameter=parameter), stacklevel=3)
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
    stack = stack.assign_coords(_coords(scan, energy))
    stack.attrs.update({**scan.attrs, **_saturation(scan)})
    if not scan.is_declared:
        stack.attrs["quantity_assumed"] = True
    return _with_missing(stack) if scan.computed else stack


def describe(
    path: str | Path,
    *,
    data: str | None = None,
    quantity: str | None = None,
    entry: str | None = None,
    detector: str | None = None,
    region: str | None = None,
    index: str | int | None = None,
    follow_links: bool = False,
) -> dict[str, Any]:
    """Return the facts of a scan without reading its pixels, but for a few frames.

    The parameters are those of `read_stack`.

    Returns
    -------
    dict
        path, format, description, dataset (name of the array in the file), axes (what each of its axes was
        taken for), axes_assumed, shape (E, Y, X), dtype, nbytes (in memory), n_energies, energy_min_ev and
        energy_max_ev (None if the file has no energies), energy_source (where they are), kev_assumed (whether
        they were taken for keV, as they are below 100), quantity, quantity_assumed (whether the file does
        not say it), pixel_size_nm, coordinates (``{name: dims}``), history, notes, attrs (with the saturated
        count of integers), chunks: the (energies, rows, columns) that are read together, computed (whether
        pixels are computed from several files, and read at once), others: what else the file holds and a
        note names, as ``{parameter of read_stack: names}``, and stacks: further arrays of an HDF5 file that
        may be stacks.

    Raises
    ------
    ReadError, EnergyError
        As `read_stack`.
    """
    path = local_path(path)
    choice = _choice(data, entry, detector, region, index, follow_links=follow_links)
    found, scan = _open(path, choice)
    scan = _with_quantity(scan, quantity)
    energy = known_energies(scan)
    low, high = _energy_range(path, energy)
    beside = file_beside(scan.beside) if scan.energy is None else None
    with following_links(follow_links):
        is_hdf5 = bool(scan.dataset) and h5py.is_hdf5(path)
        stacks = names_of_stacks(path, but=scan.dataset) if is_hdf5 else ()
    return {
        "path": str(path),
        "format": found.name,
        "description": found.description,
        "dataset": hdf5_file.quoted(scan.dataset),
        "axes": list(scan.axes),
        "axes_assumed": scan.axes_assumed,
        "shape": tuple(int(size) for size in scan.shape),
        "dtype": str(scan.dtype),
        "nbytes": scan.nbytes,
        "n_energies": int(scan.shape[0]),
        "energy_min_ev": low,
        "energy_max_ev": high,
        "energy_source": None if energy is None else "the scan" if beside is None else beside.name,
        "kev_assumed": energy is not None and bool(energy.size) and bool(np.nanmax(energy) < KEV_LIMIT),
        "quantity": scan.quantity,
        "quantity_assumed": not scan.is_declared,
        "pixel_size_nm": scan.pixel_size_nm,
        "coordinates": {name: list(dims) for name, (dims, _) in sorted(scan.coords.items())},
        "history": list(scan.history),
        "notes": list(scan.notes),
        "attrs": {**scan.attrs, **_saturation(scan)},
        "chunks": (1, 1, int(scan.shape[2])) if scan.chunks is None else tuple(map(int, scan.chunks)),
        "computed": scan.computed,
        "others": {parameter: list(names) for parameter, names in scan.others.items()},
        "stacks": list(stacks),
    }


def _choice(*wanted: str | int | None, follow_links: bool) -> Choice:
    """Return the choice of data, entry, detector, region and index; numbers become text."""
    data, entry, detector, region, index = (None if each is None else str(each) for each in wanted)
    return Choice(data, entry, detector, region, index, follow_links)


def _also_there(path: Path, names: Iterable[str]) -> str:
    return f"{path.name}: also there, and not read: {', '.join(names)}"


def _open(path: Path, choice: Choice) -> tuple[Format, Scan]:
    with following_links(choice.follow_links):
        found = _find_format(path)
        wanted = replace(choice, follow_links=False)
        if wanted == NO_CHOICE:
            scan = found.open(path)
            if min(scan.shape) < 1:
                raise ReadError(f"{path}: its images have no pixels: {scan.shape} (energy, y, x)")
            return found, scan
        is_hdf5 = bool(set(found.suffixes) & set(hdf5.FORMAT.suffixes))
        if choice.data is not None and is_hdf5:
            return hdf5.FORMAT, hdf5.open_dataset(path, choice)
        if choice.data is not None and found.choose is None:
            raise ReadError(
                f"{path}: only HDF5 and Zarr have a dataset {choice.data!r}, this is {found.description}",
                parameter="data",
            )
        if found.choose is None:
            names = [name for name in ("entry", "detector", "region", "index") if getattr(choice, name)]
            raise ReadError(
                f"{path}: {found.description} holds one scan only; leave out {', '.join(names)}",
                parameter=names[0],
            )
        return found, found.choose(path, choice)


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
            f"{path}: is named {path.suffix} but its content is not that of {claimed[-1]}; check the file"
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


def _with_i0(path: Path, scan: Scan, energy: NDArray[np.float64], i0: str | Path | None) -> Scan:
    """Return the scan with the I0 of a file instead of its own."""
    if i0 is None:
        return scan
    quantity = scan.quantity
    if quantity not in ("counts", "fluorescence"):
        if scan.is_declared:
            raise StackError(
                f"{path}: holds {quantity}, but an I0 spectrum is for counts; leave it out", parameter="i0"
            )
        quantity = "counts"  # also for floats, as there is an I0 for them
    if str(i0) == MONITOR and MONITOR in scan.coords:
        values, said = scan.coords[MONITOR][1], "I0 is the monitor of the file"
        coords = {name: coord for name, coord in scan.coords.items() if name != MONITOR}
    else:
        values, said = _i0_of_file(Path(i0), energy)
        coords = dict(scan.coords)
    coords["i0"] = (("energy",), values)
    return replace(scan, quantity=quantity, coords=coords, history=(*scan.history, said))


def _i0_of_file(path: Path, energy: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Return the I0 in a text file or in another scan, at these energies, and a sentence about it."""
    if not path.is_dir() and not any(f.matches(path, read_bytes(path, HEAD_BYTES)) for f in FORMATS):
        return i0_at(path, energy), f"I0 from {path.name}"
    other = _open(path, NO_CHOICE)[1]
    at = _energies(path, other, None)
    if "i0" in other.coords:
        return interpolate_i0(path, at, np.asarray(other.coords["i0"][1]), energy), f"I0 of {path.name}"
    means = np.array([float(np.nanmean(other.read((e, slice(None), slice(None))))) for e in range(len(at))])
    said = f"I0 from {path.name}: the means of its {len(at)} images, which are taken to hold no sample"
    return interpolate_i0(path, at, means, energy), said


def _saturation(scan: Scan) -> dict[str, int]:
    """Return the saturated count of raw integers, which their type tells."""
    known = scan.computed or "saturation_counts" in scan.attrs or scan.dtype.itemsize > WORD_BYTES
    if known or scan.dtype.kind not in "iu" or scan.quantity not in ("counts", "fluorescence"):
        return {}
    return {"saturation_counts": int(np.iinfo(scan.dtype).max)}


def _coords(scan: Scan, energy: NDArray[np.float64]) -> dict[str, Any]:
    """Return the coordinates; those along energy are sorted and merged like the images in `make_stack`."""
    mended, coords = bool(np.any(np.diff(energy) <= 0)), scan.coords
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
