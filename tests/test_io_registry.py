"""The reader is chosen by content first, then by suffix; what is unknown is refused with advice."""

import os
from importlib import import_module
from pkgutil import iter_modules

import h5py
import numpy as np
import pytest
from io_files import small_stack, write_xrm

import xanesum.io
from xanesum.errors import EnergyError, ReadError
from xanesum.io import describe, read_stack, registry, write_stack


@pytest.mark.parametrize("name", ["scan.dat", "scan.h5", "scan", "scan.xrm"])
def test_content_wins_over_the_name(tmp_path, name):
    write_stack(small_stack(), tmp_path / "source.tif").rename(tmp_path / name)
    assert describe(tmp_path / name)["format"] == "tiff"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scan.h5", r"named \.h5 but its content is not that of HDF5"),
        ("scan.xrm", r"named \.xrm but its content is not that of Zeiss"),
        ("scan.hdr", r"named \.hdr but its content is not that of aXis2000"),
        ("scan.abc", r"unknown format; known are \.h5, .*\.tiff.* and a folder of images"),
    ],
)
@pytest.mark.parametrize("content", [b"hello", bytes(9000)])
def test_unknown_content_is_refused(tmp_path, name, message, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=rf"{name}: .*{message}".replace(r"\.h5, ", r".*\.h5")):
        read_stack(tmp_path / name)


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(ReadError, match=r"nothing\.h5: no such file; check the name"):
        read_stack(tmp_path / "nothing.h5")
    with pytest.raises(ReadError, match="neither a Zarr store nor a folder of images"):
        read_stack(tmp_path)


def test_a_dataset_name_is_for_hdf5_only(tmp_path):
    write_stack(small_stack(), tmp_path / "scan.tif")
    with pytest.raises(ReadError, match=r"only HDF5 and Zarr have a dataset 'a', this is TIFF .*\(data=\)"):
        read_stack(tmp_path / "scan.tif", data="a")


def test_a_stack_too_large_for_memory_is_one_line(tmp_path, monkeypatch):
    path = write_xrm(tmp_path / "a_08300.0_eV_.xrm", small_stack((1, 4, 5)).values)

    def no_memory(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr("xanesum.io.xrm.np.frombuffer", no_memory)
    with pytest.raises(ReadError, match="does not fit in memory"):
        read_stack(path)


def test_every_reader_of_the_package_is_registered():
    modules = [import_module(f"xanesum.io.{found.name}") for found in iter_modules(xanesum.io.__path__)]
    defined = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    assert len(defined) == len(registry.FORMATS) >= 10
    assert all(each in registry.FORMATS for each in defined)


def test_every_format_says_what_it_is():
    names = [known.name for known in registry.FORMATS]
    assert len(set(names)) == len(names)
    assert all(known.description for known in registry.FORMATS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scan.hdf", b"\x0e\x03\x13\x01" + bytes(90), "is HDF4, not HDF5; convert it"),
        ("scan.h5", b"\x0e\x03\x13\x01" + bytes(90), "is HDF4, not HDF5"),
        ("scan.h5.gz", b"\x1f\x8b\x08" + bytes(90), "is compressed with gzip; unpack it first"),
        ("scan.tif", b"\x89PNG\r\n\x1a\n", "is a PNG picture"),
        ("scan_a000.xim", b"1 2 3\n", r"is one image of an aXis2000 stack; give the \.hdr"),
        ("energies.txt", b"# eV\n8300\n8301.5\n", "is a table of numbers, as a list of energies"),
        ("scan.h5", b"", "is empty: it has no bytes"),
        ("notes.txt", b"the night shift\nwas long\n", "unknown format; known are .*and a folder of images"),
    ],
)
def test_formats_that_are_not_read_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=message) as caught:
        describe(tmp_path / name)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.symlink("/dev/null", path)], ids=["pipe", "device"]
)
@pytest.mark.parametrize("name", ["scan.h5", "scan_energies.txt", "list.npy"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, make, name):
    write_stack(small_stack(), tmp_path / "scan.tif")
    (tmp_path / "scan_energies.txt").unlink()
    make(tmp_path / name)
    scan = tmp_path / ("scan.h5" if name == "scan.h5" else "scan.tif")
    with pytest.raises(ReadError, match=r"is (a pipe \(FIFO\)|a device), not a file of data"):
        read_stack(scan, energies=None if name == "scan.h5" else tmp_path / name)


def test_images_without_pixels_are_refused(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["img_xanes"], file["X_eng"] = np.ones((3, 16, 0)), [8.3, 8.31, 8.32]
    for look in (describe, read_stack):
        with pytest.raises(ReadError, match=r"(no pixels|empty|three axes)"):
            look(tmp_path / "scan.h5")


def test_only_formats_that_look_for_a_list_advise_to_put_one_there(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["stack"] = np.ones((3, 4, 5))
    with pytest.raises(EnergyError) as caught:
        read_stack(tmp_path / "scan.h5", data="stack")
    assert "put them" not in str(caught.value)
