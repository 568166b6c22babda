"""Optical density against its formula; values without a logarithm are counted, never clipped."""

import numpy as np
import pytest
import xarray as xr
from counted_scans import FLOAT32_OD, SHAPE, counts_stack, density_and_flat
from hypothesis import given, settings
from hypothesis import strategies as st
from io_files import real_data, small_stack, write_axis2000, write_ssrl
from scipy.ndimage import gaussian_filter

from xanesum.errors import StackError, XanesumWarning
from xanesum.io import read_stack, write_stack
from xanesum.preprocess import prepare, to_optical_density
from xanesum.stack import load_stack, make_stack, usable_mask, usable_weight


@settings(deadline=None, max_examples=30)
@given(
    offset=st.floats(0, 200),
    exposure_s=st.floats(0.01, 10),
    flat_exposure_s=st.floats(0.01, 10),
    seed=st.integers(0, 99),
)
def test_the_formula_is_inverted_for_any_exposure_and_dark(offset, exposure_s, flat_exposure_s, seed):
    density, flat_rate = density_and_flat(seed=seed)
    dark = np.random.default_rng(seed).uniform(0, 50, SHAPE[1:])
    counts = flat_rate * np.exp(-density) * exposure_s + dark + offset
    flat = flat_rate * flat_exposure_s + dark + offset

    result, report = to_optical_density(
        counts_stack(counts),
        flat=flat,
        dark=dark,
        offset=offset,
        exposure_s=exposure_s,
        flat_exposure_s=flat_exposure_s,
    )

    # counts as small as 0.01 * 2e3 * exp(-3) = 1 above a dark of 250: 250 * eps(float64) is nothing beside it
    np.testing.assert_allclose(result.values, density, rtol=0, atol=FLOAT32_OD)
    assert result.attrs["quantity"] == "optical_density"
    assert result.dtype == np.float32
    assert report.lines() == ["no value, pixel or frame was left out"]


@pytest.mark.parametrize("kind", ["one image", "image per energy", "I0 spectrum"])
def test_flat_may_be_an_image_a_stack_or_a_spectrum(kind):
    density, flat = density_and_flat()
    flat = {"one image": flat[0], "image per energy": flat, "I0 spectrum": flat[:, 0, 0]}[kind]
    full = flat[:, None, None] if kind == "I0 spectrum" else np.broadcast_to(flat, SHAPE)
    result, _ = to_optical_density(counts_stack(full * np.exp(-density)), flat=flat)
    np.testing.assert_allclose(result.values, density, rtol=0, atol=FLOAT32_OD)


def test_transmission_needs_nothing_else():
    density, _ = density_and_flat()
    stack = make_stack(np.exp(-density), 8300 + np.arange(4), quantity="transmission")
    result, report = to_optical_density(stack)
    np.testing.assert_allclose(result.values, density, rtol=0, atol=FLOAT32_OD)
    assert "transmission to optical density" in result.attrs["history"][-1]
    assert report.n_values == stack.size


@pytest.mark.parametrize("quantity", ["optical_density", "intensity"])
def test_what_is_no_count_stays_as_it_is(quantity):
    stack = small_stack(quantity=quantity)
    result, report = to_optical_density(stack)
    xr.testing.assert_identical(result, stack)
    assert report.lines() == [f"{quantity.replace('_', ' ')}: taken as it is"]


