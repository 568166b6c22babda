"""Scans of two to four energies, scans that begin at the edge, and options that a scan cannot have."""

import json

import h5py
import numpy as np
import pytest

import xanesum as xs
from xanesum.cli import main as cli
from xanesum.diagnostics.check import MOST_ENERGIES, check_scan
from xanesum.io import write_stack
from xanesum.stack import make_stack
from xanesum.xanes import chemical_map, edge_step
from xanesum.xanes.normalization import edge_ranges, judged_ranges

ENERGY = np.r_[np.arange(8300.0, 8330, 3), np.arange(8330, 8358, 0.75), np.arange(8358, 8421, 5)]
Y, X = np.mgrid[:36, :52]
INSIDE = ((Y - 18) / 16) ** 2 + ((X - 26) / 22) ** 2 < 1
SIGMA = 0.03


def spectrum(energy, e0=8340.0):
    t = (energy - e0) / 1.5
    return 0.55 + np.arctan(t) / np.pi + 0.5 * np.exp(-0.5 * ((energy - e0 - 4) / 2) ** 2)


def scan(energy, seed=0):
    clean = 0.8 * INSIDE * spectrum(np.asarray(energy))[:, None, None]
    noise = SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)
    return make_stack((clean + noise).astype(np.float32), energy)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return write_stack(scan([8320.0, 8350.0]), tmp_path_factory.mktemp("two") / "two.h5")


@pytest.mark.parametrize("energy", [(8320, 8350), (8320, 8350, 8400), (8300, 8320, 8350, 8400)])
def test_a_few_energies_get_a_verdict(energy):
    found = {finding.name: finding for finding in check_scan(scan(np.array(energy, float)))}

    assert found["energies"].verdict == "note"
    assert "edge taken at 8335.0 eV; so few give a map of the edge step only" in found["energies"].text
    assert found["sample"].text == "stands still"
    assert found["gain"].figures["exposure_gain"] > 1
    assert found["gain"].figures["map_error_ev"] is None


def test_the_edge_step_is_right_within_its_error():
    energy = np.array([8300.0, 8320, 8350, 8400])
    maps = chemical_map(xs.denoise(scan(energy), denoiser="wavelet"))
    true = 0.8 * INSIDE * (spectrum(energy[2:]).mean() - spectrum(energy[:2]).mean())

    assert maps.attrs["kind"] == "edge_step"
    assert maps.attrs["e0_ev"] == 8335
    deviation = (maps["edge_step"].values - true) / maps["edge_step_sigma"].values
    assert float(np.sqrt(np.mean(deviation**2))) == pytest.approx(1, abs=0.35)
    np.testing.assert_array_equal(maps["mask"].values, INSIDE)


def test_the_edge_step_of_a_plain_stack_and_of_given_ranges():
    """Of few energies, means; of enough, lines at e0."""
    few, stack = np.array([8300.0, 8320.0, 8385.0, 8420.0]), scan(ENERGY)
    ranges = {"pre_ev": (8300, 8320), "post_ev": (8380, 8420)}
    of_few, of_many = edge_step(scan(few), **ranges), edge_step(stack, **ranges)

    values = scan(few).values
    np.testing.assert_allclose(
        of_few["edge_step"].values, values[2:].mean(axis=0) - values[:2].mean(axis=0), atol=1e-5
    )
    at_e0 = []
    for inside in (ENERGY <= 8320, ENERGY >= 8380):
        from_e0 = ENERGY[inside] - of_many.attrs["e0_ev"]
        at_e0.append(np.polyfit(from_e0, stack.values[inside].reshape(len(from_e0), -1).astype(float), 1)[1])
    expected = (at_e0[1] - at_e0[0]).reshape(stack.shape[1:])
    np.testing.assert_allclose(of_many["edge_step"].values, expected, atol=1e-4)
    for maps in (of_few, of_many):
        assert np.isnan(maps["edge_step_sigma"].values).all()


def test_a_run_of_two_energies_says_that_nothing_was_tested(two, tmp_path, capsys):
    assert cli.main(["run", str(two), "-o", str(tmp_path / "out"), "--denoiser", "wavelet"]) == 0

    said = capsys.readouterr()
    assert "edge step map: median" in said.out
    assert "cannot be tested" in said.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"map.h5", "edge_step.tif"} <= names
    assert "map.tif" not in names  # it would be the same image
    trust = json.loads((tmp_path / "out" / "trust.json").read_text())
    assert trust["is_tested"] is False
    assert trust["signal_lost"] is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert "cannot be tested" in page
    assert "none found" not in page
    with h5py.File(tmp_path / "out" / "map.h5") as file:
        assert file["entry/data"].attrs["signal"] == "edge_step"


