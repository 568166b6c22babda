"""Noise that is not even: its variance from what a fit leaves over, and its factors."""

import numpy as np
import pytest
from scans import smooth_images

from xanesum.noise.variance import CountVariance, FittedVariance, fit_variance, left_uneven, separate
from xanesum.phantom import Detector

N_ENERGIES, SHAPE = 40, (90, 120)
NO_SPECTRUM = np.zeros((0, N_ENERGIES))
NO_IMAGE = np.zeros((0, *SHAPE), np.float32)


def fresh(seed=0):
    return np.random.default_rng(seed)


def factors_of_a_stack(depth=1.5):
    """Two spectra, orthonormal, and images of a sample that absorbs up to `depth`."""
    edge = 1 / (1 + np.exp(-(np.arange(N_ENERGIES) - 15) / 1.5))
    line = np.exp(-0.5 * ((np.arange(N_ENERGIES) - 18) / 2) ** 2)
    images = np.abs(smooth_images(2, SHAPE)) * np.array([1.0, 0.3])[:, None, None]
    stack = np.tensordot(np.stack([0.1 + edge, line]).T, images, axes=1)
    stack *= depth / stack.max()
    u, _, _ = np.linalg.svd(stack.reshape(N_ENERGIES, -1), full_matrices=False)
    spectra = u[:, :2].T
    return spectra, np.tensordot(spectra, stack, axes=1).astype(np.float32)


SPECTRA, IMAGES = factors_of_a_stack()
CLEAN = np.tensordot(SPECTRA.T, IMAGES, axes=1)


def noisy(sigma, seed=0):
    return (CLEAN + sigma * fresh(seed).standard_normal(CLEAN.shape)).astype(np.float32)


def fitted_sigma(variance):
    return np.sqrt([variance.at(e, CLEAN[e]) for e in range(N_ENERGIES)])


# --- the variance, from the stack


def test_white_noise_is_found_white():
    found = fit_variance(noisy(0.05), SPECTRA, IMAGES, rng=fresh())
    sigma = fitted_sigma(found)
    factors = separate(found, SPECTRA, IMAGES)

    np.testing.assert_allclose(sigma, 0.05, rtol=0.06)
    assert sigma.mean() == pytest.approx(0.05, rel=0.01)
    assert factors.unevenness < 0.015
    assert factors.misfit < 0.01


@pytest.mark.parametrize("n_pixels", [300, 3000])
def test_what_a_small_sample_shows_by_chance_is_stated(n_pixels):
    mask = np.zeros(SHAPE, bool)
    mask.ravel()[fresh(9).permutation(mask.size)[:n_pixels]] = True
    seen, stated = [], []
    for seed in range(10):
        found = fit_variance(noisy(0.05, seed), SPECTRA, IMAGES, mask=mask, rng=fresh())
        seen.append(np.log(fitted_sigma(found)[:, mask] / 0.05).std())
        stated.append(found.error)

    assert 0.6 < np.sqrt(np.mean(np.square(seen))) / np.mean(stated) < 1.5


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_counts_is_found_from_the_stack_alone(seed):
    y, x = np.indices(SHAPE)
    light = 800 * (1 - 0.4 * ((x - 60) ** 2 + (y - 45) ** 2) / 5000) * np.ones((N_ENERGIES, 1, 1))
    light *= np.linspace(0.8, 1.2, N_ENERGIES)[:, None, None]
    counts = light * np.exp(-CLEAN)
    true = np.sqrt(0.5 * counts + 30) / counts

    found = fitted_sigma(fit_variance(noisy(true, seed), SPECTRA, IMAGES, rng=fresh(seed)))

    relative = np.log(found / true)
    assert np.std(np.log(true)) > 0.1  # what there was to find
    assert np.sqrt(np.mean(relative**2)) < 0.03
    assert abs(relative.mean()) < 0.01


def test_an_energy_that_the_spectra_take_whole_is_told_by_its_neighbours():
    spectra = np.vstack([SPECTRA, np.eye(N_ENERGIES)[20]])
    spectra = np.linalg.qr(spectra.T).Q.T
    images = np.tensordot(spectra, CLEAN, axes=1).astype(np.float32)

    found = fit_variance(noisy(0.05), spectra, images, rng=fresh())

    assert np.sqrt(found.at(20, CLEAN[20])).mean() == pytest.approx(0.05, rel=0.03)


def test_outliers_and_masked_pixels_have_no_say():
    stack = noisy(0.05)
    stack[5, 10:14, 20:30] = 50
    mask = np.ones(SHAPE, bool)
    mask[:, :30] = False
    stack[:, ~mask] = 0

    found = fit_variance(stack, SPECTRA, IMAGES, mask=mask, rng=fresh())

    assert np.median(fitted_sigma(found)[:, mask]) == pytest.approx(0.05, rel=0.03)


