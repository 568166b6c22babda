"""TIFF stacks and maps: round trip, energies from text in every usual form, damaged files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import xarray as xr
from io_files import real_data, small_stack

from xanesum.errors import (
    EnergyError,
    ReadError,
    StackError,
    WriteError,
    XanesumWarning,
)
from xanesum.io import describe, read_stack, registry, write_map_tiff, write_stack
from xanesum.io.text import read_table


def test_round_trip_keeps_pixels_energies_quantity_and_pixel_size(tmp_path):
    stack = small_stack(quantity="transmission", pixel_size_nm=20.5)
    stack = stack.assign_coords(energy=stack.energy + 1 / 3)  # not a short decimal
    write_stack(stack, tmp_path / "scan.tif")

    again = read_stack(tmp_path / "scan.tif")

    xr.testing.assert_equal(again, stack)
    assert (again.attrs["quantity"], again.attrs["pixel_size_nm"]) == ("transmission", 20.5)
    assert (tmp_path / "scan_energies.txt").exists()


def test_other_programs_see_one_float32_page_per_energy(tmp_path):
    stack = small_stack(dtype=np.float64)
    with pytest.warns(XanesumWarning, match="cannot hold values beyond the precision of float32; the native"):
        write_stack(stack, tmp_path / "scan.tiff")

    pages = tifffile.imread(tmp_path / "scan.tiff")

    np.testing.assert_array_equal(pages, stack.values.astype(np.float32))
    assert pages.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 1, 4), (2, 4, 3)])
def test_awkward_shapes_come_back(tmp_path, shape):
    stack = small_stack(shape)
    write_stack(stack, tmp_path / "scan.tif")
    xr.testing.assert_equal(read_stack(tmp_path / "scan.tif"), stack)


def test_a_large_stack_is_read_page_by_page(tmp_path, monkeypatch):
    stack = small_stack((6, 5, 7))
    write_stack(stack, tmp_path / "scan.tif")
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)

    lazy = read_stack(tmp_path / "scan.tif")

    assert not isinstance(lazy.variable._data, np.ndarray)
    for key in [(2,), (slice(5, 0, -2), 3), (slice(3, 3),), (slice(None), 1, 2)]:
        np.testing.assert_array_equal(lazy[key].values, stack[key].values)


def test_counts_of_an_unsigned_camera_carry_their_saturation(tmp_path):
    tifffile.imwrite(tmp_path / "scan.tif", np.full((3, 4, 5), 9, np.uint16), photometric="minisblack")
    stack = read_stack(tmp_path / "scan.tif", energies=[8300, 8301, 8302])
    assert stack.attrs["quantity"] == "counts"
    assert stack.attrs["saturation_counts"] == 65535
    assert stack.dtype == np.float32


@pytest.mark.parametrize(
    "text",
    [
        "8300\n8301.5\n8302\n",
        "# energy (eV)\n8300 0.1\n8301.5 0.2 # edge\n\n8302 0.3\n",
        "energy,mu\n8300,0.1\n8301.5,0.2\n8302,0.3\n",
        "Energy (eV)\tcounts\r\n8300\t1\r\n8301.5\t2\r\n8302\t3\r\n",
        "\ufeffscan 7\nenergy; I0\n8300;1\n8301.5;2\n8302;3\n",
    ],
    ids=["plain", "comments", "csv with header", "tabs and CRLF", "header that starts with a word"],
)
def test_energies_are_read_from_text_in_its_usual_forms(tmp_path, text):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(read_table(tmp_path / "list.txt")[:, 0], [8300, 8301.5, 8302])


def test_energies_in_kev_are_converted_with_a_word(tmp_path):
    write_stack(small_stack((3, 4, 5)), tmp_path / "scan.tif")
    (tmp_path / "scan_energies.txt").unlink()
    (tmp_path / "scan.txt").write_text("8.300\n8.301\n8.302\n")
    with pytest.warns(XanesumWarning, match="taken for keV"):
        stack = read_stack(tmp_path / "scan.tif")
    np.testing.assert_allclose(stack.energy, [8300, 8301, 8302])


def test_a_map_keeps_its_values_and_its_nan(tmp_path):
    energies = np.array([[8340.05, np.nan, 8341.8]])
    path = write_map_tiff(energies, tmp_path / "map.tif")
    np.testing.assert_array_equal(tifffile.imread(path), energies.astype(np.float32))


def test_a_map_has_two_axes(tmp_path):
    with pytest.raises(StackError, match=r"two axes \(y, x\), got shape \(2, 3, 4\)"):
        write_map_tiff(np.ones((2, 3, 4)), tmp_path / "map.tif")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, EnergyError, r"scan\.tif: no photon energies for its 4 images; .*scan_energies\.txt"),
        ("8300\n8301\n8302\n", EnergyError, r"scan\.tif: 3 energies for 4 images"),
        ("8300\n8301\nnan\n8303\n", EnergyError, r"scan\.tif: 1 of 4 energies are not finite"),
        (
            "8300\n8301\noops\n8303\n",
            ReadError,
            r"scan_energies\.txt: line 3 is not a row of numbers: 'oops'",
        ),
        ("no numbers\n", ReadError, r"scan_energies\.txt: no rows with 1 number"),
        ("\0\1\2", ReadError, r"scan_energies\.txt: expected a text file"),
    ],
)
def test_bad_energies_are_refused(tmp_path, text, error, message):
    write_stack(small_stack(), tmp_path / "scan.tif")
    (tmp_path / "scan_energies.txt").unlink()
    if text is not None:
        (tmp_path / "scan_energies.txt").write_text(text)
    with pytest.raises(error, match=message):
        read_stack(tmp_path / "scan.tif")


@pytest.mark.parametrize("energies", [["a", "b"], object()])
def test_energies_that_are_no_numbers_are_refused(tmp_path, energies):
    write_stack(small_stack((2, 3, 4)), tmp_path / "scan.tif")
    with pytest.raises(EnergyError, match="must be numbers or the path of a text file"):
        read_stack(tmp_path / "scan.tif", energies=energies)


@pytest.mark.parametrize("share", [0.002, 0.2, 0.6, 0.97])
def test_a_truncated_tiff_is_refused_in_one_line(tmp_path, share):
    path = write_stack(small_stack((6, 20, 30)), tmp_path / "scan.tif")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ReadError, match=r"scan\.tif: ") as caught:
        read_stack(path)
    assert "\n" not in str(caught.value)


def test_pages_of_different_size_or_colour_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as file:
        for size in (4, 5):
            file.write(np.ones((size, 6), np.float32), photometric="minisblack")
    tifffile.imwrite(tmp_path / "colour.tif", np.ones((8, 9, 3), np.uint8), photometric="rgb")
    for name in ("mixed.tif", "colour.tif"):
        with pytest.raises(ReadError, match=rf"{name}: .*expected grey images of one size"):
            read_stack(tmp_path / name, energies=[1000, 1001])


def test_i0_for_something_else_than_counts_is_refused(tmp_path):
    write_stack(small_stack(), tmp_path / "scan.tif")
    with pytest.raises(StackError, match="holds optical_density, but an I0 spectrum is for counts"):
        read_stack(tmp_path / "scan.tif", i0=tmp_path / "i0.txt")


def test_real_fluorescence_stack_of_hxn():
    folder = real_data("hxn_fe_k_tiff")

    stack = read_stack(folder / "Site4um.tiff", energies=folder / "tmp_data.txt")

    assert stack.shape == (57, 91, 95)
    assert stack.attrs["quantity"] == "intensity"
    assert stack.energy.values[[0, -1]] == pytest.approx([7092.584, 7173.23], abs=1e-3)
    assert float(stack[-10:].mean() / stack[:5].mean()) > 10  # Fe fluorescence starts at the edge
    assert describe(folder / "Site4um.tiff")["energy_min_ev"] is None


@pytest.mark.parametrize(
    "text",
    ["7100,25\t1000\n7100,5\t1000", "7100,25;3,5\n7100,50;4,5", "7100,25 1,0\n7100,5 2,0"],
    ids=["tab", "semicolon", "blank"],
)
def test_decimal_commas_are_read_where_they_can_be_nothing_else(tmp_path, text):
    (tmp_path / "energies.txt").write_text(text)

    np.testing.assert_array_equal(read_table(tmp_path / "energies.txt")[:, 0], [7100.25, 7100.5])


@pytest.mark.parametrize(
    "text", ["7100.25,1000\n7100.5,1000", "7100.25, 1000, 3\n7100.5, 1000, 3", "\ufeff7100.25\n7100.5"]
)
def test_commas_between_columns_and_a_byte_order_mark(tmp_path, text):
    (tmp_path / "energies.txt").write_text(text, "utf-8")

    np.testing.assert_array_equal(read_table(tmp_path / "energies.txt")[:, 0], [7100.25, 7100.5])


def test_a_comma_that_may_be_both_is_refused(tmp_path):
    (tmp_path / "energies.txt").write_text("7100,25\n7100,50\n")

    with pytest.raises(ReadError, match="'7100,25' may be one number with a decimal comma, or two"):
        read_table(tmp_path / "energies.txt")
    np.testing.assert_array_equal(
        read_table(tmp_path / "energies.txt", min_columns=2), [[7100, 25], [7100, 50]]
    )


def test_pixels_and_energies_change_together_or_not_at_all(tmp_path, monkeypatch):
    write_stack(small_stack(), tmp_path / "pair.tif")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    whole = Path.replace

    def fails_for_the_text(self, target):
        if Path(target).name == "pair_energies.txt" and ".before" not in self.name:
            raise OSError(28, "No space left on device")
        return whole(self, target)

    monkeypatch.setattr(Path, "replace", fails_for_the_text)
    with pytest.raises(WriteError, match="no space left"):
        write_stack(small_stack()[:3], tmp_path / "pair.tif")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_compressed_page_is_one_line(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((3, 40, 40), np.uint16), compression="deflate", photometric="minisblack"
    )
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start = file.pages[1].dataoffsets[0]
    content[start : start + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.tif").write_bytes(content)

    with pytest.raises(ReadError, match="cannot be read"):
        read_stack(tmp_path / "a.tif", energies=[1000.0, 1001.0, 1002.0])
