"""Three hundred damaged files of every format: one line and an exit code, and nothing left behind."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzz_files import KINDS
from io_files import small_stack

from xanesum.io import write_stack

COUNT, SEED = 300, 23
MOST_BYTES = 1e9  # more memory than before the first damaged file
HELPER = Path(__file__).with_name("fuzz_files.py")


def test_damaged_files_are_an_exit_code_and_one_line(tmp_path):
    """A process of its own does the work: a crash or an endless loop in a library shows as the last one."""
    command = [sys.executable, str(HELPER), str(tmp_path), str(COUNT), str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = done.stdout.splitlines()
    begun = [line.split() for line in lines if line.startswith("begin")]
    ended = [line.split(maxsplit=3) for line in lines if line.startswith("end")]
    last = " ".join(begun[-1]) if begun else "nothing"
    assert done.returncode == 0, f"after {last}: {done.stderr[-2000:]}"
    problems = [f"{' '.join(b)}: {e[3]}" for b, e in zip(begun, ended, strict=True) if len(e) > 3]
    assert not problems
    assert len(ended) == COUNT
    assert {b[2] for b in begun} == {kind.__name__ for kind in KINDS}
    refused = sum(e[2] == "1" for e in ended)
    assert COUNT / 4 < refused < 3 * COUNT / 4  # the damage is neither too small nor too large
    assert float(lines[-1].removeprefix("memory ")) < MOST_BYTES
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize("suffix", [".h5", ".tif"])
def test_the_whole_command_says_one_line(tmp_path, suffix):
    path = write_stack(small_stack((6, 20, 30)), tmp_path / f"scan{suffix}")
    content = bytearray(path.read_bytes())
    for at in np.random.default_rng(SEED).integers(4, 400, 60):
        content[at] = 0xFF
    path.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    command = [sys.executable, "-m", "xanesum", "run", str(path), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("xanesum: error: ")
    assert sorted(tmp_path.iterdir()) == before
