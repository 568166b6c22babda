"""What was taken away: whether it is white, whether anything of the sample is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from xanesum.diagnostics.extreme_values import (
    average_tail,
    largest_average,
    largest_singular,
    leading,
    region_averages,
    singular_tail,
)
from xanesum.flat_field.estimate import smooth_fields
from xanesum.linalg.binning import block_sums
from xanesum.method.spectra import orthonormal_rows
from xanesum.noise.common import CommonNoise
from xanesum.noise.level import CORRELATED, MOST_REACH
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.storage.memory import N_THREADS, available_memory

__all__ = ["PLACES", "LostSignal", "ResidualReport", "Whiteness", "examine_residual"]

N_CHANNELS = 64  # of energies taken together, in which signal is looked for beside the spectra
N_SAMPLE = 20_000  # pixels whose residual is looked at along energy
BLOCK_FRAMES = 16
HELD = 2.5  # copies of the images that are looked at, about
HELD_SHARE = 0.25  # of the memory, for them
COARSER = (1, 2, 4, 8, 16, 32)  # pixels each way that are taken together where it is short
NEAR_PX = 512  # each way, of the part that whiteness is then seen in
PLACES = {
    "component": "a component is missing",
    "shift": "a shift of the edge is missing",
    "smoothed": "an image was smoothed too much",
}
SCALES = {  # pixels along the side of regions over which the residual is averaged
    "component": (4, 8, 16, 32),
    "shift": (4, 8, 16, 32),
    "smoothed": (8, 16, 32),  # the finest detail of a denoised image is always a compromise
}
MIN_REGIONS = 12  # of a scale that can be judged
N_FLIPS = 40  # draws of what chance would give
ALARM = 0.01  # chance of a false alarm
SMOOTH = 0.5  # share of an image that changes slowly, for all of it to be said to ...
FEW_REGIONS = 4  # ... times as many regions as slow changes are needed to tell
SIZE_LIMIT = 0.05  # by which the residual may differ from the noise level
LIMIT = 0.02  # correlation of the residual up to which it is as good as white


@dataclass(frozen=True, slots=True)
class Whiteness:
    """Correlation of neighbours in the residual, less what a fit of the spectra makes of white noise."""

    x: float
    y: float
    energy: float
    standard_error: tuple[float, float, float]  # of each, for white noise
    p_value: float  # that white noise has one of the three so large

    @property
    def along(self) -> dict[str, float]:
        """The three by the name of their axis."""
        return {"x": self.x, "y": self.y, "energy": self.energy}

    @property
    def is_white(self) -> bool:
        """Whether no correlation is both beyond chance and large enough to matter."""
        parts = zip(self.along.values(), self.standard_error, strict=True)
        return all(not abs(value) > max(LIMIT, norm.isf(ALARM / 6) * error) for value, error in parts)


@dataclass(frozen=True, slots=True, eq=False)
class LostSignal:
    """Whether the residual holds something that averages over regions show and noise does not."""

    p_values: dict[str, float]  # by place, see `PLACES`: that noise alone looks as structured there
    place: str  # where it shows best, ...
    scale_px: int  # ... and the side of the regions; 0 where there are too few pixels to tell
    image: NDArray[np.float32]  # (Y', X'), how strongly each region has it, in standard deviations of noise
    spectrum: NDArray[np.float64]  # (E,), its spectrum in the unit of the stack; 0 at energies of weight 0

    @property
    def p_value(self) -> float:
        """How often noise alone looks as structured in any place."""
        return min(1.0, len(self.p_values) * min(self.p_values.values()))

    @property
    def found(self) -> bool:
        """Whether something was lost, at a chance of 1 % to say so of noise alone."""
        return self.p_value < ALARM

    @property
    def is_smooth(self) -> bool:
        """Whether it changes over the image as slowly as the illumination does."""
        fields = smooth_fields(self.image.shape) if self.image.size else np.zeros((0, 0, 0), np.float32)
        if not len(fields) or FEW_REGIONS * len(fields) > self.image.size:
            return False
        of_fields = np.tensordot(fields, self.image, axes=2)
        return float(of_fields @ of_fields) > SMOOTH * float(np.sum(self.image**2))


@dataclass(frozen=True, slots=True, eq=False)
class ResidualReport:
    """What the residual of a result says about it."""

    whiteness: Whiteness
    lost: LostSignal
    size: float  # rms of the residual beside the spectra, over the noise level; 1 where that is right

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before trusting the result; nothing where all is well."""
        return tuple(self._notes())

    def _notes(self) -> Iterator[str]:
        if self.lost.found:
            slowly = self.lost.place == "component" and self.lost.is_smooth
            source = "the sample, or of illumination that changed" if slowly else "the sample"
            yield (
                f"the residual holds something of {source}: {PLACES[self.lost.place]} (chance that it is "
                f"noise {self.lost.p_value:.1g}, over {self.lost.scale_px} x {self.lost.scale_px} px); see "
                "the residual in the report, and compare with more components (rank=, --rank)"
            )
        white = self.whiteness
        if not white.is_white:
            along = ", ".join(f"{value:+.3f} along {name}" for name, value in white.along.items())
            yield (
                f"the residual is correlated from neighbour to neighbour: {along}; noise is not independent, "
                "as after resampling, or sample or illumination moved; errors of the map are too small"
            )
        if abs(self.size - 1) > SIZE_LIMIT:
            yield (
                f"the residual is {self.size:.2f} times what the noise level says; "
                "errors of the map are wrong by as much"
            )

    @property
    def figures(self) -> dict[str, object]:
        """Everything but the image and spectrum of what was lost, for a file."""
        white, lost = self.whiteness, self.lost
        return {
            "residual_over_sigma": self.size,
            "residual_correlation": white.along,
            "residual_correlation_of_chance": dict(zip(white.along, white.standard_error, strict=True)),
            "residual_p_value": white.p_value,
            "residual_is_white": white.is_white,
            "signal_lost": lost.found,
            "signal_lost_p_value": lost.p_value,
            "signal_lost_p_value_by_place": lost.p_values,
            "signal_lost_place": lost.place,
            "signal_lost_scale_px": lost.scale_px,
            "signal_lost_changes_slowly": lost.is_smooth,
        }


