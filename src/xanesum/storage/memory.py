"""Every memory budget of the package, and the number of threads."""

from __future__ import annotations

import os

import psutil

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_SHARE",
    "BYTES_A_VALUE",
    "COPIES",
    "MOST_OF_CHUNKS",
    "N_THREADS",
    "available_memory",
]

BLOCK_SHARE, BLOCK_BYTES = 0.05, (2.0**20, 2.0**28)  # of the memory, for chunks that are read; limits of it
MOST_OF_CHUNKS = 0.2  # of the memory, that one row of chunks may take
FREE_SHARE = 0.8  # of the free memory, that may be used
COPIES = 4.0  # of a stack that a run holds beside the one read, if it holds any
N_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
BYTES_A_VALUE = 64.0  # of a frame that a thread works on


def available_memory() -> float:
    """Return how many bytes may be used where nobody says: most of what is free."""
    return FREE_SHARE * float(psutil.virtual_memory().available)
