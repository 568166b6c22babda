"""Scans drawn at random whose sample moves: found, moved back, and mapped as a user would do it.

``python benchmarks/random_motion.py`` draws 80 scans as `random_scans` does, and motion for each: jitter of
0.2 to 6 px, in half of them a drift of up to 15 px, in some a step or a change of magnification.  The map
of the scan that was aligned is compared with that of the same scan at rest, with the same noise, over the
same pixels.  ``--still`` draws 100 scans that do not move, and counts those in which frames are moved.

The set "train" has a fixed seed, the set "report" takes it from the commit.  Small scans come first, and rows
are saved as they come; ``--resume`` continues.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from _common import commit, load, print_table, save
from _random_scenes import Content, Label, describe, draw_content, draw_label, measured_scan, prepared
from _random_scores import plain
from _random_tables import percentiles
from numpy.typing import NDArray
from random_scans import base_seed, mapped
from scipy import fft

from xanesum import align, denoise, half_step_energy
from xanesum.align.shifts import ALIGNED
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.phantom import Motion, draw_motion
from xanesum.phantom.motion import fading
from xanesum.stack import usable_mask
from xanesum.workflow.motion import align_scan
from xanesum.workflow.recipe import AlignOptions

N_MOVING, N_STILL, N_QUICK = 80, 100, 6
MOTION_BASE = 500_000  # added to the seed of a set
JITTER_PX = 0.2, 6.0
DRIFT_PX, STEP_PX = 15.0, 8.0  # at most, along each axis
CHANCE = {"drift": 0.5, "step": 0.2}
TAPER_PX = 8  # of the canvas at its borders
LEAST_PIXELS = 100  # that a map must have to be compared
Row = dict[str, Any]
Array = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=("train", "report"), default="train")
    parser.add_argument("--still", action="store_true", help="scans that do not move")
    parser.add_argument("--quick", action="store_true", help=f"{N_QUICK} small scans")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes side by side")
    parser.add_argument("--largest", type=float, default=np.inf, metavar="M", help="million values, at most")
    options = parser.parse_args()
    kind = "still" if options.still else "moving"
    name = f"random-{kind}-{options.set}{'-quick' if options.quick else ''}"
    rows = load(name) if options.resume else []
    base = rows[0]["label"]["base"] if rows else base_seed(options.set) + MOTION_BASE
    n = N_STILL if options.still else N_MOVING
    labels = sorted((draw_label(base, index) for index in range(n)), key=lambda label: label["values"])
    done = {row["label"]["index"] for row in rows}
    labels = [
        each for each in labels if each["index"] not in done and each["values"] <= options.largest * 1e6
    ]
    for row in mapped(
        partial(judged, still=options.still), labels[: N_QUICK if options.quick else None], options.jobs
    ):
        rows.append({"commit": commit(), **row})
        print(f"{len(rows)}: {row['label']['index']} {row['description']}\n   {row['said']}", flush=True)
        save(name, rows, base=base)
    print_table(summary(rows))


def judged(label: Label, *, still: bool) -> Row:
    """Return how well a scan was aligned, and its map over that of the scan at rest."""
    began = time.perf_counter()
    motion = draw_label_motion(label, still=still)
    pad = int(np.ceil(np.abs(motion.shifts_px).max())) + TAPER_PX
    ny, nx = label["shape"]
    canvas = draw_content(label | {"shape": [ny + 2 * pad, nx + 2 * pad]})
    inside = np.s_[pad : pad + ny, pad : pad + nx]
    content = replace(
        canvas,
        images=np.ascontiguousarray(canvas.images[(slice(None), *inside)]),
        particle=None if canvas.particle is None else canvas.particle[inside],
    )
    at_rest = measured_scan(label, content, content.density)
    moves = at_rest if still else measured_scan(label, content, moved(canvas, motion)[(slice(None), *inside)])
    row: Row = {
        "label": label,
        "description": describe(label),
        "span px": float(np.ptp(motion.shifts_px, axis=0).max()),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        try:
            row |= compared(prepared(moves), prepared(at_rest), at_rest.clean, motion)
        except XanesumError as error:
            row |= {"failed": f"{type(error).__name__}: {error}", "said": str(error), "is told": True}
    return plain(row | {"seconds": round(time.perf_counter() - began, 1)})


def draw_label_motion(label: Label, *, still: bool) -> Motion:
    """Draw the motion of a scan."""
    rng = np.random.default_rng([label["base"], label["index"], 2])
    jitter = float(np.exp(rng.uniform(*np.log(JITTER_PX))))
    drift = rng.uniform(-DRIFT_PX, DRIFT_PX, 2) * (rng.random() < CHANCE["drift"])
    step = float(rng.uniform(0, STEP_PX)) * (rng.random() < CHANCE["step"])
    energy_ev = np.arange(label["energies"], dtype=float)
    drawn = draw_motion(energy_ev, jitter_px=jitter, drift_px=tuple(drift), step_px=step, rng=rng)
    return replace(drawn, shifts_px=0 * drawn.shifts_px) if still else drawn


def moved(canvas: Content, motion: Motion) -> NDArray[np.float32]:
    """Return the density (E, Y, X) of the canvas, moved by the phase of Fourier coefficients."""
    n_y, n_x = canvas.images.shape[1:]
    fade = np.outer(fading(n_y, TAPER_PX), fading(n_x, TAPER_PX))
    coefficients = fft.rfft2(canvas.images * fade)
    f_y, f_x = fft.fftfreq(n_y)[:, None], fft.rfftfreq(n_x)
    frames = np.empty((len(canvas.energy_ev), n_y, n_x), np.float32)
    for frame, spectrum, (d_y, d_x) in zip(frames, canvas.spectra.T, motion.shifts_px, strict=True):
        phase = np.exp(-2j * np.pi * f_y * d_y) * np.exp(-2j * np.pi * f_x * d_x)
        frame[:] = fft.irfft2(np.tensordot(spectrum, coefficients, axes=1) * phase, (n_y, n_x))
    return frames


def compared(stack: xr.DataArray, still: xr.DataArray, clean: xr.DataArray, motion: Motion) -> Row:
    """Return what was found about the motion, and the maps of the aligned scan and of the scan at rest."""
    aligned, found = align_scan(stack, AlignOptions())
    assert found is not None
    row: Row = {
        "said": found.text,
        "moved": found.is_removed,
        "is told": bool(aligned.attrs.get("motion_doubt")),
    }
    if found.shifts is not None:
        shifts = found.shifts
        own = shifts.flag == ALIGNED
        weight = np.where(own, 1 / np.trace(shifts.covariance_px2, axis1=1, axis2=2), 0)
        error = shifts.shifts_px - motion.shifts_px
        common = weight @ error / max(weight.sum(), 1e-300)
        error = error - common
        row |= {"p still": shifts.p_still, "own share": float(own.mean())}
        if own.any():
            row |= {"error px": rms(error[own]), "z": rms((error / shifts.sigma_px)[own])}
        if found.is_removed:  # where the truth is, no method can know
            aligned = align(stack, replace(shifts, shifts_px=shifts.shifts_px - common))
        elif not np.any(motion.shifts_px):  # the scan is that at rest, and so is its map
            return row | {"ratio": 1.0, "error ratio": 1.0}
    truth = half_step_energy(clean)["half_step_energy_ev"].values
    area = usable_mask(aligned) & np.isfinite(truth)
    ours, best = (
        map_of(each.assign_coords(mask=(("y", "x"), area & usable_mask(each)))) for each in (aligned, still)
    )
    both = area & np.isfinite(ours) & np.isfinite(best)
    row["pixels"] = int(both.sum())
    if row["pixels"] < LEAST_PIXELS:
        return row
    for name, each in (("ours", ours), ("at rest", best)):
        row[f"error, {name}"] = rms(each[both] - truth[both])
        row[f"map, {name}"] = correlation(each[both], truth[both])
    row["error ratio"] = row["error, ours"] / max(row["error, at rest"], 1e-12)
    row["ratio"] = row["map, ours"] / row["map, at rest"] if row["map, at rest"] > 0.2 else None
    return row


def correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.corrcoef(one, other)[0, 1]) if np.std(other) > 1e-6 and np.std(one) > 0 else 0.0


def map_of(stack: xr.DataArray) -> NDArray[np.floating]:
    """Return the half-step energy (Y, X) of a stack that is corrected and denoised."""
    result = denoise(correct_flat_drift(stack)[0])
    return np.asarray(half_step_energy(result)["half_step_energy_ev"].values)


def rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def summary(rows: list[Row]) -> list[Row]:
    """Return figures by kind of noise; spreads are the 10, 50 and 90 % points."""
    table = []
    for kind in ("white", "counted", "all"):
        group = [row for row in rows if kind in (row["label"]["noise"], "all")]
        if group:
            spread = {
                name: percentiles(row.get(name) for row in group)
                for name in ("ratio", "error ratio", "z", "error px")
            }
            table.append(
                {
                    "noise": kind,
                    "scans": len(group),
                    "failed": sum("failed" in row for row in group),
                    "moved": sum(bool(row.get("moved")) for row in group),
                    "told": sum(bool(row.get("is told")) for row in group),
                    "map correlation over that at rest": spread["ratio"],
                    "map error over that at rest": spread["error ratio"],
                    "error of shifts (px)": spread["error px"],
                    "over the stated": spread["z"],
                }
            )
    return table


if __name__ == "__main__":
    main()
