"""Tests that every denoiser has to pass; a plug-in's author subclasses them.

.. code-block:: python

    from xanesum.testing import DenoiserTests


    class TestMyDenoiser(DenoiserTests):
        def make_denoiser(self):
            return MyDenoiser()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from xanesum.denoisers import Denoiser, exact_form
from xanesum.errors import DenoiserError, SigmaError

__all__ = ["DenoiserTests", "monte_carlo_risk", "structured_image"]

Image = NDArray[np.float32]


def structured_image(shape: tuple[int, int], *, rng: np.random.Generator) -> Image:
    """Return particles in projection over two chemical regions: shape (Y, X), mean 0, variance 1."""
    y, x = np.indices(shape)
    thickness = np.full(shape, 0.2)
    for _ in range(12):
        centre_y, centre_x = rng.uniform(0, shape)
        radius_px = rng.uniform(0.05, 0.3) * max(shape)
        thickness += np.sqrt(np.maximum(0, radius_px**2 - (y - centre_y) ** 2 - (x - centre_x) ** 2)) / max(
            shape
        )
    region = np.where(x + 0.5 * y < 0.7 * max(shape), 1.0, -0.5)
    image = thickness * region
    unit: Image = ((image - image.mean()) / max(image.std(), 1e-12)).astype(np.float32)
    return unit


def monte_carlo_risk(
    denoise: Callable[[Image], Image],
    noisy: Image,
    sigma: float,
    *,
    rng: np.random.Generator,
    probe_step: float = 0.05,
) -> float:
    """Return Stein's unbiased estimate of the mean squared error of ``denoise(noisy)`` [1]_.

    Parameters
    ----------
    denoise : callable
        Maps images (K, Y, X) to images of the same shape.
    noisy : ndarray of float32, shape (K, Y, X)
        Images with white Gaussian noise.
    sigma : float
        Standard deviation of the noise, in the unit of the images.
    rng : numpy.random.Generator
        Draws the signs of the probe.
    probe_step : float
        Height of the probe in units of sigma.

    References
    ----------
    .. [1] S. Ramani, T. Blu, M. Unser, "Monte-Carlo SURE: a black-box optimization of regularization
       parameters for general denoising algorithms", IEEE Trans. Image Process. 17 (2008) 1540-1554.
    """
    step = probe_step * sigma
    probe = rng.choice(np.array([-1, 1], dtype=np.float32), noisy.shape)
    denoised = denoise(noisy)
    probed = np.add(noisy, np.float32(step) * probe, dtype=np.float32)
    change = denoise(probed) - denoised
    divergence = np.mean(probe * change, dtype=np.float64) / step
    return mean_square(denoised - noisy) + sigma**2 * (2 * float(divergence) - 1)


class _DenoiserCase:
    """The denoiser under test, images for it, and how equal two results have to be."""

    denoises: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    repeat_atol: ClassVar[float] = 0.0
    equivariance_atol: ClassVar[float] = 0.01
    risk_limits: ClassVar[dict[float, float]] = {0.1: 0.05, 5.0: 0.35, 100.0: 1.05}
    shape: ClassVar[tuple[int, int]] = (72, 89)

    def make_denoiser(self) -> Denoiser:
        """Return the denoiser under test."""
        raise NotImplementedError("give the subclass a method make_denoiser")

    def make_noisy(self, contrast: float, *, n_images: int = 1, sigma: float = 1.0) -> tuple[Image, Image]:
        """Return K clean images of standard deviation contrast * sigma, and the same with noise."""
        rng = np.random.default_rng(20210)
        clean = np.stack([structured_image(self.shape, rng=rng) for _ in range(n_images)])
        clean = np.float32(contrast * sigma) * clean
        return clean, clean + np.float32(sigma) * rng.standard_normal(clean.shape, dtype=np.float32)

    def assert_same(self, actual: Image, expected: Image) -> None:
        """Assert equality, bit for bit unless `repeat_atol` allows more."""
        np.testing.assert_allclose(actual, expected, rtol=0, atol=self.repeat_atol)

    def assert_close(self, actual: Image, expected: Image) -> None:
        """Assert equality to `equivariance_atol`, plus float32's rounding of the values themselves."""
        rounding = 4 * float(np.finfo(np.float32).eps) * float(np.abs(expected).max(initial=0))
        atol = self.equivariance_atol + rounding
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


