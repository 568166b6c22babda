"""What was taken away: noise is left alone, whatever else is found and named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from _metrics import frame_psnr
from scans import add_noise, edge_spectrum, smooth_images
from scipy.ndimage import gaussian_filter, uniform_filter

from xanesum.diagnostics.residual import examine_residual
from xanesum.method.denoising import denoise
from xanesum.phantom import expose, simulate
from xanesum.preprocess import prepare
from xanesum.stack import make_stack

ENERGY = np.linspace(8300.0, 8420.0, 61)
SHAPE = (96, 112)
SIGMA = 0.1
QUICK = {"denoiser": "wavelet", "n_probes": 1}


def sample(shift_ev=0.5):
    """A sample of one state, but for a patch that is later."""
    thickness = 0.5 + 0.2 * np.tanh(smooth_images(1, SHAPE, seed=2)[0])
    patch = np.zeros(SHAPE, bool)
    patch[30:54, 40:64] = True
    spectra = np.stack([edge_spectrum(ENERGY, 8340.0), edge_spectrum(ENERGY, 8340.0 + shift_ev)])
    return np.tensordot(0.05 + spectra.T, np.stack([thickness * ~patch, thickness * patch]), axes=1)


CLEAN = sample().astype(np.float32)
NOISY = make_stack(add_noise(CLEAN, SIGMA), ENERGY)
RESULT = denoise(NOISY, rank=2, **QUICK)
ONE_STATE = sample(shift_ev=0.0).astype(np.float32)


def without(result, k):
    rest = {"component": [other for other in range(result.rank) if other != k]}
    names = ("spectra", "coefficients", "error_mixing")
    return replace(result, **{name: getattr(result, name).isel(rest) for name in names})


def smoothed(result, k, width):
    """The result with one of its images blurred."""
    images = result.coefficients.copy(deep=True)
    images[k] = gaussian_filter(images[k].values, width)
    return replace(result, coefficients=images)


def test_a_good_result_leaves_noise():
    found = examine_residual(NOISY, RESULT)

    assert not found.lost.found
    assert found.whiteness.is_white
    assert found.size == pytest.approx(1, abs=0.01)
    assert found.notes == ()


@pytest.mark.filterwarnings("ignore::xanesum.errors.XanesumWarning")
@pytest.mark.parametrize("method", ["sum", "sum+"])
def test_false_alarms_are_rare(method):
    """1 % nominal: of 40, three or more would be a wrong test."""
    alarms = 0
    for seed in range(20):
        stack = make_stack(add_noise(ONE_STATE[:, :64, :64], SIGMA, seed=seed), ENERGY)
        alarms += examine_residual(stack, denoise(stack, method=method, **QUICK)).lost.found

    assert alarms <= 1


def test_light_that_changed_is_said_to_look_like_that():
    tilt = np.linspace(-1, 1, SHAPE[1], dtype=np.float32) * np.ones((SHAPE[0], 1), np.float32)
    flicker = np.random.default_rng(4).standard_normal((len(ENERGY), 1, 1)).astype(np.float32)
    lit = make_stack(NOISY.values + 0.03 * flicker * tilt, ENERGY)

    lost = examine_residual(lit, RESULT).lost
    of_sample = examine_residual(NOISY, without(RESULT, 1)).lost

    assert lost.found
    assert lost.place == "component"
    assert lost.is_smooth
    assert "or of illumination that changed" in examine_residual(lit, RESULT).notes[0]
    assert of_sample.found
    assert not of_sample.is_smooth


def test_a_component_that_is_missing_is_reported_with_its_place_and_spectrum():
    found = examine_residual(NOISY, without(RESULT, 1))
    lost = found.lost

    assert lost.found
    spread_out = {place: p_value for place, p_value in lost.p_values.items() if place != "spot"}
    assert min(spread_out, key=spread_out.get) == lost.place
    assert lost.place in ("component", "shift")
    assert any("is missing" in note for note in found.notes)
    y, x = np.unravel_index(np.argmax(np.abs(lost.image)), lost.image.shape)
    centre = (np.array([y, x]) + 0.5) * lost.scale_px
    assert 30 <= centre[0] < 54
    assert 40 <= centre[1] < 64
    difference = CLEAN[:, 42, 52] - CLEAN[:, 10, 10] * CLEAN[-1, 42, 52] / CLEAN[-1, 10, 10]
    assert abs(np.corrcoef(lost.spectrum, difference)[0, 1]) > 0.8
    assert np.abs(lost.spectrum).max() == pytest.approx(np.abs(difference).max(), rel=0.6)


def test_an_image_that_was_smoothed_too_much_is_reported():
    found = examine_residual(NOISY, smoothed(RESULT, 0, 12.0))

    assert found.lost.found
    assert found.lost.place == "smoothed"
    assert found.lost.p_values["component"] > 0.01
    assert any("smoothed too much" in note for note in found.notes)


def test_a_shift_of_the_edge_is_found_where_no_other_test_sees_it():
    weak = make_stack(add_noise(sample(0.25).astype(np.float32), SIGMA), ENERGY)
    lacking = denoise(weak, rank=1, **QUICK)

    found = examine_residual(weak, lacking).lost

    assert found.p_values["shift"] < 1e-3
    assert found.p_values["shift"] < found.p_values["component"]


@pytest.mark.parametrize("axis", ["x", "y", "energy"])
def test_correlated_noise_is_named_and_is_no_lost_signal(axis):
    size = [1, 1, 1]
    size[{"energy": 0, "y": 1, "x": 2}[axis]] = 2
    noise = np.random.default_rng(5).standard_normal(CLEAN.shape)
    noise = SIGMA * np.sqrt(2) * uniform_filter(noise, size, mode="wrap")
    stack = make_stack((ONE_STATE + noise).astype(np.float32), ENERGY)

    found = examine_residual(stack, denoise(stack, rank=1, sigma=SIGMA, **QUICK))

    assert not found.whiteness.is_white
    assert found.whiteness.along[axis] == pytest.approx(0.5, abs=0.05)
    others = [value for name, value in found.whiteness.along.items() if name != axis]
    assert max(map(abs, others)) < 0.03
    assert any("correlated from neighbour to neighbour" in note for note in found.notes)
    if axis != "energy":
        assert not found.lost.found


def test_a_wrong_noise_level_is_named():
    found = examine_residual(NOISY, denoise(NOISY, rank=2, sigma=1.2 * SIGMA, **QUICK))

    assert found.size == pytest.approx(1 / 1.2, rel=0.02)
    assert any("0.83 times" in note for note in found.notes)


def test_noise_of_counts_and_of_few_flats_is_no_lost_signal():
    phantom = simulate("particle", shape=(96, 128), n_energies=60)
    scan = expose(phantom, 400.0, flat_drift=0.0, n_flats=5, rng=np.random.default_rng(2))
    stack = prepare(scan.stack)[0]
    result = denoise(stack, **QUICK)

    found = examine_residual(stack, result)

    assert result.sigma_common.values[0] > 0
    assert not found.lost.found
    assert found.whiteness.is_white
    assert found.size == pytest.approx(1, abs=0.03)


def test_the_residual_is_in_units_of_the_noise_of_its_pixel():
    pixel = np.linspace(0.5, 2.0, SHAPE[1]) * np.ones((SHAPE[0], 1))  # rms 1.32
    noise = SIGMA * pixel * np.random.default_rng(5).standard_normal(CLEAN.shape)
    uneven = make_stack((CLEAN + noise).astype(np.float32), ENERGY)
    result = replace(RESULT, sigma_pixel=RESULT.sigma_pixel.copy(data=pixel))

    assert examine_residual(uneven, result).size == pytest.approx(1, abs=0.02)


def test_what_has_no_say_changes_nothing():
    mask, weight = np.ones(SHAPE, bool), np.ones(len(ENERGY))
    mask[:, :20], weight[7] = False, 0
    values = NOISY.values.copy()
    values[7] = 1e3
    values[:, ~mask] = -1e3
    here, there = (
        make_stack(v, ENERGY).assign_coords(mask=(("y", "x"), mask), weight=("energy", weight))
        for v in (NOISY.values, values)
    )
    result = denoise(here, rank=2, **QUICK)

    first, second = examine_residual(here, result), examine_residual(there, result)

    assert first.figures == second.figures
    assert first.lost.spectrum[7] == 0


def test_missing_values_are_nothing():
    values = NOISY.values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.02] = np.nan
    stack = NOISY.copy(data=values)
    stack.attrs["missing_values"] = int(np.isnan(values).sum())

    found = examine_residual(stack, RESULT)

    assert not found.lost.found
    assert found.size == pytest.approx(0.99, abs=0.01)


def test_nothing_found_and_nothing_there():
    stack = make_stack(add_noise(np.zeros((20, 64, 64), np.float32), 1.0), np.arange(8300.0, 8320.0))
    result = denoise(stack, **QUICK)

    assert result.rank == 0
    assert not examine_residual(stack, result).lost.found


def test_a_stack_without_noise_is_not_judged_by_its_rounding():
    stack = make_stack(CLEAN, ENERGY)
    result = denoise(stack, rank=2, **QUICK)

    assert frame_psnr(result.reconstruct(), CLEAN, peak=1.0) > 60
    assert not examine_residual(stack, result).lost.found


@pytest.mark.parametrize("shape", [(61, 3, 4), (61, 1, 40), (3, 20, 20), (2, 20, 20)])
def test_tiny_scans_are_examined_as_far_as_they_go(shape):
    stack = make_stack(add_noise(CLEAN[: shape[0], : shape[1], : shape[2]], SIGMA), ENERGY[: shape[0]])

    found = examine_residual(stack, denoise(stack, method="sum", denoiser="none", rank=1))

    assert 0 <= found.lost.p_value <= 1


def test_it_is_the_same_each_time_and_can_be_written():
    assert examine_residual(NOISY, RESULT).figures == examine_residual(NOISY, RESULT).figures
    assert json.loads(json.dumps(examine_residual(NOISY, RESULT).figures))["signal_lost"] is False
