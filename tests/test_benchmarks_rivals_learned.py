"""Networks that learn from the scan: what they may see, what they are trained for, and that they repeat."""

import numpy as np
import pytest
import torch
from rivals.blind_spot import BlindSpotNetwork, udvd
from rivals.fine_tuning import frame_to_frame, pretrained, restore_from_restored, restored
from rivals.rival import Budget

from xanesum.denoisers import get_denoiser

SHORT = Budget(iterations=2, seconds=60, patch_px=16, batch=1, rate=1e-5)


def scan(n_energies=6, sigma=20.0):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :20]
    clean = np.linspace(60, 120, n_energies)[:, None, None] * (1 + np.sin(y / 6) * np.cos(x / 7))
    return (clean + sigma * rng.standard_normal(clean.shape)).astype(np.float32), clean


def test_the_network_sees_its_surroundings_on_all_sides_but_not_the_pixel():
    torch.manual_seed(0)
    network = BlindSpotNetwork(channels=4)
    frames = torch.randn(1, 5, 16, 16, requires_grad=True)

    for y, x in [(8, 7), (3, 12), (10, 10)]:
        mean, spread = network(frames)
        (gradient,) = torch.autograd.grad((mean + spread)[0, y, x], frames)
        seen = gradient[0] != 0

        assert not seen[:, y, x].any()
        assert seen[:, y - 1, x].all()  # in all five frames
        assert seen[:, y + 1, x].all()
        assert seen[:, y, x - 1].all()
        assert seen[:, y, x + 1].all()


def test_the_blind_spot_is_kept_by_a_second_witness():
    """A changed pixel changes the result nowhere at its place, and next to it."""
    torch.manual_seed(1)
    network = BlindSpotNetwork(channels=4)
    frames = torch.randn(1, 5, 16, 20)
    changed = frames.clone()
    changed[:, :, 9, 6] += 100

    with torch.inference_mode():
        difference = (network(changed)[0] - network(frames)[0])[0].abs()

    assert difference[9, 6] == 0
    assert difference[9, 7] > 0


def test_udvd_repeats():
    noisy, _ = scan(n_energies=1)

    first, second = (udvd(noisy, 20.0, np.random.default_rng(3), budget=SHORT) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_udvd_denoises():
    noisy, clean = scan(n_energies=4)
    budget = Budget(iterations=20, seconds=60, patch_px=16, batch=1, rate=5e-3)

    found = udvd(noisy, 20.0, np.random.default_rng(3), budget=budget)

    assert found.shape == noisy.shape
    assert np.mean((found - clean) ** 2) < 0.9 * 20.0**2  # after next to no training


def test_fine_tuned_networks_start_from_the_weights_of_the_project():
    noisy, _ = scan(n_energies=2)

    ours = get_denoiser("dncnn", precision="float32").denoise(noisy, 20.0) / 20
    found = restored(pretrained(), torch.from_numpy(noisy / np.float32(20)))

    # The denoiser subtracts the mean first, and takes the deviation over N, not N - 1, of 480 pixels.
    np.testing.assert_allclose(found.numpy(), ours, atol=0.02)


@pytest.mark.parametrize("rival", [frame_to_frame, restore_from_restored])
def test_fine_tuning_repeats_and_moves_little_in_two_steps(rival):
    noisy, clean = scan(n_energies=2)

    first, second = (rival(noisy, 20.0, np.random.default_rng(5), budget=SHORT) for _ in range(2))
    other = rival(noisy, 20.0, np.random.default_rng(6), budget=SHORT)

    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0
    assert np.mean((first - clean) ** 2) < 0.5 * 20.0**2


def test_frame_to_frame_learns_what_the_next_frame_is():
    """Every frame is brighter than the one before it; training makes results more like the next frame."""
    noisy, _ = scan(n_energies=4)
    budget = Budget(iterations=30, seconds=60, patch_px=24, batch=1, rate=1e-5)

    before = restored(pretrained(), torch.from_numpy(noisy / np.float32(20))).numpy() * 20
    after = frame_to_frame(noisy, 20.0, np.random.default_rng(7), budget=budget)

    assert np.abs(after[:-1] - noisy[1:]).mean() < 0.99 * np.abs(before[:-1] - noisy[1:]).mean()


def test_restoring_from_restored_shrinks_what_training_shrinks():
    """Targets are the network's own results: more training brings results closer to them."""
    noisy, _ = scan(n_energies=2)
    budget = Budget(iterations=15, seconds=60, patch_px=24, batch=1, rate=1e-5)
    target = restored(pretrained(), torch.from_numpy(noisy / np.float32(20))).numpy() * 20

    found = restore_from_restored(noisy, 20.0, np.random.default_rng(8), budget=budget)

    assert np.std(found - target) < 0.3 * np.std(noisy - target)
