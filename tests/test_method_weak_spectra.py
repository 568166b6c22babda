"""Likely spectra of weak components: like the slope of the strong spectrum, and smooth."""

import numpy as np
import pytest
from scans import edge_spectrum

from xanesum.method.weak_spectra import LikelySpectra, shift_beside

ENERGY = np.linspace(8300.0, 8400.0, 80)
WHITE_LINE = np.exp(-(((ENERGY - 8345.0) / 3) ** 2))
STRONG = 0.2 + edge_spectrum(ENERGY, 8340.0) + 0.5 * WHITE_LINE
FLAT = np.linalg.qr(np.stack([STRONG, np.ones(80), ENERGY - 8350.0]).T).Q.T
N_KNOWN = [0, 1, 3]


def beside(known, strong=STRONG, energy_ev=ENERGY):
    return LikelySpectra.beside(known, strong, energy_ev)


def part_within(rows, spectrum, known):
    """Length of the projection of a spectrum, less its known part and of length 1."""
    rest = spectrum - (spectrum @ known.T) @ known
    return np.linalg.norm(rows @ rest) / np.linalg.norm(rest)


@pytest.mark.parametrize("n_known", N_KNOWN)
def test_rows_are_orthonormal_and_beside_what_is_known(n_known):
    known = FLAT[:n_known]

    likely = beside(known)

    np.testing.assert_allclose(likely.rows @ likely.rows.T, np.eye(len(likely.rows)), atol=1e-9)
    np.testing.assert_allclose(likely.rows @ known.T, 0, atol=1e-9)
    assert 3 <= len(likely.rows) < 40
    assert likely.root.shape[0] == len(likely.rows)


@pytest.mark.parametrize("n_known", N_KNOWN)
@pytest.mark.parametrize(
    "weak",
    [
        np.gradient(STRONG, ENERGY),
        np.interp(ENERGY - 1.0, ENERGY, STRONG) - STRONG,
        WHITE_LINE,
        np.gradient(np.gradient(STRONG, ENERGY), ENERGY),
    ],
    ids=["slope", "shift by 1 eV", "white line", "width"],
)
def test_what_chemistry_changes_lies_within(weak, n_known):
    known = FLAT[:n_known]

    assert part_within(beside(known).rows, weak, known) > 0.95


def test_jumps_below_the_edge_lie_outside():
    known = FLAT[:1]
    below = (ENERGY < 8325.0) * np.cos(np.pi * np.arange(80))

    assert part_within(beside(known).rows, below, known) < 0.2


def test_few_directions_hold_the_prior():
    """Noise has fewer ways to look like a component than there are energies."""
    assert len(beside(FLAT[:1]).rows) < 25


@pytest.mark.parametrize("n_known", N_KNOWN)
def test_the_likeliest_direction_is_first(n_known):
    likely = beside(FLAT[:n_known])
    ordered = likely.by_weight

    covariance = likely.rows.T @ likely.root @ likely.root.T @ likely.rows
    variance = np.einsum("me,ef,mf->m", ordered, covariance, ordered)
    assert np.all(np.diff(variance) <= 1e-9 * variance[0])
    assert variance[0] == pytest.approx(np.linalg.eigvalsh(covariance)[-1])
    np.testing.assert_allclose(ordered @ ordered.T, np.eye(len(ordered)), atol=1e-9)
    np.testing.assert_allclose(ordered.T @ ordered, likely.rows.T @ likely.rows, atol=1e-9)


def test_beside_a_single_state_the_likeliest_direction_is_like_a_shift():
    known = (STRONG / np.linalg.norm(STRONG))[None]
    slope = np.gradient(STRONG, ENERGY)

    assert part_within(beside(known).by_weight[:2], slope, known) > 0.8


def test_the_unit_of_the_strong_spectrum_does_not_matter():
    plain, larger = beside(FLAT[:1]), beside(FLAT[:1], strong=1e4 * STRONG)
    turned = beside(FLAT[:1], strong=-STRONG)

    for other in (larger, turned):
        np.testing.assert_allclose(other.rows.T @ other.rows, plain.rows.T @ plain.rows, atol=1e-6)


def test_a_wider_edge_has_smoother_weak_spectra():
    sharp, wide = (beside(np.zeros((0, 80)), edge_spectrum(ENERGY, 8350.0, width)) for width in (1.0, 6.0))

    assert len(sharp.rows) > 1.5 * len(wide.rows)


def test_energies_need_not_be_evenly_spaced():
    energy = np.sort(np.r_[np.linspace(8300, 8400, 30), np.linspace(8335, 8345, 50) + 0.01])
    strong = edge_spectrum(energy, 8340.0)
    known = (strong / np.linalg.norm(strong))[None]

    likely = beside(known, strong, energy)

    shift = edge_spectrum(energy, 8340.5) - edge_spectrum(energy, 8339.5)
    assert part_within(likely.rows, shift, known) > 0.95


@pytest.mark.parametrize("strong", [np.zeros(80), np.ones(80)])
def test_a_spectrum_without_an_edge_has_finite_directions(strong):
    likely = beside(FLAT[:1], strong=strong)

    assert np.isfinite(likely.rows).all()
    assert np.isfinite(likely.root).all()


# --- the shift


def test_the_shift_is_the_slope_beside_what_is_known():
    shift = shift_beside(FLAT[:1], STRONG, ENERGY)

    np.testing.assert_allclose(shift @ FLAT[:1].T, 0, atol=1e-12)
    assert np.linalg.norm(shift) == pytest.approx(1)
    moved = np.interp(ENERGY - 0.3, ENERGY, STRONG) - STRONG
    assert part_within(shift, moved, FLAT[:1]) > 0.9


def test_many_energies_beyond_the_edge_do_not_make_it_a_step():
    """The likeliest spectrum of such a scan is broad, and a map does not see it."""
    energy = np.linspace(8300.0, 8700.0, 320)
    strong = 0.2 + edge_spectrum(energy, 8340.0)
    known = strong[None] / np.linalg.norm(strong)

    shift = shift_beside(known, strong, energy)[0]

    near = np.abs(energy - 8340) < 15
    assert np.sum(shift[near] ** 2) > 0.8


def test_where_the_shift_is_known_there_is_none():
    known = np.linalg.qr(np.stack([STRONG, np.gradient(STRONG, ENERGY)]).T).Q.T

    assert shift_beside(known, STRONG, ENERGY) is None
