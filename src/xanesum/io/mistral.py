"""ALBA MISTRAL, HDF5: normalized energy scans in ``SpecNormalized``."""

from __future__ import annotations

from xanesum.io.layouts import Layout
from xanesum.io.scan import Format

__all__ = ["FORMAT"]

LAYOUT = Layout(
    data=("SpecNormalized/spectroscopy_normalized_aligned", "SpecNormalized/spectroscopy_normalized"),
    energy="SpecNormalized/energy",
    quantity="transmission",
    pixel_size_um="SpecNormalized/x_pixel_size",
)
FORMAT = Format(
    name="mistral",
    description="ALBA MISTRAL (SpecNormalized)",
    suffixes=(".hdf5", ".h5"),
    matches=LAYOUT.matches,
    open=LAYOUT.open,
    choose=LAYOUT.open,
)