def examine_residual(
    stack: xr.DataArray,
    result: Denoised,
    *,
    memory: float | None = None,
    rng: np.random.Generator | None = None,
) -> ResidualReport:
    """Examine the residual of a result: stack less clean stack, each value divided by its noise level.

    Signal is looked for in three places.  Beside the spectra of the result the residual is noise alone,
    whatever the denoiser did: its averages over square regions, as a matrix of regions and energies, have no
    singular value beyond those of noise [1]_; and none of them stands out along the one spectrum beside those
    of the result by which the edge would shift.  Along the spectra, where the images were denoised, noise
    that was taken away averages out over regions: no average stands out.  What noise alone would give is
    drawn by turning the sign of pixels at random, which leaves their noise as it is, however it changes from
    pixel to pixel, and makes anything else average out; correlations of neighbours are allowed for.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        What was denoised.
    result : Denoised
        From `xanesum.denoise` of this stack.
    memory : float, optional
        Bytes that may be used; by default most of what is free.  Of images that are too large for that,
        regions are made of averages over blocks of pixels, and whiteness and size are those of a part.
    rng : numpy.random.Generator, optional
        Draws signs and pixels; ``default_rng(0)`` by default.

    References
    ----------
    .. [1] I. M. Johnstone, "On the distribution of the largest eigenvalue in principal components analysis",
       Ann. Statist. 29 (2001) 295-327; see `xanesum.diagnostics.extreme_values`.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    used, mask = usable_weight(stack), usable_mask(stack)
    sigma, energy_ev = result.sigma_used[used], stack.energy.values[used].astype(float)
    whitening = _whitening(result.sigma_common.values[used] / sigma)
    spectra = whitening.restored(result.spectra.values[:, used] / sigma)
    within = orthonormal_rows(spectra)
    channels = _channels(within)
    shift = _shift(result, spectra, within, energy_ev)
    basis = np.vstack([channels, shift, within])
    usable = np.flatnonzero(mask)
    sample = np.sort(rng.choice(usable, min(N_SAMPLE, usable.size), replace=False))
    applied = whitening.restored(basis).astype(np.float32)
    most_bytes = available_memory() if memory is None else memory
    seen = _look(stack, result, sigma, applied, len(channels), sample, most_bytes)
    rows = {"component": channels, "shift": shift, "smoothed": within}
    parts = np.split(seen.images, np.cumsum([len(channels), len(shift)]))
    places = dict(zip(rows, parts, strict=True))
    beside, mask = places["component"], seen.mask
    single = seen.near[:, seen.near_mask]
    size = float(np.sqrt(np.mean(np.square(single, dtype=np.float64)))) if single.size else np.nan
    signs = (2 * rng.integers(0, 2, (N_FLIPS, *mask.shape), np.int8) - 1).astype(np.float32)
    inflation = partial(_inflation, _correlations(beside, mask))
    found = {
        place: _strongest(place, values, signs, mask, inflation, seen.scale)
        for place, values in places.items()
    }
    place = min(found, key=lambda name: found[name].p_value)
    most = found[place]
    spectrum = np.zeros(len(stack))
    if most.scale:
        spectrum[used] = whitening.inverse.restored(most.weights @ rows[place])[0] * sigma
    p_values = {name: each.p_value for name, each in found.items()}
    if size * float(sigma.mean()) < _rounding(result, len(sigma)):
        p_values = dict.fromkeys(p_values, 1.0)
    return ResidualReport(
        _whiteness(seen.near, seen.near_mask, whitening.restored(seen.pixels.T.astype(np.float64)).T, within),
        LostSignal(p_values, place, most.scale, most.image, spectrum),
        size,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What is looked at of a residual in units of the noise."""

    images: NDArray[np.float32]  # (n, Y', X'), along some spectra; sums over blocks over the root of size
    mask: NDArray[np.bool_]  # (Y', X')
    scale: int  # pixels each way of the blocks
    near: NDArray[np.float32]  # (m, Y'', X''), those beside the result's spectra in single pixels ...
    near_mask: NDArray[np.bool_]  # ... of all the image, or of a part of it
    pixels: NDArray[np.float32]  # (E, N), at all energies


