"""What of a stack concerns drift: its smooth part in every frame, the noise of it, and the edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xanesum.flat_field.fields import control_fields, orders_of, remove_smooth
from xanesum.linalg.subspace import inner_products, project

__all__ = [
    "MOST_BEYOND",
    "ScanView",
    "SmoothPart",
    "beside",
    "constant_and_line",
    "expected_amounts",
    "with_beyond",
]

EDGE_OF_NOISE = 1.3  # a direction is no noise if its square is so many times the largest one of noise
MOST_BEYOND = 6  # directions beyond the spectra that are left alone, at most
EDGE_EV = (-12.0, 25.0)  # eV around the steepest rise within which spectra of species differ most
STEP_EV = 2.0  # eV, half width of a step
LEAST_LEFT = 0.05  # part of an energy's noise that is left beside the spectra, at least
LEAST_CHANGE = 0.03  # of a spectrum along energy, relative to that of the others
LEAST_ROUGH = 0.2  # sum of squares of a rough image, as a share of its noise, at least


@dataclass(frozen=True, slots=True, eq=False)
class SmoothPart:
    """The smooth part of every frame, and the noise in it."""

    amounts: NDArray[np.float64]  # (E, M), of each field in each frame
    noise: NDArray[np.float64]  # (E,), variance of such an amount from the noise of the pixels
    spread: NDArray[np.float64]  # (M, M), variance from the error of the spectra, as a share of `noise`
    inflation: float  # variance of the noise of a smooth field over that of single pixels


@dataclass(frozen=True, slots=True, eq=False)
class ScanView:
    """A scan as the search for drift sees it."""

    stack: NDArray[np.float32]  # (E, Y, X)
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    energy_ev: NDArray[np.float64]  # (E,)
    sigma: float  # noise level
    fields: NDArray[np.float32]  # (M, Y, X)
    orders: NDArray[np.intp]  # (M,), of the fields
    part: SmoothPart
    spectra: NDArray[np.float64]  # (K, E), orthonormal, of the sample
    directions: NDArray[np.float64]  # (R, E), in the spectra, orthogonal to a constant and a line
    images: NDArray[np.float32]  # (R, Y, X), of the directions
    edge: NDArray[np.bool_]  # (E,), energies near the edge
    step: NDArray[np.float64]  # (E,), a step at the edge, of norm 1 and without a line

    @classmethod
    def of(
        cls,
        stack: NDArray[np.float32],
        spectra: NDArray[np.float64],
        fields: NDArray[np.float32],
        sigma: float,
        energy_ev: NDArray[np.float64],
        mask: NDArray[np.bool_],
    ) -> ScanView:
        """Look at a stack; see `xanesum.flat_field.estimate.estimate_drift` for the parameters."""
        part = _smooth_part(stack, spectra, fields, mask, energy_ev)
        directions, images = _varying(spectra, stack, energy_ev)
        sizes = np.linalg.norm(images, axis=(1, 2))
        edge, step = _find_edge(np.hstack([directions.T * sizes, part.amounts]), energy_ev)
        orders = orders_of(fields)
        return cls(
            stack, mask, energy_ev, sigma, fields, orders, part, spectra, directions, images, edge, step
        )

    @property
    def known(self) -> NDArray[np.float64]:
        """Orthonormal columns (E, n): the spectra, a constant and a line."""
        return np.linalg.qr(np.vstack([self.spectra, constant_and_line(self.energy_ev)]).T).Q

    @property
    def smooth(self) -> NDArray[np.float64]:
        """The smooth part (E, M) without its mean, which holds the noise of the flat."""
        return np.asarray(self.part.amounts - self.part.amounts.mean(axis=0))


def _smooth_part(
    stack: NDArray[np.float32],
    spectra: NDArray[np.float64],
    fields: NDArray[np.float32],
    mask: NDArray[np.bool_],
    energy_ev: NDArray[np.float64],
) -> SmoothPart:
    """Return the smooth part of a stack (E, Y, X), and its noise.

    The noise is measured beside the `spectra` (K, E), pixel by pixel.  Noise that is alike in neighbours is
    larger in smooth fields than in pixels; fields that are too fine for drift show how much.  The spectra
    have an error at every energy, which appears as the smooth part of the sample's images.
    """
    amounts = inner_products(fields, stack).T
    known = np.linalg.qr(np.vstack([spectra, constant_and_line(energy_ev)]).T).Q
    left = np.maximum(1 - np.sum(known**2, axis=1), LEAST_LEFT)
    rough = remove_smooth(stack, fields)
    images = project(known.T, rough)
    n_pixels = max(int(mask.sum()) - len(fields), 1)
    total = np.empty(len(stack))
    for e, frame in enumerate(rough):
        total[e] = np.sum((frame - np.tensordot(known[e].astype(np.float32), images, axes=1))[mask] ** 2)
    variance = np.maximum(total / (n_pixels * left), np.finfo(np.float32).tiny)
    control = control_fields(fields, mask=mask)
    inflation = 1.0
    if len(control):
        fine = beside(known, inner_products(control, stack).T)
        inflation = float(np.median(np.sum(fine**2, axis=0)) / np.sum(variance * left))
    noise = inflation * variance
    sample = project(spectra, rough)
    of_noise = float(n_pixels) * float(np.mean(variance))
    size, turn = np.linalg.eigh(inner_products(sample, sample) - of_noise * np.eye(len(spectra)))
    size = np.maximum(size, LEAST_ROUGH * of_noise)
    changes = np.linalg.pinv((spectra.T - spectra.mean(axis=1)), rcond=LEAST_CHANGE)
    of_sample = (changes @ (amounts - amounts.mean(axis=0))).T @ turn / np.sqrt(size)
    return SmoothPart(amounts, noise, of_sample @ of_sample.T, inflation)


def beside(known: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (E, M) without what lies along the orthonormal columns of `known` (E, n)."""
    return np.asarray(values - known @ (known.T @ values))


