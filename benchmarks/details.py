"""Small details: the width of a chemical border, and a foreign particle of 9 x 9 pixels.

``python benchmarks/details.py`` runs 20 seeds of noise of sigma 60 on 256 x 320 x 150.  The border is
straight, a little tilted, between two states 1.6 eV apart, blurred as by a microscope (10-90 % width 3.3 px);
its width is that of the mean profile of the map across it.  The foreign particle, 2 eV away, sits in the
middle of the largest region of one state of *particle*; it counts as found where the map's mean over it
differs from that of its surroundings by more than half of the true difference.  ``--ways`` instead
compares changes that make the border sharper, and their cost on the scene of the border and on phantoms.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from _common import print_table, save
from _median3 import median3
from numpy.typing import NDArray
from quality import Truth, frames
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter
from subspace import FIRST_SEED, labelled, problem_of

from xanesum import denoise, half_step_energy, simulate
from xanesum.denoisers import DEFAULT_DENOISER, available_denoisers, exact_form, get_denoiser
from xanesum.linalg.subspace import fit_basis
from xanesum.method.sum_plus import refine
from xanesum.phantom.spectra import energy_grid_ev, state_spectra
from xanesum.stack import make_stack

SHAPE, N_ENERGIES, SIGMA, PEAK = (256, 320), 150, 60.0, 255.0
BLUR_PX = 1.3
PARTICLE_PX, DIFFERENCE_EV = 9, 2.0
Map = NDArray[np.float64]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--ways", action="store_true", help="ways to make the border sharper")
    options = parser.parse_args()
    seeds = 2 if options.quick else options.seeds
    if options.ways:
        rows = list(sharper(seeds))
        save("details-ways" + ("-quick" if options.quick else ""), rows, sigma=SIGMA, seeds=seeds)
        print_table(rows)
        return
    rows = [*borders(seeds), *particles(seeds)]
    save("details" + ("-quick" if options.quick else ""), rows, sigma=SIGMA, seeds=seeds)
    for scene in ("border", "particle"):
        print_table([row for row in rows if row["scene"] == scene])


def borders(seeds: int) -> Iterator[Row]:
    """Yield the width of a border for each method, median over seeds."""
    clean, distance = border_scene()
    e0_ev = half_step_energy(clean).attrs["e0_ev"]
    true = border_width(map_of(clean, e0_ev), distance)
    widths: dict[str, list[float]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for method, found in maps(clean, seed, e0_ev):
            widths.setdefault(method, []).append(border_width(found, distance))
    for method, values in widths.items():
        yield {
            "scene": "border",
            "method": method,
            "width (px)": statistics.median(values),
            "times the truth": statistics.median(values) / true,
            "greatest": max(values) / true,
        }


def particles(seeds: int) -> Iterator[Row]:
    """Yield for each method how often the particle is found, and how far its energy is off."""
    clean, inside, around = particle_scene()
    e0_ev = half_step_energy(clean).attrs["e0_ev"]
    true = contrast_ev(map_of(clean, e0_ev), inside, around)
    shares: dict[str, list[float]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for method, found in maps(clean, seed, e0_ev):
            shares.setdefault(method, []).append(contrast_ev(found, inside, around) / true)
    for method, values in shares.items():
        yield {
            "scene": "particle",
            "method": method,
            "found": float(np.mean(np.array(values) > 0.5)),
            "share of the difference, mean": float(np.mean(values)),
            "scatter": float(np.std(values)),
        }


@dataclass(frozen=True)
class Changed:
    """The default denoiser, told another noise level, then mixed with what it was given and sharpened."""

    level: float = 1.0  # times the noise level
    noisy: float = 0.0  # share of the noisy image
    sharper: float = 0.0  # times the difference from a blurred copy
    blur_px: float = 1.5
    name: str = "changed"
    uses_sigma: bool = True
    takes_sigma_map: bool = False
    device: str = "cpu"
    extra: str = ""

    def denoise(
        self, images: NDArray[np.float32], sigma: float, *, mask: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return images (K, Y, X) denoised and changed."""
        denoised = exact_form(get_denoiser(DEFAULT_DENOISER)).denoise(images, self.level * sigma, mask=mask)
        blurred = gaussian_filter(denoised, (0, self.blur_px, self.blur_px))
        clear = denoised + self.sharper * (denoised - blurred)
        return np.asarray((1 - self.noisy) * clear + self.noisy * images, np.float32)


WAYS: dict[str, str | Changed] = {
    "as it is": Changed(),
    "told 0.9 of the noise level": Changed(level=0.9),
    "told 0.8 of the noise level": Changed(level=0.8),
    "5 % of the noisy image": Changed(noisy=0.05),
    "sharpened by 0.1 (1.5 px)": Changed(sharper=0.1),
    "sharpened by 0.15 (1.5 px)": Changed(sharper=0.15),
    "bm3d": "bm3d",
}
COSTS = (("particle", 60.0), ("electrode", 150.0), ("brine", 10.0))


