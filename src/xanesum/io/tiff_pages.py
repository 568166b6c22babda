"""The images of a TIFF file: which pages are one stack, and whether they can be decoded and are all there."""

from __future__ import annotations

import logging
import re
import struct
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from xanesum.errors import MissingExtraError, ReadError
from xanesum.io.scan import Key, frame_reader, reading

__all__ = ["TiffFrames", "find_frames", "read_frames", "require_all_pages", "require_codec"]

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what matters becomes an error here

# A page that declares more bytes than its compression can give is damaged.
MAX_RATIO = {"NONE": 1, "ZSTD": 50_000, "LZMA": 10_000}
OTHER_RATIO = 2000  # LZW, deflate, PackBits
WHOLE_BITS = (1, 8, 16, 32, 64)  # that tifffile reads by itself
WITH_ZSTD = (3, 14)  # version of Python from which its library has zstd
PART = re.compile(r'\bFileName="([^"]*)"')  # of an OME stack in several files
CHANNEL = re.compile(r'<(?:\w+:)?Channel\b[^>]*\bName="([^"]*)"')


@dataclass(frozen=True, slots=True)
class TiffFrames:
    """Where the images of a stack are.

    Attributes
    ----------
    shape : (int, int, int)
        Images, rows and columns.
    dtype : dtype
        As stored, with its byte order.
    pages : tuple of (Path, int)
        File and page of each image; empty if they lie behind one header.
    offset : int
        Byte of the first image, if they lie behind one header.
    axis : int or None
        Axis of the images in the only page, if they are its samples or its depth.
    notes : tuple of str
        What was left out.
    labels : tuple of str
        Labels of the images; empty if there are none.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    pages: tuple[tuple[Path, int], ...] = ()
    offset: int = 0
    axis: int | None = None
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def find_frames(path: Path, file: tifffile.TiffFile) -> TiffFrames:
    """Return where the images of a TIFF file are.

    Raises
    ------
    ReadError
        If they are no grey images of one size, if they belong to several stacks, or are not all there.
    MissingExtraError
        If they are compressed in a way that takes a package which is not installed.
    """
    pages = list(file.pages)
    _require_own_folder(path, file)
    series, notes = _one_series(path, [each for each in file.series if each.shape])
    key = series.keyframe
    _require_grey(path, key)
    require_codec(path, key)
    _require_stored(path, [pages[i] for i in sorted(_own_pages(series, path, len(pages)))])
    if key.samplesperpixel > 1:
        return _samples_of(path, series, key, notes)
    n_images = _n_images(path, series)
    declared = max(_extent(series), _declared(file))
    if declared > n_images > 1:
        notes = (*notes, f"{path.name}: was to have {declared} images, and {n_images} are there")
    elif declared > n_images:
        raise ReadError(f"{path}: declares {declared} images, but holds {n_images}; cut short")
    labels = _labels(file, n_images)
    shape = (n_images, int(key.imagelength), int(key.imagewidth))
    dtype = np.dtype(f"{file.byteorder}{key.dtype.str[1:]}")
    if len(series.pages) == 1 and int(key.imagedepth) == n_images > 1:
        return TiffFrames(shape, dtype, pages=_places(path, series), axis=0, notes=notes, labels=labels)
    if len(series.pages) == 1 and n_images > 1:
        start = int(key.dataoffsets[0])
        if series.dataoffset is None or start + dtype.itemsize * int(np.prod(shape)) > path.stat().st_size:
            raise ReadError(f"{path}: declares {n_images} images that the file does not hold; cut short")
        return TiffFrames(shape, dtype, offset=start, notes=notes, labels=labels)
    return TiffFrames(shape, dtype, pages=_places(path, series), notes=notes, labels=labels)


def read_frames(path: Path, frames: TiffFrames, key: Key) -> NDArray[Any]:
    """Return the pixels at `key`, a `xanesum.io.scan.Key`."""
    with reading(path), ExitStack() as opened:
        if frames.axis is not None:
            image = opened.enter_context(tifffile.TiffFile(path)).pages[frames.pages[0][1]].asarray()
            return np.moveaxis(image, frames.axis, 0)[key]
        if not frames.pages:
            stored = np.memmap(path, frames.dtype, "r", offset=frames.offset, shape=frames.shape)
            return np.array(stored[key])
        files: dict[Path, tifffile.TiffFile] = {}

        def frame(e: int) -> NDArray[Any]:
            place, index = frames.pages[e]
            if place not in files:
                files[place] = opened.enter_context(tifffile.TiffFile(place))
            image: NDArray[Any] = np.asarray(files[place].pages[index].asarray())
            return image.reshape(frames.shape[1:])

        values: NDArray[Any] = frame_reader(frames.shape[0], frame)(key)
        return values


def require_all_pages(path: Path) -> None:
    """Follow the chain of page headers; tifffile takes a link that leaves the file for the end of it.

    Raises
    ------
    ReadError
        If a link leaves the file.
    """
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


# --- which pages


def _one_series(path: Path, found: list[Any]) -> tuple[Any, tuple[str, ...]]:
    """Return the only stack among the series of a file, with a note of what else there is."""
    whole = [each for each in found if not each.keyframe.is_reduced] or found
    if not whole:
        raise ReadError(f"{path}: holds no images")
    notes = [f"{path.name}: smaller copies of the images were left out"] * (len(whole) < len(found))
    if len(whole) == 1:
        return whole[0], tuple(notes)
    kinds = {(each.keyframe.shape, str(each.dtype)) for each in whole}
    if len(kinds) == 1 and all(
        each.kind != "ome" and len(each.pages) == 1 == _extent(each) for each in whole
    ):
        return _Joined(whole), tuple(notes)  # images that were added to the file one after the other
    stacks = [each for each in whole if _extent(each) > 1]
    if len(stacks) == 1:
        others = ", ".join(sorted({_sizes(each) for each in whole if each is not stacks[0]}))
        return stacks[0], (*notes, f"{path.name}: also holds {others}, which were left out")
    listed = ", ".join(f"{_sizes(each)} of {each.dtype}" for each in whole[:4])
    raise ReadError(
        f"{path}: expected grey images of one size, one page per energy, got {len(whole)} stacks: {listed}; "
        "save the one that is wanted by itself"
    )


class _Joined:
    """Single images of one size, as one series."""

    def __init__(self, parts: list[Any]) -> None:
        self.pages = [part.pages[0] for part in parts]
        self.keyframe, self.dtype, self.kind = parts[0].keyframe, parts[0].dtype, "joined"
        self.axes, self.shape = "I" + parts[0].keyframe.axes, (len(parts), *parts[0].keyframe.shape)


def _extent(series: Any) -> int:
    """Return the number of images of a series."""
    sizes = [n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    return int(np.prod(sizes, dtype=np.int64))


def _sizes(series: Any) -> str:
    return " x ".join(map(str, series.shape)) + f" ({', '.join(series.axes.lower())})"


def _n_images(path: Path, series: Any) -> int:
    """Return the number of images; raise ReadError if they have several axes."""
    sizes = [(axis, n) for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    axes = [axis for axis, n in sizes if n > 1]
    if len(axes) > 1:
        raise ReadError(
            f"{path}: has the axes {series.axes} with {' x '.join(map(str, series.shape))} values, more than "
            "one scan over energies; save the stack that is wanted by itself"
        )
    n_images = _extent(series)
    if any(page is None for page in series.pages):
        there = sum(page is not None for page in series.pages)
        raise ReadError(f"{path}: declares {n_images} images, but has {there}; copy all of its files here")
    return n_images if len(series.pages) == 1 else len(series.pages)


def _places(path: Path, series: Any) -> tuple[tuple[Path, int], ...]:
    return tuple((path.parent / page.parent.filename, int(page.index)) for page in series.pages)


def _own_pages(series: Any, path: Path, n_pages: int) -> set[int]:
    """Return the pages of a series that are in the file itself."""
    own = {int(p.index) for p in series.pages if p is not None and p.parent.filename == path.name}
    return {index for index in own if index < n_pages}


def _samples_of(path: Path, series: Any, key: Any, notes: tuple[str, ...]) -> TiffFrames:
    """Return the images that are the samples of one page, as bands of a multi-band picture."""
    if len(series.pages) != 1 or "S" not in key.axes:
        raise ReadError(
            f"{path}: expected grey images of one size, got pages of {key.samplesperpixel} samples a pixel"
        )
    axis = key.axes.index("S")
    shape = (int(key.samplesperpixel), int(key.imagelength), int(key.imagewidth))
    place = ((path, int(series.pages[0].index)),)
    return TiffFrames(shape, np.dtype(key.dtype), pages=place, axis=axis, notes=notes)


def _labels(file: tifffile.TiffFile, n_images: int) -> tuple[str, ...]:
    """Return the labels of the slices (ImageJ), the names of the channels (OME), or the text of each page."""
    found: Iterable[Any]
    if file.is_imagej:
        found = (file.imagej_metadata or {}).get("Labels") or ()
    elif file.is_ome:
        found = CHANNEL.findall(file.ome_metadata or "")
    elif file.is_shaped or len(file.pages) != n_images:
        found = ()
    else:
        found = [getattr(page, "description", "") for page in file.pages]
    labels = tuple(str(label)[:200] for label in found)
    return labels if len(labels) == n_images else ()


# --- what cannot be read


def _require_grey(path: Path, key: Any) -> None:
    """Raise ReadError for colours, complex numbers and single bits."""
    colours = tifffile.PHOTOMETRIC(key.photometric).name
    got = None
    if colours == "PALETTE":
        got = "indices into a palette of colours"
    elif colours not in ("MINISBLACK", "MINISWHITE"):
        got = f"colours ({colours})"
    elif key.bitspersample == 1:
        got = "images of 1 bit, a mask"
    elif key.dtype is None or key.dtype.kind not in "iuf":
        got = "complex numbers" if key.dtype is not None and key.dtype.kind == "c" else f"{key.dtype} values"
    if got is not None:
        raise ReadError(f"{path}: holds {got}; expected grey images of one size, one page per energy")


def require_codec(path: Path, key: Any) -> None:
    """Raise MissingExtraError if a package that is not installed is needed to decode a page of tifffile."""
    compression = tifffile.COMPRESSION(key.compression).name
    lacking = None
    try:
        tifffile.TIFF.DECOMPRESSORS[key.compression]
    except KeyError:
        lacking = f"are compressed with {compression}"
    if compression == "ZSTD" and sys.version_info < WITH_ZSTD and not _has_imagecodecs():
        lacking = "are compressed with ZSTD"  # tifffile would look for a module of later versions of Python
    try:
        tifffile.TIFF.UNPREDICTORS[key.predictor]
    except KeyError:
        lacking = lacking or f"are compressed with the predictor {tifffile.PREDICTOR(key.predictor).name}"
    if lacking is None and key.bitspersample not in WHOLE_BITS and not _has_imagecodecs():
        lacking = f"have {key.bitspersample} bits a value"
    if lacking is None:
        return
    remedy = (
        "save them without compression"
        if _has_imagecodecs()
        else "install imagecodecs (pip install 'xanesum[codecs]'), or save them without compression"
    )
    raise MissingExtraError(f"{path}: its images {lacking}; {remedy}")


def _has_imagecodecs() -> bool:
    try:
        return find_spec("imagecodecs") is not None
    except ValueError:  # it is known not to be there
        return False


def _require_stored(path: Path, pages: list[Any]) -> None:
    """Check that every page lies within the file, and that its bytes can contain its pixels."""
    size = path.stat().st_size
    for page in pages:
        stored = sum(page.databytecounts)
        filled = np.count_nonzero(page.databytecounts) / max(
            1, len(page.databytecounts)
        )  # tiles may be empty
        ratio = MAX_RATIO.get(tifffile.COMPRESSION(page.compression).name, OTHER_RATIO)
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if max(ends, default=0) > size or page.nbytes * filled > stored * ratio:
            raise ReadError(
                f"{path}: page {page.index} declares {page.nbytes} bytes that the file does not "
                "hold; cut short"
            )


def _declared(file: tifffile.TiffFile) -> int:
    """Return the number of images that a header declares, 0 if it does not."""
    if file.is_imagej:
        return int((file.imagej_metadata or {}).get("images", 0))
    sizes = [each.get("shape", ()) for each in file.shaped_metadata or ()] if file.is_shaped else []
    return max((int(np.prod(size[:-2])) for size in sizes if len(size) > 2), default=0)


def _require_own_folder(path: Path, file: tifffile.TiffFile) -> None:
    """Raise ReadError if an OME stack names files outside of its folder, or some that are not there."""
    if not file.is_ome:
        return
    for name in sorted(set(PART.findall(file.ome_metadata or ""))):
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
            raise ReadError(f"{path}: names {name!r} as a part of the stack, which is not in its own folder")
        if name.lower() != path.name.lower() and not (path.parent / name).is_file():
            raise ReadError(f"{path}: {name!r} is a part of the stack, but is missing; copy it here")
