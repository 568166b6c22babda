"""Dead, hot, stuck and noisy pixels, and spikes, by robust statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.noise.level import median_sigma
from xanesum.preprocess.marks import BAD_SHARE, PreprocessReport, mark, noted
from xanesum.stack import DIMS, check_stack, refuse_values, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame, with_missing

__all__ = ["find_bad_pixels"]

NEAR, FAR = (
    tuple((dy, dx) for dy in range(-r, r + 1) for dx in range(-r, r + 1) if (dy, dx) != (0, 0))
    for r in (1, 2)
)
MIN_NEIGHBOURS = (
    6  # finite neighbours; with fewer, their range is too uncertain, and more distant ones are used
)
ROUNDING = 1e-6  # differences below this part of the largest value are float32 rounding
MOST_STEPS = 100_000  # differences of neighbours, about, from which the noise of a frame is measured
SPARSE = (
    0.5  # share of differences of neighbours that are exactly 0, from which single photons are counted ...
)
ONE_PHOTON = 5  # ... this percentile of the values that are not 0 is then about one photon
MIN_ENERGIES_FOR_ACTIVITY = 8  # 7 differences; with fewer, the noise of a pixel is too uncertain


def find_bad_pixels(
    stack: xr.DataArray, *, n_sigma: float = 12.0, spread_factor: float = 6.0
) -> tuple[xr.DataArray, PreprocessReport]:
    """Leave out dead, hot, stuck and noisy pixels, and single voxels that stand out (spikes).

    A value is bad if it lies outside the range of its eight neighbours by more than `spread_factor` times
    that range plus `n_sigma` times the noise.  The range goes from the second smallest to the second largest
    value, so that two adjacent bad pixels do not hide each other.  Where fewer than six of the eight are
    finite, the 24 nearest are used.  A real feature is blurred into its neighbours by the lens, which widens
    their range; on the border of a particle the range is the height of the step.  The test is made on every
    frame (spikes), on the mean of the frames (hot and dead pixels), and on the logarithm of the mean change
    from frame to frame (stuck and noisy pixels).

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Preferably optical density; NaN that an earlier step has marked is left as it is.
    n_sigma : float
        Allowed distance in units of the frame's noise, a robust standard deviation.
    spread_factor : float
        Allowed distance in units of the range of the neighbours.

    Returns
    -------
    stack : DataArray
        A new stack: bad pixels `mask` False, spikes NaN and counted in ``attrs["missing_values"]``.
    report : PreprocessReport
        Number of each kind.

    Raises
    ------
    StackError
        If values are not finite, or frames are blank, without a mark; or if nothing usable remains.
    """
    check_stack(stack)
    mask, usable = usable_mask(stack), usable_weight(stack)
    if min(stack.shape[1:]) < 3:
        return stack.copy(), PreprocessReport(
            n_values=stack.size,
            n_missing=int(stack.attrs.get("missing_values", 0)),
            notes=("too small for a bad pixel search",),
        )

    found, spikes = _search_frames(stack, n_sigma, spread_factor)
    n_frames = int(np.count_nonzero(usable))
    often = found.n_spikes > BAD_SHARE * n_frames
    stuck, noisy = _odd_activity(np.where(often, np.nan, found.activity()), n_frames, found.n_events())
    mean = np.where(stuck | noisy, np.nan, found.mean())
    outlying = often | (_outside(mean, n_sigma * _noise(mean), spread_factor) != 0)
    bad = outlying | stuck | noisy
    report = PreprocessReport(
        n_values=stack.size,
        n_spikes=int(found.n_spikes[~bad].sum()),
        n_outlying_pixels=int(np.count_nonzero(outlying)),
        n_stuck_pixels=int(np.count_nonzero(stuck)),
        n_noisy_pixels=int(np.count_nonzero(noisy)),
        n_masked_pixels=int(np.count_nonzero(bad)),
    )
    result = with_missing(stack, spikes).assign_coords(mask=(DIMS[1:], mask & ~bad))
    result, marked = mark(result)
    return noted(result, report + marked, "bad pixels left out")


def _search_frames(
    stack: xr.DataArray, n_sigma: float, spread_factor: float
) -> tuple[_Findings, NDArray[np.intp]]:
    """Look for spikes in every usable frame; return sums over the frames, and flat indices of the spikes."""
    mask, usable = usable_mask(stack), usable_weight(stack)

    def search(e: int, values: NDArray[np.float64]) -> _Searched:
        known = mask & np.isfinite(values)
        frame = np.where(known, values, np.nan).astype(np.float32)
        n_bad = int(np.count_nonzero(mask)) - int(np.count_nonzero(known))
        if not usable[e]:
            return _Searched(frame, np.zeros_like(mask), 0, False)
        spikes = _outside(frame, n_sigma * _noise(frame), spread_factor) != 0
        frame[spikes] = np.nan
        return _Searched(frame, spikes, n_bad, not values.any())

    found = _Findings.empty(stack.shape[1:])
    n_bad, blank, at = 0, np.zeros_like(usable), []
    for e, searched in enumerate(each_frame(stack, search)):
        n_bad, blank[e] = n_bad + searched.n_bad, searched.is_blank
        at.append(e * mask.size + np.flatnonzero(searched.spikes))
        if usable[e]:
            found.add(searched.frame, searched.spikes)
    refuse_values(stack, n_bad, blank[usable])
    return found, np.concatenate(at)


@dataclass(frozen=True, slots=True, eq=False)
class _Searched:
    """One frame after the search for spikes."""

    frame: NDArray[np.float32]  # (Y, X), NaN at spikes and at pixels that do not count
    spikes: NDArray[np.bool_]  # (Y, X)
    n_bad: int  # values that are not finite at pixels that count
    is_blank: bool  # whether the frame is zero everywhere


@dataclass(slots=True, eq=False)
class _Findings:
    """Sums over the frames so far, each of shape (Y, X)."""

    n_spikes: NDArray[np.int64]  # frames in which a pixel is a spike
    n_values: NDArray[np.int64]  # finite values
    total: NDArray[np.float64]  # sum of the finite values
    n_changes: NDArray[np.int64]  # finite differences from frame to frame
    n_moves: NDArray[np.int64]  # differences that are not 0
    change: NDArray[np.float64]  # sum of their absolute values
    previous: NDArray[np.floating]  # the last frame

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> _Findings:
        """Return sums over no frames."""
        counts = (np.zeros(shape, dtype=np.int64) for _ in range(4))
        sums = (np.zeros(shape) for _ in range(2))
        n_spikes, n_values, n_changes, n_moves = counts
        total, change = sums
        return cls(n_spikes, n_values, total, n_changes, n_moves, change, np.full(shape, np.nan))

    def add(self, frame: NDArray[np.floating], spikes: NDArray[np.bool_]) -> None:
        """Add one frame whose spikes and masked pixels are NaN."""
        self.n_spikes += spikes
        self.n_moves += np.abs(frame - self.previous) > 0  # false where one of them is NaN
        for value, total, count in (
            (frame, self.total, self.n_values),
            (np.abs(frame - self.previous), self.change, self.n_changes),
        ):
            good = np.isfinite(value)
            np.add(total, value, out=total, where=good)
            count += good
        self.previous = frame

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of the finite values, NaN where there is none."""
        return _ratio(self.total, self.n_values)

    def activity(self) -> NDArray[np.float64]:
        """Return the mean absolute change from frame to frame, NaN where there is none."""
        return _ratio(self.change, self.n_changes)

    def n_events(self) -> float:
        """Return how many differences of a pixel are not 0, if these are less than half of them; else inf.

        They are so few where single photons are counted.
        """
        known = self.n_changes > 0
        changes, moves = float(self.n_changes[known].sum()), float(self.n_moves[known].sum())
        return moves / np.count_nonzero(known) if moves < (1 - SPARSE) * changes else np.inf


