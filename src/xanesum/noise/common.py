"""Noise that all energies share, such as that of one flat image by which every frame was divided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import fit_basis, project
from xanesum.noise.level import finest_diagonal, median_sigma

__all__ = ["CommonNoise", "find_common"]

SAMPLE_RANK = 5  # images of the sample that are used to explain the texture of the common image
SAMPLE_SCALE = 4  # pixels along the side of the blocks in which the spectra of these images are found
TEXTURED = 1.2  # times the variance of the noise; above this, the finest detail of an image shows the sample


@dataclass(frozen=True, slots=True, eq=False)
class CommonNoise:
    """Noise that is the same at all energies, such as that of a flat by which every frame was divided."""

    along: NDArray[np.float64]  # (E,), its spectrum in a stack of even noise, of length 1
    ratio: float  # standard deviation of all noise along this spectrum, in units of the noise elsewhere

    def reduce(self, stack: NDArray[np.float32]) -> None:
        """Reduce the noise of a stack (E, Y, X) along this spectrum to that elsewhere, in place."""
        excess = project(self.along[None], stack)[0] * np.float32(1 - 1 / self.ratio)
        for frame, share in zip(stack, self.along.astype(np.float32), strict=True):
            frame -= share * excess

    def restored(self, spectra: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return spectra (K, E) of a reduced stack as those of the original stack."""
        return spectra + np.outer((self.ratio - 1) * (spectra @ self.along), self.along)

    @property
    def inverse(self) -> CommonNoise:
        """The same with the reciprocal ratio: its `reduce` undoes that of this one."""
        return CommonNoise(self.along, 1 / self.ratio)

    def sigma(self, level: float) -> NDArray[np.float64]:
        """Return the standard deviation (E,) of the common noise alone, where the other noise is `level`."""
        return np.asarray(self.along * level * np.sqrt(max(self.ratio**2 - 1, 0.0)))


def find_common(
    stack: NDArray[np.float32],
    along: NDArray[np.float64],
    sigma: float,
    *,
    mask: NDArray[np.bool_] | None = None,
    rng: np.random.Generator,
) -> CommonNoise:
    """Measure the noise of a stack along one spectrum, compared with its noise elsewhere.

    The finest detail of the image along this spectrum holds noise and texture of the sample.  The texture is
    also in the other images of the sample.  Their contribution is fitted and subtracted, and so is the noise
    that they bring with them.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Finite wherever `mask` holds; its noise is even, except for the common part.
    along : ndarray, shape (E,)
        Spectrum of the common noise.
    sigma : float
        Noise level.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    rng : numpy.random.Generator
        For `xanesum.linalg.subspace.fit_basis`.

    References
    ----------
    .. [1] W. A. Fuller, "Measurement Error Models", Wiley (1987), section 2.2: the part of noise is
       subtracted from the covariance of the regressors.
    """
    along = along / np.linalg.norm(along)
    averaged = average_pixels(stack, SAMPLE_SCALE, mask=mask)
    averaged = averaged - np.multiply.outer(along, np.tensordot(along, averaged, axes=1)).astype(np.float32)
    rank = min(SAMPLE_RANK, len(averaged) - 1, averaged[0].size)
    spectra = fit_basis(averaged, rank, rng=rng).spectra
    spectra = spectra - np.outer(spectra @ along, along)
    details = finest_diagonal(project(np.vstack([along, spectra]), stack), mask=mask).astype(np.float64)
    details /= sigma
    power, turned = np.linalg.eigh(details[1:] @ details[1:].T / details.shape[1])
    turned = turned[:, power > TEXTURED]  # their own noise would make the shares too small: see [1]_
    texture = turned.T @ details[1:]
    shares = texture @ details[0] / details.shape[1] / (power[power > TEXTURED] - 1)
    variance = median_sigma(details[0] - shares @ texture) ** 2 - float(shares @ shares)
    return CommonNoise(along, float(np.sqrt(max(variance, 1.0))))
