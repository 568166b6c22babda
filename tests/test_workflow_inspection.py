"""`xanesum info --json` is a contract: its keys, their types, and that a run does what it says."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from io_files import small_stack
from scans import edge_stack

from xanesum.cli import main as cli
from xanesum.io import write_stack
from xanesum.workflow.inspection import inspect_scan
from xanesum.workflow.loading import load_scan
from xanesum.workflow.recipe import InputOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
NUMBER, TEXT = (int, float), (str, type(None))
MAYBE = (int, float, type(None))
CONTRACT = {
    "scan": str, "format": str, "format_description": str, "dataset": TEXT, "shape.energy": int,
    "shape.y": int, "shape.x": int, "stored_dtype": str, "bytes_in_memory": int, "chunks.energy": int,
    "chunks.y": int, "chunks.x": int, "axes.in_file": list, "axes.assumed": bool, "energies.count": int,
    "energies.min_ev": MAYBE, "energies.max_ev": MAYBE, "energies.source": TEXT,
    "energies.kev_assumed": bool, "quantity.value": str, "quantity.assumed": bool, "quantity.why": str,
    "quantity.run_takes": TEXT, "i0.source": TEXT, "i0.text": str, "coordinates": dict,
    "pixel_size_nm": MAYBE, "saturation_counts": MAYBE, "choices": list, "history": list, "notes": list,
    "problem": TEXT,
}  # fmt: skip
OPEN = ("coordinates",)  # objects whose keys are names of the file
EDGE_EV = 8340.0 + np.zeros((12, 14))


def flat_keys(facts):
    """Return {"a.b": value} of nested objects."""
    found = {}
    for key, value in facts.items():
        if isinstance(value, dict) and key not in OPEN:
            found |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            found[key] = value
    return found


def info(capsys, *arguments):
    assert cli.main(["info", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def several_entries(path):
    """Write a NeXus file with two entries of two detectors, and a further dataset."""
    with h5py.File(path, "w") as file:
        file["extra/movie"] = np.ones((3, 12, 14), np.float32)
        for entry in ("entry1", "entry2"):
            group = file.create_group(entry)
            group.attrs["NX_class"] = "NXentry"
            for detector in ("counter0", "counter1"):
                data = group.create_group(detector)
                data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["energy", "y", "x"]})
                data["data"], data["energy"] = np.ones((9, 12, 14), np.uint16), 8300.0 + np.arange(9.0)
    return path


@pytest.fixture
def scans(tmp_path):
    """Scans of many kinds: declared, assumed, without energies, with several entries."""
    density = edge_stack(EDGE_EV, n_energies=40)
    native = write_stack(density, tmp_path / "native.h5")
    values = density.values - density.values.min()
    tifffile.imwrite(tmp_path / "counts.tif", (1000 * np.exp(-values)).astype(np.uint16))
    np.savetxt(tmp_path / "counts_energies.txt", density.energy.values / 1e3)
    tifffile.imwrite(tmp_path / "bare.tif", np.ones((5, 6, 7), np.float32))
    return {
        "native": native,
        "counts": tmp_path / "counts.tif",
        "bare": tmp_path / "bare.tif",
        "entries": several_entries(tmp_path / "entries.nxs"),
    }


@pytest.mark.parametrize("kind", ["native", "counts", "bare", "entries"])
def test_the_keys_and_types_are_those_of_the_contract(scans, kind, capsys):
    found = flat_keys(info(capsys, scans[kind]))

    assert list(found) == list(CONTRACT)
    for key, value in found.items():
        assert isinstance(value, CONTRACT[key]), key
        assert not isinstance(value, bool) or CONTRACT[key] is bool, key
    for choice in found["choices"]:
        assert {key: type(value) for key, value in choice.items()} == {
            "parameter": str,
            "option": str,
            "names": list,
        }


def test_the_page_lists_every_key():
    section = PAGE.read_text("utf-8").split("## What info says")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([\w.]+)`", section, re.MULTILINE) == list(CONTRACT)


def test_what_else_is_in_the_file_is_listed_with_the_option_that_chooses_it(scans, capsys):
    facts = info(capsys, scans["entries"])
    chosen = {choice["option"]: choice["names"] for choice in facts["choices"]}
    assert chosen["--entry"] == ["entry2"]
    assert chosen["--detector"] == ["counter1"]
    assert "extra/movie" in chosen["--data"]
    assert facts["dataset"] not in chosen["--data"]
    for option in ("--entry", "--detector", "--data"):  # each name can be typed
        other = info(capsys, scans["entries"], option, chosen[option][0])
        assert other["dataset"] != facts["dataset"]


def test_an_index_axis_is_listed(tmp_path, capsys):
    with h5py.File(tmp_path / "time.h5", "w") as file:
        file["stack"], file["energy"] = np.ones((3, 9, 5, 6), np.float32), 8300.0 + np.arange(9.0)
    facts = info(capsys, tmp_path / "time.h5", "--data", "stack")
    assert facts["axes"]["in_file"] == ["axis 1: 0", "energy", "y", "x"]
    assert [choice["names"] for choice in facts["choices"] if choice["option"] == "--index"] == [
        ["0 to 2 along axis 1"]
    ]


def test_assumptions_are_told_with_the_reason(scans, capsys):
    facts = info(capsys, scans["counts"])
    assert facts["energies"] == {
        "count": 40,
        "min_ev": pytest.approx(8240.0),
        "max_ev": pytest.approx(8500.0),
        "source": "counts_energies.txt",
        "kev_assumed": True,
    }
    assert (facts["quantity"]["value"], facts["quantity"]["assumed"]) == ("counts", True)
    assert "the file does not say it" in facts["quantity"]["why"]
    given = info(capsys, scans["counts"], "--quantity", "intensity")
    assert given["quantity"] == {
        "value": "intensity",
        "assumed": False,
        "why": "given by the user",
        "run_takes": "intensity",
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_info_and_run_take_the_values_for_the_same(tmp_path, sign, capsys):
    density = edge_stack(EDGE_EV, n_energies=40).values
    values = 500 + 300 * density if sign > 0 else np.exp(-density)
    write_stack(small_stack((40, 12, 14)), tmp_path / "scan.tif")  # for the list of energies
    tifffile.imwrite(tmp_path / "scan.tif", values.astype(np.float32 if sign < 0 else np.uint16))
    np.savetxt(tmp_path / "scan_energies.txt", edge_stack(EDGE_EV, n_energies=40).energy.values)

    facts = info(capsys, tmp_path / "scan.tif")
    with pytest.warns(match="were taken as"):
        stack, _ = load_scan(tmp_path / "scan.tif", InputOptions())

    assert facts["quantity"]["run_takes"] == {1: "fluorescence", -1: "transmission"}[sign]
    assert any("taken as" in line for line in stack.attrs["history"])
    assert facts["quantity"]["run_takes"] in " ".join(stack.attrs["history"])


def test_what_would_end_a_run_is_the_problem(scans, capsys):
    facts = info(capsys, scans["bare"])
    assert "no photon energies for its 5 images" in facts["problem"]
    assert facts["problem"].endswith("(--energies)")
    assert facts["energies"]["count"] == 0
    assert cli.main(["run", str(scans["bare"]), "-o", str(scans["bare"].parent / "out")]) == 1
    assert facts["problem"] in capsys.readouterr().err
    assert info(capsys, scans["native"])["problem"] is None


def test_a_large_scan_is_not_read(scans, monkeypatch):
    monkeypatch.setattr("xanesum.workflow.inspection.LAZY_BYTES", 0)
    monkeypatch.setattr("xanesum.workflow.inspection.settle_quantity", None)
    facts = inspect_scan(scans["counts"], InputOptions())
    assert facts["quantity"]["run_takes"] is None
    assert "too large to be judged here" in facts["quantity"]["why"]


@pytest.mark.parametrize(
    "arguments", [["nothing.h5"], ["notes.txt"], ["bare.tif", "--energies", "nothing.txt"]]
)
def test_an_error_is_one_line_and_no_json(scans, arguments, capsys, monkeypatch):
    monkeypatch.chdir(scans["bare"].parent)
    Path("notes.txt").write_text("the night shift\n")
    assert cli.main(["info", *arguments, "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("xanesum: error: ")
    assert captured.err.count("\n") == 1


def test_the_text_says_the_same(scans, capsys):
    facts = info(capsys, scans["entries"])
    assert cli.main(["info", str(scans["entries"])]) == 0
    text = capsys.readouterr().out
    for choice in facts["choices"]:
        assert f"{', '.join(choice['names'])} ({choice['option']})" in text
    for said in (facts["scan"], facts["format"], facts["dataset"], facts["i0"]["text"], *facts["history"]):
        assert said in text


def test_numbers_that_json_does_not_have_are_null(tmp_path, capsys):
    path = write_stack(small_stack(), tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        file["entry/data/data"].attrs["xanesum_attrs"] = '{"saturation_counts": NaN, "pixel_size_nm": 30}'
        file["entry/data/data"].attrs["quantity"] = "counts"
    assert info(capsys, path)["saturation_counts"] is None
