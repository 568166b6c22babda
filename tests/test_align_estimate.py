"""Shifts of simulated scans that move in a known way: their errors, and what is left out."""

import numpy as np
import pytest
from scan_motion import GOOD, cramer_rao, errors_of, scan_of
from scipy.ndimage import gaussian_filter, shift

from xanesum.align import estimate_shifts
from xanesum.errors import RecipeError, StackError
from xanesum.phantom import draw_motion, energy_grid_ev, simulate
from xanesum.stack import make_stack


def test_shifts_of_a_moving_scan_are_found_with_their_errors():
    scan = scan_of("brine", sigma=10.0, jitter_px=5.0)

    found = estimate_shifts(scan.stack)

    error = errors_of(found, scan)[scan.strong]
    bound = cramer_rao(scan)[scan.strong]
    z = error / found.sigma_px[scan.strong]
    assert np.sqrt(np.mean(error**2)) < 1.3 * np.sqrt(np.mean(bound**2))
    assert 0.75 < np.sqrt(np.mean(z**2)) < 1.25
    assert (found.flag[scan.strong] == "aligned").all()
    assert found.p_still < 1e-6


def test_without_noise_errors_are_small_and_stated():
    scan = scan_of("round", sigma=0.5, jitter_px=5.0, shape=(112, 128))

    found = estimate_shifts(scan.stack)

    error = errors_of(found, scan)[scan.strong]
    assert np.sqrt(np.mean(error**2)) < 0.002
    assert np.sqrt(np.mean((error / found.sigma_px[scan.strong]) ** 2)) < 1.5


def test_content_at_larger_y_and_x_has_a_positive_shift():
    y, x = np.mgrid[:64, :72]
    frames = [np.exp(-((y - 30 - d) ** 2 + (x - 34 - 2 * d) ** 2) / 40) for d in (-2, -1, 0, 1, 2)]
    rng = np.random.default_rng(3)
    stack = make_stack(np.array(frames) + 0.01 * rng.standard_normal((5, 64, 72)), 8300.0 + np.arange(5))

    found = estimate_shifts(stack)

    from_mean = found.shifts_px - found.shifts_px.mean(axis=0)
    np.testing.assert_allclose(from_mean[:, 0], [-2, -1, 0, 1, 2], atol=0.1)
    np.testing.assert_allclose(from_mean[:, 1], [-4, -2, 0, 2, 4], atol=0.1)


def test_shifts_of_a_quarter_of_the_field_are_found():
    scan = scan_of("particle", sigma=15.0, jitter_px=1.0, drift_px=(26.0, -34.0), seed=4)

    error = errors_of(estimate_shifts(scan.stack), scan)[scan.strong]

    assert np.sqrt(np.mean(error**2)) < 0.2


@pytest.mark.parametrize("seed", [1, 2])
def test_frames_that_show_little_have_errors_that_say_so(seed):
    scan = scan_of("particle", sigma=100.0, jitter_px=3.0, drift_px=(12.0, 0.0), seed=seed)

    found = estimate_shifts(scan.stack)

    z = errors_of(found, scan)[~scan.strong] / found.sigma_px[~scan.strong]
    assert (found.flag == "by drift").sum() > 5
    assert all(reason for reason, flag in zip(found.reasons, found.flag, strict=True) if flag == "by drift")
    assert 0.6 < np.sqrt(np.mean(z**2)) < 1.5


@pytest.mark.parametrize("kind", ["particle", "wedge"])
def test_a_scan_that_stands_still_is_left_alone(kind):
    stack = simulate(kind, shape=(72, 88), n_energies=40).noisy(12.0, rng=np.random.default_rng(5))

    found = estimate_shifts(stack)

    assert found.p_still > 0.01
    assert np.sqrt(np.mean((found.shifts_px / found.sigma_px)[found.flag == "aligned"] ** 2)) < 1.5


