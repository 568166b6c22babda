"""denoise where the noise changes over pixels and energies: evened out, multiplied back, errors to match."""

from dataclasses import replace

import numpy as np
import pytest
from scans import add_noise, smooth_images

from xanesum.errors import RecipeError
from xanesum.method.denoising import denoise
from xanesum.method.fit import Fit
from xanesum.method.sure import RankRisk
from xanesum.phantom import expose, simulate
from xanesum.preprocess import prepare
from xanesum.result import load_result
from xanesum.stack import make_stack
from xanesum.xanes import half_step_energy

pytestmark = pytest.mark.filterwarnings("ignore:component .+ is close to the limit")

PHANTOM = simulate("wedge", shape=(96, 128), n_energies=60)
SCAN = expose(PHANTOM, 400.0, flat_drift=0.0, peak_density=3.0, rng=np.random.default_rng(3))
STACK = prepare(SCAN.stack)[0]
QUICK = {"denoiser": "wavelet", "n_probes": 1}


@pytest.fixture(scope="module")
def uneven():
    return denoise(STACK, **QUICK)


@pytest.fixture(scope="module")
def white():
    return denoise(STACK, noise="white", **QUICK)


def true_sigma():
    counts = SCAN.illumination * np.exp(-SCAN.density)
    return np.sqrt(0.144 * counts + 11) / counts


def map_error(result):
    """Root mean square over the sample, and the share of pixels within their standard error."""
    found = half_step_energy(result, e0_ev=8341.0)
    true = half_step_energy(make_stack(SCAN.density, PHANTOM.energy_ev), e0_ev=8341.0)
    energy = found.half_step_energy_ev.values
    error = np.where(np.isfinite(energy), energy, 8341.0) - true.half_step_energy_ev.values
    good = PHANTOM.mask & found["mask"].values
    within = np.abs(error[good]) < found.half_step_sigma_ev.values[good]
    return np.sqrt(np.mean(error[PHANTOM.mask] ** 2)), np.mean(within)


def test_the_noise_of_counts_is_seen_and_described(uneven):
    found = uneven.sigma_energy.values[:, None, None] * uneven.sigma_pixel.values
    relative = np.log(found / true_sigma())

    assert "uneven" in uneven.provenance["noise"]
    assert not uneven.noise_is_even
    assert abs(relative.mean()) < 0.05
    assert relative.std() < 0.7 * np.log(true_sigma()).std()
    assert np.log(uneven.sigma_pixel.values).mean() == pytest.approx(0, abs=1e-6)


def test_maps_become_better_and_their_errors_more_honest(uneven, white):
    """Than with noise that is taken as even, with as many components: left alone, it gets some of its own."""
    even = denoise(STACK, noise="white", rank=uneven.rank, **QUICK)
    (error, within), (error_white, within_white) = map(map_error, (uneven, even))

    assert uneven.rank < white.rank
    assert error < 0.97 * error_white
    assert within_white + 0.05 < within < 0.72


def test_a_pixel_with_twice_the_noise_has_twice_the_error(uneven):
    left = np.where(np.arange(STACK.shape[2]) < 60, 2.0, 1.0)
    louder = replace(uneven, error_images=uneven.error_images * left)

    here, there = (half_step_energy(result, e0_ev=8341.0) for result in (uneven, louder))

    ratio = (there.half_step_sigma_ev / here.half_step_sigma_ev).values
    assert np.nanmedian(ratio[:, :60]) > 1.8
    np.testing.assert_allclose(ratio[:, 60:][np.isfinite(ratio[:, 60:])], 1, rtol=1e-5)


def test_spectra_stay_orthonormal(uneven):
    np.testing.assert_allclose(
        uneven.spectra.values @ uneven.spectra.values.T, np.eye(uneven.rank), atol=1e-6
    )


def test_white_noise_is_left_white():
    stack = PHANTOM.noisy(20.0, rng=np.random.default_rng(0))

    here, there = (denoise(stack, noise=noise, rank=2, **QUICK) for noise in ("auto", "white"))

    assert here.provenance["noise"] == "white"
    assert here.noise_is_even
    assert here.rank == there.rank
    np.testing.assert_allclose(here.sigma_pixel.values, 1)
    np.testing.assert_allclose(
        np.asarray(here.reconstruct()), np.asarray(there.reconstruct()), atol=0.1 * here.sigma
    )


@pytest.mark.parametrize("options", [{"sigma": 0.05}, {"method": "sum", "rank": 3}, {"noise": "white"}])
def test_who_says_that_noise_is_white_is_believed(options):
    assert denoise(STACK, **{**QUICK, **options}).provenance["noise"] == "white"


