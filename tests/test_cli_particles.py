"""The verbs for particles and regions: files, sentences, and one line for what is wrong."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from scans import add_noise, edge_stack

from xanesum.cli import main as cli_main
from xanesum.io import write_stack
from xanesum.io.map_files import read_maps
from xanesum.method.denoising import denoise
from xanesum.xanes import half_step_energy

SUFFIXES = (".png", ".svg")
LABELS = np.zeros((34, 40), np.uint8)
LABELS[4:16, 4:16], LABELS[18:30, 20:34] = 3, 8
STATES = np.where(LABELS == 8, 8342.5, 8341.0)
CLEAN = edge_stack(STATES, thickness=np.where(LABELS > 0, 1.0, 0.01), n_energies=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scan, its saved result, and labels in several files."""
    place = tmp_path_factory.mktemp("particles")
    stack = CLEAN.copy(data=add_noise(CLEAN.values, 0.05))
    stack.attrs["pixel_size_nm"] = 20.0
    write_stack(stack, place / "scan.h5")
    denoise(stack, rank=3, denoiser="wavelet").save(place / "result.sum.h5")
    tifffile.imwrite(place / "labels.tif", LABELS)
    np.save(place / "small.npy", LABELS[:20])
    np.save(place / "zero.npy", 0 * LABELS)
    np.save(place / "nan.npy", np.where(LABELS == 3, np.nan, 0.0))
    np.save(place / "large.npy", LABELS.astype(np.int64) * 2**40)
    with h5py.File(place / "labels.h5", "w") as file:
        file["labels"] = LABELS
    return place


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def said(capsys, *arguments):
    status = cli_main.main([str(each) for each in arguments])
    out, error = capsys.readouterr()
    return status, out.splitlines(), error.splitlines()


