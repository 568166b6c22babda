"""Spectra of regions and of pixels of a result, with standard errors."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from xanesum.errors import StackError
from xanesum.result.spectrum_errors import Factors, mean_spectrum, region_mask

__all__ = ["MeanSpectra"]


class Result(Factors, Protocol):
    """A result as its mean spectra need it."""

    @property
    def attrs(self) -> dict[str, Any]: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def mean_spectrum(self, region: ArrayLike | None = None) -> xr.Dataset: ...


class MeanSpectra:
    """The spectra that a result gives, with their errors."""

    __slots__ = ()

    def mean_spectrum(self: Result, region: ArrayLike | None = None) -> xr.Dataset:
        """Return the mean spectrum of a region, with its standard error.

        Neighbouring pixels of a denoised image share their errors, and all pixels share those of the spectra.
        The error of the mean holds both, so that it falls more slowly than that of independent pixels.

        Parameters
        ----------
        region : array_like, optional
            Image (Y, X) of pixels that count if they are not 0, or corners (N, 2) of a polygon, y and x in
            px; see `xanesum.result.spectrum_errors.region_mask`. All usable pixels by default.

        Returns
        -------
        Dataset
            ``spectrum`` and ``sigma`` (energy,), in the unit of the stack.  ``attrs["n_pixels"]`` counts the
            pixels; ``attrs["intervals_hold"]`` and ``attrs["reasons"]`` are those of the result.

        Raises
        ------
        StackError
            If the region has another size, or holds no usable pixel.
        """
        found = mean_spectrum(self, region_mask(region, self.shape[1:]))
        facts = {"intervals_hold": not self.reasons, "reasons": list(self.reasons)}
        return found.assign_attrs(quantity=self.attrs.get("quantity", ""), **facts)

    def spectrum(self: Result, y: int, x: int) -> xr.Dataset:
        """Return the spectrum of one pixel with its standard error, as `mean_spectrum` does for a region.

        Raises
        ------
        StackError
            If the pixel lies outside the images, or is masked.
        """
        n_y, n_x = self.shape[1:]
        if not (0 <= y < n_y and 0 <= x < n_x):
            raise StackError(f"pixel y = {y}, x = {x} lies outside the images of {n_y} x {n_x} px")
        mask = np.zeros((n_y, n_x), bool)
        mask[y, x] = True
        return self.mean_spectrum(mask)
