"""Error of a probe's answer: probes added to the noise, and probes in place of a part of it.

``python benchmarks/probes.py`` takes four components of *wedge* and *particle*, scales them to contrasts of
0.1 to 2 units of the noise, and compares the trace of the network's Jacobian and the response squared, each
by one probe of three draws, with what eight draws of the noise show: the mean product of noise and denoised
image, and the variance of the denoised image.  Probes are added to the noise, with their length, or take the
place of a share of it, with the sine of the angle; in float32 and in bfloat16.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from _common import print_table, save
from numpy.typing import NDArray

from xanesum import simulate
from xanesum.denoisers.network import NetworkDenoiser
from xanesum.method.sure import image_response, monte_carlo_divergence

SHAPES = {"wedge": (1193, 1193), "particle": (379, 520)}
SIDE, N_ENERGIES, COMPONENTS = 384, 60, (1, 3)
CONTRASTS = (0.1, 0.3, 1.0, 2.0)
N_DRAWS, N_PROBED = 8, 3
ADDED, TURNED = (0.05, 0.1, 0.25), (0.1, 0.15, 0.2, 0.3)
Row = dict[str, Any]
Images = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one component, one contrast")
    options = parser.parse_args()
    rows: list[Row] = []
    for name, image in components():
        for contrast in CONTRASTS[:1] if options.quick else CONTRASTS:
            rows += compared(name, contrast * image, contrast)
            print(*rows[-len(ADDED + TURNED) :], sep="\n", flush=True)
        if options.quick:
            break
    save("probes-quick" if options.quick else "probes", rows, draws=N_DRAWS, probed=N_PROBED)
    print_table(ranges(rows))


def components() -> Iterator[tuple[str, Images]]:
    """Yield components beyond the first of two phantoms, of mean 0 and variance 1."""
    for kind, shape in SHAPES.items():
        clean = simulate(kind, shape=shape, n_energies=N_ENERGIES).clean().values
        spectra = np.linalg.svd(clean.reshape(N_ENERGIES, -1)[:, ::37], full_matrices=False)[0].T
        for k in COMPONENTS:
            image = np.tensordot(spectra[k], clean, axes=1)[:SIDE, :SIDE]
            yield f"{kind} {k + 1}", np.asarray((image - image.mean()) / image.std(), np.float32)[None]


def compared(name: str, clean: Images, contrast: float) -> Iterator[Row]:
    """Yield for every probe its trace and squared response over the truth."""
    forms = {form: NetworkDenoiser(precision=form) for form in ("float32", "bfloat16")}
    rng = np.random.default_rng(1)
    noises = [rng.standard_normal(clean.shape).astype(np.float32) for _ in range(N_DRAWS)]
    denoised = [forms["float32"].denoise(clean + noise, 1.0) for noise in noises]
    products = [float(np.sum(n * (d - clean))) for n, d in zip(noises, denoised, strict=True)]
    trace, variance = float(np.mean(products)), float(np.sum(np.var(denoised, axis=0, ddof=1)))
    for form, probe, length in (
        *(("float32", "added", step) for step in ADDED[:1]),
        *(("bfloat16", "added", step) for step in ADDED[1:]),
        *(("bfloat16", "in place", turn) for turn in TURNED),
    ):
        found = [
            answer(forms[form], clean + noise, probe, length, n) for n, noise in enumerate(noises[:N_PROBED])
        ]
        traces, squares = np.mean(found, axis=0)
        yield {
            "component": name,
            "contrast": contrast,
            "probe": f"{probe}, {length}",
            "precision": form,
            "trace over truth": round(float(traces) / trace, 3),
            "square over variance": round(float(squares) / variance, 3) if squares else "",
        }


def answer(
    denoiser: NetworkDenoiser, noisy: Images, probe: str, length: float, seed: int
) -> tuple[float, float]:
    """Return the trace, and the sum of the squared response (0 where the probe is added)."""
    rng = np.random.default_rng(seed)
    if probe == "added":

        def denoise(images: NDArray[np.floating]) -> NDArray[np.floating]:
            return denoiser.denoise(images.astype(np.float32), 1.0)

        found = monte_carlo_divergence(denoise, noisy, sigma=1.0, rng=rng, n_probes=1, step=length)
        return found.value, 0.0
    response = image_response(
        noisy,
        denoiser.denoise(noisy, 1.0),
        lambda images: denoiser.denoise(images, 1.0),
        1.0,
        rng=rng,
        n_probes=1,
        turn=length,
        rounding=denoiser.rounding(noisy, 1.0),
    )
    return float(response.divergence[0, 0]), float(response.square.sum())


def ranges(rows: list[Row]) -> list[Row]:
    """Return the least and greatest trace over the truth of all components, by probe and contrast."""
    probes = dict.fromkeys((row["probe"], row["precision"]) for row in rows)
    table = []
    for probe, form in probes:
        line: Row = {"probe": probe, "precision": form}
        for contrast in dict.fromkeys(row["contrast"] for row in rows):
            chosen = [row for row in rows if (row["probe"], row["contrast"]) == (probe, contrast)]
            traces = [row["trace over truth"] for row in chosen]
            line[f"contrast {contrast}"] = f"{min(traces):.2f} to {max(traces):.2f}"
        table.append(line)
    return table


if __name__ == "__main__":
    main()
