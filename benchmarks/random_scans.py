"""Scans drawn at random, run as a user would, and compared with their truth.

``python benchmarks/random_scans.py`` draws 300 scans (``--quick``: 40), see `_random_scenes`.  Each is
prepared, corrected for drift, denoised, mapped and examined.  Its map is compared with that of the clean
stack, with the map that the true spectra would give, and with that of the same scan without drift.  The
tables say how often the stated errors are true, and what the program says where they are not.

The set "train" has a fixed seed.  The set "report" takes its seed from the commit, so that nothing can be
tuned to it.  Small scans come first, and rows are saved as they come; ``--resume`` continues.  ``--noise``
counts false alarms in scans of one species instead.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import xarray as xr
from _common import commit, load, print_table, save
from _random_scenes import Label, Scan, describe, draw_label, draw_scan, prepared
from _random_scores import (
    beside_background,
    common_rmse,
    detectability,
    map_scores,
    near_borders,
    particle_scores,
    plain,
    singular,
)
from _random_tables import tables
from numpy.typing import NDArray

from xanesum import Denoised, denoise, half_step_energy, white_line
from xanesum.denoisers import DEFAULT_DENOISER, get_denoiser
from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.method.intake import pose_problem, prepare_stack
from xanesum.method.labelling import label as labelled
from xanesum.method.noise_model import measure_noise
from xanesum.method.options import Options
from xanesum.method.problem import Level
from xanesum.method.sum_plus import refine
from xanesum.noise.variance import CountVariance
from xanesum.stack import usable_weight
from xanesum.streaming.resources import DEFAULT_RESOURCES

TRAIN_BASE = 20260  # seed of the set "train"
NOISE_BASE = 90_000  # added for scans with noise alone
HASH_DIGITS = 7  # of the commit, for the seed of the set "report"
N_SCANS, N_QUICK, N_NOISE = 300, 40, 200
MISSED = 1.5  # map error over that with true spectra beyond which chemistry was missed
LEAST_SINGULAR, MOST_SPECTRA = 1e-4, 6  # of the clean stack's spectra, relative to the first; at most
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # set for processes side by side
MAPS = {"half step": half_step_energy, "white line": white_line}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=("train", "report"), default="train")
    parser.add_argument("--scans", type=int, help="number of scans that are drawn")
    parser.add_argument("--quick", action="store_true", help=f"{N_QUICK} scans")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--only", metavar="KIND", help="scans with this word in their label, such as counted")
    parser.add_argument("--index", type=int, metavar="I", help="this scan alone; it is printed, not saved")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes side by side")
    parser.add_argument("--largest", type=float, default=np.inf, metavar="M", help="million values, at most")
    parser.add_argument("--noise", action="store_true", help="false alarms instead")
    options = parser.parse_args()
    name = f"random-{'noise' if options.noise else 'scans'}-{options.set}{'-quick' if options.quick else ''}"
    rows = load(name) if options.resume else []
    base = rows[0]["label"]["base"] if rows else base_seed(options.set) + NOISE_BASE * options.noise
    if options.index is not None:
        print(judged(draw_label(base, options.index, noise_alone=options.noise)))
        return
    n_scans = options.scans or (N_QUICK if options.quick else N_NOISE if options.noise else N_SCANS)
    labels = [draw_label(base, index, noise_alone=options.noise) for index in range(n_scans)]
    done = {row["label"]["index"] for row in rows}
    labels = [
        label for label in sorted(labels, key=lambda label: label["values"]) if fits(label, options, done)
    ]
    judge = false_alarms if options.noise else judged
    for row in mapped(judge, labels, options.jobs):
        rows.append({"commit": commit(), **row})
        print(f"{len(rows)}: {row['label']['index']} {row['description']}\n   {brief(row)}", flush=True)
        save(name, rows, base=base, tables=tables(rows))
    for title, table in tables(rows).items():
        print(f"\n{title}\n")
        print_table(table)


def base_seed(which: str) -> int:
    """Return the seed of a set of scans."""
    if which == "train":
        return TRAIN_BASE
    if not commit():
        raise SystemExit("the set report takes its seed from the commit: run it in a checkout of git")
    return int(commit()[:HASH_DIGITS], 16)


def fits(label: Label, options: argparse.Namespace, done: set[int]) -> bool:
    """Whether this scan was asked for and is not done."""
    wanted = options.only is None or options.only in map(str, label.values())
    return wanted and label["values"] <= options.largest * 1e6 and label["index"] not in done


def mapped(judge: Callable[[Label], Row], labels: list[Label], jobs: int) -> Iterator[Row]:
    """Yield a row for each label, in processes of one thread each if there are several."""
    if jobs <= 1:
        yield from map(judge, labels)
        return
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # read by the new processes
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as processes:
        yield from processes.map(judge, labels)


def brief(row: Row) -> str:
    """Return the most important figures of a scan in one line."""
    names = ("rank", "rmse (eV)", "over true spectra", "over no drift", "within 68 %", "within 95 %")
    cells = [f"{name} {row[name]:.3g}" for name in names if row.get(name) is not None]
    failed = [f"no map: {row['failed']}"] if row["failed"] else []
    return ", ".join([*cells, *failed, f"said {row['said']}", f"{row['seconds']['all']:.0f} s"])


# --- one scan, as a user would run it


@dataclass(slots=True)
class Outcome:
    """What the program says about a scan."""

    stack: xr.DataArray | None = None  # that was denoised
    result: Denoised | None = None
    report: Any = None  # of the residual
    maps: dict[str, xr.Dataset] = field(default_factory=dict)  # by kind
    problems: dict[str, str] = field(default_factory=dict)  # why there is no map of a kind
    drift: float = 0.0  # rms of what was removed
    failed: str = ""
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


def run_program(scan: Scan, *, steady: bool = False, correct: bool = True, examine: bool = True) -> Outcome:
    """Do what `xanesum run` does; an exception is recorded."""
    outcome = Outcome()

    def timed(step: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return call()
        finally:
            outcome.seconds[step] = round(time.perf_counter() - began, 3)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", XanesumWarning)
        try:
            stack = timed("prepare", lambda: prepared(scan, steady=steady))
            if correct:
                stack, drift = timed("drift", lambda: correct_flat_drift(stack))
                outcome.drift = 0.0 if drift is None else float(drift.rms)
            outcome.stack, outcome.result = stack, timed("denoise", lambda: denoise(stack))
            if examine:
                outcome.report = timed("trust", lambda: examine_residual(stack, outcome.result))
            outcome.maps, outcome.problems = timed("map", lambda: maps_of(outcome.result))
        except Exception as error:  # whatever happens to one scan, the others are judged
            outcome.failed = f"{type(error).__name__}: {error}"
    messages = (str(each.message) for each in heard if issubclass(each.category, XanesumWarning))
    outcome.warnings = tuple(dict.fromkeys(messages))
    return outcome


def maps_of(data: Denoised | xr.DataArray) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """Return the maps that can be made, and the reasons against the others, by kind."""
    maps, problems = {}, {}
    for kind, function in MAPS.items():
        try:
            maps[kind] = function(data)
        except XanesumError as error:
            problems[kind] = f"{type(error).__name__}: {error}"
    return maps, problems


def with_true_spectra(scan: Scan) -> xr.Dataset | None:
    """Return the map of the same scan without drift, denoised with the spectra of its clean stack."""
    stack, rng = prepared(scan, steady=True), np.random.default_rng(0)
    used, denoiser = usable_weight(stack), get_denoiser(DEFAULT_DENOISER)
    options, energy_ev = Options(), stack.energy.values[used].astype(float)
    with warnings.catch_warnings(), DEFAULT_RESOURCES.executor() as executor:
        warnings.simplefilter("ignore", XanesumWarning)
        ready = prepare_stack(stack, DEFAULT_RESOURCES, executor, rng=rng, progress=quiet)
        problem = pose_problem(ready, energy_ev, denoiser, options, rng=rng, progress=quiet)
        flat_field = bool(stack.attrs.get("flat_field", False))
        model = measure_noise(problem, divided_by_flat=flat_field, law=law_of(stack))
        mask = problem.coarse.mask
        clean = Level(scan.clean.values[used] * mask, mask, problem.coarse.sigma)
        spectra = spectra_of(model.whiten(problem.on_one_level(clean)).coarse.stack)
        whitened = model.whiten(problem)
        fit = refine(whitened, spectra, without=("refit",))
        levels = model.levels(whitened, fit)
        result = labelled(stack, model.unwhiten(fit, whitened.full), levels, {})
    return maps_of(result)[0].get("half step")


def quiet(step: str, share: float) -> None:
    """Say nothing about the progress."""


def law_of(stack: xr.DataArray) -> CountVariance | None:
    """Return the law of the counts of a prepared stack, where its flats gave one."""
    names = ("noise_gain", "noise_read_variance", "light", "light_energy")
    if not set(names) <= set(stack.coords):
        return None
    gain, read, light, of_energy = (stack[name].values.astype(float) for name in names)
    used = usable_weight(stack)
    below = float(stack.attrs.get("linear_below", 0.0))
    return CountVariance(gain[used], read[used], light, of_energy[used], below)


def spectra_of(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the orthonormal spectra (K, E) that hold a clean stack."""
    size, vectors = singular(values.reshape(len(values), -1))
    n = int(np.count_nonzero(size[:MOST_SPECTRA] > LEAST_SINGULAR * size[0]))
    return vectors[:, :n].T


