"""Draw docs/images/before_after.png: a frame and the chemical map of a phantom, noisy and clean."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt  # imported after the backend without a screen is chosen

from xanesum.method.denoising import denoise
from xanesum.phantom import simulate
from xanesum.xanes import half_step_energy

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "before_after.png"
SIGMA = 30.0  # noise level; the largest clean value is 255
SHAPE = (260, 360)  # pixels (y, x)
N_ENERGIES = 160
FRAME_EV = 8345.0  # energy of the frame that is shown
EDGE = {"e0_ev": 8341.6}  # the same edge for both maps, so that only the data differ


def panels():
    """Return (title, image, "frame" or "map") of each panel, and a sentence on sigma and rank."""
    phantom = simulate("particle", shape=SHAPE, n_energies=N_ENERGIES, rng=np.random.default_rng(7))
    noisy = phantom.noisy(SIGMA, rng=np.random.default_rng(1))
    result = denoise(noisy)
    frame = {"energy": FRAME_EV, "method": "nearest"}
    before, after = half_step_energy(noisy, **EDGE), half_step_energy(result, **EDGE)
    maps = [np.where(phantom.mask, found.half_step_energy_ev, np.nan) for found in (before, after)]
    images = [
        ("one frame, noisy", noisy.sel(**frame).values, "frame"),
        ("the same frame, clean", result.reconstruct().sel(**frame).values, "frame"),
        ("chemical map of the noisy scan", maps[0], "map"),
        ("chemical map after cleaning", maps[1], "map"),
        ("the truth", phantom.half_step_energy_ev, "map"),
    ]
    return images, f"estimated sigma {result.sigma:.1f} (true {SIGMA:g}), {result.rank} components"


def draw(images, description, path):
    looks = {
        "frame": {"cmap": "gray", "vmin": -40, "vmax": 260},
        "map": {"cmap": "turbo", "vmin": 8339.6, "vmax": 8343.6},
    }
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.1), layout="constrained")
    for axis, (title, image, kind) in zip(axes, images, strict=True):
        shown = axis.imshow(image, interpolation="nearest", **looks[kind])
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    bar = figure.colorbar(shown, ax=axes[2:], shrink=0.9)
    bar.set_label("half-step energy (eV)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.formatter.set_useOffset(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75, metadata={"Software": None})
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB; {description}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    draw(*panels(), parser.parse_args().output)


if __name__ == "__main__":
    main()
