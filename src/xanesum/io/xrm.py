"""Zeiss / Xradia images in an OLE2 container: ``.xrm`` (one image) and ``.txrm`` (several)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import olefile
from numpy.typing import NDArray

from xanesum.errors import EnergyError, ReadError
from xanesum.io.names import energy_in_name
from xanesum.io.scan import Format, Key, Scan, frame_reader, reading

__all__ = ["FORMAT", "MAGIC", "XrmInfo", "read_image", "read_info"]

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # start of an OLE2 container
DTYPES: dict[int, np.dtype[Any]] = {5: np.dtype("<u2"), 10: np.dtype("<f4")}  # by ImageInfo/DataType
IMAGES_PER_STORAGE = 100  # ImageData1 holds Image1 ... Image100, ImageData2 the next hundred
MAX_IMAGES = 100_000  # a header that declares more images is damaged
FREE_SECTOR = 0xFFFFFFFF  # mark of an unused sector in the allocation table
NM_PER_UM = 1e3


@dataclass(frozen=True, slots=True, eq=False)
class XrmInfo:
    """Contents of ``ImageInfo`` of one file, checked against the size of the file."""

    shape: tuple[int, int, int]  # (images, height, width)
    dtype: np.dtype[Any]
    energy: NDArray[np.float64]  # (images,), eV; 0 where the instrument did not write it
    exposure_s: NDArray[np.float64]  # (images,); NaN where not written
    pixel_size_nm: float | None
    n_declared: int = 0  # images that the scan was to have
    tiles: tuple[int, int] = (0, 0)  # rows and columns of a mosaic

    @property
    def saturation_counts(self) -> int | None:
        """Count at which the camera is saturated; None for images that were converted to float."""
        return int(np.iinfo(self.dtype).max) if self.dtype.kind == "u" else None


def read_info(path: Path) -> XrmInfo:
    """Read the header of an .xrm or .txrm file and check that all its images are there.

    Raises
    ------
    ReadError
        If the file is missing, damaged or cut short, or has pixels of an unknown type.
    """
    with _open_ole(path) as ole:
        width, height = (int(_field(ole, name, "<i4")[0]) for name in ("ImageWidth", "ImageHeight"))
        n_images = int(_field(ole, "NoOfImages", "<i4")[0])
        code = int(_field(ole, "DataType", "<i4")[0])
        if code not in DTYPES:
            raise ReadError(f"{path}: pixel type {code} is unknown; known are 5 (uint16) and 10 (float32)")
        if min(width, height, n_images) < 1 or n_images > MAX_IMAGES:
            raise ReadError(
                f"{path}: declares {n_images} images of {width} x {height} pixels; the header is damaged"
            )
        n_declared, image_bytes = n_images, width * height * DTYPES[code].itemsize
        n_images = _images_there(ole, n_declared)
        _require_whole(path, ole, n_images, image_bytes)
        tiles = [int(_field(ole, name, "<i4", default=0)[0]) for name in ("MosiacRows", "MosiacColumns")]
        size_um = float(_field(ole, "PixelSize", "<f4", default=0.0)[0])
        return XrmInfo(
            shape=(n_images, height, width),
            dtype=DTYPES[code],
            energy=_per_image(_field(ole, "Energy", "<f4", default=0.0), n_images),
            exposure_s=_per_image(_field(ole, "ExpTimes", "<f4", default=np.nan), n_images),
            pixel_size_nm=size_um * NM_PER_UM if 0 < size_um < np.inf else None,
            n_declared=n_declared,
            tiles=(tiles[0], tiles[1]),
        )


def read_image(path: Path, info: XrmInfo, index: int = 0) -> NDArray[Any]:
    """Return image `index` of the file, shape (height, width), as stored.

    Raises
    ------
    ReadError
        If the file is damaged or cut short.
    """
    with _open_ole(path) as ole:
        data = ole.openstream(_stream_name(index)).read()
    expected = info.shape[1] * info.shape[2]
    if len(data) < expected * info.dtype.itemsize:
        raise ReadError(
            f"{path}: image {index + 1} holds {len(data)} bytes instead of {expected * info.dtype.itemsize}"
        )
    return np.frombuffer(data, dtype=info.dtype, count=expected).reshape(info.shape[1:])


def _open(path: Path) -> Scan:
    info = read_info(path)
    attrs = {} if info.saturation_counts is None else {"saturation_counts": info.saturation_counts}
    timed = bool(np.all(np.isfinite(info.exposure_s)))
    quantity = "counts" if info.saturation_counts else "intensity"
    return Scan(
        shape=info.shape,
        dtype=info.dtype,
        read=_reader(path, info),
        energy=_energies(path, info),
        quantity=quantity,
        pixel_size_nm=info.pixel_size_nm,
        coords={"exposure_s": (("energy",), info.exposure_s)} if timed else {},
        attrs=attrs,
        history=(f"read {path.name} as {quantity}",),
        notes=(f"the scan was interrupted: {info.shape[0]} of {info.n_declared} images are there",)
        if info.shape[0] < info.n_declared
        else (),
    )


def _energies(path: Path, info: XrmInfo) -> NDArray[np.float64] | None:
    """Return the energies in the header, or else the energy in the file name."""
    if np.all(info.energy > 0):
        if len(info.energy) > 1 and np.ptp(info.energy) == 0:
            rows, columns = info.tiles
            if rows * columns > 1:
                raise EnergyError(
                    f"{path}: its {len(info.energy)} images are a mosaic of {rows} x {columns} tiles, all "
                    f"taken at {info.energy[0]:.1f} eV; expected a scan over energies"
                )
            raise EnergyError(
                f"{path}: its {len(info.energy)} images were all taken at {info.energy[0]:.1f} eV: "
                "a tomogram, or repeats; expected a scan over energies"
            )
        return info.energy
    named = energy_in_name(path.stem)
    return np.array([named]) if named is not None and info.shape[0] == 1 else None


def _reader(path: Path, info: XrmInfo) -> Any:
    def read(key: Key) -> NDArray[Any]:
        return frame_reader(info.shape[0], lambda e: read_image(path, info, e))(key)

    return read


@contextmanager
def _open_ole(path: Path) -> Iterator[olefile.OleFileIO]:
    with reading(path), olefile.OleFileIO(path) as ole:
        yield ole


def _field(ole: olefile.OleFileIO, name: str, dtype: str, *, default: float | None = None) -> NDArray[Any]:
    """Return a field of ImageInfo as an array of at least one value."""
    stream = f"ImageInfo/{name}"
    if not ole.exists(stream) or ole.get_size(stream) < np.dtype(dtype).itemsize:
        if default is None:
            raise ReadError(f"{ole.fp.name}: has no {stream}; not an Xradia image, or cut short")
        return np.array([default])
    data = ole.openstream(stream).read()
    return np.frombuffer(data[: len(data) // 4 * 4], dtype=dtype)


def _per_image(values: NDArray[Any], n_images: int) -> NDArray[np.float64]:
    """Return one value per image; a single value counts for all images, and NaN is one that is not there."""
    values = np.asarray(values, dtype=np.float64)
    if values.size == 1:
        return np.full(n_images, values[0])
    lacking = max(0, n_images - values.size)
    return np.concatenate([values[:n_images], np.full(lacking, np.nan)])


def _stream_name(index: int) -> str:
    return f"ImageData{index // IMAGES_PER_STORAGE + 1}/Image{index + 1}"


def _images_there(ole: olefile.OleFileIO, n_declared: int) -> int:
    """Return the number of images, without those at the end that were never taken."""
    n_images = n_declared
    while n_images > 1 and not ole.exists(_stream_name(n_images - 1)):
        n_images -= 1
    return n_images


def _require_whole(path: Path, ole: olefile.OleFileIO, n_images: int, image_bytes: int) -> None:
    """Check the images against their streams, and the allocation table against the size of the file."""
    for index in range(n_images):
        name = _stream_name(index)
        size = ole.get_size(name) if ole.exists(name) else 0
        if size < image_bytes:
            raise ReadError(
                f"{path}: image {index + 1} has {size} bytes instead of {image_bytes}; the file is cut short"
            )
    size = path.stat().st_size
    if size < (needed := max(n_images * image_bytes, _allocated_bytes(ole))):
        raise ReadError(f"{path}: has {size} bytes, its tables say at least {needed}; the file is cut short")


def _allocated_bytes(ole: olefile.OleFileIO) -> int:
    """Return the least size that a file with this allocation table has (its last sector may be partial)."""
    used = np.flatnonzero(np.asarray(ole.fat, dtype=np.int64) % 2**32 != FREE_SECTOR)
    return (int(used[-1]) + 1) * int(ole.sector_size) + 1 if used.size else 0


FORMAT = Format(
    name="xrm",
    description="Zeiss / Xradia .xrm and .txrm",
    suffixes=(".xrm", ".txrm"),
    matches=lambda _path, head: head.startswith(MAGIC),
    open=_open,
)
