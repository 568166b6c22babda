"""The verbs of the command line: each calls the work and prints what came out."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xanesum.cli.options import recipe_of, scan_options_in
from xanesum.cli.output import (
    info_lines,
    map_notes,
    map_sentence,
    one_line,
    plan_lines,
    print_end,
    print_motion,
    print_preprocessing,
    print_run,
    printable,
    progress_bar,
    result_sentence,
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
from xanesum.workflow.outputs import check_output
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
    if arguments.json:
        print(json.dumps(facts, indent=1, allow_nan=False))
        return
    for note in facts["notes"]:
        warnings.warn(note, XanesumWarning, stacklevel=2)
    for name, value in info_lines(facts, arguments.flags):
        print(f"{name:12} {printable(value)}")


def convert(arguments: argparse.Namespace) -> None:
    """Write a scan in another format."""
    started = time.perf_counter()
    with progress_bar() as progress:
        progress("convert", 0.0)
        stack, changes = convert_scan(
            arguments.scan,
            arguments.output,
            recipe=recipe_of(arguments),
            format=arguments.format,
            overwrite=arguments.overwrite,
        )
    print_preprocessing(changes)
    n_energies, n_y, n_x = stack.shape
    quantity = stack.attrs["quantity"].replace("_", " ")
    print(f"{n_energies} energies, {n_y} x {n_x} px (y, x), {quantity}")
    print_end(started, "converted scan", arguments.output)


def check(arguments: argparse.Namespace) -> None:
    """Judge a scan before it is denoised."""
    started = time.perf_counter()
    with progress_bar() as progress:
        findings, changes = pipeline.check(arguments.scan, recipe=recipe_of(arguments), progress=progress)
    worst = max((finding.verdict for finding in findings), key=VERDICTS.index)
    if arguments.json:
        by_name = {f.name: {"verdict": f.verdict, "text": f.text, **f.figures} for f in findings}
        scan = {"scan": str(arguments.scan), "verdict": worst, "preprocessing": list(changes)}
        print(json.dumps({**scan, **by_name}, indent=1))
        return
    print_preprocessing(changes)
    for line in verdict_lines(findings, worst, time.perf_counter() - started):
        print(line)


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
    if arguments.json:
        print(json.dumps({"scan": str(arguments.scan), **found.figures}, indent=1))
        return
    for line in plan_lines(found):
        print(line)


def denoise(arguments: argparse.Namespace) -> None:
    """Write the clean stack."""
    recipe, started = recipe_of(arguments), time.perf_counter()
    inputs = loading.input_files(arguments.scan, recipe)
    check_stack_output(arguments.output, inputs=inputs)
    with progress_bar() as progress, allocate(recipe.compute, beside=Path(arguments.output)) as resources:
        stack, changes = loading.load_scan(arguments.scan, recipe.input, resources=resources)
        stack, motion = align_scan(stack, recipe.align, resources=resources, progress=progress)
        stack, corrections = pipeline.correct_scan(
            stack, recipe.denoise, resources=resources, progress=progress
        )
        result = pipeline.denoise_scan(stack, recipe.denoise, resources=resources, progress=progress)
        progress("write", 0.0)
        write_stack(result.reconstruct(), arguments.output)
    print_preprocessing(changes)
    print_motion(motion)
    print_preprocessing(corrections)
    print(result_sentence(result))
    print_end(started, "clean stack", arguments.output)


def align(arguments: argparse.Namespace) -> None:
    """Write the scan as optical density, with its frames moved back to where the sample was."""
    recipe, started = recipe_of(arguments), time.perf_counter()
    table = arguments.table
    inputs = loading.input_files(arguments.scan, recipe)
    check_stack_output(arguments.output, inputs=inputs)
    if table is not None:
        check_output(table, inputs=[*inputs, arguments.output], suffixes=TABLE_SUFFIXES)
    with progress_bar() as progress, allocate(recipe.compute, beside=Path(arguments.output)) as resources:
        stack, changes = loading.load_scan(arguments.scan, recipe.input, resources=resources)
        stack, motion = align_scan(stack, recipe.align, resources=resources, progress=progress)
        progress("write", 0.0)
        write_stack(stack, arguments.output)
        found = None if motion is None else motion.shifts  # None where the scan was too large to look
        tables = [] if table is None or found is None else [found.write_shifts(table)]
    print_preprocessing(changes)
    print_motion(motion)
    print_end(started, "aligned scan", arguments.output, *tables)


def map_(arguments: argparse.Namespace) -> None:
    """Write the chemical map of a scan or of a saved result."""
    recipe, started = recipe_of(arguments), time.perf_counter()
    inputs = loading.input_files(arguments.scan, recipe)
    check_output(arguments.output, inputs=inputs, suffixes=MAP_SUFFIXES)
    with progress_bar() as progress, allocate(recipe.compute, beside=Path(arguments.output)) as resources:
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
    if isinstance(data, Denoised):
        print(result_sentence(data))
    print(map_sentence(maps))
    for line in map_notes(maps):
        print(one_line(line))
    print_end(started, "map", *files)


def run(arguments: argparse.Namespace) -> None:
    """Denoise, map, and write a report."""
    with progress_bar() as progress:
        done = pipeline.run(arguments.scan, arguments.output, recipe=recipe_of(arguments), progress=progress)
    print_run(done, Path(arguments.output), done.seconds, arguments.flags)


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
            tell=lambda text: print(one_line(text), flush=True),
        )
    median = float(np.median(watched.seconds))
    print(f"{watched.n_frames} frames, {watched.left_out} left out; {median:.2f} s for each (median)")
    if watched.last is not None:
        print_run(watched.last, Path(arguments.output), time.perf_counter() - started, arguments.flags)


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
    print(f"{arguments.kind}: {ny} x {nx} px, {n_energies} energies, noise {arguments.sigma:g} (peak 255)")
    print_end(started, "scan", arguments.output)


def demo(arguments: argparse.Namespace) -> None:
    """Simulate a scan and run everything on it."""
    started, folder = time.perf_counter(), Path(arguments.output)
    check_output(arguments.output, is_folder=True)
    with staged_folder(folder) as temporary, progress_bar() as progress:
        progress("simulate", 0.0)
        exposure = demo_exposure(shape=DEMO_SHAPE, n_energies=DEMO_ENERGIES, seed=arguments.seed)
        scan = write_stack(exposure.stack, temporary / "scan.h5")
        done = pipeline.run(scan, temporary, recipe=recipe_of(arguments), progress=progress)
    print(
        f"simulated: a battery cathode at the Ni K edge, {DEMO_ENERGIES} energies, "
        f"{DEMO_PHOTONS} photons per pixel and image: {folder / 'scan.h5'}"
    )
    print_run(done, folder, time.perf_counter() - started, arguments.flags)
