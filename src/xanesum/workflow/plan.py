"""What a run will take, before it is started: time, memory, disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, get_denoiser
from xanesum.io import describe, read_stack
from xanesum.linalg.binning import coarse_scale
from xanesum.storage.lazy import chunks_of
from xanesum.storage.memory import available_memory
from xanesum.storage.scratch import Workspace

__all__ = ["UNCERTAIN", "Plan", "Rates", "measure_rates", "plan_run", "predict"]

PROBE_BYTES = 64_000_000  # that are read to see how fast that goes
MOST_PROBES = 8  # times as much, where chunks are large
IMAGE_SIDE = 256  # of the image that is denoised to see the same
MATRIX_SIDE = 1024  # ... and multiplied
# what follows was fitted to the steps of six runs, see benchmarks/speed.py
COMPONENTS = {"counts": 8}  # that a scan may have, for the denoiser's part; others ...
COMPONENTS_OF_OTHERS = 4
CALLS = {200_000: 8, 400_000: 6, 600_000: 4, 1_000_000: 3}  # of the denoiser, by pixels of an image up to ...
CALLS_OF_LARGER = 2  # ... and beyond
COARSE_IMAGES = 16  # that are denoised while spectra and noise are sought
SCALES_COST = 2.0  # times one matrix of inner products of the averages, for all scales and halves
DRIFT_COST = 2.0  # times both, where the illumination's drift is looked for too; and ...
DRIFT_IMAGES = 64  # ... images that are denoised for it
FIXED = {"drift": 2.0, "images": 1.0, "map, residual, report": 3.5}  # seconds whatever the size
COPIES = {"counts": 2.3, "transmission": 2.3}  # stacks that are in memory at once at most; others ...
COPIES_OF_DENSITY = 1.3
BASE_BYTES = 8e8  # of the program, and of the network at work
IMAGES_KEPT = 140  # images of float32 that a run holds beside the stack, most of them to examine the residual
IMAGES_AT_LEAST = 12  # ... where memory is short
READS, READS_OF_COUNTS = 6, 9  # of a stack that is not held in memory, in all steps
MAPS_BYTES = 60  # a pixel, of maps, result and report
UNCERTAIN = 2.0  # factor by which a prediction of seconds may be off


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast this machine is, measured within some seconds."""

    read: float  # bytes of the scan a second
    denoise: float  # pixels a second
    multiply: float  # multiplications and additions a second


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of a scan will take."""

    shape: tuple[int, ...]  # (E, Y, X)
    seconds: dict[str, float]  # by step
    memory: float  # bytes at most
    free_memory: float
    disk: float  # bytes of the results
    meanwhile: float = 0.0  # bytes on disk during the run, of what does not fit in memory
    in_memory: bool = True  # whether the stack is held there

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())

    @property
    def fits(self) -> bool:
        """Whether there is as much memory."""
        return self.memory < self.free_memory

    @property
    def figures(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "shape": list(self.shape),
            "seconds": self.total,
            "seconds_by_step": self.seconds,
            "uncertain_by_factor": UNCERTAIN,
            "memory_bytes": self.memory,
            "free_memory_bytes": self.free_memory,
            "fits": self.fits,
            "in_memory": self.in_memory,
            "disk_bytes": self.disk,
            "disk_bytes_meanwhile": self.meanwhile,
        }


def plan_run(
    scan: str | Path,
    *,
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    data: str | None = None,
    memory: float | None = None,
) -> Plan:
    """Predict what `xanesum.workflow.pipeline.run` of a scan takes on this machine, without doing it.

    A little of the scan is read, and a small image denoised, to see how fast that goes.

    Parameters
    ----------
    scan : str or Path
        Of any known format.
    denoiser, data
        As for the run.
    memory : float, optional
        Bytes that the run may use; by default most of what is free.

    Raises
    ------
    ReadError, EnergyError
        If the scan cannot be read.
    DenoiserError
        If there is no such denoiser.
    """
    facts = describe(scan, data=data)
    rates = measure_rates(scan, denoiser=denoiser, data=data)
    free = float(psutil.virtual_memory().available)
    most = available_memory() if memory is None else memory
    return predict(facts["shape"], facts["quantity"], rates, free, most, by_frames=facts["chunks"][0] == 1)


def predict(
    shape: tuple[int, ...],
    quantity: str,
    rates: Rates,
    free_memory: float,
    memory: float = np.inf,
    *,
    by_frames: bool = True,
) -> Plan:
    """Predict from the shape (E, Y, X) of a stack, the machine's rates, and the bytes that may be used.

    A stack that is not stored `by_frames`, and does not fit, is written once so that it is.
    """
    n_energies, n_y, n_x = shape
    n_pixels, size = n_y * n_x, 4.0 * n_energies * n_y * n_x
    n_averages = n_pixels / coarse_scale(shape) ** 2
    calls = next((n for most, n in CALLS.items() if n_pixels < most), CALLS_OF_LARGER)
    calls += quantity == "counts"  # for what uneven noise is divided by
    spectra = SCALES_COST * n_averages * n_energies**2 / rates.multiply
    spectra += COARSE_IMAGES * n_averages / rates.denoise
    drift = DRIFT_COST * spectra + DRIFT_IMAGES * n_averages / rates.denoise + FIXED["drift"]
    components = COMPONENTS.get(quantity, COMPONENTS_OF_OTHERS)
    values = size / 4
    seconds = {
        "read": size / rates.read,
        "prepare": values * (60e-9 if quantity == "counts" else 35e-9),
        "drift": drift if quantity == "counts" else 0.0,
        "spectra and noise": spectra,
        "images": calls * components * n_pixels / rates.denoise + FIXED["images"],
        "map, residual, report": values * 12e-9 + n_pixels * 8e-6 + FIXED["map, residual, report"],
        "write": values * 8e-9,
    }
    results = size + MAPS_BYTES * n_pixels
    if Workspace(memory, Path()).holds(shape):
        copies = COPIES.get(quantity, COPIES_OF_DENSITY)
        held = BASE_BYTES + copies * size + 4.0 * IMAGES_KEPT * n_pixels
        return Plan(shape, seconds, held, free_memory, results)
    converted = quantity in COPIES
    seconds["read again"] = (READS_OF_COUNTS if converted else READS) * size / rates.read
    held = max(memory, BASE_BYTES) + 4.0 * IMAGES_AT_LEAST * n_pixels
    meanwhile = size * (int(converted) + int(not by_frames))
    return Plan(shape, seconds, held, free_memory, results, meanwhile, in_memory=False)


def measure_rates(
    scan: str | Path, *, denoiser: str | Denoiser = DEFAULT_DENOISER, data: str | None = None
) -> Rates:
    """Measure how fast a scan is read here, images are denoised and matrices multiplied."""
    stack = read_stack(scan, data=data, energies=np.arange(describe(scan, data=data)["shape"][0]) + 1000.0)
    n_stored, rows_stored, _ = chunks_of(stack)
    n_frames = min(len(stack), -(-max(1, PROBE_BYTES // (4 * stack[0].size)) // n_stored) * n_stored)
    n_fit = PROBE_BYTES // (4 * n_frames * stack.shape[2])
    n_rows = min(stack.shape[1], max(1, n_fit, min(rows_stored, MOST_PROBES * n_fit)))
    reading = _seconds(lambda: np.asarray(stack[:n_frames, :n_rows].values))
    images = get_denoiser(denoiser)
    noise = np.random.default_rng(0).standard_normal((1, IMAGE_SIDE, IMAGE_SIDE)).astype(np.float32)
    images.denoise(noise, 1.0)
    denoising = _seconds(lambda: images.denoise(noise, 1.0))
    matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE))
    multiplying = _seconds(lambda: matrix @ matrix)
    read_bytes = 4.0 * n_frames * n_rows * stack.shape[2]
    return Rates(read_bytes / reading, noise.size / denoising, float(MATRIX_SIDE) ** 3 / multiplying)


def _seconds(function: Any) -> float:
    started = time.perf_counter()
    function()
    return max(time.perf_counter() - started, 1e-6)
