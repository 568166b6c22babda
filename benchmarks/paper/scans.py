"""Simulated scans of the paper's Table 1, and how results are scored against their truth.

The paper's images are not public.  Ours are phantoms.  *inclusions* is in the role of its wedge: it was made
so that the map of the noisy scan is as bad as theirs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import xarray as xr
from _metrics import map_correlation, map_rmse_ev, psnr_of
from numpy.typing import NDArray

from paper.store import Row
from xanesum import Denoised, half_step_energy, simulate
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.phantom import Phantom
from xanesum.stack import make_stack

__all__ = ["FULL", "KINDS", "QUICK", "WHOLE", "Area", "Case", "Found", "Size", "cut", "frames", "middle"]

KINDS = ("particle", "inclusions", "catalyst", "round", "electrode", "brine")
NOISE_SEED = 1000  # added to the seed of the scene
Area = tuple[slice, slice]
Found = xr.DataArray | Denoised
WHOLE: Area = (slice(None), slice(None))


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    shape: tuple[int, int] | None  # of the phantoms; None for that of the paper
    n_energies: int
    crop_px: tuple[int, int]  # of slow methods
    seeds: tuple[int, ...]
    jitter_shape: tuple[int, int]
    jitter_energies: int
    slow_everywhere: bool  # or in few cells only
    training: float  # share of the steps with which networks learn from a scan


QUICK = Size((96, 128), 60, (32, 40), (0,), (96, 128), 60, False, 0.25)
FULL = Size(None, 969, (64, 80), (0, 1, 2), (256, 320), 150, True, 1.0)


@dataclass(frozen=True)
class Case:
    """A phantom with noise, and its truth."""

    kind: str
    sigma: float
    seed: int
    size: Size
    phantom: Phantom = field(repr=False)

    @classmethod
    def draw(cls, kind: str, sigma: float, seed: int, size: Size) -> Case:
        """Simulate the phantom of a seed."""
        rng = np.random.default_rng(seed)
        phantom = simulate(kind, shape=size.shape, n_energies=size.n_energies, rng=rng)
        return cls(kind, sigma, seed, size, phantom)

    @cached_property
    def noisy(self) -> xr.DataArray:
        """The noisy stack, the same for all methods."""
        _ = self.truth  # its own stack is gone before this one comes: each may need 5.5 GB
        return self.phantom.noisy(self.sigma, rng=np.random.default_rng(NOISE_SEED + self.seed))

    @cached_property
    def truth(self) -> xr.Dataset:
        """The map of the stack without noise."""
        return half_step_energy(self.phantom.clean())

    @property
    def crop(self) -> Area:
        """The pixels that slow methods get."""
        return middle(self.phantom.mask.shape, self.size.crop_px)

    def clean_frames(self, area: Area = WHOLE) -> Iterator[NDArray[np.float32]]:
        """Yield frames without noise."""
        images = self.phantom.images[:, *area]
        return (np.tensordot(column, images, axes=1) for column in self.phantom.spectra.T.astype(np.float32))

    def map_of(self, found: Found) -> NDArray[np.floating] | None:
        """Return the half-step energies of a result; None where there is no edge in it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", XanesumWarning)
                made = half_step_energy(found, e0_ev=self.truth.attrs["e0_ev"])
        except XanesumError:
            return None
        return np.asarray(made.half_step_energy_ev.values)

    def scores(self, found: Found, area: Area = WHOLE) -> Row:
        """Score a result of these pixels: frames, spectra and map."""
        truth, mask = self.truth.half_step_energy_ev.values[area], np.asarray(self.phantom.mask[area])
        values = self.map_of(found)
        row: Row = self.psnrs(found, area)
        if values is None:
            return row | {"correlation": 0.0, "map RMSE (eV)": None}
        rmse = map_rmse_ev(values, truth, mask)
        return row | {"correlation": self.correlation(values, area), "map RMSE (eV)": round(rmse, 4)}

    def psnrs(self, found: Found, area: Area) -> Row:
        """Return the PSNR of frames and of spectra; see `_metrics`."""
        squares = np.zeros(self.phantom.mask[area].shape)
        by_frame = []
        for frame, clean in zip(frames(found), self.clean_frames(area), strict=True):
            error = (frame - clean) ** 2
            squares += error
            by_frame.append(psnr_of(np.mean(error, dtype=np.float64)))
        of_spectra = psnr_of(squares / len(by_frame))
        return {
            "PSNR (dB)": round(float(np.mean(by_frame)), 3),
            "spectrum PSNR (dB)": round(float(np.mean(of_spectra)), 3),
        }

    def correlation(self, values: NDArray[np.floating], area: Area = WHOLE) -> float:
        """Return the correlation of a map of these pixels with the true one, within the sample."""
        truth, mask = self.truth.half_step_energy_ev.values[area], np.asarray(self.phantom.mask[area])
        return round(map_correlation(values, truth, mask), 4)


def frames(found: Found) -> Iterator[NDArray[np.float32]]:
    """Yield the frames of a result one at a time."""
    if isinstance(found, xr.DataArray):
        return iter(found.values)
    spectra, images = found.spectra.values.astype(np.float32), found.coefficients.values
    return (np.tensordot(column, images, axes=1) for column in spectra.T)


def cut(found: Found, area: Area) -> xr.DataArray:
    """Return a part of a result as a stack."""
    stack = found if isinstance(found, xr.DataArray) else found.reconstruct()
    part = np.ascontiguousarray(stack[:, *area].values)
    return make_stack(part, stack.energy.values)


def middle(shape: tuple[int, ...], size: tuple[int, int]) -> Area:
    """Return the middle of an image."""
    starts = [max(0, (whole - part) // 2) for whole, part in zip(shape, size, strict=True)]
    rows, columns = (slice(start, start + part) for start, part in zip(starts, size, strict=True))
    return rows, columns
