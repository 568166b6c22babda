"""Tables of `random_scans`, made from its saved rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

__all__ = ["is_disowned_in_vain", "is_silent", "tables"]

Row = dict[str, Any]

SILENT = 0.80  # a share within 95 % below this is a failure; a silent one, if nothing was said
HELD = (0.55, 0.85)  # shares within 68 % with which intervals may be relied on
DETECTABLE = 1.0  # singular value of the chemistry over the edge of the noise
MOVED_EV = 0.05  # an edge that is off by more has moved
N_WORST = 10
RADII_PX = ((1.0, 2.0), (2.0, 4.0), (4.0, 8.0))
CONTRASTS = ((0.0, 0.5), (0.5, 1.0), (1.0, 3.0), (3.0, np.inf))  # over the edge of the noise


def tables(rows: list[Row]) -> dict[str, list[Row]]:
    """Return all tables by their title; those without a row are left out."""
    if rows and "false components" in rows[0]:
        found = {"False alarms, one species": false_alarms(rows)}
    else:
        found = {
            "Errors and intervals, by noise and drift": by_kind(rows),
            "Drift of the light: its cost, and harm of the correction": of_drift(rows),
            "Energy of the edge": of_e0(rows),
            "White line": white_line(rows),
            "Chemistry missed": by_chemistry(rows),
            "Foreign particles": particles(rows),
            "Coverage in tenths of the stated error": in_tenths(rows),
            "Worst intervals": worst(rows, "within 95 %", False),
            "Worst map errors over true spectra": worst(rows, "over true spectra", True),
        }
    return {title: table for title, table in found.items() if table}


def noise_kind(row: Row) -> str:
    """Return the kind of noise and drift of a scan, as the tables group it."""
    label = row["label"]
    if label["noise"] == "white" and label["correlated"] != "none":
        return "white, correlated"
    return label["noise"] + ("" if label["drift"] == "none" else f", {label['drift']}")


def is_silent(row: Row, figure: str = "within 95 %") -> bool:
    """Whether the intervals fail and the program does not say so."""
    share = row.get(figure)
    return share is not None and share < SILENT and not row["said"]


def is_disowned_in_vain(row: Row) -> bool:
    """Whether the program takes back intervals that hold."""
    share = row.get("within 68 %")
    return bool(row["said"]) and share is not None and HELD[0] <= share <= HELD[1]


def by_kind(rows: list[Row]) -> list[Row]:
    """Return errors and intervals for each kind of noise and drift, and of all scans."""
    table = []
    for kind, group in grouped(rows, noise_kind):
        table.append(
            {
                "noise, drift": kind,
                "scans": len(group),
                "no map": sum(bool(row["failed"]) for row in group),
                "over true spectra": spread(group, "over true spectra"),
                "within 68 %": spread(group, "within 68 %"),
                "mean": mean(group, "within 68 %"),
                "within 95 %": spread(group, "within 95 %"),
                "mean ": mean(group, "within 95 %"),
                "68 % at borders": spread(group, "borders: within 68 %"),
                "silent failures": sum(map(is_silent, group)),
                "disowned": sum(bool(row["said"]) and not row["failed"] for row in group),
                "disowned, but held": sum(map(is_disowned_in_vain, group)),
            }
        )
    return table


def of_drift(rows: list[Row]) -> list[Row]:
    """Return what drift costs, and what its correction spoils where there is none."""
    return [
        {
            "noise, drift": kind,
            "scans": len(group),
            "corrected": sum(bool(row["drift removed"]) for row in group),
            "over no drift": spread(group, "over no drift"),
            "corrected, over not corrected": spread(group, "over no correction"),
        }
        for kind, group in grouped([row for row in rows if not row["failed"]], noise_kind)
        if any(row["label"]["drift"] != "none" or row["drift removed"] for row in group)
    ]


def of_e0(rows: list[Row]) -> list[Row]:
    """Return how far the edge that was found is from that of the clean stack, and what it spoils."""
    return [
        {
            "grid": kind,
            "scans": len(group),
            "off by more than 0.05 eV": sum(abs(row["e0 off (eV)"]) > MOVED_EV for row in group),
            "off by (eV)": percentiles(abs(row["e0 off (eV)"]) for row in group),
            "map error over that with e0 known": spread(group, "over e0 known"),
            "within 95 %, mean": mean(group, "within 95 %"),
            "with e0 known": mean(group, "e0 known: within 95 %"),
        }
        for kind, group in grouped(
            [row for row in rows if row.get("e0 off (eV)") is not None], lambda row: row["label"]["grid"]
        )
    ]


def white_line(rows: list[Row]) -> list[Row]:
    """Return error and intervals of the white line."""
    return [
        {
            "grid": kind,
            "scans": sum(row.get("white line: rmse (eV)") is not None for row in group),
            "rmse (eV)": spread(group, "white line: rmse (eV)"),
            "within 68 %": spread(group, "white line: within 68 %"),
            "within 95 %": spread(group, "white line: within 95 %"),
            "silent failures": sum(is_silent(row, "white line: within 95 %") for row in group),
        }
        for kind, group in grouped(rows, lambda row: row["label"]["grid"])
    ]


def by_chemistry(rows: list[Row]) -> list[Row]:
    """Return how often chemistry is missed that true spectra would show."""
    table = []
    for kind, group in grouped(rows, lambda row: row["label"]["chemistry"]):
        judged = [row for row in group if row.get("missed") is not None]
        clear = [row for row in judged if row["over noise edge"] > DETECTABLE]
        table.append(
            {
                "chemistry": kind,
                "scans": len(group),
                "no map": sum(bool(row["failed"]) for row in group),
                "missed": f"{sum(row['missed'] for row in judged)} of {len(judged)}",
                "missed, above the noise": f"{sum(row['missed'] for row in clear)} of {len(clear)}",
                "missed, nothing said": sum(row["missed"] and not row["said"] for row in judged),
                "silent failures": sum(map(is_silent, group)),
                "silent failures, above the noise": sum(map(is_silent, clear)),
                "over true spectra": spread(group, "over true spectra"),
            }
        )
    return table


def particles(rows: list[Row]) -> list[Row]:
    """Return how much of the shift of foreign particles is found, by radius and contrast."""
    rows = [row for row in rows if row.get("particle: recovered") is not None]
    table = []
    for low_px, high_px in RADII_PX:
        for low, high in CONTRASTS:
            group = [
                row
                for row in rows
                if low_px <= row["label"]["radius_px"] < high_px and low <= row["over noise edge"] < high
            ]
            if group:
                table.append(
                    {
                        "radius (px)": f"{low_px:g} to {high_px:g}",
                        "over the edge of the noise": f"{low:g} to {high:g}",
                        "scans": len(group),
                        "share of the shift": spread(group, "particle: recovered"),
                        "error / stated": spread(group, "particle: |error| / stated"),
                        "error > 2 stated, nothing said": sum(
                            row["particle: |error| / stated"] > 2 and not row["said"] for row in group
                        ),
                    }
                )
    return table


def in_tenths(rows: list[Row]) -> list[Row]:
    """Return the share within 68 and 95 % in each tenth of the stated error, over scans."""
    table = []
    for tenth in range(10):
        line: Row = {"tenth": tenth + 1}
        for key in ("68 % in tenths", "95 % in tenths"):
            values = [row[key][tenth] for row in rows if row.get(key)]
            line[key.removesuffix(" in tenths")] = percentiles(values)
        table.append(line)
    return table


def worst(rows: list[Row], figure: str, largest: bool) -> list[Row]:
    """Return the scans in which a figure is worst, with their description."""
    known = [row for row in rows if row.get(figure) is not None]
    known.sort(key=lambda row: row[figure], reverse=largest)
    return [
        {
            "scan": row["label"]["index"],
            figure: row[figure],
            "rmse (eV)": row["rmse (eV)"],
            "stated (eV)": row["stated error (eV)"],
            "rank": row["rank"],
            "over noise edge": row["over noise edge"],
            "said": "yes" if row["said"] else "no",
            "what": row["description"],
        }
        for row in known[:N_WORST]
    ]


def false_alarms(rows: list[Row]) -> list[Row]:
    """Return how often something is found in scans of one species."""
    return [
        {
            "noise, drift": kind,
            "scans": len(group),
            "failed": sum(row["false components"] is None for row in group),
            "with more than one component": sum((row["components"] or 0) > 1 for row in group),
            "with false components": sum(bool(row["false components"]) for row in group),
            "called lost": sum(bool(row.get("lost")) for row in group),
            "called not white": sum(row.get("white") is False for row in group),
            "anything said": sum(bool(row["said"]) for row in group),
        }
        for kind, group in grouped(rows, noise_kind)
    ]


def grouped(rows: list[Row], kind: Callable[[Row], str]) -> list[tuple[str, list[Row]]]:
    """Return the rows of each kind in alphabetical order, and then all of them."""
    kinds = sorted({kind(row) for row in rows})
    groups = [(each, [row for row in rows if kind(row) == each]) for each in kinds]
    return [*groups, ("all", rows)] if rows else []


def spread(rows: list[Row], figure: str) -> str:
    """Return the 10, 50 and 90 % points of a figure."""
    return percentiles(row.get(figure) for row in rows)


def mean(rows: list[Row], figure: str) -> str:
    """Return the mean of a figure over scans."""
    known = [row[figure] for row in rows if row.get(figure) is not None]
    return f"{np.mean(known):.2f}" if known else "-"


def percentiles(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return " / ".join(f"{each:.2f}" for each in np.percentile(known, (10, 50, 90))) if known else "-"
