"""A scan that grows frame by frame has at every moment what a whole one of these frames has."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from xanesum import denoise, simulate
from xanesum.errors import EnergyError, StackError
from xanesum.linalg.subspace import fit_basis, project
from xanesum.workflow.incremental import FEWEST, FIRST_FRAMES, IncrementalScan

SCAN = simulate("particle", shape=(48, 64), n_energies=40).noisy(20.0, rng=np.random.default_rng(0))
ENERGY = SCAN.energy.values


def grown(order):
    scan = IncrementalScan()
    return scan, [scan.add(SCAN.values[e], ENERGY[e]) for e in order]


@pytest.mark.parametrize("order", [range(40), np.random.default_rng(1).permutation(40)], ids=["up", "any"])
def test_the_factors_are_those_of_a_whole_scan(order):
    last = grown(order)[1][-1]
    whole = fit_basis(SCAN.values, 6, rng=np.random.default_rng(0))

    assert np.degrees(subspace_angles(last.spectra[:3].T, whole.spectra[:3].T)).max() < 0.1
    np.testing.assert_allclose(last.singular_values, whole.singular_values, rtol=1e-5)
    np.testing.assert_array_equal(last.energy_ev, ENERGY)
    np.testing.assert_allclose(last.images, project(last.spectra, SCAN.values), rtol=1e-3, atol=0.1)


def test_every_update_is_exact():
    for n, factors in enumerate(grown(range(20))[1], start=1):
        whole = fit_basis(SCAN.values[:n], min(n, 6), rng=np.random.default_rng(0))
        np.testing.assert_allclose(factors.singular_values, whole.singular_values, rtol=1e-4)


def test_a_result_can_be_had_at_any_time():
    scan, _ = grown(range(25))
    found = scan.denoised(denoiser="wavelet")
    wanted = denoise(SCAN[:25], denoiser="wavelet")
    np.testing.assert_array_equal(found.coefficients, wanted.coefficients)


def test_a_stack_stays_as_it_was_when_more_is_added():
    scan, _ = grown(range(FIRST_FRAMES - 1))
    before = scan.stack()
    copy = before.values.copy()
    for e in range(FIRST_FRAMES - 1, 30):
        scan.add(SCAN.values[e], ENERGY[e])
    np.testing.assert_array_equal(before.values, copy)
    assert len(scan) == 30


@pytest.mark.parametrize(
    ("frame", "energy", "error", "said"),
    [
        (np.ones((48, 63)), 8500.0, StackError, "as before"),
        (np.full((48, 64), np.nan), 8500.0, StackError, "not finite"),
        (np.zeros((48, 64)), 8500.0, StackError, "zero everywhere"),
        (np.ones((48, 64)), np.nan, EnergyError, "positive"),
        (np.ones((48, 64)), ENERGY[0], EnergyError, "already"),
        (np.ones(64), 8500.0, StackError, "shape"),
    ],
)
def test_a_frame_that_cannot_be_used_changes_nothing(frame, energy, error, said):
    scan, factors = grown(range(3))
    with pytest.raises(error, match=said):
        scan.add(frame, energy)
    assert len(scan) == 3
    np.testing.assert_array_equal(scan.factors().singular_values, factors[-1].singular_values)


def test_too_few_frames_for_a_result():
    scan, _ = grown(range(FEWEST - 1))
    with pytest.raises(StackError, match="too few"):
        scan.denoised()
