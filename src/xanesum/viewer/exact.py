"""Answers of the program itself to what the page asks: errors, measured frames and spectra, residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import StackError
from xanesum.result import Denoised
from xanesum.result.spectrum_errors import region_mask
from xanesum.stack import usable_mask
from xanesum.viewer.packing import pack
from xanesum.xanes.particles.labels import Particles
from xanesum.xanes.particles.states import error_name, map_name, measure_particles

__all__ = ["DRAWS", "FRAMES", "Explored", "cropped"]

FRAMES = ("measured", "residual")
DRAWS = 30  # of the error of a mean state, which they give to 13 %
MARGIN_PX = 2  # around a region: slopes of images need neighbours
FAST = 1  # level of compression of a frame that is sent
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """A result, its map, and the scan that was denoised, if it is at hand."""

    result: Denoised
    maps: xr.Dataset | None
    raw: xr.DataArray | None  # (energy, y, x), may be lazy
    mapped: Callable[[Any], xr.Dataset]

    def __post_init__(self) -> None:
        if self.raw is not None and self.raw.shape != self.result.shape:
            raise StackError(
                f"the scan has shape {self.raw.shape}, but its result has {self.result.shape} "
                "(energy, y, x); read it as for the result, with the same region and energies"
            )

    def spectrum(self, y: int, x: int) -> Answer:
        """Return the spectrum of a pixel with its standard error.

        Raises
        ------
        StackError
            If the pixel lies outside the images, or is masked.
        """
        self._check_pixel(y, x)
        inside = np.zeros(self.result.shape[1:], bool)
        inside[y, x] = True
        return self._mean(inside)

    def region(self, corners: list[list[float]]) -> Answer:
        """Return the mean spectrum of a polygon with its standard error; corners [y, x] in px.

        Raises
        ------
        StackError
            If the polygon holds no usable pixel.
        """
        return self._mean(self._within(corners))

    def state(self, corners: list[list[float]], least_step: float, most_error: float) -> Answer:
        """Return the mean of the map in a polygon with its standard error, from repeated draws.

        Pixels count alike, and only those of the mask, with an edge step and an error within the limits.

        Raises
        ------
        StackError
            If there is no map, or the polygon holds no usable pixel.
        EdgeError
            If no pixel of it has a value.
        """
        if self.maps is None:
            raise StackError("there is no map, so a region has no state")
        inside = self._within(corners)
        if "edge_step" in self.maps:
            inside &= np.nan_to_num(self.maps["edge_step"].values, nan=-np.inf) >= least_step
        error = error_name(self.maps, map_name(self.maps))
        if error is not None and np.isfinite(most_error):
            inside &= np.nan_to_num(self.maps[error].values, nan=np.inf) <= most_error
        label = Particles(inside.astype(np.int32), np.array([1]), "a drawn region")
        found = measure_particles(self.result, label, mapped=self.mapped, weights="pixels", n_draws=DRAWS)
        return {
            "mean": float(found["state"].values[0]),
            "sigma": float(found["state_sigma"].values[0]),
            "n": int(found["n_mapped"].values[0]),
            "reasons": list(found.attrs["reasons"]),
        }

    def frame(self, kind: str, energy: int) -> Answer:
        """Return a measured frame, or the residual in units of its noise, packed as the page's images are.

        Raises
        ------
        StackError
            If there is no scan, or the kind or the energy is unknown.
        """
        raw = self._scan()
        if kind not in FRAMES or not 0 <= energy < len(raw):
            raise StackError(f"frames are {' and '.join(FRAMES)} at 0..{len(raw) - 1}")
        values = np.asarray(raw[energy].values, np.float64)
        noise = self._noise(energy)
        if kind == "residual":
            clean = np.asarray(self.result.reconstruct()[energy].values, np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.where(noise > 0, (values - clean) / noise, np.nan)
        values = np.where(usable_mask(self.result.coefficients), values, np.nan)
        unit = 1.0 if kind == "residual" else float(np.nanmedian(noise))
        packed = pack(values, unit, level=FAST)
        return packed.header | {"text": packed.text}

    def measured(self, y: int, x: int) -> Answer:
        """Return the measured spectrum of a pixel; None where a value is missing.

        Raises
        ------
        StackError
            If there is no scan, or the pixel lies outside the images.
        """
        raw = self._scan()
        self._check_pixel(y, x)
        return {"values": _plain(np.asarray(raw[:, y, x].values, np.float64))}

    def _scan(self) -> xr.DataArray:
        if self.raw is None:
            raise StackError("the scan is not at hand; give it", parameter="raw")
        return self.raw

    def _check_pixel(self, y: int, x: int) -> None:
        n_y, n_x = self.result.shape[1:]
        if not (0 <= y < n_y and 0 <= x < n_x):
            raise StackError(f"pixel y = {y}, x = {x} lies outside the images of {n_y} x {n_x} px")

    def _noise(self, energy: int) -> NDArray[np.float64]:
        """Return the noise level (Y, X) of a frame."""
        level = np.hypot(self.result.sigma_used[energy], self.result.sigma_common.values[energy])
        return np.asarray(level * np.nan_to_num(self.result.sigma_pixel.values, nan=1.0))

    def _within(self, corners: list[list[float]]) -> NDArray[np.bool_]:
        """Return the pixels (Y, X) of a polygon; its part outside of the images is cut off."""
        most = np.array(self.result.shape[1:]) - 0.5
        return region_mask(np.clip(np.asarray(corners, float), -0.5, most), self.result.shape[1:])

    def _mean(self, inside: NDArray[np.bool_]) -> Answer:
        part, own = cropped(self.result, inside)
        found = part.mean_spectrum(own)
        return {
            "spectrum": _plain(found["spectrum"].values),
            "sigma": _plain(found["sigma"].values),
            "n": found.attrs["n_pixels"],
        }


def cropped(result: Denoised, inside: NDArray[np.bool_]) -> tuple[Denoised, NDArray[np.bool_]]:
    """Return the part of a result around some pixels (Y, X), and these pixels in it.

    The mean spectrum of the pixels, and its error, are the same: no other pixels count in them.
    """
    box = {}
    for axis, name in ((1, "y"), (0, "x")):
        there = np.flatnonzero(inside.any(axis=axis))
        box[name] = slice(max(int(there[0]) - MARGIN_PX, 0), int(there[-1]) + MARGIN_PX + 1)
    images = ("coefficients", "sigma_pixel", "sigma_drift", "error_images", "hidden_size")
    part = replace(result, **{name: getattr(result, name).isel(box) for name in images})
    return part, inside[box["y"], box["x"]]


def _plain(values: NDArray[np.floating]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
