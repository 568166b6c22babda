"""Chemistry from spectra: edge ranges, half-step energy, white line."""

from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.maps import MAP_KINDS, MAP_NAMES, chemical_map, edge_step, half_step_energy, white_line
from xanesum.xanes.normalization import MIN_ENERGIES, EdgeRanges, check_ranges, edge_ranges, find_e0_ev

__all__ = [
    "MAP_KINDS",
    "MAP_NAMES",
    "MIN_ENERGIES",
    "EdgeRanges",
    "Normalization",
    "check_ranges",
    "chemical_map",
    "edge_ranges",
    "edge_step",
    "find_e0_ev",
    "half_step_energy",
    "white_line",
]
