"""Spectra fitted again: exact without noise, unbiased with it; smoothing that leaves edges alone."""

import numpy as np
import pytest
from scans import add_noise, smooth_images
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from xanesum.linalg.subspace import project
from xanesum.method.spectra import Smoothed, orthonormal_rows, refit_spectra, shrink_spectra, smooth_spectra

ENERGY = np.concatenate([np.arange(8280, 8320, 4.0), np.arange(8320, 8360, 0.7), np.arange(8360, 8460, 4.0)])
E0 = 8338.3
N_ENERGIES, SHAPE = 25, (30, 36)
NO_DIVERGENCE = np.zeros(3)


def fresh(seed=0):
    return np.random.default_rng(seed)


def orthonormal(n, seed=0):
    return np.linalg.qr(fresh(seed).standard_normal((N_ENERGIES, n))).Q.T


def images_of(*amplitudes):
    images = smooth_images(len(amplitudes), SHAPE) * np.array(amplitudes)[:, None, None]
    return images.astype(np.float32)


def stack_of(spectra, images):
    return np.tensordot(spectra, images, axes=(0, 0)).astype(np.float32)


# --- fit


def test_without_noise_the_span_is_that_of_the_true_spectra():
    true, images = orthonormal(3), images_of(5.0, 2.0, 1.0)
    mixed = np.tensordot(np.linalg.qr(fresh(1).standard_normal((3, 3))).Q, images, axes=1).astype(np.float32)

    found = refit_spectra(stack_of(true, images), mixed, orthonormal(3, 2), NO_DIVERGENCE, 0.0)

    np.testing.assert_allclose(found @ true.T @ true, found, atol=1e-5 * np.abs(found).max())
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1),
        np.linalg.svd(stack_of(true, images).reshape(N_ENERGIES, -1), compute_uv=False)[:3],
        rtol=1e-4,
    )


def test_rows_are_orthogonal_and_the_strongest_comes_first():
    images = images_of(20.0, 3.0, 0.5)

    found = refit_spectra(
        add_noise(stack_of(orthonormal(3), images), 1.0), images, orthonormal(3), NO_DIVERGENCE, 1.0
    )

    products = found @ found.T
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-6 * products.max())
    assert np.all(np.diff(np.diag(products)) < 0)


