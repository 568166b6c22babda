"""What was taken away: whether it is white, whether anything of the sample is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import gamma, norm

from xanesum.denoised import Denoised
from xanesum.noise import CORRELATED, MOST_REACH
from xanesum.stack import usable_mask, usable_weight

__all__ = ["Lost", "Trust", "Whiteness", "examine"]

N_CHANNELS = 64  # of energies taken together, in which signal is looked for beside the spectra
N_SAMPLE = 20_000  # pixels whose residual is looked at along energy
BLOCK_FRAMES = 16
SCALES = (4, 8, 16, 32)  # pixels along the side of regions over which the residual is averaged
WITHIN_SCALES = (8, 16, 32)  # ... of images that were denoised, whose finest detail is always a compromise
MIN_REGIONS = 12  # of a scale that can be judged
N_FLIPS = 40  # draws of what chance would give
ALARM = 0.01  # chance of a false alarm
LIMIT = 0.02  # correlation of the residual up to which it is as good as white
TW_GAMMA = (
    46.446,
    0.186054,
    9.84801,
)  # shape, scale and shift of a gamma law near Tracy and Widom's of order 1
TW_MEAN, TW_STD = -1.2065336, 1.2680340
EULER = 0.5772156649


@dataclass(frozen=True, slots=True)
class Whiteness:
    """Correlation of neighbours in the residual, less what a fit of the spectra makes of white noise."""

    x: float
    y: float
    energy: float
    standard_error: tuple[float, float, float]  # of each, for white noise
    p_value: float  # that white noise has one of the three so large

    @property
    def is_white(self) -> bool:
        """Whether no correlation is both beyond chance and large enough to matter."""
        parts = zip((self.x, self.y, self.energy), self.standard_error, strict=True)
        return all(not abs(value) > max(LIMIT, norm.isf(ALARM / 6) * error) for value, error in parts)


@dataclass(frozen=True, slots=True, eq=False)
class Lost:
    """Whether the residual holds something that averages over regions show and noise does not."""

    p_value: float  # that noise alone looks as structured, all scales and both places taken together
    p_beside: float  # ... for spectra beside those of the result
    p_within: float  # ... for the spectra of the result: an image was smoothed too much
    scale_px: int  # side of the regions in which it shows best
    image: NDArray[np.float32]  # (Y', X'), how strongly each region has it, in standard deviations of noise
    spectrum: NDArray[np.float64]  # (E,), its spectrum in the unit of the stack; 0 at energies of weight 0

    @property
    def found(self) -> bool:
        """Whether something was lost, at a chance of 1 % to say so of noise alone."""
        return self.p_value < ALARM


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """What the residual of a result says about it."""

    whiteness: Whiteness
    lost: Lost
    size: float  # rms of the residual over what noise and fit leave of it; 1 where sigma is right


def examine(stack: xr.DataArray, result: Denoised, *, rng: np.random.Generator | None = None) -> Trust:
    """Examine the residual of a result: stack less clean stack, each value divided by its noise level.

    Signal is looked for twice.  Beside the spectra of the result the residual is noise alone, whatever the
    denoiser did: its averages over square regions, as a matrix of regions and energies, have no singular
    value beyond those of noise [1]_.  Along the spectra, where the images were denoised, noise that was
    taken away averages out over regions: no average of a region stands out.  What noise alone would give is
    drawn by turning the sign of pixels at random, which leaves their noise as it is, however it changes from
    pixel to pixel, and makes regions average out.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        What was denoised.
    result : Denoised
        From `xanesum.denoise` of this stack.
    rng : numpy.random.Generator, optional
        Draws signs and pixels; ``default_rng(0)`` by default.

    References
    ----------
    .. [1] I. M. Johnstone, "On the distribution of the largest eigenvalue in principal components analysis",
       Ann. Statist. 29 (2001) 295-327; its law as a shifted gamma law by M. Chiani, "Distribution of the
       largest eigenvalue for real Wishart and Gaussian random matrices and a simple approximation for the
       Tracy-Widom distribution", J. Multivariate Anal. 129 (2014) 69-81.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    used, mask = usable_weight(stack), usable_mask(stack)
    sigma = (np.full(len(stack), result.sigma) if result.noise_is_even else result.sigma_energy.values)[used]
    within = _orthonormal(result.spectra.values[:, used] / sigma)
    fitted = _orthonormal(np.vstack([within, result.sigma_common.values[used] / sigma]))
    channels = _channels(fitted)
    usable = np.flatnonzero(mask)
    sample = np.sort(rng.choice(usable, min(N_SAMPLE, usable.size), replace=False))
    pixels = np.empty((len(sigma), len(sample)), np.float32)
    images = np.zeros((len(channels) + len(within), *mask.shape), np.float32)
    basis = np.vstack([channels, within]).astype(np.float32)
    for part, block in _residuals(stack, result, sigma):
        images += np.tensordot(basis[:, part], block, axes=1)
        pixels[part] = block.reshape(len(block), -1)[:, sample]
    beside, along = images[: len(channels)], images[len(channels) :]
    whiteness = _whiteness(beside, mask, pixels, fitted)
    side = 1 + _reach(beside, mask)  # of squares of pixels that have their noise in common
    signs = [_signs(mask.shape, side, rng) for _ in range(N_FLIPS)]
    lost, row = _lost(beside, along, signs, mask)
    spectrum = np.zeros(len(stack))
    spectrum[used] = (row @ basis) * sigma
    size = float(np.sqrt(np.mean(np.square(beside[:, mask], dtype=np.float64)))) if len(beside) else np.nan
    return Trust(whiteness, replace(lost, spectrum=spectrum), size)


