"""Drift without empty pixels: removed where it is random, left and told where it may be the sample."""

import numpy as np
import pytest
from scans import smooth_images

from xanesum.flat_field.estimate import estimate_drift, remove_smooth, smooth_fields
from xanesum.flat_field.fields import orders_of
from xanesum.flat_field.frames import SmoothPart
from xanesum.flat_field.prior import fit_prior, free_of_sample, is_restless_above
from xanesum.linalg.subspace import fit_basis

SHAPE, SIGMA = (60, 80), 0.02
ENERGY = np.arange(8300.0, 8380.0, 1.0)
FIELDS = smooth_fields(SHAPE)
ORDERS = orders_of(FIELDS)
N = len(ENERGY)
Y, X = np.indices(SHAPE)
NEAR = (ENERGY > 8328) & (ENERGY < 8365)


def fresh(seed=0):
    return np.random.default_rng(seed)


def edge(e0):
    x = ENERGY - e0
    return 1 / (1 + np.exp(-x / 1.5)) + 0.4 * np.exp(-0.5 * ((x - 5) / 3) ** 2)


def alike(n_series, memory, seed=0):
    series = fresh(seed).standard_normal((N, n_series))
    for e in range(1, N):
        series[e] = memory * series[e - 1] + np.sqrt(1 - memory**2) * series[e]
    return series


def drifting(memory, seed=0):
    images = np.stack([np.ones(SHAPE), 2 * Y / SHAPE[0] - 1, 2 * X / SHAPE[1] - 1])
    return 0.02 * np.tensordot(alike(3, memory, seed), images, axes=1)


def full(seed=0):
    """Clean density of two states, nowhere thin."""
    thickness = 0.8 + 0.3 * fresh(seed).random(SHAPE)
    patches = smooth_images(1, SHAPE, width=6.0)[0] > 0
    images = np.stack([thickness * patches, thickness * ~patches])
    return np.tensordot(np.stack([edge(8340.0), edge(8342.0)]).T, images, axes=1)


def wedge():
    """Clean density of two states that change slowly over the image; nothing in it is rough."""
    share = 0.5 + 0.5 * np.tanh(4 * (Y / SHAPE[0] - 0.5))
    thickness = 0.1 + 0.9 * X / SHAPE[1]
    images = np.stack([thickness * share, thickness * (1 - share)])
    return np.tensordot(np.stack([edge(8340.0), edge(8342.0)]).T, images, axes=1)


def found_in(clean, seed=0, n_spectra=2):
    stack = (clean + SIGMA * fresh(seed).standard_normal(clean.shape)).astype(np.float32)
    rough = remove_smooth(stack, FIELDS)
    spectra = fit_basis(rough, n_spectra, rng=fresh()).spectra if n_spectra else np.zeros((0, N))
    return estimate_drift(stack, spectra, FIELDS, SIGMA, ENERGY)


@pytest.mark.parametrize("n_spectra", [0, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_smooth_sample_in_two_states_is_no_drift(n_spectra, seed):
    found = found_in(wedge(), seed, n_spectra)

    assert not found.amounts.any()
    assert not found.doubt


def test_the_edge_of_a_smooth_sample_is_not_removed_with_drift():
    drift = drifting(0.0)

    found = found_in(wedge() + drift, n_spectra=0)

    removed = np.tensordot(found.amounts, FIELDS, axes=1)
    assert found.doubt
    assert found.amounts.any()
    assert np.std(removed - (drift - drift.mean(axis=0)), axis=(1, 2))[NEAR].max() < 2 * 0.02 * np.sqrt(3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_full_sample_without_drift_is_left_alone(seed):
    found = found_in(full(seed), seed)

    assert not found.amounts.any()
    assert not found.doubt
    assert found.kind == ""


def test_random_drift_is_removed_and_what_is_left_has_an_error():
    drift = drifting(0.0)
    found = found_in(full() + drift)

    removed = np.tensordot(found.amounts, FIELDS, axes=1)
    left = removed - (drift - drift.mean(axis=0))
    error = found.error_in_pixels(1, SHAPE)
    assert not found.empty.any()
    assert np.std(left) < 0.35 * np.std(drift)
    assert np.mean(error) == pytest.approx(np.std(drift), rel=0.3)  # along a spectrum, of norm 1
    assert found.kind == "independent"


def test_slow_drift_without_empty_pixels_is_told():
    found = found_in(full() + drifting(0.95))

    assert found.kind == "slow"
    assert "drifts slowly and no pixel is empty" in found.doubt


def test_one_image_that_changes_slowly_may_be_a_species():
    slow = 0.05 * np.exp(-0.5 * ((ENERGY - 8312) / 5) ** 2) + 0.05 * np.exp(-0.5 * ((ENERGY - 8372) / 5) ** 2)
    found = found_in(full() + slow[:, None, None] * (X / SHAPE[1]))

    assert not found.amounts.any()
    assert "no pixel is empty" in found.doubt


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_strength_and_memory_of_drift_are_found(memory):
    noise = 0.01
    amounts = np.sqrt(noise) * fresh(1).standard_normal((N, len(FIELDS)))
    amounts[:, :3] += 2.0 * alike(3, memory)
    part = SmoothPart(amounts, np.full(N, noise), np.zeros((len(FIELDS),) * 2), 1.0)

    prior = fit_prior(part, ORDERS, free_of_sample(~NEAR, NEAR, edge(8340.0)[None]))

    assert prior.p_value < 1e-6
    assert 0.5 < np.sqrt(prior.variance[:3].mean()) / 2.0 < 4.0  # of slow drift little is seen in a scan
    assert prior.memory == pytest.approx(memory, abs=0.1)
    assert (prior.evidence_of_memory > 20) == (memory > 0)


def test_noise_is_no_drift_and_the_edge_is_not_asked():
    amounts = 0.1 * fresh(2).standard_normal((N, len(FIELDS)))
    amounts[NEAR] *= 30
    amounts += 50 * edge(8340.0)[:, None] * fresh(3).standard_normal(len(FIELDS))
    amounts += 50 * ((ENERGY / 8340) ** -2.8)[:, None] * fresh(4).standard_normal(len(FIELDS))
    part = SmoothPart(amounts, np.full(N, 0.01), np.zeros((len(FIELDS),) * 2), 1.0)
    free = free_of_sample(~NEAR, NEAR, edge(8340.0)[None])

    assert not free[NEAR].any()
    assert fit_prior(part, ORDERS, free).p_value > 1e-3


def test_structure_above_the_edge_belongs_to_the_sample():
    drift = fresh().standard_normal((N, 5))
    wiggles = 10 * np.sin(1.5 * ENERGY)[:, None] * (ENERGY > 8345)[:, None]

    assert not is_restless_above(drift, NEAR)
    assert is_restless_above(drift + wiggles, NEAR)


def test_where_no_energy_is_chosen_nothing_is_free_of_sample():
    free = free_of_sample(np.zeros_like(NEAR), NEAR, edge(8340.0)[None])
    assert free.shape == (len(NEAR), 0)
