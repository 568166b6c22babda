"""HDF5 of other programs: known by their keys, axis order and unit found, assumptions said."""

import h5py
import numpy as np
import pytest
from io_files import real_data, small_stack

from xanesum.errors import EnergyError, ReadError, XanesumWarning
from xanesum.io import describe, read_stack, registry, write_stack
from xanesum.storage.lazy import chunks_of

VALUES = np.random.default_rng(3).uniform(0.2, 1.0, (4, 5, 7)).astype(np.float32)
EV = 8300 + np.arange(4.0)


def write_h5(path, **datasets):
    """Write datasets; a tuple is (values, attributes)."""
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            values, attrs = value if isinstance(value, tuple) else (value, {})
            file[name] = values
            file[name].attrs.update(attrs)
    return path


@pytest.mark.parametrize("key", ["X_eng", "XEng"])
@pytest.mark.parametrize("pixel_size", ["38.5nm", "0.0385 um", 38.5, np.array([b"38.5nm"])])
def test_pyxas_is_transmission_with_energies_in_kev(tmp_path, key, pixel_size):
    path = write_h5(tmp_path / "fxi.h5", **{"img_xanes": VALUES, key: EV / 1e3, "Pixel Size": pixel_size})

    stack = read_stack(path)

    np.testing.assert_array_equal(stack.values, VALUES)
    np.testing.assert_allclose(stack.energy, EV)
    assert stack.attrs["quantity"] == "transmission"
    assert stack.attrs["pixel_size_nm"] == pytest.approx(38.5)
    assert describe(path)["format"] == "pyxas"


def test_a_pixel_size_that_is_no_size_is_left_out(tmp_path):
    path = write_h5(tmp_path / "fxi.h5", img_xanes=VALUES, X_eng=EV / 1e3, **{"Pixel Size": "unknown"})
    assert "pixel_size_nm" not in read_stack(path).attrs


@pytest.mark.parametrize("lazy", [False, True])
def test_data_exchange_with_energy_last_is_turned(tmp_path, monkeypatch, lazy):
    path = write_h5(
        tmp_path / "mantis.hdf5",
        **{
            "exchange/data": VALUES.T,
            "exchange/energy": (EV, {"units": "eV"}),
            "exchange/x": (np.arange(7) * 0.03, {"units": "um"}),
            "spectromicroscopy/normalization/white_spectrum": 100.0 + np.arange(4),
        },
    )
    monkeypatch.setattr(registry, "LAZY_BYTES", 0 if lazy else 1e9)

    with pytest.warns(
        XanesumWarning, match=r"taken as \(x, y, energy\): the length of exchange/energy \(4\)"
    ):
        stack = read_stack(path)

    for key in [(), (2,), (slice(3, 0, -1), 4, slice(1, 5))]:
        np.testing.assert_array_equal(stack[key].values, VALUES[key])
    np.testing.assert_array_equal(stack["i0"], 100.0 + np.arange(4))
    assert stack.attrs["pixel_size_nm"] == pytest.approx(30)


@pytest.mark.filterwarnings("ignore:mantis")
@pytest.mark.parametrize("chunks", [(2, 3, 7), None])
def test_how_a_stack_is_stored_is_known(tmp_path, monkeypatch, chunks):
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)
    with h5py.File(tmp_path / "fxi.h5", "w") as file:
        file.create_dataset("img_xanes", data=VALUES, chunks=chunks)
        file["X_eng"] = EV / 1e3
    with h5py.File(tmp_path / "mantis.hdf5", "w") as file:
        file.create_dataset("exchange/data", data=VALUES.T, chunks=chunks and chunks[::-1])
        file["exchange/energy"], file["exchange/x"] = EV, np.arange(7.0)
        file["spectromicroscopy/normalization/white_spectrum"] = np.ones(4)

    first, last = read_stack(tmp_path / "fxi.h5"), read_stack(tmp_path / "mantis.hdf5")

    assert chunks_of(first) == (chunks or (1, 1, 7))
    assert chunks_of(last) == (chunks or (4, 1, 7))  # every pixel's energies lie together
    part = first[:, 1:, 2:].assign_coords(weight=("energy", np.ones(4)))
    assert chunks_of(part) == (*chunks_of(first)[:2], 5)
    assert chunks_of(first.load()) == (1, 1, 7)


