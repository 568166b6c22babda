"""Errors of the amounts and shares of references in every pixel, and the misfit that errors explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.nonnegative import groups_of, solution_operator
from xanesum.result.spectrum_errors import SpectrumError
from xanesum.xanes.composition.reference_fit import ReferenceFit
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["AmountErrors", "ExpectedMisfit", "error_parts", "hidden_amounts", "variance_less_shares"]

Array = NDArray[np.float64]


def error_parts(spectra: PixelSpectra) -> tuple[SpectrumError, ...]:
    """Return the errors that few spectra bring, and for a stack of known noise the noise itself."""
    if spectra.basis is None and spectra.noise_is_known:
        return (SpectrumError(spectra.noise, spectra.noise_pixel.astype(np.float32), is_common=False),)
    return spectra.of_spectra


def hidden_amounts(
    spectra: PixelSpectra, fit: ReferenceFit, uncertainty: Array, hidden_spectrum: Array
) -> tuple[Array, float]:
    """Return the covariance (M, M) of amounts by chemistry that noise hides, for a hidden size of 1.

    The second value is the number of directions, of those in which the references differ, that the result
    lacks.

    A result of K components cannot show more than K differences between pixels.  What it lacks of M
    references is hidden by the noise.  In each such direction, it may be as large as the hidden component of
    the result, whose own spectrum is only the one that noise hides best.

    Parameters
    ----------
    spectra : PixelSpectra
        Of a result.
    fit : ReferenceFit
    uncertainty : ndarray, shape (M, M)
        Covariance of the amounts if the noise were 1.
    hidden_spectrum : ndarray, shape (E,)
        Of the hidden component; its own part is left out, as it is among the errors of the spectra.
    """
    own = fit.whitening @ hidden_spectrum
    known = np.linalg.qr(fit.whitening @ _of_basis(spectra))[0]
    along = np.linalg.qr(fit.design)[0]
    seen = known.T @ along
    lacking = np.eye(len(fit.names)) - seen.T @ seen
    to_amounts = uncertainty @ fit.design.T
    whole = to_amounts @ along @ lacking @ along.T @ to_amounts.T * float(own @ own)
    share = to_amounts @ own
    values, vectors = np.linalg.eigh(whole - np.outer(share, share))
    return (vectors * np.maximum(values, 0)) @ vectors.T, float(np.trace(lacking))


def _of_basis(spectra: PixelSpectra) -> Array:
    return np.eye(len(spectra.energy_ev)) if spectra.basis is None else spectra.basis.T


@dataclass(frozen=True, slots=True, eq=False)
class AmountErrors:
    """Errors of M amounts, each a linear function of the spectrum of a pixel."""

    of_sources: Array  # (M, S), of errors of the images
    errors: NDArray[np.float32]  # (S, P)
    covariances: tuple[Array, ...]  # (M, M), of each error that few spectra bring ...
    sizes: tuple[NDArray[np.float32], ...]  # ... times the square of these images (P,)
    is_known: bool

    @classmethod
    def of(
        cls,
        spectra: PixelSpectra,
        operator: Array,
        others: tuple[tuple[Array, NDArray[np.float32]], ...] = (),
    ) -> AmountErrors:
        """Return the errors of ``operator @ spectrum``, operator (M, E).

        Each of the `others` is the covariance (M, M) of one more error, and the image (P,) that it is
        multiplied by.
        """
        parts = error_parts(spectra)
        sources = np.zeros((len(operator), 0))
        if spectra.basis is not None:
            sources = operator @ spectra.basis.T @ spectra.mixing
        covariances = tuple(part.covariance.of(operator) for part in parts)
        sizes = tuple(part.size for part in parts)
        return cls(
            sources,
            spectra.errors,
            covariances + tuple(covariance for covariance, _ in others),
            sizes + tuple(size for _, size in others),
            spectra.basis is not None or bool(parts),
        )

    def covariance(self, pixels: slice) -> Array:
        """Return the covariance (M, M, p) of the amounts."""
        square = self.errors[:, pixels].astype(np.float64) ** 2
        total = np.einsum("is,js,sp->ijp", self.of_sources, self.of_sources, square, optimize=True)
        for covariance, size in zip(self.covariances, self.sizes, strict=True):
            total += covariance[:, :, None] * size[pixels].astype(np.float64) ** 2
        return total if self.is_known else np.full_like(total, np.nan)

    def of_amounts(self, pixels: slice) -> Array:
        """Return the variances (M, p) of the amounts."""
        return self._variance(np.zeros((len(self.of_sources), 1)), pixels)

    def of_total(self, pixels: slice) -> Array:
        """Return the variance (p,) of the sum of the amounts."""
        variance = self.of_sources.sum(axis=0) ** 2 @ self.errors[:, pixels].astype(np.float64) ** 2
        for covariance, size in zip(self.covariances, self.sizes, strict=True):
            variance = variance + covariance.sum() * size[pixels].astype(np.float64) ** 2
        return variance if self.is_known else np.full_like(variance, np.nan)

    def of_shares(self, shares: Array, pixels: slice) -> Array:
        """Return the variances (M, p) of the shares (M, p) of the amounts, times the square of their sum."""
        return self._variance(shares, pixels)

    def _variance(self, shares: Array, pixels: slice) -> Array:
        """Return the variance of each amount less `shares` of their sum, (M, p)."""
        n_pixels = len(range(*pixels.indices(self.errors.shape[1])))
        variance = np.zeros((len(self.of_sources), n_pixels))
        together = self.of_sources.sum(axis=0)
        for s, error in enumerate(self.errors[:, pixels]):
            variance += ((self.of_sources[:, s, None] - shares * together[s]) * error) ** 2
        for covariance, size in zip(self.covariances, self.sizes, strict=True):
            square = size[pixels].astype(np.float64) ** 2
            variance += variance_less_shares(covariance, shares) * square
        return variance if self.is_known else np.full_like(variance, np.nan)


def variance_less_shares(covariance: Array, shares: Array) -> Array:
    """Return the variance of each of M quantities less `shares` (M, p) of their sum, (M, p)."""
    along = covariance.sum(axis=1)[:, None]
    variance = np.diag(covariance)[:, None] - 2 * shares * along + shares**2 * covariance.sum()
    return np.asarray(np.maximum(variance, 0))


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedMisfit:
    """The misfit of a spectrum that is a sum of the references, as its errors alone make it."""

    fit: ReferenceFit
    of_sources: Array  # (S,), square of each error of the images, in units of the noise ...
    inside: Array  # (M, S), ... and its product with each reference
    errors: NDArray[np.float32]  # (S, P)
    of_parts: tuple[float, ...]  # trace of each error that few spectra bring ...
    parts_inside: tuple[Array, ...]  # ... and its part along the references, (M, M)
    sizes: tuple[NDArray[np.float32], ...]  # (P,)
    is_known: bool

    @classmethod
    def of(cls, spectra: PixelSpectra, fit: ReferenceFit) -> ExpectedMisfit:
        """Prepare the misfit of a fit."""
        parts = error_parts(spectra)
        sources = np.zeros((len(fit.whitening), 0))
        if spectra.basis is not None:
            sources = fit.whitening @ spectra.basis.T @ spectra.mixing
        beside = [part.covariance.of(fit.whitening) for part in parts]
        return cls(
            fit,
            np.sum(sources**2, axis=0),
            fit.design.T @ sources,
            spectra.errors,
            tuple(float(np.trace(each)) for each in beside),
            tuple(fit.design.T @ each @ fit.design for each in beside),
            tuple(part.size for part in parts),
            spectra.basis is not None or bool(parts),
        )

    def find(self, is_free: NDArray[np.bool_], pixels: slice) -> Array:
        """Return the mean square of the misfit (p,) if these references (M, p) have free amounts."""
        expected = np.full(is_free.shape[1], np.nan)
        if not self.is_known:
            return expected
        errors = self.errors[:, pixels]
        for free, columns in groups_of(is_free):
            inverse = solution_operator(self.fit.gram, free)
            of_sources = self.of_sources - np.einsum("is,ij,js->s", self.inside, inverse, self.inside)
            found = np.maximum(of_sources, 0) @ errors[:, columns].astype(np.float64) ** 2
            for trace, inside, size in zip(self.of_parts, self.parts_inside, self.sizes, strict=True):
                left = max(trace - float(np.sum(inverse * inside)), 0.0)
                found = found + left * size[pixels][columns].astype(np.float64) ** 2
            expected[columns] = found
        return expected
