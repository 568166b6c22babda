"""Arrays in NumPy's own files (.npy): never unpickled, and no larger than the file."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import read_bytes, reading

__all__ = ["MAGIC", "read_npy"]

MAGIC = b"\x93NUMPY"


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of numbers in a ``.npy`` file; its values are read when they are used.

    Raises
    ------
    ReadError
        If the file is missing, is not of this form, is damaged, or holds something other than numbers.
    """
    if not read_bytes(path, len(MAGIC)).startswith(MAGIC):
        raise ReadError(
            f"{path}: is named .npy but does not begin as an array of NumPy; save it with np.save"
        )
    with reading(path):
        try:
            values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (SyntaxError, TokenError, RecursionError) as error:  # the header is parsed as Python
            raise ReadError(f"{path}: the header of this .npy file is damaged; save it again") from error
    if values.dtype.kind not in "iufb":
        raise ReadError(f"{path}: holds values of type {values.dtype}, expected numbers")
    return values
