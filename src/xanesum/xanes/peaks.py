"""White lines: the maximum of a smoothed spectrum, with its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid

from xanesum.errors import EdgeError
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.measuring import Found, Rivals
from xanesum.xanes.normalization import EdgeRanges, Range, flattened
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = [
    "Peak",
    "PeakAreas",
    "PeakHeights",
    "PeakPositions",
    "Peaks",
    "limits_near",
    "places_of",
    "window_of",
]

WHITE_LINE_EV = (-5.0, 15.0)  # range, relative to e0, in which the white line is looked for
TOP_SHARE = 0.1  # the top of the line ends where the mean spectrum has fallen by this part of its height
TOP_EV = (0.25, 3.0)  # least and largest half width of the top
TOP_WIDTHS = 1.5  # half width of the window of a fit, in half widths of the top
PLACES = 4  # places of the fit in each half width of its window


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The highest maximum of the smoothed spectra of p pixels."""

    energy_ev: NDArray[np.float64]  # (p,), NaN where there is none, or the ends of the range are higher
    curvature: NDArray[np.float64]  # (p,), second derivative, unit of the stack per eV squared
    height: NDArray[np.float32]  # (p,), unit of the stack
    index: NDArray[np.intp]  # (p,), of the place below it
    share: NDArray[np.float64]  # (p,), part of the way to the next place, 0 to 1
    values: NDArray[np.float32]  # (p, J), at all places
    tops: NDArray[np.bool_]  # (p, J - 1), the places below all maxima


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The search for the highest maximum of smoothed spectra in a range of energies.

    A polynomial is fitted near each of J places.  A maximum is where its slope falls through zero, found by
    linear interpolation between two places.
    """

    places_ev: NDArray[np.float64]  # (J,)
    values: NDArray[np.float64]  # (J, E), from a spectrum to the smoothed spectrum
    slopes: NDArray[np.float64]  # (J, E), to its slopes, per eV
    to_values: NDArray[np.float32]  # (K, J), the same from the images
    to_slopes: NDArray[np.float32]  # (K, J)

    @property
    def half_width_ev(self) -> float:
        """Half width of the window in which a polynomial is fitted, about."""
        return PLACES * float(self.places_ev[1] - self.places_ev[0])

    @classmethod
    def of(cls, spectra: PixelSpectra, ranges: EdgeRanges) -> Peaks:
        """Return the search for white lines: maxima from 5 eV below e0 to 15 eV above.

        The spectrum is flattened, and a parabola is fitted near each place.  The window of the fit is about
        as wide as the top of the white line of the mean spectrum.  So a dense grid of energies averages more
        noise than a coarse one.

        Raises
        ------
        EdgeError
            If there are fewer than three energies in the range.
        """
        energy_ev = spectra.energy_ev
        low, high = limits_near(energy_ev, ranges.e0_ev, WHITE_LINE_EV, "white line")
        half_width = TOP_WIDTHS * _top_ev(energy_ev, spectra.mean_spectrum, ranges, (low, high))
        places = places_of(low, high, half_width)
        values, slopes = (
            flattened(fit, energy_ev, ranges) for fit in local_fits(energy_ev, places, half_width, 2)
        )
        return cls.with_rows(spectra, places, values, slopes)

    @classmethod
    def with_rows(
        cls,
        spectra: PixelSpectra,
        places_ev: NDArray[np.float64],
        values: NDArray[np.float64],
        slopes: NDArray[np.float64],
    ) -> Peaks:
        """Return the search for maxima of ``values @ spectrum``; both matrices (J, E)."""
        to_values, to_slopes = (np.ascontiguousarray(spectra.apply(each).T) for each in (values, slopes))
        return cls(places_ev, values, slopes, to_values, to_slopes)

    def find(self, images: NDArray[np.float32]) -> Peak:
        """Return the peaks of the pixels of `images` (K, p)."""
        values, slopes = images.T @ self.to_values, images.T @ self.to_slopes
        rises = slopes > 0
        tops = rises[:, :-1] > rises[:, 1:]
        heights = np.where(tops, values[:, :-1], np.float32(-np.inf))
        row = np.arange(images.shape[1])
        index = np.argmax(heights, axis=1)
        highest = heights[row, index]
        low, high = (slopes[row, index + i].astype(np.float64) for i in (0, 1))
        width = self.places_ev[index + 1] - self.places_ev[index]
        inside = np.isfinite(highest) & (highest >= np.maximum(values[:, 0], values[:, -1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(inside, low / (low - high), 0.0)
        position = np.where(inside, self.places_ev[index] + width * share, np.nan)
        bulge = (low - high) * width * share * (1 - share) / 2  # of the parabola over its chord
        top = (1 - share) * values[row, index] + share * values[row, index + 1] + bulge
        height = np.where(inside, top, values.max(axis=1)).astype(np.float32)
        return Peak(position, (high - low) / width, height, index, share, values, tops)


@dataclass(frozen=True, slots=True, eq=False)
class PeakPositions:
    """The energies of the maxima.

    At a maximum the slope is zero.  The error of the slope there, divided by the curvature, is that of the
    position.  Where other places are about as high, the true maximum may be there.
    """

    peaks: Peaks
    operator: NDArray[np.float64]  # (2 J, E): slopes and values

    @classmethod
    def of(cls, peaks: Peaks) -> PeakPositions:
        """Return the search for the positions of some peaks."""
        return cls(peaks, np.vstack([peaks.slopes, peaks.values]))

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return the positions in the pixels of `images` (K, p)."""
        peak, places = self.peaks.find(images), self.peaks.places_ev
        rows = ((peak.index, 1 - peak.share), (peak.index + 1, peak.share))
        away = (places - np.nan_to_num(peak.energy_ev)[:, None]).astype(np.float32)
        rivals = Rivals(
            len(places),
            peak.index,
            peak.height[:, None] - peak.values,
            away,
            self.peaks.half_width_ev,
        )
        return Found(peak.energy_ev, rows, peak.curvature, rivals)


