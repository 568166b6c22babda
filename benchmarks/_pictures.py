"""Save figures of noisy images as small files."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

__all__ = ["save_small", "shrunk"]

COLOURS = 96


def save_small(figure: Figure, path: Path, *, dpi: int = 72) -> None:
    """Write a figure as a PNG file with few colours: noise in full colour takes three times the space."""
    with io.BytesIO() as drawn:
        figure.savefig(drawn, dpi=dpi, format="png")
        shrunk(Image.open(drawn)).save(path, optimize=True)


def shrunk(image: Image.Image) -> Image.Image:
    """Return an image with a palette."""
    return image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
