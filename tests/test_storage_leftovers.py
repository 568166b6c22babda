"""What a killed run has left is removed by the next one; what is in use, or not ours, stays."""

import os
import signal
import subprocess
import sys

import pytest

from xanesum.storage.atomic import atomic_path, new_folder, staged_folder
from xanesum.storage.leftovers import remove_leftovers, temporary_name

KILLED = """
import time
from pathlib import Path
from xanesum.storage.atomic import atomic_path, staged_folder

with staged_folder(Path("out")) as folder, atomic_path("map.h5") as file:
    (folder / "clean.h5").write_bytes(b"half of it")
    print("working", flush=True)
    time.sleep(60)
"""


def killed(folder):
    """Let a process work in a folder, and return it."""
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, cwd=folder)
    assert process.stdout.readline() == b"working\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
@pytest.mark.parametrize("exists", [True, False])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path, exists):
    out = tmp_path / "out"
    if exists:
        out.mkdir()
        (out / ".out.mine").mkdir()
    process = killed(tmp_path)
    try:
        place = out if exists else tmp_path
        before = set(place.iterdir())
        new_folder(place, "out").rmdir()
        assert set(place.iterdir()) == before  # it still runs
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    with staged_folder(out) as folder, atomic_path(tmp_path / "map.h5") as file:
        (folder / "clean.h5").write_bytes(b"all")
        file.write_bytes(b"all")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.h5", "out"]
    assert sorted(path.name for path in out.iterdir()) == [".out.mine"] * exists + ["clean.h5"]


def test_names_of_others_stay(tmp_path):
    other_computer = temporary_name("out").replace(temporary_name("out").split(".")[2].split("-")[0], "0" * 8)
    names = [".out", ".out.abc", ".other.0-1-2-aabbcc", temporary_name("out"), other_computer]
    for name in names:
        (tmp_path / name).mkdir()

    remove_leftovers(tmp_path, "out")
    remove_leftovers(tmp_path / "none", "out")

    assert {path.name for path in tmp_path.iterdir()} == set(names)
