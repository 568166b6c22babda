"""References: normalized as the scan is, refused where they cannot be used, shifted with an error."""

from dataclasses import replace

import numpy as np
import pytest
from io_files import real_data
from scans import edge_spectrum

from xanesum import denoise, load_result
from xanesum.errors import EdgeError, ReadError
from xanesum.io.spectrum import Reference
from xanesum.stack import make_stack
from xanesum.xanes import Normalization
from xanesum.xanes.map_edge import map_edge
from xanesum.xanes.pixel_spectra import pixel_spectra_of
from xanesum.xanes.references.edge_energies import edge_name, nominal_ev
from xanesum.xanes.references.edges import at_energies, edge_of
from xanesum.xanes.references.energy_shift import fit_energy_shift
from xanesum.xanes.references.spectra import read_references, reference_spectra, region_references
from xanesum.xanes.references.survey import against_scan, pairs_alike, survey

FINE = np.arange(8200.0, 8560, 0.5)
SCAN = np.linspace(8240.0, 8500, 90)


def shape(energy_ev, half_ev, peak=0.5):
    """An edge with a white line 6 eV beyond its half."""
    return edge_spectrum(energy_ev, half_ev) + peak * np.exp(-(((energy_ev - half_ev - 6) / 4) ** 2))


def reference(name, half_ev=8340.0, peak=0.5, *, energy_ev=FINE, step=1.0, **more):
    sloping = 0.3 - 4e-4 * (energy_ev - 8340)
    return Reference(name, energy_ev, step * (shape(energy_ev, half_ev, peak) + sloping), "made up", **more)


LOW, HIGH = reference("low", 8340.0, 0.5, step=2.0), reference("high", 8342.5, 0.8, step=0.4)


def mixed(fractions, *, shift_ev=0.0, sigma=0.0, seed=0, size=(1, 1), energy_ev=SCAN):
    """A stack of mixtures of LOW and HIGH, in units of their own steps."""
    mean = sum(
        fraction * at_energies(each.energy_ev, each.mu, energy_ev - shift_ev) / edge_of(each).edge_step
        for fraction, each in zip(fractions, (LOW, HIGH), strict=True)
    )
    noise = sigma * np.random.default_rng(seed).standard_normal((len(energy_ev), *size))
    return make_stack(mean[:, None, None] + noise, energy_ev)


def test_normalized_by_itself():
    table = reference_spectra([LOW, HIGH], SCAN)

    np.testing.assert_allclose(table.sel(reference="low"), shape(SCAN, 8340.0), atol=2e-3)
    np.testing.assert_allclose(table.sel(reference="high"), shape(SCAN, 8342.5, 0.8), atol=2e-3)
    assert table.dims == ("reference", "energy")
    assert table.attrs["edge_steps"] == pytest.approx([2.0, 0.4], rel=2e-3)
    assert table.attrs["condition_number"] == pytest.approx(np.linalg.cond(table.values.T))


def test_with_the_lines_of_the_scan_a_mixture_is_normalized_like_a_pixel():
    stack = mixed((0.3, 0.7))
    spectra = pixel_spectra_of(stack)
    ranges = map_edge(spectra, None, None, None, Normalization()).ranges
    table = reference_spectra([LOW, HIGH], SCAN, ranges=ranges)
    steps = np.array(table.attrs["edge_steps"]) / [edge_of(each).edge_step for each in (LOW, HIGH)]
    shares = np.array([0.3, 0.7]) * steps

    flattening, step = ranges.normalization.operators(SCAN, ranges.e0_ev)

    pixel = spectra.mean_spectrum
    np.testing.assert_allclose(
        shares @ table.values / shares.sum(), flattening @ pixel / (step @ pixel), atol=1e-6
    )
    assert table.attrs["definition"].startswith(
        "references at the energies of the scan, normalized as in Larch"
    )


