"""Maps of chemistry by their kind: `chemical_map` calls the function that `KINDS` names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

import xarray as xr

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.xanes.kinds import AUTO, KINDS, MAP_KINDS
from xanesum.xanes.map_edge import map_edge
from xanesum.xanes.normalization import MIN_ENERGIES
from xanesum.xanes.pixel_spectra import pixel_spectra_of

__all__ = ["check_kind", "chemical_map"]

EDGE_OPTIONS = ("e0_ev", "pre_ev", "post_ev", "normalization")  # of every map ...
WITHOUT_LINES = "energy_difference"  # ... but this one has no normalization


def chemical_map(data: Denoised | xr.DataArray, *, kind: str = AUTO, **options: Any) -> xr.Dataset:
    """Return the map of a kind, with the standard error of every pixel.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        As in `half_step_energy`, which also has the options `e0_ev`, `pre_ev`, `post_ev` and
        `normalization`.
    kind : str
        One of `MAP_KINDS`.  "auto" means the half-step energy where the scan has a pre-edge and a post-edge
        range, else the white line, and the edge step where there are fewer than five energies.  The
        ``attrs["kind"]`` of the map tells which one it is, and ``attrs["definition"]`` what was computed.
    **options
        Of the function that makes the map: `KINDS` names them.

    Raises
    ------
    EdgeError
        If `kind` is unknown, or has no such option, or needs one that is missing; or if its definition does
        not apply to these energies, with the reason.
    """
    check_kind(kind, options)
    options = {name: value for name, value in options.items() if value is not None}
    if kind == AUTO:
        kind = _automatic(data, options)
    module, function = KINDS[kind].target.split(":")
    make = getattr(import_module(f"{__package__}.{module}"), function)
    return cast(xr.Dataset, make(data, **options))


def check_kind(kind: str, options: Mapping[str, Any]) -> None:
    """Raise EdgeError for an unknown kind of map, options that it does not have, or needs and lacks."""
    if kind not in MAP_KINDS:
        raise EdgeError(f"map kind must be one of {', '.join(MAP_KINDS)}, got {kind!r}")
    if kind == WITHOUT_LINES and options.get("normalization") is not None:
        raise EdgeError(f"a map of kind {kind} has no lines; leave out the normalization", parameter="lines")
    told = KINDS.get(kind)
    own = () if told is None else told.options
    for name in options:
        if name not in (*EDGE_OPTIONS, *own):
            having = [other for other, each in KINDS.items() if name in each.options]
            of_whom = f"; maps that do: {', '.join(having)}" if having else ""
            raise EdgeError(f"a map of kind {kind} has no option {name}{of_whom}", parameter=name)
    for name in () if told is None else told.needs:
        if options.get(name) is None:
            raise EdgeError(f"a map of kind {kind} needs {name}", parameter=name)


def _automatic(data: Denoised | xr.DataArray, options: Mapping[str, Any]) -> str:
    spectra = pixel_spectra_of(data)
    if len(spectra.energy_ev) < MIN_ENERGIES:
        return "edge_step"
    edge = map_edge(spectra, *(options.get(name) for name in EDGE_OPTIONS))
    return "half_step" if edge.has_lines else "white_line"
