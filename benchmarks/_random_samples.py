"""Samples and spectra drawn at random, for `_random_scenes`.

Measured spectra come from a folder of references, where there is one: XANESUM_TEST_DATA names it, or it lies
beside the repository.  Without it, spectra are analytic.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import erf

__all__ = ["CHEMISTRIES", "ELEMENTS", "TEXTURES", "draw_sample", "draw_spectra", "edge_energy"]

Label = dict[str, Any]
Image = NDArray[np.float64]

TEXTURES = ("spheres", "porous", "cracks", "fibres", "wedge", "sparse", "grain")  # of the thickness
CHEMISTRIES = ("region", "core-shell", "smooth", "fine", "particle", "none")
ELEMENTS = {"Ni": 8333.0, "Co": 7709.0, "Mn": 6539.0, "Fe": 7112.0}  # with K edges in eV
EDGES_EV = (5000.0, 12_000.0)  # of analytic spectra
SHIFTS_EV = (0.3, 4.0)
BASES = (0.2, 0.6)  # least thickness of a sample without empty pixels
DATA = Path(os.environ.get("XANESUM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


# --- the sample


def draw_sample(label: Label, rng: np.random.Generator) -> tuple[Image, NDArray[np.bool_] | None]:
    """Return the thickness (K, Y, X) of each species, about 1 where thick, and the pixels of a particle."""
    shape = tuple(label["shape"])
    thickness = _thickness(label["texture"], shape, rng)
    body = thickness > 0.1 * thickness.max()
    if label["empty"]:
        if body.mean() > 0.9:
            outline = _smooth(shape, 0.15 * min(shape), rng)
            body = outline > np.quantile(outline, rng.uniform(0.15, 0.4))
            thickness = thickness * body
    else:
        base = rng.uniform(*BASES)
        thickness = base * np.quantile(thickness, 0.95) + (1 - base) * thickness
    thickness = thickness / np.quantile(thickness[thickness > 0.02 * thickness.max()], 0.95)
    particle = None
    if label["chemistry"] == "particle":
        particle = _particle(thickness, label["radius_px"], rng)
        shares = np.stack([~particle, particle]).astype(float)
    else:
        shares = _shares(label["chemistry"], label["species"], thickness, body, rng)
    return shares * thickness, particle


def _thickness(texture: str, shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    side = min(shape)
    if texture == "spheres":
        return _spheres(shape, int(rng.integers(5, 30)), (0.05 * side, 0.25 * side), rng)
    if texture == "sparse":
        return _spheres(shape, int(rng.integers(3, 9)), (2.0, 2.0 + 0.06 * side), rng)
    if texture == "fibres":
        return _fibres(shape, rng)
    if texture == "wedge":
        y, x = np.mgrid[: shape[0], : shape[1]] / (np.array(shape) - 1)[:, None, None] - 0.5
        angle = rng.uniform(0, 2 * np.pi)
        return np.clip(0.5 + 0.7 * (x * np.cos(angle) + y * np.sin(angle)), 0.03, None)
    if texture == "grain":
        return np.asarray(np.exp(0.35 * rng.standard_normal(shape)))
    slab = np.clip(1 + 0.15 * _smooth(shape, 0.2 * side, rng), 0.3, None)
    if texture == "cracks":
        field = np.abs(_smooth(shape, rng.uniform(0.03, 0.1) * side, rng))
        return slab * (field > np.quantile(field, rng.uniform(0.03, 0.12)))
    field = _smooth(shape, np.exp(rng.uniform(np.log(1.0), np.log(0.06 * side))), rng)  # porous
    return slab * (field > np.quantile(field, rng.uniform(0.2, 0.6)))


def _smooth(shape: tuple[int, ...], width_px: float, rng: np.random.Generator) -> Image:
    """Return a random field of unit variance."""
    field = gaussian_filter(rng.standard_normal(shape), width_px, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def _spheres(
    shape: tuple[int, ...], n: int, radii_px: tuple[float, float], rng: np.random.Generator
) -> Image:
    y, x = np.mgrid[: shape[0], : shape[1]]
    thickness = np.zeros(shape)
    for _ in range(n):
        radius, cy, cx = rng.uniform(*radii_px), *rng.uniform(0, shape)
        thickness += 2 * np.sqrt(np.maximum(radius**2 - (y - cy) ** 2 - (x - cx) ** 2, 0))
    return thickness


def _fibres(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    y, x = np.mgrid[: shape[0], : shape[1]]
    thickness = np.zeros(shape)
    for _ in range(int(rng.integers(6, 25))):
        radius, angle = rng.uniform(1.5, 1.5 + 0.04 * min(shape)), rng.uniform(0, np.pi)
        cy, cx = rng.uniform(0, shape)
        distance = (x - cx) * np.sin(angle) - (y - cy) * np.cos(angle)
        thickness += 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))
    return thickness


def _particle(thickness: Image, radius_px: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a disc whose centre is where the sample is thick, and not at the border of the image."""
    margin = min(int(np.ceil(radius_px)) + 2, min(thickness.shape) // 2 - 1)
    inner = np.zeros(thickness.shape, bool)
    inner[margin:-margin, margin:-margin] = True
    best = inner & (thickness > 0.5)
    rows, columns = np.nonzero(best if best.any() else inner)
    centre = int(rng.integers(len(rows)))
    y, x = np.mgrid[: thickness.shape[0], : thickness.shape[1]]
    return np.asarray(np.hypot(y - rows[centre], x - columns[centre]) <= radius_px)


def _shares(
    chemistry: str, n: int, thickness: Image, body: NDArray[np.bool_], rng: np.random.Generator
) -> Image:
    """Return the share (K, Y, X) of each species in the thickness."""
    shape, side = thickness.shape, min(thickness.shape)
    if chemistry == "core-shell":
        depth = distance_transform_edt(body) if body.mean() < 0.9 else gaussian_filter(thickness, 2.0)
        limits = np.quantile(depth[body], np.linspace(0, 1, n + 1)[1:-1])
        return _one_hot(np.searchsorted(limits, depth.ravel()).reshape(shape), n)
    width = {"fine": rng.choice([0.0, 0.7, 1.0]), "smooth": rng.uniform(0.08, 0.25) * side}
    width_px = float(width.get(chemistry, rng.uniform(0.05, 0.2) * side))
    fields = np.stack([_smooth(shape, width_px, rng) for _ in range(n)])
    if chemistry == "smooth":
        weights = np.exp(1.5 * fields)
        return np.asarray(weights / weights.sum(axis=0))
    return _one_hot(np.argmax(fields, axis=0), n)


def _one_hot(state: NDArray[np.intp], n: int) -> Image:
    return np.asarray(state == np.arange(n)[:, None, None], float)


# --- the spectra


def edge_energy(spectra: str, rng: np.random.Generator) -> float:
    """Return the energy of the edge in eV: that of the element, or anywhere."""
    return ELEMENTS[spectra] if spectra in ELEMENTS else float(rng.uniform(*EDGES_EV))


def draw_spectra(
    label: Label, energy_ev: NDArray[np.float64], e0_ev: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a spectrum (K, E) for each species, which rises from 0 to 1 and then falls slowly."""
    n = label["species"]
    shifts = rng.choice([-1.0, 1.0], n) * np.exp(rng.uniform(*np.log(SHIFTS_EV), n))
    shifts[0] = 0.0
    measured = references(label["spectra"])
    if measured:
        chosen = rng.permutation(len(measured))
        steps = []
        for k in range(n):  # a compound for each species; the same again, shifted, if there are too few
            energies, values = measured[chosen[k % len(measured)]]
            steps.append(np.interp(energy_ev - shifts[k] * (k >= len(measured)), energies, values))
        rises = np.stack(steps)
    else:
        rises = _analytic(energy_ev - e0_ev - shifts[:, None], rng)
    return rises * np.maximum(energy_ev / e0_ev, 1.0) ** -2.7


def _analytic(x: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return steps (K, E) with white line, pre-edge peak and oscillations, at `x` eV from their edges."""
    width, n = rng.uniform(0.8, 4.0), (len(x), 1)
    rises = 0.5 * (1 + erf(x / width)) if rng.random() < 0.6 else 0.5 + np.arctan(x / width) / np.pi
    height, place, line = rng.uniform(0, 1.3, n), rng.uniform(3, 8, n), rng.uniform(1.5, 4, n)
    rises = rises + height * rng.integers(0, 2) * np.exp(-0.5 * ((x - place) / line) ** 2)
    rises += rng.uniform(0, 0.12, n) * rng.integers(0, 2) * np.exp(-0.5 * ((x + 10) / 1.5) ** 2)
    beyond = np.maximum(x, 0.0)
    waves = np.sin(rng.uniform(1.5, 3.0, n) * np.sqrt(beyond) + rng.uniform(0, 2 * np.pi, n))
    return rises + rng.uniform(0, 0.08, n) * waves * (1 - np.exp(-((beyond / 12) ** 2))) * np.exp(
        -beyond / 90
    )


@lru_cache
def references(element: str) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Return energies in eV and steps of the measured spectra of an element, one for each compound."""
    folder, found = DATA / "references", {}
    for path in sorted((folder / "xasdatalibrary").glob("*.xdi")):
        text = path.read_text("utf-8", "replace")
        if re.search(rf"Element\.symbol:\s*{element}\s", text):
            compound = re.split(r"_rt|_xanes|_Foil", path.stem.removeprefix("Hansel2001_"))[0]
            found.setdefault(compound.lower(), _as_step(*_transmission(text)))
    for path in sorted((folder / f"pyxas_{element.lower()}").glob("ref_*.txt")):
        energy_kev, density = np.loadtxt(path).T
        found.setdefault(path.stem, _as_step(1e3 * energy_kev, density))
    return tuple(found.values())


def _transmission(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energies and optical density of an XDI file."""
    lines = text.splitlines()
    named = (re.match(r"#\s*Column\.(\d+):\s*(\w+)", line) for line in lines)
    column = {match[2]: int(match[1]) - 1 for match in named if match}
    rows = np.array([line.split() for line in lines if line.strip() and not line.startswith("#")], float)
    return rows[:, column["energy"]], np.log(rows[:, column["i0"]] / rows[:, column["itrans"]])


def _as_step(
    energy: NDArray[np.float64], density: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energies up to 300 eV beyond the edge, and the spectrum as a step from 0 to 1."""
    edge = energy[np.argmax(np.gradient(gaussian_filter(density, 1.0), energy))]
    x = (energy - edge) / 100
    below, above = x < -0.12, (x > 0.4) & (x < 3)
    pre, post = np.polyfit(x[below], density[below], 1), np.polyfit(x[above], density[above], 1)
    step = np.polyval(post, 0.0) - np.polyval(pre, 0.0)
    rest = density - np.where(x < 0, np.polyval(pre, x), np.polyval(post, x) - step)
    return energy[x < 3], (rest / step)[x < 3]
