"""Components that halves of the pixels do not show are found in all of the data, and noise is not."""

from dataclasses import replace

import numpy as np
import pytest
from scans import edge_spectrum, smooth_images
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2

from xanesum.linalg.binning import average_pixels
from xanesum.linalg.subspace import gram_matrix
from xanesum.method.evidence import SPOTS_PX, Search, noise_rows, strongest_spot
from xanesum.method.problem import Level, Problem

ENERGY = np.linspace(8320.0, 8360.0, 30)
SHAPE = (64, 72)
ALL = np.ones(SHAPE, bool)
LEVEL = 0.0025  # of the p-values
STRONG = edge_spectrum(ENERGY, 8340.0)
KNOWN = (STRONG / np.linalg.norm(STRONG))[None]
SHIFT = edge_spectrum(ENERGY, 8341.0) - edge_spectrum(ENERGY, 8339.0)
WEAK = SHIFT - (SHIFT @ KNOWN.T) @ KNOWN
WEAK /= np.linalg.norm(WEAK)
THICKNESS = 20 + 5 * np.tanh(smooth_images(1, SHAPE, seed=2, width=6.0)[0])
EVEN = np.ones(30)
TWICE = np.where(np.arange(30) % 3 == 0, 2.0, 1.0) / np.sqrt(2)  # noise at each energy, of mean square 1
RISING = np.linspace(1.0, 2.0, 30) / 1.53


def fresh(seed=0):
    return np.random.default_rng(seed)


def smooth(images, sigma, mask):
    return np.stack([gaussian_filter(image, 1.5) for image in images])


def scan(extra=0.0, noise=EVEN, seed=0):
    """A sample of one state, something more, and noise."""
    drawn = noise[:, None, None] * fresh(100 + seed).standard_normal((30, *SHAPE))
    return (KNOWN[0][:, None, None] * THICKNESS + extra + drawn).astype(np.float32)


def weak(image):
    return WEAK[:, None, None] * image


def problem_of(values, mask=ALL, sigma=1.0):
    return Problem.with_one_level(values, ENERGY, mask=mask, sigma=sigma, denoise_at=smooth, rng=fresh())


def grams_of(values, mask=ALL):
    found = {}
    for scale in (1, 2, 4, 8):
        averaged = average_pixels(values, scale, mask=mask)
        found[scale] = (gram_matrix(averaged, None), int(np.count_nonzero(averaged.any(axis=0))))
    return found


def best(values, *, with_grams=True, mask=ALL):
    grams = grams_of(values, mask) if with_grams else {}
    search = Search.of(problem_of(values, mask), grams, KNOWN)
    return search.best(KNOWN, LEVEL)


# --- what is found


def test_fine_chemistry_is_found_by_its_eigenvalue():
    texture = fresh(9).standard_normal(SHAPE)
    for seed in range(3):
        found = best(scan(weak(texture), seed=seed))

        assert found.source == "eigenvalue"
        assert found.p_value < 1e-6
        assert abs(found.spectrum @ WEAK) > 0.9


def test_a_smooth_difference_is_found_in_bands():
    """0.3 of the noise, too little for an eigenvalue of single pixels."""
    slow = 0.3 * smooth_images(1, SHAPE, seed=5, width=8.0)[0]
    for seed in range(3):
        found = best(scan(weak(slow), seed=seed), with_grams=False)

        assert found.source == "bands"
        assert found.p_value < 1e-6
        assert abs(found.spectrum @ WEAK) > 0.85


@pytest.mark.parametrize(("side", "size"), [(1, 10.0), (2, 5.5)])
def test_a_small_particle_is_found_as_a_spot(side, size):
    particle = np.zeros(SHAPE)
    particle[20 : 20 + side, 30 : 30 + side] = size
    found = [best(scan(weak(particle), seed=seed)) for seed in range(4)]

    assert all(each.p_value < LEVEL for each in found)
    spots = [each for each in found if each.source == "spot"]
    assert len(spots) >= 3
    assert all(abs(each.spectrum @ WEAK) > 0.85 for each in spots)


