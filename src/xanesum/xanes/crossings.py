"""Energies at which a spectrum crosses half of its edge step, or half of its white line."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.xanes.measuring import Found
from xanesum.xanes.normalization import EdgeRanges, flattening_operator, step_operator
from xanesum.xanes.peaks import Peaks, window_of
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["FlattenedRows", "HalfSteps", "HalfWhiteLines"]

ROWS = 256  # rows that are made together


@dataclass(frozen=True, slots=True, eq=False)
class FlattenedRows:
    """Rows of a matrix that flattens spectra, less one row, and others after them.

    At ten thousand energies the matrix would take hundreds of MB, so that rows are made where they are used.
    """

    energy_ev: NDArray[np.float64]  # (E,)
    ranges: EdgeRanges
    window: NDArray[np.intp]  # (W,), the energies at which the spectrum is flattened, increasing
    less: NDArray[np.float64]  # (E,), taken from each of these rows
    more: NDArray[np.float64]  # (J, E), rows after them

    @property
    def shape(self) -> tuple[int, int]:
        """W + J and E."""
        return len(self.window) + len(self.more), len(self.energy_ev)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the rows (n, E) of these indices (n,), which increase."""
        n_flattened = len(self.window)
        window = np.zeros(len(self.energy_ev), bool)
        window[self.window[rows[rows < n_flattened]]] = True
        made = flattening_operator(self.energy_ev, self.ranges, window) - self.less
        more = self.more[rows[rows >= n_flattened] - n_flattened]
        return np.vstack([made, more]) if len(more) else made

    def from_images(self, spectra: PixelSpectra) -> NDArray[np.float32]:
        """Return the matrix (K, W) that takes images to the flattened spectrum."""
        blocks = np.split(np.arange(len(self.window)), range(ROWS, len(self.window), ROWS))
        return np.ascontiguousarray(np.vstack([spectra.apply(self[rows]) for rows in blocks]).T)


@dataclass(frozen=True, slots=True, eq=False)
class HalfSteps:
    """The search for the last upward crossing of half of the step before the maximum, with given ranges."""

    energies: NDArray[np.float64]  # (W,), of the window between the lines, eV
    operator: FlattenedRows  # (W, E), from a spectrum to its flattened form less half of its step
    to_excess: NDArray[np.float32]  # (K, W), the same from the images

    @classmethod
    def of(cls, spectra: PixelSpectra, ranges: EdgeRanges) -> HalfSteps:
        """Return the search for some spectra.

        Raises
        ------
        EdgeError
            If there is no pre- or post-edge range, or no energy between them.
        """
        energy_ev = spectra.energy_ev
        window = np.flatnonzero(_between_lines(energy_ev, ranges))
        less, more = 0.5 * step_operator(energy_ev, ranges), np.zeros((0, len(energy_ev)))
        rows = FlattenedRows(energy_ev, ranges, window, less, more)
        return cls(energy_ev[window], rows, rows.from_images(spectra))

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return the crossings in the pixels of `images` (K, p)."""
        excess = images.T @ self.to_excess
        value, index, share, slope = _last_crossing(self.energies, excess, excess.argmax(axis=1))
        return Found(value, ((index, 1 - share), (index + 1, share)), slope)


@dataclass(frozen=True, slots=True, eq=False)
class HalfWhiteLines:
    """The search for the last upward crossing of half of the white line's height before its maximum.

    The height is that of the smoothed spectrum above the pre-edge line.  No post-edge line is needed.
    """

    energies: NDArray[np.float64]  # (W,), from the pre-edge range to the end of that of the white line, eV
    peaks: Peaks
    operator: FlattenedRows  # (W + J, E): the spectrum less its pre-edge line, and the same smoothed
    to_excess: NDArray[np.float32]  # (K, W)

    @classmethod
    def of(cls, spectra: PixelSpectra, ranges: EdgeRanges) -> HalfWhiteLines:
        """Return the search for some spectra.

        Raises
        ------
        EdgeError
            If there is no pre-edge range, or too few energies for a white line.
        """
        energy_ev = spectra.energy_ev
        if ranges.pre_ev is None:
            raise EdgeError(
                f"{_too_few(energy_ev, ranges, 'below the edge')} for half of the white line, which is "
                "measured from the pre-edge line; map the position of the white line instead",
                parameter="kind",
            )
        above_pre = replace(ranges, post_ev=None)
        peaks = Peaks.of(spectra, above_pre)
        window = np.flatnonzero((energy_ev >= ranges.pre_ev[1]) & (energy_ev <= peaks.places_ev[-1]))
        rows = FlattenedRows(energy_ev, above_pre, window, np.zeros(len(energy_ev)), peaks.values)
        return cls(energy_ev[window], peaks, rows, rows.from_images(spectra))

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return the crossings in the pixels of `images` (K, p)."""
        peak = self.peaks.find(images)
        above = images.T @ self.to_excess
        before = np.searchsorted(self.energies, peak.energy_ev) - 1  # NaN, which is no peak, sorts last
        excess = above - np.float32(0.5) * peak.height[:, None]
        value, index, share, slope = _last_crossing(self.energies, excess, before)
        value[~np.isfinite(peak.energy_ev)] = np.nan
        first = len(self.energies) + peak.index
        rows = (
            (index, 1 - share),
            (index + 1, share),
            (first, -0.5 * (1 - peak.share)),
            (first + 1, -0.5 * peak.share),
        )
        return Found(value, rows, slope)


