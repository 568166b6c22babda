"""Fractions of references: exact without noise, covered by their errors with it, refused without meaning."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import ENERGY, fractions_of, mixture, named, species
from scipy.optimize import nnls

from xanesum import denoise
from xanesum.errors import EnergyError, SigmaError, StackError
from xanesum.stack import make_stack
from xanesum.xanes.composition.composite import COLOURS, colour_composite
from xanesum.xanes.composition.errors import variance_less_shares
from xanesum.xanes.composition.fractions import fit_fractions, map_names
from xanesum.xanes.composition.limits import share_limits


@pytest.fixture(scope="module")
def denoised():
    stack, references, truth = mixture(sigma=0.03, shape=(40, 44))
    return denoise(stack, denoiser="none", rng=np.random.default_rng(0)), references, truth


@pytest.mark.parametrize("background", ["auto", "constant", "line", "flattened"])
@pytest.mark.parametrize("options", [{}, {"non_negative": False}])
def test_fractions_are_exact_without_noise(background, options):
    """The stack is float32: an amount is known to 1e-7 times the condition number, about 20."""
    stack, references, truth = mixture()
    maps = fit_fractions(stack, references, background=background, **options)

    np.testing.assert_allclose(fractions_of(maps), truth, atol=2e-5)
    assert maps["mask"].values.all()
    assert float(maps["r_factor"].max()) < 1e-8


def test_with_the_sum_given_fractions_are_those_of_normalized_spectra():
    """The step operator and the references agree on the step only as far as their post-edge lines do."""
    stack, references, truth = mixture()
    maps = fit_fractions(stack, references, sum_to_one=True)

    assert np.abs(fractions_of(maps) - truth).max() < 0.15
    np.testing.assert_allclose(fractions_of(maps).sum(axis=0), 1, atol=1e-5)


def test_amounts_are_those_of_scipy_pixel_by_pixel():
    stack, references, _ = mixture(sigma=0.2, background=0.0)
    maps = fit_fractions(stack, references, background="none")
    columns = stack.values.reshape(len(ENERGY), -1).T.astype(float)
    theirs = np.array([nnls(references.values.T, column)[0] for column in columns]).T
    ours = np.stack([maps[f"amount_r{k}"].values.ravel() for k in range(3)])

    assert (theirs == 0).sum() > 50
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_result_and_its_clean_stack_give_the_same(denoised):
    result, references, _ = denoised
    ours = fit_fractions(result, references)
    whole = fit_fractions(result.reconstruct().load(), references)

    where = ours["mask"].values & whole["mask"].values
    assert where.mean() > 0.95
    np.testing.assert_allclose(fractions_of(ours)[:, where], fractions_of(whole)[:, where], atol=2e-3)


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_68_percent_intervals_of_a_noisy_stack_cover_68_percent(sigma):
    """4000 amounts of three independent ones per pixel: the share is known to about 1 %."""
    stack, references, truth = mixture(sigma=sigma, shape=(60, 66))
    maps = fit_fractions(stack, references, sigma=sigma, non_negative=False)
    error = np.abs(fractions_of(maps) - truth)

    assert 0.65 < np.mean(error < fractions_of(maps, "_sigma")) < 0.72
    assert 0.95 < float(maps["reduced_chi_square"].mean()) < 1.05
    assert maps.attrs["intervals_hold"]


def test_at_bounds_intervals_cover_as_stated():
    """Pure pixels: the interval covers 68 %, and plus or minus a standard error 84 % or more."""
    stack, references, truth = mixture(sigma=0.05, shape=(60, 66), pure=True)
    maps = fit_fractions(stack, references, sigma=0.05)
    low, high = fractions_of(maps, "_low"), fractions_of(maps, "_high")
    found, sigma = fractions_of(maps), fractions_of(maps, "_sigma")

    assert 0.64 < np.mean((low <= truth) & (truth <= high)) < 0.76
    assert np.mean(np.abs(found - truth) <= sigma) > 0.8
    assert (low <= found).all()
    assert (found <= high).all()


def test_intervals_of_a_denoised_scan_cover_the_truth(denoised):
    result, references, truth = denoised
    maps = fit_fractions(result, references)
    where = maps["mask"].values
    inside = (fractions_of(maps, "_low") <= truth) & (truth <= fractions_of(maps, "_high"))

    assert 0.6 < np.mean(inside[:, where]) < 0.8


def test_a_missing_reference_makes_the_errors_large_and_is_said():
    stack, references, truth = mixture(4, sigma=0.02)
    maps = fit_fractions(stack, references[1:], sigma=0.02)
    error, sigma = np.abs(fractions_of(maps) - truth[1:]), fractions_of(maps, "_sigma")
    complete = fit_fractions(stack, references, sigma=0.02)

    assert np.mean(error < 2 * sigma) > 0.85
    assert np.median(sigma) > 4 * np.median(fractions_of(complete, "_sigma"))
    assert "do not explain" in maps.attrs["reasons"][0]
    assert not maps.attrs["intervals_hold"]
    assert complete.attrs["reasons"] == []


def test_a_missing_reference_is_said_for_a_result_too(denoised):
    result, references, truth = denoised
    maps = fit_fractions(result, references[:2])
    where = maps["mask"].values
    error = np.abs(fractions_of(maps) - truth[:2])[:, where]

    assert float(np.median(maps["reduced_chi_square"].values[where])) > 4
    assert any("do not explain" in reason for reason in maps.attrs["reasons"])
    assert np.mean(error < 2 * fractions_of(maps, "_sigma")[:, where]) > 0.8


def test_references_that_the_result_cannot_tell_apart_are_said(denoised):
    result, _, _ = denoised
    assert result.rank == 3
    maps = fit_fractions(replace(result.truncated(1)), named(species(3)))

    assert any("of the 3 directions" in reason for reason in maps.attrs["reasons"])


def test_errors_of_the_spectra_count(denoised):
    result, references, _ = denoised
    larger = replace(result, error_spectra=result.error_spectra * 30)
    before, after = (fractions_of(fit_fractions(each, references), "_sigma") for each in (result, larger))

    assert np.median(after / before) > 1.2


def test_covariances_of_amounts_give_their_errors():
    stack, references, _ = mixture(sigma=0.05)
    maps = fit_fractions(stack, references, sigma=0.05, covariance=True)
    covariance = maps["amount_covariance"].values
    design = references.values.T
    line = np.linalg.qr(
        np.stack([np.ones(60), ENERGY - 8360.0, np.maximum(ENERGY - maps.attrs["e0_ev"], 0)]).T
    )[0]
    beside = design - line @ (line.T @ design)

    np.testing.assert_allclose(covariance[:, :, 3, 4], 0.05**2 * np.linalg.inv(beside.T @ beside), rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(covariance[1, 1]), maps["amount_r1_sigma"].values, rtol=1e-3)


def test_fractions_of_the_mean_spectrum():
    stack, references, truth = mixture(sigma=0.02)
    thickness = stack.values[-1] - 0.1  # all references end near 1
    maps = fit_fractions(stack, references, sigma=0.02)

    expected = (truth * thickness).sum(axis=(1, 2)) / thickness.sum()
    np.testing.assert_allclose(maps.attrs["mean_fractions"], expected, atol=0.03)


@settings(max_examples=12, deadline=None)
@given(
    scale=st.floats(0.05, 20.0),
    level=st.floats(-2.0, 2.0),
    slope=st.floats(-0.01, 0.01),
    shift=st.floats(-3.0, 3.0),
)
def test_scale_line_and_shift_of_all_energies_change_nothing(scale, level, slope, shift):
    stack, references, _ = mixture(shape=(5, 6))
    line = (level + slope * (ENERGY - 8330.0))[:, None, None]
    other = make_stack((scale * (stack.values + line)).astype(np.float32), ENERGY + shift)
    moved = references.assign_coords(energy=ENERGY + shift)

    before, after = fractions_of(fit_fractions(stack, references)), fractions_of(fit_fractions(other, moved))

    np.testing.assert_allclose(after, before, atol=2e-3)


def test_pixels_can_be_permuted():
    stack, references, _ = mixture(sigma=0.1, shape=(6, 8))
    order = np.random.default_rng(0).permutation(48)
    mixed = stack.values.reshape(60, -1)[:, order].reshape(stack.shape)
    before = fractions_of(fit_fractions(stack, references, sigma=0.1)).reshape(3, -1)
    after = fractions_of(fit_fractions(make_stack(mixed, ENERGY), references, sigma=0.1)).reshape(3, -1)

    np.testing.assert_allclose(after, before[:, order], atol=1e-6)


def test_references_on_other_energies_are_interpolated():
    stack, _, truth = mixture()
    dense = np.linspace(8250.0, 8500.0, 2001)
    maps = fit_fractions(stack, named(species(3, dense), dense))

    np.testing.assert_allclose(fractions_of(maps), truth, atol=2e-3)


def test_only_the_energies_that_references_cover_are_fitted():
    stack, _, truth = mixture()
    part = ENERGY[(ENERGY > 8300) & (ENERGY < 8400)]
    maps = fit_fractions(stack, named(species(3, part), part))

    np.testing.assert_allclose(maps.attrs["range_ev"], (part[0], part[-1]))
    np.testing.assert_allclose(fractions_of(maps), truth, atol=2e-2)


def bad_references():
    far = ENERGY + 1000
    rows = species(3)
    nearly = np.vstack([rows[:2], rows[1] + 1e-6 * rows[2]])
    late = np.linspace(8280.0, 9500.0, 400)
    return {
        "no energy in common": (named(species(2, far, 9330.0), far), StackError, "no energy in common"),
        "other element": (named(species(2, late, 9330.0), late), StackError, "of another element"),
        "the same twice": (named(rows[[0, 1, 1]]), StackError, "too alike .*'r1' and 'r2'"),
        "all alike": (named(nearly), StackError, "too alike to be told apart"),
        "one name": (named(rows, names=["a", "b", "a"]), StackError, "the same name, 'a'"),
        "flat": (named(np.vstack([rows[:1], np.ones((1, 60))])), StackError, "same as the background"),
        "no numbers": (named(np.full((1, 60), np.nan)), StackError, "no value.* no energy in common"),
        "no dims": (rows, StackError, "must be a DataArray"),
    }


@pytest.mark.parametrize("kind", bad_references())
def test_references_that_do_not_fit_are_refused(kind):
    references, error, text = bad_references()[kind]
    with pytest.raises(error, match=text):
        fit_fractions(mixture(shape=(4, 5))[0], references)


def test_fewer_energies_than_references_are_refused():
    stack, references, _ = mixture(4, shape=(4, 5))
    few = stack.isel(energy=slice(24, 28))
    with pytest.raises(EnergyError, match=r"4 energies in common; .* needs 5"):
        fit_fractions(few, references)


def test_masked_images_are_refused():
    stack, references, _ = mixture(shape=(4, 5))
    masked = stack.assign_coords(mask=(("y", "x"), np.zeros((4, 5), bool)))
    with pytest.raises(StackError, match="no usable pixel"):
        fit_fractions(masked, references)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"sigma": 0.0}, SigmaError, "above 0"),
        ({"background": "curve"}, StackError, "background must be one of"),
        ({"range_ev": (1.0, 2.0)}, EnergyError, "is in the range 1:2 eV"),
    ],
)
def test_bad_options_are_refused(options, error, text):
    stack, references, _ = mixture(shape=(4, 5))
    with pytest.raises(error, match=text):
        fit_fractions(stack, references, **options)


def test_a_result_takes_no_noise_level(denoised):
    with pytest.raises(SigmaError, match="brings its own"):
        fit_fractions(denoised[0], denoised[1], sigma=1.0)


def test_errors_of_a_stack_are_not_known_and_this_is_said():
    stack, references, _ = mixture(shape=(4, 5))
    maps = fit_fractions(stack, references)

    assert np.isnan(fractions_of(maps, "_sigma")).all()
    assert np.isnan(maps.attrs["mean_fraction_sigmas"]).all()
    assert not maps.attrs["intervals_hold"]


@pytest.mark.parametrize("true", [0.0, 0.02, 0.1, 0.5, 0.93, 1.0])
def test_limits_cover_68_percent_at_bounds_and_inside_and_never_less(true):
    """20,000 draws: 0.3 % of standard deviation.  Within one standard error of a bound, 84 % are covered."""
    sigma = 0.1
    free = true + sigma * np.random.default_rng(0).standard_normal(20_000)
    low, high = share_limits(free, np.full(free.shape, sigma))
    covered = np.mean((low <= true) & (true <= high))

    assert covered > 0.67
    assert covered < (0.86 if 0 < min(true, 1 - true) <= sigma else 0.70)


@pytest.mark.parametrize("lost", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("true", [0.0, 0.05, 0.5, 1.0])
def test_limits_cover_68_percent_where_detail_is_lost(lost, true):
    """At a bound, lost detail moves a share away from it alone; 20,000 draws."""
    sigma, rng = 0.1, np.random.default_rng(0)
    bias = np.sqrt(lost) * rng.standard_normal(20_000)
    if true in (0, 1):
        bias = np.abs(bias) * (1 - 2 * true)
    free = true + sigma * (bias + np.sqrt(1 - lost) * rng.standard_normal(20_000))
    low, high = share_limits(free, np.full(free.shape, sigma), np.full(free.shape, lost))

    assert 0.67 < np.mean((low <= true) & (true <= high)) < (0.88 if true == 0.05 else 0.70)


def test_without_lost_detail_limits_are_those_of_noise():
    free = np.linspace(-0.3, 1.3, 400)
    sigma = np.full(400, 0.1)
    np.testing.assert_allclose(share_limits(free, sigma, 0 * free), share_limits(free, sigma), atol=1e-12)
    low, high = share_limits(free, sigma, 1 + 0 * free)
    inside = (free > 0) & (free < 1)
    np.testing.assert_allclose(low[inside], np.maximum(free - 0.1, 0)[inside], atol=0.015)
    np.testing.assert_allclose(high[inside], np.minimum(free + 0.1, 1)[inside], atol=0.015)


def test_intervals_of_pure_pixels_in_fine_grains_cover_the_truth():
    """Smoothing moves pure pixels towards their neighbours, so that errors at the bound have one sign."""
    scan, references, truth = fine_grains()
    result = denoise(scan, method="sum", rank=2, denoiser="wavelet", rng=np.random.default_rng(0))
    maps = fit_fractions(result, references)
    inside = (fractions_of(maps, "_low") <= truth) & (truth <= fractions_of(maps, "_high"))

    assert 0.63 < np.mean(inside[:, maps["mask"].values]) < 0.85


def fine_grains():
    """Squares of 4 x 4 pixels, each pure."""
    rng = np.random.default_rng(3)
    state = np.kron(rng.integers(0, 2, (14, 15)), np.ones((4, 4), int))
    shares = np.stack([state == 0, state == 1]).astype(float)
    clean = np.tensordot(species(2).T, shares, 1)
    values = clean + 0.25 * rng.standard_normal(clean.shape)
    return make_stack(values.astype(np.float32), ENERGY), named(species(2)), shares


def test_names_become_parts_of_names_of_files():
    assert map_names(("a/b", "a b", "a_b", "Fe2O3.x", "../..")) == (
        "a_b",
        "a_b_2",
        "a_b_3",
        "Fe2O3.x",
        "reference",
    )


def test_a_colour_image_has_the_colour_of_a_pure_pixel():
    stack, references, truth = mixture(pure=True)
    image = colour_composite(fit_fractions(stack, references), by_total=False)

    expected = np.array(COLOURS)[np.argmax(truth, axis=0)]
    np.testing.assert_allclose(image / 255, expected, atol=0.01)


def test_the_variance_of_amounts_less_shares_of_their_sum():
    """Against the whole matrix, which takes the share of the sum from each amount."""
    rng = np.random.default_rng(0)
    root, shares = rng.standard_normal((4, 4)), rng.random((4, 5))
    found = variance_less_shares(root @ root.T, shares)

    for share, variance in zip(shares.T, found.T, strict=True):
        operator = np.eye(4) - np.outer(share, np.ones(4))
        np.testing.assert_allclose(variance, np.diag(operator @ root @ root.T @ operator.T))
