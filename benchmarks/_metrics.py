"""How close to the truth: PSNR of frames and spectra, correlation and error of maps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "frame_psnr",
    "map_correlation",
    "map_rmse_ev",
    "psnr_of",
    "spectrum_psnr",
]

PEAK = 255.0
CAP_DB = 100.0


def frame_psnr(
    estimate: Iterable[NDArray[np.floating]], truth: Iterable[NDArray[np.floating]], *, peak: float = PEAK
) -> float:
    """Return the mean over energies of each frame's peak signal-to-noise ratio in dB, capped at 100 dB each.

    Parameters
    ----------
    estimate, truth : array or iterable of (Y, X) arrays
        Stacks of one shape; frames are taken one at a time.
    peak : float
        The value that counts as full signal.
    """
    return float(np.mean([psnr_of(_mean_square(e, t), peak) for e, t in zip(estimate, truth, strict=True)]))


def spectrum_psnr(
    estimate: Iterable[NDArray[np.floating]], truth: Iterable[NDArray[np.floating]], *, peak: float = PEAK
) -> float:
    """Return the mean over pixels of each spectrum's PSNR in dB, capped at 100 dB each; see `frame_psnr`."""
    total: NDArray[np.float64] = np.zeros(())
    n_frames = 0
    for e, t in zip(estimate, truth, strict=True):
        total = total + (np.asarray(e, np.float64) - t) ** 2
        n_frames += 1
    return float(np.mean(psnr_of(total / n_frames, peak)))


def map_correlation(
    estimate: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_]
) -> float:
    """Return Pearson's correlation of two maps within `mask`; 0 where either is constant.

    Pixels for which the estimate is NaN carry no information: they take the mean of the others.
    """
    known = np.where(np.isfinite(estimate), estimate, np.nan)[mask].astype(np.float64)
    if not np.any(np.isfinite(known)):
        return 0.0
    known = np.where(np.isnan(known), np.nanmean(known), known)
    reference = truth[mask].astype(np.float64)
    if np.ptp(known) == 0 or np.ptp(reference) == 0:
        return 0.0
    return float(np.corrcoef(known, reference)[0, 1])


def map_rmse_ev(
    estimate: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_]
) -> float:
    """Return the root mean square error in eV of a map within `mask`; NaN takes the mean."""
    known = np.where(np.isfinite(estimate), estimate, np.nan)[mask].astype(np.float64)
    if not np.any(np.isfinite(known)):
        return float("nan")
    known = np.where(np.isnan(known), np.nanmean(known), known)
    return float(np.sqrt(np.mean((known - truth[mask]) ** 2)))


def _mean_square(estimate: NDArray[np.floating], truth: NDArray[np.floating]) -> np.float64:
    return np.float64(np.mean((np.asarray(estimate, np.float64) - truth) ** 2))


def psnr_of(mean_square: NDArray[np.float64] | np.float64, peak: float = PEAK) -> NDArray[np.float64]:
    """Return the PSNR in dB of mean squared errors, capped at 100 dB each."""
    floor = peak**2 * 10 ** (-CAP_DB / 10)
    return np.asarray(10 * np.log10(peak**2 / np.maximum(mean_square, floor)))
