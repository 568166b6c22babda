"""The law of the counts' noise on its way from flats and darks to the errors of a result."""

import warnings

import h5py
import numpy as np
import pytest
from io_files import real_data, write_ssrl, write_xrm

from xanesum.errors import XanesumWarning
from xanesum.io import read_stack, write_stack
from xanesum.method.denoising import denoise
from xanesum.noise.detector import law_coords
from xanesum.noise.variance import CountVariance
from xanesum.phantom import Detector, expose, simulate
from xanesum.preprocess import prepare
from xanesum.stack import make_stack

pytestmark = pytest.mark.filterwarnings("ignore:component .+ is close to the limit")

CAMERA = Detector(gain=0.3, read_variance=20.0, offset=50.0)
SHAPE = (120, 160)
LAW = ("noise_gain", "noise_read_variance")
LIGHT = ("light", "light_energy")
PHANTOM = simulate("round", shape=(96, 128), n_energies=60)
SCAN = expose(PHANTOM, 400.0, flat_drift=0.0, peak_density=2.5, rng=np.random.default_rng(3))
STACK = prepare(SCAN.stack)[0]
QUICK = {"denoiser": "wavelet", "n_probes": 1}


def fresh(seed=0):
    return np.random.default_rng(seed)


def light(shape=SHAPE, level=400.0):
    return level * np.linspace(0.5, 1.5, shape[1]) * np.ones(shape)


def exposures(mean, n=10, seed=1):
    rng = fresh(seed)
    return np.stack([CAMERA.read(mean, rng=rng) for _ in range(n)])


def counted(density, seconds, repeats, *, as_rate, seed=5):
    """Return means of exposures of a sample, as counts or as rates."""
    rng = fresh(seed)
    frames = [
        np.mean([CAMERA.read(light() * s * np.exp(-density), rng=rng) for _ in range(n)], axis=0)
        for s, n in zip(seconds, repeats, strict=True)
    ]
    divisor = np.asarray(seconds)[:, None, None] if as_rate else 1.0
    return np.stack(frames) / divisor


# --- what readers make of flats and darks


@pytest.mark.parametrize("with_darks", [True, False])
def test_the_law_is_that_of_values_as_they_are(with_darks):
    coords = law_coords(
        exposures(light()), exposures(0 * light(), seed=2) if with_darks else None, n_energies=3
    )
    gain, read = (coords[name][1] for name in LAW)

    assert gain.shape == read.shape == (3,)
    np.testing.assert_allclose(gain, 0.3, rtol=0.03)
    counts = np.array([100.0, 600.0]) + 50  # with the offset
    expected = 0.3 * (counts - 50) + 20
    np.testing.assert_allclose(gain[0] * counts + read[0], expected, rtol=0.05)


def test_repeats_and_seconds_scale_the_law():
    plain = law_coords(exposures(light()), n_energies=2)
    scaled = law_coords(exposures(light()), repeats=[1, 4], seconds=[2.0, 0.5], n_energies=2)

    np.testing.assert_allclose(scaled["noise_gain"][1], plain["noise_gain"][1] / [2, 2])
    np.testing.assert_allclose(scaled["noise_read_variance"][1], plain["noise_read_variance"][1] / [4, 1])


def test_exposures_that_give_no_law_give_no_coordinates():
    assert law_coords(np.full((3, 20, 20), 7.0), n_energies=4) == {}


def test_only_the_middle_of_large_exposures_is_looked_at():
    wide = exposures(light((60, 700)))
    spoilt = wide.copy()
    spoilt[:, :, :90] += 1e3 * fresh().standard_normal((10, 60, 90))
    for name in LAW:
        np.testing.assert_array_equal(
            law_coords(wide, n_energies=1)[name][1], law_coords(spoilt, n_energies=1)[name][1]
        )


