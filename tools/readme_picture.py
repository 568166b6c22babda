"""Draw docs/images/before_after.png: a frame and the chemical map of a phantom, noisy and clean."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend without a screen
from xanesum.denoising import denoise

from xanesum.phantom import simulate
from xanesum.xanes import half_step_energy

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "before_after.png"
SIGMA = 30.0
SHAPE = (260, 360)
N_ENERGIES = 160
FRAME_EV = 8345.0
EDGE = {"e0_ev": 8341.6}  # one for both maps, so that only the data differ


def panels():
    """Return (title, image, what it is) of each panel, and sigma and rank in words."""
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


def draw(images, said, path):
    looks = {
        "frame": {"cmap": "gray", "vmin": -40, "vmax": 260},
        "map": {"cmap": "turbo", "vmin": 8339.6, "vmax": 8343.6},
    }
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.1), layout="constrained")
    for axis, (title, image, what) in zip(axes, images, strict=True):
        shown = axis.imshow(image, interpolation="nearest", **looks[what])
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    bar = figure.colorbar(shown, ax=axes[2:], shrink=0.9)
    bar.set_label("half-step energy (eV)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.formatter.set_useOffset(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75, metadata={"Software": None})
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB; {said}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    draw(*panels(), parser.parse_args().output)


if __name__ == "__main__":
    main()
