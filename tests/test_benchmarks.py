"""The benchmark of speed runs, small; nothing here is judged by the clock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize("part", ["", "steps", "memory", "run", "watch", "plan"])
def test_the_benchmark_of_speed_runs(part, tmp_path):
    if part == "memory":
        pytest.importorskip("zarr", reason='needs pip install "xanesum[dev]"')
        pytest.importorskip("distributed", reason='needs pip install "xanesum[cluster]"')
    command = [sys.executable, "-W", "ignore", str(FOLDER / "speed.py"), "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, *([f"--{part}"] if part else [])],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "XANESUM_RESULTS": str(tmp_path / "results")},
    )
    assert not done.returncode, done.stderr[-2000:]

    (path,) = (tmp_path / "results").iterdir()
    saved = json.loads(path.read_text("utf-8"))

    assert {"commit", "processor", "rows"} <= set(saved)
    if part == "memory":
        changes = [row["differs by (of sigma)"] for row in saved["rows"] if row["K"]]
        assert changes == [0, 0, 0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]  # the stacks are gone
