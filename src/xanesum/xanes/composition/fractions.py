"""Fractions of references in every pixel, with their standard errors: linear combination fits.

Amounts follow from the few images of a result by one small matrix.  Bounds, errors and the misfit are
computed for blocks of pixels, with as many matrices as there are sets of references that are not 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import SigmaError
from xanesum.linalg.covariance import white
from xanesum.linalg.nonnegative import nonnegative_solutions, solution_operator
from xanesum.result import Denoised
from xanesum.stack import usable_weight
from xanesum.xanes.composition.errors import (
    AmountErrors,
    ExpectedMisfit,
    hidden_amounts,
    variance_less_shares,
)
from xanesum.xanes.composition.limits import share_limits
from xanesum.xanes.composition.reference_fit import BACKGROUNDS, FitOptions, ReferenceFit, reference_fit
from xanesum.xanes.normalization import Range
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = ["fit_fractions", "map_names", "spectra_with_noise"]

Array = NDArray[np.float64]

BLOCK_PIXELS = 16_384  # pixels that are fitted together
LACKING = 0.5  # of a direction in which a result shows nothing of the references
MIN_TOTAL = (
    0.1  # least sum of amounts of a pixel with fractions, as a share of the stack's 95th percentile ...
)
MIN_TOTAL_SIGMAS = 3.0  # ... and in units of its own standard error
LARGEST_SIGMA = 0.5  # standard error of a share of which nothing is known but that it is from 0 to 1
EXPLAINED = 4.0  # misfit of a pixel up to this multiple of what errors make is taken for errors ...
EXPLAINED_ON_AVERAGE = 2.0  # ... and that of all pixels together up to this one, in a result
SURELY = 4.0  # the same in a stack of known noise: 1 and so many standard deviations by chance ...
SIGMA_ERROR = 0.1  # ... and this much more for all pixels, as its noise level is not known exactly
SAMPLE_PIXELS = 16_384  # pixels of which the misfit on average is found


class _Hidden(NamedTuple):
    """What noise may hide of the amounts."""

    covariance: Array  # (M, M), for a hidden component of size 1
    size: NDArray[np.float32]  # (P,), of the component
    n_lacking: float  # directions in which references differ, but the result does not


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """Amounts of M references in p pixels, and what is left of the spectra."""

    amounts: Array  # (M, p)
    without_bounds: Array  # (M, p), amounts that may be negative
    misfit: Array  # (p,), sum of squares of the residual, in units of the noise
    size: Array  # (p,), the same of the spectra themselves, without background
    expected: Array  # (p,), misfit that the errors alone make; NaN where unknown


@dataclass(frozen=True, slots=True, eq=False)
class _Solver:
    """All that is needed to fit a block of pixels."""

    fit: ReferenceFit
    options: FitOptions
    spectra: PixelSpectra
    rhs: Array  # (M, K), from the images to the right-hand side
    free: Array  # (M, K), from the images to the amounts without bounds
    operator: Array  # (M, E), the same from a spectrum
    uncertainty: Array  # (M, M), covariance of these amounts if the noise were 1
    size: Array  # (W or K, K), from the images to a vector that is as long as the whitened spectrum
    step: Array | None  # (K,)
    errors: AmountErrors
    expected: ExpectedMisfit
    hidden: _Hidden | None
    explained: float  # misfit of a pixel that is taken for errors, as a multiple of what errors make

    @classmethod
    def of(
        cls, data: Denoised | xr.DataArray, spectra: PixelSpectra, fit: ReferenceFit, options: FitOptions
    ) -> _Solver:
        everything = np.ones(len(fit.names), bool)
        if fit.step is None:
            inverse = solution_operator(fit.gram, everything)
            operator = inverse @ fit.rhs
        else:
            both = solution_operator(fit.gram, everything, np.ones(len(fit.names)))
            operator, inverse = both @ np.vstack([fit.rhs, fit.step]), both[:, :-1]

        def of_images(matrix: Array) -> Array:
            return matrix if spectra.basis is None else matrix @ spectra.basis.T

        whitened = of_images(fit.whitening)
        hidden = _hidden_of(data, spectra, fit, inverse)
        others = () if hidden is None else ((hidden.covariance, hidden.size),)
        return cls(
            fit,
            options,
            spectra,
            of_images(fit.rhs),
            of_images(operator),
            operator,
            inverse,
            np.asarray(np.linalg.qr(whitened, mode="r")),
            None if fit.step is None else of_images(fit.step),
            AmountErrors.of(spectra, operator, others),
            ExpectedMisfit.of(spectra, fit),
            hidden,
            EXPLAINED if spectra.basis is not None else 1 + SURELY * np.sqrt(2 / _freedom(fit)),
        )

    def find(self, pixels: slice) -> _Fitted:
        """Fit some pixels."""
        images = self.spectra.images[:, pixels].astype(np.float64)
        rhs, without_bounds = self.rhs @ images, self.free @ images
        is_free = np.ones(rhs.shape, bool)
        amounts = without_bounds
        if self.options.non_negative:
            total = None if self.step is None else self.step @ images
            amounts, is_free = nonnegative_solutions(self.fit.gram, rhs, total=total)
        size = np.sum((self.size @ images) ** 2, axis=0)
        misfit = size + np.sum(amounts * (self.fit.gram @ amounts - 2 * rhs), axis=0)
        expected = self.expected.find(is_free, pixels)
        return _Fitted(amounts, without_bounds, np.maximum(misfit, 0), size, expected)

    def common_misfit(self) -> float:
        """Return the misfit of the whole scan that errors do not make, over the square of the total."""
        used = self.spectra.mask.ravel()
        pixels = slice(0, len(used), -(-len(used) // SAMPLE_PIXELS))
        fitted, inside = self.find(pixels), used[pixels]
        total = float(np.sum(fitted.amounts.sum(axis=0)[inside] ** 2))
        misfit, expected = float(fitted.misfit[inside].sum()), float(fitted.expected[inside].sum())
        if self.spectra.basis is None:
            by_chance = SURELY * np.sqrt(2 / _freedom(self.fit) / max(int(inside.sum()), 1))
            expected *= 1 + SIGMA_ERROR + by_chance
        else:
            expected *= EXPLAINED_ON_AVERAGE
        return max(misfit - expected, 0.0) / total if total > 0 and np.isfinite(expected) else 0.0

    def maps(self, pixels: slice, common_misfit: float) -> dict[str, Array]:
        """Return the maps of some pixels: those of each reference (M, p), and others (p,)."""
        fitted = self.find(pixels)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = fitted.amounts.sum(axis=0)
            fractions = fitted.amounts / total
            beyond = np.maximum(fitted.misfit - self.explained * fitted.expected, common_misfit * total**2)
            by_images, by_others = self.errors.find(pixels)
            of_images = by_images.of_shares(fractions)
            by_noise = of_images + by_others.of_shares(fractions)
            by_unit = variance_less_shares(self.uncertainty, fractions)
            by_misfit = by_unit * beyond
            variance = by_noise + by_misfit
            sigma = np.sqrt(variance) / np.abs(total)
            if self.options.non_negative:
                sigma = np.minimum(sigma, LARGEST_SIGMA)
            of_total = by_images.of_total + by_others.of_total
            of_amounts = by_images.of_amounts + by_others.of_amounts
            found = {
                "fraction": fractions,
                "fraction_sigma": sigma,
                "amount": fitted.amounts,
                "amount_sigma": np.sqrt(of_amounts + np.diag(self.uncertainty)[:, None] * beyond),
                "total": total,
                "total_by_noise": np.sqrt(of_total),
                "total_sigma": np.sqrt(of_total + self.uncertainty.sum() * beyond),
                "r_factor": fitted.misfit / fitted.size,
                "reduced_chi_square": fitted.misfit / fitted.expected,
                "by_misfit": by_misfit.sum(axis=0) > by_noise.sum(axis=0),
            }
            if self.options.non_negative:
                free = fitted.without_bounds / fitted.without_bounds.sum(axis=0)
                kept = by_noise if self.spectra.basis is None else self._kept(of_images, by_unit, pixels)
                lost = np.clip(1 - kept / variance, 0, 1)
                low, high = share_limits(free, sigma, lost)
                found["fraction_low"] = np.fmin(low, fractions)
                found["fraction_high"] = np.where(np.isnan(high), np.nan, np.fmax(high, fractions))
        return found

    def _kept(self, of_images: Array, by_unit: Array, pixels: slice) -> Array:
        """Return the part of the variances `of_images` (M, p) that is noise, and not lost detail.

        Of an image that is smoothed for the least error, the share of the noise that is kept is that of the
        error in the noise, as in a filter of Wiener.  The noise of shares without denoising is `by_unit`.
        """
        before = by_unit * np.square(self.spectra.noise_pixel[pixels])
        return of_images * np.minimum(of_images / before, 1)


def fit_fractions(
    data: Denoised | xr.DataArray,
    references: xr.DataArray,
    *,
    non_negative: bool = True,
    sum_to_one: bool = False,
    background: str = "auto",
    range_ev: Range | None = None,
    e0_ev: float | None = None,
    sigma: float | None = None,
    covariance: bool = False,
) -> xr.Dataset:
    """Fit the spectrum of every pixel by a sum of references, and map the share of each.

    Amounts are those of the least squares weighted by the noise.  An amount is in units of the edge step of
    its reference, as the stack is.  A fraction is an amount divided by the sum of all.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        A result, which is fast because it has few components, or any stack.
    references : DataArray (reference, energy)
        Spectra with an edge step of 1, in eV.  At other energies than those of the scan they are
        interpolated.
    non_negative : bool
        Let no amount be below 0.
    sum_to_one : bool
        Make the amounts add up to the edge step of the pixel, between its pre- and post-edge lines.  Without
        it, the sum is what fits best.
    background : {"auto", "none", "constant", "line", "flattened"}
        What a pixel may have besides the references, fitted together with them: a line that has another
        slope beyond the edge ("flattened"; the fit is that of flattened spectra), a line, a constant,
        nothing (for spectra that are normalized).  "auto" is the first of these that the energies allow.
    range_ev : (float, float), optional
        Energies to fit; by default all that the references cover.
    e0_ev : float, optional
        Energy of the edge; by default that of the mean spectrum.
    sigma : float, optional
        Noise level of a stack that was not denoised; without it the errors of a stack are not known.
    covariance : bool
        Also return the covariance of the amounts, ``amount_covariance`` (reference, reference_2, y, x).

    Returns
    -------
    Dataset
        For each reference X: ``fraction_X`` with its standard error ``fraction_X_sigma``, and ``amount_X``
        with ``amount_X_sigma`` (unit of the stack).  ``total`` (sum of the amounts), ``r_factor`` (sum of the
        squares of the residual over that of the spectrum without its background, both in units of the noise),
        ``reduced_chi_square`` (the former over what the stated errors make of it; about 1 if the references
        are all there is), ``mask``.  With bounds, also ``fraction_X_low`` and ``fraction_X_high``, the 68 %
        interval of a share that cannot be below 0 or above 1; see `share_limits`.
        Attributes: ``kind``, ``definition``, ``references``, ``condition_number``, ``mean_fractions`` and
        ``mean_fraction_sigmas`` (of the mean spectrum), ``intervals_hold``, ``reasons``.

    Raises
    ------
    StackError, EnergyError
        If references do not fit the scan, or each other; see `reference_fit`.
    EdgeError
        If the edge is wanted and not found.
    SigmaError
        If a noise level is given for a result, or is not above 0.

    Notes
    -----
    Standard errors and covariances are those of the fit without bounds, also where an amount is 0: a bound
    moves a value towards the truth, so they are too large there, and never too small.  The spectra's own
    errors count, which all pixels have in common.  Misfit that is clearly more than errors make is taken for
    an unknown spectrum, of that size, in the direction that changes the fraction most; the errors are larger
    by that.  So is the misfit of all pixels together, in proportion to the total: what no single pixel shows
    may be clear in their mean.
    """
    options = FitOptions(non_negative, sum_to_one, background, range_ev, e0_ev)
    spectra = spectra_with_noise(data, sigma)
    fit = reference_fit(spectra, references, options)
    solver = _Solver.of(data, spectra, fit, options)
    names, n_pixels = map_names(fit.names), spectra.mask.size
    maps: dict[str, NDArray[Any]] = {}
    common_misfit = solver.common_misfit()
    for pixels in _blocks(n_pixels):
        for kind, values in solver.maps(pixels, common_misfit).items():
            place = maps.setdefault(kind, np.empty((*values.shape[:-1], n_pixels), np.float32))
            place[..., pixels] = values
    mask = spectra.mask & _has_sample(maps, spectra.mask)
    reasons = spectra.reasons + _reason_of_misfit(maps, mask) + _reason_of_hiding(solver)
    dataset = _dataset(spectra, maps, names, mask)
    if covariance:
        whole = solver.errors.covariance(slice(None)).astype(np.float32)
        dims = ("reference", "reference_2", "y", "x")
        dataset["amount_covariance"] = (dims, whole.reshape(len(names), len(names), *mask.shape))
    dataset.attrs = _facts(solver, common_misfit) | {"intervals_hold": not reasons, "reasons": list(reasons)}
    return dataset


def spectra_with_noise(data: Denoised | xr.DataArray, sigma: float | None) -> PixelSpectra:
    """Return the spectra of a result or of a stack, whose noise level may be given.

    Raises
    ------
    SigmaError
        If a noise level is given for a result, or is not above 0.
    """
    spectra = pixel_spectra_of(data)
    if sigma is None:
        return spectra
    if spectra.basis is not None:
        raise SigmaError("a result brings its own noise level; leave out sigma", parameter="sigma")
    if not (np.isfinite(sigma) and sigma > 0):
        raise SigmaError(f"the noise level must be above 0, got {sigma}", parameter="sigma")
    variance = np.full(len(spectra.energy_ev), float(sigma) ** 2)
    return replace(spectra, noise=white(variance), reasons=())


def map_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of references that can be parts of the names of files and variables, all different."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9+.-]+", "_", name).strip("_.") or "reference"
        number = 1 + sum(re.fullmatch(rf"{re.escape(plain)}(_\d+)?", each) is not None for each in found)
        found.append(plain if number == 1 else f"{plain}_{number}")
    return tuple(found)


def _freedom(fit: ReferenceFit) -> int:
    """Return how many energies are left when background and amounts are fitted."""
    n_background = list(BACKGROUNDS).index(fit.background)
    return max(int(fit.window.sum()) - n_background - len(fit.names), 1)


def _hidden_of(
    data: Denoised | xr.DataArray, spectra: PixelSpectra, fit: ReferenceFit, uncertainty: Array
) -> _Hidden | None:
    """Return what noise may hide of the amounts in a result; None if that is nothing, or not known."""
    if not isinstance(data, Denoised) or not data.hidden_size.values.any():
        return None
    spectrum = data.hidden_spectrum.values[usable_weight(data.spectra.T)]
    covariance, n_lacking = hidden_amounts(spectra, fit, uncertainty, spectrum)
    return _Hidden(covariance, data.hidden_size.values.ravel(), n_lacking)


def _blocks(n_pixels: int) -> Iterator[slice]:
    for start in range(0, n_pixels, BLOCK_PIXELS):
        yield slice(start, min(start + BLOCK_PIXELS, n_pixels))


def _has_sample(maps: dict[str, NDArray[Any]], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the sum of the amounts is large, compared with the stack's and with its own error."""
    total, error = maps["total"], maps["total_by_noise"]
    largest = float(np.percentile(total[mask.ravel()], 95))
    least = np.fmax(max(MIN_TOTAL * largest, 0.0), MIN_TOTAL_SIGMAS * error)
    return np.asarray((total > least).reshape(mask.shape))


