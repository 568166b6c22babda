"""Real detectors: a noise law from half of the flats, tested on the other half, and a real scan.

``python benchmarks/detectors.py DATA``, where DATA holds ``ssrl_ni_nca_xrm`` (SSRL 6-2c, flats and exposures
at two energies) and ``als_fe_l_edge`` (ALS 11.0.2.2, counts and I0).  The law of the noise that five flats
give is compared with the variance of the other five, in bins of intensity; the optical densities of both
energies and their difference are drawn, the second image moved by the known shift; and the scan of ALS is
denoised with its noise taken as white and as it is.  ``--quick`` leaves the scan out.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from _common import RESULTS, print_table, save
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import shift as shifted

from xanesum import chemical_map, denoise, read_stack
from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import XanesumWarning
from xanesum.io.xrm import read_image, read_info
from xanesum.noise.detector import photon_transfer, variance_by_mean
from xanesum.preprocess import prepare

ENERGIES = ("08324.0", "08354.0")
SHIFT_PX = (-19.4, -10.2)  # y, x, of the second energy's image against the first
WITHIN = 1.96
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"no real data in {options.data}; nothing was measured")
        return
    warnings.simplefilter("ignore", XanesumWarning)
    rows = [
        halves(options.data / "ssrl_ni_nca_xrm", energy, swap)
        for energy in ENERGIES
        for swap in (False, True)
    ]
    print_table(rows)
    density_row = densities(options.data / "ssrl_ni_nca_xrm")
    print_table([density_row])
    scans = [] if options.quick else list(ways(options.data / "als_fe_l_edge"))
    if scans:
        print_table(scans)
    save("detectors" + ("-quick" if options.quick else ""), rows, densities=density_row, scans=scans)


# --- SSRL


def flats_of(folder: Path, energy: str) -> NDArray[np.float32]:
    paths = sorted(folder.glob(f"*_ref_*_{energy}_eV_*.xrm"))
    return np.stack([read_image(path, read_info(path)) for path in paths]).astype(np.float32)


def halves(folder: Path, energy: str, swap: bool) -> Row:
    """Return how well the law of one half of the flats predicts the variance of the other, bin by bin."""
    flats = flats_of(folder, energy)
    known, asked = (flats[1::2], flats[::2]) if swap else (flats[::2], flats[1::2])
    law = photon_transfer(known)
    mean, variance, error, drift = variance_by_mean(asked)
    predicted = law.gain * mean + law.read_variance
    low, high = law.variance_interval(mean)
    half_width = np.hypot((high - low) / 2, WITHIN * error)
    return {
        "energy (eV)": float(energy),
        "flats": "odd from even" if swap else "even from odd",
        "gain": law.gain,
        "gain interval": f"{law.gain_interval[0]:.4f} - {law.gain_interval[1]:.4f}",
        "intercept": law.read_variance,
        "misfit of the line (%)": 100 * law.misfit,
        "drift between flats (%)": 100 * drift,
        "measured / predicted": float(np.mean(variance / predicted)),
        "bins": len(mean),
        "within the interval": int(np.sum(np.abs(variance - predicted) < half_width)),
        "worst bin (%)": float(100 * np.max(np.abs(variance / predicted - 1))),
    }


def densities(folder: Path) -> Row:
    """Draw both optical densities and their difference; return the noise of the difference."""
    stack = prepare(read_stack(folder))[0]
    before, after = (np.nan_to_num(frame.values) for frame in stack)
    moved = shifted(after, SHIFT_PX, order=1, mode="nearest")
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    titles = [f"optical density, {energy:.0f} eV" for energy in stack.energy.values]
    inner = np.s_[40:-40, 40:-40]
    images = [before, moved, moved - before]
    for axes, image, title in zip(
        figure.subplots(1, 3), images, [*titles, "difference, second image moved"], strict=True
    ):
        low, high = np.quantile(image[inner], (0.005, 0.995))
        shown = axes.imshow(image, vmin=low, vmax=high, cmap="viridis")
        axes.set(title=title, xlabel="x (px)", ylabel="y (px)")
        figure.colorbar(shown, ax=axes)
    figure.savefig(RESULTS / "detectors-ssrl.png", dpi=80)
    difference = moved - before
    unmoved = (after - before)[inner]
    return {
        "shift applied (y, x)": str(SHIFT_PX),
        "rms of the difference": float(difference[inner].std()),
        "... without the shift": float(unmoved.std()),
        "99 % of the difference below": float(np.quantile(difference[inner], 0.99)),
    }


# --- ALS


def ways(folder: Path) -> list[Row]:
    """Return figures of the residual of a real scan: noise taken as white, and noise as measured."""
    stack, counted = prepare(read_stack(next(folder.glob("*.hdr")), i0=folder / "i0.xsp"))
    print("; ".join(counted.lines()))
    rows, maps = [], []
    for noise in ("white", "auto"):
        result = denoise(stack, noise=noise)
        found = examine_residual(stack, result)
        map_ = chemical_map(result, kind="white_line")
        maps.append(map_)
        pixel, energy = result.sigma_pixel.values, result.sigma_used
        white = found.whiteness
        rows.append(
            {
                "noise": noise,
                "said": result.provenance["noise"],
                "K": result.rank,
                "pixels' noise, 5 to 95 %": "{:.2f} - {:.2f}".format(*np.quantile(pixel, (0.05, 0.95))),
                "energies' noise": f"{energy.min():.4f} - {energy.max():.4f}",
                "residual / sigma": found.size,
                "uneven residual": unevenness(stack, result.reconstruct(), result),
                **{f"correlation along {axis}": value for axis, value in white.along.items()},
                "p white": white.p_value,
                "p lost": found.lost.p_value,
                "place": found.lost.place,
                "median error of the map (eV)": median_error(map_),
            }
        )
    both = maps[0]["mask"].values & maps[1]["mask"].values
    change = (maps[1].white_line_ev - maps[0].white_line_ev).values[both]
    for row in rows:
        row["map moved by, median (eV)"] = float(np.median(np.abs(change)))
    return rows


def unevenness(stack: xr.DataArray, clean: xr.DataArray, result: Any) -> float:
    """Return the rms of the logarithm of the residual's size, pixel by pixel, in units of the noise taken."""
    sigma = result.sigma_used[:, None, None] * result.sigma_pixel.values
    size = np.sqrt(np.nanmean(((stack.values - np.asarray(clean)) / sigma) ** 2, axis=0))
    mask = stack["mask"].values if "mask" in stack.coords else np.ones(size.shape, bool)
    return float(np.log(size[mask & (size > 0)]).std())


def median_error(map_: xr.Dataset) -> float:
    return float(np.nanmedian(map_.white_line_sigma_ev.values[map_["mask"].values]))


if __name__ == "__main__":
    main()