def test_noise_alone_does_not_move_and_is_not_aligned():
    noise = np.random.default_rng(6).standard_normal((30, 64, 64)).astype(np.float32)

    found = estimate_shifts(make_stack(noise, 8300.0 + np.arange(30)))

    assert found.p_still > 0.01
    assert (found.flag == "by drift").all()
    assert (found.sigma_px > 5).all()


def test_dust_on_the_detector_does_not_hold_the_sample():
    scan = scan_of("brine", sigma=20.0, jitter_px=4.0)
    y, x = np.mgrid[: scan.stack.shape[1], : scan.stack.shape[2]]
    spots = ((20, 30, 3), (60, 70, 4), (45, 15, 2), (70, 40, 3), (15, 80, 4))
    dust = sum(300.0 * ((y - v) ** 2 + (x - h) ** 2 < r**2) for v, h, r in spots)
    dirty = scan.stack.copy(data=scan.stack.values + dust.astype(np.float32))

    found = estimate_shifts(dirty)

    placed = scan.strong & (found.flag == "aligned")
    assert placed.sum() >= 0.95 * scan.strong.sum()
    assert np.sqrt(np.mean(errors_of(found, scan)[placed] ** 2)) < 0.05


def test_contrast_that_inverts_does_not_matter():
    scan = scan_of("brine", sigma=10.0, jitter_px=4.0)
    sign = np.where(np.arange(len(scan.stack)) % 3 == 1, -1, 1)[:, None, None].astype(np.float32)
    stack = scan.stack.copy(data=scan.stack.values * sign)

    error = errors_of(estimate_shifts(stack), scan)[scan.strong]

    assert np.sqrt(np.mean(error**2)) < 0.03


def test_missing_values_and_masked_pixels_have_no_weight():
    scan = scan_of("brine", sigma=10.0, jitter_px=4.0)
    rng = np.random.default_rng(7)
    values = scan.stack.values.copy()
    values[rng.random(values.shape) < 0.02] = np.nan
    mask = np.ones(values.shape[1:], bool)
    mask[20:34, 50:60] = False
    values[:, ~mask] = 1e4
    stack = scan.stack.copy(data=values).assign_coords(mask=(("y", "x"), mask))

    found = estimate_shifts(stack)

    error = errors_of(found, scan)[scan.strong]
    assert np.sqrt(np.mean(error**2)) < 0.02
    assert 0.7 < np.sqrt(np.mean((error / found.sigma_px[scan.strong]) ** 2)) < 1.4


def test_a_frame_of_something_else_is_left_out_and_named():
    scan = scan_of("brine", sigma=10.0, jitter_px=3.0)
    e = int(np.flatnonzero(scan.strong)[5])
    values = scan.stack.values.copy()
    values[e] = simulate("particle", shape=values.shape[1:], n_energies=4).clean().values[-1]

    found = estimate_shifts(scan.stack.copy(data=values))

    assert np.flatnonzero(found.flag == "left out").tolist() == [e]
    assert "something else" in found.reasons[e]
    others = scan.strong & (np.arange(len(values)) != e)
    error = (found.shifts_px - scan.motion.shifts_px)[others]
    error = error - np.median(error, axis=0)
    assert np.quantile(np.abs(error), 0.9) < 0.03
    assert np.abs(error / found.sigma_px[others]).max() < 4


def test_a_frame_without_weight_is_left_out():
    scan = scan_of("brine", sigma=10.0, jitter_px=3.0)
    weight = np.ones(len(scan.stack))
    weight[9] = 0

    found = estimate_shifts(scan.stack.assign_coords(weight=("energy", weight)))

    assert found.flag[9] == "left out"
    assert found.reasons[9] == "its weight is 0"


