"""Names and axes in files are obeyed; of several scans the documented one is read, the others named."""

import h5py
import numpy as np
import pytest

from xanesum.errors import EnergyError, ReadError, XanesumWarning
from xanesum.io import describe, hdf5, read_stack, registry
from xanesum.io.axes import Order, axis_kind, order_of
from xanesum.preprocess import prepare
from xanesum.storage.lazy import chunks_of
from xanesum.storage.scratch import Workspace

E, NY, NX = 6, 5, 7
VALUES = np.random.default_rng(1).uniform(0.1, 2.0, (E, NY, NX)).astype(np.float32)
COUNTS = np.random.default_rng(2).poisson(500, (E, NY, NX))
EV = 8330.0 + 2.5 * np.arange(E)
pytestmark = pytest.mark.filterwarnings("ignore:.*(nothing tells what|by its name|also there)")


def nxdata(parent, name, signal, values, axes=None, **positions):
    """Write an NXdata group; positions are values, or values and their unit."""
    group = parent.create_group(name)
    group.attrs.update({"NX_class": "NXdata", "signal": signal})
    if axes is not None:
        group.attrs["axes"] = axes
    group[signal] = values
    for axis, given in positions.items():
        along, unit = given if isinstance(given, tuple) else (given, None)
        group[axis] = along
        if unit:
            group[axis].attrs["units"] = unit
    return group


def entry_of(file, name="entry", **attrs):
    group = file.create_group(name)
    group.attrs.update({"NX_class": "NXentry", **attrs})
    return group


def stxm_entry(file, name="entry1"):
    group = entry_of(file, name)
    group["definition"] = [b"NXstxm"]
    return group


# --- the order of axes, from names, units and lengths


@pytest.mark.parametrize(
    ("name", "unit", "kind"),
    [
        ("energy", "", "energy"),
        ("photon_energy", "", "energy"),
        ("mono", "", "energy"),
        ("motor3", "keV", "energy"),
        ("sample_y", "", "y"),
        ("SampleX", "um", "x"),
        ("ypos", "", "y"),
        ("rows", "", "y"),
        ("delay", "s", "delay"),
        ("index", "", "index"),
        ("theta", "deg", "theta"),
        ("line_position", "", "line_position"),
    ],
)
def test_the_name_or_the_unit_tells_what_an_axis_is(name, unit, kind):
    assert axis_kind(name, unit) == kind


@pytest.mark.parametrize(
    ("shape", "kinds", "options", "axes", "fixed"),
    [
        ((5, 7, 6), ["y", "x", "energy"], {}, (2, 0, 1), ()),
        ((6, 7, 5), ["energy", "x", "y"], {}, (0, 2, 1), ()),
        ((5, 7, 6), [], {"n_energies": 6}, (2, 0, 1), ()),
        ((6, 5, 7, 2), ["energy", "y", "x", "channel"], {}, (0, 1, 2), ((3, 0),)),
        ((6, 1, 5, 7), ["energy", "z", "y", "x"], {}, (0, 2, 3), ((1, 0),)),
        ((3, 6, 5, 7), ["time", "energy", "y", "x"], {"index": "2"}, (1, 2, 3), ((0, 2),)),
        ((3, 6, 5, 7), [], {"n_energies": 6, "index": "1"}, (1, 2, 3), ((0, 1),)),
        ((2, 3, 6, 5, 7), ["t", "theta", "energy", "y", "x"], {"index": "1,2"}, (2, 3, 4), ((0, 1), (1, 2))),
        ((6, 5, 6), [], {"n_energies": 6, "images_last": False}, (2, 0, 1), ()),
        ((6, 5, 6), [], {"n_energies": 6, "images_last": True}, (0, 1, 2), ()),
    ],
)
def test_axes_are_found_by_what_is_known_of_them(shape, kinds, options, axes, fixed):
    order = order_of(shape, kinds, **options)
    assert (order.axes, order.fixed, order.note) == (axes, fixed, "")


def test_an_order_that_nothing_tells_is_said():
    assert "axis 1 was taken as the energy" in order_of((6, 5, 7)).note
    assert "axis 1 was taken as the energy" in order_of((6, 5, 6), n_energies=6).note
    assert "axis 1 (component) was taken" in order_of((3, 5, 7), ["component", "y", "x"]).note


def test_any_part_is_read_in_the_order_of_the_stack():
    array = np.arange(2 * 5 * 7 * 6).reshape(2, 5, 7, 6)
    order = Order(array.shape, (3, 1, 2), ((0, 1),))
    whole = array[1].transpose(2, 0, 1)

    for key in [
        (slice(None),) * 3,
        (2, slice(1, 4), 3),
        (slice(0, 6, 2), slice(None), slice(2, 5)),
        (1, 2, 3),
    ]:
        np.testing.assert_array_equal(order.read(array.__getitem__, key), whole[key])
    assert order.stack_shape == (6, 5, 7)
    assert order.chunks((1, 2, 3, 6)) == (6, 2, 3)
    assert order.chunks(None) == (6, 1, 7)
    assert Order((6, 7, 5), (0, 2, 1)).chunks(None) == (1, 5, 7)


