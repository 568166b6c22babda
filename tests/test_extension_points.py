"""The four places where others add code, each in as few lines as a newcomer would write."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import uniform_filter

import xanesum as xs
from xanesum.denoisers.base import ImageDenoiser
from xanesum.io import registry
from xanesum.io.maps import write_map
from xanesum.io.scan import Format, Scan
from xanesum.testing import DenoiserTests
from xanesum.workflow.loading import load_scan
from xanesum.workflow.pipeline import denoise_scan, map_result
from xanesum.workflow.recipe import DenoiseOptions, InputOptions, Recipe

SHAPE = (40, 50, 36)  # energies, rows, columns


@pytest.fixture(scope="module")
def noisy():
    phantom = xs.simulate("particle", shape=SHAPE[1:], n_energies=SHAPE[0], rng=np.random.default_rng(1))
    return phantom.noisy(10.0, rng=np.random.default_rng(2))


# --- a reader: a `Format` in the list of `xanesum.io.formats`


def is_numpy_scan(path, head):
    return head.startswith(b"\x93NUMPY") and path.with_suffix(".json").is_file()


def open_numpy_scan(path):
    values = np.load(path, mmap_mode="r")
    energy = np.array(json.loads(path.with_suffix(".json").read_text("utf-8")))
    return Scan(
        shape=values.shape,
        dtype=values.dtype,
        read=lambda key: np.array(values[key]),  # called with an index (energy, row, column)
        energy=energy,
        quantity="optical_density",
    )


NUMPY_SCAN = Format("numpy", "NumPy array with energies in JSON", (".npy",), is_numpy_scan, open_numpy_scan)


def test_a_reader(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FORMATS", (*registry.FORMATS, NUMPY_SCAN))
    np.save(tmp_path / "scan.npy", noisy.values)
    (tmp_path / "scan.json").write_text(json.dumps(noisy.energy.values.tolist()), "utf-8")

    stack = xs.read_stack(tmp_path / "scan.npy")

    np.testing.assert_array_equal(stack.values, noisy.values)
    np.testing.assert_array_equal(stack.energy, noisy.energy)


# --- a denoiser: an object that follows `Denoiser`; `DenoiserTests` checks the statistics that are relied on


class LocalWiener(ImageDenoiser):
    """Keep as much of the difference from the local mean as is not noise."""

    name = "local_wiener"
    takes_sigma_map = True

    def _denoise_image(self, image, sigma):
        mean = uniform_filter(image, 5)
        variance = np.maximum(uniform_filter(image**2, 5) - mean**2, 1e-12)
        return mean + np.maximum(0, 1 - sigma**2 / variance) * (image - mean)


class TestLocalWiener(DenoiserTests):
    risk_limits = {**DenoiserTests.risk_limits, 0.1: 0.2}  # noqa: RUF012  a window of 5 x 5 px averages little

    def make_denoiser(self):
        return LocalWiener()


def test_a_denoiser(noisy):
    result = xs.denoise(noisy, denoiser=LocalWiener())

    assert result.provenance["denoiser"] == "local_wiener"


# --- a map: a function from a result to a Dataset; a result is a few spectra times as many images


def step_map(result):
    """Return the last value of every pixel's spectrum less the first."""
    rise = result.spectra.isel(energy=-1, drop=True) - result.spectra.isel(energy=0, drop=True)
    step = (rise * result.coefficients).sum("component")
    return xr.Dataset({"step": step, "mask": xr.full_like(step, True, dtype=bool)})


def test_a_map(noisy, tmp_path):
    result = xs.denoise(noisy, denoiser="wavelet")
    stack = result.reconstruct()

    maps = step_map(result)
    (path,) = write_map(maps, "step", tmp_path / "step.h5")

    np.testing.assert_allclose(maps["step"], stack[-1].values - stack[0].values, rtol=1e-4, atol=1e-3)
    assert path.is_file()


# --- a step: a function from stack to stack, between those of `xanesum.workflow.pipeline`


def without_offset(stack):
    """Take the median of the first frame off the stack."""
    return stack.copy(data=stack.values - np.median(stack.values[0])).assign_attrs(stack.attrs)


def test_a_step(noisy, tmp_path):
    path = xs.write_stack(noisy + 1000, tmp_path / "scan.h5")

    stack, _ = load_scan(path, InputOptions())
    stack = without_offset(stack)
    result = denoise_scan(stack, DenoiseOptions(denoiser="wavelet"))
    maps = map_result(result, Recipe())

    assert np.isfinite(maps["half_step_energy_ev"].values[maps["mask"].values]).all()
