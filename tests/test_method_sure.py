"""The risk against the truth, and its divergence against brute force."""

import numpy as np
import pytest
from scans import add_noise, low_rank, smooth_images
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from xanesum.errors import SigmaError
from xanesum.linalg.subspace import fit_basis, project, reconstruct
from xanesum.method.sum import try_ranks
from xanesum.method.sure import (
    TURN,
    RankRisk,
    Response,
    blend_by_risk,
    image_response,
    monte_carlo_divergence,
)

SIGMA = 1.0


def fresh(seed=0):
    return np.random.default_rng(seed)


def shrink(images):
    """A smooth nonlinear denoiser: smoothing that lets strong pixels through."""
    smoothed = np.stack([0.3 * image + 0.7 * gaussian_filter(image, 1.0) for image in images])
    return (smoothed * (1 - 0.5 * np.exp(-((images / 3) ** 2)))).astype(np.float32)


def blended(noisy, denoised, denoise, seed=0, mask=None, weigh=True):
    divergence = image_response(noisy, denoised, denoise, SIGMA, rng=fresh(seed), mask=mask).divergence
    return blend_by_risk(noisy, denoised, divergence, SIGMA, mask=mask, weigh=weigh)


def chain(rank, denoise):
    """The whole map from noisy stack to clean stack, as one function."""

    def apply(stack):
        spectra = fit_basis(stack, rank, rng=fresh(), route="gram").spectra
        return reconstruct(spectra, denoise(project(spectra, stack))).astype(np.float64)

    return apply


def test_monte_carlo_divergence_of_a_linear_map_is_its_trace():
    diagonal = np.linspace(0, 2, 500)

    found = monte_carlo_divergence(lambda v: diagonal * v, np.zeros(500), sigma=1.0, rng=fresh())

    assert found.value == pytest.approx(diagonal.sum(), rel=1e-9)  # signs square to one
    assert found.standard_error < 1e-9 * abs(found.value)


@pytest.mark.parametrize("sigma", [0.01, 60.0])
def test_probes_are_as_long_as_a_share_of_sigma(sigma):
    seen = []

    monte_carlo_divergence(lambda v: seen.append(v) or v, np.zeros(50), sigma=sigma, rng=fresh(), step=0.1)

    np.testing.assert_allclose(np.abs(seen[1:]), 0.1 * sigma, rtol=1e-12)


def test_divergence_equals_that_of_the_whole_chain_by_brute_force():
    stack = add_noise(low_rank((20.0, 3.0, 0.8)), SIGMA)
    basis = fit_basis(stack, rng=fresh())

    trial = try_ranks(stack, basis, shrink, SIGMA, max_rank=5, rng=fresh(1), n_probes=60, step=0.01)

    for rank in (1, 3, 5):
        brute = monte_carlo_divergence(
            chain(rank, shrink), stack.astype(np.float64), sigma=SIGMA, rng=fresh(2), n_probes=60, step=1e-3
        )
        own_error = trial.risk.standard_error[rank] * stack.size / (2 * SIGMA**2)
        assert trial.risk.divergence[rank] == pytest.approx(
            brute.value, abs=4 * np.hypot(brute.standard_error, own_error)
        )


def test_divergence_without_denoiser_is_the_closed_form_of_truncated_svd():
    stack = add_noise(low_rank(), SIGMA)
    basis = fit_basis(stack, rng=fresh())
    squares = basis.singular_values**2
    n_energies, n_pixels = len(stack), stack[0].size

    trial = try_ranks(stack, basis, lambda images: images, SIGMA, max_rank=3, rng=fresh(), n_probes=30)

    for rank in (1, 2, 3):
        exact = sum(
            n_pixels
            - (n_energies - 1)
            + 2 * sum(squares[k] / (squares[k] - squares[j]) for j in range(30) if j != k)
            for k in range(rank)
        )
        assert trial.risk.divergence[rank] == pytest.approx(exact, rel=2e-3)


def test_an_incomplete_basis_gives_nearly_the_same_divergence():
    stack = add_noise(low_rank(), SIGMA)
    complete = fit_basis(stack, rng=fresh())
    short = fit_basis(stack, 10, rng=fresh(), route="randomized", n_power=8)

    full = try_ranks(stack, complete, shrink, SIGMA, max_rank=3, rng=fresh(), n_probes=20).risk.divergence
    partial = try_ranks(stack, short, shrink, SIGMA, max_rank=3, rng=fresh(), n_probes=20).risk.divergence

    np.testing.assert_allclose(partial[1:], full[1:], rtol=0.01)


