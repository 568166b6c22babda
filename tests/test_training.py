"""The training that makes the weights: scenes, contrasts, and a run that stops, goes on and is exported."""

import hashlib
import json
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training import train
from training.scenes import HELD_OUT, SHARES, TRAINED, draw_scene
from xanesum.denoisers import _networks
from xanesum.denoisers.network import NetworkDenoiser


@pytest.mark.parametrize("family", sorted({**TRAINED, **HELD_OUT}))
def test_every_family_draws_unit_images_from_its_generator(family):
    families = {family: {**TRAINED, **HELD_OUT}[family]}
    first, again, other = (draw_scene(np.random.default_rng(seed), 48, families) for seed in (5, 5, 6))

    assert first.shape == (48, 48)
    assert first.dtype == np.float32
    assert abs(first.mean()) < 1e-5
    np.testing.assert_allclose(first.std(), 1, rtol=1e-4)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_what_is_held_out_is_never_trained_on():
    assert not set(HELD_OUT) & set(TRAINED)
    assert not set(HELD_OUT.values()) & set(TRAINED.values())
    assert len(HELD_OUT) == 2
    assert set(SHARES) <= set(TRAINED)


def share_above(limit):
    """The share of contrasts above `limit` that `CONTRASTS` asks for."""
    shares = {
        (low, high): np.clip(np.log(high / limit) / np.log(high / low), 0, 1) for low, high in train.CONTRASTS
    }
    return sum(share * shares[limits] for limits, share in train.CONTRASTS.items())


@pytest.mark.parametrize("limit", [0.05, 2.0, 20.0])
def test_contrasts_lie_where_the_shares_say(limit):
    drawn = train._draw_contrasts(20_000, torch.Generator().manual_seed(0)).flatten()
    expected = share_above(limit)
    error = np.sqrt(expected * (1 - expected) / len(drawn))

    assert sum(train.CONTRASTS.values()) == pytest.approx(1)
    assert drawn.min() >= 0.002
    assert drawn.max() <= 100
    assert abs(float((drawn > limit).float().mean()) - expected) < 5 * error


@pytest.fixture
def small(monkeypatch):
    """A network that trains in a moment."""

    class Small(_networks.UNet):
        def __init__(self, widths=(4, 6), blocks=1):
            super().__init__(widths, blocks)

    monkeypatch.setitem(_networks.ARCHITECTURES, "unet", Small)
    return Small


def options(**changed):
    own = {"minutes": 1.0, "steps": 8, "scenes": 4, "side": 64, "patch": 32, "batch": 2, "seed": 3}
    return train.Options(**{**own, "device": "cpu", "engine": "eager", **changed})


def trained(out, **changed):
    training = train.Training(options(**changed), out)
    training.run()
    training.checkpoint()
    training.export()
    return training