@pytest.mark.parametrize("index", ["3", "-1", "1,1", "x", ""])
def test_an_index_that_does_not_fit_is_refused(index):
    with pytest.raises(ReadError, match="index"):
        order_of((3, 6, 5, 7), ["time", "energy", "y", "x"], index=index)


# --- NXdata: @axes, @signal, @default, @interpretation, dimension scales


@pytest.mark.parametrize(("order", "axes"), [((1, 2, 0), "yxe"), ((0, 2, 1), "exy"), ((2, 1, 0), "xye")])
@pytest.mark.parametrize("lazy", [False, True])
def test_nxstxm_obeys_its_axes(tmp_path, monkeypatch, order, axes, lazy):
    names = [{"e": "energy", "y": "sample_y", "x": "sample_x"}[letter] for letter in axes]
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        positions = {"sample_y": np.arange(NY) * 0.1, "sample_x": np.arange(NX) * 0.05}
        nxdata(stxm_entry(file), "counter0", "data", COUNTS.transpose(order), names, energy=EV, **positions)
    monkeypatch.setattr(registry, "LAZY_BYTES", 0 if lazy else 1e9)

    stack = read_stack(tmp_path / "scan.hdf5")

    np.testing.assert_array_equal(stack.values, COUNTS)
    np.testing.assert_array_equal(stack.energy, EV)
    assert stack.attrs["pixel_size_nm"] == pytest.approx(50)
    if lazy:
        assert chunks_of(stack)[2] == NX


def test_as_many_rows_as_energies_are_told_apart_by_the_axes(tmp_path):
    square = np.random.default_rng(3).poisson(9, (NY, NY, NX))
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        axes = ["sample_y", "sample_x", "energy"]
        nxdata(stxm_entry(file), "counter0", "data", square.transpose(1, 2, 0), axes, energy=EV[:NY])

    np.testing.assert_array_equal(read_stack(tmp_path / "scan.hdf5").values, square)


def test_the_default_plot_is_found_over_all_levels(tmp_path):
    path = tmp_path / "scan.nxs"
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "scan2"
        nxdata(entry_of(file, "scan1", default="d"), "d", "v", 0 * VALUES, ["energy", "y", "x"], energy=EV)
        entry = entry_of(file, "scan2", default="process/plot")
        entry.create_group("process").attrs["NX_class"] = "NXprocess"
        turned = VALUES.transpose(0, 2, 1)
        positions = {"energy": (EV / 1e3, "keV"), "x": (30.0 * np.arange(NX), "nm")}
        nxdata(entry["process"], "plot", "absorbance", turned, ["energy", "x", "y"], **positions)
        nxdata(entry, "raw", "v", VALUES + 1, ["energy", "y", "x"], energy=EV)

    stack = read_stack(path)
    facts = describe(path)

    np.testing.assert_array_equal(stack.values, VALUES)
    np.testing.assert_allclose(stack.energy, EV)
    assert (stack.attrs["quantity"], stack.attrs["pixel_size_nm"]) == ("optical_density", 30.0)
    assert facts["others"] == {"entry": ["scan1"], "detector": ["raw"]}
    np.testing.assert_array_equal(read_stack(path, detector="raw").values, VALUES + 1)
    np.testing.assert_array_equal(read_stack(path, entry="scan1").values, 0 * VALUES)


@pytest.mark.parametrize("axes", ["y:x:mono", "[y,x,mono]"])
def test_axes_of_older_nexus_files_are_read(tmp_path, axes):
    with h5py.File(tmp_path / "old.nxs", "w") as file:
        group = entry_of(file).create_group("data")
        group.attrs["NX_class"] = "NXdata"
        group["counts"] = COUNTS.transpose(1, 2, 0)
        group["counts"].attrs.update({"signal": 1, "axes": axes})
        group["mono"] = EV
    stack = read_stack(tmp_path / "old.nxs")
    np.testing.assert_array_equal(stack.values, COUNTS)
    np.testing.assert_array_equal(stack.energy, EV)


def test_indices_of_axes_are_obeyed(tmp_path):
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        group = nxdata(entry_of(file), "data", "v", VALUES.transpose(2, 0, 1), energy=EV)
        group["ypos"], group["xpos"] = np.arange(NY), np.arange(NX)
        group.attrs.update({"energy_indices": 1, "ypos_indices": 2, "xpos_indices": 0})
    np.testing.assert_array_equal(read_stack(tmp_path / "scan.nxs").values, VALUES)


