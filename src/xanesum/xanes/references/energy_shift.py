"""The shift of energy between a scan and its references, with its error.

Monochromators are calibrated to some tenths of an eV, and drift.  A shift that nobody sees looks like
chemistry.  It is fitted to the mean spectrum of the scan, together with the fractions of the references.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar, nnls

from xanesum.errors import EdgeError
from xanesum.io.spectrum import Reference
from xanesum.result import Denoised
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.map_edge import map_edge
from xanesum.xanes.normalization import EdgeRanges, flattening_operator, step_operator
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of
from xanesum.xanes.references.edges import (
    at_energies,
    check_references,
    curve_through,
    edge_of,
    require_overlap,
)

__all__ = ["EnergyShift", "fit_energy_shift"]

MAX_SHIFT_EV = 10.0  # shifts up to this are looked for
STEP_EV = 0.25  # of the first look
WINDOW_EV = (-25.0, 60.0)  # energies that are fitted, relative to e0: here the spectra differ most
MIN_ENERGIES = 6  # in this window, and more than there are references
NEAR_EV = 1e-4  # the search ends when the shift is known to this
BLOCKS = 8  # of neighbouring energies that are left out, one after the other
REACH_EV = 3.0  # shifts without one reference are looked for so far away
SLOPE_EV = 0.05  # spectra are moved by so much to either side for their slope
LACKING = 2.0  # what is lacking looks like a shift by so many times what is left: measured with one left out
LEFT_OUT = 0.5  # of the largest change of the shift by leaving out a reference counts as its error ...
NOTICED = 10.0  # ... where the misfit shows it by no more than this; the rest of it in proportion
ALONE_EV = 1.0  # of one reference: the edges of compounds of an element are about 2 eV apart
SIGMAS = 2.0  # a shift of so many standard errors is there
BETWEEN = 0.02  # of the distance of a reference's energies: what a curve through them may be off by
WHITE_VARIANCE = 35 / 18  # of a noise level from second differences: more than of one from the values


@dataclass(frozen=True, slots=True)
class EnergyShift:
    """How far the energies of references lie from those of a scan.

    Attributes
    ----------
    shift_ev : float
        To be added to the energies of the references.
    sigma_ev : float
        Its standard error; see `fit_energy_shift`.
    fractions : dict
        Fraction of each reference in the mean spectrum, by its name.
    r_factor : float
        Sum of the squared residuals over that of the spectrum, as in Athena.
    definition : str
        What was fitted, in one sentence.
    """

    shift_ev: float
    sigma_ev: float
    fractions: dict[str, float]
    r_factor: float
    definition: str

    @property
    def is_there(self) -> bool:
        """Whether the shift is larger than its error says."""
        return bool(abs(self.shift_ev) > SIGMAS * self.sigma_ev)

    @property
    def sentence(self) -> str:
        """The shift with its error, and whether it matters."""
        text = f"references lie {-self.shift_ev:+.2f} +- {self.sigma_ev:.2f} eV from the scan"
        text += "; shift them before they are fitted" if self.is_there else ", which may be chance"
        alone = "; with one reference, a shift cannot be told from other chemistry of the sample"
        return text + (alone if len(self.fractions) == 1 else "")


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The mean spectrum of a scan, and references that are moved along energy, both without their lines."""

    spectrum: NDArray[np.float64]  # (n,), in units of its standard errors
    weights: NDArray[np.float64]  # (n,), one over these errors
    moved: Callable[[float], NDArray[np.float64]]  # from a shift to the references (n, R)
    steps: NDArray[np.float64]  # (R,), edge steps of the references
    apart_ev: float  # distance of neighbouring energies of the references, the largest of their medians
    blocks: NDArray[np.int64]  # (n,), which block an energy belongs to
    noise_is_known: bool

    def fit(
        self, shift_ev: float, kept: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], float]:
        """Return amounts (R,) from 0 on, and the sum of squared residuals, at one shift."""
        used = np.ones(len(self.spectrum), bool) if kept is None else kept
        amounts, norm = nnls((self.moved(shift_ev) * self.weights[:, None])[used], self.spectrum[used])
        return amounts, float(norm) ** 2

    def best(self, near: tuple[float, float], kept: NDArray[np.bool_] | None = None) -> float:
        """Return the shift of least residual between two shifts."""
        found = minimize_scalar(
            lambda by: self.fit(by, kept)[1], bounds=near, method="bounded", options={"xatol": NEAR_EV}
        )
        return float(found.x)


