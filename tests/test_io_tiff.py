"""TIFF stacks and maps: round trip, energies from text in every usual form, damaged files."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import xarray as xr
from io_files import real_data, small_stack

from xanesum.errors import (
    EnergyError,
    MissingExtraError,
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


# --- TIFF as other programs write it

SCAN = np.random.default_rng(6).random((5, 6, 8)).astype(np.float32)
AT = 8300.5 + np.arange(5)
GREY = {"photometric": "minisblack"}


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True},
        {"metadata": {"axes": "ZYX"}, "truncate": True},
        {"metadata": {"axes": "CYX"}, "ome": True},
        {"byteorder": ">"},
        {"byteorder": ">", "imagej": True, "truncate": True},
        {"bigtiff": True},
        {"compression": "zlib"},
        {"planarconfig": "separate"},
        {"rowsperstrip": 2, "metadata": None},
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_stacks_are_read_as_other_programs_write_them(tmp_path, monkeypatch, options, lazy):
    tifffile.imwrite(tmp_path / "a.tif", SCAN, **GREY, **options)
    monkeypatch.setattr(registry, "LAZY_BYTES", 0 if lazy else 2**28)
    stack = read_stack(tmp_path / "a.tif", energies=AT)
    np.testing.assert_array_equal(stack.values, SCAN)
    np.testing.assert_array_equal(stack[::-2, 1].values, SCAN[::-2, 1])
    assert describe(tmp_path / "a.tif")["dtype"] == "float32"


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "i8", "f2", "f8"])
def test_every_type_of_numbers_is_read(tmp_path, dtype):
    values = (50 * SCAN).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, **GREY)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", energies=AT).values, values)


def test_tiles_and_blocks_of_tiles_are_read(tmp_path):
    values = np.random.default_rng(1).random((16, 32, 48)).astype(np.float32)
    for name, tile in (("plane", (16, 16)), ("block", (16, 16, 16))):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, tile=tile, **GREY)
        np.testing.assert_array_equal(
            read_stack(tmp_path / f"{name}.tif", energies=8300.5 + np.arange(16)), values
        )


def test_images_that_were_added_one_after_the_other_are_one_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for image in SCAN:
            file.write(image, **GREY)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", energies=AT).values, SCAN)


def test_thumbnails_and_smaller_copies_are_left_out_with_a_word(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(SCAN, **GREY)
        file.write(SCAN[0, ::2, ::2], subfiletype=1, **GREY)
    with pytest.warns(XanesumWarning, match="smaller copies of the images were left out"):
        np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", energies=AT).values, SCAN)


def test_a_single_image_beside_the_stack_is_left_out_with_a_word(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(SCAN, **GREY)
        file.write(SCAN[0, :4], **GREY)
    with pytest.warns(XanesumWarning, match=r"also holds 4 x 8 \(y, x\), which were left out"):
        assert read_stack(tmp_path / "a.tif", energies=AT).shape == SCAN.shape


def test_an_ome_stack_in_several_files_stays_in_its_folder(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", SCAN, **GREY, metadata={"axes": "ZYX"})
    content = (tmp_path / "a.ome.tif").read_bytes()
    for name, message in (("../b.tif", "not in its own folder"), ("b.tif", "is missing; copy it here")):
        uuid = f'<UUID FileName="{name}"/>'.encode()
        there = content.index(b"<TiffData")
        end = content.index(b"/>", there)
        changed = content[:there] + uuid + b" " * (end + 2 - there - len(uuid)) + content[end + 2 :]
        assert len(changed) == len(content)
        (tmp_path / "a.ome.tif").write_bytes(changed)
        with pytest.raises(ReadError, match=message):
            read_stack(tmp_path / "a.ome.tif", energies=AT)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (SCAN.astype(np.complex64), GREY, "complex numbers"),
        (SCAN > 0.5, GREY, "images of 1 bit"),
        (
            (9 * SCAN).astype(np.uint8),
            {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
            "indices into a palette",
        ),
        (
            np.stack([SCAN, SCAN]),
            {"imagej": True, "metadata": {"axes": "CZYX"}},
            r"axes ZCYX with 5 x 2|axes CZYX",
        ),
        (np.stack([SCAN, SCAN]), GREY, "more than one scan over energies"),
        (
            (9 * SCAN[:3]).astype(np.uint8),
            {"photometric": "rgb", "planarconfig": "separate"},
            r"colours \(RGB\)",
        ),
    ],
)
def test_what_is_no_stack_of_grey_images_is_refused_by_name(tmp_path, values, options, message):
    if "imagej" in options:
        values = np.swapaxes(values, 0, 1)
        options = {"imagej": True, "metadata": {"axes": "ZCYX"}}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(ReadError, match=message) as caught:
        describe(tmp_path / "a.tif")
    assert "cut short" not in str(caught.value)


@pytest.mark.parametrize("compression", ["LZW", "ZSTD", "JPEG"])
def test_a_compression_that_takes_a_package_is_named(tmp_path, monkeypatch, compression):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    tifffile.imwrite(tmp_path / "a.tif", (99 * SCAN).astype(np.uint8), metadata=None, **GREY)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        for page in file.pages:
            at = page.tags["Compression"].valueoffset
            content[at : at + 2] = struct.pack("<H", tifffile.COMPRESSION[compression])
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(MissingExtraError, match=rf"compressed with {compression}; install imagecodecs"):
        describe(tmp_path / "a.tif")


def test_pixels_of_lzw_are_read_where_imagecodecs_is_installed(tmp_path):
    pytest.importorskip("imagecodecs")
    tifffile.imwrite(tmp_path / "a.tif", SCAN, compression="lzw", **GREY)
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", energies=AT).values, SCAN)


@pytest.mark.parametrize("options", [{"imagej": True}, {}])
def test_a_stack_behind_one_header_that_was_cut_short_is_refused(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", SCAN, truncate=True, metadata={"axes": "ZYX"}, **GREY, **options)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) - 2 * SCAN[0].nbytes])
    with pytest.raises(ReadError, match="cut short"):
        read_stack(tmp_path / "a.tif", energies=AT)


def test_labels_of_slices_and_names_of_channels_are_energies(tmp_path):
    labels = [f"scan_{energy:.2f}eV" for energy in AT]
    tifffile.imwrite(tmp_path / "a.tif", SCAN, imagej=True, metadata={"axes": "ZYX", "Labels": labels})
    channels = {"axes": "CYX", "Channel": {"Name": [f"{energy} eV" for energy in AT]}}
    tifffile.imwrite(tmp_path / "b.ome.tif", SCAN, metadata=channels, **GREY)
    for name in ("a.tif", "b.ome.tif"):
        stack = read_stack(tmp_path / name)
        np.testing.assert_array_equal(stack.energy, AT)
        assert "energies from the labels of the images" in stack.attrs["history"]
    np.savetxt(tmp_path / "a_energies.txt", AT + 1)  # a list beside the file comes first
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif").energy, AT + 1)


def test_a_bad_list_beside_the_stack_does_no_harm_where_another_is_given(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", SCAN, **GREY)
    (tmp_path / "a.txt").write_text("notes of the night shift")
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", energies=AT).energy, AT)
    with pytest.raises(ReadError, match=r"a\.txt: no rows"):
        read_stack(tmp_path / "a.tif")


def test_a_single_image_has_the_energy_in_its_name(tmp_path):
    tifffile.imwrite(tmp_path / "cell_08340.50_eV.tif", SCAN[0])
    assert read_stack(tmp_path / "cell_08340.50_eV.tif").energy.values == [8340.5]


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}"><Image ID="Image:0">
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="float" SizeX="8" SizeY="6" SizeZ="5" SizeC="1" SizeT="1">
<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>"""
PLANE = """<TiffData FirstZ="{z}" IFD="{page}" PlaneCount="1">
<UUID FileName="{name}">urn:uuid:{uuid}</UUID></TiffData>"""


