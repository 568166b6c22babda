"""Errors of the spectra of a result: what all pixels share, and the error of a mean.

Every pixel of a denoised image has an error, and neighbours share it.  Every pixel also has the errors of the
spectra.  The error of a mean therefore does not fall as that of as many independent pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from skimage.draw import polygon2mask

from xanesum.errors import StackError, XanesumWarning
from xanesum.linalg.covariance import Covariance, NoiseCovariance, SmoothedCovariance, low_rank, of_mixture
from xanesum.linalg.error_fields import ErrorField
from xanesum.stack import SHIFT_ERRORS, usable_mask, usable_weight

__all__ = [
    "Factors",
    "SpectrumError",
    "filled_spectra",
    "hidden_noise",
    "mean_spectrum",
    "noise_of_sources",
    "projection",
    "region_mask",
    "spectrum_errors",
    "split_errors",
]


LEAST_KEPT = 0.1  # least weight of an image that is believed
MOST_LOST = 0.9  # largest part of the error of a pixel that shrinkage may be


class Factors(Protocol):
    """The parts of a result that its errors follow from; see `Denoised`."""

    @property
    def spectra(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def coefficients(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def sigma_common(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def sigma_pixel(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def sigma_drift(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def error_images(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def error_mixing(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def error_spectra(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def error_freedom(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def hidden_spectrum(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def hidden_size(self) -> xr.DataArray: ...  # noqa: D102

    @property
    def components(self) -> xr.Dataset: ...  # noqa: D102

    @property
    def sigma_used(self) -> NDArray[np.float64]:
        """Noise level that was used for each energy."""


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumError:
    """An error of the spectra of all pixels: one random spectrum, times an image."""

    covariance: Covariance  # of the spectrum
    size: NDArray[np.float32]  # (P,), of either sign
    # whether all pixels have the same random spectrum; else every pixel has its own, and neighbours are alike
    is_common: bool = True


def region_mask(
    region: ArrayLike | None, shape: tuple[int, int], *, name: str = "the region"
) -> NDArray[np.bool_]:
    """Return the pixels (Y, X) of a region.

    Parameters
    ----------
    region : array_like
        An image (Y, X), whose pixels that are not 0 belong to the region; or the corners (N, 2) of a polygon,
        y and x in px, where whole numbers are the middles of pixels. None stands for all pixels.
    shape : (int, int)
        Y and X of the images.
    name : str
        Name of the region in messages.

    Raises
    ------
    StackError
        If the region has another size or form, holds NaN, or holds no pixel.
    """
    if region is None:
        return np.ones(shape, bool)
    values = np.asarray(region)
    if values.shape == shape:
        if values.dtype.kind not in "biuf" or (values.dtype.kind == "f" and np.isnan(values).any()):
            raise StackError(f"{name} must be an image of numbers, without NaN; 0 means outside")
        mask: NDArray[np.bool_] = values.astype(bool)
    elif values.ndim == 2 and values.shape[1] == 2 and len(values) > 2 and values.dtype != bool:
        if not np.isfinite(values.astype(float)).all():
            raise StackError(f"{name} has a corner that is no finite number")
        mask = np.asarray(polygon2mask(shape, values.astype(float)))  # type: ignore[no-untyped-call]
        if mask.any() and ((values < -0.5) | (values > np.array(shape) - 0.5)).any():
            text = f"{name} reaches beyond the images ({shape[0]} x {shape[1]} px); its part inside counts"
            warnings.warn(text, XanesumWarning, stacklevel=2)
    else:
        raise StackError(
            f"{name} must be an image of {shape[0]} x {shape[1]} px (y, x), or at least three corners "
            f"[y, x]; got an array of shape {values.shape}"
        )
    if not mask.any():
        raise StackError(f"{name} holds no pixel of the images ({shape[0]} x {shape[1]} px)")
    return mask


def mean_spectrum(result: Factors, mask: NDArray[np.bool_]) -> xr.Dataset:
    """Return the mean spectrum of some pixels with its standard error.

    Parameters
    ----------
    result : Factors
    mask : ndarray of bool, shape (Y, X)
        The pixels; masked pixels of the result do not count.

    Returns
    -------
    Dataset
        ``spectrum`` and ``sigma`` (energy,), in the unit of the stack; ``sigma`` is NaN at energies of weight
        0.

    Raises
    ------
    StackError
        If no pixel of the region is usable.
    """
    inside = mask & usable_mask(result.coefficients)
    n_pixels = int(inside.sum())
    if not n_pixels:
        raise StackError("all pixels of the region are masked")
    weights = inside / n_pixels
    means = result.coefficients.values[:, inside].mean(axis=1, dtype=np.float64)
    used = usable_weight(result.spectra.T)
    sigma = np.full(len(used), np.nan)
    sigma[used] = np.sqrt(_variance_of_mean(result, weights, used))
    energy = result.spectra["energy"]
    return xr.Dataset(
        {"spectrum": ("energy", means @ filled_spectra(result.spectra)), "sigma": ("energy", sigma)},
        coords={"energy": energy},
        attrs={"n_pixels": n_pixels},
    )


def filled_spectra(spectra: xr.DataArray) -> NDArray[np.float32]:
    """Return spectra (K, E) with energies of weight 0 interpolated."""
    values: NDArray[np.float32] = spectra.values.astype(np.float32)
    if "weight" not in spectra.coords:
        return values
    used, energy = spectra["weight"].values > 0, spectra["energy"].values
    rows = [np.interp(energy, energy[used], row[used]) for row in values]
    return np.array(rows, np.float32).reshape(values.shape)


def _variance_of_mean(
    result: Factors, weights: NDArray[np.float64], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the variance (E',) of a weighted mean spectrum at the usable energies; weights (Y, X)."""
    basis = result.error_mixing.values.T @ result.spectra.values[:, used]  # (S, E')
    noise = noise_of_sources(result, used)
    sizes, lost = split_errors(result)
    variance = np.zeros(int(used.sum()))
    for size, level, image, spectrum in zip(sizes, noise, lost, basis, strict=True):
        of_mean = ErrorField.of(size, level).variance_of_sum(weights) + float(np.sum(weights * image)) ** 2
        variance += of_mean * spectrum**2
    flat = weights.ravel()
    for part in spectrum_errors(result, used):
        if part.is_common:
            variance += part.covariance.diagonal * float(flat @ part.size) ** 2
        else:
            field = ErrorField.of(
                part.size.reshape(weights.shape), hidden_noise(result, part.covariance, used)
            )
            variance += part.covariance.diagonal * field.variance_of_sum(weights)
    return variance


