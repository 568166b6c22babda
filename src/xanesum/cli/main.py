"""The command ``xanesum``: parses, calls, prints; errors become one line and an exit code."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xanesum.cli.options import (
    COMPUTE,
    DENOISE,
    INPUT,
    MAP,
    MEMORY,
    PARTS,
    OptionTable,
    add_options,
    count,
    recipe_of,
    size,
)
from xanesum.cli.output import (
    EXIT_INTERRUPTED,
    _duration,
    _fail,
    _info_lines,
    _map_sentence,
    _notes,
    _one_line,
    _print_counted,
    _print_end,
    _print_run,
    _progress,
    _sentence,
)
from xanesum.diagnostics.check import VERDICTS
from xanesum.errors import ReadError, RecipeError, XanesumError, XanesumWarning
from xanesum.io import STACK_SUFFIXES, describe, read_stack, write_stack
from xanesum.io.maps import write_map
from xanesum.phantom import KINDS, simulate
from xanesum.result import Denoised, load_result
from xanesum.storage.atomic import staged_folder
from xanesum.workflow.live import EVERY, watch
from xanesum.workflow.outputs import check_output
from xanesum.workflow.pipeline import (
    check,
    correct_scan,
    denoise_scan,
    input_files,
    load_scan,
    map_result,
    run,
)
from xanesum.workflow.plan import UNCERTAIN, plan_run
from xanesum.workflow.recipe import Recipe
from xanesum.workflow.resources import Resources, allocate
from xanesum.xanes import MAP_NAMES

__all__ = ["main"]
DEMO_KIND, DEMO_ENERGIES, DEMO_SIGMA = "particle", 117, 60.0
VERDICT_TEXTS = {
    "good": "good: go on",
    "note": "usable: read the lines marked 'note'",
    "bad": "not yet: see to the lines marked 'bad' first",
}
GB = 1e9


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 if all went well, 1 after an error that one line on stderr explains, 130 after Ctrl-C.  A command
        that was misspelt ends the program with 2.
    """
    arguments = _parser().parse_args(argv)
    try:
        with _notes(), _ended_as_interrupted():
            arguments.verb(arguments)
    except KeyboardInterrupt:
        print("xanesum: interrupted; nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except MemoryError:
        return _fail("not enough memory; work on a part of the images (--roi), or use a larger machine")
    except (XanesumError, OSError) as error:
        return _fail(str(error) or type(error).__name__)
    except RuntimeError as error:  # PyTorch's
        if "out of memory" not in str(error):
            raise
        return _fail("not enough memory on the GPU; work without it (--device cpu)")
    return 0


@contextmanager
def _ended_as_interrupted() -> Iterator[None]:
    """Let a scheduler's SIGTERM end a command as Ctrl-C does, so that nothing is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- verbs


def _info(arguments: argparse.Namespace) -> None:
    options = recipe_of(arguments).input
    facts = describe(arguments.scan, data=options.data)
    if options.energies or options.i0:
        stack = read_stack(arguments.scan, energies=options.energies, i0=options.i0, data=options.data)
        facts |= {"energy_min_ev": float(stack.energy[0]), "energy_max_ev": float(stack.energy[-1])}
    for note in facts.pop("notes"):
        warnings.warn(note, XanesumWarning, stacklevel=2)
    for name, value in _info_lines(facts):
        print(f"{name:12} {value}")


def _check(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    with _progress() as progress:
        findings, counted = check(arguments.scan, recipe=recipe_of(arguments), progress=progress)
    worst = max((finding.verdict for finding in findings), key=VERDICTS.index)
    if arguments.json:
        said = {f.name: {"verdict": f.verdict, "text": f.text, **f.figures} for f in findings}
        scan = {"scan": str(arguments.scan), "verdict": worst, "preprocessing": list(counted)}
        print(json.dumps({**scan, **said}, indent=1))
        return
    _print_counted(counted)
    for finding in findings:
        print(f"{finding.name:9} {finding.verdict:5} {finding.text}")
    print(f"{time.perf_counter() - started:.1f} s; verdict: {VERDICT_TEXTS[worst]}")


def _plan(arguments: argparse.Namespace) -> None:
    recipe = recipe_of(arguments)
    found = plan_run(
        arguments.scan,
        denoiser=recipe.denoise.denoiser,
        data=recipe.input.data,
        memory=recipe.compute.memory_bytes,
    )
    if arguments.json:
        print(json.dumps({"scan": str(arguments.scan), **found.figures}, indent=1))
        return
    n_energies, n_y, n_x = found.shape
    print(f"scan      {n_energies} energies, {n_y} x {n_x} px (y, x)")
    steps = ", ".join(f"{name} {value:.0f}" for name, value in found.seconds.items() if value >= 1)
    print(f"time      {_duration(found.total)}, give or take a factor of {UNCERTAIN:g} (seconds: {steps})")
    free = f"{found.free_memory / GB:.1f} GB are free"
    print(f"memory    {found.memory / GB:.1f} GB at most; {free if found.fits else 'ONLY ' + free}")
    meanwhile = f", and {found.meanwhile / GB:.2g} GB meanwhile" if found.meanwhile else ""
    print(f"disk      {found.disk / GB:.2g} GB of results{meanwhile}")
    if not found.in_memory:
        print("note      the scan does not fit in memory and is read again and again")


def _denoise(arguments: argparse.Namespace) -> None:
    recipe, started = recipe_of(arguments), time.perf_counter()
    check_output(arguments.output, inputs=input_files(arguments.scan, recipe), suffixes=STACK_SUFFIXES)
    with _progress() as progress, allocate(recipe.compute, beside=Path(arguments.output)) as means:
        stack, counted = load_scan(arguments.scan, recipe.input, means=means)
        stack, corrected = correct_scan(stack, recipe.denoise, means=means, progress=progress)
        result = denoise_scan(stack, recipe.denoise, means=means, progress=progress)
        progress("write", 0.0)
        write_stack(result.reconstruct(), arguments.output)
    _print_counted(counted + corrected)
    print(_sentence(result))
    _print_end(started, "clean stack", arguments.output)


def _map(arguments: argparse.Namespace) -> None:
    recipe, started = recipe_of(arguments), time.perf_counter()
    check_output(arguments.output, inputs=input_files(arguments.scan, recipe), suffixes=STACK_SUFFIXES)
    with _progress() as progress, allocate(recipe.compute, beside=Path(arguments.output)) as means:
        data = _result_or_scan(arguments, recipe, means, progress)
        progress("map", 0.0)
        maps = map_result(data, recipe, means=means, progress=progress)
        files = write_map(maps, MAP_NAMES[maps.attrs["kind"]], arguments.output)
    if isinstance(data, Denoised):
        print(_sentence(data))
    print(_map_sentence(maps))
    _print_end(started, "map", *files)


def _run(arguments: argparse.Namespace) -> None:
    with _progress() as progress:
        done = run(arguments.scan, arguments.output, recipe=recipe_of(arguments), progress=progress)
    _print_run(done, Path(arguments.output), done.seconds)


def _watch(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    asked: list[bool] = []

    def ask(*_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        print("ending: the last map is being made (Ctrl-C again to leave it)", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        watched = watch(
            arguments.scan,
            arguments.output,
            recipe=recipe_of(arguments),
            flat=arguments.flat,
            n_frames=arguments.frames,
            every=arguments.every,
            stop=lambda: bool(asked),
            tell=lambda said: print(_one_line(said), flush=True),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    median = float(np.median(watched.seconds))
    print(f"{watched.n_frames} frames, {watched.left_out} left out; {median:.2f} s for each (median)")
    if watched.last is not None:
        _print_run(watched.last, Path(arguments.output), time.perf_counter() - started)


def _simulate(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    check_output(arguments.output, suffixes=STACK_SUFFIXES)
    stack = _phantom_scan(
        arguments.kind, arguments.shape, arguments.n_energies, arguments.sigma, arguments.seed
    )
    write_stack(stack, arguments.output)
    n_energies, ny, nx = stack.shape
    print(f"{arguments.kind}: {ny} x {nx} px, {n_energies} energies, noise {arguments.sigma:g} (peak 255)")
    _print_end(started, "scan", arguments.output)


def _demo(arguments: argparse.Namespace) -> None:
    started, folder = time.perf_counter(), Path(arguments.output)
    check_output(folder, is_folder=True)
    with staged_folder(folder) as temporary, _progress() as progress:
        progress("simulating a scan", 0.0)
        scan = temporary / "scan.h5"
        write_stack(_phantom_scan(DEMO_KIND, None, DEMO_ENERGIES, DEMO_SIGMA, arguments.seed), scan)
        done = run(scan, temporary, recipe=recipe_of(arguments), progress=progress)
    scan = folder / "scan.h5"
    print(f"simulated: {DEMO_KIND}, {DEMO_ENERGIES} energies, noise {DEMO_SIGMA:g} (peak 255): {scan}")
    _print_run(done, folder, time.perf_counter() - started)


# --- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xanesum", description="Denoise TXM-XANES scans and map their chemistry, with nothing to tune."
    )
    parser.add_argument("--version", action="version", version=f"xanesum {version('xanesum')}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_verb(verbs, "info", _info, "say what a file holds", options=INPUT)
    checking = _add_verb(
        verbs, "check", _check, "judge a scan before denoising it", options=(*INPUT, *PARTS, MEMORY)
    )
    checking.add_argument("--json", action="store_true", help="print the verdict as JSON")
    denoise_too = (*INPUT, *PARTS, *DENOISE, *COMPUTE)
    planning = _add_verb(
        verbs, "plan", _plan, "say what a run will take, without doing it", options=denoise_too
    )
    planning.add_argument("--json", action="store_true", help="print the plan as JSON")
    _add_verb(verbs, "denoise", _denoise, "write the clean stack", "FILE (.h5, .tif)", denoise_too)
    everything = (*denoise_too, *MAP)
    help_map = "denoise (unless SCAN is a result, result.sum.h5), and write the chemical map"
    mapping = _add_verb(verbs, "map", _map, help_map, "FILE (.tif, .h5)", everything)
    mapping.add_argument("--as-is", action="store_true", help="map the stack without denoising it first")
    _add_verb(verbs, "run", _run, "do all of it, and write a report", "FOLDER", everything)
    _add_watch(verbs, everything)
    _add_simulate(verbs)
    demo = _add_verb(verbs, "demo", _demo, "simulate a scan and do all of it", "FOLDER", scan=False)
    demo.add_argument("--seed", type=count, default=0, metavar="N", help="seed of all random numbers")
    return parser


def _add_verb(
    verbs: Any,
    name: str,
    verb: Callable[[argparse.Namespace], None],
    text: str,
    output: str = "",
    options: OptionTable = (),
    *,
    scan: bool = True,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(verb=verb)
    if scan:
        parser.add_argument("scan", metavar="SCAN", help="a file of any known format, or a folder of images")
    if output:
        parser.add_argument(
            "-o", "--output", required=True, metavar=output.split()[0], help=f"{output} to write"
        )
    if len(options) > len(INPUT):
        parser.add_argument(
            "--recipe", metavar="FILE", help="TOML file of options; those given here come first"
        )
    add_options(parser, options)
    return parser


def _add_watch(verbs: Any, options: OptionTable) -> None:
    left_out = {"--energies", "--i0", "--data", *(option[0] for option in COMPUTE)}  # of what is a whole scan
    taken = tuple(option for option in options if option[0] not in left_out)
    text = "follow a scan while it is taken: a map and a report after every few frames"
    parser = _add_verb(verbs, "watch", _watch, text, "FOLDER", taken)
    parser.add_argument(
        "--flat", metavar="FILE", help="images without the sample; SSRL folders have their own"
    )
    parser.add_argument(
        "--frames", type=count, metavar="N", help="frames after which the scan is complete (Ctrl-C)"
    )
    parser.add_argument(
        "--every", type=count, default=EVERY, metavar="N", help="frames for a new map (%(default)s)"
    )


def _add_simulate(verbs: Any) -> None:
    parser = _add_verb(verbs, "simulate", _simulate, "write a simulated scan", "FILE (.h5, .tif)", scan=False)
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=", ".join(KINDS))
    parser.add_argument(
        "--shape", type=size, metavar="YxX", help="size of the images (each kind has its own)"
    )
    parser.add_argument("--n-energies", type=count, default=DEMO_ENERGIES, metavar="E", help="%(default)s")
    parser.add_argument(
        "--sigma", type=float, default=DEMO_SIGMA, metavar="S", help="noise level (%(default)s)"
    )
    parser.add_argument("--seed", type=count, default=0, metavar="N", help="seed of scene and noise")


def _refuse_options_of_a_scan(arguments: argparse.Namespace) -> None:
    """Raise where options were given that a saved result can no longer follow."""
    flags = [flag for flag, target, _ in (*INPUT, *PARTS, *DENOISE) if target in vars(arguments)]
    if given := flags + ["--as-is"] * arguments.as_is:
        raise RecipeError(
            f"{arguments.scan}: is a saved result, so {', '.join(given)} cannot be followed; "
            "map the scan itself, or leave them out"
        )


def _phantom_scan(
    kind: str, shape: tuple[int, int] | None, n_energies: int, sigma: float, seed: int
) -> xr.DataArray:
    """Return a simulated scan; scene and noise have independent seeds made from one."""
    scene, noise = np.random.default_rng(seed).spawn(2)
    return simulate(kind, shape=shape, n_energies=n_energies, rng=scene).noisy(sigma, rng=noise)


def _result_or_scan(
    arguments: argparse.Namespace, recipe: Recipe, means: Resources, progress: Callable[[str, float], None]
) -> Denoised | xr.DataArray:
    """Return a saved result, or the scan, denoised unless it is to be taken as it is."""
    try:
        result = load_result(arguments.scan)
    except ReadError:
        progress("read", 0.0)
        stack = load_scan(arguments.scan, recipe.input, means=means)[0]
    else:
        _refuse_options_of_a_scan(arguments)
        return result
    if arguments.as_is:
        return stack
    stack = correct_scan(stack, recipe.denoise, means=means, progress=progress)[0]
    return denoise_scan(stack, recipe.denoise, means=means, progress=progress)
