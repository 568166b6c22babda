"""A saved result is whole or refused; it is shown in ten lines, and by a table in notebooks."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scans import add_noise

import xanesum as xs
from xanesum.cli import main as cli
from xanesum.errors import ReadError, RecipeError
from xanesum.phantom import simulate
from xanesum.result import ARRAYS, load_result

PHANTOM = simulate("brine", shape=(24, 32), n_energies=40)
STACK = PHANTOM.clean().copy(data=add_noise(PHANTOM.clean().values, 10))
RESULT = xs.denoise(STACK, denoiser="none")


@pytest.fixture
def saved(tmp_path):
    return RESULT.save(tmp_path / "result.sum.h5")


def replaced(entry, name, change):
    values = change(entry[name]["data"][()])
    del entry[name]["data"]
    entry[name]["data"] = values


def cut_last(values):
    return values[..., :-1]


def with_nan(values):
    values = values.copy()
    values.flat[0] = np.nan
    return values


@pytest.mark.parametrize("name", [name for name in ARRAYS if name not in ("sigma_common", "hidden_spectrum")])
def test_an_array_that_does_not_fit_is_refused(saved, name):
    with h5py.File(saved, "r+") as file:
        replaced(file["entry"], name, cut_last)
    with pytest.raises(ReadError, match=r"not a (whole )?xanesum result"):
        load_result(saved)


@pytest.mark.parametrize("name", ["coefficients", "error_images", "error_mixing", "hidden_size"])
def test_values_that_are_not_finite_are_refused(saved, name, capsys, tmp_path):
    with h5py.File(saved, "r+") as file:
        replaced(file["entry"], name, with_nan)

    assert cli.main(["map", str(saved), "-o", str(tmp_path / "m.h5")]) == 1
    assert f"not a whole xanesum result: {name} holds 1 values that are not finite" in capsys.readouterr().err


@pytest.mark.parametrize("change", [np.negative, lambda values: values + np.float32(1e35)])
def test_absurd_errors_are_refused(saved, change):
    with h5py.File(saved, "r+") as file:
        replaced(file["entry"], "error_images", change)
    with pytest.raises(ReadError, match="error_images holds values that no error can have"):
        load_result(saved)


@pytest.mark.parametrize("name", ["coefficients", "risk", "sigma", "process"])
def test_a_missing_part_is_named_and_the_file_is_no_scan(saved, name, capsys, tmp_path):
    with h5py.File(saved, "r+") as file:
        del file["entry"][name]

    assert cli.main(["map", str(saved), "-o", str(tmp_path / "m.h5")]) == 1
    assert f"not a whole xanesum result: it lacks {name}" in capsys.readouterr().err


def test_other_parts_that_were_changed(saved):
    for name, value in (("attrs", json.dumps({})), ("attrs", "[]"), ("provenance", "3")):
        RESULT.save(saved)
        with h5py.File(saved, "r+") as file:
            del file["entry/process"][name]
            file["entry/process"][name] = value
        with pytest.raises(ReadError, match="not a whole xanesum result: it does not say"):
            load_result(saved)
    RESULT.save(saved)
    with h5py.File(saved, "r+") as file:
        file["entry/sigma"][()] = np.nan
    with pytest.raises(ReadError, match="sigma is nan"):
        load_result(saved)
    RESULT.save(saved)
    with h5py.File(saved, "r+") as file:
        file["entry/spectra/energy"][...] = file["entry/spectra/energy"][()][::-1]
    with pytest.raises(ReadError, match="energies are not in order"):
        load_result(saved)


def test_a_result_is_shown_in_ten_lines_and_in_a_table():
    lines = repr(RESULT).splitlines()
    table = RESULT._repr_html_()

    assert len(lines) == 10
    assert lines[1].split(maxsplit=1) == ["images", "24 x 32 px (y, x)"]
    assert f"sigma {RESULT.sigma:.4g}, the same everywhere" in lines[4]
    left = np.sqrt(float(RESULT.components["risk"].values[: RESULT.rank].sum()) / 40)
    assert f"{left:.3g} (estimated), {RESULT.sigma / left:.2g} times less" in lines[6]
    assert "hold as far as tests tell" in lines[8]
    assert max(map(len, lines)) < 110
    assert "components</th>" in table
    assert "hold as far as tests tell" in table
    doubted = replace(RESULT, reasons=("the <light> changed and " + "on " * 40, "another"))
    assert "may not hold: the <light> changed" in repr(doubted)
    assert repr(doubted).splitlines()[8].endswith(" ..., and 1 more (.reasons)")
    assert len(repr(doubted).splitlines()) == 10
    assert "the &lt;light&gt; changed" in doubted._repr_html_()


def test_a_seed_may_stand_for_the_generator():
    small = STACK[:, :16, :16]
    of_seed, of_generator = (
        xs.denoise(small, denoiser="none", rng=rng) for rng in (3, np.random.default_rng(3))
    )

    np.testing.assert_array_equal(of_seed.coefficients.values, of_generator.coefficients.values)
    for wrong in (-1, 2.5, "3", True):
        with pytest.raises(RecipeError, match=r"rng must be a numpy\.random\.Generator, or a whole number"):
            xs.denoise(small, denoiser="none", rng=wrong)
