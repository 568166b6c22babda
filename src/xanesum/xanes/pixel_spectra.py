"""Spectra of all pixels as a few factors, with the standard error of every linear function of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.stack import SHIFT_ERRORS, load_stack, usable_mask, usable_weight

__all__ = ["PixelSpectra", "WeightedRow", "pixel_spectra_of"]

# for each pixel, the index of a row of an operator, and the weight of that row
WeightedRow = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumError:
    """An error of the spectra of all pixels: one random spectrum, times an image."""

    covariance: NDArray[np.float64]  # (E, E), of the spectrum
    size: NDArray[np.float32]  # (P,)
    is_common: bool = True  # whether all pixels have the same random spectrum, so that a mean has it too


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
    noise: NDArray[np.float64]  # (E, E), covariance of the noise before denoising, in a pixel of mean noise
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
            variance = variance + (operator @ part.covariance @ operator) * part.size**2
        return np.asarray(np.sqrt(variance))

    def error_of_mean(self, operator: NDArray[np.float64]) -> float:
        """Return the standard error of ``operator @ mean_spectrum``; operator (E,).

        Errors of the basis are common to all pixels.  Those of the images average out as the noise does.
        """
        used = self.mask.ravel()
        if self.basis is None or not used.any():
            return float("nan")
        of_noise = operator @ self.noise @ operator * np.mean(self.noise_pixel[used] ** 2) / used.sum()
        of_spectra = sum(
            operator @ part.covariance @ operator * np.mean(part.size[used]) ** 2
            for part in self.of_spectra
            if part.is_common
        )
        return float(np.sqrt(of_noise + of_spectra))

    def covariance_of_mean(self) -> NDArray[np.float64] | None:
        """Return the covariance (E, E) of the mean spectrum, or None where it is not known."""
        used = self.mask.ravel()
        if self.basis is None or not used.any():
            return None
        covariance = self.noise * (np.mean(self.noise_pixel[used] ** 2) / used.sum())
        for part in self.of_spectra:
            if part.is_common:
                covariance = covariance + part.covariance * float(np.mean(part.size[used])) ** 2
        return np.asarray(covariance)

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
            variance += (
                _variance_of_pairs(operator @ part.covariance @ operator.T, pairs) * part.size[pixels] ** 2
            )
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
        before = _variance_of_pairs(operator @ self.noise @ operator.T, pairs)
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
    covariance: NDArray[np.float64], pairs: tuple[WeightedRow, WeightedRow]
) -> NDArray[np.float64]:
    """Return the variance (p,) of the sum of two weighted rows, whose covariance (W, W) is given."""
    (i, a), (j, b) = pairs
    diagonal = np.diag(covariance)
    return np.asarray(a**2 * diagonal[i] + 2 * a * b * covariance[i, j] + b**2 * diagonal[j])


def pixel_spectra_of(data: Denoised | xr.DataArray) -> PixelSpectra:
    """Bring a result or a stack to one form, without the energies of weight 0.

    Raises
    ------
    EdgeError
        If the result has no component.
    StackError
        If a stack breaks the rules.
    """
    return _of_result(data) if isinstance(data, Denoised) else _of_stack(data)


def _of_result(result: Denoised) -> PixelSpectra:
    used = usable_weight(result.spectra.T)
    if result.rank == 0:
        raise EdgeError("the result has no component above the noise, so there is no edge to map")
    images = result.coefficients.values.reshape(result.rank, -1)
    common = result.sigma_common[used]
    return PixelSpectra(
        energy_ev=result.spectra.energy.values[used],
        basis=result.spectra.values[:, used],
        images=images,
        mixing=result.error_mixing.values,
        errors=result.error_images.values.reshape(result.error_mixing.shape[1], -1),
        of_spectra=tuple(_spectrum_errors(result, images, used)),
        noise=np.diag(result.sigma_used[used] ** 2) + np.outer(common, common),
        noise_pixel=result.sigma_pixel.values.ravel(),
        mask=usable_mask(result.coefficients),
        source=result.coefficients,
        reasons=result.reasons,
    )


def _spectrum_errors(
    result: Denoised, images: NDArray[np.float32], used: NDArray[np.bool_]
) -> Iterator[SpectrumError]:
    """Yield the errors of the fitted spectra, of shifts, of what noise may hide, and of removed drift."""
    sources = np.linalg.pinv(result.error_mixing.values).astype(np.float32) @ images
    of_spectra, freedom = result.error_spectra.values[:, used], result.error_freedom.values[:, used]
    for source, error, free in zip(sources, of_spectra, freedom, strict=True):
        yield SpectrumError(_smoothed_covariance(error, free), np.abs(source))
    yield from _shift_errors(result, used)
    hidden = result.hidden_spectrum.values[used]
    if result.sigma_drift.values.any():
        spectra = result.spectra.values[:, used]  # of drift along others nothing is left in the result
        yield SpectrumError(spectra.T @ spectra, result.sigma_drift.values.ravel())
    if result.hidden_size.values.any():
        yield SpectrumError(np.outer(hidden, hidden), result.hidden_size.values.ravel(), is_common=False)


def _shift_errors(result: Denoised, used: NDArray[np.bool_]) -> Iterator[SpectrumError]:
    """Yield the errors that uncertain shifts of the frames bring, along y and along x.

    A frame that is moved by too much differs by its slope times the error of its shift.  Slopes are those of
    the strongest image, in proportion to its spectrum.  Of the difference, the part along the spectra of the
    result is left.
    """
    if not set(SHIFT_ERRORS) <= set(result.spectra.coords):
        return
    spectra, image = result.spectra.values[:, used], result.coefficients.values[0]
    along = spectra.T @ spectra
    for name, slope in zip(SHIFT_ERRORS, np.gradient(image), strict=True):
        variance = (spectra[0] * result.spectra[name].values[used]) ** 2
        inside = np.where(usable_mask(result.coefficients), np.abs(slope), 0).astype(np.float32)
        yield SpectrumError((along * variance) @ along, inside.ravel(), is_common=False)


def _smoothed_covariance(error: NDArray[np.float64], freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance (E, E) of a spectrum that was smoothed along energy.

    Where the share of the variance that is left (`freedom`) is small, as many neighbouring energies have the
    same error as make up one degree of freedom.  So smoothing does not change the error of a mean over many
    energies.

    Parameters
    ----------
    error : ndarray, shape (E,)
        Standard error before smoothing, independent at each energy.
    freedom : ndarray, shape (E,)
        Share of its square that is left, 0 to 1.
    """
    place = np.cumsum(freedom) - freedom / 2
    alike = np.maximum(0, 1 - np.abs(place[:, None] - place))
    left = error * np.sqrt(freedom)
    return np.asarray(np.outer(left, left) * alike)


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
        noise=np.zeros((images.shape[0], images.shape[0])),
        noise_pixel=np.ones(mask.size),
        mask=mask,
        source=stack,
        reasons=("the errors of a stack that was not denoised are not known",),
    )
