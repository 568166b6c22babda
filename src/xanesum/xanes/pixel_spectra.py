"""Spectra of all pixels as a few factors, with the standard error of every linear function of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.linalg.covariance import Covariance, NoiseCovariance
from xanesum.result import Denoised
from xanesum.result.spectrum_errors import SpectrumError, spectrum_errors
from xanesum.stack import load_stack, usable_mask, usable_weight

__all__ = ["PixelSpectra", "WeightedRow", "pixel_spectra_of"]

# for each pixel, the index of a row of an operator, and the weight of that row
WeightedRow = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class PixelSpectra:
    """Spectra of all pixels as a product, ``basis.T @ images``; a stack is its own images.

    An operator is a matrix, or a vector, that acts on a spectrum (E,).
    """

    energy_ev: NDArray[np.float64]  # (E,)
    basis: NDArray[np.float64] | None  # (K, E), or None for the identity
    images: NDArray[np.float32]  # (K or E, P)
    mixing: NDArray[np.float64]  # (K, S), errors of the images as mixtures of S independent sources
    errors: NDArray[np.float32]  # (S, P), standard errors of these sources; empty where they are unknown
    of_spectra: tuple[SpectrumError, ...]  # errors that a few spectra bring into all pixels
    noise: Covariance  # of the noise before denoising, in a pixel of mean noise
    noise_pixel: NDArray[np.float64]  # (P,), noise level over that of a pixel of mean noise
    mask: NDArray[np.bool_]  # (Y, X)
    source: xr.DataArray  # has the coordinates y and x
    reasons: tuple[str, ...]  # why errors may not hold, a sentence each; none if nothing is known

    def apply(self, operator: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the operator (..., E) as it acts on the images (..., K), in float32."""
        return self._inside(operator).astype(np.float32)

    def error(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard error of ``operator @ spectrum`` in every pixel, (P,); operator (E,)."""
        if self.basis is None:  # the error of a plain stack is not known
            return np.full(self.images.shape[1], np.nan)
        variance = (self._inside(operator) @ self.mixing) ** 2 @ self.errors**2
        for part in self.of_spectra:
            variance = variance + part.covariance.of(operator[None])[0, 0] * part.size**2
        return np.asarray(np.sqrt(variance))

    def error_of_mean(self, operator: NDArray[np.float64]) -> float:
        """Return the standard error of ``operator @ mean_spectrum``; operator (E,).

        Errors of the basis are common to all pixels, so that their signed mean counts.  Errors of the images
        average out as the noise does, because a denoiser keeps means.
        """
        used = self.mask.ravel()
        if self.basis is None or not used.any():
            return float("nan")
        row = operator[None]
        of_noise = self.noise.of(row)[0, 0] * np.mean(self.noise_pixel[used] ** 2) / used.sum()
        of_spectra = sum(
            part.covariance.of(row)[0, 0] * np.mean(part.size[used]) ** 2
            for part in self.of_spectra
            if part.is_common
        )
        return float(np.sqrt(of_noise + of_spectra))

    def error_of_pairs(
        self, operator: NDArray[np.float64], pairs: tuple[WeightedRow, WeightedRow], pixels: slice
    ) -> NDArray[np.float64]:
        """Return the standard error of the sum of two weighted rows of ``operator @ spectrum``, by pixel.

        The energy of a crossing or of a peak follows from two rows.  Errors of the images count as they act
        on the sum: an error that only scales a pixel's spectrum moves neither a crossing nor a peak.

        Parameters
        ----------
        operator : ndarray, shape (W, E)
        pairs : two of (ndarray, ndarray), each of shape (p,)
            Index of the row, and its weight, for each of `pixels`.
        pixels : slice
            The p pixels that are meant.
        """
        (i, a), (j, b) = pairs
        if self.basis is None:
            return np.full(len(i), np.nan)
        inside = self._inside(operator)
        weights = a[:, None] * inside[i] + b[:, None] * inside[j]
        variance = np.sum((weights @ self.mixing) ** 2 * self.errors[:, pixels].T ** 2, axis=1)
        for part in self.of_spectra:
            variance += _variance_of_pairs(part.covariance, operator, pairs) * part.size[pixels] ** 2
        return np.asarray(np.sqrt(variance))

    def gain_of_pairs(
        self,
        error: NDArray[np.float64],
        operator: NDArray[np.float64],
        pairs: tuple[WeightedRow, WeightedRow],
        pixels: slice,
    ) -> NDArray[np.float64]:
        """Return the variance of such sums before denoising, divided by that after it, `error` squared.

        The variance of counts falls with exposure, so an exposure longer by this factor would have been
        needed without denoising.
        """
        before = _variance_of_pairs(self.noise, operator, pairs)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(before * self.noise_pixel[pixels] ** 2 / error**2)

    def _inside(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the operator (..., E) in the basis, (..., K)."""
        return operator if self.basis is None else operator @ self.basis.T

    @property
    def mean_spectrum(self) -> NDArray[np.float64]:
        """Mean over the usable pixels, shape (E,)."""
        mean = self.images[:, self.mask.ravel()].mean(axis=1, dtype=np.float64)
        return np.asarray(mean if self.basis is None else mean @ self.basis)


def _variance_of_pairs(
    covariance: Covariance, operator: NDArray[np.float64], pairs: tuple[WeightedRow, WeightedRow]
) -> NDArray[np.float64]:
    """Return the variance (p,) of the sum of two weighted rows of ``operator @ spectrum``."""
    (i, a), (j, b) = pairs
    rows, at = np.unique(np.stack([i, j]), return_inverse=True)  # with few pixels, few rows count
    i, j = at.reshape(2, -1)
    of_rows = covariance.of(operator[rows])
    diagonal = np.diag(of_rows)
    return np.asarray(a**2 * diagonal[i] + 2 * a * b * of_rows[i, j] + b**2 * diagonal[j])


def pixel_spectra_of(data: Denoised | xr.DataArray | PixelSpectra) -> PixelSpectra:
    """Bring a result or a stack to one form, without the energies of weight 0; that form stays as it is.

    Raises
    ------
    EdgeError
        If the result has no component.
    StackError
        If a stack breaks the rules.
    """
    if isinstance(data, PixelSpectra):
        return data
    return _of_result(data) if isinstance(data, Denoised) else _of_stack(data)


def _of_result(result: Denoised) -> PixelSpectra:
    used = usable_weight(result.spectra.T)
    if result.rank == 0:
        raise EdgeError("the result has no component above the noise, so there is no edge to map")
    images = result.coefficients.values.reshape(result.rank, -1)
    sigma, common = result.sigma_used[used], result.sigma_common.values[used]
    return PixelSpectra(
        energy_ev=result.spectra.energy.values[used],
        basis=result.spectra.values[:, used],
        images=images,
        mixing=result.error_mixing.values,
        errors=result.error_images.values.reshape(result.error_mixing.shape[1], -1),
        of_spectra=tuple(spectrum_errors(result, used)),
        noise=NoiseCovariance(sigma**2, common[None]),
        noise_pixel=result.sigma_pixel.values.ravel(),
        mask=usable_mask(result.coefficients),
        source=result.coefficients,
        reasons=result.reasons,
    )


def _of_stack(stack: xr.DataArray) -> PixelSpectra:
    """Take the frames themselves as images; their errors are not known."""
    values = load_stack(stack, allow_missing=True, min_energies=2)
    used = usable_weight(stack)
    mask = usable_mask(stack) & np.isfinite(values[used]).all(axis=0)
    images = np.where(mask, values[used], 0).reshape(int(used.sum()), -1)
    return PixelSpectra(
        energy_ev=stack.energy.values[used],
        basis=None,
        images=images,
        mixing=np.zeros((0, 0)),
        errors=np.zeros((0, mask.size), np.float32),
        of_spectra=(),
        noise=NoiseCovariance(np.zeros(len(images)), np.zeros((0, len(images)))),
        noise_pixel=np.ones(mask.size),
        mask=mask,
        source=stack,
        reasons=("the errors of a stack that was not denoised are not known",),
    )
