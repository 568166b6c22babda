"""Chemical state of every pixel as a point: its spectrum without background and thickness, in units of errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import RankError
from xanesum.xanes.pixel_spectra import PixelSpectra
from xanesum.xanes.reference_fit import FitOptions, WhitenedScan, whitened_scan
from xanesum.xanes.row_covariance import noise_is_known, of_rows

__all__ = ["States", "states_of"]

Array = NDArray[np.float64]

MIN_AMOUNT = 0.1  # least amount of a pixel with a state, as a share of the stack's 95th percentile ...
MIN_AMOUNT_SIGMAS = 3.0  # ... and in units of its own standard error


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Points of P pixels; a distance of 1 is a typical standard error of a pixel."""

    points: NDArray[np.float32]  # (D, P)
    error: NDArray[np.float32]  # (P,), standard error of each coordinate of a pixel; typically 1
    amount: NDArray[np.float32]  # (P,), of the mean spectrum
    mask: NDArray[np.bool_]  # (P,), pixels that have a state
    scan: WhitenedScan
    is_known: bool  # whether the errors are known


def states_of(spectra: PixelSpectra, options: FitOptions) -> States:
    """Return the state of every pixel of a scan.

    The background is taken away, and the rest is divided by the amount of the mean spectrum that it holds.
    What then differs from the mean spectrum is the state.  Its coordinates are scaled and turned such
    that the errors of the images, on average over the pixels, are 1 and independent.  Errors that all pixels
    have in common do not count: they move no pixel from one state to another.

    Raises
    ------
    RankError
        If all pixels have the same spectrum.
    StackError, EnergyError, EdgeError
        As `whitened_scan`.
    """
    scan = whitened_scan(spectra, options)
    of_images = scan.whitening if spectra.basis is None else scan.whitening @ spectra.basis.T
    mean = scan.whitening @ spectra.mean_spectrum
    along = mean @ of_images / (mean @ mean)
    others = of_images - np.outer(mean, along)
    turned, size, vectors = np.linalg.svd(others, full_matrices=False)
    kept = size > 1e-6 * np.linalg.norm(of_images)
    if not kept.any():
        raise RankError("all pixels have the same spectrum, so there is one state")
    to_points = size[kept, None] * vectors[kept]
    del turned
    amount = (along @ spectra.images).astype(np.float32)
    mask = spectra.mask.ravel() & _has_sample(amount, _amount_error(spectra, along), spectra.mask.ravel())
    covariance, is_known = _mean_covariance(spectra, to_points, mask)
    values, axes = np.linalg.eigh(covariance)
    root = (axes / np.sqrt(values)).T
    points = ((root @ to_points) @ spectra.images).astype(np.float32)
    error = _relative_error(spectra, root @ to_points)
    with np.errstate(divide="ignore", invalid="ignore"):
        points, error = points / amount, (error / np.abs(amount)).astype(np.float32)
    mask &= np.isfinite(error) & np.isfinite(points).all(axis=0)
    typical = float(np.median(error[mask])) if mask.any() else 1.0
    return States(points / typical, error / typical, amount, mask, scan, is_known)


def _has_sample(amount: NDArray[np.float32], error: Array, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels that hold enough to have a state."""
    largest = float(np.percentile(amount[mask], 95)) if mask.any() else 0.0
    least = np.fmax(max(MIN_AMOUNT * largest, 0.0), MIN_AMOUNT_SIGMAS * error)
    return np.asarray(amount > least)


def _amount_error(spectra: PixelSpectra, along: Array) -> Array:
    """Return the standard error (P,) of a linear function of the images; NaN where unknown."""
    if spectra.basis is None:
        noise = float(of_rows(spectra.noise, along[None])[0, 0])
        return np.sqrt(noise) * spectra.noise_pixel if noise > 0 else np.full(spectra.mask.size, np.nan)
    return np.asarray(np.sqrt((along @ spectra.mixing) ** 2 @ spectra.errors**2))


def _mean_covariance(spectra: PixelSpectra, to_points: Array, mask: NDArray[np.bool_]) -> tuple[Array, bool]:
    """Return the covariance (D, D) of the errors of the images, on average over pixels, and if it is known."""
    if spectra.basis is None:
        covariance = of_rows(spectra.noise, to_points)
        known = noise_is_known(spectra)
    else:
        square = np.mean(spectra.errors[:, mask].astype(np.float64) ** 2, axis=1) if mask.any() else 0.0
        sources = to_points @ spectra.mixing
        covariance, known = (sources * square) @ sources.T, True
    size = float(np.trace(covariance)) / len(covariance)
    if not size > 0:
        return np.eye(len(covariance)), False
    return covariance + 1e-6 * size * np.eye(len(covariance)), known


def _relative_error(spectra: PixelSpectra, to_points: Array) -> Array:
    """Return the error of a coordinate in each pixel, (P,), as a root mean square over the coordinates."""
    if spectra.basis is None:
        return np.asarray(spectra.noise_pixel, float)
    share = np.mean((to_points @ spectra.mixing) ** 2, axis=0)
    return np.asarray(np.sqrt(share @ spectra.errors.astype(np.float64) ** 2))