@dataclass(frozen=True, slots=True, eq=False)
class PeakHeights:
    """The heights of the maxima, over the edge step if there is one."""

    peaks: Peaks
    operator: NDArray[np.float64]  # (J + 1, E): values, and the step or zeros
    to_step: NDArray[np.float32] | None  # (K,)

    @classmethod
    def of(cls, spectra: PixelSpectra, peaks: Peaks, step: NDArray[np.float64] | None) -> PeakHeights:
        """Return the search for heights over ``step @ spectrum``, or for heights alone; step (E,)."""
        below = np.zeros(len(spectra.energy_ev)) if step is None else step
        return cls(peaks, np.vstack([peaks.values, below]), None if step is None else spectra.apply(step))

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return the heights in the pixels of `images` (K, p); NaN without a maximum, if over the step."""
        peak = self.peaks.find(images)
        height, ones = peak.height.astype(np.float64), np.ones(len(peak.index))
        rows = ((peak.index, 1 - peak.share), (peak.index + 1, peak.share))
        if self.to_step is None:
            return Found(height, rows, ones)
        step = (self.to_step @ images).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(np.isfinite(peak.energy_ev), height, np.nan) / step
        last = np.full(len(ones), len(self.peaks.places_ev))
        return Found(ratio, (*rows, (last, -np.nan_to_num(ratio))), step)


@dataclass(frozen=True, slots=True, eq=False)
class PeakAreas:
    """The areas between the smoothed spectra and their steps, around the maxima, over the edge step.

    An area ends where the spectrum falls to the step, or at the end of the range.
    """

    peaks: Peaks
    operator: NDArray[np.float64]  # (J + 1, E): the integral of the spectrum up to each place; the step
    to_step: NDArray[np.float32]  # (K,)

    @classmethod
    def of(cls, spectra: PixelSpectra, peaks: Peaks, step: NDArray[np.float64]) -> PeakAreas:
        """Return the search for areas above ``step @ spectrum``; step (E,)."""
        integrals = cumulative_trapezoid(peaks.values, peaks.places_ev, axis=0, initial=0)
        return cls(peaks, np.vstack([integrals, step]), spectra.apply(step))

    def find(self, images: NDArray[np.float32]) -> Found:
        """Return the areas in eV in the pixels of `images` (K, p); NaN where no maximum is above the step."""
        peak, places = self.peaks.find(images), self.peaks.places_ev
        step = (self.to_step @ images).astype(np.float64)
        excess = (images.T @ self.peaks.to_values).astype(np.float64) - step[:, None]
        here, last = np.arange(len(places)), len(places) - 1
        row = np.arange(len(step))
        top = peak.index + (excess[row, peak.index] < 0)
        below = excess < 0
        start = last - np.argmax((below & (here < top[:, None]))[:, ::-1], axis=1)  # last place below it
        start = np.where(below[row, start] & (start < top), start, 0)
        end = np.argmax(below & (here > top[:, None]), axis=1)  # first place below it again
        end = np.where(below[row, end] & (end > top), end, last)
        first_share = _share_above(excess, row, start, start + 1)
        last_share = _share_above(excess, row, end, end - 1)
        width = np.diff(places)
        pieces = 0.5 * width * (excess[:, 1:] + excess[:, :-1])
        total = np.concatenate([np.zeros((len(step), 1)), np.cumsum(pieces, axis=1)], axis=1)
        inner, outer = start + (first_share < 1), end - (last_share < 1)
        area = total[row, outer] - total[row, inner]
        area += np.where(first_share < 1, 0.5 * first_share * width[start] * excess[row, start + 1], 0)
        area += np.where(last_share < 1, 0.5 * last_share * width[end - 1] * excess[row, end - 1], 0)
        length = places[end] - places[start] - (1 - first_share) * width[start]
        length -= (1 - last_share) * width[end - 1]
        is_peak = np.isfinite(peak.energy_ev) & ~below[row, np.minimum(top, last)]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(is_peak, area, np.nan) / step
        rows = (
            (end - 1, 1 - last_share),
            (end, last_share),
            (start, -first_share),
            (start + 1, first_share - 1),
            (np.full(len(step), last + 1), -np.nan_to_num(value) - length),
        )
        return Found(value, rows, step)


def _share_above(
    excess: NDArray[np.float64], row: NDArray[np.intp], low: NDArray[np.intp], high: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the part of the way from `high` to `low` that is above 0; 1 where `low` is above it."""
    below, above = excess[row, low], excess[row, high]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below < 0, np.clip(above / (above - below), 0, 1), 1.0)


