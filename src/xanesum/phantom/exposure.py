"""Expose a phantom to a detector: photon noise, read noise, flats, drifting illumination."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import SigmaError
from xanesum.noise.detector import law_coords
from xanesum.phantom import parameters as p
from xanesum.phantom.motion import MovingPhantom
from xanesum.phantom.simulate import Phantom
from xanesum.stack import make_stack

__all__ = ["Detector", "Exposure", "drifting_fields", "expose"]


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector: counts have mean ``signal + offset`` and variance ``gain * signal + read_variance``."""

    gain: float = p.GAIN  # counts per detected photon
    read_variance: float = p.READ_VARIANCE  # counts squared
    offset: float = 0.0  # counts without light

    def read(self, signal: NDArray[np.floating], *, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return counts, which can be negative, for a mean signal of any shape without the offset."""
        photons = rng.poisson(np.maximum(signal, 0) / self.gain)
        noise = np.sqrt(self.read_variance) * rng.standard_normal(signal.shape, dtype=np.float32)
        return np.asarray(self.gain * photons + noise + self.offset, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """A scan in counts, and its exact truth."""

    stack: xr.DataArray  # counts (energy, y, x); mean flat, mean dark and their noise law are coordinates
    flats: NDArray[np.float32]  # (N, Y, X), counts of single exposures without the sample
    darks: NDArray[np.float32]  # (N, Y, X), counts of single exposures without light
    density: NDArray[np.float32]  # (E, Y, X), true optical density
    illumination: NDArray[np.float32]  # (E, Y, X), true mean counts without the sample
    detector: Detector


def expose(
    phantom: Phantom | MovingPhantom,
    open_counts: float,
    *,
    detector: Detector | None = None,
    peak_density: float = p.PEAK_DENSITY,
    flat_drift: float = p.FLAT_DRIFT,
    n_flats: int = p.N_FLATS,
    rng: np.random.Generator,
) -> Exposure:
    """Expose a phantom to a detector.

    Parameters
    ----------
    phantom : Phantom or MovingPhantom
        The value 255 of its stack is scaled to `peak_density`.  A sample may move; light and detector stay.
    open_counts : float
        Mean counts of an exposure without the sample.
    detector : Detector, optional
        By default with gain and read noise as measured at SSRL 6-2c.
    peak_density : float
        Largest optical density.
    flat_drift : float
        Root mean square of the relative change of the illumination between exposures; it is smooth in space.
    n_flats : int
        Number of exposures without the sample, and of those without light.
    rng : numpy.random.Generator
        Draws illumination and noise.

    Raises
    ------
    SigmaError
        If there is no light or no flat.
    """
    if not (open_counts > 0 and n_flats >= 1):
        raise SigmaError(f"an exposure needs light and flats, got {open_counts} counts and {n_flats} flats")
    detector = Detector() if detector is None else detector
    density = phantom.clean().values * np.float32(peak_density / p.PEAK)
    shape = density.shape[1:]
    mean = open_counts * (1 + p.VIGNETTING * (drifting_fields(1, shape, rng=rng)[0]))
    drift = 1 + flat_drift * drifting_fields(len(density) + n_flats, shape, rng=rng)
    illumination = (mean * drift[: len(density)]).astype(np.float32)
    counts = np.empty_like(density)
    for out, light, frame in zip(counts, illumination, density, strict=True):
        out[...] = detector.read(light * np.exp(-frame), rng=rng)
    flats = np.stack([detector.read(mean * each, rng=rng) for each in drift[len(density) :]])
    darks = np.stack([detector.read(np.zeros(shape), rng=rng) for _ in range(n_flats)])
    stack = make_stack(counts, phantom.energy_ev, quantity="counts").assign_coords(
        flat=(("y", "x"), flats.mean(axis=0)), dark=(("y", "x"), darks.mean(axis=0))
    )
    if n_flats > 1:
        stack = stack.assign_coords(law_coords(flats, darks, n_energies=len(stack)))
    description = (
        f"phantom {phantom.kind}, {open_counts:g} counts in the open beam, flat drift {flat_drift:g}"
    )
    stack.attrs["history"] = [description]
    return Exposure(stack, flats, darks, density, illumination, detector)


def drifting_fields(n: int, shape: tuple[int, ...], *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `n` independent smooth fields (n, Y, X) of mean square 1, sums of slow cosines."""
    orders = np.arange(p.DRIFT_ORDERS)
    along = [np.cos(np.pi * np.outer(orders, (np.arange(size) + 0.5) / size)) for size in shape]
    weights = 1 / (1 + orders[:, None] ** 2 + orders[None, :] ** 2)
    mean_square = np.where(orders > 0, 0.5, 1.0)  # of each cosine
    total = np.sum(weights**2 * np.outer(mean_square, mean_square))
    amplitudes = weights / np.sqrt(total) * rng.standard_normal((n, *weights.shape))
    return np.asarray(np.einsum("nij,iy,jx->nyx", amplitudes, *along, optimize=True))
