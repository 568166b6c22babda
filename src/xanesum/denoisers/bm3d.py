"""BM3D by its authors: the package `bm3d` of Tampere University, whose licence forbids commercial use.

This module is part of xanesum and free like it; the package it calls is not.  ``pip install "xanesum[bm3d]"``
downloads it under the authors' own licence, which allows "informational and non-commercial scope only" and
asks users to cite them.  Nothing in xanesum installs or calls it unless the user chooses it by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import ClassVar

import numpy as np

from xanesum.denoisers.base import Image, ImageDenoiser, grow_to
from xanesum.errors import MissingExtraError

__all__ = ["BM3DDenoiser"]

_SMALLEST_PX = 32  # the package refuses images below 8 pixels, and crashes the interpreter at 8 x 8


@dataclass(frozen=True)
class BM3DDenoiser(ImageDenoiser):
    """Block-matching and 3-D filtering [1]_.  NON-COMMERCIAL USE ONLY; see the attribute `licence`.

    Raises
    ------
    MissingExtraError
        If the package `bm3d` is not installed.

    References
    ----------
    .. [1] Y. Makinen, L. Azzari, A. Foi, "Collaborative filtering of correlated noise: exact transform-domain
       variance for improved shrinkage and patch matching", IEEE Trans. Image Process. 29 (2020) 8339-8354.
    """

    name: ClassVar[str] = "bm3d"
    extra: ClassVar[str | None] = "bm3d"
    licence: ClassVar[str] = (
        "The package bm3d is property of Tampere University: informational and NON-COMMERCIAL use only, "
        "with citation of its authors. See LICENSE in the package."
    )

    def __post_init__(self) -> None:
        _import_bm3d()

    def _denoise_image(self, image: Image, sigma: float | Image) -> Image:
        padded = grow_to(image, _SMALLEST_PX).astype(np.float64)
        span = float(np.ptp(padded)) or 1.0  # the package is made for images in 0 ... 1
        lowest = padded.min()
        denoised = _import_bm3d().bm3d((padded - lowest) / span, float(np.mean(sigma)) / span)
        inside = denoised[: image.shape[0], : image.shape[1]]
        restored: Image = (inside * span + lowest).astype(np.float32)
        return restored


def _import_bm3d() -> ModuleType:
    """Import the package when it is first needed."""
    try:
        return import_module("bm3d")
    except ImportError as error:
        raise MissingExtraError(
            'denoiser "bm3d" needs a package that is not installed: pip install "xanesum[bm3d]"'
        ) from error
