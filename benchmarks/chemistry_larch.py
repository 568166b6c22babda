"""Normalization of measured references, against Larch: e0, edge step and normalized spectra.

``python benchmarks/chemistry_larch.py --larch PYTHON``, where PYTHON is the interpreter of an environment
with ``xraylarch``, which needs packages that xanesum does not.  ``benchmarks/_larch_side.py`` runs there.
All spectra are read by xanesum, so both sides have the same numbers.  A range that lies outside a spectrum
is refused here; Larch moves it to where the spectrum ends.  ``--quick`` takes every fifth spectrum.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import print_table, save

from xanesum.errors import EdgeError
from xanesum.io.spectrum import Reference
from xanesum.xanes import Normalization
from xanesum.xanes.references.edges import edge_of
from xanesum.xanes.references.spectra import read_references
from xanesum.xanes.steepest import steepest_e0_ev

DATA = Path(__file__).parents[2] / "shared" / "data" / "references"
FILES = ("xasdatalibrary/*.xdi", "pyxas_ni/ref_*.txt", "athena/*.prj")
SETTINGS: dict[str, dict[str, float | int]] = {
    "defaults": {},
    "EXAFS": {"pre1": -150, "pre2": -30, "norm1": 150, "norm2": 500, "nnorm": 2},
    "XANES": {"pre1": -60, "pre2": -20, "norm1": 30, "norm2": 90, "nnorm": 1},
    "cubic, Victoreen 3": {"nnorm": 3, "nvict": 3},
    "constant": {"nnorm": 0, "norm1": 40},
    "e0 between energies": {"e0": 0.37},  # this part of the way from the energy of e0 to the next one
}
HALF_STEPS = ("ref_NiO", "ref_LiNiO2")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--larch", type=Path, help="Python of an environment with xraylarch")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.larch is None or not options.data.is_dir():
        print("no --larch, or no references; nothing was measured")
        return
    paths = [path for pattern in FILES for path in sorted(options.data.glob(pattern))]
    references = read_references(*paths)[:: 5 if options.quick else 1]
    tasks = [
        {
            "name": each.name,
            "setting": setting,
            "settings": larch_settings(each, given),
            "energy_ev": each.energy_ev.tolist(),
            "mu": each.mu.tolist(),
        }
        for setting, given in SETTINGS.items()
        for each in references
    ]
    larch = of_larch(options.larch, tasks)
    rows = [compared(setting, references, tasks, larch["rows"]) for setting in SETTINGS]
    print_table(rows)
    half_steps = [half_step(each) for each in references if each.name in HALF_STEPS]
    if half_steps:
        print_table(half_steps)
    name = "chemistry-larch" + ("-quick" if options.quick else "")
    save(name, rows, xraylarch=larch["xraylarch"], half_steps=half_steps)


def larch_settings(reference: Reference, given: dict[str, float | int]) -> dict[str, float]:
    """Return keywords of `pre_edge`; a share as e0 becomes an energy."""
    if "e0" not in given:
        return dict(given)
    energy_ev = reference.energy_ev
    at = int(np.argmin(np.abs(energy_ev - steepest_e0_ev(energy_ev, reference.mu))))
    return {"e0": float(energy_ev[at] + given["e0"] * (energy_ev[at + 1] - energy_ev[at]))}


def of_larch(python: Path, tasks: list[Row]) -> dict[str, Any]:
    script = Path(__file__).with_name("_larch_side.py")
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "spectra.json", Path(folder) / "larch.json"
        given.write_text(json.dumps(tasks), "utf-8")
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder}
        subprocess.run([python, script, given, written], check=True, env=environment)
        return dict(json.loads(written.read_text("utf-8")))


def compared(setting: str, references: list[Reference], tasks: list[Row], larch: list[Row]) -> Row:
    """Return the largest differences of one setting."""
    differences, refused = [], 0
    for task, theirs in zip(tasks, larch, strict=True):
        if task["setting"] != setting:
            continue
        energy_ev, mu = np.array(task["energy_ev"]), np.array(task["mu"])
        given = dict(task["settings"])
        e0_ev = given.pop("e0", None)
        names = {name: f"{name}_ev" if name[:-1] in ("pre", "norm") else name for name in given}
        settings = {names[name]: value for name, value in given.items()}
        try:
            ours = Normalization(**settings).normalize(energy_ev, mu, e0_ev)
        except EdgeError:
            refused += 1
            continue
        differences.append(
            (
                abs(steepest_e0_ev(energy_ev, mu) - theirs["e0_found"]),
                100 * abs(ours.edge_step / theirs["edge_step"] - 1),
                rms(ours.norm, theirs["norm"]),
                rms(ours.flat, theirs["flat"]),
            )
        )
    e0, step, norm, flat = np.max(differences, axis=0)
    return {
        "setting": setting,
        "spectra": len(references),
        "refused": refused,
        "e0 (eV)": float(e0),
        "edge step (%)": float(step),
        "normalized (rms)": float(norm),
        "flattened (rms)": float(flat),
    }


def rms(ours: np.ndarray, theirs: list[float]) -> float:
    return float(np.sqrt(np.mean((ours - np.array(theirs)) ** 2)))


def half_step(reference: Reference) -> Row:
    """Return the half-step energy as the values are, and by other lines."""
    row: Row = {"reference": reference.name, "as in the file (eV)": edge_of(reference).half_step_ev}
    energy_ev, mu = reference.energy_ev, reference.mu
    for name in ("defaults", "EXAFS", "XANES"):
        settings = {f"{key}_ev" if key != "nnorm" else key: value for key, value in SETTINGS[name].items()}
        flat = Normalization(**settings).normalize(energy_ev, mu).flat
        near = np.flatnonzero(np.abs(energy_ev - energy_ev[np.argmax(np.diff(mu))]) < 25)
        rises = near[:-1][(flat[near[:-1]] < 0.5) & (flat[near[1:]] >= 0.5)]
        i = int(rises[rises < near[np.argmax(flat[near])]][-1])
        row[f"Larch, {name} (eV)"] = float(np.interp(0.5, flat[i : i + 2], energy_ev[i : i + 2]))
    return row


if __name__ == "__main__":
    main()
