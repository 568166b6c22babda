"""Examine the residual of a result, stack less clean stack: is it white, does it hold signal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.diagnostics.extreme_values import FALSE_ALARM
from xanesum.diagnostics.intervals import CORRELATED_WORDS, UNTESTED_WORDS, reasons_against
from xanesum.diagnostics.lost_signal import (
    N_FLIPS,
    PLACES,
    SCALES,
    LostSignal,
    SignFlips,
    StrongestAverage,
    find_strongest,
)
from xanesum.diagnostics.whiteness import Whiteness, measure_whiteness
from xanesum.linalg.binning import block_sums
from xanesum.method.evidence import CONFIRMED_SIGMAS, SPOT_DIRECTIONS, Spot, in_halves, strongest_spot
from xanesum.method.spectra import orthonormal_rows
from xanesum.method.weak_spectra import LikelySpectra
from xanesum.noise.common import CommonNoise
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.storage.memory import RESIDUAL_COPIES, RESIDUAL_SHARE, available_memory

__all__ = ["PLACES", "LostSignal", "ResidualReport", "Whiteness", "examine_residual"]

N_NOISE = 12  # of these averages show what noise does in small spots
N_GROUPS = 64  # groups of neighbouring energies; a missing component is looked for in their averages
N_SAMPLED = 20_000  # pixels whose correlation along energy is measured
BLOCK_FRAMES = 16  # frames of the residual that are computed together, at most
BLOCKS_PX = (1, 2, 4, 8, 16, 32)  # sides of the blocks that are summed where memory is short, finest first
PART_PX = 512  # longest side of the part in which whiteness is then measured
GROUP_SHARE = 0.5  # least part of a group's spectrum, as its length, orthogonal to the result's
Part = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True, slots=True, eq=False)
class ResidualReport:
    """What the residual tells about a result."""

    whiteness: Whiteness
    lost: LostSignal
    size: float  # rms of the residual apart from the spectra, over the noise level; 1 if that level is right
    reasons: tuple[str, ...] = ()  # why the stated errors of a map may not hold, one sentence each

    @property
    def is_tested(self) -> bool:
        """Whether there was a residual to test; false where components are about as many as energies."""
        return self.lost.scale_px > 0 and not any(UNTESTED_WORDS in reason for reason in self.reasons)

    @property
    def intervals_hold(self) -> bool:
        """Whether nothing speaks against the stated errors."""
        return not self.reasons

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before trusting the result; empty if all is well."""
        white = self.whiteness
        if white.is_white or any(CORRELATED_WORDS in reason for reason in self.reasons):
            return self.reasons
        return (*self.reasons, f"{CORRELATED_WORDS}: {white.in_words}; errors of the map allow for it")

    @property
    def figures(self) -> dict[str, object]:
        """Everything but the image and the spectrum of lost signal, for a file; None if not tested."""
        verdict = {
            "intervals_hold": self.intervals_hold,
            "reasons": list(self.reasons),
            "is_tested": self.is_tested,
        }
        tests = self._tests if self.is_tested else dict.fromkeys(self._tests)
        return verdict | tests

    @property
    def _tests(self) -> dict[str, object]:
        """What the tests of the residual gave."""
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

    Signal is looked for in three places.  Orthogonal to the spectra of the result, the residual is noise
    alone, whatever the denoiser did: its averages over square regions, as a matrix of regions and energies,
    have no singular value larger than those of noise [1]_ (place "component").  Nor does an average stand out
    along the orthogonal spectrum by which the edge would shift ("shift").  Along the spectra of the result,
    where images were denoised, the noise that was removed averages out over regions, so no average stands out
    ("smoothed").  Random signs of the pixels show what noise alone would give, see `SignFlips`.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        The stack that was denoised.
    result : Denoised
        From `xanesum.denoise` of this stack.
    memory : float, optional
        Bytes that may be used; by default most of the free memory.  If the images are too large for that,
        regions consist of sums over blocks of pixels, and whiteness and size are those of a part.
    rng : numpy.random.Generator, optional
        Draws pixels and signs; ``default_rng(0)`` by default.

    References
    ----------
    .. [1] I. M. Johnstone, "On the distribution of the largest eigenvalue in principal components analysis",
       Ann. Statist. 29 (2001) 295-327; see `xanesum.diagnostics.extreme_values`.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    residual = _Residual.of(stack, result)
    whitening = _whitening(residual.common)
    spectra = _directions(residual, whitening)
    usable = np.flatnonzero(residual.mask)
    sampled = np.sort(rng.choice(usable, min(N_SAMPLED, usable.size), replace=False))
    applied = {place: whitening.restored(rows).astype(np.float32) for place, rows in spectra.items()}
    seen = _project(residual, applied, sampled, available_memory() if memory is None else memory)
    single = seen.part[:, seen.part_mask]
    size = float(np.sqrt(np.mean(np.square(single, dtype=np.float64)))) if single.size else np.nan
    flips = SignFlips.draw(seen.images["component"], seen.mask, block_px=seen.block_px, rng=rng)
    noise = seen.images["component"]
    found = {place: find_strongest(place, seen.images[place], flips, noise) for place in SCALES}
    found["spot"] = _smallest(residual, seen, spectra, whitening)
    lost = _lost_signal(residual, found, spectra, whitening)
    if size * float(residual.sigma.mean()) < _rounding_error(residual):
        lost = LostSignal(dict.fromkeys(found, 1.0), lost.place, lost.scale_px, lost.image, lost.spectrum)
    white = whitening.restored(seen.pixels.T.astype(np.float64)).T
    whiteness = measure_whiteness(seen.part, seen.part_mask, white, spectra["smoothed"])
    reasons = dict.fromkeys(reasons_against(stack, result, whiteness, lost, size))
    return ResidualReport(whiteness, lost, size, tuple(reasons))


