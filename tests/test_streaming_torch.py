"""The work of passes by PyTorch: the same as by NumPy, on whatever device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_streaming_blocks import in_blocks

from xanesum.errors import RecipeError, XanesumWarning
from xanesum.method.denoising import denoise
from xanesum.phantom import simulate
from xanesum.streaming import torch_backend as accelerator
from xanesum.streaming.blocked_stack import BlockedStack
from xanesum.streaming.executors import DeviceExecutor
from xanesum.streaming.interface import Rescaling
from xanesum.streaming.torch_backend import Accelerator, accelerator_for


def fresh(seed=0):
    return np.random.default_rng(seed)


SHAPE = (24, 37, 41)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
VALUES = fresh().standard_normal(SHAPE).astype(np.float32)
MASK = fresh(1).random(SHAPE[1:]) > 0.2


def on(device, passes):
    return replace(passes, executor=DeviceExecutor(Accelerator(device)), block_bytes=4 * 5 * VALUES[0].size)


def rescaling():
    along = fresh(2).standard_normal(SHAPE[0])
    pixel = fresh(3).uniform(0.5, 2, SHAPE[1:]).astype(np.float32)
    return Rescaling(pixel, fresh(4).uniform(0.5, 2, SHAPE[0]), along / np.linalg.norm(along), 0.3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("rescaled", [False, True])
def test_images_and_averages_are_those_of_numpy(device, blocks, rescaled):
    passes = in_blocks(VALUES, MASK) if blocks else BlockedStack.over(VALUES, MASK)
    passes = passes.rescaled(rescaling()) if rescaled else passes
    spectra = fresh(5).standard_normal((3, SHAPE[0]))

    found, expected = on(device, passes), passes

    np.testing.assert_allclose(found.project(spectra), expected.project(spectra), rtol=1e-4, atol=1e-4)
    ours, theirs = found.average(3), expected.average(3)
    np.testing.assert_allclose(ours.values, theirs.values, atol=2e-5)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert ours.sum_of_squares == pytest.approx(theirs.sum_of_squares, rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_survey_finds_the_same_bits_and_what_is_missing(device):
    values = VALUES.copy()
    values[3, 4, 5], values[7, 2, 1] = np.nan, np.inf
    values[9] = 0
    pixels = np.array([3, 40, 77])
    passes = in_blocks(values, MASK)

    (ours, _), (theirs, _) = (each.survey(pixels, 2) for each in (on(device, passes), passes))

    assert ours.digest == theirs.digest
    assert (ours.n_missing, ours.n_bad) == (theirs.n_missing, theirs.n_bad) == (2, MASK[[4, 2], [5, 1]].sum())
    np.testing.assert_array_equal(ours.blank, theirs.blank)
    np.testing.assert_array_equal(ours.sample, theirs.sample)


def test_what_the_device_holds_is_not_read_again(monkeypatch):
    read = []

    def counting(energies, rows):
        read.append(energies)
        return VALUES[energies, rows]

    passes = BlockedStack(counting, SHAPE, MASK, False)
    device = Accelerator("cpu")
    monkeypatch.setattr(
        device, "upload", lambda key, block: device._held.setdefault(key, torch.from_numpy(block))
    )
    passes = replace(passes, executor=DeviceExecutor(device), block_bytes=4 * 5 * VALUES[0].size)

    first = passes.project(np.ones((1, SHAPE[0])))
    n_read = len(read)
    second = passes.project(np.ones((1, SHAPE[0])))

    assert len(read) == n_read > 1
    np.testing.assert_array_equal(first, second)


def test_what_is_filled_is_not_what_was_held_before(monkeypatch):
    values = VALUES.copy()
    values[3, 4, 5] = np.nan
    device = Accelerator("cpu")
    monkeypatch.setattr(
        device, "upload", lambda key, block: device._held.setdefault(key, torch.from_numpy(block))
    )
    passes = replace(
        in_blocks(values, np.ones(SHAPE[1:], bool)), executor=DeviceExecutor(device), block_bytes=1e9
    )

    assert np.isnan(passes.project(np.ones((1, SHAPE[0])))).any()
    assert np.isfinite(passes.filled(np.ones((1, SHAPE[0]))).project(np.ones((1, SHAPE[0])))).all()


@pytest.mark.filterwarnings("ignore:component .+ is close to the limit")
@pytest.mark.parametrize("device", DEVICES)
def test_a_result_is_that_of_the_cpu(device, monkeypatch):
    stack = simulate("wedge", shape=(40, 50), n_energies=30).noisy(10.0, rng=fresh())
    expected = denoise(stack, denoiser="wavelet", device="cpu")
    monkeypatch.setattr("xanesum.streaming.executors.accelerator_for", lambda name: Accelerator(device))

    found = denoise(stack, denoiser="wavelet")

    assert found.provenance["input_digest"] == expected.provenance["input_digest"]
    np.testing.assert_allclose(found.reconstruct(), expected.reconstruct(), atol=0.05)


def test_a_gpu_that_is_not_there_is_said_and_the_cpu_does_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert accelerator_for("auto") is None
    assert accelerator_for("cpu") is None
    with pytest.warns(XanesumWarning, match="no CUDA device here, so the CPU does the work"):
        assert accelerator_for("cuda") is None
    with pytest.raises(RecipeError, match="device must be one of auto, cpu, cuda, got 'tpu'"):
        accelerator_for("tpu")


def test_every_name_of_a_device_is_offered():
    assert accelerator.DEVICES == ("auto", "cpu", "cuda")
