"""aXis2000 / ALS STXM stacks: a ``.hdr`` header and one ``_aNNN.xim`` text image per energy."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import Format, Scan, frame_reader, read_bytes, reading
from xanesum.io.text import i0_at

__all__ = ["FORMAT"]

MAX_HEADER_BYTES = 2**24  # bytes of a header that are read; a larger file is something else
NM_PER = {"nm": 1.0, "um": 1e3, "mm": 1e6}  # nm per unit of length


def _open(path: Path) -> Scan:
    header = read_bytes(path, MAX_HEADER_BYTES).decode("latin-1")
    energy = _points(path, header, "StackAxis")
    columns, rows = _points(path, header, "PAxis"), _points(path, header, "QAxis")
    images = _image_paths(path, energy.size)
    shape = (energy.size, rows.size, columns.size)
    i0 = _i0_path(path)
    return Scan(
        shape=shape,
        dtype=np.dtype(np.float32),
        read=frame_reader(energy.size, lambda e: _read_image(images[e], shape[1:])),
        energy=energy,
        quantity="counts",
        pixel_size_nm=_pixel_size_nm(header, columns),
        coords={} if i0 is None else {"i0": (("energy",), i0_at(i0, energy))},
        history=(f"read {path.name} as counts", *([f"I0 from {i0.name}"] if i0 else [])),
    )


def _points(path: Path, header: str, axis: str) -> NDArray[np.float64]:
    """Return the points of one axis; the first number in the brackets is their count."""
    found = re.search(rf"\b{axis}\s*=\s*\{{[^}}]*?Points\s*=\s*\(([^)]*)\)", header)
    if found is None:
        raise ReadError(
            f"{path}: no {axis} with Points in this .hdr; expected an image stack ('Image Stack')"
        )
    try:
        count, *points = [float(field) for field in found[1].split(",")]
    except ValueError as error:
        raise ReadError(f"{path}: {axis} holds something other than numbers ({error})") from error
    if count != len(points) or not points:
        raise ReadError(
            f"{path}: {axis} declares {count:g} points but lists {len(points)}; is the header cut short?"
        )
    return np.array(points)


def _image_paths(path: Path, n_energies: int) -> list[Path]:
    """Return the images in order; they are named after the header *file*, not after its Label."""
    pattern = re.compile(re.escape(path.stem) + r"_a(\d+)\.xim", re.IGNORECASE)
    numbered = {
        int(m[1]): p for p in path.parent.iterdir() if (m := pattern.fullmatch(p.name)) and p.is_file()
    }
    missing = sorted(set(range(n_energies)) - set(numbered))
    if missing:
        raise ReadError(
            f"{path}: lists {n_energies} energies, but {len(missing)} of its images are missing "
            f"(first: {path.stem}_a{missing[0]:03d}.xim); copy the whole scan into one folder"
        )
    return [numbered[e] for e in range(n_energies)]


def _read_image(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    data = read_bytes(path)
    with reading(path):
        image = np.loadtxt(io.BytesIO(data), dtype=np.float32, ndmin=2) if data.strip() else np.empty((0, 0))
    if image.shape != shape:
        raise ReadError(
            f"{path}: holds {image.shape[0]} x {image.shape[1]} numbers, the header says {shape}; cut short?"
        )
    return np.asarray(image, dtype=np.float32)


def _pixel_size_nm(header: str, points: NDArray[np.float64]) -> float | None:
    unit = re.search(r'\bPAxis\s*=\s*\{[^}]*?Unit\s*=\s*"([^"]*)"', header)
    if points.size < 2:
        return None
    step = float(np.abs(points[-1] - points[0])) / (points.size - 1)
    return round(step * NM_PER.get(unit[1] if unit else "um", 1e3), 6) or None


def _i0_path(path: Path) -> Path | None:
    """Return the file of the I0 spectrum in the same folder, if there is one."""
    for candidate in (path.with_suffix(".xsp"), path.with_name("i0.xsp")):
        if candidate.is_file():
            return candidate
    return None


def _matches(path: Path, head: bytes) -> bool:
    return path.suffix.lower() == ".hdr" and b"ScanDefinition" in head


FORMAT = Format(
    name="axis2000",
    description="aXis2000 / ALS STXM stack (.hdr and .xim)",
    suffixes=(".hdr",),
    matches=_matches,
    open=_open,
)
