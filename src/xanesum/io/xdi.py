"""XDI, the format of single spectra of the XAFS community: a header of fields, then columns.

Described in B. Ravel and M. Newville, J. Phys.: Conf. Ser. 712, 012148 (2016), and in the specification of
XDI 1.0 (https://github.com/XraySpectroscopy/XAS-Data-Interchange).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.columns import OF_NAME, chosen, rows_of
from xanesum.io.spectrum import REFERENCE, Reference
from xanesum.io.text import read_lines

__all__ = ["is_xdi", "read_xdi"]

MARK = re.compile(rb"^\s*#\s*XDI/\d", re.IGNORECASE)
FIELD = re.compile(r"([A-Za-z]\w*)\.(\w+)\s*:\s*(.*)")
HC_EV_ANGSTROM = 12398.4198  # Planck's constant times the speed of light (CODATA 2018)


def is_xdi(head: bytes) -> bool:
    """Return whether a file that begins with `head` says that it is XDI."""
    return MARK.match(head) is not None


def read_xdi(path: Path, wanted: str | None = None) -> list[Reference]:
    """Read the spectrum of an XDI file; `wanted` is its kind if it holds several.

    Raises
    ------
    ReadError
        If it has no energies, or its columns give no spectrum.
    """
    lines, comments = read_lines(path)
    found = [match for text in comments if (match := FIELD.match(text))]
    fields = {f"{match[1]}.{match[2]}".lower(): match[3].strip() for match in found}
    _, rows = rows_of(path, lines)
    columns = _columns(path, fields, comments, rows)
    channel, notes = chosen(path, columns, wanted)
    of_sample = channel.kind != REFERENCE  # the fields tell of the sample, not of the reference behind it
    sample = fields.get("sample.name") or fields.get("sample.formula", "")
    energy_ev, note = _energy(path, fields, columns)
    return [
        Reference(
            path.stem,
            energy_ev,
            channel.mu,
            f"{path.name}: {channel.formula}",
            element=fields.get("element.symbol") if of_sample else None,
            edge=(fields.get("element.edge", "").upper() or None) if of_sample else None,
            normalized=channel.normalized,
            kind=channel.kind,
            sample=sample if of_sample else fields.get("sample.reference", ""),
            notes=(*note, *notes),
        )
    ]


def _columns(
    path: Path, fields: dict[str, str], comments: list[str], rows: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the columns by their standard names: as the fields name them, or the last line of the header."""
    n_columns = rows.shape[1]
    named = [fields.get(f"column.{number}", "").lower().split() for number in range(1, n_columns + 1)]
    names = [words[0] if words else "" for words in named]
    if not all(names):
        last = comments[-1].lower().split() if comments else []
        if len(last) != n_columns:
            raise ReadError(
                f"{path}: {n_columns} columns, but the header does not name each of them (Column.1, ...)"
            )
        names = last
    standard = [OF_NAME.get(name, name) for name in names]
    return dict(zip(reversed(standard), reversed(rows.T), strict=True))  # the first of a name counts


def _energy(
    path: Path, fields: dict[str, str], columns: dict[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the energies, from angles of the monochromator where there are none, and a note."""
    if "energy" in columns:
        return columns["energy"], ()
    spacing = re.match(r"[\d.]+", fields.get("mono.d_spacing", ""))
    if "angle" not in columns or spacing is None:
        raise ReadError(f"{path}: no column is named energy, nor angle with Mono.d_spacing in the header")
    unit = next((fields[key] for key in fields if key.startswith("column.") and "angle" in fields[key]), "")
    angle = columns["angle"] if "rad" in unit else np.deg2rad(columns["angle"])
    note = f"energies were computed from angles, with a lattice spacing of {spacing[0]} angstrom"
    with np.errstate(divide="ignore", invalid="ignore"):
        return HC_EV_ANGSTROM / (2 * float(spacing[0]) * np.sin(angle)), (note,)
