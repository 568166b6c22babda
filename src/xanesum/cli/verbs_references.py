"""The verb `references`: what spectra of references are, and whether they fit a scan."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xanesum.cli.answers import answer
from xanesum.cli.options import recipe_of
from xanesum.cli.output import progress_bar
from xanesum.errors import EdgeError, RecipeError
from xanesum.report.references import write_references_figure
from xanesum.result import Denoised
from xanesum.workflow.outputs import check_output
from xanesum.workflow.pipeline import load_result_or_scan
from xanesum.workflow.recipe import Recipe
from xanesum.xanes.references.spectra import (
    Reference,
    read_folder,
    read_references,
    region_references,
    with_own_names,
)
from xanesum.xanes.references.survey import ScanCheck, SurveyedReference, against_scan, pairs_alike, survey

__all__ = ["references"]

PLOT_SUFFIXES = (".png", ".pdf", ".svg")


def references(arguments: argparse.Namespace) -> None:
    """List references, plot them, and check them against each other and against a scan."""
    recipe = recipe_of(arguments)
    if arguments.plot is not None:
        check_output(arguments.plot, inputs=[*arguments.files, arguments.scan], suffixes=PLOT_SUFFIXES)
    found, others = _read(arguments.files, arguments.channel)
    data = _scan(arguments, recipe)
    if data is not None:
        found += region_references(data, dict(_area(text, data) for text in arguments.area or ()))
    if not found:
        raise RecipeError("no references were named; give files, or areas of a scan")
    surveyed, normalization = survey(found), recipe.normalization.normalization
    alike = pairs_alike(surveyed)
    check, problem = None, ""
    try:
        if data is not None:
            check = against_scan(found, data, normalization=normalization, e0_ev=recipe.map.e0_ev)
    except EdgeError as error:
        problem = error.message
    if arguments.plot is not None:
        write_references_figure(arguments.plot, surveyed, data, normalization=normalization)
    figure = [] if arguments.plot is None else [f"figure: {arguments.plot}"]
    left_out = [f"no spectrum: {reason}" for reason in others]
    lines = (*_lines(surveyed, alike), *left_out, *_check_lines(check), *figure)
    answer(arguments, _facts(surveyed, alike, check, problem), lines)
    if problem:
        raise EdgeError(problem)


def _read(paths: Sequence[str], channel: str | None) -> tuple[list[Reference], tuple[str, ...]]:
    """Return the references in files and folders, and why other files in folders hold none."""
    found: list[Reference] = []
    others: tuple[str, ...] = ()
    for path in paths:
        if Path(path).is_dir():
            inside, without = read_folder(path, channel)
            found, others = found + inside, others + without
        else:
            found += read_references(path, channel=channel)
    return with_own_names(found), others


def _scan(arguments: argparse.Namespace, recipe: Recipe) -> Denoised | xr.DataArray | None:
    """Return the scan or result that references are compared with, if one was named."""
    if arguments.scan is not None:
        with progress_bar(arguments) as progress:
            return load_result_or_scan(arguments.scan, recipe, as_is=True, progress=progress)
    if arguments.area:
        raise RecipeError("an area is a part of a scan; name the scan, too", parameter="scan")
    return None


def _area(text: str, data: Any) -> tuple[str, Any]:
    """Return the name and the pixels (Y, X) of ``NAME=Y0:Y1,X0:X1``."""
    name, equals, limits = text.partition("=")
    shape = (data.coefficients if isinstance(data, Denoised) else data).shape[1:]
    try:
        (y0, y1), (x0, x1) = ((int(end) for end in part.split(":")) for part in limits.split(","))
    except ValueError:
        equals = ""
    if not equals or not name:
        raise RecipeError(f"an area is NAME=Y0:Y1,X0:X1, got {text!r}", parameter="area")
    if not (0 <= y0 < y1 <= shape[0] and 0 <= x0 < x1 <= shape[1]):
        raise RecipeError(
            f"area {text!r} does not lie within the image of {shape[0]} x {shape[1]} pixels (y, x)",
            parameter="area",
        )
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return name, mask


def _lines(surveyed: Sequence[SurveyedReference], alike: Sequence[tuple[str, str, float]]) -> Iterator[str]:
    """Yield a line for each reference, its notes, and what they are together."""
    width = max(len(each.reference.name) for each in surveyed)
    for each in surveyed:
        reference, edge = each.reference, each.edge
        first, last = reference.energy_ev[[0, -1]]
        line = f"{reference.name:{width}}  {each.what}; {len(reference.mu)} energies, "
        line += f"{first:.1f} to {last:.1f} eV"
        if edge is not None:
            half = "none" if edge.half_step_ev is None else f"{edge.half_step_ev:.2f} eV"
            line += f"; half-step energy {half}, step {edge.edge_step:.3g}"
            line += "" if each.noise is None else f", noise {100 * each.noise:.2g} % of it"
        yield line
        if reference.sample:
            yield f"{'':{width}}  sample: {reference.sample}"
        for note in (*reference.notes, *each.doubts):
            yield f"{'':{width}}  {note}"
    for edge_name, count in _counts(surveyed).items():
        yield f"{edge_name}: {count} {'spectrum' if count == 1 else 'spectra'}"
    for one, other, condition in alike:
        if np.isinf(condition):
            yield f"the same spectrum: {one} and {other}"
        else:
            yield f"hard to tell apart: {one} and {other} (condition number {condition:.0f})"


def _counts(surveyed: Sequence[SurveyedReference]) -> dict[str, int]:
    """Return how many references there are of each edge and kind."""
    counts: dict[str, int] = {}
    for each in surveyed:
        edge = each.edge
        name = (
            "no edge" if edge is None else f"{edge.element} {edge.edge}" if edge.element else "unknown edge"
        )
        key = f"{name}, {each.reference.kind}"
        counts[key] = counts.get(key, 0) + 1
    return counts


def _check_lines(check: ScanCheck | None) -> Iterator[str]:
    if check is None:
        return
    covered = "all" if check.n_covered == check.n_energies else f"only {check.n_covered}"
    yield f"scan: edge at {check.e0_ev:.2f} eV, {check.definition}"
    yield f"overlap: the references cover {covered} of its {check.n_energies} energies"
    yield f"together: condition number {check.condition_number:.3g}"
    if check.shift is None:
        yield f"energy shift: not fitted, because {check.shift_problem}"
    else:
        yield f"energy shift: {check.shift.sentence}"
        shares = ", ".join(f"{name} {share:.2f}" for name, share in check.shift.fractions.items())
        yield f"mean spectrum: {shares}; R factor {check.shift.r_factor:.2g}"


def _facts(
    surveyed: Sequence[SurveyedReference],
    alike: Sequence[tuple[str, str, float]],
    check: ScanCheck | None,
    problem: str,
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "references": [_facts_of(each) for each in surveyed],
        "alike": [
            {"references": [one, other], "condition_number": None if np.isinf(condition) else condition}
            for one, other, condition in alike
        ],
    }
    if problem:
        facts["problem"] = problem
    if check is not None:
        shift = check.shift
        facts["scan"] = {
            "e0_ev": check.e0_ev,
            "energies": check.n_energies,
            "covered": check.n_covered,
            "condition_number": check.condition_number,
            "definition": check.definition,
            "shift_ev": None if shift is None else shift.shift_ev,
            "shift_sigma_ev": None if shift is None else shift.sigma_ev,
            "shift_is_there": None if shift is None else shift.is_there,
            "fractions": None if shift is None else shift.fractions,
            "r_factor": None if shift is None else shift.r_factor,
            "problem": check.shift_problem,
        }
    return facts


def _facts_of(each: SurveyedReference) -> dict[str, Any]:
    reference: Reference = each.reference
    edge = each.edge
    return {
        "name": reference.name,
        "what": each.what,
        "source": reference.source,
        "sample": reference.sample,
        "kind": reference.kind,
        "energies": len(reference.mu),
        "first_ev": float(reference.energy_ev[0]),
        "last_ev": float(reference.energy_ev[-1]),
        "element": None if edge is None else edge.element,
        "edge": None if edge is None else edge.edge,
        "e0_ev": None if edge is None else edge.e0_ev,
        "half_step_ev": None if edge is None else edge.half_step_ev,
        "steepest_ev": each.steepest_ev,
        "edge_step": None if edge is None else edge.edge_step,
        "noise": each.noise,
        "normalized": reference.normalized,
        "definition": None if edge is None else edge.definition,
        "notes": [*reference.notes, *each.doubts],
    }
