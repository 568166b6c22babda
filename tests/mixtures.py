"""Scans that are mixed from a few spectra of an edge, with known fractions."""

import numpy as np
import xarray as xr
from scans import edge_spectrum

from xanesum.stack import make_stack

N_ENERGIES = 60
ENERGY = np.linspace(8280.0, 8440.0, N_ENERGIES)


def species(n, energy=ENERGY, edge_ev=8330.0):
    """Spectra (n, E) with a step of 1; they differ in edge, white line and oscillation."""
    rows = []
    for k in range(n):
        at = edge_ev + 1.7 * k
        line = (0.2 + 0.25 * ((5 * k) % 4)) * np.exp(
            -0.5 * ((energy - at - 4 - k % 3) / (2.5 + 0.4 * k)) ** 2
        )
        beyond = np.maximum(energy - at, 0)
        wave = 0.05 * np.sin(2 * (0.6 + 0.13 * k) * np.sqrt(beyond)) * np.exp(-beyond / 80)
        rows.append(edge_spectrum(energy, at, 2.0) + line + wave)
    return np.array(rows)


def named(spectra, energy=ENERGY, names=None):
    names = [f"r{k}" for k in range(len(spectra))] if names is None else names
    return xr.DataArray(spectra, dims=("reference", "energy"), coords={"reference": names, "energy": energy})


def mixture(n=3, shape=(20, 22), sigma=0.0, seed=0, pure=False, background=0.1):
    """A stack, its references, and the true fractions (n, Y, X)."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(n, 0.6), shape).transpose(2, 0, 1)
    if pure:
        shares = (np.argmax(shares, axis=0) == np.arange(n)[:, None, None]).astype(float)
    thickness = rng.uniform(0.5, 1.5, shape)
    clean = np.tensordot(species(n).T, shares * thickness, 1) + background * thickness
    values = clean + sigma * rng.standard_normal(clean.shape)
    return make_stack(values.astype(np.float32), ENERGY), named(species(n)), shares


def fractions_of(maps, end=""):
    return np.stack([maps[f"fraction_{name}{end}"].values for name in maps.attrs["references"]]).astype(float)
