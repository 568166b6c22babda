"""A stack much larger than the memory allowed: its speed, and a killed run that continues.

``python benchmarks/speed_memory.py`` writes a stack of 20 GB to disk and denoises it with 2 GB of memory.  It
kills a second run half-way, continues that run, and denoises the stack once more with two Dask workers.  Some
pixels of every result are compared with those of the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from _speed import MEMORY, SEED, SIGMA, Row, child, filled, forget_cached_files, parser_of, peak_bytes, report
from numpy.typing import NDArray

from xanesum import read_stack, simulate
from xanesum.denoisers import DEFAULT_DENOISER, get_denoiser
from xanesum.method.denoising import denoise_with
from xanesum.method.options import Options
from xanesum.streaming.cpu_backend import SumRequest, Sums
from xanesum.streaming.executors import Blocks, Executor
from xanesum.streaming.interface import Progress
from xanesum.streaming.parts import Part
from xanesum.streaming.resources import Resources

BIG, SMALL_ON_DISK = (2048, 2048, 1192), (128, 160, 40)  # rows, columns, energies: 20 GB, and 3 MB
SMALL_MEMORY = 2e6  # bytes, with --quick
PIXELS_APART = 997  # one pixel in so many is compared
READ_SHARE = 0.05  # share of the memory that one plain read takes


def main() -> None:
    parser = parser_of(__doc__)
    for hidden in ("only", "path", "memory"):  # the task of a child process
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(one_run(options.only, Path(options.path), float(options.memory))))
    else:
        report("speed-memory", options, large_stack)


def large_stack(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Run all cases on one stack, each in a process of its own."""
    size = SMALL_ON_DISK if options.quick else BIG
    path, memory = folder / "stack.zarr", SMALL_MEMORY if options.quick else MEMORY
    write_zarr(path, *size)
    rows: list[Row] = []
    for what in ("read", "denoise", "killed", "gone on", "two workers"):
        forget_cached_files()
        command = [sys.executable, __file__, "--only", what, "--path", str(path), "--memory", str(memory)]
        found = child(command, killed=what == "killed")
        print(what, found, flush=True)
        rows.append({"what": what, **found})
    values = {row["what"]: some_pixels(path.with_name(f"{row['what']}.npz")) for row in rows if row.get("K")}
    for row in rows:
        if row["what"] in values:
            change = np.abs(values[row["what"]] - values["denoise"]).max() / SIGMA
            row["differs by (of sigma)"] = float(change)
    total = 4 * size[0] * size[1] * size[2]
    for row in rows:
        if row.get("seconds"):
            row["GB/s, as if read once"] = round(total / 1e9 / row["seconds"], 3)
    return filled(rows)


def some_pixels(path: Path) -> NDArray[np.float32]:
    """Return spectra of some pixels of the clean stack whose factors are in a file."""
    with np.load(path) as file:
        spectra, images = file["spectra"], file["coefficients"]
    return np.asarray(spectra.T @ images.reshape(len(images), -1)[:, ::PIXELS_APART])


def one_run(what: str, path: Path, memory: float) -> Row:
    """Do one case in this process."""
    stack = read_stack(path)
    if what == "read":
        start = time.perf_counter()
        n = max(1, int(READ_SHARE * memory / stack[0].nbytes))
        for e in range(0, len(stack), n):
            np.asarray(stack[e : e + n].values)
        return {"seconds": round(time.perf_counter() - start, 1), "peak (GB)": round(peak_bytes() / 1e9, 2)}

    def progress(step: str, share: float) -> None:
        if what == "killed" and step == "components" and share > 0.6:  # within the last pass
            print("half-way", flush=True)
            time.sleep(3600)  # the parent kills this process now

    checkpoint = path.with_name("kept") if what in ("killed", "gone on") else None
    with scheduler(2 if what == "two workers" else 0) as client:
        resources = TimedResources.given(memory, checkpoint, client, "auto")
        start = time.perf_counter()
        result = denoise_with(stack, Options(), get_denoiser(DEFAULT_DENOISER), resources, progress=progress)
        seconds = time.perf_counter() - start
    np.savez(
        path.with_name(f"{what}.npz"), spectra=result.spectra.values, coefficients=result.coefficients.values
    )
    return {
        "seconds": round(seconds, 1),
        "passes (s)": ", ".join(f"{each:.1f}" for each in resources.passes),
        "K": result.rank,
        "peak (GB)": round(peak_bytes() / 1e9, 2),
    }


@contextmanager
def scheduler(n_workers: int) -> Iterator[Any]:
    """Give a Dask client with so many local workers; None for no workers."""
    if not n_workers:
        yield None
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@dataclass(frozen=True, eq=False)
class TimedExecutor:
    """Another executor, with the seconds of every pass."""

    executor: Executor
    seconds: list[float]

    @property
    def copies_blocks(self) -> bool:
        """Whether blocks of a stack in memory are copied."""
        return self.executor.copies_blocks

    def sums(
        self, stack: Blocks, parts: list[Part], request: SumRequest, progress: Progress
    ) -> Iterator[tuple[Part, Sums]]:
        """Yield every part and the sums over its values."""
        start = time.perf_counter()
        yield from self.executor.sums(stack, parts, request, progress)
        self.seconds.append(time.perf_counter() - start)

    def images(
        self, stack: Blocks, parts: list[Part], spectra: NDArray[np.float32], progress: Progress
    ) -> NDArray[np.float32]:
        """Return the images (K, Y, X) of `spectra` (K, E)."""
        start = time.perf_counter()
        images = self.executor.images(stack, parts, spectra, progress)
        self.seconds.append(time.perf_counter() - start)
        return images


@dataclass(frozen=True)
class TimedResources(Resources):
    """Resources that list the seconds of every pass over the stack."""

    passes: list[float] = field(default_factory=list)

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """Yield the executor, timed."""
        with super().executor() as executor:
            yield TimedExecutor(executor, self.passes)


def write_zarr(path: Path, n_y: int, n_x: int, n_energies: int) -> None:
    """Write an uncompressed stack, frame by frame."""
    zarr = import_module("zarr")
    phantom = simulate("particle", shape=(n_y, n_x), n_energies=n_energies)
    shape, chunks = (n_energies, n_y, n_x), (1, n_y, n_x)
    store = zarr.create_array(store=str(path), shape=shape, chunks=chunks, dtype="float32", compressors=None)
    store.attrs.update({"energy_ev": phantom.energy_ev.tolist(), "quantity": "optical_density"})
    rng = np.random.default_rng(SEED)
    for e, weights in enumerate(phantom.spectra.T.astype(np.float32)):
        frame = np.tensordot(weights, phantom.images, axes=1)
        store[e] = frame + np.float32(SIGMA) * rng.standard_normal(frame.shape, dtype=np.float32)


if __name__ == "__main__":
    main()
