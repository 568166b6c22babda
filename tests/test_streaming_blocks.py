"""A stack in blocks: the same result whether it is in memory or read in blocks, rescaled or not."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scans import add_noise, low_rank

from xanesum import denoise, half_step_energy, read_stack, simulate, write_stack
from xanesum.errors import MissingExtraError, RecipeError, StackError
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.linalg.binning import average_pixels, coarse_scale, mean_over_blocks
from xanesum.linalg.subspace import fit_basis, project
from xanesum.method.problem import Level, Problem
from xanesum.method.sum_plus import fit_sum_plus
from xanesum.method.sure import stack_sum_of_squares
from xanesum.stack import make_stack
from xanesum.storage.lazy import lazy_array
from xanesum.streaming.blocked_stack import BlockedStack
from xanesum.streaming.interface import Rescaling
from xanesum.streaming.resources import Resources

SHAPE = (37, 41)  # no multiple of anything
N_ENERGIES = 23


def fresh(seed=0):
    return np.random.default_rng(seed)


def values(seed=0):
    return add_noise(low_rank(n_energies=N_ENERGIES, shape=SHAPE), 1.0, seed)


def masked():
    mask = np.ones(SHAPE, bool)
    mask[3:9, :11] = False
    mask[fresh(1).random(SHAPE) < 0.05] = False
    return mask


def in_blocks(stack, mask, rows=7):
    """A stack whose blocks hold as many values at a time as some rows of all frames are."""
    size = 4.0 * rows * stack[:, 0].size
    return BlockedStack(lambda energies, part: stack[energies, part].copy(), stack.shape, mask, False, size)


def rescaling(excess=0.3):
    along = fresh(2).standard_normal(N_ENERGIES)
    return Rescaling(
        fresh(3).uniform(0.5, 2, SHAPE).astype(np.float32),
        fresh(4).uniform(0.5, 2, N_ENERGIES),
        along / np.linalg.norm(along),
        excess,
    )


def weighed_by(how, stack):
    even = stack * how.pixel * how.energy[:, None, None]
    return (even - how.excess * np.multiply.outer(how.along, np.tensordot(how.along, even, 1))).astype(
        np.float32
    )


# --- one pass


@pytest.mark.parametrize("mask", [np.ones(SHAPE, bool), masked()], ids=["all", "masked"])
@pytest.mark.parametrize("scale", [1, 2, 5, 64])
@pytest.mark.parametrize("blocks", [False, True])
def test_averages_are_those_of_the_array(mask, scale, blocks):
    stack = values()
    passes = in_blocks(stack, mask) if blocks else BlockedStack.over(stack, mask)

    found = passes.average(scale)

    wanted = average_pixels(stack, scale, mask=mask)
    known = np.broadcast_to(found.mask, wanted.shape) if scale == 1 else np.ones_like(wanted, bool)
    np.testing.assert_allclose(found.values[known], wanted[known], rtol=1e-5, atol=1e-4)
    assert found.sum_of_squares == pytest.approx(stack_sum_of_squares(stack, mask), rel=1e-6)


@pytest.mark.parametrize("mask", [np.ones(SHAPE, bool), masked()], ids=["all", "masked"])
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("excess", [0.0, 0.6])
def test_weighing_on_the_way_is_weighing_before(mask, blocks, excess):
    stack, how = values(), rescaling(excess)
    passes = (in_blocks(stack, mask) if blocks else BlockedStack.over(stack, mask)).rescaled(how)
    wanted = weighed_by(how, stack)
    spectra = fit_basis(stack, 3, rng=fresh()).spectra

    found = passes.average(4)

    np.testing.assert_allclose(passes.project(spectra), project(spectra, wanted), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.values, average_pixels(wanted, 4, mask=mask), rtol=1e-4, atol=1e-3)
    assert found.sum_of_squares == pytest.approx(stack_sum_of_squares(wanted, mask), rel=1e-5)


def test_a_stack_in_memory_is_not_copied():
    stack = values()
    assert BlockedStack.over(stack, np.ones(SHAPE, bool)).average(1).values.base is stack


def test_what_is_missing_is_filled_on_the_way():
    clean = low_rank(n_energies=N_ENERGIES, shape=SHAPE)
    stack, mask = clean.copy(), masked()
    stack[5, 20, 20] = stack[7, 2:4, 30] = np.nan
    stack[:, ~mask] = np.nan
    spectra = fit_basis(clean, 3, rng=fresh()).spectra

    passes = in_blocks(stack, mask).filled(spectra)

    wanted = np.where(mask, clean, 0)
    np.testing.assert_allclose(passes.average(1).values, wanted, atol=1e-3)
    np.testing.assert_allclose(passes.project(spectra), project(spectra, wanted), atol=1e-2)


# --- the first look


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_a_survey_does_not_depend_on_the_blocks(rows):
    stack, mask, pixels = values(), masked(), np.array([0, 5, 41, 700, 1516])
    wanted, averages = BlockedStack.over(stack, mask).survey(pixels, 4)

    found, same = in_blocks(stack, mask, rows).survey(pixels, 4)

    assert found.digest == wanted.digest
    np.testing.assert_array_equal(found.sample, stack.reshape(N_ENERGIES, -1)[:, pixels])
    np.testing.assert_allclose(same.values, averages.values, rtol=1e-6, atol=1e-5)


def test_a_survey_counts_what_cannot_be_used():
    stack, mask = values(), masked()
    stack[2, 20, 20], stack[3, 5, 5], stack[9] = np.inf, np.nan, 0  # the second does not count
    mask[20, 20] = True
    assert not mask[5, 5]

    found, _ = in_blocks(stack, mask).survey(np.zeros(0, int), 2)

    assert (found.n_missing, found.n_bad) == (2, 1)
    np.testing.assert_array_equal(np.flatnonzero(found.blank), [9])


@pytest.mark.parametrize("change", ["one value", "two pixels change places", "two rows change places"])
def test_any_change_changes_the_digest(change):
    stack = values()
    other = stack.copy()
    if change == "one value":
        other[3, 4, 5] = np.nextafter(other[3, 4, 5], np.float32(np.inf))
    elif change == "two pixels change places":
        other[3, 4, [5, 6]] = stack[3, 4, [6, 5]]
    else:
        other[3, [4, 6]] = stack[3, [6, 4]]
    digests = [
        BlockedStack.over(each, np.ones(SHAPE, bool)).survey(np.zeros(0, int), 1)[0].digest
        for each in (stack, other)
    ]
    assert digests[0] != digests[1]


# --- small helpers


def test_means_over_blocks_leave_out_what_does_not_count():
    image, mask = fresh().uniform(1, 2, (1, *SHAPE)).astype(np.float32), masked()
    found = mean_over_blocks(image, mask, 4)
    assert found[0, 0, 9] == pytest.approx(image[0, :4, 36:40][mask[:4, 36:40]].mean(), rel=1e-5)
    assert mean_over_blocks(image, np.zeros(SHAPE, bool), 4).min() == 1


@pytest.mark.parametrize(
    ("shape", "memory", "scale"),
    [((117, 256, 320), np.inf, 1), ((969, 379, 520), np.inf, 2), ((969, 1193, 1193), np.inf, 6)],
)
def test_large_images_are_averaged_and_small_ones_are_not(shape, memory, scale):
    assert coarse_scale(shape, memory) == scale


def test_averages_fit_into_the_memory():
    scale = coarse_scale((2000, 4096, 4096), 1e9)
    assert 4 * 2000 * (4096 / scale) ** 2 <= 1.01e9
    assert 4 * 2000 * (4096 / (scale - 1)) ** 2 > 0.99e9


# --- the whole


PHANTOM = simulate("particle", shape=(120, 150), n_energies=40)


def noisy_scan(sigma=60.0):
    clean = PHANTOM.clean()
    return clean.copy(data=add_noise(clean.values, sigma))


@pytest.fixture
def averaged(monkeypatch):
    """Spectra are sought in averages also of small images."""
    monkeypatch.setattr("xanesum.method.intake.coarse_scale", lambda shape, most=np.inf: 2)


def lazily(stack):
    data = stack.values
    variable = lazy_array(stack.shape, lambda key: data[key])
    return make_stack(variable, stack.energy.values).assign_coords(
        {name: stack[name] for name in ("mask", "weight") if name in stack.coords}
    )


@pytest.mark.parametrize("noise", ["white", "auto"])
def test_a_stack_that_does_not_fit_gives_the_same(averaged, noise):
    stack = noisy_scan()
    stack = stack.assign_coords(mask=(("y", "x"), fresh(5).random(stack.shape[1:]) > 0.03))
    whole = denoise(stack, denoiser="wavelet", noise=noise)

    found = denoise(lazily(stack), denoiser="wavelet", noise=noise, memory=1e6)

    assert found.provenance["input_digest"] == whole.provenance["input_digest"]
    assert found.rank == whole.rank
    np.testing.assert_allclose(found.reconstruct().values, whole.reconstruct().values, atol=0.05)


def test_missing_values_and_frames_too(averaged):
    stack = noisy_scan(10.0)
    data = stack.values.copy()
    data[4, 50, 60:90] = np.nan
    weight = np.ones(len(data))
    weight[11] = 0
    stack = stack.copy(data=data).assign_coords(weight=("energy", weight))
    stack.attrs["missing_values"] = 30
    later = lazily(stack)
    later.attrs["missing_values"] = 30

    found = denoise(later, denoiser="wavelet", memory=1e6)

    clean = PHANTOM.clean().values[weight > 0]
    residual = found.reconstruct().values[weight > 0] - clean
    assert np.sqrt(np.mean(residual**2)) < 2.5
    assert np.abs(residual[4, 50, 60:90]).mean() < 4


def test_the_method_of_the_paper_too():
    stack = noisy_scan()
    whole = denoise(stack, method="sum", denoiser="wavelet", rank=4)
    found = denoise(lazily(stack), method="sum", denoiser="wavelet", rank=4, memory=1e6)
    np.testing.assert_allclose(found.reconstruct().values, whole.reconstruct().values, atol=0.1)


def test_averages_find_the_map_that_all_pixels_find(averaged, monkeypatch):
    stack, truth = noisy_scan(), half_step_energy(PHANTOM.clean())
    coarse = denoise(stack)
    monkeypatch.undo()
    fine = denoise(stack)

    errors = []
    for result in (coarse, fine):
        found = half_step_energy(result, e0_ev=truth.attrs["e0_ev"])
        misses = (found.half_step_energy_ev - truth.half_step_energy_ev).values[PHANTOM.mask]
        errors.append(np.sqrt(np.nanmean(misses**2)))
    assert errors[0] < 1.03 * errors[1]


@pytest.mark.parametrize("spoil", ["nan", "blank"])
def test_what_cannot_be_used_is_refused_wherever_it_is(spoil):
    stack = noisy_scan()
    data = stack.values.copy()
    data[7, 100, 100] = np.nan
    if spoil == "blank":
        data[7] = 0
    lazy = lazily(stack.copy(data=data))
    with pytest.raises(StackError, match="not finite" if spoil == "nan" else "zero everywhere"):
        denoise(lazy, denoiser="wavelet", memory=1e6)


def test_a_file_is_read_in_blocks(tmp_path, monkeypatch, averaged):
    monkeypatch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
    stack = noisy_scan()
    lazy = read_stack(write_stack(stack, tmp_path / "scan.h5"))
    assert not isinstance(lazy.variable._data, np.ndarray)

    found = denoise(lazy, denoiser="wavelet", memory=1e6)

    assert not isinstance(lazy.variable._data, np.ndarray)  # nothing was loaded behind the scenes
    np.testing.assert_allclose(
        found.reconstruct().values, denoise(stack, denoiser="wavelet").reconstruct().values, atol=0.05
    )


@pytest.mark.filterwarnings("ignore:component .+ is close to the limit")  # the third of five
def test_uneven_noise_is_made_even_on_the_way(averaged):
    """Division in the passes gives what division of a copy gives."""
    clean = PHANTOM.clean()
    sigma = 20 * np.exp(1.5 * clean.values / 255)
    stack = clean.copy(data=(clean.values + sigma * fresh().standard_normal(clean.shape)).astype(np.float32))

    found = denoise(stack, denoiser="wavelet")
    white = denoise(stack, denoiser="wavelet", noise="white")

    errors = [np.mean((each.reconstruct() - clean).values ** 2) for each in (found, white)]
    assert not found.noise_is_even
    true = np.log(sigma).mean(axis=0)[PHANTOM.mask]
    rest = np.log(found.sigma_pixel.values)[PHANTOM.mask] - true
    assert rest.std() < 0.6 * true.std()  # as large as `true` where pixels are all taken to be alike
    assert errors[0] < errors[1]


def test_the_noise_of_averages_is_measured_where_neighbours_share_it(averaged):
    clean = PHANTOM.clean()
    white = fresh().standard_normal(clean.shape).astype(np.float32)
    shared = (white + np.roll(white, 1, axis=2)) / np.sqrt(2)
    found = denoise(clean.copy(data=clean.values + 30 * shared), denoiser="wavelet")
    assert found.sigma == pytest.approx(30, rel=0.05)
    np.testing.assert_allclose(np.nanmedian(found.sigma_energy), 30, rtol=0.05)


def test_the_risk_is_that_of_the_whole_stack():
    stack = noisy_scan(60.0).values
    mask = np.ones(stack.shape[1:], bool)
    averages = BlockedStack.over(stack, mask).average(2)
    single = Problem.with_one_level(
        stack,
        PHANTOM.energy_ev,
        mask=mask,
        sigma=60.0,
        denoise_at=lambda images, sigma, mask: images,
        rng=fresh(),
    )
    blocks, known = BlockedStack.over(stack, mask), averages.sum_of_squares
    averaged = replace(
        single,
        coarse=Level(averages.values, averages.mask, 60.0),
        full=Level(blocks, mask, 60.0, known_sum_of_squares=known),
        scale=2,
    )
    fits = [
        fit_sum_plus(each, 2, without=("smoothing", "shrinkage"))
        for each in (averaged, replace(single, rng=averaged.rng))
    ]
    assert fits[0].risk.risk[2] == pytest.approx(fits[1].risk.risk[2], rel=0.03)
    gains = [fit.risk.risk[0] - fit.risk.risk[2] for fit in fits]  # by the components, of the sum of squares
    assert gains[0] == pytest.approx(gains[1], rel=1e-3)
    assert averaged.on_the_coarse_level().full.stack is averages.values


def test_dask_arrays_are_read_in_their_blocks(averaged):
    pytest.importorskip("dask", reason='needs pip install "xanesum[cluster]"')
    stack = noisy_scan()
    chunked = stack.chunk({"energy": 7, "y": 50})
    one, two = (denoise(each, denoiser="wavelet", memory=1e6) for each in (stack, chunked))
    np.testing.assert_allclose(one.coefficients, two.coefficients, atol=1e-2)
    assert one.provenance["input_digest"] == two.provenance["input_digest"]


def test_xarray_stacks_of_other_kinds_are_taken_too(averaged):
    stack = noisy_scan()
    double = stack.astype(np.float64)
    assert isinstance(double, xr.DataArray)
    one, two = (denoise(each, denoiser="wavelet").reconstruct().values for each in (stack, double))
    np.testing.assert_allclose(one, two, atol=1e-3)


# --- killed, and gone on


class Counted:
    """A lazy stack that counts how often each row is read, and stops after so many reads."""

    def __init__(self, stack, most=np.inf):
        self.data, self.reads, self.most = stack.values, 0, most
        variable = lazy_array(stack.shape, self.read)
        self.stack = make_stack(variable, stack.energy.values)

    def read(self, key):
        self.reads += self.data[key].size
        if self.reads > self.most * self.data.size:
            raise KeyboardInterrupt
        return self.data[key]


def test_a_killed_run_goes_on_where_it_was(averaged, tmp_path):
    stack, folder = noisy_scan(), tmp_path / "kept"
    options = {"denoiser": "wavelet", "noise": "white", "memory": 1e6}
    wanted = denoise(Counted(stack).stack, **options)
    killed = Counted(stack, most=1.5)
    with pytest.raises(KeyboardInterrupt):
        denoise(killed.stack, checkpoint=folder, **options)
    assert any(folder.iterdir())

    again = Counted(stack)
    found = denoise(again.stack, checkpoint=folder, **options)

    assert again.reads < 1.2 * stack.size  # of two passes
    np.testing.assert_array_equal(found.coefficients, wanted.coefficients)
    np.testing.assert_array_equal(found.spectra, wanted.spectra)
    assert not folder.exists()


def test_a_checkpoint_is_not_taken_for_that_of_another_scan(averaged, tmp_path):
    options = {"denoiser": "wavelet", "noise": "white", "memory": 1e6}
    with pytest.raises(KeyboardInterrupt):
        denoise(Counted(noisy_scan(), most=1.5).stack, checkpoint=tmp_path, **options)
    other = noisy_scan(30.0)
    (tmp_path / "mine.txt").write_text("stays")

    found = denoise(Counted(other).stack, checkpoint=tmp_path, **options)

    assert found.sigma == pytest.approx(30, rel=0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# --- many workers


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed", reason='needs pip install "xanesum[cluster]"')
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore")  # of a cluster that starts and ends
def test_two_workers_give_what_one_process_gives(client, averaged, tmp_path, monkeypatch):
    monkeypatch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
    stack = noisy_scan()
    stack = stack.assign_coords(mask=(("y", "x"), fresh(5).random(stack.shape[1:]) > 0.03))
    lazy = read_stack(write_stack(stack, tmp_path / "scan.h5"))
    options = {"denoiser": "wavelet", "memory": 1e6}
    wanted = denoise(lazy, **options)

    found = denoise(lazy, scheduler=client, **options)

    np.testing.assert_allclose(found.coefficients, wanted.coefficients, atol=1e-3)
    np.testing.assert_allclose(found.spectra, wanted.spectra, atol=1e-5)
    assert found.provenance["input_digest"] == wanted.provenance["input_digest"]


@pytest.mark.filterwarnings("ignore")
def test_workers_do_the_reading(client, averaged):
    stack = noisy_scan()
    counted = Counted(stack)
    denoise(counted.stack, denoiser="wavelet", noise="white", memory=1e6, scheduler=client)
    assert counted.reads < 0.2 * stack.size  # their copies count for themselves


@pytest.mark.filterwarnings("ignore")
def test_workers_read_for_the_drift_too(client, averaged):
    stack = noisy_scan()
    tilt = np.linspace(-1, 1, stack.shape[2], dtype=np.float32)
    stack.values += 200 * np.float32(fresh(6).standard_normal((len(stack), 1, 1))) * tilt
    counted, alone = Counted(stack), Counted(stack)
    options = {"drift": "always", "denoiser": "wavelet"}
    little = Resources.given(1e6, None, None, "cpu")
    _, wanted = correct_flat_drift(alone.stack, resources=little, **options)
    _, found = correct_flat_drift(counted.stack, resources=replace(little, scheduler=client), **options)

    assert counted.reads < 0.2 * stack.size <= alone.reads
    assert found.rms == pytest.approx(wanted.rms, rel=1e-4)


def test_a_scheduler_that_is_not_there(monkeypatch):
    pytest.importorskip("distributed", reason='needs pip install "xanesum[cluster]"')
    monkeypatch.setattr("xanesum.streaming.dask_client.CONNECT_S", 0.3)
    with pytest.raises(RecipeError, match="no Dask scheduler"):
        denoise(noisy_scan(), scheduler="tcp://127.0.0.1:1")


def test_a_scheduler_without_dask_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"xanesum\[cluster\]"):
        denoise(noisy_scan(), scheduler="tcp://127.0.0.1:1")
