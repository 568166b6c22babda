"""Regions of one state: found where states differ by more than errors, and not where they do not."""

import builtins

import numpy as np
import pytest
from mixtures import ENERGY, species

from xanesum import denoise
from xanesum.errors import MissingExtraError, RecipeError, StackError
from xanesum.stack import make_stack
from xanesum.xanes.composition.clusters import find_clusters
from xanesum.xanes.composition.composite import cluster_image
from xanesum.xanes.composition.fractions import spectra_with_noise
from xanesum.xanes.composition.reference_fit import FitOptions
from xanesum.xanes.composition.states import states_of


def regions(n=3, shape=(30, 33), sigma=0.02, seed=0):
    """A stack of bands of one species each, of uneven thickness and background, and the true labels."""
    rng = np.random.default_rng(seed)
    label = np.minimum(np.arange(shape[1]) * n // shape[1], n - 1) * np.ones(shape, int)
    thickness = rng.uniform(0.4, 1.6, shape)
    thickness[:2] = 0.0
    values = species(n)[label].transpose(2, 0, 1) * thickness + rng.uniform(0, 1, shape)
    values += sigma * rng.standard_normal(values.shape)
    return make_stack(values.astype(np.float32), ENERGY), label, thickness > 0


def adjusted_rand(one, other):
    """The adjusted Rand index of two labellings (L. Hubert and P. Arabie, 1985)."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)

    def pairs(counts):
        return float((counts * (counts - 1) / 2).sum())

    both, first, second = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = first * second / pairs(np.array([len(one)]))
    return (both - expected) / ((first + second) / 2 - expected)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_number_and_the_regions_are_found(n):
    stack, label, sample = regions(n)
    maps = find_clusters(stack, sigma=0.02)

    assert maps.sizes["cluster_number"] == n
    where = maps["mask"].values
    assert where[sample].mean() > 0.95
    assert not where[~sample].any()
    if n > 1:
        assert adjusted_rand(maps["cluster"].values[where], label[where]) > 0.97
        assert maps.attrs["separation"] > 5


def test_thickness_and_background_make_no_cluster():
    """The one species has four times more thickness in some pixels than in others."""
    stack, _, _ = regions(1, sigma=0.05)
    assert find_clusters(stack, sigma=0.05).sizes["cluster_number"] == 1


def test_a_result_gives_the_regions_of_its_scan():
    stack, label, _ = regions(3, shape=(40, 42), sigma=0.1)
    result = denoise(stack, denoiser="wavelet", rng=np.random.default_rng(0))
    maps = find_clusters(result)
    where = maps["mask"].values

    assert maps.sizes["cluster_number"] == 3
    assert adjusted_rand(maps["cluster"].values[where], label[where]) > 0.9


def test_mean_spectra_have_true_errors():
    stack, _, _ = regions(2, sigma=0.05)
    maps = find_clusters(stack, n_clusters=2, sigma=0.05)
    truth = species(2)
    for spectrum, sigma in zip(maps["mean_spectrum"].values, maps["mean_spectrum_sigma"].values, strict=True):
        line = np.stack([np.ones(60), ENERGY - 8360])
        differences = []
        for true in truth:
            design = np.vstack([true, line]).T
            weights = np.linalg.lstsq(design, spectrum, rcond=None)[0]
            differences.append(spectrum - design @ weights)
        own = min(differences, key=lambda each: np.sum(each**2))
        assert 0.7 < np.sqrt(np.mean((own / sigma) ** 2)) < 1.3


def test_probabilities_are_high_inside_and_even_in_a_mixture():
    stack, _, sample = regions(2, sigma=0.02)
    values = stack.values.copy()
    values[:, 10, 5] = 0.5 * (species(2)[0] + species(2)[1])
    maps = find_clusters(make_stack(values, ENERGY), n_clusters=2, sigma=0.02)
    probability = maps["probability"].values

    assert np.nanmedian(probability[sample]) > 0.999
    assert (np.nan_to_num(probability, nan=1) >= 0.5 - 1e-6).all()
    assert maps["distance"].values[10, 5] > 4


def test_points_have_errors_of_one():
    stack, _, _ = regions(1, sigma=0.03)
    states = states_of(spectra_with_noise(stack, 0.03), FitOptions())
    points, error = states.points[:, states.mask], states.error[states.mask]

    assert np.sqrt(np.mean((points - points.mean(axis=1, keepdims=True)) ** 2 / error**2)) == pytest.approx(
        1, abs=0.05
    )


def test_states_that_hardly_differ_are_said():
    """One species, but two clusters are asked for."""
    stack, _, _ = regions(1, sigma=0.1)
    maps = find_clusters(stack, n_clusters=2, sigma=0.1)

    assert any("two clusters differ by" in reason for reason in maps.attrs["reasons"])


def test_gradual_states_are_said():
    share = np.linspace(0, 1, 33) * np.ones((30, 33))
    values = np.tensordot(species(2).T, np.stack([share, 1 - share]), 1)
    values += 0.005 * np.random.default_rng(0).standard_normal(values.shape)
    maps = find_clusters(make_stack(values.astype(np.float32), ENERGY), at_most=3, sigma=0.005)

    assert maps.sizes["cluster_number"] == 3
    assert any("gradually" in reason for reason in maps.attrs["reasons"])


def test_the_same_seed_gives_the_same_clusters():
    stack, _, _ = regions(3)
    one, two = (find_clusters(stack, sigma=0.02, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one["cluster"].values, two["cluster"].values)


def test_a_gaussian_mixture_finds_them_too():
    pytest.importorskip("sklearn")
    stack, label, _ = regions(3)
    maps = find_clusters(stack, method="gaussian_mixture", n_clusters=3, sigma=0.02)
    where = maps["mask"].values

    assert adjusted_rand(maps["cluster"].values[where], label[where]) > 0.97


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    original = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="chemistry"):
        find_clusters(regions(2)[0], method="gaussian_mixture", n_clusters=2, sigma=0.02)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, RecipeError, "cannot be found where the errors are not known"),
        ({"n_clusters": 0}, RecipeError, "1 or more, got 0"),
        ({"method": "ward"}, RecipeError, "one of kmeans, gaussian_mixture"),
        ({"n_clusters": 900}, StackError, "too few for clusters"),
    ],
)
def test_what_cannot_be_is_refused(options, error, text):
    with pytest.raises(error, match=text):
        find_clusters(regions(2)[0], **options)


def test_the_image_is_black_outside():
    stack, _, _ = regions(2)
    maps = find_clusters(stack, n_clusters=2, sigma=0.02)
    image = cluster_image(maps)

    assert (image[maps["cluster"].values == 0] == 0).all()
    assert len(np.unique(image[maps["mask"].values], axis=0)) == 2


def test_spread_below_that_of_the_errors_does_not_count():
    """Errors are stated twice as large as they are: the criterion is that of a spread of one."""
    stack, _, _ = regions(1, sigma=0.02)
    maps = find_clusters(stack, at_most=2, sigma=0.04)
    states = states_of(spectra_with_noise(stack, 0.04), FitOptions())

    n, d = np.count_nonzero(states.mask), len(states.points)
    assert maps.attrs["spread"] == pytest.approx(0.25, abs=0.03)
    expected = n * d * maps.attrs["spread"] + (d + 1) * np.log(n)
    assert maps.attrs["criterion"][0] == pytest.approx(expected, rel=1e-6)
