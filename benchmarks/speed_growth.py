"""How the time grows with pixels, energies and components.

``python benchmarks/speed_growth.py`` varies each of them by a factor of 16 and fits an exponent: for the
whole method, which chooses its own number of components, and for a randomized SVD, spectra and images.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import numpy as np
from _common import RESULTS
from _once import time_once
from _speed import RANK, Row, parser_of, report

VARIED = ("pixels", "energies", "components")
SIDES, ENERGIES, RANKS = [300, 600, 1200], [60, 240, 960], [2, 8, 32]
QUICK = [(48, 48, 15), (48, 48, 60)]  # with --quick


def main() -> None:
    report("speed-growth", parser_of(__doc__).parse_args(), growth)


def growth(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Return the seconds of every size, and the exponent of each series."""
    rows: list[Row] = []
    for what in ("denoise", "randomized SVD"):
        for varied, sizes in cases(options.quick).items():
            if (what, varied) != ("denoise", "components"):
                rows += series(what, varied, sizes, options.repeats)
    if not options.quick:
        draw(rows)
    return rows


def cases(quick: bool) -> dict[str, list[tuple[tuple[int, int, int], int]]]:
    """Return sizes (rows, columns, energies) and ranks, by the quantity that varies."""
    if quick:
        return {"energies": [(size, RANK) for size in QUICK]}
    side, n_energies = SIDES[1], ENERGIES[1]
    return {
        "pixels": [((n, n, n_energies), RANK) for n in SIDES],
        "energies": [((side, side, n), RANK) for n in ENERGIES],
        "components": [((side, side, n_energies), rank) for rank in RANKS],
    }


def series(what: str, varied: str, sizes: list[tuple[tuple[int, int, int], int]], repeats: int) -> list[Row]:
    """Time one program at several sizes; fit the slope of log seconds against log size."""
    rows: list[Row] = []
    for size, rank in sizes:
        found = time_once(what, "particle", size, repeats, rank=rank)
        number = {"pixels": size[0] * size[1], "energies": size[2], "components": rank}[varied]
        rows.append({"what": what, "varied": varied, "number": number, "seconds": round(found["seconds"], 4)})
        print(rows[-1], flush=True)
    numbers, seconds = ([row[name] for row in rows] for name in ("number", "seconds"))
    exponent = round(float(np.polyfit(np.log(numbers), np.log(seconds), 1)[0]), 3)
    return [{**row, "exponent": exponent} for row in rows]


def draw(rows: list[Row]) -> None:
    """Draw seconds against each quantity."""
    pyplot = import_module("matplotlib.pyplot")
    figure, panels = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained", sharey=True)
    for panel, varied in zip(panels, VARIED, strict=True):
        for what, mark in (("denoise", "C0o-"), ("randomized SVD", "C1s--")):
            chosen = [row for row in rows if row["varied"] == varied and row["what"] == what]
            if chosen:
                label = f"{what}: exponent {chosen[0]['exponent']:.2f}"
                panel.loglog([r["number"] for r in chosen], [r["seconds"] for r in chosen], mark, label=label)
        panel.set(xlabel=varied, ylabel="seconds" if varied == "pixels" else "")
        panel.minorticks_off()
        panel.set_xticks([row["number"] for row in rows if row["varied"] == varied], minor=False)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.legend(fontsize=8)
    figure.savefig(RESULTS / "speed-growth.png", dpi=120)


if __name__ == "__main__":
    main()
