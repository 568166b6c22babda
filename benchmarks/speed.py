"""How long it takes, how much memory, and against what: two cores, stack in memory to factors.

``python benchmarks/speed.py`` times the default method on *particle* (379 x 520 x 969) and *wedge*
(1193 x 1193 x 969), noise 60, beside copying the stack once, an exact and a randomized SVD, the 3-D median
and, with ``--peers PYTHON``, scikit-learn and HyperSpy run by another interpreter; every figure is of a
process of its own, and the median of some runs.  ``--steps`` says where the time goes and what the hardware
would allow.
``--growth`` varies pixels and energies.  ``--memory`` makes a stack of 20 GB on disk, denoises it with 2 GB,
kills that half-way, goes on, and does it once more with two Dask workers; ``--run`` gives the command line
8 GB of counts and 2 GB; the stacks are deleted at the end.  ``--watch`` feeds 117 frames of 1024 x 1024 one
by one to a scan that is watched.  ``--plan`` compares what is planned with what runs then take.  ``--slow``
adds SUM with BM3D, and BM4D on a crop.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr
from _common import RESULTS, print_table, save
from numpy.typing import NDArray

from xanesum import denoise, read_stack, simulate, write_stack
from xanesum.__main__ import let_idle_threads_sleep
from xanesum.denoisers import get_denoiser
from xanesum.linalg.binning import coarse_scale
from xanesum.linalg.subspace import fit_basis, project
from xanesum.phantom import expose
from xanesum.phantom.exposure import Detector
from xanesum.preprocess import to_optical_density
from xanesum.streaming.blocked_stack import BlockedStack
from xanesum.workflow.live import watch
from xanesum.workflow.pipeline import run as run_scan
from xanesum.workflow.plan import plan_run

SIZES = {"particle": (379, 520, 969), "wedge": (1193, 1193, 969)}
SMALL = {"particle": (96, 128, 60)}
SIGMA = 60.0
RANK = 5
BIG, SMALL_ON_DISK = (2048, 2048, 1192), (128, 160, 40)  # 20 GB
MEMORY = 2e9
PLANNED = [  # quantity, Y, X, E
    ("counts", 256, 320, 117),
    ("counts", 600, 800, 117),
    ("counts", 1024, 1024, 117),
    ("optical density", 600, 800, 117),
    ("optical density", 379, 520, 969),
    ("optical density", 1193, 1193, 300),
]
OPEN_COUNTS, PEAK_DENSITY = 400.0, 1.5
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small stack, to see that all runs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with scikit-learn and HyperSpy")
    parser.add_argument("--folder", help="where stacks of --memory and --peers are put meanwhile")
    for part in (*PARTS, "slow"):
        parser.add_argument(f"--{part}", action="store_true")
    for hidden in ("one", "large", "path", "most"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one or options.large:
        asked = options.one and json.loads(options.one)
        done = one(**asked) if asked else large(options.large, Path(options.path), float(options.most))
        print(json.dumps(done))
        return
    suffix = "-quick" if options.quick else ""
    if options.quick:
        options.repeats = 1
    let_idle_threads_sleep()  # in the processes of all that is compared, as the command does in its own
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for part, measure in PARTS.items():
            if getattr(options, part):
                rows = measure(options, Path(folder))
                save(f"speed-{part}{suffix}", rows)
                print_table(rows)
                return
        rows = ratios(options, Path(folder))
        save("speed" + suffix, rows, repeats=options.repeats)
        print_table(rows)


# --- stacks


def noisy_stack(kind: str, shape: tuple[int, int], n_energies: int) -> xr.DataArray:
    """Return a phantom with noise, made in place."""
    stack = simulate(kind, shape=shape, n_energies=n_energies).clean()
    rng = np.random.default_rng(9000)
    for frame in stack.values:
        frame += np.float32(SIGMA) * rng.standard_normal(frame.shape, dtype=np.float32)
    return stack


def timed(function: Callable[[], object], repeats: int) -> tuple[float, object]:
    """Return the median of some runs, and what the last returned."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


# --- the large table


