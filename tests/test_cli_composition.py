"""The verbs `fit` and `cluster`: what they print and write, and one line for what cannot be."""

import csv
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.image import imread
from mixtures import ENERGY, mixture, species

from xanesum import denoise
from xanesum.cli import main as cli
from xanesum.cli.parser import build_parser
from xanesum.io import write_stack
from xanesum.workflow.composition import COMPOSED_FILES

WIDE = np.linspace(8250.0, 8480.0, 400)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a saved result of two species and the spectra of three as text; the true fractions."""
    folder = tmp_path_factory.mktemp("saved")
    stack, _, truth = mixture(2, shape=(24, 26), sigma=0.02)
    denoise(stack, denoiser="none", rng=np.random.default_rng(0)).save(folder / "result.sum.h5")
    for k, row in enumerate(species(3, WIDE)):
        np.savetxt(folder / f"ref{k}.txt", np.column_stack([WIDE, row]))
    np.savetxt(folder / "far.txt", np.column_stack([WIDE + 1000, species(1, WIDE)[0]]))
    return folder, truth


@pytest.fixture
def result(saved):
    for path in saved[0].iterdir():
        shutil.copy(path, path.name)
    return saved[1]


def call(*arguments, capsys):
    before = sorted(os.listdir("."))
    status = cli.main(list(arguments))
    said = capsys.readouterr()
    if status:
        assert sorted(os.listdir(".")) == before, "a failed run left something behind"
        assert len([line for line in said.err.splitlines() if "error:" in line]) == 1
    return status, said


def test_fit_writes_fractions_with_errors(result, capsys):
    status, said = call(
        "fit", "result.sum.h5", "--references", "ref0.txt", "ref1.txt", "-o", "out", capsys=capsys
    )

    assert status == 0, said.err
    assert "ref0: " in said.out
    assert "reduced chi-square" in said.out
    with h5py.File("out/fractions.h5") as file:
        group = file["entry/data"]
        mask = group["mask"][()]
        error = (group["fraction_ref0"][()] - result[0])[mask]
        assert np.sqrt(np.mean(error**2)) < 0.1
        assert "no" not in str(group.attrs["definition"])[:2]
        assert np.isfinite(group["fraction_ref0_sigma"][()][mask]).all()
    with open("out/fractions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reference"] for row in rows] == ["ref0", "ref1"]
    assert imread("out/fractions.png").shape[:2] == (24, 26)
    table = np.genfromtxt("out/fraction_spectra.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["energy_ev"], ENERGY)


def fitted(capsys, *options):
    status, said = call(
        "fit", "result.sum.h5", "--references", "ref0.txt", "ref1.txt", *options, "-o", "o", capsys=capsys
    )
    assert status == 0, said.err
    with h5py.File("o/fractions.h5") as file:
        group = file["entry/data"]
        names = ("fraction_ref0", "amount_ref0", "mask")
        facts = {name: group[name][()] for name in names} | {"definition": str(group.attrs["definition"])}
    shutil.rmtree("o")
    return facts


def test_fit_moves_references_on_request(result, capsys):
    """References that are 3 eV too low fit as well as the right ones if 3 eV are added to their energies."""
    as_they_are = fitted(capsys)
    for k in (0, 1):
        energy_ev, mu = np.loadtxt(f"ref{k}.txt").T
        np.savetxt(f"ref{k}.txt", np.column_stack([energy_ev - 3.0, mu]))
    moved = fitted(capsys, "--shift", "3")

    mask = as_they_are["mask"]
    np.testing.assert_allclose(moved["fraction_ref0"][mask], as_they_are["fraction_ref0"][mask], atol=2e-3)
    assert "moved by +3 eV" in moved["definition"]


def test_fit_normalizes_references_as_larch_does_on_request(result, capsys):
    """A degree of the post-edge line makes another edge step, and so other amounts, of the same spectrum."""
    for k in (0, 1):  # a spectrum that is normalized already would stay as it is
        energy_ev, mu = np.loadtxt(f"ref{k}.txt").T
        np.savetxt(f"ref{k}.txt", np.column_stack([energy_ev, 0.5 + 2 * mu - 1e-3 * (energy_ev - 8330.0)]))
    larch = ("--normalization", "larch", "--nnorm")
    line, constant = (fitted(capsys, *larch, degree) for degree in ("1", "0"))

    assert "as in Larch" in line["definition"]
    assert not np.allclose(line["amount_ref0"], constant["amount_ref0"], rtol=1e-3)


def test_fit_chooses_the_right_references(result, capsys):
    files = ["ref0.txt", "ref1.txt", "ref2.txt"]
    status, said = call(
        "fit", "result.sum.h5", "--references", *files, "--at-most", "2", "-o", "out", capsys=capsys
    )

    assert status == 0, said.err
    assert "6 subsets of the references were tried" in said.out
    ranking = [line for line in said.out.splitlines() if " + " in line and "R factor" in line]
    assert "ref0 + ref1" in ranking[0]
    with h5py.File("out/fractions.h5") as file:
        assert "fraction_ref2" not in file["entry/data"]


def test_fit_without_references_finds_spectra(result, capsys):
    status, said = call("fit", "result.sum.h5", "--unmix", "2", "-o", "out", capsys=capsys)

    assert status == 0, said.err
    assert "not unique" in said.out


def test_fit_takes_a_scan_as_it_is(result, capsys):
    write_stack(mixture(2, shape=(8, 9))[0], "scan.h5")
    status, said = call(
        "fit", "scan.h5", "--as-is", "--references", "ref0.txt", "ref1.txt", "-o", "out", capsys=capsys
    )

    assert status == 0, said.err
    assert "errors of a stack that was not denoised are not known" in said.out


def test_cluster_writes_regions_and_spectra(result, capsys):
    status, said = call("cluster", "result.sum.h5", "--clusters", "2", "-o", "out", capsys=capsys)

    assert status == 0, said.err
    assert "cluster 1: " in said.out
    with h5py.File("out/clusters.h5") as file:
        cluster = file["entry/data/cluster"][()]
    assert set(np.unique(cluster)) <= {0, 1, 2}
    table = np.genfromtxt("out/cluster_spectra.csv", delimiter=",", names=True)
    assert table.dtype.names == (
        "energy_ev", "cluster_1", "cluster_2", "cluster_1_sigma", "cluster_2_sigma"
    )  # fmt: skip
    assert (table["cluster_1_sigma"] > 0).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["fit", "result.sum.h5"], "give references, or the number of spectra"),
        (["fit", "result.sum.h5", "--references", "ref0.txt", "--unmix", "2"], "not both (--references)"),
        (["fit", "result.sum.h5", "--references", "none.txt"], "none.txt"),
        (["fit", "result.sum.h5", "--references", "ref0.txt", "ref0.txt"], "same spectrum"),
        (["fit", "result.sum.h5", "--references", "ref0.txt", "--at-most", "0"], "--at-most"),
        (["fit", "result.sum.h5", "--references", "ref0.txt", "--range", "9000:9100"], "(--range)"),
        (["fit", "result.sum.h5", "--references", "far.txt"], "far"),
        (
            ["fit", "result.sum.h5", "--unmix", "2", "--shift", "1"],
            "neither normalized as in Larch nor shifted",
        ),
        (["fit", "result.sum.h5", "--references", "ref0.txt", "--shift", "nan"], "must be a number in eV"),
        (["fit", "result.sum.h5", "--unmix", "70"], "cannot be told apart in 2 components"),
        (["cluster", "result.sum.h5", "--clusters", "0"], "1 or more, got 0 (--clusters)"),
        (["cluster", "result.sum.h5", "--rank", "2"], "--rank"),
        (["cluster", "nothing.h5"], "nothing.h5"),
    ],
)
def test_what_cannot_be_is_one_line(result, arguments, text, capsys):
    status, said = call(*arguments, "-o", "out", capsys=capsys)

    assert status == 1
    assert text in said.err


def test_a_file_in_place_of_the_folder_is_refused(result, capsys):
    status, said = call("cluster", "result.sum.h5", "-o", "ref0.txt", capsys=capsys)

    assert status == 1
    assert "is a file" in said.err


def test_references_that_are_shifted_in_energy_are_said(result, capsys):
    for k, row in enumerate(species(2, WIDE)):
        np.savetxt(f"moved{k}.txt", np.column_stack([WIDE + 1.2, row]))

    plain = call("fit", "result.sum.h5", "--references", "ref0.txt", "ref1.txt", "-o", "a", capsys=capsys)[1]
    moved = call(
        "fit", "result.sum.h5", "--references", "moved0.txt", "moved1.txt", "-o", "b", capsys=capsys
    )[1]

    assert "eV from the scan" not in plain.out
    (line,) = (line for line in moved.out.splitlines() if "eV from the scan" in line)
    assert float(line.partition("references lie ")[2].split()[0]) == pytest.approx(1.2, abs=0.1)


def test_the_best_few_may_be_among_references_that_are_all_alike(result, capsys):
    rng = np.random.default_rng(0)
    for k in range(4):
        alike = species(1, WIDE)[0] + 1e-4 * rng.standard_normal(len(WIDE))
        np.savetxt(f"again{k}.txt", np.column_stack([WIDE, alike]))
    files = ("ref1.txt", "again0.txt", "again1.txt", "again2.txt", "again3.txt")

    status, said = call(
        "fit", "result.sum.h5", "--references", *files, "--at-most", "2", "-o", "out", capsys=capsys
    )

    assert status == 0, said.err
    with h5py.File("out/fractions.h5") as file:
        names = [name for name in file["entry/data"] if f"{name}_sigma" in file["entry/data"]]
    assert "fraction_ref1" in names
    assert sum(name.startswith("fraction_again") for name in names) == 1


def test_a_scan_of_which_no_pixel_is_used_is_refused(result, capsys):
    stack, _, _ = mixture(2, shape=(8, 9), sigma=0.02)
    stack = stack.assign_coords(mask=(("y", "x"), np.zeros((8, 9), bool)))
    write_stack(stack, "masked.h5")

    for options in (("fit", "--references", "ref0.txt", "ref1.txt"), ("cluster", "--clusters", "2")):
        status, said = call(options[0], "masked.h5", *options[1:], "-o", "out", "--as-is", capsys=capsys)
        assert status == 1
        assert "pixel" in said.err


def test_references_may_be_named_one_by_one():
    parsed = [
        build_parser().parse_args(["fit", "s", "-o", "o", *options]).references
        for options in (["--references", "a", "b"], ["--references", "a", "--references", "b"])
    ]

    assert parsed == [["a", "b"], ["a", "b"]]


@pytest.fixture
def scan(saved):
    """A scan of two species in the empty folder, with the spectra of them as text."""
    shutil.copytree(saved[0], ".", dirs_exist_ok=True)
    stack, _, _ = mixture(2, shape=(24, 26), sigma=0.02)
    write_stack(stack, "scan.h5")
    return "scan.h5"


def run_with(recipe, scan, capsys):
    Path("recipe.toml").write_text(recipe, encoding="utf-8")
    status = cli.main(["run", scan, "-o", "out", "--recipe", "recipe.toml"])
    return status, capsys.readouterr()


def test_a_run_fits_and_clusters_as_the_recipe_says(scan, capsys):
    recipe = '[fractions]\nreferences = ["ref0.txt", "ref1.txt"]\n[clusters]\nfind = true\nnumber = 2\n'

    status, said = run_with(recipe, scan, capsys)

    assert status == 0, said.err
    assert set(COMPOSED_FILES) <= set(os.listdir("out"))
    alone = call("fit", "out/result.sum.h5", "--references", "ref0.txt", "ref1.txt", "-o", "a", capsys=capsys)
    assert alone[0] == 0
    with h5py.File("out/fractions.h5") as ours, h5py.File("a/fractions.h5") as theirs:
        np.testing.assert_array_equal(fractions_in(ours), fractions_in(theirs))
    page = Path("out/report.html").read_text("utf-8")
    assert "<h2>Composition</h2>" in page
    assert "ref0: " in page
    assert "cluster 2: " in page
    assert "ref1.txt" in page  # the recipe


def fractions_in(file):
    found = []
    file.visititems(lambda name, item: found.append(item[()]) if name.endswith("fraction_ref0") else None)
    return found[0]


def test_files_of_an_earlier_run_do_not_stay(scan, capsys):
    run_with("[clusters]\nfind = true\n", scan, capsys)

    assert run_with("[denoise]\nseed = 1\n", scan, capsys)[0] == 0

    assert not set(COMPOSED_FILES) & set(os.listdir("out"))
    assert "<h2>Composition</h2>" not in Path("out/report.html").read_text("utf-8")


def test_references_that_do_not_fit_are_a_note_of_the_run_and_missing_ones_end_it(scan, capsys):
    status, said = run_with('[fractions]\nreferences = ["far.txt"]\n', scan, capsys)

    assert status == 0
    assert "no fractions: " in said.err
    assert "There are no fractions: " in Path("out/report.html").read_text("utf-8")
    status, said = run_with('[fractions]\nreferences = ["no.txt"]\n', scan, capsys)
    assert status == 1
    assert "no.txt: no such file" in said.err


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ('[fractions]\nbackground = "cubic"\n', "background must be one of auto, "),
        ('[clusters]\nmethod = "magic"\n', "method must be one of kmeans, "),
    ],
)
def test_impossible_options_of_a_recipe_are_refused(scan, capsys, recipe, message):
    status, said = run_with(recipe, scan, capsys)

    assert status == 1
    assert message in said.err


def test_what_cannot_be_found_does_not_lose_the_result(scan, capsys):
    status, said = run_with("[clusters]\nfind = true\nnumber = 100000\n", scan, capsys)

    assert status == 0
    assert "no clusters: " in said.err
    assert Path("out/result.sum.h5").is_file()
