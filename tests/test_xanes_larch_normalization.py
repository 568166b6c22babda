"""Normalization as in Larch: values that Larch gave, the same by numpy, and what it does in maps."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scans import edge_stack

from xanesum import denoise
from xanesum.errors import EdgeError
from xanesum.stack import make_stack
from xanesum.xanes import Normalization, half_step_energy, white_line
from xanesum.xanes.steepest import steepest_e0_ev

LONG = np.concatenate([np.arange(7000, 7100, 5.0), np.arange(7100, 7160, 0.5), np.arange(7160, 7600, 4.0)])
SHORT = np.arange(7080.0, 7200, 2.0)
GIVEN = {"pre1_ev": -35, "pre2_ev": -12, "norm1_ev": 30, "norm2_ev": 75, "nnorm": 1}


def spectrum(energy):
    edge = np.arctan((energy - 7120) / 3) / np.pi + 0.8 + 0.4 * np.exp(-(((energy - 7130) / 6) ** 2))
    return edge - 2e-4 * (energy - 7120) + 0.05 * np.sin((energy - 7120) / 15) * (energy > 7120)


# from larch.xafs.pre_edge and find_e0 of xraylarch 2026.3.1: e0, edge step, and normalized and flattened
# values at a third, at half, and at the end of the energies
OF_LARCH = [
    (LONG, {}, 7120.5, 0.9749381190065068,
     (1.3381333980100993, 1.009954081781917, 0.9505651727234554),
     (1.3396711965759764, 1.014453436804368, 1.0255064197141475)),
    (LONG, GIVEN, 7120.5, 0.9859599177713303,
     (1.225002002371974, 0.8563771859616108, -0.13399633637518932),
     (1.274009978896172, 0.9989458449410895, 1.9844848306480463)),
    (LONG, {"nnorm": 3, "nvict": 2}, 7120.5, 0.9936017242475432,
     (1.3128740476770628, 0.9908025328261268, 0.9291341630177951),
     (1.3197552606192584, 1.0091070149508263, 1.0469399736116687)),
    (SHORT, {}, 7122.0, 0.9980133134833036,
     (0.45662396339036354, 0.9346502124526747, 0.7818941254617118),
     (0.45662396339036354, 0.9925534105163358, 1.0263742950638521)),
    (SHORT, GIVEN, 7122.0, 0.9762560842268169,
     (0.4412610899871009, 0.9114440030678663, 0.7016427611420218),
     (0.4412610899871009, 0.988893923660109, 1.028653536975931)),
    (SHORT, {"nnorm": 3, "nvict": 2}, 7122.0, 0.8046454320976404,
     (0.5666363566486067, 1.1600881015459306, 0.9737858299739494),
     (0.5666363566486067, 1.0284993534692093, 0.9946888839719044)),
]  # fmt: skip


@pytest.mark.parametrize(("energy", "settings", "e0", "step", "norm", "flat"), OF_LARCH)
def test_values_of_larch(energy, settings, e0, step, norm, flat):
    found = Normalization(**settings).normalize(energy, spectrum(energy))
    at = [len(energy) // 3, len(energy) // 2, -1]

    assert found.e0_ev == e0
    assert found.edge_step == pytest.approx(step, rel=1e-7)  # Larch's cubic is fitted in eV, to this accuracy
    np.testing.assert_allclose(found.norm[at], norm, atol=1e-7)
    np.testing.assert_allclose(found.flat[at], flat, atol=1e-7)


def test_the_same_by_numpy():
    """A second witness for given ranges: polynomials by numpy, in the ranges that Larch's rule gives."""
    e0, mu = 7120.5, spectrum(LONG)
    pre = (LONG >= 7085) & (LONG < 7108.5)
    post = (LONG >= 7150.5) & (LONG < 7196)
    line = np.polyval(np.polyfit(LONG[pre], mu[pre], 1), LONG)
    above = np.polyfit(LONG[post], (mu - line)[post], 1)
    step = np.polyval(above, e0)
    bent = np.where(e0 > LONG, 0, np.polyval(above, LONG) - step)

    found = Normalization(**GIVEN).normalize(LONG, mu, e0)

    assert found.edge_step == pytest.approx(step)
    np.testing.assert_allclose(found.flat, (mu - line - bent) / step, atol=1e-10)
    np.testing.assert_allclose(found.pre_line, line, atol=1e-10)


