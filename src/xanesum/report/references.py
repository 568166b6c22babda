"""A figure of references, normalized, with the mean spectrum of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.storage.atomic import atomic_path
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.map_edge import map_edge
from xanesum.xanes.normalization import flattening_operator, step_operator
from xanesum.xanes.pixel_spectra import pixel_spectra_of
from xanesum.xanes.references.edges import normalized_by
from xanesum.xanes.references.survey import SurveyedReference

__all__ = ["write_references_figure"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe-Ito
NEAR_EV = (-40.0, 90.0)  # part that is shown, relative to e0
MAX_EDGES = 6  # edges far from each other, one panel each
MAX_NAMES = 24  # names in a legend
APART_EV = 100.0  # edges farther apart get panels of their own
WRAPPED = 110  # letters in a line of the definition


def write_references_figure(
    path: str | Path,
    surveyed: Sequence[SurveyedReference],
    data: Denoised | xr.DataArray | None = None,
    *,
    normalization: Normalization | None = None,
) -> Path:
    """Draw references near their edges, one panel for each edge, and the mean spectrum of a scan.

    Parameters
    ----------
    path : str or Path
        ``.png``, ``.pdf`` or ``.svg``.
    surveyed : sequence of SurveyedReference
        Those without an edge are left out.
    data : Denoised or DataArray (energy, y, x), optional
        The scan.
    normalization : Normalization, optional
        As in Larch; automatic lines by default.

    Raises
    ------
    EdgeError
        If no reference has an edge.
    WriteError
        If the file cannot be written.
    """
    groups = _by_edge([each for each in surveyed if each.edge is not None])
    if not groups:
        raise EdgeError("no reference has an edge, so there is nothing to draw")
    scan = None if data is None else _mean_of_scan(data, normalization)
    figure = Figure(figsize=(7.2, 0.9 + 4.0 * len(groups)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, group in zip(figure.subplots(len(groups), squeeze=False)[:, 0], groups, strict=True):
        _draw(axes, group, scan, normalization)
    how = "as in Larch" if normalization is not None else "by automatic pre-edge and post-edge lines"
    lines = [
        f"Each reference by itself, normalized {how}, flattened; the values of some are as in their file."
    ]
    if scan is not None:
        lines.append(f"Scan: mean spectrum, {scan[2]}.")
    figure.supxlabel("\n".join(_wrapped(line) for line in lines), fontsize=7, x=0.01, ha="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:].lower())
    return Path(path)


def _draw(
    axes: object,
    group: Sequence[SurveyedReference],
    scan: tuple[NDArray[np.float64], NDArray[np.float64], str] | None,
    normalization: Normalization | None,
) -> None:
    e0 = float(np.median([each.edge.e0_ev for each in group if each.edge is not None]))
    low, high = e0 + NEAR_EV[0], e0 + NEAR_EV[1]
    for number, each in enumerate(group):
        reference = each.reference
        try:
            values = normalized_by(reference, normalization)[0]
        except EdgeError:
            continue
        part = (reference.energy_ev >= low) & (reference.energy_ev <= high)
        style = ("-", "--", ":", "-.")[number // len(COLORS) % 4]
        axes.plot(  # type: ignore[attr-defined]
            reference.energy_ev[part],
            values[part],
            style,
            color=COLORS[number % len(COLORS)],
            linewidth=1.2,
            label=reference.name.replace("$", r"\$") if number < MAX_NAMES else None,
        )
    if scan is not None and low < scan[0][-1] and scan[0][0] < high:
        part = (scan[0] >= low) & (scan[0] <= high)
        axes.plot(scan[0][part], scan[1][part], "k.", markersize=4, label="scan (mean)")  # type: ignore[attr-defined]
    axes.set(xlabel="photon energy (eV)", ylabel="normalized absorption", xlim=(low, high))  # type: ignore[attr-defined]
    axes.legend(fontsize=6, ncols=1 if len(group) < 9 else 2, loc="lower right")  # type: ignore[attr-defined]


def _by_edge(surveyed: Sequence[SurveyedReference]) -> list[list[SurveyedReference]]:
    """Return references in groups whose edges are near each other, in the order of energy."""
    ordered = sorted(surveyed, key=lambda each: 0.0 if each.edge is None else each.edge.e0_ev)
    groups: list[list[SurveyedReference]] = []
    for each in ordered:
        last = groups[-1][-1].edge if groups else None
        if last is not None and each.edge is not None and each.edge.e0_ev - last.e0_ev < APART_EV:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups[:MAX_EDGES]


def _mean_of_scan(
    data: Denoised | xr.DataArray, normalization: Normalization | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], str] | None:
    """Return energies, the normalized mean spectrum (E,) and its definition; None where it has no lines."""
    spectra = pixel_spectra_of(data)
    try:
        ranges = map_edge(spectra, None, None, None, normalization).ranges
    except EdgeError:
        return None
    if ranges.pre_ev is None or ranges.post_ev is None:
        return None
    energy_ev, mean = spectra.energy_ev, spectra.mean_spectrum
    flat = flattening_operator(energy_ev, ranges, np.ones(len(energy_ev), bool)) @ mean
    return energy_ev, flat / float(step_operator(energy_ev, ranges) @ mean), ranges.definition(energy_ev)


def _wrapped(text: str) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > WRAPPED:
            lines.append("")
        lines[-1] += word + " "
    return "\n".join(line.strip() for line in lines)
