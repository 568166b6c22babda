"""What a verb answers: lines for a person, or one JSON document for a program."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xanesum.cli.output import printable
from xanesum.result import Denoised
from xanesum.xanes import KINDS

__all__ = ["answer", "dataset_facts", "map_facts", "result_facts", "run_facts"]

PERCENTILES = {"p5": 5, "median": 50, "p95": 95}


def answer(arguments: argparse.Namespace, facts: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Print lines; with ``--json`` the facts and all notes as one document; with ``--quiet`` nothing.

    Numbers that are not known are null.
    """
    if arguments.json:
        whole = {**facts, "notes": facts.get("notes", list(arguments.heard))}
        print(json.dumps(plain_json(whole), indent=1, allow_nan=False))
    elif not arguments.quiet:
        for line in lines:
            print(printable(line))


def plain_json(value: Any) -> Any:
    """Return a value that JSON can hold; numbers that are not finite become None."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain_json(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def result_facts(result: Denoised) -> dict[str, Any]:
    """Return sizes, noise and doubts of a result."""
    n_energies, n_y, n_x = result.shape
    return {
        "shape": {"energy": n_energies, "y": n_y, "x": n_x},
        "quantity": result.attrs.get("quantity"),
        "sigma": result.sigma,
        "rank": result.rank,
        "denoiser": result.provenance.get("denoiser"),
        "intervals_hold": result.intervals_hold,
        "reasons": list(result.reasons),
    }


def map_facts(maps: xr.Dataset | None) -> dict[str, Any] | None:
    """Return kind, percentiles and median error of a map; None where there is no map."""
    if maps is None:
        return None
    kind = maps.attrs["kind"]
    told, mask = KINDS[kind], maps["mask"].values
    values, errors = (maps[name].values[mask] for name in (told.variable, told.error))
    errors = errors[np.isfinite(errors)]
    return {
        "kind": kind,
        "variable": told.variable,
        "unit": told.unit,
        "pixels": int(mask.sum()),
        **{name: float(np.percentile(values, q)) if values.size else None for name, q in PERCENTILES.items()},
        "sigma_median": float(np.median(errors)) if errors.size else None,
        "definition": maps.attrs["definition"],
        "intervals_hold": maps.attrs["intervals_hold"],
        "reasons": list(maps.attrs["reasons"]),
    }


def dataset_facts(found: xr.Dataset) -> dict[str, Any]:
    """Return the attributes and the tables of a Dataset, without its images."""
    tables = {
        str(name): each.values
        for name, each in found.variables.items()
        if "y" not in each.dims and each.ndim < 3
    }
    return {**{str(key): value for key, value in found.attrs.items()}, **tables}


def run_facts(done: Any, folder: Path, seconds: float) -> dict[str, Any]:
    """Return what a run found, and where its files are; `done` is a `RunResult`."""
    return {
        **result_facts(done.result),
        "map": map_facts(done.maps),
        "map_problem": done.map_problem or None,
        "preprocessing": list(done.counted),
        "seconds": seconds,
        "folder": str(folder),
        "report": str(folder / "report.html"),
        "files": [str(folder / path.name) for path in done.files],
    }
