"""What the command line prints."""

from __future__ import annotations

import argparse
import platform
import sys
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from xanesum.cli.options import with_flag
from xanesum.diagnostics.check import Finding
from xanesum.errors import XanesumWarning
from xanesum.report.numbers import plain
from xanesum.report.texts import Motion
from xanesum.result import Denoised
from xanesum.workflow.motion import MOTION_LINE
from xanesum.workflow.notes import hear_notes
from xanesum.workflow.pipeline import VERSIONS_OF, RunResult
from xanesum.workflow.plan import UNCERTAIN, Plan
from xanesum.xanes import KINDS

__all__ = [
    "end_line",
    "info_lines",
    "map_notes",
    "map_sentence",
    "motion_lines",
    "one_line",
    "plan_lines",
    "preprocessing_lines",
    "print_error",
    "print_memory",
    "print_versions",
    "printable",
    "printed_notes",
    "progress_bar",
    "result_sentence",
    "run_lines",
    "tell_no_map",
    "verdict_lines",
]

GB = 1e9  # bytes
OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # kinds of characters: controls, marks, halves, breaks
STEPS = {  # names of steps in the work -> what the progress bar shows
    "simulate": "simulating a scan",
    "read": "reading",
    "align": "looking for motion of the sample",
    "drift": "estimating the drift of the illumination",
    "noise": "estimating the noise",
    "subspace": "finding components",
    "components": "denoising components",
    "map": "mapping",
    "particles": "drawing errors of particles",
    "bootstrap": "repeating with new noise",
    "trust": "examining the residual",
    "check": "checking the scan",
    "write": "writing",
    "convert": "reading and writing",
    "report": "writing the report",
}
VERDICT_TEXTS = {
    "good": "good: the scan can be denoised",
    "note": "usable: read the lines marked 'note'",
    "bad": "not yet usable: first solve the problems in the lines marked 'bad'",
}


# --- while a command works


@contextmanager
def progress_bar(arguments: argparse.Namespace) -> Iterator[Callable[[str, float], None]]:
    """Give a function that shows a step and the share of it that is done.

    With ``--verbose`` every step is a line with the time since the start; otherwise there is a bar, in a
    terminal only, and nothing with ``--quiet``.
    """
    if arguments.verbose:
        yield _printed_steps()
        return
    console = Console(stderr=True)
    if arguments.quiet or not console.is_terminal:  # a bar that is not shown may leave an empty line
        yield lambda step, share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(step: str, share: float) -> None:
            bar.update(task, description=STEPS.get(step, step), completed=share, total=1.0 if share else None)

        yield show


def _printed_steps() -> Callable[[str, float], None]:
    started, shown = time.perf_counter(), ""

    def show(step: str, share: float) -> None:
        nonlocal shown
        if step != shown:
            shown = step
            print(f"{time.perf_counter() - started:8.1f} s  {STEPS.get(step, step)}", file=sys.stderr)

    return show


def print_versions() -> None:
    """Print the versions that the work depends on, to the error stream."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("xanesum", *VERSIONS_OF))
    print(f"{packages}, Python {platform.python_version()}", file=sys.stderr)


def print_memory() -> None:
    """Print the largest memory of the process so far, to the error stream, where the system tells it."""
    if find_spec("resource") is not None:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes, or KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        print(f"memory: {peak / GB:.2f} GB at most", file=sys.stderr)


@contextmanager
def printed_notes(flags: Mapping[str, str]) -> Iterator[list[str]]:
    """Print every XanesumWarning once, as one line; `flags` are those of the verb, by parameter.

    Gives the list of the notes that were printed so far.
    """
    printed: list[str] = []

    def print_note(note: XanesumWarning) -> None:
        text = one_line(with_flag(note, flags))
        if text not in printed:
            printed.append(text)
            print(f"note: {text}", file=sys.stderr)

    with hear_notes(print_note, pass_on=False):
        yield printed


def print_error(message: str) -> None:
    """Print an error as one line."""
    print(f"xanesum: error: {one_line(message)}", file=sys.stderr)


def one_line(text: str) -> str:
    """Return a text without line breaks and double spaces, as `printable` has it."""
    return printable(" ".join(text.split()))


def printable(text: object) -> str:
    """Return a text in which characters that a terminal would obey are escaped.

    Names of files and datasets may hold control codes, marks that turn the direction of writing, and bytes
    that are no text.
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in OBEYED else char
        for char in str(text)
    )


# --- what came out


