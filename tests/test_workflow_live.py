"""A scan followed while it is written: frames as they are complete, maps meanwhile, all of it at the end."""

import shutil
import threading
import time
from typing import ClassVar

import numpy as np
import pytest
import tifffile
from io_files import write_ssrl
from scan_motion import scan_of

from xanesum.align import Shifts, read_shifts
from xanesum.cli.main import main
from xanesum.errors import ReadError, RecipeError, StackError, WriteError
from xanesum.io import read_stack, write_stack
from xanesum.phantom import expose, simulate
from xanesum.preprocess import to_optical_density
from xanesum.stack import make_stack
from xanesum.workflow.live import DetectorImages, arrivals, watch
from xanesum.workflow.pipeline import run
from xanesum.workflow.recipe import DEFAULT_RECIPE, read_recipe

PHANTOM = simulate("particle", shape=(48, 64), n_energies=40)
EXPOSED = expose(PHANTOM, 2000.0, flat_drift=0.0, rng=np.random.default_rng(3)).stack
RECIPE = DEFAULT_RECIPE.updated({"denoise": {"denoiser": "wavelet"}})
AT_ONCE = {"settled_s": 0.0, "recipe": RECIPE}
pytestmark = pytest.mark.filterwarnings("ignore::xanesum.errors.XanesumWarning")


class Instant:
    """A run of its own process that is over at once, or when it is waited for."""

    returncode = 0
    commands: ClassVar[list[list[str]]] = []

    def __init__(self, command, **options):
        self.commands.append(command)

    def poll(self):
        return self.returncode

    def communicate(self):
        return "", "xanesum: error: something is wrong" if self.returncode else ""

    def kill(self):
        """Nothing runs."""


class Slow(Instant):
    """A run that takes some twenty looks."""

    def __init__(self, command, **options):
        super().__init__(command)
        self.looks = 0

    def poll(self):
        self.looks += 1
        return self.returncode if self.looks > 20 else None


