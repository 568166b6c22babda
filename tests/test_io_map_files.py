"""Datasets of maps as files: what is written is read back."""

import csv
import json

import numpy as np
import pytest
import tifffile
import xarray as xr

from xanesum.errors import ReadError, WriteError
from xanesum.io.map_files import read_maps, write_columns, write_maps, write_table

ENERGIES = 8340.0 + np.arange(12.0).reshape(3, 4) / 7
MASK = ENERGIES < 8341.3


@pytest.fixture
def maps():
    image = ("y", "x")
    return xr.Dataset(
        {
            "half_step_energy_ev": (image, ENERGIES),
            "half_step_sigma_ev": (image, np.full((3, 4), 0.25, np.float32)),
            "labels": (image, np.arange(12).reshape(3, 4)),
            "mask": (image, MASK),
            "state": (("particle",), np.array([1.5, np.nan])),
        },
        coords={"particle": [3, 7], "name": ("particle", ["a", "é"])},
        attrs={
            "kind": "half_step",
            "definition": "half of the step",
            "e0_ev": 8340.5,
            "pre_ev": (8200.0, 8300.0),
            "post_ev": None,
            "intervals_hold": False,
            "reasons": ["one", "two"],
        },
    )


ORIGIN = {"xanesum": "0.1.0", "input_digest": "abc", "options": {"e0": 1.0}}


def test_the_hdf5_file_gives_everything_back(maps, tmp_path):
    write_maps(maps, tmp_path, "map", provenance=ORIGIN)

    found = read_maps(tmp_path / "map.h5")

    for name in maps.variables:
        np.testing.assert_array_equal(found[name].values, maps[name].values)
        assert found[name].dims == maps[name].dims
    assert set(found.coords) == set(maps.coords)
    assert found.attrs["reasons"] == ["one", "two"]
    assert found.attrs["pre_ev"] == [8200.0, 8300.0]
    assert found.attrs["provenance"] == ORIGIN


def test_each_map_is_a_float32_tiff_with_its_definition(maps, tmp_path):
    files = write_maps(maps, tmp_path, "map", provenance=ORIGIN)

    with tifffile.TiffFile(tmp_path / "map_half_step_energy_ev.tif") as file:
        image, text = file.asarray(), file.pages.first.description
    labels = tifffile.imread(tmp_path / "map_labels.tif")
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.where(MASK, ENERGIES, np.nan), rtol=1e-7)
    assert json.loads(text)["definition"] == "half of the step"
    assert json.loads(text)["input_digest"] == "abc"
    assert labels.dtype == np.int32
    assert (labels == np.arange(12).reshape(3, 4)).all()
    assert {path.name for path in files} == {path.name for path in tmp_path.iterdir()}


def test_the_summary_has_the_numbers_of_the_map(maps, tmp_path):
    write_maps(maps, tmp_path, "map", provenance=ORIGIN)

    lines = (tmp_path / "map_summary.csv").read_text("utf-8").splitlines()
    (row,) = csv.DictReader(line for line in lines if not line.startswith("#"))
    assert row["map"] == "half_step_energy_ev"
    assert row["unit"] == "eV"
    assert int(row["pixels"]) == MASK.sum()
    assert float(row["median"]) == pytest.approx(np.median(ENERGIES[MASK]))
    assert float(row["standard error, median"]) == 0.25
    assert lines[0] == "# half of the step"
    assert "# input_digest: abc" in lines
    assert "# the stated errors may not hold: two" in lines


@pytest.mark.parametrize("stem", ["", "../map", "a b", "-x", "x" * 61, "a/b"])
def test_a_name_that_is_none_for_a_file_is_refused(maps, tmp_path, stem):
    with pytest.raises(WriteError, match="part of a file's name"):
        write_maps(maps, tmp_path, stem)

    assert list(tmp_path.iterdir()) == []


def test_columns_are_read_by_others_and_have_no_gaps(tmp_path):
    columns = {"energy": np.array([1.0, 2.0, 3.0]), "mu": np.array([0.5, np.nan, 0.25])}

    path = write_columns(tmp_path / "mean.dat", columns, notes=["two\nlines"])

    np.testing.assert_array_equal(np.loadtxt(path), [[1.0, 0.5], [3.0, 0.25]])
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "# two lines"
    assert lines[2] == "# energy  mu"  # the last line of the head names the columns


def test_cells_that_are_not_known_are_empty(tmp_path):
    path = write_table(tmp_path / "table.csv", ["a", "b"], [[np.nan, np.float32(0.5)], [True, "x,y"]])

    assert path.read_text("utf-8").splitlines() == ["a,b", ",0.5", 'True,"x,y"']


def test_what_is_no_file_of_maps_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("nothing")
    for path, message in ((tmp_path / "none.h5", "no such file"), (tmp_path / "text.h5", "text.h5")):
        with pytest.raises(ReadError, match=message):
            read_maps(path)
