"""Hyperspectral images with added white noise: this project and its rivals on Samson and Jasper Ridge.

    python benchmarks/hyperspectral.py [--scenes ...] [--sigmas ...] [--methods ...] [--redo] [--picture]
    python benchmarks/hyperspectral.py --quick

Each scene is scaled as a whole, so that its least value is 0 and its largest 255.  Its bands keep their
ratios, and the noise is the same in all of them.  Rows that are in the results file are not measured again,
so a run that was stopped continues.  Slow rivals get the middle 48 x 48 pixels, with rows of their own for
the noisy image and for this project.  Rivals are given the noise level.

Needs the folder of real data, see `_random_samples`.  ``--picture`` draws docs/results/hyperspectral.png.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from _band_metrics import band_ssim, spectral_angle_deg
from _common import commit, load, print_table, processor, save
from _metrics import frame_psnr
from _pictures import save_small
from _random_samples import DATA
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rivals import RIVALS, UnavailableError

from xanesum import denoise
from xanesum.errors import XanesumWarning
from xanesum.stack import make_stack

Row = dict[str, Any]
Stack = NDArray[np.float32]
Found = tuple[Stack, Row]
Method = Callable[[Stack, float, np.random.Generator], Found]

SCENES = {"Samson": "Samson.mat", "Jasper Ridge": "Jasper.mat"}
SIGMAS = (10.0, 30.0, 50.0, 70.0)
NOISE_SEED, METHOD_SEED = 1, 2
FULL_SIGNAL = 255.0
CROP_PX = 48  # for slow rivals
FIRST_EV = 1000.0  # of band numbers in place of energies: the files have no wavelengths
KEYS = ("scene", "sigma", "size", "method")
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "results" / "hyperspectral.png"
PICTURED = ("xanesum", "FastHyDe", "NGMeet", "SVD, optimal shrinkage")
PICTURED_CELL = ("Jasper Ridge", 50.0)
QUICK = ("noisy", "xanesum", "SVD, SURE, hard", "NGMeet")
FACTS = {
    "scale": "least value of the scene 0, largest 255",
    "noise_seed": NOISE_SEED,
    "method_seed": METHOD_SEED,
    "crop": CROP_PX,
}


# --- methods


def nothing(noisy: Stack, sigma: float, rng: np.random.Generator) -> Found:
    """Return the noisy image as it is."""
    return noisy, {}


def own(
    noisy: Stack, sigma: float, rng: np.random.Generator, *, given: bool = False, **options: Any
) -> Found:
    """Denoise by this project.  The bands count as energies at equal distances."""
    stack = make_stack(noisy, FIRST_EV + np.arange(len(noisy)), quantity="intensity")
    level = {"sigma": sigma} if given else {}
    result = denoise(stack, rng=rng, **level, **options)
    return np.asarray(result.reconstruct().values, np.float32), {"K": result.rank}


def rival(name: str, noisy: Stack, sigma: float, rng: np.random.Generator) -> Found:
    """Denoise by a rival."""
    return RIVALS[name].denoise(noisy, sigma, rng), {}


OWN: dict[str, Method] = {
    "xanesum": own,
    "xanesum, noise level given": partial(own, given=True),
    "xanesum, without smoothing": partial(own, without=("smoothing",)),
    "xanesum, method sum": partial(own, method="sum"),
}
WHOLE = (
    "SVD, SURE, hard",
    "SVD, SURE, soft",
    "SVD, optimal shrinkage",
    "3-D median",
    "network, frame by frame",
    "NGMeet",
    "FastHyDe",
    "L1HyMixDe",
)
PART = ("BM3D, frame by frame", "BM4D")
METHODS: dict[str, Method] = {
    "noisy": nothing,
    **OWN,
    **{name: partial(rival, name) for name in (*WHOLE, *PART)},
}


# --- scenes


def read_scene(path: Path) -> NDArray[np.float64]:
    """Return a scene (bands, rows, columns), scaled as a whole from 0 to 255.

    The file has a row a band, and its pixels are listed column by column.
    """
    content = scipy.io.loadmat(path, variable_names=["Y", "lines", "cols"])
    n_rows, n_columns = int(content["lines"].item()), int(content["cols"].item())
    bands = np.asarray(content["Y"], np.float64).reshape(-1, n_columns, n_rows).transpose(0, 2, 1)
    lowest, highest = bands.min(), bands.max()
    return np.asarray((bands - lowest) / (highest - lowest) * FULL_SIGNAL)


def with_noise(clean: NDArray[np.float64], sigma: float) -> Stack:
    """Return a scene with white noise, the same for every method; a part has the noise of the whole."""
    noise = np.random.default_rng(NOISE_SEED).standard_normal(clean.shape)
    return np.asarray(clean + sigma * noise, np.float32)


def middle(values: NDArray[Any]) -> NDArray[Any]:
    """Return the middle pixels, for slow rivals."""
    starts = [(size - CROP_PX) // 2 for size in values.shape[1:]]
    return values[:, *(slice(start, start + CROP_PX) for start in starts)]


# --- rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small part of each scene, few methods")
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES), metavar="NAME")
    parser.add_argument("--sigmas", nargs="+", type=float, default=list(SIGMAS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    parser.add_argument("--redo", action="store_true", help="measure rows again that are in the file")
    parser.add_argument("--picture", action="store_true", help="draw the picture instead")
    options = parser.parse_args()
    folder = DATA / "hyperspectral"
    if not folder.is_dir():
        print(f"no folder {folder}; XANESUM_TEST_DATA can name the folder of real data")
        return
    warnings.simplefilter("ignore", XanesumWarning)
    if options.picture:
        draw(folder)
        return
    name = "hyperspectral-quick" if options.quick else "hyperspectral"
    rows = {key_of(row): row for row in ([] if options.quick else load(name))}
    for cell in cells(options, folder):
        key = (cell["scene"], cell["sigma"], cell["size"], cell["method"])
        if key in rows and not options.redo:
            continue
        rows[key] = measured(**cell)
        print(rows[key], flush=True)
        save(name, ordered(list(rows.values())), **FACTS)
    print_table(ordered(list(rows.values())))


def cells(options: argparse.Namespace, folder: Path) -> Any:
    """Yield the arguments of every row, a method at a time."""
    scenes = {each: read_scene(folder / SCENES[each]) for each in options.scenes}
    if options.quick:
        scenes = {each: middle(values)[::6, :24, :24] for each, values in scenes.items()}
    for method in options.methods:
        if options.quick and method not in QUICK:
            continue
        for scene, clean in scenes.items():
            for sigma in options.sigmas:
                parts = [] if method in PART else [lambda values: values]
                if not options.quick and (method in PART or method in ("noisy", "xanesum")):
                    parts.append(middle)
                for part in parts:
                    truth = part(clean)
                    yield {
                        "scene": scene,
                        "sigma": sigma,
                        "size": " x ".join(map(str, truth.shape)),
                        "method": method,
                        "truth": truth,
                        "noisy": part(with_noise(clean, sigma)),
                    }


def measured(scene: str, sigma: float, size: str, method: str, truth: Any, noisy: Stack) -> Row:
    """Return the row of one method on one scene with one noise."""
    row: Row = {"scene": scene, "sigma": sigma, "size": size, "method": method}
    start = time.perf_counter()
    try:
        found, facts = METHODS[method](noisy.copy(), sigma, np.random.default_rng(METHOD_SEED))
    except UnavailableError as error:
        return row | {"why not": str(error), "commit": commit(), "processor": processor()}
    seconds = time.perf_counter() - start
    return row | {
        "PSNR (dB)": round(frame_psnr(found, truth), 3),
        "SSIM": round(band_ssim(found, truth), 5),
        "SAM (deg)": round(spectral_angle_deg(found, truth), 4),
        "K": facts.get("K", ""),
        "seconds": round(seconds, 1),
        "commit": commit(),
        "processor": processor(),
    }


def key_of(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in KEYS)


def ordered(rows: list[Row]) -> list[Row]:
    """Return the rows by scene, size, noise and method, with the same columns each."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    scenes, methods = list(SCENES), list(METHODS)

    def order(row: Row) -> tuple[Any, ...]:
        n_values = -np.prod([int(side) for side in row["size"].split(" x ")])
        return scenes.index(row["scene"]), n_values, row["sigma"], methods.index(row["method"])

    return [{name: row.get(name, "") for name in names} for row in sorted(rows, key=order)]


