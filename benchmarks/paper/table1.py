"""Table 1: frame PSNR and correlation of the map, by every method, on six phantoms at three noise levels.

Slow methods get the middle of each scan, those that look for a subspace only of large scans.  The others are
scored on the whole scan, and on the same middle, so that all can be compared.  Frame, map and a spectrum of
the middle are kept for Figs. 7 and 8.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from _common import RESULTS

from paper.methods import FAST, OURS, SLOW_CELLS, Method, methods
from paper.published import SIGMAS
from paper.scans import KINDS, Case, Size, cut
from paper.store import Row, Store
from paper.workers import Cell, measure_cells

__all__ = [
    "PICTURED",
    "cells",
    "frame_of",
    "is_run",
    "keep_picture",
    "measured",
    "picture_file",
    "pixel_of",
    "run",
]

RIVAL_SEED = 0
_DRAWN: dict[tuple[str, float, int, Size], Case] = {}  # the last scan
PICTURED = ("particle", "inclusions")
FRAME_EV = 8348.0  # of Fig. 7, on the white line


def run(
    store: Store,
    size: Size,
    *,
    only: tuple[str, ...] = (),
    kinds: tuple[str, ...] = KINDS,
    sigmas: tuple[float, ...] = SIGMAS,
    processes: int = 1,
) -> None:
    """Measure what is missing.

    Parameters
    ----------
    store : Store
        Where rows are kept.
    size : Size
        Of the scans.
    only, kinds : tuple of str
        Methods and phantoms; all by default.
    sigmas : tuple of float
        Levels of the noise; all by default.
    processes : int
        How many cells are measured at a time.
    """
    every = [method for method in methods(size).values() if not only or method.name in only]
    missing: list[Cell] = []
    for slow in (False, True):  # what takes long comes last
        for kind, sigma, seed in cells(size, kinds, sigmas):
            for method in every:
                key: Row = {"phantom": kind, "sigma": sigma, "seed": seed, "method": method.name}
                if method.slow is slow and is_run(method, kind, sigma, size) and store.find(key) is None:
                    missing.append((key, partial(_cell, kind, sigma, seed, size, method.name, store.name)))
    measure_cells(store, missing, processes)
    _DRAWN.clear()


def _cell(kind: str, sigma: float, seed: int, size: Size, method: str, name: str) -> Row:
    """Return the scores of a method in one cell, of which this process has the scan, or draws it."""
    if (kind, sigma, seed, size) not in _DRAWN:
        _DRAWN.clear()  # before the next one is drawn: a scan may need 5.5 GB
        _DRAWN[kind, sigma, seed, size] = Case.draw(kind, sigma, seed, size)
    return measured(methods(size)[method], _DRAWN[kind, sigma, seed, size], name)


def cells(
    size: Size, kinds: tuple[str, ...] = KINDS, sigmas: tuple[float, ...] = SIGMAS
) -> Iterator[tuple[str, float, int]]:
    """Yield phantom, sigma and seed; the first seed of everything comes first."""
    for seed in size.seeds:
        for kind in kinds:
            for sigma in sigmas:
                yield kind, sigma, seed


def measured(method: Method, case: Case, name: str) -> Row:
    """Return the scores of a method in one cell, and keep its pictures."""
    area = case.crop
    on_middle = method.gets_middle(case)
    stack = cut(case.noisy, area) if on_middle else case.noisy
    rng = np.random.default_rng(RIVAL_SEED)
    start = time.perf_counter()
    found = method.run(stack, case.sigma, rng)
    seconds = time.perf_counter() - start
    part = found if on_middle else cut(found, area)
    row: Row = {} if on_middle else case.scores(found)
    row |= {f"middle: {key}": value for key, value in case.scores(part, area).items()}
    row |= {"energies": stack.sizes["energy"], "pixels": " x ".join(map(str, case.phantom.mask.shape))}
    row |= {"middle": " x ".join(map(str, part.shape[1:])), "seconds": round(seconds, 2), "note": method.note}
    if case.kind in PICTURED and case.seed == 0:
        keep_picture(method, case, part, name)
    return row


def keep_picture(method: Method, case: Case, part: xr.DataArray, name: str) -> None:
    """Save a frame, the map and a spectrum of the middle."""
    values = case.map_of(part)
    pictured = {
        "frame": part.values[frame_of(case)],
        "map": np.full(part.shape[1:], np.nan) if values is None else values,
        "spectrum": part.values[:, *pixel_of(case)],
    }
    path = picture_file(name, case.kind, case.sigma, method.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **pictured)


def frame_of(case: Case) -> int:
    """Return the number of the frame that is shown."""
    return int(np.argmin(np.abs(case.phantom.energy_ev - FRAME_EV)))


def pixel_of(case: Case) -> tuple[int, int]:
    """Return the pixel of the middle that is shown: in the sample, and of typical brightness."""
    image = np.where(case.phantom.mask, case.phantom.images.sum(axis=0), 0)[case.crop]
    y, x = np.unravel_index(np.argmin(np.abs(image - np.median(image[image > 0]))), image.shape)
    return int(y), int(x)


def picture_file(name: str, kind: str, sigma: float, method: str) -> Path:
    """Return the file for the pictures of one cell; they are not committed."""
    slug = re.sub(r"\W+", "-", method.replace("+", "-plus")).strip("-")
    return RESULTS / "paper-pictures" / f"{name}-{kind}-{sigma:g}-{slug}.npz"


def is_run(method: Method, kind: str, sigma: float, size: Size) -> bool:
    """Whether a method is run in this cell: slow ones in few cells of small scans."""
    if method.name in FAST or method.name in (*OURS, "noisy") or size.slow_everywhere:
        return True
    return (kind, sigma) in SLOW_CELLS
