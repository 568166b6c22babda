"""Every benchmark of speed runs with small stacks; no test judges by the clock."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import _common
import _once
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # other tests run at the same time
ALONE = ("speed_memory", "speed_run", "speed_versions")  # they kill processes, watch them or compare versions
PROGRAMS = sorted(path.stem for path in FOLDER.glob("speed*.py"))


def child_here(command):
    """Do the work of a child process in this one, which has everything imported: the same JSON comes back."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr("sys.argv", command[1:])
        runpy.run_path(command[1], run_name="__main__")
    return json.loads(printed.getvalue().strip().splitlines()[-1])


def saved_by(results, program):
    saved = json.loads((results / f"{program.replace('_', '-')}-quick.json").read_text("utf-8"))
    assert {"commit", "processor", "rows"} <= set(saved)
    assert saved["rows"]
    return saved["rows"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("program", [program for program in PROGRAMS if program not in ALONE])
def test_the_benchmark_of_speed_runs(program, tmp_path, monkeypatch):
    module = import_module(program)
    for each in (module, _once):
        monkeypatch.setattr(each, "child", child_here, raising=False)
    monkeypatch.setattr(_common, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "14")  # the program sets it: no longer than this test
    monkeypatch.setattr("sys.argv", [f"{program}.py", "--quick", "--folder", str(tmp_path)])

    module.main()

    saved_by(tmp_path / "results", program)
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]  # the temporary stacks are gone


@pytest.mark.parametrize("program", ALONE)
def test_the_benchmark_of_processes_runs(program, tmp_path):
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

    rows = saved_by(tmp_path / "results", program)
    if program == "speed_memory":
        changes = [row["differs by (of sigma)"] for row in rows if row["K"]]
        assert changes == [0, 0, 0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]  # the temporary stacks are gone
