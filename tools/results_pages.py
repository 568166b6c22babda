"""Write the tables of docs/results/ from benchmarks/results/*.json.

    python tools/results_pages.py            rewrite every table
    python tools/results_pages.py --check    only compare; exit 1 and name the pages that differ

A page says where a table belongs with a line ``<!-- table: NAME -->``, and where it ends with
``<!-- end -->``.  Everything between the two is written by this script; the prose around it is not touched.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

from _common import print_table
from result_tables import TABLES
from result_tables.cells import Row, content, printed, short

__all__ = ["TABLES", "main", "short"]

REPO = Path(__file__).resolve().parents[1]
PAGES = REPO / "docs" / "results"
MARKED = re.compile(r"<!-- table: ([^>\n]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    differing = []
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text("utf-8")
        try:
            new = rewritten(text)
        except ValueError as error:
            raise SystemExit(f"{page.name}: {error}") from error
        if new != text:
            differing.append(page.name)
            if not options.check:
                page.write_text(new, "utf-8", newline="\n")
    for name in differing:
        print(f"{name}: {'differs from' if options.check else 'written from'} benchmarks/results")
    return int(options.check and bool(differing))


def rewritten(text: str) -> str:
    """Return a page with its tables made again."""
    if not text.count("<!-- table:") == text.count("<!-- end -->") == len(MARKED.findall(text)):
        raise ValueError("a table without end, or an end without table")
    return MARKED.sub(lambda found: f"<!-- table: {found[1]} -->\n{body(found[1])}<!-- end -->", text)


def body(name: str) -> str:
    """Return a table in Markdown, and the line that names its files and commits."""
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}")
    table = TABLES[name]
    return f"\n{markdown(table.make())}\n\n{source(table.files)}\n\n"


def markdown(rows: list[Row]) -> str:
    return printed(print_table, rows)


def source(files: tuple[str, ...]) -> str:
    """Return a sentence that names each file and the commits of its rows."""
    parts = []
    for file in files:
        saved = content(file)
        commits = sorted({row.get("commit", saved["commit"]) for row in saved["rows"]})
        named = " and ".join(each.replace("-dirty", " (with local changes)") for each in commits)
        parts.append(f"`{file}.json`, measured at commit {named}")
    return f"Source: {'; '.join(parts)}."


if __name__ == "__main__":
    sys.exit(main())
