"""Scans as a detector counts them: maps, their errors and intervals, with noise taken as it is or as white.

``python benchmarks/noise.py`` exposes six phantoms at 256 x 320 x 117 with gain, read noise and flat drift
like those measured, 100, 400, 2000 and (one seed) 20 counts in the open beam; 10 flats and darks; 3 seeds of
a largest optical density of 1.5 (an edge step of about 1), then one of 3.  Each scan is prepared, corrected
for drift, denoised and mapped as ``xanesum run`` does.  It is compared with the same scan with noise taken as
white, one of the same noise whose illumination did not drift, and for the first seed the same scan without
correction.  Rows are saved as they come; ``--resume`` continues.  ``--law`` instead fits the law of the noise
to 10 flats of 1024 x 1024, 100 seeds; ``--defects`` compares maps with and without dead pixels, hot frames
and a missing energy; ``--lost`` counts reports of a lost signal for 100 seeds: in whole results, and in
results without the component that moves the energy by 0.5 eV in 5 % of the sample; ``--risk`` compares the
estimated risk with the error of the whole stack, and sigma with the truth.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import xarray as xr
from _common import load, print_table, save
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from xanesum import Denoised, denoise, half_step_energy, simulate
from xanesum.denoisers import DEFAULT_DENOISER, exact_form, get_denoiser
from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import EdgeError
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.linalg.imputation import fill_missing
from xanesum.method.noise_model import NoiseModel, measure_noise
from xanesum.method.problem import AnyLevel, Problem
from xanesum.method.sum_plus import fit_sum_plus
from xanesum.noise.detector import photon_transfer
from xanesum.noise.level import estimate_sigma
from xanesum.noise.variance import CountVariance
from xanesum.phantom import KINDS, Phantom, expose
from xanesum.phantom.exposure import Detector, drifting_fields
from xanesum.preprocess import prepare
from xanesum.stack import load_stack, make_stack, usable_mask

SHAPE, N_ENERGIES = (256, 320), 117
JUDGED = (100.0, 400.0, 2000.0)
COUNTS = (*JUDGED, 20.0)  # the last is reported, for the first seed
DENSITIES = (1.5, 3.0)
DRIFT = 0.03
FIRST_SEED = 7000
BORDER_PX = 3
SHIFT_EV = 0.5
FULL, WHITE, UNCORRECTED, STEADY = "as run", "noise as white", "drift not corrected", "no drift"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small phantom, two doses, one seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="seeds to pass over")
    parser.add_argument("--resume", action="store_true")
    for part in ("law", "defects", "lost", "risk"):
        parser.add_argument(f"--{part}", action="store_true", help="this instead of the large table")
    options = parser.parse_args()
    if options.law:
        rows = list(law(5 if options.quick else 100, 256 if options.quick else 1024))
        save("noise-law" + ("-quick" if options.quick else ""), rows)
        print_table(rows)
    elif options.defects:
        rows = [defects(seed, options.quick) for seed in range(1 if options.quick else options.seeds)]
        save("noise-defects" + ("-quick" if options.quick else ""), rows)
        print_table(rows)
    elif options.risk:
        risk_table(options)
    elif options.lost:
        lost_table(options)
    else:
        table(options)


# --- the large table


def table(options: argparse.Namespace) -> None:
    """Score every scan each way, and sum up over phantoms."""
    name = "noise" + ("-quick" if options.quick else "")
    kinds = ("wedge",) if options.quick else KINDS
    counts = (100.0, 2000.0) if options.quick else COUNTS
    shape, n_energies = ((96, 128), 60) if options.quick else (SHAPE, N_ENERGIES)
    rows: list[Row] = load(name) if options.resume else []
    done = {(row["phantom"], row["density"], row["counts"], row["seed"]) for row in rows}
    n_seeds = {DENSITIES[0]: 1 if options.quick else options.seeds, DENSITIES[1]: 1}
    seeds = {d: range(FIRST_SEED + options.first, FIRST_SEED + n) for d, n in n_seeds.items()}
    cells = [(density, seed, dose) for density in DENSITIES for seed in seeds[density] for dose in counts]
    for (density, seed, dose), kind in product(cells, kinds):
        if (kind, density, dose, seed) in done or (dose not in JUDGED and seed > FIRST_SEED):
            continue
        phantom = simulate(kind, shape=shape, n_energies=n_energies)
        cell = {"phantom": kind, "density": density, "counts": dose, "seed": seed}
        rows += [{**cell, **row} for row in ways(phantom, density, dose, seed)]
        print([row for row in rows if cell.items() <= row.items()], flush=True)
        save(name, rows, summary=summary(rows))
    print_table(summary(rows))


def ways(phantom: Phantom, density: float, dose: float, seed: int) -> Iterator[Row]:
    """Yield a row for each way to treat one scan."""
    drifting, steady = (
        expose(phantom, dose, peak_density=density, flat_drift=drift, rng=np.random.default_rng(seed))
        for drift in (DRIFT, 0.0)
    )
    truth = half_step_energy(make_stack(drifting.density, phantom.energy_ev))
    raw = prepare(drifting.stack)[0]
    corrected, drift = correct_flat_drift(raw)
    found = {"drift (rms)": 0.0 if drift is None else drift.rms}
    yield {"way": FULL, **found, **figures(corrected, "auto", phantom, truth)}
    yield {"way": WHITE, **found, **figures(corrected, "white", phantom, truth)}
    if seed == FIRST_SEED:
        yield {"way": UNCORRECTED, "drift (rms)": 0.0, **figures(raw, "auto", phantom, truth)}
    rest, drift = correct_flat_drift(prepare(steady.stack)[0])
    found = {"drift (rms)": 0.0 if drift is None else drift.rms}
    yield {"way": STEADY, **found, **figures(rest, "auto", phantom, truth)}


def figures(stack: xr.DataArray, noise: str, phantom: Phantom, truth: xr.Dataset) -> Row:
    """Return the error of the map, and how often its intervals hold the truth."""
    result = denoise(stack, noise=noise)
    e0_ev, true = truth.attrs["e0_ev"], truth.half_step_energy_ev.values
    try:
        found = half_step_energy(result, e0_ev=e0_ev)
    except EdgeError:  # no component
        return {"K": result.rank, "RMSE (eV)": float(np.std(true[phantom.mask]))}
    energy, sigma = found.half_step_energy_ev.values, found.half_step_sigma_ev.values
    error = np.where(np.isfinite(energy), energy, e0_ev) - true
    mapped = phantom.mask & found["mask"].values & np.isfinite(true)
    scaled = np.abs(error) / sigma
    border = mapped & near_borders(phantom)
    limits = np.quantile(sigma[mapped], np.linspace(0, 1, 11))
    tenths = [mapped & (sigma >= low) & (sigma <= high) for low, high in pairwise(limits)]
    return {
        "K": result.rank,
        "RMSE (eV)": float(np.sqrt(np.mean(error[phantom.mask] ** 2))),
        "within 68 %": within(scaled[mapped], 1.0),
        "within 95 %": within(scaled[mapped], 1.96),
        "68 % near borders": within(scaled[border], 1.0),
        "68 % in tenths": [within(scaled[tenth], 1.0) for tenth in tenths],
    }


def within(scaled: NDArray[np.floating], limit: float) -> float:
    return float(np.mean(scaled < limit)) if scaled.size else float("nan")


def near_borders(phantom: Phantom) -> NDArray[np.bool_]:
    """Return pixels within a few of one in another chemical state."""
    state = np.where(phantom.mask, np.argmax(phantom.images, axis=0), -1)
    border = np.zeros(phantom.mask.shape, bool)
    for axis in (0, 1):
        before, after = (np.moveaxis(state, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        differs = (before != after) & (before >= 0) & (after >= 0)
        along = np.moveaxis(border, axis, 0)
        along[:-1] |= differs
        along[1:] |= differs
    return binary_dilation(border, iterations=BORDER_PX - 1) & phantom.mask


def summary(rows: list[Row]) -> list[Row]:
    """Return ratios of map errors as medians, and shares as means, over phantoms and seeds."""
    lines = []
    for density in DENSITIES:
        for dose in COUNTS:
            cell = [row for row in rows if (row["density"], row["counts"]) == (density, dose)]
            ours, white, raw, steady = (
                [row for row in cell if row["way"] == way] for way in (FULL, WHITE, UNCORRECTED, STEADY)
            )
            if not ours:
                continue
            lines.append(
                {
                    "density": density,
                    "counts": dose,
                    "scans": len(ours),
                    "error (eV)": statistics.median(row["RMSE (eV)"] for row in ours),
                    "over white": ratio(ours, white),
                    "over no drift": ratio(ours, steady),
                    "not corrected, over no drift": ratio(raw, steady[: len(raw)]),
                    "68 %": mean(ours, "within 68 %"),
                    "95 %": mean(ours, "within 95 %"),
                    "near borders": mean(ours, "68 % near borders"),
                    "tenths, least": tenths(ours).min(),
                    "tenths, greatest": tenths(ours).max(),
                    "68 %, white": mean(white, "within 68 %"),
                }
            )
    return lines


def ratio(rows: list[Row], others: list[Row]) -> float:
    pairs = zip(rows, others, strict=True)
    ratios = [row["RMSE (eV)"] / other["RMSE (eV)"] for row, other in pairs]
    return statistics.median(ratios) if ratios else float("nan")


def mean(rows: list[Row], figure: str) -> float:
    return float(np.mean([row[figure] for row in rows if figure in row]))


def tenths(rows: list[Row]) -> NDArray[np.float64]:
    """Return the share within 68 % in each tenth of the predicted error, mean over scans."""
    return np.mean([row["68 % in tenths"] for row in rows if "68 % in tenths" in row], axis=0)


# --- the law of the noise


def law(seeds: int, side: int) -> Iterator[Row]:
    """Yield how well gain and read noise are known from 10 flats, with darks or a wide spread or neither."""
    detector = Detector()
    y, x = (np.linspace(-1, 1, side)[:, None], np.linspace(-1, 1, side)[None])
    scenes = {
        "spread of 1.3": 400 * (1 - 0.12 * (x**2 + y**2)),
        "spread of 4": 400 * (1 - 0.375 * (x**2 + y**2)),
    }
    for scene, light in scenes.items():
        for with_darks in (False, True):
            gains, reads, covered_gain, covered_read, known = [], [], [], [], []
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                rng = np.random.default_rng(seed)
                drift = 1 + DRIFT * drifting_fields(10, light.shape, rng=rng)
                flats = np.stack([detector.read(light * each, rng=rng) for each in drift])
                dark = np.zeros(light.shape)
                darks = np.stack([detector.read(dark, rng=rng) for _ in range(10)]) if with_darks else None
                fit = photon_transfer(flats, darks=darks)
                gains.append(fit.gain / detector.gain - 1)
                reads.append(fit.read_variance / detector.read_variance - 1)
                covered_gain.append(fit.gain_interval[0] <= detector.gain <= fit.gain_interval[1])
                covered_read.append(fit.read_interval[0] <= detector.read_variance <= fit.read_interval[1])
                known.append(fit.read_variance_is_known)
            yield {
                "flats": scene,
                "darks": with_darks,
                "seeds": seeds,
                "gain: worst": float(np.max(np.abs(gains))),
                "gain in its interval": int(np.sum(covered_gain)),
                "read variance: median error": float(np.median(np.abs(reads))),
                "read noise: worst": float(np.max(np.abs(np.sqrt(np.maximum(1 + np.array(reads), 0)) - 1))),
                "read variance in its interval": int(np.sum(covered_read)),
                "called known": int(np.sum(known)),
            }


# --- defects


def defects(seed: int, quick: bool) -> Row:
    """Return how much 5 % dead pixels, 3 hot frames and a missing energy change the map elsewhere."""
    shape, n_energies = ((96, 128), 60) if quick else (SHAPE, N_ENERGIES)
    phantom = simulate("particle", shape=shape, n_energies=n_energies)
    scan = expose(phantom, 400.0, flat_drift=DRIFT, rng=np.random.default_rng(FIRST_SEED + seed))
    rng = np.random.default_rng(seed)
    dead = rng.random(shape) < 0.05
    hot = rng.choice(np.arange(1, n_energies - 1), 3, replace=False)
    values = scan.stack.values.copy()
    values[:, dead] = 0
    values[hot] *= 3.0
    spoiled = scan.stack.copy(data=values).isel(energy=np.delete(np.arange(n_energies), n_energies // 3))
    maps = []
    for stack in (scan.stack, spoiled):
        corrected = correct_flat_drift(prepare(stack, allow_missing=True)[0])[0]
        maps.append(half_step_energy(denoise(corrected), e0_ev=8341.0))
    before, after = maps
    elsewhere = phantom.mask & ~dead & before["mask"].values & after["mask"].values
    change = (
        np.abs(after.half_step_energy_ev - before.half_step_energy_ev).values
        / before.half_step_sigma_ev.values
    )
    return {
        "seed": seed,
        "pixels compared": float(elsewhere.sum() / (phantom.mask & ~dead).sum()),
        "dead pixels left out": float(np.mean(~after["mask"].values[dead & phantom.mask])),
        "change / standard error: median": float(np.median(change[elsewhere])),
        "90 %": float(np.quantile(change[elsewhere], 0.9)),
    }


# --- risk and sigma


def risk_table(options: argparse.Namespace) -> None:
    """Compare estimated with true risk, and sigma from the stack and from the flats with the truth."""
    name = "noise-risk" + ("-quick" if options.quick else "")
    rows: list[Row] = load(name) if options.resume else []
    done = {(row["phantom"], row["density"], row["counts"]) for row in rows}
    shape, n_energies = ((96, 128), 60) if options.quick else (SHAPE, N_ENERGIES)
    for cell in product(DENSITIES, JUDGED, ("wedge",) if options.quick else KINDS):
        if (cell[2], cell[0], cell[1]) not in done:
            density, dose, kind = cell
            phantom = simulate(kind, shape=shape, n_energies=n_energies)
            rows.append({"phantom": kind, "density": density, "counts": dose, **risk(phantom, density, dose)})
            print(rows[-1], flush=True)
            save(name, rows)
    print_table(rows)


def risk(phantom: Phantom, density: float, dose: float) -> Row:
    """Return the estimated risk less the true one, both in units of the noise, relative.

    The flat is exact, so that the stack's only noise is its own.  The mean square of the noise drawn is taken
    off, as in ``benchmarks/risk.py``: no method can know it.  Wanted is the mean of optical density over the
    noise, which is not the density of the mean counts.
    """
    rng = np.random.default_rng(FIRST_SEED)
    scan = expose(phantom, dose, peak_density=density, flat_drift=0.0, rng=rng)
    exact = scan.stack.drop_vars("dark")
    stack = prepare(exact, flat=scan.illumination[0])[0]
    mask, values = usable_mask(stack), load_stack(stack)
    counts = scan.illumination * np.exp(-scan.density)
    mean, variance = moments_of_logarithm(counts, scan.detector, stack.attrs["linear_below"])
    wanted = np.log(scan.illumination) - mean
    values = fill_missing(values, rank=3, mask=mask)
    images = exact_form(get_denoiser(DEFAULT_DENOISER))
    rng = np.random.default_rng(0)
    problem = Problem.with_one_level(
        values,
        phantom.energy_ev,
        mask=mask,
        sigma=estimate_sigma(values, mask=mask, rng=rng),
        denoise_at=lambda k, sigma, pixels: images.denoise(k, sigma, mask=pixels),
        rng=rng,
    )
    law = CountVariance(
        *(stack[each].values for each in ("noise_gain", "noise_read_variance", "light", "light_energy")),
        stack.attrs["linear_below"],
    )
    from_stack, by_law = (measure_noise(problem, divided_by_flat=False, law=each) for each in (None, law))
    whitened = by_law.whiten(problem)
    fit, even = fit_sum_plus(whitened, None), whitened.full
    noise = even.noise_of(fit.spectra)
    factors = by_law.factors
    divided = (
        1.0 if factors is None else even.sigma / (factors.sigma_energy[:, None, None] * factors.sigma_pixel)
    )
    missed = wanted * divided
    estimated = float(fit.risk.risk[fit.rank]) / even.sigma**2

    def mean_square(rest: NDArray[np.floating], image: NDArray[np.floating]) -> float:
        """Return that of a stack, of which images count in units of their noise."""
        along = np.tensordot(fit.spectra, rest, axes=1)
        total = np.sum(rest[:, mask] ** 2) - np.sum(along[:, mask] ** 2)
        total += np.sum(((image - along) / noise)[:, mask] ** 2)
        return float(total / (len(rest) * mask.sum() * even.sigma**2))

    true = mean_square(missed, fit.images)
    errors = {
        f"sigma, {name}: rms error": sigma_error(shape, problem.full, variance, mask)
        for name, shape in (("from the stack", from_stack), ("by the law", by_law))
    }
    return {"K": fit.rank, "true risk": true, "estimate": estimated / true - 1, **errors}


def moments_of_logarithm(
    counts: NDArray[np.floating], detector: Detector, linear_below: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return mean and variance of the logarithm, or of the line below `linear_below`, of noisy counts."""
    grid = np.geomspace(counts.min(), counts.max(), 2000)
    noise = np.sqrt(detector.gain * grid + detector.read_variance)
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    noisy = grid[:, None] + noise[:, None] * nodes
    touches = max(linear_below, 0.02 * float(counts.min()))  # nearly no value is lower where none is linear
    line = np.log(touches) + noisy / touches - 1
    values = np.where(noisy < touches, line, np.log(np.maximum(noisy, touches)))
    first, second = (values**power @ weights / weights.sum() for power in (1, 2))
    return np.interp(counts, grid, first), np.interp(counts, grid, second - first**2)


