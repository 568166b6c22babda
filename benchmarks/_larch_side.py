"""Larch's side of chemistry_larch.py: run it in an environment with xraylarch; it imports nothing of xanesum.

    python benchmarks/_larch_side.py spectra.json larch.json

`spectra.json` holds, for each spectrum and each setting, energies, mu and keywords of `larch.xafs.pre_edge`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from larch import Group
from larch.xafs import find_e0, pre_edge


def main(given: str, written: str) -> None:
    rows = []
    for task in json.loads(Path(given).read_text("utf-8")):
        energy, mu = np.array(task["energy_ev"]), np.array(task["mu"])
        group = Group(energy=energy, mu=mu)
        pre_edge(group, **task["settings"])
        details = group.pre_edge_details
        rows.append(
            {
                "name": task["name"],
                "setting": task["setting"],
                "e0_found": find_e0(energy, mu),
                "e0": float(group.e0),
                "edge_step": float(group.edge_step),
                "norm": group.norm.tolist(),
                "flat": group.flat.tolist(),
                "details": {
                    key: float(getattr(details, key)) for key in ("pre1", "pre2", "norm1", "norm2", "nnorm")
                },
            }
        )
    content = {"xraylarch": version("xraylarch"), "rows": rows}
    Path(written).write_text(json.dumps(content), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
