"""Tables of the page, from rows that were measured: medians over seeds, beside what the paper reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import numpy as np
from rivals import RIVALS

from paper.methods import FAST, OURS
from paper.published import COLUMNS, PHANTOMS, SIGMAS, TABLE_2, TABLE_3, table_1_cell
from paper.scans import KINDS
from paper.store import Row
from paper.table2 import CORRECTIONS, JITTERS
from paper.table2 import SIGMAS as JITTER_SIGMAS

__all__ = ["PAPER_COLUMN", "Cells", "gains", "middles", "phantom_table", "random_table", "table2", "table3"]

PAPER_COLUMN = {"noisy": "Noisy"} | {r.name: r.paper for r in RIVALS.values()} | dict.fromkeys(OURS, "SUM")
WHOLE = ("noisy", *FAST, "sum", "sum+")
Pair = tuple[float, float]


class Cells:
    """Rows of Table 1, as medians over the seeds."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = [row for row in rows if "why not" not in row]
        self.refused = {row["method"]: row["why not"] for row in rows if "why not" in row}

    def by_seed(self, kind: str, sigma: float, method: str, quantity: str) -> dict[int, float]:
        """Return a quantity for each seed for which it was measured."""
        return {
            row["seed"]: row[quantity]
            for row in self.rows
            if (row["phantom"], row["sigma"], row["method"]) == (kind, sigma, method)
            and row.get(quantity) is not None
        }

    def value(self, kind: str, sigma: float, method: str, quantity: str) -> float | None:
        """Return the median of a quantity over the seeds; None where it was not measured."""
        found = self.by_seed(kind, sigma, method, quantity)
        return median(found.values()) if found else None

    def seeds(self, kind: str, method: str, quantity: str) -> str:
        """Return on how many seeds a method was run, such as "1" or "1 to 3"."""
        counts = [n for sigma in SIGMAS if (n := len(self.by_seed(kind, sigma, method, quantity)))]
        return " to ".join(dict.fromkeys(f"{n}" for n in (min(counts), max(counts)))) if counts else ""

    def pair(self, kind: str, sigma: float, names: tuple[str, str], quantity: str) -> Pair | None:
        """Return the medians of two methods over the seeds for which both were measured."""
        first, second = (self.by_seed(kind, sigma, name, quantity) for name in names)
        seeds = first.keys() & second.keys()
        return (median(first[s] for s in seeds), median(second[s] for s in seeds)) if seeds else None

    def methods(self, quantity: str) -> list[str]:
        """Return the methods for which a quantity was measured, in the order of the list of rivals."""
        there = {row["method"] for row in self.rows if row.get(quantity) is not None}
        return [name for name in ("noisy", *RIVALS, "sum", "sum+") if name in there]

    def kinds(self) -> list[str]:
        """Return the phantoms that were measured."""
        there = {row["phantom"] for row in self.rows}
        return [kind for kind in KINDS if kind in there]


def phantom_table(cells: Cells, kind: str) -> list[Row]:
    """Return Table 1 for one phantom: frame PSNR / correlation, and in brackets those of the paper."""
    more = [name for name in cells.methods("PSNR (dB)") if name not in WHOLE and _any(cells, kind, name, "")]
    return _table(cells, kind, "", [*WHOLE[:-2], *more, *WHOLE[-2:]], with_paper=True)


def middles(cells: Cells, kind: str) -> list[Row]:
    """Return the same in the middle of the scans, where slow methods were run as well."""
    there = cells.methods("middle: PSNR (dB)")
    slow = [name for name in there if name not in WHOLE and _any(cells, kind, name, "middle: ")]
    return _table(cells, kind, "middle: ", ["noisy", *slow, "sum", "sum+"], with_paper=False) if slow else []


def _any(cells: Cells, kind: str, name: str, prefix: str) -> bool:
    return any(cells.value(kind, sigma, name, f"{prefix}PSNR (dB)") is not None for sigma in SIGMAS)


def _table(cells: Cells, kind: str, prefix: str, names: Iterable[str], *, with_paper: bool) -> list[Row]:
    table = []
    for name in names:
        line: Row = {"method": name, "seeds": cells.seeds(kind, name, f"{prefix}PSNR (dB)")}
        for sigma in SIGMAS:
            psnr = cells.value(kind, sigma, name, f"{prefix}PSNR (dB)")
            correlation = cells.value(kind, sigma, name, f"{prefix}correlation")
            theirs = table_1_cell(kind, sigma, PAPER_COLUMN[name]) if with_paper else None
            paper = f" ({theirs[0]:.2f} / {theirs[1]:.2f})" if theirs else ""
            line[f"sigma {sigma:g}"] = "" if psnr is None else f"{psnr:.2f} / {correlation:.3f}{paper}"
        table.append(line)
    return table


