"""A phantom: a clean stack as factors, its exact map, and noisy stacks made from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EnergyError, SigmaError
from xanesum.phantom import parameters as p
from xanesum.phantom.scenes import draw_scene
from xanesum.phantom.spectra import energy_grid_ev, state_spectra
from xanesum.stack import add_history, make_stack

__all__ = ["Phantom", "simulate", "with_white_noise"]


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A clean stack as factors ``spectra.T @ images``, with the true map."""

    kind: str
    energy_ev: NDArray[np.float64]  # (E,)
    spectra: NDArray[np.float64]  # (R, E), edge step 1
    images: NDArray[np.float32]  # (R, Y, X), 0 ... 255: thickness of the pixels in that state, 0 in others
    mask: NDArray[np.bool_]  # (Y, X), the sample

    @property
    def half_step_energy_ev(self) -> NDArray[np.float64]:
        """Half-step energy of each pixel's spectrum in eV, shape (Y, X); NaN outside the sample."""
        state = np.argmax(self.images, axis=0)
        return np.where(self.mask, np.array(p.HALF_STEP_EV)[state], np.nan)

    def clean(self) -> xr.DataArray:
        """Return the stack without noise, float32, largest value 255."""
        return make_stack(
            np.tensordot(self.spectra.T.astype(np.float32), self.images, axes=1), self.energy_ev
        )

    def noisy(self, sigma: float, *, rng: np.random.Generator) -> xr.DataArray:
        """Return the stack with white Gaussian noise of standard deviation `sigma`, never clipped.

        Raises
        ------
        SigmaError
            If `sigma` is negative or not finite.
        """
        stack = with_white_noise(self.clean(), sigma, rng=rng)
        stack.attrs["history"] = [f"phantom {self.kind}, sigma {sigma:g}"]
        return stack

    def singular_values(self) -> NDArray[np.float64]:
        """Return the singular values of the clean stack, descending, shape (R,), uncentred."""
        small = np.linalg.qr(self.spectra.T)[1]
        flat = self.images.reshape(len(self.images), -1).astype(np.float64)
        return np.sqrt(np.maximum(np.linalg.eigvalsh(small @ (flat @ flat.T) @ small.T)[::-1], 0))


def with_white_noise(stack: xr.DataArray, sigma: float, *, rng: np.random.Generator) -> xr.DataArray:
    """Add white Gaussian noise of standard deviation `sigma` to the values of `stack` itself; return it.

    Raises
    ------
    SigmaError
        If `sigma` is negative or not finite.
    """
    if not (np.isfinite(sigma) and sigma >= 0):
        raise SigmaError(f"sigma must be a number from 0 on, got {sigma}")
    for frame in stack.values:
        frame += np.float32(sigma) * rng.standard_normal(frame.shape, dtype=np.float32)
    return add_history(stack, f"white noise, sigma {sigma:g}")


def simulate(
    kind: str = "particle",
    *,
    shape: tuple[int, int] | None = None,
    n_energies: int = p.N_ENERGIES,
    rng: np.random.Generator | None = None,
) -> Phantom:
    """Draw a phantom.

    Parameters
    ----------
    kind : {"particle", "catalyst", "round", "electrode", "wedge", "brine", "inclusions"}
        The first three look like projections, the others look like reconstructed slices.
    shape : (int, int), optional
        Y and X in pixels; by default that of the kind in `DEFAULT_SHAPES`.
    n_energies : int
        At least 2.
    rng : numpy.random.Generator, optional
        Draws the scene; ``default_rng(0)`` by default.

    Raises
    ------
    RecipeError
        If `kind` is unknown or `shape` too small.
    EnergyError
        If there are fewer than two energies.
    """
    if n_energies < 2:
        raise EnergyError(f"a phantom needs at least 2 energies, got {n_energies}")
    scene = draw_scene(
        kind, shape, n_states=len(p.HALF_STEP_EV), rng=np.random.default_rng(0) if rng is None else rng
    )
    energy_ev = energy_grid_ev(n_energies)
    spectra = state_spectra(energy_ev)
    states = scene.regions[None] == np.arange(len(spectra))[:, None, None]
    images = np.where(states, scene.thickness, 0).astype(np.float32)
    brightest = max(float(image.max()) * float(row.max()) for image, row in zip(images, spectra, strict=True))
    return Phantom(
        kind, energy_ev, spectra, images * np.float32(p.PEAK / brightest), scene.thickness >= p.MASK_THICKNESS
    )
