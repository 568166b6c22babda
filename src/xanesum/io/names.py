"""What names of files say: the energy of an image, and whether it is a flat or a dark."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EnergyError
from xanesum.io.energies import require_one_scan

__all__ = [
    "DARK",
    "FLAT",
    "LEAST_EV",
    "SAMPLE",
    "energies_of_labels",
    "energy_in_name",
    "kind_of",
    "scan_name",
]

LEAST_EV = 100.0  # a smaller number before "eV" is a fraction ("8340_50eV") or a count
WITH_UNIT = re.compile(r"(?<![\d.])(\d{1,6}(?:[.p]\d+)?)[ _-]?(k?)eV(?![a-z])", re.IGNORECASE)
FRACTION = re.compile(r"(?<![\d.])(\d{1,5})_(\d{1,3})[ _-]?(k?)eV(?![a-z])", re.IGNORECASE)  # 8340_50eV
WITH_WORD = re.compile(
    r"(?:^|[_\- ])(?:e|en|eng|energy)[_\-= ]?(\d{3,5}(?:[.p]\d+)?)(?=$|[_\- ])", re.IGNORECASE
)
SAMPLE, FLAT, DARK = "sample", "flat", "dark"
WORDS = {
    **dict.fromkeys(("ref", "refs", "flat", "flats", "bkg", "background", "white", "ff", "openbeam"), FLAT),
    **dict.fromkeys(("reference", "flatfield", "i0", "open", "empty"), FLAT),
    **dict.fromkeys(("dark", "darks", "darkfield", "dc", "df"), DARK),
}
COUNTER = re.compile(r"\d+|rep\d+|\d+of\d+|(?:img|image|frame|no|run|avg)\d*", re.IGNORECASE)


def energy_in_name(name: str) -> float | None:
    """Return the photon energy in eV that a name without suffix says, as ``scan_8340.5eV``; None without one.

    A unit is needed (eV or keV), or the word energy.  The decimal point may be a ``p``, and ``_`` before the
    unit.
    """
    for found in WITH_UNIT.finditer(name):
        value = _number(found[1]) * (1e3 if found[2] else 1.0)
        if value >= LEAST_EV:
            return value
    for found in FRACTION.finditer(name):
        value = float(f"{found[1]}.{found[2]}") * (1e3 if found[3] else 1.0)
        if value >= LEAST_EV:
            return value
    worded = WITH_WORD.search(name)
    return None if worded is None else _number(worded[1])


def energies_of_labels(labels: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the energies that the labels of slices say, shape (E,); None unless each has one.

    A label is a name with an energy, or a number by itself.
    """
    found = [energy_in_name(label) or _alone(label) for label in labels]
    energy = np.array([np.nan if value is None else value for value in found])
    try:
        require_one_scan(energy, "")
    except EnergyError:
        return None
    return energy if energy.size and bool(np.all(np.isfinite(energy))) else None


def kind_of(name: str) -> str:
    """Return whether a file is a flat, a dark or an image of the sample, by a word in its name."""
    for word in re.split(r"[^a-z0-9]+", name.lower()):
        if kind := WORDS.get(word, WORDS.get(word.rstrip("0123456789"))):
            return kind
    return SAMPLE


def scan_name(name: str) -> str:
    """Return the name of an image without energy, counts and words for flat and dark: that of its scan."""
    for pattern in (WITH_UNIT, FRACTION, WITH_WORD):
        name = pattern.sub(" ", name)
    words = re.split(r"[\W_]+", name)
    kept = [word for word in words if word and not COUNTER.fullmatch(word) and kind_of(word) == SAMPLE]
    return "_".join(kept)


def _number(text: str) -> float:
    return float(text.lower().replace("p", "."))


def _alone(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None
