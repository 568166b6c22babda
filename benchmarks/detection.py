"""False alarms in pure noise, and the contrast at which a component in a small disc is found.

``python benchmarks/detection.py`` plants one component in a disc of 2 % of the pixels of a stack of white
noise, 128 x 160 x 150, and counts how often `sum+` finds any component: at contrast 0 its false alarms, of a
nominal 1 %, and above.  An SVD takes the largest singular value; its threshold is the one that pure noise
exceeds as rarely, found with other seeds.  The contrast is that of the disc in the component's image, in
units of the noise.  ``--beside`` adds a strong component, and asks whether a second one is found.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
from _common import RESULTS, print_table, save
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xanesum.denoisers import DEFAULT_DENOISER, exact_form, get_denoiser
from xanesum.linalg.subspace import fit_basis
from xanesum.method.split_half import choose_scale, component_p_values, split_pixels
from xanesum.method.sum_plus import FALSE_ALARMS, FIRST_RANK
from xanesum.phantom.spectra import energy_grid_ev, state_spectra

SHAPE, N_ENERGIES, SHARE = (128, 160), 150, 0.02
CONTRASTS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.2, 1.4, 1.7, 2.0, 2.3, 2.6)
FIRST_SEED = 4000
THRESHOLD_SEED = 9000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--noise-seeds", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=40, help="at each contrast")
    parser.add_argument("--beside", action="store_true")
    options = parser.parse_args()
    noise_seeds, seeds = (10, 5) if options.quick else (options.noise_seeds, options.seeds)
    name = "detection" + ("-beside" if options.beside else "") + ("-quick" if options.quick else "")
    strong = int(options.beside)
    threshold = svd_threshold(200 if options.quick else 1000, strong)
    rows: list[dict[str, Any]] = []
    for contrast in (0.0, *CONTRASTS):
        n_seeds = seeds if contrast else noise_seeds
        stacks = (planted(contrast, FIRST_SEED + seed, strong) for seed in range(n_seeds))
        found = np.array([(finds(stack, strong), svd_size(stack, strong) > threshold) for stack in stacks])
        rows.append(
            {"contrast": contrast, "seeds": n_seeds, "sum+": found[:, 0].mean(), "SVD": found[:, 1].mean()}
        )
        print(rows[-1], flush=True)
        half = {method: half_found(rows, method) for method in ("sum+", "SVD")}
        save(name, rows, summary=[{**half, "ratio": half["sum+"] / half["SVD"]}])
    print_table(rows)
    print_table([{"found half the time at": m, "contrast": c} for m, c in half.items()])
    draw(rows, name)


def planted(contrast: float, seed: int, strong: int) -> NDArray[np.float32]:
    """Return a stack of unit noise with a disc of `contrast` in the image of one smooth spectrum."""
    stack = np.random.default_rng(seed).standard_normal((N_ENERGIES, *SHAPE), dtype=np.float32)
    states = state_spectra(energy_grid_ev(N_ENERGIES))
    first = states.mean(axis=0)
    first /= np.linalg.norm(first)
    second = states[-1] - states[0]
    second -= first * (first @ second)
    second /= np.linalg.norm(second)
    y, x = np.indices(SHAPE)
    distance = np.hypot(y - 0.4 * SHAPE[0], x - 0.55 * SHAPE[1])
    disc = distance <= np.sqrt(SHARE * distance.size / np.pi)
    stack += np.float32(contrast) * np.float32(second)[:, None, None] * disc
    if strong:
        stack += np.float32(50) * np.float32(first)[:, None, None] * np.exp(-((y / SHAPE[0] - 0.5) ** 2) * 8)
    return stack.astype(np.float32)


def finds(stack: NDArray[np.float32], strong: int) -> bool:
    """Say whether `sum+` takes more components for real than the strong ones."""
    images = exact_form(get_denoiser(DEFAULT_DENOISER))
    halves = split_pixels(stack)
    spectra = choose_scale(halves, FIRST_RANK, rng=np.random.default_rng(0))
    p_values = component_p_values(
        halves, spectra, lambda k_images, mask: images.denoise(k_images, 1.0, mask=mask), 1.0
    )
    return bool((p_values[strong:] < FALSE_ALARMS).any())


def svd_size(stack: NDArray[np.float32], strong: int) -> float:
    return float(fit_basis(stack, strong + 1, rng=np.random.default_rng(0)).singular_values[strong])


def svd_threshold(n_seeds: int, strong: int) -> float:
    """Return the singular value that noise exceeds with the chance of a false alarm of `sum+`."""
    sizes = [svd_size(planted(0.0, THRESHOLD_SEED + seed, strong), strong) for seed in range(n_seeds)]
    return float(np.quantile(sizes, 1 - FALSE_ALARMS))


def half_found(rows: list[dict[str, Any]], method: str) -> float:
    """Return the contrast at which half are found, between those tried; NaN if none is."""
    for low, high in itertools.pairwise(rows):
        if low[method] < 0.5 <= high[method]:
            share = (0.5 - low[method]) / (high[method] - low[method])
            return float(low["contrast"] + share * (high["contrast"] - low["contrast"]))
    return float("nan")


def draw(rows: list[dict[str, Any]], name: str) -> None:
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for method, color in (("sum+", "C3"), ("SVD", "0.25")):
        axes.plot([r["contrast"] for r in rows], [r[method] for r in rows], "o-", color=color, label=method)
    axes.axhline(0.5, color="0.8", lw=1, zorder=0)
    axes.set(xlabel="contrast of the disc, in units of the noise of its image", ylabel="found")
    axes.legend()
    figure.savefig(RESULTS / f"{name}.png", dpi=80)


if __name__ == "__main__":
    main()
