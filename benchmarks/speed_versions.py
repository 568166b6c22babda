"""Time of `denoise` in this version and in an older one, in pairs.

``python benchmarks/speed_versions.py --old FOLDER`` takes a folder with the source of the older version (one
that contains ``src/xanesum``).  Both versions denoise the same stack, in turns, each run in a process of its
own.  The table has the median of each, and the median of the ratios of the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from _speed import SEED, SIGMA, SIZES, SMALL, Row, parser_of, report

REPO = Path(__file__).resolve().parents[1]
# only names that every version has
CHILD = """
import json, sys, time
import numpy as np, xanesum
kind, size, seed, sigma = json.loads(sys.argv[1])

def stack_of(kind, shape, n_energies):
    stack = xanesum.simulate(kind, shape=shape, n_energies=n_energies).clean()
    rng = np.random.default_rng(seed)
    for frame in stack.values:
        frame += np.float32(sigma) * rng.standard_normal(frame.shape, dtype=np.float32)
    return stack

xanesum.denoise(stack_of("particle", (48, 64), 20))
stack = stack_of(kind, tuple(size[:2]), size[2])
started = time.perf_counter()
xanesum.denoise(stack)
print(json.dumps({"seconds": time.perf_counter() - started, "home": xanesum.__file__}))
"""


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--old", type=Path, metavar="FOLDER", help="source of the older version")
    options = parser.parse_args()
    if options.old is None and options.quick:
        options.old = REPO  # with itself, to show that all works
    if options.old is None:
        print("nothing to compare with: give the source of an older version with --old FOLDER")
        return
    report("speed-versions", options, in_pairs, repeats=1 if options.quick else options.repeats)


def in_pairs(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Run both versions in turns; the one that is first changes from pair to pair."""
    rows: list[Row] = []
    homes = {"old": options.old.resolve() / "src", "new": REPO / "src"}
    for kind, size in (SMALL if options.quick else SIZES).items():
        found: dict[str, list[float]] = {"old": [], "new": []}
        for n in range(options.repeats):
            for name in ("old", "new") if n % 2 == 0 else ("new", "old"):
                found[name].append(seconds_of(homes[name], kind, size))
                print(kind, name, f"{found[name][-1]:.2f} s", flush=True)
        ratios = [new / old for old, new in zip(found["old"], found["new"], strict=True)]
        rows.append(
            {
                "stack": f"{kind}, {' x '.join(map(str, size))}",
                "old, seconds": round(statistics.median(found["old"]), 3),
                "new, seconds": round(statistics.median(found["new"]), 3),
                "new over old": round(statistics.median(ratios), 3),
                "pairs": len(ratios),
            }
        )
    return rows


def seconds_of(home: Path, kind: str, size: tuple[int, int, int]) -> float:
    """Return the seconds of one run of the version in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(home)}
    environment.setdefault("OPENBLAS_THREAD_TIMEOUT", "14")  # as the command `xanesum` sets it
    command = [sys.executable, "-W", "ignore", "-c", CHILD, json.dumps([kind, size, SEED, SIGMA])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=1800)
    found = json.loads(done.stdout.splitlines()[-1])
    if not Path(found["home"]).is_relative_to(home):
        raise SystemExit(f"{found['home']} was imported instead of the version in {home}")
    return float(found["seconds"])


if __name__ == "__main__":
    main()
