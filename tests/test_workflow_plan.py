"""Plans: the right order of magnitude, honest about memory, and nothing done."""

import json

import numpy as np
import psutil
import pytest

from xanesum import read_stack, simulate, write_stack
from xanesum.cli.main import main
from xanesum.phantom import expose
from xanesum.workflow.pipeline import run
from xanesum.workflow.plan import Rates, plan_run, predict

RATES = Rates(read=1e9, denoise=1e6, multiply=5e10)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    stack = simulate("particle", shape=(160, 200), n_energies=60).noisy(60.0, rng=np.random.default_rng(0))
    return write_stack(stack, tmp_path_factory.mktemp("plan") / "scan.h5")


def test_a_plan_grows_with_the_scan():
    small, larger, longer = (
        predict(shape, "optical_density", RATES, 1e10)
        for shape in ((100, 500, 500), (100, 1000, 1000), (400, 500, 500))
    )
    assert small.total < larger.total < 8 * small.total
    assert small.memory < longer.memory < 4 * small.memory
    assert larger.disk == pytest.approx(4 * small.disk)


def test_counts_take_more_than_density():
    counts, density = (predict((100, 500, 500), what, RATES, 1e10) for what in ("counts", "optical_density"))
    assert counts.total > density.total
    assert counts.memory > density.memory


@pytest.mark.parametrize("free", [1e8, 1e12])
def test_a_plan_says_whether_it_fits(free):
    assert predict((100, 500, 500), "optical_density", RATES, free).fits == (free > 1e9)


def test_what_does_not_fit_is_read_again_and_bounded_in_memory():
    within = predict((1000, 2048, 2048), "counts", RATES, 3e10, 2e9)
    held = predict((1000, 2048, 2048), "counts", RATES, 3e10, 1e12)

    assert not within.in_memory
    assert held.in_memory
    assert within.memory < 2.4e9 < held.memory
    assert within.meanwhile == 4.0 * 1000 * 2048**2
    assert within.total > held.total


def test_chunks_of_several_energies_take_room_on_the_disk():
    shape = (1000, 2048, 2048)
    counts = predict(shape, "counts", RATES, 3e10, 2e9, by_frames=False)
    density = predict(shape, "optical_density", RATES, 3e10, 2e9, by_frames=False)
    assert counts.meanwhile == 2 * density.meanwhile == 8.0 * 1000 * 2048**2


def test_the_command_says_that_a_scan_does_not_fit(tmp_path, capsys):
    phantom = simulate("particle", shape=(64, 80), n_energies=20)
    stack = expose(phantom, 400.0, rng=np.random.default_rng(0)).stack
    assert main(["plan", str(write_stack(stack, tmp_path / "s.h5")), "--memory", "1MB"]) == 0

    said = capsys.readouterr().out
    assert "does not fit in memory and is read again" in said
    assert "meanwhile" in said


def test_a_run_writes_about_what_the_plan_says(scan, tmp_path):
    planned = plan_run(scan)
    run(scan, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert planned.disk / 3 < written < planned.disk * 3


def test_planning_reads_little_and_writes_nothing(scan, capsys):
    before = sorted(scan.parent.iterdir())
    assert main(["plan", str(scan)]) == 0
    said = capsys.readouterr().out
    assert "60 energies, 160 x 200 px" in said
    assert "GB at most" in said
    assert sorted(scan.parent.iterdir()) == before


def test_a_plan_for_programs(scan, capsys):
    assert main(["plan", str(scan), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == [60, 160, 200]
    assert found["seconds"] == pytest.approx(sum(found["seconds_by_step"].values()))
    assert found["fits"] == (found["memory_bytes"] < found["free_memory_bytes"])


def test_too_little_memory_is_said_loudly(scan, capsys, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Little", (), {"available": 1e6})())
    assert main(["plan", str(scan)]) == 0
    assert "ONLY 0.0 GB are free" in capsys.readouterr().out


def test_a_scan_that_is_none_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "scan.h5").write_text("nothing")
    assert main(["plan", str(tmp_path / "scan.h5")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_counts_of_a_detector_are_planned_as_such(tmp_path):
    phantom = simulate("particle", shape=(64, 80), n_energies=20)
    exposed = expose(phantom, 400.0, rng=np.random.default_rng(0)).stack
    path = write_stack(exposed, tmp_path / "counts.h5")
    assert read_stack(path).attrs["quantity"] == "counts"
    assert plan_run(path).seconds["drift"] > 0
