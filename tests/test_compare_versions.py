"""The comparison of two versions sees a difference that is there, and none where there is none."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "compare_versions.py"
if not TOOL.exists():
    pytest.skip("no folder of tools here", allow_module_level=True)
SPEC = importlib.util.spec_from_file_location("compare_versions", TOOL)
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


def written(folder, **changed):
    arrays = {
        "spectra": np.linspace(-2, 2, 12).reshape(3, 4),
        "map/half_step_energy_ev": np.array([[8340.0, np.nan], [8341.0, np.inf]], np.float32),
        "map/mask": np.array([True, False]),
        "trust/signal_lost_place": np.array("shift"),
        "empty": np.zeros((0, 4)),
        **changed,
    }
    folder.mkdir()
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "scan.npz", seconds=np.array(len(arrays) + len(folder.name)), **arrays)
    return folder


def compared(tmp_path, **changed):
    old, new = written(tmp_path / "old"), written(tmp_path / "newer", **changed)
    return tool.compare_folders(old, new, ["scan"])[0]


def test_the_same_arrays_agree_to_the_bit_whatever_the_time_they_took(tmp_path):
    assert compared(tmp_path) == (5, 5, 0.0, "", ())


@pytest.mark.parametrize(("size", "agrees"), [(1e-9, True), (1e-5, False)])
def test_a_planted_difference_is_found_named_and_judged(tmp_path, size, agrees):
    spectra = np.linspace(-2, 2, 12).reshape(3, 4)
    spectra[1, 2] += 2 * size

    found = compared(tmp_path, spectra=spectra)

    assert (found.n_arrays, found.n_identical, found.where) == (5, 4, "spectra")
    assert found.largest == pytest.approx(size, rel=1e-4)
    assert tool.agrees(found) is agrees


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"spectra": np.zeros((3, 5))}, "spectra: shape (3, 4) in the old version, (3, 5) in the new one"),
        ({"spectra": None}, "spectra: only in the old version"),
        ({"further": np.ones(2)}, "further: only in the new version"),
        ({"trust/signal_lost_place": np.array("smoothed")}, "trust/signal_lost_place: other text"),
        ({"map/half_step_energy_ev": np.full((2, 2), 8340.0)}, "map/half_step_energy_ev: other text, NaN"),
    ],
    ids=["shape", "lost", "new", "text", "nan"],
)
def test_what_cannot_be_compared_is_named(tmp_path, changed, said):
    found = compared(tmp_path, **changed)

    assert found.problems[0].startswith(said)
    assert not tool.agrees(found)


def test_one_pixel_of_a_mask_and_a_kind_of_number_count_as_differences(tmp_path):
    found = compared(
        tmp_path,
        **{"map/mask": np.array([True, True]), "empty": np.zeros((0, 4), np.float32)},
    )

    assert (found.n_identical, found.largest, found.where) == (3, 1.0, "map/mask")


def test_a_scan_that_one_version_did_not_finish_is_no_agreement(tmp_path):
    old, new = written(tmp_path / "old"), tmp_path / "new"

    found = tool.compare_folders(old, new, ["scan"])[0]

    assert "no arrays of the version in new" in found.problems[0]
    assert not tool.agrees(found)


def test_a_folder_without_source_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="neither a Python interpreter nor a folder"):
        tool.main(["--old", str(tmp_path)])
