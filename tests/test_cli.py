"""What each verb prints and writes when all is well."""

import os
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scans import edge_stack

import xanesum.__main__ as process
from xanesum.cli import main as cli
from xanesum.cli import output, parser, verbs
from xanesum.cli.options import recipe_of, with_flag
from xanesum.errors import SigmaError, XanesumWarning
from xanesum.io import read_stack, write_stack
from xanesum.phantom.demo import DEMO_PHOTONS, demo_exposure
from xanesum.viewer.plots import has_toolkit
from xanesum.workflow import pipeline
from xanesum.workflow.recipe import DEFAULT_RECIPE

EDGE_EV = 8340.0 + np.linspace(0, 3, 24)[:, None] + np.zeros(26)


@pytest.fixture(autouse=True)
def scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stack = edge_stack(EDGE_EV, n_energies=60)
    noise = np.random.default_rng(0).standard_normal(stack.shape)
    write_stack(stack + 0.02 * noise.astype(np.float32), "scan.h5")


def said(capsys, *arguments):
    """Run a command that must succeed; return the lines on its output stream."""
    assert cli.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_info_says_what_the_file_holds(capsys):
    lines = dict(line.split(maxsplit=1) for line in said(capsys, "info", "scan.h5"))

    assert lines["images"].startswith("24 x 26 px (y, x), float32")
    assert lines["energies"] == "60, 8240.00 to 8500.00 eV"
    assert lines["quantity"] == "optical_density"


def test_info_takes_energies_from_a_text_file(capsys):
    np.savetxt("energies.txt", np.linspace(7.1, 7.2, 60))

    lines = dict(
        line.split(maxsplit=1) for line in said(capsys, "info", "scan.h5", "--energies", "energies.txt")
    )

    assert lines["energies"] == (
        "60, 7100.00 to 7200.00 eV, from energies.txt (taken for keV, as all are below 100)"
    )


def test_denoise_says_sigma_and_rank_and_where_the_stack_is(capsys):
    lines = said(capsys, "denoise", "scan.h5", "-o", "clean.h5", "--rank", 2, "--denoiser", "none")

    assert lines[-2].startswith("24 x 26 px, 60 energies: sigma 0.02")
    assert lines[-2].endswith("2 components, denoiser none")
    assert lines[-1].endswith("clean stack: clean.h5")
    assert read_stack("clean.h5").shape == (60, 24, 26)


@pytest.mark.parametrize("options", [[], ["--as-is"]])
def test_map_of_a_scan(options, capsys):
    lines = said(capsys, "map", "scan.h5", "-o", "map.tif", *options)

    (median,) = (line for line in lines if line.startswith("half step map: "))
    assert median.startswith("half step map: median 8341.")
    assert any(line.startswith("computed: energy of the last upward crossing") for line in lines)
    assert lines[-1].endswith("map: map.tif, map_edge_step.tif")
    difference = tifffile.imread("map.tif") - EDGE_EV
    assert np.sqrt(np.nanmean(difference**2)) < 0.5  # energies are 4.4 eV apart


def test_map_of_a_saved_result_does_not_denoise_again(capsys, monkeypatch):
    said(capsys, "run", "scan.h5", "-o", "out")
    monkeypatch.setattr(pipeline, "denoise_scan", None)

    assert said(capsys, "map", "out/result.sum.h5", "-o", "map.h5")[-1].endswith("map: map.h5")


def test_map_of_a_flat_scan_says_that_there_is_none(capsys):
    stack = edge_stack(EDGE_EV, n_energies=60)
    write_stack(stack * 0 + 1 + 1e-3 * np.random.default_rng(0).standard_normal(stack.shape), "flat.h5")

    lines = said(capsys, "map", "flat.h5", "-o", "map.tif")

    assert "map: no pixel has an edge that stands above its noise" in lines
    assert np.isnan(tifffile.imread("map.tif")).all()


def test_options_stand_above_the_recipe(capsys):
    Path("recipe.toml").write_text('[denoise]\nrank = 3\ndenoiser = "tv"\n', "utf-8")

    lines = said(capsys, "denoise", "scan.h5", "-o", "clean.h5", "--recipe", "recipe.toml", "--rank", 1)

    assert lines[-2].endswith("1 components, denoiser tv")


def test_region_and_ranges_are_parsed(capsys):
    lines = said(
        capsys,
        "run",
        "scan.h5",
        "-o",
        "out",
        "--roi",
        "2:20,3:23",
        "--pre",
        "8240:8300",
        "--post",
        "8400:8500",
    )

    assert [line for line in lines if line.startswith("18 x 20 px")]
    recipe = Path("out/recipe.toml").read_text("utf-8").splitlines()
    assert "roi = [2, 20, 3, 23]" in recipe
    assert "pre_ev = [8240.0, 8300.0]" in recipe


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--roi", "1:2", "a region Y0:Y1,X0:X1"),
        ("--pre", "8240", "a range A:B"),
        ("--post", "a:b", "a range A:B"),
        ("--rank", "two", "a whole number"),
        ("--sigma", "low", "a number"),
    ],
)
def test_a_misspelt_option_is_named(option, value, expected, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "scan.h5", "-o", "out", option, value])

    assert caught.value.code == 2
    assert f"argument {option}: expected {expected}, got '{value}'" in capsys.readouterr().err


def flags_of(*command):
    return parser.build_parser().parse_args(command).flags