def test_masked_pixels_have_no_say():
    mask = np.ones(STACK.shape[1:], bool)
    mask[:, :30] = False
    masked = STACK.assign_coords(mask=(("y", "x"), mask))
    spoiled = masked.copy(data=np.where(mask, masked.values, np.float32(9)))

    here, there = (denoise(stack, **QUICK) for stack in (masked, spoiled))

    np.testing.assert_allclose(here.coefficients.values, there.coefficients.values, atol=1e-4)
    np.testing.assert_allclose(here.sigma_pixel.values[~mask], 1)


def test_scaling_the_stack_scales_the_result():
    stack = STACK.drop_vars("noise_gain")  # of the counts, which are not scaled
    found, scaled = (denoise(each, rank=3, **QUICK) for each in (stack, stack.copy(data=1e3 * stack.values)))

    assert scaled.sigma == pytest.approx(1e3 * found.sigma, rel=1e-3)
    np.testing.assert_allclose(
        np.asarray(scaled.reconstruct()), 1e3 * np.asarray(found.reconstruct()), atol=5
    )


def test_what_is_known_of_the_noise_is_saved(tmp_path, uneven):
    loaded = load_result(uneven.save(tmp_path / "result.h5"))

    for name in ("sigma_pixel", "sigma_energy", "sigma_common", "error_images", "error_mixing"):
        np.testing.assert_array_equal(getattr(loaded, name).values, getattr(uneven, name).values)
    assert map_error(loaded) == map_error(uneven)


def test_exposure_gained_is_the_ratio_of_variances_before_and_after(uneven):
    found = half_step_energy(uneven, e0_ev=8341.0)
    true = half_step_energy(make_stack(SCAN.density, PHANTOM.energy_ev), e0_ev=8341.0)
    raw = half_step_energy(STACK, e0_ev=8341.0)
    good = PHANTOM.mask & found["mask"].values & raw["mask"].values
    before = np.abs(raw.half_step_energy_ev - true.half_step_energy_ev).values[good]
    predicted = found.half_step_sigma_ev.values[good] * np.sqrt(found.exposure_gain.values[good])

    assert (found.exposure_gain.values[good] > 1).mean() > 0.95
    quiet = predicted < np.quantile(predicted, 0.5)  # where noise is small enough to be linear
    assert 0.55 < np.mean(before[quiet] < predicted[quiet]) < 0.8
    thick = uneven.sigma_pixel.values[good] > np.median(uneven.sigma_pixel.values[good])
    assert 0.5 < np.mean(before[thick] < predicted[thick]) < 0.85
    assert np.isnan(raw.exposure_gain.values).all()


def test_fewer_components_have_their_own_errors(uneven):
    fewer = uneven.truncated(1)

    assert fewer.error_mixing.shape == (1, uneven.rank)
    np.testing.assert_array_equal(fewer.error_mixing.values, uneven.error_mixing.values[:1])
    half_step_energy(fewer, e0_ev=8341.0)


def test_multiplying_back_is_exact():
    rng, shape = np.random.default_rng(0), (20, 30)
    spectra = np.linalg.qr(rng.standard_normal((40, 3))).Q.T
    images = (smooth_images(3, shape) * np.array([20, 5, 1])[:, None, None]).astype(np.float32)
    pixel, energy = np.exp(smooth_images(1, shape)[0]), rng.uniform(0.5, 2, 40)
    risk = RankRisk(*np.zeros((5, 4)))
    errors = np.sqrt([3.0, 2.0, 1.0])[:, None, None] * np.ones((3, *shape), np.float32)
    fit = Fit(spectra, images, errors, risk, {"spectrum_error": np.ones(3)}, 3)

    found = fit.unwhiten(spectra * energy, pixel)

    whole = np.tensordot(spectra.T, images, axes=1) * energy[:, None, None] * pixel
    np.testing.assert_allclose(np.tensordot(found.spectra.T, found.images, axes=1), whole, atol=1e-4)
    np.testing.assert_allclose(found.spectra @ found.spectra.T, np.eye(3), atol=1e-12)
    drawn = np.sqrt([3.0, 2.0, 1.0])[:, None] * rng.standard_normal((3, 200_000))
    moved = found.spectra @ ((spectra * energy).T @ drawn)
    here = found.mixing * found.errors[:, 5, 7] / pixel[5, 7]
    np.testing.assert_allclose(np.cov(moved), here @ here.T, atol=0.05)
    np.testing.assert_allclose(
        found.errors / found.errors[:, :1, :1], errors * 0 + pixel / pixel[0, 0], rtol=1e-5
    )


def test_unknown_noise_is_refused():
    with pytest.raises(RecipeError, match="noise must be one of auto, white"):
        denoise(make_stack(add_noise(np.zeros((4, 8, 8), np.float32), 1.0), np.arange(4) + 8300.0), noise="x")
