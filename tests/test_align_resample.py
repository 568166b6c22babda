"""One resampling: white noise stays white, nothing comes round, and missing values are not smeared."""

import numpy as np
import pytest
from scan_motion import scan_of

from xanesum.align import Shifts, align
from xanesum.errors import StackError
from xanesum.stack import check_stack, make_stack

N, SHAPE = 6, (64, 80)
ENERGY = 8300.0 + np.arange(N)


def shifts_of(values, *, magnification=None, flag=None):
    n = len(values)
    return Shifts(
        ENERGY[:n],
        np.asarray(values, float),
        np.zeros((n, 2, 2)),
        np.array(["aligned"] * n if flag is None else flag),
        ("",) * n,
        1,
        np.ones(n) if magnification is None else np.asarray(magnification, float),
        0.0,
    )


def drawn_shifts(seed=0, size=4.0):
    return np.random.default_rng(seed).uniform(-size, size, (N, 2))


def blobs(shifts, magnification=1.0):
    """Frames of two smooth blobs that are moved by `shifts`."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centre = (np.array(SHAPE) - 1) / 2
    frames = np.zeros((len(shifts), *SHAPE))
    for at, width in (((-12, -15), 3.0), ((9, 18), 3.5)):
        for frame, d, m in zip(frames, shifts, np.broadcast_to(magnification, len(shifts)), strict=True):
            v, h = centre + m * np.array(at) + d
            frame += np.exp(-((y - v) ** 2 + (x - h) ** 2) / (2 * (m * width) ** 2))
    return frames


def test_the_sample_is_at_rest_afterwards():
    shifts = drawn_shifts()

    out = align(make_stack(blobs(shifts), ENERGY), shifts_of(shifts))

    expected = blobs(np.zeros((N, 2)))
    seen = out["mask"].values
    check_stack(out)
    assert out.dtype == np.float32
    assert out.dims == ("energy", "y", "x")
    assert np.abs(out.values[:, seen] - expected[:, seen]).max() < 1e-3
    assert seen.sum() == np.prod(np.array(SHAPE) - np.ceil(-shifts.min(0)) - np.ceil(shifts.max(0)))


def test_magnification_and_shift_are_undone_at_once():
    shifts, growth = drawn_shifts(1), np.linspace(0.98, 1.02, N)

    out = align(make_stack(blobs(shifts, growth), ENERGY), shifts_of(shifts, magnification=growth))

    seen = out["mask"].values
    assert np.abs(out.values[:, seen] - blobs(np.zeros((N, 2)))[:, seen]).max() < 2e-3
    low, high = out.attrs["resampled_noise"]
    assert 0.97 < low <= 1 <= high < 1.03


@pytest.mark.parametrize("growth", [1.0, 1.01])
def test_white_noise_stays_white(growth):
    noise = np.random.default_rng(2).standard_normal((N, 200, 240)).astype(np.float32)
    shifts = shifts_of(drawn_shifts(3), magnification=np.full(N, growth))

    out = align(make_stack(noise, ENERGY), shifts).values[:, 10:-10, 10:-10]

    limit = 0.01 if growth == 1 else 0.03
    assert out.std() == pytest.approx(1, abs=limit)
    assert out.std(axis=(1, 2)) == pytest.approx(np.ones(N), abs=0.02 + limit)
    assert abs(np.mean(out[:, 1:] * out[:, :-1])) < 0.01
    assert abs(np.mean(out[:, :, 1:] * out[:, :, :-1])) < 0.01


def test_nothing_comes_round_from_the_other_side():
    frames = np.zeros((2, *SHAPE), np.float32)
    frames[:, :8] = 100.0  # seen at the upper border only
    out = align(make_stack(frames, ENERGY[:2]), shifts_of([[3.4, 0.0], [-3.4, 0.0]]))

    seen = out["mask"].values
    assert not seen[-4:].any()
    assert not seen[:4].any()
    assert np.isnan(out.values[0, -4:]).all()
    assert np.abs(out.values[:, -20:-4][:, seen[-20:-4]]).max() < 0.5


def test_frames_do_not_ring_at_their_borders():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ramp = np.broadcast_to(2.0 * y + x, (2, *SHAPE))

    out = align(make_stack(ramp, ENERGY[:2]), shifts_of([[0.5, 0.5], [-0.5, -0.5]]))

    error = np.abs(out.values[0] - (2.0 * y + x + 1.5))
    assert error[out["mask"].values].max() < 1.0  # half a pixel of the slope, at the border itself
    assert error[3:-3, 3:-3].max() < 0.15
    assert error[10:-10, 10:-10].max() < 0.03


def test_a_hot_masked_pixel_is_not_smeared():
    shifts = drawn_shifts(4)
    clean = blobs(shifts).astype(np.float32)
    dirty = clean.copy()
    mask = np.ones(SHAPE, bool)
    mask[30, 40] = mask[41:44, 20:23] = False
    dirty[:, ~mask] = 1e5
    dirty[2, 20, 30] = np.nan

    out = align(make_stack(dirty, ENERGY).assign_coords(mask=(("y", "x"), mask)), shifts_of(shifts))

    inside = np.isfinite(out.values) & out["mask"].values
    assert np.abs(out.values - blobs(np.zeros((N, 2))))[inside].max() < 0.02
    missing = ~np.isfinite(out.values) & out["mask"].values
    assert out.attrs["missing_values"] == missing.sum()
    assert 0 < missing.sum() <= N * (4 + 16) + 4


def test_frames_left_out_have_no_weight_and_do_not_limit_the_field():
    shifts = drawn_shifts(5)
    shifts[1] = 25.0
    flag = ["aligned", "left out", "aligned", "by drift", "aligned", "aligned"]

    out = align(make_stack(blobs(shifts), ENERGY), shifts_of(shifts, flag=flag))

    assert out["weight"].values.tolist() == [1, 0, 1, 1, 1, 1]
    assert out["mask"].values.mean() > 0.7
    assert "1 frames left out" in out.attrs["history"][-1]


def test_what_was_done_is_said_and_flats_are_gone():
    shifts = drawn_shifts(6)
    stack = make_stack(blobs(shifts), ENERGY, history=["read"])
    stack = stack.assign_coords(flat=(("y", "x"), np.ones(SHAPE)))

    out = align(stack, shifts_of(shifts))

    assert out.attrs["history"][0] == "read"
    assert "resampled once by Fourier shift" in out.attrs["history"][-1]
    assert "flat" not in out.coords
    np.testing.assert_array_equal(out["shift_y_px"], shifts[:, 0])
    np.testing.assert_array_equal(out["shift_x_px"], shifts[:, 1])


def test_shifts_are_estimated_where_none_are_given():
    scan = scan_of("brine", sigma=10.0, jitter_px=3.0, shape=(48, 56))
    out = align(scan.stack)

    still = out.values[:, out["mask"].values]
    spread = np.linalg.svd(still - still.mean(axis=1, keepdims=True), compute_uv=False)
    moving = scan.stack.values[:, out["mask"].values]
    spread_before = np.linalg.svd(moving - moving.mean(axis=1, keepdims=True), compute_uv=False)
    assert spread[3] < 0.5 * spread_before[3]


@pytest.mark.parametrize(
    ("change", "shifts", "message"),
    [
        ({"quantity": "counts"}, np.zeros((N, 2)), "expected optical density, got counts"),
        ({}, np.zeros((N - 1, 2)), "5 shifts for 6 frames"),
        ({}, np.array([[40.0, 0], [-40.0, 0], *np.zeros((N - 2, 2))]), "no pixel was seen in all 6 frames"),
        ({}, np.array([[400.0, 0], *np.zeros((N - 1, 2))]), "more than the field of 64 x 80 px"),
    ],
)
def test_wrong_input_is_refused(change, shifts, message):
    stack = make_stack(blobs(np.zeros((N, 2))), ENERGY)
    stack.attrs.update(change)

    with pytest.raises(StackError, match=message):
        align(stack, shifts_of(shifts))


def test_pixels_that_no_frame_shows_stay_masked():
    stack = make_stack(np.random.default_rng(0).normal(1, 0.1, (len(ENERGY), *SHAPE)), ENERGY)
    mask = np.ones(SHAPE, bool)
    mask[:20, :30] = False
    values = stack.values.copy()
    values[0, 50, 60] = np.nan  # one value of one frame leaves its pixel in

    out = align(
        stack.copy(data=values).assign_coords(mask=(("y", "x"), mask)),
        shifts_of(np.full((len(ENERGY), 2), 0.4)),
    )

    kept = out["mask"].values
    assert not kept[:19, :29].any()
    assert kept[22:-2, 32:-2].all()
    assert kept.sum() < mask.sum()
