"""Spectra in columns of text: which column is the energy, and how absorption follows from the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EnergyError, ReadError
from xanesum.io.energies import require_one_scan
from xanesum.io.spectrum import ABSORPTION, FLUORESCENCE, REFERENCE, TRANSMISSION, Reference
from xanesum.io.text import Lines, fields_of, numbers_in, point_decimals, read_lines

__all__ = ["Channel", "channels_in", "chosen", "read_columns", "rows_of"]

Columns = Mapping[str, NDArray[np.float64]]
# The usual names of a column, in lower case.  XDI prescribes the first of each.
NAMES = {
    "energy": ("energy", "e", "ev", "kev", "en", "eng", "energy_ev", "energy_kev", "photon_energy"),
    "i0": ("i0", "io", "i_0"),
    "itrans": ("itrans", "it", "i1", "i_t", "itr", "trans"),
    "ifluor": ("ifluor", "if", "iff", "i_f", "fluor"),
    "irefer": ("irefer", "ir", "i2", "iref", "i_r"),
    "mutrans": ("mutrans", "mu_trans"),
    "mufluor": ("mufluor", "mu_fluor", "muf"),
    "murefer": ("murefer", "mu_ref", "muref"),
    "mu": ("mu", "xmu", "mu(e)", "mu_e", "absorbance", "absorption", "od", "optical_density", "xanes"),
    "norm": ("normtrans", "norm", "nor", "normalized", "normalised", "norm_mu", "mu_norm"),
    "flat": ("flat", "flattened"),
    "normfluor": ("normfluor",),
    "normrefer": ("normrefer",),
}
OF_NAME = {name: what for what, names in NAMES.items() for name in names}
# kind, columns, and whether they are normalized; of two columns it is the ratio, or its logarithm
CHANNELS = (
    (TRANSMISSION, ("mutrans",), False),
    (ABSORPTION, ("mu",), False),
    (TRANSMISSION, ("i0", "itrans"), False),
    (FLUORESCENCE, ("mufluor",), False),
    (FLUORESCENCE, ("ifluor", "i0"), False),
    (ABSORPTION, ("norm",), True),
    (ABSORPTION, ("flat",), True),
    (FLUORESCENCE, ("normfluor",), True),
    (REFERENCE, ("murefer",), False),
    (REFERENCE, ("itrans", "irefer"), False),
    (REFERENCE, ("normrefer",), True),
)
SPLIT = re.compile(r"[,;\t]")


class Channel(NamedTuple):
    """One spectrum of a file with several columns."""

    kind: str  # one of `xanesum.io.spectrum.KINDS`
    formula: str  # as "ln(i0/itrans)"
    mu: NDArray[np.float64]  # (n,)
    normalized: bool = False


def channels_in(columns: Columns) -> list[Channel]:
    """Return the spectra that columns of usual names give, the likeliest first.

    Absorption itself is preferred to counts, and transmission to fluorescence.  A reference, measured behind
    the sample, comes last, as it is the spectrum of something else.
    """
    found = []
    for kind, names, normalized in CHANNELS:
        if not set(names) <= set(columns):
            continue
        values = [columns[name] for name in names]
        if len(names) == 1:
            found.append(Channel(kind, names[0], values[0], normalized))
        elif kind == FLUORESCENCE:
            found.append(Channel(kind, "/".join(names), _ratio(*values)))
        else:
            found.append(Channel(kind, f"ln({'/'.join(names)})", _log_ratio(*values)))
    return found


def chosen(path: Path, columns: Columns, wanted: str | None) -> tuple[Channel, tuple[str, ...]]:
    """Return the channel of the kind that is wanted, or the likeliest one; and notes on the others.

    Raises
    ------
    ReadError
        If the columns give no spectrum, or none of this kind.
    """
    found = channels_in(columns)
    fitting = [channel for channel in found if wanted in (None, channel.kind)]
    if not fitting:
        there = ", ".join(f"{channel.formula} ({channel.kind})" for channel in found) or "none"
        raise ReadError(
            f"{path}: the columns {', '.join(columns)} give no spectrum{f' of {wanted}' * bool(wanted)}; "
            f"spectra there: {there}",
            parameter="channel",
        )
    best = fitting[0]
    others = [channel for channel in found if channel.kind != best.kind and channel.mu is not best.mu]
    notes = tuple(f"also there: {channel.formula} ({channel.kind})" for channel in others)
    return best, notes


def read_columns(path: Path, wanted: str | None = None) -> list[Reference]:
    """Read a text file of columns: energy (eV or keV), and absorption or counts.

    The last line before the numbers may name the columns.  Without names, the first column of energies and
    the one after it are taken.

    Raises
    ------
    ReadError
        If the file is no table of at least two columns.
    """
    lines, comments = read_lines(path)
    header, rows = rows_of(path, lines)
    names = _names(header or (comments[-1] if comments else ""), rows.shape[1])
    columns = {OF_NAME[name]: column for name, column in zip(names, rows.T, strict=True) if name in OF_NAME}
    if len(names) == rows.shape[1] and "energy" in columns and len(columns) > 1:
        channel, notes = chosen(path, columns, wanted)
        return [
            Reference(
                path.stem,
                columns["energy"],
                channel.mu,
                f"{path.name}: {channel.formula}",
                normalized=channel.normalized,
                kind=channel.kind,
                notes=notes,
            )
        ]
    if wanted not in (None, ABSORPTION):
        raise ReadError(
            f"{path}: no header names the columns, so none is known to be of {wanted}", parameter="channel"
        )
    at = _energy_column(path, rows)
    notes = ()
    if rows.shape[1] > 2:
        notes = (
            f"columns {at + 1} and {at + 2} of {rows.shape[1]} were taken as energy and absorption, because "
            "no header names them",
        )
    return [Reference(path.stem, rows[:, at], rows[:, at + 1], path.name, notes=notes)]


def rows_of(path: Path, lines: Lines) -> tuple[str, NDArray[np.float64]]:
    """Return the line before the numbers, and the numbers (rows, columns).

    Raises
    ------
    ReadError
        If there are no rows of two numbers or more, or if they are not alike.
    """
    header = ""
    rows: list[list[float]] = []
    for number, line in point_decimals(path, lines, min_columns=2):
        fields = fields_of(line)
        row = numbers_in(fields)
        if not rows and len(row) < max(2, len(fields)):
            header = line if fields else header
        elif fields and (len(row) < len(fields) or (rows and len(row) != len(rows[0]))):
            raise ReadError(
                f"{path}: line {number} is not a row of {len(rows[0]) if rows else 2} numbers: "
                f"{line.strip()[:40]!r}"
            )
        elif fields:
            rows.append(row)
    if not rows:
        raise ReadError(f"{path}: no rows of energy and absorption found; expected text, one energy per line")
    return header, np.array(rows)


def _names(header: str, n_columns: int) -> list[str]:
    """Return the names of the columns in lower case, or as many empty names."""
    for names in (SPLIT.split(header), header.split()):
        plain = [re.sub(r"[\[(]k?ev[\])]", "", name.strip().lower()).strip() for name in names]
        if len(plain) == n_columns:
            return plain
    return [""] * n_columns


def _energy_column(path: Path, rows: NDArray[np.float64]) -> int:
    """Return the first column, but the last, that may be photon energies in order."""
    reason = ""
    for at, column in enumerate(rows.T[:-1]):
        try:
            require_one_scan(column, str(path))
        except EnergyError as error:
            reason = reason or error.message
            continue
        steps = np.diff(column[np.isfinite(column)])
        if np.all(steps >= 0) or np.all(steps <= 0):
            return at
    raise ReadError(reason or f"{path}: no column holds photon energies in order; sort the rows by energy")


def _log_ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln(above/below); NaN where counts are not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((above > 0) & (below > 0), np.log(above / below), np.nan)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)
