"""The report of a run: one HTML file with its pictures inside, for any browser, offline and on paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xanesum.diagnostics.residual import PLACES, Trust
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.storage.atomic import atomic_path

__all__ = ["Facts", "write_report"]

Image = NDArray[np.floating]
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe-Ito: told apart by everyone
UNITS = {"optical_density": "optical density", "counts": "counts", "transmission": "transmission"}
MAP_LABELS = {
    "half_step": ("half_step_energy_ev", "half_step_sigma_ev", "half-step energy (eV)"),
    "white_line": ("white_line_ev", "white_line_sigma_ev", "white-line position (eV)"),
}
N_PIXELS = 5
MAX_COMPONENTS = 6
MAX_RESIDUAL_FRAMES = 100  # energies whose residual is looked at pixel by pixel
WIDTH_IN = 4.2


@dataclass(frozen=True, slots=True)
class Facts:
    """What the report says about a run beside its results."""

    source: str  # name of the scan
    seconds: float  # reading to map
    counted: tuple[str, ...]  # what preprocessing changed
    map_problem: str  # why there is no map; empty where there is one
    recipe: str  # effective recipe, TOML
    notes: tuple[str, ...] = ()  # what was mended or should be known; shown first


class Picture(NamedTuple):
    """A PNG as data URI, and what it shows."""

    source: str
    caption: str


def write_report(
    path: str | Path,
    stack: xr.DataArray,
    result: Denoised,
    maps: xr.Dataset | None,
    trust: Trust,
    *,
    facts: Facts,
) -> Path:
    """Write the report of a run to one HTML file.

    Parameters
    ----------
    path : str or Path
        Where to.
    stack : DataArray, dims (energy, y, x)
        What was denoised.
    result : Denoised
        What came out.
    maps : Dataset or None
        From `xanesum.chemical_map`; None where there is no edge, and `facts` says why.
    trust : Trust
        From `xanesum.diagnostics.residual.examine`.
    facts : Facts
        Names, times and options.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("xanesum"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(_content(stack, result, maps, trust, facts))
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8", errors="backslashreplace")
    return Path(path)


def _content(
    stack: xr.DataArray, result: Denoised, maps: xr.Dataset | None, trust: Trust, facts: Facts
) -> dict[str, Any]:
    """Return everything the template asks for."""
    clean = result.reconstruct()
    pixels = _choose_pixels(result, maps, usable_mask(stack))
    return {
        "title": f"xanesum report: {facts.source}",
        "notes": facts.notes,
        "facts": _headline(stack, result, maps, trust, facts),
        "frames": _frame_pictures(stack, clean, maps),
        "map_problem": facts.map_problem if maps is None else "",
        "map_text": "" if maps is None else _map_text(maps),
        "maps": [] if maps is None else _map_pictures(maps),
        "spectra": _spectrum_pictures(stack, clean, pixels),
        "components_text": _components_text(result),
        "components": _component_pictures(result),
        "component_rows": _component_rows(result),
        "risk_text": _risk_text(result),
        "risk_figures": [_risk_picture(result)],
        "risk_rows": _risk_rows(result),
        "risk_negative": bool((result.risk["risk"].values < 0).any()),
        "noise_figures": [_sigma_picture(result), *_residual_pictures(stack, clean, result)],
        "trust": _trust_lines(trust, maps),
        "trust_rows": _trust_rows(trust),
        "lost": _lost_pictures(stack, trust) if trust.lost.found else [],
        "counted": _counted(stack, facts),
        "history": result.attrs.get("history", ()),
        "recipe": facts.recipe,
        "provenance": result.provenance.items(),
    }


def _headline(
    stack: xr.DataArray, result: Denoised, maps: xr.Dataset | None, trust: Trust, facts: Facts
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


# --- pictures


def _picture(draw: Callable[[Figure, Axes], None], caption: str, *, ratio: float = 0.72) -> Picture:
    """Draw on a figure of its own, which no global state knows of."""
    figure = Figure(figsize=(WIDTH_IN, WIDTH_IN * ratio), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, figure.add_subplot())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), caption)


