"""The noise of a flat stands still in all frames: it must not hold a sample that moves."""

import numpy as np
from scan_motion import errors_of, scan_of

from xanesum import estimate_shifts
from xanesum.align.pattern import standing_pattern


def counted(*, sigma, flat_sigma, seed=5, **motion):
    """Return a scan, and its stack with the same noise in all frames added, as by one flat."""
    scan = scan_of("round", sigma=sigma, shape=(80, 96), **motion)
    pattern = flat_sigma * np.random.default_rng(seed).standard_normal(scan.stack.shape[1:])
    stack = scan.stack.copy(data=(scan.stack.values + pattern).astype(np.float32))
    stack.attrs["flat_field"] = True
    return scan, stack


def test_a_sample_that_moves_is_found_beside_the_noise_of_a_flat():
    scan, stack = counted(sigma=60.0, flat_sigma=35.0, jitter_px=3.0)
    held = stack.copy()
    held.attrs = stack.attrs | {"flat_field": False}

    found = estimate_shifts(stack)

    assert estimate_shifts(held).p_still > 0.5  # as it would be without
    assert found.p_still < 1e-10
    error = errors_of(found, scan)[scan.strong]
    assert np.sqrt(np.mean(error**2)) < 0.7
    assert np.sqrt(np.mean((error / found.sigma_px[scan.strong]) ** 2)) < 2.0


def test_a_sample_at_rest_is_left_at_rest():
    scan, stack = counted(sigma=60.0, flat_sigma=35.0)

    found = estimate_shifts(stack)

    assert found.p_still > 0.01
    assert np.median(found.sigma_px[scan.strong]) < 0.03  # ten times as much without the fine detail
    assert np.abs(errors_of(found, scan)[scan.strong]).max() < 0.1


def test_the_pattern_is_the_fine_detail_of_the_mean_frame():
    rng = np.random.default_rng(1)
    pattern = rng.standard_normal((40, 50))
    smooth = np.add.outer(np.arange(40.0), 2 * np.arange(50.0))
    values = (smooth + pattern + 3 * rng.standard_normal((400, 40, 50))).astype(np.float32)
    values[:, 5, 6] = np.nan
    used = np.ones(400, bool)
    used[0], values[0] = False, 1e6

    found = standing_pattern(values, np.ones((40, 50), bool), used)

    inside = np.s_[8:-8, 8:-8]
    assert np.corrcoef(found[inside].ravel(), pattern[inside].ravel())[0, 1] > 0.95
    assert found[5, 6] == 0
    assert np.abs(found).max() < 8
