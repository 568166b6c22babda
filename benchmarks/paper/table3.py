"""Table 3: seconds of every method on the same scans, on one machine and in one run.

Methods that take the whole scan are timed one after another, three times over; the median of each is kept.
One that takes more than a minute is timed once.  Methods that would take hours are timed on the middle of the
scan, which they got for Table 1, and their seconds multiplied by the number of pixels.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import numpy as np

from paper.methods import Method, methods
from paper.scans import Case, Size, cut
from paper.store import Row, Store
from paper.table1 import RIVAL_SEED
from xanesum.stack import make_stack

__all__ = ["TIMED", "run"]

TIMED = ("3-D median", "SVD, SURE, hard", "ReLD", "BM4D", "sum", "sum+")
SLOW = ("ReLD", "BM4D")
SIGMA, SEED, REPEATS = 60.0, 0, 3
LONG_S = 60.0
KINDS = ("particle", "inclusions")


def run(
    store: Store, size: Size, *, table1: Store, only: tuple[str, ...] = (), kinds: tuple[str, ...] = KINDS
) -> None:
    """Time what is missing; slow methods have the seconds of `table1`, if it has them."""
    every = methods(size)
    for kind in kinds if size.slow_everywhere else kinds[:1]:
        chosen = [every[name] for name in TIMED if not only or name in only]
        keys = {method.name: {"phantom": kind, "method": method.name} for method in chosen}
        missing = [method for method in chosen if store.find(keys[method.name]) is None]
        if not missing:
            continue
        case = Case.draw(kind, SIGMA, SEED, size)
        same = {"phantom": kind, "sigma": SIGMA, "seed": SEED}
        rows = {method.name: table1.find(same | {"method": method.name}) for method in missing}
        earlier = {name: row for name, row in rows.items() if row and name in SLOW}
        timed = [method for method in missing if method.name not in earlier]
        taken: dict[str, list[float]] = {method.name: [] for method in timed}
        warm_up(timed)
        for _ in range(REPEATS):
            for method in timed:
                if max(taken[method.name], default=0) < LONG_S:
                    taken[method.name].append(seconds(method, case))
        for method in missing:
            if row := earlier.get(method.name):
                known, where = [row["seconds"]], f" (Table 1, load {row['load']:g})"
            else:
                known, where = taken[method.name], ""
            store.cell(keys[method.name], partial(row_of, method, case, known, where))


def warm_up(chosen: list[Method]) -> None:
    """Run each method once on a small stack, so that imports and first calls are not timed."""
    values = np.random.default_rng(0).standard_normal((24, 24, 24), dtype=np.float32)
    for method in chosen:
        method.run(make_stack(values + 10, np.linspace(8300.0, 8400.0, 24)), 1.0, np.random.default_rng(0))


def seconds(method: Method, case: Case) -> float:
    """Return the seconds that one call takes."""
    stack = cut(case.noisy, case.crop) if method.name in SLOW else case.noisy
    start = time.perf_counter()
    method.run(stack, SIGMA, np.random.default_rng(RIVAL_SEED))
    return time.perf_counter() - start


def row_of(method: Method, case: Case, taken: list[float], where: str) -> Row:
    """Return the seconds for the whole scan."""
    whole, part = case.phantom.mask.size, int(np.prod(case.size.crop_px))
    times = whole / part if method.name in SLOW else 1.0
    return {
        "seconds": round(median(taken) * times, 2),
        "least": round(min(taken) * times, 2),
        "repeats": len(taken),
        "how": f"middle of {part} pixels, times {times:.0f}{where}" if times != 1 else "whole scan",
        "pixels": " x ".join(map(str, case.phantom.mask.shape)),
        "energies": len(case.phantom.energy_ev),
    }
