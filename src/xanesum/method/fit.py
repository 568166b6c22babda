"""What a method returns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.method.problem import Setting
from xanesum.method.sure import (
    RankRisk,
)

__all__ = ["MAX_RANK", "Fit", "_shares", "_squares"]

MAX_RANK = 20


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Factors of the clean stack, and what is known of every component that was tried."""

    spectra: NDArray[np.float64]  # (K, E), orthonormal
    images: NDArray[np.float32]  # (K, Y, X), denoised
    risk: RankRisk  # of the first 0 ... components
    components: dict[str, NDArray[np.float64]]  # columns of length T >= K, one row for each that was tried
    rank: int  # components to keep
    facts: dict[str, object]  # what else was chosen
    errors: NDArray[np.float32]  # (K, Y, X), standard error of each image, for noise as the method took it
    mixing: NDArray[np.float64] | None = (
        None  # (rank, rank), how they add up in the images; by default one each
    )

    def times(self, noise: NDArray[np.float32]) -> Fit:
        """Return the fit whose images had been divided by their noise, (K, Y, X)."""
        return replace(self, images=self.images * noise, errors=self.errors * noise)

    def unwhiten(self, spectra: NDArray[np.float64], pixel: NDArray[np.float64]) -> Fit:
        """Return the fit of a stack whose noise had been made even, as of the stack before.

        The spectra are made orthonormal again in their order: the image of a component takes up shares of
        weaker ones, never of stronger ones, beside which it could not be seen.  With the images their sum is
        what it was.  The table of components and the risk remain those of the even stack.

        Parameters
        ----------
        spectra : ndarray, shape (K, E)
            The first spectra as they are in the stack before.
        pixel : ndarray, shape (Y, X)
            What each pixel had been divided by.
        """
        rank = len(spectra)
        columns, mixing = np.linalg.qr(spectra.T)  # spectra.T @ images = columns @ (mixing @ images)
        images, errors = (part[:rank] * pixel.astype(np.float32) for part in (self.images, self.errors))
        return replace(
            self,
            spectra=np.ascontiguousarray(columns.T),
            images=np.tensordot(mixing.astype(np.float32), images, axes=1),
            errors=errors,
            mixing=mixing,
        )


def _shares(setting: Setting, images: NDArray[np.float32], risk: RankRisk) -> NDArray[np.float64]:
    """Return the share of each image (K, Y, X) in the energy of the stack above its noise."""
    own, n_values = _squares(images), len(setting.values) * int(setting.mask.sum())
    above_noise = n_values * risk.risk[0]  # the risk of a map to nothing
    return np.asarray(own / max(above_noise, own.sum(), np.finfo(float).tiny))


def _squares(images: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.sum(np.square(images, dtype=np.float64), axis=(1, 2)))
