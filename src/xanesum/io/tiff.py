"""TIFF stacks: one page per energy, energies in a text file in the same folder; and float32 maps."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import ReadError, StackError
from xanesum.io.scan import Format, Scan, frame_reader, reading
from xanesum.io.text import read_table
from xanesum.stack import QUANTITIES, check_stack
from xanesum.storage.atomic import atomic_path, atomic_paths

__all__ = ["FORMAT", "SUFFIXES", "energies_candidates", "energies_path", "write", "write_map_tiff"]

SUFFIXES = (".tif", ".tiff")
MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, of either byte order
BIG_BYTES = 2**31  # a stack larger than this becomes a BigTIFF: offsets of a classic TIFF have 32 bits
MAX_RATIO = 2000  # LZW and deflate compress less than this; a page that declares more is damaged


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


def energies_candidates(path: Path) -> tuple[Path, Path]:
    """Return the files in which the energies of a TIFF stack are looked for, in this order."""
    return energies_path(path), path.with_suffix(".txt")


def _open(path: Path) -> Scan:
    with reading(path):
        _require_all_pages(path)
    with reading(path), tifffile.TiffFile(path) as file:
        (height, width), dtype = _common_page(path, file)
        _require_stored(path, file)
        n_pages, labels = len(file.pages), _stored_labels(file)
    unsigned = dtype.kind == "u"
    quantity = labels.get("quantity")
    if not (is_declared := quantity in QUANTITIES):
        quantity = "counts" if dtype.kind in "iu" else "intensity"
    return Scan(
        shape=(n_pages, height, width),
        dtype=dtype,
        read=_reader(path, n_pages),
        energy=_energies_beside(path),
        quantity=quantity,
        is_declared=is_declared,
        pixel_size_nm=labels.get("pixel_size_nm"),
        attrs={"saturation_counts": int(np.iinfo(dtype).max)} if unsigned and quantity == "counts" else {},
        history=(f"read {path.name} ({n_pages} pages of {dtype}) as {quantity}",),
    )


def _frames(stack: xr.DataArray) -> Iterator[NDArray[np.float32]]:
    for e in range(len(stack)):
        yield np.asarray(stack[e].values, dtype=np.float32)


def _labels(stack: xr.DataArray) -> dict[str, Any]:
    return {k: stack.attrs[k] for k in ("quantity", "pixel_size_nm") if k in stack.attrs}


def _stored_labels(file: tifffile.TiffFile) -> dict[str, Any]:
    labels = dict((file.shaped_metadata or ({},))[0])
    size = labels.get("pixel_size_nm")
    if not (isinstance(size, int | float) and 0 < size < float("inf")):
        labels.pop("pixel_size_nm", None)
    return labels


def _reader(path: Path, n_pages: int) -> Any:
    """Return a `Scan.read` that opens the file once for all frames of an access."""

    def read(key: Any) -> NDArray[Any]:
        with reading(path), tifffile.TiffFile(path) as file:
            values: NDArray[Any] = frame_reader(n_pages, lambda e: file.pages[e].asarray())(key)
            return values

    return read


def _common_page(path: Path, file: tifffile.TiffFile) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return the shape (height, width) and dtype that all pages have."""
    kinds = {(page.shape, page.dtype) for page in file.pages}
    shape, dtype = next(iter(kinds), ((), None))
    if len(kinds) != 1 or len(shape) != 2 or dtype is None:
        listed = ", ".join(f"{shape} of {dtype}" for shape, dtype in list(kinds)[:4])
        raise ReadError(f"{path}: expected grey images of one size, one page per energy, got pages {listed}")
    return (shape[0], shape[1]), dtype


def _require_all_pages(path: Path) -> None:
    """Follow the chain of page headers; tifffile takes a link that leaves the file for the end of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(2) == b"II" else ">"
        big = struct.unpack(f"{order}H", file.read(2))[0] == 43
        count_form, entry_bytes, offset_form = ("Q", 20, "Q") if big else ("H", 12, "I")
        file.seek(8 if big else 4)
        seen: set[int] = set()
        while offset := _number(file, order + offset_form):
            if offset in seen or offset >= size:
                raise ReadError(f"{path}: page {len(seen)} should be at byte {offset} of {size}; cut short")
            seen.add(offset)
            file.seek(offset)
            entries = _number(file, order + count_form)
            file.seek(entries * entry_bytes, 1)


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _require_stored(path: Path, file: tifffile.TiffFile) -> None:
    """Check that every page lies within the file, and that its bytes can contain its pixels."""
    size = path.stat().st_size
    for number, page in enumerate(file.pages):
        stored = sum(page.databytecounts)
        ratio = 1 if page.compression == 1 else MAX_RATIO
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if max(ends, default=0) > size or page.nbytes > stored * ratio:
            raise ReadError(
                f"{path}: page {number} declares {page.nbytes} bytes that the file does not hold; cut short"
            )


def _energies_beside(path: Path) -> NDArray[np.float64] | None:
    for candidate in energies_candidates(path):
        if candidate.is_file():
            return read_table(candidate)[:, 0]
    return None


FORMAT = Format(
    name="tiff",
    description="TIFF stack, one page per energy, with a text file of energies",
    suffixes=SUFFIXES,
    matches=lambda _path, head: head.startswith(MAGICS),
    open=_open,
    write=write,
)
