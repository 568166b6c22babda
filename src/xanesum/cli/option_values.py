"""Values of options on the command line: how each is read from its text."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

__all__ = ["PARSERS", "count", "number", "range_of", "region", "size", "whole_number"]

Parsed = TypeVar("Parsed")


def _expecting(form: str) -> Callable[[Callable[[str], Parsed]], Callable[[str], Parsed]]:
    """Make a parser that fails with ValueError say what it expected."""

    def wrap(parse: Callable[[str], Parsed]) -> Callable[[str], Parsed]:
        @wraps(parse)
        def parsed(text: str) -> Parsed:
            try:
                return parse(text)
            except ValueError:
                raise argparse.ArgumentTypeError(f"expected {form}, got {text!r}") from None

        return parsed

    return wrap


@_expecting("a range A:B")
def range_of(text: str) -> tuple[float, float]:
    """Return the ends of ``A:B``."""
    low, high = (float(part) for part in text.split(":"))
    return low, high


@_expecting("a point V=EV or V=EV+-S")
def point(text: str) -> tuple[float, ...]:
    """Return valence, energy and, where it is given, standard error of ``V=EV+-S``."""
    valence, energy = text.split("=")
    return float(valence), *(float(part) for part in energy.split("+-", 1))


@_expecting("a number EV or EV+-S")
def with_error(text: str) -> tuple[float, float]:
    """Return a number and its standard error, 0 where none is given, of ``EV+-S``."""
    value, _, error = text.partition("+-")
    return float(value), float(error) if error else 0.0


@_expecting("a region Y0:Y1,X0:X1")
def region(text: str) -> tuple[int, ...]:
    """Return the four limits of ``Y0:Y1,X0:X1``."""
    (y0, y1), (x0, x1) = ((int(end) for end in part.split(":")) for part in text.split(","))
    return y0, y1, x0, x1


@_expecting("a pixel Y,X")
def pixel(text: str) -> tuple[int, int]:
    """Return row and column of ``Y,X``."""
    y, x = (int(part) for part in text.split(","))
    return y, x


@_expecting("a size YxX")
def size(text: str) -> tuple[int, int]:
    """Return rows and columns of ``YxX``."""
    ny, nx = (int(part) for part in text.lower().split("x"))
    return ny, nx


@_expecting("a whole number from 0 on")
def count(text: str) -> int:
    """Return a whole number from 0 on."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


@_expecting("a whole number")
def whole_number(text: str) -> int:
    """Return a whole number; the recipe says which ones fit."""
    return int(text)


@_expecting("a number")
def number(text: str) -> float:
    """Return a number; the recipe says which ones fit."""
    return float(text)


PARSERS: dict[str, Callable[[str], Any]] = {
    "input.roi": region,
    "input.i0_region": region,
    "align.max_shift_px": number,
    "denoise.rank": whole_number,
    "denoise.sigma": number,
    "denoise.seed": whole_number,
    "map.e0_ev": number,
    "map.pre_ev": range_of,
    "map.post_ev": range_of,
    "map.at_ev": range_of,
    "map.band_ev": range_of,
    "map.over_ev": range_of,
    "map.peak_ev": range_of,
    "map.points": point,
    "map.shift_ev": with_error,
    "map.bootstrap": whole_number,
    "normalization.pre1_ev": number,
    "normalization.pre2_ev": number,
    "normalization.norm1_ev": number,
    "normalization.norm2_ev": number,
    "normalization.nnorm": whole_number,
    "normalization.nvict": whole_number,
    "particles.threshold": number,
    "particles.split_px": number,
    "particles.min_pixels": whole_number,
    "particles.shell_px": number,
    "particles.draws": whole_number,
}
