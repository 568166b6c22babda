"""A stack in, the same without the drift of its illumination out: where, whether, and how much."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import xarray as xr

from xanesum.denoisers import DEFAULT_DENOISER, Denoiser
from xanesum.denoising import denoise
from xanesum.errors import RecipeError, XanesumWarning
from xanesum.illumination import FlatDrift, estimate_drift, remove_drift, remove_smooth, smooth_fields
from xanesum.stack import add_history, load_stack, usable_mask, usable_weight
from xanesum.subspace import fill_missing

__all__ = ["DEFAULT_DRIFT", "DRIFTS", "correct_flat_drift"]

DRIFTS = ("auto", "always", "none")
DEFAULT_DRIFT = "auto"
SEEN = 0.1  # of the noise level, up to which a drift is left alone: errors of the spectra look like so much
FILLED_RANK = 5  # components that stand in for missing values
MIN_ENERGIES = 20  # with fewer, spectra and drift cannot be told apart


def correct_flat_drift(
    stack: xr.DataArray,
    *,
    drift: str = DEFAULT_DRIFT,
    denoiser: str | Denoiser = DEFAULT_DENOISER,
    rng: np.random.Generator | None = None,
    progress: Callable[[str, float], None] = lambda step, share: None,
) -> tuple[xr.DataArray, FlatDrift | None]:
    """Remove the smooth change of the illumination since the flat was taken, frame by frame.

    The spectra of the sample are found first on a stack without anything smooth; see
    `xanesum.illumination.estimate_drift` for what is drift beside them, and what is left alone.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Optical density, as `xanesum.preprocess.prepare` returns it.
    drift : {"auto", "always", "none"}
        "auto" looks for drift where an image without the sample was divided by, as in full-field microscopy
        (``attrs["flat_field"]``); a scanned probe has none.
    denoiser : str or Denoiser
        For the spectra.
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
    mask, values = usable_mask(stack), load_stack(stack, min_energies=2)
    filled = np.where(mask, fill_missing(values[used], rank=FILLED_RANK, mask=mask), np.float32(0))
    fields = smooth_fields(mask.shape, mask=mask)
    without_smooth = stack[used].copy(data=remove_smooth(filled, fields))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)  # of components that are not the result's
        found = denoise(without_smooth, denoiser=denoiser, without=("mirrors",), rng=rng)
    energy_ev = stack.energy.values[used].astype(float)
    removed = estimate_drift(filled, found.spectra.values, fields, found.sigma, energy_ev, mask=mask)
    if removed.rms < SEEN * found.sigma:
        return stack, None
    cleaned = values.copy()
    cleaned[used] = remove_drift(values[used], removed)
    said = f"smooth drift of the illumination removed, {removed.rms:.4f} rms in optical density"
    return add_history(stack.copy(data=cleaned), said), removed
