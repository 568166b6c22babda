"""A phantom as a detector counts it: means and variances that the law says, drift that is smooth."""

import numpy as np
import pytest

from xanesum.errors import SigmaError
from xanesum.phantom import Detector, drifting_fields, expose, simulate
from xanesum.stack import check_stack

PHANTOM = simulate("particle", shape=(64, 80), n_energies=30)


def fresh(seed=0):
    return np.random.default_rng(seed)


def test_counts_have_the_mean_and_the_variance_of_the_law():
    camera = Detector(gain=0.3, read_variance=20.0, offset=7.0)
    signal = np.array([0.0, 1.0, 30.0, 900.0])[:, None] * np.ones(200_000)

    counts = camera.read(signal, rng=fresh()).astype(float)

    variance = 0.3 * signal[:, 0] + 20
    np.testing.assert_allclose(
        counts.mean(axis=1), signal[:, 0] + 7, atol=5 * np.sqrt(variance / 200_000).max()
    )
    np.testing.assert_allclose(counts.var(axis=1), variance, rtol=0.02)


def test_a_scan_is_light_through_the_sample():
    found = expose(PHANTOM, 500.0, rng=fresh())

    expected = found.illumination * np.exp(-found.density)
    error = (found.stack.values - expected) / np.sqrt(0.144 * expected + 11)
    check_stack(found.stack)
    assert found.stack.attrs["quantity"] == "counts"
    assert abs(error.mean()) < 5 / np.sqrt(error.size)
    assert error.std() == pytest.approx(1, abs=0.02)
    assert found.density.max() == pytest.approx(1.5)
    np.testing.assert_allclose(found.stack.flat.values, found.flats.mean(axis=0))
    assert found.stack.flat.values.mean() == pytest.approx(500, rel=0.1)


def test_illumination_drifts_smoothly_by_what_was_asked():
    fields = drifting_fields(3000, (40, 50), rng=fresh())

    assert np.sqrt(np.mean(fields**2)) == pytest.approx(1, abs=0.03)
    assert np.abs(np.diff(fields, axis=2)).max() < 0.35
    found = expose(PHANTOM, 500.0, flat_drift=0.0, rng=fresh())
    np.testing.assert_allclose(found.illumination, found.illumination[:1] * np.ones((30, 1, 1)))


def test_the_same_seed_gives_the_same_scan():
    here, there = (expose(PHANTOM, 100.0, rng=fresh(5)) for _ in range(2))

    np.testing.assert_array_equal(here.stack.values, there.stack.values)
    np.testing.assert_array_equal(here.darks, there.darks)


@pytest.mark.parametrize("options", [{"open_counts": 0.0}, {"open_counts": 100.0, "n_flats": 0}])
def test_no_light_or_no_flat_is_refused(options):
    with pytest.raises(SigmaError, match="needs light and flats"):
        expose(PHANTOM, rng=fresh(), **options)
