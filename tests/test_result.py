"""A saved result is loaded whole, or refused in one line that says which part is wrong."""

import shutil

import h5py
import numpy as np
import pytest
from scans import add_noise, low_rank

from xanesum.cli.main import main
from xanesum.errors import ReadError
from xanesum.io import describe
from xanesum.method.denoising import denoise
from xanesum.result import ARRAYS, MAY_BE_NAN, SIGNED, is_result, load_result
from xanesum.stack import make_stack


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    noisy = add_noise(low_rank(n_energies=12, shape=(20, 24)), 1.0)
    stack = make_stack(noisy, 8300.0 + np.arange(12))
    return denoise(stack, rank=2, denoiser="none", n_probes=1).save(tmp_path_factory.mktemp("r") / "whole.h5")


@pytest.fixture
def tampered(saved, tmp_path):
    """Return a copy of the result in which the values of one array are replaced by a function of them."""

    def tamper(name, change):
        path = shutil.copy(saved, tmp_path / "result.h5")
        with h5py.File(path, "a") as file:
            group = file["entry"]
            for part in (f"{name}/data", name):
                if part in group and isinstance(group[part], h5py.Dataset):
                    values = change(group[part][()])
                    if (
                        np.shape(values) == group[part].shape
                        and np.asarray(values).dtype == group[part].dtype
                    ):
                        group[part][...] = values
                        break
                    del group[part]
                    if values is not None:
                        group[part] = values
                    break
        return path

    return tamper


def put(value):
    """Return a change of the first value."""

    def change(values):
        values.flat[0] = value
        return values

    return change


def test_the_whole_result_is_loaded(saved):
    assert is_result(saved)
    assert load_result(saved).rank == 2


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values[..., :-1], "values along|conflicting sizes"),
        (lambda values: None, "doesn't exist|data"),
        (lambda values: values[None], "axes|dimension"),
        (put(np.inf), "holds values that are no finite numbers"),
        (lambda values: values.astype("S"), "no finite numbers"),
    ],
    ids=["cut", "gone", "one axis more", "infinite", "text"],
)
def test_a_wrong_array_is_no_whole_result(tampered, name, change, said):
    path = tampered(name, change)
    assert is_result(path)
    with pytest.raises(ReadError, match=rf"result\.h5: not a whole xanesum result: .*({said})") as caught:
        load_result(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(ARRAYS) - set(MAY_BE_NAN)))
def test_values_that_are_missing_are_refused(tampered, name):
    with pytest.raises(ReadError, match=f"{name} holds values that are no finite numbers"):
        load_result(tampered(name, put(np.nan)))


@pytest.mark.parametrize("name", sorted(set(ARRAYS) - set(SIGNED)))
def test_errors_below_zero_are_refused(tampered, name):
    with pytest.raises(ReadError, match=f"not a whole xanesum result: {name} holds values below 0"):
        load_result(tampered(name, put(-1.0)))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sigma", np.nan, "sigma is nan"),
        ("sigma", -1.0, "sigma is -1"),
        ("spectra/energy", np.arange(12.0)[::-1], "energies do not increase"),
        ("process/attrs", '{"quantity": "magic"}', "its quantity is 'magic'"),
        ("process/attrs", "[]", "no attribute|attribute 'get'"),
        ("process/reasons", "[1, 2]", "its record of options and reasons"),
        ("process/provenance", "{", "Expecting"),
    ],
)
def test_a_wrong_number_or_record_is_no_whole_result(tampered, name, value, said):
    with pytest.raises(ReadError, match=f"not a whole xanesum result: .*({said})"):
        load_result(tampered(name, lambda values: value))


def test_the_command_says_it_and_does_not_take_the_file_for_a_scan(tampered, tmp_path, capsys):
    path = tampered("coefficients", lambda values: values[..., :-1])
    assert main(["map", str(path), "-o", str(tmp_path / "map.tif")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "not a whole xanesum result: " in line
    assert not (tmp_path / "map.tif").exists()


def test_a_result_is_no_scan(saved):
    with pytest.raises(ReadError, match=r"whole\.h5: is a saved result of xanesum, not a scan"):
        describe(saved)


def test_other_files_are_no_results(tmp_path):
    (tmp_path / "text.h5").write_text("no result")
    assert not any(is_result(path) for path in (tmp_path / "text.h5", tmp_path, tmp_path / "gone.h5"))
