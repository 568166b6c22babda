"""Sigma from the data alone, against the sigma that was put in."""

import numpy as np
import pytest
from scans import add_noise, low_rank, smooth_images
from scipy.ndimage import convolve1d

from xanesum.errors import SigmaError
from xanesum.linalg.subspace import fit_basis
from xanesum.noise.level import (
    count_above_noise,
    estimate_sigma,
    marchenko_pastur_median,
    noise_rank,
    noise_reach,
    sigma_of_pixels,
    sigma_per_energy,
    wavelet_sigma,
)


def fresh():
    return np.random.default_rng(0)


@pytest.mark.parametrize("beta", [0.01, 0.3, 1.0])
def test_marchenko_pastur_median_matches_a_random_matrix(beta):
    n = 1500
    matrix = np.random.default_rng(1).standard_normal((round(beta * n), n))
    measured = np.median(np.linalg.eigvalsh(matrix @ matrix.T) / n)

    assert marchenko_pastur_median(beta) == pytest.approx(measured, rel=0.02)


def test_marchenko_pastur_median_of_a_square_matrix_is_that_of_the_quarter_circle():
    root = np.sqrt(marchenko_pastur_median(1.0))  # singular values of square noise: a quarter circle, 0 to 2

    below = root * np.sqrt(4 - root**2) / (2 * np.pi) + 2 / np.pi * np.arcsin(root / 2)
    assert below == pytest.approx(0.5, rel=1e-9)


def test_sigma_is_found_where_pixels_are_as_many_as_energies():
    rng = np.random.default_rng(0)
    found = [estimate_sigma(rng.standard_normal((40, 1, 40)), rng=fresh()) for _ in range(20)]

    # 200 such scans differ by 4 %, so the mean of 20 does by 1 %; 4 times over
    assert np.mean(found) == pytest.approx(1.0, rel=0.04)


@pytest.mark.parametrize("sigma", [0.01, 1.0, 60.0])
@pytest.mark.parametrize("n_energies", [14, 60])
def test_sigma_is_found_beside_strong_components(sigma, n_energies):
    clean = sigma * low_rank((50.0, 5.0, 1.0), n_energies, (80, 90))

    # sample of 4000 pixels: 1 / sqrt(2 * 4000 * 14) = 0.3 %, times the price of a median, 4 times over
    assert estimate_sigma(add_noise(clean, sigma), rng=fresh()) == pytest.approx(sigma, rel=0.015)


def test_sigma_is_found_from_few_pixels():
    """With two and a half pixels for each energy, the median eigenvalue is far below the mean."""
    stack = add_noise(np.zeros((400, 20, 50), np.float32), 3.0)

    assert estimate_sigma(stack, rng=fresh()) == pytest.approx(3.0, rel=0.01)


def test_few_energies_use_wavelets():
    clean = low_rank((50.0,), 3, (120, 130))

    assert estimate_sigma(add_noise(clean, 2.0), rng=fresh()) == pytest.approx(2.0, rel=0.06)


def test_masked_pixels_do_not_count():
    stack = add_noise(low_rank(shape=(80, 90)), 1.0)
    mask = np.ones(stack.shape[1:], bool)
    mask[:, :20] = False
    stack[:, ~mask] = 1e5 * np.random.default_rng(5).standard_normal((len(stack), int((~mask).sum())))

    assert estimate_sigma(stack, mask=mask, rng=fresh()) == pytest.approx(1.0, rel=0.02)
    np.testing.assert_allclose(np.median(wavelet_sigma(stack, mask=mask)), 1.0, rtol=0.05)


def test_no_noise_gives_zero():
    assert estimate_sigma(low_rank(shape=(80, 90)), rng=fresh()) < 1e-4


def interpolated(stack, n_energies):
    """A stack interpolated linearly along energy to more energies."""
    place = np.linspace(0, len(stack) - 1, n_energies)
    below = np.minimum(place.astype(int), len(stack) - 2)
    share = (place - below)[:, None, None]
    return ((1 - share) * stack[below] + share * stack[below + 1]).astype(np.float32)


@pytest.mark.parametrize("n_energies", [41, 52, 100])
def test_sigma_of_a_stack_interpolated_along_energy(n_energies):
    clean = low_rank((50.0, 5.0), 40, (80, 90))
    fine, noisy = interpolated(clean, n_energies), interpolated(add_noise(clean, 1.0), n_energies)
    rms = float(np.std(noisy - fine))

    assert estimate_sigma(noisy, rng=fresh()) == pytest.approx(rms, rel=0.04)
    assert noise_rank(noisy.reshape(n_energies, -1)) == 40


def test_noise_of_full_rank_is_not_taken_for_interpolated():
    """Not even where the noise of energies differs by a factor of 20."""
    stack = add_noise(low_rank((50.0,), 40, (80, 90)), 1.0).reshape(40, -1)
    uneven = stack * np.geomspace(1, 20, 40, dtype=np.float32)[:, None]

    assert noise_rank(stack) == noise_rank(uneven) == 40
    # the same number as ever for noise of full rank: the median of the values that are no signal's
    values = np.linalg.svd(stack.astype(float), compute_uv=False)[1:] ** 2
    expected = np.sqrt(np.median(values) / (stack.shape[1] * marchenko_pastur_median(39 / stack.shape[1])))
    assert sigma_of_pixels(stack) == pytest.approx(expected, rel=1e-6)


