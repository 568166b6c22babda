"""Noise that all energies share, as that of the flat: measured, discounted, given back."""

from dataclasses import replace

import numpy as np
import pytest
from _metrics import map_rmse_ev
from scans import add_noise, smooth_images
from scipy.ndimage import gaussian_filter

from xanesum.method.denoising import denoise
from xanesum.method.noise_model import NoiseModel, UnevenNoise, measure_noise
from xanesum.method.problem import Problem
from xanesum.noise.common import CommonNoise, find_common
from xanesum.noise.variance import CountVariance, FittedVariance, NoiseFactors
from xanesum.phantom import expose, simulate
from xanesum.preprocess import prepare
from xanesum.stack import make_stack
from xanesum.xanes import half_step_energy

N_ENERGIES, SHAPE = 30, (144, 192)
FLAT = np.ones(N_ENERGIES) / np.sqrt(N_ENERGIES)
PHANTOM = simulate("wedge", shape=(96, 128), n_energies=60)
QUICK = {"denoiser": "wavelet", "n_probes": 1}


def fresh(seed=0):
    return np.random.default_rng(seed)


def sample(texture=0.0):
    """Stack of an edge whose image is smooth, or has texture in every pixel."""
    edge = 1 / (1 + np.exp(-(np.arange(N_ENERGIES) - 12) / 1.5))
    image = np.abs(smooth_images(1, SHAPE)[0]) + texture * fresh(8).standard_normal(SHAPE)
    return np.multiply.outer(0.3 + edge, image).astype(np.float32)


def scan(counts, *, n_flats=10, perfect=False):
    """A prepared scan, divided by the mean of few flats or by the light itself, and its true map."""
    taken = expose(PHANTOM, counts, flat_drift=0.0, peak_density=1.5, n_flats=n_flats, rng=fresh(5))
    stack = taken.stack
    if perfect:
        stack["flat"] = (("y", "x"), taken.illumination[0].astype(float))
    true = half_step_energy(make_stack(taken.density, PHANTOM.energy_ev), e0_ev=8341.0)
    return prepare(stack)[0], true.half_step_energy_ev.values


# --- measured


@pytest.mark.parametrize(("texture", "tolerance"), [(0.0, 0.05), (1.0, 0.12)])
@pytest.mark.parametrize("shared", [0.1, 0.5, 2.0])
def test_noise_shared_by_all_energies_is_measured(shared, texture, tolerance):
    stack = add_noise(sample(texture), 1.0) + np.float32(shared) * fresh(3).standard_normal(SHAPE, np.float32)

    found = find_common(stack, np.ones(N_ENERGIES), 1.0, rng=fresh())

    assert found.ratio == pytest.approx(np.sqrt(1 + N_ENERGIES * shared**2), rel=tolerance)
    np.testing.assert_allclose(found.sigma(1.0), np.sqrt((found.ratio**2 - 1) / N_ENERGIES))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_texture_of_the_sample_is_not_taken_for_noise(scale):
    stack = add_noise(np.float32(scale) * sample(texture=1.0), 1.0)

    assert find_common(stack, np.ones(N_ENERGIES), 1.0, rng=fresh()).ratio < 1.13


def test_pixels_that_do_not_count_have_no_say():
    mask = np.ones(SHAPE, bool)
    mask[:, 90:] = False
    stack = add_noise(sample(), 1.0) + np.float32(0.5) * fresh(3).standard_normal(SHAPE, np.float32)
    spoilt = np.where(mask, stack, np.float32(1e4) * fresh(4).standard_normal(SHAPE, np.float32))

    here, there = (find_common(s, np.ones(N_ENERGIES), 1.0, mask=mask, rng=fresh()) for s in (stack, spoilt))

    assert here.ratio == there.ratio


# --- reduced and restored


def test_reducing_makes_noise_white_and_is_undone_exactly():
    common = CommonNoise(FLAT, 3.0)
    noise = fresh().standard_normal((N_ENERGIES, 200, 100)).astype(np.float32)
    noise += np.multiply.outer(common.sigma(1.0), fresh(1).standard_normal((200, 100))).astype(np.float32)
    before = noise.copy()
    spectra = np.linalg.qr(fresh(2).standard_normal((N_ENERGIES, 4))).Q.T

    common.reduce(noise)

    covariance = np.cov(noise.reshape(N_ENERGIES, -1))
    np.testing.assert_allclose(covariance, np.eye(N_ENERGIES), atol=0.04)
    everything = np.linalg.qr(np.vstack([spectra, np.eye(N_ENERGIES)]).T).Q.T  # a whole basis
    images = np.tensordot(everything, noise, axes=1)
    np.testing.assert_allclose(np.tensordot(common.restored(everything).T, images, axes=1), before, atol=1e-4)


def uneven_by(pixel, energy):
    """Return noise that is exactly a product."""
    variance = FittedVariance(energy**2, pixel**2, np.zeros(1), np.zeros(1))
    no_sample = np.zeros((1, N_ENERGIES)), np.zeros((1, *SHAPE), np.float32)
    return UnevenNoise(variance, NoiseFactors(pixel, energy, 0.0), *no_sample)


def problem_of(stack, sigma=1.0, denoise=lambda images, sigma, mask: images):
    return Problem.with_one_level(
        stack,
        np.arange(30.0),
        mask=np.ones(SHAPE, bool),
        sigma=sigma,
        denoise_at=denoise,
        rng=fresh(),
    )


