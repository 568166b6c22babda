"""The right references of many, by all subsets."""

import numpy as np
import pytest
from mixtures import ENERGY, mixture, named, species

from xanesum import denoise
from xanesum.errors import RecipeError, StackError
from xanesum.stack import make_stack
from xanesum.xanes.composition.subsets import choose_references

RIGHT = (1, 4, 6)
LIBRARY = species(8)


def spectrum(sigma, seed=0, shares=(0.5, 0.3, 0.2)):
    values = np.array(shares) @ LIBRARY[list(RIGHT)] + 0.2
    values = values + sigma * np.random.default_rng(seed).standard_normal(len(ENERGY))
    return make_stack(values[:, None, None].astype(np.float32), ENERGY)


def names_of(subset):
    return {f"r{i}" for i in subset}


@pytest.mark.parametrize("seed", range(4))
def test_the_right_three_are_found_in_one_spectrum(seed):
    choice = choose_references(spectrum(0.005, seed), named(LIBRARY), at_most=4, sigma=0.005)

    assert set(choice.best.names) == names_of(RIGHT)
    assert choice.n_tried == 8 + 28 + 56 + 70
    assert choice.best.reduced_chi_square == pytest.approx(1, abs=0.6)


def test_the_right_three_are_found_in_a_result():
    stack, _, _ = mixture(3, shape=(30, 32), sigma=0.03)
    result = denoise(stack, denoiser="none", rng=np.random.default_rng(0))
    choice = choose_references(result, named(LIBRARY), at_most=3)

    assert set(choice.best.names) == names_of((0, 1, 2))
    assert choice.best.difference == 0
    assert [each.difference for each in choice.runners_up] == sorted(
        each.difference for each in choice.runners_up
    )


def test_it_is_the_criterion_of_a_plain_fit():
    """The second witness: numpy's least squares of the right subset, with the same penalty."""
    data = spectrum(0.01)
    choice = choose_references(data, named(LIBRARY), at_most=3, sigma=0.01, background="constant")
    design = np.vstack([LIBRARY[list(RIGHT)], np.ones(len(ENERGY))]).T
    left = np.linalg.lstsq(design, data.values[:, 0, 0].astype(float), rcond=None)[1][0] / 0.01**2

    found = next(each for each in choice.ranking if set(each.names) == names_of(RIGHT))
    assert found.reduced_chi_square == pytest.approx(left / (60 - 1 - 3), rel=1e-3)
    assert found.criterion == pytest.approx(left + 3 * np.log(59), rel=1e-2)


def test_in_much_noise_others_are_not_excluded_and_this_is_said():
    choice = choose_references(spectrum(0.2), named(LIBRARY), at_most=3, sigma=0.2)

    assert "nearly as well" in choice.reasons[0]


def test_a_subset_with_negative_amounts_comes_last():
    """The scan is species 0 to 2, so that 0 is explained by others only with a negative amount."""
    stack, _, _ = mixture(2, shape=(12, 14), sigma=0.01)
    choice = choose_references(stack, named(LIBRARY), at_most=3, sigma=0.01, n_listed=40)
    negative = np.array([each.negative > 0.1 for each in choice.ranking])

    assert set(choice.best.names) == {"r0", "r1"}
    assert choice.best.negative < 0.1
    assert negative.any()
    assert (np.diff(negative.astype(int)) >= 0).all()


def test_references_that_are_alike_may_be_in_the_library():
    library = np.vstack([LIBRARY, LIBRARY[4:5] * 1.0000001])
    choice = choose_references(spectrum(0.002), named(library), at_most=3, sigma=0.002)

    assert set(choice.best.names) - {"r8"} <= names_of(RIGHT)
    assert len(choice.best.names) == 3


def test_only_alike_references_are_refused():
    library = np.vstack([LIBRARY[:1], np.ones((1, 60))])
    with pytest.raises(StackError, match="same as the background"):
        choose_references(spectrum(0.01), named(library), at_most=1, sigma=0.01)


@pytest.mark.parametrize(("at_most", "text"), [(0, "at least one"), (12, "subsets of at most 12")])
def test_numbers_that_cannot_be_are_refused(at_most, text):
    rows = np.vstack([LIBRARY + 0.001 * k for k in range(4)])
    with pytest.raises(RecipeError, match=text):
        choose_references(spectrum(0.01), named(rows), at_most=at_most)


def test_without_a_noise_level_the_best_fit_gives_it():
    choice = choose_references(spectrum(0.003), named(LIBRARY), at_most=3)

    assert set(choice.best.names) == names_of(RIGHT)
    assert np.isnan(choice.best.reduced_chi_square)
