"""The verbs that tell what a scan consists of: fractions of references, and clusters of states."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xanesum.cli.answers import answer, dataset_facts, result_facts
from xanesum.cli.option_values import count, number, range_of
from xanesum.cli.options import recipe_of, scan_options_in
from xanesum.cli.output import end_line, one_line, progress_bar, result_sentence
from xanesum.report.composition_texts import cluster_lines, fraction_lines
from xanesum.result import Denoised
from xanesum.workflow import loading
from xanesum.workflow.composition import (
    CLUSTER_FILES,
    FRACTION_FILES,
    Fitted,
    fit_scan,
    write_clusters,
    write_fractions,
)
from xanesum.workflow.outputs import check_output
from xanesum.workflow.pipeline import load_result_or_scan
from xanesum.workflow.resources import allocate
from xanesum.xanes.composition.clusters import AT_MOST, METHODS, find_clusters
from xanesum.xanes.composition.reference_fit import BACKGROUNDS
from xanesum.xanes.composition.subsets import Choice

__all__ = ["add_cluster_options", "add_fit_options", "cluster", "fit"]

Work = Callable[[Denoised | xr.DataArray], Any]


def add_fit_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Add the options of `fit`; return the flag of each parameter."""
    parser.add_argument(
        "--references",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="spectra: XDI, Athena, text, or saved results",
    )
    parser.add_argument(
        "--at-most",
        type=count,
        metavar="N",
        help="use the best subset of at most N references, and list others",
    )
    parser.add_argument(
        "--unmix",
        dest="n_spectra",
        type=count,
        metavar="N",
        help="find N spectra in the scan, without references",
    )
    parser.add_argument(
        "--sum-to-one", action="store_true", help="let the amounts of a pixel add up to its edge step"
    )
    parser.add_argument("--allow-negative", action="store_true", help="let amounts be below 0")
    parser.add_argument(
        "--shift",
        dest="shift_ev",
        type=number,
        default=0.0,
        metavar="EV",
        help="shift to add to the energies of the references, eV",
    )
    _add_fitted_part(parser)
    return {
        "references": "--references",
        "at_most": "--at-most",
        "n_spectra": "--unmix",
        "sum_to_one": "--sum-to-one",
        "shift_ev": "--shift",
        **_FITTED_PART,
    }


def add_cluster_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Add the options of `cluster`; return the flag of each parameter."""
    parser.add_argument(
        "--clusters", dest="n_clusters", type=count, metavar="N", help="number of clusters (default: found)"
    )
    parser.add_argument(
        "--at-most",
        type=count,
        default=AT_MOST,
        metavar="N",
        help="most clusters to find (default: %(default)s)",
    )
    parser.add_argument(
        "--by",
        dest="cluster_method",
        choices=METHODS,
        default=METHODS[0],
        help="how pixels are clustered (default: %(default)s)",
    )
    _add_fitted_part(parser)
    return {"n_clusters": "--clusters", "at_most": "--at-most", **_FITTED_PART}


_FITTED_PART = {"range_ev": "--range", "background": "--background", "e0_ev": "--edge"}


def _add_fitted_part(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--range", dest="range_ev", type=range_of, metavar="A:B", help="energies to use, eV (default: all)"
    )
    parser.add_argument(
        "--background",
        choices=("auto", *BACKGROUNDS),
        default="auto",
        help="what a pixel may have besides (default: the most that the energies allow)",
    )
    parser.add_argument("--edge", dest="e0_ev", type=number, metavar="EV", help="energy of the edge, eV")


def fit(arguments: argparse.Namespace) -> None:
    """Map the fractions of references, or of spectra that are found in the scan."""
    options = {
        "non_negative": not arguments.allow_negative,
        "sum_to_one": arguments.sum_to_one,
        "shift_ev": arguments.shift_ev,
        "normalization": recipe_of(arguments).normalization.normalization,
        **_options_of(arguments),
    }

    def work(data: Denoised | xr.DataArray) -> Fitted:
        return fit_scan(
            data, arguments.references, at_most=arguments.at_most, n_spectra=arguments.n_spectra, **options
        )

    data, fitted, files, started = _done(arguments, work, write_fractions, FRACTION_FILES)
    lines = [] if fitted.choice is None else list(choice_lines(fitted.choice))
    lines += [*fraction_lines(fitted.maps), end_line(started, "fractions", *files)]
    facts: dict[str, Any] = {"fractions": dataset_facts(fitted.maps)}
    if fitted.choice is not None:
        facts["ranking"] = [asdict(subset) for subset in fitted.choice.ranking]
    _answer(arguments, data, facts, lines, files)


def cluster(arguments: argparse.Namespace) -> None:
    """Find regions of one chemical state."""
    options = {"n_clusters": arguments.n_clusters, "at_most": arguments.at_most, **_options_of(arguments)}
    rng = np.random.default_rng(recipe_of(arguments).denoise.seed)

    def work(data: Denoised | xr.DataArray) -> xr.Dataset:
        return find_clusters(data, method=arguments.cluster_method, rng=rng, **options)

    data, maps, files, started = _done(arguments, work, write_clusters, CLUSTER_FILES)
    lines = [*cluster_lines(maps), end_line(started, "clusters", *files)]
    _answer(arguments, data, {"clusters": dataset_facts(maps)}, lines, files)


def _answer(
    arguments: argparse.Namespace,
    data: Denoised | xr.DataArray,
    facts: dict[str, Any],
    lines: list[str],
    files: tuple[Path, ...],
) -> None:
    facts["files"] = list(map(str, files))
    if isinstance(data, Denoised):
        facts, lines = {**result_facts(data), **facts}, [result_sentence(data), *lines]
    answer(arguments, facts, map(one_line, lines))


def _options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in _FITTED_PART}


def _done(
    arguments: argparse.Namespace,
    work: Work,
    write: Callable[..., tuple[Path, ...]],
    names: tuple[str, ...],
) -> tuple[Denoised | xr.DataArray, Any, tuple[Path, ...], float]:
    """Read a result, or read and denoise a scan; do the work on it, and write the files of these names."""
    recipe, started = recipe_of(arguments), time.perf_counter()
    folder = Path(arguments.output)
    inputs = [*loading.input_files(arguments.scan, recipe), *getattr(arguments, "references", [])]
    check_output(arguments.output, inputs=inputs, is_folder=True)
    for name in names:
        check_output(folder / name, inputs=inputs) if folder.is_dir() else None
    with progress_bar(arguments) as progress, allocate(recipe.compute, beside=folder) as resources:
        data = load_result_or_scan(
            arguments.scan,
            recipe,
            as_is=arguments.as_is,
            options_of_scan=scan_options_in(arguments),
            resources=resources,
            progress=progress,
        )
        progress("map", 0.0)
        done = work(data)
        progress("write", 0.0)
        files = write(done, folder)
    return data, done, files, started


def choice_lines(choice: Choice) -> Iterator[str]:
    """Yield the ranking of subsets of references, a line each."""
    yield f"{choice.n_tried} subsets of the references were tried; the best ones:"
    for subset in choice.ranking:
        words = [f"R factor {subset.r_factor:.2g}"]
        if np.isfinite(subset.reduced_chi_square):
            words.insert(0, f"chi-square {subset.reduced_chi_square:.3g}")
        if subset.negative > 0.1:
            words.append(f"negative in {subset.negative:.0%} of the pixels")
        yield f"  {subset.difference:8.1f}  {' + '.join(subset.names)} ({', '.join(words)})"
    yield from (f"note: {reason}" for reason in choice.reasons)