# --- the figures of a scan


def judged(label: Label) -> Row:
    """Return the figures of one scan."""
    began = time.perf_counter()
    scan = draw_scan(label)
    truth, outcome, border = maps_of(scan.clean)[0], run_program(scan), near_borders(scan)
    row: Row = {"label": label, "description": describe(label), **detectability(scan), **said(outcome)}
    wanted = next(iter(truth), None)  # the kind of map that a user would get
    row["failed"] = row["failed"] or outcome.problems.get(wanted, "")
    for kind in (each for each in truth if each in outcome.maps):
        scores = map_scores(outcome.maps[kind], truth[kind], kind, border)
        row |= scores if kind == "half step" else {f"{kind}: {key}": value for key, value in scores.items()}
    row["has half step"] = "half step" in truth
    if not row["failed"] and row.get("share mapped") == 0:
        row["failed"] = "no pixel was mapped"
    if row["has half step"]:
        row |= comparisons(scan, outcome, truth["half step"])
        if scan.particle is not None and "half step" in outcome.maps:
            row |= particle_scores(outcome.maps["half step"], truth["half step"], scan.particle)
    row["seconds"] = outcome.seconds | {"all": round(time.perf_counter() - began, 1)}
    return plain(row)


def false_alarms(label: Label) -> Row:
    """Return what the program finds in a scan of one species."""
    began = time.perf_counter()
    scan = draw_scan(label)
    outcome = run_program(scan)
    row: Row = {"label": label, "description": describe(label), **said(outcome)}
    row |= dict.fromkeys(("components", "false components"))
    if outcome.result is not None:
        found = outcome.result.spectra.values[: outcome.result.rank]
        row |= {
            "components": len(found),
            "false components": beside_background(found, spectra_of(scan.clean.values)),
        }
    row["seconds"] = outcome.seconds | {"all": round(time.perf_counter() - began, 1)}
    return plain(row)


