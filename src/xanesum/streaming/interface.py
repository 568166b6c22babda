"""A stack in blocks as the methods see it: a few passes over its values, and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.subspace import StackSource

__all__ = ["Averages", "Progress", "Rescaling", "StackInBlocks", "Survey", "no_progress"]

Progress = Callable[[float], None]  # called with the share of a pass that is done, 0 to 1


def no_progress(share: float) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Rescaling:
    """Factors for the values of a stack; then a share of one spectrum is subtracted.

    Value v of energy e and pixel p becomes ``u = v * pixel[p] * energy[e]``; then each pixel's spectrum u
    becomes ``u - excess * along * (along @ u)``.
    """

    pixel: NDArray[np.float32]  # (Y, X), factor of each pixel
    energy: NDArray[np.float64]  # (E,), factor of each energy
    along: NDArray[np.float64]  # (E,), spectrum of length 1 in the multiplied stack, or 0 everywhere
    excess: float = 0.0  # share of the component along this spectrum that is subtracted, 0 to 1

    def spectra(self, spectra: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return spectra (K, E) whose images in the stack as read are those of `spectra` in the rescaled one.

        The factors of the pixels are left out: the images have to be multiplied by them.
        """
        kept = spectra - self.excess * np.outer(spectra @ self.along, self.along)
        return np.asarray(kept * self.energy)


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """A stack averaged over blocks of pixels, and the sum of squares of its single values.

    An average is the sum over the n pixels of a block that count, divided by the root of n: white noise
    keeps its standard deviation.
    """

    values: NDArray[np.float32]  # (E, Y', X')
    mask: NDArray[np.bool_]  # (Y', X'), blocks with at least half as many usable pixels as the fullest block
    sum_of_squares: float  # of the values of single pixels that count, over all energies


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Results of the first pass over a stack, before anything is done with it."""

    digest: str  # SHA-256 of the sums of the values' bits along rows and along columns of every frame
    n_missing: int  # values that are not finite, in all pixels ...
    n_bad: int  # ... and in pixels that count
    blank: NDArray[np.bool_]  # (E,), frames that are zero everywhere
    sample: NDArray[np.float32]  # (E, n), values of the pixels asked for


@runtime_checkable
class StackInBlocks(StackSource, Protocol):
    """A stack that is read in blocks, a pass at a time.

    Where `filled` and `rescaled` are both used, values are filled first.
    """

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that count, shape (Y, X)."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether blocks need not be read from a file."""
        ...

    def __len__(self) -> int: ...

    def rescaled(self, rescaling: Rescaling) -> StackInBlocks:
        """Return the same stack with another rescaling; its `blocks` stay as they are."""
        ...

    def filled(self, spectra: NDArray[np.float64]) -> StackInBlocks:
        """Return the same stack with a fit of `spectra` (K, E) in place of missing values."""
        ...

    def survey(
        self, pixels: NDArray[np.intp], scale: int, progress: Progress = no_progress
    ) -> tuple[Survey, Averages]:
        """Return a survey and averages in one pass.

        Parameters
        ----------
        pixels : ndarray of int, shape (n,)
            Sorted flat indices of the pixels for `Survey.sample`.
        scale : int
            Scale of the averages, see `average`.  The averages are valid only where no value is missing.
        progress : callable
            Called with the share of the pass that is done.
        """
        ...

    def project(self, spectra: NDArray[np.float64], progress: Progress = no_progress) -> NDArray[np.float32]:
        """Return the images (K, Y, X) that weight `spectra` (K, E), in one pass."""
        ...

    def average(self, scale: int, progress: Progress = no_progress) -> Averages:
        """Return averages over `scale` x `scale` pixels, in one pass.

        At a scale of 1, a stack in memory that needs no rescaling and no filling is returned without a copy.
        """
        ...

    def clear(self) -> None:
        """Remove the results of passes that were kept on disk, if any."""
        ...
