"""Bands of detail hold images once; a weak smooth component is found in them, and noise is not."""

import numpy as np
import pytest
from scans import smooth_images
from scipy.ndimage import gaussian_filter

from xanesum.method.bands import (
    BANDS_PX,
    MIN_PAIRS,
    Bands,
    chance_of_gain,
    most_likely,
    possible_power,
    pyramid,
)
from xanesum.method.sure import band_products

ODD = (45, 61)  # not divisible by any block


def fresh(seed=0):
    return np.random.default_rng(seed)


def white(n_images, shape=ODD, seed=0):
    return fresh(seed).standard_normal((n_images, *shape)).astype(np.float32)


def weights_of(kind, shape=ODD):
    mask = fresh(9).random(shape) < 0.8
    mask[:8, 16:32] = False  # whole blocks without a pixel
    thickness = 0.2 + fresh(8).random(shape)
    return {"all": np.ones(shape), "mask": mask, "weights": mask * thickness}[kind].astype(np.float32)


def noise_bands(counts, n_images, rng):
    """Products of images of noise of unit variance with so many numbers in each band."""
    drawn = [rng.standard_normal((n_images, int(count))) for count in counts]
    return Bands(np.array([each @ each.T for each in drawn]), np.asarray(counts, float))


# --- bands


@pytest.mark.parametrize("kind", ["all", "mask", "weights"])
def test_products_of_images_are_shared_out_among_bands(kind):
    weights = weights_of(kind)
    images = white(3) * (weights > 0)
    flat = images.reshape(3, -1).astype(np.float64)

    bands = Bands.of(images, weights)

    np.testing.assert_allclose(bands.grams.sum(axis=0), flat @ flat.T, atol=1e-3)
    assert bands.counts.sum() == np.count_nonzero(weights)
    assert len(bands.counts) == 5  # from 1 to 16 pixels; two blocks of 32 do not fit


@pytest.mark.parametrize("kind", ["all", "mask", "weights"])
def test_white_noise_has_variance_one_in_each_band(kind):
    """Within 4 standard errors."""
    n_images = 40
    weights = weights_of(kind)

    bands = Bands.of(white(n_images) * (weights > 0), weights)

    variance = np.einsum("bii->b", bands.grams) / (n_images * bands.counts)
    assert np.all(np.abs(variance - 1) < 4 * np.sqrt(2 / (n_images * bands.counts)))


@pytest.mark.parametrize("kind", ["all", "mask"])
def test_products_of_two_sets_of_images_are_those_of_their_bands(kind):
    """The diagonal of the inner products between both, by another way."""
    weights = weights_of(kind)
    first, second = (white(3, seed=seed) * (weights > 0) for seed in (1, 2))

    products, counts = band_products(first, second, weights > 0)

    both = Bands.of(np.concatenate([first, second]), weights)
    np.testing.assert_allclose(products, np.diagonal(both.grams[:, :3, 3:], axis1=1, axis2=2), atol=1e-2)
    np.testing.assert_array_equal(counts, both.counts)


def test_an_image_as_thick_as_the_sample_is_all_in_the_coarsest_band():
    weights = weights_of("weights")

    bands = Bands.of(weights[None], weights, scales=(1, 2, 4, 64, 128))
    shares = bands.grams[:, 0, 0] / np.sum(weights.astype(float) ** 2)

    np.testing.assert_allclose(shares[:-1], 0, atol=1e-5)
    assert shares[-1] == pytest.approx(1)


