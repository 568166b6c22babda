"""Rows of results that are kept as they come, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from subprocess import TimeoutExpired
from typing import Any

from _common import RESULTS, commit, load, processor, save
from rivals import UnavailableError

__all__ = ["Row", "Store"]

Row = dict[str, Any]


class Store:
    """The rows of one part of the paper, in ``results/paper-PART[-SUFFIX].json``.

    Parameters
    ----------
    part : str
        Such as "table1".
    suffix : str
        Of the size of the scans: "quick", "reduced", or "" for the sizes of the paper.
    fresh : bool
        Forget the rows of an earlier run.
    """

    def __init__(self, part: str, suffix: str, *, fresh: bool = False) -> None:
        self.name = f"paper-{part}" + (f"-{suffix}" if suffix else "")
        self.rows: list[Row] = [] if fresh else load(self.name)

    @property
    def file(self) -> str:
        """Path of the file, as printed."""
        return str(RESULTS / f"{self.name}.json")

    def find(self, key: Row) -> Row | None:
        """Return the row of a cell, if it was measured."""
        return next((row for row in self.rows if key.items() <= row.items() and "why not" not in row), None)

    def cell(self, key: Row, measure: Callable[[], Row]) -> Row:
        """Return the row of a cell; measure and save it where it is missing.

        A method that cannot be run gets a row that says why not, and is tried again by the next run.
        """
        found = self.find(key)
        if found is not None:
            return found
        taken: Row = {"commit": commit(), "processor": processor(), "load": round(os.getloadavg()[0], 1)}
        try:
            row = key | measure() | taken
        except (UnavailableError, TimeoutExpired) as error:
            row = key | {"why not": _without_paths(str(error))} | taken
        self.rows = [each for each in self.rows if not key.items() <= each.items()] + [row]
        save(self.name, self.rows)
        print(row, flush=True)
        return row


def _without_paths(text: str) -> str:
    """Return a message without the folders of this machine."""
    return " ".join(os.path.basename(word) if word.startswith("/") else word for word in text.split())