def _last_crossing(
    energies: NDArray[np.float64], excess: NDArray[np.floating], top: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return the last upward crossing of 0 of each row of `excess` (p, W), before its top (p,).

    Returns
    -------
    energy_ev : ndarray, shape (p,)
        NaN where there is none.
    index, share : ndarray, shape (p,)
        The energy below it, and the part of the way to the next one, 0 to 1.
    slope : ndarray, shape (p,)
        Per eV.
    """
    is_above = excess >= 0
    rises = is_above[:, 1:] > is_above[:, :-1]
    rises &= np.arange(rises.shape[1]) < top[:, None]
    index = rises.shape[1] - 1 - np.argmax(rises[:, ::-1], axis=1)
    row = np.arange(len(index))
    low, high = excess[row, index].astype(np.float64), excess[row, index + 1].astype(np.float64)
    width = energies[index + 1] - energies[index]
    found = rises[row, index]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(found, -low / (high - low), 0.0)
        slope = (high - low) / width
    return np.where(found, energies[index] + width * share, np.nan), index, share, slope


def _between_lines(energy_ev: NDArray[np.float64], ranges: EdgeRanges) -> NDArray[np.bool_]:
    """Return which energies (E,) lie between the pre-edge and post-edge lines; raise if they are too few."""
    if ranges.pre_ev is None or ranges.post_ev is None:
        side = "below the edge" if ranges.pre_ev is None else "beyond the white line"
        raise EdgeError(
            f"{_too_few(energy_ev, ranges, side)} for a half-step energy; map the white line instead",
            parameter="kind",
        )
    window = window_of(energy_ev, ranges.pre_ev[1], ranges.post_ev[0])
    if np.count_nonzero(window) < 2:
        raise EdgeError(
            f"fewer than two energies between the pre-edge range, up to {ranges.pre_ev[1]:.1f} eV, and "
            f"the post-edge range, from {ranges.post_ev[0]:.1f} eV; no edge to map"
        )
    return window


def _too_few(energy_ev: NDArray[np.float64], ranges: EdgeRanges, side: str) -> str:
    return (
        f"too few energies {side} (edge at {ranges.e0_ev:.1f} eV, scan {energy_ev[0]:.1f} ... "
        f"{energy_ev[-1]:.1f} eV)"
    )
