"""One self-contained HTML page per run: what went in, what came out, and what was taken away."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xanesum.denoised import Denoised
from xanesum.metrics import ResidualCorrelation, residual_correlation
from xanesum.stack import usable_mask, usable_weight

__all__ = ["Findings", "write_report"]

UNITS = {
    "optical_density": "optical density",
    "counts": "counts",
    "transmission": "transmission",
    "intensity": "intensity",
}
MAP_NAMES = {"half_step": "half-step energy (eV)", "white_line": "white-line position (eV)"}
CORRELATED = 0.05  # autocorrelation at lag 1 from which noise is called correlated
MAX_RESIDUAL_FRAMES = 64  # frames read for the residual's statistics
SHOWN_COMPONENTS = 6
N_SPECTRA = 4


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What a report shows."""

    name: str  # of the scan
    stack: xr.DataArray  # (energy, y, x), noisy
    result: Denoised
    maps: xr.Dataset | None
    no_map: str  # why there is none
    changes: tuple[str, ...]  # what preprocessing did
    seconds: float


def write_report(path: str | Path, findings: Findings, *, options: Mapping[str, Any]) -> None:
    """Write the page; it needs no other file, no script and no network.

    Parameters
    ----------
    path : path
        Written to directly: the caller gives a temporary name.
    findings : Findings
        What is shown.
    options : mapping
        Options that took effect, shown as a table; None reads "automatic".
    """
    correlation = _residual_statistics(findings)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            name=findings.name,
            facts=_facts(findings),
            whiteness=_whiteness(correlation),
            correlation=correlation,
            figures=_figures(findings),
            no_map=findings.no_map,
            map_facts=_map_facts(findings.maps),
            risk=_risk_rows(findings.result),
            changes=[*findings.changes, *_left_out(findings.stack)],
            history=findings.stack.attrs.get("history", []),
            options={key: "automatic" if value is None else value for key, value in options.items()},
            provenance=findings.result.provenance,
        )
    )
    Path(path).write_text(page, "utf-8")


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("xanesum"), autoescape=True, undefined=jinja2.StrictUndefined
    )


def _facts(findings: Findings) -> dict[str, str]:
    stack, result = findings.stack, findings.result
    n_energies, n_y, n_x = stack.shape
    energy = stack.energy.values
    gain = np.sqrt(np.mean(result.sigma**2) / max(float(result.risk["risk"][result.rank]), 1e-30))
    return {
        "scan": f"{n_energies} energies, {energy[0]:.1f} to {energy[-1]:.1f} eV, {n_y} x {n_x} pixels (y, x)",
        "values": UNITS[stack.attrs["quantity"]],
        "noise, sigma": f"{result.sigma:.4g}",
        "components kept, K": str(result.rank),
        "noise reduced by": f"a factor of about {gain:.0f} (root mean square, estimated)",
        "denoiser": str(result.provenance["denoiser"]),
        "time": f"{findings.seconds:.1f} s",
    }


def _whiteness(correlation: ResidualCorrelation) -> str:
    """Say in words what the residual's autocorrelation means."""
    named = {"x": correlation.x, "y": correlation.y, "energy": correlation.energy}
    high = [axis for axis, value in named.items() if abs(value) > CORRELATED]
    if not high:
        return (
            "The residual looks like white noise: neighbours are not correlated, "
            "so no visible structure was taken away."
        )
    return (
        f"The residual is correlated along {', '.join(high)}. Either the noise of the data is (resampling, "
        "drift), which the method takes for white, or structure was taken away: look at the residual images."
    )


