"""The scan that comes with the package is what its script makes, and small."""

from pathlib import Path

import example_scan
import h5py
import numpy as np
import pytest

import xanesum as xs
from xanesum.cli.main import main

SIZE = (example_scan.N_ENERGIES, *example_scan.SHAPE)


@pytest.fixture(scope="module")
def made():
    return example_scan.simulate_example()


def test_it_is_small_and_holds_what_a_beamline_writes():
    path = xs.example_scan()

    assert path.stat().st_size < 2e6
    with h5py.File(path) as file:
        exchange = file["exchange"]
        assert exchange["data"].shape == SIZE
        assert {name: exchange[name].dtype for name in ("data", "data_white", "data_dark")} == dict.fromkeys(
            ("data", "data_white", "data_dark"), np.uint16
        )


def test_counts_are_those_of_the_phantom_and_their_noise_is_that_of_the_camera(made):
    """The same draws would differ by rounding on another processor, so their law is compared."""
    camera = example_scan.CAMERA
    with h5py.File(xs.example_scan()) as file:
        counts = file["exchange/data"][:].astype(float)
    mean = made.exposure.illumination * np.exp(-made.exposure.density.astype(float))
    variance = camera.gain * mean + camera.read_variance + 1 / 12  # counts are whole numbers
    score = (counts - camera.offset - mean) / np.sqrt(variance)
    n = score.size

    assert abs(score.mean()) < 5 / np.sqrt(n)
    assert abs(score.var() - 1) < 0.01  # 740 000 values: the error is 0.0016, and more by rare photons
    assert np.abs(score.mean(axis=(1, 2))).max() < 6 / np.sqrt(n / len(score))


def test_the_script_writes_the_same_file(made, tmp_path):
    camera = example_scan.CAMERA
    example_scan.write(made.exposure, tmp_path / "again.h5")

    with h5py.File(xs.example_scan()) as shipped, h5py.File(tmp_path / "again.h5") as again:
        names = []
        shipped.visit(names.append)
        others = []
        again.visit(others.append)
        assert names == others
        np.testing.assert_array_equal(shipped["exchange/energy"][:], again["exchange/energy"][:])
        for name in ("data", "data_white", "data_dark"):
            assert dict(shipped["exchange"][name].attrs) == dict(again["exchange"][name].attrs)
            one, two = (file["exchange"][name][:].astype(float) for file in (shipped, again))
            # equal, or drawn again by the same law: a photon that rounding moves changes all later draws
            light = np.maximum((one + two) / 2 - camera.offset, 0)
            score = (one - two) / np.sqrt(2 * (camera.gain * light + camera.read_variance + 1 / 12))
            assert np.mean(score**2) < 1.02, name
            assert abs(score.mean()) < 6 / np.sqrt(score.size), name


def test_it_is_read_with_flats_darks_and_the_law_of_the_noise():
    stack = xs.read_stack(xs.example_scan())  # a warning would fail the test: nothing has to be assumed

    assert stack.shape == SIZE
    assert stack.attrs["quantity"] == "counts"
    assert "quantity_assumed" not in stack.attrs
    assert stack.attrs["pixel_size_nm"] == example_scan.PIXEL_SIZE_NM
    assert {"flat", "dark", "noise_gain", "noise_read_variance"} <= set(stack.coords)
    assert float(stack["noise_gain"][0]) == pytest.approx(example_scan.CAMERA.gain, rel=0.1)


def test_the_sample_moves_as_far_as_is_said(made):
    shifts = made.sample.motion.shifts_px
    middle = (shifts.max(axis=0) + shifts.min(axis=0)) / 2
    drift = np.abs(example_scan.DRIFT_PX) / 2

    assert np.all(np.abs(shifts - middle) <= example_scan.JITTER_PX + drift)
    assert np.all(np.abs(np.diff(shifts, axis=0)).max(axis=0) > 1)


def test_the_command_copies_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert main(["example", "-o", "scan.h5"]) == 0
    assert capsys.readouterr().out == "scan: scan.h5\n"
    assert Path("scan.h5").read_bytes() == xs.example_scan().read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "example.h5: is there already; name another output"),
        (["-o", "scan.tif"], "use one of .h5, .hdf5"),
        (["-o", "nowhere/scan.h5"], "nowhere"),
    ],
)
def test_the_command_refuses_in_one_line(options, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("example.h5").write_text("mine", "utf-8")

    assert main(["example", *options]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert Path("example.h5").read_text("utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["example.h5"]