@pytest.mark.parametrize(("said", "order"), [("spectrum", (1, 2, 0)), ("image", (0, 1, 2))])
def test_interpretation_tells_where_images_are(tmp_path, said, order):
    square = VALUES[:NY]
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        entry = entry_of(file)
        group = nxdata(entry, "data", "data", square.transpose(order))
        group["data"].attrs["interpretation"] = said
        entry["instrument/monochromator/energy"] = EV[:NY] / 1e3
        entry["instrument/monochromator/energy"].attrs["units"] = "keV"
    stack = read_stack(tmp_path / "scan.nxs")
    np.testing.assert_array_equal(stack.values, square)
    np.testing.assert_allclose(stack.energy, EV[:NY])


def test_dimension_scales_name_the_axes(tmp_path):
    with h5py.File(tmp_path / "scan.nc", "w") as file:
        file["density"] = VALUES.transpose(1, 2, 0)
        for i, (name, values) in enumerate((("y", np.arange(NY)), ("x", np.arange(NX)), ("energy", EV))):
            file[name] = values
            file[name].make_scale(name)
            file["density"].dims[i].attach_scale(file[name])
    stack = read_stack(tmp_path / "scan.nc")
    np.testing.assert_array_equal(stack.values, VALUES)
    assert "pixel_size_nm" not in stack.attrs  # positions without a unit tell no size


# --- several scans in a file


def test_the_first_detector_and_entry_are_read_and_the_others_named(tmp_path):
    path = tmp_path / "scan.hdf5"
    with h5py.File(path, "w") as file:
        entry = stxm_entry(file)
        for factor, name in enumerate(("analog0", "counter1", "counter0"), start=1):
            nxdata(entry, name, "data", factor * COUNTS, energy=EV)
        nxdata(stxm_entry(file, "entry10"), "counter0", "data", 10 * COUNTS, energy=EV)
        nxdata(stxm_entry(file, "entry2"), "counter0", "data", 7 * COUNTS, energy=EV)

    with pytest.warns(XanesumWarning, match=r"also there, and not read: analog0, counter1 \(detector=\)"):
        stack = read_stack(path)

    np.testing.assert_array_equal(stack.values, 3 * COUNTS)
    assert describe(path)["others"] == {"entry": ["entry2", "entry10"], "detector": ["analog0", "counter1"]}
    np.testing.assert_array_equal(read_stack(path, detector="analog0").values, COUNTS)
    for chosen in (
        {"entry": "entry2"},
        {"region": "entry2"},
        {"region": 2},
        {"data": "entry2/counter0/data"},
    ):
        other = read_stack(path, **chosen)
        np.testing.assert_array_equal(other.values, 7 * COUNTS)
        assert other.attrs["quantity"] == "counts"
    with pytest.raises(ReadError, match=r"no detector 'pmt'; there are: counter0, analog0, counter1"):
        read_stack(path, detector="pmt")
    with pytest.raises(ReadError, match=r"no region '4'; there are: entry1, entry2, entry10"):
        read_stack(path, region=4)


def test_auxiliary_signals_can_be_chosen(tmp_path):
    path = tmp_path / "scan.nxs"
    with h5py.File(path, "w") as file:
        group = nxdata(entry_of(file), "plot", "v", VALUES, ["energy", "y", "x"], energy=EV)
        group["w"], group["flat"] = 2 * VALUES, VALUES[0]
        group.attrs["auxiliary_signals"] = ["w", "flat"]
    assert describe(path)["others"] == {"detector": ["plot/w"]}
    for name in ("plot/w", "w"):
        np.testing.assert_array_equal(read_stack(path, detector=name).values, 2 * VALUES)


def test_the_default_detector_comes_before_the_usual_one(tmp_path):
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        entry = stxm_entry(file)
        entry.attrs["default"] = "phase"
        nxdata(entry, "counter0", "data", COUNTS, energy=EV)
        nxdata(entry, "phase", "data", 2 * COUNTS, energy=EV)
    np.testing.assert_array_equal(read_stack(tmp_path / "scan.hdf5").values, 2 * COUNTS)


@pytest.mark.parametrize("index", [0, 1, "2"])
def test_one_of_several_times_is_read(tmp_path, index):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["scan/stack"] = np.stack([VALUES, 2 * VALUES, 3 * VALUES])
        file["scan/energies"] = np.stack([EV, EV + 0.1, EV + 0.2])
    stack = read_stack(path, data="scan/stack", index=index)
    np.testing.assert_array_equal(stack.values, (int(index) + 1) * VALUES)
    np.testing.assert_allclose(stack.energy, EV + 0.1 * int(index))
    assert describe(path, data="scan/stack")["others"] == {"index": ["0 to 2 along axis 1"]}