@pytest.mark.parametrize("energy", [14, 15, 22])
def test_a_cosmic_ray_is_no_spot(energy):
    """One pixel of one frame, which stands out by far."""
    ray = np.zeros((30, *SHAPE))
    ray[energy, 20, 30] = 14.0
    found = [best(scan(ray, seed=seed)) for seed in range(5)]

    assert all(each.p_value > LEVEL for each in found)


def test_a_particle_in_averaged_pixels_is_looked_for_in_single_ones():
    particle = np.zeros(SHAPE)
    particle[20, 30] = 10.0
    values = scan(weak(particle))
    averages = average_pixels(values, 4)
    coarse = Level(averages, np.ones(averages.shape[1:], bool), 1.0)
    problem = replace(problem_of(values), coarse=coarse, scale=4)

    found = Search.of(problem, {}, KNOWN).best(KNOWN, LEVEL)

    assert found.source == "spot"
    assert found.p_value < 1e-4
    assert abs(found.spectrum @ WEAK) > 0.85


def test_what_is_masked_is_not_found():
    mask = ALL.copy()
    mask[10:26, 20:40] = False
    particle = np.where(mask, 0, 10.0)

    found = best(scan(weak(particle)), mask=mask)

    assert found.p_value > LEVEL


# --- what is not


@pytest.mark.parametrize("noise", [EVEN, TWICE, RISING], ids=["even", "by a factor 2", "rising"])
def test_nothing_is_found_in_noise(noise):
    """Three ways at 0.25 % each: of 8, chance takes one for real in 6 % of the cases, two in 0.2 %."""
    found = [best(scan(noise=noise, seed=seed)) for seed in range(8)]

    assert sum(each.p_value < LEVEL for each in found) <= 1
    assert np.median([each.p_value for each in found]) > 0.05


@pytest.mark.parametrize("noise", [EVEN, RISING])
def test_a_candidate_is_a_direction_beside_what_is_known(noise):
    for with_grams in (True, False):
        values = scan(weak(fresh(9).standard_normal(SHAPE)), noise)
        found = best(values, with_grams=with_grams)

        assert np.linalg.norm(found.spectrum) == pytest.approx(1)
        np.testing.assert_allclose(KNOWN @ found.spectrum, 0, atol=1e-9)


def test_beside_a_spectrum_for_each_energy_there_is_no_place():
    values = scan()
    problem = problem_of(values)

    assert Search(problem, grams_of(values), EVEN).best(np.eye(30)[:29], LEVEL) is None


def test_without_known_spectra_only_eigenvalues_are_asked():
    noise = (scan() - KNOWN[0][:, None, None] * THICKNESS).astype(np.float32)
    nothing = np.zeros((0, 30))

    with_grams, without = (
        Search.of(problem_of(noise), grams, nothing).best(nothing, LEVEL) for grams in (grams_of(noise), {})
    )

    assert with_grams.source == "eigenvalue"
    assert with_grams.p_value > LEVEL
    assert without is None


def test_too_few_blocks_are_not_judged():
    few = {8: (np.diag(np.r_[1e6, np.ones(29)]), 11)}

    found = Search(problem_of(scan()), few, EVEN).best(np.zeros((0, 30)), LEVEL)

    assert found.p_value == 1.0


def test_the_noise_of_each_energy_is_measured():
    noise = Search.of(problem_of(scan(noise=RISING)), {}, KNOWN).noise

    np.testing.assert_allclose(noise / noise.mean(), RISING / RISING.mean(), rtol=0.1)


# --- what may be hidden


def hidden(values, sigma=1.0, thickness=THICKNESS, known=KNOWN):
    search = Search.of(problem_of(values, sigma=sigma), {}, known)
    return search.hidden(known, thickness[None].astype(np.float32)[: len(known)])


@pytest.mark.parametrize("noise", [EVEN, RISING], ids=["even", "rising"])
def test_the_hidden_spectrum_is_a_direction_beside_what_is_known(noise):
    spectrum = hidden(scan(noise=noise)).spectrum

    assert np.linalg.norm(spectrum) == pytest.approx(1)
    assert abs(spectrum @ KNOWN[0]) < 0.01
    assert abs(spectrum @ WEAK) > 0.8


