"""What is released: wheel and source archive are whole, and a wheel works without the source."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import release

REPO = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    return release.build(tmp_path_factory.mktemp("dist") / "dist")


def test_wheel_and_archive_are_whole(built):
    assert release.faults(*built) == []


def test_a_file_that_is_missing_is_seen(built, tmp_path):
    wheel, archive = built
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / wheel.name, "w") as part:
        for name in whole.namelist():
            if name != "xanesum/phantom/files/example.h5":
                part.writestr(name, whole.read(name))

    assert release.faults(tmp_path / wheel.name, archive) == [
        "the wheel lacks xanesum/phantom/files/example.h5",
        "the archive makes another wheel than the source",
    ]


def test_the_wheel_works_without_the_source(built, tmp_path):
    with zipfile.ZipFile(built[0]) as content:
        content.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    code = "import xanesum as xs; print(xs.__file__); print(xs.read_stack(xs.example_scan()).shape)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)

    place, shape = done.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path / "installed")
    assert shape == "(64, 96, 120)"


def names_and_bounds(requirements):
    """Return {name: lowest version} of requirements; names as package indexes compare them."""
    found = (re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)", text) for text in requirements)
    return {normal(each[1]): each[2] for each in found if each}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_lower_bounds_are_the_versions_to_test_with():
    lines = (REPO / "constraints-lowest.txt").read_text("utf-8").split()
    tested = {normal(name): version for name, version in (line.split("==") for line in lines)}
    bounds = names_and_bounds(PROJECT["dependencies"])

    assert set(bounds) - set(tested) == {
        "torch"
    }  # its lowest version comes with CUDA only; see CONTRIBUTING.md
    for name, version in bounds.items():
        if name in tested:
            same = [each.split(".")[: len(version.split("."))] for each in (tested[name], version)]
            assert same[0] == same[1], (name, tested[name], version)


def test_the_recipe_of_conda_has_the_same_requirements():
    recipe = (REPO / "recipe" / "meta.yaml").read_text("utf-8")
    section = recipe.split("  run:\n")[1].split("\ntest:")[0]
    wanted = dict(re.findall(r"^    - ([\w-]+) >=([\d.]+)", section, re.MULTILINE))
    names = {"matplotlib-base": "matplotlib", "pytorch": "torch"}

    assert {names.get(name, name): version for name, version in wanted.items() if name != "python"} == (
        names_and_bounds(PROJECT["dependencies"])
    )
    assert wanted["python"] == PROJECT["requires-python"].removeprefix(">=")


def test_the_image_does_not_run_as_root():
    lines = (REPO / "Dockerfile").read_text("utf-8").splitlines()
    users = [number for number, line in enumerate(lines) if line.startswith("USER ")]
    (entry,) = (number for number, line in enumerate(lines) if line.startswith("ENTRYPOINT "))

    assert users
    assert users[-1] < entry
    assert lines[users[-1]] != "USER root"


def test_the_citation_is_whole():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text("utf-8"))

    assert set(citation) >= {"cff-version", "message", "title", "authors", "version", "license", "references"}
    (paper,) = citation["references"]
    assert paper["type"] == "conference-paper"
    assert [author["family-names"] for author in paper["authors"]] == [
        "Li",
        "Chen",
        "Zan",
        "Qian",
        "Pianetta",
        "Liu",
    ]
    assert paper["year"] == 2022
