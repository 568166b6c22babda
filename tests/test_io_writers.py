"""What is written can be read again, by xanesum and by other programs; what is lost is said."""

import sys
import warnings

import h5py
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import tifffile
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from io_files import small_stack
from PIL import Image
from test_io_native import full_stack

from xanesum.errors import MissingExtraError, StackError, WriteError, XanesumWarning
from xanesum.io import describe, read_stack, registry, write_stack, writers, writing, zarr_writer
from xanesum.io.hdf5_file import scalar_text
from xanesum.io.writers import FORMAT_NAMES, writer_for
from xanesum.io.writing import COORDS
from xanesum.stack import QUANTITIES, SHIFT_COORDS, make_stack
from xanesum.storage.lazy import is_lazy, lazy_array

NAMES = {
    "native": "scan.h5",
    "tiff": "scan.tif",
    "zarr": "scan.zarr",
    "hyperspy": "scan.hspy",
    "pyxas": "scan.h5",
    "txm-wizard": "scan",
}
AS_THEY_ARE = [name for name in NAMES if name != "pyxas"]  # formats that hold every quantity
IN_FULL = ("native", "zarr", "hyperspy")  # formats that hold mask, weights, flats and history
UNEVEN_EV = np.array([8300.0, 8301.25, 8303.333333333, 8310.0, 8320.07])


@pytest.fixture(autouse=True)
def needs_zarr(request):
    params = getattr(getattr(request.node, "callspec", None), "params", {}).values()
    if any(isinstance(value, str) and value == "zarr" for value in params):
        pytest.importorskip("zarr", reason="needs zarr (extra zarr)")


