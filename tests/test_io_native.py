"""The native file: exact round trip, NeXus labels that viewers follow, lazy reading, honest sizes."""

import json

import h5py
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from io_files import small_stack

from xanesum.errors import EnergyError, ReadError, StackError, WriteError, XanesumWarning
from xanesum.io import describe, read_stack, registry, write_stack


def full_stack():
    """Return a stack with everything that the native form keeps."""
    stack = small_stack(quantity="counts", pixel_size_nm=31.2, history=["measured", "aligned"])
    energy, y, x = stack.shape
    stack = stack.assign_coords(
        mask=(("y", "x"), np.arange(y * x).reshape(y, x) % 3 > 0),
        weight=("energy", np.linspace(0, 1, energy)),
        i0=("energy", np.full(energy, 500.0)),
        flat=(("energy", "y", "x"), np.full(stack.shape, 7, np.float32)),
    )
    stack.attrs.update(missing_values=3, unit="counts/s", options={"method": "sum"})
    return stack


def test_round_trip_keeps_values_coordinates_and_attributes(tmp_path):
    stack = full_stack()
    write_stack(stack, tmp_path / "scan.h5")

    again = read_stack(tmp_path / "scan.h5")

    xr.testing.assert_identical(again, stack)
    assert again["mask"].dtype == bool


def test_positions_of_the_stack_survive(tmp_path):
    stack = small_stack().assign_coords(x=np.linspace(-3, 3, 7), y=np.arange(5) + 0.5)
    write_stack(stack, tmp_path / "scan.h5")

    xr.testing.assert_equal(read_stack(tmp_path / "scan.h5"), stack)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(*[st.integers(1, 4)] * 3),
        elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan")),
    ),
    pixel_size_nm=st.none() | st.floats(0.1, 1e4),
    quantity=st.sampled_from(["counts", "transmission", "optical_density", "intensity"]),
)
def test_round_trip_is_exact_for_any_stack(tmp_path, values, pixel_size_nm, quantity):
    energy = 8000 + np.arange(len(values)) * np.pi
    stack = registry.make_stack(values, energy, quantity=quantity, pixel_size_nm=pixel_size_nm)
    write_stack(stack, tmp_path / "scan.h5")

    again = read_stack(tmp_path / "scan.h5")

    xr.testing.assert_identical(again, stack)
    assert again.dtype == values.dtype


def test_a_viewer_finds_the_default_plot(tmp_path):
    write_stack(full_stack(), tmp_path / "scan.h5")

    with h5py.File(tmp_path / "scan.h5") as file:  # the path that silx and h5web follow
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        signal = data[data.attrs["signal"]]
        assert [file.attrs["NX_class"], entry.attrs["NX_class"], data.attrs["NX_class"]] == [
            "NXroot",
            "NXentry",
            "NXdata",
        ]
        assert [data[name].shape for name in data.attrs["axes"]] == [(size,) for size in signal.shape]
        assert data["energy"].attrs["units"] == "eV"
        assert data["x"].attrs["units"] == "nm"
        np.testing.assert_allclose(np.diff(data["x"][()]), 31.2)
        process = entry["process"]
        assert process.attrs["NX_class"] == "NXprocess"
        assert json.loads(process["history"].asstr()[()]) == ["measured", "aligned"]
        assert json.loads(process["options"].asstr()[()]) == {"method": "sum"}


def test_a_large_stack_stays_on_disk_until_it_is_looked_at(tmp_path, monkeypatch):
    stack = small_stack((6, 5, 7))
    write_stack(stack, tmp_path / "scan.h5")
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)

    lazy = read_stack(tmp_path / "scan.h5")

    assert not isinstance(lazy.variable._data, np.ndarray)
    for key in [(2,), (slice(1, 5, 2), 3), (slice(None, None, -1), slice(4, 0, -2), 6), ([5, 0, 2],)]:
        np.testing.assert_array_equal(lazy[key].values, stack[key].values)
    (tmp_path / "scan.h5").rename(tmp_path / "moved.h5")  # no handle holds the file
    with pytest.raises(ReadError, match=r"scan\.h5: cannot be opened .No such file"):
        lazy[0].load()


def test_a_lazy_stack_is_written_one_frame_at_a_time_even_over_itself(tmp_path, monkeypatch):
    stack = small_stack((6, 5, 7))
    path = write_stack(stack, tmp_path / "scan.h5")
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)
    lazy = read_stack(path)

    write_stack(lazy, path)

    xr.testing.assert_identical(read_stack(path).load(), stack)


def test_unsorted_energies_sort_the_images_of_a_lazy_stack_and_its_coordinates(tmp_path, monkeypatch):
    stack = full_stack()
    write_stack(stack, tmp_path / "scan.h5")
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)

    with pytest.warns(XanesumWarning, match="sorted by energy"):
        mended = read_stack(tmp_path / "scan.h5", energies=stack.energy.values[::-1])

    np.testing.assert_array_equal(mended.values, stack.values[::-1])
    np.testing.assert_array_equal(mended["weight"].values, stack["weight"].values[::-1])
    np.testing.assert_array_equal(mended["mask"].values, stack["mask"].values)