def info_lines(facts: Mapping[str, Any], flags: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """Yield name and value of everything known about a scan, from `inspect_scan`."""
    shape, energies, chunks = facts["shape"], facts["energies"], facts["chunks"]
    size = f"{facts['bytes_in_memory'] / 2**20:.1f} MiB in memory"
    yield "scan", facts["scan"]
    yield "format", f"{facts['format_description']} ({facts['format']})"
    if facts["dataset"]:
        yield "dataset", facts["dataset"]
    assumed = " (assumed: see the notes)" * facts["axes"]["assumed"]
    yield "axes", f"{', '.join(facts['axes']['in_file'])}{assumed}"
    yield "images", f"{shape['y']} x {shape['x']} px (y, x), {facts['stored_dtype']}, {size}"
    yield "read in", f"parts of {chunks['energy']} x {chunks['y']} x {chunks['x']} (energy, y, x)"
    yield "energies", _energies_in_words(energies, shape["energy"])
    yield "quantity", _quantity_in_words(facts["quantity"], flags)
    yield "incident", facts["i0"]["text"]
    if facts["saturation_counts"] is not None:
        yield "saturated", f"at {facts['saturation_counts']} counts"
    if facts["pixel_size_nm"] is not None:
        yield "pixel size", f"{facts['pixel_size_nm']:g} nm"
    if facts["coordinates"]:
        yield "with", ", ".join(facts["coordinates"])
    for choice in facts["choices"]:
        yield "also there", f"{', '.join(choice['names'])} ({choice['option']})"
    for line in facts["history"]:
        yield "history", line
    if facts["problem"] is not None:
        yield "problem", facts["problem"]


def _energies_in_words(energies: Mapping[str, Any], n_images: int) -> str:
    if energies["min_ev"] is None:
        return f"{n_images}, none in the file"
    kev = " (taken for keV, as all are below 100)" * energies["kev_assumed"]
    source = "" if energies["source"] in (None, "the scan") else f", from {energies['source']}"
    return f"{energies['count']}, {energies['min_ev']:.2f} to {energies['max_ev']:.2f} eV{source}{kev}"


def _quantity_in_words(quantity: Mapping[str, Any], flags: Mapping[str, str]) -> str:
    value, taken = quantity["value"], quantity["run_takes"]
    if not quantity["assumed"]:
        return str(value)
    flag = flags.get("quantity", "quantity")
    why = str(quantity["why"]).partition("; ")[2]
    if taken in (None, value):
        return f"{value} (assumed, as the file does not say it; {flag} says it{'; ' * bool(why)}{why})"
    return f"{value} (assumed, as the file does not say it; {flag} says it), a run takes {taken}: {why}"


def verdict_lines(findings: Sequence[Finding], worst: str, seconds: float) -> Iterator[str]:
    """Yield one line for each finding about a scan, and one for all of them together."""
    for finding in findings:
        yield f"{finding.name:9} {finding.verdict:5} {finding.text}"
    yield f"{seconds:.1f} s; verdict: {VERDICT_TEXTS[worst]}"


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield what a run will take."""
    n_energies, n_y, n_x = plan.shape
    steps = ", ".join(f"{name} {value:.0f}" for name, value in plan.seconds.items() if value >= 1)
    free = f"{plan.free_memory / GB:.1f} GB are free"
    room = free if plan.fits else f"ONLY {free}"
    meanwhile = f", and {plain(plan.meanwhile / GB, 2)} GB meanwhile" if plan.meanwhile else ""
    yield f"scan      {n_energies} energies, {n_y} x {n_x} px (y, x)"
    yield f"time      {_duration(plan.total)}, within a factor of {UNCERTAIN:g} (seconds: {steps})"
    yield f"memory    about {plan.memory / GB:.1f} GB, with the program itself; {room}"
    yield f"disk      {plain(plan.disk / GB, 2)} GB of results{meanwhile}"
    if not plan.in_memory:
        yield "note      the scan does not fit in memory and is read again at every step"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def result_sentence(result: Denoised) -> str:
    """Return size, noise level and number of components of a result."""
    ny, nx = result.coefficients.shape[1:]
    n_energies = result.spectra.sizes["energy"]
    unit = result.attrs["quantity"].replace("_", " ")
    return (
        f"{ny} x {nx} px, {n_energies} energies: sigma {plain(result.sigma, 4)} ({unit}), "
        f"{result.rank} components, denoiser {result.provenance['denoiser']}"
    )


def map_sentence(maps: xr.Dataset) -> str:
    """Return median and spread of a map."""
    kind = maps.attrs["kind"]
    told, name = KINDS[kind], kind.replace("_", " ")
    values = maps[told.variable].values[maps["mask"].values]
    if not values.size:
        return "map: no pixel has an edge that stands above its noise"
    percentiles = np.percentile(values, (5, 50, 95))
    if told.unit == "eV":
        low, middle, high = (f"{value:.2f}" for value in percentiles)
        return f"{name} map: median {middle} eV, 90 % of the pixels between {low} and {high} eV"
    low, middle, high = (plain(value) for value in percentiles)
    return f"{name} map: median {middle}, 90 % of the pixels between {low} and {high}"


def map_notes(maps: xr.Dataset) -> list[str]:
    """Return what was computed, and why its errors may not hold, a line each."""
    notes = [f"computed: {maps.attrs['definition']}"]
    return [*notes, *(f"errors may not hold: {reason}" for reason in maps.attrs["reasons"])]


def preprocessing_lines(changes: Sequence[str]) -> list[str]:
    """Return what preprocessing changed and left out, a line each."""
    return [f"preprocessing: {line}" for line in changes]


def motion_lines(motion: Motion | None) -> list[str]:
    """Return what was found about the motion of the sample; nothing where nobody looked."""
    return [] if motion is None else [f"{MOTION_LINE} {motion.text}"]


def tell_no_map(done: RunResult) -> None:
    """Give a note where a run has no map."""
    if done.map_error is not None:
        error = done.map_error
        note = XanesumWarning(f"no map: {error.message}", parameter=error.parameter)
        warnings.warn(note, stacklevel=2)


def run_lines(done: RunResult, folder: Path, seconds: float) -> list[str]:
    """Return what a run found, and where its results are, a line each."""
    page = 'none, it needs pip install "xanesum[viewer]"'
    if done.explorer is not None:
        page = str(folder / done.explorer.name)
    return [
        *preprocessing_lines(done.counted),
        result_sentence(done.result),
        *([] if done.maps is None else [map_sentence(done.maps)]),
        f"{seconds:.1f} s; results in {folder}",
        f"report: {folder / 'report.html'}; interactive page: {page}",
    ]


def end_line(started: float, name: str, *files: str | Path) -> str:
    """Return the time since `started`, and the files that were written."""
    return f"{time.perf_counter() - started:.1f} s; {name}: {', '.join(map(str, files))}"