def test_the_map_of_two_energies_is_one_tiff(two, tmp_path):
    assert cli.main(["map", str(two), "-o", str(tmp_path / "m.tif"), "--denoiser", "none"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m.tif"]


def test_repetitions_of_two_energies_are_refused(two, tmp_path, capsys):
    assert cli.main(["run", str(two), "-o", str(tmp_path / "out"), "--bootstrap", "3"]) == 1
    assert "give a map of the edge step" in capsys.readouterr().err


def test_a_scan_that_nowhere_rises_gets_a_verdict():
    falling = scan(ENERGY)
    falling = falling.copy(
        data=falling.values * 0.01 + np.linspace(9, 0, len(ENERGY), dtype="f4")[:, None, None]
    )
    found = {finding.name: finding for finding in check_scan(falling)}

    assert found["energies"].verdict == "bad"
    assert "no edge was found" in found["energies"].text
    assert found["gain"].figures["exposure_gain"] is None


def test_check_takes_the_edge_that_is_given(two, capsys):
    assert cli.main(["check", str(two), "--e0", "8340"]) == 0
    assert "edge taken at 8340.0 eV" in capsys.readouterr().out


def test_check_looks_at_some_of_many_energies():
    energy = np.linspace(8300, 8420, 241)
    found = {finding.name: finding for finding in check_scan(scan(energy)[:, 10:26, 10:26])}

    assert len(energy) > MOST_ENERGIES
    assert found["energies"].figures["n_energies"] == 241
    assert found["energies"].figures["n_near_edge"] in (40, 41)
    assert found["dose"].figures["sigma"] == pytest.approx(SIGMA, rel=0.05)


# --- options that a scan cannot have


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--e0", "-5"], "e0 = -5 eV lies outside the scan (8300 ... 8418 eV) (--e0)"),
        (["--e0", "9000"], "lies outside the scan"),
        (["--pre", "8400:8300"], "lower end first (--pre)"),
        (["--post", "8390:8391"], "holds 0 energies"),
        (["--post", "8300:8400"], "no energy lies below it (--post)"),
        (["--pre", "8330:8420"], "no energy lies beyond it (--pre)"),
        (["--pre", "8300:8350", "--post", "8340:8400"], "beyond the beginning of the post-edge range"),
        (["--e0", "8340", "--pre", "8300:8345"], "must end below e0 = 8340 eV"),
        (["--pre", "8300:8390"], "must end below e0 = 83"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "map"])
def test_wrong_options_are_errors_before_the_work(verb, options, said, tmp_path, capsys, monkeypatch):
    path = write_stack(scan(ENERGY), tmp_path / "s.h5")
    monkeypatch.setattr("xanesum.workflow.pipeline.align_scan", None)  # the work would call it

    assert (
        cli.main([verb, str(path), "-o", str(tmp_path / ("out" if verb == "run" else "out.h5")), *options])
        == 1
    )

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]


# --- scans that begin shortly below the edge, or at it


@pytest.mark.parametrize("first", [8334.0, 8336.0, 8338.0])
def test_a_pre_edge_in_which_the_edge_rises_is_not_used(first):
    stack = scan(ENERGY[first <= ENERGY])
    maps = chemical_map(xs.denoise(stack, denoiser="wavelet"))

    assert maps.attrs["kind"] == "white_line"
    energies = {finding.name: finding for finding in check_scan(stack)}["energies"]
    assert "too few below it" in energies.text


@pytest.mark.parametrize("first", [8300.0, 8321.0, 8324.0])
def test_a_short_pre_edge_has_errors_that_hold(first):
    maps = chemical_map(xs.denoise(scan(ENERGY[first <= ENERGY]), denoiser="wavelet"))
    whole = chemical_map(scan(ENERGY) * 0 + (0.8 * INSIDE * spectrum(ENERGY)[:, None, None]).astype("f4"))

    assert maps.attrs["kind"] == "half_step"
    bias, error = (
        float(np.median(each.values[INSIDE]))
        for each in (maps["half_step_energy_ev"] - whole["half_step_energy_ev"], maps["half_step_sigma_ev"])
    )
    assert abs(bias) < 2 * error


def test_a_pre_edge_range_that_is_given_is_used():
    energy = ENERGY[ENERGY >= 8336]
    given = edge_ranges(energy, 8341.0, pre_ev=(8336.0, 8338.0))

    assert judged_ranges(energy, spectrum(energy), given) == (given, 0.0)


# --- small images, and little memory


@pytest.mark.parametrize("part", [np.s_[:, 14:22, 22:30], np.s_[:, :, 26:27], np.s_[:, 18:19]])
def test_small_images_and_line_scans_run(part, tmp_path, capsys):
    path = write_stack(scan(ENERGY)[part], tmp_path / "s.h5")

    assert cli.main(["run", str(path), "-o", str(tmp_path / "out"), "--denoiser", "wavelet"]) == 0

    said = capsys.readouterr().out
    assert "not looked for: images of less than 16 x 16 px" in said
    sigma = float(said.split("sigma ")[1].split()[0])
    assert sigma == pytest.approx(SIGMA, rel=0.1)


def test_less_memory_than_the_program_takes_is_said_beforehand(two, tmp_path, capsys):
    options = ["--denoiser", "wavelet", "--memory", "200MB"]
    assert cli.main(["run", str(two), "-o", str(tmp_path / "out"), *options]) == 0
    assert (
        "200MB of memory cannot be kept: a run of this scan takes at least 0.6 GB" in capsys.readouterr().err
    )
