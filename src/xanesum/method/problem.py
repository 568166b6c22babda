"""What a method works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.subspace import StackSource
from xanesum.method.sure import (
    stack_energy,
)
from xanesum.streaming.blocked_stack import BlockedStack

__all__ = ["Setting", "View", "Whole"]
View = tuple[int, ...]  # axes of an image, 0 for y and 1 for x, that are mirrored
NoiseOfImages = Callable[[NDArray[np.float64]], NDArray[np.float32]]
Rounding = Callable[[NDArray[np.float32], float], NDArray[np.float64]]
DenoiserAt = Callable[[NDArray[np.float32], float, NDArray[np.bool_]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """The stack at full resolution, from which images are taken once the spectra are known."""

    stack: BlockedStack  # (E, Y, X), finite where pixels count
    scale: int  # pixels each way of the averages
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    sigma: float
    energy: float  # sum of squares of its values where pixels count
    image_noise: NoiseOfImages | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What a method works on, and with.

    Of a large stack the values are averages over blocks of pixels, in which spectra are sought; images are
    taken from the whole of it at last.
    """

    values: NDArray[np.float32]  # (E, Y, X), finite everywhere
    energy_ev: NDArray[np.float64]  # (E,)
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    sigma: float
    denoise_at: DenoiserAt  # images (K, Y, X), a noise level and a mask (Y, X) -> images
    rng: np.random.Generator
    n_probes: int = 4
    progress: Callable[[str, float], None] = field(default=lambda step, share: None)
    image_noise: NoiseOfImages | None = None  # spectra -> noise relative to sigma; None: 1 everywhere
    whole: Whole | None = None  # None: the values are all there is
    rounding: Rounding | None = None  # images (K, Y, X), sigma -> what the denoiser rounds by, in its units

    @property
    def full(self) -> Setting:
        """The setting at full resolution; only its `stack` is of it, and not its values."""
        if self.whole is None:
            return self
        whole = self.whole
        return replace(self, mask=whole.mask, sigma=whole.sigma, image_noise=whole.image_noise)

    @property
    def stack(self) -> NDArray[np.float32] | StackSource:
        """The stack at full resolution."""
        return self.values if self.whole is None else self.whole.stack

    @property
    def energy(self) -> float:
        """Sum of squares of the stack at full resolution, where pixels count."""
        return stack_energy(self.values, self.mask) if self.whole is None else self.whole.energy

    def noise_of(self, spectra: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the noise of the images of `spectra` (K, E), relative to sigma: (K, Y, X), or (K, 1, 1)."""
        if self.image_noise is None or not len(spectra):
            return np.ones((len(spectra), 1, 1), np.float32)
        return self.image_noise(spectra)

    def denoise(self, images: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return `images` denoised at the setting's noise level."""
        return self.denoise_at(images, self.sigma, mask)

    def denoised(self, images: NDArray[np.float32], view: View = ()) -> NDArray[np.float32]:
        """Return `images` denoised, mirrored by `view` meanwhile; 0 where pixels do not count."""
        axes = tuple(1 + axis for axis in view)
        seen = np.ascontiguousarray(np.flip(images, axes))
        denoised = self.denoise(seen, np.ascontiguousarray(np.flip(self.mask, view)))
        return np.where(self.mask, np.flip(denoised, axes), np.float32(0))
