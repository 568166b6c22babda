"""Halves of the pixels: what they say about the scale, and about what is real."""

from dataclasses import replace

import numpy as np
import pytest
from scans import add_noise, low_rank, smooth_images
from scipy.linalg import null_space
from scipy.ndimage import convolve1d, gaussian_filter
from scipy.stats import binom
from scipy.stats import t as student_t

from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import project
from xanesum.method.split_half import (
    COMMON_SCALE,
    SCALES,
    choose_scale,
    component_p_values,
    split_axis,
    split_pixels,
)
from xanesum.noise.level import noise_reach

NOTHING = np.zeros((24, 32, 40), np.float32)
MANY = 0.999  # of the binomial law: the limit of how often chance may speak


def fresh(seed=0):
    return np.random.default_rng(seed)


def smooth(images, mask):
    return np.stack([gaussian_filter(image, 1.5) for image in images])


def numbered(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


# --- halves


@pytest.mark.parametrize(("n_rows", "n_columns"), [(4, 6), (4, 4), (4, 7), (5, 9), (1, 8)])
def test_halves_are_alternating_columns(n_rows, n_columns):
    stack = numbered(3, n_rows, n_columns)
    even = n_columns // 2 * 2

    halves = split_pixels(stack)

    np.testing.assert_array_equal(halves.stacks[0], stack[:, :, 0:even:2])
    np.testing.assert_array_equal(halves.stacks[1], stack[:, :, 1:even:2])
    assert halves.mask.shape == (n_rows, even // 2)
    assert halves.mask.all()


@pytest.mark.parametrize(("n_rows", "n_columns"), [(7, 5), (9, 1)])
def test_where_there_are_more_rows_they_are_the_halves(n_rows, n_columns):
    stack = numbered(3, n_rows, n_columns)

    halves = split_pixels(stack)

    np.testing.assert_array_equal(halves.stacks[0], stack[:, 0 : n_rows - 1 : 2])
    np.testing.assert_array_equal(halves.stacks[1], stack[:, 1:n_rows:2])
    assert split_axis(stack.shape) == 1


@pytest.mark.parametrize(("gap", "first", "second"), [(1, [0, 4, 8], [2, 6, 10]), (2, [0, 6], [3, 9])])
def test_a_gap_keeps_every_column_of_one_half_away_from_the_other(gap, first, second):
    stack = numbered(2, 4, 13)

    halves = split_pixels(stack, gap=gap)

    np.testing.assert_array_equal(halves.stacks[0], stack[:, :, first])
    np.testing.assert_array_equal(halves.stacks[1], stack[:, :, second])


@pytest.mark.parametrize(("shape", "gap"), [((3, 1, 1), 0), ((3, 2, 3), 1)])
def test_an_image_smaller_than_a_pair_gives_no_pixel(shape, gap):
    halves = split_pixels(numbered(*shape), gap=gap)

    assert halves.mask.size == 0
    assert halves.stacks[0].shape == halves.stacks[1].shape == (3, shape[1], 0)


@pytest.mark.parametrize("spoiled", [np.nan, 1e6])
def test_a_pixel_counts_where_both_of_its_pair_do(spoiled):
    stack = numbered(2, 3, 6) + 1
    mask = np.ones((3, 6), bool)
    mask[0, 0] = mask[1, 3] = mask[2, 4] = mask[2, 5] = False

    halves = split_pixels(np.where(mask, stack, np.float32(spoiled)), mask=mask)

    np.testing.assert_array_equal(halves.mask, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(halves.stacks[0], stack[:, :, 0::2] * halves.mask)
    np.testing.assert_array_equal(halves.stacks[1], stack[:, :, 1::2] * halves.mask)
    assert halves.stacks[0].dtype == np.float32


# --- scale


def two_components(images, seed):
    """Stack (40, Y, X) of two images, and its spectra."""
    spectra = np.linalg.qr(fresh(seed).standard_normal((40, 2))).Q.T
    return np.tensordot(spectra, images, axes=(0, 0)).astype(np.float32), spectra


def strong_and_weak(weak, seed):
    """The second component has amplitude `weak` in units of the noise."""
    images = smooth_images(2, (56, 64), seed, width=8.0) * np.array([10.0, weak])[:, None, None]
    return two_components(images, seed)


def smooth_and_grains(seed, height=8.0):
    """The second component is grains of a pixel or two."""
    grains = gaussian_filter((fresh(seed).random((56, 64)) < 0.02).astype(float), 0.8)
    return two_components(
        np.stack([5 * smooth_images(1, (56, 64), seed)[0], height * grains / grains.max()]), seed
    )


def seen(spectra, wanted):
    """Length of `wanted` that the span of `spectra` holds, 0 ... 1."""
    return np.linalg.norm(spectra @ wanted)


def true_energy(spectra, clean):
    """Energy of the clean stack that the `spectra` of each half find in the other half."""
    halves = [average_pixels(half, COMMON_SCALE) for half in split_pixels(clean).stacks]
    return np.mean(
        [
            np.sum(project(own, other).astype(float) ** 2)
            for own, other in zip(spectra, halves[::-1], strict=True)
        ]
    )


def above_noise(found, shape):
    """What was found at each scale, without the share of white noise of standard deviation 1."""
    n_averages = average_pixels(split_pixels(np.zeros((1, *shape), np.float32)).stacks[0], COMMON_SCALE).size
    return {scale: energy - len(found.spectra[0]) * n_averages for scale, energy in found.agreement.items()}


def test_a_smooth_component_under_the_noise_is_averaged_out_of_it():
    coarse, fine = [], []
    for seed in range(6):
        clean, (_, wanted) = strong_and_weak(0.3, seed)
        halves = split_pixels(add_noise(clean, 1.0, seed))
        found = choose_scale(halves, 4, rng=fresh())
        at_pixels = choose_scale(halves, 4, scales=(1,), rng=fresh())
        assert found.scale > 1
        coarse += [seen(half, wanted) for half in found.spectra]
        fine += [seen(half, wanted) for half in at_pixels.spectra]
    assert np.median(fine) < 0.7
    assert np.median(coarse) > 0.8


def test_grains_of_a_pixel_or_two_are_not_averaged_away():
    for seed in range(6):
        clean, (_, wanted) = smooth_and_grains(seed)
        halves = split_pixels(add_noise(clean, 1.0, seed))

        found = choose_scale(halves, 3, rng=fresh())
        assert found.scale <= 8
        assert min(seen(half, wanted) for half in found.spectra) > 0.9
        assert choose_scale(halves, 3, scales=(1, 32), rng=fresh()).scale == 1


def test_the_scale_has_the_greatest_agreement_and_spectra_are_of_that_scale():
    halves = split_pixels(add_noise(strong_and_weak(0.5, 0)[0], 1.0, 0))

    found = choose_scale(halves, 4, rng=fresh())
    alone = choose_scale(halves, 4, scales=(found.scale,), rng=fresh())

    assert found.agreement[found.scale] == max(found.agreement.values())
    for ours, theirs in zip(found.spectra, alone.spectra, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        np.testing.assert_allclose(ours @ ours.T, np.eye(4), atol=1e-9)


def test_noise_agrees_with_noise_only_by_chance():
    agreement = np.array(
        [
            list(
                above_noise(
                    choose_scale(split_pixels(add_noise(NOTHING, 1.0, seed)), 3, rng=fresh()),
                    NOTHING.shape[1:],
                ).values()
            )
            for seed in range(40)
        ]
    )
    assert np.all(np.abs(agreement.mean(axis=0)) < 4 * agreement.std(axis=0) / np.sqrt(40))


def test_agreement_is_the_energy_of_what_both_halves_show():
    differences, energies = [], []
    for seed in range(20):
        clean, _ = strong_and_weak(1.0, 0)
        found = choose_scale(split_pixels(add_noise(clean, 1.0, seed)), 2, rng=fresh())
        energies.append(true_energy(found.spectra, clean))
        differences.append(above_noise(found, clean.shape[1:])[found.scale] - energies[-1])
    assert abs(np.mean(differences)) < 4 * np.std(differences) / np.sqrt(20) + 0.01 * np.mean(energies)
    assert np.std(differences) < 0.01 * np.mean(energies)


def test_a_scale_has_no_advantage_that_the_clean_stack_does_not_give_it():
    bias = []
    for seed in range(20):
        clean, _ = smooth_and_grains(seed)
        halves = split_pixels(add_noise(clean, 1.0, seed))
        fine, coarse = (choose_scale(halves, 3, scales=(scale,), rng=fresh()) for scale in (1, 8))
        gain, true_gain = (
            coarse.agreement[8] - fine.agreement[1],
            true_energy(coarse.spectra, clean) - true_energy(fine.spectra, clean),
        )
        bias.append(gain - true_gain)
    assert abs(np.mean(bias)) < 4 * np.std(bias) / np.sqrt(20)


def test_no_more_is_averaged_than_leaves_as_many_pixels_as_spectra():
    halves = split_pixels(add_noise(np.zeros((10, 16, 16), np.float32), 1.0))  # 16 x 8 each

    assert set(choose_scale(halves, 8, rng=fresh()).agreement) == {1, 2, 4}
    assert set(choose_scale(halves, 9, rng=fresh()).agreement) == {1, 2}


# --- evidence


def p_values_of(noisy, rank, *, sigma=1.0, scales=SCALES, mask=None, gap=0, denoise=smooth):
    halves = split_pixels(noisy, mask=mask, gap=gap)
    return component_p_values(halves, choose_scale(halves, rank, scales=scales, rng=fresh()), denoise, sigma)


def noise_of(seed, *shape):
    return fresh(seed).standard_normal(shape, dtype=np.float32)


def correlated_noise(seed, axis):
    """Unit variance; correlation between neighbours along `axis` 2/3, over two pixels 1/6."""
    return np.sqrt(8 / 3) * convolve1d(noise_of(seed, 24, 32, 48), [0.25, 0.5, 0.25], axis=axis, mode="wrap")


def test_pure_noise_is_rarely_taken_for_real():
    least = [p_values_of(noise_of(seed, 24, 24, 32), 3).min() for seed in range(60)]

    assert np.sum(np.array(least) < 0.05) <= binom.ppf(MANY, 60, 0.05)


def test_noise_beside_a_strong_component_is_rarely_taken_for_real():
    clean = low_rank((20.0,), 24, (24, 32))

    least = [p_values_of(add_noise(clean, 1.0, seed), 4)[1:].min() for seed in range(60)]

    assert np.sum(np.array(least) < 0.05) <= binom.ppf(MANY, 60, 0.05)


@pytest.mark.parametrize("n_energies", [16, 6])
def test_with_one_chance_for_each_half_p_values_are_as_frequent_as_they_say(n_energies):
    found = [p_values_of(noise_of(seed, n_energies, 12, 16), 1, scales=(1,))[0] for seed in range(200)]

    for level in (0.1, 0.5):
        expected = 1 - (1 - level / 2) ** 2
        count = np.sum(np.array(found) < level)
        assert binom.ppf(1 - MANY, 200, expected) <= count <= binom.ppf(MANY, 200, expected)


def test_each_way_is_a_test_of_student_against_the_directions_without_component():
    halves = split_pixels(add_noise(low_rank((20.0, 0.3), 16), 1.0))
    found = choose_scale(halves, 4, scales=(1, 2), rng=fresh())
    ways = []
    for spectra, own, other in zip(found.spectra, halves.stacks, halves.stacks[::-1], strict=True):
        templates = smooth(project(spectra, own), None).reshape(4, -1).astype(float)
        templates /= np.linalg.norm(templates, axis=1, keepdims=True)
        shown = templates @ other.reshape(16, -1).T
        beside = shown @ null_space(spectra)
        statistic = np.diag(shown @ spectra.T) / np.sqrt(np.mean(beside**2, axis=1))
        ways.append(student_t.sf(statistic, beside.shape[1]))

    p_values = component_p_values(halves, found, smooth, 1.0)

    np.testing.assert_allclose(p_values, np.minimum(1, 2 * 2 * 4 * np.min(ways, axis=0)), rtol=1e-3)
    assert 1e-6 < p_values[1] < 0.5


def test_strong_components_are_real_and_the_next_are_not():
    noisy = add_noise(low_rank((20.0, 5.0), 30), 1.0)

    p_values = p_values_of(noisy, 5)

    assert np.all(p_values[:2] < 1e-6)
    assert np.all(p_values[2:] > 0.05)
    assert np.all(p_values <= 1)


def test_p_values_have_no_unit():
    noisy = add_noise(low_rank((20.0, 2.0), 30), 1.0)

    np.testing.assert_allclose(p_values_of(1024 * noisy, 4, sigma=1024.0), p_values_of(noisy, 4), rtol=1e-9)


def test_more_chances_cost_their_number():
    halves = split_pixels(add_noise(low_rank((20.0, 0.5), 30), 1.0))
    found = choose_scale(halves, 2, scales=(4,), rng=fresh())
    tried = replace(found, agreement=dict.fromkeys(SCALES, 0.0))

    one, six = (component_p_values(halves, each, smooth, 1.0) for each in (found, tried))

    np.testing.assert_allclose(six, np.minimum(1, 6 * one))


def test_the_scatter_is_measured_where_energies_are_many_and_given_where_they_are_few():
    many, few = (add_noise(low_rank((20.0, 0.3), n), 1.0) for n in (30, 8))

    np.testing.assert_array_equal(p_values_of(many, 2, sigma=9.0), p_values_of(many, 2))
    assert p_values_of(few, 2)[1] < 1e-3 < p_values_of(few, 2, sigma=9.0)[1]


def test_noise_that_is_correlated_within_the_halves_is_no_component():
    least = [p_values_of(correlated_noise(seed, axis=1), 3).min() for seed in range(30)]

    assert np.sum(np.array(least) < 0.01) <= binom.ppf(MANY, 30, 0.01)


def test_a_gap_as_wide_as_the_noise_reaches_keeps_it_from_looking_real():
    reach = noise_reach(correlated_noise(0, axis=2), 2, rank=3, rng=fresh())
    beside, apart = (
        np.array([p_values_of(correlated_noise(seed, axis=2), 3, gap=gap).min() for seed in range(30)])
        for gap in (0, reach)
    )

    assert np.mean(beside < 0.01) > 0.5
    assert np.sum(apart < 0.01) <= binom.ppf(MANY, 30, 0.01)


def test_an_empty_template_is_no_evidence():
    noisy = add_noise(low_rank((20.0, 5.0), 30), 1.0)

    p_values = p_values_of(noisy, 3, denoise=lambda images, mask: np.zeros_like(images))

    np.testing.assert_array_equal(p_values, 1)


def test_what_stands_in_masked_pixels_does_not_matter():
    noisy = add_noise(low_rank((20.0, 0.6), 30), 1.0)
    mask = np.ones(noisy.shape[1:], bool)
    mask[5:15, 8:21] = False
    first, second = (split_pixels(np.where(mask, noisy, np.float32(value)), mask=mask) for value in (0, 1e5))

    ours, theirs = (choose_scale(halves, 4, rng=fresh()) for halves in (first, second))

    assert ours.agreement == theirs.agreement
    np.testing.assert_array_equal(ours.spectra, theirs.spectra)
    np.testing.assert_array_equal(
        component_p_values(first, ours, smooth, 1.0), component_p_values(second, theirs, smooth, 1.0)
    )


def test_what_a_denoiser_gives_outside_the_mask_does_not_matter():
    noisy = add_noise(low_rank((20.0, 0.6), 30), 1.0)
    mask = np.ones(noisy.shape[1:], bool)
    mask[5:15] = False

    def odd(images, keep):
        return np.where(keep, smooth(images, keep), np.float32(np.nan))

    np.testing.assert_array_equal(
        p_values_of(noisy, 4, mask=mask, denoise=odd), p_values_of(noisy, 4, mask=mask)
    )
