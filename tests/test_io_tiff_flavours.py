"""TIFF as other programs write it: stacks of ImageJ, OME-TIFF, tiles, compression, labels of slices."""

import struct

import numpy as np
import pytest
import tifffile

from xanesum.errors import (
    MissingExtraError,
    ReadError,
    XanesumWarning,
)
from xanesum.io import describe, read_stack, registry

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
def test_a_compression_that_takes_a_package_is_named(tmp_path, without_imagecodecs, compression):
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
