"""The expected squared error of every pixel: variance, and what was removed."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from xanesum.method.local_risk import band_excess, image_risk, local_risk
from xanesum.method.sure import Blend, Response, blend_by_risk, image_response

SIGMA = 1.0


def fresh(seed=0):
    return np.random.default_rng(seed)


def half_smoothed(images):
    """A linear denoiser that smooths the left half only."""
    left = np.arange(images.shape[2]) < images.shape[2] // 2
    return np.where(left, np.stack([gaussian_filter(image, 1.0) for image in images]), images)


def local_risk_of(noisy, denoise, seed=0, mask=None, n_probes=4):
    denoised = denoise(noisy)
    response = image_response(noisy, denoised, denoise, SIGMA, rng=fresh(seed), mask=mask, n_probes=n_probes)
    blend = blend_by_risk(noisy, denoised, response.divergence, SIGMA, mask=mask, weigh=False)
    images = blend.apply(noisy, denoised)
    return blend, local_risk(blend, response, noisy, images, SIGMA, mask=mask)


def test_a_pixel_that_is_smoothed_has_the_variance_that_is_left():
    noisy = fresh(1).standard_normal((1, 80, 120)).astype(np.float32)
    kernel = gaussian_filter(np.pad([[1.0]], 8), 1.0)

    _, found = local_risk_of(noisy, half_smoothed)

    assert found[0, :, :50].mean() == pytest.approx(np.sum(kernel**2), rel=0.1)
    np.testing.assert_allclose(found[0, :, 70:], 1, rtol=0.1)
    assert found[0, :, :50].std() < 0.5 * found[0, :, :50].mean()


def test_one_probe_tells_as_much_as_four_of_a_larger_region():
    noisy = fresh(1).standard_normal((1, 80, 120)).astype(np.float32)

    four, one = (local_risk_of(noisy, half_smoothed, n_probes=n)[1][0, :, :50] for n in (4, 1))

    assert one.std() < 1.3 * four.std()
    assert one.mean() == pytest.approx(four.mean(), rel=0.1)


def test_where_the_risk_is_more_than_the_variance_all_pixels_have_their_share():
    blurred_away = 3 * (np.indices((80, 120)).sum(axis=0) % 2 * 2 - 1) * (np.arange(120) < 60)
    noisy = (fresh(1).standard_normal((1, 80, 120)) + blurred_away).astype(np.float32)

    blend, found = local_risk_of(noisy, half_smoothed)

    assert blend.risk[0] == pytest.approx(9 / 2 + 0.54, rel=0.1)
    assert found.mean() == pytest.approx(blend.risk[0], rel=0.02)


def test_pixels_outside_the_mask_have_no_risk_and_no_say():
    mask = np.arange(120) >= 90
    noisy = np.where(mask, fresh(1).standard_normal((1, 80, 120)), 0).astype(np.float32)

    _, found = local_risk_of(noisy, half_smoothed, mask=np.broadcast_to(mask, (80, 120)))

    assert not found[..., :90].any()
    np.testing.assert_allclose(found[..., 90:], 1, rtol=0.1)


def test_halves_of_a_noisy_and_an_unchanged_image_have_all_of_its_noise():
    noisy = fresh(1).standard_normal((1, 40, 50)).astype(np.float32)
    response = image_response(noisy, noisy, lambda images: images, SIGMA, rng=fresh())
    blend = blend_by_risk(noisy, noisy, response.divergence, SIGMA)
    halves = replace(blend, noisy=np.array([0.5]), denoised=np.array([0.5]), risk=np.array([0.0]))

    np.testing.assert_allclose(local_risk(halves, response, noisy, noisy, SIGMA), 1, rtol=1e-3)


# --- what is lost, band by band

SHAPE = (96, 128)
EVERYWHERE = np.ones(SHAPE, bool)


def far(image):
    """Detail of more than about 20 pixels."""
    return gaussian_filter(image, 8.0, mode="wrap")


def without_coarse_detail(images):
    return np.stack([image - far(image) for image in images])


def excess_of(noisy, denoise, mask=EVERYWHERE, sigma=SIGMA):
    """Excess of each band (B, K), and the sums of squares of noise in each."""
    noisy = np.where(mask, noisy, np.float32(0))
    denoised = np.where(mask, denoise(noisy), np.float32(0))
    response = image_response(noisy, denoised, denoise, sigma, rng=fresh(), mask=mask)
    blend = blend_by_risk(noisy, denoised, response.divergence, sigma, mask=mask, weigh=False)
    images = blend.apply(noisy, denoised)
    return band_excess(blend, response, noisy, images, sigma, mask=mask), response.counts


def with_noise(image, seed=1, sigma=SIGMA):
    return (image + sigma * fresh(seed).standard_normal((1, *SHAPE))).astype(np.float32)


def coarse_image(size):
    image = far(fresh(3).standard_normal(SHAPE))
    return size * image / image.std()


def test_a_denoiser_that_changes_nothing_loses_nothing():
    excess, counts = excess_of(with_noise(coarse_image(5.0)), lambda images: images)

    assert excess.shape == (len(counts), 1)
    np.testing.assert_allclose(excess, 0, atol=1e-3)


def test_a_perfect_denoiser_loses_no_more_than_chance():
    """It returns the truth, whatever it is given.  The bound is 3 standard errors in each band."""
    truth = coarse_image(5.0)[None].astype(np.float32)
    for seed in range(10):
        excess, counts = excess_of(with_noise(truth[0], seed), lambda images: truth)

        assert np.all(excess[:, 0] <= 3 * np.sqrt(2 * counts))


@pytest.mark.parametrize("sigma", [1.0, 0.1])
def test_a_coarse_image_that_is_removed_is_seen_in_coarse_bands(sigma):
    truth = sigma * coarse_image(1.0)

    excess, counts = excess_of(with_noise(truth, sigma=sigma), without_coarse_detail, sigma=sigma)

    lost = np.sum(far(truth) ** 2)
    assert excess.sum() == pytest.approx(lost, rel=0.15)
    assert excess[2:].sum() > 0.9 * excess.sum()
    assert len(counts) == 6


def test_pixels_outside_the_mask_are_not_lost():
    mask = EVERYWHERE.copy()
    mask[:, 64:] = False
    noisy = with_noise(np.where(mask, 0, coarse_image(3.0)))

    excess, counts = excess_of(noisy, lambda images: images, mask)

    assert counts.sum() == np.count_nonzero(mask)
    np.testing.assert_allclose(excess, 0, atol=1e-3)


def test_a_weak_image_that_is_removed_is_an_error_where_the_sample_is_thick():
    """The weak image is a part of the strong one, and the denoiser sets it to nothing."""
    thickness = np.where(np.arange(SHAPE[1]) < 64, 1.0, 3.0) * np.ones(SHAPE)
    truth = np.stack([20 * thickness, 0.5 * thickness])
    mean_risk, errors = [], []
    for seed in range(4):
        noisy = (truth + fresh(seed).standard_normal((2, *SHAPE))).astype(np.float32)

        def keep_the_first(images):
            return images * np.array([1, 0], np.float32)[:, None, None]

        _, found = local_risk_of(noisy, keep_the_first)
        mean_risk.append(found[1])
        errors.append(np.square(truth[1]))

    found, true = np.mean(mean_risk, axis=0), np.mean(errors, axis=0)
    assert found.mean() == pytest.approx(true.mean(), rel=0.1)
    assert found[:, 70:].mean() == pytest.approx(9 * found[:, :58].mean(), rel=0.02)


def test_fine_detail_is_lost_where_the_denoiser_keeps_noise():
    """Borders that are blurred: their error follows the variance, not the thickness."""
    checks = 3 * (np.indices(SHAPE).sum(axis=0) % 2 * 2 - 1) * (np.arange(SHAPE[1]) >= 64)
    noisy = with_noise(checks)

    def blurred_left(images):
        """Left of the middle little noise is left; right of it all, of half the detail."""
        left = np.arange(SHAPE[1]) < 64
        return np.where(left, np.stack([far(image) for image in images]), 0.5 * images)

    _, found = local_risk_of(noisy, blurred_left)

    assert found[0, :, 72:].mean() > 10 * found[0, :, :56].mean()
    assert found.mean() == pytest.approx(9 / 4 / 2 + 1 / 4 / 2, rel=0.1)


def test_the_risk_of_an_image_is_the_mean_of_its_pixels():
    expected = np.stack([np.full((4, 5), 2.0), np.arange(20.0).reshape(4, 5)]).astype(np.float32)
    mask = np.zeros((4, 5), bool)
    mask[1, 2:] = True

    np.testing.assert_allclose(image_risk(expected, mask), [2.0, 8.0])


def test_no_image_has_no_risk():
    response = Response.empty(4, SHAPE)
    nothing, none = np.zeros((0, *SHAPE), np.float32), np.zeros(0)

    found = local_risk(Blend(none, none, none, np.zeros((4, 0))), response, nothing, nothing, SIGMA)

    assert found.shape == (0, *SHAPE)


def test_detail_lost_in_a_small_thick_sample_is_counted_there():
    """The mean over all pixels hides it, and it need not grow with the thickness."""
    sample = (np.indices((80, 120)).sum(axis=0) % 2 * 2 - 1) * ((np.indices((80, 120)) < 22).all(axis=0))
    thickness = np.abs(sample) * np.where((np.indices((80, 120)) < 4).all(axis=0), 300.0, 30.0)
    noisy = fresh(1).standard_normal((2, 80, 120)) + np.stack([thickness, 1.5 * sample])

    def strong_only(images):
        kept = np.array(images)
        kept[-1] = 0
        return kept

    _, found = local_risk_of(noisy.astype(np.float32), strong_only)

    assert found[1, :22, :22].mean() == pytest.approx(1.5**2, rel=0.3)
    assert found[1, 22:].mean() < 0.1