def said(outcome: Outcome) -> Row:
    """Return what the program says about its own result."""
    row: Row = {"failed": outcome.failed, "warnings": list(outcome.warnings), "drift removed": outcome.drift}
    if outcome.result is None or outcome.report is None:
        return row | {"said": bool(outcome.failed)}
    report, sources = outcome.report, (outcome.report, outcome.result)
    hold, reasons = (
        next((value for each in sources if (value := getattr(each, name, None)) is not None), None)
        for name in ("intervals_hold", "reasons")
    )
    return row | {
        "rank": outcome.result.rank,
        "sigma": outcome.result.sigma,
        "noise": outcome.result.provenance.get("noise"),
        "notes": list(report.notes),
        "intervals_hold": hold,
        "reasons": None if reasons is None else [str(reason) for reason in reasons],
        "said": bool(report.notes) if hold is None else not hold,
        "lost": report.lost.found,
        "lost place": report.lost.place if report.lost.found else None,
        "white": report.whiteness.is_white,
        "size": report.size,
    }


def comparisons(scan: Scan, outcome: Outcome, truth: xr.Dataset) -> Row:
    """Return the map error beside that with true spectra, without drift, without correction, with known e0.

    Of one species, the true spectrum is the true map, and there is nothing to compare with.
    """
    row: Row = {}
    ours = outcome.maps.get("half step")
    others: dict[str, xr.Dataset | None] = {}
    if scan.label["species"] > 1:
        try:
            others["true spectra"] = with_true_spectra(scan)
        except Exception as error:  # as above
            row["true spectra failed"] = f"{type(error).__name__}: {error}"
    if scan.steady is not None:
        others["no drift"] = run_program(scan, steady=True, examine=False).maps.get("half step")
    elif outcome.drift:
        others["no correction"] = run_program(scan, correct=False, examine=False).maps.get("half step")
    if ours is not None:
        e0_ev = truth.attrs["e0_ev"]
        others["e0 known"] = half_step_energy(outcome.result, e0_ev=e0_ev)
        known = map_scores(others["e0 known"], truth, "half step", near_borders(scan))
        row |= {f"e0 known: {name}": known[name] for name in ("within 68 %", "within 95 %")}
        row["e0 off (eV)"] = ours.attrs["e0_ev"] - e0_ev
    for name, other in others.items():
        error, theirs = common_rmse(ours, other, truth)
        row[f"rmse, {name} (eV)"] = theirs
        row[f"over {name}"] = error / theirs if error is not None and theirs else None
    ratio = row.get("over true spectra")
    row["missed"] = None if ratio is None else ratio > MISSED
    return row


if __name__ == "__main__":
    main()
