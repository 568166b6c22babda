"""sum+ finds what the SVD cannot see, takes no noise for it, and tells what it did."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from scans import add_noise, edge_spectrum, low_rank, smooth_images
from scipy.ndimage import convolve1d, gaussian_filter

from xanesum import denoise
from xanesum.denoisers import get_denoiser
from xanesum.denoisers.wavelet import WaveletDenoiser
from xanesum.errors import ReadError, RecipeError, StackError, XanesumWarning
from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import fit_basis, project, reconstruct
from xanesum.method.evidence import Search
from xanesum.method.options import STAGES
from xanesum.method.problem import Problem
from xanesum.method.sum import fit_sum
from xanesum.method.sum_plus import N_WAYS, fit_pilot, fit_sum_plus, refine
from xanesum.result import COMPONENT_COLUMNS, load_result
from xanesum.stack import make_stack

WAVELET = get_denoiser("wavelet")


def fresh(seed=0):
    return np.random.default_rng(seed)


def smooth(images, mask):
    return np.stack([gaussian_filter(image, 1.5) for image in images])


def lopsided(images, mask):
    """A denoiser that does not treat mirror images alike."""
    return 0.8 * smooth(images, mask) + 0.2 * np.roll(smooth(images, mask), (1, 2), axis=(1, 2))


def wavelet(images, mask):
    return WAVELET.denoise(images, 1.0, mask=mask)


def energies(n):
    return np.linspace(8300.0, 8400.0, n)


def problem_of(values, denoise=smooth, **options):
    mask = np.ones(values.shape[1:], bool)
    return Problem.with_one_level(
        values,
        energies(len(values)),
        mask=mask,
        sigma=1.0,
        denoise_at=lambda images, sigma, mask: denoise(images, mask),
        rng=fresh(),
        **options,
    )


def changed(problem, **fields):
    """The problem with another mask or noise of its one level."""
    return problem.on_one_level(replace(problem.coarse, **fields))


def stack_of(values, mask=None):
    stack = make_stack(values, energies(len(values)))
    return stack if mask is None else stack.assign_coords(mask=(("y", "x"), mask))


def edge_and_shift(strong, weak, n_energies=40, shape=(40, 48)):
    """Images (2, Y, X), orthonormal spectra (2, E) of an edge and of its shift, and their stack."""
    energy = energies(n_energies)
    shift = edge_spectrum(energy, 8342.0) - edge_spectrum(energy, 8338.0)
    spectra = np.linalg.qr(np.stack([0.3 + edge_spectrum(energy, 8340.0), shift]).T).Q.T
    images = smooth_images(2, shape, seed=3, width=8.0) * np.array([strong, weak])[:, None, None]
    return images, spectra, np.tensordot(spectra, images, axes=(0, 0)).astype(np.float32)


def likeness(images, wanted):
    """Greatest correlation of any image with `wanted`."""
    return max((abs(np.corrcoef(image.ravel(), wanted.ravel())[0, 1]) for image in images), default=0.0)


def clean_of(fit):
    return reconstruct(fit.spectra[: fit.rank], fit.images[: fit.rank])


# --- what is found


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


# --- stages


WITH_A_WEAK_ONE = add_noise(edge_and_shift(20.0, 0.6)[2], 1.0, 2)


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


# --- refine


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


# --- what is told


@pytest.fixture(scope="module")
def result():
    return denoise(stack_of(WITH_A_WEAK_ONE), denoiser="wavelet")


def test_the_table_has_a_row_for_each_component_that_was_tried(result):
    table, rank = result.components, result.rank

    assert list(table.data_vars) == list(COMPONENT_COLUMNS)
    np.testing.assert_array_equal(table["tried"], np.arange(1, 7))
    kept = table.isel(tried=slice(rank))
    assert 0 < rank < 6
    assert all(np.isfinite(kept[name]).all() for name in COMPONENT_COLUMNS)
    assert np.isfinite(table["p_value"]).all()
    weights = kept["weight_noisy"] + kept["weight_denoised"]
    assert (weights > 0).all()
    assert (weights <= 1 + 1e-9).all()
    assert (kept[["weight_noisy", "weight_denoised"]].to_array() >= 0).all()
    assert 0.9 < kept["share"].sum() <= 1
    assert (kept["share"].values[:-1] >= kept["share"].values[1:]).all()
    assert (kept["risk"] < kept["noisy_risk"]).all()


def test_the_stated_error_of_a_spectrum_is_its_error():
    _, true, clean = edge_and_shift(20.0, 3.0)
    squares, stated = [], []
    for seed in range(8):
        fit = fit_sum_plus(problem_of(add_noise(clean, 1.0, seed)), 2)
        beside = fit.spectra - fit.spectra @ true.T @ true
        squares.append(np.mean(beside**2, axis=1))
        stated.append(fit.components["spectrum_error"])

    ratio = np.sqrt(np.mean(squares, axis=0)) / np.mean(stated, axis=0)
    assert np.all((ratio > 0.5) & (ratio < 1.5))


@pytest.mark.parametrize(
    ("denoise_images", "without", "n_energies"),
    [(smooth, (), 40), (wavelet, (), 40), (smooth, ("smoothing",), 100)],
)
def test_the_risk_is_the_error(denoise_images, without, n_energies):
    """Of many energies, spectra that were not smoothed are a good part of it."""
    _, _, clean = edge_and_shift(20.0, 2.0, n_energies)
    risks, errors = [], []
    for seed in range(4):
        noisy = add_noise(clean, 1.0, seed)
        fit = fit_sum_plus(problem_of(noisy, denoise_images), None, without=without)
        risks.append(fit.risk.risk[fit.rank])
        errors.append(np.mean((clean_of(fit) - clean) ** 2))

    assert np.mean(risks) == pytest.approx(np.mean(errors), rel=0.1)


@pytest.mark.parametrize(
    ("p_values", "rank", "fate"), [([1e-9, 0.005, 1.0], 2, "kept"), ([1e-9, 0.02, 1.0], 1, "left out")]
)
def test_a_component_near_the_limit_is_told(monkeypatch, p_values, rank, fate):
    def chosen(halves, found, denoise, sigma):
        return np.r_[p_values, np.ones(len(found.spectra[0]) - len(p_values))] / N_WAYS

    monkeypatch.setattr("xanesum.method.sum_plus.component_p_values", chosen)
    monkeypatch.setattr(Search, "best", lambda *_: None)
    stack = stack_of(add_noise(edge_and_shift(20.0, 5.0)[2], 1.0))

    message = rf"component 2 is close to the limit of detection \(p = {p_values[1]}\) and was {fate}"
    with pytest.warns(XanesumWarning, match=message) as caught:
        result = denoise(stack, denoiser="wavelet")

    assert result.rank == rank
    assert len(caught) == 1
    np.testing.assert_array_equal(result.components["p_value"][:3], p_values)


def test_a_component_with_evidence_keeps_those_before_it(monkeypatch):
    monkeypatch.setattr(
        "xanesum.method.sum_plus.component_p_values", lambda *_: np.array([1e-9, 0.9, 1e-9, 1.0, 1.0, 1.0])
    )
    monkeypatch.setattr(Search, "best", lambda *_: None)
    seen = []

    def seen_by_refit(problem, before, without):
        seen.append(len(before.spectra))

    monkeypatch.setattr("xanesum.method.sum_plus._refit", seen_by_refit)

    fit_sum_plus(problem_of(WITH_A_WEAK_ONE), None)

    assert seen == [3]


def test_the_table_survives_saving(tmp_path, result):
    back = load_result(result.save(tmp_path / "clean.sum.h5"))

    assert back.components.equals(result.components)
    assert back.provenance == result.provenance


@pytest.mark.parametrize("column", ["p_value", "weight_noisy"])
def test_a_file_that_lacks_a_column_is_refused(tmp_path, result, column):
    path = result.save(tmp_path / "old.sum.h5")
    with h5py.File(path, "a") as file:
        del file[f"entry/components/{column}"]

    with pytest.raises(ReadError, match=f"written by an earlier version, without {column}"):
        load_result(path)


# --- what does not matter, and what may happen


def test_what_stands_in_masked_pixels_does_not_matter():
    mask = np.ones(WITH_A_WEAK_ONE.shape[1:], bool)
    mask[10:14, 5:30] = mask[:, 40] = False
    first, second = (
        denoise(stack_of(np.where(mask, WITH_A_WEAK_ONE, np.float32(value)), mask), denoiser="wavelet")
        for value in (0, 1e4)
    )

    assert first.rank == second.rank == 2
    np.testing.assert_array_equal(first.spectra, second.spectra)
    np.testing.assert_array_equal(first.coefficients, second.coefficients)
    assert first.components.equals(second.components)


def test_an_image_of_one_column_is_denoised():
    noisy = add_noise(edge_and_shift(20.0, 0.0)[2][:, :, :1], 1.0)

    fit = fit_sum_plus(problem_of(noisy, lambda images, mask: 0.9 * images), None)

    assert fit.rank >= 1
    assert np.isfinite(fit.images).all()


def test_an_image_too_small_for_halves_has_no_evidence():
    values = add_noise(np.full((20, 1, 1), 5.0, np.float32), 1.0)

    fit = fit_sum_plus(problem_of(values, lambda images, mask: images), None)

    assert fit.rank == 1
    assert np.isnan(fit.components["p_value"]).all()


class Interrupted(WaveletDenoiser):
    def __init__(self, last):
        self.n_calls, self.last = 0, last

    def denoise(self, images, sigma, *, mask=None):
        self.n_calls += 1
        if self.n_calls > self.last:
            raise KeyboardInterrupt
        return super().denoise(images, sigma, mask=mask)


@pytest.mark.parametrize("last", [0, 1, 4])
def test_an_interrupt_ends_the_fit(last):
    denoiser = Interrupted(last)

    with pytest.raises(KeyboardInterrupt):
        denoise(stack_of(WITH_A_WEAK_ONE), denoiser=denoiser)
    assert denoiser.n_calls == last + 1


def test_progress_goes_from_nothing_to_all():
    steps = []

    fit_sum_plus(problem_of(WITH_A_WEAK_ONE, progress=lambda *step: steps.append(step)), None)

    assert steps[0] == ("subspace", 0.0)
    assert steps[-1] == ("components", 1.0)
    shares = [share for step, share in steps if step == "components"]
    assert shares == sorted(shares)


def test_evidence_stays_with_its_component_when_the_order_changes():
    _, spectra, clean = edge_and_shift(2.0, 10.0)
    noisy = add_noise(clean, 1.0, 1)

    fit = refine(problem_of(noisy), spectra, p_values=np.array([1e-3, 1e-30, 0.5]))

    assert abs(fit.spectra[0] @ spectra[1]) > 0.9
    np.testing.assert_array_equal(fit.components["p_value"], [1e-30, 1e-3, 0.5])


@pytest.mark.parametrize("method", ["sum+", "sum"])
def test_a_mask_that_leaves_nothing_is_one_line(method):
    stack = stack_of(add_noise(np.zeros((20, 6, 6), np.float32), 1.0), np.zeros((6, 6), bool))

    with pytest.raises(StackError, match="the mask excludes all"):
        denoise(stack, method=method, denoiser="none", sigma=1.0)


# --- noise that is not even in the images


def uneven_case(seed=7, strong=300.0, weak=60.0):
    """Return a problem of noise 4 times as strong on the right as on the left, its noise, spectra, images."""
    images, spectra, clean = edge_and_shift(strong, weak, shape=(64, 96))
    noise = np.geomspace(0.5, 2.0, 96)[None].repeat(64, axis=0)
    values = clean + (noise * fresh(seed).standard_normal(clean.shape)).astype(np.float32)
    problem = problem_of(values.astype(np.float32), denoise=wavelet)
    known = changed(
        problem, image_noise=lambda s: np.broadcast_to(noise, (len(s), 64, 96)).astype(np.float32)
    )
    return problem, known, noise, spectra, images


@pytest.mark.parametrize(("sizes", "n_seen"), [((200.0, 40.0), 2), ((200.0, 0.1), 1), ((0.1, 0.1), 1)])
@pytest.mark.parametrize("half", [False, True])
def test_a_pilot_is_of_the_components_above_the_noise(sizes, n_seen, half):
    values = add_noise(low_rank(sizes, 40, (160, 192)), 1.0).astype(np.float32)
    mask = np.ones((160, 192), bool)
    mask[:, 96:] = not half

    problem = changed(problem_of(np.where(mask, values, np.float32(0))), mask=mask)

    assert len(fit_pilot(problem).spectra) == n_seen


def test_images_of_uneven_noise_are_denoised_in_units_of_it():
    problem, known, noise, spectra, images = uneven_case()

    even, found = (refine(each, spectra, without=("refit",)) for each in (problem, known))

    def error(fit):
        return fit.images - np.tensordot(fit.spectra @ spectra.T, images, axes=1)

    assert np.mean(np.square(error(found) / noise)) < 0.9 * np.mean(np.square(error(even) / noise))
    scaled = error(found) / found.errors
    for half in (np.s_[:, :, :48], np.s_[:, :, 48:]):
        assert np.sqrt(np.mean(np.square(scaled[half]))) == pytest.approx(1.0, abs=0.25)
    assert found.errors[:, :, 80:].mean() > 2 * found.errors[:, :, :16].mean()


def test_the_risk_of_uneven_noise_is_the_error_in_units_of_it():
    risks, errors = [], []
    for seed in range(4):
        _, known, noise, spectra, images = uneven_case(seed)
        found = refine(known, spectra, without=("refit",))
        true = np.tensordot(found.spectra @ spectra.T, images, axes=1)
        errors.append(np.sum(((found.images - true) / noise) ** 2) / known.full.stack.size)
        risks.append(found.risk.risk[2])

    assert np.mean(risks) == pytest.approx(np.mean(errors), rel=0.1)


def test_the_denoiser_sees_even_noise_in_every_round():
    _, known, _, spectra, _ = uneven_case()
    seen = []

    def watched(images, sigma, mask):
        seen.append(images)
        return wavelet(images, mask)

    refine(replace(known, denoise_at=watched), spectra)

    assert len(seen) > 4  # two refits, with a probe each, and the images
    for images in seen:
        detail = np.diff(np.diff(images, axis=1), axis=2) / 2  # of noise alone: the images are smooth
        left, right = detail[:, :, :32].std(), detail[:, :, -32:].std()
        assert right == pytest.approx(left, rel=0.1)  # 2.5 times as much if they were not divided
