"""Particles: labels, depth, mean states with errors, spread, profiles; and mean spectra of regions."""

from dataclasses import replace

import numpy as np
import pytest
from scans import add_noise, edge_stack
from scipy.ndimage import gaussian_filter

from xanesum.errors import EdgeError, RecipeError, StackError
from xanesum.method.denoising import denoise
from xanesum.result.spectrum_errors import region_mask
from xanesum.stack import SHIFT_ERRORS
from xanesum.xanes import half_step_energy
from xanesum.xanes.particles.error_draws import ErrorDraws, measured_residual
from xanesum.xanes.particles.labels import check_labels, find_particles
from xanesum.xanes.particles.regions import region_spectra
from xanesum.xanes.particles.states import depth_px, map_name, measure_particles

SHAPE = (60, 72)
SIGMA = 0.12
N_ENERGIES = 60
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def discs(*places):
    """Labels 1 ... N of discs (y, x, radius)."""
    labels = np.zeros(SHAPE, int)
    for number, (y, x, radius) in enumerate(places, start=1):
        labels[np.hypot(Y - y, X - x) <= radius] = number
    return labels


# a grid of 20 discs, each a mixture of two states
# the edge of two states and what lies below it: three spectra
LABELS = discs(*((7 + 14 * j, 7 + 14 * i, 5) for j in range(4) for i in range(5)))
SHARES = np.random.default_rng(4).uniform(0, 1, LABELS.max() + 1)
THICKNESS = np.where(LABELS > 0, 1.0, 0.02)
LOW, HIGH = (
    edge_stack(np.full(SHAPE, state), thickness=THICKNESS, n_energies=N_ENERGIES) for state in (8340, 8343)
)
CLEAN = LOW.copy(data=LOW.values + SHARES[LABELS].astype(np.float32) * (HIGH.values - LOW.values))
TRUTH = half_step_energy(CLEAN)["half_step_energy_ev"].values
STATES = np.array([TRUTH[n == LABELS].mean() for n in range(1, LABELS.max() + 1)])
PARTICLES = check_labels(LABELS, SHAPE)


def noisy(seed=0, clean=CLEAN):
    return clean.copy(data=add_noise(clean.values, SIGMA, seed))


@pytest.fixture(scope="module")
def stack():
    return noisy()


@pytest.fixture(scope="module")
def result(stack):
    return denoise(stack, rank=3, denoiser="wavelet")


# --- labels


def test_discs_that_touch_are_told_apart():
    two = discs((20, 20, 12), (20, 42, 12), (50, 60, 6))
    thickness = np.where(two > 0, 1.0, 0.0) + 0.02 * np.random.default_rng(0).standard_normal(SHAPE)

    found = find_particles(thickness, np.ones(SHAPE, bool))

    assert len(found.names) == 3
    assert 0.2 < found.threshold < 0.8
    for number in (1, 2, 3):
        own = found.labels[two == number]
        assert np.mean(own == np.bincount(own).argmax()) > 0.95
    assert f"{found.threshold:.4g}" in found.definition


def test_where_there_is_no_background_everything_is_sample():
    thickness = 1 + 0.2 * np.sin(X / 9.0)
    everywhere = np.ones(SHAPE, bool)

    found = find_particles(thickness, everywhere, has_edge=everywhere.copy())

    assert found.threshold == 0
    assert (found.labels > 0).all()
    assert "no background" in found.definition


def test_small_particles_and_small_holes():
    thickness = np.where(discs((30, 30, 15), (5, 66, 1)) > 0, 1.0, 0.0)
    thickness[29:31, 29:31] = 0

    found = find_particles(thickness, np.ones(SHAPE, bool))

    assert len(found.names) == 1
    assert not found.labels[29:31, 29:31].any()
    assert found.labels[30, 20] == 1


def test_no_particle_is_an_error_that_says_the_threshold():
    with pytest.raises(StackError, match=r"no particle of at least 12 px .* 99 \(given\)"):
        find_particles(THICKNESS, np.ones(SHAPE, bool), threshold=99.0)
    with pytest.raises(StackError, match="no usable pixel"):
        find_particles(THICKNESS, np.zeros(SHAPE, bool))
    with pytest.raises(RecipeError, match="split_px must be"):
        find_particles(THICKNESS, np.ones(SHAPE, bool), split_px=0.0)


