"""Write the table of docs/formats.md: what `xanesum info` says of every file of a folder of real scans.

    python tools/formats_page.py FOLDER            rewrite the table
    python tools/formats_page.py FOLDER --check    only compare; exit 1 if it differs

The table stands between the lines ``<!-- table: real files -->`` and ``<!-- end -->``.  Files of one folder
of which the same is said are one row; digits in which their names differ are written as ``#``.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from xanesum.errors import XanesumError, XanesumWarning
from xanesum.io import describe, read_stack

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
MARKED = re.compile(r"(<!-- table: real files -->\n).*?(<!-- end -->)", re.DOTALL)
TITLES = ("file", "format", "energies, y, x", "photon energies (eV)", "quantity", "what else is said")
WIDEST = 160  # characters of what is said


class Row(NamedTuple):
    """What is said of a file."""

    format: str = ""
    shape: str = ""
    energies: str = ""
    quantity: str = ""
    said: str = ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of real scans")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    text = PAGE.read_text("utf-8")
    new = MARKED.sub(lambda found: f"{found[1]}\n{table(options.folder)}\n\n{found[2]}", text)
    if new != text and not options.check:
        PAGE.write_text(new, "utf-8", newline="\n")
    if new != text:
        print(f"{PAGE.name}: {'differs from' if options.check else 'written from'} {options.folder}")
    return int(options.check and new != text)


def table(folder: Path) -> str:
    """Return the table in Markdown."""
    lines = [f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES)]
    for names, row in grouped(folder):
        cells = [cell.replace("|", "\\|") for cell in (label(names), *row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def grouped(folder: Path) -> Iterator[tuple[list[str], Row]]:
    """Yield the names of the files of which the same is said, and what is said; folders of images first."""
    found: dict[tuple[str, str, Row], list[str]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not any(child.is_file() for child in path.iterdir()):
            continue
        row = row_of(path)
        if path.is_dir() and not row.format:  # a folder is listed where it is a scan
            continue
        stem, suffix = re.sub(r"\d+", "#", path.stem), path.suffix
        kind = suffix if not row.format else stem
        found.setdefault((path.parent.as_posix(), f"{kind}{suffix}", row), []).append(
            name + "/" * path.is_dir()
        )
    for (_, _, row), names in found.items():
        yield names, row


def row_of(path: Path) -> Row:
    """Return what is said of a file, without its path."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", XanesumWarning)
        try:
            facts = describe(path)
            read_stack(path)
        except XanesumError as error:
            said = str(error).replace(f"{path}: ", "").replace(f"{path.parent}/", "")
            if "facts" not in locals():
                return Row(said=shortened(said))
            notes.clear()
            extra = [said]
        else:
            extra = [str(note.message) for note in notes if isinstance(note.message, XanesumWarning)]
    low, high = facts["energy_min_ev"], facts["energy_max_ev"]
    return Row(
        format=facts["format"],
        shape=" x ".join(map(str, facts["shape"])),
        energies="none" if low is None else f"{low:.2f}" + f" to {high:.2f}" * (high != low),
        quantity=facts["quantity"].replace("_", " ") + " (assumed)" * facts["quantity_assumed"],
        said=shortened("; ".join(dict.fromkeys(extra))),
    )


def shortened(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[:WIDEST].rsplit(' ', 1)[0]} ..."


def label(names: list[str]) -> str:
    """Return one name, or the pattern of several and their number."""
    if len(names) == 1:
        return f"`{names[0]}`"
    patterns = {re.sub(r"\d+", "#", name) for name in names}
    if len(patterns) == 1:
        return f"`{patterns.pop()}` ({len(names)} files)"
    first = names[0]
    return f"`{first.rpartition('/')[0]}/*{Path(first).suffix}` ({len(names)} files)"


if __name__ == "__main__":
    sys.exit(main())
