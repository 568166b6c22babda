"""What the benchmarks of speed share: sizes, noisy stacks, the clock, the memory, child processes."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr
from _common import print_table, save

from xanesum import simulate
from xanesum.__main__ import let_idle_threads_sleep

__all__ = [
    "MEMORY",
    "OPEN_COUNTS",
    "RANK",
    "SEED",
    "SIGMA",
    "SIZES",
    "SMALL",
    "StepTimes",
    "child",
    "filled",
    "forget_cached_files",
    "noisy_stack",
    "parser_of",
    "peak_bytes",
    "report",
    "timed",
]

SIZES = {"particle": (379, 520, 969), "wedge": (1193, 1193, 969)}  # rows, columns, energies
SMALL = {"particle": (96, 128, 60)}  # the same, with --quick
SIGMA = 60.0  # noise of the stacks, in their unit
RANK = 5  # components of the SVDs
MEMORY = 2e9  # bytes that a run may use for a stack larger than memory
OPEN_COUNTS = 400.0  # counts of a pixel without sample
SEED = 9000  # of the noise
Row = dict[str, Any]
Measure = Callable[[argparse.Namespace, Path], list[Row]]


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark of speed has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small stacks and one run: shows that all works")
    parser.add_argument("--repeats", type=int, default=5, help="runs whose median is reported")
    parser.add_argument("--folder", help="folder for temporary stacks; they are deleted at the end")
    return parser


def report(name: str, options: argparse.Namespace, measure: Measure, **facts: Any) -> None:
    """Measure in a temporary folder, save the rows under `name`, and print them."""
    if options.quick:
        options.repeats = 1
    let_idle_threads_sleep()  # the command does so for itself; here it holds for every child process
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(options, Path(folder))
    save(name + ("-quick" if options.quick else ""), rows, **facts)
    print_table(rows)


def noisy_stack(kind: str, shape: tuple[int, int], n_energies: int) -> xr.DataArray:
    """Return a phantom with noise.  The noise is added frame by frame, so that no second copy is made."""
    stack = simulate(kind, shape=shape, n_energies=n_energies).clean()
    rng = np.random.default_rng(SEED)
    for frame in stack.values:
        frame += np.float32(SIGMA) * rng.standard_normal(frame.shape, dtype=np.float32)
    return stack


def timed(function: Callable[[], object], repeats: int) -> tuple[float, Any]:
    """Return the median seconds of some runs, and the result of the last run."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


class StepTimes:
    """A progress callback that adds up the seconds of every step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._step = ""
        self._since = 0.0

    def __call__(self, step: str, share: float) -> None:
        """Note that `step` is at work, with a share of it done."""
        now = time.perf_counter()
        if self._step:
            self.seconds[self._step] = self.seconds.get(self._step, 0.0) + now - self._since
        self._step, self._since = step, now

    def stop(self) -> dict[str, float]:
        """End the last step; return {step: seconds}."""
        self("", 1.0)
        return self.seconds


def peak_bytes() -> float:
    """Return the most memory that this process has held, as the operating system counts it."""
    status = Path("/proc/self/status")  # Linux; its getrusage would begin with the parent's peak
    for line in status.read_text("utf-8").splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return 1024 * float(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def child(command: list[str], *, killed: bool = False) -> Row:
    """Run a process and return the JSON of its last line.

    With `killed`, the process is killed after its first line; the seconds until then are returned.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as process:
        if killed and process.stdout is not None:
            line = process.stdout.readline()
            process.kill()
            return {"seconds till then": round(time.perf_counter() - started, 1), "note": line.strip()}
        output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{errors[-2000:]}")
    return dict(json.loads(output.strip().splitlines()[-1]))


def filled(rows: list[Row]) -> list[Row]:
    """Return the rows with the same columns each; a missing value becomes an empty cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in names} for row in rows]


def forget_cached_files() -> None:
    """Write pending data to disk and empty the cache of files, where the system allows it."""
    if hasattr(os, "sync"):
        os.sync()
    with suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3")
