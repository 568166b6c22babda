"""Drift of the illumination: taken away where it is drift, left where it may be the sample."""

import numpy as np
import pytest
from scans import smooth_images

from xanesum.flat_field.estimate import estimate_drift, remove_smooth, smooth_fields
from xanesum.linalg.subspace import fit_basis
from xanesum.phantom import drifting_fields

ENERGY = np.arange(8300.0, 8380.0, 1.0)
SHAPE = (80, 100)
SIGMA, DRIFT = 0.02, 0.03
FIELDS = smooth_fields(SHAPE)


def fresh(seed=0):
    return np.random.default_rng(seed)


def edge(e0):
    return 1 / (1 + np.exp(-(ENERGY - e0) / 1.5))


def sample(*, thickness=None):
    """Clean density of two states, in patches, and nothing around them."""
    patches = smooth_images(1, SHAPE)[0] > 0
    y, x = np.indices(SHAPE)
    inside = (y - 40) ** 2 + (x - 50) ** 2 < 30**2
    texture = 0.6 + 0.2 * np.tanh(smooth_images(1, SHAPE, seed=1)[0])
    depth = texture * inside if thickness is None else texture * thickness
    spectra = np.stack([edge(8340.0), edge(8342.0)])
    return np.tensordot(spectra.T, np.stack([depth * patches, depth * ~patches]), axes=1)


CLEAN = sample()


def drifting(seed=1, rms=DRIFT):
    return rms * drifting_fields(len(ENERGY), SHAPE, rng=fresh(seed))


def with_noise(stack, seed=0):
    return (stack + SIGMA * fresh(seed).standard_normal(stack.shape)).astype(np.float32)


def found_in(stack, *, mask=None, n_spectra=2):
    fields = smooth_fields(SHAPE, mask=mask)
    spectra = fit_basis(remove_smooth(stack, fields), n_spectra, mask=mask, rng=fresh()).spectra
    return estimate_drift(stack, spectra, fields, SIGMA, ENERGY, mask=mask)


def remove_drift(stack, found):
    everything = (slice(0, len(stack)), slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    drift = found.in_pixels(1, np.ones(len(stack), bool)).of(*everything)
    return stack - drift * found.fields.any(axis=0)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def varying(values):
    """What of a stack is neither constant nor a line in each pixel: all that a map can see."""
    fixed = np.linalg.qr(np.column_stack([np.ones_like(ENERGY), ENERGY - ENERGY.mean()])).Q
    return values - np.tensordot(fixed, np.tensordot(fixed.T, values, axes=1), axes=1)


def test_fields_are_orthonormal_within_the_mask_and_nothing_outside():
    mask = fresh().random(SHAPE) > 0.4
    fields = smooth_fields(SHAPE, mask=mask)

    flat = fields.reshape(len(fields), -1).astype(float)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(FIELDS)), atol=1e-5)
    assert not fields[:, ~mask].any()
    assert len(smooth_fields((3, 3))) <= 9