def _residuals(
    stack: xr.DataArray, result: Denoised, sigma: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield blocks of usable frames of the residual (n, Y, X) in units of the noise, and where they stand.

    What is not known is 0.
    """
    used = np.flatnonzero(usable_weight(stack))
    mask = usable_mask(stack)
    images = result.coefficients.values
    pixel = np.where(mask, 1 / result.sigma_pixel.values, 0).astype(np.float32)
    for start in range(0, len(used), BLOCK_FRAMES):
        part = slice(start, min(start + BLOCK_FRAMES, len(used)))
        spectra = result.spectra.values[:, used[part]].astype(np.float32)
        block = np.asarray(stack[used[part]].values, np.float32) - np.tensordot(spectra.T, images, axes=1)
        block *= pixel / sigma[part].astype(np.float32)[:, None, None]
        yield part, np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def _orthonormal(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal rows that span `rows` (K, E); those that are next to nothing are left out."""
    size, right = np.linalg.svd(rows, full_matrices=False)[1:]
    return np.asarray(right[size > 1e-6 * max(size.max(initial=0), np.finfo(float).tiny)])


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
    pixels: NDArray[np.float32],
    fitted: NDArray[np.float64],
) -> Whiteness:
    """Return correlations in space, of images (n, Y, X) beside the spectra, and in pixels (E, P)."""
    x, y = (_correlation(beside, mask, axis, 1) for axis in (2, 1))
    values = pixels - fitted.T @ (fitted @ pixels.astype(np.float64))
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
    length = images.shape[axis]
    far, near = (np.take(images, range(*ends), axis) for ends in ((lag, length), (0, length - lag)))
    both = np.take(mask, range(lag, length), axis - 1) & np.take(mask, range(length - lag), axis - 1)
    far, near = far[:, both].astype(np.float64), near[:, both].astype(np.float64)
    power = float(np.sum(far**2) + np.sum(near**2)) / 2
    return float(np.sum(far * near)) / power if power > 0 else 0.0


def _reach(beside: NDArray[np.float32], mask: NDArray[np.bool_]) -> int:
    """Return over how many pixels the residual is correlated; next ones at least half as much as the last."""
    reach = 0
    while reach < MOST_REACH and reach + 1 < min(mask.shape):
        if max(_correlation(beside, mask, axis, reach + 1) for axis in (1, 2)) < CORRELATED:
            break
        reach += 1
    return reach


# --- lost or not


