"""A scan that is still being taken: its components after every frame, and a result at any time."""

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

FIRST_FRAMES = 16  # frames for which memory is reserved at first; it is doubled whenever it is full
FEWEST = 10  # frames that a result needs at least
COMPONENTS = 6  # components that are computed after every frame
BLOCK_PIXELS = 2**16  # pixels whose products are summed in float32 before they are added in float64


@dataclass(frozen=True, slots=True, eq=False)
class RunningFactors:
    """Strongest components of n frames, equal to those of an SVD of all these frames."""

    energy_ev: NDArray[np.float64]  # (n,), increasing
    spectra: NDArray[np.float64]  # (K, n), orthonormal
    singular_values: NDArray[np.float64]  # (K,), unit of the stack
    images: NDArray[np.float32]  # (K, Y, X), not denoised


class IncrementalScan:
    """Frames that arrive one by one.

    The components follow from the matrix of inner products of all frames.  A new frame adds one row and one
    column to it, so that every update is exact and costs one pass over the frames.

    Parameters
    ----------
    quantity : str
        Quantity of the frames, see `xanesum.make_stack`.
    n_components : int
        Number of components that `add` returns, at most.
    allow_missing : bool
        Whether values may be NaN.  In the components they count as the median of the frame; in the stack they
        have weight 0.
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
        self._missing: list[NDArray[np.intp]] = []  # for every frame, flat indices of its missing pixels
        # (reserved, Y, X), in the order of arrival
        self._frames: NDArray[np.float32] = np.empty((0, 0, 0), np.float32)
        self._energy: list[float] = []  # eV, in the order of arrival
        self._products = np.zeros((0, 0))  # (n, n), inner products of the frames

    def __len__(self) -> int:
        return len(self._energy)

    @property
    def energies(self) -> list[float]:
        """Energies of the frames so far in eV, increasing."""
        return sorted(self._energy)

    def add(self, frame: ArrayLike, energy_ev: float) -> RunningFactors:
        """Add a frame and return the components of all frames so far.

        Parameters
        ----------
        frame : array_like, shape (Y, X)
        energy_ev : float
            Its energy; the energies may come in any order.

        Raises
        ------
        StackError
            If the frame is not finite, has another shape than those before, or is zero everywhere.
        EnergyError
            If the energy is not a positive number in eV, or there is a frame at this energy already.
        """
        image = np.asarray(frame, np.float32)
        missing = np.flatnonzero(~np.isfinite(image)) if self._allow_missing else np.zeros(0, np.intp)
        if 0 < len(missing) < image.size:
            image = np.where(np.isfinite(image), image, np.float32(np.nanmedian(image)))
        self._require_usable(image, energy_ev)
        n = len(self)
        self._reserve(n + 1, image.shape)
        self._frames[n] = image
        self._energy.append(float(energy_ev))
        self._missing.append(missing)
        seen = self._frames[: n + 1].reshape(n + 1, -1)
        row = _products(seen, seen[n])
        self._products = np.pad(self._products, (0, 1))
        self._products[n] = self._products[:, n] = row
        return self.factors()

    def _reserve(self, n_frames: int, shape: tuple[int, ...]) -> None:
        """Make room for `n_frames` frames of `shape`; doubling it keeps the cost of copies small."""
        n = len(self._frames)
        if n_frames > n:
            larger: NDArray[np.float32] = np.empty((max(FIRST_FRAMES, 2 * n), *shape), np.float32)
            if n:
                larger[:n] = self._frames
            self._frames = larger

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
        """Return a copy of the frames so far as a stack, in the order of energies.

        Missing values have weight 0, see `xanesum.preprocess.mark_bad_values`.
        """
        order = np.argsort(self._energy)
        values = self._frames[order]
        for frame, n in zip(values, order, strict=True):
            frame.ravel()[self._missing[n]] = np.nan
        stack = make_stack(values, np.array(self._energy)[order], quantity=self._quantity)
        return mark_bad_values(stack)[0] if any(len(each) for each in self._missing) else stack

    def denoised(self, **options: Any) -> Denoised:
        """Denoise the frames so far.

        Parameters
        ----------
        **options
            As for `xanesum.denoise`.

        Raises
        ------
        StackError
            If there are too few frames.
        """
        if len(self) < FEWEST:
            raise StackError(f"{len(self)} frames are too few for a result; it takes {FEWEST}")
        return denoise(self.stack(), **options)


def _products(frames: NDArray[np.float32], last: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the inner products (n,) of frames (n, P) with the last one (P,), blockwise in float64."""
    total = np.zeros(len(frames))
    for start in range(0, last.size, BLOCK_PIXELS):
        part = slice(start, start + BLOCK_PIXELS)
        total += frames[:, part] @ last[part]
    return total
