"""Figs. 3, 5 and 6: choice of the number of components, of the denoiser, and of the share of energies."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
from _common import load
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rivals.singular_values import risks

from paper.published import SIGMAS
from paper.scans import Case, Size, frames
from paper.store import Row, Store
from paper.table1 import pixel_of
from xanesum import Denoised, denoise
from xanesum.denoisers import available_denoisers

__all__ = ["DENOISERS", "figure_3", "figure_5", "figure_6", "save_figure"]

FIG3_SIGMA, MOST = 60.0, 10  # components
PIXELS_AT_A_TIME = 16_384
FIG5_SIGMAS, FIG5_QUICK, FIG5_MOST = (10.0, 30.0, 60.0, 90.0, 120.0, 150.0), (10.0, 60.0, 150.0), 4
DENOISERS = ("network", "bm3d", "wavelet")
SHARES, DRAWS, FIRST_DRAW = (0.1, 0.25, 0.5, 0.75, 1.0), 2, 5000
COLORS = {"network": "C3", "bm3d": "C0", "wavelet": "C2", "sum+": "C3", "sum": "0.3"}


def figure_3(store: Store, size: Size, folder: Path, suffix: str) -> None:
    """Compare the estimated risk with the true error, for SVD and `sum`, and show what a wrong K does."""
    case = Case.draw("particle", FIG3_SIGMA, 0, size)
    fit = denoise(case.noisy, method="sum", rank=MOST, sigma=FIG3_SIGMA)
    curves = {"SVD": _svd_risk(case), "sum": _sum_risk(case, fit)}
    store.rows = []
    for method, (estimated, true) in curves.items():
        for k, (guess, error) in enumerate(zip(estimated, true, strict=True)):
            store.cell(
                {"method": method, "K": k},
                lambda g=guess, t=error: {"estimated": round(float(g), 4), "true": round(float(t), 4)},
            )
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    for axes, method in ((first, "SVD"), (second, "sum")):
        estimated, true = curves[method]
        axes.semilogy(range(len(true)), true, "o-", color="0.3", label="true error")
        axes.semilogy(range(len(true)), estimated, "x--", color="C3", label="estimated (SURE)")
        axes.axvline(int(np.argmin(estimated)), color="C3", lw=0.8)
        axes.set(
            title=f"{method}, sigma {FIG3_SIGMA:g}", xlabel="components kept", ylabel="mean squared error"
        )
        axes.legend()
    _spectra_of_ranks(third, case, fit, int(np.argmin(curves["sum"][0])))
    save_figure(figure, folder, "fig3", suffix)


def _svd_risk(case: Case) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the estimated and the true mean squared error of keeping 0, 1 ... singular values."""
    flat = case.noisy.values.reshape(len(case.noisy), -1)
    spectra, values = _svd(case)
    longer = max(flat.shape)
    estimated = risks(values, longer, case.sigma, np.zeros(len(values) + 1))[: MOST + 1] / flat.size
    clean = case.phantom.clean().values.reshape(flat.shape)
    true = [np.mean((spectra[:, :k] @ (spectra[:, :k].T @ flat) - clean) ** 2) for k in range(MOST + 1)]
    return estimated, np.array(true)


def _svd(case: Case) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return left singular vectors and singular values of a stack of more pixels than energies."""
    flat = case.noisy.values.reshape(len(case.noisy), -1)
    squares = np.zeros((len(flat), len(flat)))
    for start in range(0, flat.shape[1], PIXELS_AT_A_TIME):
        part = flat[:, start : start + PIXELS_AT_A_TIME].astype(np.float64)
        squares += part @ part.T
    spectra, values, _ = np.linalg.svd(squares)
    return spectra, np.sqrt(values)


def _sum_risk(case: Case, fit: Denoised) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the same for `sum`."""
    clean = case.phantom.clean().values
    kept = range(min(MOST, fit.rank) + 1)
    errors = []
    for k in kept:
        pairs = zip(frames(fit.truncated(k)), clean, strict=True) if k else zip(0 * clean, clean, strict=True)
        errors.append(np.mean([np.mean((found - true) ** 2) for found, true in pairs]))
    return fit.risk["risk"].values[: len(kept)], np.array(errors)


def _spectra_of_ranks(axes: Axes, case: Case, fit: Denoised, best: int) -> None:
    """Draw the spectrum of a pixel with too few, the chosen and too many components."""
    y, x = pixel_of(case)
    y, x = y + case.crop[0].start, x + case.crop[1].start
    energy = case.phantom.energy_ev
    axes.plot(energy, case.noisy.values[:, y, x], color="0.85", lw=0.7, label="noisy")
    axes.plot(energy, case.phantom.clean().values[:, y, x], color="k", lw=1.5, label="true")
    many = _svd(case)[0][:, :MOST]
    axes.plot(energy, many @ (many.T @ case.noisy.values[:, y, x]), "C1", lw=0.8, label=f"SVD, K = {MOST}")
    for k, color in dict.fromkeys([(1, "C0"), (best, "C3")]):
        spectrum = [frame[y, x] for frame in frames(fit.truncated(k))]
        axes.plot(energy, spectrum, color=color, lw=1, label=f"sum, K = {k}")
    axes.set(xlabel="energy (eV)", ylabel="value", title="one pixel")
    axes.set_xlim(8310, 8420)
    axes.legend(fontsize=8)


