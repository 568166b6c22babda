"""Text tables: lists of photon energies, and I0 spectra."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import EnergyError, ReadError
from xanesum.io.scan import read_bytes
from xanesum.stack import KEV_LIMIT

__all__ = ["energies_from", "i0_at", "interpolate_i0", "read_table"]

MAX_BYTES = 2**24  # a table of energies has kilobytes; a larger file is not one
DIGIT_COMMA = re.compile(r"(\d),(\d)")  # perhaps a decimal comma
SEPARATORS = str.maketrans(",;\t", "   ")


def read_table(path: Path, *, min_columns: int = 1) -> NDArray[np.float64]:
    """Read the leading numeric columns of a text file.

    Columns are separated by blanks, commas, semicolons or tabs; ``#`` starts a comment; lines before the
    first number are a header.  If something other than commas separates the columns, and no number has a
    point, a comma between two digits is a decimal comma.

    Parameters
    ----------
    path : Path
        The text file.
    min_columns : int
        Columns that every line must have; more are ignored.

    Returns
    -------
    ndarray, shape (rows, min_columns)

    Raises
    ------
    ReadError
        If the file is missing, has no numbers, or has a line between rows of numbers that is not one; or if
        it is not clear whether its commas are decimal commas.
    """
    data = read_bytes(path, MAX_BYTES + 1)
    if len(data) > MAX_BYTES or b"\0" in data:
        raise ReadError(
            f"{path}: expected a text file with a column of numbers, this one is binary or too large"
        )
    rows: list[list[float]] = []
    lines = [line.split("#")[0] for line in data.decode("utf-8-sig", errors="replace").splitlines()]
    if _has_decimal_commas(path, [line for line in lines if DIGIT_COMMA.search(line)], min_columns):
        lines = [DIGIT_COMMA.sub(r"\1.\2", line) for line in lines]
    for number, line in enumerate(lines, start=1):
        fields = line.translate(SEPARATORS).split()
        row = _numbers(fields[:min_columns])
        if len(row) == min_columns:
            rows.append(row)
        elif fields and rows:
            raise ReadError(f"{path}: line {number} is not a row of numbers: {line.strip()[:40]!r}")
    if not rows:
        raise ReadError(
            f"{path}: no rows with {min_columns} number(s) found; expected text, one row per line"
        )
    return np.array(rows, dtype=np.float64)


def energies_from(energies: str | Path | ArrayLike) -> NDArray[np.float64]:
    """Return energies that are given as an array, or as the path of a text file (its first column).

    Raises
    ------
    ReadError
        If the file cannot be read.
    EnergyError
        If the array does not contain numbers.
    """
    if isinstance(energies, str | Path):
        return read_table(Path(energies))[:, 0]
    try:
        return np.asarray(energies, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise EnergyError(f"energies must be numbers or the path of a text file: {error}") from error


def i0_at(path: Path, energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the I0 spectrum in `path`, interpolated linearly at `energy`.

    Parameters
    ----------
    path : Path
        Text file with two columns, energy (eV or keV) and counts.
    energy : ndarray, shape (E,)
        Photon energies in eV or keV.

    Raises
    ------
    ReadError
        If the file is not a table of two columns, or does not cover the energies.
    """
    table = read_table(path, min_columns=2)
    return interpolate_i0(path, table[:, 0], table[:, 1], energy)


def interpolate_i0(
    path: Path, known: NDArray[np.float64], counts: NDArray[np.float64], energy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return an I0 spectrum at other energies, interpolated linearly.

    Parameters
    ----------
    path : Path
        The file that holds it, for messages.
    known, counts : ndarray, shape (n,)
        Its energies, in eV or keV and in any order, and its counts.
    energy : ndarray, shape (E,)
        Photon energies in eV or keV.

    Raises
    ------
    ReadError
        If a value is not finite, or the spectrum does not cover the energies.
    """
    if not (np.all(np.isfinite(known)) and np.all(np.isfinite(counts))):
        raise ReadError(f"{path}: the I0 spectrum holds values that are not finite; correct the file")
    known, wanted = _in_ev(known), _in_ev(energy)
    order = np.argsort(known, kind="stable")
    known, counts = known[order], counts[order]
    slack = 0.01  # eV: energies are printed with two or three decimals
    if wanted.min() < known[0] - slack or wanted.max() > known[-1] + slack:
        raise ReadError(
            f"{path}: I0 covers {known[0]:.2f} to {known[-1]:.2f} eV, but the scan needs "
            f"{wanted.min():.2f} to {wanted.max():.2f} eV; give an I0 of the whole range"
        )
    return np.asarray(np.interp(wanted, known, counts), dtype=np.float64)


def _has_decimal_commas(path: Path, lines: list[str], min_columns: int) -> bool:
    """Return whether the commas between digits are decimal commas; all `lines` have such a comma."""
    if not lines or any("." in line for line in lines):
        return False
    if all(re.search(r";|\t|\d\s+[\d+-]", line) for line in lines):
        return True
    if min_columns == 1 and all(line.count(",") == 1 for line in lines):
        raise ReadError(
            f"{path}: {lines[0].strip()[:40]!r} may be one number with a decimal comma, or two; "
            "write decimals with a point, or put blanks between columns"
        )
    return False


def _numbers(fields: list[str]) -> list[float]:
    """Return the fields as numbers; empty if one of them is not a number."""
    try:
        return [float(field) for field in fields]
    except ValueError:
        return []


def _in_ev(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    return energy * 1e3 if energy.max() < KEV_LIMIT else energy
