"""Chemistry from spectra: edge ranges, and maps of energies and intensities with their errors."""

from xanesum.xanes.bands import band_ratio, energy_difference
from xanesum.xanes.intensities import (
    edge_step,
    two_peaks,
    white_line_area,
    white_line_height,
)
from xanesum.xanes.kinds import AUTO, ENERGY_KINDS, ERROR_NAMES, KINDS, MAP_KINDS, MAP_NAMES, Kind
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.maps import check_kind, chemical_map
from xanesum.xanes.normalization import MIN_ENERGIES, EdgeRanges, check_ranges, edge_ranges, find_e0_ev
from xanesum.xanes.positions import half_step_energy, half_white_line, largest_derivative, white_line
from xanesum.xanes.pre_edge import pre_edge_centroid
from xanesum.xanes.valence import Point, fit_line, foil_shift, reference_points, valence

__all__ = [
    "AUTO",
    "ENERGY_KINDS",
    "ERROR_NAMES",
    "KINDS",
    "MAP_KINDS",
    "MAP_NAMES",
    "MIN_ENERGIES",
    "EdgeRanges",
    "Kind",
    "Normalization",
    "Point",
    "band_ratio",
    "check_kind",
    "check_ranges",
    "chemical_map",
    "edge_ranges",
    "edge_step",
    "energy_difference",
    "find_e0_ev",
    "fit_line",
    "foil_shift",
    "half_step_energy",
    "half_white_line",
    "largest_derivative",
    "pre_edge_centroid",
    "reference_points",
    "two_peaks",
    "valence",
    "white_line",
    "white_line_area",
    "white_line_height",
]
