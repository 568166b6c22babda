"""The sentences and tables of a report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.align import Shifts
from xanesum.diagnostics.residual import PLACES, ResidualReport
from xanesum.report.numbers import chance_text, error_text, plain, times
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.xanes import KINDS

__all__ = [
    "MAP_LABELS",
    "MAX_COMPONENTS",
    "UNITS",
    "Facts",
    "Motion",
    "component_rows",
    "components_text",
    "exposure_gain",
    "headline",
    "left_out",
    "map_text",
    "noise_reduction",
    "risk_rows",
    "risk_text",
    "trust_lines",
    "trust_rows",
    "unit_of",
]
# quantity of a stack -> unit of its values
UNITS = {
    "optical_density": "optical density",
    "counts": "counts",
    "transmission": "transmission",
    "fluorescence": "fluorescence",
    "intensity": "intensity",
}
MAP_LABELS = {  # kind of map -> name of the map, name of its standard error, label with its unit
    name: (kind.variable, kind.error, kind.title) for name, kind in KINDS.items()
}
MAX_COMPONENTS = 6  # components that are shown as figures


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Motion of the sample from frame to frame, and what was done about it."""

    shifts: Shifts | None  # None: they are not known
    before: NDArray[np.float32] | None  # (Y, X), mean frame before frames were moved; None: they were not
    is_removed: bool
    text: str  # what was found and done


@dataclass(frozen=True, slots=True)
class Facts:
    """What the report says about a run, besides its results."""

    source: str  # name of the scan
    seconds: float  # from reading to the map
    counted: tuple[str, ...]  # what preprocessing changed
    map_problem: str  # why there is no map; empty if there is one
    recipe: str  # effective recipe, TOML
    notes: tuple[str, ...] = ()  # what was corrected or should be known; shown first
    motion: Motion | None = None  # None: nobody looked


def headline(
    stack: xr.DataArray, result: Denoised, maps: xr.Dataset | None, trust: ResidualReport, facts: Facts
) -> list[tuple[str, str]]:
    """Return names and values of the most important facts."""
    n_energies, ny, nx = stack.shape
    energy = stack.energy.values
    size_nm = stack.attrs.get("pixel_size_nm")
    return [
        ("Image size (y, x)", f"{ny} x {nx} px" + (f", {size_nm:g} nm each" if size_nm else "")),
        ("Energies", f"{n_energies} from {energy[0]:.1f} to {energy[-1]:.1f} eV"),
        ("Quantity", stack.attrs["quantity"].replace("_", " ")),
        ("Noise level (sigma), estimated", f"{plain(result.sigma, 4)} {unit_of(stack)}"),
        *_evenness(result),
        ("Components (K)", str(result.rank)),
        ("Noise reduction, estimated", _reduction(result)),
        *_exposure(maps),
        ("Signal in the residual", _signal_left(trust)),
        (
            "Errors of the map",
            "hold as far as tests tell" if trust.intervals_hold else "do not hold, see below",
        ),
        ("Denoiser", str(result.provenance.get("denoiser", "?"))),
        ("Time", f"{facts.seconds:.1f} s"),
    ]


def _signal_left(trust: ResidualReport) -> str:
    if not trust.is_tested:
        return "cannot be tested"
    return "yes, see below" if trust.lost.found else "none found"


def _evenness(result: Denoised) -> list[tuple[str, str]]:
    """Return how the noise differs from white noise; nothing if it does not."""
    facts = []
    if not result.noise_is_even:
        parts = {
            "pixels": result.sigma_pixel.values,
            "energies": result.sigma_energy.values / result.sigma,
        }
        for plural, values in parts.items():
            low, high = np.percentile(values[np.isfinite(values)], (1, 99))
            facts.append((f"Noise of single {plural}", f"{plain(low, 2)} to {plain(high, 2)} times sigma"))
    shared = float(result.sigma_common.max())
    if shared > 0:
        facts.append(("Noise of the flat image, the same at all energies", plain(shared, 2)))
    return facts


def _reduction(result: Denoised) -> str:
    """Return by which factor the noise was reduced, in words."""
    factor = noise_reduction(result)
    return "cannot be estimated" if factor is None else f"{times(factor)} less"


