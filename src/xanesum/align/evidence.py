"""Does the sample move at all?  A test against a sample that stands still."""

from __future__ import annotations

import numpy as np
from scipy import stats

from xanesum.align.frames import Level
from xanesum.align.refine import refine
from xanesum.align.spectra import fit_spectra
from xanesum.align.stages import canvas_for, misfit_of, share_light
from xanesum.align.state import State
from xanesum.align.template import add_up

__all__ = ["p_value_of_rest"]

# share by which the variance of a shift may be larger than stated, before motion is believed: motion of less
# than a third of its error does no harm
TOLERANCE = 0.15
HARMLESS_PX = 0.03  # motion that does no harm; less may come from a change of chemistry
MOST_SPECTRA = 3
ROUNDS = 2  # of spectra and model, at rest


def p_value_of_rest(level: Level, spectral: Level, state: State) -> float:
    """Return the probability of as much motion as seen, if the sample stands still.

    The model is made of frames that are not moved.  Each frame then has a shift against what the others
    expect of it, with an error.  At rest, the sum of their squares over the errors follows chi-squared.

    Parameters
    ----------
    level, spectral : Level
        Where shifts are measured, and where spectra are fitted.
    state : State
        Of the estimate; its frames, constants and spectra are used, its shifts are not.
    """
    rest = State.at_rest(state.offset, state.used, state.spectra)
    rest.vague[:] = False
    rest.light_sigma = state.light_sigma
    for _ in range(ROUNDS):
        model = add_up(spectral, canvas_for(spectral, rest), rest.with_spectra(rest.spectra[:1]))
        rest.spectra = fit_spectra(spectral, model, rest, most=MOST_SPECTRA)
        refined = refine(level, add_up(level, canvas_for(level, rest), rest), rest)
        rest.offset = rest.offset + refined.offset
        share_light(level, rest)
    variance = refined.covariance * misfit_of(refined, rest.used)[:, None, None]
    variance += HARMLESS_PX**2 * np.eye(2)
    usable = rest.used & np.isfinite(variance).all(axis=(1, 2)) & (np.linalg.det(variance) > 0)
    n_free = 2 * int(usable.sum()) - 2
    if n_free < 2:
        return 1.0
    steps, inverse = refined.steps[usable], np.linalg.inv(variance[usable])
    squares = np.einsum("ei,eij,ej->e", steps, inverse, steps)
    return float(stats.chi2.sf(squares.sum() / (1 + TOLERANCE), n_free))