def _look(
    stack: xr.DataArray,
    result: Denoised,
    sigma: NDArray[np.float64],
    applied: NDArray[np.float32],
    n_beside: int,
    sample: NDArray[np.intp],
    most_bytes: float,
) -> _Seen:
    """Take the residual along spectra (n, E), the first of which are beside the result's, in one pass."""
    mask = usable_mask(stack)
    n_held = HELD * (len(applied) + N_FLIPS)
    scale = next((s for s in COARSER if 4 * n_held * mask.size / s**2 < HELD_SHARE * most_bytes), COARSER[-1])
    counts = block_sums(mask.astype(np.float32), scale)
    part = (slice(None), slice(None)) if scale == 1 else _fullest_part(mask)
    near_mask = mask[part]
    images = np.zeros((len(applied), *counts.shape), np.float32)
    near = np.zeros((n_beside, *near_mask.shape), np.float32) if scale > 1 else images[:n_beside]
    pixels = np.empty((len(sigma), len(sample)), np.float32)
    n_frames = int(np.clip(HELD_SHARE * most_bytes / (HELD * 4 * mask.size), 1, BLOCK_FRAMES))
    for energies, block in _residuals(stack, result, sigma, n_frames):
        images += np.tensordot(applied[:, energies], block_sums(block, scale), axes=1)
        if scale > 1:
            near += np.tensordot(applied[:n_beside, energies], block[:, part[0], part[1]], axes=1)
        pixels[energies] = block.reshape(len(block), -1)[:, sample]
    if scale > 1:
        images /= np.sqrt(np.maximum(counts, 1))
    return _Seen(images, counts >= counts.max() / 2, scale, near, near_mask, pixels)


