"""What values are is judged by their edge where nobody says it."""

import h5py
import numpy as np
import pytest
from edge_scans import (
    ENERGY,
    LIGHT,
    NX,
    NY,
    assumed,
    counts,
    density,
    fluorescence,
    i0,
    noisy,
    rise,
)
from io_files import real_data, write_axis2000

from xanesum.errors import StackError, XanesumWarning
from xanesum.io import read_stack, registry
from xanesum.preprocess import prepare
from xanesum.preprocess.quantity import look_at
from xanesum.stack import make_stack


@pytest.mark.parametrize("light", [LIGHT / LIGHT[0], np.ones(len(ENERGY)), LIGHT])
def test_counts_that_rise_at_the_edge_are_fluorescence_over_i0(light):
    values = fluorescence(LIGHT / LIGHT[0])
    stack = assumed(values, "counts", **i0(light))

    with pytest.warns(XanesumWarning, match=r"values rise at the edge, .* taken as fluorescence, divided"):
        result, _ = prepare(stack, bad_pixels=False)

    assert result.attrs["quantity"] == "fluorescence"
    np.testing.assert_allclose(result.values, values / light[:, None, None], rtol=1e-5)
    assert "i0" not in result.coords
    assert "quantity_assumed" not in result.attrs


def test_fluorescence_without_i0_stays_as_it_is_and_that_is_said():
    stack = assumed(fluorescence(), "counts")
    with pytest.warns(XanesumWarning, match="taken as fluorescence, as it is, without I0"):
        result, report = prepare(stack, bad_pixels=False)
    np.testing.assert_array_equal(result.values, stack.values)
    assert report.lines() == ["fluorescence: taken as it is (no I0)"]


def test_fluorescence_is_divided_by_a_monitor_where_there_is_no_i0():
    monitor = np.linspace(2.0, 1.0, len(ENERGY))
    stack = make_stack(fluorescence(), ENERGY, quantity="fluorescence").assign_coords(
        monitor=("energy", monitor)
    )
    result, _ = prepare(stack, bad_pixels=False)
    np.testing.assert_allclose(result.values, stack.values / monitor[:, None, None], rtol=1e-5)


def test_fluorescence_less_its_dark_and_without_saturated_values():
    stack = make_stack(fluorescence(), ENERGY, quantity="fluorescence")
    stack.attrs["saturation_counts"] = 400
    result, report = prepare(stack, dark=np.full((NY, NX), 7.0), bad_pixels=False)
    full = stack.values >= 400
    assert 0 < report.n_saturated == np.count_nonzero(full)
    np.testing.assert_allclose(result.values[~full], stack.values[~full] - 7, rtol=1e-5)
    assert np.isnan(result.values[full]).all()


@pytest.mark.parametrize("sigma", [0.03, 0.2])
@pytest.mark.parametrize("quantity", ["intensity", "counts"])
def test_floats_between_0_and_1_that_fall_at_the_edge_are_transmission(quantity, sigma):
    clean = density()
    with pytest.warns(XanesumWarning, match="fall at the edge and lie between 0 and 1.*transmission") as said:
        result, _ = prepare(assumed(np.exp(-noisy(clean, sigma)), quantity), bad_pixels=False)
    assert said[0].message.parameter == "quantity"
    assert result.attrs["quantity"] == "optical_density"
    assert rise(result) == pytest.approx(rise(result.copy(data=clean)), rel=0.05)


def test_floats_that_rise_at_the_edge_stay_as_they_are():
    stack = assumed(noisy(density()), "intensity")
    result, report = prepare(stack, bad_pixels=False)
    np.testing.assert_array_equal(result.values, stack.values)
    assert "intensity: taken as it is" in report.lines()
    assert any("nothing says what the values are" in line for line in report.lines())


def test_integers_that_rise_and_are_negative_in_part_are_no_fluorescence():
    stack = assumed(np.round(10_000 * noisy(density())), "counts")
    with pytest.warns(
        XanesumWarning, match="negative in part: they are no counts, and were left as they are"
    ):
        result, _ = prepare(stack, bad_pixels=False)
    assert result.attrs["quantity"] == "intensity"


@pytest.mark.parametrize("with_i0", [False, True])
def test_optical_density_stored_as_transmission_is_not_logged_again(with_i0):
    stack = assumed(noisy(density()), "transmission", **(i0(LIGHT) if with_i0 else {}))
    with pytest.warns(XanesumWarning, match="rise at the edge, as transmission does not.* optical density"):
        result, _ = prepare(stack, bad_pixels=False)
    assert result.attrs["quantity"] == "optical_density"
    np.testing.assert_array_equal(result.values, stack.values)


def test_values_below_0_are_no_transmission_even_without_an_edge():
    stack = assumed(noisy(np.zeros((len(ENERGY), NY, NX))), "transmission")
    with pytest.warns(XanesumWarning, match="% of the values are 0 or less.* optical density already"):
        assert prepare(stack, bad_pixels=False)[0].attrs["quantity"] == "optical_density"


def test_i0_beside_optical_density_is_not_applied_again(tmp_path):
    path = write_axis2000(tmp_path, noisy(density()), ENERGY)
    np.savetxt(tmp_path / "i0.xsp", np.column_stack([ENERGY, LIGHT]))
    taken = pytest.warns(XanesumWarning, match="in the first image were taken for optical density")
    with taken, pytest.warns(XanesumWarning, match=r"i0\.xsp beside it was not applied"):
        stack = read_stack(path)
    assert "i0" not in stack.coords

    result, _ = prepare(stack, bad_pixels=False)
    np.testing.assert_array_equal(result.values, stack.values)


