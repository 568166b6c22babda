"""Samples that move during the scan: errors of the shifts, and the map over that of the same scan at rest.

``python benchmarks/jitter.py`` moves the six phantoms by 2, 4 and 6 px of uniform jitter, with white noise of
10 and 150, three seeds each.  Rows: not aligned, aligned after denoising (the paper's way), StackReg to the
frame before (where pystackreg is installed), phase correlation to the frame before, all pairs of frames
(cross-correlations of edge images, made consistent by least squares with the height of the maximum as weight:
de Jong et al., Ultramicroscopy 213, 112913, 2020), and `xanesum.align`.  A
row that is done is kept in the results and not repeated; ``--fresh`` starts again.  Both scans of a pair have
the same noise.  Maps are compared with the truth over the same area, which all frames have seen; the common
shift of all frames, which no method can know, is set so that this is where the truth is.  Errors of shifts
are those of frames with more than 4 % of the greatest squared slope; a common shift of all frames is none.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from _common import load, print_table, save
from _metrics import map_correlation
from numpy.typing import NDArray
from scipy import fft, ndimage

from xanesum import Shifts, align, denoise, estimate_shifts, half_step_energy
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.phantom import Motion, MovingPhantom, draw_motion, energy_grid_ev, moving
from xanesum.phantom.scenes import KINDS

SHAPE, N_ENERGIES = (256, 320), 150
JITTERS, SIGMAS, SEEDS = (2.0, 4.0, 6.0), (10.0, 150.0), (0, 1, 2)
METHODS = ("not aligned", "after denoising", "StackReg", "phase correlation", "all pairs", "xanesum")
STRONG = 0.04  # of the greatest squared slope of a frame
MIRROR_PX = 16
UPSAMPLING = 50  # of the phase correlation
SMOOTHING_PX = 3.0  # of the edge images of all pairs
Row = dict[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A scan that moves and the same scan at rest, with the same noise."""

    phantom: MovingPhantom
    moving: xr.DataArray
    still: xr.DataArray
    slopes: Array  # (E, 2), sums of squared slopes
    sigma: float

    @classmethod
    def draw(cls, kind: str, sigma: float, jitter: float, seed: int) -> Pair:
        """Simulate both scans."""
        rng = np.random.default_rng(seed)
        motion = draw_motion(energy_grid_ev(N_ENERGIES), jitter_px=jitter, rng=rng)
        phantom = moving(kind, motion, shape=SHAPE, rng=np.random.default_rng(seed))
        at_rest = Motion(np.zeros_like(motion.shifts_px), motion.magnification)
        still = MovingPhantom(phantom.canvas, at_rest, phantom.pad_px)
        noise = [each.noisy(sigma, rng=np.random.default_rng(seed + 1000)) for each in (phantom, still)]
        slopes = np.array([squared_slopes(frame) for frame in phantom.clean().values])
        return cls(phantom, noise[0], noise[1], slopes, sigma)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="particle and brine, 6 px, one seed")
    parser.add_argument("--fresh", action="store_true", help="repeat rows that are there")
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    options = parser.parse_args()
    name = "jitter-quick" if options.quick else "jitter"
    rows: list[Row] = [] if options.fresh else [bare(row) for row in load(name)]
    for kind, sigma, jitter, seed in cells(options.quick):
        key = {"scene": kind, "sigma": sigma, "jitter": jitter, "seed": seed}
        missing = [
            m for m in options.methods if not any(row.items() >= (key | {"what": m}).items() for row in rows)
        ]
        if missing:
            pair = Pair.draw(kind, sigma, jitter, seed)
            for method in missing:
                if method == "StackReg" and find_spec("pystackreg") is None:
                    continue
                rows.append(key | {"what": method} | measured(pair, method))
                print(rows[-1], flush=True)
                save(name, rows, shape=SHAPE, energies=N_ENERGIES)
    print_table(summary(rows))


def bare(row: Row) -> Row:
    """Return a row without what `load` adds."""
    return {key: value for key, value in row.items() if key not in ("commit", "processor")}


