"""Illumination that changes smoothly from exposure to exposure: found beside the sample, and removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, uniform_filter1d

from xanesum.linalg.subspace import inner_products, project

__all__ = ["DriftOfPixels", "FlatDrift", "estimate_drift", "remove_smooth", "smooth_fields"]

ORDER = 7  # of the cosines, along both axes together, that make the smooth fields
ABOVE_NOISE = 2.0  # of the noise's variance, from which on a field is taken to change
PREDICTABLE = 3.5  # standard deviations of the von Neumann ratio at which a change is no longer random
NEARBY = 7  # energies over which a species' spectrum changes little
EMPTY_CONTRAST = 0.1  # of the sample's 95th percentile, up to which a pixel is empty ...
EMPTY_BLUR_PX, EMPTY_MARGIN_PX = 2.0, 3  # ... once blurred, and this far from what is not
MIN_EMPTY = 0.1  # share of the pixels that has to be empty to say anything
REGION_PX = 300.0  # over so many pixels, about, the sample is the same
THIN = 10.0  # standard deviations of noise, up to which two pixels' thickness says nothing of them together
N_PAIRS = 300_000  # of neighbours, from which a field is fitted
PAIRS_A_PIXEL = 2
N_ROBUST = 15  # rounds of reweighting


@dataclass(frozen=True, slots=True, eq=False)
class FlatDrift:
    """Smooth fields, and how much of each was in each frame, in optical density."""

    fields: NDArray[np.float32]  # (M, Y, X), orthonormal over the pixels that count, 0 elsewhere
    amounts: NDArray[np.float64]  # (E, M)
    empty: NDArray[np.bool_]  # (Y, X), pixels without sample that were used; none where they are too few

    @property
    def rms(self) -> float:
        """Root mean square over the pixels that count and all energies."""
        n_pixels = int(np.count_nonzero(self.fields.any(axis=0)))
        return float(np.sqrt(np.sum(self.amounts**2) / max(n_pixels * len(self.amounts), 1)))

    def in_pixels(self, scale: int, used: NDArray[np.bool_]) -> DriftOfPixels:
        """Return the drift in the pixels of which means over `scale` x `scale` were searched for it.

        The result has all energies (E',), with nothing at those that were not `used`.
        """
        shape = self.fields.shape[1:]
        cosines = _cosines(shape, ORDER)
        keep = self.fields.any(axis=0)
        shares = np.linalg.lstsq(cosines[:, keep].T, self.fields[:, keep].T.astype(np.float64))[0]
        amounts = np.zeros((len(used), len(cosines)), np.float32)
        amounts[used] = self.amounts @ shares.T
        return DriftOfPixels(amounts, tuple(n * scale for n in shape))


@dataclass(frozen=True, slots=True, eq=False)
class DriftOfPixels:
    """The drift as sums of cosines, for any part of the frames."""

    amounts: NDArray[np.float32]  # (E, C), of the cosines
    shape: tuple[int, ...]  # (Y, X) of which they have their periods

    def of(self, energies: slice, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Return a part (E', Y', X')."""
        y, x = (_along(n, ORDER)[:, part] for n, part in zip(self.shape, (rows, columns), strict=True))
        low = _low(ORDER)
        parts = np.zeros((len(self.amounts[energies]), *low.shape), np.float32)
        parts[:, low] = self.amounts[energies]
        return np.asarray(np.matmul(y.T.astype(np.float32), parts @ x.astype(np.float32)))


def smooth_fields(
    shape: tuple[int, ...], *, mask: NDArray[np.bool_] | None = None, order: int = ORDER
) -> NDArray[np.float32]:
    """Return smooth fields (M, Y, X), orthonormal within `mask` and 0 outside: cosines up to `order`."""
    keep = np.ones(shape, bool) if mask is None else mask
    cosines = _cosines(shape, order)
    q, r = np.linalg.qr(cosines[:, keep].T)
    fields = np.zeros((q.shape[1], *shape), np.float32)
    fields[:, keep] = q.T
    known = np.abs(np.diag(r)) > 1e-6 * np.abs(r[0, 0])
    return np.asarray(fields[known])


def _along(n: int, order: int) -> NDArray[np.float64]:
    """Return cosines (order + 1, n) of half a period and its multiples over `n` pixels."""
    return np.cos(np.pi * np.outer(np.arange(order + 1), (np.arange(n) + 0.5) / n))


def _low(order: int) -> NDArray[np.bool_]:
    """Return which products of two cosines are of this order at most, (order + 1, order + 1)."""
    return np.asarray(np.add.outer(np.arange(order + 1), np.arange(order + 1)) <= order)


def _cosines(shape: tuple[int, ...], order: int) -> NDArray[np.float64]:
    """Return the products (C, Y, X) of cosines along both axes up to `order`."""
    along = [_along(n, order) for n in shape]
    return np.asarray(np.einsum("iy,jx->ijyx", *along)[_low(order)])


def remove_smooth(stack: NDArray[np.float32], fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the stack (E, Y, X) without anything that `fields` (M, Y, X) can explain, sample or not."""
    amounts = inner_products(fields, stack).T
    cleaned = np.empty_like(stack)
    for frame, out, amount in zip(stack, cleaned, amounts.astype(np.float32), strict=True):
        np.subtract(frame, np.tensordot(amount, fields, axes=1), out=out)
    return cleaned


def estimate_drift(
    stack: NDArray[np.float32],
    spectra: NDArray[np.float64],
    fields: NDArray[np.float32],
    sigma: float,
    energy_ev: NDArray[np.float64],
    *,
    mask: NDArray[np.bool_] | None = None,
) -> FlatDrift:
    """Find the smooth change of the illumination in each frame, without touching the sample's signal.

    What `spectra` leave over, as far as it is smooth in space, is drift: the sample cannot have it.  Left
    over it must also change at random from frame to frame; what does not may be a species that is spread
    smoothly, and is left alone.  The part of the drift that looks like the sample's spectra is fitted with
    the variance that each field has in the first part, beside a sample that is nothing where it is thin;
    along the edge itself only where there are enough empty pixels.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Optical density, finite wherever `mask` holds.
    spectra : ndarray, shape (K, E)
        Orthonormal spectra of the sample, from a stack without smooth fields (`remove_smooth`).
    fields : ndarray of float32, shape (M, Y, X)
        From `smooth_fields`, for the same mask.
    sigma : float
        Noise level.
    energy_ev : ndarray, shape (E,)
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    """
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    smooth = inner_products(fields, stack).T
    left_alone = _with_predictable(spectra, smooth, sigma)
    untouched = np.linalg.qr(np.vstack([left_alone, _constant_and_line(energy_ev)]).T).Q
    beside = smooth - untouched @ (untouched.T @ smooth)
    n_free = len(stack) - untouched.shape[1]
    if n_free < 2:
        return FlatDrift(fields, np.zeros_like(smooth), np.zeros_like(keep))
    scatter = beside.T @ beside / n_free - sigma**2 * np.eye(len(fields))
    changes = np.diag(scatter) > (ABOVE_NOISE - 1) * sigma**2
    amounts = np.where(changes, beside, 0.0)
    directions, images = _varying(left_alone, stack, energy_ev)
    empty = _empty_pixels(images, keep)
    neighbours = np.zeros((2, 0), np.intp)
    if not empty.any():  # where it is not known what is no species, predictable changes stay
        directions, images = _varying(spectra, stack, energy_ev)
        neighbours = _neighbours(keep)
    if changes.any() and len(directions):
        alike = np.zeros((len(directions), len(fields)))
        known = _positive(scatter[np.ix_(changes, changes)])
        prior = np.asarray(np.linalg.pinv(known, hermitian=True), np.float64)
        alike[:, changes] = _alike(
            images[:, keep], fields[changes][:, keep], prior, sigma, empty[keep], neighbours
        )
        amounts = amounts + directions.T @ alike
    return FlatDrift(fields, amounts, empty)


def _varying(
    spectra: NDArray[np.float64], stack: NDArray[np.float32], energy_ev: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return directions (R, E) of the spectra that see neither a constant nor a line, and their images.

    The first is that along which the sample varies most: its edge.
    """
    fixed = _constant_and_line(energy_ev)
    size, rows = np.linalg.svd(spectra - (spectra @ fixed.T) @ fixed, full_matrices=False)[1:]
    rows = rows[size > 1e-3]
    if not len(rows):
        return rows, np.zeros((0, *stack.shape[1:]), np.float32)
    images = project(rows, stack)
    turned = np.linalg.eigh(inner_products(images, images))[1][:, ::-1].T
    return turned @ rows, np.tensordot(turned.astype(np.float32), images, axes=1)


def _constant_and_line(energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal rows (2, E): what normalization takes away, so that drift along it costs no map."""
    return np.linalg.qr(np.column_stack([np.ones_like(energy_ev), energy_ev - energy_ev.mean()])).Q.T


def _alike(
    images: NDArray[np.float32],
    fields: NDArray[np.float32],
    prior: NDArray[np.float64],
    sigma: float,
    empty: NDArray[np.bool_],
    neighbours: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return how much of each field (M, n) is in each image (K, n), as far as it can be told from the sample.

    In the first image, the edge's, from empty pixels only.  In the others what the sample shows grows with
    its thickness, which is the first image: a multiple of that is fitted beside the fields, and what the
    sample's regions differ by counts as noise, that much larger as it is the same over `REGION_PX` pixels.
    Most neighbours (2, N) are in one state, so that what they show is as their thickness but for the drift:
    the states' borders are the outliers of a robust fit (Cauchy's weights).
    """
    found = np.zeros((len(images), len(fields)))
    designs = fields.astype(np.float64)
    thickness = images[0].astype(np.float64)
    if empty.any():
        inside = designs[:, empty]
        normal = inside @ inside.T / sigma**2 + prior
        found[0] = np.linalg.solve(normal, inside @ images[0, empty] / sigma**2)
    both = np.vstack([designs, thickness])
    size = np.hypot(*thickness[neighbours])
    a, b = neighbours[:, size > THIN * sigma]
    share_a, share_b = thickness[[b, a]] / size[size > THIN * sigma]
    compared = designs[:, a] * share_a - designs[:, b] * share_b  # free of what is as the thickness
    for k in range(1, len(images)):
        values = images[k].astype(np.float64)
        rest = values - (values @ thickness) / (thickness @ thickness) * thickness
        spread = max(float(rest @ rest) - rest.size * sigma**2, 0.0) / (thickness @ thickness)
        weights = 1 / (sigma**2 + REGION_PX * spread * thickness**2)
        normal = (both * weights) @ both.T
        normal[:-1, :-1] += prior
        target = both @ (weights * values)
        found[k] = np.linalg.solve(normal, target)[:-1]
        differences = values[a] * share_a - values[b] * share_b
        for _ in range(N_ROBUST if len(a) else 0):
            misfit = (differences - found[k] @ compared) / sigma
            weights = 1 / (PAIRS_A_PIXEL * sigma**2 * (1 + misfit**2))
            total, aim = normal.copy(), target.copy()
            total[:-1, :-1] += (compared * weights) @ compared.T
            aim[:-1] += compared @ (weights * differences)
            found[k] = np.linalg.solve(total, aim)[:-1]
    return found


def _neighbours(keep: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return pairs (2, N) of neighbours among the pixels that count, which are numbered in their order."""
    number = np.full(keep.shape, -1)
    number[keep] = np.arange(np.count_nonzero(keep))
    along = [(number[1:], number[:-1]), (number[:, 1:], number[:, :-1])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in along], axis=1)
    pairs = pairs[:, (pairs >= 0).all(axis=0)]
    return pairs[:, :: max(1, pairs.shape[1] // N_PAIRS)]


def _with_predictable(
    spectra: NDArray[np.float64], smooth: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """Return spectra (K, E) and those directions of smooth changes (E, M) that are not random along energy.

    Successive values of what is random differ by twice their variance (von Neumann's ratio).
    """
    n_energies = len(smooth)
    least = 2 - PREDICTABLE * 2 / np.sqrt(n_energies)
    for _ in range(min(smooth.shape[1], n_energies - 2 - len(spectra))):
        beside = smooth - spectra.T @ (spectra @ smooth)
        slow = uniform_filter1d(beside, min(NEARBY, n_energies), axis=0, mode="nearest")
        left, _, right = np.linalg.svd(slow - spectra.T @ (spectra @ slow), full_matrices=False)
        change = beside @ right[0]
        power = float(change @ change)
        if power < ABOVE_NOISE * n_energies * sigma**2 or np.sum(np.diff(change) ** 2) > least * power:
            break
        spectra = np.vstack([spectra, left[:, 0]])
    return spectra


def _empty_pixels(images: NDArray[np.float32], keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return pixels where images (K, Y, X) are next to zero; none where they are too few to tell anything."""
    if not len(images):
        return np.zeros_like(keep)
    share = np.maximum(gaussian_filter(keep.astype(np.float32), EMPTY_BLUR_PX), 1e-3)
    blurred = np.stack([gaussian_filter(np.where(keep, image, 0), EMPTY_BLUR_PX) / share for image in images])
    size = np.sqrt(np.sum(blurred**2, axis=0))
    low = (size < EMPTY_CONTRAST * np.percentile(size[keep], 95)) | ~keep
    empty = np.asarray(binary_erosion(low, iterations=EMPTY_MARGIN_PX, border_value=1)) & keep
    return empty if empty.sum() >= MIN_EMPTY * keep.sum() else np.zeros_like(keep)


def _positive(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.maximum(values, 0) @ vectors.T)