def sigma_error(
    shape: NoiseModel, level: AnyLevel, variance: NDArray[np.floating], mask: NDArray[np.bool_]
) -> float:
    """Return the rms of the logarithm of sigma found over the true one."""
    if shape.uneven is None:
        return float(np.sqrt(np.mean(np.log(level.sigma**2 / variance[:, mask]) ** 2))) / 2
    known, total = shape.uneven, 0.0
    for e in range(len(variance)):
        frame = np.tensordot(known.spectra[:, e], known.images, axes=1)
        total += float(np.mean(np.log(known.variance.at(e, frame) / variance[e])[mask] ** 2))
    return float(np.sqrt(total / len(variance))) / 2


# --- signal lost


def lost_table(options: argparse.Namespace) -> None:
    """Examine results with and without a component, and count the reports."""
    name = "noise-lost" + ("-quick" if options.quick else "")
    rows: list[Row] = load(name) if options.resume else []
    for seed in range(3 if options.quick else 100):
        if all(row["seed"] != seed for row in rows):
            rows += lost(seed)
            print(rows[-2:], flush=True)
            save(name, rows, summary=lost_summary(rows))
    print_table(lost_summary(rows))


def lost(seed: int) -> list[Row]:
    """Return what is said of a result, and of the same without the component of a patch that is shifted."""
    rng = np.random.default_rng(FIRST_SEED + seed)
    phantom, patch = shifted_patch(KINDS[seed % len(KINDS)], rng)
    scan = expose(phantom, 400.0, peak_density=DENSITIES[0], flat_drift=DRIFT, rng=rng)
    stack = correct_flat_drift(prepare(scan.stack)[0])[0]
    result = denoise(stack)
    spoilt = [without_component(result, k) for k in range(result.rank)] if result.rank > 1 else []
    spoilt.sort(key=lambda each: abs(moved(each, patch, phantom.mask)))  # the first lost most of the shift
    rows = []
    for each in (result, *spoilt[:1]):
        found = examine_residual(stack, each)
        rows.append(
            {
                "seed": seed,
                "phantom": phantom.kind,
                "dropped": result.rank - each.rank,
                "K": result.rank,
                "shift seen (eV)": moved(each, patch, phantom.mask),
                "p lost": found.lost.p_value,
                **{f"p {place}": value for place, value in found.lost.p_values.items()},
                "scale (px)": found.lost.scale_px,
                "white": found.whiteness.is_white,
                "residual / sigma": found.size,
            }
        )
    return rows


