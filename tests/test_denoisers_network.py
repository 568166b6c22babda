"""The network denoiser: compliance, tiles, precision, and weights that are not what they should be."""

import hashlib
import json
import shutil
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from xanesum.denoisers import get_denoiser, network
from xanesum.denoisers._networks import ARCHITECTURES
from xanesum.denoisers.network import DnCNNDenoiser, NetworkDenoiser
from xanesum.errors import DenoiserError
from xanesum.method.denoising import denoise
from xanesum.method.sure import image_response
from xanesum.stack import make_stack
from xanesum.testing import DenoiserTests, structured_image

UNET = network._FOLDER / "unet.safetensors"


class TestUNet(DenoiserTests):
    risk_limits: ClassVar = {0.1: 0.02, 5.0: 0.25, 100.0: 1.0}

    def make_denoiser(self):
        return get_denoiser("network", device="cpu", precision="float32")


class TestDnCNN(DenoiserTests):
    def make_denoiser(self):
        return get_denoiser("dncnn", device="cpu", precision="float32")


def noisy_image(shape, contrast=5.0, seed=0):
    rng = np.random.default_rng(seed)
    clean = np.float32(contrast) * structured_image(shape, rng=rng)
    return clean, clean + rng.standard_normal(shape, dtype=np.float32)


def test_tiles_give_what_the_whole_image_gives(monkeypatch):
    _, noisy = noisy_image((500, 610))
    whole = NetworkDenoiser(device="cpu").denoise(noisy[None], 1.0)
    monkeypatch.setattr(network, "_TILE_PX", 320)

    tiled = NetworkDenoiser(device="cpu").denoise(noisy[None], 1.0)

    assert np.sqrt(np.mean((tiled - whole) ** 2)) < 0.01


@pytest.mark.parametrize("size", [1, 100, 320, 321, 447, 448, 449, 1000, 1293])
def test_shares_of_the_tiles_add_up_to_one(size, monkeypatch):
    monkeypatch.setattr(network, "_TILE_PX", 320)
    total = np.zeros(size)
    for span, share in network._spans(size):
        total[span] += share
        assert span.start % 16 == 0

    np.testing.assert_allclose(total, 1, rtol=1e-6)


@pytest.mark.parametrize("contrast", [0.3, 3.0, 30.0])
def test_bfloat16_costs_little(contrast):
    clean, noisy = noisy_image((192, 192), contrast)
    error = [
        np.mean((NetworkDenoiser(device="cpu", precision=name).denoise(noisy[None], 1.0) - clean) ** 2)
        for name in ("float32", "bfloat16")
    ]

    assert abs(10 * np.log10(error[1] / error[0])) < 0.02


@pytest.mark.parametrize("contrast", [0.1, 10.0, 100.0, 1e4])
def test_bfloat16_rounds_by_what_it_says(contrast):
    _, noisy = noisy_image((160, 160), contrast)
    exact, rounded = (
        NetworkDenoiser(device="cpu", precision=name).denoise(noisy[None], 1.0)
        for name in ("float32", "bfloat16")
    )
    rms = np.sqrt(np.mean((rounded - exact) ** 2))
    said = NetworkDenoiser(device="cpu", precision="bfloat16").rounding(noisy[None], 1.0)
    assert 0.6 * said < rms < 2.7 * said


@pytest.mark.parametrize(("contrast", "tolerance"), [(0.1, 0.15), (1.0, 0.1), (5.0, 0.1), (10.0, 0.1)])
def test_a_risk_allows_for_the_rounding(contrast, tolerance):
    """Without that, the squared response of the weakest image would be larger by half."""
    _, noisy = noisy_image((256, 256), contrast)
    found = []
    for name in ("float32", "bfloat16"):
        denoiser = NetworkDenoiser(device="cpu", precision=name)

        def denoised(images, by=denoiser):
            return by.denoise(images, 1.0)

        first, rng = denoised(noisy[None]), np.random.default_rng(1)
        response = image_response(
            noisy[None],
            first,
            denoised,
            1.0,
            rng=rng,
            n_probes=2,
            rounding=denoiser.rounding(noisy[None], 1.0),
        )
        found.append((response.divergence.mean() / noisy.size, response.square.mean()))
    assert denoiser.rounding(noisy[None], 1.0) > 0
    (trace, square), (exact_trace, exact_square) = found[::-1]
    assert trace == pytest.approx(exact_trace, rel=0.02, abs=1e-3)
    assert square == pytest.approx(exact_square, rel=tolerance)


def test_precision_is_what_the_processor_has():
    denoiser = NetworkDenoiser(device="cpu")
    native = network._has_bfloat16("cpu")
    assert (", bfloat16, " if native else ", float32, ") in denoiser.fingerprint
    images = noisy_image((20, 20), 30.0)[1][None]
    assert (denoiser.rounding(images, 1.0) > 0) == native
    assert NetworkDenoiser(device="cpu", precision="float32").rounding(images, 1.0) == 0