def _ratio(total: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the means from sums and counts, NaN where the count is 0."""
    ratio = np.full(total.shape, np.nan)
    return np.divide(total, count, out=ratio, where=count > 0)  # type: ignore[no-any-return]


def _odd_activity(
    activity: NDArray[np.float64], n_energies: int, n_events: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels that change far less, and those that change far more, than their neighbours.

    The mean absolute difference of `n_energies` normal values has a relative standard deviation of about
    ``0.9 / sqrt(n_energies - 1)`` (successive differences share a value).  The margin is eight of these, and
    at least a factor of four: a feature too narrow for the lens can change 2.8 times more than its
    neighbours.  Where photons are counted, that of `n_events` of them is ``1 / sqrt(n_events)``, and skew.
    """
    level = float(np.nanmedian(activity)) if np.isfinite(activity).any() else 0.0
    if n_energies < MIN_ENERGIES_FOR_ACTIVITY or level <= 0:
        nothing = np.zeros(activity.shape, dtype=bool)
        return nothing, nothing.copy()
    log_activity = np.log(np.maximum(activity, 0.05 * level))
    margin = max(np.log(4.0), 8 * 0.9 / np.sqrt(n_energies - 1), 12 / np.sqrt(max(n_events, 1e-6)))
    odd = _outside(log_activity, margin, 1.0)
    return odd < 0, odd > 0


def _outside(image: NDArray[np.floating], margin: float, factor: float) -> NDArray[np.int8]:
    """Return 1 where a pixel is too far above the range of its neighbours, -1 where too far below, else 0.

    The allowed distance is `margin` plus `factor` times the range.  The range goes from the second smallest
    to the second largest of the finite values among the eight neighbours.  Where fewer than six of these are
    finite, the 24 nearest are used; where fewer than six of those are finite, the result is 0.
    """
    result = np.zeros(image.shape, dtype=np.int8)
    rows, columns = np.nonzero(_differs(image, margin))  # these are few, so that sorting costs little
    for neighbours in (NEAR, FAR):
        n_finite, low, high = _range(image, rows, columns, neighbours)
        values = image[rows, columns]
        allowed = margin + factor * (high - low)
        side = (values - high > allowed).astype(np.int8) - (low - values > allowed)
        result[rows, columns] = side * (n_finite >= MIN_NEIGHBOURS)
        rows, columns = (index[n_finite < MIN_NEIGHBOURS] for index in (rows, columns))
    return result


def _range(
    image: NDArray[np.floating],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    neighbours: tuple[tuple[int, int], ...],
) -> tuple[NDArray[np.intp], NDArray[np.floating], NDArray[np.floating]]:
    """Return the number of finite neighbours of each pixel, their second smallest and second largest."""
    reach = min(2, *(size - 1 for size in image.shape))
    padded = np.pad(image, reach, mode="reflect")  # beyond a border, inner neighbours are used twice
    near = [(dy, dx) for dy, dx in neighbours if max(abs(dy), abs(dx)) <= reach]
    around = np.sort([padded[rows + reach + dy, columns + reach + dx] for dy, dx in near], axis=0)
    n_finite = np.count_nonzero(np.isfinite(around), axis=0)  # sorting puts NaN last
    return n_finite, around[1], around[np.maximum(n_finite - 2, 0), np.arange(len(rows))]


def _differs(image: NDArray[np.floating], margin: float) -> NDArray[np.bool_]:
    """Return which pixels differ by more than `margin` from one of four neighbours, or have none finite."""
    result = np.zeros(image.shape, dtype=bool)
    alone = np.isfinite(image)
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis))
        view, step, lonely = (a if axis == 0 else a.T for a in (result, steps, alone))
        view[1:] |= step > margin
        view[:-1] |= step > margin
        lonely[1:] &= np.isnan(step)
        lonely[:-1] &= np.isnan(step)
    result |= alone
    return result


def _noise(image: NDArray[np.floating]) -> float:
    """Return a robust standard deviation of the noise, from differences of neighbours along x."""
    known = image[np.isfinite(image).any(axis=1)]
    steps = np.abs(np.diff(known[:: max(1, known.size // MOST_STEPS)], axis=1))
    steps = steps[np.isfinite(steps)]
    if not steps.size:
        return 0.0
    values = np.abs(image[np.isfinite(image)])
    least = ROUNDING * float(values.max())
    if np.count_nonzero(steps == 0) > SPARSE * steps.size and (values == 0).any() and values.any():
        least = max(least, float(np.percentile(values[values > 0], ONE_PHOTON)))
    return max(median_sigma(steps) / float(np.sqrt(2)), least)
