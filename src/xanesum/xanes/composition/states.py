"""Chemical state of every pixel as a point: its spectrum without background and thickness, over its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import RankError
from xanesum.xanes.composition.errors import AmountErrors
from xanesum.xanes.composition.reference_fit import FitOptions, WhitenedScan, whitened_scan
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["States", "states_of"]

Array = NDArray[np.float64]

LEAST_SIZE = 1e-6  # of a direction in which states can differ, relative to the spectra
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
    that errors, on average over the pixels, are 1 and independent.  Errors of the few spectra count too: a
    background that differs from pixel to pixel leaks through them.

    Raises
    ------
    RankError
        If all pixels have the same spectrum.
    StackError, EnergyError, EdgeError
        As `whitened_scan`.
    """
    scan = whitened_scan(spectra, options)
    mean = scan.whitening @ spectra.mean_spectrum
    along = mean @ scan.whitening / (mean @ mean)  # from a spectrum to its amount of the mean
    others = scan.whitening - np.outer(mean, along)
    of_images = others if spectra.basis is None else others @ spectra.basis.T
    directions, size, _ = np.linalg.svd(of_images, full_matrices=False)
    kept = size > LEAST_SIZE * np.linalg.norm(scan.whitening @ _basis_of(spectra))
    if not kept.any():
        raise RankError("all pixels have the same spectrum, so there is one state")
    rows = directions[:, kept].T @ others
    amount = spectra.apply(along) @ spectra.images
    used = spectra.mask.ravel()
    mask = used & _has_sample(amount, spectra.error(along), used)
    errors = AmountErrors.of(spectra, rows)
    values, axes = np.linalg.eigh(_mean_covariance(errors, mask))
    rows = (axes / np.sqrt(values)).T @ rows
    error = _error(AmountErrors.of(spectra, rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        points = (spectra.apply(rows) @ spectra.images) / amount
        error = (error / np.abs(amount)).astype(np.float32)
    mask &= np.isfinite(error) & np.isfinite(points).all(axis=0)
    typical = float(np.median(error[mask])) if mask.any() else 1.0
    scaled = (points / typical).astype(np.float32)
    return States(scaled, error / np.float32(typical), amount, mask, scan, errors.is_known)


def _basis_of(spectra: PixelSpectra) -> Array:
    return np.eye(len(spectra.energy_ev)) if spectra.basis is None else spectra.basis.T


def _has_sample(amount: NDArray[np.float32], error: Array, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels that hold enough to have a state."""
    largest = float(np.percentile(amount[mask], 95)) if mask.any() else 0.0
    least = np.fmax(max(MIN_AMOUNT * largest, 0.0), MIN_AMOUNT_SIGMAS * error)
    return np.asarray(amount > least)


def _mean_covariance(errors: AmountErrors, mask: NDArray[np.bool_]) -> Array:
    """Return the covariance (D, D) of errors on average over pixels; the unit matrix if it is not known."""
    sources, n = errors.of_sources, len(errors.of_sources)
    if not errors.is_known or not mask.any():
        return np.eye(n)
    square = np.mean(errors.errors[:, mask].astype(np.float64) ** 2, axis=1)
    total = (sources * square) @ sources.T
    for covariance, size in zip(errors.covariances, errors.sizes, strict=True):
        total = total + covariance * np.mean(size[mask].astype(np.float64) ** 2)
    level = float(np.trace(total)) / n
    return total + LEAST_SIZE * level * np.eye(n) if level > 0 else np.eye(n)


def _error(errors: AmountErrors) -> Array:
    """Return the error of a coordinate in each pixel, (P,), as a root mean square over the coordinates."""
    if not errors.is_known:
        return np.ones(errors.errors.shape[1])
    variance = np.mean(errors.of_sources**2, axis=0) @ errors.errors.astype(np.float64) ** 2
    for covariance, size in zip(errors.covariances, errors.sizes, strict=True):
        variance = variance + np.trace(covariance) / len(covariance) * size.astype(np.float64) ** 2
    return np.asarray(np.sqrt(variance))
