"""Covariances of spectra as they act on the rows of an operator, and the noise as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["noise_is_known", "noise_matrix", "noise_variance", "of_rows"]

Array = NDArray[np.float64]


def of_rows(covariance: Any, rows: Array) -> Array:
    """Return the covariance (n, n) of ``rows @ spectrum``, rows (n, E)."""
    return np.asarray(rows @ covariance @ rows.T)


def noise_matrix(spectra: PixelSpectra) -> Array:
    """Return the covariance (E, E) of the noise in a pixel of mean noise; 0 where it is not known."""
    return of_rows(spectra.noise, np.eye(len(spectra.energy_ev)))


def noise_variance(spectra: PixelSpectra) -> Array:
    """Return the variance (E,) of that noise."""
    return np.asarray(np.diag(noise_matrix(spectra)))


def noise_is_known(spectra: PixelSpectra) -> bool:
    """Whether every energy has a noise level above 0."""
    return bool((noise_variance(spectra) > 0).all())
