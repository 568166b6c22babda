"""How the noise of a stack differs from white; a stack whose noise does not; the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.binning import mean_over_blocks
from xanesum.linalg.subspace import project
from xanesum.method.fit import Fit
from xanesum.method.problem import NoiseOfImages, Setting, Whole
from xanesum.method.sum_plus import fit_pilot
from xanesum.noise.common import CommonNoise, find_common
from xanesum.noise.variance import CountVariance, NoiseFactors, Variance, fit_variance, left_uneven, separate
from xanesum.streaming.blocked_stack import Rescaling

__all__ = ["NoiseModel", "UnevenNoise", "measure_noise"]

EVEN = 0.04  # rms of the logarithm of sigma up to which the noise is taken to be even
BY_CHANCE = 2.0  # times the error of that, which a small scan may show beside it
COMMON = 1.1  # times the noise, from which on what all energies share is more than chance
STRONGLY = 6.0  # times its noise, at which a pilot is denoised again for what the stack is divided by
LAW_HOLDS = 1.1  # ratio of the noise to that which a law predicts, or its inverse, up to which it is used
MIN_ENERGIES = 8  # beyond the components of a pilot, for the noise to be known from what they leave over


@dataclass(frozen=True, slots=True, eq=False)
class UnevenNoise:
    """Noise that differs over pixels and energies, and the clean stack with which it does."""

    variance: Variance
    factors: NoiseFactors  # of the variance
    spectra: NDArray[np.float64]  # (K, E), of the clean stack as far as it is known
    images: NDArray[np.float32]  # (K, Y, X)

    def divided(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the stack with noise of its mean level, as far as factors make it so."""
        factors = self.factors
        pixel, energy = (np.float32(1) / f.astype(np.float32) for f in (factors.pixel, factors.energy))
        even = np.empty_like(values)
        for out, frame, share in zip(even, values, energy * np.float32(factors.level), strict=True):
            np.multiply(frame, pixel * share, out=out)
        return even

    def image_noise(self, spectra: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the noise of images (K, Y, X) of the divided stack, relative to its mean level."""
        return left_uneven(self.variance, self.factors, self.spectra, self.images, spectra)


@dataclass(frozen=True, slots=True, eq=False)
class NoiseModel:
    """How the noise of a stack differs from white, as far as that is known."""

    uneven: UnevenNoise | None = None  # None: even
    common: CommonNoise | None = None  # in the divided stack; None: nothing to speak of
    by_law: float | None = None  # noise over that which the counts' law predicts; None: no law known

    @property
    def factors(self) -> NoiseFactors | None:
        """What pixels and energies are divided by; None where that is 1."""
        return None if self.uneven is None else self.uneven.factors

    @property
    def pixel(self) -> NDArray[np.float64] | None:
        """What each pixel is divided by (Y, X); None where it is 1."""
        return None if self.factors is None else self.factors.pixel

    @property
    def said(self) -> str:
        """The same in words."""
        parts = ["white"] if self.factors is None else []
        if self.factors is not None:
            parts.append(f"uneven, product of factors, misfit {self.factors.misfit:.3f}")
        if self.common is not None:
            parts.append(f"{self.common.ratio:.3g} times as much where all energies are the same")
        if self.by_law is not None:
            agrees = "as" if self.law_holds else "not as"
            parts.append(f"{agrees} the law of the counts predicts ({self.by_law:.3f} of it)")
        return "; ".join(parts)

    @property
    def law_holds(self) -> bool:
        """Whether there is a law of the counts that describes the noise."""
        return self.by_law is not None and abs(np.log(self.by_law)) < np.log(LAW_HOLDS)

    def whiten(self, setting: Setting) -> Setting:
        """Return the setting with a stack of noise as even as factors can make it, and what they leave."""
        if setting.whole is not None:
            return self._evened_whole(setting, setting.whole)
        level, values, image_noise = setting.sigma, setting.values, None
        if self.uneven is not None:
            level, values = self.uneven.factors.level, self.uneven.divided(values)
            image_noise = self.uneven.image_noise
        elif self.common is not None:
            values = values.copy()
        if self.common is not None:
            self.common.reduce(values)
        return replace(setting, values=values, sigma=level, image_noise=image_noise)

    def _evened_whole(self, setting: Setting, whole: Whole) -> Setting:
        """Return the setting with averages of a stack that is made even on the way."""
        if self.uneven is None and self.common is None:
            return setting
        level, n_energies, image_noise = whole.sigma, len(setting.values), None
        pixel, energy = np.ones(whole.mask.shape, np.float32), np.ones(n_energies)
        along, excess = np.zeros(n_energies), 0.0
        if self.uneven is not None:
            factors = self.uneven.factors
            level, image_noise = factors.level, self.uneven.image_noise
            pixel, energy = (1 / factors.pixel).astype(np.float32), level / factors.energy
        if self.common is not None:
            along, excess = self.common.along, 1 - 1 / self.common.ratio
        stack = whole.stack.rescaled(Rescaling(pixel, energy, along, excess))
        averages = stack.average(whole.scale)
        seen = replace(whole, stack=stack, sigma=level, energy=averages.energy, image_noise=image_noise)
        return replace(
            setting,
            values=averages.values,
            mask=averages.mask,
            sigma=level * setting.sigma / whole.sigma,
            image_noise=None if image_noise is None else partial(_averaged_noise, image_noise, whole),
            whole=seen,
        )

    def unwhiten(self, fit: Fit, level: float) -> Fit:
        """Return the fit of the stack as it was before `whiten`."""
        if self.uneven is None and self.common is None:
            return fit
        spectra = fit.spectra[: fit.rank]
        if self.common is not None:
            spectra = self.common.restored(spectra)
        if self.factors is None:
            return fit.unwhiten(spectra, np.ones(fit.images.shape[1:]))
        return fit.unwhiten(spectra * (self.factors.energy / level), self.factors.pixel)

    def common_sigma(self, level: float) -> NDArray[np.float64] | None:
        """Return the standard deviation (E,) of what all energies share, for a pixel of mean noise."""
        if self.common is None:
            return None
        energy = 1.0 if self.factors is None else self.factors.energy / level
        return self.common.sigma(level) * energy


def measure_noise(setting: Setting, *, divided_by_flat: bool, law: CountVariance | None = None) -> NoiseModel:
    """Measure how the noise differs from white.

    What the stack is divided by must not know its noise: a clean image of high contrast, divided by the
    little that a pilot keeps of the noise, holds as much of it as the noise itself, and no estimate of risk
    can tell.  The pilot is therefore denoised again, and strongly, which keeps the borders of the sample.

    A law of the counts' noise is better than what the stack alone tells; where the stack shows another level
    of noise than the law predicts, as after resampling, the stack is believed.

    Parameters
    ----------
    setting : Setting
    divided_by_flat : bool
        Whether the frames were divided by an image, whose noise they may then share.
    law : CountVariance, optional
        For the setting's energies.
    """
    pilot = fit_pilot(setting)
    spectra, pixels = pilot.spectra[: pilot.rank], pilot.images[: pilot.rank]
    if len(setting.values) - len(spectra) < MIN_ENERGIES:
        return NoiseModel()
    full, scale = setting.full, 1 if setting.whole is None else setting.whole.scale
    variance: Variance = fit_variance(
        setting.values,
        spectra,
        pixels,
        mask=setting.mask,
        scale=scale,
        whole_shape=full.mask.shape,
        rng=setting.rng,
    )
    pixels = setting.denoise_at(pixels, STRONGLY * setting.sigma, setting.mask) / np.float32(scale)
    factors = separate(variance, spectra, pixels, mask=setting.mask, scale=scale)
    shape = NoiseModel(UnevenNoise(variance, factors, spectra, pixels))
    if law is not None:
        predicted = separate(law, spectra, pixels, mask=setting.mask, scale=scale)
        shape = replace(shape, by_law=factors.level / predicted.level)
        if shape.law_holds:
            shape = replace(shape, uneven=UnevenNoise(law, predicted, spectra, pixels))
    if factors.unevenness <= np.hypot(EVEN, BY_CHANCE * variance.error):
        shape = NoiseModel(by_law=shape.by_law)
    elif setting.whole is not None and shape.uneven is not None:
        shape = replace(shape, uneven=_seen_sharply(shape.uneven, full))
    if not divided_by_flat:
        return shape
    even = shape.whiten(setting)
    along = np.ones(len(even.values)) if shape.factors is None else 1 / shape.factors.energy
    common = find_common(even.values, along, even.sigma, mask=even.mask, rng=even.rng)
    return replace(shape, common=common) if common.ratio > COMMON else shape


def _seen_sharply(uneven: UnevenNoise, full: Setting) -> UnevenNoise:
    """Return the same from a clean stack at full resolution, instead of from averages."""
    images = project(uneven.spectra, full.stack) * full.mask
    images = full.denoise_at(images, STRONGLY * full.sigma, full.mask)
    factors = separate(uneven.variance, uneven.spectra, images, mask=full.mask)
    return UnevenNoise(uneven.variance, factors, uneven.spectra, images)


def _averaged_noise(
    image_noise: NoiseOfImages, whole: Whole, spectra: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the noise of averages over blocks of pixels, of images of `spectra`."""
    variance = mean_over_blocks(image_noise(spectra) ** 2, whole.mask, whole.scale)
    return np.asarray(np.sqrt(variance), np.float32)
