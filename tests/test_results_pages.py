"""The pages of docs/results/ hold what the files of the benchmarks hold, and can be found and read."""

import importlib.util
import re
from pathlib import Path

import pytest
from paper.page import files as paper_files

REPO = Path(__file__).resolve().parents[1]
FOLDER = REPO / "docs" / "results"
PAGES = sorted(FOLDER.glob("*.md"))
WIDEST = 130  # of prose; rows of tables may be longer

spec = importlib.util.spec_from_file_location("results_pages", REPO / "tools" / "results_pages.py")
results_pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(results_pages)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the pages that the script works on."""
    for page in PAGES:
        (tmp_path / page.name).write_bytes(page.read_bytes())
    monkeypatch.setattr(results_pages, "PAGES", tmp_path)
    return tmp_path


def test_the_pages_are_what_the_script_makes(capsys):
    assert results_pages.main(["--check"]) == 0, capsys.readouterr().out


def test_another_figure_is_found_and_named_and_written_anew(copied, capsys):
    page = copied / "quality.md"
    right = page.read_text("utf-8")
    page.write_text(right.replace("28.13 dB", "29.13 dB"), "utf-8")

    assert results_pages.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith("quality.md: ")
    assert page.read_text("utf-8") != right

    assert results_pages.main([]) == 0
    assert page.read_text("utf-8") == right
    assert results_pages.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<!-- table: nothing -->\n<!-- end -->\n", "no table 'nothing'"),
        ("<!-- table: risk -->\n", "without end"),
        ("<!-- end -->\n", "without table"),
        ("<!-- table: risk -->\n<!-- table: noise -->\n<!-- end -->\n", "without end"),
    ],
)
def test_wrong_marks_are_refused_with_the_name_of_the_page(copied, text, reason):
    (copied / "wrong.md").write_text(text, "utf-8")

    with pytest.raises(SystemExit, match=rf"^wrong\.md: .*{reason}"):
        results_pages.main(["--check"])


def test_every_table_is_on_one_page():
    shown = [name for page in PAGES for name in re.findall(r"<!-- table: (.+) -->", page.read_text("utf-8"))]

    assert sorted(shown) == sorted(results_pages.TABLES)


def test_every_file_of_results_is_in_a_table():
    found = (REPO / "benchmarks" / "results").glob("*.json")
    saved = {path.stem for path in found if not path.stem.endswith("-quick")}  # those are never committed

    shown = {file for table in results_pages.TABLES.values() for file in table.files}
    assert shown | set(paper_files(("", "reduced"))) == saved  # the others are in docs/results/paper


def test_every_page_is_linked_from_the_first():
    first = (FOLDER / "README.md").read_text("utf-8")

    assert set(re.findall(r"\]\((\w+\.md)\)", first)) == {page.name for page in PAGES} - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_not_too_wide(page):
    lines = page.read_text("utf-8").splitlines()

    assert [line for line in lines if len(line) > WIDEST and not line.startswith("|")] == []


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (8874.8, 3, "8,875"),
        (0.054, 2, "0.054"),
        (0.00016433, 2, "0.00016"),
        (0, 3, "0"),
        (17.04, 3, "17.0"),
    ],
)
def test_numbers_have_no_exponent(value, digits, text):
    assert results_pages.short(value, digits) == text
