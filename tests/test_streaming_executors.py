"""Executors and checkpoints: results are the same whoever does the work, remembered or not."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scans import add_noise, low_rank

from xanesum.errors import ReadError, StackError, XanesumError
from xanesum.storage.checkpoint import Checkpoint
from xanesum.storage.memory import BLOCK_BYTES, N_THREADS
from xanesum.streaming import cpu_backend, executors
from xanesum.streaming.blocked_stack import BlockedStack
from xanesum.streaming.checkpointed_stack import CheckpointedStack
from xanesum.streaming.executors import ClusterExecutor, DeviceExecutor, SerialExecutor, executor_for
from xanesum.streaming.interface import Rescaling, StackInBlocks
from xanesum.streaming.torch_backend import Accelerator

SHAPE = (23, 37, 41)
VALUES = add_noise(low_rank(n_energies=SHAPE[0], shape=SHAPE[1:]), 1.0)
MASK = np.random.default_rng(1).random(SHAPE[1:]) > 0.2
PIXELS = np.array([3, 40, 77, 900])
SPECTRA = np.random.default_rng(5).standard_normal((3, SHAPE[0]))


class Reader:
    """Reads parts of an array; counts the values; raises an error in place of a read on demand."""

    def __init__(self, values=VALUES, error=None):
        self.values, self.error, self.n_read = values, error, 0

    def __call__(self, energies, rows):
        if self.error is not None:
            raise self.error
        block = self.values[energies, rows].copy()
        self.n_read += block.size
        return block


class HereNow:
    """A client of Dask in so far as the executor needs one; it works at once and counts what waits."""

    def __init__(self, n_workers=2):
        self.n_workers, self.n_waiting, self.most = n_workers, 0, 0

    def scheduler_info(self, n_workers):
        return {"workers": dict.fromkeys(range(self.n_workers))}

    def submit(self, function, part, *, pure):
        assert not pure  # each part is read anew in each pass
        self.n_waiting += 1
        self.most = max(self.most, self.n_waiting)
        return Later(self, lambda: function(part))


class Later:
    def __init__(self, client, call):
        self.client, self.call = client, call

    def result(self):
        self.client.n_waiting -= 1
        return self.call()


def in_blocks(reader=None, mask=MASK, *, frames=5, chunks=(1, 1)):
    size = 4.0 * frames * VALUES[0].size
    return BlockedStack(reader or Reader(), SHAPE, mask, False, size, chunks)


def rescaling(excess=0.3):
    rng = np.random.default_rng(2)
    along = rng.standard_normal(SHAPE[0])
    pixel = rng.uniform(0.5, 2, SHAPE[1:]).astype(np.float32)
    return Rescaling(pixel, rng.uniform(0.5, 2, SHAPE[0]), along / np.linalg.norm(along), excess)


def results(stack):
    """All results of a stack, by name."""
    survey, first = stack.survey(PIXELS, 4)
    averages = stack.average(3)
    return {
        "digest": np.array(survey.digest),
        "counts": np.array([survey.n_missing, survey.n_bad]),
        "blank": survey.blank,
        "sample": survey.sample,
        "first": first.values,
        "first mask": first.mask,
        "averages": averages.values,
        "sum of squares": np.array([first.sum_of_squares, averages.sum_of_squares]),
        "images": stack.project(SPECTRA),
        "rows": np.concatenate([block for _, block in stack.blocks()], axis=1),
    }


def assert_same(found, wanted, rtol=0.0):
    for name, value in wanted.items():
        if rtol and value.dtype.kind == "f":
            np.testing.assert_allclose(found[name], value, rtol, 30 * rtol, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


CHANGES = {
    "as read": lambda stack: stack,
    "rescaled": lambda stack: stack.rescaled(rescaling()),
    "filled": lambda stack: stack.filled(SPECTRA),
    "both": lambda stack: stack.filled(SPECTRA).rescaled(rescaling(0.0)),
}


def with_gaps():
    values = VALUES.copy()
    values[3, 4, 5] = values[7:9, 20, 30] = np.nan
    return values


@pytest.fixture(params=CHANGES)
def change(request):
    return CHANGES[request.param]


@pytest.fixture
def reader(change):
    """A reader of a stack that has missing values if they are filled."""
    return Reader(with_gaps() if change in (CHANGES["filled"], CHANGES["both"]) else VALUES)


# --- executors


def test_workers_give_the_very_results_of_this_process(change, reader):
    stack = in_blocks(reader)
    found = results(change(stack.with_executor(ClusterExecutor(HereNow()))))
    assert_same(found, results(change(stack)))


def test_a_device_gives_the_results_of_this_process(change, reader):
    stack = in_blocks(reader)
    found = results(change(stack.with_executor(DeviceExecutor(Accelerator("cpu")))))
    # sums of at most 23 * 16 float32 values in another order
    assert_same(found, results(change(stack)), rtol=1e-5)


@pytest.mark.parametrize("executor", [SerialExecutor(), DeviceExecutor(Accelerator("cpu"))])
def test_blocks_give_the_results_of_the_array(change, executor, reader):
    found = results(change(in_blocks(reader).with_executor(executor)))
    whole = results(change(BlockedStack.over(reader.values, MASK).with_executor(executor)))
    if np.isnan(
        reader.values
    ).any():  # the last bits of a fit, and pixels that do not count, depend on blocks
        del whole["digest"], whole["sample"]
        for each in (found, whole):
            each["images"], each["rows"] = each["images"] * MASK, each["rows"] * MASK
    assert_same(found, whole, rtol=1e-5)


@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_two_parts_a_worker_are_on_their_way(n_workers):
    client = HereNow(n_workers)
    in_blocks(frames=1).with_executor(ClusterExecutor(client)).project(SPECTRA)
    assert client.most == 2 * max(1, n_workers)
    assert client.n_waiting == 0


def test_workers_are_not_asked_for_a_stack_in_memory():
    client = HereNow()
    stack = BlockedStack.over(VALUES, MASK)
    found = results(stack.with_executor(ClusterExecutor(client)))
    assert client.most == 0
    assert_same(found, results(stack))


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (StackError("no frame 7"), StackError, "no frame 7"),
        (
            ValueError("broken\n chunk"),
            ReadError,
            r"worker of the cluster failed \(ValueError: broken chunk\)",
        ),
    ],
)
def test_an_error_of_a_worker_is_one_of_the_package(error, kind, text):
    stack = in_blocks(Reader(error=error)).with_executor(ClusterExecutor(HereNow()))
    with pytest.raises(XanesumError, match=text) as caught:
        stack.average(1)
    assert type(caught.value) is kind


def test_an_error_of_a_read_ends_the_pass():
    with pytest.raises(OSError, match="gone"):
        in_blocks(Reader(error=OSError("gone"))).project(SPECTRA)


@dataclass
class Noting:
    """An executor that only notes the parts of the passes asked for."""

    copies_blocks: bool
    parts: list = field(default_factory=list)

    def sums(self, stack, parts, request, progress):
        self.parts += parts
        return iter(())

    def images(self, stack, parts, spectra, progress):
        self.parts += parts
        return np.zeros((len(spectra), *stack.shape[1:]), np.float32)


@pytest.mark.parametrize(("copies", "n_parts"), [(False, 1), (True, 4)])
def test_blocks_for_a_device_are_small(copies, n_parts):
    """A device gets parts of at most BLOCK_BYTES, 64 MB: 16 frames of 4 MB."""
    noting = Noting(copies)
    stack = BlockedStack(Reader(), (60, 1000, 1000), np.ones((1000, 1000), bool), True, 1e3 * BLOCK_BYTES)
    stack.with_executor(noting).project(np.ones((1, 60)))
    assert len(noting.parts) == n_parts
    assert sum(part.energies.stop - part.energies.start for part in noting.parts) == 60


@pytest.mark.parametrize(
    ("make", "all_energies"),
    [
        (lambda stack: stack, False),
        (lambda stack: stack.filled(SPECTRA), True),  # a fit needs the whole spectrum of a pixel
    ],
)
@pytest.mark.parametrize("act", [lambda stack: stack.project(SPECTRA), lambda stack: stack.average(3)])
def test_parts_have_whole_spectra_or_whole_frames(make, all_energies, act):
    noting = Noting(False)
    act(make(in_blocks(frames=5).with_executor(noting)))
    sizes = {(p.energies.stop - p.energies.start, p.rows.stop - p.rows.start) for p in noting.parts}
    assert all(size[0 if all_energies else 1] == SHAPE[0 if all_energies else 1] for size in sizes)
    assert len(noting.parts) > 1


@pytest.mark.parametrize("device", [False, True])
def test_a_pass_tells_how_far_it_is(device):
    shares = []
    stack = in_blocks()
    stack = stack.with_executor(DeviceExecutor(Accelerator("cpu"))) if device else stack
    stack.project(SPECTRA, shares.append)
    n = -(-SHAPE[0] // 5)
    if device:  # the last block needs no other one to come
        shares.append(1.0)
    np.testing.assert_allclose(shares, np.arange(1, n + 1) / n)


@pytest.mark.parametrize(
    ("device", "client", "kind"),
    [("cpu", None, SerialExecutor), ("cpu", object(), ClusterExecutor), ("cuda", object(), ClusterExecutor)],
)
def test_the_executor_is_chosen_by_client_and_device(device, client, kind):
    assert type(executor_for(device, client)) is kind


def test_a_gpu_becomes_an_executor(monkeypatch):
    monkeypatch.setattr(executors, "accelerator_for", lambda device: Accelerator("cpu"))
    assert isinstance(executor_for("cuda"), DeviceExecutor)


def test_threads_are_as_many_as_cores_that_may_be_used():
    assert cpu_backend.N_THREADS == N_THREADS


@dataclass
class Timed:
    """An executor that notes the seconds of each pass: how a benchmark can see the passes."""

    inner: SerialExecutor
    seconds: list[float] = field(default_factory=list)

    @property
    def copies_blocks(self):
        return self.inner.copies_blocks

    def sums(self, *arguments):
        started = time.perf_counter()
        yield from self.inner.sums(*arguments)
        self.seconds.append(time.perf_counter() - started)

    def images(self, *arguments):
        started = time.perf_counter()
        found = self.inner.images(*arguments)
        self.seconds.append(time.perf_counter() - started)
        return found


def test_an_executor_can_be_wrapped():
    timed = Timed(SerialExecutor())
    stack = in_blocks()
    assert_same(results(stack.with_executor(timed)), results(stack))
    assert len(timed.seconds) == 3  # survey, averages, images
    assert min(timed.seconds) > 0


# --- checkpoints


def checkpointed(stack, folder):
    return CheckpointedStack(stack, Checkpoint(folder, "this stack"))


def test_both_kinds_of_stack_are_stacks_in_blocks(tmp_path):
    stack = in_blocks()
    kept = checkpointed(stack, tmp_path)
    assert isinstance(stack, StackInBlocks)
    assert isinstance(kept, StackInBlocks)
    assert kept.mask is stack.mask
    assert (kept.shape, len(kept), kept.in_memory) == (SHAPE, SHAPE[0], False)


def test_a_checkpoint_changes_no_bit_of_a_result(tmp_path, change, reader):
    wanted = results(change(in_blocks(reader)))
    for _ in ("computed", "remembered"):
        assert_same(results(change(checkpointed(in_blocks(reader), tmp_path))), wanted)


def test_a_pass_that_was_finished_is_not_made_again(tmp_path, change):
    first, again = Reader(), Reader()
    for reader in (first, again):
        stack = change(checkpointed(in_blocks(reader), tmp_path))
        stack.survey(PIXELS, 4), stack.average(4), stack.project(SPECTRA)
    assert first.n_read >= 3 * VALUES.size
    assert again.n_read == 0


def test_results_of_another_form_are_not_taken(tmp_path, monkeypatch):
    """A run that was killed may be resumed by a later version, whose arrays have other names."""
    monkeypatch.setattr("xanesum.streaming.checkpointed_stack.FORM", "form 1")
    checkpointed(in_blocks(), tmp_path).average(4)
    monkeypatch.undo()
    reader = Reader()

    checkpointed(in_blocks(reader), tmp_path).average(4)

    assert reader.n_read >= VALUES.size


@pytest.mark.parametrize(
    "other",
    [
        lambda stack: stack.project(SPECTRA[:2]),
        lambda stack: stack.project(2 * SPECTRA),
        lambda stack: stack.average(3),
        lambda stack: stack.survey(PIXELS[:2], 4),
        lambda stack: stack.survey(PIXELS, 5),
        lambda stack: stack.rescaled(rescaling(0.0)).project(SPECTRA),
        lambda stack: stack.rescaled(rescaling()).average(4),
        lambda stack: stack.filled(SPECTRA).average(4),
        lambda stack: replace(stack, stack=replace(stack.stack, mask=~MASK)).average(4),
        lambda stack: replace(stack, checkpoint=Checkpoint(stack.checkpoint.folder, "other")).average(4),
    ],
)
def test_another_request_is_not_taken_for_one_that_was_finished(tmp_path, other):
    reader = Reader()
    stack = checkpointed(in_blocks(reader), tmp_path)
    stack.project(SPECTRA), stack.average(4), stack.survey(PIXELS, 4)
    stack.rescaled(rescaling(0.5)).average(4)
    stack.rescaled(rescaling(0.5)).project(SPECTRA)
    before = reader.n_read
    other(stack)
    assert reader.n_read > before


def test_the_executor_is_no_part_of_a_request(tmp_path):
    """A run that was killed on a cluster goes on without it."""
    reader = Reader()
    on_workers = in_blocks(reader).with_executor(ClusterExecutor(HereNow()))
    checkpointed(on_workers, tmp_path).project(SPECTRA)
    before = reader.n_read
    checkpointed(in_blocks(reader), tmp_path).project(SPECTRA)
    assert reader.n_read == before


def test_what_was_kept_can_be_cleared(tmp_path):
    folder = tmp_path / "kept"
    stack = checkpointed(in_blocks(), folder)
    stack.project(SPECTRA)
    assert len(list(folder.iterdir())) == 1
    stack.filled(SPECTRA).clear()
    assert not folder.exists()
    in_blocks().clear()  # nothing to do