class Failing(Instant):
    """A run that fails."""

    returncode = 1


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Runs have their own tests, and take seconds each; here one with a report is enough."""
    if "capsys" not in request.fixturenames:
        monkeypatch.setattr(
            "xanesum.workflow.pipeline.write_report", lambda path, *_, **__: path.write_text("report")
        )
        monkeypatch.setattr("xanesum.workflow.live.subprocess.Popen", Instant)
        monkeypatch.setattr("xanesum.workflow.live.POLL_S", 0.001)
        Instant.commands.clear()


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
    assert max(np.diff([0, *watched.refreshed])) <= 10
    assert sum(line.startswith("frame") for line in said) == 40
    assert watched.left_out == 0
    assert (tmp_path / "out" / "clean.h5").exists()
    assert watched.last.report.exists()
    np.testing.assert_allclose(watched.factors.energy_ev, EXPOSED.energy, atol=0.006)


def test_frames_wait_in_their_files_while_a_map_is_made(tmp_path, flat, monkeypatch):
    write_frames(tmp_path / "scan", range(40))
    monkeypatch.setattr("xanesum.workflow.live.subprocess.Popen", Slow)
    held = []

    def tell(said):
        if said.startswith("frame"):
            held.append(int(said.split(",")[0].split()[1]))
        elif said.startswith("map"):
            held.append(-int(said.split()[2]))

    watched = watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=40, tell=tell, **AT_ONCE)

    assert watched.refreshed == [10, 20, 30, 40]
    for map_of, n in zip([10, 20, 30], [20, 30, 40], strict=True):  # frames when that map was there
        assert max(held[: held.index(-map_of)]) == n


def test_a_map_that_fails_is_told_and_the_scan_goes_on(tmp_path, flat, monkeypatch):
    write_frames(tmp_path / "scan", range(25))
    monkeypatch.setattr("xanesum.workflow.live.subprocess.Popen", Failing)
    said = []

    watched = watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=25, tell=said.append, **AT_ONCE)

    assert "no map of 10 frames: xanesum: error: something is wrong" in said
    assert watched.refreshed == [25]


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
    late = sorted(set(files) - set(first))
    for path in late[:-1]:
        shutil.copy(path, folder)
    assert sum(next(coming) is not None for _ in range(15)) == 13  # of the last, one of two flats lacks
    shutil.copy(late[-1], folder)
    coming = arrivals(folder, RECIPE, None, 0.0, pytest.fail)
    found = [next(coming) for _ in range(14)]

    assert sorted(each.energy_ev for each in found) == pytest.approx(EXPOSED.energy.values[:14], abs=0.06)
    expected = to_optical_density(read_stack(whole))[0]
    for each in found:
        at = int(np.argmin(np.abs(expected.energy.values - each.energy_ev)))
        np.testing.assert_allclose(each.frame, expected.values[at], atol=1e-5)


def test_a_file_that_still_grows_is_left_until_it_is_whole(tmp_path, flat):
    folder = tmp_path / "scan"
    write_frames(folder, range(1))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    coming = arrivals(folder, RECIPE, DetectorImages(tifffile.imread(flat)), 0.3, pytest.fail)

    assert next(coming) is None
    time.sleep(0.35)
    path.write_bytes(whole)
    assert next(coming) is None  # it has just changed
    time.sleep(0.35)
    found = next(coming)

    assert found.frame.shape == (48, 64)


def test_frames_of_any_numbers_are_counts_where_there_is_a_flat(tmp_path, flat):
    folder = tmp_path / "scan"
    folder.mkdir()
    tifffile.imwrite(folder / "scan_8340.5eV.tif", EXPOSED.values[5].astype(np.float32))

    found = next(arrivals(folder, RECIPE, DetectorImages(tifffile.imread(flat)), 0.0, pytest.fail))

    np.testing.assert_allclose(found.frame, to_optical_density(EXPOSED.isel(energy=[5]))[0][0], atol=0.01)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a.tif", "has no photon energy; put it in the name"), ("a_8000.5eV.tif", "cut short")],
)
def test_what_cannot_be_used_is_told_and_the_rest_goes_on(tmp_path, flat, name, reason):
    folder = tmp_path / "scan"
    write_frames(folder, range(13))
    content = next(folder.iterdir()).read_bytes()
    (folder / name).write_bytes(content if name == "a.tif" else content[:300])
    said = []

    watched = watch(folder, tmp_path / "out", flat=flat, n_frames=14, tell=said.append, **AT_ONCE)

    assert watched.n_frames == 13
    (told,) = [line for line in said if line.startswith("left out")]
    assert reason in told


def test_an_energy_that_was_there_is_left_out_and_counts(tmp_path, flat):
    write_frames(tmp_path / "scan", range(13))
    write_frames(tmp_path / "scan", range(1), name="again_{:.2f}eV.tif")  # comes first
    said = []

    watched = watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=14, tell=said.append, **AT_ONCE)

    (told,) = [line for line in said if line.startswith("left out")]
    assert "there is a frame at" in told
    assert watched.n_frames == 13


def test_what_has_come_when_it_is_ended_is_taken_up(tmp_path, flat):
    write_frames(tmp_path / "scan", range(30))
    asked = []

    watched = watch(
        tmp_path / "scan",
        tmp_path / "out",
        flat=flat,
        stop=lambda: len(asked) > 4 or asked.append(1),
        **AT_ONCE,
    )

    assert watched.n_frames == 30


def test_a_file_that_vanishes_or_was_read_too_early_does_no_harm(tmp_path, flat):
    folder = tmp_path / "scan"
    write_frames(folder, range(1))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    (folder / "gone_8000.5eV.tif").symlink_to(folder / "nowhere")
    told = []
    coming = arrivals(folder, RECIPE, DetectorImages(tifffile.imread(flat)), 0.0, told.append)

    assert next(coming) is None
    assert next(coming) is None
    assert len(told) == 1
    path.write_bytes(whole)

    assert next(coming).files == (path,)


def test_a_mask_that_leaves_little_is_kept(tmp_path, flat):
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 10:40] = 1
    np.save(tmp_path / "mask.npy", mask)
    write_frames(tmp_path / "scan", range(20))
    recipe = RECIPE.updated({"input": {"mask": str(tmp_path / "mask.npy")}})

    watched = watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=20, settled_s=0.0, recipe=recipe)

    np.testing.assert_array_equal(watched.last.result.coefficients["mask"], mask > 0)


def test_drift_is_looked_for_where_there_is_a_flat(tmp_path, flat):
    write_frames(tmp_path / "scan", range(20))

    watch(tmp_path / "scan", tmp_path / "out", flat=flat, n_frames=20, **AT_ONCE)

    assert read_stack(tmp_path / "out" / "clean.h5").attrs["flat_field"]


def test_an_energy_in_the_name_may_have_a_p_of_any_case(tmp_path, flat):
    folder = tmp_path / "scan"
    folder.mkdir()
    tifffile.imwrite(folder / "scan_8340P5eV.tif", EXPOSED.values[5].astype(np.uint16))

    assert (
        next(arrivals(folder, RECIPE, DetectorImages(tifffile.imread(flat)), 0.0, pytest.fail)).energy_ev
        == 8340.5
    )


def test_counts_without_a_flat_say_so(tmp_path):
    write_frames(tmp_path / "scan", range(2))
    said = []

    with pytest.raises(StackError, match="0 frames came, too few for a result"):
        watch(
            tmp_path / "scan",
            tmp_path / "out",
            stop=stop_after(3),
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
    with pytest.raises(RecipeError, match="a result takes 10 frames, got frames = 3"):
        watch(tmp_path, tmp_path / "out", n_frames=3)
    with pytest.raises(WriteError, match="the scan is written there"):
        watch(tmp_path, tmp_path)


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
    assert "map of 10 frames" in out
    assert "\nmotion of the sample: " in out  # of a map; that of the end is told with the preprocessing
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
    return lambda: len(asked) > n or bool(asked.append(1))


def run_of_the_same(tmp_path, flat):
    counts = make_stack(EXPOSED.values[:15].astype(np.uint16), EXPOSED.energy.values[:15], quantity="counts")
    counts = counts.assign_coords(flat=(("y", "x"), tifffile.imread(flat)))
    return run(write_stack(counts, tmp_path / "same.h5"), tmp_path / "same", recipe=RECIPE)


@pytest.fixture(scope="module")
def moving():
    return scan_of("brine", sigma=10.0, jitter_px=3.0, shape=(48, 56))


@pytest.fixture
def moving_folder(moving, tmp_path):
    folder = tmp_path / "moving"
    folder.mkdir()
    for frame, energy in zip(moving.stack.values, moving.stack.energy.values, strict=True):
        write_stack(make_stack(frame[None], [energy]), folder / f"{energy:.2f}eV.h5")
    return folder


def shifts_of(scan, chosen=slice(None)):
    energy_ev = scan.stack.energy.values[chosen]
    n = len(energy_ev)
    return Shifts(
        energy_ev,
        scan.motion.shifts_px[chosen],
        np.zeros((n, 2, 2)),
        np.full(n, "aligned"),
        ("",) * n,
        0,
        np.ones(n),
        float("nan"),
    )


class Kept(Instant):
    """A run that is over at once, and says what recipe it got, and the shifts that this one names."""

    recipes: ClassVar[list] = []
    shifts: ClassVar[list] = []

    def __init__(self, command, **options):
        super().__init__(command)
        recipe = read_recipe(command[command.index("--recipe") + 1])
        self.recipes.append(recipe)
        name = recipe.align.shifts
        self.shifts.append(None if name in ("auto", "none") else read_shifts(name))
        self.n = len(read_stack(command[command.index("run") + 1]))

    def communicate(self):
        return f"preprocessing: motion of the sample: seen in {self.n} frames\nother", ""


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setattr("xanesum.workflow.live.subprocess.Popen", Kept)
    Kept.recipes.clear()
    Kept.shifts.clear()
    return Kept


def follow(folder, out, shifts="auto"):
    said = []
    recipe = RECIPE.updated({"align": {"shifts": str(shifts)}})
    return watch(folder, out, n_frames=40, tell=said.append, settled_s=0.0, recipe=recipe), said


def test_frames_of_a_sample_that_moves_are_moved_back_for_every_map(moving_folder, moving, tmp_path, kept):
    watched, said = follow(moving_folder, tmp_path / "out")

    assert [recipe.align.shifts for recipe in kept.recipes] == ["auto"] * 3
    told = [line for line in said if line.startswith("motion of the sample")]
    assert told == [f"motion of the sample: seen in {n} frames" for n in (10, 20, 30)]
    error = read_shifts(tmp_path / "out" / "shifts.csv").shifts_px - moving.motion.shifts_px
    error -= error[moving.strong].mean(axis=0)
    assert np.abs(error[moving.strong]).max() < 0.3
    assert any("frames were moved back" in line for line in watched.last.counted)


def test_nobody_moves_frames_where_that_is_asked_for(moving_folder, tmp_path, kept):
    watched, _ = follow(moving_folder, tmp_path / "out", "none")

    assert {recipe.align.shifts for recipe in kept.recipes} == {"none"}
    assert not any("motion" in line for line in watched.last.counted)


def test_shifts_of_a_file_are_those_of_the_frames_so_far(moving_folder, moving, tmp_path, kept):
    path = shifts_of(moving).write_shifts(tmp_path / "given.csv")

    watched, _ = follow(moving_folder, tmp_path / "out", path)

    assert [len(each.energy_ev) for each in kept.shifts] == [10, 20, 30]
    for each in kept.shifts:
        at = np.searchsorted(moving.stack.energy.values, each.energy_ev - 0.05)
        np.testing.assert_allclose(each.shifts_px, moving.motion.shifts_px[at], atol=1e-6)
        assert (each.flag == "aligned").all()
    assert any("(shifts of given.csv)" in line for line in watched.last.counted)
    found = read_shifts(tmp_path / "out" / "shifts.csv")
    np.testing.assert_allclose(found.shifts_px, moving.motion.shifts_px, atol=1e-6)


def test_a_frame_without_a_shift_is_left_out(moving_folder, moving, tmp_path, kept):
    path = shifts_of(moving, slice(0, 39)).write_shifts(tmp_path / "given.csv")

    watched, _ = follow(moving_folder, tmp_path / "out", path)

    assert watched.n_frames == 40
    flag = read_shifts(tmp_path / "out" / "shifts.csv").flag
    assert flag.tolist() == ["aligned"] * 39 + ["left out"]


def test_shifts_without_energies_are_used_at_the_end(moving_folder, moving, tmp_path, kept):
    np.savetxt(tmp_path / "table.txt", -moving.motion.shifts_px)

    watched, said = follow(moving_folder, tmp_path / "out", tmp_path / "table.txt")

    assert said[0].startswith("the shifts of table.txt have no energies, so frames are moved back at the end")
    assert {recipe.align.shifts for recipe in kept.recipes} == {"none"}
    assert any("(shifts of table.txt)" in line for line in watched.last.counted)


@pytest.mark.parametrize("content", [None, "energy_ev,dy_px\n", "Transformation\nAFFINE\n"])
def test_a_wrong_file_of_shifts_is_refused_before_the_scan(moving_folder, tmp_path, content):
    path = tmp_path / "shifts.csv"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ReadError, match=r"shifts\.csv"):
        follow(moving_folder, tmp_path / "out", path)
    assert not (tmp_path / "out").exists()
