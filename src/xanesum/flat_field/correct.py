"""The drift of the illumination, found in a stack and removed from it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser, get_denoiser
from xanesum.errors import RecipeError, XanesumWarning
from xanesum.flat_field.estimate import estimate_drift
from xanesum.flat_field.fields import ORDER, DriftOfPixels, FlatDrift, remove_smooth, smooth_fields
from xanesum.method.denoising import denoise_with
from xanesum.method.intake import prepare_stack
from xanesum.method.options import Options
from xanesum.method.problem import Progress
from xanesum.stack import add_history, usable_mask, usable_weight
from xanesum.storage.lazy import with_frames
from xanesum.streaming.resources import DEFAULT_RESOURCES, Resources

__all__ = ["DEFAULT_DRIFT", "DRIFTS", "MIN_ENERGIES", "NEGLIGIBLE", "correct_flat_drift", "order_of_drift"]

DRIFTS = ("auto", "always", "none")
DEFAULT_DRIFT = "auto"
LEAST_PIXELS = 64  # images of fewer pixels do not tell fields of light from the sample
NEGLIGIBLE = 0.02  # a drift, or an error of it, below this share of the noise level stays
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
        "auto" looks for smooth drift where frames were divided by an image without the sample, as in
        full-field microscopy (``attrs["flat_field"]``).  In other optical density, as of a scanned probe, it
        looks for a level only, one number in each frame.  "always" looks for smooth drift in any stack.
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
        A new stack without the drift; the same stack where there is none that can be removed.
        Coordinate ``drift_sigma`` (y, x), if not negligible, is the standard error of what the correction
        leaves, in optical density, along a spectrum of norm 1 (as at one energy, and independent of the
        others).  ``attrs["drift_removed"]`` is the rms of what was removed.  ``attrs["drift_doubt"]``, if
        present, says why drift may be left, in one sentence.
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
    order = order_of_drift(stack, drift)
    if order is None or np.count_nonzero(usable_weight(stack)) < MIN_ENERGIES:
        return stack, None
    rng = np.random.default_rng(0) if rng is None else rng
    found, scale, sigma = _find_drift(stack, order, denoiser, resources, rng, progress)
    if found.doubt:  # also of a stack that stays as it is
        stack = stack.copy(deep=False)
        stack.attrs["drift_doubt"] = found.doubt
    if found.rms <= NEGLIGIBLE * sigma:
        return stack, None
    return _cleaned(stack, found, scale, sigma), found


def _cleaned(stack: xr.DataArray, found: FlatDrift, scale: int, sigma: float) -> xr.DataArray:
    """Return the stack without the drift that was found, and with the error of it."""
    of_pixels = found.in_pixels(scale, usable_weight(stack))
    cleaned = with_frames(stack, _Without(of_pixels, usable_mask(stack)))
    error = found.error_in_pixels(scale, stack.shape[1:])
    if error.max() > NEGLIGIBLE * sigma:
        cleaned = cleaned.assign_coords(drift_sigma=(stack.dims[1:], error))
    cleaned = cleaned.assign_attrs(drift_removed=found.rms)
    note = f"smooth drift of the illumination removed, {found.rms:.4f} rms in optical density"
    return add_history(cleaned, note)


def order_of_drift(stack: xr.DataArray, drift: str) -> int | None:
    """Return the highest order of the fields that may drift; None where none is looked for."""
    if drift == "auto" and stack.shape[1] * stack.shape[2] < LEAST_PIXELS:
        return None
    if drift == "always" or (drift == "auto" and stack.attrs.get("flat_field", False)):
        return ORDER
    is_density = stack.attrs.get("quantity") == "optical_density"
    return 0 if drift == "auto" and is_density else None


def _find_drift(
    stack: xr.DataArray,
    order: int,
    denoiser: str | Denoiser,
    resources: Resources,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[FlatDrift, int, float]:
    """Return the drift in averages over blocks, the side of these blocks, and the noise of a pixel."""
    progress("drift", 0.0)
    with resources.executor() as executor:
        prepared = prepare_stack(
            stack, resources, executor, rng=rng, progress=lambda _, share: progress("drift", share)
        )
    used, means, mask = usable_weight(stack), prepared.means(), prepared.averages.mask
    fields = smooth_fields(mask.shape, mask=mask, order=order)
    sample = _without_smooth(stack, means, fields, mask)
    # only the spectra are used: their images need no precise risk
    options, small_work = Options(n_probes=1, without=("mirrors",)), resources.for_small_work()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)  # about components of this stack, not of the result
        found = denoise_with(sample, options, get_denoiser(denoiser), small_work, rng=rng)
    del sample
    energy_ev = stack.energy.values[used].astype(float)
    drift = estimate_drift(means, found.spectra.values, fields, found.sigma, energy_ev, mask=mask)
    return drift, prepared.scale, found.sigma * prepared.scale


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
