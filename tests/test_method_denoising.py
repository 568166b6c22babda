"""denoise: better than the noise, honest about what it did, deaf to what does not count."""

import warnings
from datetime import datetime

import numpy as np
import pytest
import xarray as xr
from scans import add_noise, low_rank

from xanesum.denoisers.wavelet import WaveletDenoiser
from xanesum.errors import (
    DenoiserError,
    EnergyError,
    RankError,
    ReadError,
    RecipeError,
    SigmaError,
    StackError,
    WriteError,
    XanesumWarning,
)
from xanesum.linalg.subspace import fit_basis, project, reconstruct
from xanesum.method.denoising import denoise
from xanesum.method.options import METHODS
from xanesum.result import load_result
from xanesum.stack import QUANTITIES, make_stack

ENERGY = np.linspace(8300.0, 8400.0, 30)
CLEAN = low_rank((40.0, 8.0, 2.0)) + np.float32(3)
NOISY = add_noise(CLEAN, 1.0)


def stack_of(values, **attrs):
    stack = make_stack(values, ENERGY[: len(values)])
    stack.attrs.update(attrs)
    return stack


def mean_square(estimate):
    return float(np.mean((np.asarray(estimate) - CLEAN) ** 2))


each_method = pytest.mark.parametrize("method", METHODS)


@each_method
def test_beats_the_svd_of_the_true_rank(method):
    result = denoise(stack_of(NOISY), method=method)
    spectra = fit_basis(NOISY, 4, rng=np.random.default_rng(0)).spectra
    svd = mean_square(reconstruct(spectra, project(spectra, NOISY)))

    assert mean_square(result.reconstruct()) < 0.6 * svd
    assert result.sigma == pytest.approx(1.0, rel=0.03)
    assert 3 <= result.rank <= 5


@each_method
def test_spectra_are_orthonormal_and_images_lean_positive(method):
    result = denoise(stack_of(NOISY), method=method)

    np.testing.assert_allclose(
        result.spectra.values @ result.spectra.values.T, np.eye(result.rank), atol=1e-6
    )
    assert (result.coefficients.mean(("y", "x")) >= 0).all()


def test_without_denoiser_it_is_the_truncated_svd():
    result = denoise(stack_of(NOISY), method="sum", denoiser="none", rank=3)
    spectra = fit_basis(NOISY, 3, rng=np.random.default_rng(0)).spectra

    np.testing.assert_allclose(
        result.reconstruct().values,
        reconstruct(spectra, project(spectra, NOISY)),
        atol=1e-4 * np.abs(NOISY).max(),
    )


def test_a_given_sigma_is_used_instead_of_the_estimate():
    estimated, given = (denoise(stack_of(NOISY), method="sum", rank=3, sigma=s) for s in (None, 3.0))

    assert given.sigma == 3.0
    assert np.std(given.coefficients[2]) < np.std(estimated.coefficients[2])  # smoothed more


@each_method
def test_result_describes_itself(method):
    result = denoise(stack_of(NOISY), method=method)

    assert result.rank == int(result.risk["rank"][result.risk["chosen"].values].item())
    assert result.risk["chosen"].values.sum() == 1
    assert {"xanesum", "numpy", "input_digest", "denoiser", "method", "seconds"} <= set(result.provenance)
    assert result.sigma_energy.shape == ENERGY.shape
    assert denoise(stack_of(NOISY + 1)).provenance["input_digest"] != result.provenance["input_digest"]


def test_a_reconstruction_can_take_the_place_of_the_noisy_values():
    values = NOISY.copy()
    result = denoise(stack_of(values), rank=3)
    wanted = result.reconstruct().values

    found = result.reconstruct(out=values)

    assert np.shares_memory(found.values, values)
    np.testing.assert_allclose(values, wanted, atol=1e-5 * np.abs(wanted).max())
    assert found.attrs["history"] == result.reconstruct().attrs["history"]


@pytest.mark.parametrize("out", [np.zeros((2, 3, 4), np.float32), np.zeros(NOISY.shape, int)])
def test_a_reconstruction_needs_a_place_of_its_shape(out):
    result = denoise(stack_of(NOISY), rank=1)
    with pytest.raises(StackError, match="out must be"):
        result.reconstruct(out=out)


def test_reconstruction_computes_only_what_is_looked_at(monkeypatch):
    result = denoise(stack_of(NOISY), rank=2)
    lazy = result.reconstruct()
    asked = []
    real = np.tensordot
    monkeypatch.setattr(
        np, "tensordot", lambda a, b, axes: asked.append((a.shape, b.shape)) or real(a, b, axes)
    )

    frame = lazy.isel(energy=3).values

    assert asked == [((2,), (2, 40, 50))]
    np.testing.assert_allclose(frame, result.reconstruct().values[3], atol=1e-6 * np.abs(frame).max())
    assert lazy.dtype == np.float32
    assert lazy.dims == ("energy", "y", "x")
    np.testing.assert_array_equal(lazy.energy, ENERGY)


