"""The stack as alignment takes it in: checked, in levels of binning, with what is known before it begins."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.align import stages
from xanesum.align.frames import Image, Level, binned, noise_of_frames
from xanesum.align.growth import MAGNIFICATIONS, undo_magnification, zone_plate_law
from xanesum.align.light import N_FIELDS
from xanesum.align.pattern import Pattern
from xanesum.align.state import State
from xanesum.errors import RecipeError, StackError
from xanesum.stack import check_stack, usable_mask, usable_weight

__all__ = ["SMALLEST_PX", "Scan", "levels_of"]

Array = NDArray[np.float64]

LARGEST_SHARE = 0.25  # of the field that shifts are sought over, either way
COARSEST, LEAST_PIXELS = 8, 24  # binning of the first search, and pixels of a frame that it must leave
SMALLEST_PX = 16  # of a frame
SPECTRAL, SPECTRAL_PIXELS = 4, 4000  # largest binning at which spectra are fitted, and pixels it must leave
QUIETEST = 0.1  # share of the frames that are the quietest
NOISIER = 1.1  # times their noise, from which other frames may hold texture
LEAST_THERE = 0.5  # of the values of a frame
MANY_FRAMES = 10  # from which the mean frame hardly shows what a single frame does


@dataclass(eq=False)
class Scan:
    """The input, checked."""

    energy_ev: Array
    limit_px: Array  # (2,)
    levels: dict[int, Level]
    state: State
    reasons: list[str]  # (E,) why a frame is left out
    raw: Image  # (E, Y, X) as measured
    growth: Array  # (E,) magnification that the levels no longer have
    magnification: str = "none"
    one_flat: bool = False  # whether all frames were divided by one flat, and are many
    pattern: Pattern | None = None  # noise of that flat, which the levels no longer have
    is_told: bool = False  # whether the pattern was told from a sample that moves

    @property
    def spectral(self) -> int:
        """Binning at which spectra are fitted."""
        enough = [b for b, level in self.levels.items() if np.prod(level.shape) >= SPECTRAL_PIXELS]
        return min(SPECTRAL, max(enough, default=1))

    def take_texture_for_sample(self) -> None:
        """Take the noise of all frames for that of the quietest ones, and what others have beyond for sample.

        Texture of single pixels is like noise within a frame, so that a frame with more of it seems noisier.
        """
        noise = self.levels[1].noise
        least, most = np.quantile(noise[self.state.used], [QUIETEST, 1 - QUIETEST])
        if most < NOISIER * least:
            return
        ratio = np.minimum(least / noise, 1)
        self.levels = {b: replace(level, noise=level.noise * ratio) for b, level in self.levels.items()}
        self.state.spectra = _contrast(self.levels[max(self.levels)], self.state.offset, self.state.used)

    def take_away(self, pattern: Pattern) -> None:
        """Take a pattern away that stands still on the detector, in place of the one before."""
        self.levels = {b: level.less(pattern.values) for b, level in self.levels.items()}
        self.pattern = pattern

    @classmethod
    def of(cls, stack: xr.DataArray, max_shift: float | None, magnification: str) -> Scan:
        """Check a stack and options as they were given to `estimate_shifts`."""
        check_stack(stack, min_energies=2)
        quantity = stack.attrs["quantity"]
        if quantity in ("counts", "transmission"):
            raise StackError(
                f"expected optical density, got {quantity}; convert it first, in xanesum.preprocess.prepare, "
                "since flats belong to the detector and not to the sample"
            )
        if magnification not in MAGNIFICATIONS:
            raise RecipeError(
                f"magnification must be one of {', '.join(MAGNIFICATIONS)}, got {magnification!r}",
                parameter="magnification",
            )
        shape = np.array(stack.shape[1:])
        if shape.min() < SMALLEST_PX:
            raise StackError(
                f"frames must have at least {SMALLEST_PX} pixels each way, got {stack.shape[1:]}"
            )
        limit = np.minimum(shape * LARGEST_SHARE if max_shift is None else max_shift, 0.45 * shape)
        if not (np.isfinite(limit).all() and limit.min() >= 1):
            raise RecipeError(f"max_shift must be at least 1 pixel, got {max_shift}", parameter="max_shift")
        raw = np.asarray(stack.values, np.float32)
        energy_ev = np.asarray(stack.energy.values, np.float64)
        growth = zone_plate_law(energy_ev) if magnification == "energy" else np.ones(len(energy_ev))
        values = undo_magnification(raw, growth) if magnification == "energy" else raw
        by_flat = bool(stack.attrs.get("flat_field", False))
        n_fields = N_FIELDS if by_flat else 1
        levels, state, reasons = _prepared(values, usable_mask(stack), usable_weight(stack), n_fields)
        one_flat = by_flat and len(raw) >= MANY_FRAMES and magnification == "none"
        return cls(energy_ev, limit, levels, state, reasons, raw, growth, magnification, one_flat)


def _prepared(
    values: Image, mask: NDArray[np.bool_], weight: NDArray[np.bool_], n_fields: int
) -> tuple[dict[int, Level], State, list[str]]:
    """Return the levels, the state at rest, and why frames are left out."""
    n_mask = max(int(mask.sum()), 1)
    there = np.array([np.count_nonzero(np.isfinite(frame) & mask) / n_mask for frame in values])
    used = weight & (there >= LEAST_THERE)
    if used.sum() < 2:
        raise StackError(f"alignment needs at least 2 frames with values, the stack has {int(used.sum())}")
    reasons = [
        "" if ok else "its weight is 0" if not w else "more than half of its values are missing"
        for ok, w in zip(used, weight, strict=True)
    ]
    levels = levels_of(values, mask, noise_of_frames(values, mask))
    small = levels[max(levels)]
    offset = np.zeros((len(values), n_fields))
    for e in np.flatnonzero(used):
        there = small.seen & np.isfinite(small.values[e])
        offset[e, 0] = small.values[e][there].mean()
    return levels, State.at_rest(offset, used, _contrast(small, offset, used)), reasons


def _contrast(level: Level, offset: Array, used: NDArray[np.bool_]) -> Array:
    """Return a first spectrum (1, E), of norm 1: how far each frame's power exceeds that of its noise."""
    spectrum = np.sqrt(np.maximum(stages.powers(level, offset), 0) + 1e-6) * used
    return np.asarray(spectrum[None] / np.linalg.norm(spectrum))


def levels_of(values: Image, seen: NDArray[np.bool_], noise: Array) -> dict[int, Level]:
    """Return the frames at all binnings, finest first."""
    complete = bool(all((np.isfinite(frame) | ~seen).all() for frame in values))
    levels = {1: Level(values, seen, noise, 1, complete, (values.shape[1], values.shape[2]))}
    while 2 * max(levels) <= COARSEST and min(values.shape[1:]) // (2 * max(levels)) >= LEAST_PIXELS:
        levels[2 * max(levels)] = binned(levels[max(levels)], 2)
    return levels
