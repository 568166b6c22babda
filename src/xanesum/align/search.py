"""Shifts over the whole range: matched filter of each frame against what the others expect of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.align.drift import DriftPrior
from xanesum.align.frames import Canvas, Complex, Image, Level
from xanesum.align.state import State
from xanesum.align.template import Template, parts_of
from xanesum.storage.memory import N_THREADS
from xanesum.storage.prefetch import in_threads

__all__ = ["Found", "search"]

Array = NDArray[np.float64]
Place = tuple[Array, Array, Array, float, bool, float]  # a row of `Found`

FAINTEST = 0.3  # of the median power of the template: no place counts as fainter
EMPTY = 0.5  # probability, before a frame is looked at, that it shows nothing of the sample
RARE = 0.01  # share of the frames whose shift follows no drift
SHARP = 0.7  # pixels of the level: the spread of a shift up to which a frame has one place


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Shifts of some frames by a search over a grid."""

    frames: NDArray[np.intp]  # (n,)
    best: Array  # (n, 2) px, the most likely shift
    mean: Array  # (n, 2) px, over the grid
    covariance: Array  # (n, 2, 2) px^2
    amplitude: Array  # (n,) contrast over the expected one; negative where contrast is inverted
    vague: NDArray[np.bool_]  # (n,) whether the shift is spread over the grid
    gain: Array  # (n,) log-likelihood of the best shift, over that without the sample


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Shifts that are tried: whole pixels of the level within the largest shift."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    binning: int

    @classmethod
    def within(cls, limit_px: Array, canvas: Canvas) -> Grid:
        """Return the grid up to `limit_px` (2,) either way."""
        steps = np.minimum(limit_px // canvas.binning, canvas.origin).astype(int)
        return cls(np.arange(-steps[0], steps[0] + 1), np.arange(-steps[1], steps[1] + 1), canvas.binning)

    @property
    def y_px(self) -> Array:
        """Shifts along y in pixels."""
        return np.asarray(self.rows * float(self.binning))

    @property
    def x_px(self) -> Array:
        """Shifts along x in pixels."""
        return np.asarray(self.columns * float(self.binning))

    def of(self, planes: Image) -> Array:
        """Return the values of a map over all shifts (..., Py, Px) at the shifts of the grid."""
        return np.take(np.take(planes, self.rows, axis=-2), self.columns, axis=-1).astype(np.float64)


class Matcher:
    """Sums under the frame's window that a matched filter needs, at every shift of the grid."""

    def __init__(self, level: Level, template: Template, grid: Grid) -> None:
        self.level, self.template, self.grid = level, template, grid
        canvas = template.canvas
        self.window = level.window
        of_window = canvas.coefficients(self.window)
        known = template.known.astype(np.float32)
        planes = canvas.plane(template.coefficients) * known
        self.known = canvas.of_plane(known)
        self.area = np.maximum(grid.of(_correlated(canvas, of_window, self.known)), 1.0)
        self.means = np.stack(
            [grid.of(_correlated(canvas, of_window, canvas.of_plane(plane))) for plane in planes]
        )
        self.squares = [
            [grid.of(_correlated(canvas, of_window, canvas.of_plane(first * second))) for second in planes]
            for first in planes
        ]
        self.planes = planes

    def log_likelihood(self, e: int, state: State, *, free: bool) -> tuple[Array, Array]:
        """Return the log-likelihood over the grid, and the contrast over the expected one.

        The constant of the frame is free.  Its contrast is `free`, of any sign, while the spectra are not yet
        known.  Later it is averaged over, with a standard deviation as large as the expected contrast: that
        of weak frames is a guess, since noise that matches the model somewhere looks like it.
        """
        canvas, spectra = self.template.canvas, self.template.spectra[:, e].astype(np.float64)
        frame = self.level.frame(e, state.offset[e])[0] * self.window
        own = canvas.coefficients(frame)
        template = self._without(e, own, state)
        cross = self.grid.of(_correlated(canvas, own, template))
        constant = self.grid.of(_correlated(canvas, own, self.known))
        mean = np.tensordot(spectra, self.means, axes=1)
        square = sum(
            spectra[i] * spectra[j] * each for i, row in enumerate(self.squares) for j, each in enumerate(row)
        )
        cross = cross - constant * mean / self.area
        square = square - mean**2 / self.area
        square = np.maximum(square, FAINTEST * np.median(square)) + 1e-12
        scale = state.excess[e]
        cross, square = cross / scale, square / scale
        if free:
            return 0.5 * cross**2 / square, cross / square
        return 0.5 * cross**2 / (square + 1) - 0.5 * np.log1p(square), cross / (square + 1)

    def _without(self, e: int, own: Complex, state: State) -> Complex:
        """Return what the other frames expect of frame `e` in the place of the model."""
        template = self.template
        along_y, along_x = template.canvas.phases(-state.shifts[e : e + 1])
        share = np.tensordot(template.spectra[:, e] ** 2, template.filters, axes=1)
        total = np.tensordot(template.spectra[:, e], template.coefficients, axes=1)
        leverage = min(float(np.sum(template.spectra[:, e] ** 2)), 0.9)
        rest = total - share * own * along_y[0] * along_x[0] if leverage < 0.9 else total
        return np.asarray(rest / np.float32(1 - leverage), np.complex64)


def search(
    level: Level,
    template: Template,
    state: State,
    frames: NDArray[np.intp],
    *,
    limit_px: Array,
    free: bool = False,
) -> Found:
    """Find the shifts of `frames` over the whole range, with the prior of the state.

    Parameters
    ----------
    level : Level
    template : Template
        From frames at the shifts of `state`.
    state : State
    frames : ndarray of int, shape (n,)
    limit_px : ndarray, shape (2,)
        Largest shift along y and x.
    free : bool
        Whether the contrast of each frame is unknown, even in its sign.
    """
    grid = Grid.within(limit_px, template.canvas)
    matcher = Matcher(level, template, grid)

    def of(part: list[int]) -> list[Place]:
        empty = 0.0 if free else EMPTY
        return [
            _located(*matcher.log_likelihood(e, state, free=free), grid, state.prior, e, empty=empty)
            for e in part
        ]

    parts = [frames[list(part)].tolist() for part in parts_of(len(frames))]
    done = [each for some in in_threads(of, parts, n_threads=N_THREADS, n_ahead=N_THREADS) for each in some]
    columns = [np.array(column) for column in zip(*done, strict=True)]
    return Found(frames, *columns)


def _located(
    log_likelihood: Array, amplitude: Array, grid: Grid, prior: DriftPrior, e: int, *, empty: float
) -> Place:
    """Return the row of `Found` for one frame, which shows nothing with probability `empty`.

    Then all shifts are as likely as before.  So a frame whose best match is no better than noise gives
    somewhere in the range is spread over all of it.
    """
    before = np.exp(_log_prior(grid, prior, e) + np.zeros_like(log_likelihood))
    before /= before.sum()
    highest = max(float(log_likelihood.max()), 0.0)
    chance = before * ((1 - empty) * np.exp(log_likelihood - highest) + empty * np.exp(-highest))
    chance /= chance.sum()
    along_y, along_x = chance.sum(axis=1), chance.sum(axis=0)
    mean = np.array([along_y @ grid.y_px, along_x @ grid.x_px])
    from_y, from_x = grid.y_px - mean[0], grid.x_px - mean[1]
    cross = from_y @ chance @ from_x
    moments = np.array([[along_y @ from_y**2, cross], [cross, along_x @ from_x**2]])
    at = np.unravel_index(int(np.argmax(chance)), chance.shape)
    best = np.array([grid.y_px[at[0]], grid.x_px[at[1]]])
    spread = float(np.sqrt(np.diag(moments).max()))
    vague = spread > SHARP * grid.binning
    covariance = moments + np.eye(2) * grid.binning**2 / 12
    return best, mean, covariance, float(amplitude[at]), vague, float(log_likelihood[at])


def _log_prior(grid: Grid, prior: DriftPrior, e: int) -> Array | float:
    """Return the logarithm of the prior over the grid, up to a constant.

    A share of the frames follows no drift.  A prior finer than the grid is widened to it, so that its mass
    does not fall between the points.
    """
    sigma = prior.sigma_px[e]
    if not np.isfinite(sigma).all():
        return 0.0
    width = np.maximum(sigma, grid.binning / 2)
    from_y = (grid.y_px - prior.mean_px[e, 0]) / width[0]
    from_x = (grid.x_px - prior.mean_px[e, 1]) / width[1]
    density = np.exp(-0.5 * (from_y[:, None] ** 2 + from_x**2)) / (2 * np.pi * width[0] * width[1])
    everywhere = 1 / (grid.binning**2 * density.size)
    return np.asarray(np.log((1 - RARE) * density + RARE * everywhere))


def _correlated(canvas: Canvas, frames: Complex, images: Complex) -> Image:
    """Return the sum of frame times image moved by each shift, for all shifts of the canvas."""
    return canvas.plane(frames * images.conj())
