"""The table of docs/formats.md is what is said of the real files."""

import importlib.util
from pathlib import Path

import numpy as np
import tifffile

REPO = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("formats_page", REPO / "tools" / "formats_page.py")
formats_page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(formats_page)


def test_the_page_is_what_the_script_makes(real_data, capsys):
    assert formats_page.main([str(real_data), "--check"]) == 0, capsys.readouterr().out


def test_files_of_which_the_same_is_said_are_one_row(tmp_path):
    for number in (1, 2):
        (tmp_path / f"notes{number}.txt").write_text("the night shift")
    tifffile.imwrite(tmp_path / "cell_8340.5eV.tif", np.ones((4, 5), np.uint16))

    rows = formats_page.table(tmp_path).splitlines()[2:]

    assert [row.split(" | ")[:5] for row in rows] == [
        ["| `cell_8340.5eV.tif`", "tiff", "1 x 4 x 5", "8340.50", "counts (assumed)"],
        ["| `notes#.txt` (2 files)", "", "", "", ""],
    ]
    assert "unknown format; known are" in rows[1]
