"""Denoise a stack by another package, in an interpreter that has it: NAME IN.npy OUT.npy RANK SEED.

This file imports nothing of the project.  `own_environment` runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # this file is read by interpreters that may have another NumPy
SUBSPACE = 10  # components of FastHyDe, by its default
FULL_SIGNAL = 255.0
OUTLIER = 0.05  # part of full signal by which an outlier differs from its median, by the default of L1HyMixDe
NMF_STEPS = 1000
NMF_CHANGE = 1e-6  # at which it ends; by its default, 1e-4, it ends after a few steps


def hyperspy_pca(stack: Array, rank: int, seed: int) -> Array:
    """Principal components with weights for Poisson noise; the elbow of the spectrum tells their number."""
    import hyperspy.api as hs

    lowest = min(float(stack.min()), 0.0)  # the weights need counts from 0 on
    signal = hs.signals.Signal1D(np.moveaxis(stack - lowest, 0, -1).astype(np.float64))
    signal.decomposition(normalize_poissonian_noise=True, algorithm="SVD", print_info=False)
    count = max(int(signal.estimate_elbow_position()), 1)
    print(f"components: {count}")
    return np.moveaxis(signal.get_decomposition_model(count).data, -1, 0) + lowest


def fasthyde(stack: Array, rank: int, seed: int) -> Array:
    """FastHyDe for white noise; bands are not normalized, since noise would not be white afterwards."""
    import torch
    from hyde import FastHyDe

    cube = torch.from_numpy(np.moveaxis(stack, 0, -1).astype(np.float64))
    components = min(SUBSPACE, len(stack))
    cleaned = FastHyDe()(cube, noise_type="additive", iid=True, k_subspace=components, normalize=False)
    return np.moveaxis(cleaned.numpy(), -1, 0)


def l1hymixde(stack: Array, rank: int, seed: int) -> Array:
    """L1HyMixDe with the components of FastHyDe; bands are not normalized, for the same reason."""
    import torch
    from hyde import L1HyMixDe

    cube = torch.from_numpy(np.moveaxis(stack / FULL_SIGNAL, 0, -1).astype(np.float64))
    components = min(SUBSPACE, len(stack))
    cleaned = L1HyMixDe()(cube, k_subspace=components, p=OUTLIER, normalize=False)
    return np.moveaxis(cleaned.numpy(), -1, 0) * FULL_SIGNAL


def nmf(stack: Array, rank: int, seed: int) -> Array:
    """Non-negative factors; the stack is lifted to 0 first, for which there is one component more."""
    from sklearn.decomposition import NMF

    lowest = min(float(stack.min()), 0.0)
    spectra = (stack - lowest).reshape(len(stack), -1).T
    model = NMF(rank + 1, init="nndsvda", max_iter=NMF_STEPS, tol=NMF_CHANGE, random_state=seed)
    weights = model.fit_transform(spectra)
    return (weights @ model.components_).T.reshape(stack.shape) + lowest


PROGRAMS: dict[str, Callable[[Array, int, int], Array]] = {
    "hyperspy": hyperspy_pca,
    "fasthyde": fasthyde,
    "l1hymixde": l1hymixde,
    "nmf": nmf,
}


def main() -> None:
    name, source, target, rank, seed = sys.argv[1:6]
    stack = np.load(source, allow_pickle=False)
    np.save(target, PROGRAMS[name](stack, int(rank), int(seed)).astype(np.float32), allow_pickle=False)


if __name__ == "__main__":
    main()