def test_a_checkerboard_is_all_in_the_finest_band():
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 2 - 1).astype(np.float32)

    bands = Bands.of(board[None], np.ones((32, 32), np.float32))

    np.testing.assert_allclose(bands.grams[:, 0, 0], [1024, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize(("shape", "n_bands"), [((1, 1), 1), ((3, 50), 1), ((4, 4), 2), ((7, 200), 2)])
def test_small_images_have_few_bands(shape, n_bands):
    bands = Bands.of(white(2, shape), np.ones(shape, np.float32))

    assert len(bands.counts) == n_bands
    assert bands.counts.sum() == shape[0] * shape[1]


def test_where_no_pixel_counts_there_is_no_band():
    bands = Bands.of(np.zeros((2, 10, 10), np.float32), np.zeros((10, 10), np.float32))

    assert len(bands.counts) == 0
    assert most_likely(bands, np.eye(2))[0] == 0


def test_blocks_grow_one_from_another():
    images, weights = white(2, (64, 96)), np.ones((64, 96), np.float32)

    levels = list(pyramid(images, weights))

    assert [count for _, count in levels] == [64 * 96 // side**2 for side in BANDS_PX]
    means = images.reshape(2, 8, 8, 12, 8).mean(axis=(2, 4))
    np.testing.assert_allclose(levels[3][0], 8 * means, atol=1e-4)


# --- in units of the noise


def blurred(n_images, seed, shape=(96, 112)):
    noise = gaussian_filter(white(n_images, shape, seed), (0, 1, 1), mode="wrap")
    return (noise / noise.std()).astype(np.float32)


def test_correlated_noise_is_scaled_and_counts_as_fewer_numbers():
    ones = np.ones((96, 112), np.float32)
    noise, seen = Bands.of(blurred(12, 1), ones), Bands.of(blurred(12, 2), ones)

    found = seen.compared_with(noise)

    before, after = (np.einsum("bii->b", each.grams) / (12 * each.counts) for each in (seen, found))
    assert before[2] > 4
    assert before[0] < 0.7
    np.testing.assert_allclose(after[:4], 1, atol=0.12)
    assert found.counts[0] < 0.5 * seen.counts[0]  # half the power of these is in a sixth of the numbers
    assert np.all(found.counts <= seen.counts)
    # products of different images scatter as those of so many independent numbers
    apart = found.grams[0][np.triu_indices(12, 1)]
    assert np.mean(apart**2) == pytest.approx(found.counts[0], rel=0.4)


def test_white_noise_keeps_its_numbers():
    ones = np.ones((96, 112), np.float32)
    noise, seen = (Bands.of(white(12, (96, 112), seed), ones) for seed in (1, 2))

    found = seen.compared_with(noise)

    np.testing.assert_array_equal(found.counts, seen.counts)
    np.testing.assert_allclose(found.grams[:3], seen.grams[:3], rtol=0.05, atol=0.05 * seen.counts[0])


def test_too_few_images_of_noise_do_not_tell_how_many_numbers_count():
    few = next(n for n in range(2, 12) if n * (n - 1) >= MIN_PAIRS) - 1
    ones = np.ones((96, 112), np.float32)
    seen = Bands.of(blurred(3, 2), ones)

    found = seen.compared_with(Bands.of(blurred(few, 1), ones))

    np.testing.assert_array_equal(found.counts, seen.counts)
    assert found.grams[2].trace() < 0.4 * seen.grams[2].trace()


# --- the likeliest component

SHAPE = (96, 112)
N_LIKELY = 8
ROOT = np.diag(np.geomspace(1.0, 0.2, N_LIKELY))
TRUE = np.array([0.8, 0.6, 0, 0, 0, 0, 0, 0.0])


def weak_and_smooth(size, seed, width=10.0):
    """Images along likely spectra of noise, and a component with a smooth image of a standard deviation."""
    image = size * smooth_images(1, SHAPE, seed=7, width=width)[0]
    images = white(N_LIKELY, SHAPE, seed) + TRUE[:, None, None] * image
    return images.astype(np.float32)


def test_a_weak_smooth_component_is_found_that_singular_values_do_not_show():
    """0.15 of the noise; of 8 images of 10752 pixels noise hides up to 0.165, the 4th root of 8 / 10752."""
    for seed in range(5):
        images = weak_and_smooth(0.15, seed)
        flat = images.reshape(N_LIKELY, -1).astype(np.float64)
        bands = Bands.of(images, np.ones(SHAPE, np.float32))

        gain, spectrum, power = most_likely(bands, ROOT)

        largest = np.linalg.eigh(flat @ flat.T / flat.shape[1])
        assert largest[0][-1] < (1 + np.sqrt(N_LIKELY / flat.shape[1])) ** 2 + 0.02
        assert abs(largest[1][:, -1] @ TRUE) < 0.95
        assert gain > 20
        assert abs(spectrum @ TRUE) > 0.95
        assert np.linalg.norm(spectrum) == pytest.approx(1)
        assert power[-1] > 10 * power[0]
        assert chance_of_gain(gain, bands.counts, ROOT, fresh(seed)) < 1e-6


def test_the_gain_is_that_of_the_likelihood_with_the_powers_found():
    """Minus half the log determinant and half the quadratic form, against those of noise alone."""
    bands = Bands.of(weak_and_smooth(0.3, 1), np.ones(SHAPE, np.float32))

    gain, spectrum, power = most_likely(bands, ROOT)

    expected = 0.0
    for gram, count, size in zip(bands.grams, bands.counts, power, strict=True):
        covariance = np.eye(N_LIKELY) + size * np.outer(spectrum, spectrum)
        expected -= 0.5 * count * np.linalg.slogdet(covariance)[1]
        expected -= 0.5 * np.trace(np.linalg.inv(covariance) @ gram) - 0.5 * np.trace(gram)
    assert gain == pytest.approx(expected)


def test_no_other_spectrum_nearby_gains_more():
    bands = Bands.of(weak_and_smooth(0.3, 2), np.ones(SHAPE, np.float32))
    flat_root = np.eye(N_LIKELY)

    gain, spectrum, _ = most_likely(bands, flat_root)

    for seed in range(50):
        other = spectrum + 0.1 * fresh(seed).standard_normal(N_LIKELY)
        only = (other / np.linalg.norm(other))[:, None]
        assert most_likely(bands, only)[0] < gain + 1e-6


def test_an_unlikely_spectrum_is_not_found():
    """Of a direction without prior variance there is nothing to find."""
    images = weak_and_smooth(0.0, 3)
    images[-1] += 2 * smooth_images(1, SHAPE, seed=7, width=10.0)[0].astype(np.float32)
    narrow = ROOT.copy()
    narrow[-1] = 0

    gain, spectrum, _ = most_likely(Bands.of(images, np.ones(SHAPE, np.float32)), narrow)

    assert gain < 15
    assert spectrum[-1] == pytest.approx(0, abs=1e-9)


def test_noise_seldom_gains_as_much():
    """The chance of the gain that every second of 200 draws exceeds, and of that which few exceed."""
    counts, root, rng = np.array([300.0, 75.0, 19.0, 6.0]), ROOT[:4, :4], fresh(1)
    gains = [most_likely(noise_bands(counts, 4, rng), root)[0] for _ in range(200)]

    def chance(share):
        gain = float(np.quantile(gains, 1 - share))
        return np.mean([chance_of_gain(gain, counts, root, fresh(seed)) for seed in range(3)])

    assert 0.35 < chance(0.5) < 0.65
    assert 0.02 < chance(0.05) < 0.12
    assert 1e-4 < chance(0.0) < 0.03  # the largest of 200


def test_a_chance_falls_with_the_gain():
    counts = np.array([300.0, 75.0])

    chances = [chance_of_gain(gain, counts, ROOT, fresh()) for gain in (0.0, 5.0, 10.0, 40.0)]

    assert np.all(np.diff(chances) < 0)
    assert chances[0] > 0.9
    assert 0 < chances[-1] < 1e-12


# --- what may be hidden


def test_a_component_stronger_than_noise_is_as_large_as_it_is_seen():
    counts = np.array([1000.0, 250.0])
    along = np.array([0.0, 1.0])
    grams = np.array([np.diag([count, 3 * count]) for count in counts])

    assert possible_power(Bands(grams, counts), along) == pytest.approx(2 * 1250, rel=1e-3)


def test_noise_may_hide_a_part_of_its_scatter():
    counts, along = np.array([1000.0]), np.array([1.0])

    def hidden(measured):
        return possible_power(Bands(np.array([[[measured]]]), counts), along)

    # the mean of a normal law cut off at its own mean: 0.798 standard deviations
    assert hidden(1000.0) == pytest.approx(0.5 * np.sqrt(2 * 1000) * np.sqrt(2 / np.pi))
    assert 0 < hidden(900.0) < hidden(1000.0) < hidden(1100.0)