def test_repeated_energies_average_images_and_references_alike(tmp_path):
    stack = full_stack()
    write_stack(stack, tmp_path / "scan.h5")

    with pytest.warns(XanesumWarning, match="1 images repeat an energy"):
        merged = read_stack(tmp_path / "scan.h5", energies=[8300, 8301, 8301, 8302])

    np.testing.assert_allclose(merged["weight"].values, [0, 0.5, 1])
    np.testing.assert_allclose(merged.values[1], stack.values[1:3].mean(axis=0), rtol=1e-6)


def test_describe_reads_no_pixels(tmp_path, monkeypatch):
    write_stack(full_stack(), tmp_path / "scan.h5")
    monkeypatch.setattr(registry, "_values", None)  # what read_stack would call

    about = describe(tmp_path / "scan.h5")

    assert about["format"] == "xanesum"
    assert about["shape"] == (4, 5, 7)
    assert about["dtype"] == "float32"
    assert (about["energy_min_ev"], about["energy_max_ev"]) == (8300.0, 8303.75)
    assert (about["quantity"], about["pixel_size_nm"]) == ("counts", 31.2)
    assert "mask" in about["coordinates"]
    assert json.dumps(about)


def test_attributes_that_json_cannot_hold_are_named(tmp_path):
    stack = small_stack()
    stack.attrs["callback"] = print
    with pytest.warns(XanesumWarning, match="were not written: callback"):
        write_stack(stack, tmp_path / "scan.h5")
    assert "callback" not in read_stack(tmp_path / "scan.h5").attrs


def test_a_broken_stack_is_not_written(tmp_path):
    with pytest.raises(StackError, match="expected dimensions"):
        write_stack(small_stack().rename(x="z"), tmp_path / "scan.h5")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    with pytest.raises(
        WriteError, match=r"no format is known for the suffix '.npy'; use one of \.h5, .*\.tiff"
    ):
        write_stack(small_stack(), tmp_path / "scan.npy")


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def with_nan_energy(path):
    with h5py.File(path, "a") as file:
        file["entry/data/energy"][1] = np.nan


def without_energy_of_every_image(path):
    with h5py.File(path, "a") as file:
        del file["entry/data/energy"]
        file["entry/data/energy"] = [8300.0, 8301.0]


def with_two_axes(path):
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = np.ones((4, 5))


def with_a_mask_of_other_shape(path):
    with h5py.File(path, "a") as file:
        del file["entry/data/mask"]
        file["entry/data/mask"] = np.ones((2, 2), bool)
        file["entry/data/mask"].attrs["dims"] = ["y", "x"]


def with_strange_quantity(path):
    with h5py.File(path, "a") as file:
        file["entry/data/data"].attrs["xanesum_attrs"] = json.dumps({"quantity": "magic"})


def with_text_for_pixels(path):
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = np.full((4, 5, 7), b"x")


def with_a_claim_of_terabytes(path):
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        file["entry/data"].create_dataset("data", (10**4, 10**5, 10**5), "f4", chunks=(1, 100, 100))


def with_pixels_elsewhere(path):
    with h5py.File(path.parent.parent / "outside.h5", "w") as other:
        other["pixels"] = np.ones((4, 5, 7))
    with h5py.File(path, "a") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = h5py.ExternalLink("../outside.h5", "/pixels")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda p: cut(p, 0.9), ReadError, r"was cut short: \d+ of its \d+ bytes are there"),
        (lambda p: cut(p, 0.02), ReadError, "was cut short"),
        (lambda p: p.write_text("energy,counts\n1,2\n"), ReadError, r"is named \.h5 but its content is not"),
        (lambda p: p.unlink(), ReadError, "no such file"),
        (with_nan_energy, EnergyError, "1 of 4 energies are not finite"),
        (without_energy_of_every_image, EnergyError, "2 energies for 4 images"),
        (with_two_axes, ReadError, r"shape \(4, 5\); expected three axes"),
        (with_a_mask_of_other_shape, ReadError, r"mask has shape \(2, 2\)"),
        (with_strange_quantity, ReadError, "unknown quantity 'magic'"),
        (with_text_for_pixels, ReadError, "holds .S1, expected numbers"),
        (with_a_claim_of_terabytes, ReadError, "declares 400000000000000 bytes .* the file holds 0"),
        (with_pixels_elsewhere, ReadError, "refers to .* outside its folder"),
    ],
)
def test_a_bad_file_gives_one_line_that_names_it(tmp_path, spoil, error, message):
    (tmp_path / "in").mkdir()
    path = write_stack(full_stack(), tmp_path / "in" / "scan.h5")
    spoil(path)

    with pytest.raises(error, match=rf"scan\.h5: .*{message}") as caught:
        read_stack(path)

    assert "\n" not in str(caught.value)


def test_a_monitor_is_kept_and_a_coordinate_that_is_not_is_named(tmp_path):
    n_energies = small_stack().sizes["energy"]
    stack = small_stack().assign_coords(
        monitor=("energy", np.arange(n_energies) + 1.0), ring_current=("energy", np.ones(n_energies))
    )

    with pytest.warns(XanesumWarning, match="the native form cannot hold ring_current"):
        write_stack(stack, tmp_path / "scan.h5")

    np.testing.assert_array_equal(read_stack(tmp_path / "scan.h5").monitor, stack.monitor)