def test_risk_follows_the_true_error_over_seeds():
    """Bias below 2 % of the true error, beside 4 standard errors, for every rank that sees the signal."""
    clean = low_rank((20.0, 3.0, 0.8))
    differences, errors = [], []
    for seed in range(20):
        stack = add_noise(clean, SIGMA, seed)
        basis = fit_basis(stack, rng=fresh())
        trial = try_ranks(stack, basis, shrink, SIGMA, max_rank=4, rng=fresh(seed))
        luck = (
            np.mean((stack - clean).astype(np.float64) ** 2) - SIGMA**2
        )  # same for every estimate: mean zero
        truth = [
            np.mean((reconstruct(basis.spectra[:k], trial.denoised[:k]) - clean).astype(np.float64) ** 2)
            for k in range(2, 5)
        ]
        differences.append(trial.risk.risk[2:] - luck - truth)
        errors.append(truth)
    standard_error = np.std(differences, axis=0) / np.sqrt(20)
    assert np.all(np.abs(np.mean(differences, axis=0)) < 0.02 * np.mean(errors, axis=0) + 3 * standard_error)


def test_the_rank_of_least_risk_is_the_rank_of_least_error():
    clean = low_rank((20.0, 3.0, 0.8))
    stack = add_noise(clean, SIGMA)
    basis = fit_basis(stack, rng=fresh())

    trial = try_ranks(stack, basis, shrink, SIGMA, max_rank=10, rng=fresh())

    truth = [np.mean((reconstruct(basis.spectra[:k], trial.denoised[:k]) - clean) ** 2) for k in range(1, 11)]
    assert truth[trial.risk.chosen - 1] <= 10**0.01 * min(truth)  # within 0.1 dB


def test_pure_noise_has_rank_zero():
    stack = add_noise(np.zeros((30, 40, 50), np.float32), SIGMA)

    trial = try_ranks(
        stack, fit_basis(stack, rng=fresh()), lambda images: images, SIGMA, max_rank=5, rng=fresh()
    )

    assert trial.risk.chosen == 0


def test_ties_go_to_the_smaller_rank():
    table = RankRisk(
        ranks=np.arange(4),
        risk=np.array([9.0, 1.005, 1.02, 1.0]),
        standard_error=np.zeros(4),
        difference_error=np.array([0.0, 0.01, 0.01, 0.0]),
        divergence=np.zeros(4),
    )

    assert table.chosen == 1


def test_patience_stops_the_search():
    stack = add_noise(low_rank((20.0, 3.0)), SIGMA)
    basis = fit_basis(stack, rng=fresh())

    trial = try_ranks(stack, basis, lambda im: im, SIGMA, max_rank=20, rng=fresh(), patience=3)

    assert len(trial.risk.ranks) == 1 + 2 + 3  # none, two that help, three that do not
    assert trial.risk.chosen == 2


def test_pixels_outside_the_mask_do_not_count():
    stack = add_noise(low_rank(), SIGMA)
    mask = np.ones(stack.shape[1:], bool)
    mask[:10] = False
    spoiled = np.where(mask, stack, 77).astype(np.float32)
    small = stack[:, 10:]

    here = try_ranks(
        spoiled,
        fit_basis(spoiled, mask=mask, rng=fresh()),
        lambda im: im,
        SIGMA,
        max_rank=3,
        rng=fresh(),
        mask=mask,
    )
    there = try_ranks(small, fit_basis(small, rng=fresh()), lambda im: im, SIGMA, max_rank=3, rng=fresh())

    np.testing.assert_allclose(here.risk.risk, there.risk.risk, rtol=0.02)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan])
def test_risk_needs_a_positive_sigma(sigma):
    stack = low_rank()
    with pytest.raises(SigmaError, match=f"needs a positive sigma, got {sigma}"):
        try_ranks(stack, fit_basis(stack, rng=fresh()), shrink, sigma, max_rank=2, rng=fresh())


# --- blend of nothing, noisy and denoised


def images_of(*amplitudes, shape=(100, 120)):
    clean = smooth_images(len(amplitudes), shape) * np.array(amplitudes)[:, None, None]
    clean = clean.astype(np.float32)
    return clean, add_noise(clean, SIGMA)


def over_smooth(images):
    """A denoiser that is good at weak images and ruins strong ones."""
    return np.stack([gaussian_filter(image, 3.0) for image in images])


def error_of(estimate, clean):
    return np.mean((estimate - clean).astype(np.float64) ** 2, axis=(1, 2))