def test_data_exchange_of_aps_has_energy_first_kev_flats_and_darks(tmp_path):
    path = write_h5(
        tmp_path / "aps.h5",
        **{
            "exchange/data": VALUES,
            "exchange/energy": EV / 1e3,
            "exchange/data_white": VALUES + 1,
            "exchange/data_dark": np.stack([np.full((5, 7), value) for value in (0.01, 0.03)]),
        },
    )
    with pytest.warns(XanesumWarning) as caught:
        stack = read_stack(path)

    told = " ".join(str(warning.message) for warning in caught)
    assert "taken as (energy, y, x)" in told
    assert "taken as keV" in told
    np.testing.assert_array_equal(stack.values, VALUES)
    np.testing.assert_allclose(stack.energy, EV)
    np.testing.assert_array_equal(stack["flat"].values, VALUES + 1)
    np.testing.assert_allclose(stack["dark"].values, 0.02, rtol=1e-6)


def test_flats_that_are_not_one_per_energy_are_averaged(tmp_path):
    whites = np.stack([np.full((5, 7), value) for value in (1.0, 2.0)])
    path = write_h5(
        tmp_path / "aps.h5",
        **{"exchange/data": VALUES, "exchange/energy": (EV, {"units": "eV"}), "exchange/data_white": whites},
    )
    with pytest.warns(XanesumWarning, match="were taken as"):
        stack = read_stack(path)
    assert stack["flat"].dims == ("y", "x")
    np.testing.assert_allclose(stack["flat"].values, 1.5)


@pytest.mark.parametrize("names", ["energy:y:x", "x:y:energy", "y:energy:x"])
def test_data_exchange_whose_axes_have_names_is_read_without_a_note(tmp_path, names):
    order = ["energy", "y", "x"]
    values = np.ones((4, 5, 4)) * np.arange(4.0)[:, None, None] + VALUES[:, :, :4]  # both ends fit
    stored = values.transpose([order.index(name) for name in names.split(":")])
    path = write_h5(
        tmp_path / "named.h5",
        **{"exchange/data": (stored, {"axes": names}), "exchange/energy": (EV, {"units": "eV"})},
    )
    np.testing.assert_array_equal(read_stack(path).values, values)


@pytest.mark.parametrize("names", ["x:y:energy", "energy:y", "energy:y:z"])
def test_data_exchange_whose_names_of_axes_do_not_fit_says_what_decided(tmp_path, names):
    path = write_h5(
        tmp_path / "wrong.h5",
        **{"exchange/data": (VALUES, {"axes": names}), "exchange/energy": (EV, {"units": "eV"})},
    )
    with pytest.warns(XanesumWarning, match=r"were taken as \(energy, y, x\)"):
        np.testing.assert_array_equal(read_stack(path).values, VALUES)


@pytest.mark.parametrize(
    ("dtype", "unit", "white", "said"),
    [
        (np.uint16, "counts", True, True),
        (np.float32, "counts", True, False),  # may have been divided by the flat
        (np.uint16, "counts", False, False),  # may be fluorescence
        (np.uint16, "", True, False),
    ],
)
def test_data_exchange_says_that_it_holds_counts_of_light(tmp_path, dtype, unit, white, said):
    attrs = {"axes": "energy:y:x", "units": unit}
    parts = {"exchange/data": (VALUES.astype(dtype), attrs), "exchange/energy": (EV, {"units": "eV"})}
    if white:
        parts["exchange/data_white"] = np.ones((2, 5, 7))
    stack = read_stack(write_h5(tmp_path / "counts.h5", **parts))

    assert stack.attrs["quantity"] == "counts"
    assert stack.attrs.get("quantity_assumed", False) is not said


