"""Rows of the files of results, and the cells of a table."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from _common import RESULTS
from _show import show_by_sigma

Row = dict[str, Any]

Form = str | Callable[[Any], str]

Column = tuple[str, str, Form]  # title in the table, key in the file, format


class Table(NamedTuple):
    """How a table is made, and the files that it is made from."""

    make: Callable[[], list[Row]]
    files: tuple[str, ...]


def printed(function: Callable[..., None], *arguments: Any) -> str:
    """Return the lines of the table that a function prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        function(*arguments)
    return "\n".join(line for line in out.getvalue().splitlines() if line.startswith("|"))


def content(file: str) -> Row:
    return dict(json.loads((RESULTS / f"{file}.json").read_text("utf-8")))


def rows_of(file: str) -> list[Row]:
    return list(content(file)["rows"])


def columns(rows: list[Row], chosen: list[Column]) -> list[Row]:
    """Return rows with these columns, each formatted; an empty cell where the file has no value."""

    def cell(row: Row, key: str, form: Form) -> str:
        value = row.get(key, "")
        if value == "":
            return ""
        return form.format(value) if isinstance(form, str) else form(value)

    return [{title: cell(row, key, form) for title, key, form in chosen} for row in rows]


def percent(digits: int, value: float) -> str:
    return f"{100 * value:.{digits}f} %"


def short(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, without an exponent."""
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"


def span(values: list[float], form: str) -> str:
    """Return the least and the greatest."""
    return " to ".join(form.format(each) for each in (min(values), max(values)))


def grouped(rows: list[Row], *keys: str) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    """Yield the rows that have the same values of some keys, in the order of the file."""
    for values in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        yield values, [row for row in rows if tuple(row[key] for key in keys) == values]


def interval(text: str) -> str:
    """Return "a - b" in words, and one number where both are the same."""
    low, high = text.split(" - ")
    return low if low == high else f"{low} to {high}"


def way(text: str) -> str:
    """Return the name of a changed denoiser in plain words."""
    text = re.sub(r"told (\S+) of the noise level", r"noise level given as \1 of the true one", text)
    return text.replace("5 % of the noisy image", "5 % of the noisy image mixed in").replace(
        "as it is", "unchanged"
    )


def by_sigma(rows: list[Row], title: str, keys: tuple[str, ...], cell: Callable[[Row], str]) -> list[Row]:
    """Return a row for each value of the keys and a column for each sigma."""
    lines = printed(show_by_sigma, rows, title, keys, cell).splitlines()
    head, _, *body_lines = ([part.strip() for part in line[1:-1].split("|")] for line in lines)
    return [dict(zip(head, cells, strict=True)) for cells in body_lines]


def of_rows(make: Callable[[list[Row]], list[Row]], file: str) -> Table:
    """Return a table that a function makes of the rows of a file."""
    return Table(lambda: make(rows_of(file)), (file,))
