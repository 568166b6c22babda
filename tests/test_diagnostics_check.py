"""The verdict before denoising: a good scan is called good, and each fault by its name."""

import json

import numpy as np
import pytest
from scans import add_noise
from scipy.ndimage import shift

from xanesum.cli import main as cli
from xanesum.diagnostics.check import VERDICTS, check_scan
from xanesum.io import write_stack
from xanesum.phantom import expose, simulate
from xanesum.preprocess import prepare
from xanesum.stack import make_stack

PHANTOM = simulate("brine", shape=(72, 88), n_energies=60)
CLEAN = PHANTOM.clean()


def noisy(sigma=10.0, values=CLEAN.values):
    return make_stack(add_noise(values, sigma), PHANTOM.energy_ev)


def found(stack, **options):
    return {finding.name: finding for finding in check_scan(stack, **options)}


@pytest.fixture(scope="module")
def good():
    return found(noisy())


def test_a_good_scan_is_called_good(good):
    assert list(good) == ["dose", "energies", "frames", "light", "sample", "gain"]
    assert {finding.verdict for finding in good.values()} == {"good"}
    assert good["dose"].figures["sigma"] == pytest.approx(10, rel=0.03)
    assert good["dose"].figures["open_counts"] is None
    assert good["energies"].figures["edge_ev"] == pytest.approx(8342, abs=4)
    assert good["gain"].figures["exposure_gain"] > 3
    assert good["gain"].figures["map_error_ev"] < 0.5


@pytest.mark.parametrize(("sigma", "verdict"), [(150.0, "note"), (2000.0, "bad")])
def test_too_little_light(sigma, verdict):
    assert found(noisy(sigma))["dose"].verdict == verdict


@pytest.mark.parametrize("pixels", [0.8, 3.0])
def test_a_sample_that_moves(pixels):
    moved = [
        shift(frame, (pixels * e / 59, 0), order=1, mode="nearest") for e, frame in enumerate(CLEAN.values)
    ]

    scan = found(noisy(values=np.array(moved, np.float32)))

    sample = scan["sample"]
    assert sample.verdict == "note"
    assert sample.figures["moved_px"] == pytest.approx(pixels, rel=0.25)
    assert sample.figures["p_still"] < 0.01
    assert "aligned" in sample.text
    assert scan["gain"].figures["n_components"] < 6  # it was judged with frames that are aligned


@pytest.mark.parametrize("drift", [0.0, 0.03])
def test_light_that_drifts(drift):
    scan = expose(PHANTOM, 400.0, flat_drift=drift, rng=np.random.default_rng(4))

    light = found(prepare(scan.stack)[0])["light"]

    assert light.verdict == ("note" if drift else "good")
    assert light.figures["drift_rms"] == pytest.approx(drift, rel=0.2, abs=0.003)


def test_energies_that_do_not_suffice():
    below = found(noisy()[PHANTOM.energy_ev < 8355])["energies"]
    near = np.abs(PHANTOM.energy_ev - 8342) < 12
    coarse = found(noisy()[~near | (np.arange(60) % 4 == 0)])["energies"]

    assert below.verdict == coarse.verdict == "note"
    assert "white line" in below.text
    assert "few for the shape" in coarse.text


def test_what_is_left_out_is_counted():
    weight, mask = np.ones(60), np.ones((48, 60), bool)
    weight[[3, 20]], mask[:5] = 0, False
    stack = noisy(values=CLEAN.values[:, 12:60, 14:74])
    stack = stack.assign_coords(weight=("energy", weight), mask=(("y", "x"), mask))

    frames = found(stack)["frames"]

    assert frames.figures == {"n_frames_left_out": 2, "share_of_pixels_left_out": pytest.approx(10 / 96)}
    assert f"{PHANTOM.energy_ev[3]:.1f}" in frames.text
    weight[:10] = 0
    assert found(stack.assign_coords(weight=("energy", weight)))["frames"].verdict == "bad"


def test_a_scan_without_an_edge_has_no_gain():
    flat = make_stack(add_noise(np.ones((30, 64, 64), np.float32), 1.0), np.linspace(8300, 8400, 30))

    assert found(flat)["gain"].verdict != "good"


def test_the_command_prints_lines_or_json(tmp_path, capsys):
    phantom = simulate("brine", shape=(40, 48), n_energies=40)
    scan = expose(phantom, 400.0, flat_drift=0.0, rng=np.random.default_rng(4))
    path = write_stack(scan.stack, tmp_path / "scan.h5")

    assert cli.main(["check", str(path)]) == 0
    lines = capsys.readouterr().out
    assert cli.main(["check", str(path), "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)

    for name in ("dose", "energies", "frames", "light", "sample", "gain"):
        assert f"\n{name}" in f"\n{lines}"
        assert parsed[name]["verdict"] in VERDICTS
    assert parsed["dose"]["open_counts"] == pytest.approx(400, rel=0.1)
    assert "verdict: " in lines
    assert [p.name for p in tmp_path.iterdir()] == ["scan.h5"]
    assert cli.main(["check", str(tmp_path / "none.h5")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
