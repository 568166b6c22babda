"""The fit of spectra by references as a small linear problem, the same for all pixels.

A spectrum is a sum of references, each times an amount, on a smooth background.  Energies are weighted by the
noise.  What is left after the background was projected out is a problem of as many unknowns as references.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, EnergyError, StackError
from xanesum.xanes.normalization import (
    MIN_ENERGIES,
    EdgeRanges,
    Range,
    edge_ranges,
    find_e0_ev,
    find_edge,
    step_operator,
)
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["BACKGROUNDS", "FitOptions", "ReferenceFit", "WhitenedScan", "reference_fit", "whitened_scan"]

Array = NDArray[np.float64]

BACKGROUNDS = {
    "none": "no background",
    "constant": "a constant",
    "line": "a line",
    "flattened": "a line that has another slope beyond the edge",
}
WORST_CONDITION = 3000.0  # condition number beyond which references count as alike
OTHER_ELEMENT_EV = 60.0  # distance of the edges of a reference and of the scan
SAME_ENERGY_EV = 1e-3


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How spectra are fitted by references."""

    non_negative: bool = True
    sum_to_one: bool = False
    background: str = "auto"  # or one of `BACKGROUNDS`
    range_ev: Range | None = None  # energies to fit; all that the references cover, if None
    e0_ev: float | None = None  # edge energy; found in the mean spectrum, if None


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceFit:
    """Matrices from a spectrum (E,) to the least-squares problem of its M amounts."""

    names: tuple[str, ...]
    spectra: Array  # (M, E), references at the scan's energies; 0 where they are not fitted
    gram: Array  # (M, M)
    whitening: Array  # (W, E), from a spectrum to its part beside the background, in units of the noise
    design: Array  # (W, M), the same of the references
    window: NDArray[np.bool_]  # (E,), energies that are fitted
    background: str
    e0_ev: float | None
    step: Array | None  # (E,), from a spectrum to its edge step, where the sum is given
    condition: float  # number of the references, each of length 1

    @property
    def rhs(self) -> Array:
        """Matrix (M, E) from a spectrum to the right-hand side of the problem."""
        return np.asarray(self.design.T @ self.whitening)

    def only(self, chosen: NDArray[np.intp]) -> ReferenceFit:
        """Return the fit by some of the references."""
        return ReferenceFit(
            tuple(self.names[i] for i in chosen),
            self.spectra[chosen],
            self.gram[np.ix_(chosen, chosen)],
            self.whitening,
            self.design[:, chosen],
            self.window,
            self.background,
            self.e0_ev,
            self.step,
            condition_of(self.design[:, chosen]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class WhitenedScan:
    """The matrix from a spectrum to its part beside the background, in units of the noise."""

    whitening: Array  # (W, E)
    window: NDArray[np.bool_]  # (E,)
    background: str
    e0_ev: float | None
    ranges: EdgeRanges | None


def whitened_scan(spectra: PixelSpectra, options: FitOptions, *, n_spectra: int = 1) -> WhitenedScan:
    """Return what takes background and noise out of the spectra of a scan, without any reference.

    Raises
    ------
    StackError, EnergyError, EdgeError
        If no pixel is usable, no energy is in the range, or an edge is wanted and not found.
    """
    if not spectra.mask.any():
        raise StackError("no usable pixel is left, so there is nothing to look at")
    window = _inside(spectra.energy_ev, options.range_ev)
    e0_ev, ranges = _edge_of(spectra, options)
    background = _chosen_background(options, ranges, int(window.sum()) - n_spectra)
    rows = _background(spectra.energy_ev, window, background, e0_ev)
    return WhitenedScan(_whitening(spectra, window, rows), window, background, e0_ev, ranges)


def condition_of(design: Array) -> float:
    """Return the condition number of a matrix (W, M) whose columns are scaled to length 1."""
    length = np.linalg.norm(design, axis=0)
    return float(np.linalg.cond(design / length)) if (length > 0).all() else float("inf")


def reference_fit(
    spectra: PixelSpectra, references: xr.DataArray, options: FitOptions, *, allow_alike: bool = False
) -> ReferenceFit:
    """Pose the fit of the spectra of a scan by references (reference, energy).

    References at other energies than those of the scan are interpolated.  Energies that a reference does not
    cover are left out.  With `allow_alike`, references may be as alike as they are.

    Raises
    ------
    StackError
        If the references are no spectra; if they do not overlap with the scan, are of another element or
        alike; or if no pixel is usable.
    EnergyError
        If the scan has fewer energies in common with them than the fit has unknowns.
    EdgeError
        If the edge is wanted, and cannot be found.
    """
    if not spectra.mask.any():
        raise StackError("no usable pixel is left, so there is nothing to fit")
    names, values = _at_energies(references, spectra.energy_ev)
    window = np.isfinite(values).all(axis=0) & _inside(spectra.energy_ev, options.range_ev)
    e0_ev, ranges = _edge_of(spectra, options)
    background = _chosen_background(options, ranges, int(window.sum()) - len(names))
    needed = len(names) + list(BACKGROUNDS).index(background)
    if window.sum() < needed:
        raise EnergyError(
            f"the scan and the references have {window.sum()} energies in common; a fit of {len(names)} "
            f"references and {BACKGROUNDS[background]} needs {needed}"
        )
    _refuse_other_elements(references, names, e0_ev)
    whitening = _whitening(spectra, window, _background(spectra.energy_ev, window, background, e0_ev))
    at_scan = np.where(window, values, 0.0)
    design = whitening @ at_scan.T
    _refuse_alike(names, design, allow_alike)
    step = None
    if options.sum_to_one:
        step = _step_of(spectra, ranges)
    return ReferenceFit(
        names, at_scan, design.T @ design, whitening, design, window, background, e0_ev, step,
        condition_of(design),
    )  # fmt: skip


def _at_energies(references: xr.DataArray, energy_ev: Array) -> tuple[tuple[str, ...], Array]:
    """Return the names of references and their spectra at some energies; NaN where they have none."""
    if not isinstance(references, xr.DataArray) or references.dims != ("reference", "energy"):
        raise StackError("references must be a DataArray (reference, energy)")
    if not {"reference", "energy"} <= set(references.coords) or not references.size:
        raise StackError("references need names (coordinate reference) and energies (coordinate energy)")
    names = tuple(str(name) for name in references["reference"].values)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StackError(f"two references have the same name, {twice!r}", parameter="references")
    own = references["energy"].values.astype(float)
    if not (np.isfinite(own).all() and (np.diff(own) > 0).all()):
        raise EnergyError("the energies of the references must increase", parameter="references")
    values = references.values.astype(float)
    if len(own) == len(energy_ev) and np.abs(own - energy_ev).max() < SAME_ENERGY_EV:
        at_scan = values
    else:
        at_scan = np.stack([_interpolated(energy_ev, own, row) for row in values])
    for name, row, each in zip(names, at_scan, values, strict=True):
        if np.isfinite(row).any():
            continue
        covered = own[np.isfinite(each)]
        reach = f"{covered[0]:.0f} ... {covered[-1]:.0f} eV" if covered.size else "no value"
        raise StackError(
            f"reference {name!r} ({reach}) and the scan ({energy_ev[0]:.0f} ... {energy_ev[-1]:.0f} eV) "
            "have no energy in common; it may be of another element",
            parameter="references",
        )
    return names, at_scan


def _interpolated(at: Array, energy_ev: Array, spectrum: Array) -> Array:
    """Return a spectrum between its energies, and NaN beyond them."""
    known = np.isfinite(spectrum)
    if not known.any():
        return np.full(at.shape, np.nan)
    return np.interp(at, energy_ev[known], spectrum[known], left=np.nan, right=np.nan)


def _inside(energy_ev: Array, range_ev: Range | None) -> NDArray[np.bool_]:
    """Return which energies are in a range."""
    if range_ev is None:
        return np.ones(len(energy_ev), bool)
    inside = (energy_ev >= range_ev[0]) & (energy_ev <= range_ev[1])
    if not inside.any():
        raise EnergyError(
            f"no energy of the scan ({energy_ev[0]:g} ... {energy_ev[-1]:g} eV) is in the range "
            f"{range_ev[0]:g}:{range_ev[1]:g} eV",
            parameter="range_ev",
        )
    return inside


def _edge_of(spectra: PixelSpectra, options: FitOptions) -> tuple[float | None, EdgeRanges | None]:
    """Return the energy of the edge, and the ranges below and beyond it; None where there is no need."""
    if options.background not in ("auto", *BACKGROUNDS):
        known = ", ".join(("auto", *BACKGROUNDS))
        raise StackError(f"background must be one of {known}, got {options.background!r}")
    e0_ev = options.e0_ev
    if e0_ev is None:
        if len(spectra.energy_ev) < MIN_ENERGIES:
            return None, None
        if options.background not in ("auto", "flattened") and not options.sum_to_one:
            return None, None
        e0_ev = find_edge(spectra.energy_ev, spectra.mean_spectrum).e0_ev
    return float(e0_ev), edge_ranges(spectra.energy_ev, float(e0_ev))


def _step_of(spectra: PixelSpectra, ranges: EdgeRanges | None) -> Array:
    """Return the vector (E,) from a spectrum to its edge step, to which amounts must add up."""
    if ranges is None or ranges.pre_ev is None or ranges.post_ev is None:
        raise EdgeError(
            "the edge step of a pixel is not known, as there are too few energies below or beyond the edge; "
            "amounts cannot be made to add up to it",
            parameter="sum_to_one",
        )
    return step_operator(spectra.energy_ev, ranges)


def _chosen_background(options: FitOptions, ranges: EdgeRanges | None, n_spare: int) -> str:
    """Return the background; by itself the most flexible one that the energies allow."""
    if options.background != "auto":
        if options.background == "flattened" and ranges is None:
            raise EdgeError("a flattened background needs the energy of the edge", parameter="e0_ev")
        return options.background
    if ranges is not None and ranges.pre_ev is not None and ranges.post_ev is not None and n_spare >= 6:
        return "flattened"
    return "line" if n_spare >= 4 else "constant"


def _background(energy_ev: Array, window: NDArray[np.bool_], background: str, e0_ev: float | None) -> Array:
    """Return the spectra (B, W) of which the background of a pixel may be any sum."""
    at = energy_ev[window] - energy_ev.mean()
    rows = [np.ones_like(at), at]
    if e0_ev is not None:
        rows.append(np.maximum(energy_ev[window] - e0_ev, 0))
    return np.stack(rows)[: list(BACKGROUNDS).index(background)]


def _whitening(spectra: PixelSpectra, window: NDArray[np.bool_], background: Array) -> Array:
    """Return the matrix (W, E) that divides a spectrum by its noise and takes the background away."""
    noise = spectra.noise.of(np.eye(len(window))[window])
    root = np.linalg.inv(np.linalg.cholesky(noise)) if (np.diag(noise) > 0).all() else np.eye(len(noise))
    whitening = np.zeros((len(root), len(window)))
    scaled = (root @ background.T) / np.maximum(np.linalg.norm(root @ background.T, axis=0), 1e-300)
    basis = np.linalg.qr(scaled)[0]
    whitening[:, window] = root - basis @ (basis.T @ root)
    return whitening


def _refuse_other_elements(references: xr.DataArray, names: tuple[str, ...], e0_ev: float | None) -> None:
    """Raise StackError for a reference whose edge is far from that of the scan."""
    own = references["energy"].values.astype(float)
    for name, row in zip(names, references.values.astype(float), strict=True):
        known = np.isfinite(row)
        if e0_ev is None or known.sum() < MIN_ENERGIES:
            continue
        half = np.mean(np.percentile(row[known], (10, 90)))
        if abs(own[known][np.argmax(row[known] > half)] - e0_ev) < OTHER_ELEMENT_EV:
            continue  # what is likely is found out quickly
        try:
            edge_ev = find_e0_ev(own[known], row[known])
        except EdgeError:
            continue
        if abs(edge_ev - e0_ev) > OTHER_ELEMENT_EV:
            raise StackError(
                f"reference {name!r} has its edge at {edge_ev:.0f} eV and the scan at {e0_ev:.0f} eV; it may "
                "be of another element",
                parameter="references",
            )


def _refuse_alike(names: tuple[str, ...], design: Array, allow_alike: bool) -> None:
    """Raise StackError for references that are nearly sums of each other, or of the background."""
    length = np.linalg.norm(design, axis=0)
    if flat := [name for name, each in zip(names, length, strict=True) if each <= 1e-9 * length.max()]:
        raise StackError(
            f"reference {flat[0]!r} is the same as the background, so it has no edge in the scan",
            parameter="references",
        )
    condition = condition_of(design)
    if condition <= WORST_CONDITION or allow_alike:
        return
    unit = design / length
    alike = np.abs(unit.T @ unit) - np.eye(len(names))
    first, second = np.unravel_index(int(np.argmax(alike)), alike.shape)
    raise StackError(
        f"the references are too alike to be told apart (condition number {condition:.3g}, most alike: "
        f"{names[first]!r} and {names[second]!r}); leave one of them out",
        parameter="references",
    )
