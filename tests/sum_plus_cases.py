"""Scans with weak components, and problems made of them, for the tests of `sum+`."""

from dataclasses import replace

import numpy as np
from scans import add_noise, edge_spectrum, smooth_images
from scipy.ndimage import gaussian_filter

from xanesum.denoisers import get_denoiser
from xanesum.linalg.subspace import reconstruct
from xanesum.method.problem import Problem
from xanesum.stack import make_stack

WAVELET = get_denoiser("wavelet")


def fresh(seed=0):
    return np.random.default_rng(seed)


def smooth(images, mask):
    return np.stack([gaussian_filter(image, 1.5) for image in images])


def lopsided(images, mask):
    """A denoiser that does not treat mirror images alike."""
    return 0.8 * smooth(images, mask) + 0.2 * np.roll(smooth(images, mask), (1, 2), axis=(1, 2))


def wavelet(images, mask):
    return WAVELET.denoise(images, 1.0, mask=mask)


def energies(n):
    return np.linspace(8300.0, 8400.0, n)


def problem_of(values, denoise=smooth, **options):
    mask = np.ones(values.shape[1:], bool)
    return Problem.with_one_level(
        values,
        energies(len(values)),
        mask=mask,
        sigma=1.0,
        denoise_at=lambda images, sigma, mask: denoise(images, mask),
        rng=fresh(),
        **options,
    )


def changed(problem, **fields):
    """The problem with another mask or noise of its one level."""
    return problem.on_one_level(replace(problem.coarse, **fields))


def stack_of(values, mask=None):
    stack = make_stack(values, energies(len(values)))
    return stack if mask is None else stack.assign_coords(mask=(("y", "x"), mask))


def edge_and_shift(strong, weak, n_energies=40, shape=(40, 48)):
    """Images (2, Y, X), orthonormal spectra (2, E) of an edge and of its shift, and their stack."""
    energy = energies(n_energies)
    shift = edge_spectrum(energy, 8342.0) - edge_spectrum(energy, 8338.0)
    spectra = np.linalg.qr(np.stack([0.3 + edge_spectrum(energy, 8340.0), shift]).T).Q.T
    images = smooth_images(2, shape, seed=3, width=8.0) * np.array([strong, weak])[:, None, None]
    return images, spectra, np.tensordot(spectra, images, axes=(0, 0)).astype(np.float32)


def likeness(images, wanted):
    """Greatest correlation of any image with `wanted`."""
    return max((abs(np.corrcoef(image.ravel(), wanted.ravel())[0, 1]) for image in images), default=0.0)


def clean_of(fit):
    return reconstruct(fit.spectra[: fit.rank], fit.images[: fit.rank])


WITH_A_WEAK_ONE = add_noise(edge_and_shift(20.0, 0.6)[2], 1.0, 2)
