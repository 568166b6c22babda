"""Plant one fault at a time in a copy of the repository, and see whether the tests notice.

    python tools/mutants.py               every fault
    python tools/mutants.py sign step     those whose name contains one of these words
    python tools/mutants.py --list        list the faults and do nothing

The working tree is never written to.  Exit 1 if a fault survives or cannot be planted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from faults import Fault

REPO = Path(__file__).resolve().parents[1]
COPIED = ("src", "tests", "benchmarks", "pyproject.toml", "README.md", "LICENSE")
TIME_LIMIT_S = 300  # for the tests of one fault
ROOMS = sorted(path.stem for path in (REPO / "tools" / "faults").glob("[!_]*.py"))
FAULTS: list[Fault] = [fault for room in ROOMS for fault in import_module(f"faults.{room}").FAULTS]


class Outcome(NamedTuple):
    """Result of one run of tests."""

    caught: bool
    text: str  # the test that failed, or the reason why none did


def plant(fault: Fault, tree: Path) -> str:
    """Edit the copy; return an empty string, or why that is impossible."""
    path = tree / fault.path
    if not path.is_file():
        return f"no file {fault.file}"
    source = path.read_text("utf-8")
    if (count := source.count(fault.old)) != 1:
        return f"its old text occurs {count} times in {fault.file}, not once"
    path.write_text(source.replace(fault.old, fault.new), "utf-8")
    return ""


def copy_tree(folder: Path) -> Path:
    """Copy the files that the tests need.  Compiled files are left out: they could outlive an edit."""
    tree = folder / "copy"
    tree.mkdir()
    for name in COPIED:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy2(source, tree / name)
    return tree


def run_tests(tree: Path, targets: list[str]) -> tuple[int, str]:
    """Run pytest on the copy's own package; return its exit code and output."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    command = [sys.executable, "-m", "pytest", *options, *targets]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


def try_fault(fault: Fault | None, targets: list[str]) -> Outcome:
    """Run `targets` in a fresh copy with `fault`, or with none."""
    with tempfile.TemporaryDirectory(prefix="xanesum-mutant-") as folder:
        tree = copy_tree(Path(folder))
        if fault and (trouble := plant(fault, tree)):
            return Outcome(False, f"NOT PLANTED: {trouble}")
        if missing := [name for name in targets if not (tree / name.split("::")[0]).exists()]:
            return Outcome(False, f"NO TESTS: {', '.join(missing)}")
        try:
            code, output = run_tests(tree, targets)
        except subprocess.TimeoutExpired:
            return Outcome(False, f"HUNG: no end after {TIME_LIMIT_S} s")
    failed = re.search(r"^FAILED (?:tests/)?(\S+)", output, re.MULTILINE)
    if code == 1 and failed:
        return Outcome(True, failed[1])
    if code == 0:
        return Outcome(False, "SURVIVED")
    last = (output.strip().splitlines() or ["no output"])[-1]
    return Outcome(False, f"BROKEN: pytest exit {code}: {last}")


def check_sound(faults: list[Fault]) -> list[str]:
    """Run all targets without a fault: one that fails anyway would catch everything."""
    targets = sorted({target for fault in faults for target in fault.tests.split()})
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(lambda target: try_fault(None, [target]), targets)
        return [f"{t}: {o.text}" for t, o in zip(targets, outcomes, strict=True) if o.text != "SURVIVED"]


def report(faults: list[Fault], outcomes: list[Outcome]) -> int:
    """Print the table and return the number of faults that no test caught."""
    width = max(len(fault.name) for fault in faults)
    print(f"{'fault':<{width}} | caught by")
    print(f"{'-' * width}-+-{'-' * 40}")
    for fault, outcome in zip(faults, outcomes, strict=True):
        print(f"{fault.name:<{width}} | {outcome.text}")
    n_left = sum(not outcome.caught for outcome in outcomes)
    print(f"{len(faults) - n_left} of {len(faults)} faults caught")
    return n_left


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="only faults whose name contains one of these")
    parser.add_argument("--list", action="store_true", help="only list the faults")
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at the same time")
    options = parser.parse_args()
    faults = [f for f in FAULTS if not options.words or any(word in f.name for word in options.words)]
    if not faults:
        parser.error(f"no fault has one of {', '.join(options.words)} in its name")
    if options.list:
        print("\n".join(f"{fault.file:<24} {fault.name}" for fault in faults))
        return 0
    if unsound := check_sound(faults):
        print("these tests fail without any fault, so they cannot judge one:", *unsound, sep="\n  ")
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(lambda fault: try_fault(fault, fault.tests.split()), faults))
    return 1 if report(faults, outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
