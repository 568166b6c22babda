"""Plans: the predicted numbers, honest about memory, and nothing done."""

import json
import re

import numpy as np
import psutil
import pytest
from scipy.ndimage import gaussian_filter

from xanesum import denoise, read_stack, simulate, write_stack
from xanesum.cli.main import main
from xanesum.phantom import expose
from xanesum.stack import make_stack
from xanesum.workflow.pipeline import run
from xanesum.workflow.plan import Rates, denoiser_calls, plan_run, predict
from xanesum.workflow.recipe import DEFAULT_RECIPE

RATES = Rates(read=1e9, denoise=1e6, multiply=5e10)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    stack = simulate("particle", shape=(160, 200), n_energies=60).noisy(60.0, rng=np.random.default_rng(0))
    return write_stack(stack, tmp_path_factory.mktemp("plan") / "scan.h5")


class Counting:
    """A denoiser that counts the images of one size that it is given."""

    name, device, extra = "counting", "cpu", None
    uses_sigma, takes_sigma_map = True, False

    def __init__(self, shape):
        self.shape, self.n_images = shape, 0

    def denoise(self, images, sigma, *, mask=None):
        if images.shape[1:] == self.shape:
            self.n_images += len(images)
        return np.stack([gaussian_filter(image, 1.0) for image in images])


def test_the_numbers_of_a_plan_are_those_of_a_hand_computation():
    """100 energies of 500 x 500 px: 25e6 values, 1e8 bytes, 250 000 px, 62 500 averages over 2 x 2 px."""
    density = predict((100, 500, 500), "optical_density", RATES, 1e10)
    counts = predict((100, 500, 500), "counts", RATES, 1e10)

    spectra = 2 * 62_500 * 100**2 / 5e10 + 3 * 10 * 100**3 / 5e10 + 16 * 62_500 / 1e6
    report = 25e6 * 12e-9 + 250_000 * 8e-6 + 3.5
    images = 1 + 7 * 4 * 250_000 / 1e6  # 4 views and 3 probes (600 000 probed px), 4 components
    assert density.seconds == pytest.approx(
        {
            "read": 1e8 / 1e9,
            "prepare": 25e6 * 35e-9 + 100 * 5e-4,
            "drift": 0.0,
            "spectra and noise": spectra + 100 * 6e-4,
            "images": images,
            "map, residual, report": report,
            "write": 25e6 * 8e-9,
        }
    )
    assert counts.seconds["drift"] == pytest.approx(2 * spectra + 64 * 62_500 / 1e6 + 2)
    assert counts.seconds["images"] == pytest.approx(1 + (7 + 1) * 8 * 250_000 / 1e6)
    assert counts.seconds["prepare"] == pytest.approx(25e6 * 60e-9 + 100 * 5e-4)
    matrices = 8 * 8 * 100**2
    assert density.memory == pytest.approx(8e8 + 1.3e8 + 4 * 140 * 250_000 + matrices)
    assert counts.memory - density.memory == pytest.approx(1e8)  # one more stack
    assert density.disk == counts.disk == pytest.approx(1e8 + 60 * 250_000)


@pytest.mark.parametrize(
    ("shape", "calls"),
    [((340, 341), 8), ((500, 501), 7), ((550, 600), 6), ((640, 641), 4), ((800, 801), 3), ((1000, 1001), 2)],
)
def test_the_denoiser_is_called_as_often_as_planned(shape, calls):
    """Larger than the averages in which the spectra are sought, so that images of full size can be told."""
    rng = np.random.default_rng(0)
    thickness = gaussian_filter(rng.standard_normal((2, *shape)), (0, 40, 40)) * 100
    clean = np.tensordot(np.stack([np.linspace(1, 2, 6), np.linspace(2, 1, 6) ** 2], axis=1), thickness, 1)
    stack = make_stack((clean + rng.standard_normal(clean.shape)).astype(np.float32), 8300.0 + np.arange(6))
    counting = Counting(shape)

    denoise(stack, denoiser=counting, rank=2, sigma=1.0, noise="white")

    assert denoiser_calls(shape[0] * shape[1]) == calls
    assert counting.n_images == 2 * calls


@pytest.mark.parametrize("quantity", ["counts", "transmission", "optical_density"])
@pytest.mark.parametrize("memory", [np.inf, 1e8])
def test_every_step_grows_with_the_scan(quantity, memory):
    small, larger, longer = (
        predict(shape, quantity, RATES, 1e10, memory)
        for shape in ((100, 500, 500), (100, 1000, 1000), (400, 500, 500))
    )

    in_averages = {"spectra and noise", "drift"}  # there are about as many, however large the images are
    for bigger, those in ((larger, small.seconds.keys() - in_averages), (longer, small.seconds.keys())):
        assert all(small.seconds[step] <= bigger.seconds[step] for step in those)
        assert small.total < bigger.total < 8 * small.total
        assert small.memory <= bigger.memory < 4 * small.memory
        assert small.meanwhile <= bigger.meanwhile
    assert larger.disk == pytest.approx(4 * small.disk)
    assert longer.disk - small.disk == pytest.approx(300 * 4 * 500**2)


@pytest.mark.parametrize("step", ["read", "images", "spectra and noise"])
def test_a_machine_twice_as_fast_halves_what_depends_on_it(step):
    slow, fast = (
        predict((100, 500, 500), "counts", rates, 1e10).seconds[step]
        for rates in (RATES, Rates(2 * RATES.read, 2 * RATES.denoise, 2 * RATES.multiply))
    )
    fixed = {"images": 1.0, "spectra and noise": 100 * 6e-4}.get(step, 0.0)
    assert fast - fixed == pytest.approx((slow - fixed) / 2)


def test_very_many_energies_of_few_pixels_cost_by_the_pixels():
    """A run took 21 s of one core, and 1.2 GB; matrices (E, E) would take 6 GB, and minutes."""
    plan = predict((10_000, 4, 4), "optical_density", RATES, 1e10)

    assert 21 / 1.5 < plan.total < 21 * 1.5
    assert 1.2e9 / 1.5 < plan.memory < 1.2e9 * 1.5


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
    quick = DEFAULT_RECIPE.updated({"align": {"shifts": "none"}, "denoise": {"denoiser": "wavelet"}})
    run(scan, tmp_path / "out", recipe=quick)
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert planned.disk / 3 < written < planned.disk * 3


def test_planning_reads_little_and_writes_nothing(scan, capsys):
    before = sorted(scan.parent.iterdir())
    assert main(["plan", str(scan)]) == 0
    said = capsys.readouterr().out
    assert "60 energies, 160 x 200 px" in said
    assert re.search(r"memory    about [\d.]+ GB, with the program itself", said)
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
