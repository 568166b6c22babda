"""The command `references`: a list, a check against a scan, a figure, and one line for what is wrong."""

import json

import numpy as np
import pytest
from scans import edge_spectrum, edge_stack

from xanesum.cli import main as cli
from xanesum.io import write_stack
from xanesum.report.references import write_references_figure
from xanesum.xanes.references.spectra import read_references
from xanesum.xanes.references.survey import survey

ENERGY = np.arange(8220.0, 8520, 0.5)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, half in (("low", 8340.0), ("high", 8343.0)):
        np.savetxt(f"{name}.txt", np.column_stack([ENERGY, 0.2 + 2 * edge_spectrum(ENERGY, half)]))
    np.savetxt("iron.txt", np.column_stack([ENERGY - 1215, edge_spectrum(ENERGY, 8340.0)]))
    write_stack(edge_stack(8340.0 + np.linspace(0, 3, 24)[:, None] + np.zeros(26), n_energies=80), "scan.h5")


def call(capsys, *arguments):
    status = cli.main(["references", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_references_are_listed(capsys):
    status, out, _ = call(capsys, "low.txt", "high.txt", "iron.txt")

    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith(
        "low   Ni K (by its energy), absorption, XANES to +180 eV; 600 energies, 8220.0 to"
    )
    assert "half-step energy 8340.00 eV, step 2" in lines[0]
    assert lines[-2:] == ["Ni K, absorption: 2 spectra", "Fe K, absorption: 1 spectrum"]


def test_the_spectra_of_a_folder_are_listed(capsys, tmp_path):
    (tmp_path / "library").mkdir()
    for name in ("low.txt", "high.txt", "iron.txt"):
        (tmp_path / name).rename(tmp_path / "library" / name)
    (tmp_path / "library" / "notes.md").write_text("measured in May\n")
    (tmp_path / "library" / ".hidden").write_text("nothing\n")
    status, out, _ = call(capsys, "library")

    assert status == 0
    listed = [line.split()[0] for line in out.splitlines() if "by its energy" in line]
    assert listed == ["high", "iron", "low"]
    assert "notes.md" in next(line for line in out.splitlines() if line.startswith("no spectrum:"))
    assert ".hidden" not in out


def test_a_folder_without_spectra_is_refused(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = call(capsys, "empty")

    assert status == 1
    assert "empty: none of the 0 files in this folder holds spectra" in err


def test_references_against_a_scan(capsys):
    status, out, _ = call(capsys, "low.txt", "high.txt", "--scan", "scan.h5", "--json")

    facts = json.loads(out)
    assert status == 0
    assert facts["scan"]["energies"] == facts["scan"]["covered"] == 80
    assert abs(facts["scan"]["shift_ev"]) < 3 * facts["scan"]["shift_sigma_ev"]
    assert sum(facts["scan"]["fractions"].values()) == pytest.approx(1)
    assert facts["references"][0]["half_step_ev"] == pytest.approx(8340, abs=0.01)


def test_an_area_of_the_scan_is_a_reference(capsys):
    status, out, _ = call(
        capsys, "low.txt", "--scan", "scan.h5", "--area", "top=0:5,0:26", "--normalization", "larch"
    )

    assert status == 0
    assert "top  Ni K (by its energy)" in out
    assert "normalized as in Larch" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no references were named"),
        (("none.txt",), "no such file"),
        (("scan.h5",), "expected a text file"),
        (("low.txt", "--area", "a=0:1,0:1"), "name the scan, too (--scan)"),
        (
            ("low.txt", "--scan", "scan.h5", "--area", "0:1"),
            "an area is NAME=Y0:Y1,X0:X1, got '0:1' (--area)",
        ),
        (
            ("low.txt", "--scan", "scan.h5", "--area", "a=0:1,0:99"),
            "does not lie within the image of 24 x 26",
        ),
        (("low.txt", "iron.txt", "--scan", "scan.h5"), "reference 'iron' has its edge at 712"),
        (("low.txt", "--scan", "none.h5"), "none.h5"),
        (("low.txt", "--plot", "a.jpg"), "cannot tell the file format"),
        (("low.txt", "--plot", "low.txt"), "cannot tell the file format"),
        (("low.txt", "--pre1", "-50"), "pre1_ev is a setting of the normalization 'larch'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message, capsys):
    status, _, said = call(capsys, *arguments)

    assert status == 1
    (line,) = [line for line in said.splitlines() if "error:" in line]
    assert message in line


def test_the_figure_names_its_definition(monkeypatch, tmp_path):
    monkeypatch.undo()  # the figure is looked at here
    found = survey(read_references(tmp_path / "low.txt", tmp_path / "iron.txt"))

    write_references_figure(tmp_path / "a.svg", found)
    write_references_figure(tmp_path / "a.png", found)

    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.svg").stat().st_size > 10_000
