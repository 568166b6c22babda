"""Valence from energy: a line through points of known valence; shift of the energy axis from a foil."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from xanesum.errors import EdgeError
from xanesum.result import Denoised
from xanesum.stack import make_stack
from xanesum.xanes.kinds import ENERGY_KINDS, KINDS
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.maps import chemical_map
from xanesum.xanes.normalization import Range
from xanesum.xanes.positions import NO_SHIFT

__all__ = ["Line", "Point", "ValencePoints", "fit_line", "foil_shift", "reference_points", "valence"]

BEYOND = 0.1  # a valence farther outside of the points than this share of their range is extrapolated ...
MANY = 0.01  # ... and a map with more than this share of such pixels says so
SLOPE_SIGMAS = 3.0  # the slope of the line must exceed its standard error by this factor
FOIL_EV = 1.5  # half width of the window in which the slope of a foil is fitted
FOIL_NEAR_EV = 15.0  # its largest slope is looked for this near to the tabulated energy
FOIL_FIT = 2  # degree of the polynomials
FOIL_ENERGIES = 8  # energies that are needed there


class Point(NamedTuple):
    """A compound of known valence."""

    valence: float
    energy_ev: float  # measured in the same way as the map
    sigma_ev: float | None = None  # standard error; None if it is not known


ValencePoints = Sequence[Sequence[float | None]]


class Line(NamedTuple):
    """A line, energy = offset + slope * (valence - centre), and how well it is known."""

    centre: float  # mean valence of the points
    offset_ev: float
    slope_ev: float  # per unit of valence
    covariance: NDArray[np.float64]  # (2, 2), of offset and slope
    scatter_ev: float  # of single compounds about the line, beyond their errors
    range: tuple[float, float]  # of the valences of the points
    reasons: tuple[str, ...]  # why the error of the line may not hold

    def invert(
        self, energy_ev: NDArray[np.float64], sigma_ev: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the valences of some energies and their standard errors."""
        along = (energy_ev - self.offset_ev) / self.slope_ev
        (of_offset, both), (_, of_slope) = self.covariance
        of_line = of_offset + 2 * along * both + along**2 * of_slope + self.scatter_ev**2
        return self.centre + along, np.sqrt(sigma_ev**2 + of_line) / abs(self.slope_ev)


def valence(
    data: Denoised | xr.DataArray,
    *,
    points: ValencePoints,
    of: str = "half_step",
    e0_ev: float | None = None,
    pre_ev: Range | None = None,
    post_ev: Range | None = None,
    normalization: Normalization | None = None,
    shift_ev: tuple[float, float] = NO_SHIFT,
) -> xr.Dataset:
    """Map the mean valence: an energy of the edge, on a line through compounds of known valence.

    Parameters
    ----------
    data, e0_ev, pre_ev, post_ev, normalization
        As in `half_step_energy`.
    points : sequence of (valence, energy_ev) or (valence, energy_ev, sigma_ev)
        Two or more compounds; their energies are measured as the map `of` measures them, as by
        `reference_points`.  Without errors, the scatter of three or more about the line stands for them.
    of : str
        Kind of the map of energies: "half_step", "half_white_line", "largest_derivative", "white_line" or
        "pre_edge_centroid".
    shift_ev : (float, float)
        Shift that is added to the energies of the scan, and its standard error, as from `foil_shift`.

    Returns
    -------
    Dataset
        That of the map of energies, with ``valence`` and ``valence_sigma`` in front.  The standard error
        holds that of the energy, of the shift, of the line, and the scatter of the points about the line.
        ``reasons`` says which of these are not known, and whether many pixels lie outside of the points.

    Raises
    ------
    EdgeError
        As in `half_step_energy`; or if the points are no two different valences, or show no slope.
    """
    if of not in ENERGY_KINDS:
        raise EdgeError(
            f"a valence follows from a map of {', '.join(ENERGY_KINDS)}, got {of!r}", parameter="of"
        )
    line = fit_line(points)
    lines = {"e0_ev": e0_ev, "pre_ev": pre_ev, "post_ev": post_ev, "normalization": normalization}
    maps = chemical_map(data, kind=of, **lines, shift_ev=shift_ev)
    energy, kind = maps[KINDS[of].variable], KINDS["valence"]
    values, error = line.invert(energy.values, maps[KINDS[of].error].values.astype(np.float64))
    said = [*maps.attrs["reasons"], *line.reasons, *_outside(line, values[maps["mask"].values])]
    definition = (
        f"valence on the line through {len(points)} points, {line.slope_ev:.3f} eV per unit, from the "
        f"{KINDS[of].label}: {maps.attrs['definition']}"
    )
    valences = xr.Dataset(
        {
            kind.variable: energy.copy(data=values.astype(np.float32)),
            kind.error: energy.copy(data=error.astype(np.float32)),
        }
    )
    valences[kind.variable].attrs = {"units": "", "long_name": kind.label, "error": kind.error}
    valences[kind.error].attrs = {}
    attrs: dict[str, Any] = maps.attrs | {
        "kind": "valence",
        "definition": definition,
        "of": of,
        "points": np.array([(*point, np.nan)[:3] for point in points], float),
        "intervals_hold": not said,
        "reasons": said,
    }
    return valences.assign(maps.data_vars).assign_attrs(attrs)


