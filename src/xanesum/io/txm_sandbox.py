"""Results of TXM-Sandbox, HDF5: the registered stack, optical density."""

from __future__ import annotations

from xanesum.io.layouts import Layout
from xanesum.io.scan import Format

__all__ = ["FORMAT"]

RESULTS = "registration_results/reg_results"
LAYOUT = Layout(
    data=(f"{RESULTS}/registered_xanes2D",),
    energy=f"{RESULTS}/eng_list",
    quantity="optical_density",
)
FORMAT = Format(
    name="txm-sandbox",
    description="TXM-Sandbox (registered_xanes2D)",
    suffixes=(".h5",),
    matches=LAYOUT.matches,
    open=LAYOUT.open,
    choose=LAYOUT.open,
)
