"""Every block of Python and shell in the documentation runs, or says why it cannot."""

import glob
import gzip
import json
import re
import shlex
import shutil
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tifffile

import xanesum as xs
from xanesum.cli.main import main
from xanesum.errors import XanesumWarning
from xanesum.phantom import state_spectra
from xanesum.viewer.plots import has_toolkit

REPO = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]*?) -->\n)?"
    r"^```(?P<language>python|sh)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHAPE, N_ENERGIES, SIGMA = (40, 48), 48, 8.0  # pixels (y, x); of 255
ATHENA = "# Athena project file -- Demeter version 0.9.26"
EMPTY = {"docs/start.md"}  # pages that make all of their files themselves
NEEDS_VIEWER = {"docs/explore.md"}


class Block:
    """A block of code on a page."""

    def __init__(self, found):
        self.language, self.code, self.reason = found["language"], found["code"], found["reason"]


def blocks_of(text):
    return [Block(found) for found in BLOCK.finditer(text)]


def pages_with_code():
    pages = sorted([REPO / "README.md", REPO / "CONTRIBUTING.md", *(REPO / "docs").rglob("*.md")])
    return [page for page in pages if blocks_of(page.read_text("utf-8"))]


def commands_of(code):
    """Return the commands of a block as lists of words; a command may go on in the next line."""
    lines = code.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    return [command for command in commands if command]


def expanded(words):
    """Return the words with patterns of names replaced by the names, as a shell does."""
    found = [sorted(glob.glob(word)) if "*" in word else [word] for word in words]
    return [name for names in found for name in names]


def write_reference(path, values, energy_ev):
    heading = (
        "# XDI/1.0\n# Element.symbol: Ni\n# Element.edge: K\n# Column.1: energy eV\n# Column.2: norm\n# ---\n"
    )
    table = "".join(f"{x:.4f} {y:.6f}\n" for x, y in zip(energy_ev, values, strict=True))
    path.write_text((heading if path.suffix == ".xdi" else "") + table, "utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with every file that the pages name: one small scan in several forms, and its results."""
    folder = tmp_path_factory.mktemp("files")
    phantom = xs.simulate("particle", shape=SHAPE, n_energies=N_ENERGIES, rng=np.random.default_rng(3))
    stack = phantom.noisy(SIGMA, rng=np.random.default_rng(4)) / 255  # as optical density
    stack.attrs["quantity"] = "optical_density"
    for name in ("scan.h5", "small.h5", "stack.tif"):
        xs.write_stack(stack, folder / name)
    energy_ev = stack.energy.values
    (folder / "stack_energies.txt").rename(folder / "energies.txt")
    np.savetxt(folder / "energies_kev.txt", energy_ev / 1000)
    np.save(folder / "values.npy", np.moveaxis(stack.values, 0, -1))
    wide_ev = np.linspace(energy_ev[0] - 5, energy_ev[-1] + 5, 400)
    states = state_spectra(wide_ev)
    for name, state in (("NiO.xdi", 0), ("LiNiO2.xdi", 4), ("LiNiO2.txt", 4)):
        write_reference(folder / name, states[state], wide_ev)
    np.savetxt(folder / "foil.txt", np.column_stack([wide_ev, np.arctan(wide_ev - 8333.4) / np.pi + 0.5]))
    group = {
        "args": {"label": "NiO", "bkg_z": "Ni"},
        "x": list(map(str, wide_ev)),
        "y": list(map(str, states[2])),
    }
    (folder / "project.prj").write_bytes(
        gzip.compress(json.dumps({"_____header1": ATHENA, "abcde": group}).encode())
    )
    marked = np.zeros(SHAPE, np.uint8)
    marked[10:20, 10:30] = 1
    for name in ("labels.tif", "core.tif", "rim.tif", "mask.tif"):
        tifffile.imwrite(folder / name, marked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        xs.run(folder / "small.h5", folder / "results")
    return folder


@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: page.relative_to(REPO).as_posix())
def test_code_of_a_page_runs(page, files, tmp_path, monkeypatch, capsys):
    name = page.relative_to(REPO).as_posix()
    if name in NEEDS_VIEWER and not has_toolkit():
        pytest.skip("bokeh is not installed")
    folder = tmp_path / "work"
    if name in EMPTY:
        folder.mkdir()
    else:
        shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    names = {"__name__": "page"}
    for block in blocks_of(page.read_text("utf-8")):
        if block.reason is not None:
            continue
        if block.language == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", XanesumWarning)
                exec(compile(block.code, name, "exec"), names)
            plt.close("all")
            continue
        for program, *arguments in commands_of(block.code):
            assert program == "xanesum", f"{program}: mark the block with <!-- not run: REASON -->"
            assert main(expanded(arguments)) == 0, (arguments, capsys.readouterr().err)


def test_a_block_that_is_not_run_has_a_reason():
    reasons = [block.reason for page in pages_with_code() for block in blocks_of(page.read_text("utf-8"))]

    assert all(reason is None or len(reason) > 5 for reason in reasons)
    assert sum(reason is None for reason in reasons) > len(reasons) / 2


def test_a_block_is_found_with_its_reason_and_its_commands():
    marked = "<!-- not run: no cluster here -->\n```sh\nsbatch a\n```\n"
    text = f"{marked}```sh\nxanesum info a \\\n  -o 'b c'  # d\n```\n"

    first, second = blocks_of(text)

    assert (first.reason, second.reason) == ("no cluster here", None)
    assert commands_of(second.code) == [["xanesum", "info", "a", "-o", "b c"]]
