"""The drift of the illumination, found in a stack and removed from it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, get_denoiser
from xanesum.errors import RecipeError, XanesumWarning
from xanesum.flat_field.estimate import DriftOfPixels, FlatDrift, estimate_drift, remove_smooth, smooth_fields
from xanesum.method.denoising import denoise_with
from xanesum.method.intake import prepare_stack
from xanesum.method.options import Options
from xanesum.method.problem import Progress
from xanesum.stack import add_history, usable_mask, usable_weight
from xanesum.storage.lazy import with_frames
from xanesum.streaming.resources import DEFAULT_RESOURCES, Resources

__all__ = ["DEFAULT_DRIFT", "DRIFTS", "correct_flat_drift"]

DRIFTS = ("auto", "always", "none")
DEFAULT_DRIFT = "auto"
NEGLIGIBLE = 0.1  # a drift below this share of the noise level stays; errors of the spectra look the same
MIN_ENERGIES = 20  # with fewer energies, spectra and drift look alike


def correct_flat_drift(
    stack: xr.DataArray,
    *,
    drift: str = DEFAULT_DRIFT,
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    resources: Resources = DEFAULT_RESOURCES,
    rng: np.random.Generator | None = None,
    progress: Progress = lambda step, share: None,
) -> tuple[xr.DataArray, FlatDrift | None]:
    """Remove the smooth change of the illumination since the flat was taken, frame by frame.

    First the spectra of the sample are found, on a stack without anything smooth.
    `xanesum.flat_field.estimate.estimate_drift` then tells drift from sample by them.  Large images are
    averaged over blocks of pixels for this.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Optical density, as `xanesum.preprocess.prepare` returns it.
    drift : {"auto", "always", "none"}
        "auto" looks for drift where frames were divided by an image without the sample, as in full-field
        microscopy (``attrs["flat_field"]``).  A scanned probe has none.
    denoiser : str or Denoiser
        For the spectra.
    resources : Resources
        Memory, folders, workers and device.
    rng : numpy.random.Generator, optional
        ``default_rng(0)`` by default.
    progress : callable
        Called with the name of a step and the share of it that is done.

    Returns
    -------
    stack : DataArray
        A new stack without the drift; the same stack where the drift is negligible.
    drift : FlatDrift or None
        The drift that was removed, at energies of weight above 0.

    Raises
    ------
    RecipeError
        If `drift` is unknown.
    StackError
        As `xanesum.denoise`.
    """
    if drift not in DRIFTS:
        raise RecipeError(f"flat drift must be one of {', '.join(DRIFTS)}, got {drift!r}")
    looked_for = drift == "always" or (drift == "auto" and stack.attrs.get("flat_field", False))
    if not looked_for or np.count_nonzero(usable_weight(stack)) < MIN_ENERGIES:
        return stack, None
    rng = np.random.default_rng(0) if rng is None else rng
    found = _find_drift(stack, denoiser, resources, rng, progress)
    if found is None:
        return stack, None
    removed, of_pixels = found
    cleaned = with_frames(stack, _Without(of_pixels, usable_mask(stack)))
    note = f"smooth drift of the illumination removed, {removed.rms:.4f} rms in optical density"
    return add_history(cleaned, note), removed


def _find_drift(
    stack: xr.DataArray,
    denoiser: str | Denoiser,
    resources: Resources,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[FlatDrift, DriftOfPixels] | None:
    """Return the drift in averages and in single pixels; None where it is negligible."""
    progress("drift", 0.0)
    with resources.executor() as executor:
        prepared = prepare_stack(
            stack, resources, executor, rng=rng, progress=lambda _, share: progress("drift", share)
        )
    used, means, mask = usable_weight(stack), prepared.means(), prepared.averages.mask
    fields = smooth_fields(mask.shape, mask=mask)
    sample = _without_smooth(stack, means, fields, mask)
    options, small_work = Options(without=("mirrors",)), resources.for_small_work()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)  # about components of this stack, not of the result
        found = denoise_with(sample, options, get_denoiser(denoiser), small_work, rng=rng)
    energy_ev = stack.energy.values[used].astype(float)
    drift = estimate_drift(means, found.spectra.values, fields, found.sigma, energy_ev, mask=mask)
    if drift.rms < NEGLIGIBLE * found.sigma * prepared.scale:
        return None
    return drift, drift.in_pixels(prepared.scale, used)


def _without_smooth(
    stack: xr.DataArray,
    means: NDArray[np.float32],
    fields: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> xr.DataArray:
    """Return a stack of means (E, Y', X') over blocks of pixels, without anything smooth, with its labels."""
    used = usable_weight(stack)
    labels = {name: stack[name] for name in stack.coords if set(stack[name].dims) == {"energy"}}
    return xr.DataArray(
        remove_smooth(means, fields),
        dims=stack.dims,
        coords={**{name: each[used] for name, each in labels.items()}, "mask": (stack.dims[1:], mask)},
        attrs={name: value for name, value in stack.attrs.items() if name != "missing_values"},
        name=stack.name,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Without:
    """Subtracts the drift from part of a stack."""

    drift: DriftOfPixels
    mask: NDArray[np.bool_]  # (Y, X), pixels that count

    def __call__(
        self, values: NDArray[np.float32], energies: slice, rows: slice, columns: slice
    ) -> NDArray[np.float32]:
        values -= self.drift.of(energies, rows, columns) * self.mask[rows, columns]
        return values
