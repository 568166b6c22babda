"""The verbs of the command line: each calls the work and prints what came out."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from xanesum.cli.answers import answer, map_facts, result_facts, run_facts
from xanesum.cli.options import recipe_of, scan_options_in
from xanesum.cli.output import (
    end_line,
    info_lines,
    map_notes,
    map_sentence,
    motion_lines,
    one_line,
    plan_lines,
    preprocessing_lines,
    progress_bar,
    result_sentence,
    run_lines,
    tell_no_map,
    verdict_lines,
)
from xanesum.diagnostics.check import VERDICTS
from xanesum.errors import XanesumWarning
from xanesum.io import write_stack
from xanesum.io.maps import MAP_SUFFIXES, write_map
from xanesum.phantom import simulate
from xanesum.phantom.demo import DEMO_ENERGIES, DEMO_PHOTONS, DEMO_SHAPE, demo_exposure
from xanesum.result import Denoised
from xanesum.storage.atomic import staged_folder
from xanesum.workflow import loading, pipeline
from xanesum.workflow.conversion import check_stack_output, convert_scan
from xanesum.workflow.inspection import inspect_scan
from xanesum.workflow.live import watch as follow_scan
from xanesum.workflow.motion import align_scan
from xanesum.workflow.outputs import beside_of, check_output
from xanesum.workflow.pipeline import load_result_or_scan
from xanesum.workflow.plan import plan_run
from xanesum.workflow.resources import allocate
from xanesum.xanes import MAP_NAMES

__all__ = [
    "align",
    "check",
    "convert",
    "demo",
    "denoise",
    "info",
    "map_",
    "plan",
    "run",
    "simulate_scan",
    "watch",
]

TABLE_SUFFIXES = (".csv",)


def info(arguments: argparse.Namespace) -> None:
    """Show what a file holds."""
    facts = inspect_scan(arguments.scan, recipe_of(arguments).input, arguments.flags)
    if not arguments.json:
        for note in facts["notes"]:
            warnings.warn(note, XanesumWarning, stacklevel=2)
    lines = (f"{name:12} {value}" for name, value in info_lines(facts, arguments.flags))
    answer(arguments, facts, lines)


def convert(arguments: argparse.Namespace) -> None:
    """Write a scan in another format."""
    started = time.perf_counter()
    with progress_bar(arguments) as progress:
        progress("convert", 0.0)
        stack, changes = convert_scan(
            arguments.scan,
            arguments.output,
            recipe=recipe_of(arguments),
            format=arguments.format,
            overwrite=arguments.overwrite,
        )
    n_energies, n_y, n_x = stack.shape
    quantity = stack.attrs["quantity"]
    facts = {
        "shape": {"energy": n_energies, "y": n_y, "x": n_x},
        "quantity": quantity,
        "preprocessing": changes,
        "files": [str(arguments.output), *map(str, beside_of(Path(arguments.output)))],
    }
    size = f"{n_energies} energies, {n_y} x {n_x} px (y, x), {quantity.replace('_', ' ')}"
    end = end_line(started, "converted scan", arguments.output)
    answer(arguments, facts, [*preprocessing_lines(changes), size, end])


def check(arguments: argparse.Namespace) -> None:
    """Judge a scan before it is denoised."""
    started = time.perf_counter()
    with progress_bar(arguments) as progress:
        findings, changes = pipeline.check(arguments.scan, recipe=recipe_of(arguments), progress=progress)
    worst = max((finding.verdict for finding in findings), key=VERDICTS.index)
    by_name = {f.name: {"verdict": f.verdict, "text": f.text, **f.figures} for f in findings}
    scan = {"scan": str(arguments.scan), "verdict": worst, "preprocessing": list(changes)}
    lines = verdict_lines(findings, worst, time.perf_counter() - started)
    answer(arguments, {**scan, **by_name}, [*preprocessing_lines(changes), *lines])


def plan(arguments: argparse.Namespace) -> None:
    """Predict what a run takes."""
    recipe = recipe_of(arguments)
    found = plan_run(
        arguments.scan,
        denoiser=recipe.denoise.denoiser,
        source=recipe.input.source,
        quantity=recipe.input.quantity,
        memory=recipe.compute.memory_bytes,
    )
    answer(arguments, {"scan": str(arguments.scan), **found.figures}, plan_lines(found))


def denoise(arguments: argparse.Namespace) -> None:
    """Write the clean stack."""
    recipe, started = recipe_of(arguments), time.perf_counter()
    inputs = loading.input_files(arguments.scan, recipe)
    check_stack_output(arguments.output, inputs=inputs)
    with (
        progress_bar(arguments) as progress,
        allocate(recipe.compute, beside=Path(arguments.output)) as resources,
    ):
        stack, changes = loading.load_scan(arguments.scan, recipe.input, resources=resources)
        stack, motion = align_scan(stack, recipe.align, resources=resources, progress=progress)
        stack, corrections = pipeline.correct_scan(
            stack, recipe.denoise, resources=resources, progress=progress
        )
        result = pipeline.denoise_scan(stack, recipe.denoise, resources=resources, progress=progress)
        progress("write", 0.0)
        write_stack(result.reconstruct(), arguments.output)
    facts = {
        **result_facts(result),
        "preprocessing": [*changes, *corrections],
        "motion": None if motion is None else motion.text,
        "files": [str(arguments.output), *map(str, beside_of(Path(arguments.output)))],
    }
    changed = [*preprocessing_lines(changes), *motion_lines(motion), *preprocessing_lines(corrections)]
    end = end_line(started, "clean stack", arguments.output)
    answer(arguments, facts, [*changed, result_sentence(result), end])


def align(arguments: argparse.Namespace) -> None:
    """Write the scan as optical density, with its frames moved back to where the sample was."""
    recipe, started = recipe_of(arguments), time.perf_counter()
    table = arguments.table
    inputs = loading.input_files(arguments.scan, recipe)
    check_stack_output(arguments.output, inputs=inputs)
    if table is not None:
        check_output(table, inputs=[*inputs, arguments.output], suffixes=TABLE_SUFFIXES)
    with (
        progress_bar(arguments) as progress,
        allocate(recipe.compute, beside=Path(arguments.output)) as resources,
    ):
        stack, changes = loading.load_scan(arguments.scan, recipe.input, resources=resources)
        stack, motion = align_scan(stack, recipe.align, resources=resources, progress=progress)
        progress("write", 0.0)
        write_stack(stack, arguments.output)
        found = None if motion is None else motion.shifts  # None where the scan was too large to look
        tables = [] if table is None or found is None else [found.write_shifts(table)]
    facts = {
        "preprocessing": changes,
        "motion": None if motion is None else motion.text,
        "moved": motion is not None and motion.is_removed,
        "files": [str(arguments.output), *map(str, (*beside_of(Path(arguments.output)), *tables))],
    }
    end = end_line(started, "aligned scan", arguments.output, *tables)
    answer(arguments, facts, [*preprocessing_lines(changes), *motion_lines(motion), end])


def map_(arguments: argparse.Namespace) -> None:
    """Write the chemical map of a scan or of a saved result."""
    recipe, started = recipe_of(arguments), time.perf_counter()
    inputs = loading.input_files(arguments.scan, recipe)
    check_output(arguments.output, inputs=inputs, suffixes=MAP_SUFFIXES)
    with (
        progress_bar(arguments) as progress,
        allocate(recipe.compute, beside=Path(arguments.output)) as resources,
    ):
        data = load_result_or_scan(
            arguments.scan,
            recipe,
            as_is=arguments.as_is,
            options_of_scan=scan_options_in(arguments),
            resources=resources,
            progress=progress,
        )
        progress("map", 0.0)
        maps = pipeline.map_result(data, recipe, resources=resources, progress=progress)
        files = write_map(maps, MAP_NAMES[maps.attrs["kind"]], arguments.output)
    facts = {"map": map_facts(maps), "files": list(map(str, files))}
    lines = [map_sentence(maps), *map(one_line, map_notes(maps)), end_line(started, "map", *files)]
    if isinstance(data, Denoised):
        facts, lines = {**result_facts(data), **facts}, [result_sentence(data), *lines]
    answer(arguments, facts, lines)


def run(arguments: argparse.Namespace) -> None:
    """Denoise, map, and write a report."""
    with progress_bar(arguments) as progress:
        done = pipeline.run(
            arguments.scan,
            arguments.output,
            recipe=recipe_of(arguments),
            figures=arguments.figures,
            progress=progress,
        )
    tell_no_map(done)
    folder = Path(arguments.output)
    answer(arguments, run_facts(done, folder, done.seconds), run_lines(done, folder, done.seconds))


def watch(arguments: argparse.Namespace) -> None:
    """Follow a scan while it is measured."""
    started = time.perf_counter()
    with _first_ctrl_c() as is_asked_to_end:
        watched = follow_scan(
            arguments.scan,
            arguments.output,
            recipe=recipe_of(arguments),
            n_frames=arguments.frames,
            every=arguments.every,
            stop=is_asked_to_end,
            tell=partial(_tell, arguments),
        )
    median = float(np.median(watched.seconds))
    facts = {"frames": watched.n_frames, "left_out": watched.left_out, "seconds_of_a_frame": median}
    lines = [f"{watched.n_frames} frames, {watched.left_out} left out; {median:.2f} s for each (median)"]
    if watched.last is not None:
        tell_no_map(watched.last)
        place = (Path(arguments.output), time.perf_counter() - started)
        facts, lines = (
            {**facts, **run_facts(watched.last, *place)},
            [*lines, *run_lines(watched.last, *place)],
        )
    answer(arguments, facts, lines)


def _tell(arguments: argparse.Namespace, text: str) -> None:
    """Print a line while a scan is followed; the output is left to the answer where that is JSON."""
    if not arguments.quiet:
        print(one_line(text), flush=True, file=sys.stderr if arguments.json else sys.stdout)


@contextmanager
def _first_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed; the second time it interrupts as usual."""
    pressed: list[bool] = []

    def note(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        print("ending after one last map (Ctrl-C again to end at once)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def simulate_scan(arguments: argparse.Namespace) -> None:
    """Write a simulated scan; scene and noise have independent seeds made from one."""
    started = time.perf_counter()
    check_stack_output(arguments.output)
    scene, noise = np.random.default_rng(arguments.seed).spawn(2)
    phantom = simulate(arguments.kind, shape=arguments.shape, n_energies=arguments.n_energies, rng=scene)
    stack = phantom.noisy(arguments.sigma, rng=noise)
    write_stack(stack, arguments.output)
    n_energies, ny, nx = stack.shape
    facts = {
        "kind": arguments.kind,
        "shape": {"energy": n_energies, "y": ny, "x": nx},
        "sigma": arguments.sigma,
        "seed": arguments.seed,
        "files": [str(arguments.output), *map(str, beside_of(Path(arguments.output)))],
    }
    line = f"{arguments.kind}: {ny} x {nx} px, {n_energies} energies, noise {arguments.sigma:g} (peak 255)"
    answer(arguments, facts, [line, end_line(started, "scan", arguments.output)])


def demo(arguments: argparse.Namespace) -> None:
    """Simulate a scan and run everything on it."""
    started, folder = time.perf_counter(), Path(arguments.output)
    check_output(arguments.output, is_folder=True)
    with staged_folder(folder) as temporary, progress_bar(arguments) as progress:
        progress("simulate", 0.0)
        exposure = demo_exposure(shape=DEMO_SHAPE, n_energies=DEMO_ENERGIES, seed=arguments.seed)
        scan = write_stack(exposure.stack, temporary / "scan.h5")
        done = pipeline.run(scan, temporary, recipe=recipe_of(arguments), progress=progress)
    tell_no_map(done)
    seconds = time.perf_counter() - started
    line = (
        f"simulated: a battery cathode at the Ni K edge, {DEMO_ENERGIES} energies, "
        f"{DEMO_PHOTONS} photons per pixel and image: {folder / 'scan.h5'}"
    )
    facts = {"scan": str(folder / "scan.h5"), **run_facts(done, folder, seconds)}
    answer(arguments, facts, [line, *run_lines(done, folder, seconds)])
