"""A scan that is still being taken: its subspace after every frame, a clean result whenever one is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from xanesum.errors import EnergyError, StackError
from xanesum.method.denoising import denoise
from xanesum.preprocess import mark_bad_values
from xanesum.result import Denoised
from xanesum.stack import make_stack

__all__ = ["IncrementalScan", "RunningFactors"]

FIRST_FRAMES = 16  # room for so many at first; twice as much whenever it is full
FEWEST = 10  # frames that a result needs
COMPONENTS = 6  # that are followed from frame to frame


@dataclass(frozen=True, slots=True, eq=False)
class RunningFactors:
    """Strongest components of the frames so far, as an SVD of all of them gives them."""

    energy_ev: NDArray[np.float64]  # (n,), increasing
    spectra: NDArray[np.float64]  # (K, n), orthonormal
    singular_values: NDArray[np.float64]  # (K,), unit of the stack
    images: NDArray[np.float32]  # (K, Y, X), not denoised


class IncrementalScan:
    """Frames that arrive one by one.

    The inner products of a new frame with those before make one more row of the matrix that the subspace
    follows from: every update is exact, and costs one pass over the frames.

    Parameters
    ----------
    quantity : str
        What the frames are, see `xanesum.make_stack`.
    n_components : int
        How many components `add` returns, at most.
    allow_missing : bool
        Whether values may be NaN: the components see the frame's median there, a result nothing.
    """

    def __init__(
        self,
        *,
        quantity: str = "optical_density",
        n_components: int = COMPONENTS,
        allow_missing: bool = False,
    ) -> None:
        self._quantity = quantity
        self._n_components = n_components
        self._allow_missing = allow_missing
        self._missing: list[NDArray[np.intp]] = []  # of every frame, flat indices of its pixels
        self._frames = np.empty((0, 0, 0), np.float32)
        self._energy: list[float] = []
        self._products = np.zeros((0, 0))

    def __len__(self) -> int:
        return len(self._energy)

    def add(self, frame: ArrayLike, energy_ev: float) -> RunningFactors:
        """Add a frame (Y, X), in any order of energies, and return the components of all so far.

        Raises
        ------
        StackError
            If the frame is not finite, of another shape than those before, or zero everywhere.
        EnergyError
            If the energy is not a positive number in eV, or was there already.
        """
        image = np.asarray(frame, np.float32)
        missing = np.flatnonzero(~np.isfinite(image)) if self._allow_missing else np.zeros(0, np.intp)
        if 0 < len(missing) < image.size:
            image = np.where(np.isfinite(image), image, np.float32(np.nanmedian(image)))
        self._require_usable(image, energy_ev)
        n = len(self)
        if n == len(self._frames):
            grown = np.empty((max(FIRST_FRAMES, 2 * n), *image.shape), np.float32)
            if n:
                grown[:n] = self._frames
            self._frames = grown
        self._frames[n] = image
        self._energy.append(float(energy_ev))
        self._missing.append(missing)
        seen = self._frames[: n + 1].reshape(n + 1, -1)
        row = _products(seen, seen[n])
        self._products = np.pad(self._products, (0, 1))
        self._products[n] = self._products[:, n] = row
        return self.factors()

    def _require_usable(self, image: NDArray[np.float32], energy_ev: float) -> None:
        if image.ndim != 2 or (len(self) and image.shape != self._frames.shape[1:]):
            wanted = f"{self._frames.shape[1:]} as before" if len(self) else "(y, x)"
            raise StackError(f"a frame has shape {image.shape}, expected {wanted}")
        if not np.isfinite(image).all():
            raise StackError(f"the frame at {energy_ev} eV holds values that are not finite; mend them first")
        if not image.any():
            raise StackError(f"the frame at {energy_ev} eV is zero everywhere; leave it out")
        if not (np.isfinite(energy_ev) and energy_ev > 0):
            raise EnergyError(f"an energy must be a positive number in eV, got {energy_ev}")
        if energy_ev in self._energy:
            raise EnergyError(f"there is a frame at {energy_ev} eV already; average repeated exposures first")

    def factors(self) -> RunningFactors:
        """Return the components of the frames so far."""
        order = np.argsort(self._energy)
        n = len(order)
        rank = min(self._n_components, n)
        values, vectors = eigh(self._products, subset_by_index=(n - rank, n - 1))
        unsorted = np.ascontiguousarray(vectors[:, ::-1].T)
        images = unsorted.astype(np.float32) @ self._frames[:n].reshape(n, -1)
        return RunningFactors(
            np.array(self._energy)[order],
            unsorted[:, order],
            np.sqrt(np.maximum(values[::-1], 0)),
            images.reshape(rank, *self._frames.shape[1:]),
        )

    def stack(self) -> xr.DataArray:
        """Return the frames so far as a stack; it does not change when more are added.

        What was missing has weight 0, see `xanesum.preprocess.mark_bad_values`.
        """
        order = np.argsort(self._energy)
        values = self._frames[order]
        for frame, n in zip(values, order, strict=True):
            frame.ravel()[self._missing[n]] = np.nan
        stack = make_stack(values, np.array(self._energy)[order], quantity=self._quantity)
        return mark_bad_values(stack)[0] if any(len(each) for each in self._missing) else stack

    def denoised(self, **options: Any) -> Denoised:
        """Return `xanesum.denoise` of the frames so far.

        Raises
        ------
        StackError
            If there are too few of them.
        """
        if len(self) < FEWEST:
            raise StackError(f"{len(self)} frames are too few for a result; it takes {FEWEST}")
        return denoise(self.stack(), **options)


def _products(frames: NDArray[np.float32], last: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums over all pixels of frames (n, P) times the last (P,), in blocks summed in float64."""
    total = np.zeros(len(frames))
    for start in range(0, last.size, 2**16):
        part = slice(start, start + 2**16)
        total += frames[:, part] @ last[part]
    return total
