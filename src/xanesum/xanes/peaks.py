"""White lines: the maximum of a smoothed spectrum, with its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.normalization import EdgeRanges, Range, flattened
from xanesum.xanes.pixel_spectra import PixelSpectra, WeightedRow

__all__ = ["Peak", "Peaks", "white_line_errors"]

WHITE_LINE_EV = (-5.0, 15.0)  # range, relative to e0, in which the white line is looked for
TOP_SHARE = 0.1  # the top of the line ends where the mean spectrum has fallen by this part of its height
TOP_EV = (0.25, 3.0)  # least and largest half width of the top
TOP_WIDTHS = 1.5  # half width of the window of a fit, in half widths of the top
PLACES = 4  # places of the fit in each half width of its window
COMPETE_SIGMAS = 1.96  # a second maximum competes if its height is not lower by this many standard errors


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The highest maximum of the smoothed spectra of p pixels, and the second highest one."""

    energy_ev: NDArray[np.float64]  # (p,), NaN where there is none, or the ends of the range are higher
    curvature: NDArray[np.float64]  # (p,), second derivative, unit of the stack per eV squared
    height: NDArray[np.float32]  # (p,), unit of the stack
    index: NDArray[np.int64]  # (p,), of the place below it
    share: NDArray[np.float64]  # (p,), part of the way to the next place, 0 to 1
    second: NDArray[np.int64]  # (p,), the place of the second maximum ...
    lower_by: NDArray[np.float32]  # (p,), ... and how much lower it is; not finite where there is none


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The search for white lines with given ranges.

    A parabola is fitted near each of J places, 5 eV below e0 to 15 eV above.  Its slope in the middle is the
    slope of the smoothed spectrum.  A maximum is where this slope falls through zero, found by linear
    interpolation between two places.  The window of the fit is about as wide as the top of the white line of
    the mean spectrum.  So a dense grid of energies averages more noise than a coarse one.
    """

    places_ev: NDArray[np.float64]  # (J,)
    values: NDArray[np.float64]  # (J, E), from a spectrum to the smoothed flattened spectrum
    slopes: NDArray[np.float64]  # (J, E), to its slopes, per eV
    to_values: NDArray[np.float32]  # (J, K), the same from the images
    to_slopes: NDArray[np.float32]  # (J, K)

    @classmethod
    def of(cls, spectra: PixelSpectra, ranges: EdgeRanges) -> Peaks:
        """Return the search for some spectra.

        Raises
        ------
        EdgeError
            If there are fewer than three energies in the range.
        """
        energy_ev = spectra.energy_ev
        low = max(energy_ev[0], ranges.e0_ev + WHITE_LINE_EV[0])
        high = min(energy_ev[-1], ranges.e0_ev + WHITE_LINE_EV[1])
        if np.count_nonzero((energy_ev >= low) & (energy_ev <= high)) < 3:
            raise EdgeError(
                f"fewer than three energies near the edge at {ranges.e0_ev:.1f} eV; no white line to map"
            )
        half_width = TOP_WIDTHS * _top_ev(energy_ev, spectra.mean_spectrum, ranges, (low, high))
        places = np.linspace(low, high, int(np.ceil((high - low) / half_width * PLACES)) + 1)
        values, slopes = (
            flattened(fit, energy_ev, ranges) for fit in local_fits(energy_ev, places, half_width, 2)
        )
        return cls(places, values, slopes, spectra.apply(values), spectra.apply(slopes))

    def find(self, images: NDArray[np.float32]) -> Peak:
        """Return the peaks of the pixels of `images` (K, p)."""
        values, slopes = self.to_values @ images, self.to_slopes @ images
        tops = (slopes[:-1] > 0) & (slopes[1:] <= 0)
        heights = np.where(tops, values[:-1], -np.inf)
        column = np.arange(images.shape[1])
        index = np.argmax(heights, axis=0)
        highest = heights[index, column]
        second, lower_by = index, np.full(len(column), np.inf, np.float32)
        if (tops.sum(axis=0) > 1).any():
            heights[index, column] = -np.inf
            second = np.argmax(heights, axis=0)
            with np.errstate(invalid="ignore"):  # infinity less infinity, where there is no maximum at all
                lower_by = highest - heights[second, column]
        low, high = (slopes[index + i, column].astype(np.float64) for i in (0, 1))
        width = self.places_ev[index + 1] - self.places_ev[index]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = low / (low - high)
        inside = np.isfinite(highest) & (highest >= np.maximum(values[0], values[-1]))
        position = np.where(inside, self.places_ev[index] + width * share, np.nan)
        height = np.where(inside, highest, values.max(axis=0))
        return Peak(position, (high - low) / width, height, index, share, second, lower_by)

    def height_errors(self, spectra: PixelSpectra, peak: Peak, pixels: slice) -> NDArray[np.float64]:
        """Return the standard error of the height of the peaks of some pixels, (p,)."""
        return spectra.error_of_pairs(self.values, _between(peak), pixels)

    def distance_to_second(self, spectra: PixelSpectra, peak: Peak, pixels: slice) -> NDArray[np.float64]:
        """Return the distance in eV to a second maximum that may be the higher one; 0 where there is none."""
        distance = np.zeros(len(peak.index))
        if np.isfinite(peak.lower_by).any():
            ones = np.ones(len(peak.index))
            rows = ((peak.index, ones), (peak.second, -ones))
            competes = peak.lower_by < COMPETE_SIGMAS * spectra.error_of_pairs(self.values, rows, pixels)
            away = np.abs(self.places_ev[peak.second] - self.places_ev[peak.index])
            distance[competes] = away[competes]
        return distance


def white_line_errors(
    spectra: PixelSpectra, peaks: Peaks, peak: Peak, pixels: slice
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the standard error of the white line's position in eV, and the exposure gain, of some pixels.

    At the maximum the slope of the smoothed spectrum is zero.  The standard error of the slope there, divided
    by the curvature, is that of the position.  Where a second maximum is about as high, within the error of
    the difference of both, the true maximum may be that one.  Its distance is then added to the error, in
    quadrature.

    Parameters
    ----------
    spectra : PixelSpectra
    peaks : Peaks
    peak : Peak
        Of these pixels.
    pixels : slice
        The p pixels that are meant.

    Returns
    -------
    error_ev, exposure_gain : ndarray, shape (p,)
        Both NaN for a stack, whose errors are not known.
    """
    error = spectra.error_of_pairs(peaks.slopes, _between(peak), pixels)
    gain = spectra.gain_of_pairs(error, peaks.slopes, _between(peak), pixels)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_noise = error / np.abs(peak.curvature)
    return np.hypot(of_noise, peaks.distance_to_second(spectra, peak, pixels)), gain


def _between(peak: Peak) -> tuple[WeightedRow, WeightedRow]:
    """Return the weights of the two places between which the slope is zero."""
    share = np.where(np.isfinite(peak.energy_ev), peak.share, 0.0)
    return (peak.index, 1 - share), (peak.index + 1, share)


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
