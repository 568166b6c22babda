"""Small scans of a disk with one edge, as optical density, counts and fluorescence."""

import numpy as np

from xanesum.stack import make_stack

ENERGY = np.r_[np.arange(8300, 8330, 3.0), np.arange(8330, 8358, 1.0), np.arange(8358, 8421, 5.0)]
E0, NY, NX = 8340.0, 24, 30
LIGHT = 3000 * (1 + 0.002 * (ENERGY - ENERGY[0]))


def spectrum():
    """A step at E0 with a white line; 0 well below it."""
    t = (ENERGY - E0) / 1.5
    return 0.55 + np.arctan(t) / np.pi + 0.5 * np.exp(-0.5 * ((ENERGY - E0 - 4) / 2.0) ** 2)


def density(thickness=None):
    """Optical density without noise: a disk with empty pixels about it, or the thickness that is given."""
    if thickness is None:
        y, x = np.mgrid[:NY, :NX]
        thickness = 0.8 * (((y - NY / 2) / (NY / 2.5)) ** 2 + ((x - NX / 2) / (NX / 2.5)) ** 2 < 1)
    return thickness * spectrum()[:, None, None]


def noisy(clean, sigma=0.03, seed=1):
    return (clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)).astype(np.float32)


def counts(clean, light=LIGHT, seed=1):
    return np.random.default_rng(seed).poisson(light[:, None, None] * np.exp(-clean)).astype(np.float64)


def fluorescence(light=LIGHT / LIGHT[0], seed=1):
    return np.random.default_rng(seed).poisson(300 * light[:, None, None] * density() + 20).astype(np.float64)


def assumed(values, quantity, **coords):
    """Return a stack as a reader makes it that guessed the quantity."""
    stack = make_stack(values, ENERGY, quantity=quantity).assign_coords(coords)
    stack.attrs["quantity_assumed"] = True
    return stack


def i0(values):
    return {"i0": ("energy", np.asarray(values, float))}


def rise(stack):
    """Return by how much the mean of the usable values rises at the edge."""
    mean = stack.mean(("y", "x"), skipna=True).values
    return mean[ENERGY > E0 + 12].mean() - mean[ENERGY < E0 - 12].mean()
