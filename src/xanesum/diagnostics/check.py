"""Check a scan before it is denoised: its quality, and what should be mended first."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from xanesum.align import align, estimate_shifts
from xanesum.align.shifts import ALIGNED, Shifts
from xanesum.errors import EdgeError, StackError, XanesumWarning
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.linalg.binning import average_pixels
from xanesum.linalg.imputation import fill_missing
from xanesum.method.denoising import denoise
from xanesum.noise.level import estimate_sigma
from xanesum.result import Denoised
from xanesum.stack import load_stack, usable_mask, usable_weight
from xanesum.xanes import ERROR_NAMES, MIN_ENERGIES, chemical_map
from xanesum.xanes.normalization import edge_ranges, find_e0_ev, judged_ranges
from xanesum.xanes.steepest import steepest_ev

__all__ = ["VERDICTS", "Finding", "check_scan"]

VERDICTS = ("good", "note", "bad")  # nothing to mend; worth knowing; to be mended first
FILLED_RANK = 5  # components from which missing values are filled
CROP_PX = 128  # side of the part that is denoised to measure the gain
COARSE_PX = 96  # shorter side of the coarse images in which flat-field drift is looked for
MOTION_PX = 192  # longest side of the part in which motion is looked for
MOVED = ("moved_px", "moved_px_error", "p_still")  # figures about motion
DRIFT_NOTE, DRIFT_BAD = (
    0.25,
    3.0,
)  # drift over noise: from the first on it matters, beyond the second some stays
WEAK, VERY_WEAK = 3.0, 0.5  # edge step over noise, in one pixel at one energy
STEP_PX = 3.0  # width of the Gaussian that averages the step, so that its own noise does not count
FEW_NEAR_EDGE = 8  # fewer energies near the edge than this are noted
EDGE_HALF_EV = 10.0  # an energy is near the edge within this distance
LEFT_OUT_BAD = 0.05  # share of frames that may be left out
MASKED_BAD = 0.5  # share of pixels that may be left out
MOST_ENERGIES = 80  # energies that are looked at: all near the edge, and some of the others
GAIN_GOOD = 1.5  # exposure gain from which denoising is worth it


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    verdict: str  # of VERDICTS
    text: str
    figures: Mapping[str, float | int | None]


def check_scan(
    stack: xr.DataArray,
    *,
    e0_ev: float | None = None,
    open_counts: float | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Finding, ...]:
    """Judge a scan within seconds: dose, energies, what is left out, drift of light, motion, gain.

    The stack is not changed.  Of many energies, those near the edge and some of the others are looked at.
    The gain is that of a part of the images, which is denoised.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        As `xanesum.preprocess.prepare` returns it.
    e0_ev : float, optional
        Energy of the edge; found by default.  Of fewer than five energies, it is where the mean rises most.
    open_counts : float, optional
        Counts of one exposure without the sample, for the record.
    rng : numpy.random.Generator, optional
        ``default_rng(0)`` by default.
    """
    scan = _usable_part(stack, np.random.default_rng(0) if rng is None else rng, e0_ev)
    motion, at_rest = _motion(scan)
    return (
        _dose(scan, open_counts),
        _energies(scan),
        _left_out(stack),
        _light(scan),
        motion,
        _gain(at_rest),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Scan:
    """The energies and pixels of a stack that count."""

    stack: xr.DataArray  # as given
    values: NDArray[np.float32]  # (E, Y, X), missing values filled; 0 where the mask does not hold
    energy_ev: NDArray[np.float64]  # (E,)
    mask: NDArray[np.bool_]  # (Y, X)
    e0_ev: float
    rng: np.random.Generator
    all_energies_ev: NDArray[np.float64]  # of all frames that count, also those that were not looked at
    edge_problem: str  # why the edge is not known; empty if it is

    def stack_of(self, values: NDArray[np.float32], mask: NDArray[np.bool_]) -> xr.DataArray:
        """Return a stack of smaller images (E, Y', X') with the attributes of the whole."""
        coords = {"energy": self.energy_ev, "mask": (("y", "x"), mask)}
        attrs = {key: value for key, value in self.stack.attrs.items() if key != "missing_values"}
        return xr.DataArray(values, dims=self.stack.dims, coords=coords, attrs=attrs, name="stack")

    @property
    def mean_spectrum(self) -> NDArray[np.float64]:
        """The mean spectrum (E,) over the pixels that count."""
        return np.asarray(self.values[:, self.mask].mean(axis=1, dtype=np.float64))

    def aligned(self, part: xr.DataArray, shifts: Shifts) -> _Scan:
        """Return a part of the scan with its frames moved back."""
        moved = _usable_part(align(part, shifts), self.rng, self.e0_ev)
        return replace(moved, all_energies_ev=self.all_energies_ev, edge_problem=self.edge_problem)

    def noise_level(self) -> float:
        """Return the standard deviation of the noise in one pixel at one energy."""
        return estimate_sigma(self.values, mask=self.mask, rng=self.rng)


def _usable_part(stack: xr.DataArray, rng: np.random.Generator, e0_ev: float | None) -> _Scan:
    used, mask = usable_weight(stack), usable_mask(stack)
    values = fill_missing(load_stack(stack, min_energies=2)[used], rank=FILLED_RANK, mask=mask)
    values = np.where(mask, values, np.float32(0))
    energy_ev = stack.energy.values[used].astype(float)
    mean = values[:, mask].mean(axis=1, dtype=np.float64)
    e0_ev, problem = (e0_ev, "") if e0_ev is not None else _edge_of(energy_ev, mean)
    some = _sampled(energy_ev, e0_ev)
    return _Scan(stack, values[some], energy_ev[some], mask, e0_ev, rng, energy_ev, problem)


def _edge_of(energy_ev: NDArray[np.float64], mean: NDArray[np.float64]) -> tuple[float, str]:
    """Return the energy of the edge, or where few energies rise most, and why it is not known."""
    if len(energy_ev) < MIN_ENERGIES:
        return steepest_ev(energy_ev, mean), ""
    try:
        return find_e0_ev(energy_ev, mean), ""
    except EdgeError as problem:
        return float(energy_ev[0] + energy_ev[-1]) / 2, problem.message


def _sampled(energy_ev: NDArray[np.float64], e0_ev: float) -> NDArray[np.intp]:
    """Return the indices of the energies that are looked at: all near the edge, and some of the others."""
    near = np.abs(energy_ev - e0_ev) <= EDGE_HALF_EV
    others, n_others = np.flatnonzero(~near), MOST_ENERGIES - int(np.count_nonzero(near))
    if len(energy_ev) <= MOST_ENERGIES:
        return np.arange(len(energy_ev))
    if n_others < MOST_ENERGIES // 2:  # so many lie near the edge
        return np.unique(np.linspace(0, len(energy_ev) - 1, MOST_ENERGIES).astype(int))
    chosen = others[np.unique(np.linspace(0, len(others) - 1, n_others).astype(int))]
    return np.sort(np.concatenate([np.flatnonzero(near), chosen]))


def _dose(scan: _Scan, open_counts: float | None) -> Finding:
    """Compare the edge step, where it is large, with the noise."""
    values, energy_ev, mask = scan.values, scan.energy_ev, scan.mask
    sigma = scan.noise_level()
    below, above = energy_ev < scan.e0_ev - EDGE_HALF_EV, energy_ev > scan.e0_ev + EDGE_HALF_EV
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
        "note": "; weak, but denoising is made for this",
        "good": "",
    }[verdict]
    text = (
        f"noise {sigma:.3g} at one energy, edge step {largest:.3g} where it is large: {ratio:.3g} times"
        f"{light}{advice}"
    )
    figures = {"sigma": sigma, "edge_step": largest, "step_over_sigma": ratio, "open_counts": open_counts}
    return Finding("dose", verdict, text, figures)


def _energies(scan: _Scan) -> Finding:
    """Count the energies near the edge and on both sides of it."""
    energy_ev, e0_ev = scan.all_energies_ev, scan.e0_ev
    near = int(np.count_nonzero(np.abs(energy_ev - e0_ev) <= EDGE_HALF_EV))
    span = f"{len(energy_ev)} from {energy_ev[0]:.1f} to {energy_ev[-1]:.1f} eV"
    figures: dict[str, float | int | None] = {"n_energies": len(energy_ev)}
    figures |= {"edge_ev": e0_ev, "n_near_edge": near}
    if scan.edge_problem:
        figures |= dict.fromkeys(("edge_ev", "n_near_edge"))
        return Finding("energies", "bad", f"{span}; no edge was found: {scan.edge_problem}", figures)
    if len(energy_ev) < MIN_ENERGIES:
        text = f"{span}, edge taken at {e0_ev:.1f} eV; so few give a map of the edge step only"
        return Finding("energies", "note", text, figures)
    ranges, doubt_ev = judged_ranges(scan.energy_ev, scan.mean_spectrum, edge_ranges(scan.energy_ev, e0_ev))
    missing = [
        side for side, found in (("below", ranges.pre_ev), ("beyond", ranges.post_ev)) if found is None
    ]
    text = f"{span}, edge at {e0_ev:.1f} eV, {near} within {EDGE_HALF_EV:.0f} eV of it"
    if missing:
        text += f"; too few {' and '.join(missing)} it for a half-step energy: map the white line"
    elif doubt_ev:
        text += f"; it begins shortly below the edge, which may shift the map by {doubt_ev:.1g} eV"
    elif near < FEW_NEAR_EDGE:
        text += "; few for the shape of an edge"
    return Finding(
        "energies", "note" if missing or doubt_ev or near < FEW_NEAR_EDGE else "good", text, figures
    )


def _left_out(stack: xr.DataArray) -> Finding:
    """Count frames of weight 0 and masked pixels."""
    dropped = stack.energy.values[~usable_weight(stack)]
    pixels = float(1 - usable_mask(stack).mean())
    frames = len(dropped) / len(stack)
    shown = ", ".join(f"{e:.1f}" for e in dropped[:6]) + (", ..." if len(dropped) > 6 else "")
    text = f"{len(dropped)} frame{'s' * (len(dropped) != 1)}" + (f" ({shown} eV)" if len(dropped) else "")
    text += f" and {100 * pixels:.2g} % of the pixels left out"
    verdict = "bad" if frames > LEFT_OUT_BAD or pixels > MASKED_BAD else "note" if len(dropped) else "good"
    return Finding(
        "frames", verdict, text, {"n_frames_left_out": len(dropped), "share_of_pixels_left_out": pixels}
    )


def _light(scan: _Scan) -> Finding:
    """Look for smooth drift of the illumination in coarse images, which show it with less noise."""
    if not scan.stack.attrs.get("flat_field", False):
        text = "the scan was not divided by a flat image, so none could drift"
        return Finding("light", "good", text, {"drift_rms": None})
    scale = max(1, min(scan.mask.shape) // COARSE_PX)
    root = average_pixels(np.ones((1, *scan.mask.shape), np.float32), scale, mask=scan.mask)[0]
    means = average_pixels(scan.values, scale, mask=scan.mask) / np.maximum(root, 1)
    small = scan.stack_of(means, root > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)  # they concern the coarse images, not the scan
        removed = correct_flat_drift(small, denoiser="wavelet", rng=scan.rng)[1]
    rms = 0.0 if removed is None else removed.rms
    sigma = scan.noise_level()
    verdict = "bad" if rms > DRIFT_BAD * sigma else "note" if rms > DRIFT_NOTE * sigma else "good"
    text = f"drifts smoothly by {100 * rms:.2g} % rms ({rms / sigma:.2g} times the noise of a pixel)"
    if verdict != "good":
        text += "; it is removed before denoising"
        text += ", but flats taken more often would help" if verdict == "bad" else ""
    elif not rms:
        text = "steady: no smooth drift to speak of"
    return Finding("light", verdict, text, {"drift_rms": rms, "drift_over_sigma": rms / sigma})


def _motion(scan: _Scan) -> tuple[Finding, _Scan]:
    """Estimate the shifts in the middle of the images; return that part aligned, or all of it if at rest."""
    part = tuple(
        slice((n - min(n, MOTION_PX)) // 2, (n - min(n, MOTION_PX)) // 2 + min(n, MOTION_PX))
        for n in scan.mask.shape
    )
    middle = scan.stack_of(scan.values[:, part[0], part[1]], scan.mask[part])
    unknown = dict.fromkeys(MOVED)
    try:
        shifts = estimate_shifts(middle)
    except StackError as problem:
        return Finding("sample", "note", f"motion is not known: {problem.message}", unknown), scan
    own = shifts.flag == ALIGNED
    if not own.any():
        text = "motion is not known: no frame shows enough of the sample"
        return Finding("sample", "note", text, unknown), scan
    moved_px = float(np.linalg.norm(np.ptp(shifts.shifts_px[own], axis=0)))
    error_px = float(np.sqrt(2) * np.median(np.linalg.norm(shifts.sigma_px[own], axis=1)))  # of a difference
    figures = dict(zip(MOVED, (moved_px, error_px, shifts.p_still), strict=True))
    if not shifts.moves:
        return Finding("sample", "good", "stands still", figures | {"moved_px": 0.0}), scan
    text = f"moves by up to {moved_px:.2g} px (error {error_px:.1g}); its frames are aligned first"
    return Finding("sample", "note", text, figures), scan.aligned(middle, shifts)


def _gain(scan: _Scan) -> Finding:
    """Denoise and map the part of the images in which the spectra change most."""
    part = _strongest_part(scan.values, scan.mask)
    small = scan.stack_of(scan.values[:, part[0], part[1]], scan.mask[part])
    gain = error = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)  # they concern this part, not the scan
        small = correct_flat_drift(small, denoiser="wavelet", rng=scan.rng)[0]
        result = denoise(small, n_probes=1, rng=scan.rng)
    try:
        maps = chemical_map(result, e0_ev=scan.e0_ev)
    except EdgeError as problem:
        text, verdict = f"not known: {problem.message}", "note"
    else:
        verdict, text, gain, error = _gain_of(maps, result)
    if scan.edge_problem:
        verdict, text, gain, error = "note", "not known, as no edge was found", None, None
    is_energy = gain is not None and maps.attrs["kind"] != "edge_step"
    figures = {
        "exposure_gain": gain,
        "map_error_ev": error if is_energy else None,
        "n_components": result.rank,
    }
    return Finding("gain", verdict, text, figures)


def _gain_of(maps: xr.Dataset, result: Denoised) -> tuple[str, str, float | None, float | None]:
    """Return the verdict on a map and its text, the exposure gain, and the median standard error."""
    good = maps["mask"].values & np.isfinite(maps["exposure_gain"].values)
    kind = maps.attrs["kind"]
    error = float(np.median(maps[ERROR_NAMES[kind]].values[good])) if good.any() else np.inf
    if error > EDGE_HALF_EV and (kind != "edge_step" or not good.any()):
        return "bad", "no pixel has an edge that stands above its noise, even after denoising", None, None
    gain = float(np.median(maps["exposure_gain"].values[good]))
    of_what, unit = {
        "half_step": ("map", " eV"),
        "white_line": ("map of the white line", " eV"),
        "edge_step": ("map of the edge step", ""),
    }[kind]
    _, n_y, n_x = result.shape
    text = (
        f"median standard error of the {of_what} {error:.2g}{unit}, as from {gain:.2g} times the exposure "
        f"without denoising; {result.rank} components, in {n_y} x {n_x} px"
    )
    return "good" if gain > GAIN_GOOD else "note", text, gain, error


def _strongest_part(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the part of the images, of at most `CROP_PX` each way, whose spectra change most."""
    half = len(values) // 2
    change = np.abs(values[half:].mean(axis=0) - values[:half].mean(axis=0)) * mask
    sums = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    ny, nx = (min(n, CROP_PX) for n in mask.shape)
    inside = sums[ny:, nx:] - sums[:-ny, nx:] - sums[ny:, :-nx] + sums[:-ny, :-nx]
    y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return slice(int(y), int(y) + ny), slice(int(x), int(x) + nx)
