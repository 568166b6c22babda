"""Write src/xanesum/phantom/files/example.h5: the small scan that comes with the package.

A phantom is moved, exposed to a detector, and written as APS 32-ID writes scans (Data Exchange).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final, NamedTuple

import h5py
import numpy as np

from xanesum.phantom import Detector, Exposure, MovingPhantom, draw_motion, energy_grid_ev, expose, moving
from xanesum.phantom.example import EXAMPLE

SEED: Final = 2026
SHAPE: Final = (96, 120)  # pixels (y, x)
N_ENERGIES: Final = 64
PHOTONS: Final = 800  # detected in each pixel of an image without the sample
CAMERA: Final = Detector(offset=100.0)  # counts without light, so that no count is negative
JITTER_PX: Final = 1.5  # each frame, either way
DRIFT_PX: Final = (3.0, -2.0)  # from the first frame to the last, along y and x
PIXEL_SIZE_NM: Final = 32.0


class Example(NamedTuple):
    """The scan and its truth."""

    sample: MovingPhantom
    exposure: Exposure


def simulate_example() -> Example:
    """Simulate the scan; motion, scene and exposure have independent seeds made from one."""
    path, scene, noise = np.random.default_rng(SEED).spawn(3)
    motion = draw_motion(energy_grid_ev(N_ENERGIES), jitter_px=JITTER_PX, drift_px=DRIFT_PX, rng=path)
    sample = moving("particle", motion, shape=SHAPE, rng=scene)
    return Example(sample, expose(sample, PHOTONS * CAMERA.gain, detector=CAMERA, rng=noise))


def write(exposure: Exposure, path: Path) -> None:
    """Write counts as whole numbers, with every flat and dark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", track_order=False) as file:
        exchange = file.create_group("exchange")
        images = {"data": exposure.stack.values, "data_white": exposure.flats, "data_dark": exposure.darks}
        for name, counts in images.items():
            whole = np.clip(np.rint(counts), 0, np.iinfo(np.uint16).max).astype(np.uint16)
            dataset = exchange.create_dataset(
                name, data=whole, chunks=(1, *SHAPE), compression="gzip", compression_opts=9, shuffle=True
            )
            dataset.attrs["units"] = "counts"
            dataset.attrs["axes"] = "energy:y:x" if name == "data" else "number:y:x"
        exchange["energy"] = exposure.stack.energy.values
        exchange["energy"].attrs["units"] = "eV"
        file["information/detector/pixel_size/horizontal"] = PIXEL_SIZE_NM
        file["information/detector/pixel_size/horizontal"].attrs["units"] = "nm"
        file["information/sample/description"] = "simulated cathode particle, Ni K edge"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=EXAMPLE)
    path = parser.parse_args(arguments).output
    write(simulate_example().exposure, path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
