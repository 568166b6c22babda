"""Coverage of the stated errors of every kind of map, on scans drawn at random.

    python benchmarks/chemistry_maps.py --set report     scans that nobody tuned to

Every scan of `_random_scenes`, made smaller, is denoised as `xanesum run` does it.  Every kind of map is made
of the result and, with the same settings, of the clean stack, which gives the truth.  A scan is a silent
failure of a kind if its map says that its intervals hold, and more than 5 % of the pixels are off by more
than three standard errors.  Where a kind is refused, the truth is made anyway, if it can be.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from _common import commit, print_table, save
from _random_scenes import Label, Scan, describe, draw_label, draw_scan, prepared
from _random_scores import plain, within
from numpy.typing import NDArray

from xanesum import Denoised, denoise
from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import XanesumError
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.result import load_result
from xanesum.xanes import KINDS, chemical_map, find_e0_ev

BASES = {"train": 41_000, "report": 52_011}  # seeds of the sets
N_SCANS, N_QUICK = 60, 6
MOST_PX, MOST_ENERGIES = (88, 104), 130  # larger scans are drawn smaller
FAILED_SIGMAS, FAILED_SHARE = 3.0, 0.05
N_WORST = 3  # scans that are named for each kind
MIN_PIXELS = 30
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=tuple(BASES), default="train")
    parser.add_argument("--scans", type=int, default=N_SCANS, help="number of scans")
    parser.add_argument("--quick", action="store_true", help=f"{N_QUICK} scans")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep results there, or use those there")
    parser.add_argument("--kind", action="append", help="these kinds only; nothing is saved")
    parser.add_argument("--index", type=int, metavar="I", help="this scan alone; nothing is saved")
    options = parser.parse_args()
    name = f"chemistry-maps-{options.set}{'-quick' if options.quick else ''}"
    n_scans = N_QUICK if options.quick else options.scans
    indices = range(n_scans) if options.index is None else [options.index]
    rows: list[Row] = []
    for index in indices:
        label = small_label(BASES[options.set], index)
        began = time.perf_counter()
        found = judged(label, options.keep, options.kind)
        rows += [{"commit": commit(), **row} for row in found]
        print(f"{index}: {describe(label)}, {time.perf_counter() - began:.0f} s", flush=True)
        if options.kind is None and options.index is None:
            save(name, rows, base=BASES[options.set])
    print_table(summary(rows))
    for line in worst(rows):
        print(line)


def small_label(base: int, index: int) -> Label:
    """Draw a scan, and make it small enough to be denoised in seconds."""
    label = draw_label(base, index)
    label["shape"] = [min(n, most) for n, most in zip(label["shape"], MOST_PX, strict=True)]
    label["energies"] = min(label["energies"], MOST_ENERGIES)
    return label


def denoised(scan: Scan, path: Path | None) -> Denoised:
    """Do what `xanesum run` does before the map."""
    if path is not None and path.exists():
        return load_result(path)
    stack = correct_flat_drift(prepared(scan))[0]
    result = denoise(stack)
    result = replace(result, reasons=examine_residual(stack, result).reasons)
    if path is not None:
        path.parent.mkdir(exist_ok=True)
        result.save(path)
    return result


def judged(label: Label, keep: Path | None, kinds: list[str] | None) -> list[Row]:
    """Return a row for each kind of map of one scan."""
    scan = draw_scan(label)
    path = None if keep is None else keep / f"{label['base']}-{label['index']}.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = denoised(scan, path)
            options = options_of(scan.clean)
        except XanesumError as error:
            return [{"scan": label["index"], "kind": "all", "refused": str(error)}]
        return [
            plain({"scan": label["index"], "kind": kind, **scores(result, scan.clean, kind, options[kind])})
            for kind in kinds or KINDS
        ]


def options_of(clean: xr.DataArray) -> dict[str, Row]:
    """Return the settings of each kind, with energies relative to the edge of the clean stack."""
    energy_ev = clean.energy.values.astype(float)
    e0 = find_e0_ev(energy_ev, clean.values.mean(axis=(1, 2)))
    given: dict[str, Row] = {kind: {} for kind in KINDS}
    given["two_peaks"] = {"at_ev": (e0 + 2.0, e0 + 6.0)}
    given["pre_edge_centroid"] = {"peak_ev": (e0 - 13.0, e0 - 7.0)}
    given["band_ratio"] = {"band_ev": (e0 - 2.0, e0 + 5.0), "over_ev": (e0 + 10.0, e0 + 25.0)}
    given["energy_difference"] = {"at_ev": (float(energy_ev[0]), e0 + 5.0)}
    given["valence"] = {"points": ((2.0, e0 - 1.0, 0.0), (3.0, e0 + 1.0, 0.0))}
    return given


def scores(result: Denoised, clean: xr.DataArray, kind: str, options: Row) -> Row:
    """Return how true the stated errors of a map are; or why there is none."""
    row: Row = {}
    for name, data in (("truth", clean), ("found", result)):
        try:
            row[name] = chemical_map(data, kind=kind, **options)
        except XanesumError as error:
            row[name] = None
            row[f"{name} refused"] = str(error)
    found, truth = row.pop("found"), row.pop("truth")
    if found is None or truth is None:
        return row
    where = found["mask"].values & truth["mask"].values
    value, sigma = found[KINDS[kind].variable].values, found[KINDS[kind].error].values
    where &= np.isfinite(value) & np.isfinite(sigma) & (sigma > 0)
    row["pixels"] = int(where.sum())
    row["mapped of true"] = float(where.sum() / max(int(truth["mask"].values.sum()), 1))
    row["intervals_hold"] = bool(found.attrs["intervals_hold"])
    row["reasons"] = found.attrs["reasons"]
    if row["pixels"] < MIN_PIXELS:
        return row
    error = (value - truth[KINDS[kind].variable].values)[where]
    return row | of_errors(error, sigma[where], float(np.std(truth[KINDS[kind].variable].values[where])))


def of_errors(error: NDArray[np.float64], sigma: NDArray[np.float64], spread: float) -> Row:
    """Return the figures of some pixels."""
    scaled = np.abs(error) / sigma
    far = float(np.mean(scaled > FAILED_SIGMAS))
    return {
        "within 68 %": within(scaled, 1.0),
        "within 95 %": within(scaled, 1.96),
        "beyond 3 sigma": far,
        "failed": far > FAILED_SHARE,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "offset": float(np.median(error)),
        "stated": float(np.median(sigma)),
        "true spread": spread,
    }


def summary(rows: list[Row]) -> list[Row]:
    """Return a row for each kind of map, over all scans."""
    table = []
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        known = [row for row in own if row.get("within 68 %") is not None]
        holding = [row for row in known if row["intervals_hold"]]
        if not own:
            continue
        table.append(
            {
                "kind": kind,
                "scans": len(own),
                "refused": sum("found refused" in row for row in own),
                "judged": len(known),
                "said to hold": len(holding),
                "68 %: mean": mean(row["within 68 %"] for row in holding),
                "68 %: 10 / 50 / 90 % of scans": spread_of(row["within 68 %"] for row in holding),
                "95 %: mean": mean(row["within 95 %"] for row in holding),
                "silent failures": sum(row["failed"] for row in holding),
                "all: 68 %": mean(row["within 68 %"] for row in known),
                "failures, said": sum(row["failed"] for row in known if not row["intervals_hold"]),
            }
        )
    return table


def worst(rows: list[Row]) -> list[str]:
    """Return a line for each of the scans in which most pixels are off, by kind."""
    lines = []
    for kind in KINDS:
        known = [row for row in rows if row["kind"] == kind and row.get("beyond 3 sigma") is not None]
        for row in sorted(known, key=lambda row: -row["beyond 3 sigma"])[:N_WORST]:
            lines.append(
                f"{kind}: scan {row['scan']}, {100 * row['beyond 3 sigma']:.0f} % beyond 3 sigma, "
                f"within 68 %: {row['within 68 %']:.2f}, rmse {row['rmse']:.3g}, offset {row['offset']:.3g}, "
                f"stated {row['stated']:.3g}, {'holds' if row['intervals_hold'] else row['reasons'][0][:80]}"
            )
    refused = Counter(
        (row["kind"], row["found refused"][:90]) for row in rows if "found refused" in row
    ).most_common(8)
    return [*lines, *(f"{kind} refused {n} times: {text}" for (kind, text), n in refused)]


def mean(values: Iterable[float]) -> str:
    known = list(values)
    return f"{np.mean(known):.2f}" if known else "-"


def spread_of(values: Iterable[float]) -> str:
    known = list(values)
    return " / ".join(f"{each:.2f}" for each in np.percentile(known, (10, 50, 90))) if known else "-"


if __name__ == "__main__":
    main()
