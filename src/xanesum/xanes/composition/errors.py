"""Errors of the amounts and shares of references in every pixel, and the misfit that errors explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.nonnegative import groups_of, solution_operator
from xanesum.result.spectrum_errors import SpectrumError
from xanesum.xanes.composition.reference_fit import ReferenceFit
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = [
    "AmountErrors",
    "ExpectedMisfit",
    "Variances",
    "error_parts",
    "hidden_amounts",
    "variance_less_shares",
]

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

    def find(self, pixels: slice) -> tuple[Variances, Variances]:
        """Return the variances that errors of the images bring, and those that all other errors bring."""
        together = self.of_sources.sum(axis=0)
        of_images = np.vstack([self.of_sources**2, self.of_sources * together, together**2])
        of_others = np.array([_moments(each) for each in self.covariances]).T.reshape(len(of_images), -1)
        squares = [np.square(size[pixels], dtype=np.float64) for size in self.sizes]
        by_images = of_images @ np.square(self.errors[:, pixels], dtype=np.float64)
        by_others = of_others @ np.array(squares).reshape(len(self.sizes), by_images.shape[1])
        if not self.is_known:
            by_others = np.full_like(by_others, np.nan)
        return Variances(by_images), Variances(by_others)

    def of_amounts(self, pixels: slice) -> Array:
        """Return the variances (M, p) of the amounts."""
        by_images, by_others = self.find(pixels)
        return by_images.of_amounts + by_others.of_amounts


@dataclass(frozen=True, slots=True, eq=False)
class Variances:
    """Variances of M amounts, their covariances with the sum of all, and the variance of this sum."""

    moments: Array  # (2 M + 1, p), in this order

    @property
    def of_amounts(self) -> Array:
        """Variances (M, p) of the amounts."""
        return self.moments[: len(self.moments) // 2]

    @property
    def of_total(self) -> Array:
        """Variance (p,) of the sum of the amounts."""
        return np.asarray(self.moments[-1])

    def of_shares(self, shares: Array) -> Array:
        """Return the variances (M, p) of the amounts, each less its `shares` (M, p) of their sum."""
        with_total = self.moments[len(shares) : -1]
        variance = shares * self.moments[-1]
        variance -= 2 * with_total
        variance *= shares
        variance += self.moments[: len(shares)]
        return np.asarray(np.maximum(variance, 0, out=variance))


def variance_less_shares(covariance: Array, shares: Array) -> Array:
    """Return the variance of each of M quantities less `shares` (M, p) of their sum, (M, p)."""
    return Variances(_moments(covariance)[:, None]).of_shares(shares)


def _moments(covariance: Array) -> Array:
    """Return variances, covariances with the sum of all, and the variance of the sum, (2 M + 1,)."""
    return np.concatenate([np.diag(covariance), covariance.sum(axis=1), [covariance.sum()]])


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