def fit_line(points: ValencePoints) -> Line:
    """Fit a line of energies over valences, weighted by the errors of the points.

    Where the points scatter more than their errors say, what is beyond them is the scatter of compounds about
    the line, and counts for the map too.  A scatter of few points is multiplied by the factor that makes a
    68 % interval of it (Student's t).

    Raises
    ------
    EdgeError
        If there are fewer than two points, numbers are not finite, valences are all the same, or the slope
        does not stand above its error.
    """
    chosen = [_point(each) for each in points]
    valences = np.array([point.valence for point in chosen])
    energies = np.array([point.energy_ev for point in chosen])
    if len(set(valences)) < 2:
        raise EdgeError(
            "a line of valence needs points of at least two different valences", parameter="points"
        )
    known = [point.sigma_ev for point in chosen if point.sigma_ev is not None]
    sigma = np.array([np.nan if point.sigma_ev is None else point.sigma_ev for point in chosen])
    sigma = np.where(np.isnan(sigma), float(np.mean(known)) if known else 0.0, sigma)
    weights = (
        1 / np.maximum(sigma, 1e-6 + 1e-3 * float(sigma.max())) ** 2 if sigma.any() else np.ones(len(sigma))
    )
    centre = float(np.average(valences, weights=weights))
    design = np.stack([np.ones(len(valences)), valences - centre], axis=1)
    inverse = np.linalg.inv(design.T @ (weights[:, None] * design))
    offset, slope = inverse @ design.T @ (weights * energies)
    spread = inverse @ design.T * weights
    n_free = len(chosen) - 2
    scatter = 0.0
    if n_free > 0:
        left = energies - design @ (offset, slope)
        beyond = max(float(left @ left) / n_free - float(np.mean(sigma**2)), 0.0)
        scatter = float(np.sqrt(beyond) * t.ppf(norm.cdf(1), n_free))
    covariance = (spread * (sigma**2 + scatter**2)) @ spread.T
    if not abs(slope) > SLOPE_SIGMAS * np.sqrt(covariance[1, 1]):
        raise EdgeError(
            f"the energies of the points do not follow their valences: {slope:.2g} eV per unit, standard "
            f"error {np.sqrt(covariance[1, 1]):.2g} eV",
            parameter="points",
        )
    reasons = []
    if not known and n_free == 0:
        reasons.append("the two points of the line have no errors, so that of the line is not in the errors")
    elif known and len(known) < len(chosen):
        reasons.append("some points of the line have no error; the mean of the others was taken for them")
    ends = float(valences.min()), float(valences.max())
    return Line(centre, float(offset), float(slope), covariance, scatter, ends, tuple(reasons))


def _point(given: Sequence[float | None]) -> Point:
    """Return a point after checking it."""
    numbers = [None if each is None or np.isnan(each) else float(each) for each in given]
    is_whole = len(numbers) in (2, 3) and None not in numbers[:2]
    if not is_whole or not np.isfinite([each for each in numbers if each is not None]).all():
        raise EdgeError(
            f"a point of the line is a valence, an energy in eV and perhaps its standard error, got "
            f"{list(given)}",
            parameter="points",
        )
    point = Point(*numbers)  # type: ignore[arg-type]
    if point.sigma_ev is not None and point.sigma_ev < 0:
        raise EdgeError(f"a standard error cannot be negative, got {point.sigma_ev:g} eV", parameter="points")
    return point


def _outside(line: Line, values: NDArray[np.float64]) -> tuple[str, ...]:
    """Return a reason where many valences lie outside of the points, or nothing."""
    low, high = line.range
    margin = BEYOND * (high - low)
    outside = (values < low - margin) | (values > high + margin)
    if not values.size or outside.mean() <= MANY:
        return ()
    return (
        f"{100 * outside.mean():.0f} % of the pixels have a valence outside of the points, {low:g} to "
        f"{high:g}, where the line may not hold",
    )