@dataclass(frozen=True, slots=True, eq=False)
class _Residual:
    """The residual of a result in units of the noise, at the energies that count (E of them)."""

    stack: xr.DataArray
    result: Denoised
    used: NDArray[np.intp]  # (E,), indices of the energies that count
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    sigma: NDArray[np.float64]  # (E,), noise level, unit of the stack

    @classmethod
    def of(cls, stack: xr.DataArray, result: Denoised) -> _Residual:
        """Take the energies and pixels that count from the stack, the noise level from the result."""
        used = np.flatnonzero(usable_weight(stack))
        return cls(stack, result, used, usable_mask(stack), result.sigma_used[used])

    @property
    def common(self) -> NDArray[np.float64]:
        """Noise common to all energies (E,), over the noise level."""
        return np.asarray(self.result.sigma_common.values[self.used] / self.sigma)

    def blocks(self, n_frames: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield slices of the energies that count, and the residual (n, Y, X) there; missing values are 0."""
        images = self.result.coefficients.values
        pixel = np.where(self.mask, 1 / self.result.sigma_pixel.values, 0).astype(np.float32)
        for start in range(0, len(self.used), n_frames):
            energies = slice(start, min(start + n_frames, len(self.used)))
            frames = self.used[energies]
            spectra = self.result.spectra.values[:, frames].astype(np.float32)
            block = np.asarray(self.stack[frames].values, np.float32)
            block = block - np.tensordot(spectra.T, images, axes=1)
            block *= pixel / self.sigma[energies].astype(np.float32)[:, None, None]
            yield energies, np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Projections:
    """The residual along some spectra, and at some pixels, in units of the noise.

    Sums over blocks are divided by the root of the number of pixels, so that noise keeps its size.
    """

    images: dict[str, NDArray[np.float32]]  # by place: (n, Y', X'), sums over blocks
    mask: NDArray[np.bool_]  # (Y', X'), blocks that count
    block_px: int  # side of the blocks in pixels
    part: NDArray[np.float32]  # (m, Y'', X''), in single pixels: along the spectra of the place "component"
    part_mask: NDArray[np.bool_]  # (Y'', X''), of all the image, or of a part of it
    pixels: NDArray[np.float32]  # (E, P), sampled pixels at all energies that count


def _project(
    residual: _Residual,
    spectra: dict[str, NDArray[np.float32]],
    sampled: NDArray[np.intp],
    most_bytes: float,
) -> _Projections:
    """Project the residual on the spectra (n, E) of each place, in one pass over the stack."""
    mask, applied = residual.mask, np.vstack(list(spectra.values()))
    n_apart = len(spectra["component"])
    n_held = RESIDUAL_COPIES * (len(applied) + N_FLIPS)
    block_px = next(
        (px for px in BLOCKS_PX if 4 * n_held * mask.size / px**2 < RESIDUAL_SHARE * most_bytes),
        BLOCKS_PX[-1],
    )
    counts = block_sums(mask.astype(np.float32), block_px)
    rows, columns = (slice(None), slice(None)) if block_px == 1 else _fullest_part(mask)
    part_mask = mask[rows, columns]
    images = np.zeros((len(applied), *counts.shape), np.float32)
    part = np.zeros((n_apart, *part_mask.shape), np.float32) if block_px > 1 else images[:n_apart]
    pixels = np.empty((len(residual.sigma), len(sampled)), np.float32)
    n_frames = int(np.clip(RESIDUAL_SHARE * most_bytes / (RESIDUAL_COPIES * 4 * mask.size), 1, BLOCK_FRAMES))
    for energies, block in residual.blocks(n_frames):
        images += np.tensordot(applied[:, energies], block_sums(block, block_px), axes=1)
        if block_px > 1:
            part += np.tensordot(applied[:n_apart, energies], block[:, rows, columns], axes=1)
        pixels[energies] = block.reshape(len(block), -1)[:, sampled]
    if block_px > 1:
        images /= np.sqrt(np.maximum(counts, 1))
    ends = np.cumsum([len(each) for each in spectra.values()])[:-1]
    by_place = dict(zip(spectra, np.split(images, ends), strict=True))
    return _Projections(by_place, counts >= counts.max() / 2, block_px, part, part_mask, pixels)


def _smallest(
    residual: _Residual,
    seen: _Projections,
    spectra: dict[str, NDArray[np.float64]],
    whitening: CommonNoise,
) -> StrongestAverage:
    """Return the smallest region that stands out along likely spectra; none where pixels are not at hand."""
    rows, images = spectra["spot"], seen.images["spot"]
    noise = seen.images["component"][:N_NOISE]
    spot = strongest_spot(images, noise, seen.mask) if seen.block_px == 1 and len(rows) else None
    if spot is None:
        return StrongestAverage()
    along = spot.values @ rows
    p_value = spot.p_value
    if p_value < FALSE_ALARM and not _in_both_halves(residual, spot, along, spectra["smoothed"], whitening):
        p_value = 1.0  # a cosmic ray, or a pixel that is wrong in one frame
    image = np.tensordot(spot.values / np.linalg.norm(spot.values), images, axes=1).astype(np.float32)
    return StrongestAverage(p_value, spot.side_px, image, spot.values[None] / spot.side_px)


def _in_both_halves(
    residual: _Residual,
    spot: Spot,
    along: NDArray[np.float64],
    fitted: NDArray[np.float64],
    whitening: CommonNoise,
) -> bool:
    """Return whether even and odd energies both show a spot along a spectrum (E,)."""
    y, x = spot.part
    pixels = np.concatenate(
        [block[:, y, x].reshape(len(block), -1) for _, block in residual.blocks(BLOCK_FRAMES)]
    )
    here = residual.mask[y, x].ravel()
    spectrum = whitening.restored(pixels[:, here].sum(axis=1)[None].astype(np.float64))[0]
    averages = in_halves(along, fitted) @ spectrum / np.sqrt(max(int(np.count_nonzero(here)), 1))
    return bool(averages.min() > CONFIRMED_SIGMAS)


def _fullest_part(mask: NDArray[np.bool_]) -> Part:
    """Return the part, of at most `PART_PX` each way, with the most pixels that count."""
    sizes = [min(n, PART_PX) for n in mask.shape]
    starts = [
        np.unique(np.linspace(0, n - size, 9).astype(int)) for n, size in zip(mask.shape, sizes, strict=True)
    ]
    parts = [
        (slice(y, y + sizes[0]), slice(x, x + sizes[1]))
        for y in starts[0].tolist()
        for x in starts[1].tolist()
    ]
    return max(parts, key=lambda part: int(np.count_nonzero(mask[part])))


def _lost_signal(
    residual: _Residual,
    found: dict[str, StrongestAverage],
    spectra: dict[str, NDArray[np.float64]],
    whitening: CommonNoise,
) -> LostSignal:
    """Return the place with the strongest evidence, and the spectrum there in the unit of the stack."""
    # a component that is spread over the images makes spots, too
    spread_out = [name for name in found if name != "spot" and len(found) * found[name].p_value < FALSE_ALARM]
    place = min(spread_out or found, key=lambda name: found[name].p_value)
    most = found[place]
    spectrum = np.zeros(len(residual.stack))
    if most.scale_px:
        along = whitening.inverse.restored(most.weights @ spectra[place])[0]
        spectrum[residual.used] = along * residual.sigma
    p_values = {name: each.p_value for name, each in found.items()}
    return LostSignal(p_values, place, most.scale_px, most.image, spectrum)


def _rounding_error(residual: _Residual) -> float:
    """Return the rms, in the unit of the stack, of a residual that comes from rounding to float32."""
    result = residual.result
    squares = np.sum(np.square(result.coefficients.values, dtype=np.float64))
    n_values = len(residual.sigma) * result.coefficients[0].size if result.rank else 1
    return float(np.finfo(np.float32).eps * np.sqrt(squares / n_values))


# --- the spectra along which the residual is examined


def _whitening(common: NDArray[np.float64]) -> CommonNoise:
    """Return the transformation that makes noise white.

    Parameters
    ----------
    common : ndarray, shape (E,)
        Noise common to all energies, over the noise level.
    """
    size = float(np.linalg.norm(common))
    along = common / size if size > 0 else np.zeros_like(common)
    return CommonNoise(along, float(1 / np.hypot(1, size)))


def _directions(residual: _Residual, whitening: CommonNoise) -> dict[str, NDArray[np.float64]]:
    """Return, by place, orthonormal spectra (n, E) in the space where the noise is white."""
    spectra = whitening.restored(residual.result.spectra.values[:, residual.used] / residual.sigma)
    within = orthonormal_rows(spectra)
    return {
        "component": _group_spectra(within),
        "shift": _shift_spectrum(residual, spectra, within),
        "smoothed": within,
        "spot": _likely_spectra(residual, spectra, within),
    }


def _likely_spectra(
    residual: _Residual, spectra: NDArray[np.float64], within: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return likely spectra (n, E) of a small foreign particle, orthonormal, orthogonal to `within`."""
    energy_ev = residual.stack.energy.values[residual.used].astype(float)
    if not len(spectra) or len(energy_ev) - len(within) < 2:
        return np.zeros((0, len(energy_ev)))
    sizes = np.sum(np.square(residual.result.coefficients.values, dtype=np.float64), axis=(1, 2))
    strong = spectra[int(np.argmax(sizes))]
    return LikelySpectra.beside(within, strong, energy_ev).by_weight[:SPOT_DIRECTIONS]


def _group_spectra(within: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal spectra (n, E), orthogonal to `within` (K, E), that span the smooth ones.

    Groups of neighbouring energies, less their part in `within`.
    """
    n_energies = within.shape[1]
    group = np.arange(n_energies) * min(N_GROUPS, n_energies) // n_energies
    groups = (group == np.arange(group[-1] + 1)[:, None]) / np.sqrt(np.bincount(group))[:, None]
    size, right = np.linalg.svd(groups - (groups @ within.T) @ within, full_matrices=False)[1:]
    return np.asarray(right[size > GROUP_SHARE])


def _shift_spectrum(
    residual: _Residual, spectra: NDArray[np.float64], within: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the spectrum (1, E), orthogonal to `within`, that changes most when the edge shifts.

    It comes from the slopes of the result's spectra, weighted by the size of their images.
    """
    energy_ev = residual.stack.energy.values[residual.used].astype(float)
    coefficients = residual.result.coefficients.values
    size = np.sqrt(np.sum(np.square(coefficients, dtype=np.float64), axis=(1, 2)))
    if not len(spectra) or len(energy_ev) < 3:
        return np.zeros((0, len(energy_ev)))
    slopes = np.gradient(size[:, None] * spectra, energy_ev, axis=1)
    return orthonormal_rows(slopes - (slopes @ within.T) @ within)[:1]