def test_a_result_says_which_weights_made_it():
    rng = np.random.default_rng(0)
    stack = make_stack(rng.standard_normal((12, 20, 30)), np.arange(12) + 8300.0)

    card = json.loads(UNET.with_suffix(".json").read_text())
    exact = NetworkDenoiser(device="cpu", precision="float32")
    said = denoise(stack, denoiser=exact, rank=1).provenance["denoiser_fingerprint"]

    assert said.startswith(f"unet, SHA-256 {card['sha256']}, float32, ")


def test_the_paper_s_network_has_17_layers_of_64_channels():
    layers = [layer for layer in DnCNNDenoiser(device="cpu")._network.modules() if hasattr(layer, "weight")]

    assert len(layers) == 17
    assert {layer.out_channels for layer in layers[:-1]} == {64}


def test_the_paper_s_risk_is_estimated_in_float32_whatever_was_asked_for():
    rng = np.random.default_rng(0)
    stack = make_stack(rng.standard_normal((12, 20, 30)), np.arange(12) + 8300.0)
    half = NetworkDenoiser(device="cpu", precision="bfloat16")

    said = denoise(stack, method="sum", denoiser=half, rank=1).provenance["denoiser_fingerprint"]

    assert ", bfloat16, " in half.fingerprint
    assert ", float32, " in said
    exact = half.exact
    assert exact.exact is exact


def test_automatic_choices_run_anywhere():
    denoiser = NetworkDenoiser(device="auto", precision="auto")

    assert denoiser.device in ("cpu", "cuda")
    assert np.isfinite(denoiser.denoise(noisy_image((40, 40))[1][None], 1.0)).all()


@pytest.mark.parametrize("options", [{"device": "tpu"}, {"precision": "float8"}])
def test_an_unknown_option_names_the_known_ones(options):
    with pytest.raises(DenoiserError, match="must be"):
        NetworkDenoiser(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(DenoiserError, match="no CUDA device here"):
        NetworkDenoiser(device="cuda")


@pytest.fixture
def weights(tmp_path):
    for suffix in (".safetensors", ".json"):
        shutil.copy(UNET.with_suffix(suffix), tmp_path)
    return tmp_path / "unet.safetensors"


def test_weights_from_a_file_give_the_same(weights):
    noisy = noisy_image((40, 50))[1][None]

    np.testing.assert_array_equal(
        NetworkDenoiser(weights, device="cpu").denoise(noisy, 1.0),
        NetworkDenoiser(device="cpu").denoise(noisy, 1.0),
    )


def test_one_changed_byte_is_noticed(weights):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(DenoiserError, match="damaged") as caught:
        NetworkDenoiser(weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", ["unet.safetensors", "unet.json"])
def test_a_missing_file_is_named(weights, lost):
    (weights.parent / lost).unlink()

    with pytest.raises(DenoiserError, match=rf"{lost}: weights cannot be read"):
        NetworkDenoiser(weights)


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": 3, "options": {"architecture": "unet"}}', "{}"])
def test_a_card_that_is_none(weights, content):
    weights.with_suffix(".json").write_text(content)

    with pytest.raises(DenoiserError, match="is no model card"):
        NetworkDenoiser(weights)


def test_weights_of_another_architecture_keep_their_name(weights):
    with pytest.raises(DenoiserError, match="weights of 'unet'; denoiser 'dncnn' needs 'dncnn'"):
        DnCNNDenoiser(weights)


def test_a_misspelt_name_of_weights_lists_the_known():
    with pytest.raises(DenoiserError, match=r"one of unet, dncnn, or a \.safetensors file, got 'unett'"):
        NetworkDenoiser("unett")


@pytest.mark.parametrize(
    "layers",
    [{"widths": [10**9]}, {"widths": [8] * 17}, {"blocks": -1}, {"blocks": 1.5}, 3, {"widths": None}],
)
def test_a_card_cannot_ask_for_a_network_of_any_size(weights, layers):
    card = json.loads(weights.with_suffix(".json").read_text())
    weights.with_suffix(".json").write_text(json.dumps(card | {"layers": layers}))

    with pytest.raises(DenoiserError, match="is no model card"):
        NetworkDenoiser(weights)


def test_a_gpu_keeps_all_digits_and_gets_its_settings_back():
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.deterministic
    seen = []

    def fail():
        with network._full_float32("cuda"):
            seen.append((cudnn.conv.fp32_precision, cudnn.deterministic))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [("ieee", True)]
    assert (cudnn.conv.fp32_precision, cudnn.deterministic) == before


@pytest.mark.parametrize("content", ["no safetensors", "another network"])
def test_weights_of_something_else(weights, content):
    if content == "another network":
        save_file(ARCHITECTURES["dncnn"]().state_dict(), weights)
    else:
        weights.write_bytes(b"nothing")
    card = json.loads(weights.with_suffix(".json").read_text())
    card["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.with_suffix(".json").write_text(json.dumps(card))

    with pytest.raises(DenoiserError, match="holds no weights of this network") as caught:
        NetworkDenoiser(weights)
    assert "\n" not in str(caught.value)
