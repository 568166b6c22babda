"""Every kind of map of a real scan of an L edge: ALS, Fe L, 123 energies; what those say that do not apply.

    python benchmarks/chemistry_soft.py [--quick]

Needs the folder of real data, see `_random_samples`.  The figure is docs/images/maps-als.png.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from _common import print_table, save
from _random_samples import DATA

from xanesum import denoise, read_stack
from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.preprocess import prepare
from xanesum.result import Denoised
from xanesum.xanes import KINDS, chemical_map
from xanesum.xanes.particles.states import error_name, map_name

RANK = 4  # more components are found in its noise, which is not white
PEAKS_EV = (708.05, 709.7)  # the two maxima of L3 in the mean spectrum
OPTIONS: dict[str, dict[str, Any]] = {
    "band_ratio": {"band_ev": (707.5, 708.5), "over_ev": (709.2, 710.2)},
    "energy_difference": {"at_ev": PEAKS_EV},
    "two_peaks": {"at_ev": PEAKS_EV},
}
SHOWN = {
    "two_peaks": "two_peaks: ratio of the heights",
    "energy_difference": "energy_difference (optical density)",
    "white_line": "white_line (eV)",
}
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "maps-als.png"
COLUMNS = (
    "kind",
    "made",
    "median",
    "10 to 90 % of the pixels",
    "standard error of a pixel, median",
    "pixels in the map",
    "what it says",
)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same")
    parser.parse_args()
    scan = DATA / "als_fe_l_edge" / "71214098.hdr"
    if not scan.is_file():
        print(f"no file {scan}; XANESUM_TEST_DATA can name the folder of real scans")
        return
    stack = prepare(read_stack(scan))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XanesumWarning)
        result = denoise(stack, rank=RANK, rng=np.random.default_rng(0))
    result = replace(result, reasons=examine_residual(stack, result).reasons)
    rows, maps = rows_of(result)
    print_table(rows)
    save("chemistry-soft", rows, reasons=result.reasons)
    draw(result, maps)


def rows_of(result: Denoised) -> tuple[list[Row], dict[str, xr.Dataset]]:
    """Return one line for each kind of map, and the maps that could be made."""
    rows: list[Row] = []
    made: dict[str, xr.Dataset] = {}
    of_scan = set(result.reasons)
    for kind in KINDS:
        try:
            maps = chemical_map(result, kind=kind, **OPTIONS.get(kind, {}))
        except XanesumError as error:
            rows.append(dict.fromkeys(COLUMNS, "") | {"kind": kind, "made": "no", "what it says": str(error)})
            continue
        made[kind] = maps
        name, mask = map_name(maps), maps["mask"].values
        error, values = error_name(maps, name), maps[name].values[mask]
        low, middle, high = np.nanpercentile(values, (10, 50, 90))
        said = [text for text in maps.attrs["reasons"] if text not in of_scan]
        sigma = float(np.nanmedian(maps[str(error)].values[mask]))
        cells = (
            kind,
            "with a reason" if said else "yes",
            _digits(middle),
            f"{_digits(low)} to {_digits(high)}",
        )
        cells += (f"{sigma:.2g}", f"{100 * mask.mean():.0f} %", "; ".join(said))
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows, made


def _digits(value: float) -> str:
    return f"{value:.2f}" if abs(value) > 100 else f"{value:.3g}"


def draw(result: Denoised, maps: dict[str, xr.Dataset]) -> None:
    """Draw the mean spectrum of the particles, and maps with the error of the first one."""
    figure, axes = plt.subplots(1, len(SHOWN) + 2, figsize=(17, 3.6), layout="constrained")
    first = maps[next(iter(SHOWN))]
    inside = first["mask"].values
    ratio = np.where(inside, first[map_name(first)].values, np.nan)
    coefficients, spectra = result.coefficients.values, result.spectra.values
    for text, where in (("ratio above 1", ratio > 1), ("ratio below 1", ratio < 1)):
        mean = coefficients[:, where].mean(axis=1) @ spectra
        axes[0].plot(result.spectra.energy, mean, label=text)
    for at in PEAKS_EV:
        axes[0].axvline(at, color="0.7", linewidth=0.8, zorder=0)
    axes[0].set(xlabel="energy (eV)", ylabel="optical density", title="mean spectra")
    axes[0].legend(fontsize=8)
    shown = [(title, maps[kind], map_name(maps[kind])) for kind, title in SHOWN.items()]
    error = error_name(first, map_name(first))
    shown.insert(1, ("its standard error", first, str(error)))
    for axis, (title, dataset, name) in zip(axes[1:], shown, strict=True):
        values = dataset[name].where(dataset["mask"])
        low, high = np.nanpercentile(values, (2, 98))
        image = axis.imshow(values, cmap="magma" if name == error else "viridis", vmin=low, vmax=high)
        axis.set(title=title, xticks=[], yticks=[])
        figure.colorbar(image, ax=axis, shrink=0.8)
    figure.savefig(PICTURE, dpi=80)


if __name__ == "__main__":
    main()
