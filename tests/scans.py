"""Small stacks with known truth, shared by the tests of the numerics."""

import numpy as np
from scipy.ndimage import gaussian_filter

from xanesum.stack import make_stack

SEED = 20210


def smooth_images(n_images, shape=(40, 50), seed=SEED, width=3.0):
    """Independent smooth images of unit variance."""
    rng = np.random.default_rng(seed)
    images = np.stack([gaussian_filter(rng.standard_normal(shape), width) for _ in range(n_images)])
    return images / images.std(axis=(1, 2), keepdims=True)


def low_rank(amplitudes=(20.0, 3.0, 0.8), n_energies=30, shape=(40, 50), seed=SEED):
    """(E, Y, X) float32 stack of exact rank, pixel amplitudes in units of the noise to come."""
    rng = np.random.default_rng(seed)
    images = smooth_images(len(amplitudes), shape, seed) * np.array(amplitudes)[:, None, None]
    spectra = np.linalg.qr(rng.standard_normal((n_energies, len(amplitudes)))).Q.T
    return np.tensordot(spectra, images, axes=(0, 0)).astype(np.float32)


def add_noise(clean, sigma, seed=SEED + 1):
    """The same with white noise."""
    noise = np.random.default_rng(seed).standard_normal(clean.shape, dtype=np.float32)
    return clean + np.float32(sigma) * noise


def edge_spectrum(energy_ev, half_step_ev, width=2.0):
    """A rounded step whose half is exactly at `half_step_ev`; no white line."""
    return 0.5 * (1 + np.tanh((energy_ev - half_step_ev) / width))


def edge_stack(half_step_ev, *, thickness=1.0, slope=0.0, n_energies=200):
    """Stack whose pixel (y, x) has its half step at half_step_ev[y, x], on a sloping pre-edge line."""
    energy = np.linspace(8240.0, 8500.0, n_energies)
    step = thickness * edge_spectrum(energy[:, None, None], np.asarray(half_step_ev)[None])
    line = 0.3 + slope * (energy - 8240.0)
    return make_stack((step + line[:, None, None]).astype(np.float32), energy)
