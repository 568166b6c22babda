"""What a map measures in the spectrum of every pixel, and the standard error of it, in blocks of pixels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from xanesum.storage.memory import N_THREADS
from xanesum.xanes.pixel_spectra import PixelSpectra, RowErrors, WeightedRow

__all__ = [
    "COMPETE_SIGMAS",
    "Found",
    "Linear",
    "Measured",
    "Ratio",
    "Rivals",
    "Rows",
    "Search",
    "in_blocks",
    "measure",
]

BLOCK_PIXELS = 4096  # pixels that are mapped together: their values stay in the processor's cache
COMPETE_SIGMAS = (
    1.96  # a place competes if it is not lower by this many standard errors of the difference ...
)
OWN_SIGMAS = 6.0  # ... and farther away than this many standard errors of the value
FEW_ROWS = 512  # up to here all rows have errors; of more, which are used is looked at first


class Rows(Protocol):
    """Rows (W, E) of a matrix, some of which can be had without the others; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """W and E."""
        ...

    def __getitem__(self, rows: NDArray[np.intp], /) -> NDArray[np.float64]:
        """Return the rows (n, E) of these indices (n,), which increase."""
        ...


class Rivals(NamedTuple):
    """Other places of a spectrum that may be the one that is looked for, such as a second maximum."""

    first: int  # row of the search that belongs to the first of J places
    top: NDArray[np.intp]  # (p,), the place that was chosen, the highest one
    lower_by: NDArray[np.floating]  # (p, J), how much lower each place is
    away: NDArray[np.floating]  # (p, J), change of the value if it is taken
    nearest: float  # change below which it is the same maximum


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found in p pixels."""

    value: NDArray[np.float64]  # (p,), NaN where there is none
    rows: tuple[WeightedRow, ...]  # rows of the search whose sum, over the divisor, has the value's error
    divisor: NDArray[np.floating]  # (p,), unit of the stack per unit of the value
    rivals: Rivals | None = None


class Search(Protocol):
    """A measurement on spectra: the rows of a matrix act on each spectrum, and the rest follows from them."""

    @property
    def operator(self) -> Rows:
        """The matrix (W, E) whose rows act on the spectrum of every pixel."""

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return what is found in the pixels of `images` (K, p)."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What was found in all pixels, with its errors."""

    value: NDArray[np.float64]  # (P,), NaN where there is none
    error: NDArray[np.float64]  # (P,), standard error; NaN where unknown
    exposure_gain: NDArray[np.float64]  # (P,)
    away: NDArray[np.float32]  # (P,), change of the value by rivals that compete, rms; 0 where none does


def measure(spectra: PixelSpectra, search: Search) -> Measured:
    """Measure in every pixel.

    To first order, the error of a value is that of the rows it follows from.  Where other places compete,
    within the error of the difference, each may be the true one.  The change of the value by them is then
    added to the error, in quadrature.  So a flat top has an error as large as it is wide.
    """
    n_pixels = spectra.mask.size
    used = _used_rows(spectra, search)
    errors = spectra.row_errors(search.operator[used], used)
    value, error, gain = np.full((3, n_pixels), np.nan)
    found = Measured(value, error, gain, np.zeros(n_pixels, np.float32))

    def fill(pixels: slice) -> None:
        each = search.find(spectra.images[:, pixels])
        found.value[pixels] = each.value
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            of_sum = errors.of(each.rows, pixels)
            error = of_sum / np.abs(each.divisor)
            before = errors.before(each.rows) * spectra.noise_pixel[pixels] ** 2
            found.exposure_gain[pixels] = before / of_sum**2
        if each.rivals is not None:
            found.away[pixels] = _away(errors, each.rivals, error, pixels)
            error = np.hypot(error, found.away[pixels])
        found.error[pixels] = error

    in_blocks(n_pixels, fill)
    return found


def _used_rows(spectra: PixelSpectra, search: Search) -> NDArray[np.intp]:
    """Return the rows of a search that a value of any pixel follows from, increasing; all if they are few.

    A scan of thousands of energies has thousands of rows, and the covariance of all would take minutes.  The
    edge of its pixels moves over a few hundred of them.
    """
    n_rows = search.operator.shape[0]
    if n_rows <= FEW_ROWS:
        return np.arange(n_rows)
    is_used = np.zeros(n_rows, bool)

    def look(pixels: slice) -> None:  # threads only ever set values to True
        found = search.find(spectra.images[:, pixels])
        for index, _ in found.rows:
            is_used[index] = True
        if found.rivals is not None:
            is_used[found.rivals.first : found.rivals.first + found.rivals.away.shape[1]] = True

    in_blocks(spectra.mask.size, look)
    return np.flatnonzero(is_used)


def _away(
    errors: RowErrors, rivals: Rivals, error: NDArray[np.float64], pixels: slice
) -> NDArray[np.float32]:
    """Return the change (p,) of the value by places that compete, rms; 0 where none does.

    Places within a few standard errors of the value compete always: their error is that of the value.
    """
    of_difference = errors.of_differences(rivals.first, rivals.away.shape[1], rivals.top, pixels)
    with np.errstate(invalid="ignore"):
        competes = rivals.lower_by < COMPETE_SIGMAS * of_difference
        competes &= np.abs(rivals.away) > np.fmax(OWN_SIGMAS * error, rivals.nearest)[:, None]
    number = np.count_nonzero(competes, axis=1)
    squares = np.sum(np.where(competes, rivals.away, 0) ** 2, axis=1)
    return np.asarray(np.sqrt(squares / np.maximum(number, 1)), np.float32)


def in_blocks(n_pixels: int, work: Callable[[slice], None]) -> None:
    """Call `work` with slices that together are all pixels, on several threads if there are many."""
    blocks = [slice(start, start + BLOCK_PIXELS) for start in range(0, n_pixels, BLOCK_PIXELS)]
    if len(blocks) <= N_THREADS:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(N_THREADS) as pool:
        for _ in pool.map(work, blocks):
            pass


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A value that is linear in the spectrum: one row."""

    operator: NDArray[np.float64]  # (1, E)
    to_value: NDArray[np.float32]  # (1, K)

    @classmethod
    def of(cls, spectra: PixelSpectra, row: NDArray[np.float64]) -> Linear:
        """Return the search for ``row @ spectrum``; row (E,)."""
        return cls(row[None], spectra.apply(row[None]))

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return the values in the pixels of `images` (K, p)."""
        value = (self.to_value @ images)[0]
        ones = np.ones(len(value))
        return Found(value.astype(np.float64), ((np.zeros(len(value), np.intp), ones),), ones)


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A ratio of two linear functions of the spectrum, plus a constant."""

    operator: NDArray[np.float64]  # (2, E), of numerator and denominator
    to_values: NDArray[np.float32]  # (2, K)
    constant: float = 0.0

    @classmethod
    def of(
        cls,
        spectra: PixelSpectra,
        over: NDArray[np.float64],
        below: NDArray[np.float64],
        constant: float = 0.0,
    ) -> Ratio:
        """Return the search for ``over @ spectrum / below @ spectrum + constant``; both (E,)."""
        operator = np.stack([over, below])
        return cls(operator, spectra.apply(operator), constant)

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return the values in the pixels of `images` (K, p)."""
        over, below = (self.to_values @ images).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = over / below
        first = np.zeros(len(ratio), np.intp)
        rows = ((first, np.ones(len(ratio))), (first + 1, -ratio))
        return Found(ratio + self.constant, rows, below)
