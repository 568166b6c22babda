"""The scan of the demonstration: a battery cathode at the Ni K edge, counted by a detector."""

from __future__ import annotations

from typing import Final

import numpy as np

from xanesum.phantom.exposure import Detector, Exposure, expose
from xanesum.phantom.simulate import simulate

__all__ = ["DEMO_ENERGIES", "DEMO_PHOTONS", "DEMO_SEED", "DEMO_SHAPE", "demo_exposure"]

DEMO_KIND: Final = "particle"
DEMO_SHAPE: Final = (240, 320)  # pixels (y, x)
DEMO_ENERGIES: Final = 117
DEMO_PHOTONS: Final = 400  # detected in each pixel of an image without the sample
DEMO_SEED: Final = 1


def demo_exposure(
    *, shape: tuple[int, int] = DEMO_SHAPE, n_energies: int = DEMO_ENERGIES, seed: int = DEMO_SEED
) -> Exposure:
    """Expose the sample of the demonstration; scene and noise have independent seeds made from one."""
    scene, noise = np.random.default_rng(seed).spawn(2)
    phantom = simulate(DEMO_KIND, shape=shape, n_energies=n_energies, rng=scene)
    camera = Detector()
    return expose(phantom, DEMO_PHOTONS * camera.gain, detector=camera, rng=noise)
