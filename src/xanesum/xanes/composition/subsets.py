"""Which few of many references a scan consists of: all subsets, by an information criterion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import RecipeError, StackError
from xanesum.result import Denoised
from xanesum.stack import usable_weight
from xanesum.xanes.composition.errors import AmountErrors
from xanesum.xanes.composition.fractions import spectra_with_noise
from xanesum.xanes.composition.reference_fit import WORST_CONDITION, FitOptions, ReferenceFit, reference_fit
from xanesum.xanes.normalization import Range
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["Choice", "Subset", "choose_references"]

Array = NDArray[np.float64]

MOST_SUBSETS = 200_000
BATCH = 4096  # subsets that are solved together
LOOKED_AT = 40  # best subsets whose amounts are looked at in single pixels ...
SAMPLE_PIXELS = 2048  # ... of about this many pixels
NEGATIVE_SIGMAS = 2.0  # an amount below 0 by this many standard errors is no chance ...
NEGATIVE_SHARE = 0.1  # ... in more than this share of the pixels (2 % by chance)
NEARLY = 10.0  # difference of the criterion up to which a runner-up is not excluded


@dataclass(frozen=True, slots=True)
class Subset:
    """One set of references, and how well a scan consists of them."""

    names: tuple[str, ...]
    criterion: float  # Bayesian information criterion
    difference: float  # from the best one
    reduced_chi_square: float  # misfit per degree of freedom, in units of the errors of the spectra
    r_factor: float  # share of the sum of squares that is left, without the background
    condition_number: float
    negative: float  # share of the pixels in which a reference would have an amount below 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The best subset of references, and the runners-up."""

    best: Subset
    runners_up: tuple[Subset, ...]  # best first
    n_tried: int
    reasons: tuple[str, ...]  # why another one may be right; none if nothing is known

    @property
    def ranking(self) -> tuple[Subset, ...]:
        """All subsets that are listed, best first."""
        return (self.best, *self.runners_up)


@dataclass(frozen=True, slots=True, eq=False)
class _Spectra:
    """Spectra that a subset must explain, as inner products, in units of their errors."""

    gram: Array  # (M, M), of the references
    with_data: Array  # (M, M), references times spectra times references
    size: float  # sum of squares of the spectra
    count: int  # number of spectra


def choose_references(
    data: Denoised | xr.DataArray,
    references: xr.DataArray,
    *,
    at_most: int = 3,
    n_listed: int = 6,
    background: str = "auto",
    range_ev: Range | None = None,
    e0_ev: float | None = None,
    sigma: float | None = None,
) -> Choice:
    """Find the references of which a scan consists, at most N of them, by trying every subset.

    All pixels together decide.  A result is a few spectra with known errors; each subset is fitted to them.
    The criterion is that of Bayes: misfit in units of the errors, plus ``log(E)`` for each amount, where E is
    the number of energies.  If even the best subset of N does not explain the spectra, their errors are taken
    as larger by that.  A subset that needs negative amounts in more than a tenth of the pixels, by more than
    two standard errors, comes after all others.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
    references : DataArray (reference, energy)
        As in `fit_fractions`, which also has the other parameters.
    at_most : int
        Largest number of references in a subset.
    n_listed : int
        How many subsets to list, the best one included.

    Raises
    ------
    RecipeError
        If `at_most` is below 1, or there are too many subsets.
    StackError, EnergyError, EdgeError, SigmaError
        As in `fit_fractions`.

    Notes
    -----
    G. Schwarz, Ann. Statist. 6, 461 (1978), doi:10.1214/aos/1176344136.
    """
    n = references.sizes.get("reference", 0) if isinstance(references, xr.DataArray) else 0
    at_most = min(int(at_most), n) if n else int(at_most)
    if at_most < 1:
        raise RecipeError(f"at least one reference must be allowed, got {at_most}", parameter="at_most")
    n_subsets = sum(comb(n, k) for k in range(1, at_most + 1))
    if n_subsets > MOST_SUBSETS:
        raise RecipeError(
            f"{n} references have {n_subsets} subsets of at most {at_most}, and {MOST_SUBSETS} can be tried; "
            "allow fewer in a subset, or give fewer references",
            parameter="at_most",
        )
    spectra = spectra_with_noise(data, sigma)
    options = FitOptions(background=background, range_ev=range_ev, e0_ev=e0_ev)
    fit = reference_fit(spectra, references, options, allow_alike=True)
    looked_at = tuple(_spectra_of(data, spectra, fit))
    n_free = int(fit.window.sum()) - np.linalg.matrix_rank(np.eye(len(fit.whitening)) - _projector(fit))
    subsets = [chosen for k in range(1, at_most + 1) for chosen in combinations(range(n), k)]
    misfits = _misfits(looked_at, subsets)
    count = sum(each.count for each in looked_at)
    numbers = np.array([len(subset) for subset in subsets])
    dof = count * np.maximum(n_free - numbers, 1)
    is_known = isinstance(data, Denoised) or sigma is not None
    scale = float(np.min(misfits[numbers == at_most] / dof[numbers == at_most]))
    scale = max(scale, 1.0) if is_known else max(scale, np.finfo(float).tiny)
    criterion = misfits / scale + count * numbers * np.log(max(n_free, 2))
    order = np.argsort(criterion, kind="stable")
    size = sum(each.size for each in looked_at)
    found = []
    for i in order[: max(LOOKED_AT, n_listed)]:
        part = fit.only(np.array(subsets[i]))
        negative = _share_negative(spectra, part)
        best = Subset(
            part.names, float(criterion[i]), 0.0, float(misfits[i] / dof[i]) if is_known else np.nan,
            float(misfits[i] / size), part.condition, negative,
        )  # fmt: skip
        found.append(best)
    return _choice(found, n_listed, len(subsets))


