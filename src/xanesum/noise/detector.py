"""Law of a camera's noise from repeated exposures: variance as a function of the mean, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from xanesum.errors import SigmaError
from xanesum.linalg.binning import block_means
from xanesum.noise.level import MEDIAN_OF_NORMAL, median_sigma

__all__ = [
    "LAW_EXPOSURES",
    "LEAST_PHOTONS",
    "Coords",
    "NoiseLaw",
    "law_coords",
    "log_of_counts",
    "photon_transfer",
    "variance_by_mean",
]

Interval = tuple[float, float]
N_BINS = 40  # bins of intensity
MIN_PER_BIN = 200  # differences in a bin; a variance from fewer is too uncertain
DRIFT_PX = 16.0  # pixels; illumination that changes over shorter distances counts as noise
OUTLYING = 5.0  # robust standard deviations; a larger difference is a bad pixel or a cosmic ray
GROSS = 25.0  # the same for the deviation from the median exposure, where noise grows with brightness
KNOWN = 0.1  # relative half-width of an interval; with a smaller one a value counts as known
LEAST_PHOTONS = 0.1  # photons; a variance is never taken below that of so few
LAW_EXPOSURES = 10  # exposures of a scan, at most, from which its law is measured ...
LAW_PX = 512  # ... and pixels along the side of the part in their middle that is used

Coords = dict[str, tuple[tuple[str], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class NoiseLaw:
    """Variance of a count: ``gain * mean + read_variance``, where the mean is without the camera's offset.

    Without darks the offset is not known, and the mean includes it.  The value of `read_variance` is then too
    small by gain times offset, and may be negative.
    """

    gain: float  # counts per detected photon
    gain_interval: Interval
    read_variance: float  # counts squared
    read_interval: Interval
    confidence: float  # of both intervals, between 0 and 1
    drift: float = 0.0  # relative rms change of the illumination between exposures, which was removed
    covariance: float = 0.0  # of the errors of gain and read variance
    misfit: float = 0.0  # relative rms deviation of the variances from the line, without their errors

    @property
    def read_variance_is_known(self) -> bool:
        """Whether the read variance is known to 10 %; otherwise only its interval says something."""
        low, high = self.read_interval
        return bool(high - low <= 2 * KNOWN * abs(self.read_variance))

    def variance_interval(
        self, mean_counts: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper end of the variance of counts (any shape) of this mean.

        They include the errors of gain and read variance, and the deviation of the camera from a line.
        """
        mean, expected = np.asarray(mean_counts, np.float64), self.variance(mean_counts)
        width = float(norm.isf((1 - self.confidence) / 2))
        gain, read = ((high - low) / (2 * width) for low, high in (self.gain_interval, self.read_interval))
        of_line = (gain * mean) ** 2 + read**2 + 2 * self.covariance * mean
        half = width * np.sqrt(np.maximum(of_line, 0) + (self.misfit * expected) ** 2)
        return expected - half, expected + half

    def variance(self, mean_counts: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the variance of counts (any shape) of this mean; never below that of 0.1 photons."""
        expected = self.gain * np.asarray(mean_counts, np.float64) + self.read_variance
        return np.maximum(expected, LEAST_PHOTONS * self.gain**2)


def law_coords(
    exposures: NDArray[np.floating],
    darks: NDArray[np.floating] | None = None,
    *,
    repeats: ArrayLike = 1.0,
    seconds: ArrayLike = 1.0,
    n_energies: int,
) -> Coords:
    """Return the noise law of a stack's values as coordinates, from repeated exposures that came with it.

    The law is ``variance = noise_gain * value + noise_read_variance``, for values that include the offset of
    the camera.  It is measured in the middle of the first exposures.  Where they do not give it, there are no
    coordinates.

    Parameters
    ----------
    exposures : ndarray, shape (N, Y, X)
        Counts of one scene, with equal exposure times.
    darks : ndarray, shape (M, Y, X), optional
        Exposures without light.
    repeats, seconds : float or array_like, shape (E,)
        Each value of the stack is the mean of `repeats` exposures, divided by `seconds`.
    n_energies : int
        Number of energies E of the stack.
    """
    darks = None if darks is None or len(darks) < 2 else _middle(darks)
    try:
        law = photon_transfer(_middle(exposures), darks=darks)
    except SigmaError:
        return {}
    pedestal = 0.0 if darks is None else float(np.nanmedian(darks))
    seconds = np.asarray(seconds, float)
    share = np.broadcast_to(1 / (np.asarray(repeats, float) * seconds), n_energies)
    read_variance = (law.read_variance - law.gain * pedestal) * share / seconds
    return {
        "noise_gain": (("energy",), law.gain * share),
        "noise_read_variance": (("energy",), read_variance),
    }


def _middle(exposures: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the middle part of the first exposures."""
    starts = [max(0, (size - LAW_PX) // 2) for size in exposures.shape[1:]]
    rows, columns = (slice(start, start + LAW_PX) for start in starts)
    return np.asarray(exposures[:LAW_EXPOSURES, rows, columns], np.float32)


def photon_transfer(
    exposures: NDArray[np.floating], *, darks: NDArray[np.floating] | None = None, confidence: float = 0.95
) -> NoiseLaw:
    """Fit the law of a camera's noise to repeated exposures of one scene.

    Each exposure is scaled to the smooth illumination of the mean exposure, and the mean is subtracted.  The
    differences within each block of 2 x 2 pixels are then free of smooth changes, and have the variance of a
    pixel.  This variance is taken in bins of intensity, and a weighted straight line is fitted to it as a
    function of the mean intensity (photon transfer, [1]_).

    Parameters
    ----------
    exposures : ndarray, shape (N, Y, X)
        Counts of at least two exposures, with equal exposure times.
    darks : ndarray, shape (M, Y, X), optional
        At least two exposures without light.  Their mean is subtracted; their variance is the read variance.
    confidence : float
        Confidence of the intervals, between 0 and 1.

    Returns
    -------
    NoiseLaw

    Raises
    ------
    SigmaError
        If there are too few exposures or pixels, if shapes differ, or if the variance does not grow with the
        mean.

    References
    ----------
    .. [1] J. R. Janesick, "Photon Transfer", SPIE Press (2007).
    """
    exposures = _checked(exposures, "exposures")
    darks = None if darks is None else _checked(darks, "darks")
    if darks is not None and darks.shape[1:] != exposures.shape[1:]:
        raise SigmaError(f"darks have shape {darks.shape[1:]}, exposures {exposures.shape[1:]}")
    counts = exposures if darks is None else exposures - darks.mean(axis=0)
    mean, variance, error, drift = variance_by_mean(counts)
    if darks is not None:
        at_zero, dark_error = _variance(_dark_details(darks))
        mean, variance, error = np.r_[mean, 0], np.r_[variance, at_zero], np.r_[error, dark_error]
    (gain, read), covariance = _line(mean, variance, error)
    gain_error, read_error = np.sqrt(np.diag(covariance))
    if not gain > 0:
        raise SigmaError(
            "the variance of the exposures does not grow with their mean, so the gain cannot be found; "
            "give exposures of different strength, or darks"
        )
    width = float(norm.isf((1 - confidence) / 2))
    return NoiseLaw(
        gain,
        (gain - width * gain_error, gain + width * gain_error),
        read,
        (read - width * read_error, read + width * read_error),
        confidence,
        drift,
        float(covariance[0, 1]),
        _misfit(variance, gain * mean + read, error),
    )


def _checked(exposures: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    """Return exposures as float32, or raise SigmaError if they cannot be used."""
    values = np.asarray(exposures, dtype=np.float32)
    if values.ndim != 3 or len(values) < 2 or min(values.shape[1:]) < 2:
        raise SigmaError(f"{name} must be at least two images (N, Y, X), got shape {values.shape}")
    if not np.isfinite(values).all(axis=0).any():
        raise SigmaError(f"{name}: no pixel is finite in all of them")
    return values


def variance_by_mean(
    counts: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Return mean, variance and its standard error, in bins of intensity, and the drift that was removed."""
    counts = _without_gross_outliers(counts)
    mean = counts.mean(axis=0, dtype=np.float64).astype(np.float32)
    level = block_means(mean, 2, dtype=np.float64).ravel()
    light = np.maximum(_smooth(mean), np.finfo(np.float32).tiny)
    ratios = [np.asarray(_smooth(each) / light, np.float32) for each in counts]
    details = np.stack([_details(_change(*pair, mean)) for pair in zip(counts, ratios, strict=True)])
    share = np.sqrt(len(counts) / (len(counts) - 1))  # the subtracted mean holds a part of each change
    drift = float(share * np.sqrt(np.mean([np.mean((ratio - 1) ** 2) for ratio in ratios])))
    details *= share
    order = np.argsort(level, kind="stable")[: np.count_nonzero(np.isfinite(level))]
    found = []
    for bin_ in np.array_split(order, max(2, min(N_BINS, details.size // MIN_PER_BIN))):
        values = details[..., bin_].ravel()
        values = values[np.isfinite(values)]
        if len(values) >= 2:
            found.append((float(level[bin_].mean()), *_variance(values)))
    if len(found) < 2:
        raise SigmaError("too few finite pixels for a noise law")
    means, variances, errors = np.array(found).T
    return means, variances, errors, drift


def _without_gross_outliers(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the exposures, with NaN where one is too far from their median for any noise."""
    change = counts - np.nan_to_num(np.median(counts, axis=0))
    each = np.nanmedian(
        np.abs(change), axis=(1, 2), keepdims=True
    )  # 0 for an exposure that is itself the median
    size = np.maximum(each, np.median(each)) / MEDIAN_OF_NORMAL
    return np.where(np.abs(change) <= GROSS * size, counts, np.float32(np.nan))


def _change(
    image: NDArray[np.float32], ratio: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the difference from the mean at equal illumination, with the variance at mean illumination."""
    ratio = np.clip(ratio, 0.25, 4.0)
    return (image / ratio - mean) * np.sqrt(ratio)


def _smooth(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smooth illumination of an image; pixels that are not finite have weight 0."""
    good = np.isfinite(image)
    sums = gaussian_filter(np.where(good, image, 0), DRIFT_PX, mode="nearest")
    return np.asarray(
        sums / np.maximum(gaussian_filter(good.astype(np.float32), DRIFT_PX, mode="nearest"), 1e-6)
    )


def _details(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return three differences (3, n) within each block of 2 x 2 pixels, of the variance of a pixel."""
    ny, nx = (size // 2 * 2 for size in image.shape)
    a, b, c, d = (image[y:ny:2, x:nx:2].astype(np.float64).ravel() for y in (0, 1) for x in (0, 1))
    return np.stack([a - b - c + d, a + b - c - d, a - b + c - d]) / 2


def _dark_details(darks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the differences within blocks of 2 x 2 pixels of darks (M, Y, X) less their mean."""
    mean = darks.mean(axis=0, dtype=np.float64).astype(np.float32)
    share = np.sqrt(len(darks) / (len(darks) - 1))
    return np.concatenate([share * _details(each - mean).ravel() for each in darks])


def _variance(details: NDArray[np.float64]) -> tuple[float, float]:
    """Return the variance of differences without outliers, and its standard error."""
    robust = median_sigma(details)
    kept = details[np.abs(details) <= OUTLYING * robust] if robust > 0 else details
    squares = kept**2
    error = squares.std(ddof=1) / np.sqrt(len(kept)) if len(kept) > 1 else np.inf
    return float(squares.mean()), float(error)


def _line(
    mean: NDArray[np.float64], variance: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Return slope and intercept of a weighted line, and the covariance (2, 2) of their errors.

    Where the points scatter more around the line than their errors, the errors are increased to fit.
    """
    error = np.maximum(error, 1e-6 * np.maximum(variance.max(), np.finfo(np.float32).tiny))
    design = np.column_stack([mean, np.ones_like(mean)]) / error[:, None]
    target = variance / error
    solution, _, _, _ = np.linalg.lstsq(design, target, rcond=None)
    covariance = np.linalg.pinv(design.T @ design)
    n_free = len(mean) - 2
    scatter = np.sum((target - design @ solution) ** 2) / n_free if n_free > 0 else 1.0
    grown = np.asarray(covariance * max(1.0, float(scatter)), np.float64)
    return (float(solution[0]), float(solution[1])), grown


def _misfit(
    variance: NDArray[np.float64], expected: NDArray[np.float64], error: NDArray[np.float64]
) -> float:
    """Return the relative rms deviation of the variances from the expected ones, without their errors."""
    beyond = float(np.mean((variance - expected) ** 2 / expected**2) - np.mean((error / expected) ** 2))
    return float(np.sqrt(max(beyond, 0.0)))


def log_of_counts(
    counts: NDArray[np.float64], half_photon: float, linear_below: float, linear: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the logarithm of counts plus half a photon; where `linear` holds, its tangent at `linear_below`.

    The mean of the logarithm of n photons is too small by 1 / (2 n), that of n + 1/2 only by a term in
    1 / n**2.  The bias would change with the thickness of the sample, and look like one more component.
    """
    logarithms = np.log(counts + half_photon, out=np.empty(counts.shape), where=~linear)
    if linear.any():
        least = linear_below + half_photon
        logarithms[linear] = np.log(least) + (counts[linear] - linear_below) / least
    return logarithms
