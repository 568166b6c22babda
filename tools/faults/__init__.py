"""Planted faults, one module for each room of the package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["Fault"]


class Fault(NamedTuple):
    """One edit that a good test suite does not forgive."""

    name: str
    file: str  # below src/xanesum, or below benchmarks
    old: str  # occurs exactly once in it
    new: str
    tests: str  # what pytest is given, separated by blanks; the quickest that should notice

    @property
    def path(self) -> Path:
        """Path of the file in the repository."""
        return Path(self.file) if self.file.startswith("benchmarks/") else Path("src/xanesum", self.file)
