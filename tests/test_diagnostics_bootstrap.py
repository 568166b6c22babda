"""Scans drawn again: their noise is that of the result, and the map's scatter that of repeated scans."""

from dataclasses import replace

import numpy as np
import pytest

from xanesum.cli.main import main
from xanesum.diagnostics.bootstrap import bootstrap_map, draw_again
from xanesum.errors import RecipeError
from xanesum.method.denoising import denoise
from xanesum.phantom import expose, simulate
from xanesum.preprocess import prepare
from xanesum.stack import usable_mask
from xanesum.workflow.pipeline import run
from xanesum.workflow.recipe import MapOptions, Recipe
from xanesum.xanes import chemical_map, half_step_energy

PHANTOM = simulate("wedge", shape=(72, 96), n_energies=60)
pytestmark = pytest.mark.filterwarnings("ignore::xanesum.errors.XanesumWarning")
QUICK = {"denoiser": "wavelet", "n_probes": 1}


@pytest.fixture(scope="module")
def result():
    return denoise(STACK, **QUICK)


@pytest.fixture(scope="module")
def maps(result):
    return half_step_energy(result)


def scan(seed, **options):
    options = {"flat_drift": 0.0, "n_flats": 10, **options}
    exposed = expose(PHANTOM, 400.0, rng=np.random.default_rng(seed), **options)
    return prepare(exposed.stack.drop_vars("dark"), flat=exposed.illumination[0])[0]


STACK = scan(1)


def fresh(seed=0):
    return np.random.default_rng(seed)


def test_the_noise_drawn_is_that_of_the_result(result):
    drawn = draw_again(result, rng=fresh())

    expected = result.sigma_energy.values[:, None, None] * result.sigma_pixel.values
    scaled = (drawn.values - np.asarray(result.reconstruct())) / expected
    assert scaled.std() == pytest.approx(1, rel=0.005)
    assert scaled.std(axis=(0, 2)) == pytest.approx(1, abs=0.05)
    assert abs(scaled.mean(axis=0).std() * np.sqrt(60) - 1) < 0.05  # nothing shared
    assert drawn.coords.keys() >= {"energy"}
    assert drawn.attrs["quantity"] == "optical_density"


def test_noise_that_energies_share_is_shared_again(result):
    common = result.sigma_common.copy(data=np.full(60, 0.3))
    drawn = draw_again(replace(result, sigma_common=common), rng=fresh())

    mean = (drawn.values - np.asarray(result.reconstruct())).mean(axis=0) / result.sigma_pixel.values
    assert mean.std() == pytest.approx(0.3, rel=0.05)


def test_frames_and_pixels_left_out_stay_so():
    weight, mask = np.ones(60), usable_mask(STACK).copy()
    weight[5], mask[:4] = 0, False
    result = denoise(STACK.assign_coords(weight=("energy", weight), mask=(("y", "x"), mask)), **QUICK)
    drawn = draw_again(result, rng=fresh())

    assert np.isfinite(drawn.values).all()
    np.testing.assert_array_equal(drawn["weight"], weight)
    np.testing.assert_array_equal(drawn["mask"], mask)
    found = bootstrap_map(result, half_step_energy(result), n_draws=2, denoiser="wavelet", rng=fresh())
    assert not found["mask"].values[:4].any()


def test_scatter_of_scans_drawn_again_is_that_of_scans_repeated(result, maps):
    """Three repeats of the scan itself, whose scatter the bootstrap is to foretell."""
    n = 8
    e0_ev = maps.attrs["e0_ev"]
    repeats = [half_step_energy(denoise(scan(s), **QUICK), e0_ev=e0_ev) for s in range(2, 2 + n)]
    true = np.std([each.half_step_energy_ev for each in repeats], axis=0, ddof=1)
    found = bootstrap_map(result, maps, n_draws=n, denoiser="wavelet", rng=fresh())
    kept = PHANTOM.mask & maps["mask"].values & np.isfinite(true)

    ratio = np.median(found.half_step_bootstrap_sigma_ev.values[kept]) / np.median(true[kept])

    assert ratio == pytest.approx(1, abs=0.2)
    assert np.abs(np.median(found.half_step_bootstrap_bias_ev.values[kept])) < np.median(true[kept])
    assert found.attrs["bootstrap_draws"] == n
    np.testing.assert_array_equal(found.half_step_energy_ev, maps.half_step_energy_ev)


def test_the_same_generator_draws_the_same(result, maps):
    first, again, other = (
        bootstrap_map(result, maps, n_draws=2, denoiser="wavelet", rng=fresh(s)) for s in (0, 0, 1)
    )
    assert first.identical(again)
    assert not first.identical(other)


def test_a_rank_that_was_given_is_that_of_every_draw(monkeypatch):
    result, ranks = denoise(STACK, rank=1, **QUICK), []

    def noting(stack, **options):
        ranks.append(options["rank"])
        return denoise(stack, **options)

    monkeypatch.setattr("xanesum.diagnostics.bootstrap.denoise", noting)
    bootstrap_map(result, half_step_energy(result), n_draws=2, denoiser="wavelet")
    assert ranks == [1, 1]


def test_a_white_line_has_its_own_names(result):
    maps = chemical_map(result, kind="white_line")
    found = bootstrap_map(result, maps, n_draws=2, denoiser="wavelet")
    assert {"white_line_bootstrap_sigma_ev", "white_line_bootstrap_bias_ev"} <= set(found.data_vars)


def test_draws_without_an_edge_leave_the_map_without_an_error(result, maps):
    faint = replace(result, coefficients=0 * result.coefficients)
    found = bootstrap_map(faint, maps, n_draws=2, denoiser="wavelet")
    assert np.isnan(found.half_step_bootstrap_sigma_ev).all()


@pytest.mark.parametrize("n", [-1, 1])
def test_too_few_draws_are_refused_before_anything_is_done(n, result, maps):
    with pytest.raises(RecipeError, match="bootstrap must be"):
        MapOptions(bootstrap=n)
    with pytest.raises(RecipeError, match="at least 2 draws"):
        bootstrap_map(result, maps, n_draws=n)


def simulated(path):
    assert main(["simulate", "wedge", "--shape", "48x64", "--n-energies", "60", "-o", str(path)]) == 0


def test_a_run_writes_the_scatter_and_says_it(tmp_path):
    assert (
        main(["simulate", "wedge", "--shape", "48x64", "--n-energies", "60", "-o", str(tmp_path / "s.h5")])
        == 0
    )
    recipe = Recipe().updated({"denoise": {"denoiser": "wavelet"}, "map": {"bootstrap": 2}})

    done = run(tmp_path / "s.h5", tmp_path / "out", recipe=recipe)

    assert "half_step_bootstrap_sigma_ev" in done.maps
    assert "In 2 scans drawn again the map scatters by" in done.report.read_text("utf-8")
    assert "bootstrap = 2" in (tmp_path / "out" / "recipe.toml").read_text("utf-8")


def test_a_stack_that_was_not_denoised_is_refused(tmp_path, capsys):
    assert (
        main(["simulate", "wedge", "--shape", "48x64", "--n-energies", "60", "-o", str(tmp_path / "s.h5")])
        == 0
    )
    command = ["map", str(tmp_path / "s.h5"), "--as-is", "--bootstrap", "3", "-o", str(tmp_path / "m.h5")]
    assert main(command) != 0
    assert "cannot be drawn again" in capsys.readouterr().err
