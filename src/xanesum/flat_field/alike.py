"""Drift along the sample's own spectra where no pixel is empty: from pixels of one chemical state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["drift_along_spectra"]

REGION_PX = 300.0  # approximate number of pixels over which the sample is the same
THIN = 10.0  # a pair of neighbours is used if its thickness exceeds this many times the noise
N_PAIRS = 300_000  # pairs of neighbours in the fit of a field, at most
PAIRS_A_PIXEL = 2  # pairs that a pixel belongs to, which makes their noise dependent
N_ROBUST = 15  # iterations of the robust fit


def drift_along_spectra(
    images: NDArray[np.float32],
    fields: NDArray[np.float32],
    covariance: NDArray[np.float64],
    sigma: float,
    keep: NDArray[np.bool_],
    *,
    pairs: bool = True,
) -> NDArray[np.float64]:
    """Return the amount of each field (M, Y, X) in each image (R, Y, X), as far as it is not the sample's.

    The image of the edge jump, which is the first, has no part in it.  The signal in the others scales with
    thickness, which is that image, fitted jointly with the fields; variation between regions counts as noise
    correlated over `REGION_PX`.  Most neighbours are in the same chemical state, so that their signals scale
    with their thickness except for the drift.  Borders between states are the outliers of a robust fit
    (Cauchy's weights).  Without `pairs` of neighbours, pixels without thickness decide most.
    """
    found = np.zeros((len(images), len(fields)))
    used = np.diag(covariance) > 0
    if not used.any():
        return found
    designs = fields[used][:, keep].astype(np.float64)
    prior = np.asarray(np.linalg.pinv(covariance[np.ix_(used, used)], hermitian=True), np.float64)
    thickness = images[0][keep].astype(np.float64)
    both = np.vstack([designs, thickness])
    a, b = _neighbours(keep) if pairs else np.zeros((2, 0), np.intp)
    size = np.hypot(thickness[a], thickness[b])
    thick = size > THIN * sigma
    a, b, size = a[thick], b[thick], size[thick]
    share_a, share_b = thickness[b] / size, thickness[a] / size
    compared = designs[:, a] * share_a - designs[:, b] * share_b  # free of signal proportional to thickness
    for k in range(1, len(images)):
        values = images[k][keep].astype(np.float64)
        rest = values - (values @ thickness) / (thickness @ thickness) * thickness
        spread = max(float(rest @ rest) - rest.size * sigma**2, 0.0) / (thickness @ thickness)
        weights = 1 / (sigma**2 + REGION_PX * spread * thickness**2)
        normal = (both * weights) @ both.T
        normal[:-1, :-1] += prior
        target = both @ (weights * values)
        amount = np.linalg.solve(normal, target)[:-1]
        differences = values[a] * share_a - values[b] * share_b
        for _ in range(N_ROBUST if len(a) else 0):
            misfit = (differences - amount @ compared) / sigma
            weights = 1 / (PAIRS_A_PIXEL * sigma**2 * (1 + misfit**2))
            total, aim = normal.copy(), target.copy()
            total[:-1, :-1] += (compared * weights) @ compared.T
            aim[:-1] += compared @ (weights * differences)
            amount = np.linalg.solve(total, aim)[:-1]
        found[k, used] = amount
    return found


def _neighbours(keep: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return pairs (2, N) of neighbours, as indices among the pixels that count."""
    number = np.full(keep.shape, -1)
    number[keep] = np.arange(np.count_nonzero(keep))
    along = [(number[1:], number[:-1]), (number[:, 1:], number[:, :-1])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in along], axis=1)
    pairs = pairs[:, (pairs >= 0).all(axis=0)]
    return pairs[:, :: max(1, pairs.shape[1] // N_PAIRS)]
