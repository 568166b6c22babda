"""A stack in, the same without the drift of its illumination out: where, whether, and how much."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser
from xanesum.errors import RecipeError, XanesumWarning
from xanesum.flat_field.estimate import DriftOfPixels, FlatDrift, estimate_drift, remove_smooth, smooth_fields
from xanesum.method.denoising import denoise
from xanesum.method.intake import DEFAULT_DEVICE, prepare_stack
from xanesum.stack import add_history, usable_mask, usable_weight
from xanesum.storage.lazy import with_frames
from xanesum.streaming.dask_client import cluster_of

__all__ = ["DEFAULT_DRIFT", "DRIFTS", "correct_flat_drift"]

DRIFTS = ("auto", "always", "none")
DEFAULT_DRIFT = "auto"
SEEN = 0.1  # of the noise level, up to which a drift is left alone: errors of the spectra look like so much
MIN_ENERGIES = 20  # with fewer, spectra and drift cannot be told apart


def correct_flat_drift(
    stack: xr.DataArray,
    *,
    drift: str = DEFAULT_DRIFT,
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    memory: float | None = None,
    checkpoint: str | Path | None = None,
    scheduler: Any = None,
    device: str = DEFAULT_DEVICE,
    rng: np.random.Generator | None = None,
    progress: Callable[[str, float], None] = lambda step, share: None,
) -> tuple[xr.DataArray, FlatDrift | None]:
    """Remove the smooth change of the illumination since the flat was taken, frame by frame.

    The spectra of the sample are found first on a stack without anything smooth; see
    `xanesum.flat_field.estimate.estimate_drift` for what is drift beside them, and what is left alone.  Of
    large images means over blocks of pixels are searched.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Optical density, as `xanesum.preprocess.prepare` returns it.
    drift : {"auto", "always", "none"}
        "auto" looks for drift where an image without the sample was divided by, as in full-field microscopy
        (``attrs["flat_field"]``); a scanned probe has none.
    denoiser : str or Denoiser
        For the spectra.
    memory, checkpoint, scheduler, device
        As in `xanesum.denoise`.
    rng : numpy.random.Generator, optional
        ``default_rng(0)`` by default.
    progress : callable
        Called with a step's name and the share of it that is done.

    Returns
    -------
    stack : DataArray
        A new stack without the drift, or the same where there was none to speak of.
    drift : FlatDrift or None
        What was removed; its energies are those of weight above 0.

    Raises
    ------
    RecipeError
        If `drift` is none of these.
    StackError
        As `xanesum.denoise`.
    """
    if drift not in DRIFTS:
        raise RecipeError(f"flat drift must be one of {', '.join(DRIFTS)}, got {drift!r}")
    used = usable_weight(stack)
    looked_for = drift == "always" or (drift == "auto" and stack.attrs.get("flat_field", False))
    if not looked_for or np.count_nonzero(used) < MIN_ENERGIES:
        return stack, None
    progress("drift", 0.0)
    rng = np.random.default_rng(0) if rng is None else rng
    with cluster_of(scheduler) as cluster:
        prepared = prepare_stack(
            stack,
            memory,
            rng,
            lambda _, share: progress("drift", share),
            checkpoint=checkpoint,
            cluster=cluster,
            device=device,
        )
    means, mask = prepared.means(), prepared.averages.mask
    fields = smooth_fields(mask.shape, mask=mask)
    labels = {name: stack[name] for name in stack.coords if set(stack[name].dims) == {"energy"}}
    small = xr.DataArray(
        remove_smooth(means, fields),
        dims=stack.dims,
        coords={**{name: each[used] for name, each in labels.items()}, "mask": (stack.dims[1:], mask)},
        attrs={name: value for name, value in stack.attrs.items() if name != "missing_values"},
        name=stack.name,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)  # of components that are not the result's
        found = denoise(small, denoiser=denoiser, without=("mirrors",), memory=memory, device="cpu", rng=rng)
    energy_ev = stack.energy.values[used].astype(float)
    removed = estimate_drift(means, found.spectra.values, fields, found.sigma, energy_ev, mask=mask)
    if removed.rms < SEEN * found.sigma * prepared.scale:
        return stack, None
    cleaned = with_frames(stack, _Without(removed.in_pixels(prepared.scale, used), usable_mask(stack)))
    said = f"smooth drift of the illumination removed, {removed.rms:.4f} rms in optical density"
    return add_history(cleaned, said), removed


@dataclass(frozen=True, slots=True, eq=False)
class _Without:
    """Takes the drift away from part of a stack."""

    drift: DriftOfPixels
    mask: NDArray[np.bool_]  # (Y, X), pixels that count

    def __call__(
        self, values: NDArray[np.float32], energies: slice, rows: slice, columns: slice
    ) -> NDArray[np.float32]:
        values -= self.drift.of(energies, rows, columns) * self.mask[rows, columns]
        return values
