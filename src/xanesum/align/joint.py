"""Shifts, images and spectra together: what tells motion from chemistry.

A change of chemistry may look like a shift: an image of the model may hold a part of the slopes of the first.
Then shifts in proportion to the ratio of the two spectra change little but that image.  What they change
besides is the second image itself, which moves too.  That is little, and spread over all frames, so that
regression of one frame at a time does not see it.  Here one regression has the shifts and spectra of all
frames, and for the images what shifts can change in them: parts of the slopes of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.align.frames import Complex, Level
from xanesum.align.light import in_sample, polynomials
from xanesum.align.state import State
from xanesum.align.template import Template, parts_of
from xanesum.storage.memory import N_THREADS
from xanesum.storage.prefetch import in_threads

__all__ = ["Joint", "joint_step"]

Array = NDArray[np.float64]

# correlations of an image with the slopes of the first, of which each is as likely before
ALIKE = np.geomspace(0.003, 0.1, 7)
LEAST_PIVOT = 1e-9  # of the largest, below which nothing is known of a direction
LEAST_INFORMATION = 1e-6  # on a shift, in pixels of the level


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """One step of all frames together."""

    steps: Array  # (E, 2) px
    covariance: Array  # (E, 2, 2) px^2, where noise is white and the model is right
    spectra: Array  # (K, E), orthonormal
    offset: Array  # (E, 1 or 6) light of the frame beyond the known one, in units of the stack
    power: Array  # (Py, Pxh) mean power of what the model leaves of the known frames, over white noise


def joint_step(level: Level, template: Template, state: State, known: NDArray[np.bool_]) -> Joint:
    """Return one step of Gauss and Newton of shifts, images and spectra.

    Parameters
    ----------
    level : Level
    template : Template
        From frames at the shifts of `state`; nothing is taken out of its images.
    state : State
    known : ndarray of bool, shape (E,)
        Frames that tell of the images.
    """
    canvas = template.canvas
    images = template.coefficients
    basis = np.concatenate([images, canvas.d_y * images, canvas.d_x * images])
    light = _Light.of(level, state)
    pulls, power = _pulls(level, template, state, light, basis, known)
    normal = _normal(level, template, state.shifts[state.used], basis, light.n_fields)
    spectra = template.spectra.astype(np.float64)
    joined = _Joined.of(spectra, normal, pulls, light, known)
    n, k = light.n_fields, len(spectra)
    of_images, of_shifts = slice(n, n + k), slice(n + k, None)
    common, covariance = _common(joined, normal[n - 1 :, n - 1 :], k)
    answers = np.stack([i @ (own - cross @ common) for i, own, cross in zip(*joined.per_frame, strict=True)])
    shifted = np.stack([(i @ cross)[of_shifts] for i, _, cross in zip(*joined.per_frame, strict=True)])
    own = joined.inverses[:, of_shifts, of_shifts] + shifted @ covariance @ shifted.transpose(0, 2, 1)
    changed = spectra + np.where(known, answers[:, of_images].T, 0)
    return Joint(
        answers[:, of_shifts] * level.binning,
        own * level.binning**2,
        _ordered(changed, normal[of_images, of_images]),
        np.einsum("eij,ei->ej", light.turns, answers[:, :n]) * level.noise[:, None],
        power,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Light:
    """Fields of light in the coordinates of the sample, and what is known of them before."""

    turns: Array  # (E, n, n), fields of the sample's coordinates from those of the detector
    precision: Array  # (E, n, n) of the factors before, in units of the noise
    pull: Array  # (E, n), precision times the mean before

    @property
    def n_fields(self) -> int:
        """Number of fields: 1, or 6."""
        return len(self.pull[0])

    @classmethod
    def of(cls, level: Level, state: State) -> _Light:
        n = state.offset.shape[1]
        turns = in_sample(state.shifts, level.full, n)
        held = np.full(n, 1 / state.light_sigma**2)
        held[0] = 0
        scale = level.noise**2
        precision = (turns * held) @ turns.transpose(0, 2, 1) * scale[:, None, None]
        pull = -np.einsum("eij,ej->ei", turns, held * state.offset) * level.noise[:, None]
        return cls(turns, precision, pull)


def _pulls(
    level: Level, template: Template, state: State, light: _Light, basis: Complex, known: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Return the products of what the model leaves of each frame with light, images and slopes; its power."""
    canvas = template.canvas
    weights = (canvas.pairs / np.float32(np.prod(canvas.size))).astype(np.float32)
    dual = (basis * weights).conj().reshape(len(basis), -1)

    def of(part: range) -> tuple[Array, Array]:
        rests = np.empty((len(part), *level.shape), np.float32)
        along_y, along_x = canvas.phases(state.shifts[part])
        for rest, phase_y, phase_x, e in zip(rests, along_y, along_x, part, strict=True):
            frame, there = level.frame(e, state.offset[e])
            model = np.tensordot(template.spectra[:, e], template.coefficients, axes=1)
            rest[...] = frame - canvas.frames(model * phase_y * phase_x)
            rest *= (there & template.known_in_frame(state.shifts[e])) * level.window
        back = canvas.coefficients(rests)
        back *= along_y.conj()
        back *= along_x.conj()
        products = (back.reshape(len(part), -1) @ dual.T).real
        power = np.sum(np.abs(back[known[part]]) ** 2, axis=0)
        with_fields = np.tensordot(rests, level.fields[: light.n_fields], axes=((1, 2), (1, 2)))
        turned = np.einsum("eij,ej->ei", light.turns[part], with_fields.astype(np.float64))
        return np.column_stack([turned, products]), power

    rows, total = [], np.zeros(canvas.radius.shape)
    for some, power in in_threads(of, parts_of(len(level)), n_threads=N_THREADS, n_ahead=N_THREADS):
        rows.append(some)
        total += power
    return np.concatenate(rows), total / (known.sum() * np.sum(level.window.astype(np.float64) ** 2))