def test_pixels_without_an_edge_belong_to_no_particle():
    has_edge = np.ones(SHAPE, bool)
    has_edge[:, :24] = False

    found = find_particles(THICKNESS, np.ones(SHAPE, bool), has_edge=has_edge, threshold=0.5)

    assert not found.labels[:, :24].any()
    assert found.labels[:, 24:].any()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones((60, 71), int), r"shape \(60, 71\), the images have \(60, 72\)"),
        (np.zeros(SHAPE), "0 everywhere"),
        (np.full(SHAPE, -1), "below 0"),
        (np.full(SHAPE, 0.5), "no whole numbers"),
        (np.full(SHAPE, np.nan), "no whole numbers"),
        (np.full(SHAPE, "a"), "must hold whole numbers"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(StackError, match=message):
        check_labels(labels, SHAPE)


def test_labels_keep_their_numbers():
    found = check_labels(np.where(LABELS == 3, 40, np.where(LABELS == 5, 7, 0)).astype(np.float32), SHAPE)

    assert found.names.tolist() == [7, 40]
    assert (found.labels[LABELS == 3] == 2).all()


def test_depth_is_the_distance_to_the_nearest_foreign_pixel():
    labels = discs((20, 20, 10), (20, 38, 9))
    depth = depth_px(labels)

    places = np.argwhere(labels != 1)
    for y, x in ((20, 20), (20, 12), (14, 25)):
        nearest = np.hypot(places[:, 0] - y, places[:, 1] - x).min()
        assert depth[y, x] == pytest.approx(nearest - 0.5)
    assert not depth[labels == 0].any()


# --- states


def test_states_are_right_within_their_errors(result, stack):
    """20 particles: the size of error over stated error lies within 4 of its own errors of 1."""
    found = measure_particles(result, PARTICLES, stack=stack, mapped=half_step_energy, n_draws=20)

    scaled = (found["state"].values - STATES) / found["state_sigma"].values
    assert 0.5 < np.sqrt(np.mean(scaled**2)) < 1.6
    assert found["state_sigma"].values.max() < 0.5
    assert found.attrs["intervals_hold"] is result.intervals_hold


def test_errors_are_not_those_of_independent_pixels(result, stack):
    maps = half_step_energy(result)
    found = measure_particles(result, PARTICLES, stack=stack, mapped=half_step_energy, n_draws=15)

    alone = [np.sqrt(np.sum(maps["half_step_sigma_ev"].values[n == LABELS] ** 2)) for n in range(1, 21)]
    alone = np.array(alone) / found["n_pixels"].values
    assert np.median(found["state_sigma"].values / alone) > 1.3


def test_the_mean_of_the_scan_replaces_that_of_the_denoised_images(result, stack):
    """A denoiser that smooths everything away, and its means corrected."""
    blurred = result.coefficients.copy(data=np.full_like(result.coefficients.values, 0))
    flat = type(result)(
        **{name: getattr(result, name) for name in result.__slots__ if name != "coefficients"},
        coefficients=blurred + result.coefficients.mean(("y", "x")).astype(np.float32),
    )

    found = measure_particles(flat, PARTICLES, stack=stack, mapped=half_step_energy, n_draws=10)
    without = measure_particles(flat, PARTICLES, mapped=half_step_energy, n_draws=10)

    assert np.corrcoef(found["state"].values, STATES)[0, 1] > 0.97
    assert np.ptp(without["state"].values) < 1e-3
    assert any("the scan was not at hand" in reason for reason in without.attrs["reasons"])


def test_without_denoising_there_is_no_error():
    found = measure_particles(CLEAN, PARTICLES, mapped=half_step_energy)

    np.testing.assert_allclose(found["state"].values, STATES, atol=1e-3)
    assert np.isnan(found["state_sigma"].values).all()
    assert found["n_pixels"].values.tolist() == np.bincount(LABELS.ravel())[1:].tolist()


def test_states_do_not_change_with_the_unit_of_the_stack_or_the_order_of_labels():
    other = check_labels(np.where(LABELS > 0, 21 - LABELS, 0), SHAPE)

    plain = measure_particles(CLEAN, PARTICLES, mapped=half_step_energy)
    scaled = measure_particles(CLEAN * 7.0, other, mapped=half_step_energy)

    np.testing.assert_allclose(scaled["state"].values[::-1], plain["state"].values, atol=2e-3)
    np.testing.assert_allclose(scaled["thickness"].values[::-1], 7 * plain["thickness"].values, rtol=1e-4)


def test_weights_by_thickness_give_the_mean_of_the_material():
    labels = discs((30, 30, 12))
    half = labels * (X > 30)
    states, thickness = np.where(half, 8343.0, 8341.0), np.where(labels > 0, np.where(half, 3.0, 1.0), 0.01)
    stack = edge_stack(states, thickness=thickness, n_energies=N_ENERGIES)
    particles = check_labels(labels, SHAPE)
    share = half.sum() / labels.sum()

    means = {
        weights: float(measure_particles(stack, particles, weights=weights, mapped=half_step_energy).state[0])
        for weights in ("pixels", "edge_step")
    }

    truth = half_step_energy(stack)["half_step_energy_ev"].values
    low, high = truth[labels * (X <= 30) > 0].mean(), truth[half > 0].mean()
    of_material = 3 * share / (3 * share + 1 - share)
    assert means["pixels"] == pytest.approx(low + (high - low) * share, abs=0.02)
    assert means["edge_step"] == pytest.approx(low + (high - low) * of_material, abs=0.02)


def test_a_core_is_seen_in_the_profile_and_the_spread():
    labels = discs((30, 34, 14))
    core = depth_px(labels) > 6
    stack = edge_stack(np.where(core, 8343.0, 8341.0), thickness=np.where(labels, 1.0, 0.01), n_energies=50)

    noisy_stack = noisy(3, stack)
    result = denoise(noisy_stack, rank=3, denoiser="wavelet")
    found = measure_particles(
        result, check_labels(labels, SHAPE), stack=noisy_stack, mapped=half_step_energy, n_draws=20
    )

    depth, difference = found["depth"].values, found["depth_difference"].values
    error = found["depth_difference_sigma"].values
    truth = half_step_energy(stack)["half_step_energy_ev"].values
    true = truth[core].mean() - truth[(labels > 0) & ~core].mean()
    assert difference[depth > 7].mean() - difference[depth < 5].mean() == pytest.approx(true, abs=0.25)
    assert (error[found["depth_pixels"].values > 20] < 0.3).all()
    share = core.sum() / (labels > 0).sum()
    assert float(found["spread"][0]) == pytest.approx(true * np.sqrt(share * (1 - share)), rel=0.2)
    assert bool(found["spread_is_real"][0])


def test_particles_of_one_state_have_no_sure_spread(result, stack):
    found = measure_particles(result, PARTICLES, stack=stack, mapped=half_step_energy, n_draws=15)

    assert found["spread_is_real"].values.mean() <= 0.3
    scatter = [np.nanstd(found["map"].values[number == LABELS]) for number in range(1, 21)]
    assert np.median(found["spread"].values) < 0.3 * np.median(scatter)


def test_the_limits_of_a_spread_hold_where_a_denoiser_removes_the_detail():
    """States of single pixels are detail that a denoiser takes for noise."""
    labels = discs((30, 34, 14))
    rng = np.random.default_rng(8)
    states = 8341.5 + gaussian_filter(rng.standard_normal(SHAPE), 1.0) * 2.5
    stack = edge_stack(states, thickness=np.where(labels, 1.0, 0.01), n_energies=50)
    noisy_stack = noisy(20, stack)

    result = denoise(noisy_stack, rank=3, denoiser="wavelet")
    found = measure_particles(
        result, check_labels(labels, SHAPE), stack=noisy_stack, mapped=half_step_energy, n_draws=20
    )

    true = float(np.std(half_step_energy(stack)["half_step_energy_ev"].values[labels > 0]))
    spread, upper, error = (float(found[name][0]) for name in ("spread", "spread_upper", "spread_sigma"))
    assert spread < 0.8 * true  # it is a lower limit
    assert 0.95 * true < upper < 1.5 * true  # the errors of pixels are themselves off by some percent
    assert abs(spread - true) < 2 * error


def test_a_particle_at_the_border_has_no_profile():
    labels = discs((30, 0, 12), (30, 40, 12))
    stack = edge_stack(np.full(SHAPE, 8341.0), thickness=np.where(labels, 1.0, 0.01), n_energies=40)

    found = measure_particles(stack, check_labels(labels, SHAPE), mapped=half_step_energy)

    assert found["is_cut"].values.tolist() == [True, False]
    assert not found["profile_pixels"].values[0].any()
    assert found["profile_pixels"].values[1].sum() == found["n_mapped"].values[1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": "mass"}, RecipeError, "weights must be one of"),
        ({"shell_px": 0.1}, RecipeError, "at least 0.5 px"),
        ({"n_draws": 3}, RecipeError, "at least 10 draws"),
        ({"name": "valence"}, EdgeError, "no map 'valence'"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        measure_particles(CLEAN, PARTICLES, mapped=half_step_energy, **options)


def test_labels_of_another_size_and_fully_masked_images_are_refused(result):
    with pytest.raises(StackError, match="the labels have shape"):
        measure_particles(CLEAN.isel(y=slice(50)), PARTICLES, mapped=half_step_energy)
    masked = CLEAN.assign_coords(mask=(("y", "x"), np.zeros(SHAPE, bool)))
    with pytest.raises(EdgeError, match="no usable pixel"):
        measure_particles(masked, PARTICLES, mapped=half_step_energy)
    with pytest.raises(StackError, match="but its result has"):
        measured_residual(result, CLEAN.isel(y=slice(50)))


def test_the_map_of_a_dataset_is_found():
    maps = half_step_energy(CLEAN)

    assert map_name(maps) == "half_step_energy_ev"
    other = maps.rename(half_step_energy_ev="valence", half_step_sigma_ev="valence_sigma")
    assert (
        map_name(other[["edge_step", "valence", "valence_sigma", "mask"]].assign_attrs(kind="x")) == "valence"
    )


@pytest.mark.parametrize("n_failing", [3, 8])
def test_draws_without_a_map_are_told(result, stack, n_failing):
    """The first call maps the result, the second one its correction by the scan; draws come after these."""
    calls = []

    def mapped(data):
        calls.append(data)
        if 2 < len(calls) <= 2 + n_failing:
            raise EdgeError("no edge in this draw")
        return half_step_energy(data)

    def measured():
        return measure_particles(result, PARTICLES, stack=stack, mapped=mapped, n_draws=15)

    if n_failing > 5:
        with pytest.raises(EdgeError, match=r"no errors: .* in 8 of 15 draws"):
            measured()
    else:
        found = measured()
        assert any("cannot be made in 3 of 15 draws" in reason for reason in found.attrs["reasons"])
        assert not found.attrs["intervals_hold"]
        assert found.attrs["n_draws"] == 12


# --- draws and regions


@pytest.mark.parametrize("region", [LABELS == 4, LABELS > 0], ids=["one", "all"])
def test_draws_scatter_as_the_errors_say(result, region):
    """In a mean over all particles, errors that all pixels share are the largest."""
    draws, rng = ErrorDraws.of(result), np.random.default_rng(2)

    spectra = []
    for _ in range(100):
        drawn = draws.draw(rng)
        spectra.append(drawn.basis.T @ drawn.images[:, region.ravel()].mean(axis=1))

    stated = result.mean_spectrum(region)["sigma"].values
    assert np.median(np.std(spectra, axis=0) / stated) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("width", [0.0, 0.6])
def test_pixels_that_share_their_noise_are_counted(result, width):
    """A kernel of sum 1 keeps the variance of means, while that of a pixel falls to its square sum."""
    noise = np.random.default_rng(5).normal(0, SIGMA, CLEAN.shape)
    blurred = gaussian_filter(noise, (0, width, width))
    impulse = np.zeros(SHAPE)
    impulse[30, 30] = 1
    expected = 1 / np.sum(gaussian_filter(impulse, width) ** 2)

    alike = measured_residual(result, result.reconstruct() + blurred)[1]

    assert alike == pytest.approx(expected, rel=0.05)


def test_draws_that_are_corrected_have_the_noise_of_the_scan(result):
    """All of a residual is added here, so that nothing is left of denoising; spectra are orthonormal."""
    drawn = ErrorDraws.of(result).draw(np.random.default_rng(3), correction=lambda residual: residual)

    errors = drawn.images[: result.rank] - result.coefficients.values.reshape(result.rank, -1)
    np.testing.assert_allclose(errors.std(axis=1), SIGMA, rtol=0.1)


def test_the_error_of_a_mean_spectrum_is_that_of_repetitions():
    """Without a denoiser, errors of means scatter as they are stated."""
    errors = []
    for seed in range(2):
        clean = denoise(noisy(seed), rank=3, denoiser="none")
        for number in range(1, LABELS.max() + 1):
            found, truth = (
                clean.mean_spectrum(number == LABELS),
                CLEAN.values[:, number == LABELS].mean(axis=1),
            )
            errors.append((found["spectrum"].values - truth) / found["sigma"].values)

    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(1, abs=0.25)


def test_what_shrinkage_lost_does_not_average_out(result):
    """Weights that sum to 0.8 lose a fifth of the image in all pixels alike."""
    weights = {f"weight_{name}": ("component", np.full(result.rank, 0.4)) for name in ("noisy", "denoised")}
    shrunk = replace(result, components=result.components.assign(weights))

    of_many = [each.mean_spectrum(LABELS > 0)["sigma"].values for each in (result, shrunk)]
    of_one = [each.spectrum(20, 20)["sigma"].values for each in (result, shrunk)]

    assert np.median(of_many[1] / of_many[0]) > 3
    np.testing.assert_allclose(of_one[1], of_one[0], rtol=0.2)


def test_over_a_whole_particle_the_errors_of_shifts_cancel(result):
    errors = {name: ("energy", np.full(N_ENERGIES, 0.5)) for name in SHIFT_ERRORS}
    moved = replace(result, spectra=result.spectra.assign_coords(errors))
    one = LABELS == 1
    y, x = np.argwhere(one).mean(axis=0)
    whole = np.hypot(Y - y, X - x) < 7  # with the background around it
    half = whole & (x > X)

    def of_shifts(region):
        sigmas = [each.mean_spectrum(region)["sigma"].values for each in (result, moved)]
        return np.sqrt(np.mean(sigmas[1] ** 2 - sigmas[0] ** 2))

    assert of_shifts(half) > 5 * of_shifts(whole)


def test_spectrum_of_a_pixel_and_of_a_polygon(result):
    one = result.spectrum(7, 21)
    box = result.mean_spectrum([[4.5, 18.5], [4.5, 23.5], [9.5, 23.5], [9.5, 18.5]])

    np.testing.assert_allclose(one["spectrum"].values, result.reconstruct()[:, 7, 21].values, atol=1e-5)
    assert one.attrs["n_pixels"] == 1
    assert box.attrs["n_pixels"] == 25
    assert (box["sigma"].values < one["sigma"].values).all()
    with pytest.raises(StackError, match="lies outside"):
        result.spectrum(60, 0)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (np.ones((3, 3)), "at least three corners"),
        ([[1, 1], [2, 2]], "at least three corners"),
        ([[100, 100], [100, 110], [120, 100]], "holds no pixel"),
        ([[np.nan, 1], [2, 2], [3, 1]], "no finite number"),
        (np.zeros(SHAPE), "holds no pixel"),
    ],
)
def test_wrong_regions_are_refused(region, message):
    with pytest.raises(StackError, match=message):
        region_mask(region, SHAPE)


def test_regions_before_and_after_denoising(result, stack):
    regions = {"one": LABELS == 1, "all": LABELS > 0}

    found = region_spectra(result, regions, stack=stack)

    truth = CLEAN.values[:, LABELS > 0].mean(axis=1)
    for name in ("measured", "denoised"):
        scaled = (found[name].values[1] - truth) / found[f"{name}_sigma"].values[1]
        assert np.sqrt(np.mean(scaled**2)) < 2.5  # errors of all energies are alike
    np.testing.assert_allclose(
        found["measured"].values[0], stack.values[:, LABELS == 1].mean(axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["measured_sigma"].values[0], SIGMA / np.sqrt((LABELS == 1).sum()), rtol=0.05
    )
    assert found["n_pixels"].values.tolist() == [(LABELS == 1).sum(), (LABELS > 0).sum()]
    assert np.isnan(region_spectra(result, regions)["measured"].values).all()
    with pytest.raises(StackError, match="no region is named"):
        region_spectra(result, {})
