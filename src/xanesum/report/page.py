"""The report of a run: one HTML file with its figures inside, for any browser, offline and on paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from xanesum.diagnostics.residual import ResidualReport
from xanesum.report import (
    composition_figures,
    composition_texts,
    figures,
    measured_texts,
    particle_figures,
    summary,
    texts,
)
from xanesum.report.drawing import size_of_pixel
from xanesum.result import Denoised
from xanesum.stack import usable_mask
from xanesum.storage.atomic import atomic_path

__all__ = ["Sections", "write_report"]


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Sections of a report that not every run has."""

    particles: xr.Dataset | None = None  # from `xanesum.xanes.particles.states.measure_particles`
    regions: xr.Dataset | None = None  # from `xanesum.xanes.particles.regions.region_spectra`
    particle_problem: str = ""  # why there are no particles
    fractions: xr.Dataset | None = None  # from `xanesum.xanes.composition.fit_fractions`
    clusters: xr.Dataset | None = None  # from `xanesum.xanes.composition.find_clusters`
    composition_problems: tuple[str, ...] = ()  # why fractions or clusters are lacking


def write_report(
    path: str | Path,
    stack: xr.DataArray,
    result: Denoised,
    maps: xr.Dataset | None,
    trust: ResidualReport,
    *,
    facts: texts.Facts,
    measured: Sections | None = None,
) -> Path:
    """Write the report of a run to one HTML file.

    Parameters
    ----------
    path : str or Path
        The file to write.
    stack : DataArray, dims (energy, y, x)
        The stack that was denoised.
    result : Denoised
        The result of it.
    maps : Dataset or None
        From `xanesum.chemical_map`; None where there is no edge, and `facts` says why.
    trust : ResidualReport
        From `xanesum.diagnostics.residual.examine_residual`.
    facts : Facts
        Names, times and options.
    measured : Sections, optional
        Particles, regions, fractions and clusters, where the recipe asked for them.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("xanesum.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html").render(
        _content(stack, result, maps, trust, facts, _besides(measured or Sections()))
        | _measured(measured or Sections())
        | _composition(measured or Sections(), size_of_pixel(stack))
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8", errors="backslashreplace")
    return Path(path)


def _besides(sections: Sections) -> tuple[tuple[str, str], ...]:
    """Return what was found besides the map, a sentence and a section each."""
    found = []
    if sections.particles is not None:
        found.append((f"{sections.particles.sizes['particle']} particles were measured.", "particles"))
    if sections.regions is not None:
        found.append((f"Mean spectra of {sections.regions.sizes['region']} regions.", "regions"))
    if sections.fractions is not None:
        names = ", ".join(map(str, sections.fractions.attrs["references"]))
        found.append((f"Fractions of {names}.", "composition"))
    if sections.clusters is not None:
        found.append((f"{len(sections.clusters['n_pixels'])} chemical states.", "composition"))
    problems = [sections.particle_problem, *sections.composition_problems]
    found += [(f"Not found: {problem}", "particles") for problem in problems[:1] if problem]
    found += [(f"Not found: {problem}", "composition") for problem in problems[1:]]
    return tuple(found)


def _measured(sections: Sections) -> dict[str, Any]:
    """Return what the template needs of particles and regions."""
    particles, regions = sections.particles, sections.regions
    return {
        "particle_problem": sections.particle_problem,
        "particle_text": "" if particles is None else measured_texts.particle_text(particles),
        "particles": [] if particles is None else particle_figures.particle_pictures(particles),
        "particle_titles": [] if particles is None else measured_texts.particle_titles(particles),
        "particle_rows": [] if particles is None else measured_texts.particle_rows(particles),
        "region_text": "" if regions is None else measured_texts.region_text(regions),
        "regions": [] if regions is None else particle_figures.region_pictures(regions),
    }


def _composition(sections: Sections, pixel_nm: float | None) -> dict[str, Any]:
    """Return what the template needs of fractions and clusters."""
    fractions, clusters = sections.fractions, sections.clusters
    return {
        "composition_problems": sections.composition_problems,
        "fraction_lines": () if fractions is None else tuple(composition_texts.fraction_lines(fractions)),
        "fractions": ()
        if fractions is None
        else composition_figures.fraction_pictures(fractions, pixel_nm=pixel_nm),
        "cluster_lines": () if clusters is None else tuple(composition_texts.cluster_lines(clusters)),
        "clusters": ()
        if clusters is None
        else composition_figures.cluster_pictures(clusters, pixel_nm=pixel_nm),
    }


def _content(
    stack: xr.DataArray,
    result: Denoised,
    maps: xr.Dataset | None,
    trust: ResidualReport,
    facts: texts.Facts,
    besides: tuple[tuple[str, str], ...],
) -> dict[str, Any]:
    """Return everything that the template needs."""
    clean = result.reconstruct()
    pixels = figures.choose_pixels(result, maps, usable_mask(stack))
    frames = figures.frame_pictures(stack, clean, maps, result)
    shown = [] if maps is None else figures.map_pictures(maps, pixel_nm=size_of_pixel(stack))
    return {
        "title": f"xanesum report: {facts.source}",
        "source": facts.source,
        "version": result.provenance.get("xanesum", ""),
        "verdict": summary.verdict(trust, facts, maps),
        "reasons": dict.fromkeys([*trust.reasons, *(() if maps is None else maps.attrs["reasons"])]),
        "answers": summary.answers(stack, result, maps, trust, facts, besides),
        "hints": summary.hints(stack, result, maps, trust, facts),
        "hero": [*frames[len(frames) // 3 // 2 * 3 :][:2], *shown[:2]],
        "notes": facts.notes,
        "facts": texts.headline(stack, result, maps, trust, facts),
        "frames": frames,
        "map_problem": facts.map_problem if maps is None else "",
        "map_text": "" if maps is None else texts.map_text(maps),
        "maps": shown,
        "motion_text": "" if facts.motion is None else facts.motion.text,
        "motion": [] if facts.motion is None else figures.motion_pictures(facts.motion, stack),
        "spectra": figures.spectrum_pictures(stack, result, pixels),
        "components_text": texts.components_text(result),
        "components": figures.component_pictures(result),
        "component_rows": texts.component_rows(result),
        "risk_text": texts.risk_text(result),
        "risk_figures": [figures.risk_picture(result)],
        "risk_rows": texts.risk_rows(result),
        "noise_figures": [figures.sigma_picture(result), *figures.residual_pictures(stack, clean, result)],
        "trust": texts.trust_lines(trust, maps),
        "trust_rows": texts.trust_rows(trust),
        "lost": figures.lost_pictures(stack, trust) if trust.lost.found else [],
        "counted": texts.left_out(stack, facts),
        "history": result.attrs.get("history", ()),
        "recipe": facts.recipe,
        "provenance": result.provenance.items(),
    }
