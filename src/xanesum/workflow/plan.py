"""Predict what a run will take before it is started: time, memory, disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import psutil

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, get_denoiser
from xanesum.io import describe, read_stack
from xanesum.linalg.binning import coarse_scale
from xanesum.linalg.subspace import GRAM_LIMIT
from xanesum.method.options import DEFAULT_PROBES
from xanesum.method.sum_plus import probes_for, views_for
from xanesum.storage.lazy import chunks_of
from xanesum.storage.memory import available_memory
from xanesum.storage.scratch import Workspace

__all__ = [
    "UNCERTAIN",
    "Plan",
    "Rates",
    "denoiser_calls",
    "least_memory",
    "measure_rates",
    "plan_run",
    "predict",
]

SAMPLE_BYTES = 64_000_000  # bytes that are read to measure the speed of reading
MOST_SAMPLES = 8  # where chunks are large, so many times SAMPLE_BYTES may be read
IMAGE_SIDE = 256  # pixels along the side of the image that is denoised to measure that speed
MATRIX_SIDE = 1024  # rows of the square matrix that is multiplied to measure that speed
# The constants below were fitted to the measured steps of six runs, see benchmarks/speed_plan.py.
COMPONENTS_OF_COUNTS, COMPONENTS = 8, 4  # components to denoise, assumed for counts and for other quantities
CALLS_FOR_UNEVEN_NOISE = 1  # more calls of the denoiser for counts, whose uneven noise is measured with it
COARSE_IMAGES = 16  # images of averages that are denoised while spectra and noise are sought
SCALES_COST = 2.0  # all scales and halves of the averages, in units of one matrix of their inner products
DRIFT_COST = 2.0  # search for flat-field drift, in units of the search for spectra ...
DRIFT_IMAGES = 64  # ... plus so many images of averages that are denoised
EIGEN_FLOPS = 10.0  # multiplications for the eigenvectors of a matrix (E, E), in units of E**3 ...
EIGENS = 3  # ... and how often they are sought
COLUMNS = 60  # columns that take the place of E where energies are so many that no matrix (E, E) is made
ENERGY_S = 5e-4  # seconds for an energy, in the search for bad frames and bad pixels
SMOOTH_S = 6e-4  # seconds for an energy, in which spectra are smoothed
MATRICES = 8  # float64 matrices (E, E) in memory ...
MAP_MATRICES = 0.75  # ... or, where energies are too many for them, this part of one, for the map
FIXED_S = {"drift": 2.0, "images": 1.0, "map, residual, report": 3.5}  # seconds for a scan of any size
PREPARE_S, PREPARE_COUNTS_S = 35e-9, 60e-9  # seconds for a value to be prepared; counts are normalized too
REPORT_S, REPORT_PIXEL_S = 12e-9, 8e-6  # seconds for map, residual and report: for a value, and for a pixel
WRITE_S = 8e-9  # seconds for a value to be written
COPIES_OF_RAW, COPIES = 2.3, 1.3  # stacks in memory at peak: of quantities in RAW, and of optical density
RAW = ("counts", "transmission")  # quantities that are converted to optical density, into a stack of its own
BASE_BYTES = 8e8  # bytes of the program itself, with the network at work
BASE_WITHOUT_NETWORK_BYTES = 5.5e8  # the same with another denoiser
NETWORKS = ("network", "dncnn")
IMAGES_HELD = 140  # float32 images in memory besides the stack, most of them to examine the residual
IMAGES_AT_LEAST = 12  # the same where memory is short
READS, READS_OF_RAW = 6, 9  # passes over a stack that is not held in memory, all steps together
RESULT_PIXEL_BYTES = 60  # bytes of maps, result and report for each pixel of an image

NOTHING: Mapping[str, Any] = MappingProxyType({})
UNCERTAIN = 2.0  # factor by which a prediction of seconds may be wrong


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast this machine is, from measurements of a few seconds."""

    read: float  # bytes of the scan per second
    denoise: float  # pixels per second
    multiply: float  # multiplications and additions per second