def test_a_format_with_one_scan_has_nothing_to_choose(tmp_path):
    with h5py.File(tmp_path / "fxi.h5", "w") as file:
        file["img_xanes"], file["X_eng"] = VALUES, EV / 1e3
    with pytest.raises(ReadError, match=r"holds one scan only; leave out detector \(detector=\)"):
        read_stack(tmp_path / "fxi.h5", detector="a")


# --- energies


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a/photon_energy", EV),
        ("photon_energy", [f"{energy:.2f}" for energy in EV]),
        ("a/energies", np.array([f"{energy:.2f} eV" for energy in EV], "S12")),
        ("instrument/monochromator/energy", EV),
        ("a/energy_keV", EV / 1e3),
        ("a/energy", EV[:, None]),
    ],
)
def test_energies_are_found_beside_a_dataset_and_above_it(tmp_path, name, values):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["a/images"], file[name] = VALUES, values
    np.testing.assert_allclose(read_stack(tmp_path / "scan.h5", data="a/images").energy, EV)


def test_energies_of_another_length_are_named(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["images"], file["energy"] = VALUES, EV[:-2]
    (note, *_) = [n for n in describe(tmp_path / "scan.h5", data="images")["notes"] if "fit no axis" in n]
    assert "/energy has 4 values, which fit no axis of /images (6, 5, 7), and was not used" in note
    with pytest.raises(EnergyError, match="no photon energies"):
        read_stack(tmp_path / "scan.h5", data="images")


# --- what is not a stack


@pytest.mark.parametrize(
    ("values", "axes", "said"),
    [
        (
            COUNTS[:, 2],
            ["energy", "line_position"],
            r"a line spectrum: shape \(6, 7\) \(energy, line_position\)",
        ),
        (COUNTS[:, 2, 3], ["energy"], r"a point spectrum: shape \(6,\) \(energy\)"),
        (COUNTS[0], ["sample_y", "sample_x"], r"a single image: shape \(5, 7\)"),
    ],
)
def test_a_scan_without_images_is_called_what_it_is(tmp_path, values, axes, said):
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        nxdata(stxm_entry(file), "counter0", "data", values, axes, energy=EV)
    with pytest.raises(ReadError, match=f"counter0 holds {said}"):
        read_stack(tmp_path / "scan.hdf5")


# --- interrupted scans


@pytest.mark.parametrize("fill", [np.nan, 0.0])
@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("lazy", [False, True])
def test_an_interrupted_scan_opens_with_the_frames_that_are_there(tmp_path, monkeypatch, fill, rows, lazy):
    values = COUNTS.astype(float)
    values[4, rows:], values[5:] = fill, fill
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        nxdata(stxm_entry(file), "counter0", "data", values, energy=EV)
    monkeypatch.setattr(registry, "LAZY_BYTES", 0 if lazy else 1e9)

    with pytest.warns(XanesumWarning, match="not complete .*: the first 4 of 6 energies are there"):
        stack = read_stack(tmp_path / "scan.hdf5")

    np.testing.assert_array_equal(stack.values, COUNTS[:4])
    np.testing.assert_array_equal(stack.energy, EV[:4])
    assert describe(tmp_path / "scan.hdf5")["shape"] == (4, NY, NX)


def test_zeros_of_a_detector_that_counts_few_photons_are_measured(tmp_path):
    values = np.zeros((E, 2, 2), int)
    values[0, 0, 0] = values[3, 1, 1] = 1
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        nxdata(stxm_entry(file), "counter0", "data", values, energy=EV)
    assert read_stack(tmp_path / "scan.hdf5").shape == (E, 2, 2)


@pytest.mark.filterwarnings("ignore:.*eV")
def test_a_file_that_grows_is_read_as_far_as_it_goes(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("exchange/data", data=COUNTS[:4], maxshape=(None, NY, NX), chunks=(1, NY, NX))
        file["exchange/energy"] = EV
    with pytest.warns(XanesumWarning, match="the first 4 of 6 energies are there"):
        stack = read_stack(tmp_path / "scan.h5")
    np.testing.assert_array_equal(stack.energy, EV[:4])


def test_chunks_of_several_energies_are_read_once(tmp_path, monkeypatch):
    path, read = tmp_path / "fxi.h5", []
    with h5py.File(path, "w") as file:
        file.create_dataset("img_xanes", data=VALUES, chunks=(2, NY, NX), compression="gzip")
        file["X_eng"] = EV / 1e3
    whole = hdf5._Reader.__call__

    def counted(self, key):
        read.extend(sorted({e // 2 for e in range(E)[key[0]]}))
        return whole(self, key)

    for module in (registry, hdf5):
        monkeypatch.setattr(module, "LAZY_BYTES", 0)
    monkeypatch.setattr(hdf5._Reader, "__call__", counted)

    prepare(read_stack(path), workspace=Workspace(1e9, tmp_path), quantity="transmission")

    assert read == [0, 1, 2]
