"""Mean states of particles against their stated errors: on phantoms, and on scans drawn at random.

Particles are found in the result, as a user would find them, or given as labels. The truth is the mean of the
map of the clean scan over the same pixels, with the true thickness as weights. Phantoms of this file have
seeds on which nothing was tuned; random scans have the seed of the set that is named.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
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
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.result import Denoised
from xanesum.stack import usable_mask
from xanesum.xanes import half_step_energy
from xanesum.xanes.particle_labels import Particles, check_labels, find_particles
from xanesum.xanes.particles import measure_particles

KINDS = ("round", "catalyst", "electrode", "brine", "particle")
SEED = 20261  # of the phantoms; phantoms of seed 777 were looked at while the method was written
N_PHANTOMS, N_RANDOM = 20, 60
SIDES_PX, ENERGIES, SIGMAS = (110, 220), (40, 90), (25.0, 130.0)
LARGEST = 4e6  # values of a random scan
LEAST_PIXELS = 12
N_GRAINS, GRAIN_SEED = 25, 5  # cells of a sample whose labels know nothing of the noise
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four phantoms, four random scans")
    parser.add_argument("--phantoms", type=int, default=N_PHANTOMS, metavar="N")
    parser.add_argument("--random", type=int, default=N_RANDOM, metavar="N", help="random scans")
    parser.add_argument("--set", choices=("train", "report"), default="train", help="of the random scans")
    options = parser.parse_args()
    n_phantoms, n_random = (4, 4) if options.quick else (options.phantoms, options.random)
    name = f"chemistry-particles{'-quick' if options.quick else ''}"
    rows: list[Row] = []
    for found in chain(phantoms(n_phantoms), random_scans(n_random, base_seed(options.set))):
        rows += found
        save(name, rows, tables=tables(rows))
    for title, table in tables(rows).items():
        print(f"\n{title}\n")
        print_table(table)


def phantoms(n: int) -> Iterator[list[Row]]:
    """Yield the rows of n phantoms."""
    for index in range(n):
        rng = np.random.default_rng([SEED, index])
        kind, sigma = KINDS[index % len(KINDS)], float(np.exp(rng.uniform(*np.log(SIGMAS))))
        shape = (int(rng.integers(*SIDES_PX)), int(rng.integers(*SIDES_PX)))
        phantom = simulate(kind, shape=shape, n_energies=int(rng.integers(*ENERGIES)), rng=rng)
        stack = phantom.noisy(sigma, rng=rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XanesumWarning)
            result = denoise(stack)
        text = f"{kind}, {shape[0]} x {shape[1]} px, {len(stack)} energies, sigma {sigma:.0f}"
        yield judged("phantoms", text, stack, result, phantom.clean())


def random_scans(n: int, base: int) -> Iterator[list[Row]]:
    """Yield the rows of n random scans that are small enough, and have several species."""
    labels = (draw_label(base, index) for index in range(100 * n))
    chosen = (label for label in labels if label["values"] <= LARGEST and label["species"] > 1)
    for _, label in zip(range(n), chosen, strict=False):
        scan = draw_scan(label)
        outcome = run_program(scan)
        if outcome.stack is None or outcome.result is None:
            continue
        yield judged("random scans", describe(label), outcome.stack, outcome.result, scan.clean)


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
            found = measure_particles(result, particles, stack=measured, mapped=half_step_energy)
            facts = {"set": set_name, "scan": text, "labels": kind, "means of": source}
            facts |= {"intervals_hold": result.intervals_hold, "seconds": time.perf_counter() - began}
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
    """Return one table: coverage by set and way."""
    table = []
    groups = dict.fromkeys((row["set"], row["labels"], row["means of"]) for row in rows)
    for group in groups:
        chosen = [
            row
            for row in rows
            if (row["set"], row["labels"], row["means of"]) == group and row["intervals_hold"]
        ]
        error, sigma, relative, of_relative, alone = (
            np.array([value for row in chosen for value in row[name]], float)
            for name in ("error", "sigma", "error relative", "sigma relative", "independent")
        )
        if error.size:
            of = "the scan" if group[2] == "scan at hand" else "the denoised images"
            table.append(
                {
                    "scans": f"{len(chosen)} {group[0]}",
                    "particles": f"{error.size} {group[1]}",
                    "means of": of,
                    "within 1 error": share(error / sigma, 1.0),
                    "within 2 errors": share(error / sigma, 2.0),
                    "among each other: within 2": share(relative / of_relative, 2.0),
                    "if pixels were independent: within 2": share(error / alone, 2.0),
                    "error, median (eV)": f"{np.median(np.abs(error)):.3f}",
                    "stated, median (eV)": f"{np.median(sigma):.3f}",
                }
            )
    return {"Particles: mean half-step energies within their stated errors": table}


def share(scaled: np.ndarray, limit: float) -> str:
    known = scaled[np.isfinite(scaled)]
    return f"{100 * np.mean(np.abs(known) < limit):.1f} %" if known.size else ""


if __name__ == "__main__":
    main()
