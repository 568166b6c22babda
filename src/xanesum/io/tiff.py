"""TIFF stacks: one page per energy, energies in a text file in the same folder; and float32 maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import StackError, WriteError
from xanesum.io.energies import file_beside
from xanesum.io.names import energies_of_labels, energy_in_name
from xanesum.io.scan import Format, Scan, reading
from xanesum.io.tiff_pages import TiffFrames, find_frames, read_frames, require_all_pages
from xanesum.io.writing import ATTRS, Writer, attrs_from_json, attrs_to_json, write_frames
from xanesum.stack import QUANTITIES, check_stack
from xanesum.storage.atomic import atomic_path, atomic_paths

__all__ = [
    "FORMAT",
    "SUFFIXES",
    "description_of",
    "energies_candidates",
    "energies_path",
    "make_room",
    "write",
    "write_map_tiff",
]

SUFFIXES = (".tif", ".tiff")
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, of either byte order
MOST_EV = 1e6  # a larger number is no photon energy
BIG_BYTES = 2**31  # a stack larger than this becomes a BigTIFF: offsets of a classic TIFF have 32 bits


def write(stack: xr.DataArray, path: Path) -> Path:
    """Write a float32 TIFF stack in blocks, and ``<stem>_energies.txt`` (eV) in the same folder.

    Quantity, pixel size and attributes are in its description, as JSON.  It cannot hold mask, weights and
    other coordinates; the native file keeps them.

    Raises
    ------
    WriteError
        If one of the two files cannot be written, then neither is; or if images are one pixel wide.
    """
    check_stack(stack)
    if stack.sizes["x"] == 1:  # tifffile takes a last axis of length 1 for samples
        raise WriteError(
            f"{path}: a TIFF stack cannot hold images one pixel wide; write the native form (.h5)"
        )
    with atomic_paths(path, energies_path(path)) as (pixels, text):
        np.savetxt(text, stack.energy.values, fmt="%.17g", header="photon energy (eV), one image a line")
        labels = {"axes": "ZYX", **description_of(stack)}
        offset = make_room(pixels, stack.shape, bigtiff=stack.size * 4 > BIG_BYTES, labels=labels)
        frame_bytes = 4 * stack.shape[1] * stack.shape[2]
        write_frames(stack, lambda e: (pixels, offset + e * frame_bytes))
    return path


def make_room(path: Path, shape: tuple[int, ...], *, bigtiff: bool = False, labels: dict[str, Any]) -> int:
    """Write a float32 TIFF, lowest byte first, without its pixels; return the byte at which they begin.

    Parameters
    ----------
    path : Path
        File to write.
    shape : tuple of int
        (E, Y, X), or (Y, X) for one image.
    bigtiff : bool
        Whether it may be larger than 4 GB.
    labels : dict
        What its description says, as JSON.
    """
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder="<") as file:
        place = file.write(
            None,
            shape=shape,
            dtype=np.float32,
            photometric="minisblack",
            contiguous=True,
            metadata=labels,
            returnoffset=True,
        )
    if place is None:
        raise OSError(f"{path.name}: no room was made for its pixels")
    return int(place[0])


def write_map_tiff(image: ArrayLike, path: str | Path) -> Path:
    """Write a map as a float32 TIFF; NaN (no value) is kept.

    Parameters
    ----------
    image : array_like, shape (Y, X)
        Energy map in eV, fraction, edge step, ...
    path : str or Path
        File to write; an existing one is replaced.

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
        tifffile.imwrite(temporary, values, photometric="minisblack")
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
    is_declared = quantity in QUANTITIES and not labels.get("quantity_assumed", False)
    if quantity not in QUANTITIES:
        quantity = "counts" if dtype.kind in "iu" else "intensity"
    limited = dtype.kind == "u" and quantity == "counts"
    energy, source = _own_energies(path, frames, labels)
    said = f"read {path.name} ({frames.shape[0]} images of {dtype.name}) as {quantity}"
    attrs, history = attrs_from_json(labels.get("attributes"))
    if limited:
        attrs = {"saturation_counts": int(np.iinfo(dtype).max), **attrs}
    return Scan(
        shape=frames.shape,
        dtype=dtype,
        read=lambda key: read_frames(path, frames, key),
        energy=energy,
        quantity=quantity,
        is_declared=is_declared,
        pixel_size_nm=labels.get("pixel_size_nm"),
        attrs=attrs,
        history=(*history, said, *source),
        notes=frames.notes,
        beside=energies_candidates(path),
    )


def _own_energies(
    path: Path, frames: TiffFrames, labels: dict[str, Any]
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the energies in labels of the images, or that of a single image in its name, and their source.

    A list beside the file is preferred to both.
    """
    if file_beside(energies_candidates(path)) is not None:
        return None, ()
    if frames.labels and (found := energies_of_labels(frames.labels)) is not None:
        return found, ("energies from the labels of the images",)
    said = labels.get("energy_ev") if frames.shape[0] == 1 else None
    if isinstance(said, int | float) and 0 < said < MOST_EV:
        return np.array([float(said)]), ("energy from the description of the image",)
    named = energy_in_name(path.stem) if frames.shape[0] == 1 else None
    return (None, ()) if named is None else (np.array([named]), ("energy from the name of the file",))


def description_of(stack: xr.DataArray) -> dict[str, Any]:
    """Return what the description of an image says of its stack."""
    labels = {
        key: stack.attrs[key]
        for key in ("quantity", "pixel_size_nm", "quantity_assumed")
        if key in stack.attrs
    }
    attrs = attrs_to_json(stack)
    return labels if attrs == "{}" else {**labels, "attributes": attrs}


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
    writer=Writer(
        name="tiff",
        description="a TIFF stack",
        suffixes=SUFFIXES,
        write=write,
        keeps=("pixel_size_nm", "quantity_assumed", ATTRS),
    ),
)
