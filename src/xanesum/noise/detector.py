"""The law of a camera's noise, from repeated exposures: variance against mean, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from xanesum.errors import SigmaError

__all__ = [
    "LAW_EXPOSURES",
    "Coords",
    "NoiseLaw",
    "law_coords",
    "log_of_counts",
    "photon_transfer",
    "variance_by_mean",
]

Interval = tuple[float, float]
N_BINS = 40  # of intensity
MIN_PER_BIN = 200  # differences; a variance from fewer says little
DRIFT_PX = 16.0  # illumination that changes over shorter distances counts as noise
OUTLYING = 5.0  # robust standard deviations from which on a difference is a bad pixel's or a cosmic ray's
GROSS = 25.0  # ... from the median of all exposures, in which a bright pixel has more noise than most
KNOWN = 0.1  # relative half-width of an interval up to which a value may be called known
MAD_TO_SIGMA = 0.6744897501960817
LAW_EXPOSURES, LAW_PX = 10, 512  # exposures, and pixels each way in their middle, that tell a scan's law

Coords = dict[str, tuple[tuple[str], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class NoiseLaw:
    """Variance of a count: ``gain * mean + read_variance``, the mean less what the camera adds in the dark.

    Without darks the offset is not known; the law is then one of counts as they are, and what stands for the
    read variance is smaller than it by gain times offset, which may make it negative.
    """

    gain: float  # counts for each detected photon
    gain_interval: Interval
    read_variance: float  # counts squared
    read_interval: Interval
    confidence: float  # of both intervals
    drift: float = 0.0  # relative rms change of the illumination between exposures, which was removed
    covariance: float = 0.0  # of the errors of gain and read variance
    misfit: float = 0.0  # relative rms by which variances differ from the line, beside their errors

    @property
    def read_variance_is_known(self) -> bool:
        """Whether the read variance is known to 10 %, or only its interval."""
        low, high = self.read_interval
        return bool(high - low <= 2 * KNOWN * abs(self.read_variance))

    def variance_interval(
        self, mean_counts: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper end of the variance of counts (any shape) of this mean.

        They cover the errors of gain and read variance, and what a line does not describe of the camera.
        """
        mean, expected = np.asarray(mean_counts, np.float64), self.variance(mean_counts)
        width = float(norm.isf((1 - self.confidence) / 2))
        gain, read = ((high - low) / (2 * width) for low, high in (self.gain_interval, self.read_interval))
        of_line = (gain * mean) ** 2 + read**2 + 2 * self.covariance * mean
        half = width * np.sqrt(np.maximum(of_line, 0) + (self.misfit * expected) ** 2)
        return expected - half, expected + half

    def variance(self, mean_counts: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the variance of counts (any shape) of this mean; never below that of a tenth of a photon."""
        expected = self.gain * np.asarray(mean_counts, np.float64) + self.read_variance
        return np.maximum(expected, 0.1 * self.gain**2)


def law_coords(
    exposures: NDArray[np.floating],
    darks: NDArray[np.floating] | None = None,
    *,
    repeats: ArrayLike = 1.0,
    seconds: ArrayLike = 1.0,
    n_energies: int,
) -> Coords:
    """Return the law of the values of a stack as coordinates, from repeated exposures that came with it.

    The law is ``variance = noise_gain * value + noise_read_variance``, of values that still have what the
    camera adds in the dark.  The middle of the first exposures tells it; where they give none, there are no
    coordinates.

    Parameters
    ----------
    exposures : ndarray, shape (N, Y, X)
        Counts of one scene, equally long.
    darks : ndarray, shape (M, Y, X), optional
        Exposures without light.
    repeats, seconds : float or array_like, shape (E,)
        The stack's values are means of so many exposures, divided by so many seconds.
    n_energies : int
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
    """Return the middle of the first exposures."""
    starts = [max(0, (size - LAW_PX) // 2) for size in exposures.shape[1:]]
    rows, columns = (slice(start, start + LAW_PX) for start in starts)
    return np.asarray(exposures[:LAW_EXPOSURES, rows, columns], np.float32)


def photon_transfer(
    exposures: NDArray[np.floating], *, darks: NDArray[np.floating] | None = None, confidence: float = 0.95
) -> NoiseLaw:
    """Fit the law of a camera's noise to repeated exposures of one scene.

    Each exposure is brought to the smooth illumination of their mean, which is subtracted; the differences
    within each block of 2 x 2 pixels are then free of what is smooth, and have the variance of a pixel.  It
    is compared with the mean of the block, in bins of intensity, by a weighted straight line (photon
    transfer, [1]_).

    Parameters
    ----------
    exposures : ndarray, shape (N, Y, X)
        Counts of at least two exposures, equally long.
    darks : ndarray, shape (M, Y, X), optional
        At least two exposures without light; their mean is taken off, and their variance is that of reading.
    confidence : float
        Of the intervals.

    Returns
    -------
    NoiseLaw

    Raises
    ------
    SigmaError
        If there are too few exposures or pixels, shapes differ, or the counts do not vary as counts do.

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
            "the variance of the exposures does not grow with their mean, so that they give no gain; "
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
    values = np.asarray(exposures, dtype=np.float32)
    if values.ndim != 3 or len(values) < 2 or min(values.shape[1:]) < 2:
        raise SigmaError(f"{name} must be at least two images (N, Y, X), got shape {values.shape}")
    if not np.isfinite(values).all(axis=0).any():
        raise SigmaError(f"{name}: no pixel is finite in all of them")
    return values


def variance_by_mean(
    counts: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Return mean, variance and its standard error in bins of intensity, and the drift that was removed."""
    counts = _without_gross_outliers(counts)
    mean = counts.mean(axis=0, dtype=np.float64).astype(np.float32)
    level = _block_means(mean).ravel()
    light = np.maximum(_smooth(mean), np.finfo(np.float32).tiny)
    ratios = [np.asarray(_smooth(each) / light, np.float32) for each in counts]
    details = np.stack([_details(_change(*pair, mean)) for pair in zip(counts, ratios, strict=True)])
    share = np.sqrt(len(counts) / (len(counts) - 1))  # the mean took some of the changes
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
    """Return exposures with NaN where one is farther from their median than any noise would take it."""
    change = counts - np.nan_to_num(np.median(counts, axis=0))
    each = np.nanmedian(np.abs(change), axis=(1, 2), keepdims=True)  # small where one is mostly the median
    size = np.maximum(each, np.median(each)) / MAD_TO_SIGMA
    return np.where(np.abs(change) <= GROSS * size, counts, np.float32(np.nan))


def _change(
    image: NDArray[np.float32], ratio: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return what differs from the mean but for the illumination, with the variance of mean illumination."""
    ratio = np.clip(ratio, 0.25, 4.0)
    return (image / ratio - mean) * np.sqrt(ratio)


def _smooth(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the illumination of an image, without its noise; pixels that are not finite have no say."""
    good = np.isfinite(image)
    sums = gaussian_filter(np.where(good, image, 0), DRIFT_PX, mode="nearest")
    return np.asarray(
        sums / np.maximum(gaussian_filter(good.astype(np.float32), DRIFT_PX, mode="nearest"), 1e-6)
    )


def _details(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the three differences (3, n) within each block of 2 x 2 pixels; their variance is a pixel's."""
    ny, nx = (size // 2 * 2 for size in image.shape)
    a, b, c, d = (image[y:ny:2, x:nx:2].astype(np.float64).ravel() for y in (0, 1) for x in (0, 1))
    return np.stack([a - b - c + d, a + b - c - d, a - b + c - d]) / 2


def _dark_details(darks: NDArray[np.float32]) -> NDArray[np.float64]:
    mean = darks.mean(axis=0, dtype=np.float64).astype(np.float32)
    share = np.sqrt(len(darks) / (len(darks) - 1))
    return np.concatenate([share * _details(each - mean).ravel() for each in darks])


def _block_means(image: NDArray[np.floating]) -> NDArray[np.float64]:
    ny, nx = (size // 2 * 2 for size in image.shape)
    return np.asarray(image[:ny, :nx].reshape(ny // 2, 2, nx // 2, 2).mean(axis=(1, 3), dtype=np.float64))


def _variance(details: NDArray[np.float64]) -> tuple[float, float]:
    """Return the variance of differences without outliers, and its standard error."""
    robust = float(np.median(np.abs(details))) / MAD_TO_SIGMA
    kept = details[np.abs(details) <= OUTLYING * robust] if robust > 0 else details
    squares = kept**2
    error = squares.std(ddof=1) / np.sqrt(len(kept)) if len(kept) > 1 else np.inf
    return float(squares.mean()), float(error)


def _line(
    mean: NDArray[np.float64], variance: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Return slope and intercept of a weighted line, and the covariance (2, 2) of their errors.

    Errors grow with the scatter about the line where that is larger than the errors say.
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
    """Return the relative rms of what differs from the expected beyond its errors."""
    beyond = float(np.mean((variance - expected) ** 2 / expected**2) - np.mean((error / expected) ** 2))
    return float(np.sqrt(max(beyond, 0.0)))


def log_of_counts(
    counts: NDArray[np.float64], linear_below: float, linear: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the logarithm of counts, and where `linear` holds the line that touches it at `linear_below`."""
    logarithms = np.log(counts, out=np.empty(counts.shape), where=~linear)
    if linear.any():
        logarithms[linear] = np.log(linear_below) + counts[linear] / linear_below - 1
    return logarithms