@pytest.mark.parametrize("settings", [{}, {"nvict": 3, "nnorm": 3}, {"flatten": False}, GIVEN])
def test_operators_do_the_same_to_a_spectrum(settings):
    mu, window = spectrum(LONG), LONG > 7110
    found = Normalization(**settings).normalize(LONG, mu, 7119.8)

    flattening, step = Normalization(**settings).operators(LONG, 7119.8, window)

    assert step @ mu == pytest.approx(found.edge_step)
    np.testing.assert_allclose(flattening @ mu / (step @ mu), found.flat[window], atol=1e-12)
    if not settings.get("flatten", True):
        np.testing.assert_array_equal(found.flat, found.norm)


@given(
    scale=st.floats(0.01, 100),
    level=st.floats(-10, 10),
    slope=st.floats(-0.01, 0.01),
    moved=st.floats(-50, 50),
)
def test_a_normalized_spectrum_does_not_change_with(scale, level, slope, moved):
    mu = spectrum(SHORT)
    plain = Normalization(**GIVEN).normalize(SHORT, mu, 7120.0)
    changed = scale * mu + level + slope * (SHORT - 7120)

    found = Normalization(**GIVEN).normalize(SHORT + moved, changed, 7120.0 + moved)

    np.testing.assert_allclose(found.flat, plain.flat, atol=1e-6)
    assert found.edge_step == pytest.approx(scale * plain.edge_step, rel=1e-6)


