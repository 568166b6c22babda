"""Missing values get weight 0; all steps in order, and their reports."""

import numpy as np
import pytest
import xarray as xr
from counted_scans import FLOAT32_OD, counts_stack, density_and_flat
from io_files import small_stack
from scipy.ndimage import gaussian_filter

from xanesum.errors import StackError
from xanesum.preprocess import PreprocessReport, mark_bad_values, prepare
from xanesum.stack import load_stack, usable_mask, usable_weight


def test_missing_values_and_blank_frames_get_weight_0():
    stack = small_stack((5, 6, 7))
    stack.values[0, 1, 1] = np.nan
    stack.values[1, 1, 2] = np.inf
    stack.values[1, 1, 3] = -np.inf
    stack.values[3] = 0
    before = stack.copy()

    result, report = mark_bad_values(stack)

    assert (report.n_not_finite, report.n_blank_frames, report.n_dropped_frames) == (3, 1, 1)
    assert result.attrs["missing_values"] == 3
    assert usable_weight(result).tolist() == [True, True, True, False, True]
    load_stack(result)
    xr.testing.assert_identical(stack, before)
    again, repeated = mark_bad_values(result)
    assert repeated.n_not_finite == repeated.n_dropped_frames == 0
    np.testing.assert_array_equal(again.values, result.values)


def test_a_clean_stack_gets_no_marks():
    stack = small_stack()
    result, report = mark_bad_values(stack)
    assert report.lines() == ["no value, pixel or frame was left out"]
    assert set(result.coords) == {"energy"}
    assert "missing_values" not in result.attrs


def test_a_stack_of_nothing_is_refused():
    stack = small_stack()
    with pytest.raises(StackError, match="nothing usable remains"):
        mark_bad_values(stack.copy(data=np.full(stack.shape, np.nan)))


def test_prepare_does_all_steps_in_order_and_adds_up():
    density, flat = density_and_flat((10, 30, 40))
    density = gaussian_filter(density, (0, 2, 2))
    counts = flat * np.exp(-density)
    counts[3] = 0
    counts[:, 10, 12] *= np.exp(-8)
    counts[5, 20, 20] = 1e6

    result, report = prepare(counts_stack(counts), flat=flat, saturation=65535)

    assert result.attrs["quantity"] == "optical_density"
    assert usable_weight(result).tolist() == [e != 3 for e in range(10)]
    assert np.argwhere(~usable_mask(result)).tolist() == [[10, 12]]
    assert (report.n_saturated, report.n_dropped_frames, report.n_masked_pixels) == (1, 1, 1)
    assert report.n_missing == result.attrs["missing_values"] == 1
    assert [note.split(":")[0] for note in result.attrs["history"]] == [
        "counts to optical density (by flat given)",
        "bad pixels left out",
    ]


def test_prepare_asks_for_the_reference_that_counts_need():
    with pytest.raises(StackError, match="transmitted counts need I0"):
        prepare(small_stack(quantity="counts"))


def test_prepare_takes_the_quantity_that_the_file_does_not_know():
    result, _ = prepare(small_stack(quantity="counts"), quantity="transmission")
    np.testing.assert_allclose(result.values, -np.log(small_stack().values), rtol=0, atol=FLOAT32_OD)
    with pytest.raises(StackError, match=r"quantity must be one of .* got 'magic'"):
        prepare(small_stack(), quantity="magic")


def test_prepare_accepts_missing_values_only_when_told_to():
    stack = small_stack((5, 6, 7))
    stack.values[0, 1, 1] = np.nan
    for bad_pixels in (True, False):
        with pytest.raises(StackError, match="1 of 210 values are not finite"):
            load_stack(prepare(stack, bad_pixels=bad_pixels)[0])
    assert load_stack(prepare(stack, allow_missing=True)[0]).shape == (5, 6, 7)


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError, match="expsure_s"):
        prepare(small_stack(quantity="transmission"), expsure_s=1.0)


def test_reports_of_consecutive_steps_add_up():
    first = PreprocessReport(n_values=100, n_saturated=1, n_missing=5, notes=("a",))
    both = first + PreprocessReport(n_values=100, n_saturated=2, n_missing=3, notes=("b",))
    assert both == PreprocessReport(n_values=100, n_saturated=3, n_missing=3, notes=("a", "b"))
    assert both.lines() == [
        "a",
        "b",
        "3 values were saturated (3 %)",
        "3 single values were given weight 0 (3 %)",
    ]
