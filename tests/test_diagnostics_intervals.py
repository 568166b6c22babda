"""Each reason against the stated errors appears for its cause, and for no other."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from scans import add_noise, edge_spectrum, smooth_images

from xanesum.diagnostics import intervals
from xanesum.diagnostics.intervals import CORRELATED_WORDS, LEAST_FREE, LEAST_SIZE, MOST_SIZE, reasons_against
from xanesum.diagnostics.lost_signal import PLACES, LostSignal
from xanesum.diagnostics.residual import ResidualReport, examine_residual
from xanesum.diagnostics.whiteness import Whiteness
from xanesum.errors import ReadError
from xanesum.method.denoising import denoise
from xanesum.result import load_result
from xanesum.stack import make_stack

SHAPE = (24, 32)
ENERGY = np.linspace(8320.0, 8360.0, 20)
SPECTRUM = edge_spectrum(ENERGY, 8340.0)
THICKNESS = 10 + smooth_images(1, SHAPE, seed=3)[0]
STACK = make_stack(add_noise((SPECTRUM[:, None, None] * THICKNESS).astype(np.float32), 1.0), ENERGY)
RESULT = denoise(STACK, rank=1, denoiser="wavelet", n_probes=1)
WHITE = Whiteness(0.0, 0.0, 0.0, (0.01, 0.01, 0.01), 1.0)
NOTHING_LOST = LostSignal(
    dict.fromkeys(PLACES, 0.5), "component", 8, np.zeros((3, 4), np.float32), np.zeros(20)
)


def lost(place, image=None):
    p_values = dict.fromkeys(PLACES, 0.5) | {place: 1e-6}
    image = np.zeros((3, 4), np.float32) if image is None else image
    return LostSignal(p_values, place, 8, image, np.zeros(20))


def reasons(*, stack=STACK, result=RESULT, whiteness=WHITE, signal=NOTHING_LOST, size=1.0):
    return list(reasons_against(stack, result, whiteness, signal, size))


def with_facts(**facts):
    return replace(RESULT, provenance={**RESULT.provenance, **facts})


def test_where_all_is_well_there_is_no_reason():
    assert reasons() == []


# --- one cause each


@pytest.mark.parametrize(
    ("n_energies", "n_left", "testable"), [(3, 3, True), (2, 2, False), (20, 2, False), (20, 3, True)]
)
def test_without_energies_beyond_the_components_nothing_can_be_tested(n_energies, n_left, testable):
    weight = np.where(np.arange(n_energies) < n_left, 1.0, 0.0)
    stack = STACK[:n_energies].assign_coords(weight=("energy", weight))

    found = reasons(stack=stack, whiteness=replace(WHITE, x=0.5), size=3.0)

    assert n_left - RESULT.rank >= LEAST_FREE or not testable
    if testable:
        assert len(found) == 2
    else:
        assert len(found) == 1
        assert f"1 components of {n_left} energies leave too little to test" in found[0]
        assert found[0].endswith("so errors and lost signal cannot be tested")  # fewer than 1 is no advice


def test_reasons_of_the_result_are_told_first():
    known = replace(RESULT, reasons=("it drifts",))

    assert reasons(result=known) == ["it drifts"]
    assert reasons(result=known, size=2.0)[0] == "it drifts"
    assert len(reasons(result=known, size=2.0)) == 2


def test_images_too_small_for_a_test_are_named():
    (found,) = reasons(signal=replace(NOTHING_LOST, scale_px=0))

    assert "the images are too small for a test of the residual" in found


@pytest.mark.parametrize("place", PLACES)
def test_signal_in_the_residual_is_told_with_its_place(place):
    signal = lost(place)

    (found,) = reasons(signal=signal)

    assert found.startswith(f"the residual holds something of the sample: {PLACES[place]}")
    assert found.endswith("and compare with more components")
    assert "over 8 x 8 px" in found
    assert f"{signal.p_value:.1g}" in found
    assert signal.p_value == pytest.approx(len(PLACES) * 1e-6)


def test_more_components_are_no_advice_where_the_most_were_tried(monkeypatch):
    monkeypatch.setattr(intervals, "MAX_RANK", RESULT.rank)

    (found,) = reasons(signal=lost("component"))

    assert found.endswith("see the residual in the report")


@pytest.mark.parametrize(("place", "is_said"), [("component", True), ("smoothed", False)])
def test_only_a_slow_component_may_be_of_the_illumination(place, is_said):
    tilt = np.linspace(-1, 1, 64, dtype=np.float32) * np.ones((48, 1), np.float32)

    (found,) = reasons(signal=lost(place, tilt))

    assert ("of illumination that changed" in found) == is_said


@pytest.mark.parametrize("axis", ["x", "y", "energy"])
@pytest.mark.parametrize("reach", [0, 2])
def test_correlated_noise_is_a_reason_unless_it_was_allowed_for(axis, reach):
    """Noise that reaches the next pixel is allowed for in images; nothing is along energy."""
    found = reasons(result=with_facts(noise_reach_px=reach), whiteness=replace(WHITE, **{axis: -0.3}))

    if reach and axis != "energy":
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(CORRELATED_WORDS)
        assert f"-0.300 along {axis}" in found[0]


def test_a_small_correlation_is_no_reason():
    assert reasons(whiteness=replace(WHITE, x=0.015, standard_error=(1e-4, 1e-4, 1e-4))) == []


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (MOST_SIZE + 0.01, True),
        (MOST_SIZE - 0.01, False),
        (LEAST_SIZE + 0.01, False),
        (LEAST_SIZE - 0.01, True),
    ],
)
def test_a_wrong_noise_level_is_a_reason(size, told):
    found = reasons(size=size)

    assert len(found) == told
    if told:
        assert f"the residual is {size:.2f} times the stated noise level" in found[0]


def test_all_causes_together_give_all_reasons():
    found = reasons(
        result=replace(RESULT, reasons=("it drifts", "20 components")),
        whiteness=replace(WHITE, energy=0.4),
        signal=lost("shift"),
        size=2.0,
    )

    assert len(found) == 5
    assert len(set(found)) == 5


# --- what is known without the residual


def test_denoising_knows_no_reason_against_a_good_scan():
    assert denoise(STACK, denoiser="wavelet", n_probes=1).reasons == ()


def test_a_drift_that_may_be_the_sample_is_told_in_its_own_words():
    doubt = STACK.assign_attrs(drift_doubt="the drift looks like the sample")

    result = denoise(doubt, rank=1, denoiser="none")

    assert result.reasons == ("the drift looks like the sample",)
    assert reasons(stack=doubt, result=result) == ["the drift looks like the sample"]


@pytest.mark.parametrize(("e", "is_missed"), [(10, True), (3, False), (17, False)])
def test_a_frame_left_out_within_the_edge_is_missed(e, is_missed):
    weight = np.where(np.arange(20) == e, 0.0, 1.0)
    stack = STACK.assign_coords(weight=("energy", weight))

    found = denoise(stack, rank=1, denoiser="none").reasons

    assert [f"{ENERGY[e]:.1f} eV, within the edge, was left out" in each for each in found] == [
        True
    ] * is_missed


@pytest.mark.parametrize(("frames", "is_told"), [((20,), True), ((19, 20, 21), False), ((), False)])
def test_a_frame_with_a_component_of_its_own_is_told(frames, is_told):
    """Where neighbours have components too, it may be chemistry."""
    energy = np.linspace(8320.0, 8360.0, 40)
    spectrum = 1 / (1 + np.exp(-(energy - 8340) / 2))
    values = add_noise((spectrum[:, None, None] * THICKNESS).astype(np.float32), 0.5)
    for e, image in zip(frames, smooth_images(3, SHAPE, seed=5), strict=False):
        values[e] += 4 * image

    found = denoise(make_stack(values, energy), rank=1 + len(frames), denoiser="none").reasons

    assert ["is unlike all others" in each for each in found] == [True] * is_told


@pytest.mark.parametrize(("share", "is_told"), [(0.05, True), (0.005, False)])
def test_many_values_too_dark_for_a_logarithm_are_told(share, is_told):
    found = denoise(STACK.assign_attrs(dark_share=share), rank=1, denoiser="none").reasons

    assert ["5 % of the values are too dark for a logarithm" in each for each in found] == [True] * is_told


# --- drift that was not removed


def scan_with_level(level):
    """A small sample amid empty pixels, whose frames each have a level of their own."""
    inside = np.zeros((40, 48))
    inside[8:30, 8:36] = THICKNESS[:22, :28] / 10
    energy = np.linspace(8320.0, 8360.0, 30)
    clean = edge_spectrum(energy, 8340.0)[:, None, None] * inside
    levels = level * np.random.default_rng(2).standard_normal((30, 1, 1))
    return make_stack(add_noise((clean + levels).astype(np.float32), 0.1), energy)


@pytest.mark.parametrize(("level", "is_told"), [(0.0, False), (0.03, True)])
def test_a_level_of_the_frames_that_nobody_removed_is_told(level, is_told):
    stack = scan_with_level(level)
    result = denoise(stack, denoiser="wavelet", n_probes=1)

    found = reasons(stack=stack, result=result)

    assert ["the light of the frames changes by 0.0" in each for each in found] == [True] * is_told


@pytest.mark.parametrize("attribute", ["drift_removed", "drift_doubt"])
def test_where_drift_was_removed_or_is_in_doubt_it_is_not_looked_for_again(attribute):
    stack = scan_with_level(0.03)
    result = denoise(stack, denoiser="wavelet", n_probes=1)

    assert reasons(stack=stack.assign_attrs({attribute: "0.03"}), result=result) == []


@pytest.mark.filterwarnings("ignore:1 components, the most that are tried")
@pytest.mark.parametrize(("most", "rank"), [(1, None), (1, 1), (2, None)])
def test_as_many_components_as_are_tried_may_not_be_enough(monkeypatch, most, rank):
    monkeypatch.setattr("xanesum.method.denoising.MAX_RANK", most)

    result = denoise(STACK, rank=rank, denoiser="wavelet", n_probes=1)

    told = [f"{most} components, the most that are tried, are not enough" in each for each in result.reasons]
    assert result.rank == 1
    assert told == ([True] if most == 1 and rank is None else [])


@pytest.mark.parametrize("odd", [False, True])
def test_a_frame_that_is_a_component_of_its_own_is_named(odd):
    values = STACK.values.copy()
    values[7] += odd * 10 * smooth_images(1, SHAPE, seed=11)[0].astype(np.float32)

    result = denoise(make_stack(values, ENERGY), rank=2, denoiser="wavelet", n_probes=1, noise="white")

    told = [each for each in result.reasons if "needs a component of its own" in each]
    assert len(told) == odd
    assert all(f"the frame at {ENERGY[7]:.1f} eV" in each for each in told)


def test_a_scan_that_was_interpolated_along_energy_is_told():
    """Frames of 41 energies are means of 14."""
    rng, energy = np.random.default_rng(1), np.linspace(8320.0, 8360.0, 41)
    few = (edge_spectrum(energy[::3], 8340.0)[:, None, None] * np.full((60, 70), 10.0)) + rng.standard_normal(
        (14, 60, 70)
    )
    at = np.minimum(np.arange(41) / 3, 13)
    low = np.minimum(at.astype(int), 12)
    share = (at - low)[:, None, None]
    values = (1 - share) * few[low] + share * few[low + 1]

    found = denoise(make_stack(values.astype(np.float32), energy), rank=1, denoiser="wavelet", n_probes=1)

    assert len(found.reasons) == 1
    assert "the noise of 41 energies is that of 14 frames" in found.reasons[0]


# --- in the report of the residual, and in the file of the result


def test_the_report_holds_them():
    two = denoise(STACK[:2], rank=1, denoiser="wavelet", n_probes=1)
    good, none_left = examine_residual(STACK, RESULT), examine_residual(STACK[:2], two)

    assert good.intervals_hold
    assert good.reasons == good.notes == ()
    assert not none_left.intervals_hold
    assert len(none_left.reasons) == 1
    assert "cannot be tested" in none_left.reasons[0]
    assert none_left.figures["reasons"] == list(none_left.reasons)
    assert none_left.figures["intervals_hold"] is False


def test_correlated_noise_that_is_allowed_for_is_a_note_and_no_reason():
    allowed = ResidualReport(replace(WHITE, x=0.3), NOTHING_LOST, 1.0, ())
    against = ResidualReport(replace(WHITE, x=0.3), NOTHING_LOST, 1.0, (f"{CORRELATED_WORDS}: much",))

    assert allowed.intervals_hold
    assert len(allowed.notes) == 1
    assert allowed.notes[0].endswith("errors of the map allow for it")
    assert against.notes == against.reasons  # it is not said twice


def test_reasons_are_saved_with_the_result(tmp_path):
    doubted = replace(RESULT, reasons=("the noise is correlated", "2 > 1 µm"))

    plain, back = (
        load_result(each.save(tmp_path / name)) for name, each in (("a.h5", RESULT), ("b.h5", doubted))
    )

    assert plain.reasons == ()
    assert plain.intervals_hold
    assert back.reasons == doubted.reasons
    assert not back.intervals_hold


@pytest.mark.parametrize("name", ["process/reasons", "hidden_size", "error_spectra"])
def test_a_file_of_an_earlier_version_is_refused_by_one_line(tmp_path, name):
    path = RESULT.save(tmp_path / "old.h5")
    with h5py.File(path, "a") as file:
        del file[f"entry/{name}"]

    said = rf"old\.h5: not a (whole xanesum result: it lacks {name}|xanesum result \(.*Denoised\.save)"
    with pytest.raises(ReadError, match=said) as caught:
        load_result(path)
    assert "\n" not in str(caught.value)


def test_what_noise_hides_is_saved_with_the_result(tmp_path):
    back = load_result(RESULT.save(tmp_path / "a.h5"))

    for name in ("hidden_spectrum", "hidden_size", "error_spectra", "error_freedom"):
        saved, before = getattr(back, name), getattr(RESULT, name)
        assert saved.dims == before.dims
        np.testing.assert_array_equal(saved.values, before.values)
    assert RESULT.hidden_size.dims == ("y", "x")
    assert float(RESULT.hidden_size.mean()) > 0
    assert np.linalg.norm(RESULT.hidden_spectrum) == pytest.approx(1)
    assert np.all((RESULT.error_freedom >= 0) & (RESULT.error_freedom <= 1 + 1e-9))
