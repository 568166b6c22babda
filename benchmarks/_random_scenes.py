"""Scans drawn at random: size, grid, sample, chemistry, noise, drift of the light, faults of the detector.

A label holds all that was drawn about a scan except the sample and the noise themselves, so that many scans
can be sorted without making them.  The same label gives the same scan.  Nothing here uses the phantoms of the
package, on which the method was developed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from _random_samples import CHEMISTRIES, ELEMENTS, TEXTURES, draw_sample, draw_spectra, edge_energy
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from xanesum import make_stack
from xanesum.noise.detector import law_coords
from xanesum.preprocess import prepare

__all__ = [
    "DRIFTS",
    "Content",
    "Label",
    "Scan",
    "describe",
    "draw_content",
    "draw_label",
    "draw_scan",
    "measured_scan",
    "prepared",
]

Label = dict[str, Any]

SIDES_PX = (48, 400)
ENERGIES = (20, 400)
MOST_VALUES = 25e6  # of an ordinary scan; a larger one gets fewer energies
SMALL_SIDES_PX, SMALL_ENERGIES = (48, 128), (20, 100)  # of scans with noise alone
STEPS = (0.1, 3.0)  # edge step in optical density
SIGMAS = (0.02, 1.0)  # white noise, as a share of the step
OPEN_COUNTS = (30.0, 20_000.0)
LEAST_COUNTS = 2.0  # where the sample is typically thick; a darker scan gets more light
BACKGROUNDS = (0.05, 1.0)  # absorption below the edge, as a share of the step
DRIFTS = ("none", "independent", "slow", "ramp", "level")  # of the light, from frame to frame
DRIFT_RMS = (0.005, 0.04)
LEVEL_RMS = (0.003, 0.02)  # of each frame of a scan with white noise, in optical density
RHOS = (0.5, 0.99)  # correlation of a slow drift from frame to frame
READ_NOISE = (1.0, 4.0)  # counts
FLATS = (2, 30)
OFFSET = 100.0  # counts without light of a detector that takes darks
VIGNETTING = 0.15  # loss of light at the sides of the image; twice as much in the corners
CHANCE = {"real": 0.35, "level": 1 / 8, "defects": 1 / 8, "missing": 1 / 10, "correlated": 1 / 12}
PRE_EV, POST_EV = (30.0, 120.0), (60.0, 250.0)  # range of energies below and above the edge
SHORT_PRE_EV, SHORT_POST_EV = (12.0, 25.0), (27.0, 45.0)
WIDEST_EV = 6.0  # largest distance of energies at the edge, on average; a wider scan becomes shorter
BLUR_PX = 0.6  # of correlated noise
DEFECT_SHARE = 5e-4  # hot pixels, and as many dead ones
AFTER_LABEL = 1  # what is drawn after the label has a generator of its own


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan and its truth."""

    label: Label
    clean: xr.DataArray  # optical density (energy, y, x)
    stack: xr.DataArray  # as measured: counts with flat and dark, or optical density
    steady: xr.DataArray | None  # the same without drift of the light; None if there is none
    images: NDArray[np.float64]  # (K, Y, X), thickness of each species
    particle: NDArray[np.bool_] | None  # (Y, X), pixels of a foreign particle
    sigma: float  # typical noise level in optical density


# --- the label


def draw_label(base: int, index: int, *, noise_alone: bool = False) -> Label:
    """Draw everything about a scan but its sample and its noise.

    Parameters
    ----------
    base, index : int
        Seed of the set, and number of the scan in it.
    noise_alone : bool
        A small scan of one species, where nothing but noise can be found beyond the first component.
    """
    rng = np.random.default_rng([base, index])
    label: Label = {"base": base, "index": index, "noise_alone": noise_alone}
    label |= _draw_size(rng, noise_alone) | _draw_sample_label(rng, noise_alone)
    label |= _draw_white(rng) if rng.random() < 0.5 else _draw_counted(rng, label)
    label["defects"] = bool(rng.random() < CHANCE["defects"])
    missing = ("block", "scattered")[rng.integers(2)]
    label["missing"] = missing if rng.random() < CHANCE["missing"] else "none"
    return label


