"""Synthetic scans with exact truth: six kinds of scene times five spectra, plus white noise."""

from xanesum.phantom.scenes import DEFAULT_SHAPES, KINDS, Scene, draw_scene
from xanesum.phantom.simulate import Phantom, simulate
from xanesum.phantom.spectra import energy_grid_ev, state_spectra

__all__ = [
    "DEFAULT_SHAPES",
    "KINDS",
    "Phantom",
    "Scene",
    "draw_scene",
    "energy_grid_ev",
    "simulate",
    "state_spectra",
]
