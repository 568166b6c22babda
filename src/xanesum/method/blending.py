"""Images of known spectra, denoised and weighed by their risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xanesum.linalg.subspace import project
from xanesum.method.evidence import noise_rows
from xanesum.method.problem import AnyLevel, Problem, View
from xanesum.method.sure import Blend, Response, band_products, blend_by_risk, image_response

__all__ = ["blended_images", "with_broad_noise"]

BROAD_BAND = 2  # band of detail, of 4 to 8 pixels, whose noise a denoiser is told


def blended_images(
    problem: Problem,
    level: AnyLevel,
    spectra: NDArray[np.float64],
    noisy: NDArray[np.float32],
    *,
    n_probes: int,
    views: Sequence[View],
    weigh: bool,
) -> tuple[Blend, NDArray[np.float32], Response]:
    """Return weights of least risk for images (K, Y, X) of spectra, the images mixed by them, the response.

    The denoised image is the mean over `views`.  The probes are shared out among the views.
    """
    if not len(noisy):
        none, no_probe = np.zeros(0), np.zeros((n_probes, 0))
        return Blend(none, none, none, no_probe), noisy, Response.empty(n_probes, noisy.shape[1:])
    rounding = 0.0 if problem.rounding is None else problem.rounding(noisy, level.sigma)
    denoised, responses = np.zeros_like(noisy), []
    for n, view in enumerate(views):
        seen = problem.denoise_mirrored(noisy, level, view)
        denoised += seen / np.float32(len(views))
        if n >= n_probes:
            continue
        found = image_response(
            noisy,
            seen,
            partial(problem.denoise_mirrored, level=level, view=view),
            level.sigma,
            rng=problem.rng,
            mask=level.mask,
            n_probes=max(1, n_probes // len(views)),
            rounding=rounding,
            probes=_own_noise(problem, level, spectra, max(1, n_probes // len(views))),
        )
        responses.append(found)
    response = Response.mean(responses)
    blend = blend_by_risk(noisy, denoised, response.divergence, level.sigma, mask=level.mask, weigh=weigh)
    return blend, blend.apply(noisy, denoised), response


def with_broad_noise(problem: Problem, spectra: NDArray[np.float64]) -> Problem:
    """Return the problem with the noise of broad detail measured, where the noise of neighbours is alike.

    A denoiser for white noise would take such noise for detail, so it is told the noise of broad detail.
    """
    coarse, full = problem.coarse, problem.full
    images = _noise_images(coarse, noise_rows(spectra, problem.rng))
    if len(images):
        products, counts = band_products(images, images, coarse.mask)
        band = min(BROAD_BAND, len(counts) - 1)
        power = float(products[band].mean() / max(counts[band], 1.0))
        coarse = replace(coarse, breadth=max(1.0, float(np.sqrt(power))))
    if problem.scale == 1:
        return problem.on_one_level(coarse)
    return replace(problem, coarse=coarse, full=replace(full, breadth=max(1.0, coarse.sigma / full.sigma)))


def _noise_images(level: AnyLevel, rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the images (N, Y, X) of spectra beside those of the sample, in units of their noise."""
    images = project(rows, level.stack) * level.mask / (level.noise_of(rows) * np.float32(level.sigma))
    return np.asarray(images, np.float32)


def _own_noise(
    problem: Problem, level: AnyLevel, spectra: NDArray[np.float64], n_probes: int
) -> NDArray[np.float32] | None:
    """Return images (n_probes, K, Y, X) of the level's noise; None where it is white or energies are few.

    They are the images along random spectra beside those of the sample, in units of their noise.
    """
    n_wanted = n_probes * len(spectra)
    if level.breadth == 1 or spectra.shape[1] - len(spectra) < n_wanted:
        return None
    images = _noise_images(level, noise_rows(spectra, problem.rng, n_wanted))
    return images.reshape(n_probes, len(spectra), *images.shape[1:])
