"""Errors that neighbours share: draws, sums, and a linear denoiser whose errors are known exactly."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xanesum.linalg import error_fields
from xanesum.linalg.error_fields import ErrorField

SHAPE = (60, 70)


def field(ratio, size=2.0, shape=SHAPE):
    """Errors of one size, where the noise is `ratio` times as large."""
    return ErrorField.of(np.full(shape, size), np.full(shape, size * ratio))


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5, 3.0, 8.0])
def test_a_single_pixel_has_its_own_error(ratio):
    weights = np.zeros(SHAPE)
    weights[30, 31] = 1

    assert field(ratio).variance_of_sum(weights) == pytest.approx(4.0, rel=1e-3)


@pytest.mark.parametrize("ratio", [1.5, 3.0, 8.0])
def test_the_mean_of_many_pixels_has_the_error_of_the_noise(ratio, monkeypatch):
    """A denoiser keeps means, so nothing is gained there; kernels between two widths are off by 5 %."""
    monkeypatch.setattr(error_fields, "LOST", 0.0)
    shape = (200, 210)
    weights = np.zeros(shape)
    weights[20:180, 20:180] = 1 / 160**2

    error = np.sqrt(field(ratio, shape=shape).variance_of_sum(weights))

    assert error == pytest.approx(2.0 * ratio / 160, rel=0.07)
    assert error > 1.3 * 2.0 / 160  # not that of independent pixels


def test_without_denoising_pixels_are_independent():
    weights = np.zeros(SHAPE)
    weights[10:30, 10:50] = 1 / 800

    assert field(1.0).variance_of_sum(weights) == pytest.approx(4.0 / 800, rel=1e-5)


def test_draws_agree_with_the_variance_of_sums():
    """200 draws give a standard deviation within 5 %; 4 of those errors are allowed."""
    errors = field(4.0)
    rng = np.random.default_rng(1)
    weights = np.zeros(SHAPE)
    weights[20:29, 30:45] = 1 / 135

    draws = np.array([errors.draw(rng)[0] for _ in range(200)])
    sums = np.tensordot(draws, weights, 2)

    assert draws.std() == pytest.approx(2.0, rel=0.02)
    assert sums.std() == pytest.approx(np.sqrt(errors.variance_of_sum(weights)), rel=0.2)


@pytest.mark.parametrize("side", [1, 3, 6, 12, 24])
def test_a_gaussian_filter_is_foretold(side, monkeypatch):
    """The exact error of a mean after a linear filter of white noise, as a second witness."""
    monkeypatch.setattr(error_fields, "LOST", 0.0)
    shape, width = (80, 80), 1.6
    weights = np.zeros(shape)
    weights[28 : 28 + side, 28 : 28 + side] = 1 / side**2
    impulse = np.zeros(shape)
    impulse[40, 40] = 1
    size = np.sqrt(np.sum(gaussian_filter(impulse, width, mode="wrap") ** 2))
    exact = np.sqrt(np.sum(gaussian_filter(weights, width, mode="wrap") ** 2))

    found = ErrorField.of(np.full(shape, size), np.ones(shape)).variance_of_sum(weights)

    assert np.sqrt(found) == pytest.approx(exact, rel=0.04)


def test_lost_detail_adds_to_means_where_most_noise_was_removed():
    shape = (200, 210)
    weights = np.zeros(shape)
    weights[20:180, 20:180] = 1 / 160**2

    little, much = (
        field(ratio, shape=shape).variance_of_sum(weights) * 160**2 / (4 * ratio**2) for ratio in (1.1, 10.0)
    )

    assert little < 1.3
    assert much == pytest.approx(1 + error_fields.LOST, rel=0.15)


def test_pixels_without_error_stay_so():
    size = np.zeros(SHAPE)
    size[:, 30:] = 1

    drawn, _ = ErrorField.of(size, np.full(SHAPE, 3.0)).draw(np.random.default_rng(0))

    assert not drawn[:, :30].any()
    assert np.isfinite(drawn).all()
