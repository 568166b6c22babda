"""Does the sample move at all?  A test against a sample that stands still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xanesum.align.frames import Level
from xanesum.align.refine import refine
from xanesum.align.spectra import fit_spectra
from xanesum.align.stages import canvas_for, misfit_of, share_light
from xanesum.align.state import State
from xanesum.align.template import add_up

__all__ = ["p_value_of_rest"]

Array = NDArray[np.float64]

# share by which the variance of a shift may be larger than stated, before motion is believed: motion of less
# than a third of its error does no harm
TOLERANCE = 0.15
HARMLESS_PX = 0.03  # motion that does no harm; less may come from a change of chemistry
MOST_SPECTRA = 5
LEAST_SPECTRUM = 1e-3  # of its largest value, for a ratio
ROUNDS = 2  # of spectra and model, at rest


def p_value_of_rest(level: Level, spectral: Level, state: State) -> float:
    """Return the probability of as much motion as seen, if the sample stands still.

    The model is made of frames that are not moved.  Each frame then has a shift against what the others
    expect of it, with an error.  At rest, the sum of their squares over the errors follows chi-squared.

    An image of chemistry may be like a slope of the sample.  It then looks like a shift that follows the
    energy as its spectrum does.  So what the spectra of the aligned frames explain of the shifts is no
    evidence.  Spectra of frames that are not aligned would not do: they follow the motion itself.

    Parameters
    ----------
    level, spectral : Level
        Where shifts are measured, and where spectra are fitted.
    state : State
        Of the estimate.  At rest there are as many spectra as it has.
    """
    aligned = add_up(spectral, canvas_for(spectral, state), state.with_spectra(state.spectra[:1]))
    chemistry = fit_spectra(spectral, aligned, state, most=MOST_SPECTRA)
    rest = State.at_rest(state.offset, state.used, state.spectra)
    rest.vague[:] = False
    rest.light_sigma = state.light_sigma
    for _ in range(ROUNDS):
        model = add_up(spectral, canvas_for(spectral, rest), rest.with_spectra(rest.spectra[:1]))
        rest.spectra = fit_spectra(spectral, model, rest, most=len(state.spectra))
        refined = refine(level, add_up(level, canvas_for(level, rest), rest), rest)
        rest.offset = rest.offset + refined.offset
        share_light(level, rest)
    variance = refined.covariance * misfit_of(refined, rest.used)[:, None, None]
    variance += HARMLESS_PX**2 * np.eye(2)
    usable = rest.used & np.isfinite(variance).all(axis=(1, 2)) & (np.linalg.det(variance) > 0)
    left, n_free = _beyond_chemistry(refined.steps[usable], variance[usable], chemistry[:, usable])
    if n_free < 1:
        return 1.0
    return float(stats.chi2.sf(left / (1 + TOLERANCE), n_free))


def _beyond_chemistry(steps: Array, variance: Array, spectra: Array) -> tuple[float, int]:
    """Return the sum of squares of steps over their errors that spectra do not explain, and its freedom.

    Parameters
    ----------
    steps : ndarray, shape (n, 2)
    variance : ndarray, shape (n, 2, 2)
    spectra : ndarray, shape (K, n)
        The first is that of the sample.  The others, relative to it, are how chemistry may look like a shift.
    """
    least = LEAST_SPECTRUM * np.abs(spectra[0]).max()
    first = np.where(np.abs(spectra[0]) > least, spectra[0], np.copysign(least, spectra[0]))
    shapes = np.vstack([np.ones(len(steps)), spectra[1:] / first])  # a common shift of all frames is none
    whitening = np.linalg.inv(np.linalg.cholesky(variance))  # (n, 2, 2)
    design = np.einsum("eij,ke->eikj", whitening, shapes).reshape(2 * len(steps), -1)
    target = np.einsum("eij,ej->ei", whitening, steps).ravel()
    solution, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
    return float(np.sum((target - design @ solution) ** 2)), 2 * len(steps) - int(rank)