@dataclass(frozen=True, slots=True)
class Plan:
    """Prediction for a run."""

    shape: tuple[int, ...]  # (E, Y, X)
    seconds: dict[str, float]  # by step
    memory: float  # bytes at peak
    free_memory: float  # bytes
    disk: float  # bytes of the results
    meanwhile: float = 0.0  # bytes on disk during the run, for what does not fit in memory
    in_memory: bool = True  # whether the stack is held in memory

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.seconds.values())

    @property
    def fits(self) -> bool:
        """Whether there is enough free memory."""
        return self.memory < self.free_memory

    @property
    def figures(self) -> dict[str, Any]:
        """All numbers, for programs."""
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
    source: Mapping[str, Any] = NOTHING,
    quantity: str | None = None,
    memory: float | None = None,
) -> Plan:
    """Predict what `xanesum.workflow.pipeline.run` of a scan takes on this machine, without running it.

    A small part of the scan is read, and a small image denoised, to measure the speed.

    Parameters
    ----------
    scan : str or Path
        A scan of any known format.
    denoiser : str or Denoiser
        The denoiser of the run.
    source : mapping
        What to read of the file, as arguments of `xanesum.io.read_stack`.
    quantity : str, optional
        What the values are, as for `xanesum.io.read_stack`.
    memory : float, optional
        Bytes that the run may use; by default most of the free memory.

    Raises
    ------
    ReadError, EnergyError
        If the scan cannot be read.
    DenoiserError
        If there is no such denoiser.
    """
    facts = describe(scan, quantity=quantity, **source)
    rates = measure_rates(scan, denoiser=denoiser, source=source)
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
    """Predict time, memory and disk of a run.

    Parameters
    ----------
    shape : tuple of int
        (E, Y, X).
    quantity : str
        Quantity of the stack, see `xanesum.make_stack`.
    rates : Rates
        How fast the machine is.
    free_memory, memory : float
        Bytes that are free, and bytes that the run may use.
    by_frames : bool
        Whether the stack is stored frame by frame.  A stack that is not, and does not fit in memory, is
        written again in that form.
    """
    n_pixels = shape[1] * shape[2]
    size = 4.0 * shape[0] * n_pixels  # bytes of the stack in float32
    results = size + RESULT_PIXEL_BYTES * n_pixels
    seconds = _seconds_by_step(shape, quantity, rates)
    is_raw = quantity in RAW
    if Workspace(memory, Path()).holds(shape):
        copies = COPIES_OF_RAW if is_raw else COPIES
        peak = BASE_BYTES + copies * size + 4.0 * IMAGES_HELD * n_pixels + _bytes_of_matrices(shape[0])
        return Plan(shape, seconds, peak, free_memory, results)
    seconds["read again"] = (READS_OF_RAW if is_raw else READS) * size / rates.read
    peak = max(memory, BASE_BYTES) + 4.0 * IMAGES_AT_LEAST * n_pixels
    meanwhile = size * (int(is_raw) + int(not by_frames))
    return Plan(shape, seconds, peak, free_memory, results, meanwhile, in_memory=False)


def _bytes_of_matrices(n_energies: int) -> float:
    """Return the bytes of matrices (E, E), or of the parts of them that are made for very many energies."""
    return 8.0 * (MATRICES if n_energies <= GRAM_LIMIT else MAP_MATRICES) * n_energies**2