def sharper(seeds: int) -> Iterator[Row]:
    """Yield for each way the width of the border, and the error of maps and frames beside the first way."""
    clean, distance = border_scene()
    e0_ev = half_step_energy(clean).attrs["e0_ev"]
    true_map = map_of(clean, e0_ev)
    true = border_width(true_map, distance)
    first: dict[str, Row] = {}
    for name, denoiser in WAYS.items():
        if isinstance(denoiser, str) and denoiser not in available_denoisers():
            continue
        found = []
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            result = denoise(with_noise(clean, seed), sigma=SIGMA, denoiser=denoiser, without=("weights",))
            found.append(map_of(result, e0_ev))
        error = float(np.mean([np.sqrt(np.nanmean((each - true_map) ** 2)) for each in found]))
        row: Row = {
            "way": name,
            "times the true width": statistics.median(border_width(each, distance) for each in found) / true,
            "map error there (eV)": error,
        }
        for kind, sigma in COSTS:
            phantom = simulate(kind, shape=SHAPE, n_energies=N_ENERGIES)
            noisy = phantom.noisy(sigma, rng=np.random.default_rng(FIRST_SEED))
            result = denoise(noisy, sigma=sigma, denoiser=denoiser, without=("weights",))
            figures = Truth(phantom).figures(result, frames(result))
            base = first.setdefault(kind, figures)
            row[f"{kind}, {sigma:g}: map error"] = figures["RMSE (eV)"] / base["RMSE (eV)"]
            row[f"{kind}, {sigma:g}: frames (dB)"] = figures["PSNR (dB)"] - base["PSNR (dB)"]
        print(row, flush=True)
        yield row


def with_noise(clean: xr.DataArray, seed: int) -> xr.DataArray:
    noise = np.random.default_rng(seed).standard_normal(clean.shape, dtype=np.float32)
    return clean.copy(data=clean.values + np.float32(SIGMA) * noise)


def maps(clean: xr.DataArray, seed: int, e0_ev: float) -> Iterator[tuple[str, Map]]:
    noisy = with_noise(clean, seed)
    spectra = fit_basis(clean.values, 5, rng=np.random.default_rng(0)).spectra
    fit = refine(problem_of(noisy, SIGMA), spectra, without=("refit",))
    methods: dict[str, Callable[[], Any]] = {
        "true spectra": lambda: labelled(noisy, fit, SIGMA),
        "sum+": lambda: denoise(noisy, sigma=SIGMA),
        "sum": lambda: denoise(noisy, method="sum", sigma=SIGMA),
        "3-D median": lambda: noisy.copy(data=median3(noisy.values)),
    }
    for method, run in methods.items():
        yield method, map_of(run(), e0_ev)


def map_of(data: Any, e0_ev: float) -> Map:
    return np.asarray(half_step_energy(data, e0_ev=e0_ev).half_step_energy_ev.values, np.float64)


def border_scene() -> tuple[xr.DataArray, Map]:
    """Return a clean stack of two states side by side, and each pixel's distance from their border (px)."""
    energy_ev = energy_grid_ev(N_ENERGIES)
    y, x = np.indices(SHAPE).astype(float)
    tilt = np.deg2rad(5.0)
    distance = (x - SHAPE[1] / 2) * np.cos(tilt) + (y - SHAPE[0] / 2) * np.sin(tilt)
    share = gaussian_filter((distance > 0).astype(float), BLUR_PX)
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 6.0)
    thickness = np.clip(0.7 + 0.15 * texture / texture.std(), 0.3, 1.0)
    images = np.stack([(1 - share) * thickness, share * thickness])
    return scaled_stack(images, state_spectra(energy_ev)[[1, 3]], energy_ev), distance


def particle_scene() -> tuple[xr.DataArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a clean stack with a foreign particle, the particle's pixels, and those around it."""
    phantom = simulate("particle", shape=SHAPE, n_energies=N_ENERGIES)
    state = np.argmax(phantom.images, axis=0)
    depths = [distance_transform_edt((state == k) & phantom.mask) for k in range(len(phantom.images))]
    home = int(np.argmax([depth.max() for depth in depths]))
    row, column = np.unravel_index(np.argmax(depths[home]), SHAPE)
    half = PARTICLE_PX // 2
    inside = np.zeros(SHAPE, bool)
    inside[row - half : row + half + 1, column - half : column + half + 1] = True
    ring = binary_dilation(inside, iterations=9) & ~binary_dilation(inside, iterations=3)
    shift = DIFFERENCE_EV if home < 2 else -DIFFERENCE_EV
    foreign = np.interp(phantom.energy_ev - shift, phantom.energy_ev, phantom.spectra[home])
    images = np.concatenate([np.where(inside, 0, phantom.images), (phantom.images[home] * inside)[None]])
    spectra = np.vstack([phantom.spectra, foreign])
    return scaled_stack(images, spectra, phantom.energy_ev), inside, ring & (state == home) & phantom.mask


def scaled_stack(images: NDArray[Any], spectra: NDArray[np.float64], energy_ev: Map) -> xr.DataArray:
    values = np.tensordot(spectra.T.astype(np.float32), images.astype(np.float32), axes=1)
    return make_stack(values * np.float32(PEAK / values.max()), energy_ev)


def border_width(found: Map, distance: Map) -> float:
    """Return the 10-90 % width in pixels of the mean profile across the border."""
    step = 0.25
    inner = np.abs(distance) < 20
    bins = np.floor(distance[inner] / step).astype(int)
    bins -= bins.min()
    values = found[inner]
    known = np.isfinite(values)
    count = np.bincount(bins[known])
    profile = np.bincount(bins[known], values[known]) / np.maximum(count, 1)
    low, high = profile[: len(profile) // 4].mean(), profile[-len(profile) // 4 :].mean()
    share = (profile - low) / (high - low)
    middle = len(share) // 2
    # the crossings nearest to the border, outwards
    below = middle - np.argmax(share[middle::-1] < 0.1)
    above = middle + np.argmax(share[middle:] > 0.9)
    return float(step * (crossing(share, above - 1, 0.9) - crossing(share, below, 0.1)))


def crossing(share: Map, index: int, level: float) -> float:
    """Return where `share` reaches `level` between `index` and the next."""
    return index + float((level - share[index]) / (share[index + 1] - share[index]))


def contrast_ev(found: Map, inside: NDArray[np.bool_], around: NDArray[np.bool_]) -> float:
    return float(np.nanmean(found[inside]) - np.nanmedian(found[around]))


if __name__ == "__main__":
    main()
