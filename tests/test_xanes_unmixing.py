"""Spectra and amounts without references, where pure pixels show them."""

import numpy as np
import pytest
from mixtures import ENERGY, fractions_of, mixture, species

from xanesum import denoise
from xanesum.errors import RankError, RecipeError, StackError
from xanesum.stack import make_stack
from xanesum.xanes.composition.unmixing import purest_pixels, unmix


def scan(sigma=0.0, shape=(36, 40)):
    """Mixtures of three species; every seventh pixel is pure."""
    stack, _, truth = mixture(3, shape=shape, background=0.0)
    pure = (np.arange(truth[0].size) % 7 == 0).reshape(shape)
    shares = np.where(pure, np.argmax(truth, axis=0) == np.arange(3)[:, None, None], truth)
    thickness = stack.values[-3:].mean(axis=0)
    values = np.tensordot(species(3).T, shares * thickness, 1)
    values += sigma * np.random.default_rng(1).standard_normal(values.shape)
    return make_stack(values.astype(np.float32), ENERGY), shares


def order_of(spectra):
    """For each species, which of the spectra is like it."""
    alike = np.array([[np.corrcoef(row, true)[0, 1] for row in spectra] for true in species(3)])
    return np.argmax(alike, axis=1)


@pytest.mark.parametrize("method", ["purest", "mcr"])
def test_pure_pixels_give_the_spectra_and_the_fractions(method):
    stack, truth = scan()
    maps = unmix(stack, 3, method=method)
    order = order_of(maps["spectra"].values)

    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(fractions_of(maps)[order], truth, atol=0.03)


def test_a_noisy_scan_is_unmixed_from_its_factors():
    stack, truth = scan(sigma=0.05)
    result = denoise(stack, denoiser="none", rng=np.random.default_rng(0))
    maps = unmix(result, 3)
    order, where = order_of(maps["spectra"].values), maps["mask"].values

    error = (fractions_of(maps)[order] - truth)[:, where]
    assert np.sqrt(np.mean(error**2)) < 0.2  # 0.36 for even shares
    assert maps["spectra"].values.min() >= 0
    assert any("not unique" in reason for reason in maps.attrs["reasons"])
    assert not maps.attrs["intervals_hold"]


def test_turns_lower_the_misfit_of_the_purest_pixels():
    """Spectra without a pure pixel: the purest ones leave amounts that would be negative."""
    stack, _, _ = mixture(3, shape=(24, 26), background=0.0, seed=3)
    values = stack.values + 0.05 * np.roll(stack.values, 5, axis=1)
    blurred = make_stack(values, ENERGY)
    purest, turned = (unmix(blurred, 3, method=method, sigma=0.01) for method in ("purest", "mcr"))

    assert float(turned["r_factor"].mean()) <= float(purest["r_factor"].mean()) * 1.001


def test_purest_pixels_are_the_corners_of_a_triangle():
    corners = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).T
    weights = np.random.default_rng(0).dirichlet(np.full(3, 0.3), 500).T
    images = corners @ weights
    found = purest_pixels(images * np.random.default_rng(1).uniform(0.5, 2, 500), np.eye(3), 3)

    found = found / found.sum(axis=1, keepdims=True)
    assert sorted(np.argmax(found, axis=1)) == [0, 1, 2]
    assert found.max(axis=1).min() > 0.95


@pytest.mark.parametrize(
    ("n", "options", "error", "text"),
    [
        (None, {}, RecipeError, "does not say how many"),
        (0, {}, RecipeError, "at least one"),
        (61, {}, RankError, "cannot be told apart in 60 energies"),
        (2, {"method": "pca"}, RecipeError, "one of mcr, purest"),
    ],
)
def test_what_cannot_be_is_refused(n, options, error, text):
    with pytest.raises(error, match=text):
        unmix(scan(shape=(6, 7))[0], n, **options)


def test_masked_images_are_refused():
    stack, _ = scan(shape=(6, 7))
    with pytest.raises(StackError, match="no usable pixel"):
        unmix(stack.assign_coords(mask=(("y", "x"), np.zeros((6, 7), bool))), 2)
