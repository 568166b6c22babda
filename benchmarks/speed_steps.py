"""Where the time goes, and how fast this hardware could be at best.

``python benchmarks/speed_steps.py`` times single steps on *wedge* (1193 x 1193 x 969) and compares each with
its floor: the bandwidth of memory for a pass over the stack, the speed of matrix products for the network.
It then times the steps of one whole run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from _speed import RANK, SIGMA, SIZES, SMALL, Row, StepTimes, filled, noisy_stack, parser_of, report, timed

from xanesum import denoise
from xanesum.denoisers import get_denoiser
from xanesum.linalg.binning import coarse_scale
from xanesum.linalg.subspace import fit_basis
from xanesum.streaming.blocked_stack import BlockedStack

NETWORK_FLOPS = 160e3  # operations of the network for one pixel: 80,000 multiplications and additions


def main() -> None:
    report("speed-steps", parser_of(__doc__).parse_args(), steps)


def steps(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Return the time of single steps with their floors, then that of the steps of one run."""
    kind, size = next(iter(SMALL.items())) if options.quick else ("wedge", SIZES["wedge"])
    stack = noisy_stack(kind, size[:2], size[2])
    values, mask = stack.values, np.ones(size[:2], bool)
    rng = np.random.default_rng(0)
    target = np.zeros_like(values[: max(1, len(values) // 4)])
    seconds, _ = timed(lambda: np.copyto(target, values[: len(target)]), options.repeats)
    bandwidth = 2 * target.nbytes / seconds  # bytes per second, read and written
    images = get_denoiser("network")
    precision = images.fingerprint.split(", ")[2]  # type: ignore[attr-defined]
    torch = import_module("torch")
    square = torch.from_numpy(rng.standard_normal((2048, 2048))).to(getattr(torch, precision))
    seconds, _ = timed(lambda: square @ square, options.repeats)
    peak = 2 * 2048**3 / seconds  # operations per second
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

    flops = NETWORK_FLOPS * noisy.size
    rows = [
        row("survey and averages", lambda: passes.survey(np.zeros(0, int), scale), read, "one read"),
        row("images of 5 spectra", lambda: passes.project(spectra), read, "one read"),
        row(
            "network, 5 images", lambda: images.denoise(noisy, SIGMA), flops / peak, f"{precision} operations"
        ),
    ]
    progress = StepTimes()
    start = time.perf_counter()
    denoise(stack, progress=progress)
    total = time.perf_counter() - start
    rows += [
        {"step": f"of one run: {name}", "seconds": round(value, 3)} for name, value in progress.stop().items()
    ]
    rows.append({"step": "one run", "seconds": round(total, 3)})
    facts = f"{bandwidth / 1e9:.1f} GB/s, {peak / 1e9:.0f} GFlop/s, {precision}"
    return filled([*rows, {"step": f"measured: {facts}"}])


if __name__ == "__main__":
    main()
