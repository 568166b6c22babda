"""The verbs that measure particles and regions of a scan, or of a saved result."""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xanesum.cli.answers import answer, dataset_facts, result_facts
from xanesum.cli.options import recipe_of
from xanesum.cli.output import end_line, one_line, progress_bar, result_sentence
from xanesum.errors import EdgeError, RecipeError, StackError, XanesumWarning
from xanesum.report.numbers import plain
from xanesum.storage.atomic import staged_folder
from xanesum.workflow import loading, pipeline
from xanesum.workflow.measure import (
    Measured,
    measure,
    measured_files,
    read_named,
    wanted_labels,
    write_measured,
)
from xanesum.workflow.outputs import check_output
from xanesum.workflow.recipe import NONE, Recipe, RegionOptions
from xanesum.workflow.resources import allocate

__all__ = ["particles", "regions"]


def particles(arguments: argparse.Namespace) -> None:
    """Measure the particles of a scan or of a saved result."""
    recipe = replace(wanted_labels(recipe_of(arguments)), regions=RegionOptions())
    found, facts, lines = _measured(arguments, recipe)
    if found.particles is None:
        raise EdgeError(found.particle_problem)
    tell_doubts(found.particles)
    facts["particles"] = dataset_facts(found.particles)
    answer(arguments, facts, [*lines, particle_sentence(found.particles)])


def regions(arguments: argparse.Namespace) -> None:
    """Write the mean spectra of the regions that a recipe names."""
    recipe = recipe_of(arguments)
    pairs = [named_region(text) for text in arguments.where or ()]
    given = dict(pairs)
    if len(given) < len(pairs):
        raise RecipeError("a region is named twice", parameter="where")
    recipe = recipe.updated({"regions": given, "particles": {"labels": NONE}})
    if not recipe.regions.named:
        raise RecipeError(
            "no region is named; name one in the section [regions] of the recipe, or as NAME=FILE",
            parameter="where",
        )
    measured, facts, lines = _measured(arguments, recipe)
    found = measured.regions
    if found is None:
        raise StackError("no region is named", parameter="where")
    tell_doubts(found)
    counts = zip(found["region"].values, found["n_pixels"].values, strict=True)
    lines += [f"region {one_line(str(name))}: {int(count)} pixels" for name, count in counts]
    answer(arguments, {**facts, "regions": dataset_facts(found)}, lines)


def named_region(text: str) -> tuple[str, str | list[list[float]]]:
    """Return name and region of ``NAME=FILE`` or ``NAME=Y0:Y1,X0:X1``; the ends of a box are excluded."""
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise RecipeError(
            f"a region is given as NAME=FILE or NAME=Y0:Y1,X0:X1, got {text!r}", parameter="where"
        )
    try:
        (y0, y1), (x0, x1) = ((int(end) for end in side.split(":")) for side in value.split(","))
    except ValueError:
        return name, value
    if not (0 <= y0 < y1 and 0 <= x0 < x1):
        raise RecipeError(f"the box {value} of region {name} holds no pixel", parameter="where")
    low_y, high_y, low_x, high_x = y0 - 0.5, y1 - 0.5, x0 - 0.5, x1 - 0.5
    return name, [[low_y, low_x], [low_y, high_x], [high_y, high_x], [high_y, low_x]]


def tell_doubts(measured: xr.Dataset) -> None:
    """Give a note for each reason why the stated errors may not hold."""
    for reason in measured.attrs["reasons"]:
        warnings.warn(f"the stated errors may not hold: {reason}", XanesumWarning, stacklevel=2)


def particle_sentence(found: xr.Dataset) -> str:
    """Return number, states and errors of particles."""
    state, sigma, own = (found[name].values for name in ("state", "state_sigma", "state_sigma_relative"))
    known = np.isfinite(state)
    cut = int(found["is_cut"].values.sum())
    real = int(found["spread_is_real"].values.sum())
    unit = " eV" if str(found.attrs["map"]).endswith("_ev") else ""
    text = f"{known.sum()} particles ({cut} cut by the border): "
    text += f"states from {_number(state[known].min(), unit)} to {_number(state[known].max(), unit)}, "
    text += f"median {_number(float(np.median(state[known])), unit)}"
    if np.isfinite(sigma[known]).any():
        text += f"; standard error {plain(float(np.nanmedian(sigma[known])), 2)} (median)"
    if np.isfinite(own[known]).any():
        text += f", {plain(float(np.nanmedian(own[known])), 2)} among each other"
    text += f"; {real} with a spread within that errors do not explain"
    threshold = float(found.attrs["threshold"])
    return text if not np.isfinite(threshold) else f"{text}; threshold of the edge step {plain(threshold, 3)}"


def _number(value: float, unit: str) -> str:
    return f"{value:.2f}{unit}" if unit else plain(float(value), 4)


def _measured(arguments: argparse.Namespace, recipe: Recipe) -> tuple[Measured, dict[str, Any], list[str]]:
    """Denoise where that is needed, measure, and write the files; return facts and lines about it too."""
    started, folder = time.perf_counter(), Path(arguments.output)
    check_output(folder, inputs=loading.input_files(arguments.scan, recipe), is_folder=True)
    with progress_bar(arguments) as progress, allocate(recipe.compute, beside=folder) as resources:
        data, stack = pipeline.load_result_and_scan(
            arguments.scan,
            recipe,
            check=lambda shape: read_named(recipe, shape),
            resources=resources,
            progress=progress,
        )
        found = measure(data, stack, recipe, read_named(recipe, data.shape[1:]), progress=progress)
        if found.particle_problem:
            raise EdgeError(found.particle_problem)
        progress("write", 0.0)
        with staged_folder(folder, own=measured_files(recipe)) as temporary:
            write_measured(temporary, found, data, recipe)
    facts = {**result_facts(data), "folder": str(folder)}
    return found, facts, [result_sentence(data), end_line(started, "results", folder)]