def test_thickness_that_changes_as_the_illumination_could_is_counted_once():
    """Two factors that explain the same must not take it away from each other in turns."""
    sigma = np.where(np.arange(SHAPE[1]) < SHAPE[1] // 2, 0.05, 0.1)
    images = np.where(np.arange(SHAPE[1]) < SHAPE[1] // 2, 1.0, 5.0) * np.ones((1, *SHAPE), np.float32)
    spectra = np.ones((1, N_ENERGIES)) / np.sqrt(N_ENERGIES)
    clean = np.tensordot(spectra, images, axes=(0, 0))
    stack = (clean + sigma * fresh().standard_normal(clean.shape)).astype(np.float32)

    found = fit_variance(stack, spectra, images.astype(np.float32), rng=fresh())

    at = np.sqrt([found.at(e, clean[e]) for e in range(N_ENERGIES)])
    for half, true in (
        (np.s_[:, :, 4 : SHAPE[1] // 2 - 4], 0.05),
        (np.s_[:, :, SHAPE[1] // 2 + 4 : -4], 0.1),
    ):
        assert at[half].mean() == pytest.approx(true, rel=0.03)


def test_without_any_component_the_variance_is_that_of_the_values():
    stack = (0.3 * fresh().standard_normal(CLEAN.shape)).astype(np.float32)

    found = fit_variance(stack, NO_SPECTRUM, NO_IMAGE, rng=fresh())

    np.testing.assert_allclose(np.sqrt(found.at(3, np.zeros(SHAPE))), 0.3, rtol=0.1)


# --- the variance, from the camera's law


def test_the_law_predicts_the_scatter_of_optical_density():
    camera, light = Detector(gain=0.5, read_variance=40.0), np.full(SHAPE, 900.0)
    variance = CountVariance(np.full(1, 0.5), np.full(1, 40.0), light, np.ones(1))
    density = np.linspace(0, 1.5, SHAPE[1]) * np.ones(SHAPE)
    repeats = [-np.log(camera.read(light * np.exp(-density), rng=fresh(s)) / light) for s in range(60)]

    scatter = np.var(repeats, axis=0).mean(axis=0)

    np.testing.assert_allclose(scatter, variance.at(0, density)[0], rtol=0.12)


# --- factors


def test_a_product_is_taken_apart_exactly():
    energy, pixel = fresh().uniform(0.5, 2, N_ENERGIES), np.exp(smooth_images(1, SHAPE)[0])
    product = FittedVariance(energy, pixel, np.zeros(1), np.zeros(1))

    found = separate(product, SPECTRA, IMAGES)

    product_of_found = found.sigma_energy[:, None, None] * found.sigma_pixel
    np.testing.assert_allclose(product_of_found**2, energy[:, None, None] * pixel, rtol=1e-6)
    assert found.misfit < 1e-6
    assert np.log(found.sigma_pixel).mean() == pytest.approx(0, abs=1e-9)


def test_misfit_is_what_a_product_leaves_of_the_law():
    variance = CountVariance(
        np.full(N_ENERGIES, 0.144), np.full(N_ENERGIES, 11.0), np.full(SHAPE, 100.0), np.ones(N_ENERGIES)
    )
    log_sigma = np.log(fitted_sigma(variance))
    rest = log_sigma - log_sigma.mean(axis=0) - log_sigma.mean(axis=(1, 2), keepdims=True) + log_sigma.mean()

    found = separate(variance, SPECTRA, IMAGES)

    assert found.misfit == pytest.approx(np.sqrt(np.mean(rest**2)), rel=1e-3)
    assert found.misfit > 0.02
    assert found.unevenness > found.misfit


def test_what_a_product_leaves_uneven_is_known_for_every_image():
    variance = CountVariance(
        np.full(N_ENERGIES, 0.144), np.full(N_ENERGIES, 11.0), np.full(SHAPE, 100.0), np.ones(N_ENERGIES)
    )
    factors = separate(variance, SPECTRA, IMAGES)
    relative = fitted_sigma(variance) / (factors.sigma_energy[:, None, None] * factors.sigma_pixel)

    found = left_uneven(variance, factors, SPECTRA, IMAGES, SPECTRA)

    expected = np.sqrt(np.einsum("ke,eyx->kyx", SPECTRA**2, relative**2))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert expected.max() > 1.05


def test_factors_of_many_energies_come_from_a_sample_of_frames_and_of_pixels():
    n, shape = 250, (120, 130)
    energy = fresh().uniform(0.5, 2, n)  # as exposure times that change from frame to frame
    images = np.abs(smooth_images(1, shape))
    spectra = np.ones((1, n)) / np.sqrt(n)
    variance = CountVariance(np.full(n, 0.144), np.full(n, 11.0), np.full(shape, 200.0), energy)
    sigma = np.sqrt([variance.at(e, spectra[0, e] * images[0]) for e in range(n)])

    found = separate(variance, spectra, images)

    np.testing.assert_allclose(found.sigma_energy[:, None, None] * found.sigma_pixel, sigma, rtol=0.03)
    assert np.log(found.sigma_pixel).mean() == pytest.approx(0, abs=1e-9)


def test_pixels_outside_the_mask_get_one():
    mask = np.ones(SHAPE, bool)
    mask[:10] = False
    pixel = np.where(mask, 2.0, 1e9)

    found = separate(
        FittedVariance(np.ones(N_ENERGIES), pixel, np.zeros(1), np.zeros(1)), SPECTRA, IMAGES, mask=mask
    )

    np.testing.assert_allclose(found.sigma_pixel, 1.0)
    np.testing.assert_allclose(found.sigma_energy, np.sqrt(2))
