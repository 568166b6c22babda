"""Profiles of particles, and spreads within them, against their stated errors: on the phantoms of particles.

    python benchmarks/chemistry_profiles.py [--set report] [--phantoms N] [--quick]

The truth is that of the map of the clean scan over the same pixels and shells, with the true thickness as
weights.  The set "report" takes its seed from the commit, so that nothing can be tuned on it.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import xarray as xr
from _common import print_table, save
from _random_scores import plain
from chemistry_particles import LEAST_PIXELS, N_PHANTOMS, denoised_phantoms, found_particles, grains
from random_scans import base_seed

from xanesum.errors import XanesumError
from xanesum.xanes import half_step_energy
from xanesum.xanes.particles.labels import Particles
from xanesum.xanes.particles.states import depth_px, measure_particles

LEAST_SHELL = 4  # px; a shell of fewer pixels is a point of no profile that anyone plots
WHAT = {
    "profile": "profiles of single particles",
    "depth_state": "profile of all particles",
    "depth_difference": "the same, less the mean of each particle",
    "spread": "spread within a particle",
}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three phantoms")
    parser.add_argument("--phantoms", type=int, default=N_PHANTOMS, metavar="N")
    parser.add_argument("--set", choices=("train", "report"), default="train")
    options = parser.parse_args()
    name = f"chemistry-profiles-{options.set}{'-quick' if options.quick else ''}"
    base, rows = base_seed(options.set), []
    for text, stack, result, clean in denoised_phantoms(3 if options.quick else options.phantoms, base):
        maps, truth = half_step_energy(result), half_step_energy(clean)
        for kind, particles in {"found": found_particles(result, maps), "given": grains(truth)}.items():
            try:
                found = measure_particles(result, particles, stack=stack, mapped=half_step_energy)
            except XanesumError as error:
                print(f"{text}; {kind}: {error}", flush=True)
                continue
            facts = {"scan": text, "labels": kind, "intervals_hold": found.attrs["intervals_hold"]}
            rows.append(plain(facts | scores(found, particles, maps, truth)))
        print(text, flush=True)
        save(name, rows, base=base)
    print_table(table(rows))


def scores(found: xr.Dataset, particles: Particles, maps: xr.Dataset, truth: xr.Dataset) -> Row:
    """Return measured and true values and stated errors of all points that are known."""
    true = true_statistics(particles.labels, maps, truth, found.sizes["depth"])
    row: Row = {}
    for name in WHAT:
        values, sigma = found[name].values, found[f"{name}_sigma"].values
        known = np.isfinite(values) & np.isfinite(sigma) & np.isfinite(true[name])
        if name == "spread":
            known &= found["n_mapped"].values >= LEAST_PIXELS
        else:
            pixels = "profile_pixels" if name == "profile" else "depth_pixels"
            known &= found[pixels].values >= LEAST_SHELL
        row[name] = {"value": values[known], "true": true[name][known], "sigma": sigma[known]}
        if name == "spread":
            row[name]["is real"] = found["spread_is_real"].values[known].astype(int)
            row[name]["upper"] = found["spread_upper"].values[known]
        row[name] = {key: np.asarray(each).tolist() for key, each in row[name].items()}
    return row


def true_statistics(
    labels: np.ndarray, maps: xr.Dataset, truth: xr.Dataset, n_shells: int
) -> dict[str, np.ndarray]:
    """Return the true profiles (N, D), the two over all whole particles (D,), and the true spread (N,)."""
    values, step = truth["half_step_energy_ev"].values, truth["edge_step"].values
    mapped = maps["mask"].values & (labels > 0)
    known = mapped & np.isfinite(values) & (step > 0)
    n = int(labels.max())
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    whole = ~np.isin(np.arange(1, n + 1), np.concatenate(edges))
    particle = labels[known] - 1
    shell = np.minimum(np.floor(np.maximum(depth_px(labels)[known] - 0.5, 0)).astype(int), n_shells - 1)
    value, weight = values[known], step[known]
    complete = np.bincount(particle, minlength=n) > 0.9 * np.bincount(labels[mapped] - 1, minlength=n)
    mean = _mean(value, weight, particle, n)
    beside = value - mean[particle]
    inside = whole[particle]
    profile = _mean(value, weight, particle * n_shells + shell, n * n_shells).reshape(n, n_shells)
    profile[~(whole & complete)] = np.nan
    all_shells = (
        _mean(each[inside], weight[inside], shell[inside], n_shells) if complete[whole].all() else np.nan
        for each in (value, beside)
    )
    state, difference = (np.broadcast_to(each, n_shells) for each in all_shells)
    spread = np.where(complete, np.sqrt(_mean(beside**2, weight, particle, n)), np.nan)
    return {"profile": profile, "depth_state": state, "depth_difference": difference, "spread": spread}


def _mean(values: np.ndarray, weights: np.ndarray, index: np.ndarray, n: int) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(index, values * weights, n) / np.bincount(index, weights, n)


def table(rows: list[Row]) -> list[Row]:
    """Return one line for each quantity, kind of labels, and what the program said of its errors."""
    lines = []
    for holds in (True, False):
        for labels in ("found", "given"):
            some = [row for row in rows if row["labels"] == labels and row["intervals_hold"] == holds]
            lines += [
                line(name, labels, holds, some) for name in WHAT if any(row[name]["value"] for row in some)
            ]
    return lines


def line(name: str, labels: str, holds: bool, rows: list[Row]) -> Row:
    """Return the line of the table for one quantity."""
    value, true, sigma = (
        np.array([each for row in rows for each in row[name][key]], float)
        for key in ("value", "true", "sigma")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (value - true) / sigma
    by_scan = [
        np.mean(
            np.abs(np.subtract(row[name]["value"], row[name]["true"])) <= 2 * np.array(row[name]["sigma"])
        )
        for row in rows
        if len(row[name]["value"]) > 4
    ]
    upper = np.array([each for row in rows for each in row[name].get("upper", [])], float)
    return {
        "what": WHAT[name],
        "particles": labels,
        "stated errors": "hold" if holds else "may not hold",
        "scans": str(sum(bool(row[name]["value"]) for row in rows)),
        "points": str(value.size),
        "within 1 error": f"{100 * np.mean(np.abs(scaled) <= 1):.1f} %",
        "within 2": f"{100 * np.mean(np.abs(scaled) <= 2):.1f} %",
        "too large by more than 2": f"{100 * np.mean(scaled > 2):.1f} %",
        "below the upper limit": f"{100 * np.mean(true <= upper):.1f} %" if upper.size else "",
        "worst scan, within 2": f"{100 * min(by_scan):.0f} %" if by_scan else "",
        "error, median (eV)": f"{np.median(np.abs(value - true)):.3f}",
        "stated, median (eV)": f"{np.median(sigma):.3f}",
    }


if __name__ == "__main__":
    main()
