"""Map and frames of `sum+` against true spectra, `sum` and SVD at their best K, and an earlier chain.

``python benchmarks/subspace.py`` runs all six phantoms at 256 x 320 x 150 and *particle* at full size, sigma
10, 30, 60, 100, 150, 3 seeds of the noise, and prints medians.  The noise level is given.  "true spectra" has
the five spectra of the clean stack, and denoiser and weights of `sum+`.  SVD and `sum` take, for each figure
separately, the K from 1 to 8 that is best by the truth.  ``--earlier FOLDER`` adds the chain of ``chain.py``
there; ``--resume`` continues an interrupted run.  ``--ablation`` has a row for each stage that is left
out; ``--grid`` compares the error with that of fixed scales, K and smoothing; ``--cost`` times `sum+` against
`sum`; these run at fewer cells.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from _common import commit, load, print_table, processor, save
from numpy.typing import NDArray
from quality import Truth, frames

from xanesum import denoise, simulate
from xanesum.denoisers import DEFAULT_DENOISER, exact_form, get_denoiser
from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import fit_basis
from xanesum.method import labelling
from xanesum.method.fit import Fit
from xanesum.method.noise_model import NoiseLevels
from xanesum.method.options import STAGES
from xanesum.method.problem import Problem
from xanesum.method.sum_plus import refine
from xanesum.phantom import KINDS, Phantom
from xanesum.result import Denoised

SIGMAS = (10.0, 30.0, 60.0, 100.0, 150.0)
SMALL = {"shape": (256, 320), "n_energies": 150}
FULL = {"shape": (379, 520), "n_energies": 969}
BEST_OF = 8  # K tried for SVD and `sum`
N_TRUE = 5  # spectra of the phantoms
FIRST_SEED = 3000  # of the noise
FIGURES = ("PSNR (dB)", "correlation", "RMSE (eV)")
TRUE, OURS, SUM, SVD, EARLIER = "true spectra", "sum+", "sum, best K", "SVD, best K", "earlier chain"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two phantoms, two sigmas, one seed, no full size"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-full", action="store_true", help="without the phantom at full size")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--earlier", type=Path, metavar="FOLDER")
    for part in ("ablation", "grid", "cost"):
        parser.add_argument(f"--{part}", action="store_true", help="this instead of the large table")
    options = parser.parse_args()
    if options.grid:
        grid(options)
    elif options.cost:
        cost(options)
    else:
        table(options)


# --- the large table


def table(options: argparse.Namespace) -> None:
    """Score all methods, or all that `sum+` is without a stage, on all cells."""
    name = "subspace" + ("-ablation" if options.ablation else "") + ("-quick" if options.quick else "")
    seeds = 1 if options.quick else options.seeds
    methods = dict(ablations() if options.ablation else rivals(options.earlier))
    rows: list[Row] = load(name) if options.resume else []
    done = {(row["phantom"], row["sigma"]) for row in rows}
    for label, phantom, sigma in cells(options):
        if (label, sigma) in done:
            continue
        truth = Truth(phantom)
        found: dict[str, list[Row]] = {}
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            noisy = phantom.noisy(sigma, rng=np.random.default_rng(seed))
            for method, run in methods.items():
                found.setdefault(method, []).append(run(noisy, sigma, truth))
        for method, runs in found.items():
            taken = {"commit": commit(), "processor": processor()}
            rows.append({**taken, "phantom": label, "sigma": sigma, "method": method, **medians(runs)})
            print(rows[-1], flush=True)
        save(name, rows, seeds=seeds, summary=summary(rows))
    print_table(summary(rows))


def cells(options: argparse.Namespace) -> Iterator[tuple[str, Phantom, float]]:
    """Yield label, phantom and sigma."""
    kinds, sigmas = (KINDS[::3], (10.0, 150.0)) if options.quick else (KINDS, SIGMAS)
    if options.ablation:
        sigmas = (10.0, 60.0, 150.0)
    sizes = [(kind, kind, SMALL) for kind in kinds]
    if not (options.quick or options.no_full or options.ablation):
        sizes.append(("particle, full size", "particle", FULL))
    for label, kind, size in sizes:
        phantom = simulate(kind, **size)
        for sigma in sigmas:
            yield label, phantom, sigma


def rivals(earlier: Path | None) -> Iterator[tuple[str, Callable[..., Row]]]:
    yield TRUE, with_true_spectra
    yield OURS, lambda noisy, sigma, truth: scored(denoise(noisy, sigma=sigma), truth)
    yield SUM, lambda noisy, sigma, truth: at_best_rank(noisy, sigma, truth, DEFAULT_DENOISER)
    yield SVD, lambda noisy, sigma, truth: at_best_rank(noisy, sigma, truth, "none")
    if earlier:
        sys.path.insert(0, str(earlier.resolve()))
        chain = importlib.import_module("chain")
        weights = chain.load(earlier / "network.npz")

        def run(noisy: xr.DataArray, sigma: float, truth: Truth) -> Row:
            spectra, images, weight = chain.denoise(noisy.values, sigma, weights)
            return scored(as_result(noisy, sigma, spectra.astype(float), images, weight > 0), truth)

        yield EARLIER, run


def ablations() -> Iterator[tuple[str, Callable[..., Row]]]:
    yield TRUE, with_true_spectra
    for stage in (None, *STAGES):
        without = () if stage is None else (stage,)
        yield (
            f"without {stage}" if stage else OURS,
            lambda noisy, sigma, truth, without=without: scored(
                denoise(noisy, sigma=sigma, without=without), truth
            ),
        )


def with_true_spectra(noisy: xr.DataArray, sigma: float, truth: Truth) -> Row:
    """Score the result of the denoiser and weights of `sum+` on the images of the true spectra."""
    clean = truth.phantom.clean().values
    spectra = fit_basis(clean, N_TRUE, rng=np.random.default_rng(0)).spectra
    fit = refine(problem_of(noisy, sigma), spectra, without=("refit",))
    return scored(labelled(noisy, fit, sigma), truth)


def at_best_rank(noisy: xr.DataArray, sigma: float, truth: Truth, denoiser: str) -> Row:
    """Score the paper's method at the K that the truth would choose, for each figure separately."""
    result = denoise(noisy, method="sum", denoiser=denoiser, rank=BEST_OF, n_probes=1, sigma=sigma)
    rows = [scored(result.truncated(k), truth) for k in range(1, BEST_OF + 1)]
    best = {figure: max(rows, key=lambda row, figure=figure: row[figure]) for figure in FIGURES[:2]}
    least = min(rows, key=lambda row: row[FIGURES[2]])
    return {
        "K": best["PSNR (dB)"]["K"],
        **{figure: row[figure] for figure, row in best.items()},
        FIGURES[2]: least[FIGURES[2]],
    }


