"""Motion as part of the exposure: the sample moves, the detector and its flat stand still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, ndimage

from xanesum.errors import RecipeError
from xanesum.phantom.simulate import Phantom, simulate, with_white_noise
from xanesum.stack import make_stack

__all__ = ["Motion", "MovingPhantom", "draw_motion", "moving"]

TAPER_PX = 16  # ring outside everything that the field ever shows, where the canvas fades out
SPLINE_ORDER = 5  # of a magnified frame
N_STEPS = 3  # sudden steps of a scan with steps


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Where the sample is in each frame.

    The content at pixel p of the sample at rest is seen at ``c + magnification * (p - c) + shift``, with c
    the centre of the field.
    """

    shifts_px: NDArray[np.float64]  # (E, 2) in (y, x), pixels; positive towards larger y, x
    magnification: NDArray[np.float64]  # (E,), 1 for the sample at rest

    def reach_px(self, shape: tuple[int, int]) -> int:
        """Return how far, in whole pixels, the field of `shape` (Y, X) ever looks beyond its border."""
        growth = np.abs(1 / self.magnification - 1).max(initial=0) * max(shape) / 2
        return int(np.ceil(np.abs(self.shifts_px).max(initial=0) / self.magnification.min() + growth))


@dataclass(frozen=True, slots=True, eq=False)
class MovingPhantom:
    """A phantom on a canvas, of which the field of view shows a part that moves."""

    canvas: Phantom
    motion: Motion
    pad_px: int  # pixels of the canvas beyond each border of the field

    @property
    def kind(self) -> str:
        """Kind of the scene."""
        return self.canvas.kind

    @property
    def energy_ev(self) -> NDArray[np.float64]:
        """Energies in eV, shape (E,)."""
        return self.canvas.energy_ev

    @property
    def at_rest(self) -> Phantom:
        """The phantom that the field shows without motion."""
        inside = np.s_[self.pad_px : -self.pad_px, self.pad_px : -self.pad_px]
        return replace(
            self.canvas,
            images=np.ascontiguousarray(self.canvas.images[(slice(None), *inside)]),
            mask=self.canvas.mask[inside],
        )

    def clean(self) -> xr.DataArray:
        """Return the stack without noise, float32, dims (energy, y, x)."""
        grows = bool(np.any(self.motion.magnification != 1))
        frames = self._magnified() if grows else self._shifted()
        stack = make_stack(np.stack(list(frames)), self.energy_ev)
        stack.attrs["history"] = [f"phantom {self.kind}, moving"]
        return stack

    def noisy(self, sigma: float, *, rng: np.random.Generator) -> xr.DataArray:
        """Return the stack with white Gaussian noise; the noise stays where the detector is.

        Raises
        ------
        SigmaError
            If `sigma` is negative or not finite.
        """
        return with_white_noise(self.clean(), sigma, rng=rng)

    def _shifted(self) -> Iterator[NDArray[np.float32]]:
        """Yield frames moved exactly, by the phase of their Fourier coefficients."""
        n_y, n_x = self.canvas.images.shape[1:]
        fade = np.outer(fading(n_y, TAPER_PX), fading(n_x, TAPER_PX))
        coefficients = fft.rfft2(self.canvas.images.astype(np.float64) * fade)
        f_y, f_x = fft.fftfreq(n_y)[:, None], fft.rfftfreq(n_x)
        inside = np.s_[self.pad_px : n_y - self.pad_px, self.pad_px : n_x - self.pad_px]
        for spectrum, (d_y, d_x) in zip(self.canvas.spectra.T, self.motion.shifts_px, strict=True):
            frame = np.tensordot(spectrum, coefficients, axes=1)
            frame *= np.exp(-2j * np.pi * f_y * d_y) * np.exp(-2j * np.pi * f_x * d_x)
            yield fft.irfft2(frame, (n_y, n_x))[inside].astype(np.float32)

    def _magnified(self) -> Iterator[NDArray[np.float32]]:
        """Yield frames magnified and moved at once, by a spline of high order."""
        shape = [size - 2 * self.pad_px for size in self.canvas.images.shape[1:]]
        centre = (np.array(shape) - 1) / 2
        images = np.stack(
            [ndimage.spline_filter(image, SPLINE_ORDER, mode="mirror") for image in self.canvas.images]
        )
        motion = zip(self.canvas.spectra.T, self.motion.shifts_px, self.motion.magnification, strict=True)
        for spectrum, shift, magnification in motion:
            yield ndimage.affine_transform(
                np.tensordot(spectrum, images, axes=1),
                np.eye(2) / magnification,  # SciPy 1.15 warns of a vector
                centre + self.pad_px - (centre + shift) / magnification,
                tuple(shape),
                order=SPLINE_ORDER,
                mode="mirror",
                prefilter=False,
            ).astype(np.float32)


