"""Thresholds of singular values against finite differences, searches, and the truth."""

import numpy as np
import pytest
from rivals.singular_values import (
    frobenius_shrinkage,
    hard_rank,
    n_above_noise,
    optimal_shrinkage,
    risks,
    soft_threshold,
    svd_hard,
    svd_soft,
)

SIGMA = 2.0


def low_rank(rng, shape=(12, 6, 5), rank=2, size=9.0):
    n_energies, *image = shape
    spectra = rng.standard_normal((n_energies, rank)) * size / (1 + np.arange(rank))
    return np.tensordot(spectra, rng.standard_normal((rank, *image)), axes=1)


def noisy(rng, clean):
    return (clean + SIGMA * rng.standard_normal(clean.shape)).astype(np.float32)


def thresholded(matrix, threshold, *, hard=False):
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return (u * (np.where(s > threshold, s, 0) if hard else np.maximum(s - threshold, 0))) @ vt


def risk_by_differences(matrix, function, step=1e-5):
    """Stein's estimate with the divergence by differences, one value of the matrix after the other."""
    divergence = 0.0
    for index in np.ndindex(matrix.shape):
        ahead, behind = matrix.copy(), matrix.copy()
        ahead[index] += step
        behind[index] -= step
        divergence += (function(ahead)[index] - function(behind)[index]) / (2 * step)
    change = np.sum((function(matrix) - matrix) ** 2)
    return change + 2 * SIGMA**2 * divergence - SIGMA**2 * matrix.size


@pytest.mark.parametrize("shape", [(7, 10), (10, 7), (6, 6)])
@pytest.mark.parametrize("hard", [False, True])
def test_risk_is_that_by_differences(shape, hard):
    matrix = np.random.default_rng(1).standard_normal(shape) * 5
    values = np.linalg.svd(matrix, compute_uv=False)
    threshold = (values[2] + values[3]) / 2  # three values are kept
    thresholds = np.zeros(len(values) + 1) if hard else np.full(len(values) + 1, threshold)

    found = risks(values, max(shape), SIGMA, thresholds)[3]

    expected = risk_by_differences(matrix, lambda m: thresholded(m, threshold, hard=hard))
    assert found == pytest.approx(expected, rel=1e-5)  # differences of 1e-5 around values of 10


def test_soft_threshold_is_the_best_of_a_fine_search():
    rng = np.random.default_rng(2)
    values = np.linalg.svd(noisy(rng, low_rank(rng)).reshape(12, -1), compute_uv=False).astype(float)

    def risk(threshold):
        above = int(np.sum(values > threshold))
        return risks(values, 30, SIGMA, np.full(13, threshold))[above]

    searched = np.linspace(0, values[0], 20_001)
    best = soft_threshold(values, 30, SIGMA)

    assert risk(best) <= min(map(risk, searched)) + 1e-9
    assert best == pytest.approx(min(searched, key=risk), abs=values[0] / 20_000)


def test_risk_is_the_mean_error_of_many_draws():
    rng = np.random.default_rng(3)
    clean = low_rank(rng)[:, 0, :]  # 12 x 5
    errors, estimates = [], []
    for _ in range(400):
        matrix = clean + SIGMA * rng.standard_normal(clean.shape)
        values = np.linalg.svd(matrix, compute_uv=False)
        above = int(np.sum(values > 6))
        errors.append(np.sum((thresholded(matrix, 6.0) - clean) ** 2))
        estimates.append(risks(values, 12, SIGMA, np.full(6, 6.0))[above])

    difference = np.array(estimates) - errors
    assert abs(difference.mean()) < 3 * difference.std() / np.sqrt(400)


@pytest.mark.parametrize("shape", [(12, 6, 5), (40, 4, 5)], ids=["more pixels", "more energies"])
def test_stacks_are_those_by_a_plain_svd(shape):
    rng = np.random.default_rng(4)
    stack = noisy(rng, low_rank(rng, shape))
    matrix = stack.reshape(len(stack), -1).astype(float)
    values, longer = np.linalg.svd(matrix, compute_uv=False), max(matrix.shape)
    rank = hard_rank(values, longer, SIGMA)
    cut = values[rank - 1 : rank + 1].mean()  # between two of them: the last digit of each may differ

    soft = thresholded(matrix, soft_threshold(values, longer, SIGMA)).reshape(shape)
    hard = thresholded(matrix, cut, hard=True).reshape(shape)

    np.testing.assert_allclose(svd_soft(stack, SIGMA, rng), soft, atol=1e-3)  # float32, values up to 100
    np.testing.assert_allclose(svd_hard(stack, SIGMA, rng), hard, atol=1e-3)


def test_optimal_shrinkage_follows_from_the_angles_of_a_spiked_matrix():
    """A singular value x comes out as y, its vectors turned by known angles: the best value is x c c'."""
    ratio, longer = 0.3, 1000
    x = np.array([5.0, 2.0, 1.0])  # in units of sigma sqrt(longer); above ratio**(1/4) = 0.74
    y = np.sqrt((x + 1 / x) * (x + ratio / x))
    left = (x**4 - ratio) / (x**4 + ratio * x**2)
    right = (x**4 - ratio) / (x**4 + x**2)
    values = np.append(y, np.linspace(1, 0.1, 297)) * SIGMA * np.sqrt(longer)

    shrunk = frobenius_shrinkage(values, longer, SIGMA) / (SIGMA * np.sqrt(longer))

    np.testing.assert_allclose(shrunk[:3], x * np.sqrt(left * right), rtol=1e-12)
    assert not shrunk[3:].any()


def test_optimal_shrinkage_is_close_to_the_best_value_that_the_truth_tells():
    rng = np.random.default_rng(5)
    clean = low_rank(rng, (60, 40, 30), rank=1, size=0.5)
    stack = noisy(rng, clean)
    u, _, vt = np.linalg.svd(stack.reshape(60, -1), full_matrices=False)
    best = u[:, 0] @ clean.reshape(60, -1) @ vt[0]

    found = np.linalg.norm(optimal_shrinkage(stack, SIGMA, rng))

    assert found == pytest.approx(best, rel=0.05)  # the formula is for matrices without end
    assert n_above_noise(stack, SIGMA) == 1


@pytest.mark.parametrize("rival", [svd_soft, svd_hard, optimal_shrinkage])
def test_noise_alone_is_removed_and_signal_is_kept(rival):
    rng = np.random.default_rng(6)
    clean = low_rank(rng, (30, 20, 25))
    nothing = rival(noisy(rng, np.zeros(clean.shape)), SIGMA, rng)
    something = rival(noisy(rng, clean), SIGMA, rng)

    assert np.mean(nothing**2) < 0.03 * SIGMA**2
    # Two components of 30 hold (2 / 30) (1 + 30 / 500) of the noise; shrinkage leaves less, a threshold bias.
    assert np.mean((something - clean) ** 2) < 0.14 * SIGMA**2
    assert something.dtype == np.float32
