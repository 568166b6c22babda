"""TIFF stacks: one page per energy, energies in a text file in the same folder; and float32 maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import StackError
from xanesum.io.energies import file_beside
from xanesum.io.names import energies_of_labels, energy_in_name
from xanesum.io.scan import Format, Scan, reading
from xanesum.io.tiff_pages import TiffFrames, find_frames, read_frames, require_all_pages
from xanesum.stack import QUANTITIES, check_stack
from xanesum.storage.atomic import atomic_path, atomic_paths

__all__ = ["FORMAT", "SUFFIXES", "energies_candidates", "energies_path", "write", "write_map_tiff"]

SUFFIXES = (".tif", ".tiff")
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, of either byte order
BIG_BYTES = 2**31  # a stack larger than this becomes a BigTIFF: offsets of a classic TIFF have 32 bits


def write(stack: xr.DataArray, path: Path) -> Path:
    """Write a float32 TIFF stack frame by frame, and ``<stem>_energies.txt`` (eV) in the same folder.

    A TIFF cannot hold mask, weights and history; the native file keeps them.

    Raises
    ------
    WriteError
        If one of the two files cannot be written; then neither is.
    """
    check_stack(stack)
    with atomic_paths(path, energies_path(path)) as (pixels, text):
        np.savetxt(text, stack.energy.values, fmt="%.17g", header="photon energy (eV), one image a line")
        tifffile.imwrite(
            pixels,
            _frames(stack),
            shape=stack.shape,
            dtype=np.float32,
            photometric="minisblack",
            bigtiff=stack.size * 4 > BIG_BYTES,
            metadata={"axes": "ZYX", **_labels(stack)},
        )
    return path


def write_map_tiff(image: ArrayLike, path: str | Path, *, definition: str = "") -> Path:
    """Write a map as a float32 TIFF; NaN (no value) is kept.

    Parameters
    ----------
    image : array_like, shape (Y, X)
        Energy map in eV, fraction, edge step, ...
    path : str or Path
        File to write; an existing one is replaced.
    definition : str
        What the map is; it becomes the description of the image.

    Raises
    ------
    StackError
        If `image` does not have two axes.
    WriteError
        If the file cannot be written.
    """
    values = np.asarray(image, dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise StackError(f"expected a map with two axes (y, x), got shape {values.shape}")
    with atomic_path(path) as temporary:
        described = {"description": definition, "metadata": None} if definition else {}
        tifffile.imwrite(temporary, values, photometric="minisblack", **described)
    return Path(path)


def energies_path(path: Path) -> Path:
    """Return the file to which the energies of a TIFF stack are written."""
    return path.with_name(f"{path.stem}_energies.txt")


def energies_candidates(path: Path) -> tuple[Path, ...]:
    """Return the files in which the energies of a TIFF stack are looked for, in this order."""
    listed = [path.with_name(f"{path.stem}_energies{suffix}") for suffix in (".txt", ".csv", ".npy")]
    return (*listed, path.with_suffix(".txt"), path.with_suffix(".csv"))


def _open(path: Path) -> Scan:
    with reading(path):
        require_all_pages(path)
    with reading(path), tifffile.TiffFile(path) as file:
        frames = find_frames(path, file)
        labels = _stored_labels(file)
    dtype = frames.dtype.newbyteorder("=")
    quantity = labels.get("quantity")
    if not (is_declared := quantity in QUANTITIES):
        quantity = "counts" if dtype.kind in "iu" else "intensity"
    limited = dtype.kind == "u" and quantity == "counts"
    energy, source = _own_energies(path, frames)
    return Scan(
        shape=frames.shape,
        dtype=dtype,
        read=lambda key: read_frames(path, frames, key),
        energy=energy,
        quantity=quantity,
        is_declared=is_declared,
        pixel_size_nm=labels.get("pixel_size_nm"),
        attrs={"saturation_counts": int(np.iinfo(dtype).max)} if limited else {},
        history=(f"read {path.name} ({frames.shape[0]} images of {dtype.name}) as {quantity}", *source),
        notes=frames.notes,
        beside=energies_candidates(path),
    )


def _own_energies(path: Path, frames: TiffFrames) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the energies in labels of the images, or that of a single image in its name, and their source.

    A list beside the file is preferred to both.
    """
    if file_beside(energies_candidates(path)) is not None:
        return None, ()
    if frames.labels and (found := energies_of_labels(frames.labels)) is not None:
        return found, ("energies from the labels of the images",)
    named = energy_in_name(path.stem) if frames.shape[0] == 1 else None
    return (None, ()) if named is None else (np.array([named]), ("energy from the name of the file",))


def _frames(stack: xr.DataArray) -> Iterator[NDArray[np.float32]]:
    for e in range(len(stack)):
        yield np.asarray(stack[e].values, dtype=np.float32)


def _labels(stack: xr.DataArray) -> dict[str, Any]:
    return {k: stack.attrs[k] for k in ("quantity", "pixel_size_nm") if k in stack.attrs}


def _stored_labels(file: tifffile.TiffFile) -> dict[str, Any]:
    labels: dict[str, Any] = dict((file.shaped_metadata or ({},))[0])
    size = labels.get("pixel_size_nm")
    if not (isinstance(size, int | float) and 0 < size < float("inf")):
        labels.pop("pixel_size_nm", None)
    return labels


FORMAT = Format(
    name="tiff",
    description="TIFF stack, one image per energy",
    suffixes=SUFFIXES,
    matches=lambda _path, head: head.startswith(MAGICS),
    open=_open,
    write=write,
)
