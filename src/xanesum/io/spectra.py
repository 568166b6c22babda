"""Read spectra of references from files of any known format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xanesum.io.spectrum import Reference
from xanesum.io.text import read_table
from xanesum.stack import KEV_LIMIT

__all__ = ["read_spectra"]


def read_spectra(path: str | Path) -> list[Reference]:
    """Return the spectra in a file, one or more.

    Raises
    ------
    ReadError
        If the file cannot be read as spectra.
    """
    path = Path(path)
    table = read_table(path, min_columns=2)
    energy, mu = table[np.argsort(table[:, 0])].T
    return [Reference(path.stem, energy * 1e3 if energy.max() < KEV_LIMIT else energy, mu, path.name)]
