"""Images mixed by their risk: noise that neighbours share is probed with noise of the same kind."""

from dataclasses import replace

import numpy as np
import pytest
from scans import edge_spectrum, smooth_images
from scipy.ndimage import gaussian_filter

from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import project
from xanesum.method.blending import blended_images, with_broad_noise
from xanesum.method.problem import Level, Problem

ENERGY = np.linspace(8320.0, 8360.0, 30)
SHAPE = (96, 112)
SPECTRA = np.linalg.qr(np.stack([edge_spectrum(ENERGY, at) for at in (8340.0, 8342.0)]).T).Q.T
IMAGES = smooth_images(2, SHAPE, seed=4) * np.array([10.0, 2.0])[:, None, None]
ALL = np.ones(SHAPE, bool)
AS_IT_IS = ((),)
MIRRORS = ((), (0,), (1,), (0, 1))


def smooth(images, sigma, mask):
    return np.stack([gaussian_filter(image, 0.8) for image in images])


def noise(width, seed):
    """Noise of standard deviation 1, blurred by so many pixels."""
    white = np.random.default_rng(seed).standard_normal((len(ENERGY), *SHAPE))
    blurred = gaussian_filter(white, (0, width, width), mode="wrap")
    return (blurred / blurred.std()).astype(np.float32)


def scan(width, seed):
    return np.tensordot(SPECTRA.T, IMAGES, axes=1).astype(np.float32) + noise(width, seed)


def problem_of(values, mask=ALL, denoise_at=smooth):
    rng = np.random.default_rng(5)
    return Problem.with_one_level(values, ENERGY, mask=mask, sigma=1.0, denoise_at=denoise_at, rng=rng)


def blended(problem, *, n_probes=4, views=AS_IT_IS, weigh=False):
    noisy = project(SPECTRA, problem.full.stack)
    return blended_images(problem, problem.full, SPECTRA, noisy, n_probes=n_probes, views=views, weigh=weigh)


def test_the_risk_of_correlated_noise_is_right_by_probes_of_its_own():
    stated, true, by_signs = [], [], []
    for seed in range(6):
        problem = problem_of(scan(0.7, seed))
        blend, images, _ = blended(with_broad_noise(problem, SPECTRA))
        stated.append(blend.risk)
        by_signs.append(blended(problem)[0].risk)
        true.append(np.mean((images - IMAGES) ** 2, axis=(1, 2)))

    np.testing.assert_allclose(np.mean(stated, axis=0), np.mean(true, axis=0), rtol=0.15)
    assert np.all(np.mean(by_signs, axis=0) < 0.3 * np.mean(true, axis=0))


def test_noise_of_broad_detail_is_measured():
    """Of blurred noise, that of blocks of 4 pixels less that of blocks of 8, from many draws."""
    drawn = np.concatenate([noise(0.7, seed) for seed in range(100, 110)])
    fours, eights = (np.square(average_pixels(drawn, side), dtype=np.float64).sum() for side in (4, 8))
    n_fours, n_eights = (average_pixels(drawn, side).size for side in (4, 8))
    expected = np.sqrt((fours - eights) / (n_fours - n_eights))

    white, blurred = (
        with_broad_noise(problem_of(scan(width, 1)), SPECTRA).coarse.breadth for width in (0.0, 0.7)
    )

    assert expected > 1.5
    assert blurred == pytest.approx(expected, rel=0.05)
    assert 1 <= white < 1.05


def test_pixels_that_do_not_count_have_no_say_in_it():
    mask = ALL.copy()
    mask[:, 60:] = False
    values = scan(0.7, 2)
    spoiled = np.where(mask, values, np.float32(100))

    first, second = (
        with_broad_noise(problem_of(each, mask), SPECTRA).coarse.breadth for each in (values, spoiled)
    )

    assert first == second
    assert first == pytest.approx(with_broad_noise(problem_of(values), SPECTRA).coarse.breadth, rel=0.1)