@pytest.mark.parametrize(
    ("extra", "turned"),
    [({"exchange/x": np.arange(4.0)}, True), ({"exchange/data_white": np.ones((4, 5, 4))}, False)],
)
def test_when_both_ends_fit_the_flavour_decides_and_says_so(tmp_path, extra, turned):
    cube = VALUES[:, :, :4]
    path = write_h5(
        tmp_path / "cube.h5", **{"exchange/data": cube, "exchange/energy": (EV, {"units": "eV"}), **extra}
    )
    with pytest.warns(XanesumWarning, match="both ends have that length"):
        stack = read_stack(path)
    np.testing.assert_array_equal(stack.values, cube.T if turned else cube)


def test_data_exchange_without_a_fitting_axis_is_refused(tmp_path):
    path = write_h5(tmp_path / "odd.h5", **{"exchange/data": VALUES, "exchange/energy": np.arange(6.0)})
    with pytest.raises(EnergyError, match=r"6 energies match neither .* axis of exchange/data \(4, 5, 7\)"):
        read_stack(path)


def write_nxstxm(path, signal="data", **changes):
    with h5py.File(path, "w") as file:
        file["entry1/definition"] = np.array([b"NXstxm"])
        group = file.create_group("entry1/counter0")
        group.attrs.update({"NX_class": "NXdata", "signal": signal})
        for name, values in {signal: VALUES, "energy": EV, "sample_x": np.arange(7) * 0.5, **changes}.items():
            group[name] = values
        file["entry1/control/data"] = np.ones_like(VALUES) * np.arange(4)[:, None, None]
    return path


def test_nxstxm_is_counts_with_its_monitor(tmp_path):
    stack = read_stack(write_nxstxm(tmp_path / "stxm.hdf5", signal="pmt"))
    np.testing.assert_array_equal(stack.values, VALUES)
    np.testing.assert_array_equal(stack["monitor"].values, np.arange(4.0))
    assert (stack.attrs["quantity"], stack.attrs["pixel_size_nm"]) == ("counts", 500.0)


def test_an_nxstxm_file_without_images_is_refused(tmp_path):
    path = write_nxstxm(tmp_path / "point.hdf5", signal="data", data=np.ones((4, 5)))
    with pytest.raises(ReadError, match=r"counter0 holds a single image: shape \(4, 5\); a stack of images"):
        read_stack(path)


def test_a_named_dataset_finds_the_energies_beside_it(tmp_path):
    path = write_h5(
        tmp_path / "own.h5", **{"scan/images": VALUES, "scan/energy": EV, "other": np.ones((2, 3, 4))}
    )
    with pytest.warns(XanesumWarning, match="nothing tells what the values of scan/images are"):
        stack = read_stack(path, data="scan/images")
    np.testing.assert_array_equal(stack.values, VALUES)
    np.testing.assert_array_equal(stack.energy, EV)
    with pytest.raises(EnergyError, match="no photon energies for its 2 images"):
        read_stack(path, data="other")


def test_an_unknown_layout_lists_what_could_be_read(tmp_path):
    path = write_h5(tmp_path / "own.h5", **{"scan/images": VALUES, "flat": np.ones((3, 4))})
    with pytest.raises(ReadError, match=r"unknown layout; name a dataset .*: scan/images \(data=\)$"):
        read_stack(path)
    with pytest.raises(ReadError, match="has no dataset images; name a dataset"):
        read_stack(path, data="images")
    with pytest.raises(ReadError, match=r"flat has shape \(3, 4\); expected three axes"):
        read_stack(path, data="flat")