def test_no_image_becomes_worse_than_the_best_of_the_three():
    clean, noisy = images_of(0.01, 0.5, 5.0, 100.0)
    denoised = over_smooth(noisy)

    blend = blended(noisy, denoised, over_smooth)

    single = np.min([error_of(0 * noisy, clean), error_of(noisy, clean), error_of(denoised, clean)], axis=0)
    found = error_of(blend.apply(noisy, denoised), clean)
    assert np.all(found < 1.02 * single + 0.002)
    assert found[2] < 0.9 * single[2]  # where both are about as bad, the mixture is better
    assert blend.noisy[3] > 0.95
    assert blend.noisy[0] < 0.02
    assert min(blend.noisy.min(), blend.denoised.min()) >= 0
    assert np.all(blend.noisy + blend.denoised <= 1 + 1e-12)


def test_the_risk_of_the_blend_is_its_error():
    errors, risks = [], []
    for seed in range(20):
        clean, _ = images_of(0.5, 3.0, 30.0)
        noisy = add_noise(clean, SIGMA, seed)
        denoised = shrink(noisy)
        blend = blended(noisy, denoised, shrink, seed)
        errors.append(error_of(blend.apply(noisy, denoised), clean))
        risks.append(blend.risk)
    difference = np.array(risks) - errors
    standard_error = np.std(difference, axis=0) / np.sqrt(20)
    assert np.all(np.abs(difference.mean(axis=0)) < 0.02 * np.mean(errors, axis=0) + 3 * standard_error)


def test_a_blend_looks_only_at_the_mask():
    clean, noisy = images_of(3.0)
    mask = np.ones(clean.shape[1:], bool)
    mask[:, :40] = False

    def pointwise(images):
        return (images * (1 - np.exp(-((images / 3) ** 2)))).astype(np.float32)

    def blend(images, mask):
        return blended(images, pointwise(images), pointwise, mask=mask)

    spoiled = np.where(mask, noisy, np.float32(1e3))
    np.testing.assert_allclose(
        blend(spoiled, mask).denoised, blend(noisy[:, :, 40:], None).denoised, atol=0.02
    )


def test_pure_noise_is_blended_to_nothing():
    noisy = add_noise(np.zeros((1, 100, 120), np.float32), SIGMA)

    blend = blended(noisy, shrink(noisy), shrink)

    assert np.std(blend.apply(noisy, shrink(noisy))) < 0.05
    assert blend.risk[0] < blended(noisy, shrink(noisy), shrink, weigh=False).risk[0]


# --- risk of every pixel


def test_the_response_to_all_probes_is_the_mean_of_equal_parts():
    noisy = fresh(1).standard_normal((2, 10, 12)).astype(np.float32)
    parts = [image_response(noisy, shrink(noisy), shrink, SIGMA, rng=fresh(i), n_probes=2) for i in (0, 1)]

    found = Response.mean(parts)

    assert found.divergence.shape == (4, 2)
    np.testing.assert_allclose(found.own.sum(axis=(1, 2)), found.divergence.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.square, (parts[0].square + parts[1].square) / 2)


def thresholded(images):
    """Averages of 2 x 2 pixels, none below 2.5 times their noise."""
    means = images.reshape(-1, 300, 2, 300, 2).mean(axis=(2, 4))
    kept = np.sign(means) * np.maximum(np.abs(means) - 2.5 * 60 / 2, 0)
    return np.kron(kept, np.ones((1, 2, 2))).astype(np.float32)


@pytest.mark.parametrize("turn", [0.05, TURN, 0.3])
def test_a_long_probe_finds_what_a_denoiser_lets_through_of_noise(turn):
    """One that is added, 0.3 long, would find 30 % more."""
    noisy = 60 * fresh(1).standard_normal((1, 600, 600)).astype(np.float32)

    response = image_response(
        noisy, thresholded(noisy), thresholded, 60.0, rng=fresh(2), turn=turn, n_probes=16
    )

    share = response.divergence.mean() / noisy.size
    assert share == pytest.approx(2 * norm.sf(2.5) / 4, rel=0.08)


def test_a_squared_change_is_that_for_noise_of_one_however_long_the_probe():
    noisy = 60 * fresh(1).standard_normal((2, 200, 200)).astype(np.float32)

    def weaker(images):
        return (images * np.float32([[[0.5]], [[0.1]]])).astype(np.float32)

    found = image_response(noisy, weaker(noisy), weaker, 60.0, rng=fresh(2), turn=0.6).square

    np.testing.assert_allclose(found.mean(axis=(1, 2)), [0.25, 0.01], rtol=1e-3)
