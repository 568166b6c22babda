"""Shifts near those that are known: regression of each frame on what the others expect, and its slopes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from xanesum.align.frames import Canvas, Complex, Image, Level
from xanesum.align.state import State
from xanesum.align.template import RING, Template, by_radius, parts_of
from xanesum.storage.memory import N_THREADS
from xanesum.storage.prefetch import in_threads

__all__ = ["FINE", "Refined", "Whitening", "left_over", "refine"]

Array = NDArray[np.float64]
Row = tuple[NDArray[np.floating] | float, ...]  # of `Refined`, or its first part

AMPLITUDE_SPREAD = 0.3  # standard deviation of a frame's contrast over that which the model expects
LEAST_AMPLITUDE = 0.3
BLOCKS = 8  # along each side of a frame, over which errors of the model count as independent
CLEAR_PX = 4  # pixels of the level at the border of what is there that a filtered frame is not compared with
LEAST_INFORMATION = 1e-6  # on a shift, in pixels of the level, so that an error is never infinite
FINE = 2  # binning up to which the power of what is left is wanted
COLOURED = 2.0  # times the power at the highest frequencies from which residuals are filtered
MODEL, CONSTANT, ALONG_Y, ALONG_X, MORE = range(5)  # columns of the regression; more of them: growth, light


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """One step of every frame from its present shift, in pixels of the full resolution."""

    steps: Array  # (E, 2)
    covariance: Array  # (E, 2, 2) where noise is white and the model is right
    scatter: Array  # (E,) variance of the step by what is left over, in blocks, over that covariance
    growth: Array  # (E,) relative growth about the centre, once the shift is free
    growth_sigma: Array  # (E,) its standard error
    offset: Array  # (E, 1 or 6) light of the frame beyond the known one, in units of the stack
    excess: Array  # (E,) mean square of what is left, over the noise
    explained: Array  # (E,) share of the power beyond noise that the model explains
    clarity: Array  # (E,) contrast over its standard error
    power: Array  # (Py, Pxh) mean power of what is left, over that of white noise
    standing: Array  # (Y, X) mean of what is left at each pixel of the detector, over its standard error


def refine(
    level: Level,
    template: Template,
    state: State,
    *,
    whiten: Whitening | None = None,
    magnified: bool = False,
) -> Refined:
    """Move every frame by one step of Gauss and Newton.

    Columns of the regression are what the other frames expect, a constant, the two slopes, and on request the
    slope along a magnification.  Only pixels count that are there, and where the model is known.

    Parameters
    ----------
    level : Level
    template : Template
        From frames at the shifts of `state`.
    state : State
    whiten : Whitening, optional
        Filter under which what is left over is white; it is applied to both sides.
    magnified : bool
        Whether a magnification of each frame is fitted too.
    """
    regression = Regression(
        level,
        template,
        None if whiten is None else whiten.on(template.canvas),
        magnified,
        state.offset.shape[1],
    )

    def of(part: range) -> tuple[list[Row], Left]:
        rows, left = [], Left(template.canvas)
        for e in part:
            rows.append(regression.of_frame(e, state, left))
        return rows, left

    rows: list[Row] = []
    total = Left(template.canvas)
    for some, left in in_threads(of, parts_of(len(level)), n_threads=N_THREADS, n_ahead=N_THREADS):
        rows += some
        total.add(left)
    names = [each.name for each in fields(Refined)]
    columns = [np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)]
    by_name = dict(zip(names, columns, strict=False))
    return Refined(**by_name, power=total.power / max(1, int(state.used.sum())), standing=total.standing)


def left_over(level: Level, template: Template, state: State, frames: NDArray[np.intp]) -> Array:
    """Return the mean square of what the others do not tell of some frames, over their noise, (n,)."""
    regression = Regression(level, template, None, False, state.offset.shape[1])
    place = [each.name for each in fields(Refined)].index("excess")

    def of(part: range) -> list[float]:
        left = Left(template.canvas)
        return [float(regression.of_frame(e, state, left)[place]) for e in frames[part].tolist()]

    parts = in_threads(of, parts_of(len(frames)), n_threads=N_THREADS, n_ahead=N_THREADS)
    return np.array([excess for part in parts for excess in part])


class Left:
    """Sums over frames of what the model leaves."""

    def __init__(self, canvas: Canvas) -> None:
        self.power = np.zeros(canvas.radius.shape)  # of the Fourier coefficients
        # at pixels of the detector
        self.sums, self.squares, self.counts = (np.zeros(canvas.shape) for _ in range(3))

    def add(self, other: Left) -> None:
        """Add the sums over other frames."""
        self.power += other.power
        self.sums += other.sums
        self.squares += other.squares
        self.counts += other.counts

    @property
    def standing(self) -> Array:
        """Mean of what is left at each pixel, over its standard error.

        It is 0 where what is left changes from frame to frame by more than its mean and the noise: that is
        the sample, which the model does not explain.
        """
        counts = np.maximum(self.counts, 1)
        mean = self.sums / counts
        changes = np.maximum(self.squares / counts - mean**2 - 1, 0)
        return np.where(mean**2 > changes, mean * np.sqrt(counts), 0)


class Regression:
    """The regression of one frame; shared by all frames of a pass."""

    def __init__(
        self, level: Level, template: Template, whiten: Image | None, magnified: bool, n_fields: int
    ) -> None:
        self.level, self.template, self.whiten = level, template, whiten
        self.canvas = template.canvas
        n_y, n_x = level.shape
        self.from_y = (np.arange(n_y, dtype=np.float32) - (n_y - 1) / 2)[:, None] if magnified else None
        self.from_x = np.arange(n_x, dtype=np.float32) - np.float32((n_x - 1) / 2)
        self.starts = [np.unique(np.linspace(0, n, BLOCKS, endpoint=False).astype(int)) for n in (n_y, n_x)]
        window = level.window
        self.window_power = float(np.sum(window.astype(np.float64) ** 2))
        self.clear = _cleared(level.seen)
        self.n_fields = n_fields
        self.tight = np.zeros(MORE + magnified + n_fields - 1)  # precision before, of what is found
        self.tight[MODEL] = 1 / AMPLITUDE_SPREAD**2

    def of_frame(self, e: int, state: State, sums: Left) -> Row:
        """Return the row of `Refined` for one frame; add what the model leaves to `sums`."""
        canvas, level = self.canvas, self.level
        frame, there = level.frame(e, state.offset[e])
        own = canvas.coefficients(frame * level.window)
        expected = self.template.expected(e, state.shifts[e], own)
        counted = there & self.template.known_in_frame(state.shifts[e])
        columns = self._columns(expected, state.shifts[e] / level.binning)
        normal, pull, total = _products(columns, frame, counted)
        tight = self.tight.copy()
        more_fields = np.s_[len(tight) - self.n_fields + 1 :]
        tight[more_fields] = (level.noise[e] / state.light_sigma) ** 2
        held = tight.copy()
        held[more_fields] *= -state.offset[e, 1:] / level.noise[e]
        solution = _solved(normal, pull, tight, held)
        rest = (frame - np.tensordot(solution.astype(np.float32), columns, axes=1)) * counted
        n_counted = max(float(counted.sum()), 1.0)
        left = float(np.sum(rest**2, dtype=np.float64))
        beyond = total - pull[CONSTANT] ** 2 / max(normal[CONSTANT, CONSTANT], 1e-12) - n_counted
        explained = 1 - (left - n_counted) / beyond if beyond > 0 else 0.0
        of_light = [CONSTANT, *range(len(solution) - self.n_fields + 1, len(solution))]
        offset = solution[of_light]
        clarity = float(solution[MODEL] * np.sqrt(max(normal[MODEL, MODEL], 0)))
        if state.used[e] and level.binning <= FINE:
            coefficients = canvas.coefficients(rest * level.window)
            sums.power += (coefficients.real**2 + coefficients.imag**2) / self.window_power
        if state.used[e]:
            sums.sums += rest
            sums.squares += rest**2
            sums.counts += counted
        if self.whiten is not None:
            columns = self._whitened(columns, expected, state.shifts[e] / level.binning)
            rest = canvas.frames(canvas.coefficients(rest) * self.whiten)
            counted = counted & self.clear
            more, normal, rest = _again(columns, rest, counted, tight)
            more[of_light] = 0
            solution = solution + more
        normal[more_fields, more_fields] += np.diag(tight[more_fields])
        step = self._step(solution, normal, columns, rest)
        return (*step, offset * level.noise[e], left / n_counted, explained, clarity)

    def _columns(self, expected: Complex, shift: Array) -> Image:
        """Return the columns (4 to 10, Y, X): a shift moves content, so slopes have the other sign."""
        canvas = self.canvas
        grows = self.from_y is not None
        columns = np.empty((MORE + grows + self.n_fields - 1, *self.level.shape), np.float32)
        columns[MODEL] = canvas.frames(expected)
        columns[CONSTANT] = 1
        columns[ALONG_Y] = canvas.frames(-canvas.d_y * expected)
        columns[ALONG_X] = canvas.frames(-canvas.d_x * expected)
        if self.from_y is not None:  # content grows about the centre, which has moved with it
            columns[MORE] = (self.from_y - np.float32(shift[0])) * columns[ALONG_Y]
            columns[MORE] += (self.from_x - np.float32(shift[1])) * columns[ALONG_X]
        columns[MORE + grows :] = self.level.fields[1 : self.n_fields]
        return columns

    def _whitened(self, columns: Image, expected: Complex, shift: Array) -> Image:
        """Return the same columns after the filter; a constant is gone."""
        assert self.whiten is not None
        filtered = self._columns(np.asarray(expected * self.whiten, np.complex64), shift)
        filtered[CONSTANT] = 0
        if self.from_y is not None:
            inside = columns[MORE] * self.level.window
            filtered[MORE] = self.canvas.frames(self.canvas.coefficients(inside) * self.whiten)
        return filtered

    def _step(self, solution: Array, normal: Array, columns: Image, rest: Image) -> Row:
        """Return step, covariance, scatter, growth and its error."""
        b = self.level.binning
        amplitude = max(float(solution[MODEL]), LEAST_AMPLITUDE)
        normal = normal + np.diag(np.where(np.arange(len(normal)) >= ALONG_Y, LEAST_INFORMATION, 0))
        inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
        two = [ALONG_Y, ALONG_X]
        covariance = inverse[np.ix_(two, two)] * (b / amplitude) ** 2
        if np.linalg.eigvalsh(covariance)[0] <= 0:  # hardly a pixel is known
            covariance = np.eye(2) * b**2 / LEAST_INFORMATION
        sums = np.add.reduceat(np.add.reduceat(columns * rest, self.starts[0], 1), self.starts[1], 2)
        influence = inverse @ sums.reshape(len(sums), -1).astype(np.float64)
        spread = np.sum(influence[two] ** 2)
        scatter = spread / max(np.trace(inverse[np.ix_(two, two)]), 1e-300)
        step = np.clip(solution[two] / amplitude, -1.5, 1.5) * b
        if self.from_y is None:
            return step, covariance, scatter, 0.0, np.inf
        growth_error = np.sqrt(inverse[MORE, MORE] * max(scatter, 1.0)) / amplitude
        return step, covariance, scatter, solution[MORE] / amplitude, growth_error


def _products(columns: Image, frame: Image, counted: NDArray[np.bool_]) -> tuple[Array, Array, float]:
    """Return normal matrix, right side and sum of squares of the frame over the pixels that count."""
    columns *= counted
    flat = columns.reshape(len(columns), -1)
    normal = (flat @ flat.T).astype(np.float64)
    pull = (flat @ frame.ravel()).astype(np.float64)
    total = float(np.sum((frame * counted) ** 2, dtype=np.float64))
    return normal, pull, total


def _solved(normal: Array, pull: Array, tight: Array, held: Array) -> Array:
    """Solve the regression, with a prior of precision `tight` around `held` / `tight`."""
    scale = 1 / np.sqrt(np.diag(normal) + tight + 1e-30)
    matrix = (normal + np.diag(tight)) * np.outer(scale, scale)
    answer = np.linalg.lstsq(matrix, (pull + held) * scale, rcond=1e-9)[0]
    return np.asarray(answer * scale)


def _again(
    columns: Image, rest: Image, counted: NDArray[np.bool_], tight: Array
) -> tuple[Array, Array, Image]:
    """Return what a second regression of the filtered rest adds, its normal matrix, and what it leaves."""
    normal, pull, _ = _products(columns, rest, counted)
    normal[CONSTANT, CONSTANT] = 1.0
    more = np.linalg.lstsq(normal + np.diag(tight), pull, rcond=1e-12)[0]
    left = (rest - np.tensordot(more.astype(np.float32), columns, axes=1)) * counted
    return np.asarray(more, np.float64), normal, np.asarray(left, np.float32)


def _cleared(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels that are far enough from the border and from pixels that do not count."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_erosion(seen, iterations=CLEAR_PX))


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """A radial filter under which what the model leaves is white."""

    frequency: Array  # (n,) cycles per pixel of the full resolution
    gain: Array  # (n,) 1 where there is only noise

    @classmethod
    def of(cls, canvas: Canvas, power: Array) -> Whitening | None:
        """Return the filter for residuals of that power (Py, Pxh), or None where they are white.

        Power is compared with that at the highest frequencies, where there is only noise.
        """
        _, mean, _ = by_radius(canvas, power)
        frequency = (np.arange(len(mean)) + 0.5) * RING / max(canvas.size)
        mean, frequency = mean[frequency < 0.5], frequency[frequency < 0.5]
        floor = float(np.median(mean[-max(2, int(0.15 * len(mean))) :]))
        relative = mean / max(floor, 1e-30)
        if relative.max() < COLOURED:
            return None
        return cls(frequency / canvas.binning, 1 / np.sqrt(np.maximum(relative, 1)))

    @property
    def colour(self) -> float:
        """Largest power of what was left, over that of white noise."""
        return float(1 / self.gain.min() ** 2)

    def on(self, canvas: Canvas) -> Image:
        """Return the filter for the coefficients of a canvas, (Py, Pxh)."""
        gain = np.interp(canvas.radius / canvas.binning, self.frequency, self.gain)
        return np.asarray(gain, np.float32)
