"""The report of a run: one HTML file with its figures inside, for any browser, offline and on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from xanesum.diagnostics.residual import ResidualReport
from xanesum.report.figures import (
    _choose_pixels,
    _component_pictures,
    _frame_pictures,
    _lost_pictures,
    _map_pictures,
    _residual_pictures,
    _risk_picture,
    _sigma_picture,
    _spectrum_pictures,
)
from xanesum.report.texts import (
    Facts,
    _component_rows,
    _components_text,
    _counted,
    _headline,
    _map_text,
    _risk_rows,
    _risk_text,
    _trust_lines,
    _trust_rows,
)
from xanesum.result import Denoised
from xanesum.stack import usable_mask
from xanesum.storage.atomic import atomic_path

__all__ = ["write_report"]


def write_report(
    path: str | Path,
    stack: xr.DataArray,
    result: Denoised,
    maps: xr.Dataset | None,
    trust: ResidualReport,
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
    trust : ResidualReport
        From `xanesum.diagnostics.residual.examine_residual`.
    facts : Facts
        Names, times and options.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("xanesum.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(_content(stack, result, maps, trust, facts))
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8", errors="backslashreplace")
    return Path(path)


def _content(
    stack: xr.DataArray, result: Denoised, maps: xr.Dataset | None, trust: ResidualReport, facts: Facts
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