def written(stack, folder, name):
    """Write a stack without a look at what is lost; return the path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        return write_stack(stack, folder / NAMES[name], name)


def read_again(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        return read_stack(path)


def uneven_stack(**options):
    values = np.random.default_rng(3).uniform(0.1, 2.0, (5, 6, 7)).astype(np.float32)
    return make_stack(values, UNEVEN_EV, **options)


def complete_stack():
    """Return a stack with every coordinate that has a meaning in the package."""
    stack = full_stack()
    energies, images = np.arange(len(stack)) + 1.0, np.arange(35.0).reshape(5, 7)
    along = dict.fromkeys(("monitor", "exposure_s", "flat_exposure_s", "noise_gain", "noise_read_variance"))
    along |= dict.fromkeys(("light_energy", *SHIFT_COORDS))
    return stack.assign_coords(
        dark=(("y", "x"), images), light=(("y", "x"), images + 1), **{n: ("energy", energies) for n in along}
    )


# --- round trips


def test_there_is_a_name_for_every_format_that_is_written():
    assert set(FORMAT_NAMES) == set(NAMES)
    assert FORMAT_NAMES[0] == "native"


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_values_energies_quantity_and_pixel_size_come_back(tmp_path, name, quantity):
    stack = uneven_stack(quantity=quantity, pixel_size_nm=20.5)

    again = read_again(written(stack, tmp_path, name))

    np.testing.assert_array_equal(again.values, stack.values)
    np.testing.assert_array_equal(again.energy, UNEVEN_EV)
    assert (again.dtype, again.attrs["quantity"], again.attrs["pixel_size_nm"]) == (
        stack.dtype,
        quantity,
        20.5,
    )
    assert "quantity_assumed" not in again.attrs


@pytest.mark.parametrize("name", IN_FULL)
def test_every_coordinate_and_attribute_comes_back(tmp_path, name):
    stack = complete_stack()
    assert set(COORDS) <= set(stack.coords)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = read_stack(write_stack(stack, tmp_path / NAMES[name]))

    history = again.attrs["history"]
    assert history[: len(stack.attrs["history"])] == stack.attrs["history"]
    xr.testing.assert_identical(again.assign_attrs(history=stack.attrs["history"]), stack)
    assert again["mask"].dtype == bool


@pytest.mark.parametrize("name", ["native", "zarr"])
def test_positions_come_back(tmp_path, name):
    stack = small_stack().assign_coords(x=np.linspace(-3, 3, 7), y=np.arange(5) + 0.5)
    xr.testing.assert_equal(read_again(written(stack, tmp_path, name)), stack)


@pytest.mark.parametrize("name", ["tiff", "zarr", "hyperspy", "txm-wizard"])
def test_a_quantity_that_was_assumed_stays_assumed(tmp_path, name):
    stack = small_stack(quantity="counts")
    stack.attrs["quantity_assumed"] = True
    path = written(stack, tmp_path, name)
    assert describe(path)["quantity_assumed"]
    assert read_again(path).attrs["quantity"] == "counts"


@settings(
    deadline=None,
    max_examples=6,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(2, 4)),
        elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan")),
    ),
    steps=st.lists(st.floats(0.02, 50), min_size=4, max_size=4),
    pixel_size_nm=st.none() | st.floats(0.1, 1e4),
    quantity=st.sampled_from(QUANTITIES),
    data=st.data(),
)
@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_any_stack_comes_back(tmp_path_factory, name, values, steps, pixel_size_nm, quantity, data):
    energy = 8000 + np.cumsum(steps)[: len(values)]
    stack = make_stack(values, energy, quantity=quantity, pixel_size_nm=pixel_size_nm)
    mask = data.draw(hnp.arrays(bool, values.shape[1:]))
    path = written(stack.assign_coords(mask=(("y", "x"), mask)), tmp_path_factory.mktemp("any"), name)

    again = read_again(path)

    np.testing.assert_array_equal(again.values, values)
    np.testing.assert_array_equal(again.energy, energy)
    assert again.attrs["quantity"] == quantity
    assert again.attrs.get("pixel_size_nm") == pixel_size_nm
    if name in IN_FULL:
        np.testing.assert_array_equal(again["mask"], mask)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_double_precision_is_kept_or_its_loss_said(tmp_path, name):
    stack = small_stack(dtype=np.float64)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        again = read_stack(write_stack(stack, tmp_path / NAMES[name], name))
    said = [str(note.message) for note in notes if "precision of float32" in str(note.message)]
    assert (again.dtype == np.float64) == (name in IN_FULL) == (not said)


# --- what is lost is said


@pytest.mark.parametrize("name", ["tiff", "txm-wizard"])
def test_what_a_format_cannot_hold_is_said_in_one_line(tmp_path, name):
    with pytest.warns(XanesumWarning) as notes:
        write_stack(complete_stack(), tmp_path / NAMES[name], name)

    (said,) = (str(note.message) for note in notes)
    for word in ("the mask", "weights of the frames", "flats", "darks", "the noise law of the counts", "I0"):
        assert word in said
    assert ("the history" in said) == (name == "txm-wizard")  # the description of a TIFF has room for it
    assert said.endswith("the native form (.h5) can hold all of it")
    assert said.count("shifts of the frames") == 1


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_nothing_is_said_where_nothing_is_lost(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_stack(uneven_stack(pixel_size_nm=10.0), tmp_path / NAMES[name], name)


def test_a_coordinate_that_no_format_knows_is_named(tmp_path):
    stack = small_stack().assign_coords(temperature=("energy", np.arange(4.0)), weight=("energy", np.ones(4)))
    with pytest.warns(XanesumWarning, match="weights of the frames, temperature; .* all but temperature"):
        write_stack(stack, tmp_path / "scan.tif")


# --- other programs


def test_other_programs_read_a_tiff_stack(tmp_path):
    stack = uneven_stack()
    path = written(stack, tmp_path, "tiff")

    with Image.open(path) as image:
        assert image.n_frames == 5
        image.seek(3)
        np.testing.assert_array_equal(np.asarray(image), stack.values[3])
    np.testing.assert_array_equal(tifffile.imread(path), stack.values)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "scan_energies.txt"), UNEVEN_EV)


def test_txm_wizard_gets_one_tiff_an_energy_with_two_decimals_in_its_name(tmp_path):
    stack = uneven_stack()
    folder = written(stack, tmp_path, "txm-wizard")

    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        "scan_08300.00_eV.tif",
        "scan_08301.25_eV.tif",
        "scan_08303.33_eV.tif",
        "scan_08310.00_eV.tif",
        "scan_08320.07_eV.tif",
    ]
    for file, frame in zip(files, stack.values, strict=True):
        with Image.open(file) as image:
            np.testing.assert_array_equal(np.asarray(image), frame)
        assert tifffile.imread(file).dtype == np.float32


@pytest.mark.parametrize("folder", ["flat_9000eV", "bkg", "cell_100.0eV", ".hidden", "cell_8340.5eV_dark"])
def test_the_name_of_a_folder_does_not_mislead(tmp_path, folder):
    stack = small_stack()
    path = write_stack(stack, tmp_path / folder, "txm-wizard")
    again = read_again(path)
    np.testing.assert_array_equal(again.values, stack.values)
    np.testing.assert_array_equal(again.energy, stack.energy)
    assert "flat" not in again.coords


def test_a_tiff_stack_of_images_one_pixel_wide_is_refused(tmp_path):
    with pytest.raises(WriteError, match="cannot hold images one pixel wide"):
        write_stack(small_stack((3, 4, 1)), tmp_path / "scan.tif")
    assert list(tmp_path.iterdir()) == []


def test_energies_that_are_too_close_for_names_are_refused(tmp_path):
    stack = make_stack(np.ones((2, 3, 4), np.float32), [8340.001, 8340.004])
    with pytest.raises(WriteError, match=r"differ by less than 0\.01 eV would have one name"):
        write_stack(stack, tmp_path / "scan", "txm-wizard")
    assert not (tmp_path / "scan").exists()


def test_pyxas_gets_its_keys_as_transmission_and_kev(tmp_path):
    density = uneven_stack(pixel_size_nm=20.5)
    with pytest.warns(XanesumWarning, match=r"written as transmission, exp\(-optical density\)"):
        path = write_stack(density, tmp_path / "fxi.h5", "pyxas")

    with h5py.File(path) as file:  # what PyXAS does: np.array(f['img_xanes']), np.array(f['X_eng']), -log
        values, energies = np.array(file["img_xanes"]), np.array(file["X_eng"])
        assert scalar_text(file["Pixel Size"][()]) == "20.5nm"
    assert values.dtype == np.float32
    np.testing.assert_allclose(-np.log(values), density.values, atol=1e-6)  # 2 eps / exp(-2)
    np.testing.assert_allclose(energies, UNEVEN_EV / 1e3, rtol=1e-15)
    again = read_again(path)
    assert (again.attrs["quantity"], again.attrs["pixel_size_nm"]) == ("transmission", 20.5)
    np.testing.assert_allclose(again.energy, UNEVEN_EV, rtol=1e-15)


def test_transmission_goes_to_pyxas_as_it_is(tmp_path):
    stack = uneven_stack(quantity="transmission")
    path = write_stack(stack, tmp_path / "fxi.h5", "pyxas")
    np.testing.assert_array_equal(read_again(path).values, stack.values)


@pytest.mark.parametrize(
    ("quantity", "remedy"),
    [("counts", "convert the counts to optical density first"), ("fluorescence", "write a TIFF stack")],
)
def test_pyxas_gets_nothing_that_it_would_take_for_transmission(tmp_path, quantity, remedy):
    with pytest.raises(StackError, match=f"takes img_xanes for transmission, .*{remedy}"):
        write_stack(small_stack(quantity=quantity), tmp_path / "fxi.h5", "pyxas")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stack", [small_stack(pixel_size_nm=30.0), uneven_stack(pixel_size_nm=30.0)])
def test_hyperspy_finds_axes_and_metadata_where_it_looks(tmp_path, stack):
    path = write_stack(stack, tmp_path / "scan.hspy")

    with h5py.File(path) as file:  # the form that RosettaSciIO documents
        assert (file.attrs["file_format"], file.attrs["file_format_version"]) == ("HyperSpy", "3.3")
        group = file["Experiments/stack"]
        np.testing.assert_array_equal(group["data"], stack.values)
        assert group["data"].chunks  # without them it cannot be opened as a lazy signal
        energy, y, x = (group[f"axis-{i}"] for i in range(3))
        if energy.attrs["_type"] == "UniformDataAxis":
            positions = energy.attrs["offset"] + energy.attrs["scale"] * np.arange(energy.attrs["size"])
        else:
            positions = energy["axis"][()]
        np.testing.assert_array_equal(positions, stack.energy)
        assert [axis.attrs["navigate"] for axis in (energy, y, x)] == [True, False, False]
        assert [(axis.attrs["units"], axis.attrs["scale"]) for axis in (y, x)] == [("nm", 30.0)] * 2
        assert {"metadata", "original_metadata"} <= set(group)
        assert group["metadata/Signal"].attrs["quantity"] == "Optical density"


def test_a_mask_that_no_longer_fits_a_hyperspy_file_is_left_out(tmp_path):
    stack = small_stack().assign_coords(mask=(("y", "x"), np.eye(5, 7) == 0), weight=("energy", np.ones(4)))
    path = write_stack(stack, tmp_path / "scan.hspy")
    with h5py.File(path, "a") as file:  # as HyperSpy saves a signal that was cropped
        group = file["Experiments/stack"]
        values = group["data"][:, 1:, :]
        del group["data"]
        group["data"] = values
    with pytest.warns(XanesumWarning, match="'?mask'? has shape .* it was left out"):
        again = read_stack(path)
    assert "mask" not in again.coords
    assert "weight" in again.coords


def test_zarr_is_for_xarray_dask_and_ome_zarr(tmp_path):
    zarr = pytest.importorskip("zarr", reason="needs zarr (extra zarr)")
    stack = complete_stack()
    path = write_stack(stack, tmp_path / "scan.zarr")

    with xr.open_zarr(path, chunks=None) as dataset:
        np.testing.assert_array_equal(dataset["data"], stack.values)
        np.testing.assert_array_equal(dataset["data"].energy, stack.energy)
        np.testing.assert_array_equal(dataset["data"]["mask"], stack["mask"])
        np.testing.assert_allclose(dataset["x"], 31.2 * np.arange(7))
        assert dataset["x"].attrs["units"] == "nm"
    image = zarr.open_group(str(path), mode="r").attrs["ome"]["multiscales"][0]
    assert [axis["name"] for axis in image["axes"]] == ["energy", "y", "x"]
    assert image["datasets"][0]["path"] == "data"
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 31.2, 31.2]


def test_dask_reads_a_zarr_store(tmp_path):
    dask = pytest.importorskip("dask.array", reason="needs dask (extra cluster)")
    pytest.importorskip("zarr", reason="needs zarr (extra zarr)")
    stack = small_stack()
    path = write_stack(stack, tmp_path / "scan.zarr")
    np.testing.assert_array_equal(dask.from_zarr(str(path), component="data").compute(), stack.values)


# --- large stacks, and what is there already


class Counted:
    """Values (E, Y, X) that count how often each is read, and what is read at once."""

    def __init__(self, values):
        self.values, self.times, self.most = values, np.zeros(values.shape, int), 0
        self.keys = []

    def __call__(self, key):
        self.times[key] += 1
        self.keys.append(key)
        part = self.values[key]
        self.most = max(self.most, part.nbytes)
        return part


@pytest.mark.parametrize("chunks", [(1, 1, 20), (4, 3, 10), (12, 5, 20)])
@pytest.mark.parametrize("name", NAMES)
def test_a_lazy_stack_is_read_once_and_in_blocks(tmp_path, name, chunks, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK_BYTES", 4 * 20 * 10)  # half a frame
    values = np.random.default_rng(0).uniform(0.1, 1, (12, 18, 20)).astype(np.float32)
    source = Counted(values)
    lazy = lazy_array(values.shape, source, chunks=chunks)
    stack = make_stack(lazy, 8300.0 + np.arange(12.0), quantity="transmission")
    assert is_lazy(stack)

    path = written(stack, tmp_path, name)

    assert np.all(source.times == 1)
    of_chunk = np.arange(12) // chunks[0], np.arange(18) // chunks[1]
    reads = np.zeros([indices[-1] + 1 for indices in of_chunk])
    for key in source.keys:
        reads[np.ix_(*(np.unique(indices[part]) for indices, part in zip(of_chunk, key, strict=False)))] += 1
    assert np.all(reads == 1)  # no chunk is decompressed twice
    assert source.most <= max(values[0].nbytes, 4 * chunks[0] * chunks[1] * 20 * 2) < values.nbytes
    np.testing.assert_array_equal(read_again(path).values, values)


@pytest.mark.parametrize("name", ["native", "zarr", "hyperspy"])
def test_a_flat_for_each_energy_is_never_in_memory_as_a_whole(tmp_path, name, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK_BYTES", 1)
    stack, flats = small_stack((6, 5, 7), quantity="counts"), Counted(np.ones((6, 5, 7), np.float32))
    stack = stack.assign_coords(flat=lazy_array(flats.values.shape, flats))
    path = written(stack, tmp_path, name)
    assert flats.most < flats.values.nbytes
    assert np.all(flats.times == 1)
    np.testing.assert_array_equal(read_again(path)["flat"], flats.values)


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_leaves_nothing_behind(tmp_path, name, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK_BYTES", 1)
    values = np.ones((4, 5, 7), np.float32)

    def fail(key):
        if 2 in np.arange(4)[key[0]]:
            raise OSError(28, "No space left on device")
        return values[key]

    stack = make_stack(lazy_array(values.shape, fail), 8300 + np.arange(4.0), quantity="transmission")
    with pytest.raises(WriteError, match="writing failed"):
        write_stack(stack, tmp_path / NAMES[name], name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["zarr", "txm-wizard"])
def test_a_folder_that_is_not_empty_is_never_written_into(tmp_path, name):
    folder = tmp_path / NAMES[name]
    folder.mkdir()
    written(small_stack(), tmp_path, name)  # an empty one may be used
    before = sorted(file.name for file in folder.rglob("*"))
    with pytest.raises(WriteError, match="a folder that is not empty; remove it, or choose another name"):
        write_stack(small_stack(seed=2), folder, name)
    assert sorted(file.name for file in folder.rglob("*")) == before
    (tmp_path / "file").mkdir()
    target = tmp_path / "file" / NAMES[name]
    target.write_text("mine")
    with pytest.raises(WriteError, match="is a file"):
        write_stack(small_stack(), target, name)
    assert target.read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "format", "message"),
    [
        ("scan.h5", "netcdf", "no format is called 'netcdf'; there are native, "),
        ("scan.tif", "zarr", r"a zarr file does not have the suffix '\.tif'; use one of \.zarr"),
        ("scan.npy", None, r"no format is known for the suffix '\.npy'"),
        ("scan", None, r"no format is known for the suffix ''"),
    ],
)
def test_a_format_that_cannot_be_meant_is_refused(tmp_path, path, format, message):
    with pytest.raises(WriteError, match=message):
        write_stack(small_stack(), tmp_path / path, format)
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_decides_unless_the_format_is_named():
    assert writer_for("a.h5").name == "native"
    assert writer_for("a.h5", "pyxas").name == "pyxas"
    assert writer_for("A.TIFF").name == "tiff"
    assert writer_for("any.folder", "txm-wizard").name == "txm-wizard"


def test_a_package_that_is_missing_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'needs: pip install "xanesum\[zarr\]"'):
        writer_for(tmp_path / "scan.zarr")


def test_zarr_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r'writing Zarr needs: pip install "xanesum\[zarr\]"'):
        zarr_writer.write(small_stack(), tmp_path / "scan.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", "3", '{"history": 3}', pytest.param("[" * 100_000, id="deep"), 7]
)
def test_attributes_of_another_form_are_ignored(text):
    attrs, history = writing.attrs_from_json(text)
    assert (attrs, history) == ({}, ())


def test_every_writer_belongs_to_a_format():
    named = [each.writer for each in registry.FORMATS if each.writer is not None]
    assert {each.name for each in named} == set(NAMES)