def _fullest_part(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return a part of at most `NEAR_PX` each way, the one with most pixels that count."""
    sizes = [min(n, NEAR_PX) for n in mask.shape]
    starts = [
        np.unique(np.linspace(0, n - size, 9).astype(int)) for n, size in zip(mask.shape, sizes, strict=True)
    ]
    parts = [
        (slice(y, y + sizes[0]), slice(x, x + sizes[1]))
        for y in starts[0].tolist()
        for x in starts[1].tolist()
    ]
    return max(parts, key=lambda part: int(np.count_nonzero(mask[part])))


def _rounding(result: Denoised, n_energies: int) -> float:
    """Return the size of residuals that come from rounding to float32."""
    squares = np.sum(np.square(result.coefficients.values, dtype=np.float64))
    n_values = n_energies * result.coefficients[0].size if result.rank else 1
    return float(np.finfo(np.float32).eps * np.sqrt(squares / n_values))


def _whitening(common: NDArray[np.float64]) -> CommonNoise:
    """Return what makes noise white whose common part has this spectrum (E,) in units of the rest."""
    size = float(np.linalg.norm(common))
    along = common / size if size > 0 else np.zeros_like(common)
    return CommonNoise(along, float(1 / np.hypot(1, size)))


def _shift(
    result: Denoised,
    spectra: NDArray[np.float64],
    within: NDArray[np.float64],
    energy_ev: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the spectrum (1, E) beside those of the result along which the sample's slope is most."""
    size = np.sqrt(np.sum(np.square(result.coefficients.values, dtype=np.float64), axis=(1, 2)))
    if not len(spectra) or len(energy_ev) < 3:
        return np.zeros((0, len(energy_ev)))
    slopes = np.gradient(size[:, None] * spectra, energy_ev, axis=1)
    return orthonormal_rows(slopes - (slopes @ within.T) @ within)[:1]


def _residuals(
    stack: xr.DataArray, result: Denoised, sigma: NDArray[np.float64], n_frames: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield blocks of usable frames of the residual (n, Y, X) in units of the noise, and where they stand.

    What is not known is 0.
    """
    used = np.flatnonzero(usable_weight(stack))
    mask = usable_mask(stack)
    images = result.coefficients.values
    pixel = np.where(mask, 1 / result.sigma_pixel.values, 0).astype(np.float32)
    for start in range(0, len(used), n_frames):
        part = slice(start, min(start + n_frames, len(used)))
        spectra = result.spectra.values[:, used[part]].astype(np.float32)
        block = np.asarray(stack[used[part]].values, np.float32) - np.tensordot(spectra.T, images, axes=1)
        block *= pixel / sigma[part].astype(np.float32)[:, None, None]
        yield part, np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _channels(fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal spectra (n, E) beside `fitted` (K, E) that show what is smooth along energy."""
    n_energies = fitted.shape[1]
    group = np.arange(n_energies) * min(N_CHANNELS, n_energies) // n_energies
    groups = (group == np.arange(group[-1] + 1)[:, None]) / np.sqrt(np.bincount(group))[:, None]
    size, right = np.linalg.svd(groups - (groups @ fitted.T) @ fitted, full_matrices=False)[1:]
    return np.asarray(right[size > 0.5])


# --- white or not


def _whiteness(
    beside: NDArray[np.float32],
    mask: NDArray[np.bool_],
    pixels: NDArray[np.float64],
    fitted: NDArray[np.float64],
) -> Whiteness:
    """Return correlations in space, of images (n, Y, X) beside the spectra, and in pixels (E, P)."""
    x, y = (_correlation(beside, mask, axis, 1) for axis in (2, 1))
    values = pixels - fitted.T @ (fitted @ pixels)
    left = np.eye(len(pixels)) - fitted.T @ fitted
    power, noise = np.mean(values**2, axis=1), np.diag(left)
    seen = float(np.mean(values[1:] * values[:-1], axis=1).sum()) / max(_pair_power(power), 1e-30)
    energy = seen - np.diag(left, 1).sum() / max(_pair_power(noise), 1e-30)
    n_images = max(beside.size // max(mask.size, 1), 1)
    pairs = [np.count_nonzero(both) for both in (mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1])]
    errors = [float(max(n, 1)) ** -0.5 for n in (n_images * pairs[0], n_images * pairs[1], values.size)]
    found = (x, y, float(energy))
    worst = float(np.max(np.abs(found) / np.array(errors)))
    p_value = min(1.0, 3 * 2 * float(norm.sf(worst)))
    return Whiteness(*found, (errors[0], errors[1], errors[2]), p_value)


def _pair_power(power: NDArray[np.float64]) -> float:
    """Return the sum over neighbours of their mean power."""
    return float((power[1:] + power[:-1]).sum() / 2)


def _correlation(images: NDArray[np.float32], mask: NDArray[np.bool_], axis: int, lag: int) -> float:
    """Return the correlation of images (n, Y, X) at a lag along an axis, within the mask; 0 without pairs."""
    length = mask.shape[axis - 1]
    ends = (range(lag, length), range(length - lag))
    both = np.logical_and(*(np.take(mask, end, axis - 1) for end in ends)).astype(np.float32)
    power = product = 0.0
    for image in images:
        far, near = ((np.take(image, end, axis - 1) * both).ravel() for end in ends)
        power += float(far @ far + near @ near) / 2
        product += float(far @ near)
    return product / power if power > 0 else 0.0


def _inflation(correlations: tuple[list[float], list[float]], scale: int) -> float:
    """Return how many times the variance of averages over squares is larger as pixels are correlated."""
    along = [
        1 + 2 * sum(c * max(1 - (lag + 1) / scale, 0) for lag, c in enumerate(cs)) for cs in correlations
    ]
    return along[0] * along[1]


def _correlations(beside: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    """Return correlations at lags 1, 2, ... along y and x, as far as they count."""
    found: tuple[list[float], list[float]] = ([], [])
    for axis, values in enumerate(found, start=1):
        for lag in range(1, min(MOST_REACH, mask.shape[axis - 1] - 1) + 1):
            value = _correlation(beside, mask, axis, lag)
            if value < CORRELATED:
                break
            values.append(value)
    return found


# --- lost or not


@dataclass(frozen=True, slots=True, eq=False)
class _Strongest:
    """What stands out most in averages of some images."""

    p_value: float = 1.0
    scale: int = 0
    image: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 0)))  # (1, n), of its images


