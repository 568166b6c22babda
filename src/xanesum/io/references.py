"""Flats and darks in files of their own: one image or several, averaged, with the law of their noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import ReadError, StackError
from xanesum.io.hdf5_file import is_hdf5
from xanesum.io.hdf5_images import images_of_size
from xanesum.io.names import energy_in_name
from xanesum.io.npy import read_npy
from xanesum.io.scan import Scan, frame_reader, read_bytes
from xanesum.noise.detector import LAW_EXPOSURES, law_coords
from xanesum.stack import DIMS, KEV_LIMIT
from xanesum.storage.lazy import lazy_array

__all__ = ["Files", "between", "files_of", "with_references"]

Files = str | Path | Sequence[str | Path]
OpenScan = Callable[[Path], Scan]
SAME_EV = 0.005  # eV; flats this close were taken at one energy
WORDS = {"flat": ("white", "flat", "bkg", "bright"), "dark": ("dark",)}  # in names of datasets


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """One image of a file of references."""

    scan: Scan
    index: int
    path: Path
    energy_ev: float  # NaN where it is not known
    exposure_s: float  # NaN where it is not known

    def counts(self) -> NDArray[np.float64]:
        """Return the counts (Y, X) as stored."""
        return np.asarray(self.scan.read((self.index, slice(None), slice(None))), np.float64)

    def rates(self) -> NDArray[np.float64]:
        """Return the counts per second (Y, X)."""
        if not self.exposure_s > 0:
            raise StackError(
                f"{self.path}: has no exposure time, but the scan is in counts per second; leave it out",
                parameter="flat",
            )
        return self.counts() / self.exposure_s


def files_of(given: Files | None) -> tuple[Path, ...]:
    """Return the paths that were given: none, one or several."""
    if given is None:
        return ()
    return (Path(given),) if isinstance(given, str | Path) else tuple(Path(path) for path in given)


def between(
    shape: tuple[int, int, int],
    image_of: Callable[[int], NDArray[np.floating]],
    known: NDArray[Any],
    wanted: NDArray[Any],
) -> xr.Variable:
    """Return one image for each energy, linear between those of few energies; the outermost reach beyond.

    Parameters
    ----------
    shape : (int, int, int)
        (E, Y, X).
    image_of : callable
        Takes the index of a known energy and returns the image (Y, X) there.
    known : ndarray, shape (K,)
        Energies at which there are images, rising.
    wanted : ndarray, shape (E,)
        Energies of the images that are returned.

    Returns
    -------
    Variable, dims (energy, y, x)
        Lazy, float32.
    """
    position = np.interp(wanted, known, np.arange(len(known)))

    def frame(e: int) -> NDArray[np.floating]:
        below = int(position[e])
        share = np.float32(position[e] - below)
        image = image_of(below)
        return image if not share else image + share * (image_of(below + 1) - image)

    return lazy_array(shape, frame_reader(shape[0], frame), dtype=np.float32)


def with_references(
    path: Path,
    scan: Scan,
    open_scan: OpenScan,
    *,
    energy: NDArray[np.float64],
    flat: Files | None = None,
    dark: Files | None = None,
) -> Scan:
    """Return the scan with the flats and darks of these files instead of its own.

    Darks are averaged.  So are flats, unless they were taken at several energies: then those of one energy
    are averaged, and the flat of a frame is interpolated between the energies on both sides of it.  Flats
    without energies, as many as the scan has images, are one for each image.

    Parameters
    ----------
    path : Path
        Of the scan, for messages.
    scan : Scan
        Counts, or what was assumed to be something else.
    open_scan : callable
        Opens a file of references.
    energy : ndarray, shape (E,)
        Photon energies of the scan in eV or keV, in the order of its images.
    flat, dark : path or sequence of paths, optional
        Files of any known format, or ``.npy``, with images of the size of the scan's.

    Raises
    ------
    ReadError
        If a file cannot be read.
    StackError
        If the scan is no counts, or an image has another size.
    """
    flats, darks = (
        [image for file in files_of(files) for image in _images(file, scan, open_scan, name)]
        for name, files in (("flat", flat), ("dark", dark))
    )
    if not flats and not darks:
        return scan
    quantity = scan.quantity
    if quantity not in ("counts", "fluorescence"):
        if scan.is_declared:
            name = "flat" if flats else "dark"
            raise StackError(
                f"{path}: holds {quantity.replace('_', ' ')}, but a {name} is for counts; leave it out",
                parameter=name,
            )
        quantity = "counts"  # also for floats, as there is a flat for them
    of_own_flats = {"noise_gain", "noise_read_variance", "flat_exposure_s"} if flats else set()
    coords = {name: coord for name, coord in scan.coords.items() if name not in of_own_flats}
    history = list(scan.history)
    if darks:
        coords["dark"] = (DIMS[1:], _mean(darks))
        history.append(f"dark: mean of {_counted(darks)}")
    if flats:
        found, said = _flat(scan, flats, _in_ev(energy))
        coords |= {"flat": found, **_times(scan, flats)}
        if found[0] != DIMS or np.isfinite(flats[0].energy_ev):  # not one for each image
            coords |= _law(scan, flats, darks)
        history.append(said)
    return replace(scan, quantity=quantity, coords=coords, history=tuple(history))


def _images(path: Path, scan: Scan, open_scan: OpenScan, name: str) -> list[_Image]:
    """Return the images of a file of flats or darks, after checking their size."""
    found = _opened(path, scan, open_scan, name)
    if found.shape[1:] != scan.shape[1:]:
        raise StackError(
            f"{path}: its images have {found.shape[1]} x {found.shape[2]} px (y, x), those of the scan "
            f"{scan.shape[1]} x {scan.shape[2]}"
        )
    n_images = found.shape[0]
    energies, named = np.full(n_images, np.nan), energy_in_name(path.stem)
    if found.energy is not None and found.energy.size == n_images:
        energies = _in_ev(found.energy)
    elif named is not None:
        energies[:] = named
    times = found.coords["exposure_s"][1] if "exposure_s" in found.coords else np.full(n_images, np.nan)
    return [_Image(found, i, path, float(energies[i]), float(times[i])) for i in range(n_images)]


def _opened(path: Path, scan: Scan, open_scan: OpenScan, name: str) -> Scan:
    """Open a file of references: NumPy, HDF5 with a dataset of that name, or a known format."""
    if path.suffix.lower() == ".npy":
        return _npy(path)
    of_name = images_of_size(path, scan.shape[1:], WORDS[name]) if _is_hdf5(path) else None
    return open_scan(path) if of_name is None else of_name


def _is_hdf5(path: Path) -> bool:
    return path.is_file() and is_hdf5(path, read_bytes(path, 8))


def _npy(path: Path) -> Scan:
    """Open a NumPy file of one image or several."""
    values = read_npy(path)
    if values.ndim not in (2, 3) or min(values.shape) < 1 or values.dtype.kind == "b":
        raise ReadError(f"{path}: holds {values.dtype} of shape {values.shape}; expected images of numbers")
    images = values if values.ndim == 3 else values[None]
    return Scan(shape=images.shape, dtype=images.dtype, read=lambda key: np.asarray(images[key]))


def _mean(images: Sequence[_Image], *, rates: bool = False) -> NDArray[np.float32]:
    """Return the mean of images, one of them in memory at a time; of counts, or of counts per second."""
    total = sum(image.rates() if rates else image.counts() for image in images)
    return np.asarray(total / len(images), np.float32)


def _flat(
    scan: Scan, flats: Sequence[_Image], energy_ev: NDArray[np.float64]
) -> tuple[tuple[tuple[str, ...], Any], str]:
    """Return the flat as a coordinate: one image, or lazily one for each energy; and a sentence about it."""
    at, rates = np.array([image.energy_ev for image in flats]), scan.attrs.get("unit") == "counts/s"

    def variable(
        groups: Sequence[Sequence[_Image]], known: NDArray[Any], wanted: NDArray[Any]
    ) -> xr.Variable:
        return between(scan.shape, lambda i: _mean(groups[i], rates=rates), known, wanted)

    if np.isfinite(at).all() and np.ptp(at) > SAME_EV:
        order = np.argsort(at, kind="stable")
        breaks = np.flatnonzero(np.diff(at[order]) > SAME_EV) + 1
        groups = [[flats[i] for i in group] for group in np.split(order, breaks)]
        known = np.array([group[0].energy_ev for group in groups])
        said = f"flat: {_counted(flats)} at {len(groups)} energies, interpolated between them"
        return (DIMS, variable(groups, known, energy_ev)), said
    if len(flats) == scan.shape[0] > 1 and not np.isfinite(at).any():
        numbers = np.arange(len(flats))
        said = f"flat: {_counted(flats)}, one for each image of the scan"
        return (DIMS, variable([[image] for image in flats], numbers, numbers)), said
    return (DIMS[1:], _mean(flats, rates=rates)), f"flat: mean of {_counted(flats)}"


def _times(scan: Scan, flats: Sequence[_Image]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return the mean exposure time of the flats, where it and that of the scan are known."""
    times = np.array([image.exposure_s for image in flats])
    if "exposure_s" not in scan.coords or not np.all(times > 0):
        return {}
    return {"flat_exposure_s": (("energy",), np.full(scan.shape[0], times.mean()))}


def _law(
    scan: Scan, flats: Sequence[_Image], darks: Sequence[_Image]
) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Return the noise law of the counts, from flats of one energy and one exposure time."""
    first = flats[0]
    alike = [
        image
        for image in flats
        if not abs(image.energy_ev - first.energy_ev) > SAME_EV  # true where they are not known
        and not abs(image.exposure_s - first.exposure_s) > 0
    ]
    if len(alike) < 2 or scan.attrs.get("unit") == "counts/s":
        return {}
    exposures, of_darks = (
        np.stack([image.counts() for image in images[:LAW_EXPOSURES]]) if images else None
        for images in (alike, list(darks))
    )
    return {} if exposures is None else {**law_coords(exposures, of_darks, n_energies=scan.shape[0])}


def _in_ev(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(energy, np.float64)
    return values * 1e3 if values.size and np.nanmax(values) < KEV_LIMIT else values


def _counted(images: Sequence[_Image]) -> str:
    names = list(dict.fromkeys(image.path.name for image in images))
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(images)} image{'s' * (len(images) != 1)} of {shown}"
