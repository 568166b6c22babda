"""Images of labels and masks: whole numbers in a TIFF, a NumPy or an HDF5 file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.hdf5_file import is_hdf5, open_h5, quoted, walk
from xanesum.io.npy import MAGIC, read_npy
from xanesum.io.scan import read_bytes, reading
from xanesum.io.tiff_pages import require_codec

__all__ = ["LARGEST_IMAGE", "read_labels"]

LARGEST_IMAGE = 100_000_000  # pixels; a larger image is not read
HEAD = 8
WITH_DATA = re.compile(r"(?P<path>.+\.(h5|hdf5|hdf|nxs)):(?P<data>.+)", re.IGNORECASE)


def read_labels(path: str | Path, *, data: str | None = None) -> NDArray[Any]:
    """Read an image (Y, X) of labels, or of a mask.

    Parameters
    ----------
    path : str or Path
        ``.npy``, TIFF with one page, or HDF5.
    data : str, optional
        Dataset of an HDF5 file; needed if it holds several images. It may also follow the path after a colon:
        ``labels.h5:/entry/labels``.

    Raises
    ------
    ReadError
        If the file is missing, holds no single image of numbers, or a too large one.
    """
    named = WITH_DATA.fullmatch(str(path))
    path = Path(path)
    if data is None and named is not None and not path.exists():
        path, data = Path(named["path"]), named["data"]
    head = read_bytes(path, HEAD)
    if head.startswith(MAGIC):
        image = read_npy(path)
    elif is_hdf5(path, head):
        image = _of_hdf5(path, data)
    else:
        image = _of_tiff(path)
    if image.ndim != 2 or not image.size:
        raise ReadError(f"{path}: holds an array of shape {image.shape}, expected an image (y, x) of labels")
    _require_size(path, image.shape)
    return np.asarray(image)


def _of_tiff(path: Path) -> NDArray[Any]:
    with reading(path), tifffile.TiffFile(path) as file:
        if len(file.pages) != 1:
            raise ReadError(f"{path}: holds {len(file.pages)} images, expected one image of labels")
        require_codec(path, file.pages.first)
        _require_size(path, file.pages.first.shape)
        image: NDArray[Any] = file.asarray()
    return image


def _of_hdf5(path: Path, name: str | None) -> NDArray[Any]:
    with open_h5(path) as file:
        there = {key: item for key, item in walk(file) if isinstance(item, h5py.Dataset) and _is_image(item)}
        if name is None and len(there) != 1:
            names = ", ".join(quoted(key) for key in there) or "none"
            raise ReadError(f"{path}: name the image of labels, as {path.name}:NAME; there are {names}")
        key = next(iter(there)) if name is None else name.strip("/")
        found = {each.strip("/"): item for each, item in there.items()}.get(key.strip("/"))
        if found is None:
            raise ReadError(f"{path}: has no image of numbers {quoted(key)}")
        _require_size(path, found.shape)
        with reading(path):
            image: NDArray[Any] = found[()]
    return image


def _is_image(item: h5py.Dataset) -> bool:
    return item.ndim == 2 and item.dtype.kind in "iufb" and item.size > 1


def _require_size(path: Path, shape: tuple[int, ...]) -> None:
    if np.prod(shape, dtype=float) > LARGEST_IMAGE:
        raise ReadError(f"{path}: an image of {shape} px is too large for labels")
