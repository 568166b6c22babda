"""Tables of the chemistry benchmarks, as they are shown in docs/results/fractions.md."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["coverage_table", "missing_table", "plain_table"]

Row = dict[str, Any]

SPREAD = (10, 50, 90)


def plain_table(rows: list[Row]) -> list[Row]:
    """Return rows with numbers of three digits, without facts of the machine."""
    hidden = {"commit", "processor"}
    return [{key: _text(value) for key, value in row.items() if key not in hidden} for row in rows]


def coverage_table(rows: list[Row]) -> list[Row]:
    """Return how well stated intervals cover the true fractions, by noise and by what the program said."""
    table = []
    for noise in ("white", "counted"):
        for disowned in (False, True):
            part = [row for row in rows if row["noise"] == noise and row["disowned"] == disowned]
            if not part:
                continue
            table.append(
                {
                    "noise": noise,
                    "disowned": "yes" if disowned else "no",
                    "scans": str(len(part)),
                    "in the interval": _spread(part, "all"),
                    "mean": _mean(part, "all"),
                    "between bounds, mean": _mean(part, "between"),
                    "at bounds, mean": _mean(part, "at bounds"),
                    "within sigma": _spread(part, "+- sigma"),
                    "within 2 sigma": _spread(part, "+- 2 sigma"),
                    "rms error": _spread(part, "rms error"),
                    "rms without noise": _spread(part, "rms without noise"),
                }
            )
    return table


def missing_table(rows: list[Row]) -> list[Row]:
    """Return how errors grow where a reference is missing."""
    table = []
    for element in dict.fromkeys(row["element"] for row in rows):
        part = [row for row in rows if row["element"] == element]
        table.append(
            {
                "element": element,
                "scans": str(len(part)),
                "rms error": _spread(part, "rms error"),
                "stated": _spread(part, "stated"),
                "within 68 %": _spread(part, "within 68 %"),
                "within 95 %": _spread(part, "within 95 %"),
                "said": f"{sum(row['said'] for row in part)} of {len(part)}",
            }
        )
    return table


def _known(rows: list[Row], key: str) -> list[float]:
    return [row[key] for row in rows if row.get(key) is not None]


def _spread(rows: list[Row], key: str) -> str:
    values = _known(rows, key)
    return " / ".join(f"{each:.2g}" for each in np.percentile(values, SPREAD)) if values else "-"


def _mean(rows: list[Row], key: str) -> str:
    values = _known(rows, key)
    return f"{np.mean(values):.2f}" if values else "-"


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
