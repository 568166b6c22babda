"""Texts in HDF5: read as they are; one that declares more than the file has takes no memory."""

import h5py
import numpy as np
import pytest

from xanesum.errors import ReadError
from xanesum.io.hdf5_text import stored_text


@pytest.mark.parametrize("value", ["NXstxm", "µm", "", "x" * 5000, np.bytes_("fixed"), 3.5, ["a", "b"]])
def test_values_are_read_as_they_are(tmp_path, value):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["text"] = value
    with h5py.File(tmp_path / "a.h5") as file:
        found, expected = stored_text(file["text"]), file["text"][()]
        assert np.array_equal(found, expected)


def test_a_text_that_declares_more_than_the_file_has_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["text"] = "NXstxm"
        start = file["text"].id.get_offset()
    content = bytearray((tmp_path / "a.h5").read_bytes())
    assert content[start : start + 4] == (6).to_bytes(4, "little")
    content[start : start + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.h5").write_bytes(content)
    with (
        h5py.File(tmp_path / "a.h5") as file,
        pytest.raises(ReadError, match=r"a text in it declares 4294967295 bytes that the file does not hold"),
    ):
        stored_text(file["text"])


def test_a_heap_that_hdf5_would_search_for_ever_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["text"] = "NXstxm"
    content = bytearray((tmp_path / "a.h5").read_bytes())
    free = content.index(b"NXstxm") + 8  # the object after the text is what is free of the heap
    assert content[free : free + 2] == b"\0\0"
    content[free + 8 : free + 16] = bytes(8)
    (tmp_path / "a.h5").write_bytes(content)
    with (
        h5py.File(tmp_path / "a.h5") as file,
        pytest.raises(ReadError, match="the place of a text in it is damaged"),
    ):
        stored_text(file["text"])
