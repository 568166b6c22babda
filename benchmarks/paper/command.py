"""Make the tables and figures of the paper again, with every method, on phantoms of this project.

``python -m benchmarks.paper all --quick`` takes less than 20 minutes on two idle cores.  Without --quick,
scans have the sizes of the paper, and a run takes days; it may be stopped at any time, and goes on where it
was.
Rivals that need an environment of their own are found by the variable XANESUM_RIVALS; without it, their rows
say what to install.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from _common import RESULTS

from paper import curves, page, pictures, random_scans, table1, table2, table3
from paper.published import SIGMAS
from paper.scans import FULL, KINDS, QUICK, Size
from paper.store import Store
from xanesum.errors import XanesumWarning

__all__ = ["main"]

PARTS = ("table1", "table2", "table3", "fig3", "fig5", "fig6", "fig7", "fig8", "fig9", "suppl")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "results" / "paper"


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that are asked for, and write the page."""
    options = parser().parse_args(arguments)
    size = QUICK if options.quick else FULL
    size = replace(size, seeds=tuple(options.seeds) or size.seeds)
    if options.processes is None:
        options.processes = 2 if options.quick else 1  # two scans of the paper's size may need 20 GB
    suffix = ("reduced" if options.record else "quick") if options.quick else ""
    folder = RESULTS / "paper-quick" if suffix == "quick" else DOCS
    for part in parts_of(options):
        run_part(part, size, suffix, folder, options)
    if options.random:
        store = Store("random", suffix, fresh=options.fresh)
        random_scans.run(store, size, n_scans=options.scans)
    written = page.write(folder, ("quick",) if suffix == "quick" else ("", "reduced"))
    print(f"written: {written}")
    return 0


def parts_of(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the parts that are run; `--random` alone runs none of them."""
    if options.part == "page" or (options.random and options.part == "all"):
        return ()
    return PARTS if options.part == "all" else (options.part,)


def run_part(part: str, size: Size, suffix: str, folder: Path, options: argparse.Namespace) -> None:
    """Measure what one part needs, and draw its figure."""
    only, kinds = tuple(options.methods), tuple(options.phantoms)

    def store(name: str) -> Store:
        return Store(name, suffix, fresh=options.fresh)

    if part == "table1":
        sigmas, processes = tuple(options.sigmas), options.processes
        table1.run(store("table1"), size, only=only, kinds=kinds, sigmas=sigmas, processes=processes)
    elif part == "table2":
        table2.run(store("table2"), size, only=only, processes=options.processes)
    elif part == "table3":
        timed = tuple(kind for kind in kinds if kind in table3.KINDS)
        table3.run(store("table3"), size, table1=Store("table1", suffix), only=only, kinds=timed)
    else:
        drawn: dict[str, Callable[[], None]] = {
            "fig3": lambda: curves.figure_3(store("fig3"), size, folder, suffix),
            "fig5": lambda: curves.figure_5(store("fig5"), size, folder, suffix),
            "fig6": lambda: curves.figure_6(store("fig6"), size, folder, suffix),
            "fig7": lambda: pictures.figure_7(Store("table1", suffix), size, folder, suffix),
            "fig8": lambda: pictures.figure_8(Store("table1", suffix), size, folder, suffix),
            "fig9": lambda: pictures.figure_9(size, folder, suffix),
            "suppl": lambda: pictures.phantoms(size, folder, suffix),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XanesumWarning)  # of components near the limit of detection
            drawn[part]()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__)
    made.add_argument(
        "part", nargs="?", choices=(*PARTS, "all", "page"), default="all", help="all by default"
    )
    made.add_argument("--quick", action="store_true", help="small scans, one seed")
    made.add_argument("--random", action="store_true", help="scans drawn at random, instead of all")
    made.add_argument("--seeds", nargs="+", type=int, default=[], metavar="SEED", help="0 1 2 by default")
    made.add_argument("--scans", type=int, help="number of scans drawn at random")
    made.add_argument(
        "--processes", type=int, help="cells measured at a time: 2 with --quick, else 1 by default"
    )
    made.add_argument("--record", action="store_true", help="keep --quick in the files that are committed")
    made.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    made.add_argument(
        "--methods", nargs="+", default=[], metavar="NAME", help="of the tables; all by default"
    )
    made.add_argument("--phantoms", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    made.add_argument(
        "--sigmas",
        nargs="+",
        type=float,
        choices=SIGMAS,
        default=list(SIGMAS),
        metavar="SIGMA",
        help="of the noise, in Table 1; 10 60 150 by default",
    )
    return made