def test_what_may_be_hidden_is_in_proportion_to_the_thickness():
    size = hidden(scan()).size

    assert size.dtype == np.float32
    assert size.min() > 0
    np.testing.assert_allclose(size / THICKNESS, size.mean() / THICKNESS.mean(), rtol=1e-4)


def test_more_noise_may_hide_more():
    """Three times the noise may hide three times as much; the sample is three times as thick."""
    one = hidden(scan()).size.mean()
    three = hidden(3 * scan(), sigma=3.0).size.mean()
    same_sample = hidden(scan() + 2 * (scan() - scan(noise=0 * EVEN)), sigma=3.0).size.mean()

    assert three == pytest.approx(3 * one, rel=0.05)
    assert same_sample == pytest.approx(3 * one, rel=0.5)


def test_a_hidden_component_is_as_large_as_noise_can_hide():
    """The mean of what is stated, over draws of noise alone, is a few per cent of the noise of a pixel."""
    sizes = [np.sqrt(np.mean(hidden(scan(seed=seed)).size ** 2)) for seed in range(8)]

    assert 0.05 < np.mean(sizes) < 0.4


def test_without_a_component_nothing_is_hidden():
    found = hidden(scan(), known=np.zeros((0, 30)))

    assert not found.spectrum.any()
    assert not found.size.any()
    assert found.size.shape == SHAPE


# --- the strongest spot


@pytest.mark.parametrize("side", SPOTS_PX)
@pytest.mark.parametrize("n_images", [1, 3])
def test_a_square_is_found_where_it_is_and_as_large(side, n_images):
    images, noise = fresh(1).standard_normal((2, n_images, *SHAPE)).astype(np.float32)
    images[-1, 20 : 20 + side, 30 : 30 + side] += 12 / side

    spot = strongest_spot(images, noise, ALL)

    assert spot.side_px == side
    assert abs(spot.centre[0] - (20 + side // 2)) <= 1
    assert abs(spot.centre[1] - (30 + side // 2)) <= 1
    assert spot.p_value < 1e-12
    assert np.argmax(np.abs(spot.values)) == n_images - 1
    assert spot.values[-1] == pytest.approx(12, abs=3)


def test_a_spot_of_one_pixel_has_the_chance_of_its_value():
    images = np.zeros((1, *SHAPE), np.float32)
    images[0, 20, 30] = 8.0

    spot = strongest_spot(images, np.zeros((0, *SHAPE), np.float32), ALL)

    expected = chi2.sf(64, 1) * ALL.size * 2 * len(SPOTS_PX)
    assert spot.p_value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_noise_has_no_spot(width):
    """White, and such as neighbours share."""
    for seed in range(20):
        drawn = gaussian_filter(fresh(seed).standard_normal((14, *SHAPE)), (0, width, width), mode="wrap")
        drawn = (drawn / drawn.std()).astype(np.float32)

        assert strongest_spot(drawn[:2], drawn[2:], ALL).p_value > 1e-3


def test_outside_the_mask_there_is_no_spot():
    mask = ALL.copy()
    mask[10:30, 20:40] = False
    images = 0.1 * fresh(1).standard_normal((2, *SHAPE)).astype(np.float32)
    images[:, 15:25, 25:35] += 20

    spot = strongest_spot(images, np.zeros((0, *SHAPE), np.float32), mask)

    assert spot.p_value > 0.5


def test_too_few_pixels_have_no_spot():
    assert strongest_spot(np.ones((1, 2, 3), np.float32), np.ones((1, 2, 3), np.float32), ALL[:2, :3]) is None


# --- spectra of noise


def test_rows_of_noise_are_beside_all_others():
    known = np.linalg.qr(fresh(1).standard_normal((30, 4))).Q.T

    rows = noise_rows(known, fresh(), 10)

    np.testing.assert_allclose(rows @ rows.T, np.eye(10), atol=1e-9)
    np.testing.assert_allclose(rows @ known.T, 0, atol=1e-9)
    assert noise_rows(known, fresh(), 50).shape == (26, 30)
    assert noise_rows(np.eye(30), fresh()).shape == (0, 30)
