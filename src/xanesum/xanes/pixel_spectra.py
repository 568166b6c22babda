"""Spectra of all pixels as a few factors, with the standard error of every linear function of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, StackError
from xanesum.linalg.covariance import Covariance, NoiseCovariance, SummedCovariance, white
from xanesum.result import Denoised
from xanesum.result.spectrum_errors import SpectrumError, spectrum_errors
from xanesum.stack import load_stack, usable_mask, usable_weight

__all__ = ["PixelSpectra", "RowErrors", "SpectrumError", "WeightedRow", "pixel_spectra_of"]

TRANSMITTED = ("counts", "transmission")  # quantities of light that comes through the sample
ROWS = 256  # rows of which errors of the mean are computed together

# for each pixel, the index of a row of an operator, and the weight of that row
WeightedRow = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class RowErrors:
    """Standard errors of sums of a few weighted rows of an operator on the spectra, pixel by pixel.

    The energy of a crossing follows from two rows, a ratio of heights from three.  Which rows these are, and
    their weights, differ from pixel to pixel.  Errors of the images count as they act on the sum: an error
    that only scales a pixel's spectrum moves neither a crossing nor a peak.
    """

    sources: NDArray[np.float32] | None  # (W, S), rows as mixtures of the sources of error; None: unknown
    errors: NDArray[np.float32]  # (S, P), standard errors of these sources
    shared: NDArray[np.float32]  # (W, W, N), covariance of the rows by each of N errors of the spectra
    sizes: tuple[NDArray[np.float32], ...]  # N of (P,)
    noise: NDArray[np.float32]  # (W, W), covariance of the rows before denoising, in a pixel of mean noise
    used: NDArray[np.intp]  # (W,), indices of these rows in the operator, increasing; others have no errors

    def of(self, rows: Sequence[WeightedRow], pixels: slice) -> NDArray[np.float64]:
        """Return the standard error of the sum of some weighted rows, (p,); NaN where it is not known.

        Parameters
        ----------
        rows : sequence of (ndarray, ndarray), each of shape (p,)
            Index of the row in the operator, one of `used`, and its weight, for each of `pixels`.
        pixels : slice
            The p pixels that are meant.
        """
        if self.sources is None:
            return np.full(len(rows[0][0]), np.nan)
        rows = self._among_used(rows)
        mixed = np.zeros((len(rows[0][0]), self.sources.shape[1]), np.float32)
        for index, weight in rows:
            mixed += _times(weight, self.sources[index])
        variance = np.einsum("ps,sp->p", np.square(mixed), np.square(self.errors[:, pixels]))
        if self.sizes:
            sizes = np.stack([np.square(size[pixels]) for size in self.sizes])
            variance = variance + np.einsum("pn,np->p", _quadratic(self.shared, rows), sizes)
        return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float64)

    def of_differences(
        self, first: int, n_rows: int, from_row: NDArray[np.intp], pixels: slice
    ) -> NDArray[np.float32]:
        """Return the standard errors (p, n) of rows that follow each other, less another one of them.

        Parameters
        ----------
        first, n_rows : int
            The rows begin there in the operator, and are so many; all of them are among `used`.
        from_row : ndarray, shape (p,)
            Which of them is subtracted, counted from `first`.
        pixels : slice
            The p pixels that are meant.
        """
        if self.sources is None:
            return np.full((len(from_row), n_rows), np.nan, np.float32)
        first = int(np.searchsorted(self.used, first))
        here, variance = slice(first, first + n_rows), np.empty((len(from_row), n_rows), np.float32)
        errors = np.square(self.errors[:, pixels]).T
        sizes = [np.square(size[pixels]) for size in self.sizes]
        shared, diagonal = self.shared[here, here], np.einsum("wwn->wn", self.shared[here, here])
        for row in np.unique(from_row):
            own = from_row == row
            mixed = self.sources[here] - self.sources[first + row]
            variance[own] = errors[own] @ np.square(mixed).T
            for n, size in enumerate(sizes):
                difference = diagonal[:, n] + diagonal[row, n] - 2 * shared[row, :, n]
                variance[own] += size[own, None] * difference
        return np.sqrt(np.maximum(variance, 0))

    def before(self, rows: Sequence[WeightedRow]) -> NDArray[np.float64]:
        """Return the variance (p,) of such a sum without denoising, in pixels of mean noise."""
        return _quadratic(self.noise[..., None], self._among_used(rows))[:, 0].astype(np.float64)

    def _among_used(self, rows: Sequence[WeightedRow]) -> Sequence[WeightedRow]:
        """Return the same rows by their index among those that are used."""
        if self.used[-1] == len(self.used) - 1:  # all rows up to the last one
            return rows
        return [(np.searchsorted(self.used, index), weight) for index, weight in rows]


def _times(weight: NDArray[np.floating], values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values * weight.astype(np.float32)[:, None]


def _quadratic(covariance: NDArray[np.float32], rows: Sequence[WeightedRow]) -> NDArray[np.float32]:
    """Return the variance (p, N) of sums of weighted rows, whose covariance (W, W, N) is given."""
    total = np.zeros((len(rows[0][0]), covariance.shape[2]), np.float32)
    for n, (i, a) in enumerate(rows):
        total += _times(a * a, covariance[i, i])
        for j, b in rows[n + 1 :]:
            total += _times(2 * a * b, covariance[i, j])
    return total


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
        """Return the standard error of ``operator @ mean_spectrum``; operator (E,)."""
        return float(self.errors_of_mean(operator[None])[0])

    def errors_of_mean(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard errors (n,) of ``operator @ mean_spectrum``; operator (n, E).  NaN: unknown."""
        covariance = self.covariance_of_mean()
        if covariance is None:
            return np.full(len(operator), np.nan)
        blocks = (operator[first : first + ROWS] for first in range(0, len(operator), ROWS))
        return np.asarray(np.sqrt(np.concatenate([np.diag(covariance.of(block)) for block in blocks])))

    def covariance_of_mean(self) -> Covariance | None:
        """Return the covariance of the mean spectrum, or None where it is not known.

        Errors of the basis are common to all pixels, so that their signed mean counts.  Errors of the images
        average out as the noise does, because a denoiser keeps means.
        """
        used = self.mask.ravel()
        if not used.any() or (self.basis is None and not self.noise_is_known):
            return None
        of_noise = float(np.sqrt(np.mean(self.noise_pixel[used] ** 2) / used.sum()))
        common = (part for part in self.of_spectra if part.is_common)
        of_spectra = ((float(np.mean(part.size[used])), part.covariance) for part in common)
        return SummedCovariance(((of_noise, self.noise), *of_spectra))

    def row_errors(self, operator: NDArray[np.float64], used: NDArray[np.intp] | None = None) -> RowErrors:
        """Return the errors of all rows of ``operator @ spectrum`` together.

        Parameters
        ----------
        operator : ndarray, shape (W, E)
        used : ndarray of int, shape (W,), optional
            Increasing; the rows are these rows of a larger operator.
        """
        used = np.arange(len(operator)) if used is None else used
        noise = self.noise.of(operator).astype(np.float32)
        if self.basis is None:
            return RowErrors(None, self.errors, np.empty((*noise.shape, 0), np.float32), (), noise, used)
        sources = (self._inside(operator) @ self.mixing).astype(np.float32)
        shared = np.empty((*noise.shape, len(self.of_spectra)), np.float32)
        for n, part in enumerate(self.of_spectra):
            shared[..., n] = part.covariance.of(operator)
        sizes = tuple(part.size for part in self.of_spectra)
        return RowErrors(sources, self.errors, shared, sizes, noise, used)

    def _inside(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the operator (..., E) in the basis, (..., K)."""
        return operator if self.basis is None else operator @ self.basis.T

    @property
    def noise_is_known(self) -> bool:
        """Whether every energy has a noise level above 0."""
        return bool((self.noise.diagonal > 0).all())

    @property
    def mean_spectrum(self) -> NDArray[np.float64]:
        """Mean over the usable pixels, shape (E,)."""
        used = self.mask.ravel()
        mean = (self.images if used.all() else self.images[:, used]).mean(axis=1, dtype=np.float64)
        return np.asarray(mean if self.basis is None else mean @ self.basis)


def pixel_spectra_of(data: Denoised | xr.DataArray | PixelSpectra) -> PixelSpectra:
    """Bring a result or a stack to one form, without the energies of weight 0; that form stays as it is.

    Raises
    ------
    EdgeError
        If the result has no component.
    StackError
        If a stack breaks the rules, or the values are transmitted light, which falls at an edge.
    """
    if isinstance(data, PixelSpectra):
        return data
    quantity = data.attrs.get("quantity")
    if quantity in TRANSMITTED:
        raise StackError(
            f"the values are {quantity}, which fall at an edge; make optical density of them first: "
            "stack, changes = xanesum.preprocess.prepare(stack)"
        )
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
    frames = values if used.all() else values[used]
    mask = usable_mask(stack).copy()
    for frame in frames:
        mask &= np.isfinite(frame)
    images = (frames if mask.all() else np.where(mask, frames, 0)).reshape(len(frames), -1)
    return PixelSpectra(
        energy_ev=stack.energy.values[used],
        basis=None,
        images=images,
        mixing=np.zeros((0, 0)),
        errors=np.zeros((0, mask.size), np.float32),
        of_spectra=(),
        noise=white(np.zeros(len(images))),
        noise_pixel=np.ones(mask.size),
        mask=mask,
        source=stack,
        reasons=("the errors of a stack that was not denoised are not known",),
    )
