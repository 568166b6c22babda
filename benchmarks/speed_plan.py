"""How well the plan forecasts the time and the memory of a run.

``python benchmarks/speed_plan.py`` plans scans of several sizes and quantities, runs each in a process of its
own, and compares.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from _speed import OPEN_COUNTS, SEED, SIGMA, Row, StepTimes, child, parser_of, peak_bytes, report

from xanesum import run, simulate, write_stack
from xanesum.phantom import expose
from xanesum.workflow.plan import plan_run

PLANNED = [  # quantity, rows, columns, energies
    ("counts", 256, 320, 117),
    ("counts", 600, 800, 117),
    ("counts", 1024, 1024, 117),
    ("optical density", 600, 800, 117),
    ("optical density", 379, 520, 969),
    ("optical density", 1193, 1193, 300),
]
QUICK = [("counts", 48, 64, 60)]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)  # the scan of a child process
    options = parser.parse_args()
    if options.only:
        print(json.dumps(one_run(options.only)))
    else:
        report("speed-plan", options, planned)


def planned(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Plan and run every scan."""
    rows: list[Row] = []
    for quantity, n_y, n_x, n_energies in QUICK if options.quick else PLANNED:
        path = write_scan(folder / "scan.h5", quantity, (n_y, n_x), n_energies)
        plan = plan_run(path)
        found = child([sys.executable, __file__, "--only", str(path)])
        peak = found.pop("peak")
        total = round(sum(found.values()), 1)
        rows.append(
            {
                "scan": f"{n_y} x {n_x} x {n_energies}, {quantity}",
                "planned (s)": round(plan.total, 1),
                "taken (s)": total,
                "planned over taken": round(plan.total / total, 2),
                "planned (GB)": round(plan.memory / 1e9, 2),
                "peak (GB)": round(peak / 1e9, 2),
                "planned, by step": {step: round(seconds, 1) for step, seconds in plan.seconds.items()},
                "taken, by step": found,
            }
        )
        print(rows[-1], flush=True)
    return rows


def write_scan(path: Path, quantity: str, shape: tuple[int, int], n_energies: int) -> Path:
    """Write a scan of counts or of optical density to a file."""
    phantom = simulate("particle", shape=shape, n_energies=n_energies)
    rng = np.random.default_rng(SEED)
    stack = (
        expose(phantom, OPEN_COUNTS, rng=rng).stack if quantity == "counts" else phantom.noisy(SIGMA, rng=rng)
    )
    return write_stack(stack, path)


def one_run(path: Path) -> Row:
    """Do a whole run in this process; return the seconds of every step, and the peak of memory in bytes."""
    progress = StepTimes()
    run(path, path.with_name("out"), progress=progress)
    return {**{step: round(seconds, 2) for step, seconds in progress.stop().items()}, "peak": peak_bytes()}


if __name__ == "__main__":
    main()