def _seconds_by_step(shape: tuple[int, ...], quantity: str, rates: Rates) -> dict[str, float]:
    """Predict the seconds of each step for a stack (E, Y, X) that is held in memory."""
    n_energies, n_pixels = shape[0], shape[1] * shape[2]
    n_values = n_energies * n_pixels
    n_averages = n_pixels / coarse_scale(shape) ** 2
    is_counts = quantity == "counts"
    n_columns = n_energies if n_energies <= GRAM_LIMIT else min(COLUMNS, n_averages)
    spectra = SCALES_COST * n_averages * n_energies * n_columns / rates.multiply
    spectra += EIGENS * EIGEN_FLOPS * n_energies * float(n_columns) ** 2 / rates.multiply
    spectra += COARSE_IMAGES * n_averages / rates.denoise
    drift = DRIFT_COST * spectra + DRIFT_IMAGES * n_averages / rates.denoise + FIXED_S["drift"]
    calls = denoiser_calls(n_pixels) + (CALLS_FOR_UNEVEN_NOISE if is_counts else 0)
    n_images = calls * (COMPONENTS_OF_COUNTS if is_counts else COMPONENTS)
    report = n_values * REPORT_S + n_pixels * REPORT_PIXEL_S + FIXED_S["map, residual, report"]
    return {
        "read": 4.0 * n_values / rates.read,
        "prepare": n_values * (PREPARE_COUNTS_S if is_counts else PREPARE_S) + n_energies * ENERGY_S,
        "drift": drift if is_counts else 0.0,
        "spectra and noise": spectra + n_energies * SMOOTH_S,
        "images": n_images * n_pixels / rates.denoise + FIXED_S["images"],
        "map, residual, report": report,
        "write": n_values * WRITE_S,
    }


def least_memory(shape: tuple[int, ...], denoiser: str) -> float:
    """Return the bytes that a run of a stack (E, Y, X) takes at least, most of them for the program."""
    program = BASE_BYTES if denoiser in NETWORKS else BASE_WITHOUT_NETWORK_BYTES
    return program + 4.0 * IMAGES_AT_LEAST * shape[1] * shape[2]


def denoiser_calls(n_pixels: int, n_probes: int = DEFAULT_PROBES) -> int:
    """Return how often the denoiser is called on each component's image at full resolution.

    Each view of the image is denoised once; the probes of the risk are shared out among the views.

    Parameters
    ----------
    n_pixels : int
        Pixels of the image.
    n_probes : int
        As for `xanesum.denoise`.
    """
    n_views, n_probes = len(views_for(n_pixels)), probes_for(n_pixels, n_probes)
    return n_views + min(n_views, n_probes) * max(1, n_probes // n_views)


def measure_rates(
    scan: str | Path, *, denoiser: str | Denoiser = DEFAULT_DENOISER, source: Mapping[str, Any] = NOTHING
) -> Rates:
    """Measure how fast this machine reads the scan, denoises images and multiplies matrices."""
    n_energies = describe(scan, **source)["shape"][0]
    stack = read_stack(scan, energies=np.linspace(1000.0, 2000.0, n_energies), **source)
    n_stored, rows_stored, _ = chunks_of(stack)
    n_frames = min(len(stack), -(-max(1, SAMPLE_BYTES // (4 * stack[0].size)) // n_stored) * n_stored)
    n_fit = SAMPLE_BYTES // (4 * n_frames * stack.shape[2])
    n_rows = min(stack.shape[1], max(1, n_fit, min(rows_stored, MOST_SAMPLES * n_fit)))
    reading = _seconds(lambda: np.asarray(stack[:n_frames, :n_rows].values))
    images = get_denoiser(denoiser)
    noise = np.random.default_rng(0).standard_normal((1, IMAGE_SIDE, IMAGE_SIDE)).astype(np.float32)
    images.denoise(noise, 1.0)  # the first call also loads and prepares the denoiser
    denoising = _seconds(lambda: images.denoise(noise, 1.0))
    matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE))
    multiplying = _seconds(lambda: matrix @ matrix)
    read_bytes = 4.0 * n_frames * n_rows * stack.shape[2]
    return Rates(read_bytes / reading, noise.size / denoising, float(MATRIX_SIDE) ** 3 / multiplying)


def _seconds(function: Callable[[], Any]) -> float:
    """Return the seconds that a call takes; never 0."""
    started = time.perf_counter()
    function()
    return max(time.perf_counter() - started, 1e-6)