def test_a_reference_that_is_normalized_already_stays_as_it_is():
    flat = Reference("flat", FINE, shape(FINE, 8340.0), "made up", normalized=True)

    table = reference_spectra([flat], FINE[50:400])

    np.testing.assert_allclose(table[0], flat.mu[50:400], atol=1e-12)
    assert table.attrs["edge_steps"] == [1.0]


def test_a_shift_moves_all_references():
    moved = reference_spectra([LOW], SCAN, shift_ev=1.5)

    np.testing.assert_allclose(moved[0], shape(SCAN - 1.5, 8340.0), atol=2e-3)
    assert moved.attrs["shift_ev"] == 1.5


def test_only_energies_that_all_cover_on_request():
    table = reference_spectra([LOW, SHORT], SCAN, overlap=True)

    assert table.energy.values[0] >= 8260
    assert table.sizes["energy"] < len(SCAN)


OTHER = reference("iron", 7125.0, energy_ev=FINE - 1215)
SHORT = reference("short", peak=0.7, energy_ev=np.arange(8260.0, 8480, 0.5))
NOISE = 1e-6 * np.random.default_rng(0).standard_normal(len(FINE))


@pytest.mark.parametrize(
    ("references", "energy_ev", "message"),
    [
        ([], SCAN, "no references were given"),
        (
            [LOW, SHORT],
            SCAN,
            r"'short' covers 8260.0 to 8479.5 eV, but the scan goes from 8240.0 to 8500.0 eV",
        ),
        ([LOW, OTHER], SCAN, r"'iron' has its edge at 712\d.\d eV \(Fe K\), that of 'low' is at 83"),
        ([LOW, replace(LOW, name="copy")], SCAN, "'low' and 'copy' are the same spectrum"),
        (
            [LOW, replace(LOW, name="twice", mu=3 * LOW.mu + 1)],
            SCAN,
            "'low' and 'twice' are the same spectrum",
        ),
        (
            [LOW, replace(LOW, name="alike", mu=LOW.mu + 10 * NOISE)],
            SCAN,
            r"so much alike .* \(condition number",
        ),
        (
            [LOW, HIGH, reference("third", 8344.0)],
            np.array([8340.0, 8345.0]),
            "3 references cannot be told apart by 2",
        ),
        ([replace(LOW, mu=-LOW.mu)], SCAN, "is -2, not above 0|step of -2, not above 0"),
    ],
    ids=["none", "overlap", "element", "duplicate", "scaled", "alike", "few energies", "falling"],
)
def test_what_cannot_be_used_is_refused_in_one_line(references, energy_ev, message):
    with pytest.raises(EdgeError, match=message) as error:
        reference_spectra(references, energy_ev)
    assert "\n" not in str(error.value)


def test_a_scan_of_another_element_is_refused():
    with pytest.raises(EdgeError, match=r"'iron' has its edge .* that of the scan is at 83"):
        against_scan([OTHER], mixed((1.0, 0.0)))


def test_elements_by_their_edges():
    assert edge_name(8340.5) == ("Ni", "K")
    assert edge_name(7123.0) == ("Fe", "K")
    assert edge_name(708.0) == ("Fe", "L3")
    assert edge_name(8200.0) is None
    assert nominal_ev("ni", "k") == 8333.0
    assert nominal_ev("Ni", "L2") is None


def test_what_references_are():
    kev = reference("kev", element="Ni", edge="K", kind="transmission")
    found = survey([LOW, kev, OTHER, replace(LOW, name="falling", mu=-LOW.mu)])

    assert found[0].what == "Ni K (by its energy), absorption, XANES to +220 eV"
    assert found[1].what == "Ni K, transmission, XANES to +220 eV"
    assert found[2].what.startswith("Fe K (by its energy)")
    assert found[3].what == "absorption, no edge"
    assert found[3].doubts
    at = np.linspace(8338, 8341, 3001)  # the white line lifts the half of the step a little
    assert found[0].edge.half_step_ev == pytest.approx(np.interp(0.5, shape(at, 8340.0), at), abs=0.02)
    assert found[0].noise == pytest.approx(0, abs=1e-4)