def _choice(found: list[Subset], n_listed: int, n_tried: int) -> Choice:
    """Rank subsets: those with negative amounts, or with references alike, come last."""
    found = sorted(found, key=lambda each: (_is_out(each), each.criterion))
    first = found[0]
    listed = [
        Subset(
            each.names, each.criterion, each.criterion - first.criterion, each.reduced_chi_square,
            each.r_factor, each.condition_number, each.negative,
        )
        for each in found[:n_listed]
    ]  # fmt: skip
    if first.condition_number > WORST_CONDITION:
        raise StackError(
            "all subsets that explain the scan hold references that are alike; leave some out",
            parameter="references",
        )
    reasons = []
    near = [each for each in listed[1:] if each.difference < NEARLY and not _is_out(each)]
    if near:
        others = "; ".join(" + ".join(each.names) for each in near)
        reasons.append(f"other references explain the scan nearly as well: {others}")
    if first.negative > NEGATIVE_SHARE:
        reasons.append(
            "every subset needs negative amounts: a reference may be missing, or a shift of energy"
        )
    return Choice(listed[0], tuple(listed[1:]), n_tried, tuple(reasons))


def _is_out(subset: Subset) -> bool:
    return subset.negative > NEGATIVE_SHARE or subset.condition_number > WORST_CONDITION


def _projector(fit: ReferenceFit) -> Array:
    """Return the projector (W, W) beside the background."""
    vectors, values, _ = np.linalg.svd(fit.whitening, full_matrices=False)
    kept = vectors[:, values > 1e-9 * values.max()]
    return np.asarray(kept @ kept.T)


def _spectra_of(
    data: Denoised | xr.DataArray, spectra: PixelSpectra, fit: ReferenceFit
) -> Iterator[_Spectra]:
    """Yield the spectra that are to be explained: those of a result, each with its error, or all pixels."""
    if not isinstance(data, Denoised) or spectra.basis is None:
        images = spectra.images[:, spectra.mask.ravel()].astype(np.float64)
        along = fit.design.T @ fit.whitening
        whole = images @ images.T
        size = float(np.sum((fit.whitening @ whole) * fit.whitening))
        yield _Spectra(fit.gram, along @ whole @ along.T, size, images.shape[1])
        return
    used = usable_weight(data.spectra.T)
    sources = spectra.mixing.T @ spectra.basis
    window, background = fit.window, _background_of(fit)
    for source, error in zip(sources, data.error_spectra.values[:, used], strict=True):
        error = np.maximum(error[window], 1e-6 * error.max() + np.finfo(float).tiny)
        basis = np.linalg.qr((background / error).T)[0] if len(background) else np.zeros((len(error), 0))
        design, row = (fit.spectra[:, window] / error).T, source[window] / error
        design, row = design - basis @ (basis.T @ design), row - basis @ (basis.T @ row)
        along = design.T @ row
        yield _Spectra(design.T @ design, np.outer(along, along), float(row @ row), 1)


def _background_of(fit: ReferenceFit) -> Array:
    """Return the spectra (B, W) that the whitening takes away, before whitening."""
    inside = fit.whitening[:, fit.window]
    values, vectors = np.linalg.svd(inside)[1:]
    return np.asarray(vectors[values <= 1e-9 * values.max()])


def _misfits(spectra: tuple[_Spectra, ...], subsets: list[tuple[int, ...]]) -> Array:
    """Return the sum of squares that each subset leaves."""
    left = np.full(len(subsets), sum(each.size for each in spectra))
    start = 0
    while start < len(subsets):
        n = len(subsets[start])
        stop = start
        while stop < min(len(subsets), start + BATCH) and len(subsets[stop]) == n:
            stop += 1
        chosen = np.array(subsets[start:stop])
        rows, columns = chosen[:, :, None], chosen[:, None, :]
        for each in spectra:
            root = np.sqrt(np.diag(each.gram))
            gram = (each.gram / np.outer(root, root))[rows, columns] + 1e-12 * np.eye(n)
            inside = (each.with_data / np.outer(root, root))[rows, columns]
            left[start:stop] -= np.trace(np.linalg.solve(gram, inside), axis1=1, axis2=2)
        start = stop
    return np.asarray(np.maximum(left, 0))


def _share_negative(spectra: PixelSpectra, fit: ReferenceFit) -> float:
    """Return the share of some pixels in which an amount is below 0, and not by chance."""
    if fit.condition > WORST_CONDITION:
        return 1.0
    used = np.flatnonzero(spectra.mask)
    every = -(-len(used) // SAMPLE_PIXELS)
    operator: Array = np.asarray(np.linalg.solve(fit.gram, fit.rhs), np.float64)
    amounts = spectra.apply(operator) @ spectra.images[:, used[::every]]
    variance = AmountErrors.of(spectra, operator).of_amounts(slice(None))[:, used[::every]]
    sigma = np.sqrt(np.where(np.isfinite(variance), variance, 0))
    return float(np.mean((amounts < -NEGATIVE_SIGMAS * sigma).any(axis=0)))
