"""Covariances by their parts are those of whole matrices."""

from dataclasses import replace

import numpy as np
import pytest

from xanesum import denoise, make_stack
from xanesum.linalg.covariance import (
    NoiseCovariance,
    SmoothedCovariance,
    SummedCovariance,
    low_rank,
    of_mixture,
)
from xanesum.xanes import chemical_map
from xanesum.xanes.crossings import FlattenedRows
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.normalization import EdgeRanges, flattened, flattening_operator, normalized_ranges
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

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

    operator = RNG.standard_normal((150, 40))
    found = SmoothedCovariance(error, freedom).of(operator)

    place = np.cumsum(freedom) - freedom / 2
    left = error * np.sqrt(freedom)
    whole = np.outer(left, left) * np.maximum(0, 1 - np.abs(place[:, None] - place))
    np.testing.assert_allclose(found, operator @ whole @ operator.T, rtol=1e-9, atol=1e-10)


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


@pytest.mark.parametrize("kind", ["half_step", "half_white_line", "white_line", "white_line_area"])
def test_a_map_of_many_energies_computes_the_errors_of_the_rows_that_are_used(kind, monkeypatch):
    """All numbers are those that the covariance of all rows gives; some pixels have no edge."""
    energy = np.linspace(8250.0, 8450.0, 300)
    rise = 1 / (1 + np.exp(-(energy - 8341) / 2)) + 0.6 * np.exp(-(((energy - 8345) / 3) ** 2))
    states = np.stack([rise, np.gradient(rise, energy)])
    if kind == "white_line":  # two maxima as high as each other, within errors
        low, high = (np.exp(-(((energy - at) / 1.5) ** 2)) for at in (8340, 8349))
        step = 1 / (1 + np.exp(8334 - energy))
        states = np.stack([step + low + high, 0.02 * (low - high)])
    amounts = np.stack([np.ones((6, 7)), np.linspace(-0.8, 0.8, 42).reshape(6, 7)])
    amounts[:, ::3] *= kind == "white_line"
    clean = np.tensordot(states, amounts, (0, 0))
    rng = np.random.default_rng(3)
    noisy = (100 * clean + rng.normal(0, 1, clean.shape)).astype(np.float32)
    result = denoise(
        make_stack(noisy, energy), method="sum", denoiser="none", rank=2, rng=np.random.default_rng(0)
    )
    # spectra have errors that are alike at neighbouring energies
    shape = result.error_spectra.shape
    result = replace(
        result,
        error_spectra=result.error_spectra.copy(data=0.01 + 0.01 * rng.random(shape)),
        error_freedom=result.error_freedom.copy(data=np.full(shape, 0.3)),
    )
    sizes = []

    def counted(spectra, operator, used):
        sizes.append(len(operator))
        return row_errors(spectra, operator, used)

    row_errors = PixelSpectra.row_errors
    dense = chemical_map(result, kind=kind)
    monkeypatch.setattr("xanesum.xanes.measuring.FEW_ROWS", 0)
    monkeypatch.setattr(PixelSpectra, "row_errors", counted)

    found = chemical_map(result, kind=kind)

    for name in dense.data_vars:
        np.testing.assert_allclose(found[name], dense[name], rtol=1e-5, err_msg=name)
    error = next(each for each in dense.data_vars if "sigma" in each)
    assert np.isfinite(dense[error]).sum() >= 20
    if kind == "half_step":
        between = np.searchsorted(energy, [dense.attrs["pre_ev"][1], dense.attrs["post_ev"][0]])
        assert 2 <= max(sizes) < np.ptp(between) / 2


def test_rows_of_half_steps_are_those_of_the_whole_matrix():
    energy = np.linspace(8250.0, 8450.0, 900)
    ranges = EdgeRanges(8341.0, (8260.0, 8320.0), (8370.0, 8440.0))
    less, more = RNG.random(900), RNG.random((3, 900))
    window = np.flatnonzero((energy > 8300) & (energy < 8400))
    rows = FlattenedRows(energy, ranges, window, less, more)

    is_inside = np.isin(np.arange(900), window)
    whole = np.vstack([flattening_operator(energy, ranges, is_inside) - less, more])
    assert rows.shape == whole.shape
    for chosen in ([0], [3, 4, 17], [len(window) - 1, len(window), len(window) + 2], range(len(whole))):
        np.testing.assert_allclose(rows[np.array(chosen)], whole[list(chosen)], atol=1e-12)
    spectra = pixel_spectra_of(make_stack(RNG.random((900, 2, 3)).astype(np.float32), energy))
    np.testing.assert_allclose(rows.from_images(spectra), whole[: len(window)].T, rtol=1e-5, atol=1e-6)
