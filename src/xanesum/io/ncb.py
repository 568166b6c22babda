"""Binary stacks ``.ncb`` of aXis2000 and MANTiS, which a text file ``.dat`` of the same name describes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError, XanesumError
from xanesum.io.flat_array import FlatArray, open_flat
from xanesum.io.scan import Format, Scan, read_bytes

__all__ = ["FORMAT"]

MOST_BYTES = 2**22  # of a text file that describes a stack


@dataclass(frozen=True, slots=True, eq=False)
class _Header:
    """Content of the text file: columns, rows and scale; first and last x; the same for y; energies."""

    n_x: int
    n_y: int
    scale: float  # values are divided by it and stored as whole numbers; below 0: stored as they are
    x_um: tuple[float, float]
    energy: NDArray[np.float64]


def _header(path: Path) -> _Header:
    text = read_bytes(path, MOST_BYTES).decode("utf-8", errors="replace")
    lines = [line.split() for line in text.splitlines()]
    try:
        n_x, n_y, scale = int(lines[0][0]), int(lines[0][1]), float(lines[0][2])
        first, last = float(lines[1][0]), float(lines[1][1])
        n_energies = int(lines[3][0])
        energy = np.array([float(line[0]) for line in lines[4 : 4 + n_energies]])
    except (ValueError, IndexError) as error:
        raise ReadError(f"{path}: does not describe a stack: {error}") from error
    if min(n_x, n_y, n_energies) < 1 or energy.size != n_energies or scale == 0 or not np.isfinite(scale):
        raise ReadError(f"{path}: does not describe a stack: {n_x} x {n_y} px, {energy.size} energies")
    return _Header(n_x, n_y, scale, (first, last), energy)


def _text_file(path: Path) -> Path | None:
    found = [path.with_suffix(suffix) for suffix in (".dat", ".DAT")]
    return next((each for each in found if each.is_file()), None)


def _matches(path: Path, head: bytes) -> bool:
    beside = _text_file(path) if head and path.suffix.lower() == ".ncb" else None
    if beside is None:
        return False
    with suppress(XanesumError):
        return bool(_header(beside).energy.size)
    return False


def _open(path: Path) -> Scan:
    beside = _text_file(path)
    if beside is None:
        raise ReadError(
            f"{path}: needs {path.with_suffix('.dat').name} in the same folder, which describes it"
        )
    header = _header(beside)
    is_float = header.scale < 0
    array = FlatArray(
        path,
        "<f4" if is_float else "<i2",
        0,
        (header.energy.size, header.n_y, header.n_x),
        1.0 if is_float else 1.0 / header.scale,
    )
    first, last = header.x_um
    step = (last - first) / max(header.n_x - 1, 1)
    return open_flat(array, header.energy, np.array([first, first + step]), "intensity")


FORMAT = Format(
    name="ncb",
    description="aXis2000 / MANTiS binary stack (.ncb with .dat)",
    suffixes=(".ncb",),
    matches=_matches,
    open=_open,
)