@pytest.mark.parametrize("loss", sorted(train.LOSSES))
def test_training_lowers_the_error_of_images_that_it_was_not_given(small, tmp_path, loss):
    training = train.Training(options(loss=loss, batch=8), tmp_path)
    scenes = train.make_scenes(training.options)
    generator = torch.Generator().manual_seed(0)

    def error():
        clean, deviation, mean = training._batch(scenes, torch.Generator().manual_seed(9))
        noisy = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(10))
        with torch.no_grad():
            mse = (training.network(noisy, mean, deviation) - clean).square().mean((1, 2, 3))
        return float(train.LOSSES[loss](mse).mean())

    before = error()
    for _ in range(60):
        training._step(scenes, generator)

    # the plain noise has an error of 1, so that a tenth of a decibel is 0.02 of it
    assert error() < before - 0.02


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its own parts
def test_compiled_and_eager_training_take_the_same_step(small, tmp_path, monkeypatch):
    """The graph is captured and differentiated as for the compiler, whose C++ takes a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    gradients = {}
    for engine in ("compiled", "eager"):
        training = train.Training(options(engine=engine), tmp_path)
        training._step(train.make_scenes(training.options), torch.Generator().manual_seed(1))
        gradients[engine] = torch.cat([value.grad.flatten() for value in training.network.parameters()])

    size = float(gradients["eager"].norm())
    assert size > 1e-3
    # both round to bfloat16, at different places
    assert float((gradients["compiled"] - gradients["eager"]).norm()) < 0.05 * size


def test_the_export_is_what_the_package_reads(small, tmp_path):
    training = trained(tmp_path)
    card = json.loads((tmp_path / "unet.json").read_text("utf-8"))
    image = np.random.default_rng(0).standard_normal((1, 16, 32), dtype=np.float32)

    read = NetworkDenoiser(tmp_path / "unet.safetensors", device="cpu", precision="float32").denoise(
        image, 1.0
    )

    average = small()
    average.load_state_dict({name: value.half().float() for name, value in training.average.items()})
    statistics = [torch.full((1, 1, 1, 1), float(value)) for value in (image.mean(), image.std())]
    with torch.no_grad():
        expected = average(torch.from_numpy(image)[None], *statistics)[0].numpy()
    np.testing.assert_allclose(read, expected, atol=1e-4)  # float32, the mean taken away before and after
    assert card["sha256"] == hashlib.sha256((tmp_path / "unet.safetensors").read_bytes()).hexdigest()
    assert card["steps"] == 8
    assert card["options"]["seed"] == 3
    assert card["layers"] == {"widths": [4, 6], "blocks": 1}
    assert set(card["gain_db"]) == {f"{contrast:g}" for contrast in train.VALIDATION_CONTRASTS}


def test_a_card_says_how_wide_the_network_is(small, tmp_path, monkeypatch):
    trained(tmp_path)
    monkeypatch.undo()

    assert NetworkDenoiser(tmp_path / "unet.safetensors", device="cpu")._network.layers["widths"] == [4, 6]


def test_training_goes_on_where_it_stopped(small, tmp_path):
    first = trained(tmp_path)
    second = train.Training(options(), tmp_path)
    second.resume()

    assert (second.steps, second.seconds, second.began_at_step) == (8, first.seconds, 8)
    for one, other in (
        (first.network.state_dict(), second.network.state_dict()),
        (first.average, second.average),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    moments = [training.optimizer.state_dict()["state"] for training in (first, second)]
    assert all(torch.equal(moments[0][k]["exp_avg"], moments[1][k]["exp_avg"]) for k in moments[0])
    second.run()
    assert second.steps == 16


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(small, tmp_path, monkeypatch):
    training = trained(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(state, path):
        path.write_bytes(b"half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        training.checkpoint()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_wider_network_begins_as_the_narrower_one(small, tmp_path, monkeypatch):
    trained(tmp_path)
    narrow, wide = train.Training(options(), tmp_path), None
    narrow.start_from(tmp_path / "unet.safetensors")

    class Wider(_networks.UNet):
        def __init__(self):
            super().__init__((7, 8), 1)

    monkeypatch.setitem(_networks.ARCHITECTURES, "unet", Wider)
    wide = train.Training(options(), tmp_path)
    wide.start_from(tmp_path / "unet.safetensors")

    x = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 1, 16, 32), dtype=np.float32))
    mean, deviation = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0)
    with torch.no_grad():  # the default tolerances: float32 sums in another order
        torch.testing.assert_close(wide.network(x, mean, deviation), narrow.network(x, mean, deviation))
    assert all(torch.equal(wide.average[name], value) for name, value in wide.network.state_dict().items())
    assert wide.started_from == hashlib.sha256((tmp_path / "unet.safetensors").read_bytes()).hexdigest()
    with pytest.raises(SystemExit, match="no weights of this architecture"):
        narrow.start_from(exported(wide, tmp_path / "wide"))


def exported(training, out):
    out.mkdir()
    training.out = out
    training.export()
    return out / "unet.safetensors"


def call_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    train.main()


SHORT = ("--steps", 2, "--scenes", 2, "--side", 32, "--patch", 16, "--batch", 1, "--engine", "eager")


def test_the_command_trains_goes_on_and_never_overwrites(small, tmp_path, monkeypatch, capsys):
    out = ("--device", "cpu", "--out", tmp_path / "run")
    call_main(monkeypatch, *SHORT, *out)
    call_main(monkeypatch, *SHORT, *out, "--resume")

    assert json.loads((tmp_path / "run" / "unet.json").read_text("utf-8"))["steps"] == 4
    with pytest.raises(SystemExit, match="2"):
        call_main(monkeypatch, *SHORT, *out)
    assert "holds a checkpoint; only --resume goes on from one" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        call_main(monkeypatch, *SHORT, "--out", tmp_path / "new", "--resume")
    with pytest.raises(SystemExit, match="2"):
        call_main(monkeypatch, *SHORT, "--out", tmp_path / "new", "--loss", "none")
    assert not (tmp_path / "new").exists()


def test_an_interrupt_leaves_a_checkpoint_and_an_export(small, tmp_path, monkeypatch):
    def interrupt(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.Training, "_step", interrupt)
    call_main(monkeypatch, *SHORT, "--device", "cpu", "--out", tmp_path)

    assert (tmp_path / "checkpoint.pt").exists()
    assert (tmp_path / "unet.safetensors").exists()
    assert "interrupted" in (tmp_path / "log.txt").read_text("utf-8")
