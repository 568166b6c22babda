"""Layering denoising: a stack is split into two layers, each is denoised, and their sum is the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.restoration import estimate_sigma

from rivals.framewise import framewise_bm3d
from rivals.rival import Stack
from rivals.robust_pca import Settings, reprocs

__all__ = ["reld", "settings_for"]

Denoiser = Callable[[Stack, float, np.random.Generator], Stack]


def reld(
    stack: Stack, sigma: float, rng: np.random.Generator, *, denoise_layer: Denoiser = framewise_bm3d
) -> Stack:
    """Denoise a layer of low rank and a sparse layer, as ReLD does with the layers of ReProCS.

    Frames are taken from the last one to the first, since frames before the edge show next to nothing of a
    sample.  The layer of low rank is projected on its subspace.  Each layer is then denoised for the noise
    that is found in it.  The authors denoise layers by V-BM3D, which is a MATLAB program; here BM3D denoises
    them frame by frame.

    References
    ----------
    H. Guo, C. Qiu, N. Vaswani, "An online algorithm for separating sparse and low-dimensional signal
    sequences from their sum", IEEE Trans. Signal Process. 62 (2014) 4284-4297 (the split).
    H. Guo, N. Vaswani, "Video denoising via online sparse and low-rank matrix decomposition", IEEE Workshop
    on Statistical Signal Processing (2016) (the layers).
    """
    frames = stack[::-1].reshape(len(stack), -1).astype(np.float64)
    layers = reprocs(frames, settings_for(len(stack), sigma))
    result = np.zeros(stack.shape, np.float32)
    for layer in (layers.low_rank, layers.sparse):
        images = layer[::-1].reshape(stack.shape).astype(np.float32)
        busy = images.any(axis=(1, 2))
        noise = _noise_of(images[busy])
        result[busy] += denoise_layer(images[busy], noise, rng) if noise > 0 else images[busy]
    return result


def settings_for(n_frames: int, sigma: float) -> Settings:
    """Return an eighth of the frames, and at least 20, as first frames and as the block of the updates.

    New directions are kept as they are found: those of chemistry pass with the edge, and the next blocks of
    frames, from which they would be estimated again, do not show them.
    """
    block = max(20, n_frames // 8)
    return Settings(n_train=min(block, n_frames), block=block, floor=sigma, most_updates=1)


def _noise_of(images: NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise of a layer, from its finest wavelets; median over frames."""
    return float(np.median([estimate_sigma(image) for image in images])) if len(images) else 0.0
