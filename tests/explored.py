"""A small result with a map, for the tests of the explorer."""

from functools import cache

import numpy as np
from scans import edge_stack

from xanesum.method.denoising import denoise
from xanesum.xanes import chemical_map

EDGE_EV = 8340.0 + np.linspace(0, 3, 36)[:, None] + np.linspace(0, 0.5, 44)
SIGMA = 0.02


@cache
def explored():
    """Return scan, result and map."""
    thickness = 0.3 + np.hypot(*np.meshgrid(np.linspace(-1, 1, 36), np.linspace(-1, 1, 44), indexing="ij"))
    stack = edge_stack(EDGE_EV, thickness=thickness[None], n_energies=60)
    mask = np.ones(EDGE_EV.shape, bool)
    mask[:3, :4] = False
    noise = np.random.default_rng(0).standard_normal(stack.shape).astype(np.float32)
    stack = (stack + SIGMA * noise).assign_attrs(**stack.attrs, pixel_size_nm=25.0)
    stack = stack.assign_coords(mask=(("y", "x"), mask))
    result = denoise(stack, denoiser="wavelet", sigma=SIGMA)
    return stack, result, chemical_map(result)