def test_rows_explain_as_much_as_least_squares_with_corrected_products():
    spectra, images, divergence = orthonormal(3), images_of(20.0, 3.0, 0.5), np.array([10.0, 400.0, 90.0])
    stack = add_noise(stack_of(spectra, images), 2.0)
    flat, ours = stack.reshape(N_ENERGIES, -1).astype(float), images.reshape(3, -1).astype(float)
    products = ours @ flat.T - 2.0**2 * divergence[:, None] * spectra

    found = refit_spectra(stack, images, spectra, divergence, 2.0)

    expected = products.T @ np.linalg.solve(ours @ ours.T, products)
    np.testing.assert_allclose(found.T @ found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("sigma", [0.5, 20.0])
def test_noise_of_the_rows_has_the_level_of_the_stack_whatever_the_images_are(sigma):
    true = orthonormal(3)
    first, second, third = images_of(50.0, 8.0, 1.0)
    clean = stack_of(true, np.stack([first, second, third]))
    images = np.stack([first, 0.9 * first + second, 0.01 * third])  # alike, and of very unlike size
    beside = np.eye(N_ENERGIES) - true.T @ true

    power = [
        np.sum(
            (refit_spectra(add_noise(clean, sigma, seed), images, true, NO_DIVERGENCE, sigma) @ beside) ** 2
        )
        for seed in range(30)
    ]

    degrees = 3 * (N_ENERGIES - 3)
    assert np.mean(power) / degrees == pytest.approx(sigma**2, rel=4 * np.sqrt(2 / (30 * degrees)))


def test_what_images_and_stack_share_of_the_noise_is_taken_away():
    """One component: the row times the size of the image is the product of image and stack."""
    sigma, width = 1.0, 0.7
    spectrum, image = orthonormal(1), images_of(1.0)
    clean = stack_of(spectrum, image)
    trace_y, trace_x = (np.trace(gaussian_filter1d(np.eye(n), width, axis=0)) for n in SHAPE)
    divergence = np.array([trace_y * trace_x])

    def product(stack, divergence):
        smoothed = gaussian_filter(project(spectrum, stack)[0], width)[None]
        row = refit_spectra(stack, smoothed, spectrum, divergence, sigma)[0]
        return row * np.sign(row @ spectrum[0]) * np.linalg.norm(smoothed)

    true = product(clean, np.zeros(1))
    noisy = [add_noise(clean, sigma, seed) for seed in range(40)]
    raw, corrected = (np.array([product(stack, d) for stack in noisy]) for d in (0 * divergence, divergence))

    error = raw.std(axis=0) / np.sqrt(40)
    bias = sigma**2 * divergence[0] * spectrum[0]
    assert np.abs(bias).max() > 20 * error.max()
    assert np.all(np.abs(raw.mean(axis=0) - true - bias) < 4 * error)
    assert np.all(np.abs(corrected.mean(axis=0) - true) < 4 * error)


def test_images_that_depend_on_each_other_give_fewer_rows():
    spectra, images = orthonormal(3), images_of(20.0, 3.0, 0.5)
    stack = stack_of(spectra, images)
    images[2] = -2 * images[0]

    found = refit_spectra(stack, images, spectra, NO_DIVERGENCE, 0.0)

    assert found.shape == (2, N_ENERGIES)
    assert np.linalg.norm(found, axis=1).max() < 1.01 * np.linalg.norm(stack)


def test_images_of_nothing_give_no_row():
    stack = add_noise(np.zeros((N_ENERGIES, *SHAPE), np.float32), 1.0)

    assert refit_spectra(stack, stack[:2] * 0, orthonormal(2), np.zeros(2), 1.0).shape == (0, N_ENERGIES)


def test_masked_pixels_do_not_count():
    spectra, images = orthonormal(3), images_of(20.0, 3.0, 0.5)
    stack = add_noise(stack_of(spectra, images), 1.0)
    mask = np.ones(SHAPE, bool)
    mask[:, :9] = False
    spoiled = [np.where(mask, values, np.float32(77)) for values in (stack, images)]

    here = refit_spectra(*spoiled, spectra, NO_DIVERGENCE, 1.0, mask=mask)
    there = refit_spectra(stack[:, :, 9:], images[:, :, 9:], spectra, NO_DIVERGENCE, 1.0)

    np.testing.assert_allclose(here.T @ here, there.T @ there, atol=1e-5 * np.abs(there.T @ there).max())


def test_orthonormal_rows_span_the_same_strongest_first():
    spectra = np.array([1.0, 50.0, 7.0])[:, None] * fresh().standard_normal((3, N_ENERGIES))

    rows = orthonormal_rows(spectra)

    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(spectra @ rows.T @ rows, spectra, atol=1e-10)
    assert np.all(np.diff(np.linalg.norm(spectra @ rows.T, axis=0)) < 0)


def test_a_row_of_nothing_gives_no_direction():
    spectra = np.stack([np.zeros(N_ENERGIES), fresh().standard_normal(N_ENERGIES)])

    assert orthonormal_rows(spectra).shape == (1, N_ENERGIES)
    assert orthonormal_rows(0 * spectra).shape == (0, N_ENERGIES)
    assert orthonormal_rows(spectra[:0]).shape == (0, N_ENERGIES)


# --- smoothing


def noise_of(seed, *shape):
    return fresh(seed).standard_normal(shape)


def edge(e0=E0, width=1.5):
    return 0.5 + np.arctan((ENERGY - e0) / width) / np.pi


def edge_and_shift(amplitude):
    """An edge on a pedestal, and what a shift by 2 eV changes of it."""
    return amplitude * np.stack([0.3 + edge(), edge(E0 + 2) - edge()])


def half_step(spectrum, level):
    """Energy next to E0 where `spectrum` rises through `level`."""
    rises = np.flatnonzero((spectrum[:-1] < level) & (spectrum[1:] >= level))
    at = rises[np.argmin(np.abs(ENERGY[rises] - E0))]
    return np.interp(level, spectrum[at : at + 2], ENERGY[at : at + 2])


def test_a_straight_line_keeps_its_slope_and_loses_its_noise():
    line = 15 + 0.12 * (ENERGY - ENERGY[0])
    residual, slopes, freedom = [], [], []
    for seed in range(30):
        noisy = line + noise_of(seed, ENERGY.size)
        found = smooth_spectra(noisy[None], 1.0, ENERGY)
        residual.append(found.spectra[0] - line)
        slopes.append(np.polyfit(ENERGY, found.spectra[0], 1)[0] - np.polyfit(ENERGY, noisy, 1)[0])
        freedom.append(found.degrees_of_freedom[0])

    assert np.mean(np.square(residual)) < 0.1
    np.testing.assert_allclose(slopes, 0, atol=1e-9)
    assert 2 <= np.mean(freedom) < 6
    assert np.max(freedom) < 12


@pytest.mark.parametrize("amplitude", [30.0, 200.0])
def test_an_edge_is_not_blurred(amplitude):
    clean = edge_and_shift(amplitude)
    level = 0.8 * amplitude
    true = half_step(clean[0], level)
    before, after, slope = [], [], []
    for seed in range(40):
        noisy = clean + noise_of(seed, *clean.shape)
        smooth = smooth_spectra(noisy, 1.0, ENERGY).spectra
        before.append(half_step(noisy[0], level) - true)
        after.append(half_step(smooth[0], level) - true)
        slope.append(np.max(np.gradient(smooth[0], ENERGY)))

    assert abs(np.mean(after)) < 4 * np.std(after) / np.sqrt(40)
    assert np.std(after) < np.std(before)
    assert np.mean(slope) == pytest.approx(np.max(np.gradient(clean[0], ENERGY)), rel=0.1)


@pytest.mark.parametrize("amplitude", [3.0, 30.0, 300.0])
def test_spectra_become_better_on_an_uneven_grid(amplitude):
    clean = edge_and_shift(amplitude)
    errors = []
    for seed in range(10):
        found = smooth_spectra(clean + noise_of(seed, *clean.shape), 1.0, ENERGY).spectra
        errors.append(np.mean((found - clean) ** 2, axis=1))

    assert np.all(np.mean(errors, axis=0) < {3.0: 0.15, 30.0: 0.25, 300.0: 0.5}[amplitude])


def test_smoothing_looks_at_energies_and_not_at_their_number():
    """A line over uneven energies has a kink for one who counts frames."""
    line = 3 * (ENERGY - ENERGY[0])

    found = smooth_spectra((line + noise_of(0, ENERGY.size))[None], 1.0, ENERGY)

    assert np.std(found.spectra[0] - line) < 0.4
    assert found.degrees_of_freedom[0] < 7


@pytest.mark.parametrize("height", [20.0, -20.0])
def test_a_peak_at_a_single_energy_survives(height):
    clean = edge_and_shift(30.0)
    clean[0, 40] += height
    found = [
        smooth_spectra(clean + noise_of(seed, *clean.shape), 1.0, ENERGY).spectra[0] for seed in range(20)
    ]

    lost = (clean[0] - np.mean(found, axis=0))[39:42]

    assert np.all(np.abs(lost) < 1)


def test_one_spectrum_tells_the_others_where_they_bend():
    clean = edge_and_shift(30.0)
    clean[1] *= 0.3
    together, alone = [], []
    for seed in range(30):
        noisy = clean + noise_of(seed, *clean.shape)
        together.append(smooth_spectra(noisy, 1.0, ENERGY).spectra[1] - clean[1])
        alone.append(smooth_spectra(noisy[1:], 1.0, ENERGY).spectra[0] - clean[1])

    assert np.mean(np.square(together)) < 0.8 * np.mean(np.square(alone))


def test_scaling_spectra_and_noise_scales_the_result():
    noisy = edge_and_shift(30.0) + noise_of(0, 2, ENERGY.size)

    one, thousand = (smooth_spectra(by * noisy, by, ENERGY) for by in (1.0, 1000.0))

    np.testing.assert_allclose(thousand.spectra, 1000 * one.spectra, rtol=1e-6)
    np.testing.assert_allclose(thousand.degrees_of_freedom, one.degrees_of_freedom, rtol=1e-6)


@pytest.mark.parametrize(
    ("n_spectra", "n_energies", "sigma"), [(2, 93, 0.0), (0, 93, 1.0), (2, 3, 1.0), (2, 1, 1.0)]
)
def test_where_nothing_can_be_smoothed_spectra_stay_as_they_are(n_spectra, n_energies, sigma):
    spectra = noise_of(0, n_spectra, n_energies)

    found = smooth_spectra(spectra, sigma, ENERGY[:n_energies])

    np.testing.assert_array_equal(found.spectra, spectra)
    assert found.spectra is not spectra
    np.testing.assert_array_equal(found.degrees_of_freedom, np.full(n_spectra, n_energies))


@pytest.mark.parametrize("n_spectra", [1, 3])
@pytest.mark.parametrize("n_energies", [4, 5, 8])
def test_few_energies_are_enough(n_spectra, n_energies):
    noisy = 5 + noise_of(0, n_spectra, n_energies)

    found = smooth_spectra(noisy, 1.0, ENERGY[:n_energies])

    assert found.spectra.shape == noisy.shape
    assert np.all((found.degrees_of_freedom >= 2) & (found.degrees_of_freedom <= n_energies))
    assert np.mean((found.spectra - 5) ** 2) < np.mean((noisy - 5) ** 2)


@pytest.mark.parametrize("amplitude", [10.0, 100.0])
def test_freedom_is_about_the_divergence(amplitude):
    """The variances follow the data too; the freedom takes them as given."""
    clean = edge_and_shift(amplitude)
    told, measured = [], []
    for seed in range(8):
        noisy = clean + noise_of(seed, *clean.shape)
        told.append(smooth_spectra(noisy, 1.0, ENERGY).degrees_of_freedom.sum())
        probe = 2.0 * fresh(100 + seed).integers(0, 2, clean.shape) - 1
        up, down = (smooth_spectra(noisy + step * probe, 1.0, ENERGY).spectra for step in (0.1, -0.1))
        measured.append(np.sum(probe * (up - down)) / 0.2)

    assert 0.6 < np.mean(told) / np.mean(measured) < 1.6


# --- shrinkage


def shrunk_and_not(clean, n_seeds=30):
    """Errors (seed, K, E) of spectra smoothed and shrunk, and of spectra smoothed only."""
    errors = []
    for seed in range(n_seeds):
        smoothed = smooth_spectra(clean + noise_of(seed, *clean.shape), 1.0, ENERGY)
        errors.append([shrink_spectra(smoothed, 1.0).spectra - clean, smoothed.spectra - clean])
    return np.moveaxis(np.array(errors), 1, 0)


def test_where_a_spectrum_is_nothing_the_rest_of_its_noise_goes():
    clean = edge_and_shift(40.0)
    clean[0] += 20
    clean[1, ENERGY < E0 - 8] = 0
    below = ENERGY < E0 - 12

    shrunk, smooth = (np.mean(errors**2, axis=0) for errors in shrunk_and_not(clean))

    assert shrunk[1, below].mean() < 0.5 * smooth[1, below].mean()
    # beside it, a spectrum that is something keeps what it is
    np.testing.assert_allclose(shrunk[0], smooth[0], rtol=0.1)


def test_a_weak_shift_at_the_edge_is_not_shrunk_away():
    clean = edge_and_shift(20.0)
    at_edge = np.abs(clean[1]) > 0.5 * np.abs(clean[1]).max()

    shrunk, smooth = shrunk_and_not(clean)

    assert np.mean(shrunk[:, 1, at_edge]) == pytest.approx(np.mean(smooth[:, 1, at_edge]), abs=0.3)
    assert np.mean(shrunk**2) < 1.02 * np.mean(smooth**2)


def test_pure_noise_keeps_few_free_numbers():
    found = [shrink_spectra(Smoothed(noise_of(s, 2, 200), np.ones((2, 200))), 1.0) for s in range(20)]

    assert np.mean([each.degrees_of_freedom for each in found]) < 10
    assert np.mean([np.square(each.spectra).sum(axis=1) for each in found]) < 10


def test_shrinkage_scales_with_the_unit():
    smoothed = smooth_spectra(edge_and_shift(5.0) + noise_of(1, 2, ENERGY.size), 1.0, ENERGY)
    here = shrink_spectra(smoothed, 1.0)
    there = shrink_spectra(smoothed._replace(spectra=1e-6 * smoothed.spectra), 1e-6)

    np.testing.assert_allclose(there.spectra, 1e-6 * here.spectra, rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(there.degrees_of_freedom, here.degrees_of_freedom)


def test_no_spectrum_is_no_trouble():
    assert shrink_spectra(Smoothed(np.zeros((0, 9)), np.zeros((0, 9))), 1.0).spectra.shape == (0, 9)


def test_differences_of_very_many_energies_are_sparse_and_smooth_alike(monkeypatch):
    rng = np.random.default_rng(0)
    energy = np.cumsum(rng.uniform(0.3, 2, 300))
    noisy = np.tanh((energy - 150) / 5)[None] + 0.05 * rng.standard_normal((1, 300))
    dense = smooth_spectra(noisy, 0.05, energy)
    monkeypatch.setattr("xanesum.method.spectra.MOST_DENSE", 10)
    of_sparse = smooth_spectra(noisy, 0.05, energy)

    for one, other in zip(dense, of_sparse, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)  # the condition of the equations times eps