def gains(cells: Cells) -> list[Row]:
    """Return the gain in PSNR of each method of the paper over its own noisy row, here and in the paper."""
    table = []
    for kind in PHANTOMS:
        for name in cells.methods("middle: PSNR (dB)"):
            column = PAPER_COLUMN[name]
            line: Row = {"phantom": kind, "method": name}
            for sigma in SIGMAS:
                pair = gain_pair(cells, kind, sigma, name) if column in COLUMNS[1:] else None
                line[f"sigma {sigma:g}"] = f"{pair[0]:+.2f} ({pair[1]:+.2f}) dB" if pair else ""
            if any(line[f"sigma {sigma:g}"] for sigma in SIGMAS):
                table.append(line)
    return table


def gain_pair(cells: Cells, kind: str, sigma: float, name: str) -> Pair | None:
    """Return a gain here and in the paper, on the whole scan where there is one, else on its middle."""
    theirs = table_1_cell(kind, sigma, PAPER_COLUMN[name])
    for quantity in ("PSNR (dB)", "middle: PSNR (dB)"):
        both = cells.pair(kind, sigma, (name, "noisy"), quantity)
        if both and theirs:
            base = table_1_cell(kind, sigma, "Noisy")
            return (both[0] - both[1], theirs[0] - base[0]) if base else None
    return None


def table2(rows: list[Row], kind: str) -> list[Row]:
    """Return Table 2 for one phantom: a row for each method and way of correction."""
    paper = {"noisy": "Noisy", "3-D median": "MedFilt3", "SVD, SURE, hard": "SVD", "BM4D": "VBM4D"}
    table = []
    for name in dict.fromkeys(row["method"] for row in rows):
        for way in CORRECTIONS:
            line: Row = {"method": name, "correction of motion": way}
            for sigma in JITTER_SIGMAS:
                for k, jitter in enumerate(JITTERS):
                    wanted = {"phantom": kind, "method": name, "correction": way}
                    wanted |= {"sigma": sigma, "jitter": jitter}
                    found = [row["correlation"] for row in rows if wanted.items() <= row.items()]
                    column = paper.get(name, "SUM" if name in OURS else name)
                    reported = way == CORRECTIONS[1] and kind == "particle" and column in TABLE_2
                    theirs = f" ({TABLE_2[column][sigma][k]:.2f})" if reported else ""
                    text = f"{median(found):.3f}{theirs}" if found else ""
                    line[f"sigma {sigma:g}, {jitter:g} px"] = text
            if any(value for key, value in line.items() if key.startswith("sigma")):
                table.append(line)
    return table


def table3(rows: list[Row]) -> list[Row]:
    """Return Table 3: seconds, and how often as long as `sum+` this is, here and in the paper."""
    table = []
    for row in rows:
        ours = next((r for r in rows if (r["phantom"], r["method"]) == (row["phantom"], "sum+")), None)
        theirs = TABLE_3.get(PHANTOMS[row["phantom"]], {})
        column = PAPER_COLUMN[row["method"]]
        over = f"{theirs[column] / theirs['SUM']:.2f}" if column in theirs else ""
        table.append(
            {
                "phantom": f"{row['phantom']}, {row['pixels']} x {row['energies']}",
                "method": row["method"],
                "seconds": f"{row['seconds']:.4g}",
                "over sum+": f"{row['seconds'] / ours['seconds']:.2f}" if ours else "",
                "paper: seconds": f"{theirs[column]:.4g}" if column in theirs else "",
                "paper: over SUM": over,
                "how": row["how"],
                "load of the machine": f"{row['load']:.1f}",
            }
        )
    return table


def random_table(rows: list[Row]) -> list[Row]:
    """Return medians and worst cases over scans drawn at random, and how often `sum+` is behind a method."""
    table = []
    scans = {(row["index"], row["method"]): row for row in rows}
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        pairs = [(scans.get((row["index"], "sum+")), row) for row in mine]
        behind_psnr = _differences(pairs, "PSNR (dB)")
        behind_map = _differences(pairs, "correlation")
        line: Row = {"method": name, "scans": str(len(mine))}
        line |= _spread("PSNR (dB)", [row["PSNR (dB)"] for row in mine], "{:.2f}".format)
        line |= _spread("correlation", _known(mine, "correlation"), "{:.3f}".format)
        line["sum+ ahead by (dB): median, worst"] = f"{np.median(behind_psnr):.2f}, {min(behind_psnr):.2f}"
        if behind_map:
            text = f"{np.median(behind_map):.3f}, {min(behind_map):.3f}"
            line["sum+ ahead in correlation: median, worst"] = text
        table.append(line)
    return table


def _known(rows: list[Row], quantity: str) -> list[float]:
    return [row[quantity] for row in rows if row[quantity] is not None]


def _differences(pairs: list[tuple[Row | None, Row]], quantity: str) -> list[float]:
    """Return by how much ours is larger, for each scan where both are known."""
    known = ((ours, row) for ours, row in pairs if ours and None not in (ours[quantity], row[quantity]))
    return [ours[quantity] - row[quantity] for ours, row in known]


def _spread(title: str, values: list[float], form: Callable[[Any], str]) -> Row:
    if not values:
        return {f"{title}: median": "", f"{title}: worst tenth, worst": ""}
    return {
        f"{title}: median": form(np.median(values)),
        f"{title}: worst tenth, worst": f"{form(np.quantile(values, 0.1))}, {form(min(values))}",
    }
