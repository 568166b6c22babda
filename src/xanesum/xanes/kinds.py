"""The kinds of maps: one table, from which the command line, the report and the files have their names."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["AUTO", "ENERGY_KINDS", "ERROR_NAMES", "KINDS", "MAP_KINDS", "MAP_NAMES", "Kind"]

AUTO = "auto"  # the half-step energy, the white line, or the edge step, whichever the scan allows


class Kind(NamedTuple):
    """A kind of map."""

    target: str  # "module:function" in this room
    variable: str  # name of the map in its Dataset
    error: str  # name of its standard error
    unit: str  # "eV", "" for a pure number, or that of the scan
    label: str  # what it is, in words
    options: tuple[str, ...] = ()  # of the function, besides e0_ev, pre_ev and post_ev
    needs: tuple[str, ...] = ()  # those of them without which there is no map

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


EV, OF_SCAN = "eV", "unit of the scan"
SHIFT = ("shift_ev",)  # of the energy axis, with its error
KINDS: dict[str, Kind] = {
    "half_step": Kind(
        "positions:half_step_energy", "half_step_energy_ev", "half_step_sigma_ev", EV, "half-step energy",
        SHIFT,
    ),
    "half_white_line": Kind(
        "positions:half_white_line", "half_white_line_ev", "half_white_line_ev_sigma", EV,
        "energy at half of the white line", SHIFT,
    ),
    "largest_derivative": Kind(
        "positions:largest_derivative", "largest_derivative_ev", "largest_derivative_ev_sigma", EV,
        "energy of the largest derivative", SHIFT,
    ),
    "white_line": Kind(
        "positions:white_line", "white_line_ev", "white_line_sigma_ev", EV, "white-line position", SHIFT
    ),
    "white_line_height": Kind(
        "intensities:white_line_height", "white_line_height", "white_line_height_sigma", "",
        "white-line height over the edge step",
    ),
    "white_line_area": Kind(
        "intensities:white_line_area", "white_line_area_ev", "white_line_area_ev_sigma", EV,
        "area of the white line over the edge step",
    ),
    "two_peaks": Kind(
        "intensities:two_peaks", "peak_ratio", "peak_ratio_sigma", "",
        "ratio of the first to the second peak", ("at_ev",),
    ),
    "pre_edge_centroid": Kind(
        "pre_edge:pre_edge_centroid", "pre_edge_centroid_ev", "pre_edge_centroid_ev_sigma", EV,
        "centroid of the pre-edge peak", ("peak_ev", *SHIFT),
    ),
    "edge_step": Kind(
        "intensities:edge_step", "edge_step", "edge_step_sigma", OF_SCAN, "edge step"
    ),
    "band_ratio": Kind(
        "bands:band_ratio", "band_ratio", "band_ratio_sigma", "", "ratio of two bands",
        ("band_ev", "over_ev"), ("band_ev", "over_ev"),
    ),
    "energy_difference": Kind(
        "bands:energy_difference", "energy_difference", "energy_difference_sigma", OF_SCAN,
        "difference of two energies", ("at_ev",),
    ),
    "valence": Kind(
        "valence:valence", "valence", "valence_sigma", "", "valence", ("points", "of", *SHIFT), ("points",)
    ),
}  # fmt: skip
MAP_KINDS = (AUTO, *KINDS)
MAP_NAMES = {name: kind.variable for name, kind in KINDS.items()}
ERROR_NAMES = {name: kind.error for name, kind in KINDS.items()}
# maps of energies of the edge, from which a valence can follow
ENERGY_KINDS = tuple(name for name, kind in KINDS.items() if kind.unit == EV and "shift_ev" in kind.options)