def split_errors(result: Factors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the errors of the images without what shrinkage lost, and what it lost, both (S, Y, X).

    The weights of the noisy and of the denoised image may sum to less than 1.  Then a share of the image is
    lost, in all pixels alike, and a mean over many pixels does not make this error smaller.
    """
    errors, n = result.error_images.values, len(result.error_images)
    kept = result.components["weight_noisy"].values[:n] + result.components["weight_denoised"].values[:n]
    kept = np.clip(np.nan_to_num(kept, nan=1.0), LEAST_KEPT, 1.0)
    flat = result.coefficients.values.reshape(len(result.coefficients), -1)
    sources = (np.linalg.pinv(result.error_mixing.values).astype(np.float32) @ flat).reshape(errors.shape)
    lost = sources * ((1 - kept) / kept)[:, None, None].astype(np.float32)
    most = np.float32(MOST_LOST) * errors
    lost = np.clip(lost, -most, most)
    return np.sqrt(errors**2 - lost**2), lost


def noise_of_sources(result: Factors, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the noise level (S, Y, X) of the sources of the images before they were denoised."""
    common = result.sigma_common.values[used]
    noise = NoiseCovariance(result.sigma_used[used] ** 2, common[None])
    to_sources = np.linalg.pinv(result.error_mixing.values) @ projection(result, used)
    level = np.sqrt(np.maximum(np.diag(noise.of(to_sources)), 0))
    return np.asarray(level[:, None, None] * np.nan_to_num(result.sigma_pixel.values, nan=1.0))


def projection(result: Factors, used: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the matrix (K, E') from a measured spectrum to images, by least squares weighted by the noise.

    `used` marks the usable energies, or holds their indices.
    """
    spectra, sigma = result.spectra.values[:, used], result.sigma_used[used]
    weighted = spectra / np.where(sigma > 0, sigma, 1.0) ** 2
    return np.asarray(np.linalg.solve(weighted @ spectra.T, weighted))


def hidden_noise(result: Factors, covariance: Covariance, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the noise level (Y, X) along the one spectrum of a covariance."""
    common, diagonal = result.sigma_common.values[used], covariance.diagonal
    square = float(diagonal.sum())
    along = diagonal @ result.sigma_used[used] ** 2 + covariance.of(common[None])[0, 0]
    level = np.sqrt(along) / square if square > 0 else 0.0
    return np.asarray(level * np.nan_to_num(result.sigma_pixel.values, nan=1.0))


def spectrum_errors(result: Factors, used: NDArray[np.bool_]) -> Iterator[SpectrumError]:
    """Yield the errors of the fitted spectra, of shifts, of removed drift, and of what noise may hide."""
    images = result.coefficients.values.reshape(len(result.coefficients), -1)
    sources = np.linalg.pinv(result.error_mixing.values).astype(np.float32) @ images
    of_spectra, freedom = result.error_spectra.values[:, used], result.error_freedom.values[:, used]
    for source, error, free in zip(sources, of_spectra, freedom, strict=True):
        yield SpectrumError(SmoothedCovariance(error, free), source)
    yield from _shift_errors(result, used)
    hidden = result.hidden_spectrum.values[used]
    if result.sigma_drift.values.any():
        spectra = result.spectra.values[:, used]  # of drift along others nothing is left in the result
        yield SpectrumError(low_rank(spectra), result.sigma_drift.values.ravel())
    if result.hidden_size.values.any():
        yield SpectrumError(low_rank(hidden[None]), result.hidden_size.values.ravel(), is_common=False)


def _shift_errors(result: Factors, used: NDArray[np.bool_]) -> Iterator[SpectrumError]:
    """Yield the errors that uncertain shifts of the frames bring, along y and along x.

    A frame that is moved by too much differs by its slope times the error of its shift.  Slopes are those of
    the strongest image, in proportion to its spectrum.  Of the difference, the part along the spectra of the
    result is left.  All pixels of a frame have moved alike, so that over a whole particle the slopes cancel.
    """
    if not set(SHIFT_ERRORS) <= set(result.spectra.coords):
        return
    spectra, image = result.spectra.values[:, used], result.coefficients.values[0]
    for name, slope in zip(SHIFT_ERRORS, np.gradient(image), strict=True):
        variance = (spectra[0] * result.spectra[name].values[used]) ** 2
        inside = np.where(usable_mask(result.coefficients), slope, 0).astype(np.float32)
        yield SpectrumError(of_mixture((spectra * variance) @ spectra.T, spectra), inside.ravel())
