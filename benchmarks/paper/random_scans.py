"""Scans drawn at random, to which nobody tuned: frames and maps by the same methods.

Size, texture, chemistry, spectra (some of them measured) and noise are drawn; see `_random_scenes`.  The
noise is white, as in the paper, and no values are missing.  The seed comes from the commit of the first row,
so nothing can be tuned to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np
import xarray as xr
from _common import commit
from _metrics import frame_psnr, map_correlation
from _random_scenes import Label, describe, draw_content, draw_label

from paper.methods import FAST, OURS, Method, methods
from paper.scans import QUICK, Size
from paper.store import Row, Store
from xanesum import half_step_energy
from xanesum.errors import XanesumError
from xanesum.stack import make_stack

__all__ = ["LARGEST", "N_QUICK", "N_SCANS", "TRIED", "labels", "run"]

N_SCANS, N_QUICK = 200, 12
LARGEST, LARGEST_QUICK = 1.5e6, 3e5  # values of a scan
FULL_SIGNAL = 255.0
HASH_DIGITS = 7  # of the commit, for the seed
TRIED = ("noisy", *FAST, *reversed(OURS))


def run(store: Store, size: Size, *, n_scans: int | None = None) -> None:
    """Measure what is missing."""
    n_scans = n_scans or (N_SCANS if size.slow_everywhere else N_QUICK)
    base = store.rows[0]["base"] if store.rows else int((commit() or "0")[:HASH_DIGITS], 16)
    every = methods(QUICK, slow=False)
    for label in labels(base, n_scans, LARGEST if size.slow_everywhere else LARGEST_QUICK):
        key: Row = {"base": base, "index": label["index"]}
        missing = [name for name in TRIED if store.find(key | {"method": name}) is None]
        if missing:
            scan = RandomScan(label)
            for name in missing:
                store.cell(key | {"method": name}, partial(scan.measured, every[name]))


def labels(base: int, n_scans: int, largest: float) -> list[Label]:
    """Return the first labels of scans with white noise, no faults and not too many values."""

    def fitting() -> Iterator[Label]:
        index = 0
        while True:
            label = draw_label(base, index)
            plain = label["noise"] == "white" and label["drift"] == "none" and label["correlated"] == "none"
            if plain and not label["defects"] and label["missing"] == "none" and label["values"] <= largest:
                yield label
            index += 1

    return list(islice(fitting(), n_scans))


class RandomScan:
    """A scan drawn at random, on the scale on which 255 is full signal."""

    def __init__(self, label: Label) -> None:
        content = draw_content(label)
        density = content.density
        scale = np.float32(FULL_SIGNAL / density.max())
        self.label = label
        self.clean = make_stack(density * scale, content.energy_ev)
        self.sigma = float(label["step"] * label["sigma_of_step"] * scale)
        noise = np.random.default_rng(content.seeds[0]).standard_normal(density.shape, dtype=np.float32)
        self.noisy = make_stack(self.clean.values + np.float32(self.sigma) * noise, content.energy_ev)
        try:
            self.truth: xr.Dataset | None = half_step_energy(self.clean)
        except XanesumError:  # no usable range of energies
            self.truth = None

    def measured(self, method: Method) -> Row:
        """Return the scores of a method."""
        start = time.perf_counter()
        found = method.run(self.noisy, self.sigma, np.random.default_rng(0))
        seconds = round(time.perf_counter() - start, 2)
        stack = found if isinstance(found, xr.DataArray) else found.reconstruct()
        psnr = frame_psnr(stack.values, self.clean.values)
        row: Row = {"scan": describe(self.label), "sigma": round(self.sigma, 2), "PSNR (dB)": round(psnr, 3)}
        return row | {"correlation": self.correlation(stack), "seconds": seconds}

    def correlation(self, stack: xr.DataArray) -> float | None:
        """Return the correlation of the map; None where the sample has one state, or no usable edge."""
        if self.truth is None or self.label["species"] == 1:
            return None
        truth, mask = self.truth.half_step_energy_ev.values, self.truth["mask"].values
        mask = mask & np.isfinite(truth)
        try:
            values = half_step_energy(stack, e0_ev=self.truth.attrs["e0_ev"]).half_step_energy_ev.values
        except XanesumError:
            return 0.0
        return round(map_correlation(values, truth, mask), 4)
