"""The law of a camera's noise from repeated exposures: gain, read noise, their intervals, what disturbs."""

import numpy as np
import pytest

from xanesum.errors import SigmaError
from xanesum.noise.detector import NoiseLaw, _misfit, photon_transfer, variance_by_mean
from xanesum.phantom import Detector, drifting_fields

SHAPE = (160, 200)
GAIN, READ = 0.3, 20.0
CAMERA = Detector(gain=GAIN, read_variance=READ)


def fresh(seed=0):
    return np.random.default_rng(seed)


def scene(seed=0, level=400.0, contrast=0.5, shape=SHAPE, pattern=0.02):
    """Mean counts of a scene that varies smoothly and from pixel to pixel."""
    rng = fresh(seed)
    smooth = np.clip(1 + contrast * drifting_fields(1, shape, rng=rng)[0], 0.2, None)
    return level * smooth * (1 + pattern * rng.standard_normal(shape))


def exposures(mean, n=10, *, drift=0.0, camera=CAMERA, seed=1):
    rng = fresh(seed)
    light = 1 + drift * drifting_fields(n, mean.shape, rng=rng)
    return np.stack([camera.read(mean * each, rng=rng) for each in light])


def darks(n=10, *, camera=CAMERA, shape=SHAPE):
    return exposures(np.zeros(shape), n, camera=camera, seed=2)


@pytest.mark.parametrize("drift", [0.0, 0.03])
@pytest.mark.parametrize("level", [60.0, 400.0, 4000.0])
def test_gain_and_read_noise_come_out_with_darks(level, drift):
    law = photon_transfer(exposures(scene(level=level), drift=drift), darks=darks())
    light = 1 + drift * drifting_fields(10, SHAPE, rng=fresh(1))

    assert law.gain == pytest.approx(GAIN, rel=0.02)
    assert law.read_variance == pytest.approx(READ, rel=0.02)
    assert law.read_variance_is_known
    assert law.drift == pytest.approx(
        (light / light.mean(axis=0)).std(axis=0, ddof=1).mean(), rel=0.2, abs=5e-3
    )


def test_without_darks_a_wide_range_of_intensity_is_enough():
    law = photon_transfer(exposures(scene(contrast=1.0, level=100.0, shape=(500, 500)), drift=0.03))

    assert law.gain == pytest.approx(GAIN, rel=0.03)
    assert law.read_variance == pytest.approx(READ, rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    inside = []
    for seed in range(60):
        mean = scene(seed, contrast=0.15, shape=(80, 100))
        law = photon_transfer(exposures(mean, 6, drift=0.03, seed=100 + seed), confidence=0.9)
        inside.append(
            [
                law.gain_interval[0] <= GAIN <= law.gain_interval[1],
                law.read_interval[0] <= READ <= law.read_interval[1],
            ]
        )
        assert not law.read_variance_is_known

    assert np.all(np.mean(inside, axis=0) > 0.8)


def test_an_offset_without_darks_shifts_the_intercept_by_gain_times_offset():
    camera = Detector(gain=GAIN, read_variance=READ, offset=50.0)
    mean = scene(contrast=1.0, level=200.0)
    images = exposures(mean, camera=camera)

    assert photon_transfer(images).read_variance == pytest.approx(READ - 50 * GAIN, abs=2)
    assert photon_transfer(images, darks=darks(camera=camera)).read_variance == pytest.approx(READ, rel=0.02)


def test_one_half_predicts_the_variance_of_the_other():
    mean = scene()
    images = exposures(mean, 12, drift=0.02)
    law = photon_transfer(images[:6])

    other = photon_transfer(images[6:])

    for at in (mean.min(), mean.mean(), mean.max()):
        width = at * np.diff(law.gain_interval) + np.diff(law.read_interval)
        assert abs(other.variance(at) - law.variance(at)) < width


def test_pixels_of_unlike_response_do_not_turn_drift_into_noise():
    law = photon_transfer(exposures(scene(level=4000.0, pattern=0.15), drift=0.05), darks=darks())

    assert law.gain == pytest.approx(GAIN, rel=0.02)


def test_hot_pixels_and_missing_ones_do_not_disturb():
    images = exposures(scene())
    images[3, 10:14, 20:30] = 60000
    images[:, 50, 60] = np.nan

    law = photon_transfer(images, darks=darks())

    assert law.gain == pytest.approx(GAIN, rel=0.03)
    assert law.read_variance == pytest.approx(READ, rel=0.03)


def test_one_exposure_between_the_others_does_not_hide_them():
    """The median of all is then mostly that one, which differs from it by nothing."""
    steps = np.array([0.9, 0.95, 1.0, 1.05, 1.1])
    rng = fresh(4)
    flats = np.stack([CAMERA.read(scene() * step, rng=rng) for step in steps])
    law = photon_transfer(flats, darks=darks())
    assert law.gain == pytest.approx(GAIN, rel=0.03)
    assert law.read_variance == pytest.approx(READ, rel=0.05)
    kept = variance_by_mean(flats)[0]
    assert kept.min() < 0.75 * scene().mean()  # dark pixels have their say too


def test_the_interval_of_a_variance_covers_it_and_is_narrowest_amid_the_exposures():
    mean = np.array([0.0, 400.0, 2000.0])
    true, hits = GAIN * mean + READ, []
    for seed in range(20):
        low, high = photon_transfer(exposures(scene(seed), seed=seed)).variance_interval(mean)
        hits.append((low <= true) & (true <= high))
        width = (high - low) / true
        assert width[1] < 0.1
        assert width[1] < width[0]
    assert np.mean(hits, axis=0).min() >= 0.8


def test_what_a_line_does_not_describe_is_in_the_interval():
    mean = np.linspace(50, 1000, 40)
    bent = 0.3 * mean + 20 + 4 * np.sin(mean / 50)
    assert _misfit(bent, 0.3 * mean + 20, np.full(40, 1e-3)) == pytest.approx(
        np.sqrt(np.mean((4 * np.sin(mean / 50) / (0.3 * mean + 20)) ** 2)), rel=1e-3
    )
    assert _misfit(bent, bent, np.full(40, 1.0)) == 0


def test_scaling_the_counts_scales_the_law():
    images = exposures(scene())
    here, there = photon_transfer(images), photon_transfer(4 * images)

    assert there.gain == pytest.approx(4 * here.gain, rel=1e-3)
    assert there.read_variance == pytest.approx(16 * here.read_variance, rel=1e-2)


def test_variance_is_a_line_that_stays_positive():
    law = NoiseLaw(0.5, (0.4, 0.6), -3.0, (-4.0, -2.0), 0.95)

    np.testing.assert_allclose(law.variance(np.array([100.0, 10.0])), [47.0, 2.0])
    assert law.variance(np.array([0.0, -50.0])).min() > 0


@pytest.mark.parametrize(
    ("images", "dark", "said"),
    [
        (np.ones((1, 20, 20)), None, "at least two images"),
        (np.ones((4, 20)), None, "at least two images"),
        (np.ones((3, 1, 20)), None, "at least two images"),
        (np.ones((3, 20, 20)), np.ones((3, 20, 30)), "darks have shape"),
        (np.ones((3, 20, 20)), np.ones((1, 20, 20)), "darks must be"),
        (np.full((3, 20, 20), np.nan), None, "finite"),
        (np.ones((3, 20, 20)), None, "does not grow"),
    ],
)
def test_what_gives_no_law_is_refused_in_one_line(images, dark, said):
    with pytest.raises(SigmaError, match=said) as caught:
        photon_transfer(images, darks=dark)

    assert "\n" not in str(caught.value)
