"""The spectra of all pixels as a few factors, with the standard error of anything linear in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.stack import load_stack, usable_mask, usable_weight

__all__ = ["_Spectra", "_spectra_of"]

_Weighted = tuple[NDArray[np.int64], NDArray[np.float64]]  # for every pixel, a row and its weight


@dataclass(frozen=True, slots=True, eq=False)
class _Spectra:
    """Spectra of all pixels as a product: ``basis.T @ images``; a stack is its own images."""

    energy_ev: NDArray[np.float64]  # (E,)
    basis: NDArray[np.float64] | None  # (K, E), or None for the identity
    images: NDArray[np.float32]  # (K or E, P)
    mixing: NDArray[np.float64]  # (K, S), what the images' errors are of those of S independent sources
    errors: NDArray[np.float32]  # (S, P), standard errors of the sources; none where they are not known
    spread: NDArray[np.float64]  # (P,), standard deviation at one energy from the error of the basis
    noise: NDArray[
        np.float64
    ]  # (E, E), covariance of the noise before denoising in a pixel of mean noise, ...
    noise_pixel: NDArray[np.float64]  # (P,), ... whose standard deviation is so many times that elsewhere
    mask: NDArray[np.bool_]  # (Y, X)
    source: xr.DataArray  # gives y and x coordinates

    def apply(self, operator: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the operator (..., E) in the basis, as float32."""
        return self._inside(operator).astype(np.float32)

    def error(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard deviation of ``operator @ spectrum`` in every pixel, (P,); operator (E,)."""
        if self.basis is None:  # the error of a plain stack is not known
            return np.full(self.images.shape[1], np.nan)
        of_images = (self._inside(operator) @ self.mixing) ** 2 @ self.errors**2
        return np.asarray(np.sqrt(of_images + (operator @ operator) * self.spread**2))

    def error_of_pairs(
        self, operator: NDArray[np.float64], pairs: tuple[_Weighted, _Weighted], pixels: slice
    ) -> NDArray[np.float64]:
        """Return the standard deviation in each pixel of a weighted pair of rows of ``operator @ spectrum``.

        Errors of the images are taken as they act on the sum: one that only scales a pixel's spectrum moves
        neither the energy of a crossing nor that of a peak.
        """
        (i, a), (j, b) = pairs
        if self.basis is None:
            return np.full(len(i), np.nan)
        inside, products = self._inside(operator), operator @ operator.T
        weights = a[:, None] * inside[i] + b[:, None] * inside[j]
        of_images = np.sum((weights @ self.mixing) ** 2 * self.errors[:, pixels].T ** 2, axis=1)
        of_basis = a**2 * products[i, i] + 2 * a * b * products[i, j] + b**2 * products[j, j]
        return np.asarray(np.sqrt(of_images + of_basis * self.spread[pixels] ** 2))

    def gain_of_pairs(
        self,
        error: NDArray[np.float64],
        operator: NDArray[np.float64],
        pairs: tuple[_Weighted, _Weighted],
        pixels: slice,
    ) -> NDArray[np.float64]:
        """Return how many times the variance of such a pair was larger before denoising than `error` squared.

        As the variance of counts falls with exposure, that is how much longer an exposure it was worth.
        """
        (i, a), (j, b) = pairs
        products = operator @ self.noise @ operator.T
        before = a**2 * products[i, i] + 2 * a * b * products[i, j] + b**2 * products[j, j]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(before * self.noise_pixel[pixels] ** 2 / error**2)

    def _inside(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        return operator if self.basis is None else operator @ self.basis.T

    @property
    def mean_spectrum(self) -> NDArray[np.float64]:
        """Mean over the usable pixels, shape (E,)."""
        mean = self.images[:, self.mask.ravel()].mean(axis=1, dtype=np.float64)
        return np.asarray(mean if self.basis is None else mean @ self.basis)


def _spectra_of(data: Denoised | xr.DataArray) -> _Spectra:
    """Bring a result or a stack to one form, without the energies of weight 0."""
    if isinstance(data, Denoised):
        used = usable_weight(data.spectra.T)
        if data.rank == 0:
            raise EdgeError("the result has no component above the noise, so there is no edge to map")
        images = data.coefficients.values.reshape(data.rank, -1)
        spread = data.components["spectrum_error"].values[: data.rank, None]
        return _Spectra(
            data.spectra.energy.values[used],
            data.spectra.values[:, used],
            images,
            data.error_mixing.values,
            data.error_images.values.reshape(data.error_mixing.shape[1], -1),
            np.linalg.norm(images * spread, axis=0),
            np.diag(data.sigma_used[used] ** 2) + np.outer(data.sigma_common[used], data.sigma_common[used]),
            data.sigma_pixel.values.ravel(),
            usable_mask(data.coefficients),
            data.coefficients,
        )
    values = load_stack(data, allow_missing=True, min_energies=2)
    used = usable_weight(data)
    mask = usable_mask(data) & np.isfinite(values[used]).all(axis=0)
    images = np.where(mask, values[used], 0).reshape(int(used.sum()), -1)
    return _Spectra(
        data.energy.values[used],
        None,
        images,
        np.zeros((0, 0)),
        np.zeros((0, mask.size), np.float32),
        np.zeros(mask.size),
        np.zeros((images.shape[0], images.shape[0])),
        np.ones(mask.size),
        mask,
        data,
    )
