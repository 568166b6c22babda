"""Spectra of all pixels with errors drawn as they are stated: any map of them has its errors, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import StackError
from xanesum.linalg.error_fields import ErrorField
from xanesum.result import Denoised
from xanesum.result.spectrum_errors import (
    SpectrumError,
    hidden_noise,
    noise_of_sources,
    projection,
    split_errors,
)
from xanesum.stack import usable_mask, usable_weight
from xanesum.storage.lazy import each_frame
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = ["ErrorDraws", "measured_residual"]

# y, x in px; noise that is alike over larger distances is not found
LAGS = tuple((dy, dx) for dy in range(3) for dx in range(-2, 3) if (dy, dx) > (0, 0))

# from a residual (K, P) of measured images to what is added to the denoised images
Correction = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class ErrorDraws:
    """Draws of the spectra of a result.

    A draw is the result plus errors of the size that the result states: those of the images, alike in
    neighbouring pixels as far as the denoiser made them alike (`xanesum.linalg.error_fields`), and those that
    all pixels share.  Draws give the error of what no formula covers: the mean of a particle, its spread, a
    profile.  They are a parametric bootstrap of the factors, and need no denoising.
    """

    spectra: PixelSpectra
    noise: NDArray[np.float32]  # (S, Y, X), level of the noise of the sources of the images
    of_images: tuple[ErrorField, ...]  # of the sources of the images
    lost: NDArray[np.float32]  # (S, Y, X), standard error of them by shrinkage, in all pixels alike
    common: tuple[SpectrumError, ...]  # one random spectrum each
    own: tuple[tuple[NDArray[np.float64], ErrorField], ...]  # spectrum (E,), its image

    @classmethod
    def of(cls, result: Denoised, *, alike: float = 1.0) -> ErrorDraws:
        """Return the draws of a result; `alike` pixels share their noise (`measured_residual`).

        Raises
        ------
        EdgeError
            If the result has no component.
        """
        spectra, used = pixel_spectra_of(result), usable_weight(result.spectra.T)
        noise = (np.sqrt(alike) * noise_of_sources(result, used)).astype(np.float32)
        sizes, lost = split_errors(result)
        fields = tuple(map(ErrorField.of, sizes, noise))
        common = [part for part in spectra.of_spectra if part.is_common]
        own = [_own(result, part, used) for part in spectra.of_spectra if not part.is_common]
        return cls(spectra, noise, fields, lost, tuple(common), tuple(own))

    def draw(self, rng: np.random.Generator, correction: Correction | None = None) -> PixelSpectra:
        """Return the spectra with one error of every kind, whose own errors are 0.

        Where a correction is given, it acts on the draw as it acted on the result: it gets the noise that was
        drawn, less the error that the denoiser would have left of it.
        """
        basis, images = self.spectra.basis, self.spectra.images
        if basis is None:
            raise StackError("the errors of a stack that was not denoised are not known")
        if self.of_images:
            errors, white = (
                np.stack(each) for each in zip(*(f.draw(rng) for f in self.of_images), strict=True)
            )
            mixing = self.spectra.mixing.astype(np.float32)
            errors = errors + rng.standard_normal((len(errors), 1, 1), dtype=np.float32) * self.lost
            errors = mixing @ errors.reshape(len(errors), -1)
            images = images + errors
            if correction is not None:
                noise = mixing @ (self.noise * white).reshape(len(white), -1)
                images = images + correction(noise - errors)
        more = [(part.covariance.drawn(1, rng)[0], part.size) for part in self.common]
        more += [(spectrum, field.draw(rng)[0].ravel()) for spectrum, field in self.own]
        if more:
            basis = np.vstack([basis, *(row for row, _ in more)])
            images = np.vstack([images, *(image for _, image in more)]).astype(np.float32)
        nothing = np.zeros((0, images.shape[1]), np.float32)
        return replace(
            self.spectra,
            basis=basis,
            images=images,
            mixing=np.zeros((len(basis), 0)),
            errors=nothing,
            of_spectra=(),
        )


def measured_residual(result: Denoised, stack: xr.DataArray) -> tuple[NDArray[np.float32], float]:
    """Return the measured images less the denoised ones, (K, P), and how many pixels share their noise.

    The images are those of the stack, projected on the spectra.  Values that were not measured count as if
    they were as the result says.  Noise of neighbours is alike after resampling, or in some detectors; then
    the variance of a mean is larger than that of independent pixels, by the sum of the correlations.

    Raises
    ------
    StackError
        If the stack has another size than the result.
    """
    if stack.shape != result.shape:
        raise StackError(
            f"the scan has shape {stack.shape}, but its result has {result.shape} (energy, y, x)"
        )
    used = usable_weight(stack) & usable_weight(result.spectra.T)
    to_images = np.zeros((result.rank, len(used)), np.float32)
    to_images[:, used] = projection(result, used)
    spectra = result.spectra.values.astype(np.float32)
    images = result.coefficients.values.reshape(result.rank, -1)
    mask = usable_mask(result.coefficients).ravel()
    residual, products = np.zeros_like(images), np.zeros(1 + len(LAGS))

    def left_of(e: int, frame: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        left = frame.astype(np.float32).ravel() - spectra[:, e] @ images
        left = np.where(np.isfinite(left) & mask, left, np.float32(0))
        return left, _products(left.reshape(frame.shape))

    for e, (left, found) in enumerate(each_frame(stack, left_of)):
        if used[e]:
            residual += np.outer(to_images[:, e], left)
            products += found / result.sigma_used[e] ** 2 if result.sigma_used[e] > 0 else 0.0
    alike = 1 + 2 * products[1:].sum() / products[0] if products[0] > 0 else 1.0
    return residual, float(max(1.0, alike))


def _products(left: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum of the squares of an image (Y, X), and of its products with itself at each of LAGS."""
    n_y, n_x = left.shape
    moved = (
        np.sum(left[dy:, max(dx, 0) : n_x + min(dx, 0)] * left[: n_y - dy, max(-dx, 0) : n_x - max(dx, 0)])
        for dy, dx in LAGS
    )
    return np.array([np.sum(left**2), *moved], np.float64)


def _own(
    result: Denoised, part: SpectrumError, used: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], ErrorField]:
    """Return the spectrum and the image of what noise may hide, whose error every pixel has on its own."""
    level = hidden_noise(result, part.covariance, used)
    return result.hidden_spectrum.values[used], ErrorField.of(part.size.reshape(level.shape), level)
