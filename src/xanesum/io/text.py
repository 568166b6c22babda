"""Text tables: columns of numbers in the forms in which other programs write them, and I0 spectra."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import read_bytes
from xanesum.stack import KEV_LIMIT

__all__ = [
    "Lines",
    "fields_of",
    "i0_at",
    "interpolate_i0",
    "numbers_in",
    "point_decimals",
    "read_lines",
    "read_table",
]

MAX_BYTES = 2**24  # a table of energies has kilobytes; a larger file is not one
DIGIT_COMMA = re.compile(r"(\d),(\d)")  # perhaps a decimal comma
THOUSANDS = re.compile(r"\s*(\d{1,3}),(\d{3}\.\d+)\s*")  # "8,340.25" and nothing else in its line
PADDED = re.compile(r"\s*\d+,0\d+\s*")  # no second column is written as "8340,05"
SEPARATORS = str.maketrans(",;\t", "   ")
UNIT = re.compile(r"(?<=[\d.])\s*\[?k?ev\]?(?![a-z])", re.IGNORECASE)  # behind a number: "8340.5eV"
BYTE_ORDERS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
COMMENTS = ("%", "*", "!", "//")  # beginnings of a line that is a comment; "#" may stand anywhere

Lines = list[tuple[int, str]]  # number of the line in its file from 1 on, and its text


def read_table(path: Path, *, min_columns: int = 1) -> NDArray[np.float64]:
    """Read the leading numeric columns of a text file.

    Columns are separated by blanks, commas, semicolons or tabs; ``#`` starts a comment, as ``%``, ``*`` and
    ``!`` do at the beginning of a line; lines before the first number are a header.  A unit behind a number
    (eV, keV) is left out.  If something other than commas separates the columns, and no number has a point,
    a comma between two digits is a decimal comma.  The text may be UTF-8 or UTF-16.

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
    rows: list[list[float]] = []
    for number, line in point_decimals(path, read_lines(path)[0], min_columns=min_columns):
        fields = fields_of(line)
        row = numbers_in(fields[:min_columns])
        if len(row) == min_columns == len(fields[:min_columns]):
            rows.append(row)
        elif fields and rows:
            raise ReadError(f"{path}: line {number} is not a row of numbers: {line.strip()[:40]!r}")
    if not rows:
        raise ReadError(
            f"{path}: no rows with {min_columns} number(s) found; expected text, one row per line"
        )
    return np.array(rows, dtype=np.float64)


def read_lines(path: Path) -> tuple[Lines, list[str]]:
    """Return the lines of a text file that are no comments, without units; and the comments.

    Raises
    ------
    ReadError
        If the file is missing, or is not text.
    """
    data = read_bytes(path, MAX_BYTES + 1)
    lines: Lines = []
    comments: list[str] = []
    for number, line in enumerate(_decoded(path, data).splitlines(), start=1):
        text, _, comment = line.partition("#")
        if text.lstrip().startswith(COMMENTS):
            text, comment = "", text.strip().lstrip("".join(COMMENTS))
        if comment.strip():
            comments.append(comment.strip())
        lines.append((number, UNIT.sub(" ", text)))
    return lines, comments


def fields_of(line: str) -> list[str]:
    """Return the columns of a line."""
    return line.translate(SEPARATORS).split()


def numbers_in(fields: list[str]) -> list[float]:
    """Return those of the fields that are numbers."""
    found = []
    for field in fields:
        try:
            found.append(float(field))
        except ValueError:
            continue
    return found


def point_decimals(path: Path, lines: Lines, *, min_columns: int = 1) -> Lines:
    """Return the lines with a point in place of decimal commas, and without commas between thousands.

    Raises
    ------
    ReadError
        If it is not clear whether commas are decimal commas.
    """
    filled = [text for _, text in lines if DIGIT_COMMA.search(text)]
    if min_columns == 1 and len(filled) > 1 and all(THOUSANDS.fullmatch(text) for text in filled):
        return [(number, THOUSANDS.sub(r"\1\2", text)) for number, text in lines]
    if not _has_decimal_commas(path, filled, min_columns):
        return lines
    return [(number, DIGIT_COMMA.sub(r"\1.\2", text)) for number, text in lines]


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


def _decoded(path: Path, data: bytes) -> str:
    """Return the text of a file; raise ReadError if it is none."""
    encoding = next((name for mark, name in BYTE_ORDERS.items() if data.startswith(mark)), "utf-8-sig")
    half = len(data) // 2
    if encoding == "utf-8-sig" and half and data[1::2].count(0) == half and b"\0" not in data[::2]:
        encoding = "utf-16-le"  # plain letters of UTF-16, without the mark at the beginning
    text = data.decode(encoding, errors="replace")
    if len(data) > MAX_BYTES or "\0" in text:
        raise ReadError(
            f"{path}: expected a text file with a column of numbers, this one is binary or too large"
        )
    return text


def _has_decimal_commas(path: Path, lines: list[str], min_columns: int) -> bool:
    """Return whether the commas between digits are decimal commas; all `lines` have such a comma."""
    if not lines or any("." in line for line in lines):
        return False
    if all(re.search(r";|\t|\d\s+[\d+-]", line) for line in lines):
        return True
    if min_columns == 1 and all(line.count(",") == 1 for line in lines):
        if any(PADDED.fullmatch(line) for line in lines):
            return True
        raise ReadError(
            f"{path}: {lines[0].strip()[:40]!r} may be one number with a decimal comma, or two; "
            "write decimals with a point, or put blanks between columns"
        )
    return False


def _in_ev(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    return energy * 1e3 if energy.max() < KEV_LIMIT else energy