def _draw_size(rng: np.random.Generator, small: bool) -> Label:
    sides, energies = (SMALL_SIDES_PX, SMALL_ENERGIES) if small else (SIDES_PX, ENERGIES)
    ny, nx, n_energies = (round(_log_uniform(rng, *limits)) for limits in (sides, sides, energies))
    nx += nx == ny
    n_energies = int(np.clip(MOST_VALUES / (ny * nx), ENERGIES[0], n_energies))
    return {
        "shape": [ny, nx],
        "energies": n_energies,
        "values": ny * nx * n_energies,
        "grid": _one_of(rng, ("even", "dense")),
        "ends": _one_of(rng, ("both",) * 6 + ("short pre-edge", "short post-edge")),
    }


def _draw_sample_label(rng: np.random.Generator, noise_alone: bool) -> Label:
    chemistry = "none" if noise_alone else _one_of(rng, CHEMISTRIES)
    n_species = {"none": 1, "particle": 2}.get(chemistry) or int(rng.integers(2, 6))
    label = {
        "texture": _one_of(rng, TEXTURES),
        "empty": bool(rng.random() < 0.6),  # pixels without sample
        "chemistry": chemistry,
        "species": n_species,
        "spectra": _one_of(rng, tuple(ELEMENTS)) if rng.random() < CHANCE["real"] else "analytic",
        "step": _log_uniform(rng, *(STEPS if not noise_alone else (0.5, STEPS[1]))),
        "background": _log_uniform(rng, *BACKGROUNDS),
    }
    radius_px = _log_uniform(rng, 1.0, 8.0)
    return label | ({"radius_px": radius_px} if chemistry == "particle" else {})


def _draw_white(rng: np.random.Generator) -> Label:
    kind = _one_of(rng, ("blurred", "shifted"))
    level, correlated = rng.random() < CHANCE["level"], rng.random() < CHANCE["correlated"]
    return {
        "noise": "white",
        "sigma_of_step": _log_uniform(rng, *SIGMAS),
        "drift": "level" if level else "none",
        "drift_rms": _log_uniform(rng, *LEVEL_RMS) if level else 0.0,
        "correlated": kind if correlated else "none",
    }


def _draw_counted(rng: np.random.Generator, label: Label) -> Label:
    drift, rms = _one_of(rng, DRIFTS), _log_uniform(rng, *DRIFT_RMS)
    thick = label["step"] * (1.2 + label["background"])  # optical density beyond the edge
    rho = float(rng.uniform(*RHOS))
    return {
        "noise": "counted",
        "open_counts": max(_log_uniform(rng, *OPEN_COUNTS), LEAST_COUNTS * float(np.exp(0.7 * thick))),
        "read_noise": float(rng.uniform(*READ_NOISE)),
        "flats": round(_log_uniform(rng, *FLATS)),
        "darks": bool(rng.random() < 0.5),
        "drift": drift,
        "drift_rms": rms if drift != "none" else 0.0,
        "rho": rho if drift in ("slow", "level") else 0.0,
        "correlated": "none",
    }


def describe(label: Label) -> str:
    """Return a label in one line."""
    ny, nx = label["shape"]
    parts = [
        f"{ny} x {nx} x {label['energies']} {label['grid']}",
        f"{label['texture']}{'' if label['empty'] else ' without empty pixels'}",
        f"{label['species']} species ({label['chemistry']}), {label['spectra']}, step {label['step']:.2f}",
    ]
    if label["ends"] != "both":
        parts.insert(1, label["ends"])
    if "radius_px" in label:
        parts.append(f"radius {label['radius_px']:.1f} px")
    if label["noise"] == "white":
        parts.append(f"white {label['sigma_of_step']:.2f} of the step")
    else:
        darks = "with darks" if label["darks"] else "without darks"
        parts.append(f"{label['open_counts']:.0f} counts, {label['flats']} flats, {darks}")
    if label["drift"] != "none":
        rho = f", rho {label['rho']:.2f}" if label.get("rho") else ""
        parts.append(f"drift {label['drift']} {100 * label['drift_rms']:.1f} %{rho}")
    parts += [f"noise {label['correlated']}"] if label["correlated"] != "none" else []
    parts += ["defects"] if label["defects"] else []
    parts += [f"missing values ({label['missing']})"] if label["missing"] != "none" else []
    return "; ".join(parts)


