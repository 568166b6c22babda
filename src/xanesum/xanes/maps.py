"""Maps of the edge: half-step energy and white-line position of every pixel, from factors or from a stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.normalization import (
    EdgeRanges,
    Range,
    edge_ranges,
    find_e0_ev,
    flattening_operator,
    step_operator,
)
from xanesum.xanes.pixel_spectra import _Spectra, _spectra_of

__all__ = ["MAP_KINDS", "MAP_NAMES", "chemical_map", "half_step_energy", "white_line"]

MAP_KINDS = ("auto", "half_step", "white_line")
MAP_NAMES = {"half_step": "half_step_energy_ev", "white_line": "white_line_ev"}
WHITE_LINE_EV = (-5.0, 15.0)  # where the white line is looked for, relative to e0
MIN_STEP = 0.1  # least edge step of a pixel with a map value, as a share of the stack's 95th percentile ...
MIN_STEP_SIGMAS = 3.0  # ... and in units of its own noise
BLOCK_PIXELS = 16_384


def half_step_energy(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
) -> xr.Dataset:
    """Map the energy at half of the edge step.

    Each spectrum is flattened (pre-edge line subtracted, post-edge line brought to 1) and the last upward
    crossing of 0.5 below the white-line maximum is interpolated linearly.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        A result, whose few components make this fast, or any stack.
    e0_ev : float, optional
        Edge energy; the steepest rise of the mean spectrum by default.
    pre_ev, post_ev : (float, float), optional
        Ranges in eV of the pre- and post-edge lines; see `edge_ranges` for the defaults.

    Returns
    -------
    Dataset
        ``half_step_energy_ev``, ``half_step_sigma_ev`` (standard error, from the mean error of the data;
        NaN where unknown), ``exposure_gain`` (how many times larger the variance was without denoising, so
        that an exposure so many times longer would have been needed), ``edge_step`` (unit of the stack),
        ``mask`` (where the map means something).
        Attributes: ``kind``, ``e0_ev``, ``pre_ev``, ``post_ev``.

    Raises
    ------
    EdgeError
        If there is no edge, or no usable pre- or post-edge range.
    StackError
        If a stack breaks the rules.
    """
    spectra = _spectra_of(data)
    ranges = _ranges(spectra, e0_ev, pre_ev, post_ev)
    if ranges.pre_ev is None or ranges.post_ev is None:
        side = "below the edge" if ranges.pre_ev is None else "beyond the white line"
        raise EdgeError(
            f"too few energies {side} (edge at {ranges.e0_ev:.1f} eV, scan {spectra.energy_ev[0]:.1f} ... "
            f"{spectra.energy_ev[-1]:.1f} eV) for a half-step energy; "
            "map the white line instead (--map white_line)"
        )
    step, step_error = _step(spectra, ranges)
    window = _window(spectra.energy_ev, ranges.pre_ev[1], ranges.post_ev[0])
    if np.count_nonzero(window) < 2:
        raise EdgeError(
            f"fewer than two energies between the pre-edge range, up to {ranges.pre_ev[1]:.1f} eV, and "
            f"the post-edge range, from {ranges.post_ev[0]:.1f} eV; no edge to map"
        )
    operator = flattening_operator(spectra.energy_ev, ranges, window)
    energies = spectra.energy_ev[window]
    above_half = operator - 0.5 * step_operator(spectra.energy_ev, ranges)  # zero at the crossing
    found = np.full((3, step.size), np.nan)
    small = spectra.apply(operator)
    for pixels in _pixel_blocks(step.size):
        with np.errstate(divide="ignore", invalid="ignore"):
            flattened = (small @ spectra.images[:, pixels]) / step[pixels]
        found[0, pixels], slope, index, share = _last_crossing(energies, flattened)
        pairs = ((index, 1 - share), (index + 1, share))
        error = spectra.error_of_pairs(above_half, pairs, pixels)
        found[2, pixels] = spectra.gain_of_pairs(error, above_half, pairs, pixels)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[1, pixels] = error / np.abs(slope * step[pixels])
    mask = (
        spectra.mask
        & _step_is_real(step, step_error, spectra.mask)
        & np.isfinite(found[0]).reshape(spectra.mask.shape)
    )
    return _dataset(spectra, ranges, "half_step", found, step, mask)


def white_line(
    data: Denoised | xr.DataArray,
    *,
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
) -> xr.Dataset:
    """Map the position of the white line: the maximum within -5 ... +15 eV of e0, refined by a parabola.

    Takes and returns what `half_step_energy` does, with ``white_line_ev`` and ``white_line_sigma_ev``.
    ``edge_step`` is the height of the white line where the scan has no post-edge range.
    """
    spectra = _spectra_of(data)
    ranges = _ranges(spectra, e0_ev, pre_ev, post_ev)
    window = _window(spectra.energy_ev, ranges.e0_ev + WHITE_LINE_EV[0], ranges.e0_ev + WHITE_LINE_EV[1])
    if np.count_nonzero(window) < 3:
        raise EdgeError(
            f"fewer than three energies near the edge at {ranges.e0_ev:.1f} eV; no white line to map"
        )
    operator = flattening_operator(spectra.energy_ev, ranges, window)
    energies = spectra.energy_ev[window]
    small = spectra.apply(operator)
    n_pixels = spectra.mask.size
    found = np.full((3, n_pixels), np.nan)
    height, height_error, one = np.zeros(n_pixels, np.float32), np.zeros(n_pixels), np.ones(n_pixels)
    for pixels in _pixel_blocks(n_pixels):
        shape = small @ spectra.images[:, pixels]
        found[0, pixels], curvature, height[pixels], index = _peak(energies, shape)
        ones = one[pixels]
        height_error[pixels] = spectra.error_of_pairs(operator, ((index, ones), (index, 0 * ones)), pixels)
        pairs = ((index + 1, ones), (index - 1, -ones))
        error = spectra.error_of_pairs(operator, pairs, pixels)
        found[2, pixels] = spectra.gain_of_pairs(error, operator, pairs, pixels)
        width = energies[index + 1] - energies[index - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            found[1, pixels] = error / (width * np.abs(curvature))
    if ranges.pre_ev is not None and ranges.post_ev is not None:
        step, step_error = _step(spectra, ranges)
    else:
        step, step_error = height, height_error
    mask = (
        spectra.mask
        & _step_is_real(step, step_error, spectra.mask)
        & np.isfinite(found[0]).reshape(spectra.mask.shape)
    )
    return _dataset(spectra, ranges, "white_line", found, step, mask)


def chemical_map(data: Denoised | xr.DataArray, *, kind: str = "auto", **options: Any) -> xr.Dataset:
    """Return the map of `kind`: the half-step energy, or the white line where the scan has no usable lines.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        As in `half_step_energy`, which also takes the `options`.
    kind : {"auto", "half_step", "white_line"}
        The result's ``attrs["kind"]`` says which it is.
    """
    if kind not in MAP_KINDS:
        raise EdgeError(f"map kind must be one of {', '.join(MAP_KINDS)}, got {kind!r}")
    if kind == "auto":
        ranges = _ranges(_spectra_of(data), **{"e0_ev": None, "pre_ev": None, "post_ev": None, **options})
        kind = "white_line" if ranges.pre_ev is None or ranges.post_ev is None else "half_step"
    return half_step_energy(data, **options) if kind == "half_step" else white_line(data, **options)


def _ranges(
    spectra: _Spectra, e0_ev: float | None, pre_ev: Range | None, post_ev: Range | None
) -> EdgeRanges:
    if not spectra.mask.any():
        raise EdgeError("no usable pixel is left, so there is no edge to map")
    e0 = find_e0_ev(spectra.energy_ev, spectra.mean_spectrum) if e0_ev is None else float(e0_ev)
    return edge_ranges(spectra.energy_ev, e0, pre_ev=pre_ev, post_ev=post_ev)


def _step(spectra: _Spectra, ranges: EdgeRanges) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the edge step of every pixel and its standard error, both of shape (P,)."""
    operator = step_operator(spectra.energy_ev, ranges)
    return spectra.apply(operator) @ spectra.images, spectra.error(operator)


