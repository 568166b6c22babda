"""Numbers of the report as text."""

import numpy as np
import pytest

from xanesum.report.numbers import chance_text, error_text, plain, times


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (450.0, 2, "450"),
        (447.0, 2, "450"),
        (1.25e6, 3, "1250000"),
        (0.0312345, 3, "0.0312"),
        (3.0, 4, "3"),
        (-1.499, 2, "-1.5"),
        (99.97, 3, "100"),
        (0.0, 3, "0"),
        (-0.0, 3, "0"),
        (4.2e-9, 2, "4.2e-09"),
        (1.2e12, 2, "1.2e+12"),
        (np.nan, 3, ""),
        (np.inf, 3, ""),
    ],
)
def test_numbers_are_plain(value, digits, text):
    assert plain(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.42, "0.42"), (1.0, "1"), (0.0312, "0.03"), (0.0031, "0.003"), (1e-5, "< 0.001"), (0, "< 0.001")],
)
def test_chances_are_plain(value, text):
    assert chance_text(value) == text


def test_an_empty_chance_stays_empty_and_factors_and_errors_are_words():
    assert chance_text(np.nan) == ""
    assert times(453.0) == "450 times"
    assert error_text(0.25) == "0.25"
    assert error_text(-1e-9) == error_text(0.0) == "too small to be measured"
