"""Shared by the benchmarks: a description of the machine, results as JSON and as a printed table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(os.environ.get("XANESUM_RESULTS", Path(__file__).parent / "results"))


@lru_cache
def commit() -> str:
    """Return the commit when this module was imported, with "-dirty" if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip()


commit()


@lru_cache
def machine() -> dict[str, Any]:
    """Describe the machine and the versions with which the figures were measured."""
    return {
        "commit": commit(),
        "machine": platform.machine(),
        "processor": processor(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("xanesum", "numpy", "scipy")},
    }


def processor() -> str:
    """Return the processor's name, where the system gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def save(name: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Write the rows and the machine to results/<name>.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {**facts, **machine(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def load(name: str) -> list[dict[str, Any]]:
    """Return the saved rows of results/<name>.json, each with its commit and processor; none without it."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text("utf-8"))
    facts = {"commit": content["commit"], "processor": content.get("processor", "")}
    return [facts | row for row in content["rows"]]


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as a Markdown table."""
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)
