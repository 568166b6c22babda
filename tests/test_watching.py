"""A scan followed while it is written: frames as they are complete, maps meanwhile, all of it at the end."""

import shutil
import threading
import time

import numpy as np
import pytest
import tifffile
from io_files import write_ssrl

from xanesum.cli import main
from xanesum.errors import ReadError, RecipeError, StackError
from xanesum.io import read_stack, write_stack
from xanesum.phantom import expose, simulate
from xanesum.pipeline import run
from xanesum.preprocess import to_optical_density
from xanesum.recipe import DEFAULT_RECIPE
from xanesum.stack import make_stack
from xanesum.watching import arrivals, watch

PHANTOM = simulate("particle", shape=(48, 64), n_energies=40)
EXPOSED = expose(PHANTOM, 2000.0, flat_drift=0.0, rng=np.random.default_rng(3)).stack
RECIPE = DEFAULT_RECIPE.updated({"denoise": {"denoiser": "wavelet"}})
AT_ONCE = {"settled_s": 0.0, "recipe": RECIPE}
pytestmark = pytest.mark.filterwarnings("ignore::xanesum.errors.XanesumWarning")


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Reports have their own tests, and take seconds each; here one is enough."""
    if "capsys" not in request.fixturenames:
        monkeypatch.setattr("xanesum.pipeline.write_report", lambda path, *_, **__: path.write_text("report"))


@pytest.fixture
def flat(tmp_path):
    path = tmp_path / "flat.tif"
    tifffile.imwrite(path, EXPOSED["flat"].values.astype(np.float32))
    return path


def write_frames(folder, chosen, *, name="scan_{:.2f}eV.tif"):
    """Write frames as single files, later energies first."""
    folder.mkdir(exist_ok=True)
    for e in reversed(chosen):
        tifffile.imwrite(folder / name.format(EXPOSED.energy.values[e]), EXPOSED.values[e].astype(np.uint16))


def test_a_whole_scan_gives_what_a_run_gives(tmp_path, flat):
    write_frames(tmp_path / "scan", range(40))
    said = []

    watched = watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=40, tell=said.append, **AT_ONCE)

    assert watched.n_frames == len(watched.seconds) == 40
    assert watched.refreshed[-1] == 40
    assert max(np.diff([0, *watched.refreshed])) <= 12  # as many as the first result needs
    assert sum(line.startswith("frame") for line in said) == 40
    assert watched.left_out == 0
    assert (tmp_path / "out" / "clean.h5").exists()
    assert watched.last.report.exists()
    np.testing.assert_allclose(watched.factors.energy_ev, EXPOSED.energy, atol=0.006)


def test_frames_wait_in_their_files_while_a_map_is_made(tmp_path, flat, monkeypatch):
    write_frames(tmp_path / "scan", range(40))
    most, slow = [0], []

    def make(self, *, last):
        slow.append(len(self.scan))
        time.sleep(0 if last else 0.3)
        most[0] = max(most[0], len(self.scan) - slow[-1])

    monkeypatch.setattr("xanesum.watching._Watch.make", make)
    monkeypatch.setattr("xanesum.watching._Watch.finish_map", finish)

    watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=40, **AT_ONCE)

    assert slow[-1] == 40
    assert most[0] <= 10


def finish(self):
    if self.refresh is not None:
        self.refresh.result()
    self.refresh = None


def test_frames_of_ssrl_are_taken_up_when_exposures_and_flats_are_there(tmp_path):
    rate = EXPOSED.values[:14] / 0.5
    flats = np.broadcast_to(EXPOSED["flat"].values / 0.5, rate.shape)
    whole, folder = tmp_path / "whole", tmp_path / "scan"
    whole.mkdir()
    folder.mkdir()
    write_ssrl(whole, rate, flats, EXPOSED.energy.values[:14])
    files = sorted(whole.glob("*.xrm"))
    first = [path for path in files if "_ref_" not in path.name]
    for path in first:
        shutil.copy(path, folder)
    coming = arrivals(folder, RECIPE, None, 0.0, pytest.fail)

    assert next(coming) is None
    for path in set(files) - set(first):
        shutil.copy(path, folder)
    found = [next(coming) for _ in range(14)]

    assert sorted(each.energy_ev for each in found) == pytest.approx(EXPOSED.energy.values[:14], abs=0.06)
    expected = to_optical_density(read_stack(whole))[0]
    for each in found:
        at = int(np.argmin(np.abs(expected.energy.values - each.energy_ev)))
        np.testing.assert_allclose(each.density, expected.values[at], atol=1e-5)


def test_a_file_that_still_grows_is_left_until_it_is_whole(tmp_path, flat):
    folder = tmp_path / "scan"
    write_frames(folder, range(1))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    coming = arrivals(folder, RECIPE, np.asarray(tifffile.imread(flat)), 0.3, pytest.fail)

    assert next(coming) is None
    path.write_bytes(whole)
    assert next(coming) is None  # it has just changed
    time.sleep(0.35)
    found = next(coming)

    assert found.density.shape == (48, 64)


def test_frames_of_any_numbers_are_counts_where_there_is_a_flat(tmp_path, flat):
    folder = tmp_path / "scan"
    folder.mkdir()
    tifffile.imwrite(folder / "scan_8340.5eV.tif", EXPOSED.values[5].astype(np.float32))

    found = next(arrivals(folder, RECIPE, tifffile.imread(flat), 0.0, pytest.fail))

    np.testing.assert_allclose(found.density, to_optical_density(EXPOSED.isel(energy=[5]))[0][0], atol=0.01)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a.tif", "says no photon energy; put it in the name"), ("a_8000.5eV.tif", "cut short")],
)
def test_what_cannot_be_used_is_told_and_the_rest_goes_on(tmp_path, flat, name, reason):
    folder = tmp_path / "scan"
    write_frames(folder, range(13))
    content = next(folder.iterdir()).read_bytes()
    (folder / name).write_bytes(content if name == "a.tif" else content[:300])
    said = []

    watched = watch(folder, tmp_path / "out", flat=flat, n_frames=13, tell=said.append, **AT_ONCE)

    assert watched.n_frames == 13
    (told,) = [line for line in said if line.startswith("left out")]
    assert reason in told


def test_an_energy_that_was_there_is_left_out(tmp_path, flat):
    write_frames(tmp_path / "scan", range(13))
    write_frames(tmp_path / "scan", range(1), name="again_{:.2f}eV.tif")  # comes first
    said = []

    watched = watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=13, tell=said.append, **AT_ONCE)

    told = [line for line in said if line.startswith("left out")]
    assert len(told) == watched.left_out == 1
    assert "there is a frame at" in told[0]


def test_counts_without_a_flat_say_so(tmp_path):
    write_frames(tmp_path / "scan", range(2))
    said, ticks = [], []

    with pytest.raises(StackError, match="0 frames came, too few for a result"):
        watch(
            tmp_path / "scan",
            tmp_path / "out",
            stop=lambda: len(ticks) > 3 or bool(ticks.append(1)),
            tell=said.append,
            **AT_ONCE,
        )

    assert all("need a flat" in line for line in said)
    assert len(said) == 2


def test_wrong_options_are_refused_before_anything_is_waited_for(tmp_path):
    with pytest.raises(ReadError, match="no such folder"):
        watch(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(RecipeError, match="every = 0"):
        watch(tmp_path, tmp_path / "out", every=0)


def test_the_command_follows_a_scan_that_is_being_written(tmp_path, flat, monkeypatch, capsys):
    monkeypatch.setitem(watch.__kwdefaults__, "settled_s", 0.05)
    folder = tmp_path / "scan"
    folder.mkdir()

    def take():
        for e in range(26):
            write_frames(folder, [e])
            time.sleep(0.02)

    beam = threading.Thread(target=take)
    beam.start()
    code = main(f"watch {folder} -o {tmp_path / 'out'} --flat {flat} --frames 26 --denoiser wavelet".split())
    beam.join()

    out = capsys.readouterr().out
    assert code == 0
    assert "map of 12 frames" in out
    assert "26 frames, 0 left out" in out
    assert (tmp_path / "out" / "report.html").exists()


def test_it_ends_when_asked_and_makes_what_there_is(tmp_path, flat):
    write_frames(tmp_path / "scan", range(15))

    watched = watch(tmp_path / "scan", tmp_path / "out", flat=flat, stop=stop_after(15), every=100, **AT_ONCE)

    assert watched.refreshed == [15]
    whole = run_of_the_same(tmp_path, flat)
    assert watched.last.result.rank == whole.result.rank


def stop_after(n):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > n + 2

    return stop


def run_of_the_same(tmp_path, flat):
    counts = make_stack(EXPOSED.values[:15].astype(np.uint16), EXPOSED.energy.values[:15], quantity="counts")
    counts = counts.assign_coords(flat=(("y", "x"), tifffile.imread(flat)))
    return run(write_stack(counts, tmp_path / "same.h5"), tmp_path / "same", recipe=RECIPE)