def limits_near(
    energy_ev: NDArray[np.float64], e0_ev: float, around_ev: tuple[float, float], what: str
) -> tuple[float, float]:
    """Return the part in eV of a range around e0 that a scan of energies (E,) holds.

    Raises
    ------
    EdgeError
        If there are fewer than three energies in it.
    """
    low, high = max(energy_ev[0], e0_ev + around_ev[0]), min(energy_ev[-1], e0_ev + around_ev[1])
    if np.count_nonzero(window_of(energy_ev, low, high)) < 3:
        raise EdgeError(f"fewer than three energies near the edge at {e0_ev:.1f} eV; no {what} to map")
    return float(low), float(high)


def window_of(energy_ev: NDArray[np.float64], low_ev: float, high_ev: float) -> NDArray[np.bool_]:
    """Return which energies (E,) lie from `low_ev` to `high_ev`."""
    return (energy_ev >= low_ev) & (energy_ev <= high_ev)


def places_of(low_ev: float, high_ev: float, half_width_ev: float) -> NDArray[np.float64]:
    """Return evenly spaced energies, `PLACES` of them in each half width of a window."""
    return np.linspace(low_ev, high_ev, int(np.ceil((high_ev - low_ev) / half_width_ev * PLACES)) + 1)


def _top_ev(
    energy_ev: NDArray[np.float64], mean: NDArray[np.float64], ranges: EdgeRanges, within: Range
) -> float:
    """Return half the width in eV of the top of a spectrum (E,), flattened, in a range of energies."""
    low_ev, high_ev = within
    at = np.linspace(low_ev, high_ev, 1 + int((high_ev - low_ev) / TOP_EV[0]) * 2)
    values = flattened(local_fits(energy_ev, at, TOP_EV[0], 2)[0], energy_ev, ranges) @ mean
    top = int(np.argmax(values))
    level = values[top] - TOP_SHARE * (values[top] - values.min())
    below, above = np.flatnonzero(values[:top] < level), top + np.flatnonzero(values[top:] < level)
    ends = [
        at[top] - np.interp(level, values[below[-1] : below[-1] + 2], at[below[-1] : below[-1] + 2])
        if below.size
        else np.inf,
        np.interp(-level, -values[above[0] - 1 : above[0] + 1], at[above[0] - 1 : above[0] + 1]) - at[top]
        if above.size
        else np.inf,
    ]
    return float(np.clip(np.mean(ends) if np.isfinite(ends).all() else np.min(ends), *TOP_EV))