def _one_of(rng: np.random.Generator, kinds: tuple[str, ...]) -> str:
    return kinds[int(rng.integers(len(kinds)))]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# --- the scan


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What a scan shows, before noise."""

    energy_ev: NDArray[np.float64]  # (E,)
    spectra: NDArray[np.float64]  # (K, E), optical density of a thickness of 1, with what lies below the edge
    images: NDArray[np.float64]  # (K, Y, X), thickness of each species
    particle: NDArray[np.bool_] | None  # (Y, X), pixels of a foreign particle
    seeds: tuple[int, int]  # of noise and of faults

    @property
    def density(self) -> NDArray[np.float32]:
        """Optical density (E, Y, X) of the sample at rest."""
        return np.tensordot(self.spectra.T, self.images, axes=1).astype(np.float32)


def draw_content(label: Label) -> Content:
    """Draw the sample and its spectra."""
    rng = np.random.default_rng([label["base"], label["index"], AFTER_LABEL])
    e0_ev = edge_energy(label["spectra"], rng)
    energy_ev = _energies(label, e0_ev, rng)
    images, particle = draw_sample(label, rng)
    spectra = label["step"] * draw_spectra(label, energy_ev, e0_ev, rng)
    background = label["step"] * label["background"] * (energy_ev / e0_ev) ** -2.8
    noise_seed, fault_seed = rng.integers(2**62, size=2).tolist()
    return Content(energy_ev, spectra + background, images, particle, (noise_seed, fault_seed))


def draw_scan(label: Label) -> Scan:
    """Make the scan of a label."""
    content = draw_content(label)
    return measured_scan(label, content, content.density)


def measured_scan(label: Label, content: Content, density: NDArray[np.float32]) -> Scan:
    """Return the scan of frames of some optical density (E, Y, X), with noise and faults."""
    clean = make_stack(density, content.energy_ev)
    make = _counted if label["noise"] == "counted" else _white
    noise_seed, fault_seed = content.seeds

    def measured(*, drifts: bool) -> xr.DataArray:  # with the same noise and the same faults
        stack = make(clean, label, np.random.default_rng(noise_seed), drifts=drifts)
        return _with_faults(stack, label, np.random.default_rng(fault_seed))

    steady = measured(drifts=False) if label["drift"] != "none" else None
    sigma = _typical_sigma(clean, content.images.sum(axis=0), label)
    return Scan(label, clean, measured(drifts=True), steady, content.images, content.particle, sigma)


def prepared(scan: Scan, *, steady: bool = False) -> xr.DataArray:
    """Return the scan in optical density, as a user would prepare it."""
    stack = scan.steady if steady and scan.steady is not None else scan.stack
    return prepare(stack, allow_missing=scan.label["missing"] != "none")[0]


def _energies(label: Label, e0_ev: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return energies (E,) around an edge, in eV."""
    n_energies = label["energies"]
    pre, post = float(rng.uniform(*PRE_EV)), float(rng.uniform(*POST_EV))
    share = min(1.0, WIDEST_EV * n_energies / (pre + post))
    pre, post = max(pre * share, PRE_EV[0]), max(post * share, POST_EV[0])
    if label["ends"] == "short pre-edge":
        pre = float(rng.uniform(*SHORT_PRE_EV))
    if label["ends"] == "short post-edge":
        post = float(rng.uniform(*SHORT_POST_EV))
    fine = np.linspace(-pre, post, 4000)
    density = np.ones(fine.size)
    if label["grid"] == "dense":
        density += rng.uniform(2.0, 5.0) * ((fine > -10) & (fine < 25))
    along = np.cumsum(density) - density[0]
    return e0_ev + np.interp(np.linspace(0, along[-1], n_energies), along, fine)


def _typical_sigma(clean: xr.DataArray, thickness: NDArray[np.float64], label: Label) -> float:
    """Return the noise level of a value where there is sample."""
    if label["noise"] == "white":
        return float(label["step"] * label["sigma_of_step"])
    counts = label["open_counts"] * np.exp(-clean.values[:, thickness > 0.1])
    return float(np.median(np.sqrt(counts + label["read_noise"] ** 2) / counts))


def _white(clean: xr.DataArray, label: Label, rng: np.random.Generator, *, drifts: bool) -> xr.DataArray:
    """Return optical density with noise, and with an error of the level of each frame."""
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    for e, frame in enumerate(noise):
        if label["correlated"] == "blurred":
            noise[e] = gaussian_filter(frame, BLUR_PX)
        elif label["correlated"] == "shifted":
            noise[e] = shift(frame, rng.uniform(-0.5, 0.5, 2), order=1, mode="mirror")
    if label["correlated"] == "blurred":
        noise /= noise.std()
    levels = label["drift_rms"] * rng.standard_normal(len(clean)) * drifts
    values = clean.values + np.float32(label["step"] * label["sigma_of_step"]) * noise
    return make_stack(values + levels[:, None, None].astype(np.float32), clean.energy.values)


