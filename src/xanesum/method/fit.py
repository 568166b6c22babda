"""The result of a method, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.method.problem import AnyLevel
from xanesum.method.sure import RankRisk

__all__ = ["MAX_RANK", "Fit", "image_squares", "shares_of_signal"]

MAX_RANK = 20  # components that are tried at most


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Factors of the clean stack, and a table of all components that were tried."""

    spectra: NDArray[np.float64]  # (K, E), orthonormal
    images: NDArray[np.float32]  # (K, Y, X), denoised
    errors: NDArray[np.float32]  # (K, Y, X), standard errors of independent sources of error
    risk: RankRisk  # of keeping the first 0 ... K components
    components: dict[str, NDArray[np.float64]]  # columns of length T >= K, one row for each component tried
    rank: int  # components to keep
    facts: dict[str, object] = field(default_factory=dict)  # other choices, for the record
    mixing: NDArray[np.float64] | None = None  # (rank, rank), from sources of error to images; None: identity
    spectrum_errors: NDArray[np.float64] | None = None  # (K, E), before smoothing; None: as in `components`
    hidden_spectrum: NDArray[np.float64] | None = None  # (E,), of what noise may hide; None: not known
    hidden_size: NDArray[np.float32] | None = None  # (Y, X), standard deviation of its image
    freedom: NDArray[np.float64] | None = None  # (K, E), share of that variance left by smoothing; None: 1

    def times(self, noise: NDArray[np.float32]) -> Fit:
        """Return the fit of images that had been divided by their noise, (K, Y, X)."""
        return replace(self, images=self.images * noise, errors=self.errors * noise)

    def unwhiten(
        self,
        spectra: NDArray[np.float64],
        sigma_pixel: NDArray[np.float64],
        sigma_energy: NDArray[np.float64] | float = 1.0,
    ) -> Fit:
        """Return the fit in terms of the stack before it was whitened.

        The spectra are made orthonormal again, in their order.  The image of a component takes up shares of
        weaker components, never of stronger ones, which would hide it.  The sum of all components does not
        change.  The table of components and the risk remain those of the whitened stack.

        Parameters
        ----------
        spectra : ndarray, shape (K, E)
            The first spectra, in the stack before.
        sigma_pixel : ndarray, shape (Y, X)
            The divisor of each pixel.
        sigma_energy : ndarray, shape (E,), optional
            The divisor of each energy.
        """
        rank = len(spectra)
        columns, mixing = np.linalg.qr(spectra.T)  # spectra.T @ images = columns @ (mixing @ images)
        images, errors = (part[:rank] * sigma_pixel.astype(np.float32) for part in (self.images, self.errors))
        return replace(
            self,
            spectra=np.ascontiguousarray(columns.T),
            images=np.tensordot(mixing.astype(np.float32), images, axes=1),
            errors=errors,
            mixing=mixing,
            spectrum_errors=self.errors_of_spectra[:rank] * sigma_energy,
            hidden_spectrum=None if self.hidden_spectrum is None else self.hidden_spectrum * sigma_energy,
            hidden_size=None
            if self.hidden_size is None
            else self.hidden_size * sigma_pixel.astype(np.float32),
        )

    @property
    def errors_of_spectra(self) -> NDArray[np.float64]:
        """Standard error (K, E) of the spectrum of each source of error, before smoothing."""
        if self.spectrum_errors is not None:
            return self.spectrum_errors
        return np.outer(
            self.components["spectrum_error"][: len(self.spectra)], np.ones(self.spectra.shape[1])
        )


def shares_of_signal(level: AnyLevel, images: NDArray[np.float32], risk: RankRisk) -> NDArray[np.float64]:
    """Return the share of each image (K, Y, X) in the stack's sum of squares above its noise, shape (K,)."""
    own, n_values = image_squares(images), level.n_energies * int(level.mask.sum())
    above_noise = n_values * risk.risk[0]  # the risk of keeping nothing
    return np.asarray(own / max(above_noise, own.sum(), np.finfo(float).tiny))


def image_squares(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum of squares of each image (K, Y, X), shape (K,)."""
    return np.asarray(np.sum(np.square(images, dtype=np.float64), axis=(1, 2)))
