"""A short verdict on a scan before it is denoised: what it is good for, and what should be mended first."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

from xanesum.errors import EdgeError, XanesumWarning
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.linalg.binning import average_pixels
from xanesum.linalg.imputation import fill_missing
from xanesum.method.denoising import denoise
from xanesum.noise.level import estimate_sigma
from xanesum.stack import load_stack, usable_mask, usable_weight
from xanesum.xanes import half_step_energy
from xanesum.xanes.normalization import edge_ranges, find_e0_ev

__all__ = ["VERDICTS", "Finding", "check_scan"]

VERDICTS = ("good", "note", "bad")
FILLED_RANK = 5
CROP_PX = 128  # side of the part that is denoised to see what it brings
COARSE_PX = 96  # shorter side of the images in which the illumination's drift is looked for
N_GROUPS = 8  # of frames, whose means are compared to see the sample move
MOVED_PX = 512  # ... in a part of at most so many pixels each way
FINE_PX = 1.0, 6.0  # of the detail by which frames are compared
SUBPIXEL = 20
SURE = 4.0  # times what chance moves it
MOVED_NOTE, MOVED_BAD = 0.3, 1.0  # pixels
DRIFT_NOTE, DRIFT_BAD = 0.25, 3.0  # times the noise; the first costs little, the second leaves some behind
WEAK, VERY_WEAK = 3.0, 0.5  # edge step over noise, in one pixel at one energy
STEP_PX = 3.0  # over which the step is averaged, so that its own noise does not count
FEW_EDGE = 8  # energies in the 20 eV about the edge
EDGE_HALF_EV = 10.0
LEFT_OUT = 0.05  # of frames or pixels
GAIN = 1.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    verdict: str  # of VERDICTS
    text: str
    figures: Mapping[str, float | int | None]


def check_scan(
    stack: xr.DataArray, *, open_counts: float | None = None, rng: np.random.Generator | None = None
) -> tuple[Finding, ...]:
    """Judge a scan within seconds: dose, energies, what is left out, drift of light and sample, gain.

    Nothing of the stack is changed; the gain is that of a part of it, which is denoised.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        As `xanesum.preprocess.prepare` returns it.
    open_counts : float, optional
        Counts of one exposure without the sample, for the record.
    rng : numpy.random.Generator, optional
        ``default_rng(0)`` by default.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    used, mask = usable_weight(stack), usable_mask(stack)
    values = fill_missing(load_stack(stack, min_energies=2)[used], rank=FILLED_RANK, mask=mask)
    values = np.where(mask, values, np.float32(0))
    energy_ev = stack.energy.values[used].astype(float)
    mean = values[:, mask].mean(axis=1, dtype=np.float64)
    e0_ev = find_e0_ev(energy_ev, mean)
    return (
        _dose(values, energy_ev, e0_ev, mask, open_counts, rng),
        _energies(energy_ev, e0_ev),
        _left_out(stack),
        _light(stack, values, energy_ev, mask, rng),
        _motion(values, mask),
        _gain(stack, values, energy_ev, e0_ev, mask, rng),
    )


def _dose(
    values: NDArray[np.float32],
    energy_ev: NDArray[np.float64],
    e0_ev: float,
    mask: NDArray[np.bool_],
    open_counts: float | None,
    rng: np.random.Generator,
) -> Finding:
    sigma = estimate_sigma(values, mask=mask, rng=rng)
    below, above = energy_ev < e0_ev - EDGE_HALF_EV, energy_ev > e0_ev + EDGE_HALF_EV
    if not below.any() or not above.any():
        below, above = energy_ev <= energy_ev[0], energy_ev >= energy_ev[-1]
    step = values[above].mean(axis=0) - values[below].mean(axis=0)
    share = np.maximum(gaussian_filter(mask.astype(np.float32), STEP_PX), 1e-3)
    largest = float(np.percentile((gaussian_filter(step * mask, STEP_PX) / share)[mask], 95))
    ratio = largest / sigma if sigma > 0 else np.inf
    verdict = "bad" if ratio < VERY_WEAK else "note" if ratio < WEAK else "good"
    light = "" if open_counts is None else f", {open_counts:.4g} counts without the sample"
    advice = {
        "bad": "; expose longer, or only large regions will show anything",
        "note": "; weak, but what denoising is for",
        "good": "",
    }[verdict]
    text = (
        f"noise {sigma:.3g} at one energy, edge step {largest:.3g} where it is large: {ratio:.3g} times"
        f"{light}{advice}"
    )
    figures = {"sigma": sigma, "edge_step": largest, "step_over_sigma": ratio, "open_counts": open_counts}
    return Finding("dose", verdict, text, figures)


