"""Spectra of references: read, normalized, and brought to the energies of a scan.

`reference_spectra` gives them as a fit needs them.  What a fit cannot use (another edge, the same spectrum
twice, spectra all alike) is refused there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, ReadError, XanesumError
from xanesum.io.spectra import read_spectra
from xanesum.io.spectrum import ABSORPTION, Reference
from xanesum.result import Denoised, holds_result, load_result
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.normalization import EdgeRanges
from xanesum.xanes.pixel_spectra import pixel_spectra_of
from xanesum.xanes.references.edges import (
    NEAR_EDGE_EV,
    at_energies,
    check_references,
    flattened,
    normalized_by,
    require_overlap,
    steepest_of,
)

__all__ = [
    "ALIKE",
    "Reference",
    "read_folder",
    "read_references",
    "reference_spectra",
    "region_references",
    "with_own_names",
]

ALIKE = (
    1e4  # condition number from which spectra are all alike: repeated scans of one sample have 100 to 3000
)
LOW, HIGH, TOLERANCE = (
    0.0,
    1.0,
    0.05,
)  # levels of a spectrum that is normalized already, and how far from them


def read_references(*paths: str | Path, channel: str | None = None) -> list[Reference]:
    """Read the spectra of references from files; a file may hold several.

    A saved result of xanesum gives the mean spectrum of its usable pixels.  Spectra of the same name get
    numbers.

    Parameters
    ----------
    *paths : str or Path
        XDI, projects of Athena (.prj), text in columns, or saved results.
    channel : str, optional
        Which spectrum to read of files that hold several; see `xanesum.io.spectra.read_spectra`.

    Raises
    ------
    ReadError
        If a file cannot be read as spectra.
    """
    found: list[Reference] = []
    for path in map(Path, paths):
        if path.is_file() and holds_result(path):
            found += region_references(load_result(path), {path.name.partition(".")[0]: None})
        else:
            found += map(_judged, read_spectra(path, channel))
    return with_own_names(found)


def read_folder(folder: str | Path, channel: str | None = None) -> tuple[list[Reference], tuple[str, ...]]:
    """Read the spectra of all files in a folder, but not of folders in it.

    Hidden files are left out.

    Returns
    -------
    references : list of Reference
        By the names of their files.
    others : tuple of str
        Why the other files hold no spectra, a sentence each.

    Raises
    ------
    ReadError
        If the folder cannot be read, or no file in it holds spectra.
    """
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name[:1] != ".")
    except OSError as error:
        raise ReadError(f"{folder}: the folder cannot be read: {error.strerror}") from error
    found: list[Reference] = []
    others = []
    for path in paths:
        try:
            found += read_references(path, channel=channel)
        except XanesumError as error:
            others.append(error.message)
    if not found:
        raise ReadError(f"{folder}: none of the {len(paths)} files in this folder holds spectra")
    return found, tuple(others)


def region_references(
    data: Denoised | xr.DataArray, regions: Mapping[str, NDArray[np.bool_] | None]
) -> list[Reference]:
    """Return the mean spectra of regions of a scan or a result as references.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
    regions : mapping
        By name, which pixels belong to it, an image of bool (Y, X); None for all that are usable.

    Raises
    ------
    EdgeError
        If a region has no usable pixel, or another size than the images.
    """
    spectra = pixel_spectra_of(data)
    found = []
    for name, region in regions.items():
        if region is not None and region.shape != spectra.mask.shape:
            raise EdgeError(f"region {name!r} has shape {region.shape}, the images have {spectra.mask.shape}")
        mask = spectra.mask if region is None else spectra.mask & region
        if not mask.any():
            raise EdgeError(f"region {name!r} has no usable pixel")
        part = replace(spectra, mask=mask)
        covariance = part.covariance_of_mean()
        sigma = None if covariance is None else np.sqrt(covariance.diagonal)
        found.append(
            Reference(
                name,
                spectra.energy_ev,
                part.mean_spectrum,
                f"mean of {int(mask.sum())} pixels",
                notes=("a mean of pixels of the scan: it may be a mixture itself",),
                sigma=sigma,
            )
        )
    return found


def reference_spectra(
    references: Sequence[Reference],
    energy_ev: NDArray[np.float64],
    normalization: Normalization | None = None,
    *,
    ranges: EdgeRanges | None = None,
    shift_ev: float = 0.0,
    overlap: bool = False,
    e0_ev: float | None = None,
    allow_alike: bool = False,
) -> xr.DataArray:
    """Return the normalized spectra of references at the energies of a scan.

    With the `ranges` of the scan, references are brought to its energies first, and then normalized by the
    same lines as its pixels.  A mixture of them is then normalized like a pixel, exactly.  Without `ranges`,
    each is normalized by itself, over all of its energies.

    Parameters
    ----------
    references : sequence of Reference
    energy_ev : ndarray, shape (E,)
        Of the scan, increasing.
    normalization : Normalization, optional
        Lines as in Larch; automatic lines by default.  Not together with `ranges`, which have their own.
    ranges : EdgeRanges, optional
        Lines of the scan, see `xanesum.xanes.map_edge.map_edge`.
    shift_ev : float
        Is added to the energies of all references, see `fit_energy_shift`.
    overlap : bool
        Return only the energies that all references cover.  By default they must cover all.
    e0_ev : float, optional
        Energy of the edge of the scan; with `ranges` it is known.
    allow_alike : bool
        Also return spectra that are all alike, or more than the energies: a fit is to use few of them.

    Returns
    -------
    DataArray, dims (reference, energy), float64
        0 below the edge, 1 beyond it.  Coordinates ``reference`` (names) and ``energy``.  Attributes:
        ``definition`` (a sentence), ``condition_number`` (of the spectra as columns), ``shift_ev``, and
        ``edge_steps`` (of each, in the unit of its `mu`).

    Raises
    ------
    EdgeError
        If there is no reference, or one has no edge or another edge than the others; if they do not cover
        the energies, or are more than these; if one is there twice; or if they are all alike.
    """
    if not references:
        raise EdgeError("no references were given")
    references = [replace(each, energy_ev=each.energy_ev + shift_ev) for each in references]
    check_references(references, e0_ev if ranges is None else ranges.e0_ev)
    used = require_overlap(references, energy_ev, partly=overlap)
    at = np.asarray(energy_ev, np.float64)[used]
    if len(at) < len(references) and not allow_alike:
        raise EdgeError(
            f"{len(references)} references cannot be told apart by {len(at)} energies; use fewer of them"
        )
    rows, steps = [], []
    for reference in references:
        if ranges is not None:
            mu = at_energies(reference.energy_ev, reference.mu, at)
            row, step = flattened(reference, at, mu, ranges)
        else:
            values, step = normalized_by(reference, normalization)
            row = at_energies(reference.energy_ev, values, at)
        rows.append(row)
        steps.append(step)
    table = np.array(rows)
    condition = float(np.linalg.cond(table.T))
    if len(references) > 1 and not condition < ALIKE and not allow_alike:
        raise EdgeError(
            f"the spectra of {_names(references)} are so much alike that their fractions cannot be told "
            f"apart (condition number {condition:.2g}); leave out one of them"
        )
    coords = {"reference": [reference.name for reference in references], "energy": at}
    attrs = {
        "definition": _definition(normalization, ranges, at),
        "condition_number": condition,
        "shift_ev": shift_ev,
        "edge_steps": steps,
    }
    return xr.DataArray(table, dims=("reference", "energy"), coords=coords, attrs=attrs)


def _judged(reference: Reference) -> Reference:
    """Return a reference with the note that it seems to be normalized already, where it does."""
    if reference.normalized or reference.kind != ABSORPTION:
        return reference
    try:
        e0_ev = steepest_of(reference)
    except EdgeError:
        return reference
    below = reference.mu[reference.energy_ev < e0_ev - NEAR_EDGE_EV]
    beyond = reference.mu[reference.energy_ev > e0_ev + NEAR_EDGE_EV]
    if min(len(below), len(beyond)) < 3:
        return reference
    levels = float(np.mean(below)), float(np.mean(beyond))
    if abs(levels[0] - LOW) > TOLERANCE or abs(levels[1] - HIGH) > TOLERANCE:
        return reference
    note = (
        f"taken as normalized already, because its level is {levels[0]:.3f} below the edge and "
        f"{levels[1]:.3f} beyond it"
    )
    return replace(reference, normalized=True, notes=(*reference.notes, note))


def with_own_names(references: list[Reference]) -> list[Reference]:
    """Return references in which a name that is there already has a number behind it."""
    seen: set[str] = set()
    found = []
    for reference in references:
        name, number = reference.name, 2
        while name in seen:
            name, number = f"{reference.name} ({number})", number + 1
        seen.add(name)
        found.append(replace(reference, name=name))
    return found


def _definition(
    normalization: Normalization | None, ranges: EdgeRanges | None, at: NDArray[np.float64]
) -> str:
    if ranges is not None:
        return f"references at the energies of the scan, {ranges.definition(at)}"
    if normalization is not None:
        return "each reference by itself, normalized as in Larch"
    return "each reference by itself, normalized by automatic pre-edge and post-edge lines, flattened"


def _names(references: Sequence[Reference]) -> str:
    return ", ".join(repr(reference.name) for reference in references)
