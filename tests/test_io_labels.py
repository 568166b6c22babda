"""Images of labels from TIFF, NumPy and HDF5 files."""

import h5py
import numpy as np
import pytest
import tifffile

from xanesum.errors import ReadError
from xanesum.io import labels as io_labels
from xanesum.io.labels import read_labels

LABELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def written(tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"
    if suffix == ".npy":
        np.save(path, LABELS)
    elif suffix == ".tif":
        tifffile.imwrite(path, LABELS)
    else:
        with h5py.File(path, "w") as file:
            file["entry/labels"] = LABELS
    return path


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".h5"])
def test_labels_are_read(tmp_path, suffix):
    np.testing.assert_array_equal(read_labels(written(tmp_path, suffix)), LABELS)


def test_one_of_several_images_is_named_after_a_colon(tmp_path):
    path = written(tmp_path, ".h5")
    with h5py.File(path, "a") as file:
        file["other"] = LABELS + 1

    with pytest.raises(ReadError, match=r"as labels.h5:NAME; there are .*other"):
        read_labels(path)
    np.testing.assert_array_equal(read_labels(f"{path}:/entry/labels"), LABELS)
    with pytest.raises(ReadError, match="no image of numbers nothing"):
        read_labels(f"{path}:nothing")


def test_a_stack_is_no_image_of_labels(tmp_path):
    np.save(tmp_path / "stack.npy", np.zeros((2, 3, 4)))
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((2, 3, 4), np.float32), photometric="minisblack")

    for name in ("stack.npy", "stack.tif"):
        with pytest.raises(ReadError, match=r"expected (an|one) image"):
            read_labels(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".h5"])
def test_a_large_image_is_refused_before_it_is_read(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(io_labels, "LARGEST_IMAGE", 11)
    monkeypatch.setattr(io_labels.tifffile.TiffFile, "asarray", lambda *_: pytest.fail("it is read"))

    with pytest.raises(ReadError, match="too large for labels"):
        read_labels(written(tmp_path, suffix))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReadError, match=r"none\.tif"):
        read_labels(tmp_path / "none.tif")
