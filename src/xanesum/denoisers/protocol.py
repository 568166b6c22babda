"""The contract of a denoiser, and what it may offer besides."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Denoiser", "Fingerprinted", "KnownRounding", "RoundingDenoiser", "Sigma"]

Sigma = float | NDArray[np.floating]


@runtime_checkable
class Denoiser(Protocol):
    """A pure function from K noisy images to K clean ones, with flags that say what it can do.

    Equal arguments give equal results; nothing is remembered between calls.  `sigma` is in the unit of the
    images.  A denoiser whose `uses_sigma` is false ignores it.  One whose `takes_sigma_map` is false raises
    `DenoiserError` for an array.  A sigma that is negative or not finite raises `SigmaError`; 0 returns the
    images unchanged.  Where `mask` is false, input values are ignored and output values mean nothing.

    Optional parts of the contract are `RoundingDenoiser`, `KnownRounding` and `Fingerprinted`.
    """

    name: ClassVar[str]
    uses_sigma: ClassVar[bool]
    takes_sigma_map: ClassVar[bool]
    device: ClassVar[str]  # "cpu" or "cuda"
    extra: ClassVar[str | None]  # the optional dependency it needs: pip install xanesum[extra]

    def denoise(
        self, images: NDArray[np.float32], sigma: Sigma, *, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Denoise each of `images` (K, Y, X) with noise of standard deviation `sigma`, scalar or (Y, X)."""
        ...


@runtime_checkable
class RoundingDenoiser(Denoiser, Protocol):
    """A denoiser that may round more coarsely than float32, as a network in bfloat16 does.

    Stein's risk estimate takes the difference of two nearly equal results, in which coarse rounding would
    show.  It calls the exact form.
    """

    @property
    def exact(self) -> Denoiser:
        """The same denoiser with the rounding of float32; itself where it does not round more coarsely."""
        ...


@runtime_checkable
class KnownRounding(Denoiser, Protocol):
    """A denoiser that can tell how large its rounding error is.

    A risk estimate that allows for this error can call the faster form.
    """

    def rounding(self, images: NDArray[np.float32], sigma: float) -> NDArray[np.float64]:
        """Return the rms rounding error in units of sigma, shape (K,), of images (K, Y, X); 0 for float32."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A denoiser whose name and options do not determine its results, as with the weights of a network."""

    @property
    def fingerprint(self) -> str:
        """Text for the provenance of a result: everything that is needed to repeat it."""
        ...
