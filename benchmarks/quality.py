"""Frame PSNR, map correlation and map RMSE of noisy, 3-D median, SVD and SUM with each denoiser.

``python benchmarks/quality.py`` scores *particle* at 379 x 520 x 969 and *wedge* at 600 x 600 x 969;
``--quick`` both at 96 x 128 x 60.  K is chosen by the risk estimate ("SURE"), and by the truth: the K of
greatest map correlation among those tried ("truth").  The noise level is given.  ``--add`` keeps the rows of
other denoisers in the results file; each row names its commit and processor.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from _common import commit, load, print_table, processor, save
from _median3 import median3
from _metrics import frame_psnr, map_correlation, map_rmse_ev
from numpy.typing import NDArray

from xanesum import denoise, half_step_energy, simulate
from xanesum.denoisers import available_denoisers
from xanesum.method.sure import choose_rank
from xanesum.phantom import Phantom
from xanesum.result import Denoised

MAX_RANK = 10
KEYS = ("phantom", "sigma", "method", "K by")
SLOW = {"nlm": {"rank": 5, "n_probes": 1}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--phantoms", nargs="+", default=["particle", "wedge"])
    parser.add_argument("--sigmas", nargs="+", type=float, default=[10.0, 60.0, 150.0])
    parser.add_argument("--denoisers", nargs="+", default=["wavelet", "nlm", "tv", "bm3d", "network"])
    parser.add_argument("--no-median", action="store_true")
    parser.add_argument("--add", action="store_true", help="keep the rows of other methods in results/")
    parser.add_argument("--name", default="quality", help="of the file in results/")
    options = parser.parse_args()
    name = options.name + ("-quick" if options.quick else "")
    earlier = load(name) if options.add else []
    rows: list[dict[str, Any]] = []
    for kind in options.phantoms:
        shape = (96, 128) if options.quick else {"particle": (379, 520), "wedge": (600, 600)}.get(kind)
        phantom = simulate(kind, shape=shape, n_energies=60 if options.quick else 969)
        for sigma in options.sigmas:
            for row in score(phantom, sigma, options):
                taken = {"commit": commit(), "processor": processor()}
                rows.append({**taken, "phantom": kind, "sigma": sigma, **row})
                print(rows[-1], flush=True)
                save(name, merged(earlier, rows), seed=0, noise_seed=1)
    print_table(merged(earlier, rows))


def merged(earlier: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the new rows and those of the earlier ones that they do not replace, by phantom and sigma."""
    new = {tuple(row[key] for key in KEYS) for row in rows}
    kept = [row for row in earlier if tuple(row[key] for key in KEYS) not in new]
    return sorted(kept + rows, key=lambda row: (row["phantom"], row["sigma"]))


def score(phantom: Phantom, sigma: float, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row per method and choice of K."""
    truth = Truth(phantom)
    noisy = phantom.noisy(sigma, rng=np.random.default_rng(1))
    yield {"method": "noisy", "K by": "", "K": "", **truth.figures(noisy, noisy.values)}
    if not options.no_median:
        filtered = noisy.copy(data=median3(noisy.values))
        yield {"method": "3-D median", "K by": "", "K": "", **truth.figures(filtered, filtered.values)}
        del filtered
    for name in ["none", *options.denoisers]:
        if not available_denoisers()[name].installed:
            continue
        result = denoise(noisy, denoiser=name, sigma=sigma, **SLOW.get(name, {"rank": MAX_RANK}))
        label = "SVD" if name == "none" else f"SUM, {name}"
        for by, k in chosen_ranks(result, truth):
            shorter = result.truncated(k)
            yield {"method": label, "K by": by, "K": k, **truth.figures(shorter, frames(shorter))}


class Truth:
    """What estimates are compared with."""

    def __init__(self, phantom: Phantom) -> None:
        clean = half_step_energy(phantom.clean())
        self.phantom = phantom
        self.edge_ev = clean.half_step_energy_ev.values
        self.e0_ev = clean.attrs["e0_ev"]

    def map_figures(self, data: Denoised | xr.DataArray) -> dict[str, float]:
        """Score the half-step energy against that of the clean stack, within the sample."""
        found = half_step_energy(data, e0_ev=self.e0_ev).half_step_energy_ev.values
        return {
            "correlation": map_correlation(found, self.edge_ev, self.phantom.mask),
            "RMSE (eV)": map_rmse_ev(found, self.edge_ev, self.phantom.mask),
        }

    def figures(self, data: Denoised | xr.DataArray, estimate: Any) -> dict[str, float]:
        """Score frames and map."""
        spectra = self.phantom.spectra.astype(np.float32)
        clean = (np.tensordot(column, self.phantom.images, axes=1) for column in spectra.T)
        return {"PSNR (dB)": frame_psnr(estimate, clean), **self.map_figures(data)}


def frames(result: Denoised) -> Iterator[NDArray[np.float32]]:
    """Yield the clean frames one at a time."""
    spectra, images = result.spectra.values.astype(np.float32), result.coefficients.values
    return (np.tensordot(column, images, axes=1) for column in spectra.T)


def chosen_ranks(result: Denoised, truth: Truth) -> list[tuple[str, int]]:
    """Return K by SURE, K by the truth, and the phantom's own rank."""
    by_risk = choose_rank(result.risk["risk"].values, result.risk["difference_error"].values)
    correlations = [truth.map_figures(result.truncated(k))["correlation"] for k in range(1, result.rank + 1)]
    return [("SURE", max(by_risk, 1)), ("truth", 1 + int(np.argmax(correlations))), ("phantom's rank", 5)]


if __name__ == "__main__":
    main()
