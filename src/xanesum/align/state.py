"""What is known of the motion while it is being estimated."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xanesum.align.drift import DriftPrior, flat_prior
from xanesum.align.light import SIGMA

__all__ = ["State"]

Array = NDArray[np.float64]


@dataclass(eq=False)
class State:
    """Shifts and the model's spectra; every pass over the frames replaces some of them."""

    shifts: Array  # (E, 2) pixels
    covariance: Array  # (E, 2, 2) px^2, of shift by image and drift together
    own_shifts: Array  # (E, 2) by the frame's image alone
    own_covariance: Array  # (E, 2, 2)
    spectra: Array  # (K, E) orthonormal, of frames over their noise
    offset: Array  # (E, 1 or 6) light of each frame in units of the stack: a constant, or six fields
    used: NDArray[np.bool_]  # (E,) frames that the model is made of
    vague: NDArray[np.bool_]  # (E,) frames whose shift is a mean over a grid
    misfit: Array  # (E,) variance of a shift over that by white noise, at least 1
    excess: Array  # (E,) mean square of what the model leaves of a frame, over its noise
    explained: Array  # (E,) share of the frame's power that the model explains
    clarity: Array  # (E,) contrast of the sample over its standard error
    light_sigma: float = SIGMA  # spread of the factors of the fields of light but the first, before
    prior: DriftPrior = field(init=False)
    searched: Array = field(init=False)  # (E, 2, 2) px^2, of a search over the whole range; 0 without

    def __post_init__(self) -> None:
        self.searched = np.zeros((len(self.shifts), 2, 2))
        self.prior = flat_prior(len(self.shifts))

    @classmethod
    def at_rest(cls, offset: Array, used: NDArray[np.bool_], spectra: Array) -> State:
        """Return the state of a sample that stands still."""
        n = len(offset)
        wide = np.broadcast_to(np.eye(2) * 1e4, (n, 2, 2))
        return cls(
            np.zeros((n, 2)),
            wide.copy(),
            np.zeros((n, 2)),
            wide.copy(),
            spectra,
            offset.copy(),
            used.copy(),
            np.ones(n, bool),
            np.ones(n),
            np.ones(n),
            np.zeros(n),
            np.full(n, np.inf),
        )

    @property
    def own_sigma(self) -> Array:
        """Standard errors (E, 2) of the shifts by each frame's image alone."""
        return np.sqrt(np.maximum(np.diagonal(self.own_covariance, axis1=1, axis2=2), 0))

    @property
    def leverage(self) -> Array:
        """Share (E,) that each frame has in its own model."""
        return np.asarray(np.minimum(np.sum(self.spectra**2, axis=0), 0.9))

    @property
    def information(self) -> Array:
        """Weight (E,) of each frame where the mean shift is set to 0: one over the variance of its shift."""
        return np.asarray(self.used / np.trace(self.own_covariance, axis1=1, axis2=2))

    def with_spectra(self, spectra: Array) -> State:
        """Return the same state with other spectra."""
        other = copy(self)
        other.spectra = spectra
        return other

    def duplicate(self) -> State:
        """Return a copy that shares nothing."""
        return deepcopy(self)

    def centre(self) -> None:
        """Set the weighted mean shift to zero."""
        weight = self.information
        mean = weight @ self.shifts / weight.sum() if weight.sum() > 0 else self.shifts.mean(axis=0)
        self.shifts = self.shifts - mean
        self.own_shifts = self.own_shifts - mean