def _energies(energy_ev: NDArray[np.float64], e0_ev: float) -> Finding:
    ranges = edge_ranges(energy_ev, e0_ev)
    near = int(np.count_nonzero(np.abs(energy_ev - e0_ev) <= EDGE_HALF_EV))
    missing = [
        side for side, found in (("below", ranges.pre_ev), ("beyond", ranges.post_ev)) if found is None
    ]
    figures = {"n_energies": len(energy_ev), "edge_ev": e0_ev, "n_near_edge": near}
    text = (
        f"{len(energy_ev)} from {energy_ev[0]:.1f} to {energy_ev[-1]:.1f} eV, edge at {e0_ev:.1f} eV, "
        f"{near} within {EDGE_HALF_EV:.0f} eV of it"
    )
    if missing:
        text += f"; too few {' and '.join(missing)} it for a half-step energy: map the white line"
    elif near < FEW_EDGE:
        text += "; few for the shape of an edge"
    return Finding("energies", "note" if missing or near < FEW_EDGE else "good", text, figures)


def _left_out(stack: xr.DataArray) -> Finding:
    dropped = stack.energy.values[~usable_weight(stack)]
    pixels = float(1 - usable_mask(stack).mean())
    frames = len(dropped) / len(stack)
    shown = ", ".join(f"{e:.1f}" for e in dropped[:6]) + (", ..." if len(dropped) > 6 else "")
    text = f"{len(dropped)} frame{'s' * (len(dropped) != 1)}" + (f" ({shown} eV)" if len(dropped) else "")
    text += f" and {100 * pixels:.2g} % of the pixels left out"
    verdict = "bad" if frames > LEFT_OUT or pixels > 0.5 else "note" if len(dropped) else "good"
    return Finding(
        "frames", verdict, text, {"n_frames_left_out": len(dropped), "share_of_pixels_left_out": pixels}
    )