def test_pairs_that_are_hard_to_tell_apart():
    alike = replace(LOW, name="alike", mu=LOW.mu + 1e-3 * np.sin(FINE))

    pairs = pairs_alike(survey([LOW, HIGH, alike, replace(HIGH, name="copy", mu=2 * HIGH.mu)]))

    assert {pair[:2] for pair in pairs} == {("low", "alike"), ("high", "copy")}
    assert np.isinf(dict((pair[1], pair[2]) for pair in pairs)["copy"])


def test_names_are_made_different(tmp_path):
    np.savetxt(tmp_path / "a.txt", np.column_stack([FINE, LOW.mu]))

    found = read_references(tmp_path / "a.txt", tmp_path / "a.txt")

    assert [each.name for each in found] == ["a", "a (2)"]


def test_a_spectrum_that_is_normalized_is_told(tmp_path):
    np.savetxt(tmp_path / "a.txt", np.column_stack([FINE, shape(FINE, 8340.0)]))
    np.savetxt(tmp_path / "b.txt", np.column_stack([FINE, 2 * shape(FINE, 8340.0)]))

    one, two = read_references(tmp_path / "a.txt", tmp_path / "b.txt")

    assert one.normalized
    assert "taken as normalized already" in one.notes[0]
    assert (two.normalized, two.notes) == (False, ())


# --- the scan itself


