"""`xanesum convert`: every scan into every format, with the options of a run, and nothing overwritten."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from io_files import small_stack
from scans import edge_stack

from xanesum.cli import main as cli
from xanesum.io import read_stack, write_stack

OUTPUTS = [
    ("out.h5", []),
    ("out.tif", []),
    ("out.hspy", []),
    ("out.zarr", []),
    ("out", ["--to", "txm-wizard"]),
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_stack(small_stack(pixel_size_nm=20.0), "scan.h5")


def call(capsys, *arguments):
    """Run `xanesum convert`; return its exit code, and both streams."""
    status = cli.main(["convert", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(("output", "options"), OUTPUTS)
def test_a_scan_is_converted(output, options, capsys):
    if output.endswith(".zarr"):
        pytest.importorskip("zarr", reason="needs zarr (extra zarr)")
    status, out, err = call(capsys, "scan.h5", output, *options)

    assert (status, err) == (0, "")
    assert "4 energies, 5 x 7 px (y, x), optical density" in out
    assert out.rstrip().endswith(f"converted scan: {output}")
    again, stack = read_stack(output), read_stack("scan.h5")
    np.testing.assert_array_equal(again.values, stack.values)
    np.testing.assert_array_equal(again.energy, stack.energy)
    assert again.attrs["pixel_size_nm"] == 20.0


def test_options_of_reading_are_those_of_a_run(capsys):
    values = np.arange(4 * 5 * 7, dtype=np.uint16).reshape(4, 5, 7)
    tifffile.imwrite("raw.tif", values, photometric="minisblack")
    tifffile.imwrite("white.tif", np.full((5, 7), 900, np.uint16))
    tifffile.imwrite("dark.tif", np.full((5, 7), 9, np.uint16))
    np.savetxt("list.txt", [8.3, 8.31, 8.32, 8.33])
    options = ["--energies", "list.txt", "--flat", "white.tif", "--dark", "dark.tif", "--quantity", "counts"]

    status, _, err = call(capsys, "raw.tif", "out.h5", *options, "--roi", "1:4,2:6")

    assert status == 0
    assert "keV" in err
    stack = read_stack("out.h5")
    np.testing.assert_array_equal(stack.values, values[:, 1:4, 2:6])
    np.testing.assert_allclose(stack.energy, [8300, 8310, 8320, 8330])
    np.testing.assert_array_equal(stack["flat"], np.full((3, 4), 900))
    np.testing.assert_array_equal(stack["dark"], np.full((3, 4), 9))


def test_one_of_several_times_is_converted(capsys):
    values = np.random.default_rng(0).uniform(0, 1, (3, 9, 5, 6)).astype(np.float32)
    with h5py.File("time.h5", "w") as file:
        file["stack"], file["energy"] = values, 8300.0 + np.arange(9.0)
    status, *_ = call(capsys, "time.h5", "out.tif", "--data", "stack", "--index", 2)
    assert status == 0
    np.testing.assert_array_equal(tifffile.imread("out.tif"), values[2])


def test_counts_become_transmission_for_pyxas(capsys):
    density = edge_stack(8340.0 + np.zeros((12, 14)), n_energies=40)
    flat = np.full((12, 14), 5e4)
    counts = density.copy(data=(flat * np.exp(-density.values)).astype(np.float32))
    counts = counts.assign_attrs(quantity="counts").assign_coords(flat=(("y", "x"), flat))
    write_stack(counts, "counts.h5")

    status, out, err = call(capsys, "counts.h5", "fxi.h5", "--to", "pyxas")

    assert status == 0
    assert "preprocessing: counts to optical density" in out
    assert "a PyXAS file cannot hold" in err
    with h5py.File("fxi.h5") as file:
        np.testing.assert_allclose(-np.log(file["img_xanes"][()]), density.values, atol=1e-4)
        np.testing.assert_allclose(file["X_eng"], density.energy / 1e3)


def test_what_is_lost_is_one_note(capsys):
    stack = small_stack().assign_coords(mask=(("y", "x"), np.eye(5, 7) == 0))
    write_stack(stack, "masked.h5")
    status, _, err = call(capsys, "masked.h5", "out.tif")
    assert status == 0
    assert (
        err == "note: out.tif: a TIFF stack cannot hold the mask; the native form (.h5) can hold all of it\n"
    )


@pytest.mark.parametrize("name", ["out.h5", "out.tif", "out_energies.txt"])
def test_a_file_is_replaced_only_if_asked(name, capsys):
    Path(name).write_text("mine")
    output = "out.h5" if name == "out.h5" else "out.tif"

    status, _, err = call(capsys, "scan.h5", output)

    assert status == 1
    said = f"{name}: is there already; choose another name, or have it replaced (--overwrite)"
    assert err.splitlines() == [f"xanesum: error: {said}"]
    assert Path(name).read_text() == "mine"
    assert call(capsys, "scan.h5", output, "--overwrite")[0] == 0
    np.testing.assert_array_equal(read_stack(output).values, small_stack().values)


@pytest.mark.parametrize("name", ["out.zarr", "out"])
def test_a_folder_of_others_is_never_touched(name, capsys):
    Path(name).mkdir()
    Path(name, "mine.txt").write_text("mine")
    options = ["--to", "txm-wizard"] if name == "out" else []
    status, _, err = call(capsys, "scan.h5", name, *options, "--overwrite")
    assert status == 1
    assert "is a folder that is not empty; remove it, or choose another name" in err
    assert [file.name for file in Path(name).iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan.h5", "scan.h5", "--overwrite"], "the results would replace scan.h5"),
        (["scan.h5", "out"], "has no suffix that tells the format; name one of native, .* (--to)"),
        (["scan.h5", "out.npy"], "cannot tell the file format from '.npy'"),
        (["scan.h5", "out.tif", "--to", "hyperspy"], "does not have the suffix '.tif'; use one of .hspy"),
        (["scan.h5", "nowhere/out.h5"], "folder nowhere is missing"),
        (["scan.h5", ""], "the name of the output is empty"),
        (["nothing.h5", "out.h5"], "nothing.h5: no such file"),
        (["scan.h5", "out.h5", "--roi", "0:50,0:50"], "does not lie within the image"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(arguments, message, capsys):
    before = sorted(file.name for file in Path().iterdir())
    status, out, err = call(capsys, *arguments)
    first, _, second = message.partition(".* ")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert first in err
    assert second in err
    assert sorted(file.name for file in Path().iterdir()) == before


def test_other_verbs_write_these_formats_too(capsys):
    command = ["simulate", "particle", "--shape", "20x24", "--n-energies", "12"]
    assert cli.main([*command, "-o", "noisy.hspy"]) == 0
    assert read_stack("noisy.hspy").shape == (12, 20, 24)
    capsys.readouterr()
    assert cli.main(["map", "scan.h5", "-o", "map.hspy"]) == 1
    assert "cannot tell the file format from '.hspy'" in capsys.readouterr().err
