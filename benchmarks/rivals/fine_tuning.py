"""A network that was trained on other images, trained further on the noisy scan: Frame2Frame and RFR."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file
from torch import Tensor, nn

from rivals.rival import Budget, Stack
from xanesum import denoisers
from xanesum.denoisers._networks import ARCHITECTURES

__all__ = ["FINE_TUNING", "frame_to_frame", "pretrained", "restore_from_restored", "restored"]

FINE_TUNING = Budget(iterations=40, seconds=900, batch=2, rate=1e-5)
WEIGHTS = Path(denoisers.__file__).parent / "weights" / "dncnn.safetensors"
Criterion = Callable[[Tensor, Tensor], Tensor]
Pair = Callable[[int], tuple[Tensor, Tensor]]  # number of a frame -> input and target, (Y, X) each


def frame_to_frame(
    stack: Stack, sigma: float, rng: np.random.Generator, *, budget: Budget = FINE_TUNING
) -> Stack:
    """Denoise by a network that is trained further to tell each frame's neighbour from it.

    The noise of two frames is independent, so that the neighbour is as good a target as a clean frame where
    both show the same.  A scan without motion needs no optical flow.  The network is DnCNN, as the authors'
    is, with the weights of this project.

    References
    ----------
    T. Ehret, A. Davy, J.-M. Morel, G. Facciolo, P. Arias, "Model-blind video denoising via frame-to-frame
    training", CVPR 2019, 11369-11378.
    """
    frames = _in_units_of(stack, sigma)

    def pair(t: int) -> tuple[Tensor, Tensor]:
        return frames[t], frames[t + 1 if t + 1 < len(frames) else t - 1]

    network = _trained_further(pair, len(frames), functional.l1_loss, rng, budget)
    return (restored(network, frames) * sigma).numpy()


def restore_from_restored(
    stack: Stack, sigma: float, rng: np.random.Generator, *, budget: Budget = FINE_TUNING
) -> Stack:
    """Denoise by a network that is trained further to restore its own results, with new noise added to them.

    The authors start from a network that sees five frames and was trained on natural videos.  Here it is the
    DnCNN of this project, which sees one.

    References
    ----------
    S. Lee, D. Cho, J. Kim, T. H. Kim, "Restore from restored: video restoration with pseudo clean video",
    CVPR 2021, 3537-3546.
    """
    frames = _in_units_of(stack, sigma)
    clean = restored(pretrained(), frames)

    def pair(t: int) -> tuple[Tensor, Tensor]:
        noise = torch.from_numpy(rng.standard_normal(clean[t].shape, dtype=np.float32))
        return clean[t] + noise, clean[t]

    network = _trained_further(pair, len(frames), functional.mse_loss, rng, budget)
    return (restored(network, frames) * sigma).numpy()


def pretrained() -> nn.Module:
    """Return the DnCNN that this project trained on synthetic scenes."""
    layers = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))["layers"]
    network = ARCHITECTURES["dncnn"](**layers)
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network.to(memory_format=torch.channels_last)


def restored(network: nn.Module, frames: Tensor) -> Tensor:
    """Return the frames (T, Y, X) that a network makes of noisy ones, in units of the noise."""
    with torch.inference_mode():
        return torch.stack([_applied(network, frame[None])[0] for frame in frames])


def _applied(network: nn.Module, images: Tensor) -> Tensor:
    """Return the clean images (B, Y, X) of noisy ones, whose mean and contrast the network is told."""
    mean, deviation = (each(images, (1, 2), keepdim=True)[:, None] for each in (torch.mean, torch.std))
    found: Tensor = network(images[:, None], mean, deviation)[:, 0]
    return found


def _in_units_of(stack: Stack, sigma: float) -> Tensor:
    return torch.from_numpy(np.asarray(stack / np.float32(sigma), np.float32))


def _trained_further(
    pair: Pair, n_frames: int, criterion: Criterion, rng: np.random.Generator, budget: Budget
) -> nn.Module:
    """Train on patches of random frames."""
    network = pretrained()
    optimizer = torch.optim.Adam(network.parameters(), budget.rate)
    end = time.monotonic() + budget.seconds
    for _ in range(budget.iterations):
        patches = [
            _patch(*pair(int(rng.integers(n_frames))), budget.patch_px, rng) for _ in range(budget.batch)
        ]
        images, targets = (torch.stack(each) for each in zip(*patches, strict=True))
        loss = criterion(_applied(network, images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if time.monotonic() > end:
            break
    return network


def _patch(image: Tensor, target: Tensor, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Cut the same random patch out of an image and its target."""
    height, width = (min(side, size) for size in image.shape)
    y, x = (int(rng.integers(n - m + 1)) for n, m in zip(image.shape, (height, width), strict=True))
    return image[y : y + height, x : x + width], target[y : y + height, x : x + width]