def cells(quick: bool) -> Iterator[tuple[str, float, float, int]]:
    """Yield scene, sigma, jitter and seed."""
    for seed in SEEDS[:1] if quick else SEEDS:
        for kind in ("particle", "brine") if quick else KINDS:
            for jitter in JITTERS[-1:] if quick else JITTERS:
                for sigma in SIGMAS:
                    yield kind, sigma, jitter, seed


def measured(pair: Pair, method: str) -> Row:
    """Return errors of shifts and maps of one method."""
    start = time.perf_counter()
    shifts = shifts_by(pair, method)
    seconds = time.perf_counter() - start
    error = shifts.shifts_px - pair.phantom.motion.shifts_px
    weight = pair.slopes.sum(axis=1)
    error = error - weight @ error / weight.sum()
    strong = weight > STRONG * weight.max()
    bound = pair.sigma / np.sqrt(pair.slopes[strong])
    row: Row = {
        "error_px": rms(error[strong]),
        "bound_px": rms(bound),
        "weak_px": rms(error[~strong]) if (~strong).any() else float("nan"),
        "seconds": seconds,
    }
    if method == "xanesum":
        z = error / shifts.sigma_px
        row |= {"z": rms(z[strong]), "within one": float(np.mean(np.abs(z[strong]) < 1))}
        row |= {"z weak": rms(z[~strong]) if (~strong).any() else float("nan"), "p still": shifts.p_still}
    return row | compared(pair, shifts, after=method == "after denoising")


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def shifts_by(pair: Pair, method: str) -> Shifts:
    """Return the shifts of a method."""
    if method == "xanesum":
        return estimate_shifts(pair.moving)
    n = len(pair.moving)
    if method == "not aligned":
        found = np.zeros((n, 2))
    elif method == "StackReg":
        found = by_stackreg(pair.moving.values)
    elif method == "phase correlation":
        found = by_phase(pair.moving.values)
    elif method == "all pairs":
        found = by_all_pairs(pair.moving.values)
    else:
        found = by_phase(quiet_denoise(pair.moving).reconstruct().values)
    limit = np.array(SHAPE) * 0.45
    found = np.clip(found - np.median(found, axis=0), -limit, limit)
    energy_ev, flag = pair.moving.energy.values, np.full(n, "aligned")
    return Shifts(energy_ev, found, np.zeros((n, 2, 2)), flag, ("",) * n, 0, np.ones(n), float("nan"))


def by_stackreg(values: NDArray[np.float32]) -> Array:
    """Return shifts by StackReg, each frame to the one before."""
    from pystackreg import StackReg

    matrices = StackReg(StackReg.TRANSLATION).register_stack(values, reference="previous")
    return np.asarray(matrices[:, [1, 0], 2])


def by_phase(values: NDArray[np.float32]) -> Array:
    """Return shifts by phase correlation, each frame to the one before."""
    from skimage.registration import phase_cross_correlation

    steps = [phase_cross_correlation(a, b, upsample_factor=UPSAMPLING)[0] for a, b in pairwise(values)]
    return np.concatenate([np.zeros((1, 2)), -np.cumsum(steps, axis=0)])


def by_all_pairs(values: NDArray[np.float32]) -> Array:
    """Return shifts that agree best with the cross-correlations of all pairs of frames."""
    edges = np.array([ndimage.gaussian_gradient_magnitude(frame, SMOOTHING_PX) for frame in values])
    edges -= edges.mean(axis=(1, 2), keepdims=True)
    edges /= np.linalg.norm(edges, axis=(1, 2), keepdims=True)
    waves = fft.rfft2(edges)
    first, second = np.triu_indices(len(values), 1)
    steps, heights = np.empty((len(first), 2)), np.empty(len(first))
    for k, (i, j) in enumerate(zip(first, second, strict=True)):
        steps[k], heights[k] = peak_of(fft.irfft2(waves[j] * waves[i].conj(), SHAPE))
    weights = np.clip(heights, 0.0, None) ** 2
    laplacian = np.zeros((len(values), len(values)))
    np.add.at(laplacian, (first, second), -weights)
    laplacian += laplacian.T
    laplacian -= np.diag(laplacian.sum(axis=0))
    pulls = np.zeros((len(values), 2))
    np.add.at(pulls, second, weights[:, None] * steps)
    np.add.at(pulls, first, -weights[:, None] * steps)
    return np.asarray(np.linalg.lstsq(laplacian, pulls, rcond=None)[0])


