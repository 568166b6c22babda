"""The drift of the illumination removed from a scan: where it is looked for, and what is left as it was."""

import numpy as np
import pytest

from xanesum.errors import RecipeError
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.io import write_stack
from xanesum.phantom import expose, simulate
from xanesum.preprocess import prepare
from xanesum.stack import make_stack, usable_weight
from xanesum.workflow.pipeline import run
from xanesum.workflow.recipe import DEFAULT_RECIPE
from xanesum.xanes import half_step_energy

PHANTOM = simulate("particle", shape=(96, 128), n_energies=60)
DRIFTING = expose(PHANTOM, 2000.0, flat_drift=0.03, rng=np.random.default_rng(3))
STEADY = expose(PHANTOM, 2000.0, flat_drift=0.0, rng=np.random.default_rng(3))
STACK = prepare(DRIFTING.stack)[0]
QUICK = {"denoiser": "wavelet"}


@pytest.fixture(scope="module")
def corrected():
    """The stack without its drift, and the drift."""
    return correct_flat_drift(STACK, **QUICK)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def changing(values):
    """What changes along energy; a constant image is the flat's own and no map sees it."""
    return values - np.nanmean(values, axis=0)


def test_most_of_the_drift_goes(corrected):
    found, drift = corrected
    true = changing(DRIFTING.density + np.log(DRIFTING.illumination.mean(axis=0) / DRIFTING.illumination))

    before, after = (rms(changing(each.values - DRIFTING.density)) for each in (STACK, found))

    noise = rms(changing(prepare(STEADY.stack)[0].values - STEADY.density))
    assert np.sqrt(before**2 - noise**2) == pytest.approx(rms(true - changing(DRIFTING.density)), rel=0.1)
    assert np.sqrt(max(after**2 - noise**2, 0)) < 0.25 * np.sqrt(before**2 - noise**2)
    assert drift.rms == pytest.approx(0.03, rel=0.25)
    assert "drift of the illumination removed" in found.attrs["history"][-1]


def test_a_steady_illumination_is_left_alone():
    stack = prepare(STEADY.stack)[0]

    corrected, drift = correct_flat_drift(stack, **QUICK)

    assert drift is None
    assert corrected is stack


def test_the_scan_itself_is_not_written_to():
    stack = STACK.copy(deep=True)

    correct_flat_drift(stack, **QUICK)

    np.testing.assert_array_equal(stack.values, STACK.values)


def test_without_a_flat_only_the_level_is_looked_for():
    spectrum = DRIFTING.stack.drop_vars("flat").assign_coords(i0=("energy", np.full(60, 2000.0)))
    by_spectrum = prepare(spectrum)[0]

    assert STACK.attrs["flat_field"]
    assert not by_spectrum.attrs["flat_field"]
    level = correct_flat_drift(by_spectrum, **QUICK)[1]
    assert len(level.fields) == 1
    assert level.kind == "level"
    assert correct_flat_drift(STACK, drift="none", **QUICK)[1] is None
    small = by_spectrum[:, ::2, ::2]
    assert len(correct_flat_drift(small, drift="always", **QUICK)[1].fields) > 30


def test_a_badly_known_incident_intensity_is_a_level_in_each_frame():
    rng = np.random.default_rng(4)
    clean = make_stack(STEADY.density, PHANTOM.energy_ev)
    noisy = clean.values + 0.05 * rng.standard_normal(clean.shape)
    level = 0.02 * rng.standard_normal((len(clean), 1, 1))

    steady = correct_flat_drift(clean.copy(data=noisy.astype(np.float32)), **QUICK)
    corrected, found = correct_flat_drift(clean.copy(data=(noisy + level).astype(np.float32)), **QUICK)

    assert steady[1] is None
    assert found.rms == pytest.approx(0.02, rel=0.2)
    assert rms(changing(corrected.values - noisy)) < 0.15 * 0.02


def test_the_error_that_is_left_comes_with_the_stack(corrected):
    found, _ = corrected
    left = changing(found.values - prepare(STEADY.stack)[0].values)  # the noise of counts is alike
    error = found.coords["drift_sigma"]

    assert error.dims == ("y", "x")
    assert error.dtype == np.float32
    assert "drift_doubt" not in found.attrs
    assert "drift_sigma" not in STACK.coords
    assert 0 < float(error.mean()) < rms(left)


def test_what_is_missing_or_left_out_stays_so_and_has_no_say():
    weight, mask = np.ones(60), np.ones(STACK.shape[1:], bool)
    weight[20], mask[:, :30] = 0, False
    values = STACK.values.copy()
    values[20], values[:, :, :30], values[5, 50, 60] = 7.0, 9.0, np.nan
    stack = STACK.copy(data=values).assign_coords(mask=(("y", "x"), mask), weight=("energy", weight))
    stack.attrs["missing_values"] = 1

    corrected, drift = correct_flat_drift(stack, **QUICK)

    assert len(drift.amounts) == usable_weight(stack).sum() == 59
    np.testing.assert_array_equal(np.isnan(corrected.values), np.isnan(values))
    np.testing.assert_array_equal(corrected.values[20], values[20])
    np.testing.assert_array_equal(corrected.values[:, :, :30], values[:, :, :30])
    assert drift.rms == pytest.approx(0.03, rel=0.3)


def test_a_scan_of_few_energies_is_left_alone():
    assert correct_flat_drift(STACK[:12], drift="always", **QUICK)[1] is None


def test_unknown_choices_are_refused():
    with pytest.raises(RecipeError, match="flat drift must be one of auto, always, none, got 'some'"):
        correct_flat_drift(STACK, drift="some")


@pytest.mark.filterwarnings("ignore::xanesum.errors.XanesumWarning")  # of too many components
def test_a_run_removes_it_says_so_and_maps_better(tmp_path):
    scan = write_stack(DRIFTING.stack, tmp_path / "scan.h5")
    clean = make_stack(DRIFTING.density, DRIFTING.stack.energy.values)
    true = half_step_energy(clean, e0_ev=8341.0).half_step_energy_ev
    errors = {}
    for drift in ("auto", "none"):
        options = {"flat_drift": drift, "denoiser": "wavelet", "rank": 5}
        recipe = DEFAULT_RECIPE.updated(
            {"denoise": options, "map": {"e0_ev": 8341.0}, "align": {"shifts": "none"}}
        )
        done = run(scan, tmp_path / drift, recipe=recipe)
        assert any("flat drift of 0.0" in line for line in done.counted) == (drift == "auto")
        assert ("flat drift of 0.0" in done.report.read_text("utf-8")) == (drift == "auto")
        difference = np.abs(done.maps.half_step_energy_ev - true).values[PHANTOM.mask]
        errors[drift] = np.nanmedian(difference)
    assert errors["auto"] < 0.6 * errors["none"]
