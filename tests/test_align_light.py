"""Fields of light: in the coordinates of detector and sample, and apart from the sample."""

import numpy as np

from xanesum.align.light import N_FIELDS, in_sample, polynomials, without_sample

SIZE = (40, 60)


def axes(shift=(0.0, 0.0)):
    """Coordinates of the detector, or of a sample that has moved by `shift` in pixels."""
    y, x = ((2 * (np.arange(n) + 0.5 - s)) / n - 1 for n, s in zip(SIZE, shift, strict=True))
    return y[:, None], x


def test_fields_of_the_sample_are_sums_of_those_of_the_detector():
    shift = np.array([3.0, -7.5])

    turn = in_sample(shift[None], SIZE, N_FIELDS)[0]

    on_detector = np.tensordot(turn, polynomials(*axes()), axes=1)
    np.testing.assert_allclose(on_detector, polynomials(*axes(shift)), atol=1e-5)


def test_a_field_that_may_be_of_the_sample_is_given_to_it_and_all_other_light_stays():
    rng = np.random.default_rng(4)
    n = 30
    shifts = rng.uniform(-4, 4, (n, 2))
    there, back = in_sample(shifts, SIZE, N_FIELDS), in_sample(-shifts, SIZE, N_FIELDS)
    spectra = np.linalg.qr(rng.standard_normal((n, 2)))[0].T
    field = np.r_[0, rng.standard_normal(N_FIELDS - 1)]
    of_sample = np.einsum("eij,ei->ej", there, spectra[0][:, None] * field)
    light = rng.standard_normal((n, N_FIELDS))
    alone = without_sample(light, spectra, there, back)

    both = without_sample(light + of_sample, spectra, there, back)

    np.testing.assert_allclose(both[:, 1:], alone[:, 1:], atol=1e-10)
    assert np.sum(alone[:, 1:] ** 2) < np.sum(light[:, 1:] ** 2)
    assert np.sum(alone[:, 1:] ** 2) > 0.8 * np.sum(light[:, 1:] ** 2)
    np.testing.assert_allclose(without_sample(alone, spectra, there, back)[:, 1:], alone[:, 1:], atol=0.2)


def test_a_constant_alone_is_not_changed():
    factors = np.arange(5.0)[:, None]
    turns = in_sample(np.ones((5, 2)), SIZE, 1)

    assert np.array_equal(without_sample(factors, np.full((1, 5), 5**-0.5), turns, turns), factors)
