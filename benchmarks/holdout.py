"""Real scans without truth: how white a residual is, and how well what was held out is predicted.

    python benchmarks/holdout.py [--scans ...] [--methods ...] [--redo] [--picture] [--quick]

Ways to hold something out:

- *rows* of ALS (Fe L, optical density) and HXN (Fe K, fluorescence): every second row of the middle of the
  scan is denoised, as a scan of its own.  The rows between are predicted by cubic interpolation along y.
- *frames* of ALS: the same with every second energy, and interpolation along energy.
- *exposures* of SSRL (Ni K, two energies): the first exposure is denoised, and is the prediction of the
  second.  Each of the two is divided by the mean of five flats of its own.

The score is the mean square of prediction minus measurement, in units of the noise of each energy.  It is the
noise of the measurement (1), plus the error of the interpolation, both the same for all methods, plus the
error of what was denoised.  Noise that both parts share lowers the score of methods that keep it.

So that rivals, which expect the same noise everywhere, are not at a disadvantage, their frames are divided by
the noise of each, and its level is given to them.  This project gets the scan as it is, and estimates the
noise.  Rows that are in the results file are not measured again.

Needs the folder of real data, see `_random_samples`.  ``--picture`` draws docs/results/holdout.png.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from _common import commit, load, print_table, processor, save
from _holdout_metrics import between, block_scores, lag_one
from _pictures import save_small
from _random_samples import DATA
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rivals import RIVALS, UnavailableError

from xanesum import denoise, read_stack
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.io.xrm import read_image, read_info
from xanesum.linalg.subspace import fit_basis
from xanesum.noise.level import median_sigma, sigma_per_energy
from xanesum.preprocess import prepare
from xanesum.stack import make_stack

Row = dict[str, Any]
Values = NDArray[Any]
METHOD_SEED = 2
CROP_PX = 96  # of ALS and HXN
SSRL_CROP = np.s_[448:576, 448:576]
SSRL_ENERGIES = ("08324.0", "08354.0")
SIGNAL_RANK = 8  # components that are left out where the noise of each energy is measured
LEAST_FRAMES = 8  # of the scan for each of these components
TURNS = 4
RIVAL_SIGMA = 10.0  # noise of the whitened frames that rivals get, on about the scale they expect
OWN: dict[str, Row] = {"xanesum": {}, "xanesum, method sum": {"method": "sum"}}
LIKE_RIVALS = "xanesum, given what rivals get"
SLOW = ("UDVD", "RFR", "Frame2Frame")  # trained on the scan for minutes; asked for by name
METHODS = ("nothing", *OWN, LIKE_RIVALS, *RIVALS)
USUAL = tuple(name for name in METHODS if name not in SLOW)
QUICK = ("nothing", "xanesum", "SVD, SURE, hard")
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "results" / "holdout.png"
PICTURED = ("nothing", "xanesum", "NGMeet", "FastHyDe", "SVD, SURE, hard")
PICTURED_SCAN, PICTURED_FRAMES = "ALS, frames", 8


@dataclass(frozen=True)
class Split:
    """A scan of which a part is held out."""

    fitted: xr.DataArray  # what methods see
    held: Values  # (E', Y', X'), what they are asked for
    predict: Callable[[Values], Values]  # from the denoised part to what is asked for
    sigma: Values  # (E,), noise of each frame that methods see
    held_sigma: Values  # (E',), noise of what is held out

    def whitened(self) -> Values:
        """Return the part that methods see, with noise `RIVAL_SIGMA` in every frame."""
        factor = RIVAL_SIGMA / self.sigma[:, None, None]
        return np.asarray(self.fitted.values * factor, np.float32)


# --- scans


def middle_of(stack: xr.DataArray) -> tuple[xr.DataArray, Values]:
    """Return the middle of a scan, and the noise of each of its frames."""
    starts = [max(0, (size - CROP_PX) // 2) for size in stack.shape[1:]]
    y, x = (slice(start, start + CROP_PX) for start in starts)
    middle = stack.isel(y=y, x=x).astype(np.float32)
    return middle, noise_of_frames(middle.values)


def noise_of_frames(values: Values) -> Values:
    """Return the noise of each frame (E,) of a stack, from what a few components leave.

    Frames are divided by their noise, so that the noise of the worst is not taken for a component, in turns.
    """
    rng = np.random.default_rng(METHOD_SEED)
    sigma = np.ones(len(values))
    rank = min(SIGNAL_RANK, len(values) // LEAST_FRAMES)
    for _ in range(TURNS):
        even = np.asarray(values / sigma[:, None, None], np.float32)
        sigma = sigma * sigma_per_energy(even, fit_basis(even, rank, rng=rng).spectra, rng=rng)
    return sigma


def second_rows(stack: xr.DataArray) -> Split:
    """Hold out every second row of the middle of a scan."""
    middle, sigma = middle_of(stack)
    rows = np.arange(middle.sizes["y"])
    fitted, held = rows[::2], between_fitted(rows)
    return Split(
        middle.isel(y=fitted),
        middle.values[:, held],
        partial(between, at=fitted, wanted=held, axis=1),
        sigma,
        sigma,
    )


def second_frames(stack: xr.DataArray) -> Split:
    """Hold out every second energy of the middle of a scan."""
    middle, sigma = middle_of(stack)
    energies, frames = middle.energy.values, np.arange(len(middle))
    fitted, held = frames[::2], between_fitted(frames)
    return Split(
        middle.isel(energy=fitted),
        middle.values[held],
        partial(between, at=energies[fitted], wanted=energies[held], axis=0),
        sigma[fitted],
        sigma[held],
    )


def between_fitted(positions: Values) -> Values:
    """Return every second position that has two of the others on each side."""
    fitted = positions[::2]
    return np.array([each for each in positions[1::2] if fitted[1] < each < fitted[-2]])


def read_als(folder: Path) -> xr.DataArray:
    return prepare(read_stack(folder / "als_fe_l_edge" / "71214098.hdr"))[0]


def read_hxn(folder: Path) -> xr.DataArray:
    files = folder / "hxn_fe_k_tiff"
    return prepare(read_stack(files / "Site4um.tiff", energies=files / "tmp_data.txt"))[0]


def ssrl(folder: Path) -> Split:
    """Hold out the second exposure; its mean is set to that of the first, since the light may change."""
    files = folder / "ssrl_ni_nca_xrm"
    first, second = (
        np.stack([density(files, energy, exposure) for energy in SSRL_ENERGIES]) for exposure in (1, 2)
    )
    offset = np.mean(second - first, axis=(1, 2), keepdims=True)
    sigma = np.array([median_sigma(frame) for frame in second - first - offset]) / np.sqrt(2)
    energies = [float(energy) for energy in SSRL_ENERGIES]
    return Split(make_stack(first, energies), second - offset, np.asarray, sigma, sigma)


def density(folder: Path, energy: str, exposure: int) -> Values:
    """Return the optical density of one exposure by five of the ten flats, others for each exposure."""
    flats = sorted(folder.glob(f"rep01_*_ref_*_{energy}_eV_*.xrm"))[exposure - 1 :: 2]
    (path,) = folder.glob(f"rep01_2*_{energy}_eV_{exposure:03d}of003.xrm")
    light = np.mean([_image(flat) for flat in flats[:5]], axis=0)
    return np.asarray(-np.log(np.maximum(_image(path), 1) / light), np.float32)


def _image(path: Path) -> Values:
    return read_image(path, read_info(path))[SSRL_CROP].astype(np.float64)


SCANS: dict[str, Callable[[Path], Split]] = {
    "ALS, rows": lambda folder: second_rows(read_als(folder)),
    "ALS, frames": lambda folder: second_frames(read_als(folder)),
    "HXN, rows": lambda folder: second_rows(read_hxn(folder)),
    "SSRL, exposures": ssrl,
}


# --- methods


def denoised(method: str, split: Split) -> tuple[Values, Row]:
    """Return what a method makes of the part that it sees, in the unit of the scan, and facts."""
    rng = np.random.default_rng(METHOD_SEED)
    if method == "nothing":
        return split.fitted.values, {}
    if method in OWN:
        result = denoise(split.fitted, rng=rng, **OWN[method])
        return result.reconstruct().values, {"K": result.rank}
    facts: Row = {}
    if method == LIKE_RIVALS:
        even = make_stack(split.whitened(), split.fitted.energy.values, quantity="intensity")
        result = denoise(even, sigma=RIVAL_SIGMA, rng=rng)
        found, facts = result.reconstruct().values, {"K": result.rank}
    else:
        found = RIVALS[method].denoise(split.whitened(), RIVAL_SIGMA, rng)
    return found * split.sigma[:, None, None] / RIVAL_SIGMA, facts


def measured(scan: str, method: str, split: Split) -> Row:
    """Return the row of one method on one scan."""
    row: Row = {"scan": scan, "size": " x ".join(map(str, split.fitted.shape)), "method": method}
    taken = {"commit": commit(), "processor": processor()}
    start = time.perf_counter()
    try:
        found, facts = denoised(method, split)
    except (UnavailableError, XanesumError, np.linalg.LinAlgError) as error:
        return row | {"why not": str(error)} | taken
    seconds = time.perf_counter() - start
    scores = block_scores(split.predict(found), split.held, split.held_sigma)
    residual = (split.fitted.values - found) / split.sigma[:, None, None]
    row |= {"score": round(float(np.mean(scores)), 5), "blocks": [round(each, 5) for each in scores]}
    for axis, name in enumerate(("energy", "y", "x")):
        value, error = lag_one(residual, axis)
        row |= {name: round(value, 4), f"{name} error": round(error, 5)}
    removed = round(float(np.sqrt(np.mean(residual**2))), 4)
    return row | {"removed": removed, "K": facts.get("K", ""), "seconds": round(seconds, 1)} | taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few energies, few methods")
    parser.add_argument("--scans", nargs="+", default=list(SCANS), choices=list(SCANS), metavar="NAME")
    parser.add_argument("--methods", nargs="+", default=USUAL, choices=METHODS, metavar="NAME")
    parser.add_argument("--redo", action="store_true", help="measure rows again that are in the file")
    parser.add_argument("--picture", action="store_true", help="draw the picture instead")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"no folder {DATA}; XANESUM_TEST_DATA can name the folder of real data")
        return
    warnings.simplefilter("ignore", XanesumWarning)
    if options.picture:
        draw(SCANS[PICTURED_SCAN](DATA))
        return
    name = "holdout-quick" if options.quick else "holdout"
    rows = {key_of(row): row for row in ([] if options.quick else load(name))}
    for scan in options.scans:
        split = SCANS[scan](DATA)
        for method in QUICK if options.quick else options.methods:
            if (scan, method) in rows and not options.redo:
                continue
            rows[scan, method] = measured(scan, method, split)
            print(rows[scan, method], flush=True)
            save(name, ordered(list(rows.values())), method_seed=METHOD_SEED, crop=CROP_PX)
    print_table([{key: row.get(key, "") for key in ("scan", "method", "score")} for row in rows.values()])


def key_of(row: Row) -> tuple[str, str]:
    return row["scan"], row["method"]


def ordered(rows: list[Row]) -> list[Row]:
    """Return the rows by scan and method, with the same columns each."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    scans = list(SCANS)
    rows = sorted(rows, key=lambda row: (scans.index(row["scan"]), METHODS.index(row["method"])))
    return [{name: row.get(name, "") for name in names} for row in rows]


# --- picture


def draw(split: Split) -> None:
    """Draw what is left of held-out frames near the edge, as a sum over energies in units of noise."""
    sigma = split.held_sigma[:, None, None]
    near = np.argsort(split.held.mean(axis=(1, 2)))[-PICTURED_FRAMES:]  # the white line
    images = {}
    for method in PICTURED:
        rest = (split.predict(denoised(method, split)[0]) - split.held) / sigma
        images[method] = rest[near].sum(axis=0) / np.sqrt(len(near))
    seen = split.held[near].mean(axis=0)
    figure = Figure(figsize=(2.4 * (len(images) + 1), 2.9), layout="constrained")
    axes = figure.subplots(1, len(images) + 1)
    axes[0].imshow(seen, cmap="gray")
    axes[0].set_title("held-out frames", fontsize=10)
    for axis, (name, image) in zip(axes[1:], images.items(), strict=True):
        shown = axis.imshow(image, cmap="RdBu", vmin=-5, vmax=5)
        axis.set_title(f"{name}\nrms {np.sqrt(np.mean(image**2)):.2f}", fontsize=10)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes[-1], shrink=0.8, label="noise levels")
    save_small(figure, PICTURE)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