def problem_of(noisy: xr.DataArray, sigma: float) -> Problem:
    """Return what `sum+` would work on."""
    images = exact_form(get_denoiser(DEFAULT_DENOISER))
    return Problem.with_one_level(
        noisy.values,
        noisy.energy.values,
        mask=np.ones(noisy.shape[1:], bool),
        sigma=sigma,
        denoise_at=lambda k_images, level, mask: images.denoise(k_images, level, mask=mask),
        rng=np.random.default_rng(0),
    )


def labelled(noisy: xr.DataArray, fit: Fit, sigma: float) -> Denoised:
    """Return a fit as a result, with the same noise level at every energy."""
    return labelling.label(noisy, fit, NoiseLevels(sigma, np.full(len(noisy), sigma)), {})


def as_result(
    noisy: xr.DataArray,
    sigma: float,
    spectra: NDArray[np.float64],
    images: NDArray[np.float32],
    alive: NDArray[np.bool_],
) -> Denoised:
    """Return factors that were made elsewhere as a result, whose errors are not known."""
    fit = refine(problem_of(noisy, sigma), spectra[alive][:1], without=("refit", "weights"))
    unknown = {name: np.full(int(alive.sum()), np.nan) for name in fit.components}
    errors = np.full_like(images[alive], np.nan)
    whole = Fit(spectra[alive], images[alive], errors, fit.risk, unknown, int(alive.sum()))
    return labelled(noisy, whole, sigma)


def scored(result: Denoised, truth: Truth) -> Row:
    return {"K": result.rank, **truth.figures(result, frames(result))}


