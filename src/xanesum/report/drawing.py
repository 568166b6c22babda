"""Pictures of a report: SVGs inside the page, which follow its theme, drawn without pyplot."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xanesum.report.colours import IMAGES, INK, MISSING

__all__ = [
    "MM",
    "ON_WHITE",
    "Draw",
    "Picture",
    "axes_of_image",
    "bar_length_nm",
    "draw_image",
    "image_drawing",
    "limits_of",
    "make_picture",
    "mark_scale",
    "ratio_of",
    "save_figure",
    "size_of_pixel",
]

Image = NDArray[np.floating]
Draw = Callable[[Figure, Axes], None]
Style = Mapping[str, float | str | bool | list[str]]
MM = 1 / 25.4  # in inches
WIDTH_IN = 3.6  # width of a figure in inches
LEAST_RATIO = 0.48  # height over width; lower pictures would cut off the label of the colour bar
DPI = 180  # of images inside a picture
STYLE: Style = {  # of all figures
    "svg.fonttype": "none",  # text stays text: readers can select it, journals can set it
    "svg.hashsalt": "xanesum",  # the same figure is the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "legend.frameon": False,
    "legend.fontsize": 8.0,
}
ON_WHITE: Style = {"figure.facecolor": "white", "savefig.facecolor": "white"}
THEME = (  # for the pictures alone: they do not see the style of the page
    f"<style>svg{{color:{INK}}}@media (prefers-color-scheme:dark){{svg{{color:#dfe3e8}}}}</style>"
)
BAR_SHARE = 0.3  # of the width of an image that a scale bar takes at most
NICE = (1.0, 2.0, 5.0, 10.0)


class Picture(NamedTuple):
    """An SVG as data URI, and its caption."""

    source: str
    caption: str


def make_picture(draw: Draw, caption: str, *, ratio: float = 0.72) -> Picture:
    """Draw on a new figure, without the global state of pyplot; `ratio` is height over width."""
    buffer = io.BytesIO()
    save_figure(draw, {"svg": buffer}, width_in=WIDTH_IN, ratio=ratio, style={})
    svg = buffer.getvalue().decode("utf-8").replace(INK, "currentColor")
    themed = re.sub(r"(<svg [^>]*>)", rf"\1{THEME}", svg, count=1)
    encoded = base64.b64encode(themed.encode()).decode("ascii")
    return Picture(f"data:image/svg+xml;base64,{encoded}", caption)


def save_figure(
    draw: Draw,
    targets: Mapping[str, Path | IO[Any]],
    *,
    width_in: float,
    ratio: float,
    dpi: int = DPI,
    style: Style = ON_WHITE,
) -> None:
    """Save what `draw` draws on a new figure, as ``svg`` or ``png`` by the key of each target.

    `draw` gets the figure and its only axes; `ratio` is height over width.  The settings of matplotlib are
    as before in the end.
    """
    with rc_context({**STYLE, **style}):  # type: ignore[dict-item]  # names of settings are any text here
        figure = Figure(figsize=(width_in, width_in * ratio), dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, figure.add_subplot())
        figure.draw_without_rendering()  # the layout is right only once the tick labels are known
        for form, target in targets.items():
            metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
            figure.savefig(target, format=form, dpi=dpi, metadata=metadata)


def draw_image(
    image: Image,
    caption: str,
    label: str,
    *,
    limits: tuple[float, float],
    cmap: str | Colormap = IMAGES,
    extend: str = "neither",
    px: int = 1,
    pixel_nm: float | None = None,
) -> Picture:
    """Show an image with a colour bar, and a scale bar, or axes in pixels where a pixel's size is not known.

    Values that are not finite are grey, or red in a grey image.  Each value stands for `px` x `px` pixels.
    """
    draw = image_drawing(image, label, limits=limits, cmap=cmap, extend=extend, px=px, pixel_nm=pixel_nm)
    return make_picture(draw, caption, ratio=ratio_of(image, pixel_nm))


def ratio_of(image: Image, pixel_nm: float | None) -> float:
    """Return height over width of a picture of an image with its colour bar."""
    ratio = 0.74 * image.shape[0] / image.shape[1] + (0.12 if pixel_nm is None else 0.04)
    return float(np.clip(ratio, LEAST_RATIO, 1.2))


def image_drawing(
    image: Image,
    label: str,
    *,
    limits: tuple[float, float],
    cmap: str | Colormap = IMAGES,
    extend: str = "neither",
    px: int = 1,
    pixel_nm: float | None = None,
) -> Draw:
    """Return what `draw_image` draws."""
    height, width = image.shape

    def draw(figure: Figure, axes: Axes) -> None:
        extent, _ = axes_of_image(height, width, px, None)
        shown = axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent)
        bad = MISSING if cmap != IMAGES else "#c4534f"
        shown.set_cmap(shown.get_cmap().with_extremes(bad=bad))
        mark_scale(axes, px * width, pixel_nm)
        bar = figure.colorbar(shown, ax=axes, label=label, extend=extend, fraction=0.06, pad=0.02)
        bar.outline.set_visible(False)
        bar.formatter.set_useOffset(False)  # type: ignore[attr-defined]  # 8342.5, not 0.5 with a note above

    return draw


def mark_scale(axes: Axes, width_px: float, pixel_nm: float | None) -> None:
    """Draw a scale bar on an image whose axes count pixels; name the axes where no size is known."""
    if pixel_nm is None:
        axes.set(xlabel="x (px)", ylabel="y (px)")
        axes.spines[["top", "right"]].set_visible(True)
        return
    axes.set_axis_off()
    length_nm = bar_length_nm(width_px * pixel_nm)
    text = f"{length_nm:g} nm" if length_nm < 1000 else f"{length_nm / 1000:g} \u00b5m"
    share = length_nm / pixel_nm / width_px
    bar = Rectangle((0.04, 0.035), share, 0.018, transform=axes.transAxes, fc="white", ec="black", lw=0.6)
    axes.add_patch(bar)
    axes.text(
        0.04 + share / 2, 0.075, text, transform=axes.transAxes, color="white", ha="center", va="bottom",
        fontweight="bold", bbox={"boxstyle": "round,pad=0.15", "fc": (0, 0, 0, 0.6), "ec": "none"},
    )  # fmt: skip


def bar_length_nm(width_nm: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... nm that takes less than 30 % of the width."""
    most = BAR_SHARE * width_nm
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(nice * power for nice in NICE if nice * power <= most))


def axes_of_image(
    height: int, width: int, px: int, pixel_nm: float | None
) -> tuple[tuple[float, float, float, float], str]:
    """Return the ends of the axes of an image, as matplotlib takes them, and their unit."""
    if pixel_nm is None:
        return (-0.5, px * width - 0.5, px * height - 0.5, -0.5), "px"
    size_um = px * pixel_nm / 1000
    return (0.0, size_um * width, size_um * height, 0.0), "\u00b5m"


def size_of_pixel(source: Any) -> float | None:
    """Return the size of a pixel of a stack or a result in nm; None where it is not known."""
    size = source.attrs.get("pixel_size_nm")
    return float(size) if size is not None and np.isfinite(size) and size > 0 else None


def limits_of(values: Image, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Return two percentiles of the finite values; they always differ."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    bottom, top = (float(v) for v in np.percentile(finite, (low, high)))
    return (bottom, top) if top > bottom else (bottom - 0.5, bottom + 0.5)
