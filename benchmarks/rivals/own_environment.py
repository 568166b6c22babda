"""Rivals whose packages live in an environment of their own, because of their licence or their size.

`ENVIRONMENTS` lists the packages of each.  The variable XANESUM_RIVALS names the folder that holds them::

    python -m venv FOLDER/hyperspy
    FOLDER/hyperspy/bin/pip install hyperspy==2.5.0 scikit-learn==1.9.1
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from rivals.rival import Stack, UnavailableError
from rivals.singular_values import n_above_noise

__all__ = ["ENVIRONMENTS", "VARIABLE", "fasthyde", "hyperspy_pca", "l1hymixde", "nmf"]

VARIABLE = "XANESUM_RIVALS"
ENVIRONMENTS = {  # folder: packages
    "hyperspy": "hyperspy==2.5.0 scikit-learn==1.9.1",
    "hyde": "hyde-images==0.4.3 pytorch-wavelets==1.3.0 scikit-image==0.26.0 setuptools<81 tqdm h5py",
}
PROGRAM = Path(__file__).with_name("outside.py")
LONGEST_S = 3600


def hyperspy_pca(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Principal components of HyperSpy, with weights for Poisson noise.

    The stack is lifted to 0, since the weights are for counts.  The number of components is HyperSpy's own.

    References
    ----------
    M. R. Keenan, P. G. Kotula, "Accounting for Poisson noise in the multivariate analysis of ToF-SIMS
    spectrum images", Surf. Interface Anal. 36 (2004) 203-212.
    F. de la Pena et al., HyperSpy, doi:10.5281/zenodo.592838.
    """
    return _run("hyperspy", "hyperspy", stack, sigma, rng)


def fasthyde(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """FastHyDe as in HyDe: BM3D of the images of a subspace that HySime finds, as for white noise.

    It estimates the noise for itself.  The bands are not normalized.

    References
    ----------
    L. Zhuang, J. M. Bioucas-Dias, "Fast hyperspectral image denoising and inpainting based on low-rank and
    sparse representations", IEEE J. Sel. Top. Appl. Earth Obs. Remote Sens. 11 (2018) 730-742.
    D. Coquelin et al., "HyDe: the first open-source, Python-based, GPU-accelerated hyperspectral denoising
    package", WHISPERS 2022.
    """
    return _run("fasthyde", "hyde", stack, sigma, rng)


def l1hymixde(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """L1HyMixDe as in HyDe: FastHyDe for noise that also has outliers, by the L1 norm.

    It estimates the noise for itself.  Noise without outliers is not what it was made for.

    References
    ----------
    L. Zhuang, M. K. Ng, "Hyperspectral mixed noise removal by L1-norm-based subspace representation", IEEE J.
    Sel. Top. Appl. Earth Obs. Remote Sens. 13 (2020) 1143-1157.
    """
    return _run("l1hymixde", "hyde", stack, sigma, rng)


def nmf(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Non-negative matrix factorization of scikit-learn.

    The stack is lifted to 0.  There is a component for every singular value above those of noise, and one for
    what the stack was lifted by.

    References
    ----------
    D. D. Lee, H. S. Seung, "Learning the parts of objects by non-negative matrix factorization", Nature 401
    (1999) 788-791.
    """
    return _run("nmf", "hyperspy", stack, sigma, rng)


def _run(name: str, environment: str, stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Let another interpreter denoise a stack."""
    rank, seed = max(n_above_noise(stack, sigma), 1), int(rng.integers(2**31))
    python = _interpreter(environment)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "noisy.npy"), Path(folder, "clean.npy")
        np.save(source, stack, allow_pickle=False)
        command = [str(python), "-W", "ignore", str(PROGRAM), name, str(source), str(target)]
        # Variables of this interpreter, as its path of modules, are not for the other one.
        variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [*command, str(rank), str(seed)],
            capture_output=True,
            text=True,
            env=variables,
            timeout=LONGEST_S,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UnavailableError(f"its program failed in {environment}: {reason}")
        result = np.load(target, allow_pickle=False)
    if result.shape != stack.shape or not np.all(np.isfinite(result)):
        raise UnavailableError(f"its program returned {result.shape}, some values not finite, or both")
    return np.asarray(result, np.float32)


def _interpreter(environment: str) -> Path:
    """Return the interpreter of an environment."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise UnavailableError(f"{VARIABLE} names no folder; install {ENVIRONMENTS[environment]}")
    python = Path(folder, environment, "bin", "python")
    if not python.exists():
        raise UnavailableError(f"{python} is missing; install {ENVIRONMENTS[environment]}")
    return python