def test_the_denoiser_is_told_the_noise_of_broad_detail():
    told = []

    def watched(images, sigma, mask):
        told.append(sigma)
        return smooth(images, sigma, mask)

    problem = with_broad_noise(problem_of(scan(0.7, 3), denoise_at=watched), SPECTRA)
    blended(problem)

    assert problem.coarse.breadth > 1.5
    assert set(told) == {problem.coarse.breadth}


def test_pixels_have_the_noise_that_their_averages_show():
    values = scan(0.7, 4)
    averages = average_pixels(values, 2)
    coarse = Level(averages, np.ones(averages.shape[1:], bool), sigma=1.7)
    problem = replace(problem_of(values), coarse=coarse, scale=2)

    found = with_broad_noise(problem, SPECTRA)

    assert found.full.breadth == pytest.approx(1.7)
    assert found.coarse.sigma == 1.7
    assert found.scale == 2


def test_without_breadth_probes_are_random_signs():
    changes = []

    def watched(images, sigma, mask):
        changes.append(images.copy())
        return images

    problem = problem_of(scan(0.0, 5), denoise_at=watched)
    blended(problem, n_probes=1)
    blended(problem.on_one_level(replace(problem.full, breadth=1.001)), n_probes=1)

    signs, own = (after - before for before, after in (changes[:2], changes[2:]))
    np.testing.assert_allclose(np.abs(signs), np.abs(signs).mean(), rtol=1e-3)
    assert own.std() == pytest.approx(signs.std(), rel=0.03)  # of the same size ...
    assert np.mean(np.abs(own)) == pytest.approx(np.sqrt(2 / np.pi) * own.std(), rel=0.03)  # ... and normal


def test_with_few_energies_probes_are_random_signs_too():
    problem = problem_of(scan(0.7, 6))
    few = problem.on_one_level(replace(problem.full, breadth=2.0))

    enough, too_many = (blended(few, n_probes=n)[2].counts.sum() for n in (14, 15))

    assert too_many == IMAGES[0].size
    assert enough != IMAGES[0].size


def test_probes_are_shared_out_among_mirror_images():
    calls = []

    def lopsided(images, sigma, mask):
        calls.append(images)
        return np.roll(smooth(images, sigma, mask), 1, axis=2)

    problem = problem_of(scan(0.0, 7), denoise_at=lopsided)
    for n_probes, n_calls in ((4, 8), (1, 5), (8, 12)):
        calls.clear()
        blend, images, response = blended(problem, n_probes=n_probes, views=MIRRORS)
        assert len(calls) == n_calls
        assert response.divergence.shape == blend.divergence.shape == (n_probes, 2)

    noisy = project(SPECTRA, problem.full.stack)
    right = np.stack([gaussian_filter(image, 0.8) for image in noisy])
    both = (np.roll(right, 1, axis=2) + np.roll(right, -1, axis=2)) / 2
    np.testing.assert_allclose(images, both, atol=1e-4)


def test_no_spectrum_has_no_image():
    problem = problem_of(scan(0.0, 8))
    nothing = np.zeros((0, *SHAPE), np.float32)

    blend, images, response = blended_images(
        problem, problem.full, SPECTRA[:0], nothing, n_probes=3, views=MIRRORS, weigh=True
    )

    assert blend.risk.shape == (0,)
    assert blend.divergence.shape == response.divergence.shape == (3, 0)
    assert images.shape == (0, *SHAPE)


def test_weights_make_it_no_worse():
    """A denoiser that blurs too much is mixed with the noisy image."""

    def too_smooth(images, sigma, mask):
        return np.stack([gaussian_filter(image, 3.0) for image in images])

    problem = problem_of(scan(0.0, 9), denoise_at=too_smooth)

    plain, weighed = (blended(problem, weigh=weigh)[1] for weigh in (False, True))

    errors = [np.mean((images - IMAGES) ** 2, axis=(1, 2)) for images in (plain, weighed)]
    assert np.all(errors[1] < 1.02 * np.minimum(errors[0], 1))
    assert errors[1][0] < 0.9 * errors[0][0]