@each_method
def test_same_generator_same_result_and_input_untouched(method):
    stack = stack_of(NOISY.copy())
    first, again = (denoise(stack, method=method, rng=rng) for rng in (None, np.random.default_rng(0)))

    xr.testing.assert_identical(first.coefficients, again.coefficients)
    np.testing.assert_array_equal(stack.values, NOISY)


@each_method
def test_scaling_the_stack_scales_the_result(method):
    one, thousandth = (denoise(stack_of(NOISY / by), method=method) for by in (1, 1000))

    assert one.rank == thousandth.rank
    np.testing.assert_allclose(thousandth.reconstruct() * 1000, one.reconstruct(), atol=2e-3 * CLEAN.std())


@each_method
def test_masked_pixels_and_weightless_frames_have_no_say(method):
    weight, mask = np.ones(30), np.ones((40, 50), bool)
    weight[[4, 9]], mask[5:8, 5:8] = 0, False
    spoiled = NOISY.copy()
    spoiled[[4, 9]] = 0
    spoiled[:, ~mask] = np.nan
    stack = stack_of(spoiled).assign_coords(weight=("energy", weight), mask=(("y", "x"), mask))
    stack.attrs["missing_values"] = 1

    result = denoise(stack, method=method, rank=4)

    np.testing.assert_array_equal(result.spectra.values[:, [4, 9]], 0)
    used = weight > 0
    error = (result.reconstruct().values - CLEAN)[used][:, mask]
    assert np.mean(error**2) < 1.2 * mean_square(
        denoise(stack_of(NOISY), method=method, rank=4).reconstruct()
    )
    assert np.isfinite(result.reconstruct().values).all()


def test_missing_values_cost_little():
    holes = np.random.default_rng(8).random(NOISY.shape) < 0.02
    stack = stack_of(np.where(holes, np.nan, NOISY), missing_values=int(holes.sum()))

    assert mean_square(denoise(stack, rank=4).reconstruct()) < 1.15 * mean_square(
        denoise(stack_of(NOISY), rank=4).reconstruct()
    )


def test_pure_noise_gives_rank_zero_and_an_empty_stack():
    noise = add_noise(np.zeros_like(CLEAN), 1.0)

    result = denoise(stack_of(noise))

    assert result.rank == 0
    np.testing.assert_array_equal(result.reconstruct().values, 0)


def test_a_clean_stack_stays_as_it_is():
    result = denoise(stack_of(CLEAN))

    assert result.rank == 4
    np.testing.assert_allclose(result.reconstruct().values, CLEAN, atol=1e-3 * np.abs(CLEAN).max())


def test_save_and_load_give_the_same_result(tmp_path):
    result = denoise(stack_of(NOISY, pixel_size_nm=32.5))

    path = result.save(tmp_path / "clean.sum.h5")
    back = load_result(path)

    for name in ("spectra", "coefficients", "sigma_energy"):
        xr.testing.assert_identical(getattr(back, name).drop_attrs(), getattr(result, name).drop_attrs())
    xr.testing.assert_equal(back.risk, result.risk)
    xr.testing.assert_equal(back.components, result.components)
    assert (back.sigma, back.attrs, back.provenance) == (result.sigma, result.attrs, result.provenance)
    np.testing.assert_array_equal(back.reconstruct().values, result.reconstruct().values)
    assert [p.name for p in tmp_path.iterdir()] == ["clean.sum.h5"]


def test_save_into_a_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(WriteError, match="choose another output path"):
        denoise(stack_of(NOISY), rank=1).save(tmp_path / "nowhere" / "x.h5")


def test_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    result = denoise(stack_of(NOISY), rank=1)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("xanesum.result.denoised._write_array", interrupt)
    with pytest.raises(KeyboardInterrupt):
        result.save(tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"just text", None])
def test_load_refuses_what_is_no_result(tmp_path, content):
    path = tmp_path / "x.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReadError, match="no such file" if content is None else "not a xanesum result"):
        load_result(path)


