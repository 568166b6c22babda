"""The method sum+: components below the noise of an SVD are found, each stage helps, spectra are refined."""

import numpy as np
import pytest
from scans import add_noise, low_rank, smooth_images
from scipy.ndimage import convolve1d, gaussian_filter
from sum_plus_cases import (
    WITH_A_WEAK_ONE,
    changed,
    clean_of,
    edge_and_shift,
    fresh,
    likeness,
    lopsided,
    problem_of,
    stack_of,
    wavelet,
)

from xanesum import denoise
from xanesum.errors import RecipeError
from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import fit_basis, project
from xanesum.method.evidence import Search
from xanesum.method.options import STAGES
from xanesum.method.sum import fit_sum
from xanesum.method.sum_plus import fit_sum_plus, refine
from xanesum.result import load_result


@pytest.mark.parametrize("axis", [1, 2])
def test_noise_that_reaches_the_next_pixel_has_no_component(axis):
    """Of 10, chance may take one for real."""
    kept = []
    for seed in range(10):
        white = fresh(seed).standard_normal((20, 32, 48))
        noise = np.sqrt(8 / 3) * convolve1d(white, [0.25, 0.5, 0.25], axis=axis, mode="wrap")
        kept.append(fit_sum_plus(problem_of(noise.astype(np.float32)), None).rank > 0)

    assert sum(kept) <= 1


def test_fine_texture_is_not_averaged_away():
    shape, seed = (64, 72), 5
    white = fresh(seed).standard_normal(shape)
    texture = gaussian_filter(white, 0.7) - gaussian_filter(white, 1.4)
    images = np.stack([10 * smooth_images(1, shape, seed, width=8.0)[0], 3 * texture / texture.std()])
    clean = np.tensordot(edge_and_shift(1, 1)[1], images, axes=(0, 0)).astype(np.float32)
    noisy = add_noise(clean, 1.0, seed)

    ours, paper = fit_sum_plus(problem_of(noisy, wavelet), None), fit_sum(problem_of(noisy, wavelet), None)

    errors = [np.mean((clean_of(fit) - clean) ** 2) for fit in (ours, paper)]
    assert ours.rank == 2
    assert errors[0] < 1.05 * errors[1]


@pytest.mark.parametrize("seed", range(3))
def test_pure_noise_has_no_component(seed):
    fit = fit_sum_plus(problem_of(add_noise(np.zeros((20, 32, 40), np.float32), 1.0, seed)), None)

    assert fit.rank == 0
    assert fit.spectra.shape == (0, 20)
    assert fit.images.shape == (0, 32, 40)
    np.testing.assert_array_equal(fit.risk.ranks, [0])
    assert np.all(fit.components["p_value"] > 0.01)


def test_pure_noise_is_denoised_to_nothing(tmp_path):
    result = denoise(stack_of(add_noise(np.zeros((20, 32, 40), np.float32), 1.0)), denoiser="wavelet")
    back = load_result(result.save(tmp_path / "nothing.sum.h5"))

    for each in (result, back):
        assert each.rank == 0
        assert each.reconstruct().shape == (20, 32, 40)
        np.testing.assert_array_equal(each.reconstruct().values, 0)
        assert int(each.risk["rank"][each.risk["chosen"].values].item()) == 0


def test_a_component_that_the_svd_cannot_see_is_found():
    """0.3 of the noise; an SVD of 80 energies and 3072 pixels sees components from 0.4 on."""
    images, _, clean = edge_and_shift(20.0, 0.3, n_energies=80, shape=(48, 64))
    shown, errors = [], []
    for seed in range(6):
        noisy = add_noise(clean, 1.0, seed)
        both = [fit(problem_of(noisy), None) for fit in (fit_sum_plus, fit_sum)]
        shown.append([likeness(fit.images[: fit.rank], images[1]) for fit in both])
        errors.append([np.mean((clean_of(fit) - clean) ** 2) for fit in both])
        assert both[0].facts["scale"] > 1
        assert both[0].rank <= 2

    plus, paper = np.median(shown, axis=0)
    assert plus > 0.75
    assert paper < 0.2
    assert np.mean(errors, axis=0)[0] < 0.8 * np.mean(errors, axis=0)[1]


@pytest.mark.parametrize("rank", [1, 2, 6])
def test_a_given_rank_is_an_upper_limit(rank):
    noisy = add_noise(edge_and_shift(20.0, 3.0)[2], 1.0)

    fit = fit_sum_plus(problem_of(noisy), rank)

    assert min(rank, 2) <= fit.rank <= rank
    assert len(fit.spectra) == len(fit.images) <= rank
    assert np.isnan(fit.components["p_value"]).all()


def test_more_components_than_are_looked_for_at_first_are_found():
    noisy = add_noise(low_rank(tuple(np.linspace(30.0, 6.0, 9)), 40), 1.0)

    fit = fit_sum_plus(problem_of(noisy), None)

    assert fit.rank == 9
    assert np.all(fit.components["p_value"][:9] < 0.01)


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_an_effect(stage, monkeypatch):
    if stage == "refit":  # spectra of another search lie outside the averages' span
        monkeypatch.setattr(Search, "best", lambda *_: None)
    full, less = (
        fit_sum_plus(problem_of(WITH_A_WEAK_ONE, lopsided), None, without=left_out)
        for left_out in ((), (stage,))
    )

    assert not np.array_equal(clean_of(full), clean_of(less))
    if stage == "averaging":
        assert full.facts["scale"] > 1 == less.facts["scale"]
    elif stage == "evidence":
        assert np.isnan(less.components["p_value"]).all()
        assert np.isfinite(full.components["p_value"]).all()
        assert less.rank >= full.rank
    elif stage == "weights":
        np.testing.assert_array_equal(less.components["weight_denoised"][: less.rank], 1)
        np.testing.assert_array_equal(less.components["weight_noisy"][: less.rank], 0)
    elif stage == "refit":
        averaged = average_pixels(WITH_A_WEAK_ONE, less.facts["scale"])
        span = fit_basis(averaged, less.rank, rng=fresh()).spectra
        np.testing.assert_allclose(np.linalg.norm(less.spectra @ span.T, axis=1), 1)