def _light(
    stack: xr.DataArray,
    values: NDArray[np.float32],
    energy_ev: NDArray[np.float64],
    mask: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Finding:
    """Look for smooth drift in images that are coarse: it is smooth, and noise is less there."""
    if not stack.attrs.get("flat_field", False):
        return Finding(
            "light", "good", "no flat image was divided by, so none could drift", {"drift_rms": None}
        )
    scale = max(1, min(mask.shape) // COARSE_PX)
    count = average_pixels(np.ones((1, *mask.shape), np.float32), scale, mask=mask)[0]
    coarse = average_pixels(values, scale, mask=mask) / np.maximum(count, 1)
    small = _stack_like(stack, coarse, energy_ev, count > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        removed = correct_flat_drift(small, denoiser="wavelet", rng=rng)[1]
    rms = 0.0 if removed is None else removed.rms
    sigma = estimate_sigma(values, mask=mask, rng=rng)
    verdict = "bad" if rms > DRIFT_BAD * sigma else "note" if rms > DRIFT_NOTE * sigma else "good"
    text = f"drifts smoothly by {100 * rms:.2g} % rms ({rms / sigma:.2g} times the noise of a pixel)"
    if verdict == "good":
        text = "steady: no smooth drift to speak of" if not rms else text
    else:
        text += "; it is removed before denoising" + (
            ", but flats taken more often would help" if verdict == "bad" else ""
        )
    return Finding("light", verdict, text, {"drift_rms": rms, "drift_over_sigma": rms / sigma})


def _motion(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> Finding:
    """Compare means of frames that follow each other, each with the mean of all."""
    part = tuple(
        slice((n - min(n, MOVED_PX)) // 2, (n - min(n, MOVED_PX)) // 2 + min(n, MOVED_PX)) for n in mask.shape
    )
    window = np.outer(*(np.hanning(p.stop - p.start + 2)[1:-1] for p in part))
    halves = [_fine_images(values[first::2, part[0], part[1]], window) for first in (0, 1)]
    reference = np.sum([*halves[0], *halves[1]], axis=0)
    register: Any = phase_cross_correlation
    options = {"upsample_factor": SUBPIXEL, "normalization": None}
    shifts = np.array([[register(reference, each, **options)[0] for each in half] for half in halves])
    chance = float(np.sqrt(np.mean(np.square(shifts[0] - shifts[1])) / 2))  # both saw the same motion
    mean = shifts.mean(axis=0)
    moved = float(np.linalg.norm(np.ptp(mean, axis=0)))
    if moved < SURE * chance:
        moved = 0.0
    verdict = "bad" if moved > MOVED_BAD else "note" if moved > MOVED_NOTE else "good"
    text = f"moves by up to {moved:.2g} px during the scan" if moved > MOVED_NOTE else "stands still"
    if verdict != "good":
        text += "; align the frames before anything else"
    return Finding("sample", verdict, text, {"moved_px": moved, "moved_px_by_chance": chance})


def _fine_images(values: NDArray[np.float32], window: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return means of frames that follow each other, of length 1, without noise and without smooth light."""
    images = []
    for group in np.array_split(values, min(N_GROUPS, len(values))):
        mean = group.mean(axis=0)
        fine = (gaussian_filter(mean, FINE_PX[0]) - gaussian_filter(mean, FINE_PX[1])) * window
        images.append(fine / max(float(np.linalg.norm(fine)), np.finfo(float).tiny))
    return images


def _gain(
    stack: xr.DataArray,
    values: NDArray[np.float32],
    energy_ev: NDArray[np.float64],
    e0_ev: float,
    mask: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Finding:
    """Denoise the part of the images in which the edge is strongest."""
    part = _strongest_part(values, mask)
    small = _stack_like(stack, values[:, part[0], part[1]], energy_ev, mask[part])
    gain = error = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        small = correct_flat_drift(small, denoiser="wavelet", rng=rng)[0]
        result = denoise(small, n_probes=1, rng=rng)
    try:
        maps = half_step_energy(result, e0_ev=e0_ev)
    except EdgeError as problem:
        text, verdict = f"not known: {problem}", "note"
    else:
        good = maps["mask"].values & np.isfinite(maps["exposure_gain"].values)
        if good.any():
            gain = float(np.median(maps["exposure_gain"].values[good]))
            error = float(np.median(maps["half_step_sigma_ev"].values[good]))
            verdict = "good" if gain > GAIN else "note"
            text = (
                f"map with a standard error of {error:.2g} eV (median), as {gain:.2g} times the exposure "
                f"would give without; {result.rank} components, in {small.shape[1]} x {small.shape[2]} px"
            )
        else:
            verdict, text = "bad", "no pixel has an edge that stands above its noise, even after denoising"
    figures = {"exposure_gain": gain, "map_error_ev": error, "n_components": result.rank}
    return Finding("gain", verdict, text, figures)


def _strongest_part(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the part of the images, of at most `CROP_PX` each way, whose spectra change most."""
    half = len(values) // 2
    change = np.abs(values[half:].mean(axis=0) - values[:half].mean(axis=0)) * mask
    sums = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    ny, nx = (min(n, CROP_PX) for n in mask.shape)
    inside = sums[ny:, nx:] - sums[:-ny, nx:] - sums[ny:, :-nx] + sums[:-ny, :-nx]
    y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return slice(int(y), int(y) + ny), slice(int(x), int(x) + nx)


def _stack_like(
    stack: xr.DataArray, values: NDArray[np.float32], energy_ev: NDArray[np.float64], mask: NDArray[np.bool_]
) -> xr.DataArray:
    coords = {"energy": energy_ev, "mask": (("y", "x"), mask)}
    attrs = {key: value for key, value in stack.attrs.items() if key != "missing_values"}
    return xr.DataArray(values, dims=stack.dims, coords=coords, attrs=attrs, name="stack")
