"""Fractions of references and clusters of a scan or a result, from files to files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, RecipeError, XanesumError
from xanesum.io.maps import write_map
from xanesum.io.spectrum import Reference
from xanesum.result import Denoised
from xanesum.storage.atomic import staged_folder
from xanesum.workflow.recipe import Recipe
from xanesum.xanes.composition.clusters import find_clusters
from xanesum.xanes.composition.composite import COLOURS, cluster_image, colour_composite
from xanesum.xanes.composition.fractions import fit_fractions, map_names
from xanesum.xanes.composition.subsets import Choice, choose_references
from xanesum.xanes.composition.unmixing import unmix
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.pixel_spectra import pixel_spectra_of
from xanesum.xanes.references.energy_shift import fit_energy_shift
from xanesum.xanes.references.spectra import read_references, reference_spectra

__all__ = [
    "CLUSTER_FILES",
    "COMPOSED_FILES",
    "FRACTION_FILES",
    "Composed",
    "Fitted",
    "compose",
    "fit_scan",
    "write_clusters",
    "write_composed",
    "write_fractions",
]

FRACTION_FILES = ("fractions.h5", "fractions.csv", "fractions.png", "fraction_spectra.csv")
CLUSTER_FILES = ("clusters.h5", "clusters.csv", "clusters.png", "cluster_spectra.csv")
COMPOSED_FILES = FRACTION_FILES + CLUSTER_FILES


class Fitted(NamedTuple):
    """Fractions, and the choice among many references if there was one."""

    maps: xr.Dataset
    choice: Choice | None


class Composed(NamedTuple):
    """What a result consists of, as far as the recipe asks for it."""

    fractions: Fitted | None = None
    clusters: xr.Dataset | None = None
    problems: tuple[str, ...] = ()  # why something could not be found


def compose(result: Denoised, recipe: Recipe, *, rng: np.random.Generator) -> Composed:
    """Fit references and find clusters as the recipe says.

    What cannot be done becomes a problem, and no error: the result took long, and must not be lost.
    """
    problems: list[str] = []
    e0_ev, given = recipe.map.e0_ev, recipe.fractions
    fractions = clusters = None
    if given.references:
        options = {name: value for name, value in asdict(given).items() if name != "references"}
        try:
            lines = recipe.normalization.normalization
            fractions = fit_scan(result, given.references, normalization=lines, e0_ev=e0_ev, **options)
        except XanesumError as error:
            problems.append(f"no fractions: {error.message}")
    wanted = recipe.clusters
    if wanted.find:
        try:
            clusters = find_clusters(
                result,
                n_clusters=wanted.number,
                at_most=wanted.at_most,
                method=wanted.method,
                e0_ev=e0_ev,
                rng=rng,
            )
        except XanesumError as error:
            problems.append(f"no clusters: {error.message}")
    return Composed(fractions, clusters, tuple(problems))


def write_composed(folder: Path, composed: Composed) -> None:
    """Write fractions and clusters into a folder that nobody else uses."""
    if composed.fractions is not None:
        _write_fractions(composed.fractions.maps, folder)
    if composed.clusters is not None:
        _write_clusters(composed.clusters, folder)


def fit_scan(
    data: Denoised | xr.DataArray,
    paths: Sequence[str | Path] = (),
    *,
    at_most: int | None = None,
    n_spectra: int | None = None,
    normalization: Normalization | None = None,
    shift_ev: float = 0.0,
    **options: Any,
) -> Fitted:
    """Fit a scan by references from files, by the best few of them, or by spectra that are found in it.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
    paths : sequence of str or Path
        Files of references; none if spectra are to be found (`unmix`).
    at_most : int, optional
        Take the best subset of at most so many (`choose_references`).
    n_spectra : int, optional
        Number of spectra to find, where there are no references.
    normalization : Normalization, optional
        Lines as in Larch that make the edge step of a reference 1; automatic lines by default.
    shift_ev : float
        Is added to the energies of the references.
    **options
        Of `fit_fractions`.

    Raises
    ------
    ReadError
        If a file cannot be read as references.
    RecipeError
        If there is neither a reference nor a number of spectra, or both.
    EdgeError, StackError, EnergyError
        If references do not fit the scan.
    """
    if bool(paths) == (n_spectra is not None):
        raise RecipeError(
            "give references, or the number of spectra to find without them, not both", parameter="references"
        )
    if not np.isfinite(shift_ev):
        raise RecipeError(f"the shift must be a number in eV, got {shift_ev}", parameter="shift_ev")
    if n_spectra is not None and (normalization is not None or shift_ev):
        raise RecipeError(
            "spectra that are found in the scan are neither normalized as in Larch nor shifted; leave these "
            "options out",
            parameter="shift_ev" if shift_ev else "lines",
        )
    if n_spectra is not None:
        return Fitted(unmix(data, n_spectra, sigma=options.get("sigma")), None)
    read = [replace(each, energy_ev=each.energy_ev + shift_ev) for each in read_references(*paths)]
    energy_ev = pixel_spectra_of(data).energy_ev
    references = reference_spectra(
        read, energy_ev, normalization, overlap=True, allow_alike=at_most is not None
    )
    choice = None
    if at_most is not None:
        kept = ("background", "range_ev", "e0_ev", "sigma")
        chosen = {name: value for name, value in options.items() if name in kept}
        choice = choose_references(data, references, at_most=at_most, **chosen)
        references = references.sel(reference=list(choice.best.names))
        read = [each for each in read if each.name in choice.best.names]
    maps = fit_fractions(data, references, **options)
    doubts = (
        *(() if choice is None else choice.reasons),
        *_shift_doubt(data, read, normalization, options.get("e0_ev")),
    )
    if doubts:
        maps.attrs |= {"intervals_hold": False, "reasons": [*maps.attrs["reasons"], *doubts]}
    maps["spectra"] = references
    maps.attrs["definition"] += f"; {references.attrs['definition']}"
    if shift_ev:
        maps.attrs["definition"] += f", and moved by {shift_ev:+g} eV"
    return Fitted(maps, choice)


def _shift_doubt(
    data: Denoised | xr.DataArray,
    references: Sequence[Reference],
    normalization: Normalization | None,
    e0_ev: float | None,
) -> tuple[str, ...]:
    """Return a sentence if the references are surely shifted in energy against the scan, or nothing.

    Nothing, too, where a shift cannot be fitted: with too few energies near the edge, or no overlap there.
    """
    try:
        shift = fit_energy_shift(data, references, normalization=normalization, e0_ev=e0_ev)
    except EdgeError:
        return ()
    return (shift.sentence,) if shift.is_there else ()


def write_fractions(fitted: Fitted, folder: str | Path) -> tuple[Path, ...]:
    """Write fractions into a folder: all maps as HDF5, means and spectra as CSV, a colour image."""
    folder = Path(folder)
    with staged_folder(folder, own=FRACTION_FILES) as temporary:
        _write_fractions(fitted.maps, temporary)
        found = sorted(path.name for path in temporary.iterdir())
    return tuple(folder / name for name in found)


def _write_fractions(maps: xr.Dataset, folder: Path) -> None:
    names = map_names(tuple(maps.attrs["references"]))
    write_map(_plain(maps), f"fraction_{names[0]}", folder / "fractions.h5")
    _write_csv(folder / "fractions.csv", _summary(maps, names))
    if len(names) <= len(COLOURS):
        matplotlib.image.imsave(folder / "fractions.png", colour_composite(maps))
    spectra = maps["spectra"]
    _write_spectra(folder / "fraction_spectra.csv", spectra.energy.values, list(names), spectra)


def write_clusters(maps: xr.Dataset, folder: str | Path) -> tuple[Path, ...]:
    """Write clusters into a folder: all maps as HDF5, sizes and mean spectra as CSV, an image."""
    folder = Path(folder)
    with staged_folder(folder, own=CLUSTER_FILES) as temporary:
        _write_clusters(maps, temporary)
        found = sorted(path.name for path in temporary.iterdir())
    return tuple(folder / name for name in found)


def _write_clusters(maps: xr.Dataset, folder: Path) -> None:
    n = maps.sizes["cluster_number"]
    write_map(_plain(maps), "cluster", folder / "clusters.h5")
    share = maps["n_pixels"].values / maps["n_pixels"].values.sum()
    rows = [
        {"cluster": 1 + i, "pixels": int(maps["n_pixels"][i]), "share": f"{share[i]:.6g}"} for i in range(n)
    ]
    _write_csv(folder / "clusters.csv", rows)
    matplotlib.image.imsave(folder / "clusters.png", cluster_image(maps))
    both = np.concatenate([maps["mean_spectrum"].values, maps["mean_spectrum_sigma"].values])
    names = [f"cluster_{1 + i}{end}" for end in ("", "_sigma") for i in range(n)]
    _write_spectra(folder / "cluster_spectra.csv", maps["energy"].values, names, both)


def _summary(maps: xr.Dataset, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a row for each reference: its share in the mean spectrum, and the spread over the pixels."""
    mask, rows = maps["mask"].values, []
    means = zip(maps.attrs["mean_fractions"], maps.attrs["mean_fraction_sigmas"], strict=True)
    for name, title, (mean, sigma) in zip(names, maps.attrs["references"], means, strict=True):
        values = maps[f"fraction_{name}"].values[mask]
        errors = maps[f"fraction_{name}_sigma"].values[mask]
        low, middle, high = np.percentile(values, (5, 50, 95)) if values.size else (np.nan,) * 3
        stated = float(np.median(errors)) if errors.size else np.nan
        rows.append(
            {
                "reference": title,
                "fraction in the mean spectrum": f"{mean:.6g}",
                "standard error": f"{sigma:.3g}",
                "median of pixels": f"{middle:.6g}",
                "5 %": f"{low:.6g}",
                "95 %": f"{high:.6g}",
                "standard error of a pixel (median)": f"{stated:.3g}",
            }
        )
    return rows


def _plain(maps: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose coordinates, besides y and x, are variables, so that they are written too."""
    named = {"energy": "spectrum_energy_ev", "cluster_number": "cluster_numbers"}
    extra = {new: (old, maps[old].values) for old, new in named.items() if old in maps.coords}
    return maps.assign(extra)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_spectra(path: Path, energy_ev: NDArray[np.float64], names: list[str], spectra: Any) -> None:
    """Write spectra (n, E) as columns behind their energies."""
    table = np.column_stack([energy_ev, np.asarray(spectra).T])
    rows = [dict(zip(["energy_ev", *names], (f"{value:.8g}" for value in row), strict=True)) for row in table]
    _write_csv(path, rows)
