"""The largest eigenvalue of noise follows its law, and a component above it is found with its spectrum."""

import numpy as np
import pytest
from scans import edge_spectrum
from scipy.integrate import trapezoid
from scipy.stats import binom

from xanesum.linalg.largest_eigenvalue import (
    FEW,
    TW_MEAN,
    TW_STD,
    EigenvalueTest,
    largest_eigenvalue,
    tracy_widom_tail,
)

N_ENERGIES = 30
N_DRAWS = 200
ENERGY = np.linspace(8320.0, 8360.0, N_ENERGIES)
NOTHING = np.zeros((0, N_ENERGIES))
EDGE, LATER = (edge_spectrum(ENERGY, at) for at in (8340.0, 8342.0))
LINE = np.exp(-(((ENERGY - 8342.0) / 3) ** 2))
KNOWN = np.linalg.qr(np.stack([EDGE, LATER, LINE]).T).Q.T
AT = np.linspace(-1, 1, N_ENERGIES)
PEAKED = np.linalg.qr(np.stack([AT, 1 + np.tanh(5 * AT), np.exp(-20 * AT**2)]).T).Q.T
EVEN = np.ones(N_ENERGIES)
UNEVEN = np.sqrt(np.geomspace(1.0, 3.0, N_ENERGIES))
ZIGZAG = np.sqrt(np.where(np.arange(N_ENERGIES) % 2, 3.0, 1.0))


def fresh(seed=0):
    return np.random.default_rng(seed)


def examined(frames, known=NOTHING):
    return EigenvalueTest(frames @ frames.T, frames.shape[1], known)


