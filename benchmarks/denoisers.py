"""Gain of every image denoiser on coefficient images, and its seconds per image.

``python benchmarks/denoisers.py`` takes the images that the true spectra give of all six phantoms, and scenes
of the two families that no network was trained on, at the contrasts of *particle*'s components; noise of
sigma 10, 60, 150; and two photographs at sigma 15, 25, 50.  The gain is ``10 log10(sigma**2 / error)``, its
median over seeds.  ``--weights NAME=FILE`` adds a row for other weights, ``--earlier FOLDER`` one for a
network in ``network.py`` and ``network.npz`` there, of class ``Denoiser``, for unit noise.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _common import print_table, save
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.scenes import HELD_OUT, draw_scene
from xanesum import simulate
from xanesum.denoisers import available_denoisers, get_denoiser
from xanesum.phantom import KINDS
from xanesum.subspace import fit_basis, project

SHAPE, N_ENERGIES, N_COMPONENTS = (256, 320), 150, 4
LADDER = (540.0, 31.0, 3.2, 0.5)  # standard deviations of *particle*'s first four components, 150 energies
Denoise = Callable[[NDArray[np.float32], float], NDArray[np.float32]]
Images = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, two phantoms, no slow denoiser")
    parser.add_argument("--denoisers", nargs="+", default=["wavelet", "nlm", "tv", "bm3d", "network"])
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--earlier", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", default="denoisers", help="of the file in results/")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.name = 1, options.name + "-quick"
        options.denoisers = [name for name in options.denoisers if name not in ("nlm", "bm3d")]
    rows = []
    for scene, sigma, clean in cases(options.quick):
        for name, denoise in chosen(options):
            rows.append({"scene": scene, "sigma": sigma, "denoiser": name})
            rows[-1] |= score(denoise, clean, sigma, options.seeds)
            save(options.name, rows, seeds=options.seeds)
        print(
            scene,
            sigma,
            {r["denoiser"]: r["gain (dB)"] for r in rows[-20:] if r["scene"] == scene},
            flush=True,
        )
    print_table(summary(rows))


def cases(quick: bool) -> Iterator[tuple[str, float, Images]]:
    """Yield name, sigma and clean images (K, Y, X)."""
    for kind in ("particle", "wedge") if quick else KINDS:
        clean = true_components(kind)
        for sigma in (10.0, 60.0, 150.0):
            yield kind, sigma, clean
    for name, family in HELD_OUT.items():
        scenes = [draw_scene(np.random.default_rng(i), SHAPE[1], {name: family}) for i in range(N_COMPONENTS)]
        clean = np.stack([size * scene[: SHAPE[0]] for size, scene in zip(LADDER, scenes, strict=True)])
        for sigma in (10.0, 60.0, 150.0):
            yield name, sigma, clean.astype(np.float32)
    from skimage import data

    for name in ("camera", "coins"):
        for sigma in (15.0, 25.0, 50.0):
            yield name, sigma, getattr(data, name)()[None].astype(np.float32)


def true_components(kind: str) -> Images:
    """Return the first coefficient images of a clean phantom."""
    clean = simulate(kind, shape=SHAPE, n_energies=N_ENERGIES).clean().values
    return project(fit_basis(clean, N_COMPONENTS, rng=np.random.default_rng(0)).spectra, clean)


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, Denoise]]:
    """Yield the denoisers that can be used here."""
    for name in options.denoisers:
        if available_denoisers()[name].installed:
            yield name, get_denoiser(name).denoise
    for pair in options.weights:
        name, _, path = pair.partition("=")
        yield name, get_denoiser("network", weights=Path(path).resolve()).denoise
    if options.earlier is not None:
        yield "earlier network", earlier_network(options.earlier)


def earlier_network(folder: Path) -> Denoise:
    """Return a network of another layout, as a denoiser."""
    import torch

    spec = importlib.util.spec_from_file_location("earlier_network", folder / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.Denoiser()
    with np.load(folder / "network.npz", allow_pickle=False) as stored:
        network.load_state_dict({name: torch.from_numpy(stored[name]).float() for name in stored})
    network.eval()

    def denoise(images: Images, sigma: float) -> Images:
        done = []
        for image in images:
            padded = np.pad(image / sigma, [(0, size % 2) for size in image.shape], mode="edge")
            with torch.inference_mode():
                found = network(torch.from_numpy(padded.astype(np.float32))[None, None])[0, 0].numpy()
            done.append(sigma * found[: image.shape[0], : image.shape[1]])
        return np.stack(done).astype(np.float32)

    return denoise


def score(denoise: Denoise, clean: Images, sigma: float, seeds: int) -> dict[str, Any]:
    """Return the gain of each component, median over seeds, and the median seconds per image."""
    gains, seconds = [], []
    for seed in range(seeds):
        noise = np.random.default_rng(1000 + seed).standard_normal(clean.shape, dtype=np.float32)
        noisy = clean + np.float32(sigma) * noise
        if not seed:
            denoise(noisy[:1], sigma)  # the first call loads and compiles
        found = []
        for image in noisy:
            began = time.perf_counter()
            found.append(denoise(image[None], sigma)[0])
            seconds.append(time.perf_counter() - began)
        error = np.mean((np.stack(found) - clean).astype(np.float64) ** 2, axis=(1, 2))
        gains.append(10 * np.log10(sigma**2 / error))
    return {
        "gain (dB)": [round(float(gain), 2) for gain in np.median(gains, axis=0)],
        "seconds": round(float(np.median(seconds)), 4),
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per denoiser: its gains, and how they compare with those of BM3D, cell by cell."""
    table = []
    photographs = ("camera", "coins")
    cells: dict[str, dict[tuple[str, float], dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault(row["denoiser"], {})[row["scene"], row["sigma"]] = row
    for name, own in cells.items():
        gains = np.array([row["gain (dB)"] for key, row in own.items() if key[0] not in photographs])
        line: dict[str, Any] = {"denoiser": name}
        line |= {f"component {k + 1}": float(gains[:, k].mean()) for k in range(N_COMPONENTS)}
        line["mean"] = float(gains.mean())
        line["photographs"] = float(
            np.mean([row["gain (dB)"] for key, row in own.items() if key[0] in photographs])
        )
        if "bm3d" in cells:
            rival = np.array(
                [r["gain (dB)"] for key, r in cells["bm3d"].items() if key[0] not in photographs]
            )
            line["over BM3D, mean"] = float((gains - rival).mean())
            line["first alone"] = float((gains - rival)[:, 0].mean())
            line["worst cell"] = float((gains - rival).min())
        line["seconds"] = float(
            np.median([row["seconds"] for key, row in own.items() if key[0] not in photographs])
        )
        table.append(line)
    return table


if __name__ == "__main__":
    main()
