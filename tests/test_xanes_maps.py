"""Every kind of map: analytic values, errors against repeated noise, invariances, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scans import add_noise, edge_spectrum
from scipy.integrate import trapezoid

from xanesum.errors import EdgeError, StackError
from xanesum.linalg.covariance import low_rank
from xanesum.method.denoising import denoise
from xanesum.result.spectrum_errors import SpectrumError
from xanesum.stack import make_stack
from xanesum.xanes import ENERGY_KINDS, KINDS, Normalization, chemical_map, fit_line
from xanesum.xanes.crossings import HalfWhiteLines
from xanesum.xanes.map_edge import map_edge
from xanesum.xanes.measuring import measure
from xanesum.xanes.normalization import step_operator
from xanesum.xanes.peaks import PeakAreas, PeakHeights, Peaks
from xanesum.xanes.pixel_spectra import pixel_spectra_of

ENERGY = np.r_[np.arange(8260.0, 8322, 3), np.arange(8322, 8360, 0.8), np.arange(8360, 8450, 4)]
E0 = np.array([[8339.0, 8340.0, 8341.0], [8339.5, 8340.5, 8341.5]])  # of the rises
OPTIONS = {
    "two_peaks": {"at_ev": (8344.0, 8349.0)},
    "pre_edge_centroid": {"peak_ev": (8326.5, 8333.5)},
    "band_ratio": {"band_ev": (8340.0, 8346.0), "over_ev": (8352.0, 8370.0)},
    "energy_difference": {"at_ev": (8300.0, 8346.0)},
    "valence": {"points": ((2.0, 8339.0, 0.01), (3.0, 8342.0, 0.01))},
}


def spectrum(energy, e0, *, pre_edge=0.15):
    """A rise with a white line 5 eV above it, and a pre-edge peak 10 eV below it."""
    x = energy - e0
    peak = pre_edge * np.exp(-0.5 * ((x + 10) / 1.2) ** 2)
    return edge_spectrum(energy, e0, 1.5) + 0.8 * np.exp(-0.5 * ((x - 5) / 2.0) ** 2) + peak


def stack_of(e0=E0, energy=ENERGY, **options):
    values = 0.2 + spectrum(energy[:, None, None], np.asarray(e0)[None], **options)
    return make_stack(values.astype(np.float32), energy)


def mapped(data, kind, **options):
    return chemical_map(data, kind=kind, **(OPTIONS.get(kind, {}) | options))


def value(maps):
    return maps[KINDS[maps.attrs["kind"]].variable].values


def error(maps):
    return maps[KINDS[maps.attrs["kind"]].error].values


# --- values, against what an analytic spectrum gives on a fine grid

FINE = np.linspace(8260.0, 8450.0, 95_001)


def on_fine_grid(measure):
    return np.array([[measure(spectrum(FINE, e0)) for e0 in row] for row in E0])


def last_crossing(values, level):
    below = values[: int(np.argmax(values))] < level
    return FINE[np.flatnonzero(below)[-1]]


@pytest.mark.parametrize(
    ("kind", "measure", "within"),
    [
        ("half_step", lambda s: last_crossing(s, 0.5), 0.05),
        ("half_white_line", lambda s: last_crossing(s, s.max() / 2), 0.1),
        ("white_line", lambda s: FINE[np.argmax(s)], 0.1),
        ("white_line_height", lambda s: s.max(), 0.05),
        ("white_line_area", lambda s: trapezoid(np.maximum(s - 1, 0)[FINE > 8330], FINE[FINE > 8330]), 0.2),
        ("edge_step", lambda s: 1.0, 0.003),
    ],
)
def test_values_are_those_of_the_definition(kind, measure, within):
    """The smoothing of peaks and slopes over 2 to 3 eV moves them by less than this."""
    np.testing.assert_allclose(value(mapped(stack_of(), kind)), on_fine_grid(measure), atol=within)


def test_the_smoothing_of_the_largest_derivative_is_in_its_error():
    expected = on_fine_grid(lambda s: FINE[np.argmax(np.gradient(s))])
    for energy in (ENERGY, np.arange(8260.0, 8450.0, 0.5)):
        maps = mapped(stack_of(energy=energy), "largest_derivative")
        off = np.sqrt(np.mean((value(maps) - expected) ** 2))
        assert off < 0.6
        assert off < 3 * maps.attrs["sigma_by_smoothing_ev"] + 0.15


@pytest.mark.parametrize(
    ("peaks", "spacing"),
    [
        (((4.0, 2.0, 0.5),), 0.5),
        (((4.0, 2.0, 0.5),), 1.5),
        (((3.0, 1.2, 2.0),), 0.5),
        (((4.0, 2.0, 0.6), (9.0, 2.0, 0.35)), 0.5),
        (((4.0, 1.5, 0.6), (7.0, 2.5, 0.45)), 0.75),
        (((4.0, 2.0, 0.6), (9.0, 2.0, 0.35)), 2.5),
    ],
)
def test_the_smoothing_of_the_white_line_is_in_its_error(peaks, spacing):
    """Of two states together, the mean of which has another shape; beyond 2 eV it is half of it at least."""

    def of(energy):
        x = energy[:, None, None] - np.array([[8340.0, 8340.4], [8343.0, 8343.3]])
        line = sum(height * np.exp(-0.5 * ((x - at) / width) ** 2) for at, width, height in peaks)
        return 0.6 + np.arctan(x / 1.5) / np.pi + line

    energy = np.r_[np.arange(8250.0, 8330, 3), np.arange(8330, 8360, spacing), np.arange(8360, 8450, 5)]
    fine = np.arange(8340.0, 8356.0, 0.005)
    maps = mapped(make_stack(of(energy).astype(np.float32), energy), "white_line")
    off = np.sqrt(np.mean((value(maps) - fine[np.argmax(of(fine), axis=0)]) ** 2))
    assert 0.7 * off - 0.03 < maps.attrs["sigma_by_smoothing_ev"] < 1.6 * off + 0.1


def test_the_centroid_is_that_of_the_pre_edge_peak():
    places = np.array([[8329.0, 8330.0, 8331.0]])
    x = ENERGY[:, None, None]
    peak = 0.15 * np.exp(-0.5 * ((x - places) / 1.0) ** 2)
    stack = make_stack((0.2 + edge_spectrum(x, 8342.0, 2.0) + peak).astype(np.float32), ENERGY)

    given = mapped(stack, "pre_edge_centroid")
    found = chemical_map(stack, kind="pre_edge_centroid")

    np.testing.assert_allclose(value(given), places, atol=0.15)
    np.testing.assert_allclose(given["pre_edge_area"], 0.15 * np.sqrt(2 * np.pi), rtol=0.12)
    low, high = found.attrs["peak_ev"]
    assert low < 8329.0 < 8331.0 < high
    assert given.attrs["sigma_by_baseline_ev"] > 0


def test_ratios_and_differences_are_those_of_numpy():
    stack = stack_of()
    energy, values = stack.energy.values, stack.values.astype(float)

    ratio, difference = mapped(stack, "band_ratio"), mapped(stack, "energy_difference")

    pre = (energy >= ratio.attrs["pre_ev"][0]) & (energy < ratio.attrs["pre_ev"][1] - 3)
    above = values - values[pre].mean(axis=0)  # the pre-edge is flat
    bands = [above[(energy >= a) & (energy <= b)].mean(axis=0) for a, b in ((8340, 8346), (8352, 8370))]
    np.testing.assert_allclose(value(ratio), bands[0] / bands[1], rtol=2e-3)
    low, high = (int(np.argmin(np.abs(energy - at))) for at in (8300.0, 8346.0))
    np.testing.assert_allclose(value(difference), values[high] - values[low], atol=1e-6)
    assert difference.attrs["at_ev"] == (energy[low], energy[high])


def test_two_energies_need_no_option():
    stack = stack_of(energy=np.array([8300.0, 8346.0]))
    found = chemical_map(stack, kind="energy_difference")
    np.testing.assert_allclose(value(found), stack.values[1] - stack.values[0], atol=1e-6)


# --- where the maximum jumps

TWO = np.linspace(700.0, 745.0, 226)


def mixture(shares):
    """Two peaks 1.7 eV apart, as L3 of mixed iron; `shares` of the second."""
    x = TWO[:, None, None]
    first, second = (np.exp(-0.5 * ((x - at) / 0.6) ** 2) for at in (707.8, 709.5))
    return 0.2 + 0.3 * edge_spectrum(x, 707.0, 0.5) + first * (1 - shares) + second * shares


def test_a_map_that_jumps_says_so_and_two_peaks_do_not_jump():
    shares = np.linspace(0.05, 0.95, 400).reshape(20, 20)
    stack = make_stack(mixture(shares).astype(np.float32), TWO)

    jumping, ratio = chemical_map(stack, kind="white_line"), chemical_map(stack, kind="two_peaks")

    assert np.ptp(value(jumping)) == pytest.approx(1.7, abs=0.2)
    assert any("jumps by 1." in reason and "two_peaks" in reason for reason in jumping.attrs["reasons"])
    assert ratio.attrs["at_ev"] == pytest.approx((707.8, 709.5), abs=0.2)
    assert not any("jump" in reason for reason in ratio.attrs["reasons"])
    order = np.argsort(shares.ravel())
    assert (np.diff(value(ratio).ravel()[order]) < 0).all()
    np.testing.assert_allclose(ratio["peak_ratio"], ratio["first_height"] / ratio["second_height"], rtol=1e-5)


def test_two_pure_phases_do_not_jump():
    stack = stack_of(np.repeat([[8339.0, 8341.5]], 10, axis=0).repeat(5, axis=1))
    for kind in ("half_step", "white_line"):
        assert not any("jump" in reason for reason in mapped(stack, kind).attrs["reasons"])


def test_a_flat_top_has_an_error_as_large_as_it_is_wide():
    x = np.linspace(8240.0, 8450.0, 160)[:, None, None]
    top = 0.1 * np.exp(-0.5 * ((x - 8341) / 6) ** 2)
    clean = edge_spectrum(x, 8335.0, 1.0) + top + np.zeros((1, 24, 24))
    clean = make_stack(clean.astype(np.float32), x.ravel())
    result = denoise(clean.copy(data=add_noise(clean.values, 0.05)), denoiser="none", rank=2)

    found, truth = (chemical_map(data, kind="white_line", e0_ev=8335.0) for data in (result, clean))

    both = found["mask"].values & truth["mask"].values
    off = np.abs(value(found) - value(truth))[both]
    assert both.mean() > 0.5
    assert (off < 2 * error(found)[both]).mean() > 0.85
    assert np.median(error(found)[both]) > 1


# --- errors


@pytest.fixture(scope="module")
def noisy():
    """A result without denoising of the images, and its truth."""
    e0 = 8339.5 + np.linspace(0, 2, 36)[:, None] + np.zeros(36)
    clean = stack_of(e0)
    return clean, denoise(clean.copy(data=add_noise(clean.values, 0.03)), denoiser="none", rank=5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "valence"])
def test_standard_errors_are_those_of_the_map(noisy, kind):
    clean, result = noisy
    found, truth = (mapped(data, kind, e0_ev=8341.0) for data in (result, clean))
    good = found["mask"].values & truth["mask"].values

    by_noise = error(found)
    if kind == "white_line":  # the clean stack is smoothed, too
        by_noise = np.sqrt(by_noise**2 - found.attrs["sigma_by_smoothing_ev"] ** 2)
    scaled = ((value(found) - value(truth)) / by_noise)[good]

    assert good.sum() > 300
    within = (np.abs(scaled) < 1).mean()
    if kind in ("largest_derivative", "pre_edge_centroid"):  # their smoothing, or baseline, counts as well
        assert within > 0.56
    else:
        assert within == pytest.approx(0.68, abs=0.12)
    assert np.isfinite(found["exposure_gain"].values[good]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_factors_and_reconstruction_give_the_same_map(noisy, kind):
    result = noisy[1]
    one, other = mapped(result, kind, e0_ev=8341.0), mapped(result.reconstruct(), kind, e0_ev=8341.0)
    good = one["mask"].values & other["mask"].values
    within = 0.01 if KINDS[kind].unit == "eV" else 2e-3
    np.testing.assert_allclose(value(one)[good], value(other)[good], atol=within)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_says_what_it_is(noisy, kind):
    maps = mapped(noisy[1], kind)
    told = KINDS[kind]
    assert {told.variable, told.error, "mask", "exposure_gain", "edge_step"} <= set(maps)
    assert maps[told.variable].attrs["units"] == told.unit
    assert maps[told.variable].attrs["error"] == told.error
    assert maps.attrs["kind"] == kind
    assert len(maps.attrs["definition"]) > 30
    assert next(iter(maps)) == told.variable


@pytest.mark.parametrize("kind", ["half_step", "white_line", "pre_edge_centroid"])
def test_a_shift_moves_the_map_and_adds_its_error(noisy, kind):
    plain, moved = (mapped(noisy[1], kind, shift_ev=shift) for shift in ((0.0, 0.0), (-0.4, 0.3)))
    np.testing.assert_allclose(value(moved), value(plain) - 0.4)
    np.testing.assert_allclose(error(moved), np.hypot(error(plain), 0.3), rtol=1e-5)
    assert "-0.4 eV is added" in moved.attrs["definition"]


# --- invariances

INVARIANT = [kind for kind in KINDS if kind not in ("edge_step", "energy_difference", "valence")]


@example(kind="largest_derivative", scale=0.2, offset=-0.3, slope=4e-4)
@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(INVARIANT),
    scale=st.floats(0.2, 4.0),
    offset=st.floats(-0.3, 0.5),
    slope=st.floats(-4e-4, 4e-4),
)
def test_maps_do_not_change_with_thickness_or_a_line(kind, scale, offset, slope):
    stack = stack_of()
    line = (offset + slope * (ENERGY - 8340))[:, None, None]
    other = stack.copy(data=(scale * stack.values + line).astype(np.float32))

    one, two = mapped(stack, kind, e0_ev=8340.5), mapped(other, kind, e0_ev=8340.5)

    np.testing.assert_allclose(value(two), value(one), atol=1e-3)


@settings(max_examples=12, deadline=None)
@given(kind=st.sampled_from(ENERGY_KINDS), shift=st.sampled_from([-64.0, -2.5, 0.75, 16.0]))
def test_energies_move_with_the_axis(kind, shift):
    stack = stack_of()
    options = {name: tuple(e + shift for e in ends) for name, ends in OPTIONS.get(kind, {}).items()}

    moved = chemical_map(stack.assign_coords(energy=ENERGY + shift), kind=kind, **options)

    np.testing.assert_allclose(value(moved), value(mapped(stack, kind)) + shift, atol=2e-3)


@settings(max_examples=12, deadline=None)
@given(kind=st.sampled_from(tuple(KINDS)), seed=st.integers(0, 2**31))
def test_maps_do_not_depend_on_the_order_of_pixels(kind, seed):
    stack = stack_of()
    order = np.random.default_rng(seed).permutation(E0.size)
    mixed = stack.values.reshape(len(ENERGY), -1)[:, order].reshape(stack.shape)

    one, two = mapped(stack, kind), mapped(stack.copy(data=mixed), kind)

    np.testing.assert_allclose(value(two).ravel(), value(one).ravel()[order], atol=2e-4)


# --- refusals: one true line each


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("band_ratio", {"band_ev": (8340, 8346)}, "needs over_ev"),
        ("band_ratio", {"band_ev": (8340, 8346), "over_ev": (9000, 9100)}, "holds no energy of the scan"),
        ("band_ratio", {"band_ev": (8340, 8346), "over_ev": (8340, 8346)}, "ratio is 1"),
        ("energy_difference", {}, "give the two whose difference is meant"),
        ("energy_difference", {"at_ev": (8340.0, 8340.1)}, "nearest to the same frame"),
        ("two_peaks", {"at_ev": (8340.0, 8340.0)}, "two different energies"),
        ("half_step", {"band_ev": (1, 2)}, r"has no option band_ev; maps that do: band_ratio"),
        ("pre_edge_centroid", {"peak_ev": (8334, 8342)}, "must end more than 2 eV below the edge"),
        ("pre_edge_centroid", {"peak_ev": (8290, 8294)}, "too few energies for a pre-edge peak"),
        ("half_step", {"shift_ev": (0.1, -1.0)}, "a number and its standard error"),
    ],
)
def test_what_does_not_apply_is_refused(kind, options, message):
    with pytest.raises(EdgeError, match=message):
        chemical_map(stack_of(), kind=kind, **options)


def test_a_spectrum_without_pre_edge_peak_or_white_line_is_refused():
    with pytest.raises(EdgeError, match="no pre-edge peak"):
        chemical_map(stack_of(pre_edge=0.0), kind="pre_edge_centroid")
    with pytest.raises(EdgeError, match=r"all pixels have their maximum near .* give two energies"):
        chemical_map(stack_of(np.full((4, 4), 8340.0)), kind="two_peaks")


@pytest.mark.parametrize("kind", ["half_step", "half_white_line", "white_line_height", "white_line_area"])
def test_a_scan_that_begins_at_the_edge_has_no_lines(kind):
    with pytest.raises(EdgeError, match="too few energies below the edge"):
        mapped(stack_of(energy=ENERGY[ENERGY > 8337]), kind)


@pytest.mark.parametrize("kind", ["edge_step", "band_ratio", "two_peaks"])
def test_what_is_made_without_lines_says_what_it_holds(kind):
    maps = mapped(stack_of(energy=ENERGY[ENERGY > 8337]), kind)
    assert any("edge" in reason and "hold" in reason for reason in maps.attrs["reasons"])


def test_an_edge_that_may_be_elsewhere_is_doubted():
    energy = np.linspace(8200.0, 8450.0, 126)
    rises = edge_spectrum(energy, 8280.0, 2.0) + edge_spectrum(energy, 8380.0, 2.0)
    clean = make_stack(np.tile(rises[:, None, None], (1, 16, 16)).astype("f4"), energy)
    result = denoise(clean.copy(data=add_noise(clean.values, 0.2)), denoiser="none", rank=1)

    assert any("as steeply as at the edge" in each for each in chemical_map(result).attrs["reasons"])
    given = chemical_map(result, e0_ev=8280.0, post_ev=(8310, 8350))
    assert not any("as steeply" in each for each in given.attrs["reasons"])


# --- lines as in Larch


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "energy_difference"])
def test_lines_as_in_larch_give_the_same_on_a_spectrum_without_slope(kind):
    """On a constant background both kinds of lines find the same levels, but for the white line's tail."""
    plain = mapped(stack_of(), kind, e0_ev=8340.0)
    maps = mapped(stack_of(), kind, e0_ev=8340.0, normalization=Normalization(norm1_ev=30.0, nnorm=0))

    relative = 0.0 if KINDS[kind].unit == "eV" else 0.02
    np.testing.assert_allclose(value(maps), value(plain), rtol=relative, atol=0.1)
    lines = ("band_ratio", "largest_derivative", "pre_edge_centroid")  # less, or nothing, is subtracted
    assert "Larch" in maps.attrs["definition"] or kind in lines


