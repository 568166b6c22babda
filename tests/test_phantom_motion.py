"""Samples that move under a detector that stands still."""

import numpy as np
import pytest
from scipy import ndimage

from xanesum.errors import RecipeError, SigmaError
from xanesum.phantom import Motion, draw_motion, energy_grid_ev, expose, moving
from xanesum.stack import check_stack

N, SHAPE = 8, (40, 50)
ENERGY = energy_grid_ev(N)


def fresh(seed=0):
    return np.random.default_rng(seed)


def motion_of(shifts, magnification=1.0):
    return Motion(np.asarray(shifts, float), np.broadcast_to(magnification, len(shifts)).astype(float))


def test_without_motion_the_field_is_that_at_rest():
    phantom = moving("brine", motion_of(np.zeros((N, 2))), shape=SHAPE, rng=fresh())

    stack = phantom.clean()

    check_stack(stack)
    assert stack.shape == (N, *SHAPE)
    np.testing.assert_allclose(stack.values, phantom.at_rest.clean().values, atol=1e-3)
    np.testing.assert_array_equal(stack.energy.values, phantom.energy_ev)


def test_whole_pixels_move_the_content_towards_larger_y_and_x():
    shifts = np.array([[e, -2 * e] for e in range(N)])
    phantom = moving("particle", motion_of(shifts), shape=SHAPE, rng=fresh(1))

    frames, still = phantom.clean().values, phantom.at_rest.clean().values

    for frame, rest, (d_y, d_x) in zip(frames, still, shifts, strict=True):
        np.testing.assert_allclose(frame[8:, :-16], rest[8 - d_y : 40 - d_y, -d_x : 34 - d_x], atol=1e-3)


def test_magnification_grows_about_the_centre():
    phantom = moving("brine", motion_of(np.full((N, 2), 1.5), 1.1), shape=SHAPE, rng=fresh(2))

    frame, rest = phantom.clean().values[-1], phantom.at_rest.clean().values[-1]

    centre = (np.array(SHAPE) - 1) / 2
    places = np.stack(np.mgrid[8:32, 8:42], -1)
    sources = centre + (places - centre - 1.5) / 1.1
    expected = ndimage.map_coordinates(rest, sources.transpose(2, 0, 1), order=5)
    assert np.sqrt(np.mean((frame[8:32, 8:42] - expected) ** 2)) < 0.05 * rest.std()


def test_each_part_of_the_motion_has_its_size():
    energy_ev = energy_grid_ev(400)
    jitter = draw_motion(energy_ev, jitter_px=3.0, rng=fresh(3)).shifts_px
    drift = draw_motion(energy_ev, drift_px=(10.0, -4.0), rng=fresh(3)).shifts_px
    walk = draw_motion(energy_ev, walk_px=0.5, rng=fresh(3)).shifts_px
    steps = draw_motion(energy_ev, step_px=5.0, rng=fresh(3)).shifts_px

    assert np.abs(jitter).max() <= 3
    assert jitter.std() == pytest.approx(3 / np.sqrt(3), rel=0.1)
    np.testing.assert_allclose(drift[-1] - drift[0], [10, -4])
    np.testing.assert_allclose(np.diff(drift, 2, axis=0), 0, atol=1e-12)
    assert np.diff(walk, axis=0).std() == pytest.approx(0.5, rel=0.1)
    assert 1 <= np.count_nonzero(np.diff(steps[:, 0])) <= 3


def test_magnification_follows_its_law():
    line = draw_motion(ENERGY, magnification=0.01, rng=fresh()).magnification
    plate = draw_motion(ENERGY, magnification="energy", rng=fresh()).magnification

    assert line[-1] - line[0] == pytest.approx(0.01)
    np.testing.assert_allclose(plate * ENERGY, plate[0] * ENERGY[0])


def test_noise_and_light_do_not_move():
    phantom = moving(
        "particle", motion_of(np.linspace(-3, 3, 2 * N).reshape(N, 2)), shape=SHAPE, rng=fresh(4)
    )

    noise = phantom.noisy(5.0, rng=fresh(5)).values - phantom.clean().values
    counted = expose(phantom, 500.0, rng=fresh(6))

    assert noise.std() == pytest.approx(5, rel=0.03)
    np.testing.assert_allclose(counted.density, phantom.clean().values * (1.5 / 255), rtol=1e-5, atol=1e-6)
    assert counted.stack.shape == (N, *SHAPE)
    assert phantom.kind in counted.stack.attrs["history"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jitter_px": -1.0}, "must be numbers from 0 on"),
        ({"drift_px": (np.nan, 0.0)}, "must be numbers from 0 on"),
        ({"magnification": "linear"}, 'must be "energy" or a number'),
        ({"magnification": 1.5}, 'must be "energy" or a number'),
    ],
)
def test_impossible_motion_is_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        draw_motion(ENERGY, rng=fresh(), **options)


def test_negative_noise_is_refused():
    phantom = moving("brine", motion_of(np.zeros((N, 2))), shape=SHAPE, rng=fresh())

    with pytest.raises(SigmaError):
        phantom.noisy(-1.0, rng=fresh())