def test_small_counts_that_rise_are_optical_density_in_spite_of_an_i0():
    stack = assumed(noisy(density()), "counts").assign_coords(i0=("energy", LIGHT))
    with pytest.warns(XanesumWarning, match="optical density already; flat and I0 were not used"):
        result, _ = prepare(stack, bad_pixels=False)
    np.testing.assert_array_equal(result.values, stack.values)


@pytest.mark.parametrize("quantity", ["intensity", "optical_density", "counts"])
def test_values_between_0_and_1_that_fall_are_transmission(quantity):
    with pytest.warns(XanesumWarning, match="lie between 0 and 1: they were taken as transmission"):
        result, _ = prepare(assumed(np.exp(-noisy(density())), quantity), bad_pixels=False)
    assert result.attrs["quantity"] == "optical_density"


@pytest.mark.parametrize(
    ("quantity", "values"),
    [
        ("optical_density", np.exp(-noisy(density()))),
        ("intensity", np.exp(-noisy(density()))),
        ("transmission", 0.2 + noisy(density(), 0.01)),
    ],
)
def test_a_quantity_that_was_said_stays_but_an_edge_the_wrong_way_is_told(quantity, values):
    stack = make_stack(values, ENERGY, quantity=quantity)
    with pytest.warns(XanesumWarning, match=rf"the {quantity.replace('_', ' ')} (rises|falls) at the edge"):
        prepare(stack, bad_pixels=False)


def test_counts_that_fall_are_not_left_as_they_are_where_the_scan_ends_within_the_edge():
    energy = np.r_[np.arange(8300, 8330, 3.0), np.arange(8330, 8350, 0.75)]
    edges = np.where(np.arange(NX) < NX / 2, 8340.0, 8343.0)
    t = (energy[:, None, None] - edges) / 1.5
    clean = 0.5 * (0.55 + np.arctan(t) / np.pi + 0.5 * np.exp(-0.5 * ((t * 1.5 - 4) / 2) ** 2))
    light = np.full(len(energy), 3000.0)
    values = counts(np.broadcast_to(clean, (len(energy), NY, NX)), light)
    stack = make_stack(values, energy, quantity="counts")
    stack.attrs["quantity_assumed"] = True

    assert look_at(stack).edge()[0] == 0
    with pytest.raises(StackError, match="transmitted counts need I0") as caught:
        prepare(stack, bad_pixels=False)
    assert caught.value.parameter == "i0"


@pytest.mark.parametrize("quantity", ["counts", "intensity"])
def test_without_an_edge_counts_stay_as_they_are(quantity):
    values = np.random.default_rng(0).poisson(3000.0, (len(ENERGY), NY, NX)).astype(float)
    if quantity == "intensity":
        result, _ = prepare(assumed(values, quantity), bad_pixels=False)
    else:
        with pytest.warns(XanesumWarning, match="no edge that shows whether these counts were transmitted"):
            result, _ = prepare(assumed(values, quantity), bad_pixels=False)
    assert result.attrs["quantity"] == "intensity"
    np.testing.assert_array_equal(result.values, values)


@pytest.mark.parametrize("n_energies", [1, 2, 4, 7])
def test_too_few_energies_are_not_judged(n_energies):
    few = make_stack(counts(density())[:n_energies], ENERGY[:n_energies], quantity="counts")
    assert look_at(few).edge() == (0, 0)


def test_noise_and_drifting_light_seldom_look_like_an_edge():
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        light = 1 + 0.1 * np.sin(rng.uniform(3, 8) * np.linspace(0, 1, len(ENERGY)) + rng.uniform(0, 6))
        values = rng.poisson(500 * light[:, None, None], (len(ENERGY), 8, 9))
        found.append(look_at(make_stack(values, ENERGY, quantity="counts")).edge()[0])
    assert np.count_nonzero(found) <= 6  # of 60 such scans, 9 look so


@pytest.mark.parametrize("photons", [3.0, 300.0])
@pytest.mark.parametrize("flicker", [0.0, 0.03])
def test_the_direction_of_an_edge_is_seen_in_few_photons_and_flickering_light(photons, flicker):
    transmitted, emitted = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        light = photons * (1 + flicker * rng.standard_normal(len(ENERGY)))
        for values, found in (
            (counts(density(), light, seed), transmitted),
            (rng.poisson(light[:, None, None] * density()), emitted),
        ):
            found.append(look_at(make_stack(values, ENERGY, quantity="counts")).edge()[0])
    assert transmitted.count(-1) >= 7  # of 60 such scans, 59 or 60 show it
    assert emitted.count(1) == 8


def test_a_lazy_stack_is_judged_alike(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["img_xanes"], file["X_eng"] = noisy(density()), ENERGY / 1e3
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)
    with pytest.warns(XanesumWarning, match="optical density already"):
        assert prepare(read_stack(tmp_path / "scan.h5"))[0].attrs["quantity"] == "optical_density"


def test_real_scans_show_the_direction_of_their_edge():
    transmitted = read_stack(real_data("als_fe_l_edge/71214098.hdr"))
    folder = real_data("hxn_fe_k_tiff")
    emitted = read_stack(folder / "Site4um.tiff", energies=folder / "tmp_data.txt")
    assert look_at(transmitted).edge()[0] == look_at(transmitted.drop_vars("i0")).edge()[0] == -1
    assert look_at(emitted).edge()[0] == 1
