"""Metrics against their definitions."""

import numpy as np
import pytest
from _metrics import frame_psnr, map_correlation, map_rmse_ev, spectrum_psnr

RNG = np.random.default_rng(7)
TRUTH = RNG.uniform(0, 255, (6, 20, 30))
MASK = np.ones((20, 30), bool)


def test_psnr_of_white_noise_is_known():
    noisy = TRUTH + 10 * RNG.standard_normal(TRUTH.shape)

    assert frame_psnr(noisy, TRUTH) == pytest.approx(20 * np.log10(25.5), abs=0.3)
    assert frame_psnr(noisy / 255, TRUTH / 255, peak=1) == pytest.approx(frame_psnr(noisy, TRUTH), abs=1e-9)


def test_frame_psnr_averages_decibels_over_frames_and_spectrum_psnr_over_pixels():
    off = TRUTH.copy()
    off[0] += 255  # one bad frame: 0 dB there, the cap of 100 dB in the others
    assert frame_psnr(off, TRUTH) == pytest.approx(500 / 6)
    assert spectrum_psnr(off, TRUTH) == pytest.approx(10 * np.log10(6))


def test_correlation_ignores_scale_and_offset_and_what_is_masked():
    estimate = 3 * TRUTH[0] - 5
    estimate[0] = 1e6
    mask = MASK.copy()
    mask[0] = False

    assert map_correlation(estimate, TRUTH[0], mask) == pytest.approx(1)
    assert abs(map_correlation(estimate, TRUTH[0], MASK)) < 0.3


@pytest.mark.parametrize("estimate", [np.full((20, 30), 3.0), np.full((20, 30), np.nan)])
def test_a_map_without_information_has_correlation_zero(estimate):
    assert map_correlation(estimate, TRUTH[0], MASK) == 0


def test_unknown_pixels_earn_nothing():
    estimate = np.where(RNG.random((20, 30)) < 0.5, np.nan, TRUTH[0])

    assert 0.5 < map_correlation(estimate, TRUTH[0], MASK) < 0.85  # 1 / sqrt(2) when half is known
    assert map_rmse_ev(estimate, TRUTH[0], MASK) == pytest.approx(TRUTH[0].std() / np.sqrt(2), rel=0.1)


def test_map_rmse_is_the_root_mean_square():
    assert map_rmse_ev(TRUTH[0] + 2, TRUTH[0], MASK) == pytest.approx(2)
