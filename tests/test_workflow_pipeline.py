"""Recipes go to TOML and back; a run writes all of it or nothing; what is cut out is what was asked for."""

import warnings

import h5py
import numpy as np
import pytest
import tifffile

from xanesum.errors import ReadError, RecipeError, StackError, WriteError, XanesumError, XanesumWarning
from xanesum.io import read_stack, write_stack
from xanesum.io.maps import write_map
from xanesum.phantom import simulate
from xanesum.result import load_result
from xanesum.stack import make_stack, usable_mask
from xanesum.storage.atomic import staged_folder
from xanesum.viewer.plots import has_toolkit
from xanesum.workflow import loading, outputs, pipeline
from xanesum.workflow.loading import load_scan
from xanesum.workflow.outputs import OWN_FILES
from xanesum.workflow.pipeline import run
from xanesum.workflow.recipe import DenoiseOptions, InputOptions, MapOptions, Recipe, read_recipe
from xanesum.xanes import half_step_energy

FULL = Recipe(
    InputOptions(
        'odd "name"\n\u00b5\x7f.txt',
        "i0.txt",
        "entry/a",
        True,
        (1, 20, 3, 40),
        "m.npy",
        quantity="fluorescence",
        i0_region=(0, 5, 0, 6),
        flat=('flat "1".tif', "flat\\2.tif"),
        dark=("dark.tif",),
        entry="entry1",
        detector="counter1",
        region="2",
        index="1,0",
        follow_links=True,
    ),
    DenoiseOptions("sum", "tv", 3, 12.5, "white", "none", 7),
    MapOptions("half_step", 8343.0, (8200.0, 8300.0), (8400.0, 8500.0)),
)


@pytest.fixture(scope="module")
def noisy():
    phantom = simulate("particle", shape=(40, 50), n_energies=40, rng=np.random.default_rng(1))
    return phantom.noisy(8.0, rng=np.random.default_rng(2))


@pytest.fixture
def scan(noisy, tmp_path):
    return write_stack(noisy, tmp_path / "scan.h5")


QUICK = Recipe(denoise=DenoiseOptions(denoiser="wavelet", rank=2, seed=5))


@pytest.fixture(scope="module")
def done(noisy, tmp_path_factory):
    """A whole run, whose results several tests look at."""
    folder = tmp_path_factory.mktemp("run")
    return run(write_stack(noisy, folder / "scan.h5"), folder / "out", recipe=QUICK)


@pytest.fixture
def known_result(done, monkeypatch):
    """Let runs of the same scan take the result that is known; files are read and written as ever."""
    monkeypatch.setattr(pipeline, "align_scan", lambda stack, *_, **__: (stack, None))
    monkeypatch.setattr(pipeline, "correct_scan", lambda stack, *_, **__: (stack, ()))
    monkeypatch.setattr(pipeline, "denoise_with", lambda *_, **__: done.result)
    monkeypatch.setattr(pipeline, "examine_residual", lambda *_, **__: done.trust)


# --- recipe


@pytest.mark.parametrize("recipe", [Recipe(), FULL], ids=["defaults", "everything"])
def test_a_recipe_survives_toml(recipe, tmp_path):
    (tmp_path / "r.toml").write_text(recipe.to_toml(), "utf-8")

    assert read_recipe(tmp_path / "r.toml") == recipe


