"""Pictures of the report: scale bars, axes, labels, colours; settings of matplotlib are as before."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scans import edge_stack
from skimage.color import rgb2lab

from xanesum.report import drawing
from xanesum.report import figures as report
from xanesum.report.colours import SIGNED
from xanesum.report.drawing import (
    axes_of_image,
    bar_length_nm,
    image_drawing,
    mark_scale,
    ratio_of,
    save_figure,
    size_of_pixel,
)


def test_drawing_leaves_the_settings_of_matplotlib_as_they_are():
    before = dict(matplotlib.rcParams)
    report.make_picture(lambda figure, axes: axes.plot([0, 1]), "line")

    assert dict(matplotlib.rcParams) == before


def test_signed_colours_are_perceptually_even():
    lab = rgb2lab(SIGNED.colors[None])[0]
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)

    for side in (steps[:128], steps[128:]):
        assert side.std() < 0.02 * side.mean()  # lab2rgb rounds nothing, and no colour leaves the gamut
    assert np.argmax(lab[:, 0]) == 128
    assert lab[128, 0] == pytest.approx(96, abs=0.1)
    assert lab[0, 0] == pytest.approx(lab[-1, 0], abs=0.5)


@pytest.mark.parametrize(
    ("width_nm", "length_nm"), [(6300.0, 1000.0), (34 * 40.0, 200.0), (20000.0, 5000.0), (90.0, 20.0)]
)
def test_a_scale_bar_has_a_round_length(width_nm, length_nm):
    assert bar_length_nm(width_nm) == length_nm


@pytest.mark.parametrize(("pixel_nm", "text"), [(40.0, "200 nm"), (400.0, "2 \u00b5m"), (None, None)])
def test_a_scale_bar_is_drawn_where_the_size_of_a_pixel_is_known(pixel_nm, text):
    axes = Figure().add_subplot()
    axes.imshow(np.zeros((30, 34)))
    mark_scale(axes, 34, pixel_nm)

    assert [each.get_text() for each in axes.texts] == ([] if text is None else [text])
    if text is None:
        assert axes.get_xlabel() == "x (px)"
    else:
        (bar,) = axes.patches
        length = float(text.split()[0]) * (1 if text.endswith("nm") else 1000)
        assert bar.get_width() * 34 * pixel_nm == pytest.approx(length)


@pytest.mark.parametrize("px", [1, 32])
def test_axes_of_averages_count_pixels_of_the_image(monkeypatch, px):
    drawn = Figure()
    monkeypatch.setattr(
        drawing, "make_picture", lambda draw, caption, **size: draw(drawn, drawn.add_subplot())
    )
    report.draw_image(np.zeros((5, 7)), "caption", "label", limits=(-1, 1), px=px)

    axes = drawn.axes[0]
    assert axes.get_xlim() == (-0.5, 7 * px - 0.5)
    assert axes.get_ylim() == (5 * px - 0.5, -0.5)


@pytest.mark.parametrize("shape", [(20, 200), (200, 20), (60, 60)])
def test_no_label_of_a_picture_is_cut_off(shape):
    image = np.linspace(8342.1, 8342.9, shape[0] * shape[1]).reshape(shape)
    draw = image_drawing(image, "half-step energy (eV)", limits=(8342.1, 8342.9))
    drawn = io.BytesIO()
    save_figure(draw, {"png": drawn}, width_in=3.6, ratio=ratio_of(image, None))
    pixels = np.asarray(Image.open(drawn).convert("L"))
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert border.min() == 255  # white


def test_axes_in_micrometres():
    extent, unit = axes_of_image(30, 34, 1, 40.0)
    assert extent == pytest.approx((0, 34 * 0.04, 30 * 0.04, 0))
    assert unit == "\u00b5m"
    assert size_of_pixel(edge_stack(np.full((4, 5), 8340.0), n_energies=60)) is None
