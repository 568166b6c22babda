"""Every benchmark of speed runs with small stacks; no test judges by the clock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # other tests run at the same time


@pytest.mark.parametrize("program", sorted(path.stem for path in FOLDER.glob("speed*.py")))
def test_the_benchmark_of_speed_runs(program, tmp_path):
    if program == "speed_memory":
        pytest.importorskip("distributed", reason='needs pip install "xanesum[cluster]"')
    if program in ("speed_memory", "speed_run"):
        pytest.importorskip("zarr", reason='needs pip install "xanesum[dev]"')
    done = subprocess.run(
        [sys.executable, "-W", "ignore", FOLDER / f"{program}.py", "--quick", "--folder", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "XANESUM_RESULTS": str(tmp_path / "results"), **ONE_THREAD},
    )
    assert not done.returncode, done.stderr[-2000:]

    saved = json.loads((tmp_path / "results" / f"{program.replace('_', '-')}-quick.json").read_text("utf-8"))

    assert {"commit", "processor", "rows"} <= set(saved)
    if program == "speed_memory":
        changes = [row["differs by (of sigma)"] for row in saved["rows"] if row["K"]]
        assert changes == [0, 0, 0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]  # the temporary stacks are gone