def one(what: str, kind: str, size: list[int], repeats: int, rank: int = RANK) -> Row:
    """Do one thing in this process; return seconds, and the most memory over the stack's size."""
    n_y, n_x, n_energies = size
    denoise(noisy_stack("particle", (48, 64), 20))  # imports and first calls are not the method's
    stack = noisy_stack(kind, (n_y, n_x), n_energies)
    values = stack.values
    rng = np.random.default_rng(0)
    if what == "copy":
        target = np.zeros_like(values)
        seconds, _ = timed(lambda: np.copyto(target, values), repeats)
        return {"seconds": seconds}
    if what == "denoise":
        seconds, result = timed(lambda: denoise(stack), repeats)
        return {"seconds": seconds, "K": result.rank, "peak": peak_bytes() / values.nbytes}
    if what == "exact SVD":
        return {"seconds": timed(lambda: fit_basis(values, rank, rng=rng), repeats)[0]}
    if what == "randomized SVD":
        return {"seconds": timed(lambda: own_randomized(values, rank, rng), repeats)[0]}
    if what == "SUM, bm3d":
        seconds, result = timed(lambda: denoise(stack, method="sum", denoiser="bm3d", n_probes=1), 1)
        return {"seconds": seconds, "K": result.rank, "note": "one probe, one run"}
    if what == "3-D median":
        from scipy.ndimage import median_filter

        part = values[:12]
        seconds, _ = timed(lambda: median_filter(part, 3), 1)
        return {"seconds": seconds * len(values) / len(part), "note": "12 frames, extrapolated"}
    if what == "BM4D":
        from bm4d import bm4d

        crop = values[:64, :128, :128]
        seconds, _ = timed(lambda: bm4d(crop.astype(np.float64), SIGMA), 1)
        return {"seconds": seconds * values.size / crop.size, "note": f"{crop.size} values, extrapolated"}
    raise ValueError(f"nothing is called {what!r}")


