"""Table 2: correlation of the map where the sample jitters, by method and by way of correction.

The paper denoises the moving stack and corrects the motion of the result, by NoRMCorre.  Here this is done as
well, by `rigid_shifts`; and also the other way round, where motion is corrected before denoising, by
`rigid_shifts` and by the alignment of this project.  All frames are resampled in the same way.  The same
pixels, which all frames have seen, are compared.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr
from _metrics import map_correlation
from jitter import squared_slopes
from numpy.typing import NDArray
from skimage.registration import phase_cross_correlation

from paper.methods import Method, methods
from paper.scans import Found, Size
from paper.store import Row, Store
from paper.workers import Cell, measure_cells
from xanesum import Shifts, align, estimate_shifts, half_step_energy
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.phantom import MovingPhantom, draw_motion, energy_grid_ev, moving
from xanesum.stack import make_stack

__all__ = [
    "CORRECTIONS",
    "JITTERS",
    "SIGMAS",
    "TRIED",
    "Moving",
    "kinds_of",
    "planned",
    "rigid_shifts",
    "run",
]

JITTERS, SIGMAS = (2.0, 4.0, 6.0), (10.0, 150.0)
NOT, AFTER = "no correction", "rigid, after denoising"  # the last is the paper's way
BEFORE, OURS = "rigid, before denoising", "xanesum, before denoising"
CORRECTIONS = (NOT, AFTER, BEFORE, OURS)
TRIED = ("noisy", "3-D median", "SVD, SURE, hard", "ReLD", "BM4D", "sum", "sum+")
KINDS = ("particle", "inclusions")
CELLS = len(JITTERS) * len(SIGMAS) * len(CORRECTIONS)  # of a method on one phantom
NOISE_SEED = 1000  # added to the seed of the scene
ROUNDS, SETTLED_PX, UPSAMPLING, FARTHEST_PX = 25, 0.05, 20, 15  # of the rigid correction
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moving:
    """A scan that jitters."""

    phantom: MovingPhantom
    stack: xr.DataArray
    jitter_px: float
    sigma: float

    @classmethod
    def draw(cls, kind: str, jitter_px: float, sigma: float, seed: int, size: Size) -> Moving:
        """Simulate it."""
        rng = np.random.default_rng(seed)
        motion = draw_motion(energy_grid_ev(size.jitter_energies), jitter_px=jitter_px, rng=rng)
        phantom = moving(kind, motion, shape=size.jitter_shape, rng=np.random.default_rng(seed))
        stack = phantom.noisy(sigma, rng=np.random.default_rng(NOISE_SEED + seed))
        return cls(phantom, stack, jitter_px, sigma)

    @property
    def seen(self) -> tuple[slice, slice]:
        """Pixels that every frame has seen, and a small margin less."""
        margin = int(np.ceil(np.abs(self.phantom.motion.shifts_px).max())) + 2
        return slice(margin, -margin), slice(margin, -margin)

    @cached_property
    def weight(self) -> Array:
        """How much each frame tells of shifts (E,)."""
        return np.array([sum(squared_slopes(frame)) for frame in self.phantom.clean().values])

    @cached_property
    def truth(self) -> xr.Dataset:
        """The map of the sample at rest, without noise."""
        return half_step_energy(self.phantom.at_rest.clean())

    def shifts(self, found: Array) -> Shifts:
        """Return shifts whose mean is right: no method can know a common shift of all frames."""
        true, n = self.phantom.motion.shifts_px, len(self.stack)
        common = self.weight @ (true - found) / self.weight.sum()
        flag, energy_ev = np.full(n, "aligned"), self.stack.energy.values
        nothing: Array = np.zeros((n, 2, 2))
        return Shifts(energy_ev, found + common, nothing, flag, ("",) * n, 0, np.ones(n), float("nan"))

    def error_px(self, found: Array) -> float:
        """Return the root mean square error of shifts, over frames that tell something of them."""
        error = self.shifts(found).shifts_px - self.phantom.motion.shifts_px
        return float(np.sqrt(np.mean(error[self.weight > 0.04 * self.weight.max()] ** 2)))

    def resampled(self, stack: xr.DataArray, found: Array) -> xr.DataArray:
        """Return the frames moved back, the pixels that all have seen only."""
        return self.cropped(align(stack, self.shifts(found)))

    def cropped(self, stack: xr.DataArray) -> xr.DataArray:
        """Return the pixels that all frames have seen."""
        values = np.ascontiguousarray(stack.values[:, *self.seen])
        return make_stack(np.nan_to_num(values), self.stack.energy.values)

    @cached_property
    def before(self) -> dict[str, tuple[xr.DataArray, Array]]:
        """The noisy stack with its motion corrected, and the shifts, by way of correction."""
        found = {NOT: np.zeros((len(self.stack), 2)), BEFORE: rigid_shifts(self.stack.values)}
        found[OURS] = estimate_shifts(self.stack).shifts_px
        return {way: (self.resampled(self.stack, shifts), shifts) for way, shifts in found.items()}

    def map_correlation(self, found: Found) -> float:
        """Return the correlation of the map with that of the sample at rest."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", XanesumWarning)
                made = half_step_energy(found, e0_ev=self.truth.attrs["e0_ev"]).half_step_energy_ev.values
        except XanesumError:
            return 0.0
        truth = self.truth.half_step_energy_ev.values[self.seen]
        return round(map_correlation(made, truth, self.phantom.at_rest.mask[self.seen]), 4)


