"""Cells that are measured by several processes at a time, each with one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context

from paper.store import Row, Store

__all__ = ["Cell", "measure_cells"]

Cell = tuple[Row, Callable[[], Row]]  # what is measured, and how; with several processes it is pickled
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def measure_cells(store: Store, cells: list[Cell], processes: int) -> None:
    """Measure and keep all cells, in this process or in others."""
    if processes == 1 or len(cells) < 2:
        for key, measure in cells:
            store.cell(key, measure)
        return
    with _one_thread(), ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        keys = {pool.submit(measure): key for key, measure in cells}
        for future in as_completed(keys):
            store.cell(keys[future], future.result)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are started meanwhile use one thread of the linear algebra."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
