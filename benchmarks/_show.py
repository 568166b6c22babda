"""Print saved results as Markdown tables: ``python benchmarks/_show.py quality risk``.

Tables that go by scene and sigma get a row per method and a column per sigma, as they are quoted.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from _common import RESULTS, print_table

Row = dict[str, Any]


def main() -> None:
    for name in sys.argv[1:]:
        content = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        rows, summary = content.pop("rows"), content.pop("summary", None)
        if commits := sorted({row["commit"] for row in rows if "commit" in row}):
            content["commit"] = " and ".join(commits)
        print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in content.items()) + "\n")
        if "phantom" in rows[0]:
            show_by_sigma(rows, "phantom", ("method", "K by"), whole_chain)
        elif "scene" in rows[0]:
            show_by_sigma(rows, "scene", ("denoiser",), gains)
        else:
            print_table(rows)
        if summary:
            print("\nsummary\n")
            print_table(summary)


def show_by_sigma(rows: list[Row], title: str, keys: tuple[str, ...], cell: Callable[[Row], str]) -> None:
    """Print one table for each value of `title`, a row for each value of `keys`."""
    sigmas = [f"sigma {sigma:g}" for sigma in sorted({row["sigma"] for row in rows})]
    for value in dict.fromkeys(row[title] for row in rows):
        table: dict[tuple[str, ...], Row] = {}
        for row in rows:
            if row[title] == value:
                key = tuple(row[name] for name in keys)
                line = table.setdefault(key, dict(zip(keys, key, strict=True)) | dict.fromkeys(sigmas, ""))
                line[f"sigma {row['sigma']:g}"] = cell(row)
        print(f"\n{value}\n")
        print_table(list(table.values()))


def whole_chain(row: Row) -> str:
    """Return K, frame PSNR, correlation and error of the map."""
    figures = f"{row['PSNR (dB)']:.2f} dB, {row['correlation']:.4f}, {row['RMSE (eV)']:.3f} eV"
    return f"{row['K']}, {figures}" if row["K"] else figures


def gains(row: Row) -> str:
    """Return the gain of each component in dB."""
    return " / ".join(f"{gain:.2f}" for gain in row["gain (dB)"])


if __name__ == "__main__":
    main()