@pytest.mark.parametrize(
    ("spoil", "options", "error", "message"),
    [
        (lambda s: s, {"method": "magic"}, RecipeError, "method must be one of sum\\+, sum, got 'magic'"),
        (lambda s: s, {"rank": 31}, RankError, r"rank must lie in 1\.\.30"),
        (lambda s: s, {"sigma": -1.0}, SigmaError, "sigma must be a positive number, got -1"),
        (lambda s: s.isel(energy=slice(1)), {}, EnergyError, "needs at least 2 energies, the stack has 1"),
        (
            lambda s: s.where(s != s.max()),
            {},
            StackError,
            "1 of 60000 values are not finite; give them weight 0",
        ),
        (
            lambda s: s.where(s.energy > 8310, 0),
            {},
            StackError,
            r"3 of 30 frames are zero everywhere \(at 8300\.0",
        ),
        (lambda s: s.transpose("y", "x", "energy"), {}, StackError, r"expected dimensions \(energy, y, x\)"),
        (lambda s: s.values, {}, StackError, r"expected an xarray\.DataArray .* got ndarray"),
    ],
)
def test_bad_input_says_what_is_wrong(spoil, options, error, message):
    with pytest.raises(error, match=message):
        denoise(spoil(stack_of(NOISY)), **options)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_transmitted_light_is_denoised_with_a_warning(quantity):
    stack = stack_of(NOISY, quantity=quantity)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        denoise(stack, rank=2, denoiser="none")

    said = [str(each.message) for each in caught if issubclass(each.category, XanesumWarning)]
    if quantity in ("counts", "transmission"):
        assert len(said) == 1
        assert said[0].startswith(f"the stack holds {quantity}")
        assert "xanesum.preprocess.prepare(stack)" in said[0]
        assert {each.filename for each in caught} == {__file__}  # the line of the user
    else:
        assert said == []


def test_fewer_components_are_the_first_ones():
    result = denoise(stack_of(NOISY), rank=4)
    shorter = result.truncated(2)

    xr.testing.assert_identical(shorter.coefficients, result.coefficients[:2])
    assert int(shorter.risk["rank"][shorter.risk["chosen"].values].item()) == 2
    with pytest.raises(RankError, match=r"rank must lie in 0\.\.4, .* got 5"):
        result.truncated(5)


class NothingOutsideTheMask(WaveletDenoiser):
    def denoise(self, images, sigma, *, mask=None):
        return np.where(mask, super().denoise(images, sigma, mask=mask), np.nan).astype(np.float32)


def test_what_a_denoiser_gives_outside_the_mask_does_not_matter():
    mask = np.ones(NOISY.shape[1:], bool)
    mask[3] = False
    stack = stack_of(NOISY).assign_coords(mask=(("y", "x"), mask))

    odd, plain = denoise(stack, denoiser=NothingOutsideTheMask()), denoise(stack, denoiser="wavelet")

    assert odd.rank == plain.rank
    np.testing.assert_array_equal(odd.coefficients.values[:, mask], plain.coefficients.values[:, mask])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"denoiser": WaveletDenoiser}, DenoiserError, "pass an instance or a registered name"),
        ({"denoiser": 3}, DenoiserError, "int is not a denoiser"),
        ({"n_probes": 0}, RecipeError, "n_probes must be at least 1, got 0"),
    ],
)
def test_impossible_options(options, error, message):
    with pytest.raises(error, match=message):
        denoise(stack_of(NOISY), **options)


def test_any_attribute_can_be_saved(tmp_path):
    result = denoise(stack_of(NOISY, date=datetime(2026, 1, 2), sizes=np.arange(3)), rank=1)
    result.save(tmp_path / "a.sum.h5")

    attrs = load_result(tmp_path / "a.sum.h5").attrs
    assert attrs["date"].startswith("2026-01-02")
    assert attrs["sizes"] == [0, 1, 2]


class CoarseWavelet(WaveletDenoiser):
    """A denoiser that says how coarsely it rounds, and remembers that it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    @property
    def exact(self):
        return WaveletDenoiser()

    def rounding(self, images, sigma):
        self.asked.append(sigma)
        return np.full(len(images), 0.01)


@pytest.mark.parametrize(("method", "is_asked"), [("sum+", True), ("sum", False)])
def test_a_known_rounding_is_allowed_for(method, is_asked):
    denoiser = CoarseWavelet()

    denoise(stack_of(NOISY), method=method, denoiser=denoiser)

    assert bool(denoiser.asked) == is_asked
    np.testing.assert_allclose(denoiser.asked, 1.0, rtol=0.03)


def test_a_sigma_without_axes_is_a_number():
    given = stack_of(NOISY)[0, 0, 0] * 0 + 1  # as `part.std()` gives it

    found = denoise(stack_of(NOISY), sigma=given, denoiser="wavelet").sigma

    assert type(found) is float
    assert found == 1.0
