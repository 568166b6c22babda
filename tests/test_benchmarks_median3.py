"""Baselines against their definitions."""

import numpy as np
import pytest
from _median3 import median3
from scipy.ndimage import median_filter


@pytest.mark.parametrize("n_energies", [2, 16, 17, 40])
def test_median_in_blocks_equals_median_at_once(n_energies):
    stack = np.random.default_rng(0).standard_normal((n_energies, 7, 9)).astype(np.float32)

    np.testing.assert_array_equal(median3(stack), median_filter(stack, size=3, mode="mirror"))
