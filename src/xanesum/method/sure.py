"""Unbiased risk of the whole map from noisy stack to clean stack, basis included; choice of the rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xanesum.errors import SigmaError

__all__ = [
    "PROBE_STEP",
    "Blend",
    "Divergence",
    "ImageMap",
    "RankRisk",
    "Response",
    "_signs",
    "_step_length",
    "blend_by_risk",
    "choose_rank",
    "image_response",
    "local_risk",
    "monte_carlo_divergence",
    "rank_risk",
    "stack_energy",
]

PROBE_STEP = (
    0.05  # in units of sigma: above float32 rounding at contrast 100, below the scale of a shrinkage curve
)
TURN = 0.15  # sine of the angle by which noise is turned into a probe; rounding counts little beside that
ENERGY_ROUNDING = 1e-10  # float32's 6e-8, of a sum over some hundred thousand values
REGION_PX = 1.5  # standard deviation of the weights with which a pixel's risk is averaged over neighbours ...
REGION_PROBES = 4  # ... for so many probes; fewer know as much of a larger region
ImageMap = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Divergence:
    """Monte-Carlo estimate of the trace of a Jacobian."""

    value: float
    standard_error: float  # of `value`, from the scatter between probes; NaN for a single probe

    @property
    def relative_error(self) -> float:
        """Standard error over value."""
        return self.standard_error / abs(self.value) if self.value else float("inf")


def monte_carlo_divergence(
    function: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    values: NDArray[np.floating],
    *,
    sigma: float,
    rng: np.random.Generator,
    n_probes: int = 4,
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
    length = _step_length(sigma, step)
    base = function(values)
    found = []
    for _ in range(n_probes):
        probe = _signs(values.shape, rng)
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
    def least(self) -> int:
        """The number of components with the least risk, whatever its error."""
        return int(self.ranks[np.argmin(self.risk)])

    @property
    def chosen(self) -> int:
        """The smallest number of components whose risk cannot be told from the least."""
        return choose_rank(self.risk, self.difference_error)


def choose_rank(risk: NDArray[np.float64], difference_error: NDArray[np.float64]) -> int:
    """Return the first index of `risk` (R,) within the `difference_error` (R,) of the least: ties go low.

    The first risk, that of nothing, is the energy of the stack, and float32 images know it no better than so.
    """
    rounding = ENERGY_ROUNDING * abs(risk[0])
    return int(np.flatnonzero(risk <= risk.min() + difference_error + rounding)[0])


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Weights of the noisy and the denoised image that have the least estimated error, image by image."""

    noisy: NDArray[np.float64]  # (K,), weight of the image as it was, 0 ... 1
    denoised: NDArray[np.float64]  # (K,), weight of the denoised image, 0 ... 1; the rest is nothing
    risk: NDArray[np.float64]  # (K,), estimated mean squared error of the blend
    risk_denoised: NDArray[np.float64]  # (K,), ... of the denoised image alone
    standard_error: NDArray[np.float64]  # (K,), of both, from the scatter between probes
    divergence: NDArray[np.float64]  # (n_probes, K), trace of the blend's Jacobian, by each probe

    def apply(self, noisy: NDArray[np.float32], denoised: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the blended images (K, Y, X)."""
        a, b = (w[:, None, None].astype(np.float32) for w in (self.noisy, self.denoised))
        return np.asarray(a * noisy + b * denoised, np.float32)


class Response(NamedTuple):
    """How denoised images answer to noise: their change by random signs, as if noise of 1 had caused it."""

    divergence: NDArray[np.float64]  # (n_probes, K), trace of the Jacobian, by each probe
    own: NDArray[np.float32]  # (K, Y, X), change times the pixel's sign: the Jacobian's diagonal, on average
    square: NDArray[np.float32]  # (K, Y, X), squared change: the variance that noise of 1 causes, on average

    @classmethod
    def mean(cls, responses: Sequence[Response]) -> Response:
        """Return the response with the probes of all, each of which has as many."""
        divergence, own, square = zip(*responses, strict=True)
        n = np.float32(len(responses))
        return cls(np.concatenate(divergence), sum(own[1:], own[0]) / n, sum(square[1:], square[0]) / n)


def image_response(
    noisy: NDArray[np.float32],
    denoised: NDArray[np.float32],
    denoise: ImageMap,
    sigma: float,
    *,
    rng: np.random.Generator,
    mask: NDArray[np.bool_] | None = None,
    n_probes: int = 4,
    turn: float = TURN,
    rounding: float | NDArray[np.float64] = 0.0,
) -> Response:
    """Probe the denoiser's Jacobian for each image, with as much noise as the denoiser was told of.

    A probe that is added to an image has to be short, as in `monte_carlo_divergence`: one of 0.25 sigma adds
    3 % to the noise, of which a denoiser that was not told lets several times as much through.  Here the
    probe takes the place of a share of the noise: with the sine s and cosine c of an angle the image moves by
    ``s probe - (1 - c) (noisy - denoised)``, and its noise remains what it was.  By Stein's lemma the probe
    times the change of the denoised image is then s times the trace of the Jacobian on average, whatever the
    angle, as far as sums of some probes are normally distributed: for a threshold on single pixels it would
    be 5 % less.

    Parameters
    ----------
    noisy, denoised : ndarray of float32, shape (K, Y, X)
        Images with white noise, and the same after `denoise`.
    denoise : callable
        Takes and returns images (K, Y, X), each treated on its own; called `n_probes` times.
    sigma : float
        Noise level of the images.
    rng : numpy.random.Generator
        Draws the probes.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; 0 elsewhere.
    n_probes : int
        Probes per image.
    turn : float
        Sine of the angle, 0 to 1.
    rounding : float or ndarray, shape (K,)
        Rms error in units of sigma that the denoiser rounds by.  Both images that a change is the difference
        of have it, at random, and what that adds to the squared change is taken off again.

    Raises
    ------
    SigmaError
        If `sigma` is not positive.
    """
    length = np.float32(_step_length(sigma, turn))
    keep = np.ones(noisy.shape[1:], bool) if mask is None else mask
    n_pixels = max(int(np.count_nonzero(keep)), 1)
    less_noise = (noisy - denoised) * (keep * np.float32(1 - np.sqrt(1 - turn**2)))
    rounded_off = 2 * (np.broadcast_to(rounding, len(noisy)) * sigma) ** 2
    spread = rounded_off.astype(np.float32)[:, None, None] * keep
    divergence = np.zeros((n_probes, len(noisy)))
    own, square = np.zeros_like(noisy), np.zeros_like(noisy)
    for p in range(n_probes):
        probe = _signs(noisy.shape, rng) * keep
        move = np.asarray(length * probe - less_noise, np.float32)
        change = np.where(keep, denoise(noisy + move) - denoised, 0)
        along = probe * change / length
        divergence[p] = np.sum(along, axis=(1, 2), dtype=np.float64)
        own += along / np.float32(n_probes)
        square += (change**2 - spread) / (np.float32(n_probes) * _mean_square(move, n_pixels))
    return Response(divergence, own, square)


def local_risk(
    blend: Blend, response: Response, sigma: float, *, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the mean squared error to expect in each pixel of blended images, shape (K, Y, X).

    The variance that noise causes in a pixel follows from the denoiser's response to the probes, averaged
    over neighbours.  It is where an image has detail that the denoiser keeps noise and also errs most
    otherwise, so that all of it is scaled up where the blend's risk is greater than its mean; where the
    estimated risk is less, as it can be by chance, the variance holds.

    Parameters
    ----------
    blend : Blend
    response : Response
        Of the denoiser, that the blend was made with.
    sigma : float
        Noise level of the images.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count; 0 elsewhere.
    """
    keep = np.ones(response.own.shape[1:], bool) if mask is None else mask
    region = REGION_PX * np.sqrt(max(1.0, REGION_PROBES / len(response.divergence)))
    share = np.maximum(gaussian_filter(keep.astype(np.float32), region), np.float32(1e-6))
    a, b = (w[:, None, None].astype(np.float32) for w in (blend.noisy, blend.denoised))
    gain = np.where(keep, a**2 + 2 * a * b * response.own + b**2 * response.square, np.float32(0))
    expected = np.zeros_like(response.own)
    for out, image, risk in zip(expected, gain, blend.risk, strict=True):
        variance = sigma**2 * np.maximum(gaussian_filter(image, region), 0) / share
        mean = float(variance[keep].mean())
        out[keep] = (variance * max(1.0, float(risk) / mean if mean > 0 else 1.0))[keep]
    return expected


def blend_by_risk(
    noisy: NDArray[np.float32],
    denoised: NDArray[np.float32],
    divergence: NDArray[np.float64],
    sigma: float,
    *,
    mask: NDArray[np.bool_] | None = None,
    weigh: bool = True,
) -> Blend:
    """Mix nothing, the noisy and the denoised image so that the estimated risk is least (SURE-LET, [1]_).

    The three weights are not negative and sum to 1.  The mixture has two free numbers against thousands of
    pixels, so that its own risk estimate stays honest; in expectation no image becomes worse than the best of
    the three.

    Parameters
    ----------
    noisy, denoised : ndarray of float32, shape (K, Y, X)
        Images with white noise, and the same after a denoiser.
    divergence : ndarray, shape (n_probes, K)
        Of the denoiser, from `image_response`.
    sigma : float
        Noise level of the images.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    weigh : bool
        False takes the denoised image as it is, and only estimates its risk.

    References
    ----------
    .. [1] T. Blu, F. Luisier, "The SURE-LET approach to image denoising", IEEE Trans. Image Process. 16
       (2007) 2778-2786.
    """
    keep = np.ones(noisy.shape[1:], bool) if mask is None else mask
    n_pixels = int(keep.sum())
    mean_divergence = divergence.mean(axis=0)
    a, b, risk, alone = np.zeros((4, len(noisy)))
    for k, (before, after) in enumerate(zip(noisy[:, keep], denoised[:, keep], strict=True)):
        pair = np.stack([before, after]).astype(np.float64)
        products = pair @ pair.T / n_pixels
        costs = sigma**2 * np.array([1.0, mean_divergence[k] / n_pixels])
        a[k], b[k] = _best_weights(products, products[0] - costs) if weigh else (0.0, 1.0)
        estimate = partial(_blend_risk, products, costs, sigma)
        risk[k], alone[k] = estimate(np.array([a[k], b[k]])), estimate(np.array([0.0, 1.0]))
    error = 2 * sigma**2 / n_pixels * _standard_error(divergence)
    return Blend(a, b, risk, alone, error, a * n_pixels + b * divergence)


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
    energy: float,
    noisy: NDArray[np.float32],
    misfit: NDArray[np.float64],
    divergence: NDArray[np.float64],
    sigma: float,
    keep: NDArray[np.bool_],
    n_energies: int,
) -> RankRisk:
    """Return the risk of keeping the first 0 ... K components: Stein's formula, each one's terms added up.

    Parameters
    ----------
    energy : float
        Sum of squares of the stack's usable values.
    noisy : ndarray of float32, shape (K, Y, X)
        Coefficient images.
    misfit : ndarray, shape (K,)
        Sum of squares of what denoising changed in each.
    divergence : ndarray, shape (n_probes, K)
        What each component adds to the divergence of the whole map, by each probe.
    sigma : float
        Noise level.
    keep : ndarray of bool, shape (Y, X)
        Pixels that count.
    n_energies : int
        Frames of the stack.
    """
    n_values = n_energies * int(keep.sum())
    captured = np.sum(noisy[:, keep].astype(np.float64) ** 2, axis=1)
    residual = energy - np.r_[0, np.cumsum(captured - misfit)]
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


def stack_energy(stack: NDArray[np.float32], keep: NDArray[np.bool_]) -> float:
    """Sum of squares of the usable values, in float64."""
    return float(sum(np.sum(np.square(frame, dtype=np.float64), where=keep) for frame in stack))


def _mean_square(images: NDArray[np.float32], n_pixels: int) -> NDArray[np.float32]:
    """Return the sum of squares of each image (K, Y, X) over a number of pixels, (K, 1, 1)."""
    total = np.sum(np.square(images, dtype=np.float64), axis=(1, 2), keepdims=True)
    return np.asarray(total / n_pixels, np.float32)


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    return (2 * rng.integers(0, 2, shape, dtype=np.int8) - 1).astype(np.float32)


def _step_length(sigma: float, step: float) -> float:
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
