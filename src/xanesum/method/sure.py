"""Unbiased estimates of risk by Stein's formula: of the rank, of single images, and of their pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import SigmaError
from xanesum.method.bands import apart, pyramid
from xanesum.method.options import DEFAULT_PROBES

__all__ = [
    "PROBE_STEP",
    "Blend",
    "Divergence",
    "ImageMap",
    "RankRisk",
    "Response",
    "band_products",
    "blend_by_risk",
    "choose_rank",
    "image_response",
    "monte_carlo_divergence",
    "random_signs",
    "rank_risk",
    "stack_sum_of_squares",
    "step_length",
]

# Length of a probe in units of sigma.  Rounding of float32 is smaller up to a contrast of 100, and the
# response of a denoiser is still linear.
PROBE_STEP = 0.05
TURN = 0.15  # sine of the angle by which noise is turned into a probe; rounding is small compared with it
SUM_ROUNDING = 1e-10  # relative error of a sum of squares over some hundred thousand values of float32
ImageMap = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Divergence:
    """Monte-Carlo estimate of the trace of a Jacobian."""

    value: float
    standard_error: float  # of `value`, from the scatter between probes; NaN for a single probe


def monte_carlo_divergence(
    function: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    values: NDArray[np.floating],
    *,
    sigma: float,
    rng: np.random.Generator,
    n_probes: int = DEFAULT_PROBES,
    step: float = PROBE_STEP,
) -> Divergence:
    """Estimate the divergence of any function from random probes, as in [1]_.

    Parameters
    ----------
    function : callable
        Takes and returns an array of the shape of `values`; called ``n_probes + 1`` times.
    values : ndarray
        Where the divergence is wanted.
    sigma : float
        Noise level of `values`, the unit of `step`.
    rng : numpy.random.Generator
        Draws the probes, +1 or -1 at each element.
    n_probes : int
        Probes; the standard error falls with the root of their number.
    step : float
        Length of a probe in units of sigma.

    References
    ----------
    .. [1] S. Ramani, T. Blu, M. Unser, "Monte-Carlo SURE", IEEE Trans. Image Process. 17 (2008) 1540-1554.
    """
    length = step_length(sigma, step)
    base = function(values)
    found = []
    for _ in range(n_probes):
        probe = random_signs(values.shape, rng).astype(values.dtype, copy=False)  # NumPy 1 lets arrays decide
        change = function(values + values.dtype.type(length) * probe) - base
        found.append(float(np.vdot(probe, change.astype(np.float64))) / length)
    return _summary(np.array(found))


@dataclass(frozen=True, slots=True, eq=False)
class RankRisk:
    """Estimated mean squared error for each number of components tried."""

    ranks: NDArray[np.int64]  # (R,), 0, 1, 2, ...
    risk: NDArray[np.float64]  # (R,), mean squared error per value, squared unit of the stack
    standard_error: NDArray[np.float64]  # (R,), of `risk`, from the scatter between probes
    difference_error: NDArray[np.float64]  # (R,), of ``risk - risk[best]``
    divergence: NDArray[np.float64]  # (R,), of the whole map

    @property
    def chosen(self) -> int:
        """The smallest number of components whose risk cannot be told from the least."""
        return choose_rank(self.risk, self.difference_error)

    def anchored(self, rank: int, risk: float) -> RankRisk:
        """Return the same with a risk that is known at one number of components; differences stay.

        The mean square of the residual less that of the noise is small against both, so that an error of
        sigma of a thousandth may be larger than the risk.  The risks of the images do not have it.
        """
        return replace(self, risk=self.risk + (risk - self.risk[rank]))


def choose_rank(risk: NDArray[np.float64], difference_error: NDArray[np.float64]) -> int:
    """Return the first index of `risk` (R,) within the `difference_error` (R,) of the least: ties go low.

    The first risk, of keeping nothing, follows from the stack's sum of squares; its rounding is allowed for.
    """
    rounding = SUM_ROUNDING * abs(risk[0])
    return int(np.flatnonzero(risk <= risk.min() + difference_error + rounding)[0])


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Weights of the noisy and of the denoised image with the least estimated error, image by image."""

    noisy: NDArray[np.float64]  # (K,), weight of the noisy image, 0 ... 1
    denoised: NDArray[np.float64]  # (K,), weight of the denoised image, 0 ... 1; both sum to at most 1
    risk: NDArray[np.float64]  # (K,), estimated mean squared error of the blend
    divergence: NDArray[np.float64]  # (n_probes, K), trace of the blend's Jacobian, by each probe

    def apply(self, noisy: NDArray[np.float32], denoised: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the blended images (K, Y, X)."""
        a, b = (w[:, None, None].astype(np.float32) for w in (self.noisy, self.denoised))
        return np.asarray(a * noisy + b * denoised, np.float32)


class Response(NamedTuple):
    """The response of denoised images to random signs, scaled to noise of standard deviation 1."""

    divergence: NDArray[np.float64]  # (n_probes, K), trace of the Jacobian, by each probe
    own: NDArray[np.float32]  # (K, Y, X), change times the pixel's sign; its mean is the Jacobian's diagonal
    square: NDArray[np.float32]  # (K, Y, X), squared change; its mean is the variance of the denoised pixel
    # the same two by bands of detail, from fine to coarse, summed over pixels, means over the probes:
    band_divergence: NDArray[np.float64]  # (B, K)
    band_square: NDArray[np.float64]  # (B, K)
    counts: NDArray[np.float64]  # (B,), sum of squares of noise of standard deviation 1 in each band

    @classmethod
    def mean(cls, responses: Sequence[Response]) -> Response:
        """Return the response with the probes of all, each of which has as many."""
        divergence, own, square, *bands = zip(*responses, strict=True)
        n = np.float32(len(responses))
        of_pixels = (sum(each[1:], each[0]) / n for each in (own, square))
        return cls(np.concatenate(divergence), *of_pixels, *(np.mean(each, axis=0) for each in bands))

    @classmethod
    def empty(cls, n_probes: int, shape: tuple[int, ...]) -> Response:
        """Return the response of no image of a shape (Y, X)."""
        none, bands = np.zeros((0, *shape), np.float32), np.zeros((1, 0))
        return cls(np.zeros((n_probes, 0)), none, none, bands, bands, np.full(1, float(shape[0] * shape[1])))


def image_response(
    noisy: NDArray[np.float32],
    denoised: NDArray[np.float32],
    denoise: ImageMap,
    sigma: float,
    *,
    rng: np.random.Generator,
    mask: NDArray[np.bool_] | None = None,
    n_probes: int = DEFAULT_PROBES,
    turn: float = TURN,
    rounding: float | NDArray[np.float64] = 0.0,
    probes: NDArray[np.float32] | None = None,
) -> Response:
    """Probe the denoiser's Jacobian for each image, without changing the level of its noise.

    The probe replaces a share of the noise: the image moves by ``s probe - (1 - c) (noisy - denoised)`` with
    the sine s and cosine c of an angle.  By Stein's lemma the product of probe and change is s times the
    trace of the Jacobian on average.  decisions/0009 in the documentation says why a probe is not added.

    Parameters
    ----------
    noisy, denoised : ndarray of float32, shape (K, Y, X)
        Images with white noise, and the same images after `denoise`.
    denoise : callable
        Takes and returns images (K, Y, X), each on its own.  Called `n_probes` times.
    sigma : float
        Noise level of the images; SigmaError unless it is positive.
    rng : numpy.random.Generator
        Draws the probes.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; the others are 0.
    n_probes : int
        Probes per image.
    turn : float
        Sine of the angle, 0 to 1.
    rounding : float or ndarray, shape (K,)
        Rms rounding error of the denoiser in units of sigma.  Its share in the squared change is subtracted.
    probes : ndarray of float32, shape (n_probes, K, Y, X), optional
        Noise like that of the images, of standard deviation 1, for noise that is not white; random signs by
        default.
    """
    length = np.float32(step_length(sigma, turn))
    keep = np.ones(noisy.shape[1:], bool) if mask is None else mask
    n_pixels = max(int(np.count_nonzero(keep)), 1)
    less_noise = (noisy - denoised) * (keep * np.float32(1 - np.sqrt(1 - turn**2)))
    rounded_off = 2 * (np.broadcast_to(rounding, len(noisy)) * sigma) ** 2
    spread = rounded_off.astype(np.float32)[:, None, None] * keep
    divergence = np.zeros((n_probes, len(noisy)))
    own, square = np.zeros_like(noisy), np.zeros_like(noisy)
    by_band, counts = band_products(own, own, keep)
    of_squares, power_of_noise = by_band.copy(), np.zeros_like(counts)
    for p in range(n_probes):
        probe = (random_signs(noisy.shape, rng) if probes is None else probes[p]) * keep
        move = np.asarray(length * probe - less_noise, np.float32)
        change = np.where(keep, denoise(noisy + move) - denoised, 0)
        along = probe * change / length
        divergence[p] = np.sum(along, axis=(1, 2), dtype=np.float64)
        own += along / np.float32(n_probes)
        power = _mean_square(move, n_pixels)
        square += (change**2 - spread) / (np.float32(n_probes) * power)
        by_band += band_products(probe, change, keep)[0] / (length * n_probes)
        rounded = counts[:, None] * rounded_off
        of_squares += (band_products(change, change, keep)[0] - rounded) / (n_probes * power[:, 0, 0])
        if probes is not None:  # how much noise is in each band
            power_of_noise += band_products(probe, probe, keep)[0].mean(axis=1) / n_probes
    return Response(
        divergence, own, square, by_band, of_squares, counts if probes is None else power_of_noise
    )


def band_products(
    first: NDArray[np.float32], second: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the inner products (B, K) of two sets of images, band by band, and the numbers in a band (B,).

    Their sum over the bands is the inner product of the images; see `xanesum.method.bands`.
    """
    products, counts = [], []
    weights = mask.astype(np.float32)
    for (ours, count), (theirs, _) in zip(pyramid(first, weights), pyramid(second, weights), strict=True):
        products.append(np.sum(ours * theirs, axis=(1, 2), dtype=np.float64))
        counts.append(float(count))
    return apart(np.array(products)), apart(np.array(counts))


def blend_by_risk(
    noisy: NDArray[np.float32],
    denoised: NDArray[np.float32],
    divergence: NDArray[np.float64],
    sigma: float,
    *,
    mask: NDArray[np.bool_] | None = None,
    weigh: bool = True,
) -> Blend:
    """Mix nothing, the noisy and the denoised image for the least estimated risk (SURE-LET, [1]_).

    The three weights are not negative and sum to 1.  The mixture has two free numbers against thousands of
    pixels, so that its risk estimate stays unbiased in practice.  In expectation no image becomes worse than
    the best of the three.

    Parameters
    ----------
    noisy, denoised : ndarray of float32, shape (K, Y, X)
        Images with white noise, and the same images after a denoiser.
    divergence : ndarray, shape (n_probes, K)
        Of the denoiser, from `image_response`.
    sigma : float
        Noise level of the images.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    weigh : bool
        False takes the denoised image alone, and only estimates its risk.

    References
    ----------
    .. [1] T. Blu, F. Luisier, "The SURE-LET approach to image denoising", IEEE Trans. Image Process. 16
       (2007) 2778-2786.
    """
    keep = np.ones(noisy.shape[1:], bool) if mask is None else mask
    n_pixels = int(keep.sum())
    mean_divergence = divergence.mean(axis=0)
    a, b, risk = np.zeros((3, len(noisy)))
    for k, (before, after) in enumerate(zip(noisy[:, keep], denoised[:, keep], strict=True)):
        pair = np.stack([before, after]).astype(np.float64)
        products = pair @ pair.T / n_pixels
        costs = sigma**2 * np.array([1.0, mean_divergence[k] / n_pixels])
        a[k], b[k] = _best_weights(products, products[0] - costs) if weigh else (0.0, 1.0)
        risk[k] = _blend_risk(products, costs, sigma, np.array([a[k], b[k]]))
    return Blend(a, b, risk, a * n_pixels + b * divergence)


def _best_weights(products: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimize ``w @ products @ w - 2 * target @ w`` over weights (2,) that are >= 0 and sum to at most 1."""
    corner = np.eye(2)
    candidates: list[NDArray[np.float64]] = []
    for start, end in ((0 * corner[0], corner[0]), (0 * corner[0], corner[1]), (corner[0], corner[1])):
        along = end - start
        curvature = along @ products @ along
        share = along @ (target - products @ start) / curvature if curvature > 0 else 0.0
        candidates.append(start + min(max(float(share), 0.0), 1.0) * along)
    free = np.asarray(np.linalg.lstsq(products, target, rcond=1e-12)[0], np.float64)
    if (free >= 0).all() and free.sum() <= 1:
        candidates.append(free)
    return min(candidates, key=lambda w: float(w @ products @ w - 2 * target @ w))


def _blend_risk(
    products: NDArray[np.float64], costs: NDArray[np.float64], sigma: float, weights: NDArray[np.float64]
) -> float:
    """Return Stein's estimate of the mean squared error of a blend with `weights` (2,)."""
    error = weights - np.array([1.0, 0.0])
    return float(error @ products @ error - sigma**2 + 2 * costs @ weights)


def rank_risk(
    sum_of_squares: float,
    noisy: NDArray[np.float32],
    misfit: NDArray[np.float64],
    divergence: NDArray[np.float64],
    *,
    sigma: float,
    keep: NDArray[np.bool_],
    n_energies: int,
) -> RankRisk:
    """Return the risk of keeping the first 0 ... K components: Stein's formula, summed over components.

    Parameters
    ----------
    sum_of_squares : float
        Of the stack's usable values.
    noisy : ndarray of float32, shape (K, Y, X)
        Coefficient images.
    misfit : ndarray, shape (K,)
        Sum of squares of the change by denoising, of each image.
    divergence : ndarray, shape (n_probes, K)
        Part of each component in the divergence of the whole map, by each probe.
    sigma : float
        Noise level.
    keep : ndarray of bool, shape (Y, X)
        Pixels that count.
    n_energies : int
        Frames of the stack.
    """
    n_values = n_energies * int(keep.sum())
    captured = np.sum(noisy[:, keep].astype(np.float64) ** 2, axis=1)
    residual = sum_of_squares - np.r_[0, np.cumsum(captured - misfit)]
    total = np.pad(np.cumsum(divergence, axis=1), ((0, 0), (1, 0)))
    risk = residual / n_values - sigma**2 + 2 * sigma**2 * total.mean(axis=0) / n_values
    difference = total - total[:, [int(np.argmin(risk))]]
    return RankRisk(
        ranks=np.arange(len(risk)),
        risk=risk,
        standard_error=2 * sigma**2 / n_values * _standard_error(total),
        difference_error=2 * sigma**2 / n_values * _standard_error(difference),
        divergence=total.mean(axis=0),
    )


def stack_sum_of_squares(stack: NDArray[np.float32], keep: NDArray[np.bool_]) -> float:
    """Sum of squares of the usable values, in float64."""
    return float(sum(np.sum(np.square(frame, dtype=np.float64), where=keep) for frame in stack))


def _mean_square(images: NDArray[np.float32], n_pixels: int) -> NDArray[np.float32]:
    """Return the sum of squares of each image (K, Y, X) over a number of pixels, (K, 1, 1)."""
    total = np.sum(np.square(images, dtype=np.float64), axis=(1, 2), keepdims=True)
    return np.asarray(total / n_pixels, np.float32)


def random_signs(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return +1 or -1 at random in each place."""
    return (2 * rng.integers(0, 2, shape, dtype=np.int8) - 1).astype(np.float32)


def step_length(sigma: float, step: float) -> float:
    """Return the length of a probe of `step` sigmas; raise SigmaError for an impossible sigma."""
    if not (np.isfinite(sigma) and sigma > 0):
        raise SigmaError(f"a risk estimate needs a positive sigma, got {sigma}")
    return step * sigma


def _standard_error(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of the mean over the first axis."""
    if len(samples) < 2:
        return np.zeros(samples.shape[1:])
    return np.asarray(samples.std(axis=0, ddof=1) / np.sqrt(len(samples)))


def _summary(found: NDArray[np.float64]) -> Divergence:
    error = float(_standard_error(found)) if len(found) > 1 else float("nan")
    return Divergence(float(found.mean()), error)