def test_a_periodic_sample_is_not_moved_by_a_period():
    energy_ev = energy_grid_ev(40)
    motion = draw_motion(energy_ev, jitter_px=5.0, rng=np.random.default_rng(8))
    y, x = np.mgrid[:80, :96]
    rng = np.random.default_rng(9)
    frames = [
        100 * (1 + np.cos(2 * np.pi * (y - d_y) / 9)) * (1 + np.cos(2 * np.pi * (x - d_x) / 9))
        * np.exp(-((y - 40 - d_y) ** 2 + (x - 50 - d_x) ** 2) / 1000)
        for d_y, d_x in motion.shifts_px
    ]  # fmt: skip
    stack = make_stack(np.array(frames) + 10 * rng.standard_normal((40, 80, 96)), energy_ev)

    error = estimate_shifts(stack).shifts_px - motion.shifts_px

    assert np.abs(error - np.median(error, axis=0)).max() < 0.5


def test_magnification_is_fitted():
    scan = scan_of("brine", sigma=5.0, jitter_px=2.0, magnification=0.02, shape=(96, 112))

    found = estimate_shifts(scan.stack, magnification="fit")

    growth = found.magnification[-1] / found.magnification[0] - 1
    assert growth == pytest.approx(0.0202, abs=0.001)
    assert np.sqrt(np.mean(errors_of(found, scan)[scan.strong] ** 2)) < 0.05


def test_magnification_by_the_law_of_a_zone_plate():
    scan = scan_of("brine", sigma=5.0, jitter_px=2.0, magnification="energy")

    found = estimate_shifts(scan.stack, magnification="energy")

    np.testing.assert_allclose(found.magnification, scan.motion.magnification)
    assert np.sqrt(np.mean(errors_of(found, scan)[scan.strong] ** 2)) < 0.05


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"quantity": "counts"}, {}, StackError, "expected optical density, got counts"),
        ({}, {"max_shift": 0.0}, RecipeError, "at least 1 pixel, got 0.0"),
        ({}, {"magnification": "line"}, RecipeError, "must be one of none, fit, energy, got 'line'"),
    ],
)
def test_wrong_input_is_refused_in_one_line(change, options, error, message):
    stack = GOOD.stack.copy()
    stack.attrs = {**stack.attrs, **change}

    with pytest.raises(error, match=message) as raised:
        estimate_shifts(stack, **options)
    assert "\n" not in str(raised.value)


def test_small_frames_and_empty_stacks_are_refused():
    with pytest.raises(StackError, match="at least 16 pixels"):
        estimate_shifts(make_stack(np.ones((3, 9, 40)), [1000.0, 1001.0, 1002.0]))
    with pytest.raises(StackError, match="at least 2 frames with values, the stack has 0"):
        estimate_shifts(make_stack(np.full((3, 30, 40), np.nan), [1000.0, 1001.0, 1002.0]))


def test_progress_is_reported():
    seen = []

    estimate_shifts(GOOD.stack, progress=lambda step, share: seen.append((step, share)))

    assert seen[0][1] == 0
    assert seen[-1] == ("done", 1.0)


@pytest.mark.parametrize(("upper_px", "least", "most"), [(3.0, 0.0, 0.3), (0.0, 0.6, 5.0)])
def test_halves_of_the_field_that_disagree_make_the_errors_of_few_frames_large(upper_px, least, most):
    rng = np.random.default_rng(7)
    sample = gaussian_filter(rng.standard_normal((120, 100)), 2.0) * 100
    moved = np.vstack([shift(sample[:60], (0, upper_px)), shift(sample[60:], (0, 3.0))])
    frames = np.stack([sample, moved])[:, 10:-10, 10:-10] + rng.standard_normal((2, 100, 80))
    stack = make_stack(frames.astype(np.float32), [8324.0, 8354.0])

    found = estimate_shifts(stack)

    assert least <= found.sigma_px[1, 1] <= most
    true = [upper_px, 3.0]
    assert min(true) - 3 * most < np.diff(found.shifts_px[:, 1])[0] < max(true) + 3 * most
