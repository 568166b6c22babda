"""The sentences and tables of a report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from xanesum.diagnostics.residual import PLACES, ResidualReport
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight

__all__ = [
    "MAP_LABELS",
    "MAX_COMPONENTS",
    "Facts",
    "_component_rows",
    "_components_text",
    "_counted",
    "_headline",
    "_map_text",
    "_risk_rows",
    "_risk_text",
    "_trust_lines",
    "_trust_rows",
    "_unit",
]
UNITS = {"optical_density": "optical density", "counts": "counts", "transmission": "transmission"}
MAP_LABELS = {
    "half_step": ("half_step_energy_ev", "half_step_sigma_ev", "half-step energy (eV)"),
    "white_line": ("white_line_ev", "white_line_sigma_ev", "white-line position (eV)"),
}
MAX_COMPONENTS = 6


@dataclass(frozen=True, slots=True)
class Facts:
    """What the report says about a run beside its results."""

    source: str  # name of the scan
    seconds: float  # reading to map
    counted: tuple[str, ...]  # what preprocessing changed
    map_problem: str  # why there is no map; empty where there is one
    recipe: str  # effective recipe, TOML
    notes: tuple[str, ...] = ()  # what was mended or should be known; shown first


def _headline(
    stack: xr.DataArray, result: Denoised, maps: xr.Dataset | None, trust: ResidualReport, facts: Facts
) -> list[tuple[str, str]]:
    n_energies, ny, nx = stack.shape
    energy = stack.energy.values
    size_nm = stack.attrs.get("pixel_size_nm")
    return [
        ("Image size (y x x)", f"{ny} x {nx} px" + (f", {size_nm:g} nm each" if size_nm else "")),
        ("Energies", f"{n_energies} from {energy[0]:.1f} to {energy[-1]:.1f} eV"),
        ("Quantity", stack.attrs["quantity"].replace("_", " ")),
        ("Noise found (sigma)", f"{result.sigma:.4g} {_unit(stack)}"),
        *_evenness(result),
        ("Components kept (K)", str(result.rank)),
        ("Noise reduction, estimated", _reduction(result)),
        *_exposure(maps),
        ("Signal lost", "yes, see below" if trust.lost.found else "none found"),
        ("Denoiser", str(result.provenance.get("denoiser", "?"))),
        ("Time", f"{facts.seconds:.1f} s"),
    ]


def _evenness(result: Denoised) -> list[tuple[str, str]]:
    """Return how the noise was found to differ from white; nothing where it does not."""
    facts = []
    if not result.noise_is_even:
        parts = {"pixel": result.sigma_pixel.values, "energy": result.sigma_energy.values / result.sigma}
        for name, values in parts.items():
            low, high = np.percentile(values[np.isfinite(values)], (1, 99))
            facts.append((f"Noise by {name}", f"{low:.2g} to {high:.2g} times that"))
    shared = float(result.sigma_common.max())
    if shared > 0:
        facts.append(("Noise of the flat, at all energies", f"{shared:.2g}"))
    return facts


def _reduction(result: Denoised) -> str:
    """Return how much less noise the clean stack has, from the estimated errors of its images."""
    left = float(result.components["risk"].values[: result.rank].sum()) / result.spectra.sizes["energy"]
    return f"{result.sigma / np.sqrt(left):.2g} times less" if left > 0 else "cannot be estimated"


def _unit(stack: xr.DataArray) -> str:
    return UNITS.get(stack.attrs["quantity"], "(unit of the scan)")


# --- map


def _map_text(maps: xr.Dataset) -> str:
    name, _, label = MAP_LABELS[maps.attrs["kind"]]
    n_good, n_all = int(maps["mask"].sum()), maps["mask"].size
    values = maps[name].values[maps["mask"].values]
    spread = ", ".join(f"{v:.2f}" for v in np.percentile(values, (5, 50, 95))) if n_good else "none"
    pre, post = (_range_text(maps.attrs[key]) for key in ("pre_ev", "post_ev"))
    return (
        f"Shown: {label}; grey pixels have none ({n_all - n_good} of {n_all}). "
        f"5th, 50th and 95th percentile: {spread} eV. Edge at {maps.attrs['e0_ev']:.1f} eV; "
        f"pre-edge line {pre}; post-edge line {post}."
    )


def _range_text(limits: tuple[float, float] | None) -> str:
    return "not fitted" if limits is None else f"{limits[0]:.1f} to {limits[1]:.1f} eV"


# --- components, risk, noise


def _components_text(result: Denoised) -> str:
    if result.rank == 0:
        return "No component stands above the noise, so the clean stack is 0 everywhere."
    shown = min(result.rank, MAX_COMPONENTS)
    of = f"The first {shown} of {result.rank}" if shown < result.rank else f"All {shown}"
    return f"{of}: spectra of length 1, at right angles to each other, and the images that weight them."


def _component_rows(result: Denoised) -> list[dict[str, object]]:
    table = result.components
    errors = (np.sqrt(table[name].values) for name in ("noisy_risk", "risk"))
    columns = (
        (table["singular_value"].values, ".5g"),
        (table["share"].values, ".3%"),
        *((error, ".4g") for error in errors),
        (table["weight_noisy"].values, ".2f"),
        (table["weight_denoised"].values, ".2f"),
        (table["p_value"].values, ".2g"),
    )
    return [
        {
            "number": int(number),
            "kept": number <= result.rank,
            "cells": [_cell(float(values[k]), form) for values, form in columns],
        }
        for k, number in enumerate(table["tried"].values)
    ]


def _cell(value: float, form: str) -> str:
    return f"{value:{form}}" if np.isfinite(value) else ""


def _risk_text(result: Denoised) -> str:
    if result.provenance.get("method") == "sum":
        return "The least decides."
    return "The chance in the table above decides; this is what each further component brings."


def _risk_rows(result: Denoised) -> list[dict[str, object]]:
    values = dict(
        zip(result.components["tried"].values, result.components["singular_value"].values, strict=True)
    )
    columns = (result.risk[name].values for name in ("rank", "risk", "standard_error", "chosen"))
    return [
        {
            "rank": int(rank),
            "risk": f"{risk:.5g}",
            "error": f"{error:.2g}",
            "chosen": bool(chosen),
            "value": f"{values[rank]:.5g}" if rank in values else "",
        }
        for rank, risk, error, chosen in zip(*columns, strict=True)
    ]


# --- trust


def _exposure(maps: xr.Dataset | None) -> list[tuple[str, str]]:
    """Return how much longer an exposure the map was worth; nothing without a map."""
    gain = _median_gain(maps)
    return [] if gain is None else [("Exposure gained, for the map", f"{gain:.2g} times")]


def _bootstrap_line(maps: xr.Dataset | None) -> str | None:
    """Return how the scatter of scans drawn again compares with the stated errors."""
    if maps is None or "bootstrap_draws" not in maps.attrs:
        return None
    stated = maps[MAP_LABELS[maps.attrs["kind"]][1]].values
    scatter = maps[f"{maps.attrs['kind']}_bootstrap_sigma_ev"].values
    known = maps["mask"].values & np.isfinite(scatter) & np.isfinite(stated) & (stated > 0)
    if not known.any():
        return None
    return (
        f"In {maps.attrs['bootstrap_draws']} scans drawn again the map scatters by "
        f"{np.median(scatter[known]):.2g} eV (median), which is "
        f"{np.median(scatter[known] / stated[known]):.2g} times the stated standard error."
    )


def _median_gain(maps: xr.Dataset | None) -> float | None:
    if maps is None or not maps["mask"].values.any():
        return None
    gain = maps["exposure_gain"].values[maps["mask"].values]
    gain = gain[np.isfinite(gain)]
    return float(np.median(gain)) if gain.size else None


def _trust_lines(trust: ResidualReport, maps: xr.Dataset | None) -> list[tuple[bool, str]]:
    """Return sentences, and whether each is a warning."""
    lines = [(True, _sentence(note)) for note in trust.notes]
    if not trust.lost.found:
        lines.append(
            (
                False,
                "Nothing of the sample was found in what was taken away: averages of the residual over "
                f"regions are those of noise (chance to be so structured {trust.lost.p_value:.2g}).",
            )
        )
    if trust.whiteness.is_white:
        lines.append((False, "The residual is as good as white from neighbour to neighbour."))
    if (line := _bootstrap_line(maps)) is not None:
        lines.append((False, line))
    gain = _median_gain(maps)
    if gain is not None:
        lines.append(
            (
                False,
                f"Single pixels without denoising would need {gain:.2g} times the exposure for a map as good "
                "(median over the map, from the noise level and the estimated errors).",
            )
        )
    return lines


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:] + "."


def _trust_rows(trust: ResidualReport) -> list[tuple[str, str, str]]:
    """Return what was tested, its value, and what noise alone gives."""
    white, lost = trust.whiteness, trust.lost
    return [
        ("residual over noise level", f"{trust.size:.4f}", "1"),
        *(
            (f"correlation along {name}", f"{value:+.4f}", f"0 \u00b1 {error:.1g}")
            for (name, value), error in zip(white.along.items(), white.standard_error, strict=True)
        ),
        ("chance of these correlations", f"{white.p_value:.2g}", "any, rarely below 0.01"),
        *(
            (f"chance that noise looks as if {said}", f"{lost.p_values[place]:.2g}", "any, rarely below 0.01")
            for place, said in PLACES.items()
        ),
    ]


def _counted(stack: xr.DataArray, facts: Facts) -> list[str]:
    mask, weight = usable_mask(stack), usable_weight(stack)
    dropped = ", ".join(f"{energy:.1f}" for energy in stack.energy.values[~weight])
    return [
        *facts.counted,
        f"{int((~mask).sum())} of {mask.size} pixels are masked",
        f"{int((~weight).sum())} of {weight.size} frames have weight 0"
        + (f" ({dropped} eV)" if dropped else ""),
    ]