def fit_energy_shift(
    data: Denoised | xr.DataArray,
    references: Sequence[Reference],
    *,
    normalization: Normalization | None = None,
    e0_ev: float | None = None,
    max_shift_ev: float = MAX_SHIFT_EV,
) -> EnergyShift:
    """Fit one shift of energy to all references, so that a mixture of them fits the mean spectrum best.

    Amounts of the references from 0 on, and the shift, are fitted by least squares from 25 eV below e0 to
    60 eV above, after the lines of the scan were taken from both.  The standard error has four parts.  One
    is what the noise of the mean spectrum brings, or, if this is larger, leaving out blocks of neighbouring
    energies (jackknife [1]_).  Another is what is left over beyond the noise.  It shows that the sample is
    no mixture of these references, and what they lack may look like a shift, by up to twice what is left.
    Noise hides what they lack, too: each reference is left out, and as far as the misfit does not show that
    it is missing, half of the change of the shift counts.  With one reference, that part is 1 eV.  A fiftieth
    of the distance of the references' energies is added: between them, spectra are not known.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        Of a stack the noise is not known; it is then taken from what is left over.
    references : sequence of Reference
    normalization, e0_ev
        As in `xanesum.half_step_energy`.
    max_shift_ev : float
        Largest shift that is looked for.

    Raises
    ------
    EdgeError
        If references do not cover the energies that are fitted; if these are too few; or if the best shift
        is as large as the largest that is looked for.

    References
    ----------
    .. [1] B. Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM (1982).
    """
    if not references:
        raise EdgeError("no references were given")
    spectra = pixel_spectra_of(data)
    edge = map_edge(spectra, e0_ev, None, None, normalization)
    check_references(references, edge.ranges.e0_ev)
    problem, at, how = _problem(spectra, references, edge.ranges)
    looked_at = np.arange(-max_shift_ev, max_shift_ev + STEP_EV / 2, STEP_EV)
    squares = [problem.fit(float(by))[1] for by in looked_at]
    start = float(looked_at[int(np.argmin(squares))])
    if abs(start) > max_shift_ev - STEP_EV:
        raise EdgeError(
            f"references do not fit the scan at any shift up to {max_shift_ev:.1f} eV; are they of another "
            "element?"
        )
    shift = problem.best((start - STEP_EV, start + STEP_EV))
    amounts, left = problem.fit(shift)
    shares = amounts * problem.steps
    shares = shares / (float(shares.sum()) or 1.0)
    return EnergyShift(
        shift,
        _error(problem, shift, amounts, left),
        {each.name: float(share) for each, share in zip(references, shares, strict=True)},
        left / float(problem.spectrum @ problem.spectrum),
        f"one shift and amounts from 0 on of {len(references)} references, fitted to the mean spectrum from "
        f"{at[0]:.1f} to {at[-1]:.1f} eV; {how}",
    )


def _problem(
    spectra: PixelSpectra, references: Sequence[Reference], ranges: EdgeRanges
) -> tuple[_Problem, NDArray[np.float64], str]:
    """Return the problem, the energies that are fitted, and how lines were taken away.

    Where references do not reach as far as the lines of the scan, a line over the fitted energies is used.
    """
    energy_ev = spectra.energy_ev
    has_lines = ranges.pre_ev is not None and ranges.post_ev is not None
    low, high = (ranges.e0_ev + end for end in WINDOW_EV)
    window = (energy_ev >= low) & (energy_ev <= high)
    if np.count_nonzero(window) < max(MIN_ENERGIES, len(references) + 3):
        raise EdgeError(
            f"{np.count_nonzero(window)} energies from {low:.1f} to {high:.1f} eV are too few to fit a shift "
            f"and {len(references)} references"
        )
    has_lines &= bool(len(energy_ev) == np.count_nonzero(require_overlap(references, energy_ev, partly=True)))
    require_overlap(references, energy_ev[window])
    lines = flattening_operator(energy_ev, ranges, window) if has_lines else _without_line(energy_ev, window)
    curves = [curve_through(each.energy_ev, each.mu) for each in references]
    ends = np.array([each.energy_ev[[0, -1]] for each in references])

    def moved(by_ev: float) -> NDArray[np.float64]:
        at = np.clip((energy_ev - by_ev)[:, None], ends[:, 0], ends[:, 1])  # (E, R)
        values = [curve(each) for curve, each in zip(curves, at.T, strict=True)]
        return np.asarray(lines @ np.array(values).T)

    error = _errors(spectra, lines)
    blocks = np.arange(np.count_nonzero(window)) * BLOCKS // np.count_nonzero(window)
    is_known = spectra.covariance_of_mean() is not None
    steps = np.array([_step(each, energy_ev, ranges, has_lines=has_lines) for each in references])
    apart_ev = max(_distance(each.energy_ev, low, high) for each in references)
    problem = _Problem(
        lines @ spectra.mean_spectrum / error, 1 / error, moved, steps, apart_ev, blocks, is_known
    )
    how = ranges.definition(energy_ev) if has_lines else "a straight line was taken from each"
    return problem, energy_ev[window], how


