"""The paper's Fig. 6: correlation of the map against the share of energies kept, `sum` and `sum+`.

``python benchmarks/energies.py`` draws 10 to 100 % of the 969 energies of *particle* at full size at random,
20 times, at sigma 10, 60 and 150, and scores the half-step map against that of the clean scan of all
energies.  Rows are saved as they come; ``--resume`` continues a run that was interrupted.
``--ways`` compares `sum` with all energies and several methods with half of them: `sum+`, the true spectra,
and changed denoisers.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
from _common import RESULTS, load, print_table, save
from details import WAYS
from matplotlib.figure import Figure
from numpy.typing import NDArray
from quality import Truth
from subspace import N_TRUE, labelled, problem_of

from xanesum import denoise, simulate
from xanesum.errors import EdgeError
from xanesum.linalg.subspace import fit_basis
from xanesum.method.options import METHODS
from xanesum.method.sum_plus import refine

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
SIGMAS = (10.0, 60.0, 150.0)
FIRST_SEED = 5000
HALF = 0.5
CHANGED = ("told 0.9 of the noise level", "5 % of the noisy image", "sharpened by 0.1 (1.5 px)")
WAYS_DRAWS = 3
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small phantom, three draws")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ways", action="store_true", help="ways to do with half of the energies")
    options = parser.parse_args()
    name = "energies" + ("-quick" if options.quick else "")
    draws = 3 if options.quick else options.draws
    phantom = simulate("particle", **({"shape": (96, 128), "n_energies": 150} if options.quick else {}))
    truth = Truth(phantom)
    if options.ways:
        rows = [row for sigma in SIGMAS for row in ways(truth, sigma, 1 if options.quick else WAYS_DRAWS)]
        save(name.replace("energies", "energies-ways"), rows)
        print_table(rows)
        return
    rows = load(name) if options.resume else []
    done = {(row["sigma"], row["share"], row["draw"]) for row in rows}
    for draw in range(draws):
        for sigma in SIGMAS:
            noisy = phantom.noisy(sigma, rng=np.random.default_rng(FIRST_SEED + draw))
            for share in SHARES:
                if (sigma, share, draw) in done:
                    continue
                kept = drawn(draw, share, noisy.sizes["energy"])
                row: Row = {"sigma": sigma, "share": share, "draw": draw}
                for method in METHODS:
                    result = denoise(noisy.isel(energy=kept), method=method, sigma=sigma, n_probes=2)
                    try:
                        row[method] = truth.map_figures(result)["correlation"]
                    except EdgeError:  # no component, or no usable range of energies
                        row[method] = 0.0
                rows.append(row)
                print(row, flush=True)
                save(name, rows, summary=summary(rows))
    print_table(summary(rows))
    figure_6(summary(rows), name)


def drawn(draw: int, share: float, n_energies: int) -> NDArray[np.intp]:
    """Return indices of a random share of the energies."""
    rng = np.random.default_rng((FIRST_SEED, draw, round(100 * share)))
    return np.sort(rng.choice(n_energies, round(share * n_energies), replace=False))


def ways(truth: Truth, sigma: float, draws: int) -> Iterator[Row]:
    """Yield the correlation of the map for `sum` with all energies, and ways to do with half of them."""
    found: dict[str, list[float]] = {}
    clean = truth.phantom.clean()
    for draw in range(draws):
        noisy = truth.phantom.noisy(sigma, rng=np.random.default_rng(FIRST_SEED + draw))
        kept = drawn(draw, HALF, noisy.sizes["energy"])
        half = noisy.isel(energy=kept)
        spectra = fit_basis(clean.values[kept], N_TRUE, rng=np.random.default_rng(0)).spectra
        fit = refine(problem_of(half, sigma), spectra, without=("refit",))
        results = {
            "all energies, sum": denoise(noisy, method="sum", sigma=sigma, n_probes=2),
            "half, sum+": denoise(half, sigma=sigma),
            "half, true spectra": labelled(half, fit, sigma),
            **{f"half, {way}": denoise(half, sigma=sigma, denoiser=WAYS[way]) for way in CHANGED},
        }
        for way, result in results.items():
            found.setdefault(way, []).append(truth.map_figures(result)["correlation"])
    for way, values in found.items():
        row: Row = {"sigma": sigma, "draws": draws, "way": way, "correlation": statistics.median(values)}
        print(row, flush=True)
        yield row


def summary(rows: list[Row]) -> list[Row]:
    """Return the median and the quartiles over draws."""
    lines = []
    for sigma in SIGMAS:
        for share in SHARES:
            runs = [row for row in rows if row["sigma"] == sigma and row["share"] == share]
            if runs:
                line: Row = {"sigma": sigma, "share": share, "draws": len(runs)}
                for method in METHODS:
                    values = np.quantile([row[method] for row in runs], [0.5, 0.25, 0.75])
                    keys = (method, f"{method}, lower quartile", f"{method}, upper quartile")
                    line |= dict(zip(keys, map(float, values), strict=True))
                lines.append(line)
    return lines


def figure_6(lines: list[Row], name: str) -> None:
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, sigma in zip(figure.subplots(1, len(SIGMAS)), SIGMAS, strict=True):
        ours = [line for line in lines if line["sigma"] == sigma]
        for method, color in zip(METHODS, ("C3", "0.25"), strict=True):
            shares = [100 * line["share"] for line in ours]
            middle, low, high = (
                [line[f"{method}{part}"] for line in ours]
                for part in ("", ", lower quartile", ", upper quartile")
            )
            axes.plot(shares, middle, "o-", color=color, label=method)
            axes.fill_between(shares, low, high, color=color, alpha=0.2)
        axes.set(title=f"sigma {sigma:g}", xlabel="energies kept (%)", ylabel="correlation of the map")
        axes.legend()
    figure.savefig(RESULTS / f"{name}.png", dpi=80)


if __name__ == "__main__":
    main()
