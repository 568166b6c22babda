"""The plots of the explorer, as Bokeh models; the page fills them with values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from xanesum.errors import MissingExtraError

__all__ = [
    "COMPONENTS",
    "MISSING",
    "bundle",
    "has_toolkit",
    "page_parts",
    "palettes",
    "plots_of",
    "require_toolkit",
]

MISSING = 'the explorer needs: pip install "xanesum[viewer]"'
IMAGE_PX = 350  # width of the images on the page
HEIGHTS_PX = (190, 620)  # least and largest height of an image
WIDE_PX = 440  # width of the plot of spectra
SPECTRA = {  # name -> label, colour (Okabe and Ito: told apart by all eyes)
    "pixel": ("pixel", "#0072B2"),
    "region": ("region", "#D55E00"),
}
COMPONENTS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
)
BARS = "#6a8caf"
HOVER, REFERENCES = "#7f7f7f", ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8c6d31", "#6b6ecf")


def has_toolkit() -> bool:
    """Whether the plotting toolkit is installed."""
    return find_spec("bokeh") is not None


def require_toolkit() -> None:
    """Raise MissingExtraError where the plotting toolkit is missing."""
    if not has_toolkit():
        raise MissingExtraError(MISSING)


def bundle() -> str:
    """Return the script of the toolkit, to be held by a page."""
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"], log_level="error").js_raw)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What both plots of images have in common."""

    n_y: int
    n_x: int
    ranges: dict[str, Any]  # of both axes: the plots move together
    pixel_nm: float | None

    @property
    def height_px(self) -> int:
        """Height on the page."""
        return int(np.clip(IMAGE_PX * self.n_y / self.n_x, *HEIGHTS_PX))


def plots_of(header: dict[str, Any]) -> dict[str, Any]:
    """Return the plots by name: image, map, spectra, histogram and components.

    Parameters
    ----------
    header : dict
        From `xanesum.viewer.content.content_of`.
    """
    from bokeh.models import Range1d

    _, n_y, n_x = header["shape"]
    ranges = {
        "x_range": Range1d(-0.5, n_x - 0.5, name="columns"),
        "y_range": Range1d(n_y - 0.5, -0.5, name="rows"),
    }
    shown = _Shown(n_y, n_x, ranges, header["pixel_nm"])
    plots = {"image": _image_plot("image", shown, "Greys256", header["quantity"], header["limits"])}
    told = header["map"]
    if told is not None:
        label = f"{told['label']} ({told['unit']})" if told["unit"] else told["label"]
        plots["map"] = _image_plot("map", shown, "Viridis256", label, told["limits"])
        plots["histogram"] = _histogram(label)
    plots["spectra"] = _spectra_plot(header)
    plots["components"] = _components_plot(header)
    return plots


def _on(event: str, call: str) -> tuple[str, Any]:
    from bokeh.models import CustomJS

    return event, CustomJS(code=f"window.explorer && window.explorer.{call}(cb_obj)")


def _image_plot(name: str, shown: _Shown, palette: str, label: str, limits: Sequence[float]) -> Any:
    """Return a plot of an image that is clicked in and drawn in."""
    from bokeh.models import ColorBar, ColumnDataSource, LinearColorMapper
    from bokeh.plotting import figure

    plot = figure(
        name=name,
        frame_width=IMAGE_PX,
        frame_height=shown.height_px,
        tools="pan,wheel_zoom,box_select,lasso_select,reset,save",
        active_drag="box_select",
        active_scroll="wheel_zoom",
        toolbar_location="above",
        x_axis_label="x (px)",
        y_axis_label="y (px)",
        match_aspect=True,
        **shown.ranges,
    )
    for lines in plot.grid:
        lines.update(visible=False)
    source = ColumnDataSource({"image": [np.zeros((1, 1), np.float32)]}, name=f"{name}_source")
    mapper = LinearColorMapper(
        palette=palette,
        low=limits[0],
        high=limits[1],
        nan_color="rgba(127,127,127,0.25)",
        name=f"{name}_colours",
    )
    plot.image("image", x=-0.5, y=-0.5, dw=shown.n_x, dh=shown.n_y, source=source, color_mapper=mapper)
    plot.add_layout(ColorBar(color_mapper=mapper, title=label, width=12, name=f"{name}_bar"), "right")
    marks = ColumnDataSource({"x": [], "y": []}, name=f"{name}_mark")
    plot.scatter("x", "y", source=marks, marker="cross", size=16, line_width=2, color=SPECTRA["pixel"][1])
    outline = ColumnDataSource({"x": [], "y": []}, name=f"{name}_outline")
    plot.patch("x", "y", source=outline, fill_alpha=0.08, line_width=2, color=SPECTRA["region"][1])
    if shown.pixel_nm is not None:
        _add_scale_bar(plot, shown.pixel_nm, shown.n_x)
    for event, call in (
        ("tap", "tapped"), ("mousemove", "hovered"), ("mouseleave", "left"), ("selectiongeometry", "drawn")
    ):  # fmt: skip
        plot.js_on_event(*_on(event, call))
    return plot