def test_ssrl_rates_use_their_own_flat_and_forgetting_the_times_shifts_by_ln_5_3(tmp_path):
    rng = np.random.default_rng(2)
    flat_rate = rng.uniform(2e4, 9e4, (2, 6, 7))
    density = rng.uniform(0, 2, (2, 6, 7))
    stack = read_stack(write_ssrl(tmp_path, flat_rate * np.exp(-density), flat_rate, (8324.0, 8354.0)))

    result, _ = to_optical_density(stack)

    # counts are integers, at least 2e4 * exp(-2) * 0.3 = 800: rounding moves a logarithm by 0.5 / 800 at most
    np.testing.assert_allclose(result.values, density, atol=2 * 0.5 / 800)
    raw = counts_stack(stack.values * 0.5)
    forgotten, _ = to_optical_density(raw, flat=stack["flat"].values * 0.3)
    told, _ = to_optical_density(
        raw, flat=stack["flat"].values * 0.3, exposure_s=0.5, flat_exposure_s=[0.3, 0.3]
    )
    np.testing.assert_allclose(result.values - forgotten.values, np.log(5 / 3), rtol=0, atol=1e-5)
    np.testing.assert_allclose(told.values, result.values, rtol=0, atol=1e-5)
    assert not {"flat", "exposure_s", "flat_exposure_s"} & set(result.coords)
    assert "unit" not in result.attrs


def test_an_offset_of_rates_counts_once_for_each_exposure(tmp_path):
    rng = np.random.default_rng(2)
    flat_rate, density = rng.uniform(2e4, 9e4, (2, 6, 7)), rng.uniform(0, 2, (2, 6, 7))
    offset = 100.0
    stack = read_stack(
        write_ssrl(
            tmp_path, flat_rate * np.exp(-density) + offset / 0.5, flat_rate + offset / 0.3, (8324.0, 8354.0)
        )
    )
    result, _ = to_optical_density(stack, offset=offset)
    np.testing.assert_allclose(result.values, density, atol=2 * 0.5 / 800)


def test_axis2000_counts_use_the_i0_beside_them(tmp_path):
    counts = np.random.default_rng(0).uniform(100, 900, (4, 5, 7))
    path = write_axis2000(tmp_path, counts, 700 + np.arange(4))
    (tmp_path / "i0.xsp").write_text("700 1000\n703 1300\n")
    result, _ = to_optical_density(read_stack(path))
    i0 = np.array([1000, 1100, 1200, 1300])[:, None, None]
    np.testing.assert_allclose(result.values, np.log(i0 / counts), rtol=0, atol=FLOAT32_OD)
    assert "i0" not in result.coords


def test_a_lazy_stack_gives_the_same(tmp_path, monkeypatch):
    density, flat = density_and_flat()
    stack = counts_stack(flat * np.exp(-density)).assign_coords(flat=(("energy", "y", "x"), flat))
    write_stack(stack, tmp_path / "scan.h5")
    monkeypatch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
    result, _ = to_optical_density(read_stack(tmp_path / "scan.h5"))
    np.testing.assert_array_equal(result.values, to_optical_density(stack)[0].values)


def test_values_without_a_logarithm_are_counted_by_cause_and_never_clipped():
    density, flat = density_and_flat()
    counts = flat * np.exp(-density)
    counts[0, 1, 1] = 65535  # saturated
    counts[1, 2, 2] = 0.0
    counts[1, 2, 3] = -3.0
    counts[2, 3, 3] = np.nan
    counts[2, 3, 4] = np.inf
    flat[3, 4, 4] = 0.0
    flat[3, 4, 5] = 65535
    before = counts.copy()

    result, report = to_optical_density(counts_stack(counts, saturation_counts=65535), flat=flat)

    assert (report.n_saturated, report.n_not_positive) == (1, 2)
    assert (report.n_not_finite, report.n_bad_reference) == (2, 2)
    assert report.n_missing == result.attrs["missing_values"] == np.count_nonzero(np.isnan(result)) == 7
    good = np.isfinite(result.values)
    np.testing.assert_allclose(result.values[good], density[good], rtol=0, atol=FLOAT32_OD)
    np.testing.assert_array_equal(counts, before)
    load_stack(result)  # the marks are those that the later steps accept
    assert "1 values were saturated (0.25 %)" in report.lines()
    assert "2 values were not positive" in result.attrs["history"][-1]


def dark_scan(sigma=3.0, seed=0):
    """Counts of a sample that lets 2 counts through in its middle and 400 beside it, and their truth."""
    rng = np.random.default_rng(seed)
    true = np.full((30, 40, 50), 400.0)
    true[:, 10:30, 10:40] = 2.0
    return true + sigma * rng.standard_normal(true.shape), true