def fading(n: int, width: int) -> NDArray[np.float64]:
    """Return weights (n,) that are 1 inside, and fall to 0 over `width` pixels at both ends."""
    depth = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / width
    return np.where(depth < 1, 0.5 - 0.5 * np.cos(np.pi * np.minimum(depth, 1)), 1.0)


def draw_motion(
    energy_ev: NDArray[np.float64],
    *,
    jitter_px: float = 0.0,
    drift_px: tuple[float, float] = (0.0, 0.0),
    walk_px: float = 0.0,
    step_px: float = 0.0,
    magnification: float | str = 0.0,
    rng: np.random.Generator,
) -> Motion:
    """Draw how a sample moves during a scan.

    Parameters
    ----------
    energy_ev : ndarray, shape (E,)
    jitter_px : float
        Each frame is moved by a uniform amount up to this, either way, along y and along x.
    drift_px : (float, float)
        Linear drift from the first frame to the last, along y and x.
    walk_px : float
        Standard deviation of a random step from each frame to the next.
    step_px : float
        Three sudden steps, each uniform up to this either way.
    magnification : float or "energy"
        Relative growth from the first energy to the last, linear in energy; 1 in the middle.  "energy" is the
        law of a zone plate: the image shrinks in proportion to the energy.
    rng : numpy.random.Generator

    Raises
    ------
    RecipeError
        If a size is negative or not a number, or `magnification` is another word.
    """
    sizes = np.array([jitter_px, walk_px, step_px])
    if not (np.isfinite(sizes).all() and sizes.min() >= 0 and np.isfinite(drift_px).all()):
        raise RecipeError(f"sizes of a motion must be numbers from 0 on, got {[*sizes.tolist(), *drift_px]}")
    n = len(energy_ev)
    time = np.linspace(-0.5, 0.5, n)[:, None]
    shifts = jitter_px * rng.uniform(-1, 1, (n, 2)) + time * np.asarray(drift_px)
    shifts += np.cumsum(walk_px * rng.standard_normal((n, 2)), axis=0)
    for start in rng.integers(0, n, N_STEPS):
        shifts[start:] += step_px * rng.uniform(-1, 1, 2)
    return Motion(shifts, magnification_law(energy_ev, magnification))


def magnification_law(energy_ev: NDArray[np.float64], law: float | str) -> NDArray[np.float64]:
    """Return the magnification (E,) by the law of a zone plate ("energy"), or linear in energy.

    Raises
    ------
    RecipeError
        If `law` is another word, or the magnification would reach 0.
    """
    middle = (energy_ev[0] + energy_ev[-1]) / 2
    if law == "energy":
        return np.asarray(middle / energy_ev)
    if isinstance(law, str) or not abs(law) < 1:
        raise RecipeError(f'magnification must be "energy" or a number between -1 and 1, got {law!r}')
    return np.asarray(1 + law * (energy_ev - middle) / (energy_ev[-1] - energy_ev[0]))


def moving(
    kind: str,
    motion: Motion,
    *,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> MovingPhantom:
    """Draw a phantom on a canvas that is large enough for the motion.

    Parameters
    ----------
    kind : str
        As in `simulate`.
    motion : Motion
        One shift and magnification per energy.
    shape : (int, int)
        Y and X of the field in pixels.
    rng : numpy.random.Generator
        Draws the scene.
    """
    pad = motion.reach_px(shape) + TAPER_PX
    size = (shape[0] + 2 * pad, shape[1] + 2 * pad)
    return MovingPhantom(simulate(kind, shape=size, n_energies=len(motion.shifts_px), rng=rng), motion, pad)
