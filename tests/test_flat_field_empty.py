"""Empty pixels: where they are, that a thin film is not one, and the drift that they show."""

import numpy as np
import pytest

from xanesum.flat_field.empty import drift_in_empty, edge_in_empty, find_empty, steps_at_edge
from xanesum.flat_field.fields import orders_of, smooth_fields
from xanesum.flat_field.frames import beside, constant_and_line

SHAPE, N = (60, 80), 50
ENERGY = np.arange(N, dtype=float)
SIGMA = 0.02
FIELDS = smooth_fields(SHAPE)
ORDERS = orders_of(FIELDS)
Y, X = np.indices(SHAPE)
DISC = ((Y - 30) ** 2 + (X - 40) ** 2 < 20**2).astype(float)
STEP = 1 / (1 + np.exp(-(ENERGY - 20) / 1.5))
NEAR = np.abs(ENERGY - 20) < 8


def fresh(seed=0):
    return np.random.default_rng(seed)


def alike(n_series, memory, seed=0):
    """Series (E, n) of variance 1 whose successive values have a correlation of `memory`."""
    series = fresh(seed).standard_normal((N, n_series))
    for e in range(1, N):
        series[e] = memory * series[e - 1] + np.sqrt(1 - memory**2) * series[e]
    return series


def drifting(memory, seed=0):
    """A level and two ramps, 3 % each."""
    images = np.stack([np.ones(SHAPE), np.linspace(-1, 1, SHAPE[0])[:, None] + 0 * X, X / 40 - 1])
    return 0.03 * np.tensordot(alike(3, memory, seed), images, axes=1)


def noisy(stack, seed=0):
    return (stack + SIGMA * fresh(seed).standard_normal(stack.shape)).astype(np.float32)


def test_empty_pixels_are_found_beneath_drift():
    drift = 0.3 * (1 + X / 80 + (Y / 60) ** 2)
    images = (10 * DISC + drift + SIGMA * fresh().standard_normal(SHAPE))[None].astype(np.float32)

    empty = find_empty(images, FIELDS, ORDERS, np.ones(SHAPE, bool), SIGMA)

    assert not DISC[empty].any()
    assert empty.mean() > 0.5


def test_narrow_gaps_count_as_empty_too():
    images = np.where(X % 16 < 6, 0.0, 5.0)[None] + SIGMA * fresh().standard_normal((1, *SHAPE))

    empty = find_empty(images.astype(np.float32), FIELDS, ORDERS, np.ones(SHAPE, bool), SIGMA)

    assert not images[0][empty].max() > 1
    assert empty.sum() > 100


def test_masked_pixels_are_never_empty_and_no_image_means_none():
    mask = X > 20
    images = (10 * DISC)[None].astype(np.float32)

    assert not find_empty(images, FIELDS, ORDERS, mask, SIGMA)[~mask].any()
    assert not find_empty(images[:0], FIELDS, ORDERS, mask, SIGMA).any()


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.99])
def test_drift_is_seldom_taken_for_an_edge(memory):
    directions = beside(constant_and_line(ENERGY).T, STEP[:, None]).T
    series = 0.03 * alike(300, memory)

    p_values = edge_in_empty(series, directions / np.linalg.norm(directions))[1]

    assert np.mean(p_values < 1e-3) <= 0.03  # 0.1 % if the memory were known exactly
    assert np.mean([steps_at_edge(each[:, None], NEAR) < 1e-3 for each in series.T[:100]]) <= 0.02


@pytest.mark.parametrize("memory", [0.0, 0.99])
def test_a_film_shows_its_edge_through_drift(memory):
    directions = beside(constant_and_line(ENERGY).T, STEP[:, None]).T
    film = 0.1 * STEP[:, None] + 0.01 * alike(20, memory)

    size, p_value = edge_in_empty(film, directions / np.linalg.norm(directions))

    assert np.mean(p_value < 1e-3) > 0.9
    np.testing.assert_allclose(np.median(size), 0.1 * np.linalg.norm(directions), rtol=0.2)


@pytest.mark.parametrize("memory", [0.0, 0.95])
def test_drift_is_found_in_empty_pixels_whatever_it_does_in_time(memory):
    drift = drifting(memory)
    empty = (DISC == 0) & (X < 60)

    found = drift_in_empty(noisy(drift + STEP[:, None, None] * DISC), empty, FIELDS, ORDERS, 1.0)

    left = np.tensordot(found.amounts, FIELDS, axes=1) - (drift - drift.mean(axis=0))
    expected = np.sqrt(np.trace(found.covariance) / DISC.size)
    assert found.p_value < 1e-6
    assert np.std(left) < 0.15 * np.std(drift)
    assert np.std(left) == pytest.approx(expected, rel=0.3)


def test_noise_in_empty_pixels_is_no_drift():
    p_values = [
        drift_in_empty(noisy(np.zeros((N, *SHAPE)), seed), DISC == 0, FIELDS, ORDERS, 1.0).p_value
        for seed in range(5)
    ]

    assert min(p_values) > 1e-3