def _step_is_real(
    step: NDArray[np.float32], error: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return where the step is large beside the stack's largest and beside its own error, shape (Y, X)."""
    largest = float(np.percentile(step.reshape(mask.shape)[mask], 95))
    least = np.fmax(
        max(MIN_STEP * largest, 0.0), MIN_STEP_SIGMAS * error
    )  # fmax passes over an unknown error
    return np.asarray((step > least).reshape(mask.shape))


def _window(energy_ev: NDArray[np.float64], low_ev: float, high_ev: float) -> NDArray[np.bool_]:
    return (energy_ev >= low_ev) & (energy_ev <= high_ev)


def _pixel_blocks(n_pixels: int) -> Iterator[slice]:
    for start in range(0, n_pixels, BLOCK_PIXELS):
        yield slice(start, start + BLOCK_PIXELS)


def _last_crossing(
    energies: NDArray[np.float64], flattened: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the last upward crossing of 0.5 below the maximum of each column.

    Its energy, its slope, the index of the energy below it, and the share of the way to the next.
    """
    rises = (flattened[:-1] < 0.5) & (flattened[1:] >= 0.5)
    rises &= np.arange(len(rises))[:, None] < np.argmax(flattened, axis=0)
    index = len(rises) - 1 - np.argmax(rises[::-1], axis=0)
    column = np.arange(flattened.shape[1])
    low, high = flattened[index, column].astype(np.float64), flattened[index + 1, column]
    width = energies[index + 1] - energies[index]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (0.5 - low) / (high - low)
        slope = (high - low) / width
    return np.where(rises.any(axis=0), energies[index] + width * share, np.nan), slope, index, share


def _peak(
    energies: NDArray[np.float64], shape: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Return position, curvature, height and index of each column's maximum; NaN where it lies at an end."""
    index = np.argmax(shape, axis=0)
    column = np.arange(shape.shape[1])
    middle = np.clip(index, 1, len(energies) - 2)
    at, below, above = energies[middle], energies[middle - 1], energies[middle + 1]
    f0, f1, f2 = (shape[middle + i, column].astype(np.float64) for i in (-1, 0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (f1 - f0) / (at - below), (f2 - f1) / (above - at)
        curvature = (right - left) / ((above - below) / 2)
        position = (at + below) / 2 - left / curvature
    position = np.where((index == middle) & (curvature < 0), np.clip(position, below, above), np.nan)
    return position, curvature, shape[index, column], middle


def _dataset(
    spectra: _Spectra,
    ranges: EdgeRanges,
    kind: str,
    found: NDArray[np.float64],
    step: NDArray[np.float32],
    mask: NDArray[np.bool_],
) -> xr.Dataset:
    name = {"half_step": "half_step_energy_ev", "white_line": "white_line_ev"}[kind]
    error = {"half_step": "half_step_sigma_ev", "white_line": "white_line_sigma_ev"}[kind]
    maps = {name: found[0], error: found[1], "exposure_gain": found[2], "edge_step": step}
    pixels = {key: spectra.source[key] for key in ("y", "x") if key in spectra.source.coords}
    dataset = xr.Dataset(
        {
            key: (("y", "x"), np.asarray(values, np.float32).reshape(mask.shape))
            for key, values in maps.items()
        },
        coords=pixels,
    )
    dataset[name] = dataset[name].astype(np.float64).copy(data=found[0].reshape(mask.shape))
    dataset["mask"] = (("y", "x"), mask)
    dataset.attrs = {"kind": kind, "e0_ev": ranges.e0_ev, "pre_ev": ranges.pre_ev, "post_ev": ranges.post_ev}
    return dataset
