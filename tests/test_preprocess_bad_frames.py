"""Frames of other light are found, and told from chemistry."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xanesum.preprocess import find_bad_frames
from xanesum.preprocess.bad_frames import _Fits
from xanesum.stack import make_stack, usable_weight


def scan_of_two_species(n_energies=40, sigma=0.02, seed=0):
    """Optical density of two species whose spectra have sharp lines at different energies."""
    energy = np.arange(n_energies)
    spectra = np.stack([(energy > 15) + 1.5 * (energy == 17), 0.8 * (energy > 18) + 1.0 * (energy == 20)])
    draws = [np.random.default_rng(i).standard_normal((30, 40)) for i in (1, 2)]
    images = 8 * np.abs(np.stack([gaussian_filter(draw, 3) for draw in draws]))
    clean = np.tensordot(0.4 + spectra.T, images, axes=1)
    return clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)


def density_stack(values):
    return make_stack(values.astype(np.float32), 8300.0 + np.arange(len(values)), quantity="optical_density")


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.5])
def test_sharp_lines_are_no_bad_frames(sigma):
    stack = density_stack(scan_of_two_species(sigma=sigma))

    result, report = find_bad_frames(stack)

    assert report.n_bad_frames == 0
    assert "weight" not in result.coords
    np.testing.assert_array_equal(result.values, stack.values)


@pytest.mark.parametrize("spoil", [lambda f: f - np.log(3), lambda f: f + 1.5, lambda f: f * 0 + 9])
@pytest.mark.parametrize("which", [[9], [30, 31], [30, 32], [0, 39], [2, 10, 25]])
def test_frames_of_other_light_are_left_out(which, spoil):
    values = scan_of_two_species()
    values[which] = [spoil(values[e]) for e in which]

    result, report = find_bad_frames(density_stack(values))

    assert np.flatnonzero(~usable_weight(result)).tolist() == which
    assert report.n_bad_frames == report.n_dropped_frames == len(which)
    assert f"{len(which)} frames were illuminated differently" in result.attrs["history"][-1]


@pytest.mark.parametrize("which", [15, 16, 18])
def test_a_frame_of_other_light_within_the_edge_is_left_out(which):
    """Its values lie between those below and above the edge: only the number that all pixels share tells."""
    values = scan_of_two_species()
    values[which] += 0.3

    result, report = find_bad_frames(density_stack(values))

    assert np.flatnonzero(~usable_weight(result)).tolist() == [which]
    assert report.n_bad_frames == 1


@pytest.mark.parametrize("left_out", range(4))
def test_a_fit_without_one_neighbour_is_a_fit_of_the_others(left_out):
    frames = np.random.default_rng(0).standard_normal((9, 200))
    products = frames @ frames.T / 200
    e, others = np.array([4, 0]), np.array([[2, 3, 5, 6], [1, 2, 3, 8]])

    fit = _Fits.of(products, e, others).without(products, left_out)

    np.testing.assert_array_equal(fit.others, np.delete(others, left_out, axis=1))
    for m in range(2):
        mixture, square, *_ = np.linalg.lstsq(frames[fit.others[m]].T, frames[e[m]], rcond=None)
        np.testing.assert_allclose(fit.mixture[m], mixture, atol=1e-12)  # numbers of order 1, in float64
        np.testing.assert_allclose(fit.misfit[m] ** 2, square[0] / 200, rtol=1e-12)


def test_a_level_that_changes_in_every_frame_makes_no_bad_frame():
    values = scan_of_two_species()
    values += 0.1 * np.random.default_rng(5).standard_normal((len(values), 1, 1))

    assert find_bad_frames(density_stack(values))[1].n_bad_frames == 0


def test_an_edge_that_lies_elsewhere_in_every_pixel_is_no_bad_frame():
    e0 = np.linspace(8330.0, 8334.0, 40) + np.zeros((30, 1))
    energy = 8300 + 8.0 * np.arange(30)  # the whole edge passes within one step
    values = 0.1 + 1 / (1 + np.exp(-(energy[:, None, None] - e0)))
    stack = make_stack(values.astype(np.float32), energy, quantity="optical_density")

    assert find_bad_frames(stack)[1].n_bad_frames == 0


def test_a_line_of_one_species_in_one_frame_is_no_bad_frame():
    values = scan_of_two_species()
    values[30, :, :20] += 2.0

    assert find_bad_frames(density_stack(values))[1].n_bad_frames == 0


def test_frames_left_out_before_have_no_say_and_stay_out():
    values = scan_of_two_species()
    values[5] = np.nan
    values[9] -= np.log(3)
    weight = np.where(np.arange(40) == 5, 0.0, 0.5)

    result, report = find_bad_frames(density_stack(values).assign_coords(weight=("energy", weight)))

    assert report.n_bad_frames == 1
    np.testing.assert_array_equal(result["weight"].values, np.where(np.arange(40) == 9, 0, weight))


def test_a_scan_of_few_energies_has_no_bad_frames():
    values = scan_of_two_species()[:10]
    values[4] += 9

    assert find_bad_frames(density_stack(values))[1].n_bad_frames == 0


def test_bad_frames_of_very_many_are_found_in_parts(monkeypatch):
    monkeypatch.setattr("xanesum.preprocess.bad_frames.MOST_FRAMES", 30)
    rng = np.random.default_rng(0)
    energy = np.linspace(8300, 8400, 100)
    values = np.tanh((energy - 8350) / 40)[:, None, None] * rng.random((16, 16)) + 1
    values += 0.02 * rng.standard_normal(values.shape)
    values[[20, 71]] += 0.5
    found = find_bad_frames(make_stack(values.astype(np.float32), energy))[0]
    assert np.flatnonzero(found["weight"].values == 0).tolist() == [20, 71]
