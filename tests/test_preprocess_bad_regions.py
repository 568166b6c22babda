"""Zeros and NaN that are no measurements are left out; zeros of counted photons are kept."""

import numpy as np
import pytest

import xanesum as xs
from xanesum.errors import StackError
from xanesum.preprocess import find_unmeasured, prepare
from xanesum.preprocess.marks import mark_bad_values
from xanesum.stack import load_stack, make_stack
from xanesum.storage.lazy import is_lazy, lazy_array
from xanesum.xanes import half_step_energy

ENERGY = np.r_[np.arange(8300.0, 8330, 3), np.arange(8330, 8358, 0.75), np.arange(8358, 8421, 5)]
Y, X = np.mgrid[:36, :52]
INSIDE = ((Y - 18) / 16) ** 2 + ((X - 26) / 22) ** 2 < 1
SIGMA = 0.03


def spectrum(e0, pre=0.05):
    t = (ENERGY - e0) / 1.5
    return pre + np.maximum(0, 0.5 + np.arctan(t) / np.pi) + 0.5 * np.exp(-0.5 * ((ENERGY - e0 - 4) / 2) ** 2)


def noisy(seed=1):
    clean = 0.8 * INSIDE * spectrum(8340)[:, None, None]
    return (clean + SIGMA * np.random.default_rng(seed).standard_normal(clean.shape)).astype(np.float32)


def photons(rate):
    return np.random.default_rng(0).poisson(rate, (len(ENERGY), 36, 52)).astype(np.float32)


def circle(share):
    """Return a round field of view (Y, X) outside of which `share` of the pixels lie."""
    distance = np.hypot((Y - 17.5) / 18, (X - 25.5) / 26)
    return distance < np.quantile(distance, 1 - share)


def masked_share(stack):
    return 1 - float(stack["mask"].mean()) if "mask" in stack.coords else 0.0


def kept_mean(stack):
    values = np.where(stack["mask"].values, stack.values, np.nan) if "mask" in stack.coords else stack.values
    return float(np.nanmean(values))


@pytest.mark.parametrize("fill", [0.0, np.nan])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.65, 0.95])
@pytest.mark.parametrize("quantity", ["optical_density", "transmission"])
def test_a_round_field_of_view_is_masked_and_sigma_is_right(share, fill, quantity):
    seen = circle(share)
    values = noisy() if quantity == "optical_density" else np.exp(-noisy())
    stack, report = prepare(make_stack(np.where(seen, values, fill), ENERGY, quantity=quantity))

    assert report.n_unmeasured_pixels == np.count_nonzero(~seen)
    assert "pixels were 0 or NaN at all energies (not measured)" in " ".join(report.lines())
    assert not stack["mask"].values[~seen].any()
    assert stack["mask"].values[seen].mean() > 0.98
    # 89 pixels at the least, so sigma has a relative standard error of about 1 / sqrt(2 * 89 * 61 / 2)
    assert xs.denoise(stack, denoiser="none").sigma == pytest.approx(SIGMA, rel=0.06)


def test_pixels_that_another_program_masked_need_no_shape():
    chosen = np.random.default_rng(0).random((36, 52)) < 0.3
    stack = find_unmeasured(make_stack(np.where(chosen, noisy(), 0), ENERGY))[0]

    np.testing.assert_array_equal(stack["mask"].values, chosen)


def test_zeros_that_alignment_left_at_the_borders_of_some_frames():
    values, zero = noisy(), np.zeros((len(ENERGY), 36, 52), bool)
    for e in range(len(values)):
        zero[e, : e % 5] = zero[e, :, 52 - e // 20 :] = True
    stack, report = find_unmeasured(make_stack(np.where(zero, 0, values), ENERGY))

    np.testing.assert_array_equal(np.isnan(stack.values), zero)
    assert report.n_unmeasured_values == stack.attrs["missing_values"] == np.count_nonzero(zero)
    assert masked_share(stack) == 0


def test_a_lazy_stack_stays_lazy():
    values = np.where(Y > 4, noisy(), 0)
    values[3, :, :5] = 0
    lazy = make_stack(lazy_array(values.shape, lambda key: values[key]), ENERGY, quantity="intensity")
    stack, report = find_unmeasured(lazy)

    assert is_lazy(stack)
    assert report.n_unmeasured_pixels == 5 * 52
    assert report.n_unmeasured_values == 31 * 5


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 1.0, 3.0])
def test_counted_photons_keep_their_mean(rate):
    values = photons(rate)
    stack, report = prepare(make_stack(values, ENERGY, quantity="intensity"))

    assert report.n_unmeasured_pixels == report.n_spikes == 0
    assert masked_share(stack) < 0.002
    assert kept_mean(stack) == pytest.approx(values.mean(), rel=0.002)


