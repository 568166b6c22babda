"""Non-negative least squares of many columns against scipy, column by column."""

import numpy as np
import pytest
from scipy.optimize import nnls

from xanesum.linalg.nonnegative import groups_of, nonnegative_solutions, solution_operator


def problem(n, n_columns=200, seed=0):
    rng = np.random.default_rng(seed)
    design = np.abs(rng.normal(1.0, 0.3, (40, n)))
    true = np.maximum(rng.normal(0.2, 1.0, (n, n_columns)), 0)
    return design, design @ true + 0.5 * rng.standard_normal((40, n_columns))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9, 12])
def test_it_is_the_solution_of_scipy(n):
    design, columns = problem(n)
    theirs = np.array([nnls(design, column)[0] for column in columns.T]).T

    found, is_free = nonnegative_solutions(design.T @ design, design.T @ columns)

    assert 0.1 < np.mean(theirs == 0) < 0.9
    np.testing.assert_allclose(found, theirs, atol=1e-9)
    np.testing.assert_array_equal(is_free, theirs > 0)


def test_columns_that_need_many_exchanges_are_solved():
    """Nearly the same columns; most unknowns are at 0, and not those that are negative at first."""
    rng = np.random.default_rng(4)
    design = 1 + 0.05 * rng.standard_normal((30, 6))
    columns = design @ np.maximum(rng.normal(-0.5, 1.0, (6, 500)), 0) + 0.3 * rng.standard_normal((30, 500))
    theirs = np.array([nnls(design, column)[0] for column in columns.T]).T

    found, is_free = nonnegative_solutions(design.T @ design, design.T @ columns)

    np.testing.assert_allclose(found, theirs, atol=1e-8)
    assert (found[~is_free] == 0).all()


def test_a_column_without_numbers_leaves_the_others_alone():
    design, columns = problem(3, 20)
    expected, _ = nonnegative_solutions(design.T @ design, design.T @ columns)
    rhs = design.T @ columns
    rhs[:, 7] = np.nan

    found, _ = nonnegative_solutions(design.T @ design, rhs)

    others = np.arange(20) != 7
    np.testing.assert_array_equal(found[:, others], expected[:, others])


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_a_given_total_is_kept(n):
    """The second witness is scipy with the total as one more equation of a large weight."""
    design, columns = problem(n)
    total = np.random.default_rng(1).uniform(0.5, 3.0, columns.shape[1])
    weight = 1e4
    theirs = np.array(
        [
            nnls(np.vstack([design, np.full(n, weight)]), np.append(column, weight * each))[0]
            for column, each in zip(columns.T, total, strict=True)
        ]
    ).T

    found, _ = nonnegative_solutions(design.T @ design, design.T @ columns, total=total)

    np.testing.assert_allclose(found.sum(axis=0), total, rtol=1e-9)
    np.testing.assert_allclose(found, theirs, atol=1e-4)
    assert found.min() >= 0


def test_a_total_that_is_not_above_zero_gives_zeros():
    design, columns = problem(3, 4)
    found, is_free = nonnegative_solutions(
        design.T @ design, design.T @ columns, total=np.array([1.0, 0.0, -1.0, 2.0])
    )

    np.testing.assert_allclose(found.sum(axis=0), [1, 0, 0, 2], atol=1e-12)
    assert not is_free[:, 1:3].any()


def test_scaled_unknowns_do_not_matter():
    design, columns = problem(4)
    scale = np.array([1e-6, 1.0, 1e3, 1e5])
    plain = nonnegative_solutions(design.T @ design, design.T @ columns)[0]
    scaled = design * scale

    found = nonnegative_solutions(scaled.T @ scaled, scaled.T @ columns)[0]

    np.testing.assert_allclose(found * scale[:, None], plain, atol=1e-8)


def test_groups_hold_every_column_once():
    is_free = np.random.default_rng(0).random((3, 50)) < 0.5
    columns = []
    for free, members in groups_of(is_free):
        assert (is_free[:, members] == free[:, None]).all()
        columns += members.tolist()

    assert sorted(columns) == list(range(50))


def test_no_free_unknown_gives_zeros():
    assert not solution_operator(np.eye(3), np.zeros(3, bool)).any()