def test_errors_and_notes_name_the_flag_of_the_verb(capsys):
    run, info = flags_of("run", "s", "-o", "o"), flags_of("info", "s")
    error = SigmaError("give the noise level", parameter="sigma")

    assert with_flag(error, run) == "give the noise level (--sigma)"
    assert with_flag(error, info) == "give the noise level"  # it has no such flag
    assert with_flag(SigmaError("no advice"), run) == "no advice"
    assert with_flag(SigmaError("so", parameter="allow_missing"), run) == "so (--allow-missing)"
    with output.printed_notes(run):
        for _ in range(2):
            warnings.warn(XanesumWarning("two\n  lines", parameter="kind"), stacklevel=1)
    assert capsys.readouterr().err == "note: two lines (--map)\n"


def test_every_option_of_a_recipe_has_one_flag():
    sections = {part.name: fields(getattr(DEFAULT_RECIPE, part.name)) for part in fields(DEFAULT_RECIPE)}
    del sections["regions"]  # names and places that the user gives, by --where of the verb
    of_particles = {item.name for item in sections.pop("particles")}
    del sections["fractions"], sections["clusters"]  # of the verbs `fit` and `cluster`, by other names
    flags = flags_of("run", "s", "-o", "o")
    names = [item.name for section in sections.values() for item in section]
    more = flags_of("particles", "s", "-o", "o")

    assert of_particles <= set(more)

    assert sorted(flags) == sorted(names)
    assert len(set(flags.values())) == len(flags)


@pytest.mark.parametrize(
    ("flag", "values", "found"),
    [
        ("--flat", ("a.tif", "b.tif"), lambda recipe: recipe.input.flat),
        ("--dark", ("a.tif", "b.tif"), lambda recipe: recipe.input.dark),
        ("--points", ("2=8340", "3=8342"), lambda recipe: recipe.map.points),
    ],
)
def test_an_option_of_several_values_may_be_repeated(flag, values, found):
    together, apart = (
        found(recipe_of(parser.build_parser().parse_args(["map", "s", "-o", "o", *options])))
        for options in ([flag, *values], [flag, values[0], flag, values[1]])
    )

    assert len(together) == 2
    assert together == apart


def test_simulate_is_seeded(capsys):
    for seed, name in ((1, "a.h5"), (1, "b.h5"), (2, "c.h5")):
        options = ["--shape", "30x40", "--n-energies", 12, "--sigma", 10, "--seed", seed]
        lines = said(capsys, "simulate", "wedge", "-o", name, *options)
        assert lines[0] == "wedge: 30 x 40 px, 12 energies, noise 10 (peak 255)"
    a, b, c = (read_stack(name).values for name in ("a.h5", "b.h5", "c.h5"))

    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_simulate_refuses_negative_noise(capsys):
    assert cli.main(["simulate", "wedge", "-o", "a.h5", "--shape", "30x40", "--sigma", "-1"]) == 1
    assert "sigma" in capsys.readouterr().err


def test_demo_writes_the_scan_and_the_report(capsys, monkeypatch):
    monkeypatch.setattr(verbs, "DEMO_ENERGIES", 24)
    monkeypatch.setattr(verbs, "DEMO_SHAPE", (60, 80))

    lines = said(capsys, "demo", "-o", "demo")

    assert lines[0].replace("\\", "/") == (
        f"simulated: a battery cathode at the Ni K edge, 24 energies, {verbs.DEMO_PHOTONS} photons per pixel "
        "and image: demo/scan.h5"
    )
    assert [line for line in lines if "(optical density)" in line]
    page = "demo/explore.html" if has_toolkit() else 'none, it needs pip install "xanesum[viewer]"'
    assert lines[-1].replace("\\", "/") == f"report: demo/report.html; interactive page: {page}"
    assert Path("demo/explore.html").is_file() == has_toolkit()
    scan = read_stack("demo/scan.h5")
    assert scan.shape == (24, 60, 80)
    assert scan.attrs["quantity"] == "counts"
    edge_ev = float(lines[-3].split("median ")[1].split()[0])
    assert 8340.0 < edge_ev < 8343.2  # the five states of the phantom


def test_the_demonstration_is_counted_as_it_says():
    exposure = demo_exposure(shape=(60, 80), n_energies=12, seed=3)
    photons = exposure.stack["flat"].values / exposure.detector.gain

    # vignetting changes the mean by 15 % (one standard deviation) at most, and three of these are allowed;
    # counts taken for photons would be off by a factor of seven
    assert photons.mean() == pytest.approx(DEMO_PHOTONS, rel=0.45)
    np.testing.assert_array_equal(
        exposure.stack.values, demo_exposure(shape=(60, 80), n_energies=12, seed=3).stack.values
    )
    other = demo_exposure(shape=(60, 80), n_energies=12, seed=4)
    assert not np.array_equal(exposure.density, other.density)


@pytest.mark.parametrize("own", [None, "20"])
def test_the_command_lets_idle_threads_sleep_before_numpy_starts_them(own, monkeypatch):
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", own or "")  # put back as it was in the end
    if own is None:
        monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT")
    monkeypatch.setattr("sys.argv", ["xanesum", "--version"])
    with pytest.raises(SystemExit) as ended:
        process.main()

    assert ended.value.code == 0
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == (own or "14")


def test_nothing_heavy_is_loaded_before_the_command_has_set_its_process():
    code = "import sys, xanesum.__main__; assert 'numpy' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
