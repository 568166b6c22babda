"""A stack as the sum of frames of low rank, sparse frames and noise: robust PCA, in batch and online.

Frames are rows here: a matrix has shape (T, N), of T frames and N pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layers", "Settings", "principal_component_pursuit", "reprocs", "sparse_part"]

Values = NDArray[np.float64]
MOST_PURSUIT_STEPS = 200
LEAST_CHANGE = 1e-6  # of the pursuit, relative to the matrix
SHRINKAGE_STEPS = 25  # of the search for a sparse part


@dataclass(frozen=True)
class Settings:
    """Parameters of the online algorithm, named in the publication as given in brackets."""

    n_train: int = 20  # frames at the start that are split in batch
    block: int = 20  # frames between two updates of the subspace (alpha)
    energy: float = 0.9  # of the first frames, that the first subspace holds (b)
    least_updates: int = 3  # of new directions, before they may be kept (K_min)
    most_updates: int = 10  # after which they are kept (K_max)
    same: float = 0.01  # change of new directions that counts as none
    support: float = 1.0  # least size of a sparse value, in units of the frame's root mean square (q)
    floor: float = 0.0  # standard deviation of white noise: directions that it explains are no signal


@dataclass(frozen=True)
class Layers:
    """Frames of low rank and sparse frames, each (T, N)."""

    low_rank: Values  # projected on the subspace that is known after the last frame
    sparse: Values


def principal_component_pursuit(matrix: Values) -> tuple[Values, Values]:
    """Split a matrix into one of low rank and a sparse one, by inexact augmented Lagrange multipliers.

    References
    ----------
    E. J. Candes, X. Li, Y. Ma, J. Wright, "Robust principal component analysis?", J. ACM 58 (2011) 11.
    Z. Lin, M. Chen, Y. Ma, "The augmented Lagrange multiplier method for exact recovery of corrupted low-rank
    matrices", arXiv:1009.5055 (2010).
    """
    weight = 1 / np.sqrt(max(matrix.shape))
    norm = np.linalg.norm(matrix, 2)
    sparse = np.zeros_like(matrix)
    if norm == 0:
        return sparse, sparse
    multiplier = matrix / max(norm, np.abs(matrix).max() / weight)
    penalty = 1.25 / norm
    low_rank = sparse
    for _ in range(MOST_PURSUIT_STEPS):
        left, values, right = np.linalg.svd(matrix - sparse + multiplier / penalty, full_matrices=False)
        low_rank = (left * np.maximum(values - 1 / penalty, 0)) @ right
        sparse = _shrunk(matrix - low_rank + multiplier / penalty, weight / penalty)
        rest = matrix - low_rank - sparse
        multiplier = multiplier + penalty * rest
        penalty *= 1.5
        if np.linalg.norm(rest) < LEAST_CHANGE * np.linalg.norm(matrix):
            break
    return low_rank, sparse


def reprocs(frames: Values, settings: Settings) -> Layers:
    """Split frames one after the other, by recursive projected compressive sensing (Prac-ReProCS).

    The part of a frame outside of the subspace is searched for sparse values.  The rest of the frame updates
    the subspace: new directions are looked for in every block of frames, and estimated again in each of the
    next blocks, until they stay the same.  At the end, all frames are projected on the subspace as it then
    is: online, frames in which a direction appears for the first time are without it.

    References
    ----------
    H. Guo, C. Qiu, N. Vaswani, "An online algorithm for separating sparse and low-dimensional signal
    sequences from their sum", IEEE Trans. Signal Process. 62 (2014) 4284-4297.
    """
    n_train = min(settings.n_train, len(frames))
    low, first_sparse = principal_component_pursuit(frames[:n_train])
    subspace = _Subspace(low, settings)
    sparse = np.zeros_like(frames)
    sparse[:n_train] = first_sparse * _large(first_sparse, frames[:n_train], settings.support)
    supports = [sparse[n_train - 2] != 0, sparse[n_train - 1] != 0] if n_train > 1 else [sparse[0] != 0] * 2
    before = frames[n_train - 1] - sparse[n_train - 1]
    for t in range(n_train, len(frames)):
        least = settings.support * np.sqrt(np.mean(frames[t] ** 2))
        allowed = float(np.linalg.norm(subspace.outside(before)))
        sparse[t] = _sparse_values(frames[t], subspace.basis, allowed, supports, least)
        supports = [supports[1], sparse[t] != 0]
        before = frames[t] - sparse[t]
        subspace.learn(before)
    subspace.learn_rest()
    return Layers(subspace.project(frames - sparse), sparse)


def sparse_part(outside: Values, basis: Values, allowed: float, weights: Values) -> Values:
    """Return the vector of least weighted 1-norm that leaves no more than `allowed` outside of a subspace.

    The multiplier is that of the problem without subspace, where it is known exactly; then the problem with
    the subspace is solved for this multiplier, by accelerated proximal gradients.

    Parameters
    ----------
    outside : (N,) array
        Part of the frame outside of the subspace.
    basis : (R, N) array
        Orthonormal vectors that span the subspace.
    allowed : float
        Largest norm of what is left.
    weights : (N,) array
        Weight of each value in the norm.
    """
    multiplier = _multiplier(outside, weights, allowed)
    found = ahead = np.zeros_like(outside)
    pace = 1.0
    for _ in range(SHRINKAGE_STEPS if multiplier < np.inf else 0):
        rest = outside - ahead + (ahead @ basis.T) @ basis
        new = _shrunk(ahead + rest, multiplier * weights)
        next_pace = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = new + (pace - 1) / next_pace * (new - found)
        found, pace = new, next_pace
    return found


class _Subspace:
    """The subspace of the frames so far: old directions, and new ones that are still estimated again."""

    def __init__(self, frames: Values, settings: Settings) -> None:
        self._settings = settings
        values, right = _right_vectors(frames)
        if settings.floor:
            kept = int(np.sum(values > self._noise(frames.shape)))
        else:
            energy = np.cumsum(values**2) / max(float(np.sum(values**2)), 1e-300)
            kept = min(int(np.searchsorted(energy, settings.energy)) + 1, len(values))
        self._old = right[:kept]
        self._new = right[:0]
        self._least = 0.0 if settings.floor or not kept else values[kept - 1] / np.sqrt(len(frames))
        self._block: list[Values] = []
        self._updates = 0  # of the new directions; 0 while none are estimated

    @property
    def basis(self) -> Values:
        """Orthonormal vectors, shape (R, N)."""
        return np.concatenate([self._old, self._new])

    def project(self, frames: Values) -> Values:
        return (frames @ self.basis.T) @ self.basis

    def outside(self, frame: Values) -> Values:
        return frame - self.project(frame)

    def learn(self, frame: Values) -> None:
        """Take in a frame without its sparse values."""
        self._block.append(frame)
        if len(self._block) == self._settings.block:
            self._update(np.array(self._block))
            self._block = []

    def learn_rest(self) -> None:
        """Take in the last frames, which are no whole block."""
        if self._block:
            self._update(np.array(self._block))
            self._block = []

    def _update(self, block: Values) -> None:
        found = self._directions(block - (block @ self._old.T) @ self._old)
        gone = np.sum((self._new @ found.T) ** 2, axis=1) < 0.5
        if gone.any():  # directions of the edge come and go: they are kept as they were
            self._old, self._new = np.concatenate([self._old, self._new[gone]]), self._new[~gone]
            found = self._directions(block - (block @ self._old.T) @ self._old)
        if not self._updates and not len(found):
            return
        changes = _change(block, self._new, found) if len(self._new) else np.inf
        self._new = found
        self._updates += 1
        settled = changes < self._settings.same and self._updates >= self._settings.least_updates
        if settled or self._updates == self._settings.most_updates:
            self._keep()

    def _keep(self) -> None:
        """Count the new directions as old ones."""
        self._old, self._new, self._updates = self.basis, self._new[:0], 0

    def _directions(self, rest: Values) -> Values:
        """Return the directions in which a block outside of the old subspace is larger than its threshold."""
        values, right = _right_vectors(rest)
        threshold = max(self._least * np.sqrt(len(rest)), self._noise(rest.shape))
        return right[: min(int(np.sum(values > threshold)), len(rest) // 3)]

    def _noise(self, shape: tuple[int, ...]) -> float:
        """Return the largest singular value that white noise has in a matrix of this shape."""
        return self._settings.floor * float(np.sqrt(shape[0]) + np.sqrt(shape[1]))


def _sparse_values(
    frame: Values, basis: Values, allowed: float, supports: list[NDArray[np.bool_]], least: float
) -> Values:
    """Return the sparse values of one frame, given where the two frames before it had theirs."""
    outside = frame - (frame @ basis.T) @ basis
    earlier, last = supports
    both, n_earlier, n_last = (int(np.sum(each)) for each in (earlier & last, earlier, last))
    if n_earlier and n_last and both >= 0.5 * n_earlier:  # the support changes slowly: it may be predicted
        weights = np.where(last, (n_earlier - both) / n_last, 1.0)
        size = np.abs(sparse_part(outside, basis, allowed, weights))
        most = min(int(1.4 * n_last), int(np.sum(size > 0)))
        chosen = np.zeros(len(frame), bool)
        chosen[np.argsort(size)[len(size) - most :]] = True
        chosen = np.abs(_least_squares(outside, basis, chosen)) > least
    else:
        chosen = np.abs(sparse_part(outside, basis, allowed, np.ones(len(frame)))) > least
    return _least_squares(outside, basis, chosen)


def _least_squares(outside: Values, basis: Values, chosen: NDArray[np.bool_]) -> Values:
    """Return the values in the chosen pixels that explain most of what lies outside of the subspace."""
    within = basis[:, chosen]
    right = outside[chosen]
    inner = np.eye(len(basis)) - within @ within.T
    result = np.zeros_like(outside)
    result[chosen] = right + np.linalg.lstsq(inner, within @ right, rcond=None)[0] @ within
    return result


def _multiplier(values: Values, weights: Values, allowed: float) -> float:
    """Return the multiplier with which shrinkage of `values` changes them by `allowed`; infinity for all."""
    if np.sum(values**2) <= allowed**2:
        return np.inf
    known = weights > 0  # values of weight 0 stay as they are
    if not known.any():
        return 0.0
    limits = np.abs(values[known]) / weights[known]  # multipliers at which each value becomes 0
    order = np.argsort(limits)
    squares, weight = values[known][order] ** 2, weights[known][order] ** 2
    gone = np.append(0, np.cumsum(squares)[:-1])
    staying = np.cumsum(weight[::-1])[::-1]
    multipliers = np.sqrt(np.maximum(allowed**2 - gone, 0) / staying)
    return float(multipliers[np.argmax(multipliers <= limits[order])])


def _right_vectors(matrix: Values) -> tuple[Values, Values]:
    """Return the singular values of (T, N) and the right vectors (T, N), by way of the T x T matrix."""
    squares, left = np.linalg.eigh(matrix @ matrix.T)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    kept = values > 1e-7 * max(values[0], 1e-300)  # eigenvalues below 1e-14 are rounding errors
    return values[kept], (left[:, ::-1][:, kept].T @ matrix) / values[kept][:, None]


def _change(block: Values, before: Values, after: Values) -> float:
    """Return by how much the projection of a block changes, relative to the projection before."""
    old, new = ((block @ basis.T) @ basis for basis in (before, after))
    return float(np.linalg.norm(new - old) / max(np.linalg.norm(old), 1e-300))


def _large(sparse: Values, frames: Values, support: float) -> NDArray[np.bool_]:
    return np.abs(sparse) > support * np.sqrt(np.mean(frames**2, axis=1, keepdims=True))


def _shrunk(values: Values, by: float | Values) -> Values:
    return np.sign(values) * np.maximum(np.abs(values) - by, 0)
