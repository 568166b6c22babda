"""How the noise of a stack differs from white; a stack whose noise does not; the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.methods import Fit, Setting, fit_pilot
from xanesum.weights import (
    CommonNoise,
    CountVariance,
    Factors,
    Variance,
    find_common,
    fit_variance,
    left_uneven,
    separate,
)

__all__ = ["NoiseShape", "measure_shape"]

EVEN = 0.04  # rms of the logarithm of sigma up to which the noise is taken to be even
BY_CHANCE = 2.0  # times the error of that, which a small scan may show beside it
COMMON = 1.1  # times the noise, from which on what all energies share is more than chance
LAW_HOLDS = 1.1  # ratio of the noise to that which a law predicts, or its inverse, up to which it is used
MIN_ENERGIES = 8  # beyond the components of a pilot, for the noise to be known from what they leave over


@dataclass(frozen=True, slots=True, eq=False)
class NoiseShape:
    """How the noise of a stack differs from white, as far as that is known."""

    variance: Variance | None = None  # None: even
    factors: Factors | None = None  # ... of it, both or neither
    common: CommonNoise | None = None  # in the stack divided by the factors; None: nothing to speak of
    by_law: float | None = None  # noise over that which the counts' law predicts; None: no law known

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

    def evened(self, setting: Setting) -> Setting:
        """Return the setting with a stack of white noise, and its level."""
        level, values = setting.sigma, setting.values
        if self.factors is not None:
            level, values = self.factors.level, _divided(values, self.factors)
        elif self.common is not None:
            values = values.copy()
        if self.common is not None:
            self.common.reduce(values)
        return replace(setting, values=values, sigma=level)

    def multiplied_back(self, fit: Fit, level: float) -> Fit:
        """Return the fit of the stack as it was before `evened`."""
        if self.factors is None and self.common is None:
            return fit
        along, images = fit.spectra[: fit.rank], fit.images[: fit.rank]
        spectra = along if self.common is None else self.common.restored(along)
        if self.variance is None or self.factors is None:
            return fit.multiplied_back(spectra, np.ones(images.shape[1:]), np.ones_like(images, np.float64))
        spectra = spectra * (self.factors.energy / level)
        clean = images * self.factors.pixel.astype(np.float32)
        left = left_uneven(self.variance, self.factors, spectra, clean, along)
        return fit.multiplied_back(spectra, self.factors.pixel, left)

    def common_sigma(self, level: float) -> NDArray[np.float64] | None:
        """Return the standard deviation (E,) of what all energies share, for a pixel of mean noise."""
        if self.common is None:
            return None
        energy = 1.0 if self.factors is None else self.factors.energy / level
        return self.common.sigma(level) * energy


def measure_shape(setting: Setting, *, divided_by_flat: bool, law: CountVariance | None = None) -> NoiseShape:
    """Measure how the noise differs from white.

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
        return NoiseShape()
    variance: Variance = fit_variance(setting.values, spectra, pixels, mask=setting.mask, rng=setting.rng)
    factors = separate(variance, spectra, pixels, mask=setting.mask)
    shape = NoiseShape(variance, factors)
    if law is not None:
        predicted = separate(law, spectra, pixels, mask=setting.mask)
        shape = replace(shape, by_law=factors.level / predicted.level)
        if shape.law_holds:
            shape = replace(shape, variance=law, factors=predicted)
    if factors.unevenness <= np.hypot(EVEN, BY_CHANCE * variance.error):
        shape = NoiseShape(by_law=shape.by_law)
    if not divided_by_flat:
        return shape
    even = shape.evened(setting)
    along = np.ones(len(even.values)) if shape.factors is None else 1 / shape.factors.energy
    common = find_common(even.values, along, even.sigma, mask=even.mask, rng=even.rng)
    return replace(shape, common=common) if common.ratio > COMMON else shape


def _divided(values: NDArray[np.float32], factors: Factors) -> NDArray[np.float32]:
    """Return a stack whose noise has its mean level everywhere."""
    pixel, energy = (np.float32(1) / factor.astype(np.float32) for factor in (factors.pixel, factors.energy))
    even = np.empty_like(values)
    for out, frame, share in zip(even, values, energy * np.float32(factors.level), strict=True):
        np.multiply(frame, pixel * share, out=out)
    return even
