"""Photon energies of a scan: lists in text files and arrays; lists that cannot be energies are refused."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import EnergyError, ReadError, XanesumWarning
from xanesum.io.npy import read_npy
from xanesum.io.scan import Scan
from xanesum.io.text import Lines, fields_of, numbers_in, point_decimals, read_lines
from xanesum.stack import KEV_LIMIT

__all__ = ["energies_from", "file_beside", "known_energies", "read_energies", "require_one_scan"]

Rows = list[list[float]]

MAX_EV = 60_000.0  # no microscope measures an absorption edge above this
MAX_RATIO = 8.0  # of the highest and the lowest energy of a scan; a decimal that slipped makes it 10
DECIMAL_COMMA = re.compile(r"\d+,\d+")
BRACKETS = str.maketrans("[](){}", "      ")
NAME_OF_ENERGY = re.compile(r"energ|\bk?ev\b|\beng\b|^e$", re.IGNORECASE)
EDGE = re.compile(r"\be_?0\b\D{0,12}?(\d{2,5}(?:\.\d+)?)", re.IGNORECASE)  # "E0 = 8340.0"


def energies_from(energies: str | Path | ArrayLike, n_images: int | None = None) -> NDArray[np.float64]:
    """Return energies that are given as an array, or as the path of a text file or a ``.npy`` file.

    Parameters
    ----------
    energies : str, Path or array_like of shape (E,)
        In eV or keV.
    n_images : int, optional
        Number of images; it decides how a file is read that may be read in two ways.

    Raises
    ------
    ReadError
        If the file cannot be read.
    EnergyError
        If the numbers cannot be the photon energies of one scan.
    """
    if isinstance(energies, str | Path):
        return read_energies(Path(energies), n_images)
    try:
        given = np.asarray(energies, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise EnergyError(f"energies must be numbers or the path of a text file: {error}") from error
    require_one_scan(given, "the energies given")
    return given


def known_energies(scan: Scan) -> NDArray[np.float64] | None:
    """Return the energies that a scan has, or those in a file beside it; None if there are none.

    Raises
    ------
    ReadError, EnergyError
        If the file beside it cannot be read as a list of energies.
    """
    if scan.energy is not None:
        return scan.energy
    found = file_beside(scan.beside)
    return None if found is None else read_energies(found, scan.shape[0])


def file_beside(candidates: Sequence[Path]) -> Path | None:
    """Return the first of these files that there is, in letters of either case; None if there is none."""
    if not candidates:
        return None
    with suppress(OSError):
        there = {file.name.lower(): file for file in sorted(candidates[0].parent.iterdir(), reverse=True)}
        named = (path if path.exists() else there.get(path.name.lower()) for path in candidates)
        return next((path for path in named if path is not None and not path.is_dir()), None)
    return None


def read_energies(path: Path, n_images: int | None = None) -> NDArray[np.float64]:
    """Read a list of photon energies.

    It may have one energy a line, or all in one line; several columns, of which one is named energy in the
    header, or is the first after a count of the images; brackets, units, and the separators and comments of
    `xanesum.io.text.read_table`.  Energies relative to an edge are used if the text names ``E0 = ...``.

    Raises
    ------
    ReadError
        If the file is missing or has no numbers.
    EnergyError
        If the numbers cannot be the photon energies of one scan.
    """
    if path.suffix.lower() == ".npy":
        energy = np.asarray(read_npy(path), dtype=np.float64).ravel()
        words = ""
    else:
        lines, comments = read_lines(path)
        rows, header = _rows(path, lines)
        energy = _energies_in(rows, header or (comments[-1] if comments else ""), n_images, str(path))
        words = " ".join([*comments, header])
    if (edge := EDGE.search(words)) and energy.size and energy.min() <= 0:
        energy = energy + float(edge[1])
        warnings.warn(
            f"{path}: energies relative to E0 = {edge[1]} were added to it", XanesumWarning, stacklevel=2
        )
    require_one_scan(energy, str(path))
    return energy


def require_one_scan(energy: NDArray[np.float64], source: str) -> None:
    """Raise EnergyError if numbers cannot be the photon energies of one scan.

    Parameters
    ----------
    energy : ndarray, shape (E,)
        In eV or keV.  Values that are not finite are left to `xanesum.make_stack`.
    source : str
        Where they come from, for the message.
    """
    known = energy[np.isfinite(energy)]
    if not known.size:
        return
    low, high = float(known.min()), float(known.max())
    if known.size > 1 and low in (0.0, 1.0) and np.array_equal(known, low + np.arange(known.size)):
        raise EnergyError(
            f"{source}: {low:g}, {low + 1:g} ... {high:g} are the numbers of images, not photon energies; "
            "give a list of energies in eV or keV"
        )
    if low <= 0:
        raise EnergyError(
            f"{source}: runs from {low:.6g} to {high:.6g}, so it is relative to an edge, or no list of "
            "photon energies; add the energy of the edge to each, or write # E0 = ... above the list"
        )
    if low < KEV_LIMIT <= high:
        raise EnergyError(
            f"{source}: holds {low:.6g} and {high:.6g}, so keV and eV are mixed, or it is no list of photon "
            "energies; one scan has one unit"
        )
    unit = 1e3 if high < KEV_LIMIT else 1.0
    if high * unit > MAX_EV or high > MAX_RATIO * low:
        raise EnergyError(
            f"{source}: {low * unit:.6g} to {high * unit:.6g} eV cannot be the photon energies of one scan; "
            "correct the list"
        )


def _rows(path: Path, lines: Lines) -> tuple[Rows, str]:
    """Return the numbers of every line, and the header; a list in brackets, or in one line, is one row."""
    text = " ".join(line for _, line in lines).strip()
    if text.startswith(("[", "(", "{")):
        return [numbers_in(fields_of(text.translate(BRACKETS)))], ""
    parts = text.replace(";", " ").split()
    one_line = sum(bool(line.strip()) for _, line in lines) == 1
    if one_line and len(parts) > 1 and all(DECIMAL_COMMA.fullmatch(part) for part in parts):
        return [[float(part.replace(",", ".")) for part in parts]], ""
    if sum(bool(numbers_in(fields_of(line))) for _, line in lines) > 1:
        lines = point_decimals(path, lines)
    header = ""
    rows: Rows = []
    for number, line in lines:
        fields = fields_of(line)
        if fields and numbers_in(fields[:1]):
            rows.append(numbers_in(fields))
        elif fields and rows:
            raise ReadError(f"{path}: line {number} is not a row of numbers: {line.strip()[:40]!r}")
        elif fields:
            header = line
    if not rows:
        rows = [numbers_in(fields_of(line)) for _, line in lines if line.strip()]  # names of files come first
    if not rows or min(map(len, rows)) == 0:
        raise ReadError(f"{path}: no rows with 1 number(s) found; expected text, one energy per line")
    return rows, header


def _energies_in(rows: Rows, header: str, n_images: int | None, source: str) -> NDArray[np.float64]:
    """Return the energies among the numbers of all lines."""
    flat = np.array([value for row in rows for value in row])
    if n_images is not None and len(rows) == n_images + 1 and rows[0] == [n_images]:
        rows = rows[1:]  # the first line says how many lines follow
    if n_images is not None and len(rows) != n_images == len(flat):
        return flat
    if len(rows) == 1 and len(flat) > 1 and (n_images != 1) and _may_be_energies(flat):
        return flat
    n_columns = min(map(len, rows))
    table = np.array([row[:n_columns] for row in rows])
    return np.asarray(table[:, _column(table, header, source)], dtype=np.float64)


def _column(table: NDArray[np.float64], header: str, source: str) -> int:
    """Return the column that holds energies: as the header says, or after a count, or the first."""
    n_columns = table.shape[1]
    for names in (re.split(r"[,;\t]", header), header.split()):
        named = [i for i, name in enumerate(names) if NAME_OF_ENERGY.search(name.strip())]
        if len(names) == n_columns and len(named) == 1:
            return named[0]
    if n_columns > 1 and _counts(table[:, 0]) and _may_be_energies(table[:, 1]):
        if table[0, 0] in (0, 1):
            return 1
        if len(table) > 2 and np.all(np.diff(table[:, 1]) > 0) and not _counts(table[:, 1]):
            raise EnergyError(
                f"{source}: {table[0, 0]:g} ... and {table[0, 1]:g} ... may both be energies, or the "
                "first are numbers of images; name the columns in a header, as '# number energy'"
            )
    return 0


def _counts(values: NDArray[np.float64]) -> bool:
    return bool(np.array_equal(values, values[0] + np.arange(len(values))))


def _may_be_energies(values: NDArray[np.float64]) -> bool:
    try:
        require_one_scan(values, "")
    except EnergyError:
        return False
    return bool(np.all(np.isfinite(values)))