def _counted(clean: xr.DataArray, label: Label, rng: np.random.Generator, *, drifts: bool) -> xr.DataArray:
    """Return counts with flat, dark and, where the flats show it, the law of the noise."""
    shape, n_flats = clean.shape[1:], label["flats"]
    y, x = _axes(shape)
    light = label["open_counts"] * (1 - VIGNETTING * (x**2 + y**2))
    drift = 1 + label["drift_rms"] * drifts * _drift(label, len(clean), shape, rng)
    offset = OFFSET if label["darks"] else 0.0

    def read(mean: NDArray[np.floating]) -> NDArray[np.float32]:
        noise = label["read_noise"] * rng.standard_normal(shape, dtype=np.float32)
        return np.asarray(rng.poisson(np.maximum(mean, 0)) + noise + offset, np.float32)

    flats = np.stack([read(light * each) for each in drift[:n_flats]])
    darks = np.stack([read(np.zeros(shape)) for _ in range(n_flats)]) if label["darks"] else None
    frames = zip(drift[n_flats:], clean.values, strict=True)
    counts = np.stack([read(light * each * np.exp(-density)) for each, density in frames])
    stack = make_stack(counts, clean.energy.values, quantity="counts")
    stack = stack.assign_coords(flat=(("y", "x"), flats.mean(axis=0)))
    if darks is not None:
        stack = stack.assign_coords(dark=(("y", "x"), darks.mean(axis=0)))
    return stack.assign_coords(law_coords(flats, darks, n_energies=len(stack)))


def _axes(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.linspace(-1, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])[None]


def _drift(
    label: Label, n_energies: int, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the change of the light (N, Y, X) of flats and frames, in this order, of mean square 1."""
    y, x = _axes(shape)
    fields = np.stack(np.broadcast_arrays(1 + 0 * x * y, x, y, x * y, x**2 - 1 / 3, y**2 - 1 / 3))
    n_flats, rho = label["flats"], label.get("rho", 0.0)
    weights = rng.standard_normal((n_flats + n_energies, len(fields)))
    if label["drift"] == "ramp":  # the flats were taken before the scan
        weights *= 0.1
        weights[n_flats:] += np.linspace(0, 1, n_energies)[:, None] * rng.standard_normal(len(fields))
    for i in range(1, len(weights)):
        weights[i] = rho * weights[i - 1] + np.sqrt(1 - rho**2) * weights[i]
    if label["drift"] == "level":
        weights[:, 1:] = 0
    drift = np.tensordot(weights, fields, axes=1).astype(np.float32)
    return drift / np.float32(np.sqrt(np.mean(drift[n_flats:] ** 2)))


# --- faults


def _with_faults(stack: xr.DataArray, label: Label, rng: np.random.Generator) -> xr.DataArray:
    """Return the stack with defective pixels, a bad frame and missing values, as the label says."""
    values = stack.values.copy()
    if label["defects"]:
        bright, dark = (10 * label.get("open_counts", 0.0), 0.0) if "flat" in stack.coords else (-2.0, 8.0)
        hot, dead = (rng.random(stack.shape[1:]) < DEFECT_SHARE for _ in range(2))
        bad = int(rng.integers(len(values)))
        values[bad] = 0.4 * values[bad] if "flat" in stack.coords else values[bad] + 0.9
        values[:, hot], values[:, dead] = bright, dark
        if "flat" in stack.coords:
            flat = np.where(hot, bright, np.where(dead, dark, stack["flat"].values))
            stack = stack.assign_coords(flat=(("y", "x"), flat))
    if label["missing"] == "scattered":
        values[rng.random(values.shape) < rng.uniform(0.005, 0.03)] = np.nan
    elif label["missing"] == "block":
        values[tuple(_part(size, rng.uniform(*share), rng) for size, share in _block(values.shape))] = np.nan
    return stack.copy(data=values)


def _block(shape: tuple[int, ...]) -> list[tuple[int, tuple[float, float]]]:
    """Return the size of each axis, and how much of it a missing block may take."""
    return list(zip(shape, ((0.03, 0.1), (0.15, 0.4), (0.15, 0.4)), strict=True))


def _part(size: int, share: float, rng: np.random.Generator) -> slice:
    length = max(1, round(share * size))
    start = int(rng.integers(size - length + 1))
    return slice(start, start + length)