def test_the_toml_names_every_option():
    for section in ("input", "denoise", "map"):
        for name in getattr(Recipe(), section).__dataclass_fields__:
            assert name in Recipe().to_toml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[denoise]\nrnk = 3", r"unknown option 'rnk' in \[denoise\]; allowed: method, denoiser, rank"),
        ("[denoize]\nrank = 3", r"unknown section \[denoize\]; allowed: input, denoise, map"),
        ("denoise = 3", "denoise must be a section of options, got 3"),
        ("[denoise]\nrank = 'two'", r"\[denoise\] rank must be a whole number from 0 on, got 'two'"),
        ("[denoise]\nrank = true", "rank must be a whole number"),
        ("[denoise]\nseed = -1", "seed must be a whole number from 0 on, got -1"),
        ("[denoise]\nsigma = inf", "sigma must be a finite number, got inf"),
        ("[denoise]\ndenoiser = 1", "denoiser must be a text, got 1"),
        ("[input]\nallow_missing = 1", "allow_missing must be true or false, got 1"),
        ("[input]\nroi = [1, 2, 3]", r"roi must be four whole numbers \[y0, y1, x0, x1\], got"),
        ("[map]\npre_ev = [1, 'a']", r"pre_ev must be two finite numbers \[from, to\], got"),
        ("[map\n", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_says_what_and_what_is_allowed(text, message, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(text)

    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere\.toml: recipe cannot be read"):
        read_recipe(tmp_path / "nowhere.toml")


# --- what is used of a scan


def test_region_and_mask_are_cut_out(scan, noisy, tmp_path):
    mask = np.ones((40, 50), dtype=np.uint8)
    mask[:15] = 0
    np.save(tmp_path / "m.npy", mask)
    tifffile.imwrite(tmp_path / "m.tif", mask)
    for name in ("m.npy", "m.tif"):
        options = InputOptions(roi=(10, 30, 5, 45), mask=str(tmp_path / name))

        stack, _ = load_scan(scan, options)

        assert stack.shape == (40, 20, 40)
        np.testing.assert_allclose(stack[:, 10:].values, noisy[:, 20:30, 5:45].values)
        np.testing.assert_array_equal(usable_mask(stack), mask[10:30, 5:45] != 0)
        assert "region 10:30,5:45 of 40 x 50 (y, x)" in stack.attrs["history"]


@pytest.mark.parametrize("roi", [(0, 41, 0, 50), (5, 5, 0, 50), (0, 40, 30, 20)])
def test_a_region_outside_the_image_is_refused(scan, roi):
    with pytest.raises(RecipeError, match=r"does not lie within the image of 40 x 50 pixels"):
        load_scan(scan, InputOptions(roi=roi))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.ones((3, 4)), StackError, r"mask has shape \(3, 4\), the images have \(40, 50\)"),
        (np.zeros((40, 50)), StackError, "0 everywhere"),
        (np.array([{}], dtype=object), ReadError, "m.npy: cannot be read"),
        (None, ReadError, r"m\.npy: no such file; check the name"),
    ],
    ids=["shape", "empty", "pickled", "missing"],
)
def test_a_wrong_mask_is_refused(scan, tmp_path, values, error, message):
    if values is not None:
        np.save(tmp_path / "m.npy", values)

    with pytest.raises(error, match=message):
        load_scan(scan, InputOptions(mask=str(tmp_path / "m.npy")))


# --- run


def test_a_run_writes_all_of_it(scan, noisy, tmp_path):
    steps = []
    done = run(scan, tmp_path / "out", progress=lambda step, share: steps.append(step))

    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(OWN_FILES)
    assert {p.name for p in done.files} == set(OWN_FILES)
    clean = read_stack(tmp_path / "out/clean.h5")
    # frames one by one and all at once add up in another order: a few float32 roundings of values to 255
    np.testing.assert_allclose(clean.values, done.result.reconstruct().values, rtol=0, atol=1e-4)
    assert load_result(tmp_path / "out/result.sum.h5").rank == done.result.rank
    again = read_recipe(tmp_path / "out/recipe.toml")
    assert again == Recipe()
    head = (tmp_path / "out/recipe.toml").read_text().split("\n\n")[0]
    assert done.result.provenance["input_digest"] in head
    assert {"read", "components", "map", "write", "report"} <= set(steps)
    assert done.report.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_the_written_maps_agree(done):
    expected = done.maps["half_step_energy_ev"].where(done.maps["mask"]).values

    with h5py.File(done.folder / "map.h5") as file:
        data = file[file.attrs["default"]]["data"]
        np.testing.assert_array_equal(data["mask"][()], done.maps["mask"])
        assert data[data.attrs["signal"]].attrs["units"] == "eV"
        assert data.attrs["e0_ev"] == done.maps.attrs["e0_ev"]
        stored = np.where(data["mask"][()], data[data.attrs["signal"]][()], np.nan)
    np.testing.assert_array_equal(stored, expected)
    np.testing.assert_allclose(tifffile.imread(done.folder / "map.tif"), expected, rtol=1e-6)  # float32
    np.testing.assert_array_equal(tifffile.imread(done.folder / "edge_step.tif"), done.maps["edge_step"])