def _strongest(
    place: str,
    images: NDArray[np.float32],
    signs: NDArray[np.float32],
    mask: NDArray[np.bool_],
    inflation: Callable[[int], float],
    block: int,
) -> _Strongest:
    """Return what stands out most in averages of images (n, Y, X), of blocks of pixels, over regions.

    Signs (N, Y, X) make neighbours independent; `inflation` says what their correlation adds.
    """
    scales = [s // block for s in SCALES[place] if s >= block]
    scales = [s for s in scales if np.count_nonzero(mask) >= MIN_REGIONS * s**2]
    if not len(images) or not scales:
        return _Strongest()
    test = largest_singular if place == "component" else largest_average
    seen = [test(each) for each in region_averages(images, mask, scales)]

    def by_chance_of(sign: NDArray[np.float32]) -> list[float]:
        return [test(each) for each in region_averages(images, mask, scales, signs=sign)]

    n_threads = int(
        np.clip(scales[0] ** 2 // 4, 1, N_THREADS)
    )  # that hold about a copy of the images together
    with ThreadPoolExecutor(n_threads) as threads:
        chance = np.array(list(threads.map(by_chance_of, signs)))
    p_values = []
    for scale, size, by_chance in zip(scales, seen, chance.T, strict=True):
        if place == "component":
            p_values.append(singular_tail(size, by_chance * inflation(scale)))
        else:
            p_values.append(average_tail(size, by_chance * np.sqrt(inflation(scale))))
    best = int(np.argmin(p_values))
    regions = next(region_averages(images, mask, [scales[best]]))
    image, weights = leading(regions, alone=place != "component")
    scale_px = scales[best] * block
    weights *= float(np.abs(image).max()) / scale_px  # amplitude in the region that has most of it
    return _Strongest(min(1.0, len(scales) * min(p_values)), scale_px, image, weights[None])