@pytest.mark.parametrize("with_factors", [False, True])
@pytest.mark.parametrize("with_common", [False, True])
def test_a_stack_made_even_comes_back(with_factors, with_common):
    pixel, energy = np.exp(0.3 * smooth_images(1, SHAPE)[0]), fresh().uniform(0.5, 2, N_ENERGIES)
    along = (1 / energy if with_factors else np.ones(N_ENERGIES)) / 1.0
    shape = NoiseModel(
        uneven_by(pixel, energy) if with_factors else None,
        common=CommonNoise(along / np.linalg.norm(along), 4.0) if with_common else None,
    )
    stack = add_noise(sample(), 1.0)
    problem = problem_of(stack)

    even = shape.whiten(problem).full

    back = np.eye(N_ENERGIES) if shape.common is None else shape.common.restored(np.eye(N_ENERGIES))
    whole = np.tensordot(back, even.stack, axes=1)
    if with_factors:
        whole *= (energy / even.sigma)[:, None, None] * pixel
    np.testing.assert_allclose(whole, stack, atol=1e-3)
    assert problem.coarse.stack is stack
    np.testing.assert_array_equal(stack, add_noise(sample(), 1.0))  # untouched


def test_what_is_shared_is_the_same_at_all_energies_of_the_stack():
    energy = fresh().uniform(0.5, 2, N_ENERGIES)
    shape = NoiseModel(
        uneven_by(np.ones(SHAPE), energy),
        common=CommonNoise((1 / energy) / np.linalg.norm(1 / energy), 3.0),
    )

    found = shape.common_sigma(shape.factors.level)

    np.testing.assert_allclose(found, found[0])
    assert found[0] > 0


def test_what_the_stack_is_divided_by_does_not_know_its_noise():
    """A pilot keeps some noise; a clean image of high contrast, divided by that, would look like noise."""
    density = np.where(np.arange(SHAPE[1]) < 96, 0.3, 1.5) * np.ones((N_ENERGIES, *SHAPE))
    noise = 0.1 * np.exp(density / 2) * fresh().standard_normal(density.shape)
    problem = problem_of(
        (density + noise).astype(np.float32),
        0.1,
        lambda images, sigma, mask: images if sigma < 0.2 else gaussian_filter(images, (0, 4, 4)),
    )
    ones = np.ones(N_ENERGIES)
    law = CountVariance(ones, 0 * ones, np.full(SHAPE, 100.0), ones)
    found = measure_noise(problem, divided_by_flat=False, law=law)
    divided_by, drawn = np.log(found.sigma_pixel)[:, 110:], noise.mean(axis=0)[:, 110:]

    share = np.cov(divided_by.ravel(), drawn.ravel())[0, 1] / drawn.var()

    assert abs(share) < 0.05


# --- whole


@pytest.mark.filterwarnings("ignore:component .+ is close to the limit")
def test_few_flats_cost_the_map_little():
    stack, true = scan(100.0)
    undiscounted = stack.copy()
    undiscounted.attrs["flat_field"] = False
    ideal, _ = scan(100.0, perfect=True)

    results = [denoise(s, n_probes=1) for s in (stack, undiscounted, ideal)]

    ours, without, best = (
        map_rmse_ev(half_step_energy(r, e0_ev=8341.0).half_step_energy_ev.values, true, PHANTOM.mask)
        for r in results
    )
    assert ours < 1.02 * best
    assert ours < 0.98 * without
    assert "where all energies are the same" in results[0].provenance["noise"]
    assert results[0].sigma_common.values[0] > 0
    assert (results[1].sigma_common.values == 0).all()


@pytest.mark.filterwarnings("ignore:component .+ is close to the limit")
def test_shared_noise_is_known_from_the_flats():
    stack, _ = scan(400.0)
    thin = 0.144 * 400 + 11

    found = denoise(stack, **QUICK).sigma_common.values

    np.testing.assert_allclose(found.mean(), np.sqrt(thin / 10) / 400, rtol=0.25)
    assert np.ptp(found) < 0.05 * found.mean()


@pytest.mark.filterwarnings("ignore:component .+ is close to the limit")
def test_errors_cover_noise_that_is_shared():
    stack, _ = scan(100.0)
    clean = PHANTOM.clean().values * np.float32(1.5 / 255)
    result = denoise(stack, **QUICK)
    along = result.spectra.values.mean(axis=1)

    errors = (result.error_mixing.values.T @ along)[:, None, None] * result.error_images.values
    predicted = np.sqrt(np.sum(errors**2, axis=0))
    off = result.reconstruct().values.mean(axis=0) - clean.mean(axis=0)

    assert 0.55 < np.mean(np.abs(off) < predicted) < 0.85


@pytest.mark.filterwarnings("ignore:component .+ is close to the limit")
def test_a_given_sigma_says_that_nothing_is_shared():
    stack, _ = scan(100.0)

    assert (denoise(stack, sigma=0.1, **QUICK).sigma_common.values == 0).all()


@pytest.mark.filterwarnings("ignore:component .+ is close to the limit")
def test_frames_left_out_share_nothing():
    stack, _ = scan(400.0)
    weight = np.ones(len(stack))
    weight[7] = 0
    result = denoise(stack.assign_coords(weight=("energy", weight)), **QUICK)

    assert result.sigma_common.values[7] == 0
    assert (np.delete(result.sigma_common.values, 7) > 0).all()


def test_an_even_shape_leaves_everything_as_it_is():
    problem = problem_of(sample())

    assert NoiseModel().whiten(problem).coarse.stack is problem.coarse.stack
    assert NoiseModel().description == "white"
    assert replace(NoiseModel(), common=CommonNoise(FLAT, 2.0)).description.startswith("white; 2 times")
