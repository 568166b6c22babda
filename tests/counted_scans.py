"""Small scans of counts whose optical density is known."""

import numpy as np

from xanesum.stack import make_stack

SHAPE = (4, 9, 11)
FLOAT32_OD = 2e-6  # float32 rounds an optical density below 16 by at most 1e-6


def density_and_flat(shape=SHAPE, seed=0):
    """Return a known optical density and flat, both (E, Y, X)."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.0, 3.0, shape), rng.uniform(2e3, 9e3, shape)


def counts_stack(counts, **attrs):
    stack = make_stack(np.asarray(counts, np.float64), 8300 + np.arange(len(counts)), quantity="counts")
    stack.attrs.update(attrs)
    return stack
