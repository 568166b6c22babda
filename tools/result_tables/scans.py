"""Tables of scans drawn at random, of motion, of rivals, and of scans without truth."""

from __future__ import annotations

from functools import partial

from _random_tables import tables as random_tables
from _scene_tables import crop_table, holdout_table, scene_table
from jitter import METHODS as JITTER_METHODS
from jitter import summary as jitter_summary
from random_motion import summary as motion_summary

from result_tables.cells import (
    Row,
    Table,
    content,
    of_rows,
    rows_of,
)


def random_scans(file: str, title: str) -> list[Row]:
    """Return one of the tables of scans drawn at random."""
    return random_tables(rows_of(file))[title]


def random_motion(file: str) -> list[Row]:
    """Return how scans drawn at random were aligned."""
    return motion_summary(rows_of(file))


def jitter(file: str) -> list[Row]:
    """Return how well frames that move are aligned, and the map over that of the scan at rest."""
    return [
        {
            "scene": row["scene"],
            "sigma": f"{row['sigma']:g}",
            "jitter (px)": f"{row['jitter']:g}",
            "seeds": row["seeds"],
            "error of shifts (px)": f"{row['error px']:.3g}",
            "over the bound": f"{row['over bound']:.2f}",
            "over the stated": f"{row['z']:.2f}",
            "map correlation": f"{row['map']:.4f}",
            "over that at rest": f"{row['ratio']:.4f}",
            "worst": f"{row['worst']:.4f}",
        }
        for row in jitter_summary(rows_of(file))
        if row["what"] == "xanesum"
    ]


def _error_and_ratio(row: Row) -> str:
    """Return an error of shifts and the map over that at rest, if what is left of the field has one."""
    error, at_rest = row["error px"], row["map"] / row["ratio"]
    ratio = f"{row['ratio']:.3f}" if at_rest > 0.2 else "no map"
    return f"{error:.2g} px, {ratio}" if error < 100 else f"{error:.0f} px, {ratio}"


def jitter_rivals(file: str) -> list[Row]:
    """Return the map over that of the scan at rest, by several ways to align, where all were tried."""
    found: dict[tuple[str, float, float], Row] = {}
    for row in jitter_summary(rows_of(file)):
        found.setdefault((row["scene"], row["sigma"], row["jitter"]), {})[row["what"]] = row
    return [
        {"scene": scene, "sigma": f"{sigma:g}", "jitter (px)": f"{jitter:g}"}
        | {what: _error_and_ratio(ways[what]) for what in JITTER_METHODS}
        for (scene, sigma, jitter), ways in found.items()
        if set(JITTER_METHODS) <= set(ways)
    ]


def rivals() -> list[Row]:
    """Return the gain of each rival over the noisy stack, and in brackets the gain in the paper."""
    table: dict[str, Row] = {}
    for row in rows_of("rivals"):
        line = table.setdefault(row["rival"], {"rival": row["rival"], "pixels": row["size"]})
        line[f"sigma {row['sigma']:g}"] = _gain_and_map(row)
        if row.get("seconds", "") != "":
            line["seconds, most"] = max(row["seconds"], line.get("seconds, most", 0))
    titles = sorted({key for line in table.values() for key in line if key.startswith("sigma")}, key=_size)
    titles = ["rival", "pixels", *titles, "seconds, most"]
    return [{title: str(line.get(title, "")) for title in titles} for line in table.values()]


def _size(title: str) -> float:
    return float(title.split()[1])


def _gain_and_map(row: Row) -> str:
    if row.get("why not"):
        return str(row["why not"])
    paper = row["gain in the paper (dB)"]
    theirs = f" ({paper:+.2f})" if paper != "" else ""
    return f"{row['gain (dB)']:+.2f}{theirs} dB, {row['correlation']:.3f}"


def rivals_sources() -> list[Row]:
    return list(content("rivals")["rivals"])


TABLES = {
    "rivals": Table(rivals, ("rivals",)),
    "rivals sources": Table(rivals_sources, ("rivals",)),
    **{
        f"hyperspectral {part}{scene}": of_rows(partial(make, scene=scene), "hyperspectral")
        for scene in ("Samson", "Jasper Ridge")
        for part, make in {"": scene_table, "part ": crop_table}.items()
    },
    **{
        f"holdout {scan}": of_rows(partial(holdout_table, scan=scan), "holdout")
        for scan in ("ALS, rows", "ALS, frames", "HXN, rows", "SSRL, exposures")
    },
    "jitter": Table(partial(jitter, "jitter"), ("jitter",)),
    "jitter rivals": Table(partial(jitter_rivals, "jitter"), ("jitter",)),
    **{
        f"random {kind}": Table(partial(random_motion, f"random-{kind}-report"), (f"random-{kind}-report",))
        for kind in ("moving", "still")
    },
    **{
        f"random {name}": Table(partial(random_scans, "random-scans-report", title), ("random-scans-report",))
        for name, title in {
            "intervals": "Errors and intervals, by noise and drift",
            "drift": "Drift of the light: its cost, and harm of the correction",
            "chemistry": "Chemistry missed",
            "particles": "Foreign particles",
            "edge": "Energy of the edge",
            "white line": "White line",
            "tenths": "Coverage in tenths of the stated error",
            "worst intervals": "Worst intervals",
            "worst errors": "Worst map errors over true spectra",
        }.items()
    },
    "random false alarms": Table(
        partial(random_scans, "random-noise-report", "False alarms, one species"), ("random-noise-report",)
    ),
}
