"""Averages over regions, and what noise alone makes of them."""

import numpy as np
import pytest
from scipy.stats import kstest

from xanesum.diagnostics.extreme_values import (
    average_tail,
    largest_average,
    largest_singular,
    leading,
    region_averages,
    singular_tail,
)

SHAPE = (50, 70)
EVERYWHERE = np.ones(SHAPE, bool)


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *SHAPE)).astype(np.float32)


def test_regions_keep_the_noise_and_add_up_what_is_the_same():
    mask = np.random.default_rng(1).random(SHAPE) > 0.3
    images = np.where(mask, noise(200), np.float32(1e6))

    for scale, regions in zip((4, 8), region_averages(images, mask, (4, 8)), strict=True):
        assert regions.shape == (200, -(-SHAPE[0] // scale), -(-SHAPE[1] // scale))
        np.testing.assert_allclose(regions.std(axis=0), 1, atol=0.3)
        assert regions.std() == pytest.approx(1, abs=0.01)
    once = next(region_averages(np.ones((1, *SHAPE), np.float32), EVERYWHERE, (8,)))
    np.testing.assert_allclose(once[0, :6, :8], 8, rtol=1e-6)
    np.testing.assert_allclose(once[0, 6, 0], np.sqrt(2 * 8))  # cut off where the image ends


def test_a_region_without_pixels_is_nothing():
    mask = EVERYWHERE.copy()
    mask[:8, :8] = False

    assert next(region_averages(noise(1), mask, (8,)))[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("statistic", "tail"), [(largest_singular, singular_tail), (largest_average, average_tail)]
)
def test_chances_of_noise_are_chances(statistic, tail):
    """Under noise alone every chance is as likely as any other."""
    drawn = np.array([statistic(np.random.default_rng(n).standard_normal((12, 9, 11))) for n in range(600)])

    p_values = [tail(value, drawn[200 + 40 * (n % 10) :][:40]) for n, value in enumerate(drawn[:200])]

    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) < 0.01) <= 0.03


def test_what_stands_out_is_far_from_chance():
    regions = np.random.default_rng(0).standard_normal((12, 9, 11))
    chance = [np.random.default_rng(n).standard_normal((12, 9, 11)) for n in range(1, 41)]
    strong = regions.copy()
    strong[:, 3:6, 4:8] += 1.5
    single = regions.copy()
    single[4, 3:5, 4:6] += 4

    singular = np.array([largest_singular(each) for each in chance])
    averages = np.array([largest_average(each) for each in chance])
    assert singular_tail(largest_singular(strong), singular) < 1e-6
    assert average_tail(largest_average(single), averages) < 1e-4


def test_less_than_noise_leaves_is_never_far_from_chance():
    chance = 1e-3 * np.linspace(1, 1.1, 40)

    assert average_tail(0.01, chance) > 0.9


def test_neighbours_are_taken_together():
    regions = np.zeros((1, 5, 5), np.float32)
    regions[0, 2:4, 2:4] = 1

    assert largest_average(regions) == 2
    assert largest_average(np.full((1, 1, 1), -3, np.float32)) == 3


def test_the_leading_image_is_positive_where_it_is_largest():
    weights = np.array([0.6, -0.8, 0.0])
    image = np.array([[0.1, 0.2], [5.0, -1.0]], np.float32)
    regions = np.multiply.outer(-weights, image).astype(np.float32)

    found, mixed = leading(regions, alone=False)
    np.testing.assert_allclose(found, image, rtol=1e-5)
    np.testing.assert_allclose(mixed, -weights, atol=1e-6)
    found, one = leading(regions, alone=True)
    np.testing.assert_allclose(found, 0.8 * image, rtol=1e-5)
    np.testing.assert_array_equal(np.abs(one), [0, 1, 0])
