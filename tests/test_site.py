"""The documentation site: every page is reached, and the small extensions do what they say."""

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
LISTED_BY_FOLDER = ("decisions/", "results/")  # their lists hold every page of the folder


@pytest.fixture
def parts(monkeypatch):
    """The folder of the extensions, on the path."""
    pytest.importorskip("sphinx", reason="sphinx is not installed; make docs builds the site")
    monkeypatch.syspath_prepend(str(DOCS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "_parts"]:
        del sys.modules[name]


def test_every_page_is_in_the_list_of_pages():
    text = (DOCS / "index.md").read_text("utf-8")
    lists = re.findall(r"^```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    listed = [line for block in lists for line in block.split()]

    assert [page for page in PAGES if page not in listed and not page.startswith(LISTED_BY_FOLDER)] == [
        "index"
    ]
    assert [page for page in listed if page not in PAGES] == []
    assert "decisions" in listed
    assert "results/README" in listed


def test_pages_need_nothing_from_the_network():
    texts = [path.read_text("utf-8") for path in (*DOCS.rglob("*.py"), *DOCS.rglob("*.css"))]

    assert [text for text in texts if re.search(r"https?://|@import", text)] == []


def test_links_out_of_the_folder_become_words(parts):
    from _parts.links import relink

    page = DOCS / "howto" / "align.md"
    text = "[a](../maps.md#b) [b](../../tools/mutants.py) [c](../../CHANGELOG.md) [d](../decisions/) ![e](x)"

    assert relink(text, page, page, DOCS) == (
        "[a](../maps.md#b) b [c](../changelog.md) [d](../decisions.md) ![e](x)"
    )


def test_links_of_an_included_page_are_those_of_its_place(parts):
    from _parts.links import relink

    root = DOCS.parent / "CHANGELOG.md"

    assert relink("[a](docs/maps.md)", root, DOCS / "changelog.md", DOCS) == "[a](maps.md)"


def test_every_command_is_in_the_reference(parts):
    from _parts.command_line import table, usage_of, verbs_of

    from xanesum.cli.parser import build_parser

    verbs = verbs_of(build_parser())
    options = {usage_of(action) for action in verbs["run"]._actions}

    assert {"info", "run", "map", "watch", "example"} <= set(verbs)
    assert "--roi Y0:Y1,X0:X1" in options
    assert "-o, --output FOLDER" in options
    for verb in verbs.values():
        assert "%(" not in table(verb).astext()


def test_an_equation_is_drawn_by_the_browser(parts):
    from _parts.equations import mathml

    text = mathml(r"\hat{X} = S^{\top} \hat{C}", is_block=True)

    assert text.startswith("<math")
    assert "<msup>" in text
    assert "script" not in text


def test_references_of_docstrings_are_plain_text(parts):
    from _parts.docstrings import without_footnotes

    lines = ["As in [1]_ and a[1].", "", ".. [1] An author, a", "   title.", ".. [2] Another.", "", "  Text"]

    assert without_footnotes(lines) == [
        "As in [1] and a[1].", "", "", "[1] An author, a", "title.", "", "[2] Another.", "", "  Text",
    ]  # fmt: skip