def rigid_shifts(values: NDArray[np.floating]) -> Array:
    """Return the shift (E, 2) of each frame by cross-correlation with a template, as NoRMCorre does it.

    The template is the mean of the frames, and is made again from the corrected frames until no shift changes
    by more than 0.05 px, 25 times at most.  Shifts are found to a twentieth of a pixel, and may not be larger
    than 15 px.

    References
    ----------
    E. A. Pnevmatikakis, A. Giovannucci, "NoRMCorre: An online algorithm for piecewise rigid motion correction
    of calcium imaging data", J. Neurosci. Methods 291 (2017) 83-94.
    M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, "Efficient subpixel image registration algorithms", Opt.
    Lett. 33 (2008) 156-158.
    """
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    shifts: Array = np.zeros((len(values), 2))
    waves = np.fft.fft2(centred)
    f_y, f_x = np.fft.fftfreq(values.shape[1])[:, None], np.fft.fftfreq(values.shape[2])
    for _ in range(ROUNDS):
        turned = (
            w * np.exp(2j * np.pi * (f_y * dy + f_x * dx)) for w, (dy, dx) in zip(waves, shifts, strict=True)
        )
        template = sum(turned) / len(values)
        earlier = shifts.copy()
        for e, wave in enumerate(waves):
            back, _, _ = phase_cross_correlation(
                template, wave, upsample_factor=UPSAMPLING, space="fourier", normalization=None
            )
            shifts[e] = -np.clip(back, -FARTHEST_PX, FARTHEST_PX)
        if np.abs(shifts - earlier).max() <= SETTLED_PX:
            break
    return shifts


def planned(size: Size) -> tuple[str, ...]:
    """Return the methods that are tried: on small scans only those that take a whole scan."""
    return TRIED if size.slow_everywhere else tuple(name for name in TRIED if name not in ("ReLD", "BM4D"))


def kinds_of(size: Size) -> tuple[str, ...]:
    """Return the phantoms that are moved."""
    return KINDS if size.slow_everywhere else KINDS[:1]


def run(store: Store, size: Size, *, only: tuple[str, ...] = (), processes: int = 1) -> None:
    """Measure what is missing."""
    scans = [(k, j, sigma) for k in kinds_of(size) for j in JITTERS for sigma in SIGMAS]
    missing: list[Cell] = []
    for seed in size.seeds:
        for kind, jitter_px, sigma in scans:
            for name in only or planned(size):
                for way in CORRECTIONS:
                    key: Row = {"phantom": kind, "sigma": sigma, "jitter": jitter_px, "seed": seed}
                    key |= {"method": name, "correction": way}
                    if store.find(key) is None:
                        missing.append((key, partial(_cell, kind, jitter_px, sigma, seed, size, name, way)))
    measure_cells(store, missing, processes)
    _drawn.cache_clear()


def _cell(kind: str, jitter_px: float, sigma: float, seed: int, size: Size, method: str, way: str) -> Row:
    scan = _drawn(kind, jitter_px, sigma, seed, size)
    return _measured(scan, methods(size)[method], way)


@lru_cache(maxsize=1)
def _drawn(kind: str, jitter_px: float, sigma: float, seed: int, size: Size) -> Moving:
    """Return the scan, which the next cells of this process share."""
    return Moving.draw(kind, jitter_px, sigma, seed, size)


def _measured(scan: Moving, method: Method, way: str) -> dict[str, Any]:
    rng, start = np.random.default_rng(0), time.perf_counter()
    if way == AFTER:
        found = method.run(scan.stack, scan.sigma, rng)
        stack = found if isinstance(found, xr.DataArray) else found.reconstruct()
        shifts = rigid_shifts(stack.values)
        result: Found = scan.resampled(stack, shifts)
    else:
        stack, shifts = scan.before[way]
        result = method.run(stack, scan.sigma, rng)
    return {
        "correlation": scan.map_correlation(result),
        "error of shifts (px)": round(scan.error_px(shifts), 4),
        "seconds": round(time.perf_counter() - start, 2),
        "pixels": " x ".join(map(str, scan.stack.shape[1:])),
        "energies": len(scan.stack),
    }
