"""Tables of time and memory."""

from __future__ import annotations

import re
from functools import partial

from result_tables.cells import (
    Row,
    Table,
    columns,
    grouped,
    rows_of,
    short,
    span,
)


def speed(stack: str) -> list[Row]:
    rows = [row for row in rows_of("speed") if row["stack"].startswith(stack)]
    (ours,) = (row["seconds"] for row in rows if row["what"] == "denoise")
    rows.sort(key=lambda row: list(SPEED_ROWS).index(row["what"]))
    table = []
    for row in rows:
        name = SPEED_ROWS[row["what"]]
        saved = row["denoise over it"]  # three decimals, of seconds that were not rounded yet
        over = saved if saved > 0.01 else ours / row["seconds"]
        note = re.sub(r"\d{4,}", lambda found: f"{int(found[0]):,}", row["note"])
        table.append(
            {
                "program": f"{name} ({note})" if note else name,
                "seconds": short(row["seconds"], 3 if row["seconds"] >= 0.1 else 2),
                "`denoise` over it": "" if row["what"] == "denoise" else short(over, 2),
                "K": str(row["K"]),
                "most memory over the stack": short(row["peak over stack"]) if row["peak over stack"] else "",
            }
        )
    return table


SPEED_ROWS = {
    "denoise": "`denoise`",
    "copy": "copy of the stack",
    "randomized SVD": "our randomized SVD, rank 5",
    "exact SVD": "exact SVD by the Gram matrix",
    "scikit-learn": "scikit-learn `randomized_svd`, rank 5",
    "HyperSpy": "HyperSpy decomposition, rank 5",
    "3-D median": "3-D median of SciPy",
    "SUM, bm3d": "SUM with BM3D and its own rank",
    "BM4D": "BM4D on a crop",
}


def speed_steps() -> list[Row]:
    return columns(
        [row for row in rows_of("speed-steps") if row["floor (s)"] != ""],
        [
            ("step", "step", "{}"),
            ("seconds", "seconds", "{:.2f}"),
            ("floor (s)", "floor (s)", "{:.2f}"),
            ("floor set by", "floor of", "{}"),
            ("seconds over the floor", "over the floor", "{:.1f}"),
        ],
    )


def speed_shares() -> list[Row]:
    names = {
        "of one run: read": "survey and averages",
        "of one run: noise": "noise level",
        "of one run: subspace": "search for spectra",
        "of one run: components": "pilot, refits and images",
        "one run": "the whole run",
    }
    rows = {row["step"]: row for row in rows_of("speed-steps")}
    return [{"part": name, "seconds": f"{rows[step]['seconds']:.1f}"} for step, name in names.items()]


def speed_growth() -> list[Row]:
    table = []
    for (what,), rows in grouped(rows_of("speed-growth"), "what"):
        line = {"program": "`denoise`" if what == "denoise" else "randomized SVD, spectra and images"}
        for varied in ("pixels", "energies", "components"):
            cell = [row for row in rows if row["varied"] == varied]
            seconds = span([row["seconds"] for row in cell], "{:.1f}") if cell else ""
            line[varied] = f"{cell[0]['exponent']:.2f} ({seconds} s)" if cell else "its own choice"
        table.append(line)
    return table


def speed_memory() -> list[Row]:
    names = {
        "read": "plain read",
        "denoise": "`denoise`",
        "gone on": "continued after a kill",
        "two workers": "two Dask workers",
    }
    return columns(
        [row for row in rows_of("speed-memory") if row["what"] in names],
        [
            ("run", "what", names.__getitem__),
            ("seconds", "seconds", "{:.1f}"),
            ("most memory (GB)", "peak (GB)", "{:.2f}"),
            ("seconds of each pass", "passes (s)", "{}"),
            ("K", "K", "{}"),
            ("differs from `denoise` by (of sigma)", "differs by (of sigma)", "{:g}"),
        ],
    )


def speed_run() -> list[Row]:
    return columns(
        rows_of("speed-run"),
        [
            ("scan (GB)", "scan (GB)", "{:.2f}"),
            ("memory allowed", "memory allowed", "{}"),
            ("most memory (GB)", "peak (GB)", "{:.2f}"),
            ("seconds", "seconds", "{:.1f}"),
        ],
    )


def speed_plan() -> list[Row]:
    return columns(
        rows_of("speed-plan"),
        [
            ("scan", "scan", "{}"),
            ("planned (s)", "planned (s)", "{:.1f}"),
            ("taken (s)", "taken (s)", "{:.1f}"),
            ("planned over taken", "planned over taken", "{:.2f}"),
            ("planned (GB)", "planned (GB)", "{:.2f}"),
            ("most memory (GB)", "peak (GB)", "{:.2f}"),
        ],
    )


def speed_versions() -> list[Row]:
    return columns(
        rows_of("speed-versions"),
        [
            ("stack", "stack", "{}"),
            ("old (s)", "old, seconds", "{:.2f}"),
            ("new (s)", "new, seconds", "{:.2f}"),
            ("new over old", "new over old", "{:.2f}"),
            ("pairs", "pairs", "{}"),
        ],
    )


def speed_watch() -> list[Row]:
    return columns(
        rows_of("speed-watch"),
        [
            ("frames", "frames", "{}"),
            ("update of the factors, median", "update, median (s)", "{:.3f} s"),
            ("worst", "update, worst (s)", "{:.2f} s"),
            (
                "largest angle to an SVD of all frames",
                "largest angle to a batch SVD (degrees)",
                "{:.3f} degrees",
            ),
            ("maps", "maps", "{}"),
            ("most frames between maps", "most frames between maps", "{}"),
            ("seconds in all", "seconds, all", "{:.0f}"),
        ],
    )


TABLES = {
    **{f"speed {name}": Table(partial(speed, name), ("speed",)) for name in ("particle", "wedge")},
    "speed versions": Table(speed_versions, ("speed-versions",)),
    "speed shares": Table(speed_shares, ("speed-steps",)),
    "speed steps": Table(speed_steps, ("speed-steps",)),
    "speed growth": Table(speed_growth, ("speed-growth",)),
    "speed memory": Table(speed_memory, ("speed-memory",)),
    "speed run": Table(speed_run, ("speed-run",)),
    "speed plan": Table(speed_plan, ("speed-plan",)),
    "speed watch": Table(speed_watch, ("speed-watch",)),
}
