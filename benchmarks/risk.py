"""SURE against the truth, the paper's Fig. 3: error and its estimate for K = 1 ... 20, several seeds.

``python benchmarks/risk.py`` runs 20 seeds of *particle* at 256 x 320 x 150 and sigma 10, 60, 150;
``--quick`` 3 seeds at 96 x 128 x 60.  The bias is that of the estimate less ``mean(noise**2) - sigma**2``,
which has mean zero, is the same for every K, and would hide a bias of 2 % behind the luck of 20 seeds.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _common import RESULTS, print_table, save
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xanesum import simulate
from xanesum.denoisers import exact_form, get_denoiser
from xanesum.linalg.subspace import fit_basis, project
from xanesum.method.sum import try_ranks
from xanesum.phantom import Phantom

MAX_RANK = 20
Run = dict[str, NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--denoiser", default="network")
    options = parser.parse_args()
    n_seeds = 3 if options.quick else options.seeds
    name = f"risk-{options.denoiser}" + ("-quick" if options.quick else "")
    shape, n_energies = ((96, 128), 60) if options.quick else ((256, 320), 150)
    phantom = simulate("particle", shape=shape, n_energies=n_energies)
    curves: dict[float, list[Run]] = {10.0: [], 60.0: [], 150.0: []}
    rows: list[dict[str, Any]] = []
    for seed in range(n_seeds):
        for sigma, runs in curves.items():
            runs.append(one_seed(phantom, sigma, seed, options.denoiser))
        rows = [{"sigma": sigma, "seeds": seed + 1, **summary(runs)} for sigma, runs in curves.items()]
        save(name, rows, denoiser=options.denoiser)
    print_table(rows)
    draw(curves, name)


def one_seed(phantom: Phantom, sigma: float, seed: int, denoiser: str) -> Run:
    """Return true and estimated error for K = 1 ... 20, and the K chosen."""
    clean = phantom.clean().values
    noisy = phantom.noisy(sigma, rng=np.random.default_rng(seed)).values
    rng = np.random.default_rng(1000 + seed)
    images = exact_form(get_denoiser(denoiser))
    basis = fit_basis(noisy, rng=rng)
    trial = try_ranks(noisy, basis, lambda k: images.denoise(k, sigma), sigma, max_rank=MAX_RANK, rng=rng)
    wanted = project(basis.spectra[:MAX_RANK], clean).astype(np.float64)
    gain = np.sum(wanted**2 - (trial.denoised - wanted) ** 2, axis=(1, 2))
    luck = np.mean((noisy - clean).astype(np.float64) ** 2) - sigma**2
    return {
        "error": (np.sum(clean.astype(np.float64) ** 2) - np.cumsum(gain)) / clean.size,
        "risk": trial.risk.risk[1:] - luck,
        "own_error": trial.risk.standard_error[1:],
        "chosen": np.array(max(trial.risk.chosen, 1)),
    }


def summary(runs: list[Run]) -> dict[str, Any]:
    """Return one row: the cost of the choice, and the bias and scatter of the estimate."""
    error, risk = (np.array([run[key] for run in runs]) for key in ("error", "risk"))
    chosen = np.array([int(run["chosen"]) for run in runs])
    loss_db = 10 * np.log10(error[np.arange(len(runs)), chosen - 1] / error.min(axis=1))
    size = np.mean(error, axis=0)
    bias, scatter = np.mean(risk - error, axis=0) / size, np.std(risk - error, axis=0) / size
    best = int(np.median(np.argmin(error, axis=1)))
    return {
        "K of least error, median": best + 1,
        "K by SURE, median": int(np.median(chosen)),
        "loss at SURE's K, worst (dB)": float(loss_db.max()),
        "bias at the best K (%)": float(100 * bias[best]),
        "largest bias up to K = 10 (%)": float(100 * bias[:10][np.argmax(np.abs(bias[:10]))]),
        "scatter between seeds (%)": float(100 * scatter[best]),
        "standard error stated (%)": float(
            100 * np.mean([run["own_error"][best] for run in runs]) / size[best]
        ),
    }


def draw(curves: dict[float, list[Run]], name: str) -> None:
    """Plot truth and estimate against K: thin lines for the seeds, thick ones for their mean."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    ranks = range(1, MAX_RANK + 1)
    for axes, (sigma, runs) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        for key, color, label in (("error", "0.25", "truth"), ("risk", "C3", "SURE")):
            found = np.array([run[key] for run in runs])
            axes.plot(ranks, psnr(found).T, color=color, lw=0.4, alpha=0.5)
            axes.plot(ranks, psnr(found.mean(axis=0)), color=color, lw=2, label=f"{label}, mean")
        axes.set(title=f"sigma {sigma:g}, {len(runs)} seeds", xlabel="components K", ylabel="PSNR (dB)")
        axes.legend()
    figure.savefig(RESULTS / f"{name}.png", dpi=80)


def psnr(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean squared errors in decibels below a peak of 255."""
    return np.asarray(10 * np.log10(255**2 / error))


if __name__ == "__main__":
    main()
