"""The figures of a report, each a PNG inside the page."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xanesum.align import Shifts
from xanesum.align.shifts import ALIGNED, LEFT_OUT
from xanesum.diagnostics.residual import ResidualReport
from xanesum.report.colours import ERRORS, IMAGES, INK, LINES, MAPS, MISSING, SIGNED
from xanesum.report.drawing import (
    Draw,
    Picture,
    axes_of_image,
    draw_image,
    limits_of,
    make_picture,
    mark_scale,
    ratio_of,
    size_of_pixel,
)
from xanesum.report.texts import MAP_LABELS, MAX_COMPONENTS, Motion, unit_of
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.xanes import KINDS

__all__ = [
    "choose_pixels",
    "component_pictures",
    "frame_pictures",
    "histogram_drawing",
    "lost_pictures",
    "map_pictures",
    "motion_pictures",
    "noise_of",
    "places_drawing",
    "residual_pictures",
    "risk_picture",
    "sigma_picture",
    "spectrum_pictures",
]

Image = NDArray[np.floating]
N_PIXELS = 5  # pixels whose spectra are shown
LEAST_SCALE = 3.0  # half of the scale of a residual, in units of its noise
MAX_RESIDUAL_FRAMES = 100  # energies at which the residual of every pixel is summed


def frame_pictures(
    stack: xr.DataArray, clean: xr.DataArray, maps: xr.Dataset | None, result: Denoised
) -> list[Picture]:
    """Show three energies: each before denoising, after it, and the residual in units of its noise."""
    chosen = _choose_energies(stack, maps)
    noisy = [_masked(stack, stack[e].values) for _, e in chosen]
    after = [_masked(stack, clean[e].values) for _, e in chosen]
    limits = limits_of(np.array(after))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = [
            (raw - smooth) / noise_of(result, e)
            for (_, e), raw, smooth in zip(chosen, noisy, after, strict=True)
        ]
    half = max(limits_of(np.abs(np.array(left)))[1], LEAST_SCALE)
    kept: dict[str, Any] = {"limits": limits, "extend": "both", "pixel_nm": size_of_pixel(stack)}
    of_left: dict[str, Any] = {**kept, "limits": (-half, half), "cmap": SIGNED}
    pictures = []
    for (name, e), raw, smooth, rest in zip(chosen, noisy, after, left, strict=True):
        at = f"{stack.energy.values[e]:.1f} eV ({name})"
        pictures += [
            draw_image(raw, f"{at}: before", unit_of(stack), **kept),
            draw_image(smooth, f"{at}: after", unit_of(stack), **kept),
            draw_image(rest, f"{at}: residual", "residual / noise level", **of_left),
        ]
    return pictures


def noise_of(result: Denoised, e: int) -> Image:
    """Return the noise level of every pixel (Y, X) at the energy of index `e`; NaN where it is 0."""
    sigma = result.sigma_used[e] * result.sigma_pixel.values
    return np.where(sigma > 0, sigma, np.nan)


def _choose_energies(stack: xr.DataArray, maps: xr.Dataset | None) -> list[tuple[str, int]]:
    """Return names and indices of three usable frames, below, at and beyond the edge; none comes twice."""
    used = np.flatnonzero(usable_weight(stack))
    energy = stack.energy.values[used]
    if maps is None:
        chosen = {int(used[-1]): "last", int(used[len(used) // 2]): "middle", int(used[0]): "first"}
        if len(used) == 2:
            chosen = {int(used[0]): "first", int(used[1]): "last"}
        return sorted(((name, e) for e, name in chosen.items()), key=lambda each: each[1])
    pre, post = maps.attrs["pre_ev"], maps.attrs["post_ev"]
    targets = {
        "pre-edge": energy[0] if pre is None else np.mean(pre),
        "edge": maps.attrs["e0_ev"],
        "post-edge" if post is not None else "last": energy[-1] if post is None else np.mean(post),
    }
    found = {int(used[np.argmin(np.abs(energy - at))]): name for name, at in reversed(targets.items())}
    return sorted(((name, e) for e, name in found.items()), key=lambda each: each[1])


def _masked(stack: xr.DataArray, frame: Image) -> Image:
    return np.where(usable_mask(stack), frame, np.nan)


def map_pictures(maps: xr.Dataset, *, pixel_nm: float | None = None) -> list[Picture]:
    """Show the map, its histogram, its standard error if there is one, and the edge step."""
    kind = maps.attrs["kind"]
    name, error, label = MAP_LABELS[kind]
    mask = maps["mask"].values
    values, sigma = (np.where(mask, maps[each].values, np.nan) for each in (name, error))
    kept: dict[str, Any] = {"extend": "both", "pixel_nm": pixel_nm}
    pictures = []
    if mask.any():
        limits = limits_of(values, 2, 98)
        counted = f"Histogram of the map, {np.isfinite(values).sum()} pixels"
        pictures += [
            draw_image(values, f"Map: {label}", label, limits=limits, cmap=MAPS, **kept),
            make_picture(
                histogram_drawing(values[mask], label, limits),
                counted,
                ratio=max(ratio_of(values, pixel_nm), 0.6),
            ),
        ]
    if np.isfinite(sigma).any():
        unit = KINDS[kind].unit
        holds = maps.attrs["intervals_hold"]
        title = "Standard error of the map" if holds else "Stated error of the map, which does not hold"
        text = " ".join(("standard error", f"({unit})" if unit else "")).strip()
        limits = (0.0, limits_of(sigma, 0, 95)[1])
        options = {**kept, "extend": "max", "cmap": ERRORS if holds else IMAGES}
        pictures.append(draw_image(sigma, title, text, limits=limits, **options))
    if name != "edge_step" or not mask.any():
        step = maps["edge_step"].values
        text = "edge step (unit of the scan)"
        pictures.append(draw_image(step, "Edge step", text, limits=limits_of(step, 1, 99), **kept))
    return pictures


def histogram_drawing(values: Image, label: str, limits: tuple[float, float]) -> Draw:
    """Return what draws a histogram of a map, in the colours of the map, with its median."""
    margin = 0.25 * (limits[1] - limits[0])
    middle = float(np.median(values[np.isfinite(values)]))

    def draw(figure: Figure, axes: Axes) -> None:
        ends = (limits[0] - margin, limits[1] + margin)
        _, edges, bars = axes.hist(values, bins=60, range=ends)
        shares = (edges[:-1] + np.diff(edges) / 2 - limits[0]) / (limits[1] - limits[0])
        for bar, color in zip(bars, colormaps[MAPS](np.clip(shares, 0, 1)), strict=True):  # type: ignore[arg-type]
            bar.set_facecolor(color)
        axes.axvline(middle, color=INK, lw=0.9, ls="--")
        axes.set(xlabel=label, ylabel="pixels")
        axes.ticklabel_format(axis="x", useOffset=False, style="plain")
        axes.locator_params(axis="x", nbins=5)  # labels of energies are long

    return draw


# --- motion


def motion_pictures(motion: Motion, stack: xr.DataArray) -> list[Picture]:
    """Show the shift of each frame with its error, and the mean frame before and after."""
    if motion.shifts is None:
        return []
    pictures = [_shift_picture(motion.shifts)]
    if motion.before is not None:
        after = _masked(stack, stack.values[usable_weight(stack)].mean(axis=0))
        limits = limits_of(after)
        pictures += [
            draw_image(
                image,
                f"Mean of all frames, {what}",
                unit_of(stack),
                limits=limits,
                extend="both",
                pixel_nm=size_of_pixel(stack),
            )
            for image, what in (
                (motion.before, "as measured"),
                (after, "moved back; red pixels were not seen in all of them"),
            )
        ]
    return pictures


def _shift_picture(shifts: Shifts) -> Picture:
    """Show the shift of each frame with its standard error; circles are open where it is not its own."""
    own, used = shifts.flag == ALIGNED, shifts.flag != LEFT_OUT

    def draw(figure: Figure, axes: Axes) -> None:
        for axis, name in enumerate(("y", "x")):
            shift, error = shifts.shifts_px[:, axis], shifts.sigma_px[:, axis]
            for which, fill in ((own, LINES[axis]), (used & ~own, "none")):
                axes.errorbar(
                    shifts.energy_ev[which], shift[which], error[which], fmt="o", ms=3, lw=0.8,
                    color=LINES[axis], mfc=fill, label=f"along {name}" if fill != "none" else None,
                )  # fmt: skip
        spread = np.abs(shifts.shifts_px[own if own.any() else used]).max()
        axes.set_ylim(-1.5 * spread - 0.1, 1.5 * spread + 0.1)
        axes.set(xlabel="photon energy (eV)", ylabel="shift (px)")
        axes.legend(loc="best")

    caption = "Shift of each frame with its standard error; open: placed between its neighbours"
    return make_picture(draw, caption)


# --- spectra


def choose_pixels(
    result: Denoised, maps: xr.Dataset | None, mask: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return (y, x) of pixels that differ in the map, or else in brightness; bright ones are preferred."""
    bright = _brightness(result, mask.shape)
    values = bright
    if maps is not None and maps["mask"].values.any():
        mask, values = maps["mask"].values, maps[MAP_LABELS[maps.attrs["kind"]][0]].values
    inside = np.flatnonzero(mask)
    order = inside[np.argsort(values.ravel()[inside], kind="stable")]
    n_near = max(1, len(order) // 50)
    chosen: list[tuple[int, int]] = []
    for share in np.linspace(0.06, 0.94, min(N_PIXELS, len(order))):
        start = int(np.clip(share * len(order) - n_near / 2, 0, len(order) - n_near))
        near = order[start : start + n_near]
        near = near[np.argsort(bright.ravel()[near])][
            n_near // 2 :
        ]  # the brighter half; the brightest is last
        chosen.append(_farthest(np.stack(np.unravel_index(near, mask.shape), axis=1), chosen))
    return list(dict.fromkeys(chosen))


def _farthest(candidates: NDArray[np.intp], chosen: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the candidate (y, x) farthest from all chosen ones; the last one if none is chosen yet."""
    best = -1
    if chosen:
        gaps = np.linalg.norm(candidates[:, None] - np.array(chosen), axis=2).min(axis=1)
        best = int(np.argmax(gaps))
    return int(candidates[best, 0]), int(candidates[best, 1])


def _brightness(result: Denoised, shape: tuple[int, ...]) -> Image:
    if result.rank == 0:
        return np.zeros(shape)
    weights = result.spectra.values.mean(axis=1)
    return np.abs(np.tensordot(weights, result.coefficients.values, axes=1))


def spectrum_pictures(stack: xr.DataArray, result: Denoised, pixels: list[tuple[int, int]]) -> list[Picture]:
    """Show where the pixels (y, x) are, and their spectra before and after denoising, with errors."""
    used = usable_weight(stack)
    frame = _masked(stack, result.reconstruct()[int(np.flatnonzero(used)[-1])].values)
    height, width = frame.shape
    ratio = float(np.clip(0.85 * height / width + 0.1, 0.35, 1.2))
    places = make_picture(
        places_drawing(frame, pixels, IMAGES, size_of_pixel(stack)), "Where the pixels are", ratio=ratio
    )
    energy = stack.energy.values[used]

    def one(number: int, y: int, x: int) -> Picture:
        found = result.spectrum(y, x)
        mean, sigma = (found[name].values[used] for name in ("spectrum", "sigma"))

        def draw(figure: Figure, axes: Axes) -> None:
            axes.plot(energy, stack[:, y, x].values[used], ".", color="0.55", ms=4, label="before")
            axes.plot(energy, mean, color=LINES[number - 1], lw=1.6, label="after")
            axes.fill_between(
                energy, mean - 2 * sigma, mean + 2 * sigma, color=LINES[number - 1], alpha=0.3, lw=0,
                label="two standard errors",
            )  # fmt: skip
            axes.set(xlabel="photon energy (eV)", ylabel=unit_of(stack))
            axes.legend(loc="best")

        return make_picture(draw, f"Pixel {number}: y = {y}, x = {x}")

    return [places, *(one(number, y, x) for number, (y, x) in enumerate(pixels, start=1))]


def places_drawing(
    image: Image, pixels: list[tuple[int, int]], cmap: str, pixel_nm: float | None, *, size: float = 9.0
) -> Draw:
    """Return what draws an image on which pixels (y, x) are numbered; `size` is that of a circle, points."""
    limits = limits_of(image, 2, 98) if cmap == MAPS else limits_of(image)
    height, width = image.shape

    def draw(figure: Figure, axes: Axes) -> None:
        extent, _ = axes_of_image(height, width, 1, None)
        shown = axes.imshow(image, vmin=limits[0], vmax=limits[1], extent=extent)
        shown.set_cmap(colormaps[cmap].with_extremes(bad=MISSING))
        for number, (y, x) in enumerate(pixels, start=1):
            color = LINES[(number - 1) % len(LINES)]
            axes.plot(x, y, "o", ms=size, mfc="none", mec="white", mew=size / 3)
            axes.plot(x, y, "o", ms=size, mfc="none", mec=color, mew=size / 5)
            axes.annotate(
                str(number), (x, y), (0.8 * size, 0.5 * size), textcoords="offset points", color="white",
                weight="bold", bbox={"boxstyle": "round,pad=0.15", "fc": color, "ec": "none"},
            )  # fmt: skip
        mark_scale(axes, width, pixel_nm)

    return draw


def component_pictures(result: Denoised) -> list[Picture]:
    """Show image and spectrum of the strongest components."""
    pictures = []
    used = usable_weight(result.spectra.T)
    energy = result.spectra.energy.values[used]
    for k in range(min(result.rank, MAX_COMPONENTS)):
        image = np.where(usable_mask(result.coefficients[:1]), result.coefficients[k].values, np.nan)
        title = f"Component {k + 1}"
        label = "weight (unit of the scan)"
        pictures.append(
            draw_image(
                image,
                f"{title}: image",
                label,
                limits=limits_of(image, 1, 99),
                extend="both",
                pixel_nm=size_of_pixel(result),
            )
        )
        spectrum = result.spectra[k].values[used]
        pictures.append(_line(energy, spectrum, f"{title}: spectrum", "spectrum (length 1)"))
    return pictures


def _line(energy: NDArray[np.float64], values: Image, caption: str, label: str) -> Picture:
    def draw(figure: Figure, axes: Axes) -> None:
        axes.plot(energy, values, ".-", color=LINES[0], lw=1.2, ms=3)
        axes.set(xlabel="photon energy (eV)", ylabel=label)

    return make_picture(draw, caption)


def risk_picture(result: Denoised) -> Picture:
    """Show the estimated error for every number of components that was tried."""
    risk, ranks = result.risk["risk"].values, result.risk["rank"].values
    error, chosen = result.risk["difference_error"].values, result.risk["chosen"].values
    above = risk - risk.min()
    linear = max(3 * float(np.median(error)), 1e-6 * float(above.max()), np.finfo(float).tiny)

    def draw(figure: Figure, axes: Axes) -> None:
        axes.set_yscale("symlog", linthresh=linear, linscale=0.5)
        axes.errorbar(ranks, above, error, fmt="o-", ms=4, color=LINES[0], capsize=3)
        axes.plot(ranks[chosen], above[chosen], "o", ms=12, mfc="none", mec=LINES[1], mew=2, label="chosen")
        axes.set(xlabel="number of components K", ylabel="squared error above the least")
        axes.set_ylim(-linear, None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best")

    return make_picture(draw, "Estimated squared error minus the least one; bars are one standard error")


def sigma_picture(result: Denoised) -> Picture:
    """Show the noise level at each energy."""
    energy, sigma = result.sigma_energy.energy.values, result.sigma_energy.values

    def draw(figure: Figure, axes: Axes) -> None:
        axes.plot(energy, sigma, ".", color=LINES[0], label="each energy")
        axes.axhline(result.sigma, color=LINES[1], label="used for all")
        axes.set(xlabel="photon energy (eV)", ylabel="sigma (unit of the scan)")
        axes.set_ylim(0, 1.2 * np.nanmax([*sigma, result.sigma]))
        axes.legend(loc="best")

    return make_picture(draw, "Noise level at each energy")


def residual_pictures(stack: xr.DataArray, clean: xr.DataArray, result: Denoised) -> list[Picture]:
    """Show where in the image the residual is larger than noise, and where its mean is not 0."""
    used = np.flatnonzero(usable_weight(stack))
    sampled = used[np.unique(np.linspace(0, len(used) - 1, MAX_RESIDUAL_FRAMES).astype(int))]
    total, squares, count = (np.zeros(stack.shape[1:]) for _ in range(3))
    for e in sampled:
        residual = (_masked(stack, stack[e].values) - clean[e].values) / noise_of(result, e)
        known = np.isfinite(residual)
        total += np.where(known, residual, 0)
        squares += np.where(known, residual, 0) ** 2
        count += known
    known = count > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(known, np.sqrt(squares / count), np.nan)
        lean = np.where(known, total / np.sqrt(count), np.nan)
    many = f"{len(sampled)} of {len(used)} energies" if len(sampled) < len(used) else "all energies"
    top = max(2.0, limits_of(size)[1])
    return [
        draw_image(
            size,
            f"Root mean square of the residual over {many}; white noise gives 1 everywhere",
            "residual / noise level",
            limits=(0.0, top),
            cmap=ERRORS,
            extend="max",
            pixel_nm=size_of_pixel(stack),
        ),
        draw_image(
            lean,
            f"Mean of the residual over {many}; white noise stays between -3 and 3",
            "mean / its standard error",
            limits=(-4, 4),
            cmap=SIGNED,
            extend="both",
            pixel_nm=size_of_pixel(stack),
        ),
    ]


def lost_pictures(stack: xr.DataArray, trust: ResidualReport) -> list[Picture]:
    """Show where signal was lost, and its spectrum."""
    lost, used = trust.lost, usable_weight(stack)
    most = float(np.abs(lost.image).max())
    return [
        draw_image(
            lost.image,
            f"Where signal was lost: averages over {lost.scale_px} x {lost.scale_px} px",
            "standard deviations of noise",
            limits=(-most, most),
            cmap=SIGNED,
            px=lost.scale_px,
            pixel_nm=size_of_pixel(stack),
        ),
        _line(
            stack.energy.values[used],
            lost.spectrum[used],
            "Spectrum of the lost signal, in the region where it is strongest",
            unit_of(stack),
        ),
    ]