def test_a_saved_result_is_no_scan(tmp_path):
    with h5py.File(tmp_path / "result.h5", "w") as file:
        file["entry/definition"] = "xanesum_result"
        group = file.create_group("entry/coefficients")
        group.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["component", "y", "x"]})
        group["data"] = VALUES
    with pytest.raises(ReadError, match=r"result\.h5: is a saved result of xanesum, not a scan"):
        describe(tmp_path / "result.h5")


def test_a_file_without_any_stack_says_so(tmp_path):
    with pytest.raises(ReadError, match="it holds no dataset with three axes"):
        read_stack(write_h5(tmp_path / "empty.h5", flat=np.ones((3, 4))))


@pytest.mark.filterwarnings("ignore:.*nothing ")
def test_integers_become_float32_and_doubles_stay(tmp_path):
    for dtype, expected in [("u2", "f4"), (">f4", "f4"), ("f2", "f4"), ("f8", "f8"), (">f8", "f8")]:
        path = write_h5(tmp_path / "own.h5", a=np.ones((2, 3, 4), dtype), energy=[1000.0, 1001.0])
        assert read_stack(path, data="a").dtype == np.dtype(expected)


def test_raw_storage_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(4 * 5 * 7 * 4))
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        file.create_dataset("a", (4, 5, 7), "f4", external=[(str(tmp_path / "secret.raw"), 0, 560)])
    with pytest.raises(ReadError, match=r"refers to .*secret\.raw outside its folder"):
        read_stack(tmp_path / "in" / "a.h5", data="a", energies=EV)


@pytest.mark.filterwarnings("ignore:.*nothing ")
def test_a_virtual_dataset_of_files_beside_it_is_read(tmp_path):
    layout = h5py.VirtualLayout((4, 5, 7), "f4")
    for e in range(4):
        write_h5(tmp_path / f"part{e}.h5", frame=VALUES[e])
        layout[e] = h5py.VirtualSource(f"part{e}.h5", "frame", (5, 7))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    np.testing.assert_array_equal(read_stack(tmp_path / "all.h5", data="a", energies=EV).values, VALUES)


def test_real_nxstxm_of_pollux_behind_a_user_block():
    stack = read_stack(real_data("formats/Sample_Stack_2021-03-16_128.hdf5"))
    assert stack.shape == (4, 50, 50)
    assert (stack.energy[0], stack.attrs["pixel_size_nm"]) == pytest.approx((280.0, 500.0))
    assert stack["monitor"].values == pytest.approx(401, abs=1)  # ring current in mA


def test_real_data_exchange_of_ssrf():
    with pytest.warns(XanesumWarning, match=r"\(200, 201, 2\) were taken as \(x, y, energy\)"):
        stack = read_stack(real_data("formats/SSRF_08U_DataExchange_2energies.hdf5"))
    assert stack.shape == (2, 201, 200)
    assert stack.attrs["pixel_size_nm"] == pytest.approx(500)


def test_real_nxstxm_example_without_images_is_refused():
    with pytest.raises(ReadError, match="holds a stack with three axes"):
        read_stack(real_data("formats/NXstxm_autogenerated.hdf5"))


@pytest.mark.parametrize("name", ["../scan.h5", "../../b/scan.h5", "sub/../scan.h5"])
def test_a_scan_may_be_named_by_any_path(tmp_path, monkeypatch, name):
    folder = tmp_path / "b"
    (folder / "sub" / "sub").mkdir(parents=True)
    write_stack(small_stack(), folder / "scan.h5")
    monkeypatch.chdir(folder / "sub" if name.startswith("..") else folder)

    assert read_stack(name).shape == small_stack().shape


def test_pyxas_energies_that_are_no_numbers_are_missing_energies(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["img_xanes"] = np.ones((2, 3, 4), np.float32)
        file["X_eng"] = ["low", "high"]

    assert describe(tmp_path / "scan.h5")["energy_min_ev"] is None
    with pytest.raises(EnergyError, match="no photon energies"):
        read_stack(tmp_path / "scan.h5")
