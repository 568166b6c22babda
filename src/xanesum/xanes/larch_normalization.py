"""Normalization as Larch and Athena define it: a pre-edge line and a post-edge polynomial, relative to e0.

The definitions are those of M. Newville, J. Phys.: Conf. Ser. 430, 012007 (2013), and of B. Ravel and
M. Newville, J. Synchrotron Rad. 12, 537 (2005); choices that these leave open follow Larch 2026.3.  All of it
is linear in the spectrum once e0 is known, so it acts on few factors instead of all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EdgeError
from xanesum.xanes.steepest import steepest_e0_ev

__all__ = ["MAX_DEGREE", "Lines", "Normalization", "NormalizedSpectrum", "Operators"]

MAX_DEGREE = 3  # of the post-edge polynomial
MAX_VICTOREEN = 4  # of the exponent: Victoreen's formula has E**-3 and E**-4
# --- defaults of Larch, in eV relative to e0
ROUND_EV = 5.0  # the ends of the scan are rounded to this
NEAR_START = 20, 2.0  # up to so many energies below the edge, the start is rounded to this instead
PRE2_SHARE = 0.5  # pre2 as a share of pre1
NORM1_EV, NORM1_SHARE = 25.0, 15.0  # norm1 is this, or less where norm2 is below 75 eV
LEAST_POST_EV = 2.0  # norm1 is at least so much below norm2
QUADRATIC_EV, LINEAR_EV = 300.0, 30.0  # least length of the post-edge range for degree 2, and for degree 1
FEW, FEWER = 5, 2  # fewer energies in the post-edge range: degree 1 at most; degree 0


class Operators(NamedTuple):
    """What turns a spectrum into its shape and its step; both have the unit of the spectrum."""

    flattening: NDArray[np.float64]  # (W, E); its result runs from 0 below the edge to the step beyond it
    step: NDArray[np.float64]  # (E,)


class NormalizedSpectrum(NamedTuple):
    """A spectrum, normalized."""

    e0_ev: float
    edge_step: float
    norm: NDArray[np.float64]  # (E,), 0 below the edge and 1 just beyond it
    flat: NDArray[np.float64]  # (E,), the same, flattened beyond the edge
    pre_line: NDArray[np.float64]  # (E,)
    post_line: NDArray[np.float64]  # (E,)


@dataclass(frozen=True, slots=True)
class Normalization:
    """Settings of a normalization; None means the default of Larch.

    Attributes
    ----------
    pre1_ev, pre2_ev : float, optional
        Range of the pre-edge line relative to e0, both negative.  By default from the second energy to half
        way to e0.
    norm1_ev, norm2_ev : float, optional
        Range of the post-edge polynomial relative to e0, both positive.  By default from 25 eV to the end.
    nnorm : int, optional
        Degree of that polynomial, 0 to 3.  By default 2 over at least 300 eV, 1 over at least 30 eV, else 0.
    nvict : int
        Exponent of Victoreen's formula: the pre-edge line is fitted to ``mu * E**nvict``.
    flatten : bool
        Whether the shape of the polynomial is taken from the spectrum beyond e0.
    shared_slope : bool
        Whether all pixels have the slope of the mean spectrum's pre-edge line, in units of their own edge
        step; only its level is then fitted in each.  For signals so low that the slope of a pixel is noise.
    slope : float, optional
        That slope per step, found by `with_shared_slope`; over the unit of length of `Lines`.
    """

    pre1_ev: float | None = None
    pre2_ev: float | None = None
    norm1_ev: float | None = None
    norm2_ev: float | None = None
    nnorm: int | None = None
    nvict: int = 0
    flatten: bool = True
    shared_slope: bool = False
    slope: float | None = None

    def __post_init__(self) -> None:
        for name in ("pre1_ev", "pre2_ev"):
            value = getattr(self, name)
            if value is not None and not value < 0:
                raise EdgeError(
                    f"{name[:-3]} must be below 0, in eV relative to e0, got {value:g}", parameter=name
                )
        for name in ("norm1_ev", "norm2_ev"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise EdgeError(
                    f"{name[:-3]} must be above 0, in eV relative to e0, got {value:g}", parameter=name
                )
        for first, last in (("pre1_ev", "pre2_ev"), ("norm1_ev", "norm2_ev")):
            low, high = getattr(self, first), getattr(self, last)
            if low is not None and high is not None and low >= high:
                raise EdgeError(
                    f"{first[:-3]} = {low:g} eV must lie below {last[:-3]} = {high:g} eV", parameter=first
                )
        if self.nnorm is not None and self.nnorm not in range(MAX_DEGREE + 1):
            raise EdgeError(f"nnorm must be 0 to {MAX_DEGREE}, got {self.nnorm}", parameter="nnorm")
        if self.nvict not in range(MAX_VICTOREEN + 1):
            raise EdgeError(f"nvict must be 0 to {MAX_VICTOREEN}, got {self.nvict}", parameter="nvict")

    def resolved(self, energy_ev: NDArray[np.float64], e0_ev: float) -> Normalization:
        """Return the settings with numbers in place of the defaults, for energies (E,) and an edge.

        Raises
        ------
        EdgeError
            If e0 lies outside the scan, or there is nothing on one side of it.
        """
        first, last = float(energy_ev[0] - e0_ev), float(energy_ev[-1] - e0_ev)
        if not first < 0 < last:
            raise EdgeError(
                f"e0 = {e0_ev:g} eV lies outside the scan ({energy_ev[0]:g} ... {energy_ev[-1]:g} eV)",
                parameter="e0_ev",
            )
        pre1 = self.pre1_ev
        if pre1 is None:
            n_near, fine = NEAR_START
            unit = ROUND_EV if np.argmin(np.abs(energy_ev - e0_ev)) > n_near else fine
            pre1 = unit * round(float(energy_ev[1] - e0_ev) / unit)
        pre1 = max(pre1, first)
        pre2 = PRE2_SHARE * pre1 if self.pre2_ev is None else self.pre2_ev
        norm2 = min(ROUND_EV * round(last / ROUND_EV) if self.norm2_ev is None else self.norm2_ev, last)
        norm1 = self.norm1_ev
        if norm1 is None:
            norm1 = min(NORM1_EV, ROUND_EV * round(norm2 / NORM1_SHARE))
            norm1 = min(norm1, norm2 - LEAST_POST_EV)
        for side, low, high in (("below", pre1, min(pre2, 0.0)), ("beyond", max(norm1, 0.0), norm2)):
            if not low < high:
                raise EdgeError(
                    f"too few energies {side} e0 = {e0_ev:.1f} eV for a line from {low:g} to {high:g} eV "
                    f"relative to it (scan {energy_ev[0]:.1f} ... {energy_ev[-1]:.1f} eV)",
                    parameter="pre1_ev" if side == "below" else "norm1_ev",
                )
        nnorm = self.nnorm
        if nnorm is None:
            nnorm = 2 if norm2 - norm1 >= QUADRATIC_EV else int(norm2 - norm1 >= LINEAR_EV)
        return replace(
            self, pre1_ev=pre1, pre2_ev=pre2, norm1_ev=max(norm1, 1e-9), norm2_ev=norm2, nnorm=nnorm
        )

    def lines(self, energy_ev: NDArray[np.float64], e0_ev: float) -> Lines:
        """Return both lines for energies (E,) in eV and an edge; see `Lines`."""
        return Lines.of(self.resolved(energy_ev, e0_ev), np.asarray(energy_ev, np.float64), float(e0_ev))

    def operators(
        self, energy_ev: NDArray[np.float64], e0_ev: float, window: NDArray[np.bool_] | None = None
    ) -> Operators:
        """Return the linear operators of the normalization.

        Parameters
        ----------
        energy_ev : ndarray, shape (E,)
            In eV, increasing.
        e0_ev : float
        window : ndarray of bool, shape (E,), optional
            Energies of the flattened spectrum that are wanted; all by default.

        Raises
        ------
        EdgeError
            If the edge lies outside the scan, or a range holds too few energies.
        """
        lines = self.lines(energy_ev, e0_ev)
        used = np.ones(len(energy_ev), bool) if window is None else window
        return Operators(lines.flattening(used), lines.step)

    def with_shared_slope(
        self, energy_ev: NDArray[np.float64], mean: NDArray[np.floating], e0_ev: float
    ) -> Normalization:
        """Return the settings with the slope of the mean spectrum (E,), if all pixels are to share it."""
        if not self.shared_slope:
            return self
        own = replace(self, shared_slope=False, slope=None).lines(energy_ev, e0_ev)
        return replace(self, slope=own.slope_per_step(mean))

    def normalize(
        self, energy_ev: NDArray[np.float64], mu: NDArray[np.floating], e0_ev: float | None = None
    ) -> NormalizedSpectrum:
        """Normalize one spectrum (E,); e0 is where it is steepest, by default.

        Raises
        ------
        EdgeError
            If there is no edge, or a range holds too few energies.
        """
        e0 = steepest_e0_ev(energy_ev, mu) if e0_ev is None else e0_ev
        return self.lines(energy_ev, e0).applied(np.asarray(mu, np.float64), flatten=self.flatten)


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Pre-edge line and post-edge polynomial of spectra of E energies, as matrices.

    Polynomials are in ``(energy - middle) / (half of the scan)``, which makes their fit exact.
    """

    energy_ev: NDArray[np.float64]  # (E,)
    e0_ev: float
    settings: Normalization  # with all numbers
    pre_range: slice  # the energies of the pre-edge line
    post_range: slice
    pre: NDArray[np.float64]  # (2, E), coefficients of the pre-edge line from a spectrum
    post: NDArray[np.float64]  # (d + 1, E), coefficients of the polynomial above that line
    step: NDArray[np.float64]  # (E,), from a spectrum to its edge step

    @classmethod
    def of(cls, settings: Normalization, energy_ev: NDArray[np.float64], e0_ev: float) -> Lines:
        """Fit both lines; `settings` are resolved."""
        pre_range, has_slope = _pre_range(settings, energy_ev, e0_ev)
        post_range, degree = _post_range(settings, energy_ev, e0_ev)
        settings = replace(settings, nnorm=degree, nvict=settings.nvict if has_slope else 0)
        scaled = _scaled(energy_ev, energy_ev, e0_ev)
        n_energies = len(energy_ev)
        rising = (energy_ev / e0_ev) ** settings.nvict
        share = settings.slope if settings.shared_slope else None
        pre = np.zeros((2, n_energies))
        fits = has_slope and share is None
        pre[: 1 + fits, pre_range] = np.linalg.pinv(_powers(scaled[pre_range], int(fits))) * rising[pre_range]
        of_post = np.linalg.pinv(_powers(scaled[post_range], degree))
        post = -of_post @ (_powers(scaled[post_range], 1) / rising[post_range, None]) @ pre
        post[:, post_range] += of_post
        at_e0 = _powers(_scaled(np.array([e0_ev]), energy_ev, e0_ev), degree)[0]
        if share is not None and has_slope:
            # a line of slope `share` times the step lies beneath: both sides of the equation have the step
            middle = float(scaled[pre_range].mean())
            line = share * (scaled - middle) / rising
            beneath = of_post @ line[post_range]
            step = at_e0 @ post / (1 + at_e0 @ beneath)
            post -= np.outer(beneath, step)
            pre += np.outer([-share * middle, share], step)
        return cls(energy_ev, e0_ev, settings, pre_range, post_range, pre, post, at_e0 @ post)

    def flattening(self, window: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the matrix (W, E) that takes both lines from a spectrum, at the W energies of `window`."""
        at, chosen = self.energy_ev[window], np.flatnonzero(window)
        operator = -self._pre_at(at) @ self.pre
        operator[np.arange(len(at)), chosen] += 1
        if self.settings.flatten:
            beyond = at >= self.e0_ev
            operator[beyond] -= self._powers_at(at[beyond]) @ self.post - self.step
        return np.asarray(operator)

    def flattened(self, operator: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return an operator (..., E) on flattened spectra as an operator on the spectra before, (..., E).

        It is the product with `flattening` at all energies, which would be a large matrix.
        """
        taken = operator @ self._pre_at(self.energy_ev) @ self.pre
        if self.settings.flatten:
            beyond = operator * (self.energy_ev >= self.e0_ev)
            taken = taken + beyond @ self._powers_at(self.energy_ev) @ self.post
            taken = taken - beyond.sum(axis=-1)[..., None] * self.step
        return np.asarray(operator - taken)

    def applied(self, mu: NDArray[np.float64], *, flatten: bool = True) -> NormalizedSpectrum:
        """Normalize one spectrum (E,).

        Raises
        ------
        EdgeError
            If its step is not above 0.
        """
        step = float(self.step @ mu)
        if not step > 0:
            raise EdgeError(
                f"the edge step at {self.e0_ev:.1f} eV is {step:.3g}, not above 0; is it transmission, or "
                "are the ranges wrong?"
            )
        pre_line = self._pre_at(self.energy_ev) @ (self.pre @ mu)
        above = self._powers_at(self.energy_ev) @ (self.post @ mu)
        norm = (mu - pre_line) / step
        bent = np.where(self.energy_ev >= self.e0_ev, above / step - 1, 0.0)
        return NormalizedSpectrum(
            self.e0_ev, step, norm, norm - bent if flatten else norm, pre_line, pre_line + above
        )

    def slope_per_step(self, mean: NDArray[np.floating]) -> float:
        """Return the slope of the pre-edge line of a spectrum (E,), over its edge step."""
        return float((self.pre @ mean)[1] / (self.step @ mean))

    @property
    def pre_ev(self) -> tuple[float, float]:
        """First and last energy of the pre-edge line, eV."""
        return _ends(self.energy_ev, self.pre_range)

    @property
    def post_ev(self) -> tuple[float, float]:
        """First and last energy of the post-edge polynomial, eV."""
        return _ends(self.energy_ev, self.post_range)

    @property
    def definition(self) -> str:
        """What was computed, in one sentence."""
        first, last = self.post_ev
        flat = "flattened" if self.settings.flatten else "not flattened"
        return (
            f"normalized as in Larch: {self._pre_words}, post-edge polynomial of degree "
            f"{self.settings.nnorm} from {first:.1f} to {last:.1f} eV, edge step at "
            f"e0 = {self.e0_ev:.2f} eV, {flat}"
        )

    @property
    def pre_definition(self) -> str:
        """What was computed where only the pre-edge line is subtracted, in one sentence."""
        return f"as in Larch, the {self._pre_words} is subtracted"

    @property
    def _pre_words(self) -> str:
        first, last = self.pre_ev
        power = f" of mu times E^{self.settings.nvict}" if self.settings.nvict else ""
        is_shared = self.settings.shared_slope
        slope = ", whose slope per edge step is that of the mean spectrum" if is_shared else ""
        return f"pre-edge line{power} from {first:.1f} to {last:.1f} eV{slope}"

    def _pre_at(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the matrix (n, 2) from coefficients to the pre-edge line at n energies."""
        falling = (at / self.e0_ev) ** -float(self.settings.nvict)
        return _powers(_scaled(at, self.energy_ev, self.e0_ev), 1) * falling[:, None]

    def _powers_at(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the matrix (n, d + 1) from coefficients to the polynomial at n energies."""
        return _powers(_scaled(at, self.energy_ev, self.e0_ev), len(self.post) - 1)


def _pre_range(settings: Normalization, energy_ev: NDArray[np.float64], e0_ev: float) -> tuple[slice, bool]:
    """Return the energies of the pre-edge line, and whether they are enough for a slope.

    The first is at or below the start of the range.  The one nearest to its end is left out, as in Larch.
    """
    low, high = (_number(end) + e0_ev for end in (settings.pre1_ev, settings.pre2_ev))
    first, last = _at_or_below(energy_ev, low), int(np.argmin(np.abs(energy_ev - high)))
    if _at_or_below(energy_ev, high) - first < 3:
        return slice(first, max(last, first + 1)), False
    return slice(first, min(max(last, first + 2), len(energy_ev))), True


def _post_range(settings: Normalization, energy_ev: NDArray[np.float64], e0_ev: float) -> tuple[slice, int]:
    """Return the energies of the post-edge polynomial, and its degree, which few energies make smaller."""
    degree = settings.nnorm or 0
    low, high = (_number(end) + e0_ev for end in (settings.norm1_ev, settings.norm2_ev))
    first, last = _at_or_below(energy_ev, low), int(np.argmin(np.abs(energy_ev - high)))
    first = min(first, len(energy_ev) - 3)
    if last - first < FEWER:
        first, degree = first - 2, 0
    elif last - first < FEW:
        degree = min(1, degree)
    if first < 0 or last <= first:
        raise EdgeError(
            f"too few energies beyond e0 = {e0_ev:.1f} eV for a post-edge line (the scan ends at "
            f"{energy_ev[-1]:.1f} eV)"
        )
    return slice(first, last), min(degree, last - first - 1)


def _number(value: float | None) -> float:
    """Return a number of settings that are resolved."""
    return np.nan if value is None else value


def _at_or_below(energy_ev: NDArray[np.float64], value: float) -> int:
    return max(int(np.searchsorted(energy_ev, value, side="right")) - 1, 0)


def _scaled(at: NDArray[np.float64], energy_ev: NDArray[np.float64], e0_ev: float) -> NDArray[np.float64]:
    return np.asarray((at - e0_ev) / (energy_ev[-1] - energy_ev[0]))


def _powers(scaled: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    return np.asarray(scaled[:, None] ** np.arange(degree + 1))


def _ends(energy_ev: NDArray[np.float64], used: slice) -> tuple[float, float]:
    return float(energy_ev[used.start]), float(energy_ev[used.stop - 1])