def test_counts_about_zero_are_taken_as_linear_instead_of_lost():
    counts, true = dark_scan()

    result, report = to_optical_density(counts_stack(counts), flat=np.full(true.shape[1:], 400.0))

    density = result.values
    assert report.n_not_positive == report.n_missing == 0
    inside = counts[:, 12:28, 12:38]
    low = inside < 4.0
    floor = -1 / np.polyfit(inside[low], density[:, 12:28, 12:38][low], 1)[0]
    assert 3.5 < floor < 7  # about twice the noise, which is known from what is negative only
    assert report.n_linear == np.count_nonzero(counts < floor)
    np.testing.assert_allclose(
        density[counts < floor], np.log(400 / floor) + 1 - counts[counts < floor] / floor, atol=1e-3
    )
    bright = true > 100
    np.testing.assert_allclose(density[bright], np.log(400 / counts[bright]), atol=1e-6)


def test_the_share_of_values_too_dark_for_a_logarithm_comes_with_the_density():
    counts, true = dark_scan()
    flat = np.full(true.shape[1:], 400.0)

    dark, bright = (to_optical_density(counts_stack(each), flat=flat) for each in (counts, counts + 200))

    assert dark[0].attrs["dark_share"] == pytest.approx(dark[1].n_linear / counts.size)
    assert dark[0].attrs["dark_share"] > 0.1
    assert bright[0].attrs["dark_share"] == 0


def test_pixels_that_are_left_out_are_not_dark():
    counts, true = dark_scan()
    counts += 200
    counts[:, :3, :3] = 0

    result, _ = to_optical_density(counts_stack(counts), flat=np.full(true.shape[1:], 400.0))

    assert not usable_mask(result)[:3, :3].any()
    assert result.attrs["dark_share"] == 0


def test_linear_and_logarithm_meet():
    counts, true = dark_scan()
    density = to_optical_density(counts_stack(counts), flat=np.full(true.shape[1:], 400.0))[0].values

    order = np.argsort(counts[:, 12:28, 12:38], axis=None)
    steps = np.diff(density[:, 12:28, 12:38].ravel()[order])

    assert steps.max() <= 0
    assert steps.min() > -0.5  # at the far ends only, where values are few


def test_what_is_negative_amid_light_is_a_defect_also_beside_darkness():
    counts, true = dark_scan()
    counts[4, 2, 3] = -1.0

    result, report = to_optical_density(counts_stack(counts), flat=np.full(true.shape[1:], 400.0))

    assert np.isnan(result.values[4, 2, 3])
    assert report.n_not_positive == report.n_missing == 1


def test_pixels_that_mostly_get_no_light_are_left_out():
    counts, true = dark_scan()
    counts[:20, 15:20, 15:20] = -np.abs(counts[:20, 15:20, 15:20])

    result, report = to_optical_density(counts_stack(counts), flat=np.full(true.shape[1:], 400.0))

    assert not usable_mask(result)[15:20, 15:20].any()
    assert 25 <= report.n_masked_pixels < 40


def test_saturation_given_wins():
    density, flat = density_and_flat()
    counts = flat * np.exp(-density)
    limit = np.sort(counts, axis=None)[-5]
    stack = counts_stack(counts, saturation_counts=1e9)
    _, report = to_optical_density(stack, flat=np.full(SHAPE[1:], limit / 2), saturation=limit)
    assert report.n_saturated == 5


def test_saturated_pixels_of_averaged_repeats_are_reported_as_such():
    density, flat = density_and_flat()
    counts = flat * np.exp(-density)
    counts[0, 0, :3] = np.nan
    _, report = to_optical_density(counts_stack(counts, saturated_values=2, missing_values=2), flat=flat)
    assert (report.n_saturated, report.n_not_finite, report.n_missing) == (2, 1, 3)