def _add_scale_bar(plot: Any, pixel_nm: float, n_x: int) -> None:
    """Add a bar of a round length; a second axis, which is not drawn, has its unit."""
    from bokeh.models import CustomJS, Range1d, ScaleBar

    um = pixel_nm / 1000
    plot.extra_x_ranges = {"um": Range1d(-0.5 * um, (n_x - 0.5) * um)}
    follow = CustomJS(
        args={"um": plot.extra_x_ranges["um"], "size": um},
        code="um.setv({start: cb_obj.start * size, end: cb_obj.end * size})",
    )
    for end in ("start", "end"):
        plot.x_range.js_on_change(end, follow)
    bar = ScaleBar(
        range=plot.extra_x_ranges["um"],
        unit="µm",
        bar_length=0.25,
        location="bottom_left",
        background_fill_alpha=0.6,
        border_line_color=None,
        padding=5,
        margin=6,
        name=f"{plot.name}_scale",
    )
    plot.add_layout(bar)


def _histogram(label: str) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    plot = figure(
        name="histogram",
        frame_width=IMAGE_PX,
        frame_height=150,
        tools="xbox_select,reset,save",
        active_drag="xbox_select",
        toolbar_location="above",
        x_axis_label=label,
        y_axis_label="pixels",
        output_backend="svg",
    )
    source = ColumnDataSource({"left": [], "right": [], "top": []}, name="histogram_source")
    plot.quad(
        left="left",
        right="right",
        top="top",
        bottom=0,
        source=source,
        line_color=None,
        fill_color=BARS,
        name="bars",
    )
    shown = ColumnDataSource({"left": [], "right": [], "top": []}, name="histogram_region")
    plot.quad(
        left="left",
        right="right",
        top="top",
        bottom=0,
        source=shown,
        line_color=None,
        fill_color=SPECTRA["region"][1],
        fill_alpha=0.9,
    )
    _span(plot, "low", "#888888")
    _span(plot, "high", "#888888")
    plot.y_range.start = 0
    plot.js_on_event(*_on("selectiongeometry", "limited"))
    return plot


def _span(plot: Any, name: str, colour: str, dash: str = "dashed") -> None:
    """Add a vertical line that the page moves."""
    from bokeh.models import Span

    plot.add_layout(
        Span(dimension="height", line_color=colour, line_dash=dash, name=f"{plot.name}_{name}", visible=False)
    )


def _spectra_plot(header: dict[str, Any]) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    plot = figure(
        name="spectra",
        frame_width=WIDE_PX,
        frame_height=330,
        tools="pan,xbox_zoom,wheel_zoom,reset,save",
        active_drag="xbox_zoom",
        toolbar_location="above",
        x_axis_label="photon energy (eV)",
        y_axis_label=header["quantity"],
        output_backend="svg",
    )
    for name, (label, colour) in SPECTRA.items():
        source = ColumnDataSource({key: [] for key in ("x", "y", "low", "high")}, name=f"{name}_spectrum")
        plot.varea("x", "low", "high", source=source, color=colour, alpha=0.25)
        plot.line("x", "y", source=source, color=colour, line_width=2, legend_label=label)
    measured = ColumnDataSource({"x": [], "y": []}, name="measured_spectrum")
    plot.scatter("x", "y", source=measured, size=3, color=SPECTRA["pixel"][1], alpha=0.5, name="measured")
    hover = ColumnDataSource({"x": [], "y": []}, name="hover_spectrum")
    plot.line("x", "y", source=hover, color=HOVER, line_width=1.2, legend_label="under the pointer")
    for n, name in enumerate(header["references"]):
        source = ColumnDataSource({"x": [], "y": []}, name=f"reference{n}")
        colour = REFERENCES[n % len(REFERENCES)]
        plot.line(
            "x", "y", source=source, color=colour, line_dash="dotdash", line_width=1.5, legend_label=name
        )
    _span(plot, "energy", "#888888", "solid")
    _span(plot, "edge", "#009E73")
    _span(plot, "state", SPECTRA["pixel"][1], "dotted")
    _span(plot, "state_region", SPECTRA["region"][1], "dotted")
    plot.legend[0].update(location="bottom_right", click_policy="hide", background_fill_alpha=0.6)
    plot.js_on_event(*_on("tap", "energy_tapped"))
    return plot


def _components_plot(header: dict[str, Any]) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    plot = figure(
        name="components",
        frame_width=IMAGE_PX,
        frame_height=150,
        tools="pan,xbox_zoom,reset,save",
        toolbar_location="above",
        x_axis_label="photon energy (eV)",
        y_axis_label="component",
        output_backend="svg",
    )
    for k, spectrum in enumerate(header["spectra"]):
        source = ColumnDataSource({"x": header["energy"], "y": spectrum}, name=f"component{k}")
        plot.line(
            "x",
            "y",
            source=source,
            color=COMPONENTS[k % len(COMPONENTS)],
            line_width=1.5,
            name=f"component_line{k}",
        )
    return plot


def palettes() -> dict[str, list[str]]:
    """Return the colours of the maps that the page offers, by name; most are perceptually uniform."""
    from bokeh.palettes import Cividis256, Inferno256, Magma256, RdBu11, Viridis256, interp_palette

    uniform = {"viridis": Viridis256, "cividis": Cividis256, "magma": Magma256, "inferno": Inferno256}
    return {name: list(colours) for name, colours in uniform.items()} | {
        "red and blue": list(interp_palette(RdBu11, 256))
    }


def page_parts(plots: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the script that makes the plots, and the HTML element of each."""
    from bokeh.embed import components

    script, divs = components(plots, wrap_script=False)
    return str(script), {name: str(div) for name, div in divs.items()}