@pytest.mark.parametrize(("n_flats", "known"), [(6, True), (1, False), (4, False)])  # 4: one per energy
def test_data_exchange_with_several_flats_brings_the_law(tmp_path, n_flats, known):
    values = counted(np.full(SHAPE, 0.5), [1.0] * 4, [1] * 4, as_rate=False)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["exchange/data"] = values
        file["exchange/energy"] = 8300.0 + np.arange(4)
        file["exchange/energy"].attrs["units"] = "eV"
        file["exchange/data_white"] = exposures(light(), n_flats)
        file["exchange/data_dark"] = exposures(0 * light(), 6, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        stack = read_stack(tmp_path / "scan.h5")
    assert (set(LAW) <= set(stack.coords)) == known
    if known:
        np.testing.assert_allclose(stack["noise_gain"], 0.3, rtol=0.05)
        assert set(LIGHT) <= set(prepare(stack)[0].coords)


def test_a_folder_of_ssrl_brings_the_law_of_its_rates(tmp_path):
    flats = exposures(light(level=4000.0), 3)
    write_ssrl(tmp_path, np.ones((1, *SHAPE)) * 800, flats[:1] / 0.3, (8324.0,), repeats=3)
    paths = sorted(path for path in tmp_path.glob("*_ref_*.xrm"))
    for path, flat in zip(paths, flats, strict=True):
        write_xrm(path, np.round(flat)[None].astype(np.uint16), exposure_s=0.3)

    stack = read_stack(tmp_path)

    np.testing.assert_allclose(stack["noise_gain"], 0.3 / (0.5 * 3), rtol=0.06)  # 3 repeats of 0.5 s


def test_real_flats_of_ssrl_bring_the_law_that_was_measured():
    with pytest.warns(XanesumWarning, match="damaged files were left out"):
        stack = read_stack(real_data("ssrl_ni_nca_xrm"))
    n_repeats, seconds = 3, stack["exposure_s"].values
    np.testing.assert_allclose(stack["noise_gain"] * seconds * n_repeats, 0.144, rtol=0.08)


# --- from counts to optical density


@pytest.mark.parametrize("as_rate", [False, True])
@pytest.mark.parametrize("with_darks", [False, True])
def test_the_law_predicts_the_scatter_of_optical_density(as_rate, with_darks):
    n, seconds, repeats = 80, 0.5, 2
    density = np.linspace(0, 1.0, SHAPE[0])[:, None] * np.ones(SHAPE)
    values = counted(density, [seconds] * n, [repeats] * n, as_rate=as_rate)
    stack = make_stack(values, 8300.0 + np.arange(n), quantity="counts")
    flat = light() * seconds + 50
    if as_rate:
        stack.attrs["unit"] = "counts/s"
        flat /= seconds
    stack = stack.assign_coords(
        law_coords(
            exposures(light()),
            exposures(0 * light(), seed=2) if with_darks else None,
            repeats=repeats,
            seconds=seconds if as_rate else 1.0,
            n_energies=n,
        )
    ).assign_coords(exposure_s=seconds, flat_exposure_s=seconds)

    found = prepare(stack, flat=flat, offset=50.0, bad_pixels=False)[0]

    gain, read, image, of_energy = (found[name].values for name in LAW + LIGHT)
    law = CountVariance(gain, read, image, of_energy, found.attrs["linear_below"])
    ratio = found.values.var(axis=0) / law.at(3, density)
    assert abs(np.median(ratio) - 1) < 0.04
    assert abs(np.median(ratio[-20:]) / np.median(ratio[:20]) - 1) < 0.05


@pytest.mark.parametrize(
    ("level", "floor"), [(400.0, 0.0), (30.0, 0.0), (20.0, 6.6), (9.0, 6.6), (3.0, 6.6), (0.0, 6.6)]
)
def test_where_noise_is_a_good_part_of_the_counts_the_variance_is_known_too(level, floor):
    """To first order it is 10 % too low at 20 counts, and 25 % too high where logarithm and line meet."""
    camera = Detector(gain=0.144, read_variance=11.0)
    law = CountVariance(np.full(1, 0.144), np.full(1, 11.0), np.full((1, 1), 400.0), np.ones(1), floor)
    counts = camera.read(np.full((500, 500), level), rng=fresh()).astype(float)
    half = 0.144 / 2
    logarithm = hybrid(counts, floor, half) if floor else np.log(counts + half)
    found = law.at(0, np.full((1, 1), np.log(400.0) - logarithm.mean()))
    assert found[0, 0] == pytest.approx(logarithm.var(), rel=0.015)


def hybrid(counts, floor, half):
    line = np.log(floor + half) + (counts - floor) / (floor + half)
    return np.where(counts < floor, line, np.log(np.maximum(counts, floor) + half))


@pytest.mark.parametrize(("photons", "gain"), [(10, 1.0), (30, 1.0), (30, 0.2), (300, 5.0)])
def test_the_mean_density_of_few_photons_is_the_true_one(photons, gain):
    """Without the half photon it is too large by 1 / (2 n): 0.050 of 10 photons."""
    counts = gain * fresh().poisson(photons, (4, 300, 300))
    flat = np.full((300, 300), 400.0 * gain)
    stack = make_stack(counts.astype(np.float32), 8300.0 + np.arange(4), quantity="counts")
    law = {name: ("energy", np.full(4, value)) for name, value in zip(LAW, (gain, 0.0), strict=True)}
    with_law, without = (
        float(prepare(each, flat=flat, bad_pixels=False)[0].mean()) - np.log(400 / photons)
        for each in (stack.assign_coords(law), stack)
    )
    assert without == pytest.approx(1 / (2 * photons), rel=0.25)
    assert abs(with_law) < 0.1 * without


def test_the_noise_in_the_dark_is_that_of_the_law_where_counts_only_sometimes_reach_it():
    """Of a dim scan only the tail is negative, whose median would give half of the noise."""
    scan = expose(simulate("wedge", shape=SHAPE, n_energies=40), 20.0, peak_density=1.5, rng=fresh())
    floor = prepare(scan.stack)[0].attrs["linear_below"]
    assert floor == pytest.approx(2 * np.sqrt(11.0), rel=0.03)


@pytest.mark.parametrize("missing", LAW)
def test_half_a_law_is_none(missing):
    found = prepare(SCAN.stack.drop_vars(missing))[0]
    assert not (set(LAW) | set(LIGHT)) & set(found.coords)


def test_a_pixel_without_a_usable_flat_leaves_the_light_finite():
    stack = SCAN.stack.copy(deep=True)
    flat = stack["flat"].values.copy()
    flat[3, 4] = 0
    assert np.isfinite(prepare(stack, flat=flat)[0]["light"].values).all()


def test_the_law_survives_the_native_file(tmp_path):
    loaded = read_stack(write_stack(STACK, tmp_path / "od.h5"))
    for name in LAW + LIGHT:
        np.testing.assert_array_equal(loaded[name], STACK[name])
    assert loaded.attrs["linear_below"] == STACK.attrs["linear_below"]


# --- what a result makes of it


def sigma_error(result):
    """Return the logarithm of the noise found over the true one."""
    counts = SCAN.illumination * np.exp(-SCAN.density)
    true = np.sqrt(0.144 * counts + 11) / counts
    return np.log(result.sigma_energy.values[:, None, None] * result.sigma_pixel.values / true)


def test_a_law_that_holds_is_used():
    with_law, without = denoise(STACK, **QUICK), denoise(STACK.drop_vars(LAW), **QUICK)

    assert "; as the law of the counts predicts" in with_law.provenance["noise"]
    assert "law" not in without.provenance["noise"]
    assert abs(sigma_error(with_law).mean()) < 0.02
    assert with_law.sigma != without.sigma


def test_a_stack_of_other_noise_is_believed_more_than_the_law():
    other = STACK.copy(data=2 * STACK.values)
    found, without = denoise(other, **QUICK), denoise(other.drop_vars(LAW), **QUICK)

    assert "; not as the law of the counts predicts" in found.provenance["noise"]
    assert found.sigma == pytest.approx(without.sigma, rel=1e-6)


def test_frames_left_out_are_left_out_of_the_law():
    gain = STACK["noise_gain"].values.copy()
    gain[10:20] = 1e6
    weight = np.ones(len(STACK))
    weight[10:20] = 0
    stack = STACK.assign_coords(weight=("energy", weight), noise_gain=("energy", gain))
    assert "; as the law of the counts predicts" in denoise(stack, **QUICK).provenance["noise"]
