"""Denoisers of images, applied to every frame for itself ("naively", as the paper says), and BM4D."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from rivals.rival import Stack, UnavailableError
from xanesum.denoisers import get_denoiser
from xanesum.errors import MissingExtraError

__all__ = ["bm4d_stack", "framewise_bm3d", "framewise_network"]

BLOCKS_PX = 8  # side of the blocks of BM4D: no side of a stack may be shorter


def framewise_bm3d(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Denoise every frame by BM3D.

    References
    ----------
    K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, "Image denoising by sparse 3-D transform-domain
    collaborative filtering", IEEE Trans. Image Process. 16 (2007) 2080-2095.
    """
    return _each_frame("bm3d", stack, sigma)


def framewise_network(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Denoise every frame by the network with which this project denoises component images.

    References
    ----------
    The role of DnCNN in the paper: K. Zhang et al., "Beyond a Gaussian denoiser", IEEE Trans. Image Process.
    26 (2017) 3142-3155.
    """
    return _each_frame("network", stack, sigma)


def bm4d_stack(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Denoise the stack as a volume by BM4D, in the role of V-BM4D.

    V-BM4D is a MATLAB program that follows motion.  Without motion, its groups of blocks of neighbouring
    frames are much like those of BM4D.

    References
    ----------
    M. Maggioni, V. Katkovnik, K. Egiazarian, A. Foi, "Nonlocal transform-domain filter for volumetric data
    denoising and reconstruction", IEEE Trans. Image Process. 22 (2013) 119-133.
    M. Maggioni, G. Boracchi, A. Foi, K. Egiazarian, "Video denoising, deblocking, and enhancement through
    separable 4-D nonlocal spatiotemporal transforms", IEEE Trans. Image Process. 21 (2012) 3952-3966.
    """
    try:
        bm4d = import_module("bm4d").bm4d
    except ImportError as error:
        raise UnavailableError("bm4d is not installed: pip install bm4d (non-commercial use only)") from error
    if min(stack.shape) < BLOCKS_PX:
        raise UnavailableError(f"bm4d needs at least {BLOCKS_PX} energies, rows and columns")
    return np.asarray(bm4d(stack.astype(np.float64), sigma), np.float32)


def _each_frame(name: str, stack: Stack, sigma: float) -> Stack:
    try:
        denoiser = get_denoiser(name)
    except MissingExtraError as error:
        raise UnavailableError(str(error)) from error
    return denoiser.denoise(stack, sigma)
