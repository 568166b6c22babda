"""Scores of the maps of `random_scans`: errors, and how true the stated errors are."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from _random_scenes import Scan
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

__all__ = [
    "beside_background",
    "common_rmse",
    "detectability",
    "map_scores",
    "near_borders",
    "particle_scores",
    "plain",
    "singular",
]

BORDER_PX = 3
MOSTLY = 0.5  # share of the square of a spectrum
MIN_PIXELS = 10  # of a share that is worth a number
BLOCK_PIXELS = 16_384  # pixels that are multiplied together
VALUES = {"half step": "half_step_energy_ev", "white line": "white_line_ev"}  # of a map, by its kind
ERRORS = {"half step": "half_step_sigma_ev", "white line": "white_line_sigma_ev"}
Row = dict[str, Any]
Mask = NDArray[np.bool_]


def map_scores(found: xr.Dataset, truth: xr.Dataset, kind: str, border: Mask) -> Row:
    """Return the error of a map and how true its stated errors are."""
    where = both(found, truth, kind)
    error, sigma = errors(found, truth, kind)
    known = where & np.isfinite(sigma) & (sigma > 0)
    scaled = np.abs(error) / np.where(known, sigma, 1)
    limits = np.quantile(sigma[known], np.linspace(0, 1, 11)) if known.any() else np.zeros(11)
    tenths = [known & (sigma >= low) & (sigma <= high) for low, high in pairwise(limits)]
    return {
        "rmse (eV)": rms(error[where]),
        "share mapped": float(where.sum() / max(int(truth["mask"].values.sum()), 1)),
        "within 68 %": within(scaled[known], 1.0),
        "within 95 %": within(scaled[known], 1.96),
        "borders: within 68 %": within(scaled[known & border], 1.0),
        "borders: within 95 %": within(scaled[known & border], 1.96),
        "68 % in tenths": [within(scaled[tenth], 1.0) for tenth in tenths],
        "95 % in tenths": [within(scaled[tenth], 1.96) for tenth in tenths],
        "stated error (eV)": float(np.median(sigma[known])) if known.any() else None,
        "offset (eV)": float(np.median(error[where])) if where.any() else None,
        "true spread (eV)": float(np.std(values_of(truth, kind)[where])) if where.any() else None,
    }


def beside_background(spectra: NDArray[np.float64], true: NDArray[np.float64]) -> int:
    """Return how many of orthonormal spectra (K, E) lie mostly beside the true ones and a constant.

    What is alike at all energies is in the data: the noise of the flats, and the mean of the drift.
    """
    known = np.linalg.qr(np.vstack([true, np.ones((1, true.shape[1]))]).T)[0]
    return int(np.count_nonzero(np.sum((spectra @ known) ** 2, axis=1) < MOSTLY))


def common_rmse(
    ours: xr.Dataset | None, other: xr.Dataset | None, truth: xr.Dataset
) -> tuple[float | None, float | None]:
    """Return the errors of two maps over the pixels that both have; of one map, if the other is missing."""
    found = [each for each in (ours, other) if each is not None]
    where = np.logical_and.reduce([both(each, truth, "half step") for each in found]) if found else None
    rmse = [
        None if each is None else rms(errors(each, truth, "half step")[0][where]) for each in (ours, other)
    ]
    return rmse[0], rmse[1]


def particle_scores(found: xr.Dataset, truth: xr.Dataset, particle: Mask) -> Row:
    """Return how much of the shift of a foreign particle is found, and how that compares with its error."""
    where, kind = both(found, truth, "half step"), "half step"
    inside, outside = where & particle, where & ~particle
    if not inside.any() or not outside.any():
        return {}
    shifts = [
        np.median(v[inside]) - np.median(v[outside]) for v in (values_of(found, kind), values_of(truth, kind))
    ]
    error, sigma = errors(found, truth, kind)
    return {
        "particle: true shift (eV)": float(shifts[1]),
        "particle: recovered": float(shifts[0] / shifts[1]) if shifts[1] else None,
        "particle: |error| / stated": float(np.median(np.abs(error[inside]) / sigma[inside])),
    }


def detectability(scan: Scan) -> Row:
    """Return how far what one spectrum cannot hold of the clean stack, its chemistry, is above the noise."""
    matrix = scan.clean.values.reshape(len(scan.clean), -1)
    size = singular(matrix)[0][1:]
    edge = scan.sigma * (np.sqrt(matrix.shape[1]) + np.sqrt(len(matrix)))
    return {
        "contrast (sigma)": float(np.sqrt(np.sum(size**2)) / scan.sigma),
        "over noise edge": float(size[0] / edge),
    }


def near_borders(scan: Scan) -> Mask:
    """Return the pixels of the sample (Y, X) within 3 px of another chemical state."""
    sample = scan.images.sum(axis=0) > 0
    state = np.where(sample, np.argmax(scan.images, axis=0), -1)
    border = np.zeros(sample.shape, bool)
    for axis in (0, 1):
        before, after = (np.moveaxis(state, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        differs = (before != after) & (before >= 0) & (after >= 0)
        along = np.moveaxis(border, axis, 0)
        along[:-1] |= differs
        along[1:] |= differs
    return np.asarray(binary_dilation(border, iterations=BORDER_PX - 1) & sample)


def values_of(maps: xr.Dataset, kind: str) -> NDArray[np.float64]:
    return np.asarray(maps[VALUES[kind]].values)


def errors(
    found: xr.Dataset, truth: xr.Dataset, kind: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the true and the stated error of each pixel, in eV."""
    return values_of(found, kind) - values_of(truth, kind), found[ERRORS[kind]].values


def both(found: xr.Dataset, truth: xr.Dataset, kind: str) -> Mask:
    """Return the pixels in which both maps mean something."""
    return found["mask"].values & truth["mask"].values & np.isfinite(errors(found, truth, kind)[0])


def rms(values: NDArray[np.floating]) -> float | None:
    return float(np.sqrt(np.mean(values**2))) if values.size else None


def within(scaled: NDArray[np.floating], limit: float) -> float | None:
    return float(np.mean(scaled < limit)) if scaled.size >= MIN_PIXELS else None


def plain(value: Any) -> Any:
    """Return a value for a JSON file: built-in types, None instead of what is not finite."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def singular(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the singular values (E,), largest first, and the left singular vectors of a matrix (E, P)."""
    gram = np.zeros((len(matrix),) * 2)
    for start in range(0, matrix.shape[1], 16_384):
        part = matrix[:, start : start + 16_384].astype(np.float64)
        gram += part @ part.T
    values, vectors = np.linalg.eigh(gram)
    return np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1]
