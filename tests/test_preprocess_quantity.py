"""What values are is judged by their edge where nobody says it; I0 comes from the images where it must."""

import h5py
import numpy as np
import pytest
import tifffile
from io_files import real_data, write_axis2000

from xanesum.cli import main as cli
from xanesum.errors import RecipeError, StackError, XanesumWarning
from xanesum.io import describe, read_stack, registry, write_stack
from xanesum.preprocess import i0_from_region, prepare
from xanesum.preprocess.i0 import find_empty
from xanesum.preprocess.quantity import look_at
from xanesum.stack import make_stack
from xanesum.workflow.loading import input_files, load_scan
from xanesum.workflow.recipe import InputOptions, Recipe

ENERGY = np.r_[np.arange(8300, 8330, 3.0), np.arange(8330, 8358, 1.0), np.arange(8358, 8421, 5.0)]
E0, NY, NX = 8340.0, 24, 30
LIGHT = 3000 * (1 + 0.002 * (ENERGY - ENERGY[0]))


def spectrum():
    """A step at E0 with a white line; 0 well below it."""
    t = (ENERGY - E0) / 1.5
    return 0.55 + np.arctan(t) / np.pi + 0.5 * np.exp(-0.5 * ((ENERGY - E0 - 4) / 2.0) ** 2)


def density(thickness=None):
    """Optical density without noise: a disk with empty pixels about it, or the thickness that is given."""
    if thickness is None:
        y, x = np.mgrid[:NY, :NX]
        thickness = 0.8 * (((y - NY / 2) / (NY / 2.5)) ** 2 + ((x - NX / 2) / (NX / 2.5)) ** 2 < 1)
    return thickness * spectrum()[:, None, None]


def noisy(clean, sigma=0.03, seed=1):
    return (clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)).astype(np.float32)


def counts(clean, light=LIGHT, seed=1):
    return np.random.default_rng(seed).poisson(light[:, None, None] * np.exp(-clean)).astype(np.float64)


def fluorescence(light=LIGHT / LIGHT[0], seed=1):
    return np.random.default_rng(seed).poisson(300 * light[:, None, None] * density() + 20).astype(np.float64)


def assumed(values, quantity, **coords):
    """Return a stack as a reader makes it that guessed the quantity."""
    stack = make_stack(values, ENERGY, quantity=quantity).assign_coords(coords)
    stack.attrs["quantity_assumed"] = True
    return stack


def i0(values):
    return {"i0": ("energy", np.asarray(values, float))}


def rise(stack):
    """Return by how much the mean of the usable values rises at the edge."""
    mean = stack.mean(("y", "x"), skipna=True).values
    return mean[ENERGY > E0 + 12].mean() - mean[ENERGY < E0 - 12].mean()


# --- what the values are


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


# --- I0 from the images


