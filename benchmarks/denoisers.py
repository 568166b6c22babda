"""Gain of every image denoiser on coefficient images, and its seconds per image.

``python benchmarks/denoisers.py`` takes the images that the true spectra give of all six phantoms, and scenes
of the two families that no network was trained on, at the contrasts of *particle*'s components; noise of
sigma 10, 60, 150; and two photographs at sigma 15, 25, 50.  The gain is ``10 log10(sigma**2 / error)``, its
median over seeds.  The summary counts components 1 to 4; the last column is the time of one large image.
``--weights NAME=FILE`` adds a row for other weights, ``--earlier FOLDER`` one for a network in
``network.py`` and ``network.npz`` there, of class ``Denoiser``, for unit noise.
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
from xanesum.linalg.subspace import fit_basis, project
from xanesum.phantom import KINDS

SHAPE, N_ENERGIES, N_COMPONENTS = (256, 320), 150, 5
N_SCORED = 4  # components that the summary counts
LARGE = (1193, 1193)  # pixels of the largest scan of the paper
LADDER = (540.0, 31.0, 3.2, 0.5, 0.25)  # standard deviations of *particle*'s components, 150 energies
FIRST_SEED = 2000  # of the noise; the seeds from 1000 were looked at while training was chosen
BFLOAT16 = "network, bfloat16"
EARLIER = "earlier network"
BM3D = "bm3d"
PHOTOGRAPHS = ("camera", "coins")
Denoise = Callable[[NDArray[np.float32], float], NDArray[np.float32]]
Images = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, two phantoms, no slow denoiser")
    parser.add_argument(
        "--denoisers", nargs="+", default=["wavelet", "nlm", "tv", "bm3d", "dncnn", "network", BFLOAT16]
    )
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--earlier", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", default="denoisers", help="of the file in results/")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.name = 1, options.name + "-quick"
        options.denoisers = [name for name in options.denoisers if name not in ("nlm", BM3D)]
    rows = []
    denoisers = dict(chosen(options))
    for scene, sigma, clean in cases(options.quick):
        for name, denoise in denoisers.items():
            rows.append({"scene": scene, "sigma": sigma, "denoiser": name})
            rows[-1] |= score(denoise, clean, sigma, options.seeds)
            save(options.name, rows, seeds=options.seeds)
        print(
            scene,
            sigma,
            {r["denoiser"]: r["gain (dB)"] for r in rows[-20:] if r["scene"] == scene},
            flush=True,
        )
    seconds = {name: time_large(denoise) for name, denoise in denoisers.items()}
    table = [
        line | {f"seconds, {LARGE[0]} x {LARGE[1]}": seconds[line["denoiser"]]} for line in summary(rows)
    ]
    save(options.name, rows, seeds=options.seeds, summary=table)
    print_table(table)


def time_large(denoise: Denoise) -> float:
    """Return the median seconds for one large image, of three calls or as many as fit into 20 s."""
    image = np.random.default_rng(0).standard_normal((1, *LARGE), dtype=np.float32)
    found: list[float] = []
    while len(found) < 3 and sum(found) < 20:
        began = time.perf_counter()
        denoise(image, 1.0)
        found.append(time.perf_counter() - began)
    return float(np.median(found))


def cases(quick: bool) -> Iterator[tuple[str, float, Images]]:
    """Yield name, sigma and clean images (K, Y, X)."""
    for kind in ("particle", "wedge") if quick else KINDS:
        clean = true_components(kind)
        for sigma in (10.0, 60.0, 150.0):
            yield kind, sigma, clean
    for name, family in HELD_OUT.items():
        scenes = [draw_scene(np.random.default_rng(i), SHAPE[1], {name: family}) for i in range(len(LADDER))]
        clean = np.stack([size * scene[: SHAPE[0]] for size, scene in zip(LADDER, scenes, strict=True)])
        for sigma in (10.0, 60.0, 150.0):
            yield name, sigma, clean.astype(np.float32)
    from skimage import data

    for name in PHOTOGRAPHS:
        for sigma in (15.0, 25.0, 50.0):
            yield name, sigma, getattr(data, name)()[None].astype(np.float32)


def true_components(kind: str) -> Images:
    """Return the first coefficient images of a clean phantom."""
    clean = simulate(kind, shape=SHAPE, n_energies=N_ENERGIES).clean().values
    return project(fit_basis(clean, N_COMPONENTS, rng=np.random.default_rng(0)).spectra, clean)


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, Denoise]]:
    """Yield the denoisers that can be used here."""
    for name in options.denoisers:
        if name == BFLOAT16:
            yield name, get_denoiser("network", precision="bfloat16").denoise
        elif available_denoisers()[name].installed:
            yield name, get_denoiser(name).denoise
    for pair in options.weights:
        name, _, path = pair.partition("=")
        yield name, get_denoiser("network", weights=Path(path).resolve()).denoise
    if options.earlier is not None:
        yield EARLIER, earlier_network(options.earlier)


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
        noise = np.random.default_rng(FIRST_SEED + seed).standard_normal(clean.shape, dtype=np.float32)
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
    """Return one row per denoiser: its gains, and how they compare with those of its rivals, cell by cell."""
    scored: dict[str, list[Any]] = {}  # one list of components per scene and sigma
    photographs: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if row["scene"] in PHOTOGRAPHS:
            photographs.setdefault(row["denoiser"], []).append(row["gain (dB)"][0])
        else:
            scored.setdefault(row["denoiser"], []).append(row["gain (dB)"][:N_SCORED])
            seconds.setdefault(row["denoiser"], []).append(row["seconds"])
    table = []
    for name, cells in scored.items():
        gains = np.array(cells)
        line: dict[str, Any] = {"denoiser": name}
        line |= {f"component {k + 1}": float(gains[:, k].mean()) for k in range(N_SCORED)}
        line["mean"] = float(gains.mean())
        line["photographs"] = float(np.mean(photographs[name]))
        if BM3D in scored:
            difference = gains - np.array(scored[BM3D])
            ahead = np.array(photographs[name]) - np.array(photographs[BM3D])
            line["over BM3D: mean"] = float(difference.mean())
            line["component 1 alone"] = float(difference[:, 0].mean())
            line["worst cell"] = float(difference.min())
            line["photographs, mean"] = float(ahead.mean())
            line["photographs, worst"] = float(ahead.min())
            line["times faster"] = float(np.median(seconds[BM3D]) / np.median(seconds[name]))
        if EARLIER in scored:
            line["over the earlier network: mean"] = float((gains - np.array(scored[EARLIER])).mean())
        line["seconds"] = float(np.median(seconds[name]))
        table.append(line)
    return table


if __name__ == "__main__":
    main()