def test_regions_and_saved_results_are_references(tmp_path):
    stack = mixed((0.5, 0.5), sigma=0.02, size=(12, 14))
    result = denoise(stack, method="sum", denoiser="none", rank=1)
    result.save(tmp_path / "result.sum.h5")
    left = np.zeros((12, 14), bool)
    left[:, :5] = True

    part, whole = region_references(stack, {"left": left, "all": None})
    (saved,) = read_references(tmp_path / "result.sum.h5")

    np.testing.assert_allclose(part.mu, stack.values[:, :, :5].mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(
        saved.mu, whole.mu, atol=0.01
    )  # a single component leaves some of the noise out
    assert part.sigma is None
    assert saved.name == "result"
    assert np.all(saved.sigma > 0.9 * 0.02 / np.sqrt(168))
    assert np.all(saved.sigma < 1.6 * 0.02 / np.sqrt(168))  # of the image and of its spectrum
    assert load_result(tmp_path / "result.sum.h5").rank == 1


@pytest.mark.parametrize(
    ("region", "message"),
    [(np.zeros((12, 14), bool), "no usable pixel"), (np.ones((3, 4), bool), "has shape")],
)
def test_regions_that_cannot_be(region, message):
    with pytest.raises(EdgeError, match=message):
        region_references(mixed((0.5, 0.5), size=(12, 14)), {"left": region})


# --- shift of energy


@pytest.mark.parametrize("shift", [-1.3, 0.0, 2.2])
def test_a_shift_is_found_exactly_without_noise(shift):
    found = fit_energy_shift(mixed((0.35, 0.65), shift_ev=shift), [LOW, HIGH])

    assert found.shift_ev == pytest.approx(shift, abs=2e-3)
    assert found.sigma_ev < 0.02
    assert found.is_there == (shift != 0 and abs(found.shift_ev) > 2 * found.sigma_ev)
    assert found.fractions == pytest.approx({"low": 0.35, "high": 0.65}, abs=0.01)
    assert found.r_factor < 1e-6


def test_the_error_of_a_shift_holds_in_noise():
    """The root mean square of 16 errors over stated errors has an error of 0.18 by itself.

    Stated errors allow for a reference that is lacking, so they are rather large where none is.
    """
    share = []
    for seed in range(16):
        found = fit_energy_shift(mixed((0.35, 0.65), shift_ev=0.7, sigma=0.02, seed=seed), [LOW, HIGH])
        share.append((found.shift_ev - 0.7) / found.sigma_ev)

    assert 0.2 < np.sqrt(np.mean(np.square(share))) < 1.4
    assert np.count_nonzero(np.abs(share) < 2) >= 13


def test_a_component_that_no_reference_has_makes_the_error_larger():
    """Half of the sample is HIGH, and only LOW is fitted: most of that looks like a shift."""
    found = fit_energy_shift(mixed((0.5, 0.5)), [LOW])

    assert found.shift_ev > 0.5
    assert found.sigma_ev > 0.3
    assert not abs(found.shift_ev) > 4 * found.sigma_ev


def test_a_reference_that_noise_hides_makes_the_error_larger():
    """Without HIGH, the spectrum is nearly as likely at another shift; a third kind may lack so."""
    seeds = [fit_energy_shift(mixed((0.35, 0.65), sigma=0.02, seed=seed), [LOW, HIGH]) for seed in range(3)]

    assert np.median([found.sigma_ev for found in seeds]) > 0.18  # 0.11 by noise alone


def test_with_one_reference_the_error_is_that_of_other_chemistry():
    assert fit_energy_shift(mixed((1.0, 0.0), shift_ev=0.5), [LOW]).sigma_ev >= 1.0


def test_the_error_of_a_result_is_that_of_its_noise():
    stack = mixed((0.35, 0.65), shift_ev=0.7, sigma=0.1, size=(12, 14))
    result = denoise(stack, method="sum", denoiser="none", rank=1)

    found = fit_energy_shift(result, [LOW, HIGH])

    assert abs(found.shift_ev - 0.7) < 3 * found.sigma_ev
    assert found.sigma_ev < 0.3
    assert "fitted to the mean spectrum from 831" in found.definition


@pytest.mark.parametrize(("fractions", "reference"), [((0.15, 0.85), LOW), ((0.3, 0.7), HIGH)])
def test_a_shift_that_is_none_is_within_two_errors(fractions, reference):
    """One of two references is missing, and nothing is shifted."""
    found = fit_energy_shift(mixed(fractions), [reference])

    assert abs(found.shift_ev) > 0.2
    assert abs(found.shift_ev) < 2 * found.sigma_ev


def test_a_shift_without_enough_of_the_scan():
    with pytest.raises(EdgeError, match="are too few to fit a shift"):
        fit_energy_shift(mixed((0.5, 0.5), energy_ev=np.linspace(8240.0, 8500, 9)), [LOW, HIGH])
    with pytest.raises(EdgeError, match="no references"):
        fit_energy_shift(mixed((0.5, 0.5)), [])


def test_references_that_end_before_the_lines_of_the_scan_still_give_a_shift():
    shorter = [replace(each, energy_ev=FINE[180:500], mu=each.mu[180:500]) for each in (LOW, HIGH)]

    found = fit_energy_shift(mixed((0.35, 0.65), shift_ev=-0.8), shorter)

    assert found.shift_ev == pytest.approx(-0.8, abs=0.02)
    assert "a straight line was taken from each" in found.definition


# --- measured references


def test_half_step_energies_of_nickel_oxides():
    folder = real_data("references/pyxas_ni")

    low, high = (edge_of(each) for each in read_references(folder / "ref_NiO.txt", folder / "ref_LiNiO2.txt"))

    assert low.half_step_ev == pytest.approx(8340.05, abs=0.05)
    assert high.half_step_ev == pytest.approx(8341.81, abs=0.05)
    assert (low.element, low.edge, low.is_stated) == ("Ni", "K", False)


def test_the_same_foil_twice():
    folder = real_data("references/xasdatalibrary")
    foils = read_references(folder / "Fe_metal_rt_01.xdi", folder / "Fe_metal_rt_03.xdi")

    with pytest.raises(EdgeError, match="'Fe_metal_rt_01' and 'Fe_metal_rt_03' are the same spectrum"):
        reference_spectra(foils, np.linspace(7000.0, 7200, 50))


def test_a_list_of_energies_is_no_reference():
    with pytest.raises(ReadError, match="no rows of energy and absorption"):
        read_references(real_data("references/pyxas_ni/Ni_eng_list.txt"))
