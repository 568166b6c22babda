"""A result in ten lines of text, and as a small table for notebooks."""

from __future__ import annotations

from html import escape
from typing import Any, Protocol

import numpy as np
import xarray as xr

__all__ = ["Shown"]

MOST_SIZES = 4  # components whose sizes are listed
MOST_LETTERS = 90  # of a reason in the text


class Result(Protocol):
    """A result as it is shown."""

    @property
    def spectra(self) -> xr.DataArray: ...

    @property
    def components(self) -> xr.Dataset: ...

    @property
    def sigma(self) -> float: ...

    @property
    def attrs(self) -> dict[str, Any]: ...

    @property
    def provenance(self) -> dict[str, Any]: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...

    @property
    def rank(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def noise_is_even(self) -> bool: ...


class Shown:
    """How a result is shown."""

    __slots__ = ()

    def __repr__(self: Result) -> str:
        """Return ten lines: sizes, noise, components, doubts, and what to call next."""
        return _text_of(self)

    def _repr_html_(self: Result) -> str:
        """Return a small table for notebooks."""
        return _table_of(self)


def _text_of(result: Result) -> str:
    """Return a result in ten lines."""
    facts = _facts(result)
    if result.reasons:
        more = f", and {len(result.reasons) - 1} more (.reasons)" if len(result.reasons) > 1 else ""
        reason = result.reasons[0]
        short = reason if len(reason) <= MOST_LETTERS else f"{reason[:MOST_LETTERS].rstrip()} ..."
        facts["errors"] = f"may not hold: {short}{more}"
    facts["next"] = ".reconstruct(), .spectrum(y, x), .mean_spectrum(region), xanesum.chemical_map(result)"
    lines = (f"  {name:<11} {' '.join(str(value).split())}" for name, value in facts.items())
    return "\n".join(["<xanesum.Denoised>", *lines])


def _table_of(result: Result) -> str:
    """Return a result as an HTML table."""
    left = "style='text-align:left'"
    rows = (f"<th {left}>{escape(n)}</th><td {left}>{escape(v)}</td>" for n, v in _facts(result).items())
    cells = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><caption>xanesum.Denoised</caption>{cells}</table>"


def _facts(result: Result) -> dict[str, str]:
    """Return names and values, eight of them."""
    n_energies, n_y, n_x = result.shape
    energy_ev, size_nm = result.spectra["energy"].values, result.attrs.get("pixel_size_nm")
    quantity = str(result.attrs.get("quantity", "not known")).replace("_", " ")
    even = "the same everywhere" if result.noise_is_even else "it differs over pixels and energies"
    sizes = [f"{each:.4g}" for each in result.components["singular_value"].values[: result.rank]]
    listed = ", ".join(sizes[:MOST_SIZES]) + (", ..." if len(sizes) > MOST_SIZES else "")
    method = str(result.provenance.get("method", "not known"))
    return {
        "images": f"{n_y} x {n_x} px (y, x)" + (f", {size_nm:g} nm each" if size_nm else ""),
        "energies": f"{n_energies} from {energy_ev[0]:.1f} to {energy_ev[-1]:.1f} eV",
        "values": quantity,
        "noise": f"sigma {result.sigma:.4g}, {even}",
        "components": f"{result.rank}" + (f" of size {listed}" if sizes else ""),
        "noise after": _left(result),
        "method": f"{method}, denoiser {result.provenance.get('denoiser', 'not known')}",
        "errors": "hold as far as tests tell" if not result.reasons else "; ".join(result.reasons),
    }


def _left(result: Result) -> str:
    """Return the error of a value of the clean stack, rms, as it is estimated."""
    risk = float(result.components["risk"].values[: result.rank].sum()) / result.shape[0]
    if not risk > 0 or not result.sigma > 0:
        return "cannot be estimated"
    left = float(np.sqrt(risk))
    return f"{left:.3g} (estimated), {result.sigma / left:.2g} times less"
