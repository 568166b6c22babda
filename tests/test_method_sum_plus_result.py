"""The method sum+: what it tells of its components, what does not matter to it, and noise that is uneven."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from scans import add_noise, low_rank
from sum_plus_cases import (
    WITH_A_WEAK_ONE,
    changed,
    clean_of,
    edge_and_shift,
    fresh,
    problem_of,
    smooth,
    stack_of,
    wavelet,
)

from xanesum import denoise
from xanesum.denoisers.wavelet import WaveletDenoiser
from xanesum.errors import ReadError, StackError, XanesumWarning
from xanesum.method.evidence import Search
from xanesum.method.sum_plus import N_WAYS, fit_pilot, fit_sum_plus, refine
from xanesum.result import COMPONENT_COLUMNS, load_result


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
