"""Model how noise departs from white; whiten a problem by it; undo it in a fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.binning import mean_over_blocks
from xanesum.linalg.subspace import project
from xanesum.method.fit import Fit
from xanesum.method.problem import AnyLevel, Level, NoiseOfImages, Problem
from xanesum.method.sum_plus import fit_pilot
from xanesum.noise.common import CommonNoise, find_common
from xanesum.noise.level import sigma_per_energy
from xanesum.noise.variance import (
    CountVariance,
    NoiseFactors,
    Variance,
    fit_variance,
    left_uneven,
    separate,
)
from xanesum.streaming.interface import Rescaling, StackInBlocks

__all__ = ["NoiseLevels", "NoiseModel", "UnevenNoise", "measure_noise"]

EVEN = 0.04  # noise with less spread than this counts as even (rms of the logarithm of sigma)
BY_CHANCE = 2.0  # a small scan may show this many times the spread's own error in addition
COMMON = 1.1  # noise common to all energies counts if it is at least this many times the other noise
STRONGLY = 6.0  # the pilot is denoised again at this many times its noise, for the divisor of the stack
LAW_HOLDS = 1.1  # a law is used if measured and predicted noise differ by at most this factor
MIN_ENERGIES = 8  # energies beyond the pilot's components that a measurement of the noise needs


@dataclass(frozen=True, slots=True, eq=False)
class UnevenNoise:
    """Noise that differs over pixels and energies, and the clean stack on which it depends."""

    variance: Variance
    factors: NoiseFactors  # nearest product of a factor for each pixel and one for each energy
    spectra: NDArray[np.float64]  # (K, E), of the clean stack as far as it is known
    images: NDArray[np.float32]  # (K, Y, X)

    def divide(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the stack (E, Y, X) divided by the factors, with noise of their mean level."""
        factors = self.factors
        pixel, energy = (
            np.float32(1) / f.astype(np.float32) for f in (factors.sigma_pixel, factors.sigma_energy)
        )
        even = np.empty_like(values)
        for out, frame, share in zip(even, values, energy * np.float32(factors.level), strict=True):
            np.multiply(frame, pixel * share, out=out)
        return even

    def image_noise(self, spectra: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the noise of images (K, Y, X) of the divided stack, relative to its mean level."""
        return left_uneven(self.variance, self.factors, self.spectra, self.images, spectra)


@dataclass(frozen=True, slots=True, eq=False)
class NoiseLevels:
    """Noise levels of a stack, for the labels of a result."""

    sigma: float  # mean level, unit of the stack
    energy: NDArray[np.float64]  # (E,), at each energy, unit of the stack
    pixel: NDArray[np.float64] | None = None  # (Y, X), relative to the mean; None: 1 everywhere
    common: NDArray[np.float64] | None = None  # (E,), of noise common to all energies; None: 0


@dataclass(frozen=True, slots=True, eq=False)
class NoiseModel:
    """How the noise of a stack departs from white, as far as it is known."""

    uneven: UnevenNoise | None = None  # None: even
    common: CommonNoise | None = None  # in the divided stack; None: negligible
    by_law: float | None = None  # measured noise over that of the counts' law; None: no law known

    @property
    def is_white(self) -> bool:
        """Whether there is nothing to whiten."""
        return self.uneven is None and self.common is None

    @property
    def factors(self) -> NoiseFactors | None:
        """Divisors of pixels and energies; None where they are 1."""
        return None if self.uneven is None else self.uneven.factors

    @property
    def sigma_pixel(self) -> NDArray[np.float64] | None:
        """Divisor of each pixel (Y, X); None where it is 1."""
        return None if self.factors is None else self.factors.sigma_pixel

    @property
    def law_holds(self) -> bool:
        """Whether a law of the counts describes the noise."""
        return self.by_law is not None and abs(np.log(self.by_law)) < np.log(LAW_HOLDS)

    @property
    def description(self) -> str:
        """The model in words."""
        parts = ["white"] if self.factors is None else []
        if self.factors is not None:
            parts.append(f"uneven, product of factors, misfit {self.factors.misfit:.3f}")
        if self.common is not None:
            parts.append(f"{self.common.ratio:.3g} times as much where all energies are the same")
        if self.by_law is not None:
            agrees = "as" if self.law_holds else "not as"
            parts.append(f"{agrees} the law of the counts predicts ({self.by_law:.3f} of it)")
        return "; ".join(parts)

    def whiten(self, problem: Problem) -> Problem:
        """Return the problem of a stack with noise as even as the factors can make it."""
        if self.is_white:
            return problem
        stack = problem.full.stack
        if not isinstance(stack, np.ndarray):
            return self._whiten_blocks(problem, stack)
        level = problem.coarse
        values, sigma, image_noise = level.stack, level.sigma, None
        if self.uneven is not None:
            values, sigma = self.uneven.divide(values), self.uneven.factors.level
            image_noise = self.uneven.image_noise
        else:
            values = values.copy()
        if self.common is not None:
            self.common.reduce(values)
        return problem.on_one_level(Level(values, level.mask, sigma, image_noise))

    def _whiten_blocks(self, problem: Problem, stack: StackInBlocks) -> Problem:
        """Return the problem of a stack that is whitened while it is read, and of its averages."""
        coarse, full = problem.coarse, problem.full
        assert isinstance(full.stack, StackInBlocks)
        n_energies, sigma, image_noise = coarse.n_energies, full.sigma, None
        pixel, energy = np.ones(full.mask.shape, np.float32), np.ones(n_energies)
        along, excess = np.zeros(n_energies), 0.0
        if self.uneven is not None:
            factors = self.uneven.factors
            sigma, image_noise = factors.level, self.uneven.image_noise
            pixel, energy = (1 / factors.sigma_pixel).astype(np.float32), sigma / factors.sigma_energy
        if self.common is not None:
            along, excess = self.common.along, 1 - 1 / self.common.ratio
        stack = stack.rescaled(Rescaling(pixel, energy, along, excess))
        averages = stack.average(problem.scale)
        noise_of_averages = None
        if image_noise is not None:
            noise_of_averages = partial(_averaged_noise, image_noise, full.mask, problem.scale)
        coarse_sigma = sigma * coarse.sigma / full.sigma
        return replace(
            problem,
            coarse=Level(averages.values, averages.mask, coarse_sigma, noise_of_averages),
            full=Level(stack, full.mask, sigma, image_noise, averages.sum_of_squares),
        )

    def unwhiten(self, fit: Fit, whitened: AnyLevel) -> Fit:
        """Return the fit in terms of the stack as it was before `whiten`.

        Parameters
        ----------
        fit : Fit
            Of the whitened problem.
        whitened : Level
            Full resolution of that problem.
        """
        if self.is_white:
            return fit
        spectra = fit.spectra[: fit.rank]
        if self.common is not None:
            spectra = self.common.restored(spectra)
        if self.factors is None:
            return fit.unwhiten(spectra, np.ones(fit.images.shape[1:]))
        energy = self.factors.sigma_energy / whitened.sigma
        return fit.unwhiten(spectra * energy, self.factors.sigma_pixel, energy)

    def levels(self, whitened: Problem, fit: Fit) -> NoiseLevels:
        """Return the noise levels of the stack before it was whitened; `fit` is of the whitened problem."""
        coarse, sigma = whitened.coarse, whitened.full.sigma
        if self.factors is None:
            spectra = fit.spectra[: max(fit.rank, 1)]
            energy = sigma_per_energy(coarse.stack, spectra, mask=coarse.mask, rng=whitened.rng)
            energy *= sigma / coarse.sigma
        else:
            energy = self.factors.sigma_energy
        return NoiseLevels(sigma, energy, self.sigma_pixel, self.common_sigma(sigma))

    def common_sigma(self, sigma: float) -> NDArray[np.float64] | None:
        """Return the standard deviation (E,) of noise common to all energies, for a pixel of mean noise."""
        if self.common is None:
            return None
        energy = 1.0 if self.factors is None else self.factors.sigma_energy / sigma
        return self.common.sigma(sigma) * energy


def measure_noise(problem: Problem, *, divided_by_flat: bool, law: CountVariance | None = None) -> NoiseModel:
    """Measure how the noise departs from white.

    The divisor must be independent of the stack's noise; even a small residue biases the result, and SURE
    cannot see it.  The pilot is therefore denoised again, strongly, which keeps the borders of the sample.

    A law of the counts' noise is more precise than a measurement on the stack.  But where the stack shows
    another noise level than the law predicts, as after resampling, the measurement is used.

    Parameters
    ----------
    problem : Problem
    divided_by_flat : bool
        Whether the frames were divided by one image, whose noise they then share.
    law : CountVariance, optional
        For the problem's energies.
    """
    level = problem.coarse
    pilot = fit_pilot(problem)
    spectra, images = pilot.spectra[: pilot.rank], pilot.images[: pilot.rank]
    if level.n_energies - len(spectra) < MIN_ENERGIES:
        return NoiseModel()
    variance: Variance = fit_variance(
        level.stack,
        spectra,
        images,
        mask=level.mask,
        scale=problem.scale,
        whole_shape=problem.full.mask.shape,
        rng=problem.rng,
    )
    images = problem.denoise_at(images, STRONGLY * level.sigma, level.mask) / np.float32(problem.scale)
    factors = separate(variance, spectra, images, mask=level.mask, scale=problem.scale)
    model = NoiseModel(UnevenNoise(variance, factors, spectra, images))
    if law is not None:
        predicted = separate(law, spectra, images, mask=level.mask, scale=problem.scale)
        model = replace(model, by_law=factors.level / predicted.level)
        if model.law_holds:
            model = replace(model, uneven=UnevenNoise(law, predicted, spectra, images))
    if factors.unevenness <= np.hypot(EVEN, BY_CHANCE * variance.error):
        model = NoiseModel(by_law=model.by_law)
    elif problem.scale > 1 and model.uneven is not None:
        model = replace(model, uneven=_at_full_resolution(model.uneven, problem))
    return _with_common_noise(model, problem) if divided_by_flat else model


def _with_common_noise(model: NoiseModel, problem: Problem) -> NoiseModel:
    """Return the model with noise common to all energies, as of a flat image, where there is some."""
    whitened = model.whiten(problem)
    level = whitened.coarse
    along = np.ones(level.n_energies) if model.factors is None else 1 / model.factors.sigma_energy
    common = find_common(level.stack, along, level.sigma, mask=level.mask, rng=whitened.rng)
    return replace(model, common=common) if common.ratio > COMMON else model


def _at_full_resolution(uneven: UnevenNoise, problem: Problem) -> UnevenNoise:
    """Return the same noise for a clean stack at full resolution, instead of averages."""
    level = problem.full
    images = project(uneven.spectra, level.stack) * level.mask
    images = problem.denoise_at(images, STRONGLY * level.sigma, level.mask)
    factors = separate(uneven.variance, uneven.spectra, images, mask=level.mask)
    return UnevenNoise(uneven.variance, factors, uneven.spectra, images)


def _averaged_noise(
    image_noise: NoiseOfImages, mask: NDArray[np.bool_], scale: int, spectra: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the noise of averages over blocks of pixels, of the images of `spectra`."""
    variance = mean_over_blocks(image_noise(spectra) ** 2, mask, scale)
    return np.asarray(np.sqrt(variance), np.float32)