class _ContractTests(_DenoiserCase):
    """Shapes, masks, flags and errors: the rules of `Denoiser`."""

    def test_follows_the_protocol(self) -> None:
        """Name and flags are there, and have the right types."""
        denoiser = self.make_denoiser()
        assert isinstance(denoiser, Denoiser)
        assert isinstance(denoiser.name, str)
        assert denoiser.device in ("cpu", "cuda")
        assert isinstance(denoiser.uses_sigma, bool)
        assert isinstance(denoiser.takes_sigma_map, bool)
        assert denoiser.extra is None or isinstance(denoiser.extra, str)

    def test_input_is_untouched_and_the_result_repeats(self) -> None:
        """Equal arguments give equal results, also from another instance and another global random state."""
        _, noisy = self.make_noisy(5.0)
        before = noisy.copy()
        noisy.setflags(write=False)
        denoiser = self.make_denoiser()
        first = denoiser.denoise(noisy, 1.0)
        denoiser.denoise(-noisy, 2.0)
        again = denoiser.denoise(noisy, 1.0)
        np.testing.assert_array_equal(noisy, before)
        self.assert_same(first, again)
        self.assert_same(first, self.make_denoiser().denoise(noisy, 1.0))
        assert not np.shares_memory(first, noisy)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 13), (13, 1), (2, 3), (7, 5), (33, 40)])
    @pytest.mark.parametrize("n_images", [1, 3])
    def test_any_shape_comes_back_as_finite_float32(self, shape: tuple[int, int], n_images: int) -> None:
        """Odd sizes and images one pixel wide are allowed."""
        noisy = np.random.default_rng(1).standard_normal((n_images, *shape), dtype=np.float32)
        denoised = self.make_denoiser().denoise(noisy, 1.0)
        assert denoised.shape == noisy.shape, f"{noisy.shape} came back as {denoised.shape}"
        assert denoised.dtype == np.float32, f"expected float32, got {denoised.dtype}"
        assert np.isfinite(denoised).all(), "some values are not finite"

    def test_layout_in_memory_does_not_matter(self) -> None:
        """A view with strides gives what its contiguous copy gives."""
        _, noisy = self.make_noisy(5.0)
        view = np.asfortranarray(noisy)
        self.assert_close(self.make_denoiser().denoise(view, 1.0), self.make_denoiser().denoise(noisy, 1.0))

    def test_each_image_is_denoised_by_itself(self) -> None:
        """An image's result does not depend on the images that come with it."""
        _, noisy = self.make_noisy(5.0, n_images=3)
        noisy *= np.array([1, 5, 0.1], dtype=np.float32)[:, None, None]
        together = self.make_denoiser().denoise(noisy, 1.0)
        alone = np.concatenate([self.make_denoiser().denoise(image[None], 1.0) for image in noisy])
        self.assert_close(together, alone)

    def test_a_mask_that_hides_nothing_changes_nothing(self) -> None:
        """All true is the same as no mask; all false is allowed."""
        _, noisy = self.make_noisy(5.0)
        mask = np.ones(self.shape, dtype=bool)
        masked = self.make_denoiser().denoise(noisy, 1.0, mask=mask)
        self.assert_same(masked, self.make_denoiser().denoise(noisy, 1.0))
        assert self.make_denoiser().denoise(noisy, 1.0, mask=~mask).shape == noisy.shape

    def test_the_exact_form_is_a_denoiser_and_its_own_exact_form(self) -> None:
        """Risk estimates call the exact form, where there is one."""
        exact = exact_form(self.make_denoiser())
        assert isinstance(exact, Denoiser)
        assert exact_form(exact) is exact

    @pytest.mark.parametrize("sigma", [-1.0, np.nan, np.inf])
    def test_impossible_sigma_is_refused(self, sigma: float) -> None:
        """Also by a denoiser that does not use it: the caller is wrong either way."""
        _, noisy = self.make_noisy(5.0)
        with pytest.raises(SigmaError, match="sigma"):
            self.make_denoiser().denoise(noisy, sigma)

    def test_without_noise_nothing_changes(self) -> None:
        """Sigma 0 returns a copy."""
        _, noisy = self.make_noisy(5.0)
        denoiser = self.make_denoiser()
        if denoiser.uses_sigma:
            np.testing.assert_array_equal(denoiser.denoise(noisy, 0.0), noisy)

    def test_uses_sigma_tells_the_truth(self) -> None:
        """Another sigma gives another result if, and only if, the flag says that sigma is used."""
        _, noisy = self.make_noisy(5.0)
        denoiser = self.make_denoiser()
        difference = np.abs(denoiser.denoise(noisy, 1.0) - denoiser.denoise(noisy, 3.0)).max()
        assert bool(difference > self.repeat_atol) is denoiser.uses_sigma


