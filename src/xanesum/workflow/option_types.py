"""Values of options: their types, and how a value of a recipe or of the command line becomes one of them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from xanesum.errors import RecipeError

__all__ = ["UNFIT", "Checked", "Points", "Range", "Roi", "fitting"]

Roi = tuple[int, int, int, int]  # y0, y1, x0, x1 in pixels; the ends are excluded
Range = tuple[float, float]  # first and last energy, eV
Points = tuple[tuple[float, ...], ...]  # of a line of valence: valence, energy in eV, standard error in eV
UNFIT = object()  # a value of the wrong type
# the allowed values of a type, as error messages name them
WORDS: dict[Any, str] = {
    str: "a text",
    str | None: "a text",
    bool: "true or false",
    int: "a whole number from 0 on",
    int | None: "a whole number from 0 on",
    float: "a finite number",
    float | None: "a finite number",
    Range | None: "two finite numbers [from, to]",
    Roi | None: "four whole numbers [y0, y1, x0, x1]",
    tuple[str, ...]: "a list of texts",
    Points: "a list of points [valence, energy] or [valence, energy, standard error]",
}


def fitting(value: Any, hint: Any) -> Any:
    """Return `value` as the type of the annotation `hint`, or UNFIT."""
    if value is None:
        return None if hint not in (str, bool, int, float) else UNFIT
    if hint in (Range | None, Roi | None):
        length, item_hint = (2, float | None) if hint == Range | None else (4, int)
        if not isinstance(value, list | tuple) or len(value) != length:
            return UNFIT
        items = tuple(fitting(item, item_hint) for item in value)
        return UNFIT if UNFIT in items or None in items else items
    if hint == Points:
        rows = [_numbers(row) for row in value] if isinstance(value, list | tuple) else [None]
        return UNFIT if None in rows else tuple(rows)
    if hint == tuple[str, ...]:
        items = (value,) if isinstance(value, str | Path) else value
        fits = isinstance(items, list | tuple) and all(isinstance(item, str | Path) for item in items)
        return tuple(str(item) for item in items) if fits else UNFIT
    if hint in (str, str | None):
        return str(value) if isinstance(value, str | Path) else UNFIT
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else UNFIT
    if hint in (int, int | None):
        return int(value) if isinstance(value, int | np.integer) and value >= 0 else UNFIT
    return float(value) if isinstance(value, int | float | np.number) and np.isfinite(value) else UNFIT


def _numbers(value: Any) -> tuple[float, ...] | None:
    """Return two or three finite numbers, or None."""
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        return None
    numbers = [fitting(each, float | None) for each in value]
    return None if UNFIT in numbers or None in numbers else tuple(numbers)


class Checked:
    """Base of the sections: checks the type of every field."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in fields(self):  # type: ignore[arg-type]
            value = fitting(getattr(self, item.name), hints[item.name])
            if value is UNFIT:
                got = getattr(self, item.name)
                raise RecipeError(f"{item.name} must be {WORDS[hints[item.name]]}, got {got!r}")
            object.__setattr__(self, item.name, value)