def _reason_of_misfit(maps: dict[str, NDArray[Any]], mask: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return a sentence if the misfit, and not the noise, makes most of the errors."""
    inside = mask.ravel()
    share = float(np.mean(maps["by_misfit"][inside])) if inside.any() else 0.0
    if share < 0.5:
        return ()
    chi, r = (float(np.nanmedian(maps[name][inside])) for name in ("reduced_chi_square", "r_factor"))
    return (
        f"the references do not explain the spectra: the misfit is {chi:.3g} times what the errors make "
        f"(median; R factor {r:.2g}), so the errors of the fractions are larger by it, as far as it shows",
    )


def _reason_of_hiding(solver: _Solver) -> tuple[str, ...]:
    """Return a sentence if the result has fewer components than the references have differences."""
    hidden, n = solver.hidden, len(solver.fit.names)
    if hidden is None or hidden.n_lacking < LACKING:
        return ()
    shown = max(n - round(hidden.n_lacking), 1)
    return (
        f"the denoised scan shows {shown} of the {n} directions in which pixels that are mixed from these "
        "references can differ; noise may hide the others, so fit fewer references",
    )


def _dataset(
    spectra: PixelSpectra, maps: dict[str, NDArray[Any]], names: tuple[str, ...], mask: NDArray[np.bool_]
) -> xr.Dataset:
    """Return maps (P,) and (M, P) as images (Y, X) by their names."""
    images: dict[str, NDArray[Any]] = {}
    for i, name in enumerate(names):
        for kind in ("fraction", "amount"):
            ends = [end for end in ("", "_sigma", "_low", "_high") if kind + end in maps]
            images |= {f"{kind}_{name}{end}": maps[kind + end][i] for end in ends}
    single = ("total", "total_sigma", "r_factor", "reduced_chi_square")
    images |= {name: maps[name] for name in single}
    variables = {name: (("y", "x"), image.reshape(mask.shape)) for name, image in images.items()}
    coords = {name: spectra.source[name] for name in ("y", "x") if name in spectra.source.coords}
    return xr.Dataset({**variables, "mask": (("y", "x"), mask)}, coords=coords)


def _facts(solver: _Solver, common_misfit: float) -> dict[str, Any]:
    """Return the attributes that say what was fitted."""
    fit, options, spectra = solver.fit, solver.options, solver.spectra
    energy_ev = spectra.energy_ev[fit.window]
    bounds = ["none below 0"] if options.non_negative else []
    bounds += ["with the edge step of the pixel as their sum"] if options.sum_to_one else []
    known = "weighted by the noise" if spectra.noise_is_known else "all energies alike"
    background = BACKGROUNDS[fit.background]
    definition = (
        f"share of each of {len(fit.names)} references in their sum, by least squares ({known}) over "
        f"{len(energy_ev)} energies from {energy_ev[0]:.2f} to {energy_ev[-1]:.2f} eV, on {background}"
        f"{''.join(', ' + each for each in bounds)}"
    )
    mean, sigmas = _of_mean(solver, common_misfit)
    return {
        "kind": "fractions",
        "definition": definition,
        "references": list(fit.names),
        "condition_number": fit.condition,
        "background": fit.background,
        "e0_ev": np.nan if fit.e0_ev is None else fit.e0_ev,
        "range_ev": (float(energy_ev[0]), float(energy_ev[-1])),
        "non_negative": options.non_negative,
        "sum_to_one": options.sum_to_one,
        "mean_fractions": mean,
        "mean_fraction_sigmas": sigmas,
    }


def _of_mean(solver: _Solver, common_misfit: float) -> tuple[list[float], list[float]]:
    """Return the fractions in the mean spectrum, and their standard errors.

    Its misfit counts like that of a pixel; noise alone makes hardly any.
    """
    fit, spectrum = solver.fit, solver.spectra.mean_spectrum
    amounts = solver.operator @ spectrum
    if solver.options.non_negative:
        total = None if fit.step is None else np.array([fit.step @ spectrum])
        amounts = nonnegative_solutions(fit.gram, (fit.rhs @ spectrum)[:, None], total=total)[0][:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = amounts / amounts.sum()
        rows = (solver.operator - shares[:, None] * solver.operator.sum(axis=0)) / amounts.sum()
        misfit = float(np.sum((fit.whitening @ spectrum - fit.design @ amounts) ** 2)) / amounts.sum() ** 2
        beyond = max(misfit if common_misfit > 0 else 0.0, common_misfit)
        by_misfit = variance_less_shares(solver.uncertainty, shares[:, None])[:, 0] * beyond
    by_noise = np.array([solver.spectra.error_of_mean(row) for row in rows])
    if not solver.spectra.noise_is_known:
        by_misfit = np.full(len(rows), np.nan)
    sigma = np.hypot(by_noise, np.sqrt(by_misfit))
    largest = LARGEST_SIGMA if solver.options.non_negative else np.inf
    return shares.tolist(), np.minimum(sigma, largest).tolist()
