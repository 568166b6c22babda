"""Draw docs/images/start-result.png: what a run makes of the scan of the package, beside the truth."""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr

mpl.use("Agg")
import matplotlib.pyplot as plt  # imported after the backend without a screen is chosen
from example_scan import PIXEL_SIZE_NM, simulate_example

import xanesum as xs
from xanesum.errors import XanesumWarning
from xanesum.phantom import Motion
from xanesum.preprocess import prepare

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "start-result.png"
FRAME_EV = 8345.0  # energy of the frame that is shown
PLACE = (48, 66)  # pixel (y, x) whose spectrum is shown
BAR_PX = 1000 / PIXEL_SIZE_NM  # 1 micrometre
STATES_EV = (8339.5, 8343.7)


def truth_of(shifts: xs.Shifts, e0_ev: float) -> xr.DataArray:
    """Return the map of the clean phantom, at the place to which `shifts` moved the frames."""
    sample = simulate_example().sample
    rest = (sample.motion.shifts_px - shifts.shifts_px).mean(axis=0)
    motion = Motion(np.tile(rest, (len(sample.energy_ev), 1)), np.ones(len(sample.energy_ev)))
    clean = replace(sample, motion=motion).clean()
    return xs.half_step_energy(clean, e0_ev=e0_ev)["half_step_energy_ev"]


def coverage(edge: xr.Dataset, truth_ev: xr.DataArray) -> str:
    """Return which share of the pixels lies within the stated errors."""
    error = np.abs(edge["half_step_energy_ev"] - truth_ev).values / edge["half_step_sigma_ev"].values
    error = error[edge["mask"].values & np.isfinite(error)]
    return (
        f"{np.mean(error < 1):.0%} of the pixels within one stated error, {np.mean(error < 1.96):.0%} in 1.96"
    )


def draw(measured: xr.DataArray, result: xs.Denoised, truth_ev: xr.DataArray, path: Path) -> None:
    """Draw frames, maps and a spectrum."""
    figure, axes = plt.subplots(2, 4, figsize=(11, 4.9), layout="constrained")
    clean, edge = result.reconstruct(), xs.half_step_energy(result)
    frame = {"energy": FRAME_EV, "method": "nearest"}
    greys = {"cmap": "gray", "vmin": -0.1, "vmax": float(clean.sel(**frame).quantile(0.995))}
    mean = {"cmap": "gray", "vmin": -0.05, "vmax": float(clean.mean("energy").quantile(0.995))}
    states = {"cmap": "viridis", "vmin": STATES_EV[0], "vmax": STATES_EV[1]}
    mask = edge["mask"].values
    errors = {
        "cmap": "cividis",
        "vmin": 0,
        "vmax": float(edge["half_step_sigma_ev"].where(mask).quantile(0.98)),
    }
    panels = [
        ("one frame as measured", measured.sel(**frame), greys, "optical density"),
        ("the same frame, clean and aligned", clean.sel(**frame), greys, "optical density"),
        ("mean frame as measured", measured.mean("energy"), mean, "optical density"),
        ("map: half-step energy", np.where(mask, edge["half_step_energy_ev"], np.nan), states, "eV"),
        ("its standard error", np.where(mask, edge["half_step_sigma_ev"], np.nan), errors, "eV"),
        ("the truth of the simulation", np.where(mask, truth_ev, np.nan), states, "eV"),
    ]
    places = [axes[0, 0], axes[0, 1], axes[0, 2], axes[1, 0], axes[1, 1], axes[1, 2]]
    for axis, (title, image, look, unit) in zip(places, panels, strict=True):
        shown = axis.imshow(image, interpolation="nearest", **look)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
        axis.plot(
            [4, 4 + BAR_PX], [91, 91], color="white" if look is greys or look is mean else "black", lw=2
        )
        bar = figure.colorbar(shown, ax=axis, shrink=0.8)
        bar.set_label(unit, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        bar.formatter.set_useOffset(False)
    axes[1, 0].plot(PLACE[1], PLACE[0], "+", color="red", markersize=9)
    axes[0, 3].imshow(clean.mean("energy"), interpolation="nearest", **mean)
    axes[0, 3].set_title("mean frame, clean and aligned", fontsize=9)
    axes[0, 3].set_axis_off()
    _draw_spectrum(axes[1, 3], measured, result)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def _draw_spectrum(axis: plt.Axes, measured: xr.DataArray, result: xs.Denoised) -> None:
    spectrum = result.spectrum(*PLACE)
    energy = spectrum["energy"].values
    axis.plot(energy, measured.sel(energy=energy).values[:, PLACE[0], PLACE[1]], ".", color="0.6", ms=4)
    low, high = (spectrum["spectrum"] + sign * spectrum["sigma"] for sign in (-1, 1))
    axis.fill_between(energy, low, high, alpha=0.4, lw=0)
    axis.plot(energy, spectrum["spectrum"], lw=1.2)
    axis.set_xlim(8310, 8400)
    axis.set_title("spectrum of the pixel at the cross", fontsize=9)
    axis.set_xlabel("energy (eV)", fontsize=8)
    axis.set_ylabel("optical density", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(
        ["measured, not aligned", "standard error", "clean"], fontsize=7, frameon=False, loc="lower right"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    parser.add_argument("--results", type=Path, help="folder of a run of the example, instead of a new one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        results = options.results or Path(folder)
        if options.results is None:
            xs.run(xs.example_scan(), results)
        result = xs.load_result(results / "result.sum.h5")
        measured, _ = prepare(xs.read_stack(xs.example_scan()))
        edge = xs.half_step_energy(result)
        truth_ev = truth_of(xs.read_shifts(results / "shifts.csv"), edge.attrs["e0_ev"])
        draw(measured, result, truth_ev, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1000:.0f} kB; {coverage(edge, truth_ev)}")


if __name__ == "__main__":
    main()
