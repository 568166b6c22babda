"""Covariances by their parts are those of whole matrices."""

import numpy as np
import pytest

from xanesum.linalg.covariance import (
    NoiseCovariance,
    SmoothedCovariance,
    SummedCovariance,
    low_rank,
    of_mixture,
)
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.normalization import EdgeRanges, flattened, flattening_operator, normalized_ranges

RNG = np.random.default_rng(0)
OPERATOR = RNG.standard_normal((7, 40))


def test_noise_and_its_common_factors():
    variance, factors = RNG.random(40), RNG.standard_normal((2, 40))

    found = NoiseCovariance(variance, factors).of(OPERATOR)

    whole = np.diag(variance) + factors.T @ factors
    np.testing.assert_allclose(found, OPERATOR @ whole @ OPERATOR.T, rtol=1e-10)
    np.testing.assert_allclose(low_rank(factors).of(OPERATOR), OPERATOR @ factors.T @ factors @ OPERATOR.T)


@pytest.mark.parametrize("most", [1.0, 0.3, 0.01])
def test_a_smoothed_spectrum(most):
    """Also where errors are zero, and where one degree of freedom is spread over all energies."""
    error, freedom = RNG.random(40), most * RNG.random(40)
    freedom[10:14], freedom[20] = 0.0, most

    found = SmoothedCovariance(error, freedom).of(OPERATOR)

    place = np.cumsum(freedom) - freedom / 2
    left = error * np.sqrt(freedom)
    whole = np.outer(left, left) * np.maximum(0, 1 - np.abs(place[:, None] - place))
    np.testing.assert_allclose(found, OPERATOR @ whole @ OPERATOR.T, rtol=1e-9, atol=1e-12)


def test_a_mixture_of_spectra_whose_amounts_are_correlated():
    spectra, root = RNG.standard_normal((3, 40)), RNG.standard_normal((3, 3))

    found = of_mixture(root @ root.T, spectra).of(OPERATOR)

    whole = spectra.T @ root @ root.T @ spectra
    np.testing.assert_allclose(found, OPERATOR @ whole @ OPERATOR.T, rtol=1e-9)


@pytest.mark.parametrize(
    "covariance",
    [
        NoiseCovariance(RNG.random(40), RNG.standard_normal((2, 40))),
        SmoothedCovariance(RNG.random(40), 0.3 * RNG.random(40)),
        SmoothedCovariance(RNG.random(40), np.r_[np.zeros(5), np.ones(30), np.zeros(5)]),
        low_rank(RNG.standard_normal((1, 40))),
        SummedCovariance(
            ((0.5, low_rank(RNG.standard_normal((2, 40)))), (2.0, low_rank(RNG.random((1, 40)))))
        ),
    ],
)
def test_draws_have_the_covariance(covariance):
    """Entries from 4000 draws are off by sqrt(2 / 4000) = 1/45 of their size; 5 times that is allowed."""
    rng = np.random.default_rng(1)
    draws = covariance.drawn(4000, rng)

    whole = covariance.of(np.eye(40))
    np.testing.assert_allclose(covariance.diagonal, np.diag(whole), rtol=1e-9, atol=1e-12)
    size = np.sqrt(np.outer(np.diag(whole), np.diag(whole)))
    assert (np.abs(draws.T @ draws / 4000 - whole) <= 5 / 45 * size + 1e-12).all()


@pytest.mark.parametrize(
    ("pre", "post"), [((8300.0, 8320.0), (8360.0, 8399.0)), ((8300.0, 8320.0), None), (None, None)]
)
def test_an_operator_on_flattened_spectra_is_the_product_with_the_whole_matrix(pre, post):
    energy = np.sort(RNG.uniform(8300, 8400, 40))
    ranges = EdgeRanges(8341.0, pre, post)

    found = flattened(OPERATOR, energy, ranges)

    whole = flattening_operator(energy, ranges, np.ones(40, bool))
    np.testing.assert_allclose(found, OPERATOR @ whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("flatten", [True, False])
def test_the_same_with_the_lines_of_larch(flatten):
    energy = np.linspace(8200.0, 8600.0, 40)
    ranges = normalized_ranges(energy, 8341.0, Normalization(flatten=flatten, nvict=1, nnorm=2))

    found = flattened(OPERATOR, energy, ranges)

    whole = flattening_operator(energy, ranges, np.ones(40, bool))
    np.testing.assert_allclose(found, OPERATOR @ whole, rtol=1e-9, atol=1e-9)