def test_a_stack_without_noise_has_no_noise_rank():
    for n_states in (3, 10):
        assert noise_rank(low_rank(np.geomspace(9, 1, n_states), 40).reshape(40, -1)) == 40


def test_sigma_per_energy_follows_the_frames():
    sigmas = np.linspace(0.5, 2.0, 30)
    clean = low_rank((50.0, 20.0), shape=(120, 120))
    noise = np.random.default_rng(4).standard_normal(clean.shape) * sigmas[:, None, None]
    stack = (clean + noise).astype(np.float32)

    found = sigma_per_energy(stack, fit_basis(stack, 2, rng=fresh()).spectra, rng=fresh())

    # median of 14,400 residuals: 1.17 / sqrt(14400) = 1 %; spectra mix the energies' noise a little
    np.testing.assert_allclose(found, sigmas, rtol=0.08)


def test_sigma_per_energy_is_the_same_without_a_matrix_of_all_energies(monkeypatch):
    sigmas = np.linspace(0.5, 2.0, 30)
    noise = np.random.default_rng(4).standard_normal((30, 60, 60)) * sigmas[:, None, None]
    spectra = fit_basis(low_rank((50.0, 20.0), shape=(60, 60)), 2, rng=fresh()).spectra
    one_energy = np.eye(30)[7] + 0.01  # only the fit tells what is left of the noise of this energy
    for known in (spectra, np.vstack([spectra[:1], one_energy / np.linalg.norm(one_energy)])):
        known = np.linalg.svd(known, full_matrices=False)[2]
        with monkeypatch.context() as patch:
            whole = sigma_per_energy(noise.copy(), known, rng=fresh())
            patch.setattr("xanesum.noise.level.GRAM_LIMIT", 10)
            by_parts = sigma_per_energy(noise.copy(), known, rng=fresh())
        few = np.sum(known**2, axis=0) < 0.4
        np.testing.assert_allclose(by_parts[few], whole[few], rtol=1e-6 if few.all() else 0.02)
        np.testing.assert_allclose(by_parts[few], sigmas[few], rtol=0.08)


def test_sigma_per_energy_counts_what_the_fit_took():
    """With six of eight dimensions fitted, the residual is half of the noise; the estimate is not."""
    noise = np.random.default_rng(4).standard_normal((8, 100, 100)).astype(np.float32)
    spectra = np.linalg.qr(np.random.default_rng(5).standard_normal((8, 6))).Q.T

    np.testing.assert_allclose(sigma_per_energy(noise, spectra, rng=fresh()), 1.0, rtol=0.08)


def test_sigma_of_an_energy_that_a_spectrum_is_all_about_is_that_of_the_others():
    """Three hundredths of its noise are left over beside what the others' noise puts there."""
    noise = np.random.default_rng(4).standard_normal((20, 100, 100)).astype(np.float32)
    spectrum = np.full((1, 20), np.sqrt(0.03 / 19))
    spectrum[0, 7] = np.sqrt(0.97)

    assert sigma_per_energy(noise, spectrum, rng=fresh())[7] == pytest.approx(1.0, rel=0.05)


def test_sigma_of_many_energies_is_that_of_each():
    sigmas = np.linspace(0.5, 2.0, 90)
    noise = (sigmas[:, None, None] * np.random.default_rng(4).standard_normal((90, 80, 80))).astype(
        np.float32
    )
    spectrum = np.full((1, 90), 90**-0.5)

    np.testing.assert_allclose(sigma_per_energy(noise, spectrum, rng=fresh()), sigmas, rtol=0.08)


def test_components_above_the_noise_are_counted():
    stack = add_noise(low_rank((50.0, 5.0, 1.0), 30, (60, 60)), 1.0)
    values = fit_basis(stack, rng=fresh()).singular_values

    assert count_above_noise(values, (len(values), 3600), 1.0) == 3


def test_structure_does_not_pass_for_noise_in_wavelets():
    image = 20 * smooth_images(1, (200, 210), width=6.0).astype(np.float32)

    assert wavelet_sigma(add_noise(image, 1.0))[0] == pytest.approx(1.0, rel=0.05)


def test_one_pixel_is_too_few():
    with pytest.raises(SigmaError, match=r"from 1 usable pixels; give it \(sigma=\)"):
        estimate_sigma(np.ones((20, 1, 1), np.float32), rng=fresh())


def test_a_fit_that_leaves_nothing_leaves_no_noise_level():
    stack = add_noise(low_rank((5.0, 5.0, 5.0), 3, (64, 64)), 0.05)

    found = sigma_per_energy(stack, fit_basis(stack, rng=fresh()).spectra, rng=fresh())

    assert np.isnan(found).all()


