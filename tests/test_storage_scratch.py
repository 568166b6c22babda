"""Stacks that do not fit: kept in a file, changed where they are looked at, and the same as in memory."""

import errno
import json
import os
import platform
import tracemalloc

import numpy as np
import psutil
import pytest
import xarray as xr

from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import ReadError, RecipeError, WriteError
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.io import write_stack
from xanesum.method.denoising import denoise
from xanesum.method.intake import all_values
from xanesum.phantom import expose, simulate
from xanesum.preprocess import prepare
from xanesum.preprocess.bad_pixels import _noise
from xanesum.stack import make_stack
from xanesum.storage import scratch as workspace
from xanesum.storage.lazy import (
    chunks_of,
    each_frame,
    is_lazy,
    lazy_array,
    whole_chunks,
    with_frames,
    with_missing,
)
from xanesum.storage.scratch import FRAMES, Workspace
from xanesum.streaming.resources import Resources
from xanesum.workflow.pipeline import check, run
from xanesum.workflow.recipe import DEFAULT_RECIPE, ComputeOptions
from xanesum.workflow.resources import allocate

PHANTOM = simulate("particle", shape=(96, 128), n_energies=60)
EXPOSED = expose(PHANTOM, 400.0, flat_drift=0.03, rng=np.random.default_rng(3)).stack
KEYS = [
    (slice(None), slice(None), slice(None)),
    (3, slice(None), slice(2, 9)),
    (slice(2, 20, 3), 4, slice(None)),
    (slice(None, None, -2), slice(5, 2), 7),
    (slice(4, 4), slice(None), slice(None)),
    (slice(5, 9), slice(None), slice(None)),
]


def lazy(stack):
    """The same stack, read where it is looked at."""
    variable = lazy_array(stack.shape, lambda key: stack.values[key])
    return xr.DataArray(variable, coords=stack.coords, attrs=dict(stack.attrs), name=stack.name)


def spoiled():
    """Counts with a saturated, a dead and a flickering pixel."""
    stack = EXPOSED.copy(deep=True)
    stack.values[:, 20, 30] = 0
    stack.values[7, 40, 50] = 60_000
    stack.attrs["saturation_counts"] = 50_000
    return stack


@pytest.mark.parametrize("key", KEYS)
def test_frames_in_a_file_are_read_as_they_were_written(tmp_path, key):
    values = np.random.default_rng(0).random((30, 12, 11)).astype(np.float32)
    frames = Workspace(1.0, tmp_path).frames(values.shape)
    for e in reversed(range(30)):
        frames[e] = values[e].astype(np.float64)

    stack = xr.DataArray(frames.variable())

    assert is_lazy(stack)
    np.testing.assert_array_equal(stack[key].values, values[key])


@pytest.mark.parametrize("key", [np.s_[:], np.s_[:, 3:5], np.s_[29]])
def test_frames_in_a_file_that_was_cut_are_one_clear_line(tmp_path, key):
    frames = Workspace(1.0, tmp_path).frames((30, 12, 11))
    frames[29] = np.zeros((12, 11))
    (path,) = tmp_path.glob(FRAMES)
    with path.open("r+b") as file:
        file.truncate(4 * 29 * 12 * 11 + 100)

    with pytest.raises(ReadError, match="ends early, as another program wrote there; start the run again"):
        _ = xr.DataArray(frames.variable())[key].values