# --- picture


def draw(folder: Path) -> None:
    """Draw one band before and after the methods that are best, and what each leaves of the scene."""
    scene, sigma = PICTURED_CELL
    clean = read_scene(folder / SCENES[scene])
    noisy = with_noise(clean, sigma)
    band = int(np.argmax(clean.std(axis=(1, 2))))
    images = {"scene": clean[band], "noisy": noisy[band]}
    for name in PICTURED:
        found = METHODS[name](noisy.copy(), sigma, np.random.default_rng(METHOD_SEED))[0]
        images[name] = found[band]
    figure = Figure(figsize=(2.5 * len(images), 5.4), layout="constrained")
    axes = figure.subplots(2, len(images))
    most = float(np.percentile(clean[band], 99.5))
    for (name, image), (upper, lower) in zip(images.items(), axes.T, strict=True):
        error = image - clean[band]
        upper.imshow(image, cmap="gray", vmin=0, vmax=most)
        upper.set_title(name, fontsize=10)
        shown = lower.imshow(error, cmap="RdBu", vmin=-30, vmax=30)
        lower.set_title(
            f"error, rms {np.sqrt(np.mean(error**2)):.1f}" if name != "scene" else "", fontsize=10
        )
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
    axes[1, 0].set_visible(False)
    figure.colorbar(shown, ax=axes[1], shrink=0.8)
    figure.suptitle(f"{scene}, band {band + 1} of {len(clean)}, noise {sigma:g} of 255", fontsize=11)
    save_small(figure, PICTURE)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