def noise_reduction(result: Denoised) -> float | None:
    """Return by which factor the noise was reduced, from the estimated errors of the images, where known."""
    left = float(result.components["risk"].values[: result.rank].sum()) / result.spectra.sizes["energy"]
    return float(result.sigma / np.sqrt(left)) if left > 0 and result.sigma > 0 else None


def unit_of(stack: xr.DataArray) -> str:
    """Return the unit of the values of a stack."""
    return UNITS.get(stack.attrs["quantity"], "(unit of the scan)")


# --- map


def map_text(maps: xr.Dataset) -> str:
    """Return sentences about the map and the ranges it was made with."""
    name, _, label = MAP_LABELS[maps.attrs["kind"]]
    unit = KINDS[maps.attrs["kind"]].unit
    pre, post = (_range_text(maps.attrs[key]) for key in ("pre_ev", "post_ev"))
    n_good, n_all = int(maps["mask"].sum()), maps["mask"].size
    values = maps[name].values[maps["mask"].values]
    if not n_good:
        return (
            f"No pixel has an edge that stands above its noise, so the map of the {label} has no value. "
            f"The edge was taken to be at {maps.attrs['e0_ev']:.1f} eV."
        )
    percentiles = np.percentile(values, (5, 50, 95))
    spread = ", ".join(f"{v:.2f}" if unit == "eV" else plain(v) for v in percentiles)
    spread += " eV" if unit == "eV" else ""
    definition = maps.attrs["definition"]
    lines = [
        f"The map shows the {label}. Grey pixels ({n_all - n_good} of {n_all}) have no value. "
        f"The 5th, 50th and 95th percentiles are {spread}.",
        f"{definition[:1].upper()}{definition[1:]}.",
        f"The edge is at {maps.attrs['e0_ev']:.1f} eV; pre-edge line {pre}; post-edge line {post}.",
    ]
    return " ".join(lines)


def _range_text(limits: tuple[float, float] | None) -> str:
    return "not fitted" if limits is None else f"{limits[0]:.1f} to {limits[1]:.1f} eV"


# --- components, risk, noise


def components_text(result: Denoised) -> str:
    """Return what the figures of the components show."""
    if result.rank == 0:
        return "No component stands above the noise. The clean stack is therefore 0 everywhere."
    shown = min(result.rank, MAX_COMPONENTS)
    subject = f"The first {shown} of {result.rank}" if shown < result.rank else f"All {shown}"
    return (
        f"{subject} components are shown. Each has an image, the weight of its spectrum in every pixel. "
        "The spectra have length 1 and are orthogonal to each other."
    )


def component_rows(result: Denoised) -> list[dict[str, object]]:
    """Return the table of the components that were tried."""
    table = result.components
    before, after = (np.sqrt(np.maximum(table[name].values, 0)) for name in ("noisy_risk", "risk"))
    columns = (
        [plain(value, 5) for value in table["singular_value"].values],
        [_percent(value) for value in table["share"].values],
        [plain(value, 4) for value in before],
        [plain(value, 4) for value in after],
        [_weight(value) for value in table["weight_noisy"].values],
        [_weight(value) for value in table["weight_denoised"].values],
        [chance_text(value) for value in table["p_value"].values],
    )
    return [
        {"number": int(number), "kept": number <= result.rank, "cells": [column[k] for column in columns]}
        for k, number in enumerate(table["tried"].values)
    ]


def _percent(share: float) -> str:
    """Return a share in per cent; less than 0, which an estimate can be, means nothing was found."""
    return f"{plain(100 * max(share, 0), 3)} %" if np.isfinite(share) else ""


