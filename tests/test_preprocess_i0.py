"""I0 from the images where it must be, references together, and what files and options say of them."""

import h5py
import numpy as np
import pytest
import tifffile
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
    spectrum,
)

from xanesum.cli import main as cli
from xanesum.errors import RecipeError, StackError, XanesumWarning
from xanesum.io import describe, read_stack, write_stack
from xanesum.preprocess import i0_from_region, prepare
from xanesum.preprocess.i0 import find_empty
from xanesum.preprocess.quantity import look_at
from xanesum.stack import make_stack
from xanesum.workflow.loading import input_files, load_scan
from xanesum.workflow.recipe import InputOptions, Recipe


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


def test_sums_of_counts_in_large_integers_are_never_saturated(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["other/data"], file["other/energy"] = np.full((len(ENERGY), 5, 6), 7, "i8"), ENERGY

    assert "saturation_counts" not in read_stack(tmp_path / "scan.h5", data="other/data").attrs


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