def test_few_usable_pixels_and_images_of_one_row():
    rng = np.random.default_rng(0)
    stack = rng.standard_normal((60, 10, 10)).astype(np.float32)
    mask = np.zeros((10, 10), bool)
    mask[2, :5] = True
    row = 0.1 * rng.standard_normal((6, 1, 300)).astype(np.float32)
    used = np.ones((1, 300), bool)
    used[0, ::4] = False
    row[:, ~used] = 0

    assert np.isfinite(estimate_sigma(stack, mask=mask, rng=fresh()))
    assert estimate_sigma(row, mask=used, rng=fresh()) == pytest.approx(0.1, rel=0.2)


# --- reach


def reach_of(stack, axis, *, rank=3, mask=None):
    return noise_reach(stack, axis, rank=rank, mask=mask, rng=fresh())


def spread_noise(kernel, axis, shape=(24, 60, 64), seed=0):
    white = np.random.default_rng(seed).standard_normal(shape)
    return convolve1d(white, kernel, axis=axis, mode="wrap").astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_white_noise_reaches_nowhere(axis, seed):
    clean = low_rank((50.0, 20.0, 5.0), shape=(40, 50))

    assert reach_of(add_noise(clean, 1.0, seed), axis) == 0


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize(("kernel", "reach"), [([0.5, 0.5], 1), ([0.25, 0.5, 0.25], 2), ([-0.5, 0.5], 1)])
def test_noise_reaches_as_far_as_it_was_spread_and_only_there(axis, kernel, reach):
    noise = spread_noise(kernel, axis)
    clean = low_rank((50.0, 20.0, 5.0), 24, (60, 64))

    assert reach_of(clean + noise, axis) == reach
    assert reach_of(clean + noise, 3 - axis) == 0


def test_faint_correlation_does_not_count():
    assert reach_of(spread_noise([1.0, 0.03], 2), 2) == 0


@pytest.mark.parametrize(("axis", "most"), [(1, 5), (2, 8)])
def test_the_reach_is_at_most_an_eighth_of_the_image_and_8(axis, most):
    assert reach_of(spread_noise(np.ones(21), axis, (12, 40, 80)), axis) == most


def test_structure_is_no_noise():
    stack = add_noise(low_rank((50.0, 20.0), shape=(64, 64)), 1.0)

    assert reach_of(stack, 2, rank=2) == 0
    assert reach_of(stack, 2, rank=1) > 4


@pytest.mark.parametrize("spoiled", [np.nan, 1e4])
@pytest.mark.parametrize("axis", [1, 2])
def test_masked_pixels_have_no_reach(axis, spoiled):
    noise = spread_noise([0.5, 0.5], axis)
    mask = np.ones(noise.shape[1:], bool)
    mask[10:30, 20:50] = False

    assert reach_of(np.where(mask, noise, np.float32(spoiled)), axis, mask=mask) == 1
    assert reach_of(np.where(mask, noise, np.float32(spoiled)), 3 - axis, mask=mask) == 0


def test_a_few_scattered_pixels_show_the_reach():
    noise = spread_noise([0.5, 0.5], 2)
    mask = np.random.default_rng(1).random(noise.shape[1:]) < 0.25

    assert reach_of(noise, 2, mask=mask) == 1


def test_fewer_pixels_or_energies_than_components_have_no_reach():
    noise = spread_noise([0.5, 0.5], 2)
    mask = np.zeros(noise.shape[1:], bool)
    mask[30, 30:33] = True

    assert reach_of(noise, 2, mask=mask) == 0
    assert reach_of(noise[:3], 2) == 0
    assert reach_of(noise[:, :, :7], 2) == 0
    assert reach_of(noise, 2, mask=np.zeros_like(mask)) == 0


def test_a_wide_image_is_judged_by_its_middle(monkeypatch):
    monkeypatch.setattr("xanesum.noise.level.REACH_PIXELS", 64 * 20)
    noise = spread_noise([0.5, 0.5], 2)
    noise[:, :15] = noise[:, 45:] = 0

    assert reach_of(noise, 2) == 1


@pytest.mark.parametrize("shape", [(8, 8), (6, 6), (4, 3), (36, 1), (1, 52), (12, 1), (200, 1)])
def test_sigma_of_small_images_and_line_scans(shape):
    rng = np.random.default_rng(0)
    n_energies, sigma = 61, 0.03
    spectra = np.vstack([np.ones(n_energies), 1 / (1 + np.exp(-np.linspace(-15, 15, n_energies)))])
    images = rng.random((2, *shape))
    clean = np.tensordot(spectra.T, images, axes=1)
    found = [
        estimate_sigma(clean + sigma * rng.standard_normal(clean.shape), rng=np.random.default_rng(0))
        for _ in range(8)
    ]
    # the least has 12 pixels, so a relative standard error of about 5 %, and 2 % in the mean
    assert np.mean(found) == pytest.approx(sigma, rel=0.06)


def test_few_pixels_do_not_look_like_interpolated_energies():
    pixels = np.random.default_rng(0).standard_normal((61, 36))
    assert noise_rank(pixels) == 61
    halves = np.repeat(np.random.default_rng(0).standard_normal((15, 36)), 4, axis=0)
    assert noise_rank(halves) == 15
