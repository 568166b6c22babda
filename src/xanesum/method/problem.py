"""The problem that a method solves: a stack at two resolutions, its noise, and a denoiser.

Spectra are the same in averages over blocks of pixels, where noise is weaker and values are fewer.  They are
sought there.  Images are taken from single pixels once the spectra are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from xanesum.method.options import DEFAULT_PROBES
from xanesum.method.sure import stack_sum_of_squares
from xanesum.streaming.interface import StackInBlocks

__all__ = [
    "NOISE_FLOOR",
    "AnyLevel",
    "DenoiserAt",
    "Level",
    "NoiseOfImages",
    "Problem",
    "Progress",
    "Rounding",
    "View",
]

NOISE_FLOOR = 1e-6  # least sigma relative to the root mean square; below it rounding of float32 is larger
ROUNDING = 1.01  # times that level, at most, is rounding
View = tuple[int, ...]  # axes of an image that are mirrored: 0 for y, 1 for x
NoiseOfImages = Callable[[NDArray[np.float64]], NDArray[np.float32]]  # spectra (K, E) -> (K, Y, X)
Rounding = Callable[
    [NDArray[np.float32], float], NDArray[np.float64]
]  # images, sigma -> (K,), units of sigma
DenoiserAt = Callable[[NDArray[np.float32], float, NDArray[np.bool_]], NDArray[np.float32]]
Progress = Callable[[str, float], None]
Values = TypeVar("Values", bound="NDArray[np.float32] | StackInBlocks", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Level(Generic[Values]):
    """A stack at one resolution, with its mask and its noise."""

    stack: Values  # (E, Y, X), finite where `mask` holds
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    sigma: float  # noise level, unit of the stack
    image_noise: NoiseOfImages | None = None  # noise of images relative to sigma; None: 1 everywhere
    known_sum_of_squares: float | None = None  # over all energies and pixels that count; None: not yet known
    breadth: float = 1.0  # noise of broad detail over that of pixels; above 1 where neighbours are alike

    @property
    def n_energies(self) -> int:
        """Number of energies E."""
        return int(self.stack.shape[0])

    @property
    def sum_of_squares(self) -> float:
        """Sum of the squared values over all energies and the pixels that count."""
        if self.known_sum_of_squares is not None:
            return self.known_sum_of_squares
        return stack_sum_of_squares(np.asarray(self.stack), self.mask)

    @property
    def is_rounding(self) -> bool:
        """Whether the noise is no more than the rounding of float32, which is not white."""
        n_values = self.n_energies * max(int(np.count_nonzero(self.mask)), 1)
        return self.sigma <= ROUNDING * NOISE_FLOOR * float(np.sqrt(self.sum_of_squares / n_values))

    def noise_of(self, spectra: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the noise of the images of `spectra` (K, E), relative to sigma: (K, Y, X), or (K, 1, 1)."""
        if self.image_noise is None or not len(spectra):
            return np.ones((len(spectra), 1, 1), np.float32)
        return self.image_noise(spectra)


AnyLevel = Level[NDArray[np.float32]] | Level[StackInBlocks]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A stack at two resolutions, and the means to solve for its factors.

    A small stack has one resolution only: `coarse` and `full` are then the same level.
    """

    coarse: Level[NDArray[np.float32]]  # averages over `scale` x `scale` pixels, where spectra are sought
    full: AnyLevel  # single pixels, from which images are taken
    scale: int
    energy_ev: NDArray[np.float64]  # (E,)
    denoise_at: DenoiserAt  # images (K, Y, X), noise level, mask (Y, X) -> images (K, Y, X)
    rng: np.random.Generator
    n_probes: int = DEFAULT_PROBES  # calls of the denoiser for the risk of each image, at most
    progress: Progress = field(default=lambda step, share: None)
    rounding: Rounding | None = None  # rms rounding error of the denoiser; None: float32, which is negligible

    @classmethod
    def with_one_level(
        cls,
        stack: NDArray[np.float32],
        energy_ev: NDArray[np.float64],
        *,
        mask: NDArray[np.bool_],
        sigma: float,
        denoise_at: DenoiserAt,
        rng: np.random.Generator,
        **options: Any,
    ) -> Problem:
        """Return the problem of a stack (E, Y, X) in memory, without averages; `options` are other fields."""
        level = Level(stack, mask, sigma)
        return cls(level, level, 1, energy_ev, denoise_at, rng, **options)

    def on_the_coarse_level(self) -> Problem:
        """Return the same problem as if the averages were all there is."""
        return replace(self, full=self.coarse, scale=1)

    def on_one_level(self, level: Level[NDArray[np.float32]]) -> Problem:
        """Return the same problem for another level, which is both `coarse` and `full`."""
        return replace(self, coarse=level, full=level, scale=1)

    def denoise(
        self, images: NDArray[np.float32], level: AnyLevel, *, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Return `images` (K, Y, X) of a level denoised; `mask` is the level's own by default."""
        sigma = level.breadth * level.sigma
        return self.denoise_at(images, sigma, level.mask if mask is None else mask)

    def denoise_mirrored(
        self, images: NDArray[np.float32], level: AnyLevel, view: View = ()
    ) -> NDArray[np.float32]:
        """Return `images` mirrored, denoised, and mirrored back; 0 where pixels do not count."""
        axes = tuple(1 + axis for axis in view)
        mirrored = np.ascontiguousarray(np.flip(images, axes))
        denoised = self.denoise(mirrored, level, mask=np.ascontiguousarray(np.flip(level.mask, view)))
        return np.where(level.mask, np.flip(denoised, axes), np.float32(0))
