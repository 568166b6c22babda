"""The verbs that show a saved result: in a browser, and as figures for a paper."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from xanesum.cli.answers import answer, map_facts
from xanesum.cli.option_values import pixel
from xanesum.cli.options import recipe_of
from xanesum.cli.output import end_line, motion_lines, preprocessing_lines, progress_bar
from xanesum.errors import EdgeError, XanesumWarning
from xanesum.method.problem import Progress
from xanesum.report.paper_figures import FIGURE_FILES, write_figures
from xanesum.result import Denoised, load_result
from xanesum.storage.atomic import staged_folder
from xanesum.streaming.resources import Resources
from xanesum.viewer import view, write_explorer
from xanesum.viewer.plots import require_toolkit
from xanesum.workflow.loading import load_scan
from xanesum.workflow.motion import align_scan
from xanesum.workflow.outputs import RECIPE_FILE, RESULT_FILE, SHIFTS_FILE, check_output
from xanesum.workflow.pipeline import map_result
from xanesum.workflow.recipe import NONE, Recipe
from xanesum.workflow.resources import allocate

__all__ = ["add_figure_options", "add_view_options", "draw_figures", "view_result"]

PAGE_SUFFIXES = (".html",)


def add_view_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Add the options that only `view` has; return their flags by parameter."""
    flags = _add_saved(parser, "measured frames and residuals")
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="port to serve at (default: a free one)"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the page to this file (.html), and serve nothing"
    )
    return {**flags, "port": "--port", "output": "--output"}


def add_figure_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Add the options that only `figures` has; return their flags by parameter."""
    flags = _add_saved(parser, "measured values beside the denoised ones")
    parser.add_argument(
        "--pixel", action="append", type=pixel, metavar="Y,X",
        help="pixel whose spectrum is shown; may be repeated (default: some that differ in the map)",
    )  # fmt: skip
    return {**flags, "pixel": "--pixel"}


def _add_saved(parser: argparse.ArgumentParser, purpose: str) -> dict[str, str]:
    """Add a saved result, the scan it was made of, and a recipe."""
    parser.add_argument(
        "result", metavar="RESULT", help="saved result (result.sum.h5), or the folder of a run with one"
    )
    parser.add_argument("--raw", metavar="SCAN", help=f"the scan that was denoised, for {purpose}")
    parser.add_argument(
        "--recipe",
        metavar="FILE",
        help="TOML file of options (default: recipe.toml beside the result); options given here override it",
    )
    return {"raw": "--raw"}


def view_result(arguments: argparse.Namespace) -> None:
    """Serve the explorer of a saved result until Ctrl-C, or write it to a file."""
    started = time.perf_counter()
    require_toolkit()
    if arguments.output is not None:
        inputs = [_result_file(arguments), arguments.raw]
        check_output(arguments.output, inputs=inputs, suffixes=PAGE_SUFFIXES)
    recipe, result, title = _saved_result(arguments)
    mapped = partial(_mapped, recipe=recipe.updated({"map": {"bootstrap": 0}}))
    if arguments.output is not None:
        with progress_bar(arguments) as progress:
            progress("write", 0.0)
            write_explorer(result, arguments.output, mapped=mapped, title=title)
        files = {"files": [str(arguments.output)]}
        answer(arguments, files, [end_line(started, "explorer", arguments.output)])
        return
    _serve(arguments, result, recipe, mapped, title)


def draw_figures(arguments: argparse.Namespace) -> None:
    """Write figures for a paper of a saved result."""
    started, folder = time.perf_counter(), Path(arguments.output)
    check_output(folder, inputs=[_result_file(arguments), arguments.raw], is_folder=True)
    recipe, result, _ = _saved_result(arguments)
    for y, x in arguments.pixel or ():
        result.spectrum(y, x)  # refuses a pixel before any long work
    with progress_bar(arguments) as progress, allocate(recipe.compute, beside=folder) as resources:
        raw, said = _raw_scan(arguments, recipe, resources, progress)
        progress("map", 0.0)
        try:
            maps = _mapped(result, recipe=recipe.updated({"map": {"bootstrap": 0}}))
        except EdgeError as error:
            warnings.warn(XanesumWarning(f"no map: {error.message}", parameter=error.parameter), stacklevel=2)
            maps = None
        progress("write", 0.0)
        with staged_folder(folder, own=FIGURE_FILES) as temporary:
            names = [
                path.name
                for path in write_figures(temporary, result, maps, stack=raw, pixels=arguments.pixel or ())
            ]
    files = [str(folder / name) for name in names]
    facts = {"folder": str(folder), "map": map_facts(maps), "files": files}
    lines = [*said, f"{len(files)} figures, 85 and 170 mm wide, as SVG and PNG"]
    answer(arguments, facts, [*lines, end_line(started, "figures", folder)])


def _saved_result(arguments: argparse.Namespace) -> tuple[Recipe, Denoised, str]:
    """Return recipe, saved result and title; the recipe beside the result is used unless one is named."""
    path = _result_file(arguments)
    beside = path.parent / RECIPE_FILE
    if arguments.recipe is None and beside.is_file():
        arguments.recipe = str(beside)
    title = path.absolute().parent.name if path.name == RESULT_FILE else path.stem
    return recipe_of(arguments), load_result(path), title


def _result_file(arguments: argparse.Namespace) -> Path:
    path = Path(arguments.result)
    return path / RESULT_FILE if path.is_dir() else path


def _raw_scan(
    arguments: argparse.Namespace,
    recipe: Recipe,
    resources: Resources,
    progress: Progress,
) -> tuple[xr.DataArray | None, list[str]]:
    """Return the scan that was denoised, with its frames where they were then, and what was changed."""
    if arguments.raw is None:
        return None, []
    progress("read", 0.0)
    raw, changes = load_scan(arguments.raw, recipe.input, resources=resources)
    shifts = _result_file(arguments).parent / SHIFTS_FILE
    align = {"shifts": str(shifts) if shifts.is_file() else NONE}
    raw, motion = align_scan(raw, recipe.updated({"align": align}).align, resources=resources)
    return raw, [*preprocessing_lines(changes), *motion_lines(motion)]


def _serve(arguments: argparse.Namespace, result: Denoised, recipe: Recipe, mapped: Any, title: str) -> None:
    beside = Path.cwd() / "view"
    with allocate(recipe.compute, beside=beside) as resources:
        with progress_bar(arguments) as progress:
            raw, said = _raw_scan(arguments, recipe, resources, progress)
        with view(result, raw, mapped=mapped, title=title, port=arguments.port) as viewer:
            tunnel = f"from another computer, type there and open the same address: {viewer.tunnel}"
            lines = [*said, f"explorer: {viewer.url}", tunnel, "Ctrl-C ends it"]
            answer(arguments, {"url": viewer.url, "tunnel": viewer.tunnel}, lines)
            if arguments.quiet and not arguments.json:
                print(viewer.url)  # without it nobody can open the page
            sys.stdout.flush()
            with suppress(KeyboardInterrupt):
                viewer.wait()
    if not (arguments.json or arguments.quiet):
        print("ended")


def _mapped(data: Any, *, recipe: Recipe) -> xr.Dataset:
    return map_result(data, recipe)
