"""Synthetic scans with exact truth: scenes times spectra, with white noise or as a detector counts."""

from xanesum.phantom.exposure import Detector, Exposure, drifting_fields, expose
from xanesum.phantom.motion import Motion, MovingPhantom, draw_motion, moving
from xanesum.phantom.scenes import ALL_KINDS, DEFAULT_SHAPES, KINDS, Scene, draw_scene
from xanesum.phantom.simulate import Phantom, simulate
from xanesum.phantom.spectra import energy_grid_ev, state_spectra

__all__ = [
    "ALL_KINDS",
    "DEFAULT_SHAPES",
    "KINDS",
    "Detector",
    "Exposure",
    "Motion",
    "MovingPhantom",
    "Phantom",
    "Scene",
    "draw_motion",
    "draw_scene",
    "drifting_fields",
    "energy_grid_ev",
    "expose",
    "moving",
    "simulate",
    "state_spectra",
]