def test_what_is_smooth_is_removed_and_nothing_else():
    rough = fresh().standard_normal((4, *SHAPE)).astype(np.float32)
    rough = remove_smooth(rough, FIELDS)

    found = remove_smooth(
        rough + np.tensordot(fresh(1).standard_normal((4, len(FIELDS))), FIELDS, axes=1), FIELDS
    )

    np.testing.assert_allclose(found, rough, atol=1e-4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_drift_around_a_sample_is_removed(seed):
    drift = drifting(seed)
    stack = with_noise(CLEAN + drift)

    found = found_in(stack)
    left = varying(remove_drift(stack, found) - (stack - drift))

    assert found.rms == pytest.approx(rms(drift), rel=0.1)
    assert found.empty.mean() > 0.2
    assert not CLEAN[:, found.empty].any()
    assert rms(left) < 0.12 * rms(varying(drift))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_constant_change_is_not_taken_for_one_of_the_spectra(seed):
    """Spectra overlap with a constant, along which drift is not known: what is left must lie along that."""
    drift = drifting(seed)
    stack = with_noise(CLEAN + drift)
    seen = varying(np.stack([edge(8340.0), edge(8342.0)]).T).T

    left = varying(remove_drift(stack, found_in(stack)) - (stack - drift))

    for spectrum in (seen[0], seen[1] - seen[0] * (seen[1] @ seen[0]) / (seen[0] @ seen[0])):
        here, before = (np.tensordot(spectrum, values, axes=1) for values in (left, drift))
        assert rms(here) < 0.35 * rms(before)


def test_what_looks_like_the_samples_spectrum_is_removed_too():
    y, _ = np.indices(SHAPE)
    alike = (edge(8342.0) - edge(8340.0))[:, None, None] * 0.2 * np.cos(np.pi * y / SHAPE[0])
    drift = drifting() + alike
    stack = with_noise(CLEAN + drift)

    left = varying(remove_drift(stack, found_in(stack)) - (stack - drift))

    difference = edge(8342.0) - edge(8340.0)
    along = np.tensordot(difference / np.linalg.norm(difference), left, axes=1)
    assert rms(along) < 0.2 * 0.2 * np.linalg.norm(difference) / np.sqrt(2)


def test_without_drift_next_to_nothing_is_removed():
    """Some fields have the error of the spectra in them; the noise of all 21 would be more."""
    stack = with_noise(CLEAN)

    found = found_in(stack)

    assert np.count_nonzero(found.amounts.any(axis=0)) < 5
    assert rms(remove_drift(stack, found) - stack) < 0.04 * SIGMA


def test_a_species_that_is_spread_smoothly_is_left_alone():
    _, x = np.indices(SHAPE)
    peak = np.exp(-0.5 * ((ENERGY - 8360) / 6) ** 2)
    smooth = 0.05 * peak[:, None, None] * (x / SHAPE[1])
    drift = drifting(rms=0.01)
    stack = with_noise(sample(thickness=np.ones(SHAPE)) + smooth + drift)

    removed = stack - remove_drift(stack, found_in(stack))

    taken = np.tensordot(peak / np.linalg.norm(peak), removed - drift, axes=1)
    assert rms(taken) < 0.2 * 0.05 * np.linalg.norm(peak) / np.sqrt(3)


def test_without_empty_pixels_neighbours_tell_drift_from_the_sample():
    """The drift along the difference of two states, where each is everywhere about as thick as anywhere."""
    thickness = 0.8 + 0.3 * fresh(6).random(SHAPE)
    patches = smooth_images(1, SHAPE, width=6.0)[0] > 0
    spectra = np.stack([edge(8340.0), edge(8342.0)])
    clean = np.tensordot(spectra.T, np.stack([thickness * patches, thickness * ~patches]), axes=1)
    drift = drifting()
    stack = with_noise(clean + drift)
    found = found_in(stack)

    left = varying(remove_drift(stack, found) - (stack - drift))

    seen = varying(spectra.T).T
    shift = seen[1] - seen[0] * (seen[1] @ seen[0]) / (seen[0] @ seen[0])
    along = {name: rms(np.tensordot(shift, v, axes=1)) for name, v in (("left", left), ("drift", drift))}
    assert not found.empty.any()
    assert along["left"] < 0.5 * along["drift"]


def test_without_empty_pixels_what_the_sample_cannot_have_is_removed():
    clean = sample(thickness=np.ones(SHAPE))
    drift = drifting()
    stack = with_noise(clean + drift)

    found = found_in(stack)
    left = remove_drift(stack, found) - (stack - drift)

    assert not found.empty.any()
    assert rms(varying(left)) < 0.35 * rms(varying(drift))


def test_masked_pixels_have_no_say_and_stay():
    mask = np.ones(SHAPE, bool)
    mask[:, :20] = False
    drift = drifting()
    stack = with_noise(CLEAN + drift)
    spoiled = np.where(mask, stack, np.float32(7))

    found = remove_drift(spoiled, found_in(spoiled, mask=mask))

    np.testing.assert_array_equal(found[:, ~mask], 7)
    left = varying(found - (stack - drift))[:, mask]
    assert rms(left) < 0.15 * rms(varying(drift))


def test_two_energies_leave_nothing_to_tell_drift_by():
    stack = with_noise(CLEAN + drifting())[:2]

    found = estimate_drift(stack, np.eye(2), FIELDS, SIGMA, ENERGY[:2])

    np.testing.assert_array_equal(remove_drift(stack, found), stack)


def test_where_no_spectrum_is_known_nothing_breaks():
    stack = with_noise(drifting())

    found = estimate_drift(stack, np.zeros((0, len(ENERGY))), FIELDS, SIGMA, ENERGY)

    assert found.rms == pytest.approx(DRIFT, rel=0.3)


def test_a_film_that_drift_hides_is_no_empty_pixel_or_told():
    """Where drift is stronger than the film's edge, the film is removed as drift: this must be said."""
    seen = []
    for seed in range(4):
        steps = fresh(seed).standard_normal(len(ENERGY))
        level = 0.004 * np.cumsum(steps)[:, None, None] * np.ones(SHAPE)
        found = found_in(with_noise(CLEAN + 0.06 * edge(8341.0)[:, None, None] + level))
        seen.append("empty" if found.empty.any() and not found.doubt else "film")

    assert seen.count("film") >= 3


def test_empty_pixels_are_seldom_doubted():
    doubts = [found_in(with_noise(CLEAN + drifting(seed), seed)).doubt for seed in range(3)]

    assert sum(map(bool, doubts)) <= 1


# --- where pixels are empty


def error_of(found, true):
    """Rms of what is left of a drift (E, Y, X), without its mean over the energies."""
    everything = (slice(0, len(true)), slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    drift = found.in_pixels(1, np.ones(len(true), bool)).of(*everything)
    left = true - drift
    return rms(left - left.mean(axis=0))


def test_a_ramp_is_seen_by_empty_pixels():
    """Beside a line, nothing is left of it in pixels with sample."""
    ramp = np.linspace(-DRIFT, DRIFT, len(ENERGY))[:, None, None] * np.ones(SHAPE)

    found = found_in(with_noise(CLEAN + ramp))

    assert found.kind
    assert error_of(found, ramp) < 0.1 * rms(ramp)


def test_noise_that_differs_by_energy_leaves_no_sample_in_the_drift():
    """What the spectra explain is taken away first, or part of a thick sample would stay."""
    uneven = np.linspace(0.3, 2.0, len(ENERGY))[:, None, None]
    level = DRIFT * fresh(3).standard_normal((len(ENERGY), 1, 1)) * np.ones(SHAPE)
    noisy = 20 * CLEAN + level + SIGMA * uneven * fresh(4).standard_normal(CLEAN.shape)

    found = found_in(noisy.astype(np.float32))

    assert error_of(found, level) < 0.1 * rms(level)


def test_chemistry_is_no_level_of_the_light():
    """Signal that does not grow with thickness is the same in all of the sample, as a level is."""
    chemistry = 0.5 * np.exp(-0.5 * ((ENERGY - 8345) / 2) ** 2)[:, None, None] * (CLEAN[-1] > 0)
    level = DRIFT * fresh(3).standard_normal((len(ENERGY), 1, 1)) * np.ones(SHAPE)

    found = found_in(with_noise(CLEAN + chemistry + level), n_spectra=3)

    assert error_of(found, level) < 0.1 * rms(level)


@pytest.mark.parametrize(("radius", "counts"), [(9, False), (25, True)])
def test_an_edge_that_is_less_certain_speaks_against_few_empty_pixels_alone(monkeypatch, radius, counts):
    y, x = np.indices(SHAPE)
    empty = (y - 40) ** 2 + (x - 50) ** 2 < radius**2  # 1 % of the pixels are found, or 13 %
    monkeypatch.setattr(
        "xanesum.flat_field.estimate.edge_in_empty", lambda *_: (np.array([np.inf]), np.array([2e-3]))
    )
    monkeypatch.setattr("xanesum.flat_field.estimate.steps_at_edge", lambda *_: 1.0)

    found = found_in(with_noise(sample(thickness=~empty) + drifting()))

    assert found.empty.any() == counts
