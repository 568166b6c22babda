"""The noise of a flat and the drift of the light stand still: they must not hold a sample that moves."""

from dataclasses import replace

import numpy as np
import pytest
from scan_motion import errors_of, scan_of

from xanesum import align, estimate_shifts
from xanesum.align.frames import Level
from xanesum.align.pattern import at_rest, beside_motion
from xanesum.align.state import State
from xanesum.errors import StackError


def counted(scan, *, flat_sigma=0.0, light=0.0, seed=5):
    """Return the stack of a scan with the same noise in all frames, as by one flat, and light that drifts.

    It is in optical density: 1 is 255 of the phantom.
    """
    rng = np.random.default_rng(seed)
    values = scan.stack.values + flat_sigma * rng.standard_normal(scan.stack.shape[1:])
    y, x = (np.linspace(-1, 1, n) for n in scan.stack.shape[1:])
    for frame in values:
        a, b, c = light * rng.standard_normal(3)
        frame += a * y[:, None] + b * x + c * y[:, None] * x
    stack = scan.stack.copy(data=(values / 255).astype(np.float32))
    stack.attrs["flat_field"] = True
    return stack


def score(found, scan):
    """Return the error of the shifts of strong frames in pixels, and over the stated one."""
    error = errors_of(found, scan)[scan.strong]
    return np.sqrt(np.mean(error**2)), np.sqrt(np.mean((error / found.sigma_px[scan.strong]) ** 2))


def unaware(stack):
    """Return the same stack as if it had not been divided by a flat."""
    other = stack.copy()
    other.attrs = stack.attrs | {"flat_field": False}
    return other


def test_a_sample_that_moves_is_found_beside_the_noise_of_a_flat():
    scan = scan_of("round", sigma=60.0, shape=(64, 72), jitter_px=3.0)
    stack = counted(scan, flat_sigma=35.0)

    found = estimate_shifts(stack)

    assert estimate_shifts(unaware(stack)).p_still > 0.5  # as it would be without
    assert found.p_still < 1e-10
    error_px, over_stated = score(found, scan)
    assert error_px < 0.4
    assert over_stated < 1.5


def test_the_noise_of_the_flat_does_not_move_with_the_frames():
    scan = scan_of("round", sigma=60.0, shape=(64, 72), jitter_px=3.0)
    stack = counted(scan, flat_sigma=35.0)
    flat = (35.0 * np.random.default_rng(5).standard_normal((64, 72)) / 255).astype(np.float32)

    found = estimate_shifts(stack)
    aligned = align(stack, found)

    assert np.corrcoef(found.pattern.ravel(), flat.ravel())[0, 1] > 0.8
    without = align(stack.copy(data=stack.values - flat), replace(found, pattern=None))
    ignored = align(stack, replace(found, pattern=None))
    seen = aligned["mask"].values
    left, before = (np.std((each - without).values[:, seen]) for each in (aligned, ignored))
    assert left < 0.6 * before
    assert "noise of the flat (rms" in aligned.attrs["history"][-1]


def test_a_pattern_of_another_size_is_refused():
    scan = scan_of("round", sigma=60.0, shape=(64, 72), jitter_px=3.0)
    found = estimate_shifts(counted(scan, flat_sigma=35.0))

    with pytest.raises(StackError, match="frames of another size"):
        align(scan.stack[:, 1:], found)


def test_a_sample_at_rest_is_left_at_rest():
    scan = scan_of("round", sigma=60.0, shape=(64, 72))

    found = estimate_shifts(counted(scan, flat_sigma=35.0))

    assert found.p_still > 0.01
    assert score(found, scan)[1] < 1.5


def test_light_that_drifts_is_no_motion():
    scan = scan_of("round", sigma=10.0, shape=(64, 72))
    stack = counted(scan, light=8.0)

    assert estimate_shifts(stack).p_still > 0.01


def test_motion_is_found_beside_light_that_drifts():
    scan = scan_of("round", sigma=10.0, shape=(64, 72), jitter_px=2.0)
    stack = counted(scan, light=8.0)

    error_px, over_stated = score(estimate_shifts(stack), scan)

    assert over_stated < 1.5
    assert error_px < 0.03


def frames_with_pattern(shifts_px, *, sigma=0.5, frame_sigma=1.0, seed=3):
    """Return a level of frames of one texture that moves, with a pattern that does not, and the pattern."""
    rng = np.random.default_rng(seed)
    n_y, n_x = 64, 72
    f_y, f_x = np.fft.fftfreq(n_y)[:, None], np.fft.rfftfreq(n_x)
    texture = np.fft.rfft2(rng.standard_normal((n_y, n_x))) * np.exp(-((f_y**2 + f_x**2) / 0.02))
    pattern = sigma * rng.standard_normal((n_y, n_x))
    values = [
        20 * np.fft.irfft2(texture * np.exp(-2j * np.pi * (f_y * y + f_x * x)), (n_y, n_x))
        + pattern
        + frame_sigma * rng.standard_normal((n_y, n_x))
        for y, x in shifts_px
    ]
    n = len(values)
    seen = np.ones((n_y, n_x), bool)
    level = Level(np.array(values, np.float32), seen, np.full(n, frame_sigma), 1, True, (n_y, n_x))
    state = State.at_rest(np.zeros((n, 1)), np.ones(n, bool), np.full((1, n), n**-0.5))
    return level, state, pattern


def likeness(found, pattern):
    inside = np.s_[12:-12, 12:-12]
    return np.corrcoef(found.values[inside].ravel(), pattern[inside].ravel())[0, 1]


def test_the_pattern_is_the_white_part_of_the_mean_frame_and_more_is_known_where_the_sample_moves():
    shifts_px = np.random.default_rng(8).uniform(-3, 3, (40, 2))
    level, state, pattern = frames_with_pattern(shifts_px)

    first = at_rest(level, state)
    state.shifts = shifts_px
    second = beside_motion(first, level, state)

    assert first.sigma == pytest.approx(0.5, rel=0.15)
    assert first.weight == pytest.approx(40 * 0.25, rel=0.3)
    assert likeness(first, pattern) > 0.75
    assert likeness(second, pattern) > likeness(first, pattern) + 0.03


def test_at_rest_the_pattern_leaves_the_coarse_detail_to_the_sample():
    level, state, pattern = frames_with_pattern(np.zeros((40, 2)))

    found = at_rest(level, state)

    spectrum = np.abs(np.fft.rfft2(found.values)) ** 2
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(72))
    assert spectrum[radius < 0.08].mean() < 0.05 * spectrum[radius > 0.35].mean()
    assert likeness(found, pattern) > 0.7


def test_a_fine_sample_is_no_pattern():
    level, state, _ = frames_with_pattern(np.zeros((40, 2)), sigma=1.0)  # more than a single flat would add

    assert at_rest(level, state).weight == 0
