"""Energies of absorption edges, by which the element of a spectrum is told.

From W. T. Elam, B. D. Ravel, J. R. Sieber, Radiat. Phys. Chem. 63, 121 (2002), in eV.
"""

from __future__ import annotations

__all__ = ["edge_name", "nominal_ev"]

K_EDGES = (
    "C 284.2, N 409.9, O 543.1, F 696.7, Na 1070.8, Mg 1303, Al 1559, Si 1839, P 2145.5, S 2472, "
    "Cl 2822, Ar 3205.9, K 3608.4, Ca 4038.5, Sc 4492, Ti 4966, V 5465, Cr 5989, Mn 6539, Fe 7112, "
    "Co 7709, Ni 8333, Cu 8979, Zn 9659, Ga 10367, Ge 11103, As 11867, Se 12658, Br 13474, Kr 14326, "
    "Rb 15200, Sr 16105, Y 17038, Zr 17998, Nb 18986, Mo 20000, Tc 21044, Ru 22117, Rh 23220, Pd 24350, "
    "Ag 25514, Cd 26711, In 27940, Sn 29200, Sb 30491, Te 31814, I 33169, Xe 34561, Cs 35985, Ba 37441, "
    "La 38925"
)
L3_EDGES = (
    "P 135, S 162.5, Cl 200, Ar 248.4, K 294.6, Ca 346.2, Sc 398.7, Ti 453.8, V 512.1, Cr 574.1, "
    "Mn 638.7, Fe 706.8, Co 778.1, Ni 852.7, Cu 932.7, Zn 1021.8, Ga 1116.4, Ge 1217, As 1323.6, "
    "Se 1433.9, Br 1550, Kr 1678.4, Rb 1804, Sr 1940, Y 2080, Zr 2223, Nb 2371, Mo 2520, Tc 2677, "
    "Ru 2838, Rh 3004, Pd 3173, Ag 3351, Cd 3538, In 3730, Sn 3929, Sb 4132, Te 4341, I 4557, Xe 4786, "
    "Cs 5012, Ba 5247, La 5483, Ce 5723, Pr 5964, Nd 6208, Pm 6459, Sm 6716, Eu 6977, Gd 7243, Tb 7514, "
    "Dy 7790, Ho 8071, Er 8358, Tm 8648, Yb 8944, Lu 9244, Hf 9561, Ta 9881, W 10207, Re 10535, "
    "Os 10871, Ir 11215, Pt 11564, Au 11919, Hg 12284, Tl 12658, Pb 13035, Bi 13419, Po 13814, At 14214, "
    "Rn 14619, Fr 15031, Ra 15444, Ac 15871, Th 16300, Pa 16733, U 17166"
)
NEAR = (
    0.004,
    8.0,
)  # an edge is near if it differs by less than this share of its energy, and this many eV more


def _table(text: str, edge: str) -> dict[tuple[str, str], float]:
    pairs = (item.split() for item in text.split(","))
    return {(element, edge): float(energy) for element, energy in pairs}


EDGES = _table(K_EDGES, "K") | _table(L3_EDGES, "L3")


def nominal_ev(element: str | None, edge: str | None) -> float | None:
    """Return the energy of an edge in eV, or None where it is not in the table (K and L3 edges)."""
    return EDGES.get(((element or "").capitalize(), (edge or "K").upper()))


def edge_name(e0_ev: float) -> tuple[str, str] | None:
    """Return element and edge whose energy is nearest, or None where none is near."""
    share, more = NEAR
    name, energy = min(EDGES.items(), key=lambda item: abs(item[1] - e0_ev))
    return name if abs(energy - e0_ev) < share * energy + more else None
