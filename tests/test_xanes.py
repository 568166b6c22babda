"""Edge maps against analytic edges; from a stack and from factors alike."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scans import add_noise, edge_spectrum, edge_stack

from xanesum.errors import EdgeError, StackError
from xanesum.method.denoising import denoise
from xanesum.stack import make_stack
from xanesum.xanes import chemical_map, edge_ranges, find_e0_ev, half_step_energy, white_line
from xanesum.xanes.local_fit import local_fits
from xanesum.xanes.normalization import find_edge, flattening_operator, step_operator
from xanesum.xanes.pixel_spectra import pixel_spectra_of

EDGES = np.linspace(8330.0, 8334.0, 35).reshape(5, 7)
E0 = 8332.0


def white_line_stack(position_ev, *, n_energies=120, last_ev=8500.0):
    energy = np.linspace(8300.0, last_ev, n_energies)
    peak = np.exp(-0.5 * ((energy[:, None, None] - np.asarray(position_ev)) / 2.5) ** 2)
    step = edge_spectrum(energy, 8332.0)[:, None, None]
    return make_stack((0.1 + step + peak).astype(np.float32), energy)


def test_half_step_energy_is_exact_on_an_analytic_edge():
    """Linear interpolation of an edge sampled every 1.3 eV errs by less than (1.3 / 2)^2 / 8 / width."""
    found = half_step_energy(edge_stack(EDGES), e0_ev=E0)

    np.testing.assert_allclose(found.half_step_energy_ev, EDGES, atol=0.05)
    np.testing.assert_allclose(found.edge_step, 1.0, atol=1e-3)
    assert found["mask"].values.all()
    assert found.attrs["kind"] == "half_step"


@pytest.mark.parametrize("thickness", [0.2, 3.0])
def test_thickness_and_background_line_do_not_move_the_edge(thickness):
    plain = half_step_energy(edge_stack(EDGES), e0_ev=E0).half_step_energy_ev
    other = half_step_energy(edge_stack(EDGES, thickness=thickness, slope=-5e-4), e0_ev=E0)

    np.testing.assert_allclose(other.half_step_energy_ev, plain, atol=0.02)
    np.testing.assert_allclose(other.edge_step, thickness, rtol=2e-3)


def two_rises(energy, first=0.5):
    """Two rises, 7 eV apart, of which the first is `first` of the step."""
    return first * edge_spectrum(energy, 8330.0, 1.5) + (1 - first) * edge_spectrum(energy, 8337.0, 1.5)


def test_e0_is_the_half_step_energy_of_the_mean():
    """The spectrum is smoothed over 3 eV, and the mean of all these edges is a little wider than one."""
    assert half_step_energy(edge_stack(EDGES)).attrs["e0_ev"] == pytest.approx(8332.0, abs=0.05)


@pytest.mark.parametrize("spacing", [0.5, 2.0, 4.0])
def test_e0_does_not_jump_between_two_rises(spacing):
    energy = np.arange(8260.0, 8450.0, spacing)
    found = [find_e0_ev(energy, two_rises(energy, share)) for share in np.linspace(0.46, 0.54, 17)]

    # between the two rises, the half step moves by (0.54 - 0.46) / 0.05 per eV
    assert np.abs(np.diff(found)).max() < 0.5
    assert 8331 < found[-1] < found[0] < 8336


@pytest.mark.parametrize("last_ev", [8450.0, 8352.0])
def test_e0_is_the_same_on_coarse_and_dense_grids(last_ev):
    """The second scan has no post-edge range; half of the rise up to its highest value is meant then."""
    coarse, dense = np.arange(8260.0, last_ev, 3.3), np.arange(8260.0, last_ev, 0.5)

    found = [find_e0_ev(energy, edge_spectrum(energy, 8332.3) - 1e-4 * energy) for energy in (coarse, dense)]

    np.testing.assert_allclose(found, 8332.3, atol=0.1)


def test_the_influence_on_e0_is_its_derivative():
    energy = np.linspace(8240.0, 8500.0, 120)
    spectrum = edge_spectrum(energy, 8332.0, 3.0) + 0.05 * np.sin(0.2 * energy) * (energy > 8350)
    edge = find_edge(energy, spectrum)
    rng = np.random.default_rng(4)
    for _ in range(5):
        change = 1e-3 * rng.standard_normal(len(energy))
        moved = find_e0_ev(energy, spectrum + change) - edge.e0_ev
        # the lines follow e0 too, which the influence leaves out
        assert moved == pytest.approx(edge.influence @ change, abs=2e-3)


def waves(n_energies):
    energy = np.linspace(8260.0, 8450.0, n_energies)
    wave = 0.1 * np.sin(0.25 * (energy - 8332)) * (energy > 8332)
    return make_stack(
        np.tile((0.1 + edge_spectrum(energy, 8332.0) + wave)[:, None, None], (1, 2, 3)).astype(np.float32),
        energy,
    )


@pytest.mark.parametrize("n_energies", [40, 120])
def test_the_map_follows_e0_smoothly(n_energies):
    """A range that gained or lost a whole energy would move the map by more than 0.02 eV at once."""
    stack, e0 = waves(n_energies), np.arange(8330.0, 8335.0, 0.05)
    found = np.array([half_step_energy(stack, e0_ev=e).half_step_energy_ev.values[0, 0] for e in e0])

    assert np.abs(np.diff(found)).max() < 0.005


def test_given_ranges_end_where_they_end_and_those_of_a_map_give_it_again():
    stack = waves(60)
    energy = stack.energy.values
    ranges = edge_ranges(energy, 8332.0, pre_ev=(8270.0, 8310.0), post_ev=(8360.0, 8440.0))
    used = np.abs(step_operator(energy, ranges)) > 0
    inside = ((energy >= 8270) & (energy <= 8310)) | ((energy >= 8360) & (energy <= 8440))
    np.testing.assert_array_equal(used, inside)

    first = half_step_energy(stack)
    again = half_step_energy(stack, **{key: first.attrs[key] for key in ("e0_ev", "pre_ev", "post_ev")})

    np.testing.assert_array_equal(again.half_step_energy_ev, first.half_step_energy_ev)


def test_the_error_of_e0_is_in_the_errors_of_the_map():
    clean = waves(60).isel(y=[0] * 8, x=[0] * 8).drop_vars(["y", "x"], errors="ignore")
    result = denoise(clean.copy(data=add_noise(clean.values, 0.1)), method="sum", denoiser="none", rank=1)

    found = half_step_energy(result)
    given = half_step_energy(result, e0_ev=found.attrs["e0_ev"])

    assert given.attrs["e0_sigma_ev"] == given.attrs["sigma_by_e0_ev"] == 0
    assert 1e-4 < found.attrs["sigma_by_e0_ev"] < found.attrs["e0_sigma_ev"] < 0.1
    np.testing.assert_allclose(
        found.half_step_sigma_ev,
        np.hypot(given.half_step_sigma_ev, found.attrs["sigma_by_e0_ev"]),
        rtol=1e-6,
    )
    assert np.isnan(half_step_energy(clean).attrs["e0_sigma_ev"])  # the errors of a stack are not known


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("grid", ["even", "dense in the middle"])
def test_local_fits_leave_polynomials_as_they_are(degree, grid):
    energy = np.linspace(8300.0, 8400.0, 30)
    if grid != "even":
        energy = np.union1d(energy, np.arange(8340.0, 8350.0, 0.2))
    at = np.linspace(8300.0, 8400.0, 101)
    x, there = (energy - 8350) / 50, (at - 8350) / 50

    values, slopes = local_fits(energy, at, 2.0, degree)

    np.testing.assert_allclose(values @ x**degree, there**degree, atol=1e-7)
    np.testing.assert_allclose(slopes @ x**degree, degree * there ** (degree - 1) / 50, atol=1e-7)


def test_the_last_crossing_below_the_white_line_counts():
    energy = np.arange(8300.0, 8400.0)
    spectrum = edge_spectrum(energy, 8332.3)
    spectrum[(energy > 8325) & (energy < 8328)] = 0.7  # a pre-edge spike crosses half a step too
    spectrum[energy == 8350] = 0.2  # so does a dip beyond the white line
    spectrum[(energy > 8336) & (energy < 8340)] = 1.6
    stack = make_stack(spectrum[:, None, None].astype(np.float32), energy)

    found = half_step_energy(stack, e0_ev=8332.0, pre_ev=(8300, 8320), post_ev=(8360, 8399))

    assert float(found.half_step_energy_ev[0, 0]) == pytest.approx(8332.3, abs=0.05)


def test_factors_and_reconstruction_give_the_same_map():
    clean = edge_stack(EDGES.repeat(6, 0).repeat(6, 1))
    noisy = clean.copy(data=add_noise(clean.values, 0.02))
    result = denoise(noisy, rank=3)

    from_factors = half_step_energy(result, e0_ev=E0)
    from_stack = half_step_energy(result.reconstruct(), e0_ev=E0)

    np.testing.assert_allclose(from_factors.half_step_energy_ev, from_stack.half_step_energy_ev, atol=1e-3)
    np.testing.assert_allclose(from_factors.edge_step, from_stack.edge_step, atol=1e-5)
    assert np.isfinite(from_factors.half_step_sigma_ev.values[from_factors["mask"].values]).all()


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_the_standard_error_is_that_of_the_map(sigma):
    clean = edge_stack((8339 + np.linspace(0, 4, 60))[:, None] + np.zeros(60), n_energies=130)
    result = denoise(clean.copy(data=add_noise(clean.values, sigma)), denoiser="none", rank=3)

    found, truth = half_step_energy(result, e0_ev=8341.0), half_step_energy(clean, e0_ev=8341.0)

    ratio = (found.half_step_energy_ev - truth.half_step_energy_ev) / found.half_step_sigma_ev
    assert np.sqrt(np.mean(ratio.values**2)) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("n_energies", [120, 300])
def test_the_standard_error_of_the_white_line(n_energies):
    clean = white_line_stack(8335 + np.linspace(0, 4, 60)[:, None] + np.zeros(60), n_energies=n_energies)
    result = denoise(clean.copy(data=add_noise(clean.values, 0.02)), denoiser="none", rank=3)

    found, truth = white_line(result, e0_ev=E0), white_line(clean, e0_ev=E0)

    by_noise = np.sqrt(found.white_line_sigma_ev**2 - found.attrs["sigma_by_smoothing_ev"] ** 2)
    ratio = (found.white_line_ev - truth.white_line_ev) / by_noise
    assert np.sqrt(np.mean(ratio.values[5:-5] ** 2)) == pytest.approx(1, abs=0.25)


@pytest.fixture(scope="module")
def scan_of_one_species():
    clean = edge_stack(np.full((24, 30), 8340.0), n_energies=90)
    return denoise(clean.copy(data=add_noise(clean.values, 0.05)), denoiser="wavelet")


def test_smoothing_along_energy_does_not_change_the_error_of_a_mean(scan_of_one_species):
    """A straight piece of L energies has one error, not L errors that average out."""
    result = scan_of_one_species
    length = 10
    smoothed = replace(
        result,
        error_freedom=xr.full_like(result.error_freedom, 1 / length),
        hidden_size=0 * result.hidden_size,
    )
    plain = replace(smoothed, error_freedom=xr.ones_like(result.error_freedom))
    mean = np.zeros(90)
    mean[20:60] = 1 / 40

    before, after = (pixel_spectra_of(each).error(mean) for each in (plain, smoothed))

    np.testing.assert_allclose(after, before, rtol=0.1)


def test_what_noise_may_hide_is_in_the_error_of_a_map(scan_of_one_species):
    """In quadrature: twice the size adds four times as much."""
    result = scan_of_one_species
    sized = [replace(result, hidden_size=n * result.hidden_size) for n in (0, 1, 2)]

    nothing, once, twice = (half_step_energy(each, e0_ev=8340.0).half_step_sigma_ev ** 2 for each in sized)

    assert (once > 1.05 * nothing).all()
    np.testing.assert_allclose(twice - nothing, 4 * (once - nothing), rtol=0.02)


def test_drift_that_was_removed_is_in_the_errors_along_the_spectra(scan_of_one_species):
    steady = replace(scan_of_one_species, hidden_size=0 * scan_of_one_species.hidden_size)
    pixels = steady.sigma_drift.copy(data=np.where(np.arange(30) < 15, 0, 0.02) * np.ones((24, 1)))
    along, away = steady.spectra.values[0], np.gradient(steady.spectra.values[0])
    away = away - (away @ along) * along

    for operator, added in ((along, 0.02**2), (away, 0.0)):
        drifted, less = (
            pixel_spectra_of(each).error(operator).reshape(24, 30) ** 2
            for each in (replace(steady, sigma_drift=pixels), steady)
        )
        np.testing.assert_allclose(drifted[:, :15], less[:, :15])
        np.testing.assert_allclose(drifted[:, 15:], less[:, 15:] + added, rtol=1e-4)


def test_a_map_says_why_its_errors_may_not_hold(scan_of_one_species):
    doubtful = replace(scan_of_one_species, reasons=("the light drifts",))

    sure, unsure = (half_step_energy(each).attrs for each in (scan_of_one_species, doubtful))

    assert (sure["intervals_hold"], sure["reasons"]) == (True, [])
    assert (unsure["intervals_hold"], unsure["reasons"]) == (False, ["the light drifts"])
    assert not half_step_energy(edge_stack(EDGES)).attrs["intervals_hold"]


def test_noise_without_an_edge_is_no_map():
    """The steepest rise of a flat spectrum is noise, and its step no larger than the error of the spectra."""
    flat = edge_stack(EDGES.repeat(5, 0).repeat(4, 1), n_energies=60) * 0 + np.float32(1)
    for seed in range(5):
        noisy = flat.copy(data=add_noise(flat.values, 1e-3, seed))
        assert half_step_energy(denoise(noisy, method="sum", rank=1))["mask"].mean() < 0.05
        with contextlib.suppress(EdgeError):  # smoothed spectra may have no rise at all
            assert half_step_energy(denoise(noisy, rank=1))["mask"].mean() < 0.05


def test_pixels_without_a_step_are_masked():
    thickness = np.ones((5, 7))
    thickness[2] = 0.01
    found = half_step_energy(edge_stack(EDGES, thickness=thickness), e0_ev=E0)

    np.testing.assert_array_equal(found["mask"].values, thickness > 0.5)


def test_masked_pixels_and_weightless_frames_do_not_count():
    stack = edge_stack(EDGES)
    values = stack.values.copy()
    values[60] = 50.0
    values[:, 0, 0] = np.nan
    weight, mask = np.ones(len(values)), np.ones((5, 7), bool)
    weight[60], mask[0, 0] = 0, False
    spoiled = stack.copy(data=values).assign_coords(weight=("energy", weight), mask=(("y", "x"), mask))

    found = half_step_energy(spoiled, e0_ev=E0)

    np.testing.assert_allclose(found.half_step_energy_ev.values[mask], EDGES[mask], atol=0.05)
    assert not found["mask"].values[0, 0]


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.3])
def test_white_line_position_is_found_between_energies(shift):
    positions = np.array([[8336.0, 8337.0], [8338.0, 8339.0]]) + shift

    found = white_line(white_line_stack(positions), e0_ev=E0)

    fine = white_line_stack(positions, n_energies=20_001)
    highest = fine.energy.values[fine.values.argmax(axis=0)]  # the step moves the maximum up by 0.1 eV
    # a parabola over up to 4 eV to each side, as the grid of 1.7 eV needs it, sees a little of the step
    np.testing.assert_allclose(found.white_line_ev, highest, atol=0.2)


def test_a_second_maximum_as_high_is_within_the_error():
    energy = np.linspace(8300.0, 8500.0, 200)
    second = np.linspace(0.8, 1.2, 40)  # height of the second peak over that of the first, by row
    peaks = np.exp(-0.5 * ((energy - 8334) / 1.5) ** 2), np.exp(-0.5 * ((energy - 8341) / 1.5) ** 2)
    rise = edge_spectrum(energy, 8330.0)
    clean = rise[:, None] + peaks[0][:, None] + peaks[1][:, None] * second
    clean = make_stack(np.repeat(clean[:, :, None], 40, axis=2).astype(np.float32), energy)
    result = denoise(clean.copy(data=add_noise(clean.values, 0.05)), denoiser="none", rank=2)

    found = white_line(result, e0_ev=8331.0)

    middle = np.abs(second - 1) < 0.02  # no difference of these is significant
    error = found.white_line_sigma_ev.values
    assert (error[middle] > 6).mean() > 0.85  # 7 eV apart
    assert (error[np.abs(second - 1) > 0.19] < 1).mean() > 0.9
    assert found["mask"].values.all()


def test_a_scan_without_post_edge_gets_the_white_line():
    short = white_line_stack(np.full((4, 4), 8337.0), last_ev=8350.0)

    found = chemical_map(short)

    assert found.attrs["kind"] == "white_line"
    assert found.attrs["post_ev"] is None
    np.testing.assert_allclose(found.white_line_ev, 8337.0, atol=0.1)
    with pytest.raises(EdgeError, match=r"too few energies beyond the white line .*instead \(kind=\)"):
        half_step_energy(short)


def test_operators_do_what_lines_through_each_spectrum_do():
    energy = np.linspace(8240.0, 8500.0, 90)
    spectrum = edge_spectrum(energy, 8332.0) + 0.2 - 1e-4 * (energy - 8240)
    ranges = edge_ranges(energy, 8332.0)
    lines = []
    for low, high in (ranges.pre_ev, ranges.post_ev):
        inside = (energy >= low) & (energy <= high)
        lines.append(np.polynomial.Polynomial.fit(energy[inside], spectrum[inside], 1))
    step = lines[1](8332.0) - lines[0](8332.0)
    window = (energy > 8310) & (energy < 8360)
    at = energy[window]
    flat = np.where(at < 8332, spectrum[window] - lines[0](at), spectrum[window] - lines[1](at) + step)

    assert step_operator(energy, ranges) @ spectrum == pytest.approx(step, rel=1e-9)
    np.testing.assert_allclose(flattening_operator(energy, ranges, window) @ spectrum, flat, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"e0_ev": 9000.0}, r"e0 = 9000 eV lies outside the scan \(8240 \.\.\. 8500 eV\)"),
        ({"pre_ev": (8300.0, 8250.0)}, r"pre-edge range 8300:8250 eV .* lower end first"),
        ({"post_ev": (8600.0, 8700.0)}, "post-edge range 8600:8700 eV holds 0 energies"),
    ],
)
def test_impossible_ranges_say_what_is_wrong(options, message):
    with pytest.raises(EdgeError, match=message):
        half_step_energy(edge_stack(EDGES), **options)


def test_no_edge_is_an_error():
    falling = make_stack(
        np.linspace(1, 0.5, 30, dtype=np.float32)[:, None, None], np.linspace(8300, 8400, 30)
    )
    with pytest.raises(EdgeError, match=r"nowhere rises.* give its energy \(e0_ev=\)"):
        half_step_energy(falling)
    with pytest.raises(EdgeError, match="4 energies are too few"):
        find_e0_ev(np.arange(4.0) + 8300, np.arange(4.0))
    with pytest.raises(EdgeError, match=r"map kind must be one of auto, half_step, .* valence, got 'slope'"):
        chemical_map(falling, kind="slope")


def test_missing_values_are_not_mapped():
    values = edge_stack(EDGES).values.copy()
    values[3, 2, 2] = np.nan
    stack = edge_stack(EDGES).copy(data=values)
    stack.attrs["missing_values"] = 1

    found = half_step_energy(stack, e0_ev=E0)

    assert not found["mask"].values[2, 2]
    assert found["mask"].values.sum() == 34


def test_an_empty_mask_is_an_error():
    stack = edge_stack(EDGES).assign_coords(mask=(("y", "x"), np.zeros((5, 7), bool)))
    with pytest.raises((EdgeError, StackError), match="no usable pixel"):
        half_step_energy(stack)


@pytest.mark.parametrize(
    ("energies", "options", "message"),
    [
        (np.arange(8172.0, 8560, 40), {}, "fewer than two energies between"),
        (np.arange(8240.0, 8500, 2), {"pre_ev": (8240, 8331.9), "post_ev": (8332.1, 8500)}, "fewer than two"),
        (np.arange(8240.0, 8500, 2), {"pre_ev": (8400, 8500), "post_ev": (8240, 8300)}, "must end below e0"),
    ],
)
def test_ranges_that_leave_no_edge_between_them(energies, options, message):
    values = 0.1 + edge_spectrum(energies, 8332.0)[:, None, None] + np.zeros((1, 4, 5))

    with pytest.raises(EdgeError, match=message):
        half_step_energy(make_stack(values.astype(np.float32), energies), e0_ev=8332.0, **options)


def test_a_stack_of_which_all_is_used_is_not_copied():
    stack = edge_stack(np.full((6, 5), 8340.0), n_energies=90)
    before = stack.copy(deep=True)

    spectra = pixel_spectra_of(stack)
    half_step_energy(stack)

    assert np.shares_memory(spectra.images, stack.values)
    np.testing.assert_array_equal(stack.values, before.values)


def test_a_stack_with_a_missing_value_is_left_as_it_is():
    stack = edge_stack(np.full((6, 5), 8340.0), n_energies=90)
    stack.values[3, 2, 1] = np.nan

    spectra = pixel_spectra_of(stack.assign_attrs(missing_values=1))

    assert np.isnan(stack.values[3, 2, 1])
    assert not spectra.mask[2, 1]
    assert not spectra.images.reshape(90, 6, 5)[:, 2, 1].any()
