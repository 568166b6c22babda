"""Figs. 7, 8 and 9 and Supplement A: frames, maps, mean frames after correction of motion, the phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _metrics import PEAK
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper.curves import save_figure
from paper.methods import methods
from paper.published import SIGMAS
from paper.scans import KINDS, WHOLE, Case, Size, cut
from paper.store import Store
from paper.table1 import RIVAL_SEED, frame_of, keep_picture, picture_file, pixel_of
from paper.table2 import Moving, rigid_shifts

__all__ = ["SHOWN", "figure_7", "figure_8", "figure_9", "phantoms"]

SHOWN = ("noisy", "3-D median", "SVD, SURE, hard", "ReLD", "BM4D", "UDVD", "sum", "sum+")
KIND = "particle"
QUICKLY_S = 120.0  # a picture that is missing is made again where its cell took less
FIG9_JITTER_PX, FIG9_SIGMAS = 6.0, (10.0, 150.0)
Pictures = dict[str, NDArray[Any]]


def figure_7(store: Store, size: Size, folder: Path, suffix: str) -> None:
    """Show a frame and the spectrum of a pixel, by every method at three noise levels."""
    figure = Figure(figsize=(2 * len(SHOWN) + 2, 11.5), layout="constrained")
    axes = figure.subplots(2 * len(SIGMAS), len(SHOWN) + 1, height_ratios=(3, 2) * len(SIGMAS))
    for row, sigma in enumerate(SIGMAS):
        case = Case.draw(KIND, sigma, 0, size)
        clean = np.array(list(case.clean_frames(case.crop)))
        place, frame = pixel_of(case), clean[frame_of(case)]
        found: list[tuple[str, Pictures | None]] = [
            ("truth", {"frame": frame, "spectrum": clean[:, *place]}),
            *((name, _picture(store, case, name)) for name in SHOWN),
        ]
        for column, (name, pictures) in enumerate(found):
            title = name if row == 0 else ""
            _draw_frame(axes[2 * row, column], title, pictures, frame, place)
            _draw_spectrum(axes[2 * row + 1, column], case, pictures, clean[:, *place])
        axes[2 * row, 0].set_ylabel(f"sigma {sigma:g}")
    save_figure(figure, folder, "fig7", suffix)


def figure_8(store: Store, size: Size, folder: Path, suffix: str) -> None:
    """Show the map, by every method at three noise levels."""
    figure = Figure(figsize=(2 * len(SHOWN) + 2, 6.3), layout="constrained")
    axes = figure.subplots(len(SIGMAS), len(SHOWN) + 1)
    for row, sigma in enumerate(SIGMAS):
        case = Case.draw(KIND, sigma, 0, size)
        truth, mask = case.truth.half_step_energy_ev.values[case.crop], case.phantom.mask[case.crop]
        low, high = np.quantile(truth[mask], (0.02, 0.98))
        limits = (float(low) - 0.5, float(high) + 0.5)
        _draw_map(axes[row, 0], "truth" if row == 0 else "", truth, mask, limits)
        axes[row, 0].set_ylabel(f"sigma {sigma:g}")
        for column, name in enumerate(SHOWN, 1):
            pictures, title = _picture(store, case, name), name if row == 0 else ""
            if pictures is None:
                _say(axes[row, column], title, mask.shape)
                continue
            _draw_map(axes[row, column], title, pictures["map"], mask, limits)
            axes[row, column].set_xlabel(f"{case.correlation(pictures['map'], case.crop):.2f}")
    colors = figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.5)
    colors.set_label("half-step energy (eV)")
    save_figure(figure, folder, "fig8", suffix)


def figure_9(size: Size, folder: Path, suffix: str) -> None:
    """Show the mean of all frames of a sample that jitters: as it is, and after each way of correction."""
    figure = Figure(figsize=(16, 4.6), layout="constrained")
    axes = figure.subplots(len(FIG9_SIGMAS), 6)
    ours = methods(size, slow=False)["sum+"]
    for row, sigma in enumerate(FIG9_SIGMAS):
        scan = Moving.draw(KIND, FIG9_JITTER_PX, sigma, 0, size)
        rng, aligned = np.random.default_rng(0), scan.before["xanesum, before denoising"][0]
        found = cut(ours.run(scan.stack, sigma, rng), WHOLE)
        after = scan.resampled(found, rigid_shifts(found.values))
        shown = {
            "sample at rest": scan.phantom.at_rest.clean()[:, *scan.seen],
            "noisy, not corrected": scan.cropped(scan.stack),
            "noisy, rigid correction": scan.before["rigid, before denoising"][0],
            "sum+, then rigid correction": after,
            "aligned by xanesum": aligned,
            "aligned by xanesum, then sum+": cut(ours.run(aligned, sigma, rng), WHOLE),
        }
        for column, (name, stack) in enumerate(shown.items()):
            image = stack.values.mean(axis=0)
            axes[row, column].imshow(image, cmap="gray", vmin=0, vmax=float(np.quantile(image, 0.995)))
            _bare(axes[row, column], name if row == 0 else "")
        axes[row, 0].set_ylabel(f"sigma {sigma:g}")
    save_figure(figure, folder, "fig9", suffix)


def phantoms(size: Size, folder: Path, suffix: str) -> None:
    """Show thickness and chemical states of the six phantoms."""
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    axes = figure.subplots(2, len(KINDS))
    for column, kind in enumerate(KINDS):
        phantom = Case.draw(kind, 0.0, 0, size).phantom
        axes[0, column].imshow(phantom.images.sum(axis=0), cmap="gray")
        _bare(axes[0, column], kind)
        axes[1, column].imshow(phantom.half_step_energy_ev, cmap="viridis", interpolation="nearest")
        _bare(axes[1, column], "")
    axes[0, 0].set_ylabel("thickness")
    axes[1, 0].set_ylabel("chemical state")
    save_figure(figure, folder, "suppl-a", suffix)


def _picture(store: Store, case: Case, name: str) -> Pictures | None:
    """Return what a method shows of one cell; None where it was not run, or would take too long again."""
    path = picture_file(store.name, case.kind, case.sigma, name)
    row = store.find({"phantom": case.kind, "sigma": case.sigma, "seed": 0, "method": name})
    if row is None:
        return None
    if not path.exists():
        if row["seconds"] > QUICKLY_S:
            return None
        method, rng = methods(case.size)[name], np.random.default_rng(RIVAL_SEED)
        on_middle = method.gets_middle(case)
        found = method.run(cut(case.noisy, case.crop) if on_middle else case.noisy, case.sigma, rng)
        part = cut(found, WHOLE if on_middle else case.crop)
        keep_picture(method, case, part, store.name)
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in ("frame", "map", "spectrum")}


def _draw_frame(
    axes: Axes, title: str, pictures: Pictures | None, clean: NDArray[np.float32], place: tuple[int, int]
) -> None:
    if pictures is None:
        _say(axes, title, clean.shape)
        return
    axes.imshow(pictures["frame"], cmap="gray", vmin=0, vmax=float(clean.max()))
    axes.plot(place[1], place[0], "o", color="C1", ms=4)
    _bare(axes, title)
    error = float(np.mean((pictures["frame"].astype(float) - clean) ** 2))
    axes.set_xlabel(f"{10 * np.log10(PEAK**2 / error):.1f} dB" if error else "")


def _draw_spectrum(axes: Axes, case: Case, pictures: Pictures | None, true: NDArray[np.float32]) -> None:
    if pictures is None:
        axes.set_axis_off()
        return
    energy = case.phantom.energy_ev
    axes.plot(energy, pictures["spectrum"], color="C3", lw=0.8)
    axes.plot(energy, true, color="k", lw=0.8)
    axes.set(xlim=(8310, 8420), ylim=(-0.4 * true.max(), 1.6 * true.max()), xticks=[], yticks=[])


def _draw_map(
    axes: Axes, title: str, values: NDArray[np.floating], mask: NDArray[np.bool_], limits: tuple[float, ...]
) -> None:
    shown = np.where(mask, values, np.nan)
    axes.imshow(shown, cmap="viridis", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    _bare(axes, title)


def _bare(axes: Axes, title: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


def _say(axes: Axes, title: str, shape: tuple[int, ...]) -> None:
    """Say that a method was not run, in the place of an image of this shape."""
    axes.imshow(np.full(shape, np.nan))
    axes.text(0.5, 0.5, "not run", ha="center", va="center", color="0.5", transform=axes.transAxes)
    axes.set(frame_on=False)
    _bare(axes, title)
