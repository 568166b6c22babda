"""The compliance class fails what it is meant to fail: one planted fault per test of it."""

import inspect
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from xanesum.denoisers.none import NoDenoiser
from xanesum.denoisers.wavelet import WaveletDenoiser
from xanesum.errors import DenoiserError
from xanesum.testing import DenoiserTests, monte_carlo_risk

GOOD = WaveletDenoiser()


class Faulty(WaveletDenoiser):
    """A good denoiser for faults to be planted in."""


class ReturnsItsInput(NoDenoiser):
    uses_sigma = True
    takes_sigma_map = False


class ReturnsTheMean(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        good = super().denoise(images, sigma, mask=mask)
        return np.broadcast_to(good.mean((1, 2), keepdims=True), good.shape).copy()


class WritesIntoItsInput(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        images[:] = super().denoise(images, sigma, mask=mask)
        return images


class Remembers(Faulty):
    calls = itertools.count()

    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, sigma, mask=mask) + np.float32(next(self.calls))


class GivesFloat64(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, sigma, mask=mask).astype(np.float64)


class DropsAColumn(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, sigma, mask=mask)[:, :, : max(1, images.shape[2] - 1)]


class ReadsMemoryInItsOwnOrder(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images.ravel(order="K").reshape(images.shape), sigma, mask=mask)


class MixesTheBatch(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, sigma * (1 + 0.1 * (len(images) - 1)), mask=mask)


class FadesConstants(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return np.float32(0.99) * super().denoise(images, sigma, mask=mask)


class HasItsOwnUnit(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, np.clip(sigma, 0.5, 2.0), mask=mask)


class IsConfusedBySize(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, sigma * (1 + (np.abs(np.nanmean(images)) > 50)), mask=mask)


class LosesStrongSignals(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        good = super().denoise(images, sigma, mask=mask)
        return good + np.float32(0.02) * (good.mean((1, 2), keepdims=True) - good)


class JumpsBetweenLevels(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        good = super().denoise(images, sigma, mask=mask)
        step = np.float32(40 * np.mean(sigma))
        return step * np.round(good / step) if np.ndim(sigma) == 0 and sigma else good


class LooksUnderTheMask(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(np.nan_to_num(images), sigma)


class DistrustsMasks(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, sigma if mask is None else 1.5 * sigma, mask=mask)


class IgnoresSigma(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        good = super().denoise(images, sigma, mask=mask)
        return super().denoise(images, 1.0, mask=mask) if sigma else good


class HidesThatItUsesSigma(Faulty):
    uses_sigma = False


class TakesTheMeanOfAMap(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, float(np.sqrt(np.mean(np.square(sigma)))), mask=mask)


class TakesAMapInSecret(Faulty):
    takes_sigma_map = False

    def _checked_sigma(self, sigma, shape, mask):
        return np.float32(np.mean(sigma))


class AcceptsAnySigma(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        return super().denoise(images, np.nan_to_num(np.abs(sigma), posinf=1), mask=mask)


class IsNeverExact(Faulty):
    @property
    def exact(self):
        return IsNeverExact()


class DenoisesWithoutNoise(Faulty):
    def denoise(self, images, sigma, *, mask=None):
        if np.ndim(sigma) == 0 and sigma == 0:
            return super().denoise(images, 1.0, mask=mask)
        return super().denoise(images, sigma, mask=mask)


class HasNoFlags:
    def denoise(self, images, sigma, *, mask=None):
        return GOOD.denoise(images, sigma, mask=mask)


FAULTS = [
    (HasNoFlags, "test_follows_the_protocol", {}),
    (ReturnsItsInput, "test_error_falls_below_a_limit", {"contrast": 0.1}),
    (ReturnsItsInput, "test_error_falls_below_a_limit", {"contrast": 5.0}),
    (ReturnsItsInput, "test_uses_sigma_tells_the_truth", {}),
    (ReturnsItsInput, "test_what_lies_under_the_mask_does_not_matter", {}),
    (ReturnsTheMean, "test_error_falls_below_a_limit", {"contrast": 5.0}),
    (WritesIntoItsInput, "test_input_is_untouched_and_the_result_repeats", {}),
    (Remembers, "test_input_is_untouched_and_the_result_repeats", {}),
    (GivesFloat64, "test_any_shape_comes_back_as_finite_float32", {"shape": (7, 5), "n_images": 1}),
    (DropsAColumn, "test_any_shape_comes_back_as_finite_float32", {"shape": (7, 5), "n_images": 1}),
    (ReadsMemoryInItsOwnOrder, "test_layout_in_memory_does_not_matter", {}),
    (MixesTheBatch, "test_each_image_is_denoised_by_itself", {}),
    (FadesConstants, "test_a_constant_image_stays", {"value": 1000.0}),
    (HasItsOwnUnit, "test_scaling_images_and_sigma_scales_the_result", {"scale": 1e4}),
    (IsConfusedBySize, "test_an_offset_only_shifts_the_result", {}),
    (LosesStrongSignals, "test_error_falls_below_a_limit", {"contrast": 100.0}),
    (JumpsBetweenLevels, "test_stein_risk_is_the_true_risk", {"contrast": 5.0}),
    (LooksUnderTheMask, "test_what_lies_under_the_mask_does_not_matter", {}),
    (DistrustsMasks, "test_a_mask_that_hides_nothing_changes_nothing", {}),
    (IgnoresSigma, "test_uses_sigma_tells_the_truth", {}),
    (HidesThatItUsesSigma, "test_uses_sigma_tells_the_truth", {}),
    (TakesTheMeanOfAMap, "test_takes_sigma_map_tells_the_truth", {}),
    (TakesAMapInSecret, "test_takes_sigma_map_tells_the_truth", {}),
    (AcceptsAnySigma, "test_impossible_sigma_is_refused", {"sigma": -1.0}),
    (IsNeverExact, "test_the_exact_form_is_a_denoiser_and_its_own_exact_form", {}),
    (DenoisesWithoutNoise, "test_without_noise_nothing_changes", {}),
]


@pytest.mark.parametrize(
    ("fault", "method", "arguments"), FAULTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_planted_fault_fails_and_a_good_denoiser_passes(fault, method, arguments):
    def run(denoiser):
        tests = DenoiserTests()
        tests.make_denoiser = lambda: denoiser
        getattr(tests, method)(**arguments)

    run(GOOD)
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)) as caught:
        run(fault())
    assert not isinstance(caught.value, DenoiserError)


@pytest.mark.parametrize(
    ("denoise", "method", "arguments", "said"),
    [
        (
            lambda images, _: images,
            "test_error_falls_below_a_limit",
            {"contrast": 5.0},
            r"^error (0\.9|1)\S*, at most 0\.35 is allowed \(risk_limits\[5\.0\]\)",  # the noise itself
        ),
        (
            lambda images, _: images[:, :9],
            "test_any_shape_comes_back_as_finite_float32",
            {"shape": (13, 1), "n_images": 3},
            r"^\(3, 13, 1\) came back as \(3, 9, 1\)",
        ),
    ],
    ids=["error", "shape"],
)
def test_a_test_that_fails_says_by_how_much(denoise, method, arguments, said):
    """Pytest does not show the values in an assertion of an installed package."""
    tests = DenoiserTests()
    tests.make_denoiser = lambda: SimpleNamespace(denoise=denoise)
    with pytest.raises(AssertionError, match=said):
        getattr(tests, method)(**arguments)


def test_every_test_of_the_class_has_a_fault_that_fails_it():
    methods = {
        name for name, _ in inspect.getmembers(DenoiserTests, inspect.isfunction) if name.startswith("test_")
    }
    assert methods == {method for _, method, _ in FAULTS}


def test_subclass_without_make_denoiser_is_told_so():
    with pytest.raises(NotImplementedError, match="make_denoiser"):
        DenoiserTests().test_follows_the_protocol()


def test_monte_carlo_risk_is_exact_for_a_linear_map():
    """For y -> a y the divergence is a for any probe: mean((a - 1)^2 y^2) + (2 a - 1) sigma^2."""
    noisy = 3 * np.random.default_rng(0).standard_normal((2, 50, 60), dtype=np.float32)
    risk = monte_carlo_risk(lambda y: np.float32(0.75) * y, noisy, 3.0, rng=np.random.default_rng(1))
    expected = 0.25**2 * np.mean(np.square(noisy, dtype=np.float64)) + (2 * 0.75 - 1) * 9
    assert risk == pytest.approx(
        expected, rel=1e-4
    )  # float32 differences over a probe of 0.05: eps * 20 * |y|