def test_images_are_means_over_four_denoised_mirror_images():
    _, true, clean = edge_and_shift(20.0, 5.0)
    noisy = add_noise(clean, 1.0)
    mask = np.ones(noisy.shape[1:], bool)
    mask[:4] = mask[10:15, 20:] = False

    def odd(images, keep):
        return np.where(keep, lopsided(np.where(keep, images, 0), keep), np.float32(np.nan))

    problem = changed(problem_of(noisy, odd), mask=mask)
    fit = refine(problem, true, without=("refit", "weights"))

    images = project(true, noisy) * mask
    mirrored = [np.flip(lopsided(np.flip(images, axes), None), axes) for axes in ((), (1,), (2,), (1, 2))]
    np.testing.assert_allclose(fit.images, mask * np.mean(mirrored, axis=0), atol=1e-4)


def test_smoothing_makes_spectra_better():
    _, true, clean = edge_and_shift(20.0, 1.0)
    lost = {(): [], ("smoothing",): []}
    for seed in range(4):
        for without, found in lost.items():
            fit = fit_sum_plus(problem_of(add_noise(clean, 1.0, seed)), 2, without=without)
            found.append(2 - np.sum((fit.spectra @ true.T) ** 2))

    assert np.mean(lost[()]) < 0.6 * np.mean(lost["smoothing",])


def test_refitting_makes_spectra_better():
    _, true, clean = edge_and_shift(20.0, 1.0)
    lost = {(): [], ("refit",): []}
    for seed in range(4):
        for without, found in lost.items():
            fit = fit_sum_plus(
                problem_of(add_noise(clean, 1.0, seed)), 2, without=("averaging", "smoothing", *without)
            )
            found.append(2 - np.sum((fit.spectra @ true.T) ** 2))

    assert np.mean(lost[()]) < 0.9 * np.mean(lost["refit",])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ["magic"]}, "without must be a list of stages, of averaging, .*; got"),
        ({"without": "refit"}, "without must be a list of stages, .* got 'refit'"),
        ({"without": ["refit"], "method": "sum"}, "method 'sum' has no stage to leave out"),
    ],
)
def test_a_stage_that_cannot_be_left_out_is_one_clear_line(options, message):
    with pytest.raises(RecipeError, match=message) as caught:
        denoise(stack_of(WITH_A_WEAK_ONE), denoiser="wavelet", **options)
    assert "\n" not in str(caught.value)


def test_what_was_left_out_is_told():
    result = denoise(stack_of(WITH_A_WEAK_ONE), denoiser="wavelet", without=["smoothing", "refit"])

    assert result.provenance["without"] == "refit smoothing"
    assert result.provenance["method"] == "sum+"


def test_true_spectra_stay_as_they_are_without_refit():
    _, true, clean = edge_and_shift(3.0, 20.0)

    fit = refine(problem_of(add_noise(clean, 1.0)), true, without=("refit",))

    np.testing.assert_array_equal(fit.spectra, true[::-1])
    assert fit.rank == 2
    assert fit.facts == {"scale": 1}


def test_wrong_spectra_are_turned_towards_the_true_ones():
    _, true, clean = edge_and_shift(20.0, 20.0)
    start = np.linalg.qr((true + 0.15 * fresh(1).standard_normal(true.shape)).T).Q.T
    assert np.sum((start @ true.T) ** 2) < 1.4

    fit = refine(problem_of(add_noise(clean, 1.0)), start)

    assert np.sum((fit.spectra @ true.T) ** 2) > 1.99
    np.testing.assert_allclose(fit.spectra @ fit.spectra.T, np.eye(2), atol=1e-9)


def test_spectra_do_not_confirm_themselves():
    """The image keeps all of its noise, which is stronger than the component."""
    _, true, clean = edge_and_shift(0.0, 0.8)
    start = np.linalg.qr((true[1:] + 0.3 * fresh(1).standard_normal((1, 40))).T).Q.T
    assert abs(start[0] @ true[1]) < 0.6

    fit = refine(
        problem_of(add_noise(clean, 1.0), lambda images, mask: images), start, without=("smoothing",)
    )

    assert abs(fit.spectra[0] @ true[1]) > 0.92


def test_a_spectrum_without_image_falls_away():
    _, true, clean = edge_and_shift(20.0, 5.0)
    away = np.linalg.qr(np.vstack([true, fresh(1).standard_normal((1, 40))]).T).Q.T

    fit = refine(problem_of(add_noise(clean, 1.0, 4)), away[[2, 0, 1]])

    sizes = np.linalg.norm(fit.images, axis=(1, 2))
    assert fit.rank == np.count_nonzero(sizes)
    assert np.all(np.diff(sizes) <= 0)
    assert np.sum((fit.spectra[:2] @ true.T) ** 2) > 1.99


def test_no_spectrum_gives_nothing():
    fit = refine(problem_of(WITH_A_WEAK_ONE), np.zeros((0, 40)), p_values=np.array([0.5, 1.0]))

    assert fit.rank == 0
    np.testing.assert_array_equal(fit.components["p_value"], [0.5, 1.0])
    assert np.isnan(fit.components["risk"]).all()