def shifted_patch(kind: str, rng: np.random.Generator) -> tuple[Phantom, NDArray[np.bool_]]:
    """Return a phantom in one state, but for a round patch of 5 % of the sample, later by half an eV."""
    phantom = simulate(kind, shape=(160, 200), n_energies=N_ENERGIES)
    y, x = np.nonzero(phantom.mask)
    centre = rng.integers(len(y))
    distance = np.hypot(y - y[centre], x - x[centre])
    patch = np.zeros(phantom.mask.shape, bool)
    near = np.argsort(distance)[: int(0.05 * len(y))]
    patch[y[near], x[near]] = True
    energy = phantom.energy_ev
    before = phantom.spectra[len(phantom.spectra) // 2]
    spectra = np.stack([before, np.interp(energy - SHIFT_EV, energy, before)])
    thickness = phantom.images.sum(axis=0)
    images = np.stack([np.where(patch, 0, thickness), np.where(patch, thickness, 0)])
    return replace(phantom, spectra=spectra, images=images), patch


def without_component(result: Denoised, k: int) -> Denoised:
    rest = {"component": [other for other in range(result.rank) if other != k]}
    names = ("spectra", "coefficients", "error_mixing")
    return replace(result, **{name: getattr(result, name).isel(rest) for name in names})


def moved(result: Denoised, patch: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    """Return how much later the edge is in the patch than elsewhere, in eV."""
    try:
        energy = half_step_energy(result, e0_ev=8341.0).half_step_energy_ev.values
    except EdgeError:  # no edge without this component
        return float("inf")
    before, after = energy[mask & ~patch & np.isfinite(energy)], energy[patch & np.isfinite(energy)]
    return float(np.median(after) - np.median(before)) if before.size and after.size else float("inf")


def lost_summary(rows: list[Row]) -> list[Row]:
    whole = [row for row in rows if not row["dropped"]]
    spoilt = [row for row in rows if row["dropped"]]
    return [
        {
            "seeds": len(whole),
            "false alarms": sum(row["p lost"] < 0.01 for row in whole),
            "residual called white": sum(row["white"] for row in whole),
            "shift seen by the whole result (eV), median": statistics.median(
                row["shift seen (eV)"] for row in whole
            ),
            "dropped": len(spoilt),
            "shift that is left (eV), median": statistics.median(row["shift seen (eV)"] for row in spoilt),
            "reported": sum(row["p lost"] < 0.01 for row in spoilt),
        }
    ]


if __name__ == "__main__":
    main()