def test_counted_photons_of_a_particle_keep_their_mean():
    values = photons(0.02 + 2 * INSIDE * spectrum(8340)[:, None, None])
    for scale in (1.0, 1 / 3000 + 1e-5 * np.arange(len(ENERGY))[:, None, None]):  # counts, and counts over I0
        stack = prepare(make_stack(scale * values, ENERGY, quantity="intensity"))[0]
        assert kept_mean(stack) == pytest.approx((scale * values).mean(), rel=0.002)


def test_padding_beside_values_that_were_cut_off_at_zero():
    values = np.maximum(noisy(), 0)
    assert find_unmeasured(make_stack(values, ENERGY))[1].n_unmeasured_pixels == 0
    values[:, :9] = 0
    assert find_unmeasured(make_stack(values, ENERGY))[1].n_unmeasured_pixels == 9 * 52


def test_an_ordinary_stack_is_returned_itself():
    stack = make_stack(noisy(), ENERGY)
    assert find_unmeasured(stack)[0] is stack


def test_a_hot_pixel_among_few_photons_is_still_found():
    values = photons(0.2)
    values[:, 7, 9] = 50
    values[5, 20, 20] = 40
    report = prepare(make_stack(values, ENERGY, quantity="intensity"))[1]

    assert report.n_outlying_pixels == 1
    assert report.n_spikes == 1


# --- frames that are zero everywhere


def clean_from_zero():
    """Return a stack without noise, whose first frames are zero."""
    below = ENERGY[:, None, None] < 8330
    return np.where(below, 0, INSIDE * spectrum(8340, pre=0.0)[:, None, None]).astype(np.float32)


def test_a_clean_stack_may_begin_with_frames_of_zeros():
    stack = make_stack(clean_from_zero(), ENERGY)
    maps = half_step_energy(stack)

    assert float(np.median(maps["half_step_energy_ev"].values[INSIDE])) == pytest.approx(8340, abs=1.5)
    marked, report = mark_bad_values(stack)
    assert report.n_blank_frames == 0
    assert "weight" not in marked.coords


def test_the_clean_stack_of_a_result_can_be_mapped():
    rng = np.random.default_rng(0)
    values = clean_from_zero() + SIGMA * rng.standard_normal((len(ENERGY), 36, 52)).astype(np.float32)
    result = xs.denoise(make_stack(values, ENERGY), denoiser="wavelet")
    clean = result.reconstruct()

    assert not clean.values.any(axis=(1, 2)).all()  # or this tests nothing
    assert half_step_energy(clean)["mask"].values.any()


@pytest.mark.parametrize("quantity", ["optical_density", "counts"])
def test_frames_of_zeros_are_bad_among_counts_and_among_noise(quantity):
    values = noisy() if quantity == "optical_density" else 1000 * np.exp(-clean_from_zero())
    values[:4] = 0
    with pytest.raises(StackError, match="4 of 61 frames are zero everywhere"):
        load_stack(make_stack(values, ENERGY, quantity=quantity))


def test_a_lost_frame_of_a_clean_stack_is_bad():
    values = clean_from_zero()
    values[-5] = 0
    with pytest.raises(StackError, match="frames are zero everywhere"):
        half_step_energy(make_stack(values, ENERGY))


@pytest.mark.parametrize(("quantity", "sign"), [("counts", -1), ("fluorescence", 1)])
def test_what_was_not_measured_is_counted_once(quantity, sign):
    counts = np.random.default_rng(0).poisson(3000 * np.exp(sign * noisy())).astype(np.float32)
    counts[:, ~circle(0.4)] = 0
    for e in range(len(ENERGY)):
        counts[e, :, : e % 6] = 0  # of frames that were moved
    stack = make_stack(counts, ENERGY, quantity=quantity).assign_coords(
        i0=("energy", np.full(len(ENERGY), 3e3))
    )

    _, report = prepare(stack)

    assert report.n_unmeasured_pixels == np.count_nonzero(~circle(0.4))
    assert report.n_unmeasured_values > 0
    assert (report.n_not_finite, report.n_not_positive, report.n_linear) == (0, 0, 0)
