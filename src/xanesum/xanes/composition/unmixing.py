"""Spectra and amounts of a scan without references: purest pixels, and non-negative factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EdgeError, RankError, RecipeError, StackError
from xanesum.linalg.nonnegative import nonnegative_solutions
from xanesum.result import Denoised
from xanesum.xanes.composition.fractions import fit_fractions, spectra_with_noise
from xanesum.xanes.normalization import edge_ranges, find_edge, step_operator
from xanesum.xanes.pixel_spectra import PixelSpectra

__all__ = ["METHODS", "purest_pixels", "unmix"]

Array = NDArray[np.float64]

METHODS = ("mcr", "purest")
SAMPLE_PIXELS = 16_384  # pixels in which spectra are found; the amounts of all are found from them
PURE_SHARE = 0.002  # share of the pixels that make one purest spectrum ...
FEWEST_PURE = 5  # ... and the least number of them
MIN_AMOUNT = 0.2  # least amount of a pixel that may be pure, as a share of the 95th percentile
MOST_TURNS = 300
SETTLED = 1e-7  # relative change of the misfit in a turn
NOT_UNIQUE = (
    "spectra that were found without references are not unique: others, mixed from them, explain the scan as "
    "well; the errors are those for spectra that are right"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """Images of some pixels, and the spectra of their basis in units of the noise."""

    basis: Array  # (K, E), divided by the noise at each energy
    noise: Array  # (E,)
    images: Array  # (K, p)


def unmix(
    data: Denoised | xr.DataArray,
    n_spectra: int | None = None,
    *,
    method: str = "mcr",
    sigma: float | None = None,
) -> xr.Dataset:
    """Find a few spectra that are not negative, and their amounts in every pixel, without references.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        All is computed from the few images of a result; a stack of E energies is E images.
    n_spectra : int, optional
        The number of components of a result by default; needed for a stack.
    method : {"mcr", "purest"}
        "purest": the spectra of the purest pixels (`purest_pixels`).  "mcr": from these on, spectra and
        amounts by least squares in turns, neither of them negative (multivariate curve resolution, or
        non-negative matrix factorization by alternating least squares).
    sigma : float, optional
        Noise level of a stack.

    Returns
    -------
    Dataset
        ``spectra`` (reference, energy), each with an edge step of 1 where the scan shows one, else with a
        maximum of 1; and the maps of `fit_fractions` with these spectra as references: ``fraction_1``,
        ``fraction_1_sigma`` and so on.  `reasons` says that such spectra are not unique.

    Raises
    ------
    RankError
        If the result has fewer components than spectra are asked for.
    RecipeError
        If the method is unknown, or the number of spectra is missing or below 1.
    StackError, EnergyError, SigmaError
        As in `fit_fractions`.

    Notes
    -----
    R. Tauler, Chemom. Intell. Lab. Syst. 30, 133 (1995), doi:10.1016/0169-7439(95)00047-X; each half of a
    turn is solved exactly, as by H. Kim and H. Park, SIAM J. Matrix Anal. Appl. 30, 713 (2008),
    doi:10.1137/07069239X.
    """
    if method not in METHODS:
        raise RecipeError(f"method must be one of {', '.join(METHODS)}, got {method!r}", parameter="method")
    spectra = spectra_with_noise(data, sigma)
    n_spectra = _number(data, spectra, n_spectra)
    scaled = _scaled(spectra)
    found = purest_pixels(scaled.images, scaled.basis, n_spectra) * scaled.noise
    if method == "mcr":
        found = _in_turns(scaled, found)
    found = found / _sizes(spectra, found)[:, None]
    names = [str(1 + i) for i in range(n_spectra)]
    coords = {"reference": names, "energy": spectra.energy_ev}
    references = xr.DataArray(found, dims=("reference", "energy"), coords=coords)
    maps = fit_fractions(data, references, background="none", sigma=sigma)
    maps["spectra"] = references
    text = {"mcr": "non-negative factors (MCR-ALS)", "purest": "spectra of the purest pixels"}[method]
    reasons = [*maps.attrs["reasons"], NOT_UNIQUE]
    kept = {"kind": "unmixing", "definition": f"{text}; {maps.attrs['definition']}"}
    maps.attrs |= kept | {"intervals_hold": False, "reasons": reasons}
    return maps


def purest_pixels(images: Array, basis: Array, n_spectra: int) -> Array:
    """Return the spectra (n, E) of the purest pixels: the corners of the set of all.

    Spectra are scaled to the same amount of the mean spectrum.  The one that is farthest from 0 is the first
    corner; the next one is that farthest from all those found.  A corner is the mean of the pixels that go
    farthest in its direction.

    Parameters
    ----------
    images : ndarray, shape (K, P)
    basis : ndarray, shape (K, E)
    n_spectra : int
        At most K.

    Notes
    -----
    Successive projection, M. C. U. Araujo et al., Chemom. Intell. Lab. Syst. 57, 65 (2001),
    doi:10.1016/S0169-7439(01)00119-8; like VCA (J. M. P. Nascimento and J. M. Bioucas Dias, IEEE Trans.
    Geosci. Remote Sens. 43, 898 (2005), doi:10.1109/TGRS.2005.844293), but without random directions.
    """
    upper = np.linalg.qr(basis.T, mode="r")
    points = upper @ images
    mean = points.mean(axis=1)
    amount = mean @ points / max(float(mean @ mean), np.finfo(float).tiny)
    thick = amount > MIN_AMOUNT * np.percentile(amount, 95)
    if thick.sum() < n_spectra:
        raise StackError(
            f"{thick.sum()} pixels hold enough sample to be pure; too few for {n_spectra} spectra"
        )
    points, images = points[:, thick] / amount[thick], images[:, thick] / amount[thick]
    count = max(int(PURE_SHARE * points.shape[1]), min(FEWEST_PURE, points.shape[1]))
    left = points - points.mean(axis=1, keepdims=True) if n_spectra > 1 else points
    corners: list[NDArray[np.intp]] = []
    directions = np.zeros((0, len(points)))
    for _ in range(n_spectra):
        far = int(np.argmax(np.sum(left**2, axis=0)))
        along = left[:, far] / max(float(np.linalg.norm(left[:, far])), np.finfo(float).tiny)
        corners.append(np.argsort(along @ left)[-count:])
        corner = points[:, corners[-1]].mean(axis=1)
        if len(corners) == 1:  # from here on, distances are from the corners that were found
            first = corner[:, None]
        else:
            rest = corner - first[:, 0]
            rest = rest - directions.T @ (directions @ rest)
            directions = np.vstack(
                [directions, rest / max(float(np.linalg.norm(rest)), np.finfo(float).tiny)]
            )
        left = points - first
        left = left - directions.T @ (directions @ left)
    return np.stack([images[:, corner].mean(axis=1) @ basis for corner in corners])


def _number(data: Denoised | xr.DataArray, spectra: PixelSpectra, n_spectra: int | None) -> int:
    """Return the number of spectra."""
    if n_spectra is None and spectra.basis is None:
        raise RecipeError(
            "a stack does not say how many spectra it is mixed from; give it", parameter="n_spectra"
        )
    n_spectra = len(spectra.images) if n_spectra is None else int(n_spectra)
    if n_spectra < 1:
        raise RecipeError(f"at least one spectrum must be wanted, got {n_spectra}", parameter="n_spectra")
    if n_spectra > len(spectra.images):
        what = "components" if isinstance(data, Denoised) else "energies"
        raise RankError(
            f"{n_spectra} spectra cannot be told apart in {len(spectra.images)} {what}; ask for fewer",
            parameter="n_spectra",
        )
    return n_spectra


def _scaled(spectra: PixelSpectra) -> _Scaled:
    """Return some of the usable pixels."""
    used = np.flatnonzero(spectra.mask)
    if not used.size:
        raise StackError("no usable pixel is left, so there is nothing to unmix")
    variance = spectra.noise.diagonal
    noise = np.sqrt(variance) if (variance > 0).all() else np.ones(len(variance))
    basis = np.eye(len(variance)) if spectra.basis is None else spectra.basis
    images = spectra.images[:, used[:: -(-len(used) // SAMPLE_PIXELS)]].astype(np.float64)
    return _Scaled(basis / noise, noise, images)


def _in_turns(scaled: _Scaled, spectra: Array) -> Array:
    """Return spectra (n, E) that are not negative, after turns of amounts and spectra."""
    spectra = np.maximum(spectra / scaled.noise, 0)
    upper = np.linalg.qr(scaled.basis.T, mode="r")
    size, before = float(np.sum((upper @ scaled.images) ** 2)), np.inf
    for _ in range(MOST_TURNS):
        gram = _safe(spectra @ spectra.T)
        amounts = nonnegative_solutions(gram, spectra @ scaled.basis.T @ scaled.images)[0]
        gram = _safe(amounts @ amounts.T)
        rhs = (amounts @ scaled.images.T) @ scaled.basis
        spectra = nonnegative_solutions(gram, rhs)[0]
        misfit = size + float(np.sum(spectra * (gram @ spectra - 2 * rhs)))
        if before - misfit < SETTLED * abs(misfit):
            break
        before = misfit
    return spectra * scaled.noise


def _safe(gram: Array) -> Array:
    """Return a matrix that can be inverted, although a spectrum or an amount may be 0 everywhere."""
    return gram + 1e-10 * float(np.trace(gram)) / len(gram) * np.eye(len(gram))


def _sizes(spectra: PixelSpectra, found: Array) -> Array:
    """Return the edge step of each spectrum (n, E); its maximum where there is no step above 0."""
    steps = np.zeros(len(found))
    try:
        edge = edge_ranges(spectra.energy_ev, find_edge(spectra.energy_ev, spectra.mean_spectrum).e0_ev)
        if edge.pre_ev is not None and edge.post_ev is not None:
            steps = found @ step_operator(spectra.energy_ev, edge)
    except EdgeError:
        pass
    largest = np.abs(found).max(axis=1)
    sizes = steps if (steps > 0.05 * largest).all() else largest
    return np.asarray(np.where(sizes > 0, sizes, 1.0))
