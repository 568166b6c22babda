"""The documentation is true: its code runs, its commands exist, its links lead somewhere."""

import ast
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import xanesum
from xanesum.cli.examples import EXAMPLES, EXIT_CODES
from xanesum.cli.main import main
from xanesum.io import write_stack
from xanesum.phantom import simulate
from xanesum.xanes import MAP_KINDS

REPO = Path(__file__).resolve().parents[1]
SRC = REPO / "src" / "xanesum"
README = (REPO / "README.md").read_text("utf-8")
PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")])
WIDEST = 130  # characters of a line; rows of tables may be longer
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\bxanesum ([a-z]+)\b([^`#\n]*)")


def blocks(text, language):
    """Return the fenced blocks of one language."""
    return [code for name, code in BLOCK.findall(text) if name == language]


def shell_text(text):
    """Return what a reader may type: shell blocks and code within sentences."""
    inline = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    return "\n".join([*blocks(text, "sh"), *inline])


def options_of(arguments):
    return re.findall(r"(?<!\S)--?[a-z][\w-]*", arguments)


def readme_commands():
    """Return {verb: options that the README uses with it}."""
    found = {}
    for verb, arguments in COMMAND.findall(shell_text(README)):
        found.setdefault(verb, set()).update(options_of(arguments))
    return found


def make_targets(text):
    return set(re.findall(r"^\s*make ([a-z]+)", shell_text(text), re.MULTILINE))


def anchors(text):
    """Return the fragments that headings make, in the way of common Markdown viewers."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def broken_links(page, text):
    """Return the local links of `text`, on `page`, that lead nowhere."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        inside = file.is_relative_to(REPO) and file.exists()
        if not inside or (
            fragment and fragment not in anchors(text if not path else file.read_text("utf-8"))
        ):
            broken.append(target)
    return broken


@pytest.fixture
def scan(tmp_path):
    """A small simulated scan under the name that the README uses."""
    phantom = simulate("particle", shape=(48, 60), n_energies=60, rng=np.random.default_rng(3))
    return write_stack(phantom.noisy(10.0, rng=np.random.default_rng(4)), tmp_path / "scan.h5")


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_python_of_the_readme_runs(code, scan, monkeypatch):
    monkeypatch.chdir(scan.parent)
    names = {}

    exec(compile(ast.parse(code), "README.md", "exec"), names)

    assert names["clean"].dims == names["stack"].dims
    assert names["clean"].shape == names["stack"].shape
    assert abs(names["result"].sigma - 10.0) < 1.0  # 48 x 60 pixels: a few per cent, three times over
    assert names["edge"]["half_step_energy_ev"].shape == (48, 60)
    assert Path("clean.h5").stat().st_size > names["clean"].size * 4


def test_the_readme_has_an_example_of_five_lines():
    (example,) = blocks(README, "python")
    body = [line for line in example.splitlines() if line and not line.startswith("import")]

    assert len(body) == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPO).as_posix())
def test_make_targets_exist(page):
    makefile = (REPO / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))

    assert make_targets(page.read_text("utf-8")) <= targets


def test_every_make_target_is_phony_and_explained():
    makefile = (REPO / "Makefile").read_text("utf-8")
    phony = set(re.search(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)[1].split())

    assert phony == set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))


@pytest.mark.parametrize(("verb", "options"), sorted(readme_commands().items()))
def test_commands_of_the_readme_exist(verb, options, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])

    assert ended.value.code == 0
    said = capsys.readouterr().out
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", said), f"{verb} has no {option}"


def test_denoisers_of_the_readme_are_those_there_are():
    from xanesum.denoisers.registry import BUILTINS

    section = README.split("### Denoisers")[1].split("\n## ")[0]

    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == set(BUILTINS)


def test_architecture_names_every_module_in_the_order_of_the_layers():
    from test_layers import FREE, LAYERS

    page = (REPO / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"^    (\w+)  ", blocks(page, "")[0], re.MULTILINE)
    there = {path.stem for path in SRC.glob("*.py")} | {
        path.name for path in SRC.iterdir() if path.is_dir() and list(path.glob("*.py"))
    }
    ordered = [name for name in named if name not in FREE]

    assert set(named) == there - {"__init__"}
    assert ordered == [name for name in LAYERS if name in ordered]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPO).as_posix())
def test_local_links_lead_somewhere(page):
    assert broken_links(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPO).as_posix())
def test_lines_are_not_too_wide(page):
    lines = page.read_text("utf-8").splitlines()

    assert [line for line in lines if len(line) > WIDEST and not line.startswith("|")] == []


def test_the_version_is_one():
    citation = (REPO / "CITATION.cff").read_text("utf-8")

    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [xanesum.__version__]
    assert version("xanesum") == xanesum.__version__


@pytest.mark.parametrize(
    "link",
    ["[a](docs/nowhere.md)", "[a](../outside.md)", "[a](#no-such-heading)", "![a](docs/images/none.png)"],
)
def test_a_broken_link_is_seen(link):
    assert len(broken_links(REPO / "README.md", f"# Title\n\n{link} and [b](#title)\n")) == 1


def test_a_command_is_seen_with_its_options():
    text = "```sh\nxanesum run scan.h5 -o out --energies e.txt   # not --this\n```\nor `xanesum info x`."

    assert [(verb, options_of(rest)) for verb, rest in COMMAND.findall(shell_text(text))] == [
        ("run", ["-o", "--energies"]),
        ("info", []),
    ]


def test_every_decision_has_a_number_and_a_title():
    pages = sorted((REPO / "docs" / "decisions").glob("*.md"))

    for number, page in enumerate(pages, start=1):
        assert page.name.startswith(f"{number:04d}-")
        assert page.read_text("utf-8").startswith(f"# {number}. ")


def test_pictures_are_small():
    pictures = [path for path in (REPO / "docs" / "images").iterdir() if path.is_file()]

    assert pictures
    assert all(path.stat().st_size < 300_000 for path in pictures)


def test_constraints_are_names_and_versions_only():
    lines = (REPO / "constraints.txt").read_text("utf-8").split()

    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line) for line in lines)
    assert not [line for line in lines if line.startswith("xanesum==")]


def test_every_kind_of_map_is_in_the_page_of_maps():
    page = (REPO / "docs" / "maps.md").read_text("utf-8")
    assert [kind for kind in MAP_KINDS if f"`{kind}`" not in page] == []


def test_the_page_of_the_command_line_has_every_command_and_exit_code():
    page = (REPO / "docs" / "command-line.md").read_text("utf-8")

    assert [verb for verb in EXAMPLES if f"`{verb}`" not in page] == []
    assert [code for code, meaning in EXIT_CODES.items() if f"| {code} | {meaning} |" not in page] == []