def _weight(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ""


def risk_text(result: Denoised) -> str:
    """Return how the number of components was chosen."""
    if result.provenance.get("method") == "sum":
        return "The number with the least error is chosen."
    return (
        "The number is chosen by the chance in the table above; this table shows what each component gains."
    )


def risk_rows(result: Denoised) -> list[dict[str, object]]:
    """Return the table of the numbers of components that were tried; errors are in units of sigma squared."""
    values = dict(
        zip(result.components["tried"].values, result.components["singular_value"].values, strict=True)
    )
    columns = (result.risk[name].values for name in ("rank", "risk", "difference_error", "chosen"))
    least = float(result.risk["risk"].values.min())
    unit = result.sigma**2 if result.sigma > 0 else 1.0
    return [
        {
            "rank": int(rank),
            "risk": error_text(float(risk) / unit),
            "above": plain((float(risk) - least) / unit, 3),
            "error": plain(float(error) / unit, 2),
            "chosen": bool(chosen),
            "value": plain(float(values[rank]), 5) if rank in values else "",
        }
        for rank, risk, error, chosen in zip(*columns, strict=True)
    ]


# --- trust


def _exposure(maps: xr.Dataset | None) -> list[tuple[str, str]]:
    """Return the exposure that single pixels would need for the same map; nothing without a map."""
    gain = exposure_gain(maps)
    return [] if gain is None else [("Exposure gained, for the map", times(gain))]


def _bootstrap_line(maps: xr.Dataset | None) -> str | None:
    """Return the scatter of the map in simulated repetitions, compared with the stated errors."""
    if maps is None or "bootstrap_draws" not in maps.attrs:
        return None
    stated = maps[MAP_LABELS[maps.attrs["kind"]][1]].values
    kind = maps.attrs["kind"]
    ending, unit = ("_ev", " eV") if KINDS[kind].unit == "eV" else ("", "")
    scatter = maps[f"{kind}_bootstrap_sigma{ending}"].values
    known = maps["mask"].values & np.isfinite(scatter) & np.isfinite(stated) & (stated > 0)
    if not known.any():
        return None
    return (
        f"In {maps.attrs['bootstrap_draws']} scans drawn again the map scatters by "
        f"{plain(float(np.median(scatter[known])), 2)}{unit} (median), which is "
        f"{times(float(np.median(scatter[known] / stated[known])))} the stated standard error."
    )


def exposure_gain(maps: xr.Dataset | None) -> float | None:
    """Return the factor of exposure for the same map without denoising, its median; None if not known."""
    if maps is None or not maps["mask"].values.any():
        return None
    gain = maps["exposure_gain"].values[maps["mask"].values]
    gain = gain[np.isfinite(gain)]
    return float(np.median(gain)) if gain.size else None


def trust_lines(trust: ResidualReport, maps: xr.Dataset | None) -> list[tuple[bool, str]]:
    """Return sentences, and whether each is a warning."""
    lines = [(True, _sentence(note)) for note in trust.notes]
    if trust.is_tested and not trust.lost.found:
        lines.append(
            (
                False,
                "Nothing of the sample was found in the residual: averages of the residual over regions "
                f"look like those of noise (chance {chance_text(trust.lost.p_value)}).",
            )
        )
    if not trust.is_tested:
        lines.append(
            (False, "The residual cannot be tested: it has too few values besides the result's own.")
        )
    elif trust.whiteness.is_white:
        lines.append((False, "The residual is white: neighbours are not correlated."))
    if (line := _bootstrap_line(maps)) is not None:
        lines.append((False, line))
    gain = exposure_gain(maps)
    if gain is not None:
        lines.append(
            (
                False,
                f"Without denoising, a map as good would need {times(gain)} the exposure "
                "(median over the map, from the noise level and the estimated errors).",
            )
        )
    return lines


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:] + "."


def trust_rows(trust: ResidualReport) -> list[tuple[str, str, str]]:
    """Return name and value of every test of the residual, and the value of noise alone."""
    white, lost = trust.whiteness, trust.lost
    if not trust.is_tested:
        return [("all tests", "cannot be tested", "")]
    return [
        ("size of the residual over the noise level", f"{trust.size:.4f}", "1"),
        *(
            (f"correlation along {name}", f"{value:+.4f}", f"0 \u00b1 {plain(error, 1)}")
            for (name, value), error in zip(white.along.items(), white.standard_error, strict=True)
        ),
        ("chance of these correlations", chance_text(white.p_value), "rarely below 0.01"),
        *(
            (
                f"chance that noise alone looks as if {meaning}",
                chance_text(lost.p_values[place]),
                "rarely below 0.01",
            )
            for place, meaning in PLACES.items()
        ),
    ]


def left_out(stack: xr.DataArray, facts: Facts) -> list[str]:
    """Return what preprocessing changed, and how many pixels and frames are not used."""
    mask, weight = usable_mask(stack), usable_weight(stack)
    dropped = ", ".join(f"{energy:.1f}" for energy in stack.energy.values[~weight])
    return [
        *facts.counted,
        f"{int((~mask).sum())} of {mask.size} pixels are masked",
        f"{int((~weight).sum())} of {weight.size} frames are left out"
        + (f" ({dropped} eV)" if dropped else ""),
    ]
