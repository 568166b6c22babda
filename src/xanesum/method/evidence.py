"""Evidence for components that halves of the pixels do not show: from all of the data, in three ways.

Singular values above those of noise are signal, whatever their images look like.  Images along likely spectra
have more variance than noise in some bands of detail.  Or they stand out in one small spot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.stats import chi2

from xanesum.linalg.largest_eigenvalue import EigenvalueTest
from xanesum.linalg.subspace import gram_matrix, project
from xanesum.method.bands import BANDS_PX, Bands, chance_of_gain, most_likely, possible_power, pyramid
from xanesum.method.problem import AnyLevel, Level, Problem
from xanesum.method.spectra import orthonormal_rows, smooth_spectra
from xanesum.method.split_half import GramsByScale
from xanesum.method.weak_spectra import LikelySpectra, shift_beside
from xanesum.noise.level import finest_diagonal, median_sigma

__all__ = [
    "CONFIRMED_SIGMAS",
    "SPOTS_PX",
    "SPOT_DIRECTIONS",
    "Candidate",
    "Hidden",
    "Search",
    "Spot",
    "beside",
    "in_halves",
    "noise_rows",
    "strongest_spot",
]

SPOTS_PX = (1, 2, 3, 5, 8, 13, 21)  # sides of the squares in which a particle is looked for
SPOT_DIRECTIONS = 6  # likely spectra that are looked at there
APART = 2.0  # squares that overlap count as one within 1 / sqrt(2 z^2) of their side, for a size z
FILLED = 0.6  # part of a square that must count
MIN_BLOCKS = 12  # blocks of pixels that a test of eigenvalues needs
FEW_NOISE = 4  # the same where images are large
N_NOISE = 12  # spectra beside all likely ones, whose images show what noise does
NOISE_ERROR = 1.03  # averages may have this many times the variance of the noise of pixels
NOISE_PIXELS = 40_000  # pixels, about, from which the noise of each energy is measured
MEDIAN_ERROR = 1.17  # error of a sigma from a median, relative, times the root of the number of values
SURELY = 3.0  # standard errors by which the noise of energies must scatter more than by chance
FEWEST_PIXELS = 1000  # with fewer, the noise is taken as even
LEAST_SHARE = 0.05  # part of an energy's variance that the known spectra must leave for that
THICKNESS_PX = 1.5  # the image of the thickness is blurred by this, as noise must not weigh pixels
THIN, THICK = 0.15, 98.0  # pixels count if they are this part as thick as this percentile of them
CONFIRMED_SIGMAS = 2.3  # size of a spot in each half of the energies: no single frame makes one


class Candidate(NamedTuple):
    """A spectrum that may be one more component."""

    spectrum: NDArray[np.float64]  # (E,), of length 1, orthogonal to the known ones
    p_value: float  # how often noise alone gives as much
    source: str  # "eigenvalue", "bands" or "spot"


class Hidden(NamedTuple):
    """What a component may hold that noise hides."""

    spectrum: NDArray[np.float64]  # (E,), of length 1
    size: NDArray[np.float32]  # (Y, X), standard deviation of its image, unit of the stack


class Spot(NamedTuple):
    """The square in which images along some spectra stand out most."""

    p_value: float  # how often noise alone has such a square anywhere
    side_px: int
    centre: tuple[int, int]
    values: NDArray[np.float64]  # (M,), averages of the images there, in units of their noise

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns of the square."""
        y, x = (max(0, at - self.side_px // 2) for at in self.centre)
        return slice(y, y + self.side_px), slice(x, x + self.side_px)


class _View(NamedTuple):
    """A level along likely spectra, in units of the noise."""

    likely: LikelySpectra
    images: NDArray[np.float32]  # (M, Y', X')
    noise: NDArray[np.float32]  # (N, Y', X'), along spectra that hold noise alone
    bands: Bands  # of the images


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A search for components of a whitened problem beside known ones."""

    problem: Problem
    grams: GramsByScale  # inner products of all frames at each scale; empty where energies are too many
    noise: NDArray[np.float64]  # (E,), noise level at each energy, in units of the mean level

    @classmethod
    def of(cls, problem: Problem, grams: GramsByScale, known: NDArray[np.float64]) -> Search:
        """Measure the noise of each energy beside `known` (K, E): uneven noise must not look like signal."""
        noise = _relative_noise(problem.coarse, known)
        grams = {**grams, **dict(_averaged_grams(problem.coarse))} if grams else grams
        scaled = {scale: (gram / np.outer(noise, noise), n) for scale, (gram, n) in grams.items()}
        return cls(problem, scaled, noise)

    def best(self, known: NDArray[np.float64], level: float) -> Candidate | None:
        """Return the candidate with the smallest p-value beside `known` (K, E); None where none is possible.

        The ways are tried in the order of their cost.  The first with evidence at `level` ends the search.
        """
        found: list[Candidate] = []
        for candidate in self._candidates(orthonormal_rows(known / self.noise)):
            spectrum = beside(candidate.spectrum * self.noise, known)
            found.append(candidate._replace(spectrum=spectrum))
            if candidate.p_value < level:
                break
        return min(found, key=lambda candidate: candidate.p_value, default=None)

    def hidden(self, known: NDArray[np.float64], images: NDArray[np.float32]) -> Hidden:
        """Return what may be hidden beside `known` (K, E) with `images` (K, Y, X), strongest first.

        It is sought along the spectrum of a shift, which moves the map most, or the likeliest one if all of
        the shift is known, and in proportion to the thickness of the sample, the strongest image.
        """
        apart = orthonormal_rows(known / self.noise)
        size = np.zeros(images.shape[1:], np.float32)
        if not len(known) or known.shape[1] - len(known) < 2:
            return Hidden(np.zeros(known.shape[1]), size)
        strong, weights = self._strongest(apart[0])
        likeliest = shift_beside(apart, strong, self.problem.energy_ev)
        if likeliest is None:
            likeliest = LikelySpectra.beside(apart, strong, self.problem.energy_ev).by_weight[:1]
        _, _, bands = self._seen(likeliest, apart, weights)
        thickness = np.abs(images[0]).astype(np.float64)
        total = float(np.sum(thickness**2))
        power = possible_power(bands, np.ones(1)) * self.problem.coarse.sigma**2
        if total > 0:
            size = (thickness * np.sqrt(power / total)).astype(np.float32)
        spectrum = likeliest[0] * self.noise
        direction = beside(spectrum, known)
        return Hidden(direction, size * np.float32(direction @ spectrum))

    def _candidates(self, known: NDArray[np.float64]) -> Iterator[Candidate]:
        """Yield candidates beside `known`, all of them in the stack divided by the noise of its energies."""
        level, full = self.problem.coarse, self.problem.full
        if known.shape[1] - len(known) < 2:
            return
        if self.grams:
            yield _by_eigenvalue(self.grams, known, level)
        if not len(known):
            return
        view = self._view(known)
        gain, along, _ = most_likely(view.bands, view.likely.root)
        p_value = chance_of_gain(gain, view.bands.counts, view.likely.root, self.problem.rng)
        yield Candidate(along @ view.likely.rows, p_value, "bands")
        few = view.likely.by_weight[:SPOT_DIRECTIONS]
        seen = np.tensordot((few @ view.likely.rows.T).astype(np.float32), view.images, axes=1)
        yield self._confirmed(strongest_spot(seen, view.noise, level.mask), few, known, level)
        noise = noise_rows(np.vstack([known, few]), self.problem.rng, FEW_NOISE)
        if self.problem.scale > 1 and _is_in_memory(full):  # what is smaller than a block of pixels
            seen, chance = np.split(self._images(np.vstack([few, noise]), full), [len(few)])
            sides = tuple(side for side in SPOTS_PX if side < 2 * self.problem.scale)
            yield self._confirmed(strongest_spot(seen, chance, full.mask, sides), few, known, full)

    def _view(self, known: NDArray[np.float64]) -> _View:
        """Return the coarse level along likely spectra beside `known` (K, E)."""
        strong, weights = self._strongest(known[0])
        likely = LikelySpectra.beside(known, strong, self.problem.energy_ev)
        return _View(likely, *self._seen(likely.rows, known, weights))

    def _seen(
        self, rows: NDArray[np.float64], known: NDArray[np.float64], weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], Bands]:
        """Return images along rows (M, E) beside `known`, images of noise, and the bands of the first."""
        noise = noise_rows(np.vstack([known, rows]), self.problem.rng)
        seen, chance = np.split(self._images(np.vstack([rows, noise]), self.problem.coarse), [len(rows)])
        bands = Bands.of(seen, weights)
        return seen, chance, bands.compared_with(Bands.of(chance, weights)) if len(chance) else bands

    def _confirmed(
        self, spot: Spot | None, rows: NDArray[np.float64], known: NDArray[np.float64], level: AnyLevel
    ) -> Candidate:
        """Return the candidate of a spot; its p-value is 1 where not both halves of the energies show it.

        A cosmic ray, or a pixel that is wrong in one frame, stands out in one of the halves only.
        """
        if spot is None:
            return Candidate(rows[0], 1.0, "spot")
        spectrum = beside(spot.values @ rows, known)
        images = self._images(in_halves(spectrum, known), level)
        y, x = spot.part
        here = level.mask[y, x]
        averages = images[:, y, x][:, here].sum(axis=1) / np.sqrt(max(int(np.count_nonzero(here)), 1))
        p_value = spot.p_value if averages.min() > CONFIRMED_SIGMAS else 1.0
        return Candidate(spectrum, p_value, "spot")

    def _images(self, spectra: NDArray[np.float64], level: AnyLevel) -> NDArray[np.float32]:
        """Return the images (K, Y, X) of spectra (K, E) of length 1 in units of their noise."""
        images = project(spectra / self.noise, level.stack) * level.mask
        return np.asarray(images / (level.noise_of(spectra) * np.float32(level.sigma)), np.float32)

    def _strongest(self, first: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return the strongest spectrum (E,) without noise, and what each pixel counts for (Y', X').

        A weak component is as large as the sample is thick, so pixels count by the image of that spectrum.
        """
        level = self.problem.coarse
        image = project(first[None] / self.noise, level.stack) * level.mask
        size = float(np.linalg.norm(image.astype(np.float64))) * (1 if image.sum() >= 0 else -1)
        strong = smooth_spectra(first[None] * size, level.sigma, self.problem.energy_ev).spectra[0]
        share = np.maximum(gaussian_filter(level.mask.astype(np.float32), THICKNESS_PX), 1e-3)
        thickness = np.where(level.mask, np.abs(gaussian_filter(image[0], THICKNESS_PX)) / share, 0)
        limit = THIN * float(np.percentile(thickness[level.mask], THICK)) if level.mask.any() else 0.0
        return strong, np.where(thickness > limit, thickness, 0).astype(np.float32)


def _is_in_memory(level: AnyLevel) -> bool:
    """Whether one more pass over a level costs little; a stack on disk is not read again for small spots."""
    return isinstance(level.stack, np.ndarray) or level.stack.in_memory


def _relative_noise(level: Level[NDArray[np.float32]], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise (E,) of each energy over the mean noise, in the finest detail beside `known` (K, E).

    A component that is still to be found has little of such detail, unless it changes from pixel to pixel.
    """
    n_rows = max(2, NOISE_PIXELS // level.mask.shape[1])
    start = max(0, (level.mask.shape[0] - n_rows) // 2)
    rows = slice(start, start + n_rows)
    strip, mask = level.stack[:, rows], level.mask[rows]
    left = strip - np.tensordot(known.T.astype(strip.dtype), project(known, strip), axes=1)
    if mask.sum() < FEWEST_PIXELS or min(mask.shape) < 2:
        return np.ones(len(strip))
    share = np.sqrt(np.clip(1 - np.sum(known**2, axis=0), LEAST_SHARE, 1))
    details = finest_diagonal(left, mask=mask)
    noise = np.array([median_sigma(each) for each in details]) / share
    known_well = (noise > 0) & (share**2 > LEAST_SHARE)
    if np.count_nonzero(known_well) < 2:
        return np.ones(len(strip))
    relative = np.log(noise[known_well])
    relative -= relative.mean()
    spread, by_chance = float(np.mean(relative**2)), MEDIAN_ERROR**2 / details.shape[1]
    is_uneven = spread > by_chance * (1 + SURELY * np.sqrt(2 / len(relative)))
    uneven = np.ones(len(strip))
    uneven[known_well] = np.exp(relative * (1 - by_chance / spread)) if is_uneven else 1.0
    return uneven


def _averaged_grams(
    level: Level[NDArray[np.float32]],
) -> Iterator[tuple[int, tuple[NDArray[np.float64], int]]]:
    """Yield each scale beyond single pixels, with the inner products of frames averaged over such blocks."""
    scales, weights = BANDS_PX[1:], level.mask.astype(np.float32)
    for scale, (averages, n_blocks) in zip(scales, pyramid(level.stack, weights, scales), strict=False):
        if n_blocks >= MIN_BLOCKS:
            yield scale, (gram_matrix(averages, None), n_blocks)


def _by_eigenvalue(
    grams: GramsByScale, known: NDArray[np.float64], level: Level[NDArray[np.float32]]
) -> Candidate:
    """Return the candidate of the scale whose largest eigenvalue is least likely noise's."""
    tests: list[EigenvalueTest] = []
    most_noise = np.inf
    for gram, n_blocks in grams.values():  # from single pixels on
        if n_blocks < MIN_BLOCKS:
            continue
        tests.append(EigenvalueTest(gram, n_blocks, known, most_noise))
        if level.breadth == 1:  # averages of noise that is alike in neighbours have more variance
            most_noise = min(most_noise, NOISE_ERROR * tests[-1].noise)
    if not tests:
        return Candidate(np.zeros(known.shape[1]), 1.0, "eigenvalue")
    best = min(tests, key=lambda test: test.p_value)
    return Candidate(beside(best.spectrum, known), min(1.0, len(tests) * best.p_value), "eigenvalue")


def strongest_spot(
    images: NDArray[np.float32],
    noise: NDArray[np.float32],
    mask: NDArray[np.bool_],
    sides_px: Sequence[int] = SPOTS_PX,
) -> Spot | None:
    """Return the square of pixels in which images stand out most; None where there are too few pixels.

    Their first image is tested alone, and all of them together, by the sum of squares.

    Parameters
    ----------
    images : ndarray, shape (M, Y, X)
        In units of their noise.
    noise : ndarray, shape (N, Y, X)
        Noise of the same kind, which shows how much of it averages out; N may be 0.
    mask : ndarray of bool, shape (Y, X)
        Pixels that count.
    sides_px : sequence of int
        Sides of the squares.
    """
    weights, best = mask.astype(np.float32), None
    for side in sides_px:
        share = uniform_filter(weights, side, mode="constant")
        centres = mask & (share > FILLED)
        n_centres = int(np.count_nonzero(centres))
        if n_centres < MIN_BLOCKS * side:
            continue
        root = np.sqrt(np.maximum(share, FILLED)) / side
        averages, chance = (
            uniform_filter(each * weights, (0, side, side), mode="constant") / root
            for each in (images, noise)
        )
        size = np.sqrt(np.mean(chance[:, centres] ** 2)) if len(chance) else 1.0
        averages /= np.float32(size)
        for n_together in {1, len(images)}:
            square = np.where(centres, np.sum(averages[:n_together] ** 2, axis=0), 0)
            at = np.unravel_index(int(np.argmax(square)), square.shape)
            n_apart = n_centres * min(1.0, APART * float(square[at]) / side**2)
            chance_anywhere = n_apart * 2 * len(sides_px) * float(chi2.sf(square[at], n_together))
            if best is None or chance_anywhere < best.p_value:
                centre = (int(at[0]), int(at[1]))
                best = Spot(chance_anywhere, side, centre, averages[:, centre[0], centre[1]].astype(float))
    return None if best is None else best._replace(p_value=min(1.0, best.p_value))


def beside(spectrum: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part (E,) of a spectrum orthogonal to `known` (K, E), of length 1, or 0 if there is none."""
    rest = spectrum - (spectrum @ known.T) @ known
    size = float(np.linalg.norm(rest))
    return np.asarray(rest / size) if size > 0 else rest


def in_halves(spectrum: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a spectrum (E,) at odd and at even energies alone, each beside `known` (K, E) there, (2, E)."""
    odd = np.arange(len(spectrum)) % 2 == 1
    return np.stack([beside(half * spectrum, orthonormal_rows(half * known)) for half in (odd, ~odd)])


def noise_rows(
    known: NDArray[np.float64], rng: np.random.Generator, n_wanted: int = N_NOISE
) -> NDArray[np.float64]:
    """Return random orthonormal spectra (N, E) beside `known` (K, E), whose images are noise alone."""
    n_known, n_energies = known.shape
    n_rows = min(n_wanted, n_energies - n_known)
    drawn = rng.standard_normal((max(n_rows, 0), n_energies))
    return np.linalg.qr((drawn - (drawn @ known.T) @ known).T).Q.T