def test_an_ome_stack_in_two_files_is_one_stack(tmp_path):
    parts = [("a.ome.tif", "a" * 8, slice(0, 3)), ("b.ome.tif", "b" * 8, slice(3, 5))]
    planes = "".join(
        PLANE.format(z=z, page=z - part.start, name=name, uuid=uuid)
        for name, uuid, part in parts
        for z in range(part.start, part.stop)
    )
    for name, uuid, part in parts:
        text = OME.format(own=uuid, planes=planes)
        tifffile.imwrite(tmp_path / name, SCAN[part], description=text, metadata=None, **GREY)
    for name in ("a.ome.tif", "b.ome.tif"):
        np.testing.assert_array_equal(read_stack(tmp_path / name, energies=AT).values, SCAN)
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(ReadError, match=r"'b\.ome\.tif' is a part of the stack, but is missing"):
        describe(tmp_path / "a.ome.tif")


def test_a_stack_with_fewer_pages_than_its_header_declares_opens_with_them(tmp_path):
    description = "ImageJ=1.53t\nimages=9\nslices=9\nloop=false\n"
    tifffile.imwrite(tmp_path / "a.tif", SCAN, description=description, metadata=None, **GREY)
    with pytest.warns(XanesumWarning, match="was to have 9 images, and 5 are there"):
        np.testing.assert_array_equal(read_stack(tmp_path / "a.tif", energies=AT).values, SCAN)


def test_tiles_that_are_not_stored_are_no_damage(tmp_path):
    values = np.zeros((3, 32, 32), np.float32)
    values[:, :16, :16] = SCAN[:3, :1, :1] + 1
    tifffile.imwrite(tmp_path / "a.tif", values, tile=(16, 16), metadata=None, **GREY)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        for page in file.pages:
            for tag in ("TileOffsets", "TileByteCounts"):
                entry = page.tags[tag]
                size = entry.valuebytecount // entry.count
                start = entry.valueoffset + size
                content[start : start + 3 * size] = bytes(3 * size)
    (tmp_path / "a.tif").write_bytes(content)
    stack = read_stack(tmp_path / "a.tif", energies=AT[:3])
    np.testing.assert_array_equal(stack.values, values)


def test_names_in_capitals_are_found(tmp_path):
    tifffile.imwrite(tmp_path / "SCAN.TIF", SCAN, **GREY)
    np.savetxt(tmp_path / "SCAN_ENERGIES.TXT", AT)
    np.testing.assert_array_equal(read_stack(tmp_path / "SCAN.TIF").energy, AT)
