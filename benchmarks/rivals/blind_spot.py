"""UDVD: a network that guesses each pixel from all but itself, trained on the noisy scan."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from rivals.rival import Budget, Stack

__all__ = ["UDVD_BUDGET", "BlindSpotNetwork", "udvd"]

FULL_SIGNAL = 255.0
N_FRAMES = 5
MULTIPLE_PX = 4  # of the sides of images, for two halvings


UDVD_BUDGET = Budget(iterations=600, seconds=900, patch_px=32, rate=3e-3)


def udvd(stack: Stack, sigma: float, rng: np.random.Generator, *, budget: Budget = UDVD_BUDGET) -> Stack:
    """Denoise by unsupervised deep video denoising, with five frames.

    The network tells mean and variance of each pixel from the pixels around it, in five frames.  It is
    trained on the scan itself, for the likelihood of the noisy pixel.  The result is the mean of the pixel
    given its surroundings and its own noisy value.  The network is smaller than the authors', and trained for
    less long.

    References
    ----------
    D. Y. Sheth, S. Mohan, J. L. Vincent, R. Manzorro, P. A. Crozier, M. M. Khapra, E. P. Simoncelli,
    C. Fernandez-Granda, "Unsupervised deep video denoising", ICCV 2021, 1759-1768.
    S. Laine, T. Karras, J. Lehtinen, T. Aila, "High-quality self-supervised deep image denoising", NeurIPS
    2019 (likelihood and posterior mean).
    """
    level = float(stack.mean(dtype=np.float64))
    frames = torch.from_numpy(np.asarray((stack - np.float32(level)) / np.float32(FULL_SIGNAL)))
    variance = (sigma / FULL_SIGNAL) ** 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = BlindSpotNetwork()
    _train(network, frames, variance, budget, rng)
    network.eval()
    result = np.empty_like(stack, np.float32)
    with torch.inference_mode():
        for t in range(len(stack)):
            mean, spread = network(_padded(_around(frames, t)[None]))
            mean, spread = (each[0, : stack.shape[1], : stack.shape[2]] for each in (mean, spread))
            posterior = (mean * variance + frames[t] * spread) / (variance + spread)
            result[t] = posterior.numpy() * FULL_SIGNAL + level
    return result


class BlindSpotNetwork(nn.Module):
    """Mean and variance of the middle frame of five, from pixels in all directions but the pixel itself.

    Each of four branches, with the same weights, sees the frames turned by a right angle, and only the half
    plane above each pixel.  A branch has two stages, as FastDVDnet: one for three frames each, and one for
    the results of the first.
    """

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.first = _HalfPlaneUNet(3, channels, channels)
        self.second = _HalfPlaneUNet(3 * channels, channels, channels)
        self.join = nn.Sequential(
            nn.Conv2d(4 * channels, 2 * channels, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(2 * channels, channels, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, 2, 1),
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance, (B, Y, X) each, of frames (B, 5, Y, X)."""
        branches = []
        for turns in range(4):
            turned = torch.rot90(frames, turns, (2, 3))
            parts = [self.first(turned[:, k : k + 3]) for k in range(N_FRAMES - 2)]
            seen = self.second(torch.cat(parts, 1))
            above = functional.pad(seen, (0, 0, 1, 0))[:, :, :-1]  # without the pixel's own row
            branches.append(torch.rot90(above, -turns, (2, 3)))
        mean, spread = self.join(torch.cat(branches, 1)).unbind(1)
        return mean, torch.exp(spread.clamp(-20, 4) - 4)


class _HalfPlaneConv(nn.Module):
    """A convolution that sees its own row and the rows above it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_in, n_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = functional.leaky_relu(self.convolution(functional.pad(x, (1, 1, 2, 0))), 0.1)
        return seen


class _HalfPlaneUNet(nn.Module):
    """Encoder and decoder over three scales that see no row below a pixel's own."""

    def __init__(self, n_in: int, channels: int, n_out: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(_HalfPlaneConv(n_in, channels), _HalfPlaneConv(channels, channels))
        self.at_half = _HalfPlaneConv(channels, channels)
        self.at_quarter = _HalfPlaneConv(channels, channels)
        self.join_half = _HalfPlaneConv(2 * channels, channels)
        self.join_fine = nn.Sequential(
            _HalfPlaneConv(2 * channels, channels), _HalfPlaneConv(channels, n_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        half = self.at_half(_halved(fine))
        quarter = self.at_quarter(_halved(half))
        half = self.join_half(torch.cat([_doubled(quarter), half], 1))
        joined: Tensor = self.join_fine(torch.cat([_doubled(half), fine], 1))
        return joined


def _halved(x: Tensor) -> Tensor:
    """Pool 2 x 2 pixels, one row higher, so that doubled again no row sees one below it."""
    return functional.max_pool2d(functional.pad(x, (0, 0, 1, 0))[:, :, :-1], 2)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _train(
    network: BlindSpotNetwork, frames: Tensor, variance: float, budget: Budget, rng: np.random.Generator
) -> None:
    """Raise the likelihood of the noisy pixels in random patches."""
    optimizer = torch.optim.Adam(network.parameters(), budget.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.rate, budget.iterations)
    end = time.monotonic() + budget.seconds
    sides = [min(budget.patch_px, size // MULTIPLE_PX * MULTIPLE_PX) for size in frames.shape[1:]]
    for _ in range(budget.iterations):
        patches = []
        for _ in range(budget.batch):
            y, x = (int(rng.integers(n - side + 1)) for n, side in zip(frames.shape[1:], sides, strict=True))
            around = _around(frames, int(rng.integers(len(frames))))
            patches.append(around[:, y : y + sides[0], x : x + sides[1]])
        batch = torch.stack(patches)
        mean, spread = network(batch)
        total = spread + variance
        loss = ((batch[:, N_FRAMES // 2] - mean) ** 2 / total + torch.log(total)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if time.monotonic() > end:
            break


def _around(frames: Tensor, t: int) -> Tensor:
    """Return a frame and two on each side, (5, Y, X); the first and the last frame are repeated."""
    offsets = torch.arange(N_FRAMES) - N_FRAMES // 2
    return frames[(t + offsets).clamp(0, len(frames) - 1)]


def _padded(frames: Tensor) -> Tensor:
    """Mirror the last rows and columns, so that both sides can be halved twice."""
    below, beside = (-size % MULTIPLE_PX for size in frames.shape[2:])
    return functional.pad(frames, (0, beside, 0, below), mode="reflect")