class _StatisticsTests(_DenoiserCase):
    """The error that a denoiser makes, and how it changes with the images and the noise."""

    @pytest.mark.parametrize("value", [0.0, -7.3, 1000.0])
    def test_a_constant_image_stays(self, value: float) -> None:
        """There is nothing to take away from an image without noise or structure."""
        image = np.full((1, *self.shape), value, dtype=np.float32)
        self.assert_close(self.make_denoiser().denoise(image, 1.0), image)

    @pytest.mark.parametrize("scale", [1e-4, 1e4])
    def test_scaling_images_and_sigma_scales_the_result(self, scale: float) -> None:
        """The unit of the images does not matter."""
        _, noisy = self.make_noisy(5.0)
        expected = self.make_denoiser().denoise(noisy, 1.0)
        scaled = self.make_denoiser().denoise(np.float32(scale) * noisy, scale)
        self.assert_close(scaled / np.float32(scale), expected)

    def test_an_offset_only_shifts_the_result(self) -> None:
        """Zero has no meaning of its own; 100 sigma is what a first coefficient image may have."""
        _, noisy = self.make_noisy(5.0)
        offset = np.float32(100)
        shifted = self.make_denoiser().denoise(noisy + offset, 1.0)
        self.assert_close(shifted - offset, self.make_denoiser().denoise(noisy, 1.0))

    @pytest.mark.parametrize("contrast", [0.1, 5.0, 100.0])
    def test_error_falls_below_a_limit(self, contrast: float) -> None:
        """Weak images gain much, strong ones lose nothing: mean squared error over noise power."""
        clean, noisy = self.make_noisy(contrast, n_images=2)
        limit = self.risk_limits[contrast] if self.denoises else 1.05
        error = mean_square(self.make_denoiser().denoise(noisy, 1.0) - clean)
        assert error < limit, f"error {error:.3g}, at most {limit:.3g} is allowed (risk_limits[{contrast}])"

    @pytest.mark.parametrize("contrast", [0.2, 5.0, 50.0])
    def test_stein_risk_is_the_true_risk(self, contrast: float) -> None:
        """Monte-Carlo SURE misses the true error by no more than its own scatter explains, and by 2 %."""
        if not self.differentiable:
            pytest.skip("declared as not differentiable")
        clean, noisy = self.make_noisy(contrast, n_images=8)
        denoise = self.make_denoiser().denoise
        rng = np.random.default_rng(3)
        misses = [
            monte_carlo_risk(lambda images: denoise(images, 1.0), image[None], 1.0, rng=rng)
            - mean_square(denoise(image[None], 1.0) - truth)
            for image, truth in zip(noisy, clean, strict=True)
        ]
        # SURE's variance is at most 6 / N: 2 / N, and 4 D / N for a divergence D <= 1 per pixel.  The
        # probe adds at most as much.  Eight samples know their deviation to 25 %, and 2 is four of these.
        scatter, most = np.std(misses, ddof=1), 2 * np.sqrt(12 / noisy[0].size)
        advice = "a denoiser that jumps says differentiable = False"
        assert scatter < most, f"scatters by {scatter:.3g}, at most {most:.3g} is allowed; {advice}"
        miss, most = abs(np.mean(misses)), 0.02 + 4 * scatter / np.sqrt(len(misses))
        assert miss < most, f"off by {miss:.3g}, at most {most:.3g} is allowed; {advice}"

    def test_what_lies_under_the_mask_does_not_matter(self) -> None:
        """Garbage that is masked, NaN included, changes no pixel that is not."""
        clean, noisy = self.make_noisy(5.0)
        mask = np.ones(self.shape, dtype=bool)
        mask[:9, :20] = mask[30:34, 30:33] = mask[-5, 3] = False
        results = []
        for garbage in (np.nan, 1e6, 0.0):
            spoilt = np.where(mask, noisy, np.float32(garbage))
            results.append(self.make_denoiser().denoise(spoilt, 1.0, mask=mask)[:, mask])
        assert np.isfinite(results[0]).all()
        self.assert_same(results[0], results[1])
        self.assert_same(results[0], results[2])
        limit = self.risk_limits[5.0] if self.denoises else 1.05
        error = mean_square(results[0] - clean[:, mask])
        assert error < limit, f"error {error:.3g}, at most {limit:.3g} is allowed (risk_limits[5.0])"

    def test_takes_sigma_map_tells_the_truth(self) -> None:
        """A map is refused, or works: a constant one like the scalar, a varying one where noise varies."""
        denoiser = self.make_denoiser()
        clean, noisy = self.make_noisy(5.0)
        constant = np.ones(self.shape, dtype=np.float32)
        if not denoiser.takes_sigma_map:
            with pytest.raises(DenoiserError, match="array"):
                denoiser.denoise(noisy, constant)
            return
        self.assert_close(denoiser.denoise(noisy, constant), denoiser.denoise(noisy, 1.0))
        if denoiser.uses_sigma and self.denoises:
            self._assert_map_beats_its_mean(denoiser, clean, noisy)

    def _assert_map_beats_its_mean(self, denoiser: Denoiser, clean: Image, noisy: Image) -> None:
        """Knowing where the noise is strong has to pay: noise 1 on the left, 5 on the right."""
        sigma = np.ones(self.shape, dtype=np.float32)
        sigma[:, self.shape[1] // 2 :] = 5
        uneven = clean + sigma * (noisy - clean)
        weighted = [
            mean_square((denoiser.denoise(uneven, level) - clean) / sigma)
            for level in (sigma, float(np.sqrt(mean_square(sigma))))
        ]
        assert weighted[0] < 0.9 * weighted[1]


class DenoiserTests(_ContractTests, _StatisticsTests):
    """Everything that `xanesum` needs of a denoiser, checked by statistics and not by shapes alone.

    Subclass it in a test module under a name that begins with ``Test``, and give it `make_denoiser`.  The
    class attributes below may be loosened in the subclass, each with a reason.  Tolerances are in units of
    sigma.

    Attributes
    ----------
    denoises : bool
        False only for a reference that returns its input.
    differentiable : bool
        False skips the test of Stein's risk; for denoisers with hard decisions, such as block matching.
    repeat_atol : float
        Allowed difference between two equal calls; above 0 only where threads add in any order.
    equivariance_atol : float
        Allowed difference after a change of scale, offset, batch or layout, and for constant images.
    risk_limits : dict of float to float
        Largest mean squared error over the variance of the noise, for three contrasts.
    shape : tuple of int
        (Y, X) of the test images; odd, and Y != X.
    """


def mean_square(values: Image) -> float:
    """Return the mean of the squares, summed in float64."""
    return float(np.mean(np.square(values, dtype=np.float64)))
