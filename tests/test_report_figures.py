"""Figures for a paper: their size in millimetres, text that can be read at that size, and what they show."""

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scans import add_noise, edge_stack

from xanesum.cli import main as cli
from xanesum.errors import StackError
from xanesum.io import write_stack
from xanesum.method.denoising import denoise
from xanesum.report import paper_figures
from xanesum.report.drawing import save_figure
from xanesum.report.figures import histogram_drawing, sigma_picture
from xanesum.report.paper_figures import FIGURE_FILES, write_figures
from xanesum.workflow import pipeline
from xanesum.xanes import half_step_energy

STACK = edge_stack(8340.0 + np.linspace(0, 3, 20)[:, None] + np.zeros(26), n_energies=30)
STACK = STACK.copy(data=add_noise(STACK.values, 0.02)).assign_attrs(pixel_size_nm=25.0)
RESULT = denoise(STACK, rank=2, denoiser="none")
MAPS = half_step_energy(RESULT)
DPI = 60  # instead of 600, which takes seconds


@pytest.fixture(autouse=True)
def _coarse(monkeypatch, tmp_path):
    monkeypatch.setattr(paper_figures, "DPI", DPI)
    monkeypatch.chdir(tmp_path)


def svg_of(name):
    return Path(f"figure_{name}.svg").read_text("utf-8")


def test_figures_have_the_widths_of_columns_and_text_of_readable_size():
    files = write_figures(".", RESULT, MAPS, stack=STACK, pixels=[(3, 4), (15, 20)])

    assert sorted(path.name for path in files) == sorted(FIGURE_FILES)
    for path in files:
        width_mm = int(re.search(r"_(\d+)mm", path.name)[1])
        if path.suffix == ".png":
            image = Image.open(path)
            assert image.width == pytest.approx(width_mm / 25.4 * DPI, abs=1)
            assert np.asarray(image.convert("L")).std() > 5
            continue
        root = ElementTree.parse(path).getroot()
        assert float(root.get("width").removesuffix("pt")) == pytest.approx(width_mm / 25.4 * 72, abs=0.1)
        sizes = [
            float(each) for each in re.findall(r"font(?:-size)?: (?:bold )?([\d.]+)px", path.read_text())
        ]
        assert sizes, path.name
        assert min(sizes) >= {85: 7, 170: 8}[width_mm]
    assert "half-step energy (eV)" in svg_of("map_85mm")
    assert "standard error (eV)" in svg_of("map_error_85mm")
    assert "100 nm" in svg_of("map_170mm")  # less than 30 % of 650 nm
    for text in ("1: y = 3, x = 4", "2: y = 15, x = 20", "photon energy (eV)", "optical density"):
        assert text in svg_of("spectra_170mm")


def test_the_same_result_gives_the_same_figures():
    once = [path.read_bytes() for path in write_figures(".", RESULT, MAPS)]

    assert [path.read_bytes() for path in write_figures(".", RESULT, MAPS)] == once


def test_the_legend_of_spectra_stands_beside_them(monkeypatch):
    seen = []

    def watched(draw, targets, **options):
        def drawn(figure, axes):
            draw(figure, axes)
            seen.append(figure)

        save_figure(drawn, targets, **options)

    monkeypatch.setattr(paper_figures, "save_figure", watched)
    write_figures(".", RESULT, MAPS, pixels=[(3, 4), (15, 20), (10, 10), (8, 22), (18, 2)])

    for figure in seen[-2:]:
        axes = figure.axes[-1]
        legend = axes.get_legend().get_window_extent()
        assert len(axes.get_legend().get_texts()) == 5
        assert legend.y0 >= axes.bbox.y1  # above the spectra ...
        assert figure.bbox.x0 <= legend.x0  # ... and not cut off
        assert legend.x1 <= figure.bbox.x1
        assert legend.y1 <= figure.bbox.y1


@pytest.mark.parametrize("middle", [7118.0, 28000.0])
@pytest.mark.parametrize("width", [0.3, 1.7, 2.4, 40.0])
def test_energies_below_a_histogram_do_not_run_together(middle, width):
    figure = Figure(figsize=(3.6, 3.6 * 0.72), dpi=72, layout="constrained")
    axes = figure.add_subplot()
    values = middle + width * np.linspace(-0.5, 0.5, 500)
    histogram_drawing(values, "half-step energy (eV)", (values[10], values[-10]))(figure, axes)
    figure.draw_without_rendering()

    shown = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    shown = [box for box in shown if axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1]
    assert len(shown) >= 2
    assert all(left.x1 + 2 < right.x0 for left, right in itertools.pairwise(shown))


def test_a_legend_names_its_place_so_that_a_busy_machine_brings_no_warning(monkeypatch):
    clock = SimpleNamespace(perf_counter=itertools.count(0.0, 10.0).__next__)  # 10 s between two looks
    monkeypatch.setattr("matplotlib.legend.time", clock)

    sigma_picture(RESULT)  # a warning fails the test
    assert clock.perf_counter() > 10  # there was a legend that looked for its place

    report = Path(paper_figures.__file__).parent
    lines = [line for path in report.glob("*.py") for line in path.read_text("utf-8").splitlines()]
    calls = [line for line in lines if ".legend(" in line]
    assert len(calls) > 5
    assert [line for line in calls if "loc=" not in line] == []


def test_without_a_map_there_are_spectra_only():
    files = write_figures(".", RESULT, None)

    assert {path.name.split("_")[1] for path in files} == {"spectra"}


def test_pixels_that_cannot_be_shown_are_refused():
    with pytest.raises(StackError, match="lies outside the images of 20 x 26 px"):
        write_figures(".", RESULT, MAPS, pixels=[(20, 0)])
    with pytest.raises(StackError, match="5 pixels at most, got 6"):
        write_figures(".", RESULT, MAPS, pixels=[(1, x) for x in range(6)])


def test_figures_of_a_saved_result_are_written_by_a_command(capsys):
    Path("night").mkdir()
    RESULT.save("night/result.sum.h5")

    assert cli.main(["figures", "night", "--pixel", "3,4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert sorted(Path(file).name for file in facts["files"]) == sorted(FIGURE_FILES)
    assert all(Path(file).is_file() for file in facts["files"])
    assert facts["folder"] == "night_figures"
    assert cli.main(["figures", "night", "-q"]) == 0  # into the same folder, which is its own
    assert cli.main(["figures", "night", "--pixel", "3,99"]) == 1
    assert "x = 99 lies outside the images" in capsys.readouterr().err


def test_a_run_writes_figures_if_asked_and_removes_old_ones(monkeypatch):
    monkeypatch.setattr(pipeline, "write_report", lambda path, *_, **__: path.write_text("report"))
    monkeypatch.setattr(pipeline, "has_toolkit", lambda: False)
    write_stack(STACK, "scan.h5")
    options = ["--rank", "2", "--denoiser", "none", "--align", "none", "-q"]

    assert cli.main(["run", "scan.h5", "-o", "out", "--figures", *options]) == 0
    assert {path.name for path in Path("out").glob("figure_*")} == set(FIGURE_FILES)
    assert cli.main(["run", "scan.h5", "-o", "out", *options]) == 0
    assert list(Path("out").glob("figure_*")) == []