def peak_of(correlation: Array) -> tuple[Array, float]:
    """Return where a periodic correlation is greatest, by a parabola along each axis, and how high it is."""
    top = np.array(np.unravel_index(correlation.argmax(), correlation.shape))
    height, place = float(correlation[tuple(top)]), np.empty(2)
    for axis, size in enumerate(correlation.shape):
        line = np.take(correlation, top[1 - axis], axis=1 - axis)
        before, after = line[top[axis] - 1], line[(top[axis] + 1) % size]
        place[axis] = top[axis] + 0.5 * (before - after) / min(before - 2 * height + after, -1e-12)
        place[axis] = (place[axis] + size / 2) % size - size / 2
    return place, height


def quiet_denoise(stack: xr.DataArray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        return denoise(stack)


def compared(pair: Pair, shifts: Shifts, *, after: bool) -> Row:
    """Return the correlation of the map with the truth, over that of the scan at rest, on the same area."""
    truth = pair.phantom.at_rest.half_step_energy_ev
    weight = pair.slopes.sum(axis=1)
    common = weight @ (pair.phantom.motion.shifts_px - shifts.shifts_px) / weight.sum()
    shifts = replace(shifts, shifts_px=shifts.shifts_px + common)
    try:
        stack = align(quiet_denoise(pair.moving).reconstruct() if after else pair.moving, shifts)
    except XanesumError as error:
        return {"map": float("nan"), "ratio": float("nan"), "note": str(error)[:60]}
    area = stack["mask"].values & (pair.phantom.at_rest.mask)
    try:
        found = map_of(stack)
        best = map_of(pair.still.assign_coords(mask=stack["mask"]))
        values = [map_correlation(each, truth, area & np.isfinite(each)) for each in (found, best)]
    except XanesumError as error:
        return {"map": float("nan"), "ratio": float("nan"), "note": str(error)[:60]}
    return {"map": values[0], "ratio": values[0] / values[1], "note": ""}


def map_of(stack: xr.DataArray) -> NDArray[np.floating]:
    """Return the half-step energy (Y, X)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        result = half_step_energy(denoise(stack))
    return np.asarray(result["half_step_energy_ev"].values)


def squared_slopes(frame: NDArray[np.float32]) -> list[float]:
    """Return the sums of the squared derivatives along y and x, by the coefficients of the mirrored frame."""
    big = np.pad(frame.astype(np.float64), MIRROR_PX, mode="symmetric")
    coefficients = fft.rfft2(big)
    waves = fft.fftfreq(big.shape[0])[:, None], fft.rfftfreq(big.shape[1])
    inside = np.s_[MIRROR_PX:-MIRROR_PX, MIRROR_PX:-MIRROR_PX]
    planes = (fft.irfft2(2j * np.pi * f * coefficients, big.shape)[inside] for f in waves)
    return [float(np.sum(plane**2)) for plane in planes]


def summary(rows: list[Row]) -> list[Row]:
    """Return medians and the worst over the seeds of each cell."""
    keys = dict.fromkeys((row["scene"], row["sigma"], row["jitter"], row["what"]) for row in rows)
    table = []
    for scene, sigma, jitter, what in keys:
        same = [
            r
            for r in rows
            if (r["scene"], r["sigma"], r["jitter"], r["what"]) == (scene, sigma, jitter, what)
        ]
        line: Row = {"scene": scene, "sigma": sigma, "jitter": jitter, "what": what, "seeds": len(same)}
        ratios = [r["ratio"] for r in same]
        line["error px"] = float(np.median([r["error_px"] for r in same]))
        line["over bound"] = float(np.median([r["error_px"] / r["bound_px"] for r in same]))
        line["map"] = float(np.median([r["map"] for r in same]))
        line["ratio"], line["worst"] = float(np.median(ratios)), float(np.min(ratios))
        line["z"] = float(np.median([r["z"] for r in same])) if "z" in same[0] else ""
        line["seconds"] = float(np.median([r["seconds"] for r in same]))
        table.append(line)
    return table


if __name__ == "__main__":
    main()