def rows(path):
    lines = Path(path).read_text("utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_particles_of_a_scan(capsys):
    status, out, _ = said(
        capsys,
        "particles",
        "scan.h5",
        "-o",
        "one",
        "--labels",
        "labels.tif",
        "--denoiser",
        "wavelet",
        "--draws",
        12,
    )

    assert status == 0
    assert out[-1].startswith("2 particles (0 cut by the border): states from 834")
    table = rows("one/particles.csv")
    assert [row["particle"] for row in table] == ["3", "8"]
    truth = half_step_energy(CLEAN)["half_step_energy_ev"].values
    for row in table:
        state = truth[int(row["particle"]) == LABELS].mean()
        assert abs(float(row["state"]) - state) < 4 * float(row["state_error"]) + 0.02
    assert float(table[0]["area_um2"]) == pytest.approx(144 * 0.02**2)
    found = read_maps("one/particles.h5")
    assert found.attrs["intervals_hold"] in (True, False)
    assert found.attrs["provenance"]["input_digest"]
    assert found["state"].values == pytest.approx([float(row["state"]) for row in table])
    assert (tifffile.imread("one/particles_labels.tif") == LABELS).all()
    depth = rows("one/particles_depth.csv")
    assert [int(row["particles"]) for row in depth] == [2] * 6
    assert sum(int(row["pixels"]) for row in depth) == sum(int(row["pixels_with_state"]) for row in table)
    figures = {
        f"particles_{name}{suffix}" for name in ("map", "states", "depth", "thickness") for suffix in SUFFIXES
    }
    assert figures < {path.name for path in Path("one").iterdir()}


def test_particles_of_a_saved_result_say_what_they_lack(capsys):
    status, _, _ = said(
        capsys, "particles", "result.sum.h5", "-o", "two", "--labels", "labels.h5:labels", "--draws", 10
    )

    assert status == 0
    assert "the scan was not at hand" in Path("two/particles.csv").read_text("utf-8")


def test_regions_with_columns_that_numpy_reads(capsys):
    status, out, _ = said(
        capsys,
        "regions",
        "result.sum.h5",
        "-o",
        "three",
        "--where",
        "all=labels.tif",
        "--where",
        "box=4:16,4:16",
    )

    assert status == 0
    assert out[-2:] == [f"region all: {(LABELS > 0).sum()} pixels", "region box: 144 pixels"]
    energy, mean, sigma = np.loadtxt("three/region_box.dat").T  # of a saved result, after denoising only
    np.testing.assert_allclose(energy, CLEAN.energy.values, rtol=1e-6)
    assert np.abs((mean - CLEAN.values[:, 4:16, 4:16].mean(axis=(1, 2))) / sigma).max() < 6
    assert set(rows("three/regions.csv")[0]) >= {
        "energy_ev",
        "box_denoised",
        "box_denoised_sigma",
        "all_measured",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["particles", "--labels", "small.npy"], r"small.npy has shape (20, 40), the images have (34, 40)"),
        (["particles", "--labels", "zero.npy"], "0 everywhere, so it names no particle"),
        (["particles", "--labels", "none.tif"], "none.tif"),
        (["particles", "--threshold", "1e9"], "no particle of at least 12 px is thicker"),
        (["particles", "--draws", "3"], "at least 10 draws"),
        (["regions"], "no region is named"),
        (["regions", "--where", "a"], "NAME=FILE"),
        (["regions", "--where", "a=5:5,0:3"], "holds no pixel"),
        (["regions", "--where", "a=500:600,0:3"], "holds no pixel of the images"),
        (["regions", "--where", "../a=labels.tif"], "cannot be part of a file's name"),
        (["regions", "--where", "a=small.npy"], "has shape (20, 40)"),
        (["regions", "--where", "a=nan.npy"], "must be an image of numbers, without NaN"),
        (["regions", "--where", "a=labels.tif", "--where", "a=1:5,1:5"], "named twice"),
        (["regions", "--where", "a=labels.tif", "--where", "A=1:5,1:5"], "upper and lower case"),
        (["particles", "--labels", "large.npy"], "labels above 2147483647"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    verb, *options = arguments
    status, _, error = said(capsys, verb, "result.sum.h5", "-o", "bad", *options)

    assert status == 1
    assert len(error) == 1
    assert message in error[0]
    assert not Path("bad").exists()


def test_an_older_file_of_particles_is_removed(capsys):
    said(capsys, "particles", "result.sum.h5", "-o", "four", "--labels", "labels.tif", "--draws", 10)
    Path("four/mine.txt").write_text("mine")
    whole = np.zeros_like(LABELS)
    whole[:, :16] = 1
    np.save("cut.npy", whole)

    said(capsys, "particles", "result.sum.h5", "-o", "four", "--labels", "cut.npy", "--draws", 10)

    assert not Path("four/particles_depth.png").exists()  # no particle is whole
    assert Path("four/mine.txt").read_text("utf-8") == "mine"


def test_doubts_of_a_saved_result_are_printed(capsys):
    status, _, notes = said(
        capsys, "particles", "result.sum.h5", "-o", "five", "--labels", "labels.tif", "--draws", 10
    )

    assert status == 0
    assert any("may not hold: the scan was not at hand" in line for line in notes)


def test_a_box_that_reaches_beyond_the_images_is_told_once(capsys):
    status, out, notes = said(capsys, "regions", "result.sum.h5", "-o", "six", "--where", "a=30:90,0:10")

    assert status == 0
    assert out[-1] == "region a: 40 pixels"
    beyond = [line for line in notes if "beyond" in line]
    assert len(beyond) == 1
    assert "region a reaches beyond the images (34 x 40 px)" in beyond[0]


def test_a_run_without_particles_says_so(capsys):
    Path("none.toml").write_text('[particles]\nlabels = "auto"\nmin_pixels = 5000\ndraws = 10\n', "utf-8")

    status, _, notes = said(
        capsys, "run", "scan.h5", "-o", "seven", "--recipe", "none.toml", "--denoiser", "wavelet"
    )

    assert status == 0
    assert any("no particles: no particle of at least 5000 px" in line for line in notes)
    assert not Path("seven/particles.csv").exists()
    assert "no particle of at least 5000 px" in Path("seven/report.html").read_text("utf-8")
