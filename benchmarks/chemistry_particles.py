"""Mean states of particles against their stated errors: on phantoms, and on scans drawn at random.

Particles are found in the result, as a user would find them, or given as labels. The truth is the mean of the
map of the clean scan over the same pixels, with the true thickness as weights. The set "report" takes its
seed from the commit, so that nothing can be tuned on it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import xarray as xr
from _common import print_table, save
from _random_scenes import describe, draw_label, draw_scan
from _random_scores import plain
from random_scans import base_seed, run_program
from scipy.spatial import cKDTree

from xanesum import denoise, simulate
from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.result import Denoised
from xanesum.stack import usable_mask
from xanesum.xanes import half_step_energy
from xanesum.xanes.particles.labels import Particles, check_labels, find_particles
from xanesum.xanes.particles.states import DEFAULT_DRAWS, measure_particles

KINDS = ("round", "catalyst", "electrode", "brine", "particle")
N_PHANTOMS, N_RANDOM = 20, 25
SIDES_PX, ENERGIES, SIGMAS = (110, 220), (40, 90), (25.0, 130.0)
LARGEST = 2e6  # values of a random scan
LEAST_PIXELS = 12
N_GRAINS, GRAIN_SEED = 25, 5  # cells of a sample whose labels know nothing of the noise
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four phantoms, four random scans")
    parser.add_argument("--phantoms", type=int, default=N_PHANTOMS, metavar="N")
    parser.add_argument("--random", type=int, default=N_RANDOM, metavar="N", help="random scans")
    parser.add_argument("--set", choices=("train", "report"), default="train")
    options = parser.parse_args()
    n_phantoms, n_random = (4, 4) if options.quick else (options.phantoms, options.random)
    name = f"chemistry-particles-{options.set}{'-quick' if options.quick else ''}"
    base, rows = base_seed(options.set), []
    for found in chain(phantoms(n_phantoms, base), random_scans(n_random, base)):
        rows += found
        save(name, rows, base=base, tables=tables(rows))
    for title, table in tables(rows).items():
        print(f"\n{title}\n")
        print_table(table)


def phantoms(n: int, base: int) -> Iterator[list[Row]]:
    """Yield the rows of n phantoms."""
    for text, stack, result, clean in denoised_phantoms(n, base):
        yield judged("phantoms", text, stack, result, clean)


def denoised_phantoms(n: int, base: int) -> Iterator[tuple[str, xr.DataArray, Denoised, xr.DataArray]]:
    """Yield a description, the scan, its result, and the scan without noise, of n phantoms."""
    for index in range(n):
        rng = np.random.default_rng([base, index])
        kind, sigma = KINDS[index % len(KINDS)], float(np.exp(rng.uniform(*np.log(SIGMAS))))
        shape = (int(rng.integers(*SIDES_PX)), int(rng.integers(*SIDES_PX)))
        phantom = simulate(kind, shape=shape, n_energies=int(rng.integers(*ENERGIES)), rng=rng)
        stack = phantom.noisy(sigma, rng=rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XanesumWarning)
            result = denoise(stack)
            result = replace(result, reasons=examine_residual(stack, result).reasons)
        text = f"{kind}, {shape[0]} x {shape[1]} px, {len(stack)} energies, sigma {sigma:.0f}"
        yield text, stack, result, phantom.clean()


def random_scans(n: int, base: int) -> Iterator[list[Row]]:
    """Yield the rows of n random scans that are small enough, and have several species."""
    labels = (draw_label(base, index) for index in range(100 * n))
    chosen = (label for label in labels if label["values"] <= LARGEST and label["species"] > 1)
    for _, label in zip(range(n), chosen, strict=False):
        scan = draw_scan(label)
        outcome = run_program(scan)
        if outcome.stack is None or outcome.result is None or outcome.report is None:
            print(f"{describe(label)}: {outcome.failed}", flush=True)
            continue
        result = replace(outcome.result, reasons=outcome.report.reasons)
        yield judged("random scans", describe(label), outcome.stack, result, scan.clean)


def judged(set_name: str, text: str, stack: xr.DataArray, result: Denoised, clean: xr.DataArray) -> list[Row]:
    """Return true and stated errors of the particles of one scan: with the scan at hand, and without."""
    rows: list[Row] = []
    try:
        maps, truth = half_step_energy(result), half_step_energy(clean)
        ways = {"found": found_particles(result, maps), "given": grains(truth)}
    except XanesumError as error:
        print(f"{text}: {error}", flush=True)
        return []
    for kind, particles in ways.items():
        for source, measured in (("scan at hand", stack), ("result alone", None))[: 1 + (kind == "found")]:
            began = time.perf_counter()
            try:
                found = measure_particles(result, particles, stack=measured, mapped=half_step_energy)
            except XanesumError as error:
                print(f"{text}; {kind}; {source}: {error}", flush=True)
                continue
            facts = {"set": set_name, "scan": text, "labels": kind, "means of": source}
            facts |= {"intervals_hold": result.intervals_hold and found.attrs["n_draws"] == DEFAULT_DRAWS}
            facts |= {"reasons": list(result.reasons), "seconds": time.perf_counter() - began}
            rows.append(plain(facts | scores(found, particles, maps, truth)))
            z = np.array(rows[-1]["error"], float) / np.array(rows[-1]["sigma"], float)
            size = np.sqrt(np.mean(z**2)) if z.size else np.nan
            print(
                f"{text}; {kind}; {source}: {z.size} particles, rms of error / stated {size:.2f}", flush=True
            )
    return rows


def found_particles(result: Denoised, maps: xr.Dataset) -> Particles:
    """Return the particles that a user would find."""
    usable, has_edge = usable_mask(result.coefficients), maps["mask"].values
    return find_particles(maps["edge_step"].values, usable, has_edge=has_edge, min_pixels=LEAST_PIXELS)


def grains(truth: xr.Dataset) -> Particles:
    """Return labels that know nothing of the noise: the sample in cells around random points."""
    sample = truth["mask"].values
    rng = np.random.default_rng(GRAIN_SEED)
    places = np.argwhere(sample)
    cells = places[rng.choice(len(places), min(N_GRAINS, len(places)), replace=False)]
    nearest = cKDTree(cells).query(np.argwhere(np.ones(sample.shape, bool)))[1].reshape(sample.shape) + 1
    return check_labels(np.where(sample, nearest, 0), sample.shape)


def scores(found: xr.Dataset, particles: Particles, maps: xr.Dataset, truth: xr.Dataset) -> Row:
    """Return the true and the stated errors of all particles whose truth is known."""
    true, known = true_means(particles.labels, maps, truth, len(found["particle"]))
    known &= np.isfinite(found["state"].values)
    error = found["state"].values - true
    of_all = np.average(error[known], weights=found["n_mapped"].values[known]) if known.any() else 0.0
    return {
        "pixels": found["n_mapped"].values[known].tolist(),
        "error": error[known].tolist(),
        "sigma": found["state_sigma"].values[known].tolist(),
        "error relative": (error[known] - of_all).tolist(),
        "sigma relative": found["state_sigma_relative"].values[known].tolist(),
        "independent": independent_error(particles.labels, maps)[known].tolist(),
    }


def true_means(
    labels: np.ndarray, maps: xr.Dataset, truth: xr.Dataset, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the true mean state of each particle, and where it is known for nearly all of its pixels."""
    values, step = truth["half_step_energy_ev"].values, truth["edge_step"].values
    mapped = maps["mask"].values & (labels > 0)
    known = mapped & np.isfinite(values) & (step > 0)
    count = np.bincount(labels[known], step[known], n + 1)[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(labels[known], step[known] * values[known], n + 1)[1:] / count
    n_mapped, n_known = (np.bincount(labels[where], minlength=n + 1)[1:] for where in (mapped, known))
    return means, (n_known > 0.9 * n_mapped) & (n_mapped >= LEAST_PIXELS // 2)


def independent_error(labels: np.ndarray, maps: xr.Dataset) -> np.ndarray:
    """Return what the errors of means would be if the errors of pixels were independent."""
    inside = (labels > 0) & maps["mask"].values
    squares = np.bincount(labels[inside], maps["half_step_sigma_ev"].values[inside] ** 2, labels.max() + 1)[
        1:
    ]
    counts = np.maximum(np.bincount(labels[inside], minlength=labels.max() + 1)[1:], 1)
    return np.sqrt(squares) / counts


def tables(rows: list[Row]) -> dict[str, list[Row]]:
    """Return one table: coverage by set and way, where errors are said to hold, and where not."""
    groups = dict.fromkeys(map(group_of, rows))
    chosen = {
        group: [row for row in rows if group_of(row) == group and row["error"]] for group in sorted(groups)
    }
    table = [line(group, members) for group, members in chosen.items() if members]
    return {"Particles: mean half-step energies within their stated errors": table}


def group_of(row: Row) -> tuple[str, str, str, str]:
    said = "hold" if row["intervals_hold"] else "may not hold"
    return row["set"], said, row["labels"], row["means of"]


def line(group: tuple[str, str, str, str], chosen: list[Row]) -> Row:
    """Return the line of the table for some scans."""
    error, sigma, relative, of_relative, alone = (
        np.array([value for row in chosen for value in row[name]], float)
        for name in ("error", "sigma", "error relative", "sigma relative", "independent")
    )
    inside = [
        np.mean(np.abs(np.divide(row["error"], row["sigma"])) < 2) for row in chosen if len(row["error"]) > 9
    ]
    return {
        "scans": f"{len(chosen)} {group[0]}",
        "stated errors": group[1],
        "particles": f"{error.size} {group[2]}",
        "means of": "the scan" if group[3] == "scan at hand" else "the denoised images",
        "within 1 error": share(error / sigma, 1.0),
        "within 2": share(error / sigma, 2.0),
        "worst scan of 10 or more": f"{100 * min(inside):.0f} %" if inside else "",
        "among each other, within 2": share(relative / of_relative, 2.0),
        "if pixels were independent, within 2": share(error / alone, 2.0),
        "largest error / stated": f"{np.nanmax(np.abs(error / sigma)):.1f}",
        "error, median (eV)": f"{np.median(np.abs(error)):.3f}",
        "stated, median (eV)": f"{np.median(sigma):.3f}",
    }


def share(scaled: np.ndarray, limit: float) -> str:
    known = scaled[np.isfinite(scaled)]
    return f"{100 * np.mean(np.abs(known) < limit):.1f} %" if known.size else ""


if __name__ == "__main__":
    main()