def _signs(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return an image of random signs, the same within squares of a given side, at a random place."""
    ny, nx = (-(-size // side) + 1 for size in shape)
    y, x = rng.integers(side, size=2)
    blocks = rng.choice(np.array([-1, 1], np.float32), (ny, nx))
    return np.kron(blocks, np.ones((side, side), np.float32))[y : y + shape[0], x : x + shape[1]]


def _lost(
    beside: NDArray[np.float32],
    along: NDArray[np.float32],
    signs: list[NDArray[np.float32]],
    mask: NDArray[np.bool_],
) -> tuple[Lost, NDArray[np.float64]]:
    """Return what regions show in images beside and along the spectra, and its weights in both."""
    beside_scales = [s for s in SCALES if _n_regions(mask, s) >= MIN_REGIONS and len(beside) > 1]
    within_scales = [s for s in WITHIN_SCALES if _n_regions(mask, s) >= MIN_REGIONS and len(along)]
    tried = [(False, s) for s in beside_scales] + [(True, s) for s in within_scales]

    def sizes(sign: NDArray[np.float32]) -> list[float]:
        signed = mask * sign
        return [
            *(_largest_singular(each) for each in _regions(beside * signed, mask, beside_scales)),
            *(_largest_average(each) for each in _regions(along * signed, mask, within_scales)),
        ]

    chance = np.array([sizes(sign) for sign in signs])
    p_values = [
        (_gumbel_tail if is_within else _tracy_widom_tail)(size, by_chance)
        for size, by_chance, (is_within, _) in zip(
            sizes(np.ones(mask.shape, np.float32)), chance.T, tried, strict=True
        )
    ]
    row = np.zeros(len(beside) + len(along))
    if not tried:
        return Lost(1.0, 1.0, 1.0, 0, np.zeros((0, 0), np.float32), np.zeros(0)), row
    best = int(np.argmin(p_values))
    is_within, scale = tried[best]
    regions = next(_regions((along if is_within else beside) * mask, mask, [scale]))
    image, weights = _strongest(regions, alone=is_within)
    row[len(beside) :] = weights if is_within else 0
    row[: len(beside)] = 0 if is_within else weights
    row *= float(np.abs(image).max()) / scale  # amplitude in the region that has most of it
    by_place = {
        place: [p for p, (w, _) in zip(p_values, tried, strict=True) if w is place] for place in (False, True)
    }
    p_beside, p_within = (min(1.0, len(tried) * min(by_place[place], default=1.0)) for place in (False, True))
    return Lost(min(p_beside, p_within), p_beside, p_within, scale, image, np.zeros(0)), row


def _regions(
    images: NDArray[np.float32], mask: NDArray[np.bool_], scales: list[int]
) -> Iterator[NDArray[np.float32]]:
    """Yield sums (n, Y', X') over squares of each of growing scales, over the root of how many pixels count.

    Of white noise they keep the standard deviation.
    """
    count, before = mask.astype(np.float32)[None], 1
    for scale in scales:
        images, count = (_block_sums(values, scale // before) for values in (images, count))
        before = scale
        yield np.asarray(images / np.sqrt(np.maximum(count, 1)), np.float32)


def _block_sums(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    rows = np.add.reduceat(images, range(0, images.shape[1], side), axis=1)
    return np.asarray(np.add.reduceat(rows, range(0, images.shape[2], side), axis=2))


def _n_regions(mask: NDArray[np.bool_], scale: int) -> int:
    return int(np.count_nonzero(mask) // scale**2)


def _largest_singular(regions: NDArray[np.float32]) -> float:
    """Return the square of the largest singular value of regions (n, Y', X')."""
    flat = regions.reshape(len(regions), -1).astype(np.float64)
    return float(np.linalg.eigvalsh(flat @ flat.T)[-1])


def _largest_average(regions: NDArray[np.float32]) -> float:
    return float(np.abs(regions).max())


def _strongest(
    regions: NDArray[np.float32], *, alone: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the image of most energy in regions (n, Y', X'), or of the largest value, and its weights."""
    flat = regions.reshape(len(regions), -1).astype(np.float64)
    if alone:
        weights = np.zeros(len(regions))
        weights[np.argmax(np.abs(flat).max(axis=1))] = 1
    else:
        weights = np.linalg.eigh(flat @ flat.T)[1][:, -1]
    image = weights @ flat
    sign = np.sign(image[np.argmax(np.abs(image))])
    return (sign * image).reshape(regions.shape[1:]).astype(np.float32), sign * weights


def _tracy_widom_tail(value: float, chance: NDArray[np.float64]) -> float:
    """Return how often noise has a value so large: mean and spread from draws, the tail from theory."""
    scaled = TW_MEAN + TW_STD * (value - chance.mean()) / max(float(chance.std(ddof=1)), 1e-30)
    shape, scale, shift = TW_GAMMA
    return float(gamma.sf(scaled + shift, shape, scale=scale))


def _gumbel_tail(value: float, chance: NDArray[np.float64]) -> float:
    """Return how often the largest of many values is so large."""
    width = max(float(chance.std(ddof=1)), 1e-30) * np.sqrt(6) / np.pi
    return float(-np.expm1(-np.exp(-(value - chance.mean()) / width - EULER)))
