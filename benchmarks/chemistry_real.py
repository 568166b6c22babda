"""Fractions of a real scan: HXN, Fe K, 57 energies, by the best two of nine references; and a figure.

    python benchmarks/chemistry_real.py [--quick]

Needs the folder of real data, see `_random_samples`.  The figure is docs/images/fractions-hxn.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from _common import print_table, save
from _random_samples import DATA

from xanesum import denoise, read_stack
from xanesum.preprocess import prepare
from xanesum.result import Denoised
from xanesum.xanes.composition.fractions import fit_fractions, map_names, spectra_with_noise
from xanesum.xanes.composition.reference_fit import FitOptions, reference_fit
from xanesum.xanes.composition.subsets import choose_references
from xanesum.xanes.references.spectra import read_references, reference_spectra

NAMES = (
    "Fe2O3_rt_01",
    "FeO_rt_01",
    "Fe3O4_rt_01",
    "FeS2_rt_01",
    "Fe_metal_rt_01",
    "Hansel2001_2lineFerrihydrite_xanes_001",
    "Hansel2001_goethite_xanes_003",
    "Hansel2001_vivianite_xanes_001",
    "Hansel2001_siderite_xanes_001",
)
RANK = 4  # more components are found in its noise, which is not white
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "fractions-hxn.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same")
    parser.parse_args()
    folder = DATA / "hxn_fe_k_tiff"
    if not folder.is_dir():
        print(f"no folder {folder}; XANESUM_TEST_DATA can name the folder of real scans")
        return
    stack = read_stack(folder / "Site4um.tiff", energies=folder / "tmp_data.txt")
    result = denoise(prepare(stack)[0], rank=RANK, rng=np.random.default_rng(0))
    files = [DATA / "references" / "xasdatalibrary" / f"{name}.xdi" for name in NAMES]
    energy_ev = spectra_with_noise(result, None).energy_ev
    library = reference_spectra(read_references(*files), energy_ev, overlap=True)
    choice = choose_references(result, library, at_most=2)
    chosen = library.sel(reference=list(choice.best.names))
    maps = fit_fractions(result, chosen)
    rows = list(rows_of(maps))
    print_table(rows)
    save("chemistry-real", rows, reasons=maps.attrs["reasons"])
    draw(result, chosen, maps)


def rows_of(maps: xr.Dataset) -> Any:
    mask = maps["mask"].values
    means = zip(maps.attrs["mean_fractions"], maps.attrs["mean_fraction_sigmas"], strict=True)
    names = map_names(tuple(maps.attrs["references"]))
    for name, title, (mean, sigma) in zip(names, maps.attrs["references"], means, strict=True):
        yield {
            "reference": title,
            "in the mean spectrum": mean,
            "standard error": sigma,
            "standard error of a pixel": float(np.median(maps[f"fraction_{name}_sigma"].values[mask])),
            "R factor": float(np.median(maps["r_factor"].values[mask])),
            "chi-square": float(np.median(maps["reduced_chi_square"].values[mask])),
            "intervals hold": maps.attrs["intervals_hold"],
        }


def draw(result: Denoised, chosen: xr.DataArray, maps: xr.Dataset) -> None:
    """Draw the mean spectrum with its fit and residual, a fraction, its error, and the misfit."""
    spectra = spectra_with_noise(result, None)
    fit = reference_fit(spectra, chosen, FitOptions())
    energy_ev, mean = spectra.energy_ev, spectra.mean_spectrum
    columns = np.vstack([fit.spectra, np.ones_like(energy_ev), energy_ev - energy_ev[0]])
    if fit.e0_ev is not None and fit.background == "flattened":
        columns = np.vstack([columns, np.maximum(energy_ev - fit.e0_ev, 0)])
    weights = np.linalg.lstsq(columns.T, mean)[0]
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    axes[0].plot(energy_ev, mean, "k.", label="mean spectrum", markersize=4)
    axes[0].plot(energy_ev, weights @ columns, label="fit")
    axes[0].plot(energy_ev, mean - weights @ columns, label="residual")
    axes[0].set(xlabel="energy (eV)", ylabel="fluorescence")
    axes[0].legend(fontsize=8)
    name, mask = map_names(fit.names)[-1], maps["mask"]
    images = (
        (f"fraction of {fit.names[-1].split('_')[1]}", maps[f"fraction_{name}"], "viridis"),
        ("its standard error", maps[f"fraction_{name}_sigma"], "magma"),
        ("reduced chi-square", maps["reduced_chi_square"], "magma"),
    )
    for axis, (title, image, colours) in zip(axes[1:], images, strict=True):
        shown = axis.imshow(image.where(mask), cmap=colours)
        axis.set(title=title, xticks=[], yticks=[])
        figure.colorbar(shown, ax=axis, shrink=0.8)
    figure.savefig(PICTURE, dpi=80)


if __name__ == "__main__":
    main()
