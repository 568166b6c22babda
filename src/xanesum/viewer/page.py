"""The explorer as one file: for any browser, without a server and without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from xanesum.result import Denoised
from xanesum.storage.atomic import atomic_path
from xanesum.viewer.content import Content, Curve, content_of, map_of
from xanesum.viewer.plots import COMPONENTS, bundle, page_parts, palettes, plots_of, require_toolkit
from xanesum.xanes.maps import chemical_map

__all__ = ["Served", "page_of", "write_explorer"]

Served = dict[str, Any]  # what a server offers the page besides


def write_explorer(
    result: Denoised,
    path: str | Path,
    *,
    maps: xr.Dataset | None = None,
    map_problem: str = "",
    mapped: Callable[[Any], xr.Dataset] = chemical_map,
    title: str = "",
    references: Mapping[str, Curve] | None = None,
) -> Path:
    """Write a page in which a result is explored with a mouse, as one HTML file.

    The file holds the images and spectra of the result.  The browser computes frames, spectra and means from
    them, without a server.

    Parameters
    ----------
    result : Denoised
    path : str or Path
        The file to write.
    maps : Dataset, optional
        Maps of the result, from `xanesum.chemical_map`; they are made by default.
    map_problem : str
        Why there is no map, where it is known that there is none.
    mapped : callable
        Makes the maps of the result.
    title : str
        Heading of the page.
    references : mapping, optional
        Name to a spectrum that is drawn with those of the result.

    Raises
    ------
    MissingExtraError
        If the plotting toolkit is missing: ``pip install "xanesum[viewer]"``.
    StackError
        If the map has another size than the result.
    WriteError
        If the file cannot be written.
    """
    require_toolkit()
    if maps is None and not map_problem:
        maps, map_problem = map_of(result, mapped)
    content = content_of(
        result, maps, title=title or "xanesum", map_problem=map_problem, references=references
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page_of(content), "utf-8", errors="backslashreplace")
    return Path(path)


def page_of(content: Content, *, served: Served | None = None) -> str:
    """Return the page as HTML; `served` tells it what a server offers besides."""
    header = content.header | {"served": served, "palettes": palettes(), "colours": COMPONENTS}
    environment = Environment(
        loader=PackageLoader("xanesum.viewer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script, plots = page_parts(plots_of(header))
    n_energies = header["shape"][0]
    told = header["map"]
    reasons = dict.fromkeys([*header["reasons"], *(told["reasons"] if told else [])])
    return environment.get_template("explorer.html").render(
        title=header["title"],
        facts=_facts(header),
        reasons=list(reasons),
        rank=header["rank"],
        n_energies=n_energies,
        plots=plots,
        has_map=told is not None,
        map_problem=header["map_problem"],
        notes=_notes(header),
        header=_in_script(json.dumps(header, allow_nan=False, separators=(",", ":"))),
        data=[(name, image.text) for name, image in content.images.items()],
        toolkit=bundle(),
        plot_script=_in_script(script),
        style=_template("explorer.css"),
        numerics=_template("numerics.js"),
        script=_template("explorer.js"),
    )


def _template(name: str) -> Any:
    return (files("xanesum.viewer") / "templates" / name).read_text("utf-8")


def _in_script(text: str) -> str:
    """Return a script or JSON that no name within can end."""
    return text.replace("</", "<\\/").replace("<!--", "<\\u0021--")


def _facts(header: dict[str, Any]) -> str:
    """Return what the page shows, in one line."""
    n_energies, n_y, n_x = header["shape"]
    energy = header["energy"]
    facts = f"{n_y} x {n_x} px, {n_energies} energies from {energy[0]:.1f} to {energy[-1]:.1f} eV"
    size = f", {header['pixel_nm']:g} nm per pixel" if header["pixel_nm"] else ""
    return f"{facts}{size}; {header['rank']} components; {header['quantity']}"


def _of_errors(header: dict[str, Any]) -> str:
    """Return how the standard errors of the images are stored."""
    block = max((image["block"] for image in header["images"].values()), default=1)
    text = "Standard errors are rounded to 1 %."
    if block == 1:
        return text
    return (
        f"{text} As the images are large, they are root mean squares over {block} x {block} pixels; "
        "xanesum view gives those of each pixel."
    )


def _notes(header: dict[str, Any]) -> list[str]:
    """Return what a reader has to know about the numbers of the page."""
    share = max(header["rounding"], 1e-3)
    notes = [
        "All values are denoised. They are sums of the components, whose images and spectra this page has.",
        f"The images are rounded. The error by rounding is at most {share:.2g} of the standard error of an "
        "image (root mean square), where this error is small (its 5th percentile). " + _of_errors(header),
        "The band of a pixel is its standard error. It holds the error of the images and that of the "
        "spectra, as result.spectrum(y, x) gives it.",
        "Pixels of a region share errors. For their mean spectrum, the page gives a limit that the standard "
        "error does not exceed. result.mean_spectrum(region) and xanesum view give the error itself.",
        "The error of a mean state is at most the mean of the errors of its pixels, which the page shows. "
        "xanesum view computes it from repeated draws.",
        "Where components are switched off, spectra are partial sums, and have no error.",
    ]
    told = header["map"]
    if told is not None:
        notes.append(f"The map: {told['definition'].rstrip('.')}.")
    if header["references"]:
        notes.append("References are scaled to the step of the spectrum that is shown, to compare shapes.")
    if header["served"]:
        notes.append("This page is served: errors marked as exact come from the program, not from this page.")
        notes += header["served"].get("notes", [])
    return notes