def test_missing_values_that_an_earlier_step_reported_are_not_reported_again():
    density, flat = density_and_flat()
    counts = flat * np.exp(-density)
    counts[0, 0, :3] = np.nan
    _, report = to_optical_density(counts_stack(counts, saturated_values=2, missing_values=3), flat=flat)
    assert (report.n_saturated, report.n_not_finite, report.n_missing) == (2, 0, 3)


def test_mostly_bad_frames_and_pixels_are_left_out_as_a_whole():
    density, flat = density_and_flat()
    counts = flat * np.exp(-density)
    counts[2] = 0  # a frame
    counts[:2, 5, 6] = 0  # 2 of the 3 usable energies
    counts[0, 7, 7] = 0  # 1 of 3

    result, report = to_optical_density(counts_stack(counts), flat=flat)

    assert usable_weight(result).tolist() == [True, True, False, True]
    assert np.argwhere(~usable_mask(result)).tolist() == [[5, 6]]
    assert (report.n_dropped_frames, report.n_masked_pixels, report.n_missing) == (1, 1, 1)
    assert result.attrs["missing_values"] == 1
    load_stack(result)


def test_marks_made_before_are_kept():
    density, flat = density_and_flat()
    mask = np.ones(SHAPE[1:], bool)
    mask[0] = False
    stack = counts_stack(flat * np.exp(-density)).assign_coords(
        mask=(("y", "x"), mask), weight=("energy", [1, 0.5, 0, 1])
    )
    stack.values[1, 0] = 0  # under the mask: of no consequence
    result, report = to_optical_density(stack, flat=flat)
    np.testing.assert_array_equal(result["mask"], mask)
    np.testing.assert_array_equal(result["weight"], [1, 0.5, 0, 1])
    assert report.n_missing == 0
    assert "missing_values" not in result.attrs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "counts need a flat image or an I0 spectrum"),
        ({"flat": np.ones((3, 3))}, r"flat given has shape \(3, 3\); a stack of \(4, 9, 11\) needs"),
        (
            {"flat": np.ones(SHAPE), "dark": np.ones(4)},
            r"dark has shape \(4,\); images of the stack are \(9, 11\)",
        ),
        ({"flat": np.ones(SHAPE), "exposure_s": 1.0}, "must both be known"),
        (
            {"flat": np.ones(SHAPE), "exposure_s": 0.0, "flat_exposure_s": 1},
            "exposure_s must be a positive number",
        ),
        ({"flat": np.ones(SHAPE), "exposure_s": [1, 2], "flat_exposure_s": 1}, "one for each of 4 energies"),
        ({"flat": np.zeros(SHAPE)}, "nothing usable remains"),
    ],
)
def test_impossible_corrections_say_what_is_needed(options, message):
    with pytest.raises(StackError, match=message):
        to_optical_density(counts_stack(density_and_flat()[1]), **options)


def test_corrections_made_already_are_refused():
    rates = counts_stack(np.ones(SHAPE), unit="counts/s")
    with pytest.raises(StackError, match="counts/s already; leave out flat_exposure_s"):
        to_optical_density(rates, flat=np.ones(SHAPE), flat_exposure_s=1.0)
    transmission = make_stack(np.ones(SHAPE), np.arange(4) + 8300, quantity="transmission")
    with pytest.raises(StackError, match=r"is transmission: .* leave out flat, offset"):
        to_optical_density(transmission, flat=np.ones(SHAPE), offset=1.0)


