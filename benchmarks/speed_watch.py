"""Whether a watched scan keeps up with its frames, and finds the factors of the whole scan.

``python benchmarks/speed_watch.py`` puts 117 frames of 1024 x 1024 counts into a folder, all at once, which
is faster than any beamline.  It reports the time of each update, and the angle between the subspace found
frame by frame and that of an SVD of all frames.
"""

from __future__ import annotations

import argparse
import statistics
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import xarray as xr
from _speed import OPEN_COUNTS, RANK, SEED, Row, parser_of, report
from numpy.typing import NDArray

from xanesum import simulate
from xanesum.linalg.subspace import fit_basis
from xanesum.phantom import expose
from xanesum.preprocess import to_optical_density
from xanesum.workflow.live import watch

ABOVE_NOISE = 1.5  # a singular value this many times the last one stands above the noise


def main() -> None:
    report("speed-watch", parser_of(__doc__).parse_args(), watching)


def watching(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Watch a folder that holds all frames from the start."""
    shape, n_frames = ((32, 40), 12) if options.quick else ((1024, 1024), 117)
    phantom = simulate("particle", shape=shape, n_energies=n_frames)
    counts = expose(phantom, OPEN_COUNTS, flat_drift=0.0, rng=np.random.default_rng(SEED)).stack
    arriving = folder / "scan"
    arriving.mkdir()
    tifffile = import_module("tifffile")
    tifffile.imwrite(folder / "flat.tif", counts["flat"].values.astype(np.float32))
    for energy, frame in zip(counts.energy.values, counts.values, strict=True):
        tifffile.imwrite(arriving / f"scan_{energy:.3f}eV.tif", frame.astype(np.float32))
    started = time.perf_counter()
    found = watch(arriving, folder / "out", flat=folder / "flat.tif", n_frames=n_frames, settled_s=0.0)
    seconds = time.perf_counter() - started
    assert found.factors is not None
    rank, angle = difference(counts, found.factors.spectra)
    return [
        {
            "frames": n_frames,
            "update, median (s)": round(statistics.median(found.seconds), 3),
            "update, worst (s)": round(max(found.seconds), 3),
            "K above the noise": rank,
            "largest angle to a batch SVD (degrees)": round(angle, 4),
            "maps": len(found.refreshed),
            "most frames between maps": int(np.max(np.diff([0, *found.refreshed]))),
            "seconds, all": round(seconds, 1),
        }
    ]


def difference(counts: xr.DataArray, spectra: NDArray[np.float64]) -> tuple[int, float]:
    """Compare spectra (K, E) with an SVD of all frames.

    Returns
    -------
    rank : int
        Components above the noise.  The others are noise and may have any direction.
    angle : float
        The largest angle between the two subspaces of that rank, in degrees.
    """
    density = to_optical_density(counts)[0].values
    density = np.where(np.isfinite(density), density, np.nanmedian(density, axis=(1, 2), keepdims=True))
    batch = fit_basis(density, 2 * RANK, rng=np.random.default_rng(0))
    sizes = batch.singular_values
    rank = int(np.count_nonzero(sizes > ABOVE_NOISE * sizes[-1]))
    cosines = np.linalg.svd(spectra[:rank] @ batch.spectra[:rank].T, compute_uv=False)
    return rank, float(np.degrees(np.arccos(min(1, cosines[-1]))))


if __name__ == "__main__":
    main()
