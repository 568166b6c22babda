"""What the command line prints."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from xanesum.errors import XanesumWarning
from xanesum.result import Denoised
from xanesum.workflow.pipeline import (
    RunResult,
)

__all__ = [
    "EXIT_INTERRUPTED",
    "_duration",
    "_fail",
    "_info_lines",
    "_map_sentence",
    "_notes",
    "_one_line",
    "_print_counted",
    "_print_end",
    "_print_run",
    "_progress",
    "_sentence",
]

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130
STEPS = {
    "read": "reading",
    "drift": "finding the illumination's drift",
    "noise": "finding the noise level",
    "subspace": "finding the components",
    "components": "denoising components",
    "map": "mapping",
    "bootstrap": "drawing scans again",
    "trust": "examining the residual",
    "check": "looking at the scan",
    "write": "writing",
    "report": "writing the report",
}


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


# --- what is shown


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Give a function that shows a step and how much of it is done; silent where nobody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(step: str, share: float) -> None:
            bar.update(task, description=STEPS.get(step, step), completed=share, total=1.0 if share else None)

        yield show


@contextmanager
def _notes() -> Iterator[None]:
    """Print each XanesumWarning once, as one line; other warnings stay what they are."""
    said: set[str] = set()
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Any, category: Any, *place: Any, **more: Any) -> None:
            if not issubclass(category, XanesumWarning):
                others(message, category, *place, **more)
            elif str(message) not in said:
                said.add(str(message))
                print(f"note: {_one_line(str(message))}", file=sys.stderr)

        warnings.simplefilter("always", XanesumWarning)
        warnings.showwarning = show
        yield


def _fail(message: str) -> int:
    print(f"xanesum: error: {_one_line(message)}", file=sys.stderr)
    return EXIT_ERROR


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _info_lines(facts: dict[str, Any]) -> Iterator[tuple[str, object]]:
    n_energies, ny, nx = facts["shape"]
    low, high = facts["energy_min_ev"], facts["energy_max_ev"]
    yield "scan", facts["path"]
    yield "format", f"{facts['description']} ({facts['format']})"
    yield "images", f"{ny} x {nx} px (y, x), {facts['dtype']}, {facts['nbytes'] / 2**20:.1f} MiB in memory"
    yield (
        "energies",
        f"{n_energies}, " + ("none in the file" if low is None else f"{low:.2f} to {high:.2f} eV"),
    )
    yield "quantity", facts["quantity"]
    if facts["pixel_size_nm"] is not None:
        yield "pixel size", f"{facts['pixel_size_nm']:g} nm"
    if facts["coordinates"]:
        yield "with", ", ".join(facts["coordinates"])
    for line in facts["history"]:
        yield "history", line


def _sentence(result: Denoised) -> str:
    ny, nx = result.coefficients.shape[1:]
    n_energies = result.spectra.sizes["energy"]
    unit = result.attrs["quantity"].replace("_", " ")
    return (
        f"{ny} x {nx} px, {n_energies} energies: sigma {result.sigma:.4g} ({unit}), "
        f"{result.rank} components, denoiser {result.provenance['denoiser']}"
    )


def _map_sentence(maps: xr.Dataset) -> str:
    name = str(next(iter(maps.data_vars)))
    values = maps[name].values[maps["mask"].values]
    if not values.size:
        return "map: no pixel has an edge that stands above its noise"
    low, middle, high = np.percentile(values, (5, 50, 95))
    what = maps.attrs["kind"].replace("_", " ")
    return f"{what} map: median {middle:.2f} eV, 90 % of the pixels between {low:.2f} and {high:.2f} eV"


def _print_counted(counted: Sequence[str]) -> None:
    for line in counted:
        print(f"preprocessing: {line}")


def _print_run(done: RunResult, folder: Path, seconds: float) -> None:
    _print_counted(done.counted)
    print(_sentence(done.result))
    if done.maps is None:
        print(f"note: no map: {_one_line(done.map_problem)}", file=sys.stderr)
    else:
        print(_map_sentence(done.maps))
    print(f"{seconds:.1f} s; results in {folder}")
    print(f"report: {folder / 'report.html'}")


def _print_end(started: float, what: str, *files: str | Path) -> None:
    print(f"{time.perf_counter() - started:.1f} s; {what}: {', '.join(str(file) for file in files)}")