class Chunked:
    """A lazy stack in chunks, that counts how often each of them is touched."""

    def __init__(self, stack, chunks):
        self.data, self.chunks = stack.values, chunks
        self.touched = np.zeros([-(-n // c) for n, c in zip(stack.shape, chunks, strict=True)], int)
        variable = lazy_array(stack.shape, self.read, dtype=stack.dtype, chunks=chunks)
        coords = {name: each for name, each in stack.coords.items() if name != "energy"}
        self.stack = make_stack(variable, stack.energy.values, quantity=stack.attrs["quantity"])
        self.stack = self.stack.assign_coords(coords)
        self.stack.attrs.update(stack.attrs)

    def read(self, key):
        within = [
            np.unique(np.arange(n)[k] // c) for n, k, c in zip(self.data.shape, key, self.chunks, strict=True)
        ]
        self.touched[np.ix_(*within)] += 1
        return self.data[key]


@pytest.mark.parametrize("chunks", [(7, 10, 16), (60, 5, 128), (60, 48, 128), (2, 96, 128)])
@pytest.mark.parametrize("memory", [np.inf, 1.1e7])
def test_chunks_of_several_energies_are_read_once(chunks, memory, tmp_path):
    chunked = Chunked(EXPOSED, chunks)
    workspace = Workspace(memory, tmp_path)

    found = workspace.by_frames(chunked.stack)

    assert is_lazy(found) == (memory < np.inf)
    assert (chunked.touched == 1).all()
    np.testing.assert_array_equal(found.values, EXPOSED.values)
    assert found.dtype == np.float32
    assert found.attrs == chunked.stack.attrs


def test_little_memory_is_enough_for_flat_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace, "READ_BYTES", (1.0, 1e5))
    chunked = Chunked(EXPOSED, (60, 1, 128))
    largest = []
    read = chunked.read
    chunked.read = lambda key: largest.append(read(key).nbytes) or read(key)
    variable = lazy_array(EXPOSED.shape, chunked.read, chunks=chunked.chunks)

    Workspace(1e6, tmp_path).by_frames(make_stack(variable, EXPOSED.energy.values))

    assert max(largest) < 1e5


@pytest.mark.parametrize("multiple", [1, 6])
@pytest.mark.parametrize("chunks", [(1, 1), (7, 5), (7, 40), (200, 3)])
@pytest.mark.parametrize("n_bytes", [1.0, 4e3, 3e4, 1e9])
def test_blocks_of_whole_chunks_cover_a_stack_once(multiple, chunks, n_bytes):
    shape = (50, 37, 20)
    covered = np.zeros(shape[:2], int)
    for energies, rows in whole_chunks(shape, chunks, n_bytes, multiple=multiple):
        covered[energies, rows] += 1
        assert rows.start % multiple == 0
        assert energies.start % min(chunks[0], 50) == 0
        n_values = (energies.stop - energies.start) * (rows.stop - rows.start) * 20
        assert 4 * n_values <= max(n_bytes, 4 * min(chunks[0], 50) * multiple * 20)
    assert (covered == 1).all()


def test_chunks_too_large_for_the_memory_stay_where_they_are(tmp_path):
    variable = lazy_array(EXPOSED.shape, lambda key: EXPOSED.values[key], chunks=(60, 96, 2))
    stack = make_stack(variable, EXPOSED.energy.values)
    assert Workspace(1e6, tmp_path).by_frames(stack) is stack


def test_no_room_on_the_disk_for_what_is_stored_in_chunks(tmp_path, monkeypatch):
    def refuse(self, e, row, values):
        with workspace._writing(self._path):
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(workspace.Frames, "set_rows", refuse)
    with pytest.raises(WriteError, match="no space left"):
        Workspace(1e6, tmp_path).by_frames(Chunked(EXPOSED, (7, 10, 16)).stack)


def test_a_change_of_the_values_keeps_how_they_are_stored():
    stack = Chunked(EXPOSED, (7, 10, 16)).stack
    assert chunks_of(with_missing(stack, np.array([3]))) == (7, 10, 16)


def test_arrays_of_dask_say_how_they_are_stored():
    dask = pytest.importorskip("dask.array", reason="needs dask (extra cluster)")
    stack = EXPOSED.copy(data=dask.from_array(EXPOSED.values, chunks=(7, 10, 16)))
    assert chunks_of(stack) == (7, 10, 16)


@pytest.mark.parametrize("chunks", [(1, 8, 8), None])
def test_what_is_stored_frame_by_frame_stays_where_it_is(chunks, tmp_path):
    variable = lazy_array(EXPOSED.shape, lambda key: EXPOSED.values[key], chunks=chunks)
    stack = make_stack(variable, EXPOSED.energy.values)
    assert Workspace(1e6, tmp_path).by_frames(stack) is stack
    assert not list(tmp_path.iterdir())


def test_a_stack_for_which_there_is_no_room_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(workspace, "available_memory", lambda: 1e6)
    chunked = Chunked(EXPOSED, (60, 12, 16))
    assert Workspace().by_frames(chunked.stack) is chunked.stack


def test_counts_in_chunks_are_prepared_as_others_are(tmp_path):
    chunked = Chunked(EXPOSED, (60, 12, 16))
    wanted, report = prepare(EXPOSED)

    found, said = prepare(chunked.stack, workspace=Workspace(1.1e7, tmp_path))

    assert (chunked.touched == 1).all()
    np.testing.assert_array_equal(found.values, wanted.values)
    assert said == report


@pytest.mark.parametrize("chunks", [(7, 10, 16), (60, 5, 128)])
@pytest.mark.parametrize("memory", [1e9, 2.5e6])
def test_denoising_reads_whole_chunks(chunks, memory):
    stack = PHANTOM.noisy(60.0, rng=np.random.default_rng(0))
    options = {"denoiser": "wavelet", "memory": memory}
    wanted = denoise(stack, **options)
    chunked = Chunked(stack, chunks)

    found = denoise(chunked.stack, **options)

    assert chunked.touched.max() <= 6  # four passes at most, whose blocks may end within a chunk
    np.testing.assert_allclose(found.coefficients, wanted.coefficients, atol=0.02 * wanted.sigma)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_missing_is_missing_in_every_part(key):
    stack = make_stack(np.random.default_rng(0).random((30, 12, 11)), np.arange(30) + 8000.0)
    missing = np.sort(np.random.default_rng(1).choice(stack.size, 900, replace=False))
    expected = stack.values.astype(np.float32)
    expected.ravel()[missing] = np.nan

    found = with_missing(lazy(stack), missing)

    assert is_lazy(found)
    np.testing.assert_array_equal(found[key].values, expected[key])
    np.testing.assert_array_equal(with_missing(stack, missing).values[key], expected[key])


def test_a_change_does_not_write_to_the_stack_itself():
    stack = make_stack(np.ones((3, 4, 5)), [1e3, 2e3, 3e3])

    changed = with_frames(stack, lambda values, *_: np.multiply(values, 2, out=values))

    assert (changed.values == 2).all()
    assert (stack.values == 1).all()


def test_frames_come_in_order_and_errors_come_through():
    stack = lazy(make_stack(np.arange(40.0).reshape(40, 1, 1) + 1, np.arange(40) + 8000.0))

    assert list(each_frame(stack, lambda e, frame: (e, float(frame[0, 0])))) == [
        (e, e + 1.0) for e in range(40)
    ]
    with pytest.raises(ZeroDivisionError):
        list(each_frame(stack, lambda e, frame: 1 / (e - 20)))


@pytest.mark.parametrize("chunks", [(7, 96, 128), (60, 5, 128), (1, 96, 128)])
def test_frames_of_a_chunk_are_taken_together(chunks):
    """Frames of this size are large enough to be taken alone, if they are stored alone."""
    chunked = Chunked(EXPOSED, chunks)

    means = list(each_frame(chunked.stack, lambda _, frame: frame.mean()))

    assert (chunked.touched == 1).all()
    np.testing.assert_allclose(means, EXPOSED.mean(("y", "x")), rtol=1e-6)


def test_frames_of_a_chunk_are_taken_alone_where_memory_is_short(monkeypatch):
    monkeypatch.setattr("xanesum.storage.lazy.available_memory", lambda: 1e5)
    chunked = Chunked(EXPOSED, (7, 96, 128))

    assert len(list(each_frame(chunked.stack, lambda _, frame: frame.mean()))) == len(EXPOSED)
    assert (chunked.touched.max(axis=(1, 2)) == [7] * 8 + [4]).all()


def test_preparing_in_a_file_is_preparing_in_memory(tmp_path):
    expected, report = prepare(spoiled())

    found, same = prepare(lazy(spoiled()), workspace=Workspace(1.0, tmp_path))

    assert is_lazy(found)
    assert same == report
    assert report.n_masked_pixels == 1
    xr.testing.assert_identical(found.load(), expected)


def test_drift_denoising_and_examination_do_not_need_the_stack_in_memory(tmp_path):
    expected = correct_flat_drift(prepare(EXPOSED)[0], denoiser="wavelet")[0]
    stack = prepare(lazy(EXPOSED), workspace=Workspace(1.0, tmp_path))[0]

    corrected, drift = correct_flat_drift(stack, denoiser="wavelet", resources=Resources(Workspace(1.3e6)))
    result = denoise(corrected, denoiser="wavelet", memory=1.3e6)
    trust = examine_residual(corrected, result, memory=1e6)

    assert drift is not None
    assert is_lazy(corrected)
    sigma = denoise(expected, denoiser="wavelet").sigma
    assert np.std(corrected.values - expected.values) < 0.1 * sigma
    assert result.sigma == pytest.approx(sigma, rel=0.02)
    assert trust.size == pytest.approx(1, abs=0.06)  # of few blocks of pixels, drift is a share
    assert trust.lost.scale_px >= 4
    assert np.abs(trust.lost.image).max() < 8  # standard deviations of noise


@pytest.fixture(scope="module")
def with_little_memory(tmp_path_factory):
    """A scan in a file, and a run of it that may hold little of it in memory."""
    folder = tmp_path_factory.mktemp("little")
    scan = write_stack(EXPOSED, folder / "scan.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
        options = recipe(memory="1.3MB", work=str(folder / "work"))
        return scan, run(scan, folder / "parts", recipe=options)


@pytest.mark.filterwarnings("ignore::xanesum.errors.XanesumWarning")  # of a component that is missing
def test_a_run_with_little_memory_gives_the_same_map_and_leaves_nothing(with_little_memory):
    scan, done = with_little_memory
    folder, work = scan.parent, scan.parent / "work"
    names = sorted(path.name for path in folder.iterdir())

    whole = run(scan, folder / "whole", recipe=recipe())

    both = [each.maps.half_step_energy_ev.values for each in (whole, done)]
    scatter = np.nanmedian(whole.maps.half_step_sigma_ev.values[PHANTOM.mask])
    assert np.nanmedian(np.abs(both[0] - both[1])[PHANTOM.mask]) < 0.3 * scatter
    assert done.counted[0] == whole.counted[0]
    assert not list(work.rglob("*.*"))
    assert names == ["parts", "scan.h5", "work"]
    assert sorted(path.name for path in folder.iterdir()) == ["parts", "scan.h5", "whole", "work"]


def recipe(**compute):
    return DEFAULT_RECIPE.updated({"denoise": {"denoiser": "wavelet"}, "compute": compute})


@pytest.mark.filterwarnings("ignore:1.3MB of memory cannot be kept")
def test_a_run_that_fails_removes_its_frames_but_not_what_it_goes_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
    scan = write_stack(EXPOSED, tmp_path / "scan.h5")
    work = tmp_path / "work"

    def fail(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("xanesum.method.denoising.fit_sum_plus", fail)
    with pytest.raises(KeyboardInterrupt):
        run(scan, tmp_path / "out", recipe=recipe(memory="1.3MB", work=str(work)))

    assert not list(work.glob("*.raw"))
    assert list(work.rglob("*.npz"))
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    frames = Workspace(1.0, tmp_path).frames((2, 3, 4))

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(WriteError, match=r"does not fit in memory \(no space left on the device\)"):
        frames[0] = np.zeros((3, 4))


def test_a_work_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(WriteError, match="cannot work there"),
        allocate(ComputeOptions(work=str(tmp_path / "file")), beside=tmp_path / "out"),
    ):
        pass


def test_a_work_folder_in_use_is_left_alone_and_one_of_a_dead_run_is_taken(tmp_path):
    other = psutil.Process(os.getppid())
    mark = {"process": other.pid, "since": other.create_time(), "computer": platform.node()}
    (tmp_path / "xanesum-lock.json").write_text(json.dumps(mark))
    with (
        pytest.raises(WriteError, match="another run works there"),
        allocate(ComputeOptions(work=str(tmp_path)), beside=tmp_path / "out"),
    ):
        pass
    (tmp_path / "xanesum-lock.json").write_text(json.dumps({**mark, "since": 1.0}))

    with allocate(ComputeOptions(work=str(tmp_path)), beside=tmp_path / "out"):
        assert (tmp_path / "xanesum-lock.json").exists()

    assert not any(tmp_path.iterdir())


def test_a_lazy_stack_that_fits_is_held_once(tmp_path, monkeypatch):
    monkeypatch.setattr("xanesum.method.intake.BLOCK_BYTES", 100_000)
    stack = prepare(lazy(EXPOSED), workspace=Workspace(1.0, tmp_path))[0]
    stack = with_missing(stack, np.arange(10))
    tracemalloc.start()
    values = all_values(stack)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1.3 * values.nbytes
    assert np.isnan(values).sum() == 10


def test_noise_is_known_where_few_rows_are_used():
    image = np.full((4000, 200), np.nan, np.float32)
    image[10:38] = np.random.default_rng(0).standard_normal((28, 200))

    assert _noise(image) == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2e9), ("500 MB", 5e8), ("1.5gib", 1.5e9), ("800", 800.0), (None, None)]
)
def test_sizes_are_read(text, size):
    assert ComputeOptions(memory=text).memory_bytes == size


@pytest.mark.parametrize("text", ["", "two", "-1GB", "0GB", "2XB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(RecipeError, match='memory must be a size as "2GB"'):
        ComputeOptions(memory=text)


def test_a_check_with_little_memory_judges_the_middle(tmp_path):
    scan = write_stack(EXPOSED, tmp_path / "scan.h5")

    findings, counted = check(scan, recipe=recipe(memory="1.3MB"))

    assert "judged by the middle 24 x 32 px" in counted[-1]
    assert {finding.name for finding in findings} == {"dose", "energies", "frames", "light", "sample", "gain"}


def test_a_bootstrap_of_what_does_not_fit_is_refused(tmp_path, monkeypatch):
    scan = write_stack(EXPOSED, tmp_path / "scan.h5")
    options = recipe(memory="1.3MB").updated({"map": {"bootstrap": 2}})

    monkeypatch.setattr(
        "xanesum.workflow.pipeline.correct_scan", pytest.fail
    )  # before anything that takes long
    with pytest.raises(RecipeError, match="leave out the bootstrap"):
        run(scan, tmp_path / "out", recipe=options)


@pytest.mark.filterwarnings("ignore::xanesum.errors.XanesumWarning")
def test_a_run_on_a_cluster_gives_the_same_factors(with_little_memory, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed (extra cluster)")
    monkeypatch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
    scan, alone = with_little_memory

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        options = recipe(memory="1.3MB", scheduler=cluster.scheduler_address)
        done = run(scan, tmp_path / "done", recipe=options)

    np.testing.assert_array_equal(done.result.coefficients, alone.result.coefficients)
    np.testing.assert_array_equal(done.result.spectra, alone.result.spectra)


def test_memory_that_may_be_used_is_less_than_all_that_is_free():
    assert 0 < workspace.available_memory() < psutil.virtual_memory().total