def _normal(level: Level, template: Template, shifts: Array, basis: Complex, n_fields: int) -> Array:
    """Return the products of fields, images and slopes with each other, under the frames' mean window."""
    canvas = template.canvas
    along_y, along_x = canvas.phases(-shifts)
    mixed = np.tensordot(along_y[:, :, 0], along_x[:, 0], axes=(0, 0)) / len(shifts)
    weight = canvas.plane(np.asarray(mixed * canvas.coefficients(level.window), np.complex64))
    y, x = (
        (level.binning * (np.arange(n) - origin + 0.5)) * 2 / size - 1
        for n, origin, size in zip(canvas.size, canvas.origin, level.full, strict=True)
    )
    rows = np.concatenate([polynomials(y[:, None], x)[:n_fields], canvas.plane(basis)])
    flat = rows.reshape(len(rows), -1)
    return np.asarray((flat * (weight * template.known).ravel()) @ flat.T, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """Normal equations of each frame's light, spectra and shift, and of the images common to all."""

    inverses: Array  # (E, N + K + 2, N + K + 2) of each frame's own normal matrix
    own: Array  # (E, N + K + 2) its right side
    cross: Array  # (E, N + K + 2, 2 K^2)
    total: Array  # (2 K^2, 2 K^2) what is left for the images
    right: Array  # (2 K^2,)

    @property
    def per_frame(self) -> tuple[Array, Array, Array]:
        return self.inverses, self.own, self.cross

    @classmethod
    def of(
        cls, spectra: Array, normal: Array, pulls: Array, light: _Light, known: NDArray[np.bool_]
    ) -> _Joined:
        k, n_frames = spectra.shape
        n = light.n_fields
        per, shared = np.zeros((n_frames, n + 3 * k, n + k + 2)), np.zeros((n_frames, n + 3 * k, k, k, 2))
        per[:, : n + k, : n + k] = np.eye(n + k)
        for axis in (0, 1):
            slopes = np.arange(k) + n + k * (1 + axis)
            per[:, slopes, n + k + axis] = -spectra.T
            for j, slope in enumerate(slopes):
                shared[:, slope, :, j, axis] = spectra.T
        shared = shared.reshape(n_frames, n + 3 * k, -1)
        weighed = per.transpose(0, 2, 1) @ normal
        matrix = weighed @ per
        matrix[:, [n + k, n + k + 1], [n + k, n + k + 1]] += LEAST_INFORMATION
        matrix[:, :n, :n] += light.precision
        inverses = np.asarray(np.linalg.pinv(matrix, rcond=1e-12, hermitian=True), np.float64)
        own = np.einsum("eij,ei->ej", per, pulls)
        own[:, :n] += light.pull
        cross = weighed @ shared
        turned = cross.transpose(0, 2, 1) @ inverses
        total = shared.transpose(0, 2, 1) @ normal @ shared - turned @ cross
        right = np.einsum("eij,ei->ej", shared, pulls) - np.einsum("eij,ej->ei", turned, own)
        return cls(inverses, own, cross, total[known].sum(axis=0), right[known].sum(axis=0))


def _common(joined: _Joined, normal: Array, k: int) -> tuple[Array, Array]:
    """Return how the images change, (2 K^2,), and the covariance of it.

    The parts of the first image's slopes in the others have a prior around 0.  Its width is not chosen but
    averaged over, with its likelihood as weight.  The first image stays where it is.
    """
    scale = 1 / np.sqrt(np.diag(joined.total) + 1e-12)
    scale[:2] = 0
    places = (2 * k * np.arange(1, k)[:, None] + np.arange(2)).ravel()  # of those parts in the solution
    along = np.array([1 + k, 1 + 2 * k])
    slopes = normal[np.ix_(along, along)]
    held = np.linalg.solve(slopes, normal[np.ix_(along, np.arange(2, k + 1))]).T.ravel()
    size = normal[2 : k + 1, 2 : k + 1]
    alike = np.kron(size, np.diag(1 / np.diag(slopes)))
    evidence, answers, covariances = [], [], []
    for share in ALIKE if k > 1 else ALIKE[:1]:
        matrix, right = joined.total.copy(), joined.right.copy()
        log_prior = 0.0
        if k > 1:
            precision = np.linalg.pinv(share**2 * alike, rcond=1e-12, hermitian=True)
            matrix[np.ix_(places, places)] += precision
            right[places] -= precision @ held
            log_prior = -len(places) * np.log(share) - 0.5 * held @ precision @ held
        values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
        good = values > LEAST_PIVOT * values[-1]
        half = scale[:, None] * vectors[:, good] / np.sqrt(values[good])
        covariances.append(half @ half.T)
        answers.append(covariances[-1] @ right)
        evidence.append(log_prior + 0.5 * right @ answers[-1] - 0.5 * np.log(values[good]).sum())
    weight = np.exp(np.array(evidence) - max(evidence))
    weight /= weight.sum()
    answer = weight @ np.array(answers)
    apart = np.array(answers) - answer
    return answer, np.einsum("n,nij->ij", weight, covariances) + (apart * weight[:, None]).T @ apart


def _ordered(spectra: Array, products: Array) -> Array:
    """Return orthonormal spectra of the same span, along the main directions of the images' `products`."""
    right = np.linalg.qr(spectra.T)
    mixed = right[1] @ products @ right[1].T
    turn = np.linalg.eigh(mixed)[1][:, ::-1]
    out = (right[0] @ turn).T
    return np.asarray(out * np.where(out.sum(axis=1) < 0, -1, 1)[:, None])
