"""Pictures of a report: PNGs inside the page, drawn without the global state of pyplot."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["Picture", "axes_of_image", "draw_image", "limits_of", "make_picture", "size_of_pixel"]

Image = NDArray[np.floating]
WIDTH_IN = 4.2  # width of a figure in inches
LEAST_RATIO = 0.48  # height over width; lower pictures would cut off the label of the colour bar


class Picture(NamedTuple):
    """A PNG as data URI, and its caption."""

    source: str
    caption: str


def make_picture(draw: Callable[[Figure, Axes], None], caption: str, *, ratio: float = 0.72) -> Picture:
    """Draw on a new figure, without the global state of pyplot; `ratio` is height over width."""
    figure = Figure(figsize=(WIDTH_IN, WIDTH_IN * ratio), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, figure.add_subplot())
    figure.draw_without_rendering()  # the layout is right only once the tick labels are known
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), caption)


def draw_image(
    image: Image,
    caption: str,
    label: str,
    *,
    limits: tuple[float, float],
    cmap: str = "gray",
    extend: str = "neither",
    px: int = 1,
    pixel_nm: float | None = None,
) -> Picture:
    """Show an image with a colour bar, and axes in pixels, or in micrometres where a pixel's size is known.

    Values that are not finite are grey, or red in a grey image.  Each value stands for `px` x `px` pixels.
    """
    height, width = image.shape
    extent, unit = axes_of_image(height, width, px, pixel_nm)

    def draw(figure: Figure, axes: Axes) -> None:
        shown = axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent)
        shown.set_cmap(shown.get_cmap().with_extremes(bad="#b5b5b5" if cmap != "gray" else "#c4534f"))
        axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})")
        bar = figure.colorbar(shown, ax=axes, label=label, extend=extend)
        bar.formatter.set_useOffset(False)  # type: ignore[attr-defined]  # 8342.5, not 0.5 with a note above

    return make_picture(draw, caption, ratio=float(np.clip(0.74 * height / width + 0.12, LEAST_RATIO, 1.2)))


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