def _distance(energy_ev: NDArray[np.float64], low: float, high: float) -> float:
    """Return the median distance of neighbouring energies from `low` to `high`, in eV."""
    inside = energy_ev[(energy_ev >= low) & (energy_ev <= high)]
    return float(np.median(np.diff(inside))) if len(inside) > 1 else high - low


def _step(
    reference: Reference, energy_ev: NDArray[np.float64], ranges: EdgeRanges, *, has_lines: bool
) -> float:
    """Return the edge step of a reference by the lines of the scan; without them, by its own."""
    if not has_lines:
        return edge_of(reference).edge_step
    at = np.clip(energy_ev, *reference.energy_ev[[0, -1]])
    return float(step_operator(energy_ev, ranges) @ at_energies(reference.energy_ev, reference.mu, at))


def _without_line(energy_ev: NDArray[np.float64], window: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the matrix (n, E) that takes a straight line over the window from a spectrum."""
    at = energy_ev[window]
    powers = ((at - at.mean()) / np.ptp(at))[:, None] ** np.arange(2)
    operator = np.zeros((len(at), len(energy_ev)))
    operator[:, window] = np.eye(len(at)) - powers @ np.linalg.pinv(powers)
    return operator


def _errors(spectra: PixelSpectra, lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of the flattened mean spectrum (n,); 1 everywhere where it is not known."""
    error = spectra.errors_of_mean(lines)
    if np.isnan(error).any():
        return np.ones(len(lines))
    return np.asarray(np.maximum(error, 1e-6 * error.max() or 1.0))


def _error(problem: _Problem, shift_ev: float, amounts: NDArray[np.float64], left: float) -> float:
    """Return the standard error of the shift."""
    active = amounts > 0
    slope = (problem.moved(shift_ev + SLOPE_EV) - problem.moved(shift_ev - SLOPE_EV)) / (2 * SLOPE_EV)
    columns = (
        np.column_stack([problem.moved(shift_ev)[:, active], slope @ amounts]) * problem.weights[:, None]
    )
    row = np.linalg.pinv(columns)[-1]
    by_one = float(np.sqrt(row @ row))  # error of the shift if every value has an error of 1
    freedom = max(len(problem.spectrum) - columns.shape[1], 1)
    residual = problem.spectrum - problem.moved(shift_ev) @ amounts * problem.weights
    noise = _white_part(residual)
    chance = SIGMAS * np.sqrt(2 / freedom)
    if problem.noise_is_known:
        noise = max(noise, 1.0)
    else:
        chance *= np.sqrt(WHITE_VARIANCE)
    alike = max(left / noise**2 - freedom * (1 + chance), 0.0) if noise > 0 else 0.0
    near = (shift_ev - 4 * STEP_EV, shift_ev + 4 * STEP_EV)
    found = [problem.best(near, problem.blocks != block) for block in range(BLOCKS)]
    jackknife = float(np.sqrt((BLOCKS - 1) * np.mean((np.array(found) - np.mean(found)) ** 2)))
    of_scan = np.hypot(max(by_one * noise, jackknife), LACKING * by_one * noise * np.sqrt(alike))
    of_lacking = _of_lacking(problem, shift_ev, amounts, left, noise)
    return float(np.linalg.norm([of_scan, of_lacking, BETWEEN * problem.apart_ev]))


def _of_lacking(
    problem: _Problem, shift_ev: float, amounts: NDArray[np.float64], left: float, noise: float
) -> float:
    """Return what the shift may be off by because a reference is lacking, and noise hides it."""
    if len(amounts) == 1:
        return ALONE_EV
    largest = 0.0
    for k in np.flatnonzero(amounts > 0):
        others = replace(problem, moved=_without(problem.moved, int(k)))
        moved_to = others.best((shift_ev - REACH_EV, shift_ev + REACH_EV))
        more = max(others.fit(moved_to)[1] - left, 0.0)
        hidden = min(1.0, np.sqrt(NOTICED * noise**2 / more)) if more > 0 else 1.0
        largest = max(largest, abs(moved_to - shift_ev) * hidden)
    return LEFT_OUT * largest


def _without(moved: Callable[[float], NDArray[np.float64]], k: int) -> Callable[[float], NDArray[np.float64]]:
    """Return the references (n, R - 1) by their shift, without one of them."""
    return lambda by_ev: np.delete(moved(by_ev), k, axis=1)


def _white_part(residual: NDArray[np.float64]) -> float:
    """Return the level of the noise in a residual (n,), from what is not alike at neighbouring energies."""
    second = np.diff(residual, 2)
    return float(np.sqrt(second @ second / (6 * len(second))))
