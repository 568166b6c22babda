"""Images that lie one after the other in a binary file, without gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import Key, Scan

__all__ = ["FlatArray", "open_flat"]


@dataclass(frozen=True, slots=True)
class FlatArray:
    """Reader of images (energy, y, x) that lie one after the other in a file, without gaps.

    Attributes
    ----------
    path : Path
    dtype : str
        Type of a value as stored, with its byte order.
    offset : int
        Bytes before the first image.
    shape : (int, int, int)
        (E, Y, X).
    factor : float
        By which stored values are multiplied.
    """

    path: Path
    dtype: str
    offset: int
    shape: tuple[int, int, int]
    factor: float = 1.0

    def __call__(self, key: Key) -> NDArray[Any]:
        """Return the values at a key."""
        stored = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        values = np.array(stored[key])
        return values if self.factor == 1.0 else np.asarray(values * np.float32(self.factor), np.float32)

    def require_whole(self) -> None:
        """Raise ReadError if the file is shorter than its images."""
        needed = self.offset + math.prod(self.shape) * np.dtype(self.dtype).itemsize
        size = self.path.stat().st_size
        if size < needed:
            n_e, n_y, n_x = self.shape
            raise ReadError(
                f"{self.path}: was cut short: {n_e} images of {n_y} x {n_x} px (y, x) need {needed} bytes, "
                f"the file has {size}"
            )


def open_flat(
    array: FlatArray, energy: NDArray[np.float64], x_um: NDArray[np.float64], quantity: str
) -> Scan:
    """Return the scan of images that lie one after the other.

    Parameters
    ----------
    array : FlatArray
    energy : ndarray, shape (E,)
        In eV.
    x_um : ndarray
        Positions along x in micrometres, at least the first and the second.
    quantity : str
        As in `Scan`.
    """
    array.require_whole()
    step = abs(float(x_um[1] - x_um[0])) * 1e3 if len(x_um) > 1 else 0.0
    return Scan(
        shape=array.shape,
        dtype=np.dtype(np.float32) if array.factor != 1.0 else np.dtype(array.dtype),
        read=array,
        energy=energy,
        quantity=quantity,
        pixel_size_nm=step if np.isfinite(step) and step > 0 else None,
        history=(f"read {array.path.name} as {quantity}",),
    )
