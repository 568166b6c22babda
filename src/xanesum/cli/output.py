"""What the command line prints."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from xanesum.workflow.pipeline import RunResult
from xanesum.workflow.plan import UNCERTAIN, Plan
from xanesum.xanes import KINDS

__all__ = [
    "info_lines",
    "map_notes",
    "map_sentence",
    "one_line",
    "plan_lines",
    "print_end",
    "print_error",
    "print_preprocessing",
    "print_run",
    "printable",
    "printed_notes",
    "progress_bar",
    "result_sentence",
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
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Give a function that shows a step and the share of it that is done; silent outside a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(step: str, share: float) -> None:
            bar.update(task, description=STEPS.get(step, step), completed=share, total=1.0 if share else None)

        yield show


@contextmanager
def printed_notes(flags: Mapping[str, str]) -> Iterator[None]:
    """Print every XanesumWarning once, as one line; `flags` are those of the verb, by parameter."""
    printed: set[str] = set()

    def print_note(note: XanesumWarning) -> None:
        text = one_line(with_flag(note, flags))
        if text not in printed:
            printed.add(text)
            print(f"note: {text}", file=sys.stderr)

    with hear_notes(print_note, pass_on=False):
        yield


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
    meanwhile = f", and {plain(plan.meanwhile / GB, 2)} GB meanwhile" if plan.meanwhile else ""
    yield f"scan      {n_energies} energies, {n_y} x {n_x} px (y, x)"
    yield f"time      {_duration(plan.total)}, within a factor of {UNCERTAIN:g} (seconds: {steps})"
    yield f"memory    {plan.memory / GB:.1f} GB at most; {free if plan.fits else 'ONLY ' + free}"
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


def print_preprocessing(changes: Sequence[str]) -> None:
    """Print what preprocessing changed and left out."""
    for line in changes:
        print(f"preprocessing: {printable(line)}")


def print_motion(motion: Motion | None) -> None:
    """Print what was found about the motion of the sample; nothing where nobody looked."""
    if motion is not None:
        print(f"{MOTION_LINE} {motion.text}")


def print_run(done: RunResult, folder: Path, seconds: float, flags: Mapping[str, str]) -> None:
    """Print what a run found, and where its results are; `flags` are those of the verb, by parameter."""
    print_preprocessing(done.counted)
    print(result_sentence(done.result))
    if done.map_error is not None:
        print(f"note: no map: {one_line(with_flag(done.map_error, flags))}", file=sys.stderr)
    if done.maps is not None:
        print(map_sentence(done.maps))
    print(f"{seconds:.1f} s; results in {printable(folder)}")
    page = 'none, it needs pip install "xanesum[viewer]"'
    if done.explorer is not None:
        page = printable(folder / done.explorer.name)
    print(f"report: {printable(folder / 'report.html')}; interactive page: {page}")


def print_end(started: float, name: str, *files: str | Path) -> None:
    """Print the time since `started`, and the files that were written."""
    named = ", ".join(printable(file) for file in files)
    print(f"{time.perf_counter() - started:.1f} s; {name}: {named}")
