"""Every built-in passes the compliance class, and the class fails what it is meant to fail."""

from importlib.util import find_spec

import pytest

from xanesum.denoisers import get_denoiser
from xanesum.testing import DenoiserTests


class TestNone(DenoiserTests):
    denoises = False

    def make_denoiser(self):
        return get_denoiser("none")


class TestWavelet(DenoiserTests):
    def make_denoiser(self):
        return get_denoiser("wavelet")


class TestNonLocalMeans(DenoiserTests):
    def make_denoiser(self):
        return get_denoiser("nlm")


class TestTotalVariation(DenoiserTests):
    def make_denoiser(self):
        return get_denoiser("tv")


@pytest.mark.skipif(find_spec("bm3d") is None, reason='needs pip install "xanesum[bm3d]"')
class TestBM3D(DenoiserTests):
    differentiable = False  # hard thresholds and block matching
    shape = (48, 41)  # a second per image at the usual size

    def make_denoiser(self):
        return get_denoiser("bm3d")
