"""The verb that shows a saved result in a browser."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from xanesum.cli.options import recipe_of
from xanesum.cli.output import print_end, print_motion, print_preprocessing, printable, progress_bar
from xanesum.result import Denoised, load_result
from xanesum.viewer import view, write_explorer
from xanesum.viewer.plots import require_toolkit
from xanesum.workflow.loading import load_scan
from xanesum.workflow.motion import align_scan
from xanesum.workflow.outputs import RECIPE_FILE, RESULT_FILE, SHIFTS_FILE, check_output
from xanesum.workflow.pipeline import map_result
from xanesum.workflow.recipe import NONE, Recipe
from xanesum.workflow.resources import allocate

__all__ = ["add_view_options", "view_result"]

PAGE_SUFFIXES = (".html",)


def add_view_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Add the options that only this verb has; return their flags by parameter."""
    parser.add_argument(
        "result", metavar="RESULT", help="saved result (result.sum.h5), or the folder of a run with one"
    )
    parser.add_argument(
        "--raw", metavar="SCAN", help="the scan that was denoised, for measured frames and residuals"
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port to serve at (default: a free one)"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the page to this file (.html), and serve nothing"
    )
    parser.add_argument(
        "--recipe",
        metavar="FILE",
        help="TOML file of options (default: recipe.toml beside the result); options given here override it",
    )
    return {name: f"--{name}" for name in ("raw", "port", "output")}


def view_result(arguments: argparse.Namespace) -> None:
    """Serve the explorer of a saved result until Ctrl-C, or write it to a file."""
    started = time.perf_counter()
    require_toolkit()
    path = Path(arguments.result)
    path = path / RESULT_FILE if path.is_dir() else path
    if arguments.output is not None:
        check_output(arguments.output, inputs=[path, arguments.raw], suffixes=PAGE_SUFFIXES)
    beside = path.parent / RECIPE_FILE
    if arguments.recipe is None and beside.is_file():
        arguments.recipe = str(beside)
    recipe, result = recipe_of(arguments), load_result(path)
    mapped = partial(_mapped, recipe=recipe.updated({"map": {"bootstrap": 0}}))
    title = path.parent.resolve().name if path.name == RESULT_FILE else path.stem
    if arguments.output is not None:
        with progress_bar() as progress:
            progress("write", 0.0)
            write_explorer(result, arguments.output, mapped=mapped, title=title)
        print_end(started, "explorer", arguments.output)
        return
    _serve(arguments, result, recipe, mapped, title)


def _serve(arguments: argparse.Namespace, result: Denoised, recipe: Recipe, mapped: Any, title: str) -> None:
    beside = Path.cwd() / "view"
    with allocate(recipe.compute, beside=beside) as resources:
        raw = None
        if arguments.raw is not None:
            with progress_bar() as progress:
                progress("read", 0.0)
                raw, changes = load_scan(arguments.raw, recipe.input, resources=resources)
                shifts = Path(arguments.result) / SHIFTS_FILE
                shifts = shifts if shifts.is_file() else Path(arguments.result).parent / SHIFTS_FILE
                align = {"shifts": str(shifts) if shifts.is_file() else NONE}
                raw, motion = align_scan(raw, recipe.updated({"align": align}).align, resources=resources)
            print_preprocessing(changes)
            print_motion(motion)
        with view(result, raw, mapped=mapped, title=title, port=arguments.port) as viewer:
            print(f"explorer: {viewer.url}")
            print(f"from another computer, type there and open the same address: {printable(viewer.tunnel)}")
            print("Ctrl-C ends it", flush=True)
            with suppress(KeyboardInterrupt):
                viewer.wait()
    print("ended")


def _mapped(data: Any, *, recipe: Recipe) -> xr.Dataset:
    return map_result(data, recipe)
