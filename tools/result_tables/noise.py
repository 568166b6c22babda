"""Tables of noise, and of the detectors that make it."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from result_tables.cells import (
    Row,
    Table,
    columns,
    content,
    grouped,
    interval,
    percent,
    rows_of,
    span,
)


def noise() -> list[Row]:
    return columns(
        content("noise")["summary"],
        [
            ("density", "density", "{:g}"),
            ("counts", "counts", "{:g}"),
            ("scans", "scans", "{}"),
            ("map error (eV)", "error (eV)", "{:.3f}"),
            ("over noise as white", "over white", "{:.2f}"),
            ("over no drift", "over no drift", "{:.3f}"),
            ("drift not corrected, over no drift", "not corrected, over no drift", "{:.1f}"),
            ("within 68 %", "68 %", "{:.3f}"),
            ("within 95 %", "95 %", "{:.3f}"),
            ("within 68 %, near borders", "near borders", "{:.3f}"),
            ("tenths, least", "tenths, least", "{:.2f}"),
            ("tenths, greatest", "tenths, greatest", "{:.2f}"),
            ("within 68 %, noise as white", "68 %, white", "{:.2f}"),
        ],
    )


def scan_key(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("phantom", "density", "counts", "seed", "way"))


def noise_single() -> list[Row]:
    scans = {scan_key(row): row for row in rows_of("noise")}
    table = []
    for (density, counts), rows in grouped(rows_of("noise"), "density", "counts"):
        ours = [row for row in rows if row["way"] == "as run"]
        error = "RMSE (eV)"

        def over(other: str, ours: list[Row] = ours, error: str = error) -> list[float]:
            return [row[error] / scans[(*scan_key(row)[:-1], other)][error] for row in ours]

        table.append(
            {
                "density": f"{density:g}",
                "counts": f"{counts:g}",
                "scans": str(len(ours)),
                "error added by drift, worst": percent(1, max(over("no drift")) - 1),
                "better than with noise as white": span(
                    [100 * (1 - r) for r in over("noise as white")], "{:.0f}"
                )
                + " %",
                "within 68 %, single tenths": span(
                    [share for row in ours for share in row["68 % in tenths"]], "{:.2f}"
                ),
            }
        )
    return table


def noise_probes() -> list[Row]:
    before = {scan_key(row): row for row in rows_of("noise")}
    table = []
    for (density, counts), rows in grouped(rows_of("noise-probes"), "density", "counts"):
        pairs = [(row, before[scan_key(row)]) for row in rows if row["way"] == "as run"]
        line = {"density": f"{density:g}", "counts": f"{counts:g}", "scans": str(len(pairs))}
        line["map error over that before"] = span(
            [new["RMSE (eV)"] / old["RMSE (eV)"] for new, old in pairs], "{:.3f}"
        )
        for key in ("within 68 %", "within 95 %", "68 % near borders"):
            new, old = (statistics.mean(pair[k][key] for pair in pairs) for k in (0, 1))
            line[f"{key}: now, before"] = f"{new:.3f}, {old:.3f}"
        table.append(line)
    return sorted(table, key=lambda line: float(line["counts"]))


def noise_lost() -> list[Row]:
    (found,) = content("noise-lost")["summary"]
    return [
        {
            "": "shift of the patch seen, median",
            "whole result": f"{found['shift seen by the whole result (eV), median']:.2f} eV",
            "component dropped": f"{found['shift that is left (eV), median']:.2f} eV",
        },
        {
            "": "loss reported",
            "whole result": f"{found['false alarms']} of {found['seeds']}",
            "component dropped": f"{found['reported']} of {found['dropped']}",
        },
        {
            "": "residual called white",
            "whole result": f"{found['residual called white']} of {found['seeds']}",
            "component dropped": "",
        },
    ]


def noise_defects() -> list[Row]:
    return columns(
        rows_of("noise-defects"),
        [
            ("seed", "seed", "{}"),
            ("dead pixels left out", "dead pixels left out", partial(percent, 0)),
            ("change over standard error, median", "change / standard error: median", "{:.2f}"),
            ("90 % of the pixels below", "90 %", "{:.2f}"),
        ],
    )


def noise_law() -> list[Row]:
    return columns(
        rows_of("noise-law"),
        [
            ("spread", "flats", lambda text: text.removeprefix("spread of ")),
            ("darks", "darks", lambda given: "10" if given else "none"),
            ("gain: worst error", "gain: worst", partial(percent, 2)),
            ("gain in its interval, of 100", "gain in its interval", "{}"),
            ("read noise: worst error", "read noise: worst", partial(percent, 2)),
            ("read variance in its interval, of 100", "read variance in its interval", "{}"),
        ],
    )


def detectors() -> list[Row]:
    rows = [{**row, "held": f"{row['within the interval']} of {row['bins']}"} for row in rows_of("detectors")]
    return columns(
        rows,
        [
            ("energy (eV)", "energy (eV)", "{:.0f}"),
            ("flats", "flats", "{}"),
            ("gain", "gain", "{:.3f}"),
            ("95 % interval", "gain interval", interval),
            ("intercept", "intercept", "{:.1f}"),
            ("misfit of the line (rms)", "misfit of the line (%)", "{:.1f} %"),
            ("drift between flats", "drift between flats (%)", "{:.1f} %"),
            ("measured over predicted", "measured / predicted", "{:.4f}"),
            ("bins within the interval", "held", "{}"),
        ],
    )


def detectors_scan() -> list[Row]:
    rows = content("detectors")["scans"]
    for row in rows:
        row["along"] = ", ".join(f"{row[f'correlation along {axis}']:.2f}" for axis in ("x", "y", "energy"))
        row["lost"] = f"yes, a {row['place']}" if row["p lost"] < 0.01 else "no"
    return columns(
        rows,
        [
            ("noise", "noise", lambda name: {"white": "as white", "auto": "evened out"}[name]),
            ("components", "K", "{}"),
            ("noise by pixel, 5 to 95 %", "pixels' noise, 5 to 95 %", interval),
            ("by energy", "energies' noise", interval),
            ("residual over sigma", "residual / sigma", "{:.2f}"),
            ("unevenness of the residual", "uneven residual", "{:.2f}"),
            ("correlation along x, y, energy", "along", "{}"),
            ("loss reported", "lost", "{}"),
            ("median error of the map", "median error of the map (eV)", "{:.3f} eV"),
            ("map moved by, median", "map moved by, median (eV)", "{:.3f} eV"),
        ],
    )


TABLES = {
    "noise": Table(noise, ("noise",)),
    "noise single": Table(noise_single, ("noise",)),
    "noise probes": Table(noise_probes, ("noise-probes", "noise")),
    "noise lost": Table(noise_lost, ("noise-lost",)),
    "noise defects": Table(noise_defects, ("noise-defects",)),
    "noise law": Table(noise_law, ("noise-law",)),
    "detectors": Table(detectors, ("detectors",)),
    "detectors scan": Table(detectors_scan, ("detectors",)),
}
