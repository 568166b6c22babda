"""Chemistry from spectra: edge ranges, half-step energy, white line."""

from xanesum.xanes.maps import MAP_KINDS, MAP_NAMES, chemical_map, half_step_energy, white_line
from xanesum.xanes.normalization import EdgeRanges, edge_ranges, find_e0_ev

__all__ = [
    "MAP_KINDS",
    "MAP_NAMES",
    "EdgeRanges",
    "chemical_map",
    "edge_ranges",
    "find_e0_ev",
    "half_step_energy",
    "white_line",
]