def _image(
    image: Image,
    caption: str,
    label: str,
    *,
    limits: tuple[float, float],
    cmap: str = "gray",
    extend: str = "neither",
    px: int = 1,
) -> Picture:
    """Show an image with pixel axes and a colour bar; what is not finite is grey, or red in a grey image.

    Each of its values stands for `px` x `px` pixels.
    """
    height, width = image.shape
    extent = (-0.5, px * width - 0.5, px * height - 0.5, -0.5)

    def draw(figure: Figure, axes: Axes) -> None:
        shown = axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], extent=extent)
        shown.set_cmap(shown.get_cmap().with_extremes(bad="#b5b5b5" if cmap != "gray" else "#c4534f"))
        axes.set(xlabel="x (px)", ylabel="y (px)")
        figure.colorbar(shown, ax=axes, label=label, extend=extend)

    return _picture(draw, caption, ratio=float(np.clip(0.74 * height / width + 0.12, 0.35, 1.2)))


def _limits(values: Image, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Return percentiles of the finite values, never the same twice."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    bottom, top = (float(v) for v in np.percentile(finite, (low, high)))
    return (bottom, top) if top > bottom else (bottom - 0.5, bottom + 0.5)


def _frame_pictures(stack: xr.DataArray, clean: xr.DataArray, maps: xr.Dataset | None) -> list[Picture]:
    """Three energies: each before, after, and what was taken away."""
    chosen = _choose_energies(stack, maps)
    noisy = [_masked(stack, stack[e].values) for _, e in chosen]
    after = [_masked(stack, clean[e].values) for _, e in chosen]
    low, high = _limits(np.array(after))
    half, unit = (high - low) / 2, _unit(stack)
    pictures = []
    for (name, e), raw, smooth in zip(chosen, noisy, after, strict=True):
        at = f"{stack.energy.values[e]:.1f} eV ({name})"
        pictures += [
            _image(raw, f"{at}: before", unit, limits=(low, high), extend="both"),
            _image(smooth, f"{at}: after", unit, limits=(low, high), extend="both"),
            _image(raw - smooth, f"{at}: residual", unit, limits=(-half, half), extend="both"),
        ]
    return pictures


def _choose_energies(stack: xr.DataArray, maps: xr.Dataset | None) -> list[tuple[str, int]]:
    """Return names and indices of a frame below, at and beyond the edge, of those that were used."""
    used = np.flatnonzero(usable_weight(stack))
    energy = stack.energy.values[used]
    if maps is None:
        return [("first", int(used[0])), ("middle", int(used[len(used) // 2])), ("last", int(used[-1]))]
    pre, post = maps.attrs["pre_ev"], maps.attrs["post_ev"]
    targets = {
        "pre-edge": energy[0] if pre is None else np.mean(pre),
        "edge": maps.attrs["e0_ev"],
        "post-edge" if post is not None else "last": energy[-1] if post is None else np.mean(post),
    }
    return [(name, int(used[np.argmin(np.abs(energy - at))])) for name, at in targets.items()]


def _masked(stack: xr.DataArray, frame: Image) -> Image:
    return np.where(usable_mask(stack), frame, np.nan)


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


def _map_pictures(maps: xr.Dataset) -> list[Picture]:
    name, error, label = MAP_LABELS[maps.attrs["kind"]]
    mask = maps["mask"].values
    energy = np.where(mask, maps[name].values, np.nan)
    step, sigma = maps["edge_step"].values, np.where(mask, maps[error].values, np.nan)
    limits = _limits(energy, 2, 98)
    step_limits = _limits(step, 1, 99)
    pictures = [
        _image(energy, f"Map: {label}", label, limits=limits, cmap="viridis", extend="both"),
        _histogram(energy[mask], label, limits),
        _image(
            step, "Edge step", "edge step (unit of the scan)", limits=step_limits, cmap="gray", extend="both"
        ),
    ]
    if np.isfinite(sigma).any():
        top = _limits(sigma, 0, 95)[1]
        title = "Standard error of the map"
        pictures.append(
            _image(sigma, title, "standard error (eV)", limits=(0, top), cmap="cividis", extend="max")
        )
    return pictures


def _histogram(values: Image, label: str, limits: tuple[float, float]) -> Picture:
    margin = 0.25 * (limits[1] - limits[0])

    def draw(figure: Figure, axes: Axes) -> None:
        axes.hist(values, bins=60, range=(limits[0] - margin, limits[1] + margin), color=COLORS[0])
        axes.set(xlabel=label, ylabel="pixels")

    return _picture(draw, f"Histogram of the map: {label}")


# --- spectra


def _choose_pixels(
    result: Denoised, maps: xr.Dataset | None, mask: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return (y, x) of pixels that differ in the map, or in brightness, and are bright among their like."""
    bright = _brightness(result, mask.shape)
    values = bright
    if maps is not None and maps["mask"].values.any():
        mask, values = maps["mask"].values, maps[MAP_LABELS[maps.attrs["kind"]][0]].values
    inside = np.flatnonzero(mask)
    order = inside[np.argsort(values.ravel()[inside], kind="stable")]
    n_near = max(1, len(order) // 50)
    chosen: list[tuple[int, int]] = []
    for share in np.linspace(0.06, 0.94, min(N_PIXELS, len(order))):
        start = int(np.clip(share * len(order) - n_near / 2, 0, len(order) - n_near))
        near = order[start : start + n_near]
        near = near[np.argsort(bright.ravel()[near])][n_near // 2 :]  # the brighter half, brightest last
        chosen.append(_farthest(np.stack(np.unravel_index(near, mask.shape), axis=1), chosen))
    return list(dict.fromkeys(chosen))


def _farthest(candidates: NDArray[np.intp], chosen: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the candidate (y, x) farthest from those chosen already; the last one where none is."""
    best = -1
    if chosen:
        gaps = np.linalg.norm(candidates[:, None] - np.array(chosen), axis=2).min(axis=1)
        best = int(np.argmax(gaps))
    return int(candidates[best, 0]), int(candidates[best, 1])


def _brightness(result: Denoised, shape: tuple[int, ...]) -> Image:
    if result.rank == 0:
        return np.zeros(shape)
    weights = result.spectra.values.mean(axis=1)
    return np.abs(np.tensordot(weights, result.coefficients.values, axes=1))


def _spectrum_pictures(
    stack: xr.DataArray, clean: xr.DataArray, pixels: list[tuple[int, int]]
) -> list[Picture]:
    used = usable_weight(stack)
    energy = stack.energy.values

    def one(number: int, y: int, x: int) -> Picture:
        def draw(figure: Figure, axes: Axes) -> None:
            axes.plot(energy[used], stack[:, y, x].values[used], ".", color="0.55", ms=4, label="before")
            axes.plot(energy, clean[:, y, x].values, color=COLORS[number - 1], lw=1.8, label="after")
            axes.set(xlabel="photon energy (eV)", ylabel=_unit(stack))
            axes.legend(frameon=False, fontsize=8)

        return _picture(draw, f"Pixel {number}: y = {y}, x = {x}")

    spectra = [one(number, y, x) for number, (y, x) in enumerate(pixels, start=1)]
    return [_pixels_picture(stack, clean, pixels), *spectra]


def _pixels_picture(stack: xr.DataArray, clean: xr.DataArray, pixels: list[tuple[int, int]]) -> Picture:
    frame = _masked(stack, clean[int(np.flatnonzero(usable_weight(stack))[-1])].values)
    limits = _limits(frame)

    def draw(figure: Figure, axes: Axes) -> None:
        axes.imshow(frame, cmap="gray", vmin=limits[0], vmax=limits[1])
        for number, (y, x) in enumerate(pixels, start=1):
            axes.plot(x, y, "o", ms=9, mfc="none", mec="white", mew=3)
            axes.plot(x, y, "o", ms=9, mfc="none", mec=COLORS[number - 1], mew=1.8)
            axes.annotate(
                str(number), (x, y), (7, 5), textcoords="offset points", color="white", weight="bold",
                bbox={"boxstyle": "round,pad=0.15", "fc": COLORS[number - 1], "ec": "none"},
            )  # fmt: skip
        axes.set(xlabel="x (px)", ylabel="y (px)")

    height, width = frame.shape
    return _picture(
        draw, "Where the pixels are", ratio=float(np.clip(0.85 * height / width + 0.1, 0.35, 1.2))
    )


# --- components, risk, noise


def _components_text(result: Denoised) -> str:
    if result.rank == 0:
        return "No component stands above the noise, so the clean stack is 0 everywhere."
    shown = min(result.rank, MAX_COMPONENTS)
    of = f"The first {shown} of {result.rank}" if shown < result.rank else f"All {shown}"
    return f"{of}: spectra of length 1, at right angles to each other, and the images that weight them."


def _component_pictures(result: Denoised) -> list[Picture]:
    pictures = []
    used = usable_weight(result.spectra.T)
    energy = result.spectra.energy.values[used]
    for k in range(min(result.rank, MAX_COMPONENTS)):
        image = np.where(usable_mask(result.coefficients[:1]), result.coefficients[k].values, np.nan)
        title = f"Component {k + 1}"
        label = "weight (unit of the scan)"
        pictures.append(_image(image, f"{title}: image", label, limits=_limits(image, 1, 99), extend="both"))
        spectrum = result.spectra[k].values[used]
        pictures.append(_line(energy, spectrum, f"{title}: spectrum", "spectrum (length 1)"))
    return pictures


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


def _line(energy: NDArray[np.float64], values: Image, caption: str, label: str) -> Picture:
    def draw(figure: Figure, axes: Axes) -> None:
        axes.plot(energy, values, ".-", color=COLORS[0], lw=1.2, ms=3)
        axes.set(xlabel="photon energy (eV)", ylabel=label)

    return _picture(draw, caption)


def _risk_picture(result: Denoised) -> Picture:
    risk, ranks = result.risk["risk"].values, result.risk["rank"].values
    error, chosen = result.risk["difference_error"].values, result.risk["chosen"].values
    above = risk - risk.min()
    linear = max(3 * float(np.median(error)), 1e-6 * float(above.max()), np.finfo(float).tiny)

    def draw(figure: Figure, axes: Axes) -> None:
        axes.set_yscale("symlog", linthresh=linear, linscale=0.5)
        axes.errorbar(ranks, above, error, fmt="o-", ms=4, color=COLORS[0], capsize=3)
        axes.plot(ranks[chosen], above[chosen], "o", ms=12, mfc="none", mec=COLORS[1], mew=2, label="chosen")
        axes.set(xlabel="number of components K", ylabel="squared error above the least")
        axes.set_ylim(-linear, None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)

    return _picture(draw, "Estimated squared error above the least one; bars are one standard error")


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


def _sigma_picture(result: Denoised) -> Picture:
    energy, sigma = result.sigma_energy.energy.values, result.sigma_energy.values

    def draw(figure: Figure, axes: Axes) -> None:
        axes.plot(energy, sigma, ".", color=COLORS[0], label="each energy")
        axes.axhline(result.sigma, color=COLORS[1], label="used for all")
        axes.set(xlabel="photon energy (eV)", ylabel="sigma (unit of the scan)")
        axes.set_ylim(0, 1.2 * np.nanmax([*sigma, result.sigma]))
        axes.legend(frameon=False)

    return _picture(draw, "Noise level at each energy")


def _residual_pictures(stack: xr.DataArray, clean: xr.DataArray, result: Denoised) -> list[Picture]:
    """Where in the image the residual is larger than noise, and where it leans to one side."""
    used = np.flatnonzero(usable_weight(stack))
    sampled = used[np.unique(np.linspace(0, len(used) - 1, MAX_RESIDUAL_FRAMES).astype(int))]
    total, squares, count = (np.zeros(stack.shape[1:]) for _ in range(3))
    for e in sampled:
        sigma = result.sigma_used[e] * result.sigma_pixel.values
        residual = (_masked(stack, stack[e].values) - clean[e].values) / sigma
        known = np.isfinite(residual)
        total += np.where(known, residual, 0)
        squares += np.where(known, residual, 0) ** 2
        count += known
    known = count > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(known, np.sqrt(squares / count), np.nan)
        lean = np.where(known, total / np.sqrt(count), np.nan)
    many = f"{len(sampled)} of {len(used)} energies" if len(sampled) < len(used) else "all energies"
    top = max(2.0, _limits(size)[1])
    return [
        _image(
            size,
            f"Root mean square of the residual over {many}: white noise gives 1 everywhere",
            "residual / sigma",
            limits=(0.0, top),
            extend="max",
        ),
        _image(
            lean,
            f"Sum of the residual over {many}: white noise stays within 3",
            "sum / (sigma sqrt(energies))",
            limits=(-4, 4),
            extend="both",
        ),
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


def _trust_lines(trust: Trust, maps: xr.Dataset | None) -> list[tuple[bool, str]]:
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


def _trust_rows(trust: Trust) -> list[tuple[str, str, str]]:
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


def _lost_pictures(stack: xr.DataArray, trust: Trust) -> list[Picture]:
    """Return where something was lost, and its spectrum."""
    lost, used = trust.lost, usable_weight(stack)
    most = float(np.abs(lost.image).max())
    return [
        _image(
            lost.image,
            f"Where it was lost: averages over {lost.scale_px} x {lost.scale_px} px",
            "standard deviations of noise",
            limits=(-most, most),
            cmap="RdBu_r",
            px=lost.scale_px,
        ),
        _line(
            stack.energy.values[used],
            lost.spectrum[used],
            "Its spectrum, as strong as in the region that has most of it",
            _unit(stack),
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
