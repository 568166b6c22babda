"""Shift of energy between references and a scan: how often the stated error holds.

``python benchmarks/chemistry_shift.py [DATA]``.  Mean spectra are mixed from measured references (Ni, Fe, Mn;
DATA holds their files), moved by up to 2 eV, with a sloping background and noise.  They are fitted with all
references, and without the weakest one.  Seeds are others than those by which the errors were chosen.
``--quick`` draws fewer.
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import print_table, save

from xanesum import make_stack
from xanesum.io.spectrum import Reference
from xanesum.xanes.references.edges import at_energies, edge_of
from xanesum.xanes.references.energy_shift import fit_energy_shift
from xanesum.xanes.references.spectra import read_references

DATA = Path(__file__).parents[2] / "shared" / "data" / "references"
XDI = "xasdatalibrary/{}_rt_01.xdi"
SAMPLES: dict[str, tuple[tuple[str, ...], tuple[float, float, int]]] = {
    "Ni": (("pyxas_ni/ref_NiO.txt", "pyxas_ni/ref_LiNiO2.txt"), (8250, 8500, 117)),
    "Fe": (tuple(map(XDI.format, ("Fe2O3", "Fe3O4", "FeO"))), (7000, 7250, 100)),
    "Mn": (tuple(map(XDI.format, ("MnO", "Mn3O4", "Mn2O3", "MnO2"))), (6524, 6626, 90)),
}
NOISES = (0.001, 0.005, 0.02)  # of the mean spectrum, over its edge step
LARGEST_EV = 2.0
FIRST_SEED = 2000  # 0 and 1 chose the errors
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=DATA)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no references in {options.data}; nothing was measured")
        return
    n_draws = 4 if options.quick else 20
    rows = []
    for name, (files, energies) in SAMPLES.items():
        references = [in_steps(each) for each in read_references(*(options.data / file for file in files))]
        for lacking in (False, True):
            for noise in NOISES:
                rows.append(judged(name, references, energies, lacking, noise, n_draws))
    print_table(rows)
    save("chemistry-shift" + ("-quick" if options.quick else ""), rows)


def in_steps(reference: Reference) -> Reference:
    """Return a reference in units of its edge step."""
    return replace(reference, mu=(reference.mu - reference.mu[0]) / edge_of(reference).edge_step)


def judged(
    name: str,
    references: list[Reference],
    energies: tuple[float, float, int],
    lacking: bool,
    noise: float,
    n_draws: int,
) -> Row:
    """Return errors and stated errors of the shift in scans drawn at random."""
    rng = np.random.default_rng(FIRST_SEED + zlib.crc32(f"{name} {lacking} {noise}".encode()))
    energy_ev = np.linspace(*energies)
    errors, stated = [], []
    for _ in range(n_draws):
        fractions = rng.dirichlet(np.ones(len(references)))
        shift = rng.uniform(-LARGEST_EV, LARGEST_EV)
        mixed = 0.2 + 1e-4 * (energy_ev - energy_ev[0]) + noise * rng.standard_normal(len(energy_ev))
        for fraction, each in zip(fractions, references, strict=True):
            at = np.clip(energy_ev - shift, each.energy_ev[0], each.energy_ev[-1])
            mixed += fraction * at_energies(each.energy_ev, each.mu, at)
        weakest = int(np.argmin(fractions))
        fitted = [each for i, each in enumerate(references) if not lacking or i != weakest]
        found = fit_energy_shift(make_stack(mixed[:, None, None], energy_ev), fitted)
        errors.append(found.shift_ev - shift)
        stated.append(found.sigma_ev)
    share = np.abs(errors) / np.array(stated)
    return {
        "sample": name,
        "references": "one is lacking" if lacking else "all",
        "noise": noise,
        "scans": n_draws,
        "rms error (eV)": float(np.sqrt(np.mean(np.square(errors)))),
        "stated (eV)": float(np.median(stated)),
        "within 1": float(np.mean(share < 1)),
        "within 2": float(np.mean(share < 2)),
        "worst error over stated": float(share.max()),
    }


if __name__ == "__main__":
    main()