def figure_5(store: Store, size: Size, folder: Path, suffix: str) -> None:
    """Compare denoisers within `sum`: frames, spectra, map and time."""
    there = [name for name in DENOISERS if available_denoisers()[name].installed]
    case: Case | None = None
    sigmas = FIG5_SIGMAS if size.slow_everywhere else FIG5_QUICK
    for sigma in sigmas:
        for name in there:
            key: Row = {"sigma": sigma, "denoiser": name}
            if store.find(key) is None:
                if case is None or case.sigma != sigma:
                    case = Case.draw("particle", sigma, 0, size)
                store.cell(key, partial(_with_denoiser, case, name))
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    for axes, quantity in zip(
        figure.subplots(1, 4), ("PSNR (dB)", "spectrum PSNR (dB)", "correlation", "seconds"), strict=True
    ):
        for name in there:
            rows = [row for sigma in sigmas if (row := store.find({"sigma": sigma, "denoiser": name}))]
            values = [row[quantity] for row in rows]
            axes.plot([row["sigma"] for row in rows], values, "o-", color=COLORS[name], label=name)
        axes.set(xlabel="sigma of the noise", ylabel=quantity)
        if quantity == "seconds":
            axes.set_yscale("log")
        axes.legend(fontsize=8)
    save_figure(figure, folder, "fig5", suffix)


def _with_denoiser(case: Case, name: str) -> Row:
    start = time.perf_counter()
    result = denoise(case.noisy, method="sum", denoiser=name, sigma=case.sigma, rank=FIG5_MOST, n_probes=1)
    seconds = time.perf_counter() - start
    return case.scores(result) | {"K": result.rank, "seconds": round(seconds, 2)}


def figure_6(store: Store, size: Size, folder: Path, suffix: str) -> None:
    """Show the correlation of the map against the share of the energies that are kept.

    At the size of the paper, the rows are those that ``benchmarks/energies.py`` has measured.
    """
    rows = load("energies") if size.slow_everywhere else _shares_measured(store, size)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, sigma in zip(figure.subplots(1, len(SIGMAS), sharey=True), SIGMAS, strict=True):
        for method in ("sum+", "sum"):
            runs = [
                [row[method] for row in rows if row["sigma"] == sigma and row["share"] == share]
                for share in SHARES
            ]
            low, middle, high = (
                [float(np.quantile(values, q)) for values in runs if values] for q in (0.25, 0.5, 0.75)
            )
            shares = [100 * share for share, values in zip(SHARES, runs, strict=True) if values]
            axes.plot(shares, middle, "o-", color=COLORS[method], label=method)
            axes.fill_between(shares, low, high, color=COLORS[method], alpha=0.2)
        axes.axhline(0.8, color="0.7", lw=0.8, ls=":")
        axes.set(title=f"sigma {sigma:g}", xlabel="energies kept (%)")
        axes.legend()
    figure.axes[0].set_ylabel("correlation of the map")
    save_figure(figure, folder, "fig6", suffix)


def _shares_measured(store: Store, size: Size) -> list[Row]:
    """Return a row for each sigma, share and draw."""
    rows = []
    for sigma in SIGMAS:
        case = Case.draw("particle", sigma, 0, size)
        for draw in range(DRAWS):
            for share in SHARES:
                key: Row = {"sigma": sigma, "share": share, "draw": draw}
                rows.append(store.cell(key, partial(_of_share, case, share, draw)))
    return rows


def _of_share(case: Case, share: float, draw: int) -> Row:
    n_energies = len(case.phantom.energy_ev)
    rng = np.random.default_rng([FIRST_DRAW, draw])
    kept = np.sort(rng.choice(n_energies, max(2, round(share * n_energies)), replace=False))
    row: Row = {}
    for method in ("sum+", "sum"):
        result = denoise(case.noisy.isel(energy=kept), method=method, sigma=case.sigma, n_probes=2)
        values = case.map_of(result)
        row[method] = 0.0 if values is None else case.correlation(values)
    return row


def save_figure(figure: Figure, folder: Path, name: str, suffix: str) -> None:
    """Write a figure as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f"{name}-{suffix}.png" if suffix else f"{name}.png")
    figure.savefig(path, dpi=90)
    print(f"drawn: {path.name}", flush=True)