def test_real_nickel_particles_absorb_more_above_the_edge():
    with pytest.warns(XanesumWarning, match="left out"):
        stack = read_stack(real_data("ssrl_ni_nca_xrm"))
    forgotten = to_optical_density(counts_stack(stack.values * 0.5), flat=stack["flat"].values * 0.3)[0]

    result, report = prepare(stack)

    shift = np.nanmedian(result.values[0]) - np.nanmedian(forgotten.values[0])
    assert shift == pytest.approx(np.log(5 / 3), abs=1e-3)
    low, high = (gaussian_filter(np.nan_to_num(frame), 4) for frame in result.values)
    # two energies 30 eV apart are (-19, -10) px apart, so only the large particles lie over each other
    particles, empty = high > 1.6, high < 1.1
    assert np.count_nonzero(particles) > 0.03 * high.size
    rise = (high - low)[particles].mean() - (high - low)[empty].mean()
    assert rise > 0.4  # the Ni K step of some micrometres of NCA
    assert report.n_masked_pixels < 1e-4 * low.size


def test_real_iron_l_edge_scan_has_sensible_optical_density():
    result, report = prepare(read_stack(real_data("als_fe_l_edge/71214098.hdr")))
    assert 0.3 < np.nanmedian(result.values) < 1.5
    assert report.n_masked_pixels < 1e-3 * result[0].size
    spectrum = np.nanmean(result.values, axis=(1, 2))
    peak_ev = result.energy.values[spectrum.argmax()]
    assert 706 < peak_ev < 713  # Fe L3 white line


def test_saturation_of_rates_is_refused():
    rates = make_stack(np.full((4, 5, 6), 7e4), np.arange(8000.0, 8004.0), quantity="counts")
    rates.attrs["unit"] = "counts/s"

    with pytest.raises(StackError, match="counts/s, in which saturation cannot be seen"):
        to_optical_density(rates, flat=np.full((5, 6), 8e4), saturation=65535)


def test_a_value_that_noise_made_low_beside_brighter_pixels_is_kept():
    """To lose the low values of a thick grain among thinner ones would make it look thinner than it is."""
    rng = np.random.default_rng(3)
    mean = np.where(np.arange(40) % 4 < 2, 9.0, 30.0) * np.ones((40, 1))  # so the fourth lowest is not dark
    counts = mean + 3.3 * rng.standard_normal((60, 40, 40))
    counts[:, 30:] = 3.3 * rng.standard_normal((60, 10, 40))
    stack = make_stack(counts.astype(np.float32), 8300.0 + np.arange(60), quantity="counts")

    density, report = to_optical_density(stack, flat=np.full((40, 40), 400.0))

    grain = density.values[:, :30][:, mean[:30] < 20]
    assert report.n_not_positive == 0
    assert np.isfinite(grain).all()
    assert grain.mean() == pytest.approx(np.log(400 / 9), abs=0.12)


def test_a_pixel_without_light_amid_light_is_dead_though_its_dark_is_not_exact():
    """Half of the dead pixels are a little above the mean of the darks: they are left out like the others."""
    rng = np.random.default_rng(3)
    counts = 400 + 8 * rng.standard_normal((30, 40, 40))
    counts[:, 30:] = 3.3 * rng.standard_normal((30, 10, 40))  # a sample that lets no light through
    counts[:, 5, 5:7] = 0.5
    stack = make_stack(counts.astype(np.float32), 8300.0 + np.arange(30), quantity="counts")

    density, report = to_optical_density(stack, flat=np.full((40, 40), 400.0))

    assert not usable_mask(density)[5, 5:7].any()
    assert usable_mask(density)[:29].sum() == 29 * 40 - 2
    assert report.n_not_positive >= 60


@pytest.mark.parametrize("level", [45.0, 400.0])
def test_a_dead_pixel_amid_weak_light_is_left_out_as_a_whole(level):
    rng = np.random.default_rng(3)
    counts = level + 4 * rng.standard_normal((30, 40, 40))
    counts[:, 30:] = 3.3 * rng.standard_normal((30, 10, 40))
    counts[:, 5, 5] = 1.0
    stack = make_stack(counts.astype(np.float32), 8300.0 + np.arange(30), quantity="counts")

    density, _ = to_optical_density(stack, flat=np.full((40, 40), 400.0))

    assert not usable_mask(density)[5, 5]
    assert usable_mask(density)[:29].sum() == 29 * 40 - 1
