"""Estimate the smooth change of the illumination from exposure to exposure, apart from the sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xanesum.flat_field.alike import drift_along_spectra
from xanesum.flat_field.empty import (
    FALSE_EDGES,
    LEAST_EDGE,
    STRONG,
    DriftInEmpty,
    drift_in_empty,
    edge_in_empty,
    find_empty,
    steps_at_edge,
)
from xanesum.flat_field.fields import FlatDrift, remove_smooth, smooth_fields
from xanesum.flat_field.frames import (
    ScanView,
    beside,
    constant_and_line,
    expected_amounts,
    with_beyond,
)
from xanesum.flat_field.prior import covariance_of_drift
from xanesum.flat_field.unaided import FALSE_ALARMS, SLOW, drift_by_spectra, kind_of

__all__ = ["FlatDrift", "estimate_drift", "remove_smooth", "smooth_fields"]

MIN_FREE_ENERGIES = 2  # energies beside the spectra, a constant and a line, at least
FARTHEST = 2.0  # times larger than in empty pixels that drift may be in the whole image
STRONGEST = 8.0  # times more power along the spectra than beside them that random drift may have
FEW, FALSE_EDGES_OF_FEW = (
    0.05,
    1e-2,
)  # share of empty pixels below which a less certain edge speaks against them
SUSPECT, SUSPECT_EDGE = 0.02, 0.05  # such an edge, of this share of the sample's, is worth a word
FILM = (
    "the light drifts, and the pixels taken for empty may hold a thin film, which the drift hides; the map "
    "may then be wrong where the sample is thin; include pixels that are surely empty, or take flats more "
    "often"
)


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

    Where pixels are empty, they show the drift of every frame, whatever it does in time.  The fields are
    fitted to them, with the covariance that the drift has in the whole image beside the `spectra`.  Along the
    spectra this is all that is known.  Beside them the whole image gives the drift more precisely.  Pixels
    count as empty only if they show no edge.

    Where no pixel is empty, see `xanesum.flat_field.unaided.drift_by_spectra`.

    Nothing is removed where noise, or errors of the spectra, may be all that there is.

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
    none = FlatDrift(fields, np.zeros((len(stack), len(fields))), np.zeros_like(keep), "")
    if len(stack) - len(spectra) - 2 < MIN_FREE_ENERGIES or not len(fields):
        return none
    view = ScanView.of(stack, spectra, fields, sigma, energy_ev, keep)
    noise = float(np.sqrt(view.part.noise.mean()))
    empty = find_empty(view.images, fields, view.orders, keep, noise)
    if empty.any():
        inside = drift_in_empty(stack, empty, fields, view.orders, view.part.inflation)
        surely = FALSE_EDGES if empty.mean() > FEW * keep.mean() else FALSE_EDGES_OF_FEW
        emptiness = _emptiness(inside, view, surely)
        if emptiness > surely:
            if inside.p_value > FALSE_ALARMS:
                return none
            found = _drift_by_empty(view, empty, inside)
            if _is_plausible(found, view):
                return found if emptiness > SUSPECT else replace(found, doubt=FILM)
    return drift_by_spectra(view)


def _emptiness(inside: DriftInEmpty, view: ScanView, surely: float) -> float:
    """Return the probability of so much edge by drift alone, in pixels taken for empty; 1 if it is small.

    An edge that the sample's own size does not make large counts if drift has it with probability `surely`.
    """
    strong = float(np.percentile(np.linalg.norm(view.images, axis=0)[view.mask], STRONG))
    looked_for = np.linalg.qr(np.vstack([view.directions, view.step]).T).Q.T
    size, p_value = edge_in_empty(inside.seen, looked_for)
    # a film has the spectrum of the sample, mostly: the strongest one alone is the sharper test
    alone, p_alone = edge_in_empty(inside.seen, looked_for[:1])
    size, p_value = np.append(size, alone), np.append(p_value, np.minimum(1, 2 * p_alone))
    without_line = beside(constant_and_line(view.energy_ev).T, inside.seen)
    of_steps = steps_at_edge(without_line, view.edge)
    found = float(np.min(p_value[size > LEAST_EDGE * strong], initial=1.0))
    large = float(np.min(p_value[size > SUSPECT_EDGE * strong], initial=1.0))
    return min(found, of_steps) if min(found, of_steps) <= surely else large


def _is_plausible(found: FlatDrift, view: ScanView) -> bool:
    """Whether what was found can be drift, and no sample in pixels that were taken for empty.

    It is not much larger in the whole image than in the empty pixels, which show it.  If it is random from
    frame to frame, it is not much larger along the spectra of the sample than beside them.
    """
    inside = np.tensordot(found.amounts, found.fields[:, found.empty].astype(np.float64), axes=1)
    if found.rms > FARTHEST * float(np.sqrt(np.mean(inside**2))):
        return False
    rest = beside(view.known, found.amounts)
    power = float(np.sum(rest**2))
    is_slow = float(np.sum(np.diff(rest, axis=0) ** 2)) < 2 * (1 - SLOW) * power
    along = float(np.sum((view.directions @ found.amounts) ** 2)) / len(view.directions)
    return is_slow or along < STRONGEST * power / (len(rest) - view.known.shape[1])


def _drift_by_empty(view: ScanView, empty: NDArray[np.bool_], inside: DriftInEmpty) -> FlatDrift:
    """Return the drift: along the sample's spectra from empty pixels, beside them from all pixels.

    Along all but the first direction of the spectra, which is the edge jump, pixels with sample say something
    too, as far as their signal is not proportional to thickness.
    """
    part, smooth, known = view.part, view.smooth, view.known
    n_free = len(smooth) - known.shape[1]
    variance = covariance_of_drift(beside(known, smooth), n_free, part, inside.variance)
    steps = float(np.sum(np.diff(inside.amounts, axis=0) ** 2))
    slow = steps < 2 * (1 - SLOW) * float(np.sum(inside.amounts[1:] ** 2))
    if slow:  # of a ramp little is left beside a line
        variance += np.diag(np.maximum(inside.variance - np.diag(variance), 0))
    inside = inside.with_prior(variance)
    expected = part.noise.mean() * (np.eye(len(variance)) + part.spread) + inside.covariance
    known = with_beyond(known, smooth - inside.amounts, expected)
    rest = expected_amounts(known, smooth - inside.amounts, inside.covariance, part)
    amounts = inside.amounts + rest
    drift = np.tensordot((view.directions @ inside.amounts).astype(np.float32), view.fields, axes=1)
    along = drift_along_spectra(
        view.images - drift, view.fields, inside.covariance, view.sigma, view.mask, pairs=False
    )
    amounts = amounts + view.directions[1:].T @ along[1:]
    return FlatDrift(view.fields, amounts, empty, kind_of(np.diag(variance), slow), inside.covariance)
