"""Time one program on one stack, in a process of its own: ``python benchmarks/_once.py JSON``.

The JSON gives ``what``, ``kind``, ``size``, ``repeats`` and, for an SVD, ``rank``.  The last line printed is
the result, also as JSON: the seconds, and for *denoise* the peak of memory as a multiple of the stack.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from _speed import RANK, SIGMA, Row, child, noisy_stack, peak_bytes, timed

from xanesum import denoise
from xanesum.linalg.subspace import fit_basis, project

__all__ = ["time_once"]

ONE_RUN = ("SUM, bm3d", "3-D median", "BM4D")  # too slow to be repeated
MEDIAN_FRAMES = 12  # frames of the 3-D median; its time is proportional to their number
BM4D_CROP = (64, 128, 128)  # energies, rows, columns of the crop for BM4D


def time_once(what: str, kind: str, size: tuple[int, ...], repeats: int, *, rank: int = RANK) -> Row:
    """Run this file in a process of its own."""
    asked = {"what": what, "kind": kind, "size": size, "repeats": repeats, "rank": rank}
    return child([sys.executable, str(Path(__file__)), json.dumps(asked)])


def measured(what: str, kind: str, size: list[int], repeats: int, rank: int) -> Row:
    """Time one program in this process."""
    small = noisy_stack("particle", (48, 64), 20)
    program(what, small, min(rank, len(small)))()  # imports and first calls are not timed
    n_y, n_x, n_energies = size
    stack = noisy_stack(kind, (n_y, n_x), n_energies)
    if what in ONE_RUN:
        repeats = 1
    seconds, result = timed(program(what, stack, rank), repeats)
    found: Row = {"seconds": seconds}
    if what == "denoise":
        found |= {"K": result.rank, "peak": peak_bytes() / stack.nbytes}
    elif what == "SUM, bm3d":
        found |= {"K": result.rank, "note": "one probe, one run"}
    elif what == "3-D median":
        found = {"seconds": seconds * len(stack) / MEDIAN_FRAMES}
        found["note"] = f"{MEDIAN_FRAMES} frames, extrapolated"
    elif what == "BM4D":
        found = {"seconds": seconds * stack.size / np.prod(BM4D_CROP, dtype=float)}
        found["note"] = f"{np.prod(BM4D_CROP)} values, extrapolated"
    return found


def program(what: str, stack: xr.DataArray, rank: int) -> Callable[[], Any]:
    """Return a function that runs one program on a stack."""
    values, rng = stack.values, np.random.default_rng(0)
    if what == "copy":
        return partial(np.copyto, np.zeros_like(values), values)
    if what == "denoise":
        return partial(denoise, stack)
    if what == "exact SVD":
        return partial(fit_basis, values, rank, rng=rng)
    if what == "randomized SVD":  # its spectra, and the images by one more pass
        return lambda: project(fit_basis(values, rank, route="randomized", rng=rng).spectra, values)
    if what == "SUM, bm3d":
        return partial(denoise, stack, method="sum", denoiser="bm3d", n_probes=1)
    if what == "3-D median":
        return partial(import_module("scipy.ndimage").median_filter, values[:MEDIAN_FRAMES], 3)
    if what == "BM4D":
        crop = values[tuple(map(slice, BM4D_CROP))].astype(np.float64)
        return partial(import_module("bm4d").bm4d, crop, SIGMA)
    raise ValueError(f"nothing is called {what!r}")


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))))