def test_a_line_as_in_larch_below_the_edge_alone():
    """A band ratio needs no post-edge line: what the pre-edge line leaves, computed with numpy."""
    stack = stack_of()
    stack = stack + 0.002 * (stack.energy - 8340.0)
    settings = Normalization(pre1_ev=-75.0, pre2_ev=-30.0)

    maps = mapped(stack, "band_ratio", e0_ev=8340.0, normalization=settings)

    below = (ENERGY >= 8263.0) & (ENERGY < 8308.0)  # the nearest to the end is left out, as in Larch
    values = stack.values.reshape(len(ENERGY), -1).astype(float)
    line = np.polynomial.polynomial.polyfit(ENERGY[below] - 8340, values[below], 1)
    above = values - np.polynomial.polynomial.polyval(ENERGY - 8340, line).T
    bands = [np.abs(ENERGY - np.mean(ends)) <= np.ptp(ends) / 2 for ends in OPTIONS["band_ratio"].values()]
    expected = above[bands[0]].mean(axis=0) / above[bands[1]].mean(axis=0)
    np.testing.assert_allclose(value(maps).ravel(), expected, rtol=1e-4)
    assert "as in Larch, the pre-edge line from 8263.0" in maps.attrs["definition"]


def test_maps_without_lines_refuse_those_of_larch():
    with pytest.raises(EdgeError, match="has no lines; leave out the normalization"):
        mapped(stack_of(), "energy_difference", normalization=Normalization())
    few = stack_of(energy=np.array([8300.0, 8345.0, 8400.0]))
    with pytest.raises(EdgeError, match="leave out the normalization"):
        chemical_map(few, kind="edge_step", normalization=Normalization())