def reference_points(
    references: xr.DataArray, valences: Sequence[float], *, of: str = "half_step", **options: Any
) -> list[Point]:
    """Return the points of a line of valence, measured in reference spectra in the same way as in a map.

    Parameters
    ----------
    references : DataArray (reference, energy)
        Spectra of compounds; with the coordinate ``energy`` in eV.
    valences : sequence of float
        One for each reference.
    of : str
        Kind of the map, as in `valence`.
    **options
        Of that map: the ranges, and `e0_ev`.

    Raises
    ------
    EdgeError
        If there are not as many valences as references, or a reference has no such energy.
    """
    if len(valences) != references.sizes["reference"]:
        raise EdgeError(
            f"{len(valences)} valences for {references.sizes['reference']} references", parameter="points"
        )
    points, names = [], references["reference"].values  # counted from 0 where they have no names
    for n, number in enumerate(valences):
        spectrum = references.isel(reference=n).dropna("energy")
        name = str(names[n])
        stack = make_stack(
            np.asarray(spectrum.values, np.float32)[:, None, None], spectrum.energy.values.astype(float)
        )
        try:
            maps = chemical_map(stack, kind=of, **options)
        except EdgeError as error:
            raise EdgeError(f"reference {name!r}: {error.message}", parameter="points") from error
        energy_ev = float(maps[KINDS[of].variable].values[0, 0])
        if not np.isfinite(energy_ev):
            raise EdgeError(f"reference {name!r} has no {KINDS[of].label}", parameter="points")
        points.append(Point(float(number), energy_ev))
    return points


def foil_shift(energy_ev: ArrayLike, spectrum: ArrayLike, *, tabulated_ev: float) -> tuple[float, float]:
    """Return the shift of the energy axis in eV, and its standard error, from the spectrum of a metal foil.

    The foil was measured on the same axis as the scan.  Its largest derivative near the tabulated energy of
    the edge is moved there: the shift is to be added to the energies of the scan.  The error follows from the
    noise of the spectrum, which is the rest of a parabola fitted near each energy.

    Parameters
    ----------
    energy_ev : array_like, shape (E,)
        Increasing.
    spectrum : array_like, shape (E,)
        Absorption of the foil.
    tabulated_ev : float
        Energy of its largest derivative, as 8333 eV for nickel.

    Raises
    ------
    EdgeError
        If there are too few energies near the tabulated one, or no rise.
    """
    energy = np.asarray(energy_ev, np.float64)
    values = np.asarray(spectrum, np.float64)
    near = np.abs(energy - tabulated_ev) <= FOIL_NEAR_EV
    if energy.shape != values.shape or energy.ndim != 1 or np.count_nonzero(near) < FOIL_ENERGIES:
        raise EdgeError(
            f"a foil needs a spectrum with at least {FOIL_ENERGIES} energies within {FOIL_NEAR_EV:g} eV of "
            f"{tabulated_ev:g} eV",
            parameter="foil",
        )
    places = np.arange(
        max(energy[0], tabulated_ev - FOIL_NEAR_EV), min(energy[-1], tabulated_ev + FOIL_NEAR_EV), 0.05
    )
    slopes = local_fits(energy, places, FOIL_EV, FOIL_FIT)[1]
    bends = np.gradient(slopes, places, axis=0)
    top = int(np.argmax(slopes @ values))
    bend = bends @ values
    if not 0 < top < len(places) - 1 or not (slopes @ values)[top] > 0:
        raise EdgeError(
            f"the foil has no rise within {FOIL_NEAR_EV:g} eV of {tabulated_ev:g} eV", parameter="foil"
        )
    fall = np.flatnonzero((bend[:-1] > 0) & (bend[1:] <= 0))
    i = int(fall[np.argmin(np.abs(fall - top))])
    share = bend[i] / (bend[i] - bend[i + 1])
    found = places[i] + share * (places[i + 1] - places[i])
    third = (bend[i + 1] - bend[i]) / (places[i + 1] - places[i])
    fits = local_fits(energy, energy, FOIL_EV, FOIL_FIT)[0]
    left = (values - fits @ values)[near]
    freedom = 1 - np.diag(fits)[near]
    sigma = float(np.sqrt(np.mean(left**2 / np.maximum(freedom, 0.05))))
    row = (1 - share) * bends[i] + share * bends[i + 1]
    return float(tabulated_ev - found), float(sigma * np.linalg.norm(row) / abs(third))
