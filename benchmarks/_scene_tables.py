"""Tables of hyperspectral scenes and of scores without truth, as they are shown in docs/results/."""

from __future__ import annotations

from typing import Any

import numpy as np
from _holdout_metrics import mean_difference

__all__ = ["crop_table", "holdout_table", "scene_table"]

Row = dict[str, Any]
OURS = "xanesum"


def scene_table(rows: list[Row], scene: str) -> list[Row]:
    """Return PSNR, SSIM and angle of each method on a whole scene, a column for each noise level."""
    own = [row for row in rows if row["scene"] == scene]
    whole = max((row["size"] for row in own), key=_n_values)
    return _by_noise([row for row in own if row["size"] == whole])


def crop_table(rows: list[Row], scene: str) -> list[Row]:
    """Return the same for the part of a scene that slow methods get."""
    own = [row for row in rows if row["scene"] == scene]
    whole = max((row["size"] for row in own), key=_n_values)
    return _by_noise([row for row in own if row["size"] != whole])


def holdout_table(rows: list[Row], scan: str) -> list[Row]:
    """Return score, difference from this project, and correlations of the residual of each method."""
    own = [row for row in rows if row["scan"] == scan]
    (ours,) = (row["blocks"] for row in own if row["method"] == OURS)
    best = min(row["score"] for row in own if _measured(row))
    table = []
    for row in sorted(own, key=lambda row: row["score"] if _measured(row) else np.inf):
        if not _measured(row):
            table.append({"method": row["method"], "score": row["why not"]})
            continue
        score = f"{row['score']:.4f}"
        table.append(
            {
                "method": row["method"],
                "score": f"**{score}**" if row["score"] == best else score,
                "more than xanesum": _difference(row["blocks"], ours) if row["method"] != OURS else "",
                **{f"along {axis}": _correlation(row, axis) for axis in ("y", "x", "energy")},
                "removed": f"{row['removed']:.3f}",
                "K": str(row["K"]),
            }
        )
    names = max((list(row) for row in table), key=len)
    return [{name: row.get(name, "") for name in names} for row in table]


def _measured(row: Row) -> bool:
    return not row.get("why not")


def _n_values(size: str) -> int:
    return int(np.prod([int(side) for side in size.split(" x ")]))


def _by_noise(rows: list[Row]) -> list[Row]:
    """Return a row for each method, with the best PSNR of each column in bold."""
    table: dict[str, Row] = {}
    sigmas = sorted({row["sigma"] for row in rows})
    for sigma in sigmas:
        part = [row for row in rows if row["sigma"] == sigma]
        best = max(row["PSNR (dB)"] for row in part if _measured(row))
        for row in part:
            line = table.setdefault(row["method"], {"method": row["method"]})
            line[f"noise {sigma:g}"] = _scene_cell(row, best)
    names = ["method", *(f"noise {sigma:g}" for sigma in sigmas)]
    return [{name: line.get(name, "") for name in names} for line in table.values()]


def _scene_cell(row: Row, best: float) -> str:
    if not _measured(row):
        return str(row["why not"])
    psnr = f"{row['PSNR (dB)']:.2f} dB"
    psnr = f"**{psnr}**" if row["PSNR (dB)"] == best else psnr
    components = f", K = {row['K']}" if row["K"] != "" else ""
    return f"{psnr}, {row['SSIM']:.3f}, {row['SAM (deg)']:.2f}°{components}"


def _difference(scores: list[float], ours: list[float]) -> str:
    value, error = mean_difference(scores, ours)
    return f"{value:+.4f} +- {error:.4f}"


def _correlation(row: Row, axis: str) -> str:
    """Return a correlation, and in brackets in units of its error for white noise."""
    if row["removed"] == 0:
        return ""
    value, error = row[axis], row[f"{axis} error"]
    return f"{value:+.3f} ({value / error:+.0f})"