def test_the_steepest_rise_is_no_glitch():
    mu = spectrum(LONG)
    mu[15] += 5.0

    assert steepest_e0_ev(LONG, mu) == pytest.approx(7120, abs=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pre1_ev": 10.0}, "pre1 must be below 0"),
        ({"norm1_ev": -10.0}, "norm1 must be above 0"),
        ({"pre1_ev": -10.0, "pre2_ev": -20.0}, "pre1 = -10 eV must lie below pre2 = -20 eV"),
        ({"nnorm": 4}, "nnorm must be 0 to 3"),
        ({"nvict": 5}, "nvict must be 0 to 4"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(EdgeError, match=message):
        Normalization(**settings)


@pytest.mark.parametrize(
    ("settings", "e0", "message"),
    [
        ({"pre2_ev": -60.0}, 7120.0, "too few energies below e0"),
        ({"norm1_ev": 150.0}, 7120.0, "too few energies beyond e0"),
        ({}, 7000.0, "lies outside the scan"),
        ({}, 7080.5, "too few energies below e0"),
        ({}, 7197.9, "too few energies beyond e0"),
    ],
)
def test_ranges_outside_a_spectrum_are_refused(settings, e0, message):
    with pytest.raises(EdgeError, match=message):
        Normalization(**settings).normalize(SHORT, spectrum(SHORT), e0)


def test_an_edge_that_falls_is_refused():
    with pytest.raises(EdgeError, match="not above 0; is it transmission"):
        Normalization().normalize(LONG, np.exp(-spectrum(LONG)), 7120.0)


def test_too_few_energies_have_no_steepest_rise():
    with pytest.raises(EdgeError, match="9 energies are too few"):
        steepest_e0_ev(SHORT[:9], spectrum(SHORT[:9]))


# --- in maps


def stack_of(slope=0.0):
    """12 x 9 pixels of different thickness with half steps from 8338 to 8343 eV, on a sloping line."""
    half = np.linspace(8338, 8343, 108).reshape(12, 9)
    thickness = np.linspace(0.5, 2, 108)[::-1].reshape(12, 9)
    return half, edge_stack(half, thickness=thickness, slope=slope)


@pytest.mark.parametrize("settings", [{}, {"norm1_ev": 40.0, "nnorm": 0}, {"flatten": False}])
def test_half_step_energies_are_exact_on_an_analytic_edge(settings):
    half, stack = stack_of()

    maps = half_step_energy(stack, normalization=Normalization(**settings))

    np.testing.assert_allclose(maps["half_step_energy_ev"], half, atol=0.02)  # linear between energies
    assert maps.attrs["definition"].startswith("energy of the last upward crossing of half")
    assert "normalized as in Larch: pre-edge line from 8240.0 to" in maps.attrs["definition"]
    assert ("not flattened" in maps.attrs["definition"]) == (not settings.get("flatten", True))


def test_the_map_is_that_of_each_spectrum():
    _, stack = stack_of(1e-3)
    settings = Normalization(**GIVEN)

    maps = half_step_energy(stack, e0_ev=8340.0, normalization=settings)

    each = settings.normalize(stack.energy.values, stack.values[:, 3, 4].astype(float), 8340.0)
    assert maps["edge_step"].values[3, 4] == pytest.approx(each.edge_step, rel=1e-5)


def test_a_shared_slope_needs_no_slope_of_its_own():
    """Slopes in proportion to the step are those of the mean, so nothing changes; noise is less."""
    half = np.full((40, 50), 8340.0)
    clean = edge_stack(half)
    clean = clean + 5e-4 * (clean.energy - 8340)
    noisy = clean + 0.05 * np.random.default_rng(1).standard_normal(clean.shape)
    short = {"pre1_ev": -60.0, "pre2_ev": -40.0}

    def errors(stack, **settings):
        lines = Normalization(**short, **settings)
        return half_step_energy(plain(stack), e0_ev=8340.0, normalization=lines)["half_step_energy_ev"] - half

    assert np.abs(errors(clean, shared_slope=True)).max() < 0.03
    own, shared = (np.nanstd(errors(noisy, shared_slope=flag)) for flag in (False, True))
    assert shared < 0.9 * own


def test_slopes_that_differ_make_the_error_of_a_shared_slope_larger():
    clean = edge_stack(np.full((20, 30), 8340.0))
    differing = xr.DataArray(np.linspace(-1, 1, 600).reshape(20, 30) * 1e-3, dims=("y", "x"))
    found = []
    for stack in (clean, clean + (clean.energy - 8340) * differing):
        result = denoised(stack)
        maps = half_step_energy(result, e0_ev=8340.0, normalization=Normalization(shared_slope=True))
        error = maps["half_step_energy_ev"].values - 8340.0
        found.append((np.std(error), float(np.median(maps["half_step_sigma_ev"]))))

    assert found[1][0] > 2 * found[0][0]  # the error is there
    assert found[1][1] > 0.5 * found[1][0]  # and is stated
    assert found[0][1] < 0.5 * found[1][1]


def test_a_map_by_larchs_lines_has_the_error_of_its_e0():
    _, stack = stack_of()
    result = denoised(stack)

    maps = half_step_energy(result, normalization=Normalization())

    spacing = float(np.diff(stack.energy.values).mean())
    assert maps.attrs["e0_sigma_ev"] >= spacing / np.sqrt(12)
    assert np.isfinite(maps["half_step_sigma_ev"].values[maps["mask"].values]).all()
    assert white_line(result, normalization=Normalization()).attrs["kind"] == "white_line"


def test_ranges_cannot_be_given_twice():
    _, stack = stack_of()

    with pytest.raises(EdgeError, match="leave out pre and post"):
        half_step_energy(stack, pre_ev=(8240.0, 8300.0), normalization=Normalization())


def test_a_scan_that_begins_within_its_edge_has_no_half_step():
    _, stack = stack_of()

    within = stack.sel(energy=slice(8336.0, None))

    with pytest.raises(EdgeError, match="no steep rise away from its ends"):
        half_step_energy(within, normalization=Normalization())
    with pytest.raises(EdgeError, match="too few energies below"):
        half_step_energy(within, e0_ev=8342.0, normalization=Normalization())


def plain(stack):
    return make_stack(stack.transpose("energy", "y", "x").values.astype(np.float32), stack.energy.values)


def denoised(stack, sigma=0.02):
    """A result of three components, as fast as can be."""
    stack = stack.transpose("energy", "y", "x")
    noise = sigma * np.random.default_rng(2).standard_normal(stack.shape)
    return denoise(plain(stack + noise), method="sum", denoiser="none", rank=3)
