"""How many spectra of the model tell most of a frame from the others, and small fields."""

import numpy as np
import pytest
from scipy import ndimage, stats

from xanesum import estimate_shifts, make_stack
from xanesum.align import stages
from xanesum.align.estimate import _Scan
from xanesum.align.evidence import _beyond_chemistry

ENERGY = np.linspace(8300.0, 8400.0, 30)
SHAPE = (60, 72)
SIGMA = 0.05


def images(n, seed=3):
    """Images of spots, (n, Y, X)."""
    rng = np.random.default_rng(seed)
    return np.stack([ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2.5) * 8 for _ in range(n)])


def edge(e0):
    return 0.3 + 1 / (1 + np.exp(-(ENERGY - e0) / 2))


def n_telling(clean, most=3):
    noise = SIGMA * np.random.default_rng(5).standard_normal(clean.shape)
    scan = _Scan.of(make_stack((clean + noise).astype(np.float32), ENERGY), None, "none")
    scan.state.vague[:] = False
    scan.state.own_covariance[:] = np.eye(2) * 1e-4
    return stages.n_telling(scan.levels[1], scan.levels[1], scan.state, most)


def test_two_species_take_two_spectra():
    first, second = images(2)
    clean = edge(8340)[:, None, None] * first + edge(8356)[:, None, None] * second

    n, left = n_telling(clean)

    assert n == 2
    assert left == pytest.approx(1 + 2 / len(ENERGY), abs=0.03)  # and the noise of the model


def test_what_single_frames_show_takes_no_spectrum():
    first, odd = images(2)
    clean = edge(8340)[:, None, None] * first
    clean[14] += odd
    clean[20] -= odd[::-1]

    assert n_telling(clean)[0] == 1


def test_what_follows_the_energy_as_chemistry_does_is_no_evidence_of_motion():
    rng = np.random.default_rng(8)
    spectra = np.stack([edge(8340), edge(8356) - edge(8340)])
    variance = np.broadcast_to(np.eye(2) * 0.02**2, (len(ENERGY), 2, 2))
    noise = 0.02 * rng.standard_normal((len(ENERGY), 2))
    chemistry = (spectra[1] / spectra[0])[:, None] * [0.5, -0.3]
    motion = 0.1 * rng.standard_normal((len(ENERGY), 2))

    left, n_free = _beyond_chemistry(noise + chemistry, variance, spectra)
    moving, _ = _beyond_chemistry(noise + chemistry + motion, variance, spectra)

    assert n_free == 2 * len(ENERGY) - 4
    assert left < stats.chi2.isf(0.01, n_free)
    assert moving > 5 * stats.chi2.isf(0.01, n_free)


def test_a_field_of_few_pixels_is_no_error():
    energy = np.r_[np.arange(8300, 8330, 3.0), np.arange(8330, 8358, 0.75), np.arange(8358, 8421, 5.0)]
    y, x = np.mgrid[:18, :26]
    inside = ((y - 9) / 7.8) ** 2 + ((x - 13) / 11.3) ** 2 < 1
    thickness = 0.8 * inside * (1 + 0.3 * np.cos(y / 2.5))

    def spectrum(e0):
        return 0.55 + np.arctan((energy - e0) / 1.5) / np.pi + 0.5 * np.exp(-(((energy - e0 - 4) / 2.8) ** 2))

    halves = np.where(x < 13, spectrum(8340)[:, None, None], spectrum(8343)[:, None, None])
    noise = 0.015 * np.random.default_rng(2).standard_normal(halves.shape)

    shifts = estimate_shifts(make_stack((thickness * halves + noise).astype(np.float32), energy))

    assert np.isfinite(shifts.shifts_px).all()
    assert not shifts.moves


def test_texture_of_single_pixels_is_a_sample():
    rng = np.random.default_rng(12)  # seems to be noise within each frame
    texture = 1 + 0.6 * rng.standard_normal((80, 92))
    moves = rng.integers(-4, 5, (len(ENERGY), 2))
    frames = [texture[10 - dy : 70 - dy, 10 - dx : 82 - dx] for dy, dx in moves]
    clean = edge(8340)[:, None, None] * np.array(frames)

    found = estimate_shifts(
        make_stack((clean + 0.5 * rng.standard_normal(clean.shape)).astype(np.float32), ENERGY)
    )

    error = found.shifts_px - moves
    late = ENERGY > 8350
    assert found.moves
    assert np.abs(error[late] - error[late].mean(axis=0)).max() < 0.2
