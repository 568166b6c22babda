"""Time and memory of the default method, compared with other programs.

``python benchmarks/speed.py`` times `denoise`, from the stack in memory to the factors, on *particle* (379 x
520 x 969) and *wedge* (1193 x 1193 x 969) with noise 60.  It is compared with one copy of the stack, an exact
and a randomized SVD, and the 3-D median.  ``--peers PYTHON`` adds scikit-learn and HyperSpy, run by another
interpreter; ``--slow`` adds SUM with BM3D, and BM4D on a crop.  Every figure is the median of some runs in a
process of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _once import time_once
from _speed import RANK, SIZES, SMALL, Row, child, noisy_stack, parser_of, report


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with scikit-learn and HyperSpy")
    parser.add_argument("--slow", action="store_true", help="SUM with BM3D, and BM4D, too")
    options = parser.parse_args()
    report("speed", options, ratios, repeats=1 if options.quick else options.repeats)


def ratios(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Time the default method and all that it is compared with, one after the other."""
    rows: list[Row] = []
    for kind, size in (SMALL if options.quick else SIZES).items():
        names = ["denoise", "copy", "randomized SVD", "exact SVD", "3-D median"]
        names += ["SUM, bm3d", "BM4D"] if options.slow else []
        found = {}
        for name in names:
            found[name] = time_once(name, kind, size, options.repeats)
            print(kind, name, found[name], flush=True)
        if options.peers:
            found |= peers(options, kind, size, folder / "stack.npy")
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


def peers(options: argparse.Namespace, kind: str, size: tuple[int, int, int], path: Path) -> dict[str, Row]:
    """Return the times of programs that another interpreter has."""
    np.save(path, noisy_stack(kind, size[:2], size[2]).values)
    program = str(Path(__file__).with_name("_peers.py"))
    found = {}
    for name in ("scikit-learn", "HyperSpy"):
        found[name] = child([options.peers, program, name, str(path), str(RANK), str(options.repeats)])
        print(kind, name, found[name], flush=True)
    path.unlink()
    return found


if __name__ == "__main__":
    main()