def p_values_of_noise(n_pixels, sigma, known=NOTHING, n_alike=1, seed=0):
    """p-values of noise whose pixels are alike in groups."""
    rng, found = fresh(seed), []
    for _ in range(N_DRAWS):
        noise = sigma[:, None] * rng.standard_normal((N_ENERGIES, n_pixels // n_alike))
        found.append(examined(np.repeat(noise, n_alike, axis=1), known).p_value)
    return np.array(found)


def with_component(spectrum, variance, n_pixels=400, known=NOTHING, seed=0):
    """Noise and one component, with strong images along the known spectra, and the component's spectrum."""
    rng = fresh(seed)
    rest = spectrum - (spectrum @ known.T) @ known
    rest = rest / np.linalg.norm(rest)
    images = np.vstack([30 * rng.standard_normal((len(known), n_pixels)), np.zeros((1, n_pixels))])
    images[-1] = np.sqrt(variance) * rng.standard_normal(n_pixels)
    noise = rng.standard_normal((N_ENERGIES, n_pixels))
    return noise + np.vstack([known, rest]).T @ images, rest


# --- noise


@pytest.mark.parametrize(
    ("n_pixels", "sigma", "n_alike", "known"),
    [
        (400, EVEN, 1, NOTHING),
        (400, EVEN, 2, NOTHING),
        (400, UNEVEN, 1, NOTHING),
        (400, ZIGZAG, 1, KNOWN),
        (4000, EVEN, 2, KNOWN),
        (4000, UNEVEN, 1, NOTHING),
        (4000, UNEVEN, 2, KNOWN),
    ],
    ids=["even", "alike", "uneven", "zigzag, known", "many alike, known", "many uneven", "all"],
)
def test_noise_is_seldom_taken_for_a_component(n_pixels, sigma, n_alike, known):
    """The bound is that of the binomial law, which a right test exceeds once in 1000 draws."""
    found = p_values_of_noise(n_pixels, sigma, known, n_alike)

    assert np.count_nonzero(found < 0.05) <= binom.ppf(0.999, N_DRAWS, 0.05)
    assert np.all((found >= 0) & (found <= 1))


@pytest.mark.parametrize(
    ("share", "known"), [(0.5, NOTHING), (1.0, PEAKED)], ids=["nothing known", "3 known"]
)
def test_noise_of_which_neighbours_have_a_share_is_no_component(share, known):
    """Pixels that hold half, or all, of the noise of the pixel before them."""
    found = []
    for seed in range(N_DRAWS):
        noise = fresh(seed).standard_normal((N_ENERGIES, 2000))
        found.append(examined(noise + share * np.roll(noise, 1, axis=1), known).p_value)

    assert np.count_nonzero(np.array(found) < 0.05) <= binom.ppf(0.999, N_DRAWS, 0.05)


@pytest.mark.parametrize("known", [NOTHING, KNOWN], ids=["nothing known", "3 known"])
def test_p_values_of_noise_are_not_all_near_one(known):
    found = p_values_of_noise(400, EVEN, known)

    assert np.mean(found < 0.5) > 0.05
    assert np.mean(found < 0.9) > 0.4


def test_noise_of_four_energies_is_no_component():
    rng = fresh()
    found = np.array(
        [EigenvalueTest(x @ x.T, 100, np.zeros((0, 4))).p_value for x in rng.standard_normal((400, 4, 100))]
    )

    assert np.count_nonzero(found < 0.01) <= binom.ppf(0.999, 400, 0.01)


def test_nothing_at_all_is_no_component():
    assert examined(np.zeros((N_ENERGIES, 50))).p_value == 1.0


# --- components


@pytest.mark.parametrize(
    ("spectrum", "known"),
    [(fresh(3).standard_normal(N_ENERGIES), NOTHING), (LINE, NOTHING), (LATER - EDGE, KNOWN[:1])],
    ids=["any", "narrow", "a shift beside an edge"],
)
def test_a_component_above_the_edge_is_found_with_its_spectrum(spectrum, known):
    """Noise hides up to 0.27, the root of energies over pixels."""
    for seed in range(5):
        frames, true = with_component(spectrum, 1.5, known=known, seed=seed)
        found = examined(frames, known)

        assert found.p_value < 1e-4
        assert abs(found.spectrum @ true) > 0.9
        np.testing.assert_allclose(np.linalg.norm(found.spectrum), 1)


def test_a_component_below_the_edge_is_not_found():
    found = [examined(with_component(LINE, 0.1, seed=seed)[0]).p_value for seed in range(20)]

    assert np.count_nonzero(np.array(found) < 0.05) <= 4


@pytest.mark.parametrize("n_pixels", [4000, 20000])
def test_known_spectra_do_not_hide_the_next_component(n_pixels):
    """Three times what noise hides."""
    variance = 3 * np.sqrt(N_ENERGIES / n_pixels)
    spectrum = np.exp(-(((ENERGY - 8350.0) / 3) ** 2))
    frames, true = with_component(spectrum, variance, n_pixels, KNOWN)

    found = examined(frames, KNOWN)

    assert found.p_value < 1e-3
    assert abs(found.spectrum @ true) > 0.85


def test_known_components_are_left_out():
    frames, _ = with_component(LINE, 0.0, known=KNOWN)

    assert examined(frames, KNOWN).p_value > 0.01
    assert examined(frames, KNOWN[:2]).p_value < 1e-3


def test_pixels_that_are_alike_count_once():
    few, _ = with_component(fresh(3).standard_normal(N_ENERGIES), 1.0, n_pixels=300)

    once, twice = examined(few).p_value, examined(np.repeat(few, 2, axis=1)).p_value

    assert once < 1e-3
    assert 0.7 < np.log(twice) / np.log(once) < 1.4  # twice as many pixels would give about the square


# --- numerics


@pytest.mark.parametrize("size", [1, 2, 40, FEW + 36])
def test_two_largest_eigenvalues_are_those_of_the_full_problem(size):
    noise = fresh(size).standard_normal((size, 300))
    matrix = noise @ noise.T
    values, vectors = np.linalg.eigh(matrix)

    largest, second, vector = largest_eigenvalue(matrix)

    assert largest == pytest.approx(values[-1], rel=1e-4)
    assert second == pytest.approx(values[-2] if size > 1 else 0.0, rel=1e-4)
    assert abs(vector @ vectors[:, -1]) == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("scaled", "chance"), [(-3.8954, 0.99), (-1.2686, 0.5), (0.9793, 0.05), (2.0234, 0.01)]
)
def test_the_tail_is_that_of_published_tables(scaled, chance):
    """Quantiles of the Tracy-Widom law of order 1."""
    assert tracy_widom_tail(scaled) == pytest.approx(chance, rel=0.03)


def test_mean_and_width_are_those_of_the_law():
    at = np.linspace(-8.0, 10.0, 3601)
    tail = np.array([tracy_widom_tail(value) for value in at])
    density = -np.gradient(tail, at)

    mean = trapezoid(at * density, at)
    assert mean == pytest.approx(TW_MEAN, abs=2e-3)
    assert np.sqrt(trapezoid((at - mean) ** 2 * density, at)) == pytest.approx(TW_STD, rel=2e-3)
