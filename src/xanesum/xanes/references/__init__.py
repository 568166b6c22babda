"""Spectra of references: read, normalized, checked against a scan, shifted in energy."""

from xanesum.xanes.references.energy_shift import EnergyShift, fit_energy_shift
from xanesum.xanes.references.spectra import (
    Reference,
    read_references,
    reference_spectra,
    region_references,
)

__all__ = [
    "EnergyShift",
    "Reference",
    "fit_energy_shift",
    "read_references",
    "reference_spectra",
    "region_references",
]
