"""Fractions of references: exact where nothing is noisy, covered by their errors where all is.

    python benchmarks/chemistry_fractions.py [--quick] [--only PART ...]

Samples are mixed from measured spectra of Ni, Co, Mn and Fe, see `_random_samples`; without them nothing is
measured.  Scans of *coverage* and *missing* are drawn as in `random_scans`, from a seed on which nothing was
tuned.  The rival of *dose* is PyXAS 1.0, if XANESUM_PYXAS names a Python with it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from _common import print_table, save
from _pyxas_side import PYXAS_PYTHON, pyxas_fractions
from _random_samples import ELEMENTS, references
from _random_scenes import Content, Label, draw_content, draw_label, measured_scan, prepared
from numpy.typing import NDArray
from scipy.optimize import nnls

from xanesum import denoise, make_stack
from xanesum.diagnostics.residual import examine_residual
from xanesum.linalg.nonnegative import nonnegative_solutions
from xanesum.phantom import simulate
from xanesum.preprocess import prepare
from xanesum.xanes.composition.fractions import fit_fractions
from xanesum.xanes.composition.subsets import choose_references

Row = dict[str, Any]
Array = NDArray[np.float64]

SEED = 2024
SPECIES = {
    "Ni": (4, 5),
    "Fe": (0, 4, 12),
    "Mn": (0, 1, 2, 3),
}  # NiO and LiNiO2; Fe2O3, FeO, green rust; oxides
COMPOUNDS = (0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 14, 15)  # of Fe, each once: not three foils of iron
RANGES_EV = {"Ni": (8250.0, 8500.0), "Fe": (7064.0, 7245.0), "Mn": (6521.0, 6629.0)}
DOSES = (0.05, 0.2, 0.6)  # noise in units of the edge step of a thick pixel
MAX_SIDE, MAX_ENERGIES = 96, 80
PARTS = ("exact", "speed", "coverage", "dose", "usual", "missing", "subsets")
FINE_PX, USUAL_PX = (100, 128), (256, 320)  # sizes of phantoms; grains of the first are 3 to 5 px wide
USUAL = {  # a phantom of each kind, its element and its noise
    "particle": ("Ni", "white"),
    "catalyst": ("Fe", "counted"),
    "round": ("Mn", "white"),
    "electrode": ("Ni", "counted"),
    "wedge": ("Fe", "white"),
    "brine": ("Mn", "counted"),
}
LEAST_SHARE = 0.02  # true shares below it, or above 1 less it, are at a bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller scans")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the scans (default: %(default)s)")
    options = parser.parse_args()
    for part in options.only:
        print(f"\n{part}\n")
        rows = globals()[part](options.quick, options.seed)
        print_table(rows)
        save(f"chemistry-fractions-{part}", rows, quick=options.quick, seed=options.seed)


# --- samples of known fractions


def spectra_of(element: str, chosen: tuple[int, ...], n_energies: int) -> tuple[Array, Array]:
    """Return energies (E,) and measured spectra (M, E) as steps of 1."""
    energy_ev = np.linspace(*RANGES_EV[element], n_energies)
    known = references(element)
    return energy_ev, np.stack([np.interp(energy_ev, *known[i]) for i in chosen])


def mixed(element: str, shape: tuple[int, int], n_energies: int, rng: np.random.Generator) -> Row:
    """Return a scan without noise that is mixed from spectra, and its fractions."""
    energy_ev, spectra = spectra_of(element, SPECIES[element], n_energies)
    n = len(spectra)
    amounts = rng.dirichlet(np.full(n, 0.5), shape).transpose(2, 0, 1) * rng.uniform(0.3, 1.0, shape)
    stack = make_stack(np.tensordot(spectra.T, amounts, 1).astype(np.float32), energy_ev)
    return {"stack": stack, "references": named(spectra, energy_ev), "fractions": amounts / amounts.sum(0)}


def named(spectra: Array, energy_ev: Array) -> xr.DataArray:
    names = [f"species {k}" for k in range(len(spectra))]
    return xr.DataArray(
        spectra, dims=("reference", "energy"), coords={"reference": names, "energy": energy_ev}
    )


def fractions_of(maps: xr.Dataset, end: str = "") -> Array:
    """Return the maps of all fractions, (M, Y, X)."""
    n = len(maps.attrs["references"])
    return np.stack([maps[f"fraction_species_{k}{end}"].values for k in range(n)]).astype(np.float64)


# --- without noise


def exact(quick: bool, seed: int) -> list[Row]:
    rows = []
    for element in SPECIES:
        scan = mixed(element, (40, 50), 117, np.random.default_rng(seed))
        maps = fit_fractions(scan["stack"], scan["references"])
        error = fractions_of(maps) - scan["fractions"]
        bare = fit_fractions(
            scan["stack"] - 0.02, scan["references"], background="none"
        )  # some are at bounds
        design = scan["references"].values.T
        flat = (scan["stack"].values - 0.02).reshape(len(design), -1).astype(float)
        amounts = np.array([nnls(design, column)[0] for column in flat.T]).T.reshape(-1, 40, 50)
        ours = np.stack([bare[f"amount_species_{k}"].values for k in range(len(amounts))])
        rows.append(
            {
                "element": element,
                "references": len(amounts),
                "condition number": maps.attrs["condition_number"],
                "rms of fractions": float(np.sqrt(np.mean(error**2))),
                "largest distance to nnls": float(np.abs(ours - amounts).max()),
                "at bounds": float(np.mean(amounts == 0)),
            }
        )
    return rows


def speed(quick: bool, seed: int) -> list[Row]:
    """Fit a denoised scan of usual size by factors, and its clean stack pixel by pixel."""
    shape, n_pixels = ((95, 130), 1000) if quick else ((379, 520), 4000)
    rng = np.random.default_rng(seed)
    rows = []
    for element, chosen in SPECIES.items():
        scan, rank = mixed(element, shape, 117, rng), len(chosen)
        scan["stack"].values += 0.05 * rng.standard_normal(scan["stack"].shape, dtype=np.float32)
        result = denoise(scan["stack"], method="sum", rank=rank, denoiser="none", rng=rng)
        maps, seconds = timed(lambda: fit_fractions(result, scan["references"], background="none"))  # noqa: B023
        gram = scan["references"].values @ scan["references"].values.T
        operator = scan["references"].values @ result.spectra.values.T
        images = result.coefficients.values.reshape(result.rank, -1)
        alone = timed(lambda: nonnegative_solutions(gram, operator @ images))[1]  # noqa: B023
        design = scan["references"].values.T
        clean = result.reconstruct().values.reshape(len(design), -1)
        some = rng.permutation(clean.shape[1])[:n_pixels]
        columns = clean.T[some].astype(np.float64)
        found, pixelwise = timed(lambda: [nnls(design, column)[0] for column in columns])  # noqa: B023
        theirs, pixelwise = np.array(found), pixelwise * clean.shape[1] / n_pixels
        ours = np.stack([maps[f"amount_species_{k}"].values.ravel()[some] for k in range(design.shape[1])])
        rows.append(
            {
                "element": element,
                "size": f"{shape[0]} x {shape[1]} x 117",
                "K": result.rank,
                "references": design.shape[1],
                "at bounds": float(np.mean(theirs == 0)),
                "amounts alone (s)": alone,
                "all maps with errors (s)": seconds,
                "scipy nnls (s)": pixelwise,
                "times faster, amounts alone": pixelwise / alone,
                "times faster, all": pixelwise / seconds,
                "largest distance": float(np.abs(ours.T - theirs).max()),
            }
        )
    return rows


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what some work gives, and the processor's seconds that it takes (median of three)."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        done = work()
        seconds.append(time.process_time() - started)
    return done, float(np.median(seconds))


# --- scans drawn at random


def label_of(base: int, index: int, noise: str, *, least: int = 2) -> Label:
    """Return the label of a small scan of measured spectra, without drift and faults."""
    for attempt in range(1000):
        label = draw_label(base, 1000 * index + attempt)
        if label["noise"] != noise or label["chemistry"] in ("particle", "none") or label["species"] < least:
            continue
        break
    rng = np.random.default_rng([base, index, 7])
    label["spectra"] = ("Ni", "Fe", "Mn")[int(rng.integers(3))]
    label["species"] = min(label["species"], 4)
    label["shape"] = [min(side, MAX_SIDE + 3 * axis) for axis, side in enumerate(label["shape"])]
    label["energies"] = min(max(label["energies"], 30), MAX_ENERGIES)
    return label | {
        "drift": "none",
        "drift_rms": 0.0,
        "rho": 0.0,
        "correlated": "none",
        "defects": False,
        "missing": "none",
        "ends": "both",
    }


def references_of(label: Label, content: Content) -> xr.DataArray:
    """Return the spectra of the species as a user has them: a step from 0 to 1, flat beyond the edge."""
    e0_ev = ELEMENTS[label["spectra"]]
    along = content.energy_ev / e0_ev
    rises = content.spectra / label["step"] - label["background"] * along**-2.8
    return named(rises / np.maximum(along, 1.0) ** -2.7, content.energy_ev)


def covered(maps: xr.Dataset, truth: Array, where: NDArray[np.bool_]) -> Row:
    """Return the shares of the pixels whose true fraction is in the stated interval."""
    found, sigma = fractions_of(maps), fractions_of(maps, "_sigma")
    low, high = fractions_of(maps, "_low"), fractions_of(maps, "_high")
    inside = (truth >= low - 1e-9) & (truth <= high + 1e-9)
    at_bound = (truth < LEAST_SHARE) | (truth > 1 - LEAST_SHARE)
    cases = {"all": np.ones_like(at_bound), "between": ~at_bound, "at bounds": at_bound}
    row: Row = {}
    for name, case in cases.items():
        chosen = case & where
        row[name] = float(np.mean(inside[chosen])) if chosen.sum() >= 50 else None
    error = np.abs(found - truth)[np.broadcast_to(where, truth.shape)]
    stated = sigma[np.broadcast_to(where, truth.shape)]
    row["+- sigma"] = float(np.mean(error <= stated))
    row["+- 2 sigma"] = float(np.mean(error <= 2 * stated))
    row["rms error"] = float(np.sqrt(np.mean(error**2)))
    row["stated"] = float(np.sqrt(np.mean(stated**2)))
    row["share at bounds"] = float(np.mean(at_bound[:, where]))
    row["chi square"] = float(np.nanmedian(maps["reduced_chi_square"].values[where]))
    row["r factor"] = float(np.nanmedian(maps["r_factor"].values[where]))
    row["disowned"] = not maps.attrs["intervals_hold"]
    return row


def coverage(quick: bool, seed: int) -> list[Row]:
    rows = []
    for noise in ("white", "counted"):
        for index in range(8 if quick else 25):
            label = label_of(seed, index, noise)
            content = draw_content(label)
            scan = measured_scan(label, content, content.density)
            stack = prepared(scan)
            result = denoise(stack, rng=np.random.default_rng(0))
            if result.rank == 0:
                continue
            trust = examine_residual(stack, result, rng=np.random.default_rng(0))
            result = replace(result, reasons=trust.reasons)
            total = content.images.sum(axis=0)
            truth = content.images / np.where(total > 0, total, 1)
            row: Row = {"noise": noise, "index": index, "element": label["spectra"]}
            row |= {"species": len(truth), "K": result.rank, "chemistry": label["chemistry"]}
            try:
                maps = fit_fractions(result, references_of(label, content))
            except ValueError as error:
                print(f"{noise} {index}: {error}", flush=True)
                continue
            where = maps["mask"].values & (total > 0.1)
            if where.sum() < 100:
                continue
            clean = fractions_of(fit_fractions(scan.clean, references_of(label, content)))
            row["rms without noise"] = float(np.sqrt(np.mean((clean - truth)[:, where] ** 2)))
            rows.append(row | covered(maps, truth, where))
            print(
                " ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items())
            )
    return rows


# --- phantoms: denoised against noisy


def phantom(element: str, kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Row:
    """Return a scan without noise, whose regions are mixed from spectra: pure ones, and even mixtures."""
    energy_ev, spectra = spectra_of(element, SPECIES[element], 60)
    scene = simulate(kind, shape=shape, n_energies=2, rng=rng).images
    n, n_states = len(spectra), len(scene)
    states = np.vstack([np.eye(n), rng.dirichlet(np.ones(n), n_states)])[:n_states]
    amounts = np.tensordot(states.T, scene / scene.max(), 1)
    clean = np.tensordot(spectra.T, amounts, 1)
    return {
        "stack": make_stack(clean.astype(np.float32), energy_ev),
        "references": named(spectra, energy_ev),
        "amounts": amounts,
    }


def noisy(stack: xr.DataArray, noise: str, sigma: float, rng: np.random.Generator) -> xr.DataArray:
    """Return a stack with white noise, or with that of counts, of this size where the sample is thick."""
    if noise == "white":
        return stack + sigma * rng.standard_normal(stack.shape, dtype=np.float32)
    counts = np.exp(1.0) / sigma**2  # in the open beam; noise is `sigma` at an optical density of 1
    frames = rng.poisson(counts * np.exp(-stack.values)).astype(np.float32)
    light = np.full(stack.shape[1:], counts)
    scan = make_stack(frames, stack.energy.values, quantity="counts").assign_coords(flat=(("y", "x"), light))
    return prepare(scan)[0]


def dose(quick: bool, seed: int) -> list[Row]:
    """Compare three doses on small phantoms, whose grains are 3 to 5 px wide."""
    rows = []
    shape = (64, 80) if quick else FINE_PX
    for element in SPECIES:
        for sigma in DOSES:
            for noise in ("white", "counted"):
                rng = np.random.default_rng([seed, round(1000 * sigma)])
                rows.append(one_dose(phantom(element, "particle", shape, rng), element, noise, sigma, rng))
                print(rows[-1], flush=True)
                save("chemistry-fractions-dose", rows, quick=quick, seed=seed)  # it takes long
    return rows


def usual(quick: bool, seed: int) -> list[Row]:
    """Compare three doses on phantoms of all kinds, with grains as wide as usual."""
    rows = []
    for kind, (element, noise) in USUAL.items():
        for sigma in DOSES:
            rng = np.random.default_rng([seed, round(1000 * sigma), 1])
            scan = phantom(element, kind, FINE_PX if quick else USUAL_PX, rng)
            rows.append({"phantom": kind} | one_dose(scan, element, noise, sigma, rng))
            print(rows[-1], flush=True)
            save("chemistry-fractions-usual", rows, quick=quick, seed=seed)  # it takes long
    return rows


def one_dose(scan: Row, element: str, noise: str, sigma: float, rng: np.random.Generator) -> Row:
    """Compare fractions of one scan after denoising with those of the noisy stack, in the same pixels."""
    stack, total = noisy(scan["stack"], noise, sigma, rng), scan["amounts"].sum(axis=0)
    truth = scan["amounts"] / np.where(total > 0, total, 1)
    result = denoise(stack, rng=np.random.default_rng(0))
    clean = fit_fractions(result, scan["references"])
    raw = fit_fractions(stack, scan["references"], sigma=sigma)
    where = total > 0.3
    known = where & np.isfinite(fractions_of(raw)).all(axis=0)  # the noise leaves nothing of some pixels
    errors = {name: (fractions_of(maps) - truth)[:, known] for name, maps in (("ours", clean), ("raw", raw))}
    row: Row = {"element": element, "noise": noise, "sigma / step": sigma, "K": result.rank}
    row |= {"rms, denoised": rms(errors["ours"]), "rms, noisy": rms(errors["raw"])}
    row["times smaller"] = row["rms, noisy"] / row["rms, denoised"]
    row["without fractions, noisy"] = float(1 - known.sum() / where.sum())
    for name, error in errors.items():
        row[f"bias, {'denoised' if name == 'ours' else 'noisy'}"] = rms(error.mean(axis=1))
    if PYXAS_PYTHON:
        theirs = pyxas_fractions(stack, scan["references"])
        row["rms, PyXAS ADMM on the noisy stack"] = rms((theirs - truth)[:, known])
    both = covered(clean, truth, where & clean["mask"].values)
    stated = covered(raw, truth, where & raw["mask"].values)
    row |= {f"covered, {case}": both[case] for case in ("all", "between", "at bounds", "+- sigma")}
    row |= {"covered, noisy stack": stated["all"], "chi square": both["chi square"]}
    return row | {"said to hold": "yes" if clean.attrs["intervals_hold"] else "no"}


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


# --- a reference that is missing, and the choice among many


def missing(quick: bool, seed: int) -> list[Row]:
    """Fit scans without one of their references."""
    rows = []
    for index in range(6 if quick else 40):
        rng = np.random.default_rng([seed, index, 3])
        element = ("Ni", "Fe", "Mn")[index % 3]
        known = references(element)
        n = min(int(rng.integers(3, 5)), len(known))
        energy_ev, spectra = spectra_of(element, tuple(rng.permutation(len(known))[:n].tolist()), 60)
        fractions = rng.dirichlet(np.ones(n), (30, 31)).transpose(2, 0, 1)
        stack = make_stack(np.tensordot(spectra.T, fractions, 1).astype(np.float32), energy_ev)
        stack.values += 0.02 * rng.standard_normal(stack.shape, dtype=np.float32)
        maps = fit_fractions(stack, named(spectra[1:], energy_ev), sigma=0.02)
        error = np.abs(fractions_of(maps) - fractions[1:])
        sigma = fractions_of(maps, "_sigma")
        row: Row = {"index": index, "element": element, "references": n - 1}
        row |= {"rms error": rms(error), "stated": rms(sigma), "within 68 %": float(np.mean(error < sigma))}
        row |= {"within 95 %": float(np.mean(error < 1.96 * sigma))}
        row["chi square"] = float(maps["reduced_chi_square"].median())
        row["said"] = not maps.attrs["intervals_hold"]
        rows.append(row)
    return rows


def subsets(quick: bool, seed: int) -> list[Row]:
    """Look for the right three of twelve references of Fe, in a scan and in a single spectrum."""
    rows: list[Row] = []
    energy_ev, spectra = spectra_of("Fe", COMPOUNDS, 90)
    for kind, n_seeds in (("single spectrum", 10 if quick else 100), ("scan", 5 if quick else 100)):
        right, near, listed = 0, 0, 0
        for index in range(n_seeds):
            rng = np.random.default_rng([seed, index, 5])
            chosen = np.sort(rng.permutation(12)[:3])
            names = {f"species {i}" for i in chosen}
            shares = rng.dirichlet(np.full(3, 4.0)) if kind != "scan" else None
            data, sigma = mixture(spectra[chosen], energy_ev, shares, rng)
            found = choose_references(data, named(spectra, energy_ev), at_most=3, sigma=sigma)
            right += set(found.best.names) == names
            near += any(set(each.names) == names and each.difference < 10 for each in found.ranking)
            listed += any(set(each.names) == names for each in found.ranking)
        row: Row = {"data": kind, "element": "Fe", "seeds": n_seeds, "right": right}
        rows.append(row | {"right or not excluded": near, "in the list of six": listed})
        print(rows[-1], flush=True)
        save("chemistry-fractions-subsets", rows, quick=quick, seed=seed)
    return rows


def mixture(
    spectra: Array, energy_ev: Array, shares: Array | None, rng: np.random.Generator
) -> tuple[Any, float | None]:
    """Return a denoised scan, or one spectrum, in which the least fraction is five times its error."""
    shape = (40, 48) if shares is None else (1, 1)
    if shares is None:
        amounts = rng.dirichlet(np.ones(3), 12).T @ (
            rng.integers(0, 12, shape[0] * shape[1]) == np.arange(12)[:, None]
        )
        amounts = amounts.reshape(3, *shape)
    else:
        amounts = shares[:, None, None]
    clean = make_stack(np.tensordot(spectra.T, amounts, 1).astype(np.float32), energy_ev)
    least = float(amounts.mean(axis=(1, 2)).min())
    unit = fit_fractions(clean, named(spectra, energy_ev), sigma=1e-3)
    stated = max(float(unit[f"fraction_species_{k}_sigma"].median()) for k in range(3))
    sigma = 1e-3 * least / (5 * stated)
    clean.values += sigma * rng.standard_normal(clean.shape, dtype=np.float32)
    if shares is not None:
        return clean, sigma
    return denoise(clean, denoiser="wavelet", rng=np.random.default_rng(0)), None


if __name__ == "__main__":
    main()