def test_the_recipe_of_a_run_repeats_it(done, scan, tmp_path):
    again = run(scan, tmp_path / "b", recipe=read_recipe(done.folder / "recipe.toml"))

    np.testing.assert_array_equal(done.result.coefficients, again.result.coefficients)
    assert done.result.sigma == again.result.sigma


def test_a_scan_without_an_edge_still_gives_a_clean_stack_and_a_report(tmp_path):
    values = 5 - np.linspace(0, 1, 12)[:, None, None] * np.ones((20, 24))
    noise = 0.1 * np.random.default_rng(0).standard_normal(values.shape)
    write_stack(make_stack((values + noise).astype(np.float32), 8000.0 + np.arange(12)), tmp_path / "flat.h5")

    done = run(tmp_path / "flat.h5", tmp_path / "out", recipe=Recipe(map=MapOptions(kind="half_step")))

    assert done.maps is None
    assert done.map_problem
    page = done.report.read_text("utf-8")
    assert done.map_problem.split()[0] in page
    assert "(kind=)" not in page  # advice for Python
    made = {p.name for p in (tmp_path / "out").iterdir()}
    assert made == {"clean.h5", "result.sum.h5", "recipe.toml", "trust.json", "report.html"} | (
        {"explore.html"} if has_toolkit() else set()
    )


def test_an_unknown_kind_of_map_is_no_missing_edge(scan, tmp_path):
    with pytest.raises(XanesumError, match=r"one of auto, half_step, .*, valence, got 'l3'"):
        run(scan, tmp_path / "out", recipe=Recipe(map=MapOptions(kind="l3")))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("known_result")
def test_a_second_run_replaces_its_own_files_and_no_others(scan, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for name in ("map.tif", "report.html"):
        (out / name).write_text("old")

    run(scan, out, recipe=QUICK)

    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in out.iterdir()) == sorted([*OWN_FILES, "notes.txt"])
    assert (out / "report.html").read_text("utf-8") != "old"


@pytest.mark.parametrize("failing", ["denoise_with", "write_map", "write_report"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full"), MemoryError])
@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.usefixtures("known_result")
def test_what_fails_leaves_nothing_behind(scan, tmp_path, monkeypatch, failing, error, existing):
    out = tmp_path / "out"
    if existing:
        out.mkdir()
        (out / "clean.h5").write_text("old")
    monkeypatch.setattr(outputs if failing == "write_map" else pipeline, failing, _raiser(error))

    with pytest.raises((KeyboardInterrupt, OSError, MemoryError)):
        run(scan, out, recipe=QUICK)

    assert sorted(p.name for p in tmp_path.iterdir()) == (["out"] if existing else []) + ["scan.h5"]
    if existing:
        assert [(p.name, p.read_text()) for p in out.iterdir()] == [("clean.h5", "old")]


def test_a_run_never_replaces_its_own_scan(noisy, tmp_path):
    scan = write_stack(noisy, tmp_path / "clean.h5")
    before = scan.read_bytes()

    with pytest.raises(WriteError, match=r"would replace .*clean\.h5"):
        run(scan, tmp_path)

    assert scan.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["clean.h5"]


def test_a_failed_write_names_the_folder(tmp_path):
    with pytest.raises(WriteError, match="out: writing failed"), staged_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_was_mended_is_said_in_the_report(noisy, tmp_path):
    scan = write_stack(noisy, tmp_path / "scan.h5")
    energies = tmp_path / "kev.txt"
    np.savetxt(energies, noisy.energy.values / 1e3)

    with pytest.warns(XanesumWarning, match="taken for keV"):
        done = run(scan, tmp_path / "out", recipe=Recipe(InputOptions(energies=str(energies))))

    assert "Note: energies below 100 were taken for keV" in done.report.read_text("utf-8")


def test_a_map_needs_a_known_suffix(noisy, tmp_path):
    maps = half_step_energy(noisy)

    with pytest.raises(WriteError, match=r"a map is written as \.h5 or \.tif, not '\.png'"):
        write_map(maps, "half_step_energy_ev", tmp_path / "map.png")
    assert list(tmp_path.iterdir()) == []


def _raiser(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.usefixtures("known_result")
def test_a_folder_that_cannot_be_replaced_stays_as_it_was(scan, tmp_path):
    run(scan, tmp_path / "out", recipe=QUICK)
    (tmp_path / "out/result.sum.h5").unlink()
    (tmp_path / "out/result.sum.h5").mkdir()
    before = {path.name: path.is_file() and path.read_bytes() for path in (tmp_path / "out").iterdir()}

    with pytest.raises(WriteError, match="out: writing failed"):
        run(scan, tmp_path / "out", recipe=QUICK)

    after = {path.name: path.is_file() and path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert after == before


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "recipe.toml").write_text("\ufeff[denoise]\nrank = 2\n", "utf-8")

    assert read_recipe(tmp_path / "recipe.toml").denoise.rank == 2


def test_regions_are_named_by_the_recipe(tmp_path):
    text = '[particles]\nlabels = "auto"\nshell_px = 2\n\n'
    text += '[regions]\na = "mask.tif"\nb = [[0, 0], [0, 9], [9, 9]]\n'
    (tmp_path / "r.toml").write_text(text, "utf-8")

    recipe = read_recipe(tmp_path / "r.toml")

    assert recipe.particles.shell_px == 2.0
    assert recipe.regions.named == (("a", "mask.tif"), ("b", ((0.0, 0.0), (0.0, 9.0), (9.0, 9.0))))
    (tmp_path / "again.toml").write_text(recipe.to_toml(), "utf-8")
    assert read_recipe(tmp_path / "again.toml") == recipe


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"regions": {"../a": "mask.tif"}}, "cannot be part of a file's name"),
        ({"regions": {"a": [[0, 0], [1, 1]]}}, "at least three corners"),
        ({"regions": {"a": [[0, 0], [1, 1], [2, "x"]]}}, "at least three corners"),
        ({"regions": {"a": 3}}, "must be a file, or at least three corners"),
        ({"particles": {"weights": "mass"}}, r"\[particles\] weights must be one of"),
        ({"particles": {"draws": 3}}, "at least 10 draws"),
        ({"particles": {"split_px": -1.0}}, "split_px must be"),
    ],
)
def test_wrong_particles_and_regions_are_refused(sections, message):
    with pytest.raises(RecipeError, match=message):
        Recipe().updated(sections)


