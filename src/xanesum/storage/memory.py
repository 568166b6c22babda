"""Every memory budget of the package, and the number of threads.

A share is a share of the memory that the run may use, between 0 and 1.  The constants by which
`xanesum.workflow.plan` predicts time and memory are measured, and stay there.
"""

from __future__ import annotations

import os

import psutil

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_SHARE",
    "CHUNK_ROW_SHARE",
    "COARSE_SHARE",
    "FRAMES_TOGETHER_PIXELS",
    "FRAME_BYTES_PER_VALUE",
    "GPU_SHARE",
    "LAZY_BYTES",
    "N_THREADS",
    "READ_BYTES",
    "RESIDUAL_COPIES",
    "RESIDUAL_SHARE",
    "STACK_COPIES",
    "TILE_BYTES",
    "WORKING_SIZE",
    "available_memory",
]

# threads: the cores that this process may use, which on a cluster are fewer than the computer has
N_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# share of the free memory that a run may use where the user gives no limit; the rest is for other programs
FREE_SHARE = 0.8

# --- Whether a stack is held in memory

# bytes; a smaller stack is read at once, so that nothing can happen to its file later
LAZY_BYTES = 2**28
# memory needed to hold a stack and to work on it, in units of the stack's size
WORKING_SIZE = 1.3
# copies of the stack held at peak, besides the input; where they do not fit, results go to the work folder
STACK_COPIES = 4.0

# --- Blocks of a stack

# bytes of a block of pixels of a stack in memory: large enough for fast matrix products, and small beside
# the stack, of which no copy is made
BLOCK_BYTES = 64_000_000
# share for one block that is read from a stack in a file; two such blocks are held, and copies of both
BLOCK_SHARE = 0.05
# bytes, least and most, of such a block where a stack in chunks is written again frame by frame: smaller
# blocks cost too many reads, and larger ones are no faster
READ_BYTES = 2.0**20, 2.0**28
# share that one row of chunks may take; where it takes more, the stack stays as it is stored
CHUNK_ROW_SHARE = 0.2
# bytes of the rows of a few frames that are worked on at once, while they are in the processor's cache
TILE_BYTES = 2**20
# bytes for each value of a frame that a thread works on: float64, and its temporary arrays
FRAME_BYTES_PER_VALUE = 64.0
# pixels of the small frames that a thread takes at once: work that is long beside handing it to a thread
FRAMES_TOGETHER_PIXELS = 2**14

# --- Parts of a run

# share for the averages over blocks of pixels in which spectra are sought
COARSE_SHARE = 0.16
# share for the images of the residual that are examined ...
RESIDUAL_SHARE = 0.25
# ... and copies of each of these images held at once, about
RESIDUAL_COPIES = 2.5
# share of the free memory of a GPU up to which it holds the stack between passes; the rest is for its work
GPU_SHARE = 0.6


def available_memory() -> float:
    """Return how many bytes a run may use where the user gives no limit: most of what is free."""
    return FREE_SHARE * float(psutil.virtual_memory().available)