def medians(runs: list[Row]) -> Row:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def summary(rows: list[Row]) -> list[Row]:
    """Return for each method how its error of the map and its frames compare with those of true spectra."""
    by_cell: dict[tuple[str, float], dict[str, Row]] = {}
    for row in rows:
        by_cell.setdefault((row["phantom"], row["sigma"]), {})[row["method"]] = row
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        pairs = [(cell[method], cell[TRUE], cell) for cell in by_cell.values() if method in cell]
        error = {row["sigma"]: [] for row in rows}
        for ours, true, _ in pairs:
            error[ours["sigma"]].append(ours["RMSE (eV)"] / true["RMSE (eV)"])
        frames_db = [ours["PSNR (dB)"] - true["PSNR (dB)"] for ours, true, _ in pairs]
        line = {
            "method": method,
            "map error, to sigma 100: worst": max(max(v) for s, v in error.items() if s <= 100),
            "map error, sigma 150: worst": max(error.get(150.0) or [0]),
            "map error, mean": statistics.mean(ratio for values in error.values() for ratio in values),
            "frames (dB): mean": statistics.mean(frames_db),
            "frames (dB): worst": min(frames_db),
        }
        for other in (SUM, SVD, EARLIER):
            if all(other in cell for _, _, cell in pairs):
                differences = [ours["PSNR (dB)"] - cell[other]["PSNR (dB)"] for ours, _, cell in pairs]
                line[f"frames over {other}: worst"] = min(differences)
        if all(EARLIER in cell for _, _, cell in pairs):
            line["map error beside earlier chain: worst"] = max(
                ours["RMSE (eV)"] / cell[EARLIER]["RMSE (eV)"] for ours, _, cell in pairs
            )
        lines.append(line)
    return lines


# --- fixed settings, and cost


def grid(options: argparse.Namespace) -> None:
    """Compare the squared error of `sum+` with the least over fixed scales, K and smoothing."""
    phantom = simulate("particle", **SMALL)
    clean = phantom.clean().values
    seeds, sigmas = (1, (60.0,)) if options.quick else (10, (10.0, 60.0, 150.0))
    name = "subspace-grid" + ("-quick" if options.quick else "")
    rows: list[Row] = load(name) if options.resume else []
    done = {row["sigma"] for row in rows}
    for sigma in (sigma for sigma in sigmas if sigma not in done):
        errors: dict[str, list[float]] = {}
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            noisy = phantom.noisy(sigma, rng=np.random.default_rng(seed))
            for label, fit in fixed_fits(noisy, sigma):
                errors.setdefault(label, []).append(mean_square(fit.spectra, fit.images, clean))
            chosen = denoise(noisy, sigma=sigma)
            errors.setdefault("chosen", []).append(
                mean_square(chosen.spectra.values, chosen.coefficients.values, clean)
            )
        chosen_error = errors.pop("chosen")
        mean = {label: float(np.mean(values)) for label, values in errors.items()}
        best = min(mean, key=lambda label: mean[label])
        least = np.min(list(errors.values()), axis=0)
        rows.append(
            {
                "sigma": sigma,
                "seeds": seeds,
                "settings": len(errors),
                "best fixed setting": best,
                "chosen above it (dB)": 10 * np.log10(float(np.mean(chosen_error)) / mean[best]),
                "chosen above each seed's best, worst (dB)": float(
                    np.max(10 * np.log10(chosen_error / least))
                ),
            }
        )
        print(rows[-1], flush=True)
        save(name, rows)
    print_table(rows)


def fixed_fits(noisy: xr.DataArray, sigma: float) -> Iterator[tuple[str, Fit]]:
    for scale in (1, 4, 8, 16):
        averaged = average_pixels(noisy.values, scale)
        spectra = fit_basis(averaged, 6, rng=np.random.default_rng(0)).spectra
        for rank in (2, 3, 5):
            for without in ((), ("smoothing",)):
                name = f"scale {scale}, K {rank}" + (", not smoothed" if without else "")
                yield name, refine(problem_of(noisy, sigma), spectra[:rank], without=without)


def mean_square(spectra: NDArray[Any], images: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    estimate = np.tensordot(spectra.T.astype(np.float32), images, axes=1)
    return float(np.mean(np.square(estimate - clean, dtype=np.float64)))


def cost(options: argparse.Namespace) -> None:
    """Time `sum+` against `sum` at fixed K, alternating, in one run."""
    rows: list[Row] = []
    turns = 1 if options.quick else 5
    for label, size in {"256 x 320 x 150": SMALL, "379 x 520 x 969": FULL}.items():
        if options.quick and size is FULL:
            continue
        noisy = simulate("particle", **size).noisy(60.0, rng=np.random.default_rng(FIRST_SEED))
        denoise(noisy.isel(energy=slice(0, 20)), rank=1)  # loads the network
        ratios, seconds = [], []
        for _ in range(turns):
            ours = timed(lambda noisy=noisy: denoise(noisy))
            fixed = timed(lambda noisy=noisy: denoise(noisy, method="sum", rank=5))
            ratios.append(ours / fixed)
            seconds.append(ours)
        rows.append(
            {
                "stack": label,
                "sum+ (s)": statistics.median(seconds),
                "over sum, K = 5: median": statistics.median(ratios),
                "greatest": max(ratios),
                "turns": turns,
            }
        )
        print(rows[-1], flush=True)
        save("subspace-cost" + ("-quick" if options.quick else ""), rows)
    print_table(rows)


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
