"""Search a residual for signal: averages over regions that are larger than noise makes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.diagnostics.extreme_values import (
    FALSE_ALARM,
    average_tail,
    largest_average,
    largest_singular,
    leading,
    region_averages,
    singular_tail,
)
from xanesum.diagnostics.whiteness import neighbour_correlations, variance_inflation
from xanesum.flat_field.estimate import smooth_fields
from xanesum.storage.memory import N_THREADS

__all__ = ["N_FLIPS", "PLACES", "SCALES", "LostSignal", "SignFlips", "StrongestAverage", "find_strongest"]

PLACES = {  # where signal is looked for, and what it means if it is found there
    "component": "a component is missing",
    "shift": "a shift of the edge is missing",
    "smoothed": "an image was smoothed too much",
    "spot": "a small particle is missing",
}
SCALES = {  # sides, in pixels, of the square regions over which the residual is averaged
    "component": (4, 8, 16, 32),
    "shift": (4, 8, 16, 32),
    "smoothed": (8, 16, 32),  # the finest detail of a denoised image is always a compromise
}
MIN_REGIONS = 12  # a scale with fewer regions than this is not judged
MIN_IMAGES = 20  # images of noise from which the law of their largest average can be told
N_FLIPS = 40  # random sign patterns, each of which shows what noise alone would give
SMOOTH_SHARE = (
    0.5  # an image counts as smooth if smooth fields hold more than this share of its sum of squares
)
REGIONS_PER_FIELD = 4  # smoothness is judged only if there are this many regions for each smooth field


@dataclass(frozen=True, slots=True, eq=False)
class LostSignal:
    """Whether averages of the residual over regions show signal that noise does not explain."""

    p_values: dict[str, float]  # by place (see `PLACES`): probability that noise alone stands out as much
    place: str  # the place with the strongest evidence
    scale_px: int  # side of the regions that show it best; 0 where there are too few pixels to tell
    image: NDArray[np.float32]  # (Y', X'), strength in each region, in standard deviations of the noise
    spectrum: NDArray[np.float64]  # (E,), its spectrum in the unit of the stack; 0 at energies of weight 0

    @property
    def p_value(self) -> float:
        """Probability that noise alone stands out as much in any of the places."""
        return min(1.0, len(self.p_values) * min(self.p_values.values()))

    @property
    def found(self) -> bool:
        """Whether signal was lost; of noise alone this is claimed in 1 % of the cases."""
        return self.p_value < FALSE_ALARM

    @property
    def is_smooth(self) -> bool:
        """Whether it varies over the image as slowly as the illumination does."""
        fields = smooth_fields(self.image.shape) if self.image.size else np.zeros((0, 0, 0), np.float32)
        if not len(fields) or REGIONS_PER_FIELD * len(fields) > self.image.size:
            return False
        of_fields = np.tensordot(fields, self.image, axes=2)
        return float(of_fields @ of_fields) > SMOOTH_SHARE * float(np.sum(self.image**2))


@dataclass(frozen=True, slots=True, eq=False)
class SignFlips:
    """What noise alone would give: the signs of the pixels are turned at random.

    Each pixel keeps the size of its noise, and anything else averages out.  Turned signs also make neighbours
    independent, so their correlations are allowed for by a factor.
    """

    mask: NDArray[np.bool_]  # (Y', X'), pixels that count
    signs: NDArray[np.float32]  # (N, Y', X'), +1 or -1
    correlations: tuple[list[float], list[float]]  # of neighbours along y and x, at lags 1, 2, ...
    block_px: int  # side, in pixels of the stack, of the blocks that are one pixel here

    @classmethod
    def draw(
        cls,
        images: NDArray[np.float32],
        mask: NDArray[np.bool_],
        *,
        block_px: int,
        rng: np.random.Generator,
    ) -> SignFlips:
        """Draw signs for `mask` (Y', X'), and measure the correlations in `images` (n, Y', X')."""
        signs = (2 * rng.integers(0, 2, (N_FLIPS, *mask.shape), np.int8) - 1).astype(np.float32)
        return cls(mask, signs, neighbour_correlations(images, mask), block_px)


@dataclass(frozen=True, slots=True, eq=False)
class StrongestAverage:
    """What stands out most among averages of some images over regions."""

    p_value: float = 1.0
    scale_px: int = 0  # side of the regions; 0 if there were none
    image: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 0)))  # (1, n), of the images


def find_strongest(
    place: str, images: NDArray[np.float32], flips: SignFlips, noise: NDArray[np.float32]
) -> StrongestAverage:
    """Return what stands out most in averages of images (n, Y', X') over square regions.

    Parameters
    ----------
    place : str
        One of `PLACES`.  A missing component may mix all the images; elsewhere each is looked at alone.
    images : ndarray, shape (n, Y', X')
        In units of the noise.
    flips : SignFlips
        What noise alone would give.
    noise : ndarray, shape (m, Y', X')
        Images of the noise itself.  Where neighbours are correlated, single averages are compared with these.
    """
    scales = [side // flips.block_px for side in SCALES[place] if side >= flips.block_px]
    scales = [side for side in scales if np.count_nonzero(flips.mask) >= MIN_REGIONS * side**2]
    if not len(images) or not scales:
        return StrongestAverage()
    statistic = largest_singular if place == "component" else largest_average

    def statistics(signs: NDArray[np.float32] | None = None) -> list[float]:
        return [statistic(each) for each in region_averages(images, flips.mask, scales, signs=signs)]

    seen = statistics()
    # together, the threads hold about one copy of the images
    n_threads = int(np.clip(scales[0] ** 2 // 4, 1, N_THREADS))
    with ThreadPoolExecutor(n_threads) as threads:
        null_samples = np.array(list(threads.map(statistics, flips.signs)))
    if place != "component" and any(flips.correlations) and len(noise) >= MIN_IMAGES:
        drawn = list(region_averages(noise, flips.mask, scales))
        null_samples = np.array(
            [[largest_average(each[i : i + 1]) for each in drawn] for i in range(len(noise))]
        )
        flips = replace(flips, correlations=([], []))
    p_values = []
    for scale, value, samples in zip(scales, seen, null_samples.T, strict=True):
        inflation = variance_inflation(flips.correlations, scale)
        if place == "component":
            p_values.append(singular_tail(value, samples * inflation))
        else:
            p_values.append(average_tail(value, samples * np.sqrt(inflation)))
    best = int(np.argmin(p_values))
    regions = next(region_averages(images, flips.mask, [scales[best]]))
    image, weights = leading(regions, alone=place != "component")
    scale_px = scales[best] * flips.block_px
    weights *= float(np.abs(image).max()) / scale_px  # amplitude in the strongest region
    return StrongestAverage(min(1.0, len(scales) * min(p_values)), scale_px, image, weights[None])