@pytest.mark.parametrize("name", ["to_toml", "updated", "__init__"])
def test_a_section_named_like_a_method_is_unknown(name):
    with pytest.raises(RecipeError, match="unknown section"):
        Recipe().updated({name: {}})


def test_a_mask_outside_the_region_is_named(scan, tmp_path):
    mask = np.zeros((40, 50), bool)
    mask[:5] = True
    np.save(tmp_path / "m.npy", mask)

    with pytest.raises(StackError, match="the mask leaves no pixel of the region"):
        load_scan(scan, InputOptions(mask=str(tmp_path / "m.npy"), roi=(10, 30, 0, 50)))


def test_silenced_warnings_still_stand_in_the_report(noisy, tmp_path):
    with h5py.File(write_stack(noisy, tmp_path / "scan.h5"), "r+") as file:
        file["entry/data/energy"][...] = noisy.energy.values[::-1]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("ignore")
        done = run(tmp_path / "scan.h5", tmp_path / "out", recipe=QUICK)

    assert "sorted" in done.report.read_text("utf-8")
    assert not seen


def test_a_check_of_a_part_takes_i0_from_pixels_beyond_it(tmp_path, monkeypatch):
    energy, density = np.linspace(8300.0, 8400.0, 31), np.zeros((31, 24, 60))
    density[:, :, 12:] = 0.4 + 0.3 * np.tanh((energy - 8340) / 4)[:, None, None]
    counts = np.random.default_rng(0).poisson(2000 * np.exp(-density)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", counts)
    np.savetxt(tmp_path / "scan_energies.txt", energy)
    monkeypatch.setattr(loading, "QUICK_PX", 16)
    monkeypatch.setattr(pipeline, "check_scan", lambda stack, **_: (float(stack.mean()),))

    with pytest.warns(XanesumWarning, match="I0 is the mean over"):
        (mean,), changes = pipeline.check(tmp_path / "scan.tif")

    assert mean == pytest.approx(density[:, :, 12:].mean(), abs=0.01)
    assert "within 0:24,0:1" in changes[0]
    assert "judged by the middle 16 x 16 px" in changes