def own_randomized(values: NDArray[np.float32], rank: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Randomized SVD of the stack, spectra and images."""
    return project(fit_basis(values, rank, route="randomized", rng=rng).spectra, values)


def peak_bytes() -> float:
    """Return the most memory that this process had, by the operating system's account."""
    status = Path("/proc/self/status")  # of Linux; what getrusage says there begins with the parent's
    for line in status.read_text("utf-8").splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return 1024 * float(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def ratios(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Time the default method and everything that it is compared with, one after the other."""
    rows: list[Row] = []
    for kind, size in (SMALL if options.quick else SIZES).items():
        names = ["denoise", "copy", "randomized SVD", "exact SVD", "3-D median"]
        names += ["SUM, bm3d", "BM4D"] if options.slow else []
        found = {}
        for name in names:
            ask = {"what": name, "kind": kind, "size": size, "repeats": options.repeats}
            found[name] = run([sys.executable, __file__, "--one", json.dumps(ask)])
            print(kind, name, found[name], flush=True)
        if options.peers:
            path = folder / "stack.npy"
            np.save(path, noisy_stack(kind, size[:2], size[2]).values)
            for name in ("scikit-learn", "HyperSpy"):
                peer = Path(__file__).with_name("_peers.py")
                found[name] = run(
                    [options.peers, str(peer), name, str(path), str(RANK), str(options.repeats)]
                )
                print(kind, name, found[name], flush=True)
            path.unlink()
        ours = found["denoise"]["seconds"]
        for name, each in found.items():
            rows.append(
                {
                    "stack": f"{kind}, {' x '.join(map(str, size))}",
                    "what": name,
                    "seconds": round(each["seconds"], 3),
                    "denoise over it": round(ours / each["seconds"], 3),
                    "K": each.get("K", ""),
                    "peak over stack": round(each["peak"], 3) if "peak" in each else "",
                    "note": each.get("note", ""),
                }
            )
    return rows


def run(command: list[str], *, killed: bool = False) -> Row:
    """Return what a process prints last, as JSON; of one that is killed half-way, how long that took."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as process:
        if killed and process.stdout is not None:
            line = process.stdout.readline()
            process.kill()
            return {"seconds till then": round(time.perf_counter() - started, 1), "note": line.strip()}
        output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{errors[-2000:]}")
    return dict(json.loads(output.strip().splitlines()[-1]))


# --- where the time goes


def steps(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Say for each pass and step how long it takes, and how long the hardware would need at least."""
    kind, size = next(iter(SMALL.items())) if options.quick else ("wedge", SIZES["wedge"])
    stack = noisy_stack(kind, size[:2], size[2])
    values, mask = stack.values, np.ones(size[:2], bool)
    rng = np.random.default_rng(0)
    target = np.zeros_like(values[: max(1, len(values) // 4)])
    seconds, _ = timed(lambda: np.copyto(target, values[: len(target)]), options.repeats)
    bandwidth = 2 * target.nbytes / seconds  # read and written
    images = get_denoiser("network")
    precision = images.fingerprint.split(", ")[2]  # type: ignore[attr-defined]
    torch = import_module("torch")
    square = torch.from_numpy(rng.standard_normal((2048, 2048))).to(getattr(torch, precision))
    seconds, _ = timed(lambda: square @ square, options.repeats)
    peak = 2 * 2048**3 / seconds
    scale = coarse_scale((size[2], *size[:2]))
    passes = BlockedStack.over(values, mask)
    spectra = fit_basis(passes.average(max(scale, 2)).values, RANK, rng=rng).spectra
    noisy = passes.project(spectra)
    read = values.nbytes / bandwidth

    def row(name: str, function: Callable[[], object], floor: float, floor_of: str) -> Row:
        taken, _ = timed(function, options.repeats)
        return {
            "step": name,
            "seconds": round(taken, 3),
            "floor (s)": round(floor, 3),
            "over the floor": round(taken / floor, 2),
            "floor of": floor_of,
        }

    flops = 160e3 * noisy.size  # of the network: 80,000 multiplications and additions a pixel
    rows = [
        row("survey and averages", lambda: passes.survey(np.zeros(0, int), scale), read, "one read"),
        row("images of 5 spectra", lambda: passes.project(spectra), read, "one read"),
        row(
            "network, 5 images", lambda: images.denoise(noisy, SIGMA), flops / peak, f"{precision} operations"
        ),
    ]
    shares: dict[str, float] = {}
    last = ["start", time.perf_counter()]

    def progress(step: str, share: float) -> None:
        now = time.perf_counter()
        if step != last[0]:
            shares[str(last[0])] = shares.get(str(last[0]), 0.0) + now - float(last[1])
            last[:] = [step, now]

    start = time.perf_counter()
    denoise(stack, progress=progress)
    total = time.perf_counter() - start
    progress("end", 1.0)
    rows += [
        {"step": f"of one run: {name}", "seconds": round(value, 3)}
        for name, value in shares.items()
        if name != "start"
    ]
    rows.append({"step": "one run", "seconds": round(total, 3)})
    facts = f"{bandwidth / 1e9:.1f} GB/s, {peak / 1e9:.0f} GFlop/s, {precision}"
    return filled([*rows, {"step": f"measured: {facts}"}])


# --- growth


def growth(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Vary pixels, energies and components by factors of 16, and fit the exponents.

    Once the whole method, whose rank is its own choice; once the randomized SVD, spectra and images.
    """
    sides, energies = ([48, 96, 192], [20, 80, 320]) if options.quick else ([300, 600, 1200], [60, 240, 960])
    ranks = [2, 8, 32]
    side, n_energies = sides[1], energies[1]
    cases: dict[str, list[tuple[list[int], int]]] = {
        "pixels": [([n, n, n_energies], RANK) for n in sides],
        "energies": [([side, side, n], RANK) for n in energies],
        "components": [([side, side, n_energies], rank) for rank in ranks],
    }
    rows: list[Row] = []
    for what in ("denoise", "randomized SVD"):
        for varied, sizes in cases.items():
            if (what, varied) == ("denoise", "components"):
                continue
            for size, rank in sizes:
                ask = {
                    "what": what,
                    "kind": "particle",
                    "size": size,
                    "repeats": options.repeats,
                    "rank": rank,
                }
                found = run([sys.executable, __file__, "--one", json.dumps(ask)])
                counted = {"pixels": size[0] * size[1], "energies": size[2], "components": rank}[varied]
                seconds = round(found["seconds"], 4)
                rows.append({"what": what, "varied": varied, "number": counted, "seconds": seconds})
                print(rows[-1], flush=True)
            chosen = rows[-len(sizes) :]
            counts, seconds = ([row[name] for row in chosen] for name in ("number", "seconds"))
            slope = round(float(np.polyfit(np.log(counts), np.log(seconds), 1)[0]), 3)
            for row in chosen:
                row["exponent"] = slope
    if not options.quick:
        draw_growth(rows)
    return rows


def draw_growth(rows: list[Row]) -> None:
    """Draw seconds over what was varied."""
    pyplot = import_module("matplotlib.pyplot")
    figure, panels = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained", sharey=True)
    for panel, varied in zip(panels, ("pixels", "energies", "components"), strict=True):
        for what, mark in (("denoise", "C0o-"), ("randomized SVD", "C1s--")):
            chosen = [row for row in rows if row["varied"] == varied and row["what"] == what]
            if chosen:
                label = f"{what}: exponent {chosen[0]['exponent']:.2f}"
                panel.loglog([r["number"] for r in chosen], [r["seconds"] for r in chosen], mark, label=label)
        panel.set(xlabel=varied, ylabel="seconds" if varied == "pixels" else "")
        panel.minorticks_off()
        panel.set_xticks([row["number"] for row in rows if row["varied"] == varied], minor=False)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.legend(fontsize=8)
    figure.savefig(RESULTS / "speed-growth.png", dpi=120)


# --- larger than memory


def memory(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Denoise a stack on disk with little memory; kill that, go on; and with two workers."""
    size = SMALL_ON_DISK if options.quick else BIG
    path, most = folder / "stack.zarr", 2e6 if options.quick else MEMORY
    write_zarr(path, *size)
    rows: list[Row] = []
    for what in ("read", "denoise", "killed", "gone on", "two workers"):
        drop_cache()
        command = [sys.executable, __file__, "--large", what, "--path", str(path), "--most", str(most)]
        found = run(command, killed=what == "killed")
        print(what, found, flush=True)
        rows.append({"what": what, **found})
    values = {row["what"]: values_of(path.with_name(f"{row['what']}.npz")) for row in rows if row.get("K")}
    for row in rows:
        if row["what"] in values:
            change = np.abs(values[row["what"]] - values["denoise"]).max() / SIGMA
            row["differs by (of sigma)"] = float(change)
    total = 4 * size[0] * size[1] * size[2]
    for row in rows:
        if row.get("seconds"):
            row["GB/s, as if read once"] = round(total / 1e9 / row["seconds"], 3)
    return filled(rows)


def values_of(path: Path) -> NDArray[np.float32]:
    """Return some pixels of the clean stack whose factors were saved."""
    with np.load(path) as file:
        spectra, images = file["spectra"], file["coefficients"]
    return np.asarray(spectra.T @ images.reshape(len(images), -1)[:, ::997])


def filled(rows: list[Row]) -> list[Row]:
    """Return rows that have the same columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in names} for row in rows]


def large(what: str, path: Path, most: float) -> Row:
    """Do one thing with a stack on disk, in this process."""
    if what == "run":
        return stepped_run(path)
    stack = read_stack(path)
    if what == "read":
        start = time.perf_counter()
        n = max(1, int(0.05 * most / stack[0].nbytes))
        for e in range(0, len(stack), n):
            np.asarray(stack[e : e + n].values)
        return {"seconds": round(time.perf_counter() - start, 1), "peak (GB)": round(peak_bytes() / 1e9, 2)}
    passes = timed_passes()

    def progress(step: str, share: float) -> None:
        if what == "killed" and step == "components" and share > 0.6:  # the last pass is on its way
            print("half-way", flush=True)
            time.sleep(3600)  # to be killed

    kept = path.with_name("kept")
    options: dict[str, Any] = {"memory": most, "progress": progress}
    if what in ("killed", "gone on"):
        options["checkpoint"] = kept
    start = time.perf_counter()
    if what == "two workers":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            start = time.perf_counter()
            result = denoise(stack, scheduler=client, **options)
    else:
        result = denoise(stack, **options)
    seconds = time.perf_counter() - start
    np.savez(
        path.with_name(f"{what}.npz"), spectra=result.spectra.values, coefficients=result.coefficients.values
    )
    return {
        "seconds": round(seconds, 1),
        "passes (s)": ", ".join(f"{each:.1f}" for each in passes),
        "K": result.rank,
        "peak (GB)": round(peak_bytes() / 1e9, 2),
    }


def timed_passes() -> list[float]:
    """Return a list that every pass over a stack will add its seconds to."""
    seconds: list[float] = []
    each = BlockedStack._each

    def timed_each(*args: Any, **options: Any) -> Iterator[Any]:
        start = time.perf_counter()
        yield from each(*args, **options)
        seconds.append(time.perf_counter() - start)

    BlockedStack._each = timed_each  # type: ignore[method-assign]
    return seconds


def write_zarr(path: Path, n_y: int, n_x: int, n_energies: int) -> None:
    """Write an uncompressed stack, frame by frame."""
    zarr = import_module("zarr")
    phantom = simulate("particle", shape=(n_y, n_x), n_energies=n_energies)
    shape, chunks = (n_energies, n_y, n_x), (1, n_y, n_x)
    store = zarr.create_array(store=str(path), shape=shape, chunks=chunks, dtype="float32", compressors=None)
    store.attrs.update({"energy_ev": phantom.energy_ev.tolist(), "quantity": "optical_density"})
    rng = np.random.default_rng(9000)
    for e, weights in enumerate(phantom.spectra.T.astype(np.float32)):
        frame = np.tensordot(weights, phantom.images, axes=1)
        store[e] = frame + np.float32(SIGMA) * rng.standard_normal(frame.shape, dtype=np.float32)


# --- the command line, and a scan that is being taken


def whole_run(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Run the command on counts that do not fit in the memory it may use, and with all there is."""
    shape, n_energies = ((96, 128), 40) if options.quick else (SIZES["wedge"][:2], 1400)
    scan = expose_to(folder / "scan.zarr", shape, n_energies)
    n_bytes = 4 * n_energies * shape[0] * shape[1]
    rows: list[Row] = []
    for memory in ("1MB",) if options.quick else (f"{MEMORY / 1e9:g}GB",):
        drop_cache()
        command = [sys.executable, "-m", "xanesum", "run", str(scan), "-o", str(folder / "out")]
        started = time.perf_counter()
        with subprocess.Popen([*command, "--memory", memory], stdout=subprocess.DEVNULL) as process:
            peak = watched_peak(process)
        if process.returncode:
            raise SystemExit("the run failed")
        seconds = time.perf_counter() - started
        rows.append(
            {
                "scan (GB)": round(n_bytes / 1e9, 2),
                "memory allowed": memory,
                "peak (GB)": round(peak / 1e9, 2),
                "seconds": round(seconds, 1),
            }
        )
    return rows


def planned(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Plan scans of different sizes and kinds, run them, and compare seconds and memory."""
    sizes = PLANNED[:1] if options.quick else PLANNED
    rows: list[Row] = []
    for quantity, n_y, n_x, n_energies in sizes:
        shape = (96, 128) if options.quick else (n_y, n_x)
        phantom = simulate("particle", shape=shape, n_energies=n_energies)
        rng = np.random.default_rng(9000)
        if quantity == "counts":
            stack = expose(phantom, OPEN_COUNTS, rng=rng).stack
        else:
            stack = phantom.noisy(SIGMA, rng=rng)
        path = write_stack(stack, folder / "scan.h5")
        del stack
        plan = plan_run(path)
        found = run([sys.executable, __file__, "--large", "run", "--path", str(path), "--most", "0"])
        peak = found.pop("peak")
        total = round(sum(found.values()), 1)
        rows.append(
            {
                "scan": f"{shape[0]} x {shape[1]} x {n_energies}, {quantity}",
                "planned (s)": round(plan.total, 1),
                "taken (s)": total,
                "planned over taken": round(plan.total / total, 2),
                "planned (GB)": round(plan.memory / 1e9, 2),
                "peak (GB)": round(peak / 1e9, 2),
                "planned, by step": {step: round(seconds, 1) for step, seconds in plan.seconds.items()},
                "taken, by step": found,
            }
        )
        print(rows[-1], flush=True)
    return rows


def stepped_run(path: Path) -> Row:
    """Do the whole job in this process; return the seconds of every step, and the most memory."""
    spent: dict[str, float] = {}
    last: list[Any] = ["start", time.perf_counter()]

    def progress(step: str, share: float) -> None:
        now = time.perf_counter()
        spent[last[0]] = spent.get(last[0], 0.0) + now - last[1]
        last[:] = [step, now]

    run_scan(path, path.with_name("out"), progress=progress)
    progress("end", 1.0)
    return {**{step: round(seconds, 2) for step, seconds in spent.items()}, "peak": peak_bytes()}


def watched_peak(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; return the most memory that it had, looked at again and again."""
    peak, known = 0.0, psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):
            peak = max(peak, float(known.memory_info().rss))
        time.sleep(0.02)
    return peak


def expose_to(path: Path, shape: tuple[int, int], n_energies: int) -> Path:
    """Write counts of a phantom, as a detector has them, frame by frame to a Zarr store."""
    zarr = import_module("zarr")
    phantom, detector, rng = (
        simulate("particle", shape=shape, n_energies=n_energies),
        Detector(),
        np.random.default_rng(9000),
    )
    most = float(np.max(phantom.spectra) * np.max(phantom.images))
    group = zarr.open_group(str(path), mode="w")
    chunks = {"chunks": (1, *shape), "dtype": "float32", "compressors": None}
    data = group.create_array("data", shape=(n_energies, *shape), **chunks)
    group.create_array("energy", data=phantom.energy_ev)
    flats = [detector.read(np.full(shape, OPEN_COUNTS), rng=rng) for _ in range(10)]
    group.create_array("flat", data=np.mean(flats, axis=0).astype(np.float32))
    group.attrs["quantity"] = "counts"
    for e, weights in enumerate(phantom.spectra.T / most):
        density = PEAK_DENSITY * np.tensordot(weights, phantom.images, axes=1)
        data[e] = detector.read(OPEN_COUNTS * np.exp(-density), rng=rng).astype(np.float32)
    return path


def watching(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Feed frames to a scan that is watched, faster than it can follow; compare its subspace with an SVD."""
    shape, n_frames = ((64, 80), 30) if options.quick else ((1024, 1024), 117)
    phantom = simulate("particle", shape=shape, n_energies=n_frames)
    counts = expose(phantom, 400.0, flat_drift=0.0, rng=np.random.default_rng(9000)).stack
    arriving = folder / "scan"
    arriving.mkdir()
    tifffile = import_module("tifffile")
    tifffile.imwrite(folder / "flat.tif", counts["flat"].values.astype(np.float32))
    for energy, frame in zip(counts.energy.values, counts.values, strict=True):
        tifffile.imwrite(arriving / f"scan_{energy:.3f}eV.tif", frame.astype(np.float32))
    started = time.perf_counter()
    found = watch(arriving, folder / "out", flat=folder / "flat.tif", n_frames=n_frames, settled_s=0.0)
    seconds = time.perf_counter() - started
    factors = found.factors
    assert factors is not None
    density = to_optical_density(counts)[0].values
    density = np.where(np.isfinite(density), density, np.nanmedian(density, axis=(1, 2), keepdims=True))
    batch = fit_basis(density, 2 * RANK, rng=np.random.default_rng(0))
    sizes = batch.singular_values
    rank = int(np.count_nonzero(sizes > 1.5 * sizes[-1]))  # the others are noise, of any direction
    angles = np.linalg.svd(factors.spectra[:rank] @ batch.spectra[:rank].T, compute_uv=False)
    return [
        {
            "frames": n_frames,
            "update, median (s)": round(statistics.median(found.seconds), 3),
            "update, worst (s)": round(max(found.seconds), 3),
            "K above the noise": rank,
            "largest angle to a batch SVD (degrees)": round(
                float(np.degrees(np.arccos(min(1, angles[-1])))), 4
            ),
            "maps": len(found.refreshed),
            "most frames between maps": int(np.max(np.diff([0, *found.refreshed]))),
            "seconds, all": round(seconds, 1),
        }
    ]


def drop_cache() -> None:
    """Write out what is not on disk yet, and forget what was read, where the system lets us."""
    if hasattr(os, "sync"):
        os.sync()
    with suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3")


PARTS = {
    "steps": steps,
    "growth": growth,
    "memory": memory,
    "run": whole_run,
    "watch": watching,
    "plan": planned,
}

if __name__ == "__main__":
    main()