def _residual_statistics(findings: Findings) -> ResidualCorrelation:
    """Autocorrelation of noisy minus clean over a run of neighbouring usable frames."""
    used = np.flatnonzero(usable_weight(findings.stack))
    start = max(0, (len(used) - MAX_RESIDUAL_FRAMES) // 2)
    frames = used[start : start + MAX_RESIDUAL_FRAMES]
    return residual_correlation(_residual(findings, frames), mask=usable_mask(findings.stack))


def _residual(findings: Findings, frames: NDArray[np.intp]) -> NDArray[np.float32]:
    noisy = findings.stack.isel(energy=frames).values
    return np.asarray(noisy - findings.result.reconstruct().isel(energy=frames).values, np.float32)


def _map_facts(maps: xr.Dataset | None) -> dict[str, str]:
    if maps is None:
        return {}
    value, error = list(maps.data_vars)[:2]
    inside = maps["mask"].values
    shown = maps[value].values[inside]
    facts = {"map": MAP_NAMES[maps.attrs["kind"]], "edge energy e0": f"{maps.attrs['e0_ev']:.1f} eV"}
    for key, text in (("pre_ev", "pre-edge line"), ("post_ev", "post-edge line")):
        limits = maps.attrs[key]
        facts[text] = "none: too few energies" if limits is None else f"{limits[0]:.1f} to {limits[1]:.1f} eV"
    if shown.size:
        spread = np.percentile(shown, [5, 50, 95])
        facts["5 / 50 / 95 % of the map"] = " / ".join(f"{v:.2f}" for v in spread) + " eV"
        facts["standard error, median"] = f"{np.nanmedian(maps[error].values[inside]):.3f} eV"
    facts["pixels mapped"] = f"{shown.size} of {inside.size}"
    return facts


def _risk_rows(result: Denoised) -> list[dict[str, Any]]:
    table = result.risk
    return [
        {
            "rank": int(table["rank"][i]),
            "risk": f"{float(table['risk'][i]):.4g}",
            "error": f"{float(table['standard_error'][i]):.1g}",
            "singular_value": f"{float(result.components['singular_value'][i - 1]):.4g}" if i else "",
            "chosen": bool(table["chosen"][i]),
        }
        for i in range(table.sizes["rank"])
    ]


def _left_out(stack: xr.DataArray) -> list[str]:
    n_pixels, n_frames = int((~usable_mask(stack)).sum()), int((~usable_weight(stack)).sum())
    return [f"left out in all: {n_pixels} of {stack[0].size} pixels, {n_frames} of {len(stack)} frames"]


def _figures(findings: Findings) -> dict[str, str]:
    """Draw every picture as a PNG data address."""
    drawn = {
        "frames": _draw_frames(findings),
        "spectra": _draw_spectra(findings),
        "components": _draw_components(findings.result),
        "risk": _draw_risk(findings.result),
        "sigma": _draw_sigma(findings.result),
    }
    if findings.maps is not None:
        drawn["map"] = _draw_map(findings.maps)
    return {name: _data_address(figure) for name, figure in drawn.items()}


def _data_address(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _draw_frames(findings: Findings) -> Figure:
    """Three energies: before, after, residual, each row at one width of scale."""
    frames = _shown_frames(findings)
    noisy = findings.stack.isel(energy=frames).values
    clean = findings.result.reconstruct().isel(energy=frames).values
    low, high = (
        np.nanpercentile(clean, [0.5, 99.5]) if np.ptp(clean) else np.nanpercentile(noisy, [0.5, 99.5])
    )
    half = (high - low) / 2
    figure = Figure(
        figsize=(11, 3.1 * len(frames) * min(1.3, noisy.shape[1] / noisy.shape[2] + 0.35)),
        layout="constrained",
    )
    axes = figure.subplots(len(frames), 3, squeeze=False)
    for row, energy, before, after in zip(
        axes, findings.stack.energy.values[frames], noisy, clean, strict=True
    ):
        scale = {"cmap": "gray", "interpolation": "nearest"}
        grey = row[0].imshow(before, vmin=low, vmax=high, **scale)
        row[1].imshow(after, vmin=low, vmax=high, **scale)
        left = row[2].imshow(before - after, vmin=-half, vmax=half, **scale)
        for axis, title in zip(
            row, (f"before, {energy:.1f} eV", "after", "residual (before - after)"), strict=True
        ):
            axis.set_title(title, fontsize=10)
            axis.set_axis_off()
        figure.colorbar(grey, ax=row[:2], shrink=0.8, label=UNITS[findings.stack.attrs["quantity"]])
        figure.colorbar(left, ax=row[2], shrink=0.8)
    return figure


def _shown_frames(findings: Findings) -> NDArray[np.intp]:
    """First, edge and last usable frame."""
    used = np.flatnonzero(usable_weight(findings.stack))
    energy = findings.stack.energy.values[used]
    e0 = energy[len(energy) // 2] if findings.maps is None else findings.maps.attrs["e0_ev"]
    at_edge = int(np.argmin(np.abs(energy - e0)))
    last = len(used) - 1
    return np.asarray(used[np.unique([len(used) // 10, min(at_edge + 1, last), last - len(used) // 10])])


def _draw_spectra(findings: Findings) -> Figure:
    """Single pixels before and after, marked on a clean frame."""
    pixels = _shown_pixels(findings)
    figure = Figure(figsize=(11, 2.2 * len(pixels) + 0.4), layout="constrained")
    grid = figure.add_gridspec(len(pixels), 2, width_ratios=(1, 2))
    picture = figure.add_subplot(grid[:, 0])
    frame = findings.result.reconstruct().isel(energy=int(_shown_frames(findings)[-1])).values
    picture.imshow(frame, cmap="gray", interpolation="nearest")
    picture.set_title("pixels shown", fontsize=10)
    picture.set_axis_off()
    clean = findings.result.reconstruct()
    energy = findings.stack.energy.values
    for i, (y, x) in enumerate(pixels):
        picture.plot(x, y, "o", color=f"C{i}", markersize=8, markeredgecolor="white")
        axis = figure.add_subplot(grid[i, 1])
        axis.plot(
            energy, findings.stack.isel(y=y, x=x).values, ".", color="0.6", markersize=3, label="before"
        )
        axis.plot(energy, clean.isel(y=y, x=x).values, color=f"C{i}", label="after")
        axis.set_title(f"pixel y = {y}, x = {x}", fontsize=9)
        axis.set_ylabel(UNITS[findings.stack.attrs["quantity"]], fontsize=8)
        axis.legend(fontsize=8, loc="best")
    axis.set_xlabel("photon energy (eV)")
    return figure


def _shown_pixels(findings: Findings) -> list[tuple[int, int]]:
    """Pixels spread over the values of the map, or over the mean image; the same for the same data."""
    if findings.maps is not None and findings.maps["mask"].values.any():
        inside, values = findings.maps["mask"].values, next(iter(findings.maps.data_vars.values())).values
    else:
        inside, values = (
            usable_mask(findings.stack),
            findings.stack.isel(energy=len(findings.stack) // 2).values,
        )
    at = np.argwhere(inside)
    order = np.argsort(values[inside], kind="stable")
    picks = (np.array([0.1, 0.37, 0.63, 0.9])[:N_SPECTRA] * (len(order) - 1)).astype(int)
    return [(int(y), int(x)) for y, x in at[order[np.unique(picks)]]]


def _draw_map(maps: xr.Dataset) -> Figure:
    value, error = list(maps.data_vars)[:2]
    inside = maps["mask"].values
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    shown = maps[value].values[inside]
    limits = np.percentile(shown, [2, 98]) if shown.size else (0, 1)
    _map_panel(
        figure,
        axes[0, 0],
        np.where(inside, maps[value], np.nan),
        MAP_NAMES[maps.attrs["kind"]],
        limits,
        "viridis",
    )
    axes[0, 1].hist(np.clip(shown, *limits), bins=80, color="0.4")
    axes[0, 1].set_xlabel(MAP_NAMES[maps.attrs["kind"]])
    axes[0, 1].set_ylabel("pixels")
    errors = np.where(inside, maps[error], np.nan)
    top = np.nanpercentile(errors, 98) if np.isfinite(errors).any() else 1
    _map_panel(figure, axes[1, 0], errors, "standard error (eV), from the mean risk", (0, top), "magma")
    step = maps["edge_step"].values
    _map_panel(figure, axes[1, 1], step, "edge step", np.percentile(step, [1, 99]), "gray")
    return figure


def _map_panel(figure: Figure, axis: Any, image: NDArray[Any], title: str, limits: Any, colours: str) -> None:
    axis.set_facecolor("0.85")
    drawn = axis.imshow(image, vmin=limits[0], vmax=limits[1], cmap=colours, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=10)
    figure.colorbar(drawn, ax=axis, shrink=0.8)


def _draw_components(result: Denoised) -> Figure:
    n_shown = max(1, min(result.rank, SHOWN_COMPONENTS))
    figure = Figure(figsize=(11, 2.3 * n_shown), layout="constrained")
    axes = figure.subplots(n_shown, 2, squeeze=False, width_ratios=(1, 2))
    if result.rank == 0:
        axes[0, 1].set_title("no component stands above the noise", fontsize=10)
    for k in range(min(result.rank, n_shown)):
        image = result.coefficients.values[k]
        low, high = np.percentile(image, [0.5, 99.5])
        drawn = axes[k, 0].imshow(image, vmin=low, vmax=high, cmap="gray", interpolation="nearest")
        axes[k, 0].set_axis_off()
        figure.colorbar(drawn, ax=axes[k, 0], shrink=0.8)
        axes[k, 1].plot(result.spectra.energy.values, result.spectra.values[k], lw=1)
        axes[k, 1].set_title(f"component {k + 1}: image and spectrum", fontsize=9)
    axes[-1, 1].set_xlabel("photon energy (eV)")
    return figure


def _draw_risk(result: Denoised) -> Figure:
    figure = Figure(figsize=(11, 3), layout="constrained")
    axis = figure.subplots()
    table = result.risk
    axis.errorbar(
        table["rank"], table["risk"], yerr=table["standard_error"], fmt="o-", color="0.3", capsize=3
    )
    chosen = table["chosen"].values
    axis.plot(
        table["rank"].values[chosen],
        table["risk"].values[chosen],
        "o",
        color="C3",
        markersize=10,
        label="chosen",
    )
    axis.set_yscale("log" if float(table["risk"].min()) > 0 else "linear")
    axis.set_xlabel("number of components K")
    axis.set_ylabel("estimated mean squared error")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend()
    return figure


def _draw_sigma(result: Denoised) -> Figure:
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.plot(
        result.sigma_energy.energy.values,
        result.sigma_energy.values,
        ".-",
        color="0.3",
        label="at each energy",
    )
    axis.axhline(result.sigma, color="C3", label="taken for the whole stack")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("photon energy (eV)")
    axis.set_ylabel("sigma")
    axis.legend()
    return figure
