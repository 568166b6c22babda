"""Clusters of chemical states: found in a denoised scan, and by scikit-learn in the noisy one.

    python benchmarks/chemistry_clusters.py [--quick]

Phantoms have five states.  *apart* has thick pixels whose states differ by about five errors or more; *dose*
goes to noise where they do not.  scikit-learn (extra `chemistry`) gets the true number of clusters, and the
noisy spectra as they are or divided by their mean beyond the edge, whichever is better.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import xarray as xr
from _common import print_table, save
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from xanesum import denoise
from xanesum.phantom import simulate
from xanesum.xanes.composition.clusters import find_clusters

Row = dict[str, Any]

SEED = 2024
KINDS = ("particle", "round", "electrode")
SIGMAS = (2.0, 5.0, 15.0, 40.0)  # the clean stack reaches 255
SHAPE, N_ENERGIES = (110, 140), 50
BEYOND_EV = 8400.0
THICK = 0.5  # least thickness of a pixel that is judged, as a share of the thickest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one phantom")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the scans (default: %(default)s)")
    options = parser.parse_args()
    rows = []
    for kind in KINDS[:1] if options.quick else KINDS:
        for sigma in SIGMAS:
            rows.append(one_scan(kind, sigma, options.seed))
            print(rows[-1], flush=True)
    print_table(rows)
    save("chemistry-clusters", rows, quick=options.quick, seed=options.seed)


def one_scan(kind: str, sigma: float, seed: int) -> Row:
    scene, noise = np.random.default_rng([seed, KINDS.index(kind)]).spawn(2)
    phantom = simulate(kind, shape=SHAPE, n_energies=N_ENERGIES, rng=scene)
    stack = phantom.noisy(sigma, rng=noise)
    result = denoise(stack, rng=np.random.default_rng(0))
    started = time.perf_counter()
    found = find_clusters(result)
    seconds = time.perf_counter() - started
    n_states = len(phantom.images)
    told = find_clusters(result, n_clusters=n_states)
    state, thickness = phantom.images.argmax(axis=0), phantom.images.sum(axis=0)
    where = found["mask"].values & (thickness > THICK * thickness.max())
    truth = state[where]
    return {
        "phantom": kind,
        "sigma (of 255)": sigma,
        "K": result.rank,
        "states": n_states,
        "clusters found": found.sizes["cluster_number"],
        "index, number found": adjusted_rand_score(truth, found["cluster"].values[where]),
        "index, number given": adjusted_rand_score(truth, told["cluster"].values[where]),
        "states apart (errors)": told.attrs["separation"],
        "index, k-means of the noisy stack": rival(stack, where, truth, n_states),
        "seconds": seconds,
    }


def rival(stack: xr.DataArray, where: NDArray[np.bool_], truth: NDArray[np.intp], n_states: int) -> float:
    """Return the better index of scikit-learn's k-means, of spectra as they are and of normalized ones."""
    spectra = stack.values[:, where].T
    level = spectra[:, stack.energy.values > BEYOND_EV].mean(axis=1, keepdims=True)
    indices = []
    for points in (spectra, spectra / np.maximum(level, 1e-3)):
        label = KMeans(n_states, n_init=5, random_state=0).fit_predict(points)
        indices.append(float(adjusted_rand_score(truth, label)))
    return max(indices)


if __name__ == "__main__":
    main()
