"""The report: one file, every section, and words that follow the figures."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scans import add_noise, edge_stack

from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import WriteError
from xanesum.method.denoising import denoise
from xanesum.report import figures as report
from xanesum.report.page import write_report
from xanesum.report.texts import Facts
from xanesum.xanes import half_step_energy, white_line

EDGE_EV = 8340.0 + np.linspace(0, 3, 30)[:, None] + np.zeros(34)
CLEAN = edge_stack(EDGE_EV, n_energies=60)
NOISY = CLEAN.copy(data=add_noise(CLEAN.values, 0.05))
FACTS = Facts("scan<1>.h5", 1.25, ("3 pixels left out",), "", 'rank = "<automatic>"', ("a note & more",))


def page_of(stack, path, maps=half_step_energy, facts=FACTS):
    result = denoise(stack, rank=2)
    write_report(path, stack, result, maps and maps(result), examine_residual(stack, result), facts=facts)
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(NOISY, tmp_path_factory.mktemp("report") / "report.html")


def test_it_needs_nothing_from_elsewhere(page):
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "http" not in re.sub(r"data:[^\"]*", "", page).replace("http-equiv", "")


def test_every_picture_can_be_opened_and_says_what_it_is(page):
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"[^>]*alt="([^"]+)"', page)

    assert len(pictures) == page.count("<img") > 20
    for data, _ in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert min(image.size) > 100
        assert np.ptp(np.asarray(image.convert("L")).astype(float)) > 100  # not an empty square


@pytest.mark.parametrize(
    "text",
    [
        "(pre-edge): before",
        "(edge): after",
        "(post-edge): residual",
        "Map: half-step energy (eV)",
        "Standard error of the map",
        "Pixel 5: y =",
        "Component 2: spectrum",
        "2 (chosen)",
        "Noise level at each energy",
        "Root mean square of the residual",
        "correlation along energy",
        "Nothing of the sample was found",
        "3 pixels left out",
        "0 of 1020 pixels are masked",
        "numpy",
        "input_digest",
    ],
)
def test_it_shows(text, page):
    assert text in page


def test_names_from_outside_are_escaped(page):
    assert "scan&lt;1&gt;.h5" in page
    assert "scan<1>" not in page
    assert "a note &amp; more" in page


def test_white_residual_is_called_white_and_striped_noise_is_not(page, tmp_path):
    rows = np.random.default_rng(3).standard_normal((60, 30, 1)).astype(np.float32)
    striped = page_of(NOISY + 0.1 * rows, tmp_path / "striped.html")

    assert "as good as white" in page
    assert "correlated from neighbour to neighbour" in striped


def test_without_a_map_the_reason_stands_there(tmp_path):
    facts = Facts("scan.h5", 1.0, (), "too few energies", "", ())

    text = page_of(NOISY, tmp_path / "none.html", maps=None, facts=facts)

    assert "There is no map: too few energies" in text
    assert "(first): before" in text


def test_masked_pixels_and_dropped_frames_are_counted(tmp_path):
    mask = np.ones((30, 34), bool)
    mask[:5] = False
    weight = np.ones(60)
    weight[7] = 0
    stack = NOISY.assign_coords(mask=(("y", "x"), mask), weight=("energy", weight))

    text = page_of(stack, tmp_path / "masked.html", maps=white_line)

    assert "170 of 1020 pixels are masked" in text
    assert f"1 of 60 frames have weight 0 ({NOISY.energy.values[7]:.1f} eV)" in text
    assert "Map: white-line position (eV)" in text


def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(WriteError, match="report"):
        page_of(NOISY, tmp_path / "missing" / "report.html")


def test_a_scan_whose_components_take_all_its_noise_has_a_report(tmp_path):
    clean = CLEAN[::25]
    result = denoise(clean.copy(data=add_noise(clean.values, 0.05)), method="sum", rank=len(clean))

    write_report(tmp_path / "few.html", clean, result, None, examine_residual(clean, result), facts=FACTS)

    assert np.isnan(result.sigma_energy).all()
    assert "Noise level at each energy" in (tmp_path / "few.html").read_text("utf-8")


@pytest.mark.parametrize("px", [1, 32])
def test_axes_of_averages_count_pixels_of_the_image(monkeypatch, px):
    drawn = Figure()
    monkeypatch.setattr(report, "_picture", lambda draw, caption, **size: draw(drawn, drawn.add_subplot()))
    report._image(np.zeros((5, 7)), "caption", "label", limits=(-1, 1), px=px)

    axes = drawn.axes[0]
    assert axes.get_xlim() == (-0.5, 7 * px - 0.5)
    assert axes.get_ylim() == (5 * px - 0.5, -0.5)
