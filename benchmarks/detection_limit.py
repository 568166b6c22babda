"""The contrast from which on chemistry is found, for particles of any size and grains of any texture.

``python benchmarks/detection_limit.py`` simulates a sample of one species in white noise, 96 x 112 pixels and
60 energies.  In a particle with a radius of 1 to 16 px, or in grains of 1 to 16 px, its edge is shifted.  The
contrast is that of the shift in its own image, in units of the noise.  That at which half of the scans show
the component is found by bisection.  An SVD takes the largest singular value beside the first; its threshold
is the one that the sample alone exceeds once in a hundred scans.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _common import RESULTS, print_table, save
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xanesum import denoise
from xanesum.errors import XanesumWarning
from xanesum.stack import make_stack

SHAPE, N_ENERGIES, SIGMA = (96, 112), 60, 1.0
ENERGY_EV = np.linspace(8300.0, 8400.0, N_ENERGIES)
THICKNESS = 30.0  # mean of the image of the sample, in units of the noise
SIZES_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
KINDS = ("particle", "grains")
LEAST, MOST, N_STEPS = 0.05, 60.0, 7  # contrasts between which half is sought, by so many bisections
FIRST_SEED = 71_000
N_SEEDS, N_NOISE = 8, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two sizes, two scans at each contrast")
    parser.add_argument("--name", default="detection-limit", help="of the results")
    options = parser.parse_args()
    sizes, n_seeds = (SIZES_PX[:2], 2) if options.quick else (SIZES_PX, N_SEEDS)
    threshold = float(
        np.quantile([second_size(scan("none", 0.0, 0.0, -1 - k)) for k in range(N_NOISE)], 0.99)
    )
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for size in sizes:
            limits = {
                "sum+": limit(kind, size, n_seeds, lambda stack: found_rank(stack) > 1),
                "SVD": limit(kind, size, n_seeds, lambda stack: second_size(stack) > threshold),
            }
            rows.append(
                {"chemistry": kind, "size (px)": size, **limits, "ratio": limits["sum+"] / limits["SVD"]}
            )
            print(rows[-1], flush=True)
            save(options.name + ("-quick" if options.quick else ""), rows)
    print_table(rows)
    if not options.quick:
        draw(rows, options.name)


def limit(kind: str, size: float, n_seeds: int, finds: Callable[[NDArray[np.float32]], bool]) -> float:
    """Return the contrast at which half of the scans show the component, by bisection of its logarithm."""
    low, high = LEAST, MOST
    for _ in range(N_STEPS):
        middle = float(np.sqrt(low * high))
        n_found = sum(finds(scan(kind, size, middle, FIRST_SEED + k)) for k in range(n_seeds))
        low, high = (low, middle) if 2 * n_found > n_seeds else (middle, high)
    return round(float(np.sqrt(low * high)), 3)


def scan(kind: str, size: float, contrast: float, seed: int) -> NDArray[np.float32]:
    """Return a stack of unit noise, a thick sample, and an image of `contrast` along a shift of its edge."""
    rng = np.random.default_rng([abs(seed), seed < 0])
    edge = 0.2 + 0.5 + np.arctan((ENERGY_EV - 8340.0) / 1.5) / np.pi
    first = edge / np.linalg.norm(edge)
    shift = np.gradient(edge, ENERGY_EV)
    shift -= first * (first @ shift)
    shift /= np.linalg.norm(shift)
    thickness = 1 + 0.5 * _rough(4.0, rng)
    weak = contrast * _weak(kind, size, rng)
    clean = THICKNESS * first[:, None, None] * thickness + shift[:, None, None] * weak
    return (clean + SIGMA * rng.standard_normal(clean.shape)).astype(np.float32)


def _weak(kind: str, size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the image of the chemistry: of value 1 in a particle of some radius, or of rms 1 in grains."""
    if kind == "none":
        return np.zeros(SHAPE)
    if kind == "grains":
        return _rough(size / 2, rng)
    y, x = (rng.uniform(0.3, 0.7) * n for n in SHAPE)
    return (np.hypot(*(np.indices(SHAPE) - np.array([y, x])[:, None, None])) <= size).astype(float)


def _rough(blur: float, rng: np.random.Generator) -> NDArray[np.float64]:
    image = gaussian_filter(rng.standard_normal(SHAPE), blur)
    return np.asarray((image - image.mean()) / image.std())


def found_rank(stack: NDArray[np.float32]) -> int:
    """Return the number of components of `sum+`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        return denoise(make_stack(stack, ENERGY_EV), noise="white").rank


def second_size(stack: NDArray[np.float32]) -> float:
    """Return the second singular value of a stack."""
    flat = stack.reshape(len(stack), -1).astype(np.float64)
    return float(np.sqrt(np.linalg.eigvalsh(flat @ flat.T)[-2]))


def draw(rows: list[dict[str, Any]], name: str) -> None:
    """Draw the limits against the size, for particles and for grains."""
    figure = Figure(figsize=(7.5, 3.2), dpi=110, layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        chosen = [row for row in rows if row["chemistry"] == kind]
        for method, style in (("sum+", "o-"), ("SVD", "s--")):
            axes.loglog(
                [row["size (px)"] for row in chosen], [row[method] for row in chosen], style, label=method
            )
        axes.set(title=kind, xlabel="radius (px)" if kind == "particle" else "size of the grains (px)")
    figure.axes[0].set_ylabel("contrast found in half of the scans,\nin units of the noise")
    figure.axes[0].legend()
    figure.savefig(RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()
