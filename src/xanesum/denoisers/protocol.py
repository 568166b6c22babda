"""What a denoiser is: K images with white noise in, K images out, nothing remembered."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Denoiser", "Sigma"]

Sigma = float | NDArray[np.floating]


@runtime_checkable
class Denoiser(Protocol):
    """A pure function on images, with flags that say what it can do.

    Calling it twice with equal arguments gives equal results.  `sigma` is in the unit of the images; a
    denoiser whose `uses_sigma` is false ignores it and one whose `takes_sigma_map` is false raises
    `DenoiserError` for an array.  A negative or NaN sigma raises `SigmaError`; 0 returns the images
    unchanged.  One that rounds more coarsely than float32 has an attribute `exact`, the same denoiser without
    that, for risk estimates, and may have a method `rounding`, see `ImageDenoiser`, for those that can allow
    for it.  Where `mask` is false, input values are to be ignored and output values
    mean nothing.
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