def constant_and_line(energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal rows (2, E) that normalization removes, so that drift along them harms no map."""
    return np.linalg.qr(np.column_stack([np.ones_like(energy_ev), energy_ev - energy_ev.mean()])).Q.T


def _varying(
    spectra: NDArray[np.float64], stack: NDArray[np.float32], energy_ev: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return directions (R, E) in the spectra that are orthogonal to a constant and a line, and their images.

    The first is the direction in which the sample varies most: its edge.
    """
    fixed = constant_and_line(energy_ev)
    size, rows = np.linalg.svd(spectra - (spectra @ fixed.T) @ fixed, full_matrices=False)[1:]
    rows = rows[size > 1e-3]
    if not len(rows):
        return rows, np.zeros((0, *stack.shape[1:]), np.float32)
    images = project(rows, stack)
    turned = np.linalg.eigh(inner_products(images, images))[1][:, ::-1].T
    return turned @ rows, np.tensordot(turned.astype(np.float32), images, axes=1)


def _find_edge(
    changes: NDArray[np.float64], energy_ev: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which energies (E,) are near the edge, and a step there, of norm 1 and without a line.

    The edge is where `changes` (E, n) are steepest, all n together.
    """
    padded = np.pad(changes, ((1, 1), (0, 0)), mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    slope = np.sum(np.gradient(smooth, energy_ev, axis=0) ** 2, axis=1)
    above = energy_ev - energy_ev[1 + int(np.argmax(slope[1:-1]))]
    step = beside(constant_and_line(energy_ev).T, np.arctan(above / STEP_EV)[:, None])[:, 0]
    return (above >= EDGE_EV[0]) & (above <= EDGE_EV[1]), step / np.linalg.norm(step)


def with_beyond(
    known: NDArray[np.float64], rest: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the columns of `known` (E, n), and the directions of `rest` (E, M) beyond what is expected.

    Parameters
    ----------
    known : ndarray, shape (E, n)
        Orthonormal columns.
    rest : ndarray, shape (E, M)
        Amounts of the fields.
    expected : ndarray, shape (M, M)
        Covariance of these amounts if nothing but noise and drift is in them.
    """
    white = beside(known, np.linalg.solve(np.linalg.cholesky(expected), rest.T).T)
    n_free = len(rest) - known.shape[1]
    left, size, _ = np.linalg.svd(white, full_matrices=False)
    limit = EDGE_OF_NOISE * (np.sqrt(n_free) + np.sqrt(rest.shape[1])) ** 2
    beyond = np.flatnonzero(size**2 > limit)[:MOST_BEYOND]
    return np.linalg.qr(np.hstack([known, left[:, beyond]])).Q


def expected_amounts(
    known: NDArray[np.float64], amounts: NDArray[np.float64], variance: NDArray[np.float64], part: SmoothPart
) -> NDArray[np.float64]:
    """Return the amounts (E, M) beside `known` (E, n) that are expected of drift with this covariance (M, M).

    What is known is taken away first: the noise differs from energy to energy, so that part of it would stay.
    """
    rest, grown = beside(known, amounts), np.eye(len(variance)) + part.spread
    found = [
        variance @ np.linalg.solve(variance + noise * grown, row)
        for noise, row in zip(part.noise, rest, strict=True)
    ]
    return beside(known, np.array(found))