# --- errors of parts


@pytest.mark.parametrize("kind", ["half_white_line", "white_line_height", "white_line_area"])
def test_an_error_at_the_top_of_the_white_line_moves_the_map_by_as_much(kind):
    """One random spectrum, a small hump at the top, against the change of the map when it is added."""
    hump = 0.004 * np.exp(-0.5 * ((ENERGY - 8345.0) / 2.0) ** 2)
    clean = stack_of([[8340.0, 8340.2]])
    spectra = replace(
        pixel_spectra_of(clean),
        basis=clean.values.reshape(len(ENERGY), -1).T.astype(float),
        images=np.eye(2, dtype=np.float32),
        mixing=np.zeros((2, 1)),
        errors=np.zeros((1, 2), np.float32),
        of_spectra=(SpectrumError(low_rank(hump[None]), np.ones(2, np.float32)),),
    )
    ranges = map_edge(spectra, 8340.0, None, None).ranges
    peaks, step = Peaks.of(spectra, ranges), step_operator(ENERGY, ranges)
    search = {
        "half_white_line": lambda: HalfWhiteLines.of(spectra, ranges),
        "white_line_height": lambda: PeakHeights.of(spectra, peaks, step),
        "white_line_area": lambda: PeakAreas.of(spectra, peaks, step),
    }[kind]()

    stated = measure(spectra, search).error

    low, high = (clean.copy(data=(clean.values + sign * hump[:, None, None])) for sign in (-1, 1))
    low, high = (value(mapped(each.astype(np.float32), kind, e0_ev=8340.0)).ravel() for each in (low, high))
    np.testing.assert_allclose(stated, np.abs(high - low) / 2, rtol=0.05)


def test_the_error_of_a_line_of_valence_is_that_of_repeated_points():
    """20,000 lines through points with errors; the energy itself has none."""
    points, rng = ((2.0, 8340.0, 0.1), (3.0, 8342.0, 0.05)), np.random.default_rng(0)
    energies = np.array([8338.0, 8340.0, 8341.0, 8342.5])
    drawn = rng.normal([8340.0, 8342.0], [0.1, 0.05], (20_000, 2))

    stated = fit_line(points).invert(energies, np.zeros(4))[1]

    again = 2.0 + (energies - drawn[:, :1]) / (drawn[:, 1:] - drawn[:, :1])
    np.testing.assert_allclose(stated, again.std(axis=0), rtol=0.05)


@pytest.mark.parametrize("quantity", ["counts", "transmission"])
def test_transmitted_light_is_not_mapped(quantity):
    energy_ev = np.linspace(8300, 8400, 40)
    light = np.exp(-edge_spectrum(energy_ev, 8350.0))[:, None, None] * np.ones((1, 4, 5))

    with pytest.raises(
        StackError, match=rf"the values are {quantity}, .* xanesum.preprocess.prepare\(stack\)"
    ):
        chemical_map(make_stack(light, energy_ev, quantity=quantity))
