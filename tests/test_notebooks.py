"""The notebooks run from the first cell to the last, and are stored without outputs."""

import ast
import json
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from xanesum.errors import XanesumWarning

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def cells(path):
    return json.loads(path.read_text("utf-8"))["cells"]


def run_cell(code, name, names):
    """Run a cell as a notebook does, and show its last expression."""
    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), name, "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), name, "eval"), names)
        show = getattr(value, "_repr_html_", None)
        assert show() if show is not None else repr(value)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "notebook"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        for number, cell in enumerate(cells(path)):
            if cell["cell_type"] == "code":
                run_cell("".join(cell["source"]), f"{path.stem}, cell {number}", names)
    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]

    assert len(NOTEBOOKS) == 2
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert path.stat().st_size < 20_000
