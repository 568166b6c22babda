"""Time and memory of the command for counts that do not fit into the memory it may use.

``python benchmarks/speed_run.py`` writes 8 GB of counts (1193 x 1193 x 1400) to a Zarr store, and gives it to
``xanesum run --memory 2GB``.  The peak of memory is sampled while the command runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil
from _speed import MEMORY, OPEN_COUNTS, SEED, SIZES, Row, forget_cached_files, parser_of, report

from xanesum import simulate
from xanesum.phantom.exposure import Detector

PEAK_DENSITY = 1.5  # largest optical density of the phantom
N_FLATS = 10  # flat images that are averaged
N_ENERGIES = 1400
SAMPLED_S = 0.02  # seconds between two looks at the memory


def main() -> None:
    report("speed-run", parser_of(__doc__).parse_args(), whole_run)


def whole_run(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Run the command on a store of counts; return its time and its peak of memory."""
    shape, n_energies = ((48, 64), 30) if options.quick else (SIZES["wedge"][:2], N_ENERGIES)
    scan = write_counts(folder / "scan.zarr", shape, n_energies)
    memory = "1MB" if options.quick else f"{MEMORY / 1e9:g}GB"
    forget_cached_files()
    command = [sys.executable, "-m", "xanesum", "run", str(scan), "-o", str(folder / "out")]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--memory", memory], stdout=subprocess.DEVNULL) as process:
        peak = sampled_peak(process)
    if process.returncode:
        raise SystemExit("the run failed")
    seconds = time.perf_counter() - started
    return [
        {
            "scan (GB)": round(4 * n_energies * shape[0] * shape[1] / 1e9, 2),
            "memory allowed": memory,
            "peak (GB)": round(peak / 1e9, 2),
            "seconds": round(seconds, 1),
        }
    ]


def sampled_peak(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; return the most memory seen, in bytes."""
    peak, known = 0.0, psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):
            peak = max(peak, float(known.memory_info().rss))
        time.sleep(SAMPLED_S)
    return peak


def write_counts(path: Path, shape: tuple[int, int], n_energies: int) -> Path:
    """Write the counts that a detector gives for a phantom, frame by frame, to a Zarr store."""
    zarr = import_module("zarr")
    phantom = simulate("particle", shape=shape, n_energies=n_energies)
    detector, rng = Detector(), np.random.default_rng(SEED)
    most = float(np.max(phantom.spectra) * np.max(phantom.images))
    group = zarr.open_group(str(path), mode="w")
    chunks = {"chunks": (1, *shape), "dtype": "float32", "compressors": None}
    data = group.create_array("data", shape=(n_energies, *shape), **chunks)
    group.create_array("energy", data=phantom.energy_ev)
    flats = [detector.read(np.full(shape, OPEN_COUNTS), rng=rng) for _ in range(N_FLATS)]
    group.create_array("flat", data=np.mean(flats, axis=0).astype(np.float32))
    group.attrs["quantity"] = "counts"
    for e, weights in enumerate(phantom.spectra.T / most):
        density = PEAK_DENSITY * np.tensordot(weights, phantom.images, axes=1)
        data[e] = detector.read(OPEN_COUNTS * np.exp(-density), rng=rng).astype(np.float32)
    return path


if __name__ == "__main__":
    main()
