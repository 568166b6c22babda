"""Output files are whole or not there, whatever interrupts the writing."""

import errno
import itertools
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import tifffile
from io_files import small_stack

from xanesum.errors import ReadError, WriteError
from xanesum.io import hdf5_coords, write_map_tiff, write_stack, writing
from xanesum.storage.atomic import atomic_path, replace_all


def test_the_file_appears_at_the_end_and_the_temporary_one_is_gone(tmp_path):
    with atomic_path(tmp_path / "out.txt") as temporary:
        temporary.write_text("whole")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        assert not (tmp_path / "out.txt").exists()

    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "whole"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, interruption):
    (tmp_path / "out.txt").write_text("old")

    def write_half():
        with atomic_path(tmp_path / "out.txt") as temporary:
            temporary.write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write_half()

    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "old"


def test_a_read_error_during_writing_stays_a_read_error(tmp_path):
    with pytest.raises(ReadError, match="source is gone"), atomic_path(tmp_path / "out.txt"):
        raise ReadError("source is gone")


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(WriteError, match=r"nowhere/out\.txt: cannot write there .*choose another"),
        atomic_path(tmp_path / "nowhere" / "out.txt"),
    ):
        pass


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "out.h5").mkdir()
    with pytest.raises(WriteError, match="is a folder; give the name of a file"):
        write_stack(small_stack(), tmp_path / "out.h5")


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_the_file_has_the_permissions_of_an_ordinary_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_path(tmp_path / "out"):
        pass

    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "out")}
    assert len(modes) == 1


@pytest.mark.parametrize("name", ["out.h5", "out.tif"])
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), WriteError, "no space left on the device"),
        (OSError("Can't write data (No space left on device)"), WriteError, "no space left on the device"),
        (RuntimeError("Unable to close file\nand more"), WriteError, "Unable to close file"),
        (KeyboardInterrupt("pressed"), KeyboardInterrupt, "pressed"),
    ],
    ids=["disk full", "disk full as h5py says it", "failed close", "Ctrl-C"],
)
def test_failure_half_way_through_a_stack_leaves_no_file(
    tmp_path, monkeypatch, name, error, expected, message
):
    def two_frames(stack, **_options):
        for e in range(2):
            yield slice(e, e + 1), slice(0, stack.shape[1]), stack[e : e + 1].values
        raise error

    for module in (hdf5_coords, writing):
        monkeypatch.setattr(module, "blocks", two_frames)

    with pytest.raises(expected, match=message) as caught:
        write_stack(small_stack(), tmp_path / name)

    assert list(tmp_path.iterdir()) == []
    assert "\n" not in str(caught.value)


def test_a_map_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(WriteError, match=r"map\.tif: writing failed .*nothing was written"):
        write_map_tiff(np.ones((3, 4)), tmp_path / "map.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("failing_rename", range(5))
def test_several_files_change_together_or_not_at_all(tmp_path, monkeypatch, failing_rename, error):
    """Two targets that exist and a new one: five renames, each of which may fail."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"old {name}")
    moves = [(tmp_path / f"new {name}", tmp_path / name) for name in "abc"]
    for temporary, _ in moves:
        temporary.write_text(temporary.name)
    rename, calls = Path.replace, itertools.count()

    def fails_once(self, target):
        if next(calls) == failing_rename:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fails_once)
    with pytest.raises(error):
        replace_all(moves)

    assert [(tmp_path / name).read_text() for name in "ab"] == ["old a", "old b"]
    assert not (tmp_path / "c").exists()