def test_counts_without_i0_take_it_from_their_empty_pixels():
    clean = density()
    with pytest.warns(XanesumWarning, match=r"I0 is the mean over \d+ pixels that show no edge") as said:
        result, report = prepare(assumed(counts(clean), "counts"), bad_pixels=False)
    assert said[0].message.parameter == "i0"
    assert any("I0 is the mean over" in line for line in report.lines())
    assert result.attrs["quantity"] == "optical_density"
    error = (result.values - clean).mean(axis=(1, 2))  # of I0, whose pixels have 3000 counts each
    assert np.abs(error).max() < 6 / np.sqrt(3000 * 60)
    assert result.values[:, NY // 2, NX // 2].mean() == pytest.approx(
        clean[:, NY // 2, NX // 2].mean(), abs=0.02
    )


def test_empty_pixels_are_found_under_uneven_light_and_not_where_no_light_is():
    x = np.arange(NX)
    shade = 0.6 + 0.4 * x / NX
    values = counts(density()) * shade
    values[:, :5] = 0.0  # outside the field of view
    stack = make_stack(values, ENERGY, quantity="counts")
    empty = find_empty(stack, look_at(stack))
    assert empty.sum() > 60
    assert not empty[:5].any()
    assert not (empty & (density()[-1] > 0)).any()


def thick_everywhere():
    x = np.ones((NY, 1)) * np.arange(NX)
    return density(0.4 + 0.6 * x / NX)


@pytest.mark.parametrize("kind", ["decay", "line", "flicker", "few photons", "said"])
def test_empty_pixels_are_found_under_light_that_changes(kind):
    light = {
        "decay": LIGHT * np.exp(-np.linspace(0, 0.4, len(ENERGY))),
        "line": LIGHT * (1 - 0.3 * np.exp(-0.5 * ((ENERGY - 8346) / 2.0) ** 2)),
        "flicker": LIGHT * (1 + 0.02 * np.random.default_rng(2).standard_normal(len(ENERGY))),
        "few photons": LIGHT / 100,
    }.get(kind, LIGHT)
    stack = make_stack(counts(density(), light), ENERGY, quantity="counts")
    if kind != "said":
        stack.attrs["quantity_assumed"] = True
    with pytest.warns(XanesumWarning, match="I0 is the mean over"):
        result, _ = prepare(stack, bad_pixels=False)
    inside = density()[-1] > 0
    clean = result.copy(data=np.where(inside, density(), np.nan))
    assert rise(result.where(inside)) == pytest.approx(
        rise(clean), abs=0.05 if kind == "few photons" else 0.02
    )


@pytest.mark.parametrize("film", [0.2, 0.4])
def test_a_film_is_not_taken_for_empty(film):
    stack = make_stack(counts(density() + film * spectrum()[:, None, None]), ENERGY, quantity="counts")
    assert find_empty(stack, look_at(stack)) is None


def test_a_region_of_sample_for_i0_is_told():
    stack = i0_from_region(assumed(counts(density()), "counts"), (10, 14, 13, 17))
    with pytest.warns(XanesumWarning, match="look for sample in the I0"):
        assert prepare(stack, bad_pixels=False)[0].attrs["quantity"] == "optical_density"


def test_counts_stored_as_transmission_are_counts():
    with pytest.warns(XanesumWarning) as said:
        result, _ = prepare(assumed(counts(density()), "transmission"), bad_pixels=False)
    assert "are no transmission: they were taken as counts" in str(said[0].message)
    assert rise(result) == pytest.approx(rise(result.copy(data=density())), abs=0.02)


def test_a_sample_that_fills_the_images_has_no_empty_pixels_so_i0_is_asked_for():
    with pytest.raises(StackError, match=r"transmitted counts need I0.* no pixels without sample") as caught:
        prepare(assumed(counts(thick_everywhere()), "counts"))
    assert caught.value.parameter == "i0"


def test_counts_that_rise_are_not_mapped_as_transmitted_ones():
    stack = make_stack(fluorescence(), ENERGY, quantity="counts")
    with (
        pytest.warns(XanesumWarning, match="the counts rise at the edge"),
        pytest.raises(StackError) as caught,
    ):
        prepare(stack)
    assert "if it is fluorescence, say so" in caught.value.message
    assert caught.value.parameter == "quantity"


def test_i0_of_a_region_is_its_mean_less_the_dark():
    values = counts(density()) + 50.0
    stack = assumed(values, "counts", dark=(("y", "x"), np.full((NY, NX), 50.0)))
    given = i0_from_region(stack, (0, 4, 2, 9))
    np.testing.assert_allclose(given.i0, values[:, :4, 2:9].mean(axis=(1, 2)) - 50)
    assert given.attrs["history"][-1] == "I0 is the mean over the region 0:4,2:9 (y, x)"
    result, _ = prepare(given, bad_pixels=False)
    assert rise(result) == pytest.approx(rise(result.copy(data=density())), abs=0.01)


@pytest.mark.parametrize(
    ("quantity", "region", "message"),
    [
        ("counts", (0, 4, 2, 31), "does not lie within the image of 24 x 30 px"),
        ("counts", (4, 4, 2, 9), "does not lie within"),
        ("optical_density", (0, 4, 2, 9), "holds optical_density, but an I0 is for counts"),
    ],
)
def test_a_region_that_cannot_give_i0_is_refused(quantity, region, message):
    with pytest.raises(StackError, match=message) as caught:
        i0_from_region(make_stack(counts(density()), ENERGY, quantity=quantity), region)
    assert caught.value.parameter == "i0_region"


def test_a_region_without_light_or_beside_flats_of_every_energy_is_refused():
    stack = make_stack(counts(density()) * 0, ENERGY, quantity="counts")
    with pytest.raises(StackError, match="holds no light"):
        i0_from_region(stack, (0, 4, 2, 9))
    with pytest.raises(StackError, match="a flat image for every energy"):
        i0_from_region(stack.assign_coords(flat=(stack.dims, stack.values)), (0, 4, 2, 9))


# --- references together


def test_i0_beside_one_flat_image_says_how_the_light_changes():
    flat = np.random.default_rng(0).uniform(0.5, 1.5, (NY, NX))
    stack = make_stack(LIGHT[:, None, None] * flat * np.exp(-density()), ENERGY, quantity="counts")
    stack = stack.assign_coords(flat=(("y", "x"), 2000 * flat), **i0(LIGHT))
    result, _ = prepare(stack, bad_pixels=False)
    constant = result.values - density()
    np.testing.assert_allclose(constant, constant.mean(), atol=1e-5)
    assert "by flat and i0" in result.attrs["history"][0]


@pytest.mark.parametrize(("unit", "used"), [("mA", True), ("", False)])
def test_the_ring_current_corrects_an_i0_that_was_measured_before(unit, used):
    current = 400 * np.exp(-np.linspace(0, 0.3, len(ENERGY)))
    stack = make_stack((LIGHT * current)[:, None, None] * np.exp(-density()), ENERGY, quantity="counts")
    stack = stack.assign_coords(monitor=("energy", current), **i0(LIGHT))
    stack.attrs["monitor_unit"] = unit
    result, _ = prepare(stack, bad_pixels=False)
    constant = (result.values - density()).mean(axis=(1, 2))
    assert np.ptp(constant) == pytest.approx(0 if used else 0.3, abs=1e-5)
    assert ("ring current" in result.attrs["history"][0]) is used


# --- the same in files


def write_tiff(folder, values):
    tifffile.imwrite(folder / "scan.tif", values, photometric="minisblack")
    np.savetxt(folder / "scan_energies.txt", ENERGY)
    return folder / "scan.tif"


def test_the_quantity_can_be_said_and_is_kept(tmp_path):
    path = write_tiff(tmp_path, np.exp(-noisy(density())))
    assert read_stack(path).attrs["quantity_assumed"]
    assert describe(path)["quantity_assumed"]
    stack = read_stack(path, quantity="transmission")
    assert stack.attrs["quantity"] == describe(path, quantity="transmission")["quantity"] == "transmission"
    assert "quantity_assumed" not in stack.attrs
    assert stack.attrs["history"][-1] == "taken as transmission, as asked"
    with pytest.raises(StackError, match=r"quantity must be one of .*fluorescence.*, got 'magic'"):
        read_stack(path, quantity="magic")


def test_a_guess_is_still_a_guess_in_the_native_file(tmp_path):
    write_stack(read_stack(write_tiff(tmp_path, noisy(density()))), tmp_path / "scan.h5")
    assert read_stack(tmp_path / "scan.h5").attrs["quantity_assumed"]
    write_stack(read_stack(tmp_path / "scan.h5", quantity="optical_density"), tmp_path / "said.h5")
    assert "quantity_assumed" not in read_stack(tmp_path / "said.h5").attrs


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_saturation_of_integers_is_known_from_their_type_in_every_format(tmp_path, dtype):
    values = np.full((len(ENERGY), 5, 6), 7, dtype)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["exchange/data"], file["exchange/energy"] = values, ENERGY
        file["exchange/energy"].attrs["units"] = "eV"
        file["other/data"], file["other/energy"] = values, ENERGY
    tif = write_tiff(tmp_path, values)
    most = np.iinfo(dtype).max
    with pytest.warns(XanesumWarning, match="axes of exchange/data"):
        assert read_stack(tmp_path / "scan.h5").attrs["saturation_counts"] == most
    assert read_stack(tmp_path / "scan.h5", data="other/data").attrs["saturation_counts"] == most
    assert read_stack(tif).attrs["saturation_counts"] == describe(tif)["attrs"]["saturation_counts"] == most
    assert "saturation_counts" not in read_stack(tif, quantity="optical_density").attrs


def test_flats_above_the_limit_of_the_camera_are_no_saturated_ones():
    values = np.full((len(ENERGY), NY, NX), 60_000.0)
    values[0, 0, 0] = 65_535
    stack = make_stack(values, ENERGY, quantity="counts")
    stack.attrs["saturation_counts"] = 65_535
    result, report = prepare(stack, flat=np.full((NY, NX), 108_000.0), bad_pixels=False)
    assert (report.n_saturated, report.n_bad_reference) == (1, 0)
    assert result.values[1, 0, 0] == pytest.approx(np.log(108 / 60), rel=1e-5)


# --- as the command line asks for it


@pytest.fixture
def transmitted(tmp_path, monkeypatch):
    """Counts in a TIFF, with flats and a dark in files of their own."""
    monkeypatch.chdir(tmp_path)
    pattern = np.random.default_rng(7).uniform(0.8, 1.2, (NY, NX))
    write_tiff(tmp_path, (counts(density()) * pattern + 20).astype("u2"))
    for i in range(2):
        tifffile.imwrite(f"flat{i}.tif", (3000 * pattern + 20).astype("u2"))
    tifffile.imwrite("dark.tif", np.full((NY, NX), 20, "u2"))
    return tmp_path / "scan.tif"


def test_flats_and_darks_of_the_recipe_are_used(transmitted):
    options = InputOptions(flat=("flat0.tif", "flat1.tif"), dark="dark.tif")
    assert options.dark == ("dark.tif",)
    stack, _ = load_scan(transmitted, options)
    assert stack.attrs["quantity"] == "optical_density"
    assert stack.attrs["flat_field"]
    light = np.log(LIGHT / 3000)[:, None, None]  # which one flat does not know
    assert rise(stack) == pytest.approx(rise(stack.copy(data=density() - light)), abs=0.02)
    files = input_files(transmitted, Recipe(input=options))
    assert {path.name for path in files} >= {"flat0.tif", "flat1.tif", "dark.tif"}


def test_the_region_of_i0_is_that_of_the_whole_images(transmitted):
    options = InputOptions(i0_region=(0, 3, 0, 30), roi=(6, 18, 8, 22), dark=("dark.tif",))
    stack, _ = load_scan(transmitted, options)
    assert stack.shape[1:] == (12, 14)
    inside = stack.copy(data=density()[:, 6:18, 8:22])
    assert rise(stack) == pytest.approx(rise(inside), abs=0.02)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantity": "magic"}, "quantity must be one of counts, .*, got 'magic'"),
        ({"flat": 3}, "flat must be a list of texts, got 3"),
        ({"dark": ["a", 3]}, "dark must be a list of texts"),
        ({"i0_region": [1, 2]}, "i0_region must be four whole numbers"),
    ],
)
def test_wrong_options_of_a_recipe_are_refused(values, message):
    with pytest.raises(RecipeError, match=message):
        Recipe().updated({"input": values})


def test_info_says_what_is_assumed_and_what_comes_with_the_scan(transmitted, capsys):
    assert cli.main(["info", "scan.tif"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["quantity"] == "counts (assumed, as the file does not say it; --quantity says it)"
    assert lines["saturated"] == "at 65535 counts"
    command = ["info", "scan.tif", "--flat", "flat0.tif", "flat1.tif", "--dark", "dark.tif"]
    assert cli.main([*command, "--quantity", "counts"]) == 0
    printed = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert lines["quantity"] == "counts"
    assert lines["with"] == "dark, flat"
    assert "flat: mean of 2 images of flat0.tif, flat1.tif" in printed


def test_a_scan_that_needs_i0_ends_with_one_line_that_says_how_to_give_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tiff(tmp_path, counts(thick_everywhere()).astype("u2"))
    assert cli.main(["run", "scan.tif", "-o", "out"]) == 1
    error = capsys.readouterr().err
    assert (
        "no pixels without sample were found; give I0, or a region of the images without sample (--i0)"
        in error
    )
    assert not (tmp_path / "out").exists()
