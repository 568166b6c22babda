"""How much every rival gains over the noisy stack, beside what the paper reports of it.

``python benchmarks/rivals_check.py`` denoises *particle* at 128 x 160 x 60 with noise of sigma 10, 60 and
150.  Slow rivals get the middle 64 x 80 pixels of it, with the noisy row of these pixels.  ``--energies 969
--shape 64 80 --name rivals-energies`` compares at the number of energies of the paper.  ``--rivals`` chooses
some by name, and ``--add`` keeps the rows of the others in the results file.  Rivals in an environment of
their own are found by the variable XANESUM_RIVALS; see `rivals/own_environment.py`.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from _common import commit, load, print_table, processor, save
from _metrics import frame_psnr, map_correlation
from rivals import RIVALS, Rival, UnavailableError

from xanesum import half_step_energy, simulate
from xanesum.phantom import Phantom
from xanesum.stack import make_stack

PAPER_NOISY = {10.0: 28.13, 60.0: 12.57, 150.0: 4.61}  # Table 1, particle: frame PSNR in dB ...
PAPER = {  # ... of the methods, in the same order of sigma
    "MedFilt3": (35.19, 24.60, 16.91),
    "SVD": (46.69, 29.98, 23.64),
    "ReLD": (43.88, 29.81, 21.03),
    "VBM4D": (43.52, 32.14, 28.08),
    "UDVD": (32.90, 21.73, 14.08),
    "RFR": (18.07, 16.94, 15.14),
}
CROP_PX = (64, 80)  # of the slow rivals
QUICK = ("3-D median", "SVD, SURE, hard", "SVD, SURE, soft", "SVD, optimal shrinkage")
NOISE_SEED, RIVAL_SEED = 1, 0
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small scan and the fast rivals")
    parser.add_argument("--shape", nargs=2, type=int, default=[128, 160], metavar=("Y", "X"))
    parser.add_argument("--energies", type=int, default=60)
    parser.add_argument("--sigmas", nargs="+", type=float, default=sorted(PAPER_NOISY))
    parser.add_argument("--rivals", nargs="+", choices=list(RIVALS), metavar="NAME", default=list(RIVALS))
    parser.add_argument("--add", action="store_true", help="keep the rows of other rivals in results/")
    parser.add_argument("--name", default="rivals", help="of the file in results/")
    options = parser.parse_args()
    if options.quick:
        options.shape, options.energies, options.rivals = [64, 80], 40, list(QUICK)
        options.name += "-quick"
    earlier = load(options.name) if options.add else []
    kept = [row for row in earlier if not (row["rival"] in options.rivals and row["sigma"] in options.sigmas)]
    phantom = simulate("particle", shape=tuple(options.shape), n_energies=options.energies)
    rows: list[Row] = []
    for name in options.rivals:
        for sigma in options.sigmas:
            taken = {"commit": commit(), "processor": processor()}
            rows.append({**taken, **check(RIVALS[name], phantom, sigma)})
            print(rows[-1], flush=True)
            save(options.name, ordered(kept + rows), energies=options.energies, rivals=described())
    print_table(ordered(kept + rows))


def check(rival: Rival, phantom: Phantom, sigma: float) -> Row:
    """Return the gain of one rival, the gain that the paper reports, and the correlation of the map."""
    area = middle(phantom.mask.shape) if rival.cost == "large" else (slice(None), slice(None))
    clean = phantom.clean().values[:, *area]
    noisy = phantom.noisy(sigma, rng=np.random.default_rng(NOISE_SEED)).values[:, *area].copy()
    before = frame_psnr(noisy, clean)
    row: Row = {"rival": rival.name, "sigma": sigma, "size": " x ".join(map(str, clean.shape[1:]))}
    start = time.perf_counter()
    try:
        found = rival.denoise(noisy, sigma, np.random.default_rng(RIVAL_SEED))
    except UnavailableError as error:
        return row | {"why not": str(error)}
    seconds = time.perf_counter() - start
    gain = frame_psnr(found, clean) - before
    row |= {"noisy (dB)": round(before, 2), "PSNR (dB)": round(gain + before, 2), "gain (dB)": round(gain, 2)}
    if rival.paper and sigma in PAPER_NOISY:
        theirs = PAPER[rival.paper][list(PAPER_NOISY).index(sigma)] - PAPER_NOISY[sigma]
        row |= {"gain in the paper (dB)": round(theirs, 2)}
    return row | {"correlation": correlation(phantom, area, found), "seconds": round(seconds, 1)}


def correlation(phantom: Phantom, area: tuple[slice, slice], found: np.ndarray) -> float:
    """Return the correlation of the half-step energy with that of the clean scan, within the sample."""
    truth = half_step_energy(phantom.clean())
    stack = make_stack(found, phantom.energy_ev)
    values = half_step_energy(stack, e0_ev=truth.attrs["e0_ev"]).half_step_energy_ev.values
    return round(
        map_correlation(values, truth.half_step_energy_ev.values[area], np.asarray(phantom.mask[area])), 4
    )


def middle(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the middle of an image, of the size for slow rivals."""
    starts = [max(0, (size - part) // 2) for size, part in zip(shape, CROP_PX, strict=True)]
    rows, columns = (slice(start, start + part) for start, part in zip(starts, CROP_PX, strict=True))
    return rows, columns


def described() -> list[dict[str, str]]:
    """Return what the list of rivals says of each."""
    return [
        {"rival": rival.name, "source": rival.source, "licence": rival.licence, "run": rival.way}
        | {"note": rival.note}
        for rival in RIVALS.values()
    ]


def ordered(rows: list[Row]) -> list[Row]:
    """Return the rows in the order of the rivals, with the same columns each."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    rows = sorted(rows, key=lambda row: (list(RIVALS).index(row["rival"]), row["sigma"]))
    return [{name: row.get(name, "") for name in names} for row in rows]


if __name__ == "__main__":
    main()
