"""Online robust PCA against batch robust PCA, and its parts against their definitions."""

import numpy as np
import pytest
from rivals.layering import reld, settings_for
from rivals.robust_pca import Settings, principal_component_pursuit, reprocs, sparse_part
from scipy.optimize import linprog

N_FRAMES, N_PIXELS, RANK = 60, 200, 3
LATE = 30  # frame in which the third direction appears


def pursuit_by_fixed_steps(matrix, n_steps=200):
    """Principal component pursuit by alternating directions with a fixed step: a second algorithm."""
    weight = 1 / np.sqrt(max(matrix.shape))
    step = matrix.size / (4 * np.abs(matrix).sum())
    sparse, dual = np.zeros_like(matrix), np.zeros_like(matrix)
    for _ in range(n_steps):
        u, s, vt = np.linalg.svd(matrix - sparse + dual / step, full_matrices=False)
        low = (u * np.maximum(s - 1 / step, 0)) @ vt
        rest = matrix - low + dual / step
        sparse = np.sign(rest) * np.maximum(np.abs(rest) - weight / step, 0)
        dual += step * (matrix - low - sparse)
    return low, sparse


@pytest.fixture(scope="module")
def layers():
    """Frames of rank 2, later 3, and bright pixels that move."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((RANK, N_PIXELS))
    amounts = rng.uniform(1, 1.5, (N_FRAMES, RANK)) * rng.choice([-1, 1], (N_FRAMES, RANK))
    amounts[:, 0] = rng.uniform(8, 10, N_FRAMES)
    amounts[:, 2] = np.where(np.arange(N_FRAMES) < LATE, 0, rng.uniform(1.5, 2, N_FRAMES))
    sparse = np.zeros((N_FRAMES, N_PIXELS))
    for t in range(N_FRAMES):
        sparse[t, 3 * t + np.arange(4)] = 60
    return amounts @ images, sparse


def test_pursuit_is_that_of_a_second_algorithm(layers):
    matrix = sum(layers)[:20]

    low, sparse = principal_component_pursuit(matrix)
    other_low, other_sparse = pursuit_by_fixed_steps(matrix)

    def norm(low, sparse):
        return np.linalg.norm(low, "nuc") + np.abs(sparse).sum() / np.sqrt(max(matrix.shape))

    scale = np.linalg.norm(matrix)
    assert np.linalg.norm(low + sparse - matrix) < 1e-5 * scale
    assert norm(low, sparse) == pytest.approx(norm(other_low, other_sparse), rel=1e-3)
    assert (
        np.linalg.norm(low - other_low) < 5e-3 * scale
    )  # a growing penalty stops a little before the minimum
    assert np.linalg.norm(sparse - other_sparse) < 5e-3 * scale


def test_online_layers_are_those_in_batch(layers):
    low, sparse = layers
    settings = Settings(n_train=20, block=10, energy=0.9999)

    online = reprocs(low + sparse, settings)
    batch_low, batch_sparse = pursuit_by_fixed_steps(low + sparse)

    assert np.linalg.norm(batch_low - low) < 0.01 * np.linalg.norm(low)
    assert np.linalg.norm(online.low_rank - batch_low) < 0.01 * np.linalg.norm(low)
    assert np.linalg.norm(online.sparse - batch_sparse) < 0.02 * np.linalg.norm(sparse)


def test_noise_is_reduced_and_leaves_few_sparse_values(layers):
    low, _ = layers
    noise = np.random.default_rng(1).standard_normal(low.shape)

    found = reprocs(low + noise, Settings(n_train=20, block=10, floor=1.0))

    # A direction of amount a, known from T frames of about this amount, adds a**2 / (T a**2) = 1 / T of the
    # noise, and a frame that is one of the T keeps 1 / T of its own.  So 2 (2 / 20 + 1 / 10) at most.
    assert np.mean((found.low_rank - low) ** 2) < 0.4
    assert np.mean(found.sparse != 0) < 0.01


def test_a_direction_that_a_few_frames_have_is_kept(layers):
    """So are those of chemistry: only frames at the edge have them."""
    low, _ = layers
    passing = low.copy()
    passing[LATE + 10 :] = low[: N_FRAMES - LATE - 10]  # without the third direction, as the first frames
    noise = np.random.default_rng(5).standard_normal(low.shape)

    found = reprocs(passing + noise, Settings(n_train=20, block=10, floor=1.0)).low_rank

    assert np.mean((found - passing)[LATE : LATE + 10] ** 2) < 0.4  # the direction itself has a square of 3


def test_sparse_part_has_the_least_norm():
    """A linear program finds the least 1-norm that leaves nothing outside of the subspace."""
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.standard_normal((30, 2)))[0].T
    true = np.zeros(30)
    true[[3, 11, 20]] = [5, -4, 6]
    outside = true - (true @ basis.T) @ basis

    projector = np.eye(30) - basis.T @ basis
    program = linprog(np.ones(60), A_eq=np.hstack([projector, -projector]), b_eq=outside, bounds=(0, None)).x
    found = sparse_part(outside, basis, 0.05, np.ones(30))

    np.testing.assert_allclose(program[:30] - program[30:], true, atol=1e-6)
    np.testing.assert_allclose(found, true, atol=0.1)  # shrunk by what may be left over
    assert sparse_part(outside, basis, 100.0, np.ones(30)).any() == 0


@pytest.mark.parametrize("allowed", [0.5, 2.0, 4.0])
def test_without_a_subspace_just_the_allowed_norm_is_left(allowed):
    rng = np.random.default_rng(3)
    values, weights = rng.standard_normal(50), rng.uniform(0.5, 2, 50)

    left = values - sparse_part(values, np.zeros((0, 50)), allowed, weights)

    assert np.linalg.norm(left) == pytest.approx(allowed, rel=1e-6)


def test_reld_adds_the_denoised_layers_in_the_order_of_the_energies():
    rng = np.random.default_rng(4)
    clean = np.linspace(5, 50, 40)[:, None, None] * np.outer(
        np.sin(np.arange(16) / 5), np.cos(np.arange(20) / 9)
    )
    spot = np.zeros_like(clean)
    spot[7, 3:5, 4:6] = 500  # one frame with dust
    noisy = (clean + spot + rng.standard_normal(clean.shape)).astype(np.float32)
    asked = []

    def half(images, sigma, rng):
        asked.append((len(images), sigma))
        return images / 2

    found = reld(noisy, 1.0, rng, denoise_layer=lambda images, sigma, rng: images)
    halved = reld(noisy, 1.0, rng, denoise_layer=half)

    assert np.sqrt(np.mean((found - clean - spot) ** 2)) < 0.5  # of noise 1
    np.testing.assert_allclose(halved, found / 2, rtol=1e-5)
    assert asked[0][0] == len(noisy)
    assert asked[0][1] < 0.5
    assert settings_for(969, 1.0).block == 121
