"""Estimate the smooth change of the illumination from exposure to exposure, apart from the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, uniform_filter1d

from xanesum.linalg.subspace import inner_products, project

__all__ = ["DriftOfPixels", "FlatDrift", "estimate_drift", "remove_smooth", "smooth_fields"]

ORDER = 7  # highest order of the cosines in the smooth fields, both axes added
ABOVE_NOISE = 2.0  # a field changes if its variance is at least this many times that of the noise
PREDICTABLE = 3.5  # standard deviations of von Neumann's ratio beyond which a change is not random
NEARBY = 7  # energies over which the spectrum of a species changes little
EMPTY_CONTRAST = 0.1  # an empty pixel is below this share of the sample's 95th percentile ...
EMPTY_BLUR_PX, EMPTY_MARGIN_PX = 2.0, 3  # ... after blurring, and this far from pixels that are not empty
MIN_EMPTY = 0.1  # share of the pixels that must be empty for them to be used
REGION_PX = 300.0  # approximate number of pixels over which the sample is the same
THIN = 10.0  # a pair of neighbours is used if its thickness exceeds this many times the noise
N_PAIRS = 300_000  # pairs of neighbours in the fit of a field, at most
PAIRS_A_PIXEL = 2  # pairs that a pixel belongs to, which makes their noise dependent
N_ROBUST = 15  # iterations of the robust fit


@dataclass(frozen=True, slots=True, eq=False)
class FlatDrift:
    """Smooth fields, and their amounts in each frame, in optical density."""

    fields: NDArray[np.float32]  # (M, Y, X), orthonormal over the pixels that count, 0 elsewhere
    amounts: NDArray[np.float64]  # (E, M)
    empty: NDArray[np.bool_]  # (Y, X), pixels without sample that were used; none if they are too few

    @property
    def rms(self) -> float:
        """Root mean square over the pixels that count and all energies."""
        n_pixels = int(np.count_nonzero(self.fields.any(axis=0)))
        return float(np.sqrt(np.sum(self.amounts**2) / max(n_pixels * len(self.amounts), 1)))

    def in_pixels(self, scale: int, used: NDArray[np.bool_]) -> DriftOfPixels:
        """Return the drift in single pixels, where it was found in means over `scale` x `scale` pixels.

        The result has all energies; its amounts are 0 at those that were not `used`.
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
    """The drift as a sum of cosines, which gives it for any part of the frames."""

    amounts: NDArray[np.float32]  # (E, C), amplitudes of the cosines
    shape: tuple[int, ...]  # (Y, X), over which half a period of the lowest order extends

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
    """Return cosines (order + 1, n) with 0, 1, 2 ... half periods over `n` pixels."""
    return np.cos(np.pi * np.outer(np.arange(order + 1), (np.arange(n) + 0.5) / n))


def _low(order: int) -> NDArray[np.bool_]:
    """Return a mask (order + 1, order + 1) of the products of two cosines up to this order."""
    return np.asarray(np.add.outer(np.arange(order + 1), np.arange(order + 1)) <= order)


def _cosines(shape: tuple[int, ...], order: int) -> NDArray[np.float64]:
    """Return the products (C, Y, X) of cosines along both axes up to `order`."""
    along = [_along(n, order) for n in shape]
    return np.asarray(np.einsum("iy,jx->ijyx", *along)[_low(order)])


def remove_smooth(stack: NDArray[np.float32], fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the stack (E, Y, X) minus its projection on `fields` (M, Y, X), sample or not."""
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

    The residual of `spectra`, as far as it is smooth in space, is drift: the sample has no part in it.  It
    must also change at random from frame to frame.  A predictable change may be a species that is spread
    smoothly, and stays.  The part of the drift that looks like the sample's spectra is fitted too, with the
    variance of each field in the first part.  The sample is part of that fit, proportional to its thickness.
    Along the edge itself only empty pixels are used, where there are enough of them.

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
    if not empty.any():  # without empty pixels drift and species look alike, and predictable changes stay
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
    """Return directions (R, E) in the spectra that are orthogonal to a constant and a line, and their images.

    The first is the direction in which the sample varies most: its edge.
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
    """Return orthonormal rows (2, E) that normalization removes, so that drift along them harms no map."""
    return np.linalg.qr(np.column_stack([np.ones_like(energy_ev), energy_ev - energy_ev.mean()])).Q.T


def _alike(
    images: NDArray[np.float32],
    fields: NDArray[np.float32],
    prior: NDArray[np.float64],
    sigma: float,
    empty: NDArray[np.bool_],
    neighbours: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the amount of each field (M, n) in each image (K, n), as far as it differs from the sample.

    The edge-jump image, which is the first, is fitted in empty pixels only.  Elsewhere signal scales with
    thickness (that image), fitted jointly with the fields; variation between regions counts as noise
    correlated over `REGION_PX`.  Most `neighbours` (2, N) are in the same chemical state, so that their
    signals scale with their thickness except for the drift.  Borders between states are the outliers of a
    robust fit (Cauchy's weights).
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
    compared = designs[:, a] * share_a - designs[:, b] * share_b  # free of signal proportional to thickness
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
    """Return pairs (2, N) of neighbours, as indices among the pixels that count."""
    number = np.full(keep.shape, -1)
    number[keep] = np.arange(np.count_nonzero(keep))
    along = [(number[1:], number[:-1]), (number[:, 1:], number[:, :-1])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in along], axis=1)
    pairs = pairs[:, (pairs >= 0).all(axis=0)]
    return pairs[:, :: max(1, pairs.shape[1] // N_PAIRS)]


def _with_predictable(
    spectra: NDArray[np.float64], smooth: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """Return spectra (K, E), and the directions of smooth changes (E, M) that are predictable along energy.

    The mean square difference of successive random values is twice their variance (von Neumann's ratio).
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
    """Return the pixels where all images (K, Y, X) are close to zero; none if they are too few."""
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
